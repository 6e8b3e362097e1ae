"""Long blocking work that a cancelled task does not leave running."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from anyio import from_thread, to_thread

from entrepot.flavors.local.copying import Check

T = TypeVar("T")


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
