"""Hops to a worker thread whose outcome a cancelled task does not leave behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from anyio import from_thread, to_thread

T = TypeVar("T")

Check: TypeAlias = Callable[[], None]
"""Called now and then in long work, and before its outcome is seen; raises where the task that waits for it was
cancelled.
"""


class _Stopped(BaseException):
    """The task that asked for the work is gone; nobody hears of this."""


async def interruptible(work: Callable[[Check], T]) -> T:
    """`work` in a worker thread; the function that it is given raises, there, once the task here was cancelled.

    A cancelled scope waits for the thread to clean up. asyncio's own `Task.cancel` does not wait; then the flag tells
    the thread.
    """
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise _Stopped
        from_thread.check_cancelled()

    try:
        return await to_thread.run_sync(work, check)
    except BaseException:
        stopped.set()
        raise


async def acquire(make: Callable[[], T], release: Callable[[T], object]) -> T:
    """What `make` opens in a worker thread; released where the task was cancelled before it had it."""
    handover = _Handover(make, release)
    try:
        return await to_thread.run_sync(handover.run)
    except BaseException:
        handover.give_up()
        raise


class _Handover(Generic[T]):
    """What a thread opens for a task that may be gone when it is open; whoever comes second releases it."""

    def __init__(self, make: Callable[[], T], release: Callable[[T], object]) -> None:
        self._make, self._release = make, release
        self._lock = threading.Lock()
        self._given_up = False
        self._made: list[T] = []

    def run(self) -> T:
        made = self._make()
        with self._lock:
            if not self._given_up:
                self._made.append(made)
                return made
        self._release(made)
        return made

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
            made, self._made = self._made, []
        for one in made:
            self._release(one)
