"""Who waits for what is scarce, in order, over event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")
G = TypeVar("G")


@dataclass(slots=True, eq=False)
class _Waiter(Generic[A, G]):
    ask: A
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]
    privileged: bool
    grant: G | None = None


class Line(Generic[A, G]):
    """Waiters, first come first served; each is woken in its own loop. Nothing of a loop is touched from another.

    lock: the owner's; it guards what is scarce as well as the line. give: called under it with what is asked for and
    whether who asks is privileged; what it grants, None for nothing yet. take_back: called under it where a grant was
    not used. waiters: who waits now. A privileged waiter serves callers who block another loop, and may pass others.
    """

    def __init__(
        self, lock: threading.Lock, give: Callable[[A, bool], G | None], take_back: Callable[[G], None]
    ) -> None:
        self._lock, self._give, self._take_back = lock, give, take_back
        self.waiters: deque[_Waiter[A, G]] = deque()
        self._privileged = 0

    async def wait(self, ask: A) -> G:
        """Wait for a grant. A cancellation leaves nothing taken."""
        loop = asyncio.get_running_loop()
        waiter: _Waiter[A, G] = _Waiter(ask, loop, loop.create_future(), is_privileged(loop))
        with self._lock:
            self.waiters.append(waiter)
            self._privileged += waiter.privileged
            self.serve()
        try:
            await waiter.turn
        except BaseException:
            with self._lock:
                if waiter.grant is not None:
                    self._take_back(waiter.grant)
                elif waiter in self.waiters:
                    self._remove(waiter)
                self.serve()
            raise
        assert waiter.grant is not None
        return waiter.grant

    def serve(self) -> None:
        """Grant what there is, in order. Under the lock, whenever something is there again."""
        waiters = self.waiters
        while waiters and self._served(waiters[0]):
            pass
        if self._privileged:
            for waiter in [one for one in waiters if one.privileged]:
                self._served(waiter)

    def _served(self, waiter: _Waiter[A, G]) -> bool:
        grant = self._give(waiter.ask, waiter.privileged)
        if grant is None:
            return False
        self._remove(waiter)
        waiter.grant = grant  # before it is woken: another thread runs at once
        try:
            if asyncio._get_running_loop() is waiter.loop:
                _wake(waiter.turn)
            else:
                waiter.loop.call_soon_threadsafe(_wake, waiter.turn)
        except RuntimeError:  # its loop was closed, nobody is there to take it
            waiter.grant = None
            self._take_back(grant)
        return True

    def _remove(self, waiter: _Waiter[A, G]) -> None:
        self.waiters.remove(waiter)
        self._privileged -= waiter.privileged


def is_privileged(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether other loops may stand still until what runs on this one has ended (`entrepot.bridge`)."""
    return bool(getattr(loop, "serves_blocked_loops", False))


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
