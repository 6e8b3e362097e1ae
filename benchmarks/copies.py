"""A tree up to a bucket and down again, as whole programs: `small-files` and `large-files`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.measure import US, Sample, interleave, publish, run_process
from benchmarks.tools import S3Server, environment, program, tree_tools
from benchmarks.trees import check_equal, make_large_files, make_small_files, tree_hashes
from entrepot.testing.servers import Server, juicefs_gateway, rclone_s3

BUCKET = "benchmark"


def start_server(name: str, folder: Path) -> AbstractContextManager[Server]:
    """The S3 server that every contender uses."""
    return rclone_s3(folder / "server") if name == "rclone" else juicefs_gateway(folder / "server")


def chosen(names: list[str], peers: str | None) -> list[str]:
    """The contenders asked for; we always take part."""
    if peers is None:
        return names
    wanted = {US, *peers.split(",")}
    if unknown := wanted - set(names):
        raise SystemExit(f"unknown contenders: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return [name for name in names if name in wanted]


def small_files(folder: Path, options: argparse.Namespace) -> None:
    """5,000 × 4 KiB in 50 folders."""
    make_small_files(folder / "tree")
    copy_both_ways("small-files", folder, options)


def large_files(folder: Path, options: argparse.Namespace) -> None:
    """8 × 64 MiB."""
    make_large_files(folder / "tree")
    copy_both_ways("large-files", folder, options)


def copy_both_ways(scenario: str, folder: Path, options: argparse.Namespace) -> None:
    """Every contender up, each to a prefix of its own, then down from what it sent, hashes checked after every run."""
    source = folder / "tree"
    expected = tree_hashes(source)
    size_bytes = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    tools = {name: tool for name, tool in tree_tools().items() if name in chosen(list(tree_tools()), options.peers)}

    with start_server(options.server, folder) as server:
        server.create_bucket(BUCKET)
        settings = environment(server)

        def run(name: str, direction: str, local: Path, prefix: str) -> Sample:
            places = {"local": str(local), "bucket": BUCKET, "prefix": prefix}
            command = tools[name].command(direction, places)
            return run_process(command, env=settings, operations=len(expected), size_bytes=size_bytes)

        def up(name: str) -> Callable[[int], Sample]:
            return lambda number: run(name, "up", source, f"round-{number}/{name}")

        def down(name: str) -> Callable[[int], Sample]:
            def once(_: int) -> Sample:
                target = folder / "down"
                target.mkdir()
                sample = run(name, "down", target, f"round-0/{name}")
                check_equal(expected, tree_hashes(target), who=f"{name} down")
                shutil.rmtree(target)
                return sample

            return once

        figures = {"up": interleave({name: up(name) for name in tools}, options.rounds)}
        for name in tools:
            for number in range(options.rounds + 1):
                check_upload(server, folder, f"round-{number}/{name}", expected)
        figures["down"] = interleave({name: down(name) for name in tools}, options.rounds)
    publish(scenario, figures, server=options.server, files=len(expected), size_bytes=size_bytes)


def check_upload(server: S3Server, folder: Path, prefix: str, expected: dict[str, str]) -> None:
    """Fetch with a peer what a contender sent, and compare."""
    target = folder / "check"
    fetch = [program("rclone"), "copy", "--transfers", "32", "-q", f"peer:{BUCKET}/{prefix}", str(target)]
    run_process(fetch, env=environment(server), operations=1, size_bytes=0)
    check_equal(expected, tree_hashes(target), who=f"{prefix} up")
    shutil.rmtree(target)
