"""How long the program takes to begin: two small commands beside an interpreter that does nothing."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import US, Sample, interleave, publish, run_process
from benchmarks.trees import make_small_files

_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")


def cold_start(folder: Path, options: argparse.Namespace) -> None:
    """`entrepot stack list`, `entrepot ls` of a local directory, and `python -c pass`; what the first one imports."""
    make_small_files(folder / "tree", files=100, folders=1)
    settings = {"ENTREPOT_CONFIG": str(folder / "config.toml"), "ENTREPOT_DATA_DIR": str(folder / "data")}
    commands = {
        US: [sys.executable, "-m", "entrepot", "stack", "list"],
        "entrepot ls": [sys.executable, "-m", "entrepot", "ls", str(folder / "tree" / "folder-00")],
        "python -c pass": [sys.executable, "-c", "pass"],
    }

    def contender(command: list[str]) -> Callable[[int], Sample]:
        return lambda _: run_process(command, env=settings, operations=1, size_bytes=0)

    figures = {"start": interleave({name: contender(one) for name, one in commands.items()}, options.rounds)}
    publish("cold-start", figures, imports_ms=_imports(commands[US], settings))


def _imports(command: list[str], settings: dict[str, str]) -> dict[str, float]:
    """Milliseconds a top-level package, of its own modules alone, the costliest first; those above one."""
    done = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], capture_output=True, text=True, check=True, env=settings
    )
    packages: dict[str, float] = {}
    for own, _, _, name in _LINE.findall(done.stderr):
        package = name.partition(".")[0]
        packages[package] = packages.get(package, 0.0) + int(own) / 1000
    costly = sorted(packages.items(), key=lambda one: -one[1])
    return {name: round(value, 1) for name, value in costly if value >= 1}
