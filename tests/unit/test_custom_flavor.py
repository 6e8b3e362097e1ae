"""docs/custom-flavor.md quotes the example and its test as they are, and its commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from entrepot.filesystem.primitives import FileSystemPrimitives
from sftp_store import SftpArtifactStore

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "custom-flavor.md").read_text(encoding="utf-8")
QUOTED = [
    (ROOT / path).read_text(encoding="utf-8")
    for path in ("examples/sftp_store.py", "tests/contract/test_sftp_example.py", "tests/folder_store.py")
]
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [
    shlex.split(line.removeprefix("$ "))
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ entrepot ")
]


def squeezed(text: str) -> str:
    """A text without its spaces: an excerpt may be indented, and its lines be broken, differently."""
    return "".join(text.split())


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_every_block_is_an_excerpt(block: str) -> None:
    assert any(squeezed(block) in squeezed(text) for text in QUOTED), block


def test_the_whole_example_is_told() -> None:
    told = squeezed("\n".join(BLOCKS))
    classes = QUOTED[0][QUOTED[0].index("class SftpConfig") :]
    untold = [line for line in classes.splitlines() if line.strip() and squeezed(line) not in told]
    assert [line for line in untold if not line.strip().startswith("#")] == [
        "_Connection = tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]"
    ]


def test_the_number_of_primitives_is_right() -> None:
    own = {name for name in FileSystemPrimitives.__abstractmethods__ if name in vars(FileSystemPrimitives)}
    assert "the eight primitives" in GUIDE
    assert len(own) == 8
    assert own <= {*vars(SftpArtifactStore)}


def test_its_commands_exist() -> None:
    assert len(COMMANDS) >= 3
    for words in COMMANDS:
        command = words[1:4] if words[1] == "artifact-store" else words[1:2]
        told = subprocess.run(
            [sys.executable, "-m", "entrepot", *command, "--help"], capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stderr


def test_its_toml_names_the_group_that_is_read() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    points = tomllib.loads(text)["project"]["entry-points"]["entrepot.flavors"]
    assert points == {SftpArtifactStore.FLAVOR: "sftp_store:SftpArtifactStore"}
