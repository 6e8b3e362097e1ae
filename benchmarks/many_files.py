"""200,000 small files to a real server, as whole programs, and the two trees compared afterwards."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.copies import BUCKET, chosen, start_server
from benchmarks.measure import US, Sample, publish, run_process
from benchmarks.tools import environment, program, tree_tools
from benchmarks.trees import make_small_files

FILES = 200_000
SIZE_BYTES = 1024
_PEERS = [US, "s5cmd", "rclone"]


def many_files(folder: Path, options: argparse.Namespace) -> None:
    """Each contender once: a round takes minutes. Then our own comparison of both trees, every file by its MD5."""
    source = folder / "tree"
    make_small_files(source, files=FILES, folders=400, size_bytes=SIZE_BYTES)
    size_bytes = FILES * SIZE_BYTES
    copies: dict[str, list[Sample]] = {}
    with start_server(options.server, folder) as server:
        server.create_bucket(BUCKET)
        settings = environment(server)
        for name in chosen(_PEERS, options.peers):
            places = {"local": str(source), "bucket": BUCKET, "prefix": name}
            command = tree_tools()[name].command("up", places)
            copies[name] = [run_process(command, env=settings, operations=FILES, size_bytes=size_bytes)]
            print(f"  {name}: {copies[name][0].wall_s:.1f} s wall, {copies[name][0].cpu_s:.1f} s CPU")
        checks: dict[str, list[Sample]] = {}
        for name in copies:
            check = [program("entrepot"), "check", str(source), f"s3://{BUCKET}/{name}"]
            checks[f"of {name}"] = [run_process(check, env=settings, operations=FILES, size_bytes=size_bytes)]
    publish("many-files", {"up": copies, "check": checks}, server=options.server, files=FILES, size_bytes=size_bytes)
