"""One thread that writes a journal: what many callers note goes to the disk together.

A commit waits for the disk, milliseconds at best. So a record that may lag waits for others, up to 64 or 200 ms, and
one that must be durable takes with it all that wait. Callers never wait for the disk but where they await it.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from entrepot.errors import JournalUnusable, StoreClosed, StoreError

F = TypeVar("F", bound="Transactions")
T = TypeVar("T")

_log = logging.getLogger(__name__)

GROUP_RECORDS: Final = 64
GROUP_S: Final = 0.2
"""Records that may lag are written when there are so many, or the first of them is so old."""

_MOST_BEHIND: Final = 16_384


class Transactions(Protocol):
    """What is written to.

    `commit` is given the time, or None where no record was written. `told` makes one of our errors of any.
    """

    def begin(self) -> None: ...
    def commit(self, now: float | None, /) -> None: ...
    def roll_back(self) -> None: ...
    def close(self) -> None: ...
    def told(self, error: Exception, /) -> StoreError: ...


@dataclass(frozen=True, slots=True)
class _Entry(Generic[F]):
    """apply: what to do. records: how many it writes. settle: told its result or its error, if anybody waits."""

    apply: Callable[[F], Any]
    records: int
    settle: Callable[[Any, StoreError | None], None] | None = None


class GroupCommit(Generic[F]):
    """The thread, and what waits for it. Any thread and any loop may note and await.

    The first error of a transaction undoes it and is final: every later call raises it.
    """

    def __init__(
        self,
        open_file: Callable[[], F],
        *,
        name: str,
        after: Callable[[], None],
        clock: Callable[[], float] = time.time,
        group_s: float = GROUP_S,
    ) -> None:
        """open_file: called in the thread, as is all that works on the file. after: called when all has ended."""
        self._open, self._after, self._clock, self._group_s = open_file, after, clock, group_s
        self._changed = threading.Condition()
        self._waiting: list[_Entry[F]] = []
        self._records = self._writing = 0
        self._first = 0.0
        self._urgent = self._closing = False
        self._failure: StoreError | None = None
        self._ended: list[Callable[[Any, StoreError | None], None]] = []
        self._over = False
        # A daemon: a program that ends without closing its journal ends as if it was killed.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def behind(self) -> bool:
        """Whether so much waits that callers should await something before they go on."""
        return self._records + self._writing > _MOST_BEHIND

    def note(self, apply: Callable[[F], Any], records: int = 1) -> None:
        """Have records written, soon. Raises StoreClosed, and the error of an earlier transaction."""
        self._put(_Entry(apply, records))

    async def run(self, apply: Callable[[F], T], records: int = 1) -> T:
        """What it gives, once it is on the disk with all that was noted before. A cancellation does not undo it.

        Raises StoreClosed, and the error of its transaction or an earlier one.
        """
        future, settle = _future()
        self._put(_Entry(apply, records, settle))
        result: T = await future
        return result

    async def close(self, last: Callable[[F], Any] | None = None) -> None:
        """Do one last thing, write all that waits, and end the thread. Raises the error of an earlier transaction,
        or of this one, once the thread has ended.
        """
        future, settle = _future()
        with self._changed:
            if self._over:
                settle(None, None)
            else:
                self._ended.append(settle)
        self.end(last)
        await future

    def end(self, last: Callable[[F], Any] | None = None) -> None:
        """As `close`, from where nothing can be awaited."""
        with self._changed:
            if not self._closing:
                if last is not None:
                    self._waiting.append(_Entry(last, 1))
                self._closing = True
                self._changed.notify()

    def _put(self, entry: _Entry[F]) -> None:
        with self._changed:
            if self._failure is not None:
                raise _again(self._failure)
            if self._closing:
                raise StoreClosed("the journal is closed", operation="journal")
            before = self._records
            if not self._waiting:
                self._first = time.monotonic()
            self._waiting.append(entry)
            self._records += entry.records
            self._urgent = self._urgent or entry.settle is not None
            if len(self._waiting) == 1 or self._urgent or before < GROUP_RECORDS <= self._records:
                self._changed.notify()

    # ---- in the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        file: F | None = None
        try:
            file = self._open()
        except Exception as error:  # noqa: BLE001  # it is raised where somebody waits
            self._fail(error if isinstance(error, StoreError) else _unusable(error))
        while True:
            batch, closing = self._next()
            if batch:
                self._write(file, batch)
                self._writing = 0
            if closing:
                break
        if file is not None:
            file.close()
        self._after()
        with self._changed:
            self._over, ended = True, self._ended
        for settle in ended:
            settle(None, self._failure)

    def _next(self) -> tuple[list[_Entry[F]], bool]:
        """All that waits, once it is time."""
        with self._changed:
            while not (self._urgent or self._closing or self._records >= GROUP_RECORDS):
                left = None if not self._waiting else self._first + self._group_s - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            batch, self._waiting = self._waiting, []
            self._records, self._writing, self._urgent = 0, self._records, False
            return batch, self._closing

    def _write(self, file: F | None, batch: list[_Entry[F]]) -> None:
        results: list[Any] = []
        if file is not None and self._failure is None:
            try:
                file.begin()
                results = [entry.apply(file) for entry in batch]
                file.commit(self._clock() if any(entry.records for entry in batch) else None)
            except Exception as error:  # noqa: BLE001  # it is raised where somebody waits, and by every later call
                file.roll_back()
                self._fail(file.told(error))
        failure = self._failure
        for at, entry in enumerate(batch):
            if entry.settle is not None:
                entry.settle(None if failure is not None else results[at], failure)

    def _fail(self, error: StoreError) -> None:
        _log.warning("nothing more is written to a journal: %s", error)
        with self._changed:
            self._failure = error


def _unusable(error: Exception) -> StoreError:
    told = JournalUnusable(f"{type(error).__name__}: {error}", operation="journal")
    told.__cause__ = error
    return told


def _again(error: StoreError) -> StoreError:
    """An equal error, for one that is raised more than once would gather tracebacks."""
    told = copy.copy(error)
    told.__cause__ = error
    return told


def _future() -> tuple[asyncio.Future[Any], Callable[[Any, StoreError | None], None]]:
    """A future of the running loop, and how another thread gives it its result or its error."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle_here(result: Any, error: StoreError | None) -> None:
        if future.done():  # whoever waited was cancelled
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(_again(error))

    def settle(result: Any, error: StoreError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle_here, result, error)

    return future, settle
