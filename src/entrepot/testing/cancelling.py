"""The store contract, cancellation: every operation is cancelled at each of its awaits, one run for each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from types import coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

import anyio
import pytest

from entrepot.errors import StoreError
from entrepot.models import MIB, CopyItem, FileStat, WriteItem, WriteOptions
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

Form: TypeAlias = Literal["scope", "task"]
"""How a cancellation comes: by an anyio scope, which repeats it, or by asyncio's `Task.cancel`, once."""

TWO_PARTS: Final = LARGE[: 8 * MIB + 1]

_SETTLING_TIME_S: Final = 5.0


class Suspensions:
    """Counts the awaits at which an operation and its child tasks are suspended, and cancels it at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.seen = at, 0
        self.cancel: Callable[[], object] = lambda: None

    def met(self) -> None:
        if self.seen == self.at:
            self.cancel()
        self.seen += 1

    async def watch(self, awaited: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine, each of its suspensions told."""
        return await _stepped(awaited, self.met)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every task that begins meanwhile on this loop is watched."""
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()

        def make(loop: asyncio.AbstractEventLoop, awaited: Any, **how: Any) -> asyncio.Task[Any]:
            return asyncio.Task(self.watch(awaited), loop=loop, **how)

        loop.set_task_factory(make)
        try:
            yield
        finally:
            loop.set_task_factory(before)

    async def run(self, operation: Callable[[], Awaitable[object]], form: Form) -> None:
        """Run the operation to its end or to its cancellation; a StoreError is an end, too."""

        async def one() -> None:
            with suppress(StoreError):
                await operation()

        async def in_a_scope() -> None:
            with anyio.CancelScope() as scope:
                self.cancel = scope.cancel
                await one()

        with self.watching():
            task: asyncio.Task[None] = asyncio.get_running_loop().create_task(
                in_a_scope() if form == "scope" else one()
            )
            if form == "task":
                self.cancel = task.cancel
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()


@coroutine
def _stepped(awaited: Coroutine[Any, Any, Any], met: Callable[[], None]) -> Generator[Any, Any, Any]:
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            waited_for = awaited.send(value) if error is None else awaited.throw(error)
        except StopIteration as end:
            return end.value
        value = error = None
        met()
        try:
            value = yield waited_for
        except BaseException as thrown:  # noqa: BLE001  # passed on in the next step
            error = thrown


@dataclass(frozen=True)
class Operation:
    """One operation below a directory `at` of its own.

    before: files that are there. after: what it makes of them, where None is a file that goes. moves: where the files
    go that must be found at one of their two places at any time.
    """

    name: str
    run: Callable[[BaseArtifactStore, str], Awaitable[object]]
    before: dict[str, bytes] = field(default_factory=dict, repr=False)
    after: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    moves: dict[str, str] = field(default_factory=dict)


async def _write(store: BaseArtifactStore, path: str, mode: str) -> None:
    async with store.open(path, mode) as file:
        for start in range(0, len(TWO_PARTS), 3 * MIB):
            await file.write(TWO_PARTS[start : start + 3 * MIB])


async def _write_parts(store: BaseArtifactStore, path: str) -> None:
    async with store.open_parts(path, len(TWO_PARTS), WriteOptions()) as sink:
        step = sink.part_size_bytes
        for number, start in enumerate(range(0, len(TWO_PARTS), step), start=1):
            await sink.put_part(number, TWO_PARTS[start : start + step])


async def _read(store: BaseArtifactStore, path: str) -> None:
    async with store.open(path, "rb") as file:
        while await file.read(4 * MIB):
            pass


async def _read_part(store: BaseArtifactStore, path: str) -> None:
    found = await store.stat(path)
    await store.read_part(found, 1, memoryview(bytearray(1_000)))


async def _told(items: Any) -> None:
    async with aclosing(items) as each:
        async for _ in each:
            pass


async def _look(store: BaseArtifactStore, at: str) -> None:
    assert await store.exists(f"{at}/old")
    assert await store.isdir(at)
    assert not await store.exists(f"{at}/missing")
    assert await store.listdir(at)
    assert await store.size(at)


async def _write_batch(store: BaseArtifactStore, at: str) -> None:
    await store.write_batch([WriteItem(f"{at}/old", b"new"), WriteItem(f"{at}/b", b"bb"), WriteItem(f"{at}/c/d", b"")])


async def _batch(store: BaseArtifactStore, at: str, *, copies: bool) -> None:
    async with aclosing(store.scan(at)) as entries:
        files: list[FileStat] = [entry async for entry in entries if not entry.is_dir]
    if not copies:
        await store.read_batch(files)
    elif store.copies_natively_from(store):
        await store.copy_batch(store, [CopyItem(file, f"{at}/copied/{file.uri[-1]}") for file in files])


_OLD: Final = {"old": b"old content"}
_TREE: Final = {"dir/a": b"a", "dir/sub/b": b"bb", "dir/sub/c": b"", "other": b"o"}

OPERATIONS: Final = (
    Operation("write_bytes", lambda store, at: store.write_bytes(f"{at}/old", b"new"), _OLD, {"old": b"new"}),
    Operation("write_bytes large", lambda store, at: store.write_bytes(f"{at}/new/f", TWO_PARTS),
              {}, {"new/f": TWO_PARTS}),
    Operation("open w", lambda store, at: _write(store, f"{at}/old", "wb"), _OLD, {"old": TWO_PARTS}),
    Operation("open x", lambda store, at: _write(store, f"{at}/new", "xb"), {}, {"new": TWO_PARTS}),
    Operation("open_parts", lambda store, at: _write_parts(store, f"{at}/old"), _OLD, {"old": TWO_PARTS}),
    Operation("open r", lambda store, at: _read(store, f"{at}/f"), {"f": TWO_PARTS}),
    Operation("read_bytes", lambda store, at: store.read_bytes(f"{at}/f"), {"f": TWO_PARTS}),
    Operation("read_range", lambda store, at: store.read_range(f"{at}/old", 2, 5), _OLD),
    Operation("read_part", lambda store, at: _read_part(store, f"{at}/f"), {"f": TWO_PARTS}),
    Operation("look", _look, _OLD),
    Operation("walk", lambda store, at: _told(store.walk(at)), _TREE),
    Operation("glob", lambda store, at: _told(store.glob(f"{at}/**/*")), _TREE),
    Operation("scan", lambda store, at: _told(store.scan(at)), _TREE),
    Operation("mkdir", lambda store, at: store.mkdir(f"{at}/made"), _OLD),
    Operation("makedirs", lambda store, at: store.makedirs(f"{at}/made/below"), _OLD),
    Operation("remove", lambda store, at: store.remove(f"{at}/old"), _OLD, {"old": None}),
    Operation("rmtree", lambda store, at: store.rmtree(f"{at}/dir"), _TREE,
              {name: None for name in _TREE if name.startswith("dir/")}),
    Operation("copyfile", lambda store, at: store.copyfile(f"{at}/f", f"{at}/old", overwrite=True),
              {**_OLD, "f": TWO_PARTS}, {"old": TWO_PARTS}),
    Operation("rename", lambda store, at: store.rename(f"{at}/old", f"{at}/new"), _OLD,
              {"old": None, "new": b"old content"}, {"old": "new"}),
    Operation("rename a tree", lambda store, at: store.rename(f"{at}/dir", f"{at}/moved"), _TREE,
              {"dir/a": None, "dir/sub/b": None, "dir/sub/c": None,
               "moved/a": b"a", "moved/sub/b": b"bb", "moved/sub/c": b""},
              {"dir/a": "moved/a", "dir/sub/b": "moved/sub/b", "dir/sub/c": "moved/sub/c"}),
    Operation("write_batch", _write_batch, _OLD, {"old": b"new", "b": b"bb", "c/d": b""}),
    Operation("read_batch", lambda store, at: _batch(store, at, copies=False), _TREE),
    Operation("copy_batch", lambda store, at: _batch(store, at, copies=True), _TREE,
              {"copied/a": b"a", "copied/b": b"bb", "copied/c": b"", "copied/r": b"o"}),
)  # fmt: skip


class CancellationContract(StoreRules):
    """Whenever an operation is cancelled, files are old or new, whole, and nothing of it stays behind."""

    cancellation_points: ClassVar[int | None] = 4
    """At how many of an operation's awaits it is cancelled, evenly spread, two at least; None for every one."""
    survives_a_cut_commit: ClassVar[bool] = True
    """False where a place whose connection ends in the middle of a commit may lose the old file with the new one."""

    @pytest.mark.parametrize("form", ["scope", "task"])
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    async def test_an_operation_cancelled_at_an_await_is_done_or_undone(
        self, store: BaseArtifactStore, operation: Operation, form: Form
    ) -> None:
        await self._cancel_at_each(store, operation, form, self.cancellation_points)

    @pytest.mark.nightly
    @pytest.mark.parametrize("form", ["scope", "task"])
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    async def test_an_operation_cancelled_at_every_await_is_done_or_undone(
        self, store: BaseArtifactStore, operation: Operation, form: Form
    ) -> None:
        await self._cancel_at_each(store, operation, form, None)

    async def _cancel_at_each(
        self, store: BaseArtifactStore, operation: Operation, form: Form, points: int | None
    ) -> None:
        # The first run is whole; what a store has to find out about its service, it knows after it.
        whole = await self._cancelled_at(store, operation, form, None)
        for at in spread(whole, points):
            await self._cancelled_at(store, operation, form, at)
        await self.no_litter_stays()
        await store.write_bytes("afterwards", b"usable")
        assert await store.read_bytes("afterwards") == b"usable"

    async def _cancelled_at(self, store: BaseArtifactStore, operation: Operation, form: Form, at: int | None) -> int:
        """One run, looked at afterwards; how many suspensions it had."""
        place = f"run-{at}"
        for path, data in operation.before.items():
            await self.raw_write(self.uri(store, f"{place}/{path}"), data)
        before = asyncio.all_tasks()
        suspensions = Suspensions(at)
        await suspensions.run(lambda: operation.run(store, place), form)
        await no_task_beyond(before, store)
        found = await self._settled_files(store, f"{place}/", operation)
        if at is None:
            wanted = {**operation.before, **operation.after}
            assert found in ({name: data for name, data in wanted.items() if data is not None}, operation.before)
        elif torn := self._torn(operation, found):
            raise AssertionError(torn)
        return suspensions.seen

    def _torn(self, operation: Operation, found: dict[str, bytes]) -> str:
        """What is neither old nor new, or lost, in words; empty where nothing is."""
        lost = not self.survives_a_cut_commit
        for name in {*operation.before, *operation.after, *found}:
            old = operation.before.get(name)
            if lost and name in operation.after and name not in found:
                continue
            if found.get(name) not in (old, operation.after.get(name, old)):
                return f"{name} is neither old nor new: {found.get(name)!r:.100}"
        for source, target in operation.moves.items():
            if source not in found and target not in found:
                return f"{source} is lost"
        return ""

    async def _settled_files(self, store: BaseArtifactStore, prefix: str, operation: Operation) -> dict[str, bytes]:
        """The files of one run. A thread or a request that was under way may still end its step at the server, and
        what a server replaces piece by piece may be seen torn until it has.
        """
        start = len(store.path) + 1
        deadline = time.monotonic() + _SETTLING_TIME_S
        while True:
            uris = [uri for uri in await self.raw_list() if uri.startswith(prefix, start)]
            late = time.monotonic() > deadline
            found: dict[str, bytes] = {}
            failure: Exception | None = None
            for uri in uris:
                try:
                    found[uri[start + len(prefix) :]] = await self.raw_read(uri)
                except Exception as error:  # noqa: BLE001  # whatever the plain client raises for what goes or is torn
                    failure = error
            if failure is None and (late or not self._torn(operation, found)):
                return found
            if late and failure is not None:
                if self.survives_a_cut_commit:
                    raise failure
                return found  # what cannot be read is lost
            await anyio.sleep(0.01)


def spread(count: int, points: int | None) -> Sequence[int]:
    """Up to `points` of the first `count` numbers, the first and the last among them."""
    if points is None or count <= points:
        return range(count)
    return sorted({round(at * (count - 1) / (points - 1)) for at in range(points)})


async def no_task_beyond(before: set[asyncio.Task[Any]], store: BaseArtifactStore) -> None:
    """Every task that was begun since has ended, or ends within seconds; those of a connection, with it."""
    deadline = time.monotonic() + _SETTLING_TIME_S
    if {task for task in asyncio.all_tasks() - before if not task.done()}:
        await store.close()
    while left := {task for task in asyncio.all_tasks() - before if not task.done()}:
        if time.monotonic() > deadline:
            raise AssertionError(f"tasks stay behind: {left}")
        await asyncio.sleep(0.001)
