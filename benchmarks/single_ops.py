"""One 4 KiB GET, PUT and HEAD through each client's public API, 32 at once: client CPU an operation."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.calls import CLIENTS, KEYS, PAYLOAD, key_of
from benchmarks.copies import BUCKET, chosen, start_server
from benchmarks.measure import Sample, interleave, publish
from benchmarks.tools import environment


def calls(
    client: str,
    operation: str,
    *,
    env: dict[str, str],
    count: int,
    digests: set[str],
    call_bytes: int = 0,
    module: str = "benchmarks.calls",
) -> Sample:
    """One client's calls in a process of its own; its digest of what it saw joins `digests`."""
    command = [sys.executable, "-m", module, client, operation, BUCKET, str(count)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{client} {operation} failed: {done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    digests.add(told["digest"])
    if len(digests) > 1:
        raise RuntimeError(f"{client} {operation}: another result than the contenders before it")
    return Sample(told["wall_s"], told["cpu_s"], told["rss_mib"], count, call_bytes * count)


def single_ops(folder: Path, options: argparse.Namespace) -> None:
    """GET, PUT and HEAD of 4 KiB."""
    with start_server(options.server, folder) as server:
        server.create_bucket(BUCKET)
        settings = environment(server)
        bucket = server.bucket(BUCKET)
        for number in range(KEYS):
            bucket.put(key_of(number), PAYLOAD)
        digests: set[str] = set()

        def contender(name: str, operation: str) -> Callable[[int], Sample]:
            return lambda _: calls(
                name, operation, env=settings, count=options.calls, digests=digests, call_bytes=len(PAYLOAD)
            )

        names = chosen(list(CLIENTS), options.peers)
        figures = {
            operation: interleave({name: contender(name, operation) for name in names}, options.rounds)
            for operation in ("get", "put", "head")
        }
    publish("single-ops", figures, server=options.server, object_bytes=len(PAYLOAD), concurrency=32)
