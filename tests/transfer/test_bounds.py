"""What stays bounded: memory, requests, tasks; and what a cancellation leaves behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from entrepot.models import KIB, MIB, FileData, FileStat, WriteItem
from entrepot.paths import StrPath
from entrepot.transfer import budget as budgets
from entrepot.transfer import events
from entrepot.transfer.engine import CopyOptions, copy_between
from plain_store import PlainStore

pytestmark = pytest.mark.anyio

TREE = CopyOptions(recursive=True)


class Endless(PlainStore):
    """A source whose files are made as they are listed and as they are read."""

    count = 100_000
    size = 16

    async def scan(self, path: StrPath = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        base = f"{self.path}/{path}"
        for number in range(self.count):
            if number % 1_000 == 0:
                await anyio.lowlevel.checkpoint()
            yield FileStat(f"{base}/{number // 100:05}/{number:07}", self.size)

    async def read_batch(self, files: Sequence[FileStat]) -> list[FileData | object]:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        return [FileData(bytes(file.size_bytes), file) for file in files]


class Hole(PlainStore):
    """A target that counts what it is given, and forgets it."""

    files_written = 0
    in_flight = 0
    most_in_flight = 0

    async def write_batch(self, items: Sequence[WriteItem]) -> list[FileStat | object]:  # type: ignore[override]
        self.in_flight += len(items)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await anyio.lowlevel.checkpoint()
        self.in_flight -= len(items)
        self.files_written += len(items)
        return [FileStat(item.path, len(item.data)) for item in items]


@pytest.mark.holds("million-keys")
async def test_a_hundred_thousand_files_are_copied_in_flat_memory() -> None:
    source, sink = Endless("plain://source/root"), Hole("plain://sink/root")
    source.folders.add("src")
    gc.collect()
    before, most = sys.getallocatedblocks(), 0

    def look(event: events.Event) -> None:
        nonlocal most
        if isinstance(event, events.Planned):
            most = max(most, sys.getallocatedblocks() - before)

    report = await copy_between(source, "src", sink, "dst", options=TREE, on_event=look)
    assert report.files == sink.files_written == 100_000
    assert most < 50_000  # half an allocation a file would be more
    assert sink.most_in_flight <= 64


async def test_memory_held_is_never_more_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = budgets.ByteBudget(10 * MIB)
    monkeypatch.setattr("entrepot.transfer.engine.process_budget", lambda: budget)
    source, sink = Endless("plain://source/root"), Hole("plain://sink/root")
    source.count, source.size = 200, 3 * MIB
    source.folders.add("src")
    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, memory_bytes=10 * MIB))
    assert report.files == 200
    assert 3 * MIB < budget.peak_bytes <= 10 * MIB
    assert budget.held_bytes == 0


async def test_large_and_small_files_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = budgets.ByteBudget(20 * MIB)
    monkeypatch.setattr("entrepot.transfer.engine.process_budget", lambda: budget)
    source, sink = PlainStore("plain://source/root"), PlainStore("plain://sink/root")
    for number in range(4):
        source.put(f"src/large-{number}", bytes(24 * MIB + number))
    for number in range(100):
        source.put(f"src/small-{number}", bytes(500 * KIB))
    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, memory_bytes=20 * MIB))
    assert report.files == 104
    assert budget.peak_bytes <= 20 * MIB
    assert {path[4:]: len(data) for path, data in sink.contents().items()} == {
        path[4:]: len(data) for path, data in source.contents().items()
    }


async def test_a_part_larger_than_the_budget_moves_alone() -> None:
    source, sink = PlainStore("plain://source/root"), PlainStore("plain://sink/root")
    source.put("a", bytes(20 * MIB))
    report = await copy_between(source, "a", sink, "b", options=CopyOptions(memory_bytes=1, concurrency=1))
    assert report.bytes == 20 * MIB
    assert len(sink.files["b"]) == 20 * MIB


@pytest.mark.holds("nested-limiters")
async def test_one_request_at_a_time_is_enough() -> None:
    source, sink = PlainStore("plain://source/root"), PlainStore("plain://sink/root")
    for number in range(30):
        source.put(f"src/{number}", b"x" * number)
    source.put("src/large", bytes(17 * MIB))
    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, concurrency=1))
    assert report.files == 31


def mixed() -> tuple[PlainStore, PlainStore]:
    source, sink = PlainStore("plain://source/root"), PlainStore("plain://sink/root")
    for number in range(25):
        source.put(f"src/{number:02}", b"x" * number)
    source.put("src/large", bytes(33 * MIB))
    source.folders.add("src/nothing")
    return source, sink


class Cancelling:
    """Cancels the task of a copy at its n-th await."""

    def __init__(self, at: int, task: asyncio.Task[object]) -> None:
        self.left, self.task = at, task

    async def __call__(self, operation: str, path: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.task.cancel()
        await anyio.lowlevel.checkpoint()


def awaits_of_a_whole_copy() -> list[int]:
    return random.Random(20240601).sample(range(1, 170), 40)


@pytest.mark.holds("cancel")
@pytest.mark.parametrize("at", awaits_of_a_whole_copy())
async def test_a_cancellation_anywhere_leaves_nothing(at: int) -> None:
    source, sink = mixed()
    before = asyncio.all_tasks()
    held = budgets.process_budget().held_bytes
    task: asyncio.Task[object] = asyncio.ensure_future(copy_between(source, "src", sink, "dst", options=TREE))
    source.fault = sink.fault = Cancelling(at, task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
    assert sink.drafts == []
    assert budgets.process_budget().held_bytes == held
    for path, data in sink.contents().items():
        assert data == source.files["src" + path.removeprefix("dst")]


async def test_a_timeout_is_a_timeout() -> None:
    source, sink = mixed()

    async def hang(operation: str, path: str) -> None:
        await (anyio.sleep_forever() if operation == "publish" else anyio.lowlevel.checkpoint())

    sink.fault = hang
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await copy_between(source, "src", sink, "dst", options=TREE)
    assert sink.drafts == []


async def test_a_cancellation_that_meets_an_error_is_a_cancellation() -> None:
    source, sink = mixed()
    hanging = anyio.Event()

    async def hang(operation: str, path: str) -> None:
        if operation != "publish":
            await anyio.lowlevel.checkpoint()
            return
        hanging.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise ZeroDivisionError

    sink.fault = hang
    task = asyncio.ensure_future(copy_between(source, "src", sink, "dst", options=TREE))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("concurrency", [1, 2, 3, 4, 8])
async def test_small_files_that_were_read_never_wait_behind_large_ones_that_wait_for_memory(concurrency: int) -> None:
    source, sink = PlainStore("plain://source/root"), Hole("plain://sink/root")
    sink.batch_items = 64  # type: ignore[misc]
    # A part is larger than the whole memory, so it moves alone: when nothing else is held.
    for number in range(200):
        source.put(f"src/{number:03}/small", b"x" * 100 * KIB)
        if number % 10 == 3:
            source.put(f"src/{number:03}/large", bytes(9 * MIB))
    options = replace(TREE, concurrency=concurrency, memory_bytes=1 * MIB)
    with anyio.fail_after(20):
        report = await copy_between(source, "src", sink, "dst", options=options)
    assert (report.ok, report.files) == (True, 220)


@pytest.mark.parametrize("concurrency", [1, 2, 8, None])
async def test_small_files_listed_after_large_ones_are_done_while_a_large_one_still_moves(
    concurrency: int | None,
) -> None:
    source, sink = PlainStore("plain://source/root"), PlainStore("plain://sink/root")
    for number in range(6):
        source.put(f"src/a-large-{number}", bytes(17 * MIB))
    for number in range(50):
        source.put(f"src/b-small-{number:02}", b"x" * number)
    all_small = anyio.Event()

    async def hold(operation: str, path: str) -> None:
        await anyio.lowlevel.checkpoint()
        if sum(name == "publish" and "small" in target for name, target in sink.log) == 50:
            all_small.set()
        if operation == "publish" and "large" in path:
            await all_small.wait()

    sink.fault = hold
    with anyio.fail_after(60):
        report = await copy_between(source, "src", sink, "dst", options=replace(TREE, concurrency=concurrency))
    assert (report.ok, report.files) == (True, 56)
