"""A long flat listing: every key below a prefix, by each client in a process of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.calls import CLIENTS
from benchmarks.copies import BUCKET, chosen, start_server
from benchmarks.measure import Sample, interleave, publish
from benchmarks.single_ops import calls
from benchmarks.tools import environment

KEYS_A_FOLDER = 1_000


def listing(folder: Path, options: argparse.Namespace) -> None:
    """100,000 keys, 1,000 a folder; operations are keys, so CPU µs/op is a thousandth of a page's ms."""
    if options.server != "rclone":
        raise SystemExit("listing writes its keys as files below the server's folder, which only rclone serves")
    target = folder / "server" / "buckets" / BUCKET / "listing"
    for start in range(0, options.keys, KEYS_A_FOLDER):
        below = target / f"folder-{start // KEYS_A_FOLDER:04}"
        below.mkdir(parents=True)
        for number in range(start, min(options.keys, start + KEYS_A_FOLDER)):
            (below / f"key-{number:07}").touch()
    with start_server(options.server, folder) as server:
        settings = environment(server)
        digests: set[str] = set()

        def contender(name: str) -> Callable[[int], Sample]:
            return lambda _: calls(name, "list", env=settings, count=options.keys, digests=digests)

        names = [name for name in chosen(list(CLIENTS), options.peers) if name != "entrepot-sdk"]
        figures = {"scan": interleave({name: contender(name) for name in names}, options.rounds)}
    publish("listing", figures, server=options.server, keys=options.keys)
