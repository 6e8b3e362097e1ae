"""The README's Python runs as written, and its shell commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from cli.programs import server_settings
from entrepot.cli.app import _HOMES, _longest
from entrepot.testing.raw import RawError
from entrepot.testing.servers import Server

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [
    line.removeprefix("$ ").partition("#")[0].strip()
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [
    words
    for line in SHELL
    for piece in re.split(r"&&|\|", line)
    if (words := shlex.split(piece)) and words[0] == "entrepot"
]


def test_there_are_examples() -> None:
    assert len(PYTHON) >= 3
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[0] if code else "")
def test_python_examples_run(code: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = {}
    if "s3://bucket" in code:
        server: Server = request.getfixturevalue("moto_server")
        with suppress(RawError):  # it is there already
            server.create_bucket("bucket")
        server.bucket("bucket").keep_versions()
        settings = server_settings(server)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def command_of(words: list[str]) -> str:
    return _longest(words[1:], _HOMES) or words[1]


@pytest.mark.parametrize("command", sorted({command_of(words) for words in COMMANDS}))
def test_shell_examples_name_commands_and_options_that_exist(command: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "entrepot", *command.split(), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    words = {word for words in COMMANDS if command_of(words) == command for word in words[2:]}
    options = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}  # `--key=value` is of a flavor
    for option in options:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told.stdout), f"{command} has no {option}"
