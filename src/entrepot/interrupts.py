"""What Ctrl-C does to blocking code that waits for a coroutine: the operation is cancelled, then KeyboardInterrupt."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupt:
    """SIGINT as a cancellation of one task, as `asyncio.Runner` does it; the second one raises at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self.received = 0

    @classmethod
    def installed(cls, loop: asyncio.AbstractEventLoop) -> Interrupt | None:
        """A handler in place of Python's own; None in other threads, and where a program has its own."""
        if threading.current_thread() is not threading.main_thread():
            return None
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return None
        interrupt = cls(loop)
        try:
            signal.signal(signal.SIGINT, interrupt)
        except ValueError:  # the main thread of a subinterpreter
            return None
        return interrupt

    def watch(self, task: asyncio.Task[Any]) -> None:
        """The task to cancel."""
        self._task = task
        if self.received:
            task.cancel()

    def remove(self) -> None:
        """Put Python's own handler back."""
        found = signal.signal(signal.SIGINT, signal.default_int_handler)
        if found is not self:  # the operation installed another meanwhile
            signal.signal(signal.SIGINT, found)

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.received += 1
        if self.received > 1:
            raise KeyboardInterrupt
        if self._task is not None:
            # Through the loop, which may be in the middle of a step; this also wakes it from `select`.
            self._loop.call_soon_threadsafe(self._task.cancel)


def set_aside_handler_of_asyncio() -> Callable[[int, FrameType | None], Any] | None:
    """In a running loop of the main thread: let Ctrl-C raise, and return the handler to put back afterwards.

    The handlers of asyncio (of `asyncio.run`, of `loop.add_signal_handler`) only take note, for when their loop goes
    on, which it does not while it waits for us. A program's own handler stays.
    """
    if asyncio._get_running_loop() is None or threading.current_thread() is not threading.main_thread():
        return None
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        return None
    module = getattr(getattr(handler, "func", handler), "__module__", None) or ""
    if not module.startswith("asyncio."):
        return None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return handler
