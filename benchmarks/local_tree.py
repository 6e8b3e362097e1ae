"""A tree copied on one disk: 5,000 × 4 KiB and 8 × 64 MiB, as whole programs, `cp -r` beside us."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.copies import chosen
from benchmarks.measure import Sample, interleave, publish, run_process
from benchmarks.tools import program
from benchmarks.trees import check_equal, make_large_files, make_small_files, tree_hashes


def local_tree(folder: Path, options: argparse.Namespace) -> None:
    """Durability none on both sides, as `cp` has."""
    copytree = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
    commands = {
        "entrepot": (program("entrepot"), "cp", "-r"),
        "cp": ("cp", "-r"),
        "copytree": (sys.executable, "-c", copytree),
        "rclone": (program("rclone"), "copy", "-q", "--transfers", "32", "--config", "/dev/null"),
    }
    make_small_files(folder / "small")
    make_large_files(folder / "large")
    figures = {}
    for part in ("small", "large"):
        source = folder / part
        expected = tree_hashes(source)
        size_bytes = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())

        def contender(
            name: str, source: Path = source, expected: dict[str, str] = expected, size_bytes: int = size_bytes
        ) -> Callable[[int], Sample]:
            def once(_: int) -> Sample:
                target = folder / "copy"
                command = [*commands[name], str(source), str(target)]
                sample = run_process(command, env={}, operations=len(expected), size_bytes=size_bytes)
                check_equal(expected, tree_hashes(target), who=name)
                shutil.rmtree(target)
                return sample

            return once

        names = chosen(list(commands), options.peers)
        figures[part] = interleave({name: contender(name) for name in names}, options.rounds)
    publish("local-tree", figures)
