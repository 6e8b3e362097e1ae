"""Which job a worker takes next: fair between large and small, and bounded in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from entrepot.errors import StoreError
from entrepot.models import FileData, FileStat
from entrepot.transfer.plan import BATCH_BYTES, MoveInParts, MoveWhole, PlannedFile, Step

T = TypeVar("T")

STEPS_AHEAD: Final = 64
"""How many steps the scan may be ahead of the workers."""

LARGE_AHEAD: Final = 256
"""How many large files may wait: small ones that come after them in the listing move beside them."""

LARGE_AT_ONCE: Final = 4
"""How many large files are under way together: each moves several parts at once, and small files need workers too."""


@dataclass(frozen=True, slots=True)
class Examine:
    """A file whose listings do not tell enough to decide whether it is copied. target: what is there now."""

    file: PlannedFile
    target: FileStat


@dataclass(frozen=True, slots=True)
class WriteWhole:
    """Files that were read and wait to be written; `size_bytes` of memory are held for them."""

    files: tuple[tuple[PlannedFile, FileData], ...]
    size_bytes: int


Queued: TypeAlias = Step | Examine
Job: TypeAlias = Queued | WriteWhole


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to raise of those that ended a task group: what no store raises on purpose comes first."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((leaf for leaf in leaves if not isinstance(leaf, StoreError)), leaves[0])


@asynccontextmanager
async def crew(work: Callable[[], Coroutine[Any, Any, None]], size: int) -> AsyncGenerator[None]:
    """So many workers beside the block, which ends when all have. Any exception ends all of it, and is raised alone."""
    failed: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(size):
                tasks.start_soon(work)
            yield
    except BaseExceptionGroup as group:
        failed = first_error(group)
    if failed is not None:
        raise failed


async def for_each(items: Sequence[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """`work` on every item, so many at once. Any exception ends all of it, and is raised alone."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async with crew(worker, min(at_once, len(items))):
        pass


class Backlog:
    """The work between the scan and the workers of one copy; for one event loop.

    Small files pass through two stages, each in batches of the size that its end likes: read, then written. Files that
    were read are written before more are read, so what is held stays little. contended: whether anybody waits for
    memory.
    """

    def __init__(self, *, write_items: int, contended: Callable[[], bool], large_at_once: int = LARGE_AT_ONCE) -> None:
        self._write_items = write_items
        self._contended = contended
        self._large_at_once = large_at_once
        self._steps: deque[Queued] = deque()
        self._large: deque[MoveInParts] = deque()
        self._read: deque[tuple[PlannedFile, FileData]] = deque()
        self._read_bytes = 0
        self._running = 0
        self._running_large = 0
        self._scanning = True
        self._idle: deque[anyio.Event] = deque()
        self._room: anyio.Event | None = None

    # ---- the scan's side --------------------------------------------------------------------------

    @property
    def starving(self) -> bool:
        """Whether workers wait for which no step is queued: then a half-filled batch should not wait either."""
        return len(self._idle) > len(self._steps)

    async def put(self, step: Queued) -> None:
        """Queue one step, waiting while the scan is too far ahead."""
        if isinstance(step, MoveInParts):
            self._large.append(step)
        else:
            self._steps.append(step)
        self._wake()
        while len(self._steps) >= STEPS_AHEAD or len(self._large) >= LARGE_AHEAD:
            self._room = anyio.Event()
            await self._room.wait()

    def push(self, step: Step) -> None:
        """Queue one step that a job has led to, without waiting: whoever waits for room may wait for that job."""
        if isinstance(step, MoveInParts):
            self._large.append(step)
        else:
            self._steps.appendleft(step)
        self._wake()

    def scan_ended(self) -> None:
        """No more steps will come."""
        self._scanning = False
        self._wake(everyone=True)

    # ---- the workers' side ------------------------------------------------------------------------

    async def take(self) -> Job | None:
        """The next job, None when all is done. Every job is given back by `done` or `put_read`."""
        while (job := self._choose()) is None:
            if not self._scanning and not self._running:
                self._wake(everyone=True)
                return None
            idle = anyio.Event()
            self._idle.append(idle)
            await idle.wait()
        self._running += 1
        if self._room is not None and len(self._steps) < STEPS_AHEAD and len(self._large) < LARGE_AHEAD:
            self._room.set()
            self._room = None
        return job

    def done(self, job: Job) -> None:
        """The job is finished, well or not."""
        self._running -= 1
        if isinstance(job, MoveInParts):
            self._running_large -= 1
            self._wake()
        if not self._running and not self._scanning:
            self._wake(everyone=True)

    def put_read(self, job: MoveWhole, files: list[tuple[PlannedFile, FileData]], size_bytes: int) -> None:
        """The job's files were read. size_bytes: of memory that they hold."""
        self._read.extend(files)
        self._read_bytes += size_bytes
        # One chunk is for the worker that read them, every further one is for another.
        for _ in range(1, -(-len(files) // self._write_items)):
            self._wake()
        self.done(job)

    def take_read(self) -> WriteWhole | None:
        """Files that were read, to be written now, for who would have to wait for the memory that they hold; given
        back by `done`.
        """
        if not self._read:
            return None
        self._running += 1
        return self._chunk()

    # ---- the choice -------------------------------------------------------------------------------

    def _choose(self) -> Job | None:
        if self._read and (
            len(self._read) >= self._write_items
            or self._read_bytes >= BATCH_BYTES
            or not self._steps
            or self._contended()  # who waits for memory may wait for what these files hold
        ):
            return self._chunk()
        if self._large and self._running_large < self._large_at_once:
            self._running_large += 1
            return self._large.popleft()
        if self._steps:
            return self._steps.popleft()
        return None

    def _chunk(self) -> WriteWhole:
        files: list[tuple[PlannedFile, FileData]] = []
        size = 0
        while self._read and len(files) < self._write_items and (not files or size < BATCH_BYTES):
            files.append(self._read.popleft())
            size += files[-1][0].source.size_bytes
        self._read_bytes -= size
        return WriteWhole(tuple(files), size)

    def _wake(self, *, everyone: bool = False) -> None:
        while self._idle:
            self._idle.popleft().set()
            if not everyone:
                return
