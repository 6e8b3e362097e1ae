"""The command line in this process, in directories of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.programs import Result, Run, server_settings
from entrepot.cli import main
from entrepot.testing.servers import Server


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default store and every setting of a user are this test's own; so is the working directory."""
    home = tmp_path / "home"
    work = tmp_path / "work"
    for directory in (home, work):
        directory.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process."""

    def call(*arguments: str | Path) -> Result:
        capfd.readouterr()
        code = main([str(one) for one in arguments])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], None]:
    """Point the standard variables at a server, for commands in this process."""

    def point(server: Server) -> None:
        for name, value in server_settings(server).items():
            monkeypatch.setenv(name, value)

    return point
