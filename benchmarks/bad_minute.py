"""A service that refuses three of ten requests for a minute: how fast a copy is before, meanwhile, and afterwards."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import anyio

from benchmarks.copies import BUCKET, start_server
from benchmarks.measure import publish
from benchmarks.trees import make_small_files
from entrepot import copy
from entrepot.testing.faults import FaultProxy, Rule, Status
from entrepot.testing.servers import Server
from entrepot.transfer.events import Copied, Event

FILES = 200_000
BEFORE_S, BAD_S, AFTER_S = 15, 60, 30
WINDOW_S = 3
"""Over so many seconds the speed is averaged; the copy tells of files in batches."""


def bad_minute(folder: Path, options: argparse.Namespace) -> None:
    """As many rounds as asked for; the figures of each, and in how many seconds 80 % of the speed was back."""
    tree = folder / "tree"
    make_small_files(tree, files=FILES, folders=400, size_bytes=512)
    with start_server(options.server, folder) as server:
        server.create_bucket(BUCKET)
        rounds = [asyncio.run(_one_round(server, tree, number)) for number in range(options.rounds)]
    publish("bad-minute", {}, server=options.server, rounds=rounds)


async def _one_round(server: Server, tree: Path, number: int) -> dict[str, float]:
    with FaultProxy(server.endpoint_url, seed=number) as proxy:
        told: list[tuple[float, int]] = []
        config = {**server.s3_options, "endpoint_url": proxy.url}

        def listen(event: Event) -> None:
            if isinstance(event, Copied):
                told.append((time.monotonic(), len(event.files)))

        async def run() -> None:
            await copy(tree, f"s3://{BUCKET}/{number}", dst_config=config, on_event=listen)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(BEFORE_S)
            asked = proxy.count("put")
            bad = Rule("put", Status(503), times=None, probability=0.3, for_s=BAD_S)
            proxy.add(bad)
            began = time.monotonic()
            await anyio.sleep(BAD_S)
            ended, in_bad = time.monotonic(), proxy.count("put") - asked
            await anyio.sleep(AFTER_S)
            tasks.cancel_scope.cancel()
        before = _speed(told, began - BEFORE_S + 5, began)  # the first seconds are those of a start
        meanwhile = _speed(told, began, ended)
        figures = {
            "before_per_s": before,
            "meanwhile_per_s": meanwhile,
            "requests_an_object_meanwhile": in_bad / max(1.0, meanwhile * BAD_S),
            "refused": float(proxy.fired(bad)),
            "back_to_80_percent_after_s": _back_after(told, ended, before * 0.8),
            "after_per_s": _speed(told, ended + 10, ended + AFTER_S),
        }
    print("  ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    return {name: round(value, 3) for name, value in figures.items()}


def _speed(told: list[tuple[float, int]], start: float, stop: float) -> float:
    return sum(files for at, files in told if start <= at < stop) / (stop - start)


def _back_after(told: list[tuple[float, int]], ended: float, wanted: float) -> float:
    """When a window first reached the speed; infinite where none did."""
    for step in range(2 * (AFTER_S - WINDOW_S)):
        start = ended + step / 2
        if _speed(told, start, start + WINDOW_S) >= wanted:
            return step / 2
    return float("inf")
