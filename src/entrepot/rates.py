"""So much a second, smoothly: bytes of a copy, requests to a service."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

BURST_S: Final = 0.1
"""What was not used for so long may be taken at once; so any longer stretch of time is as even as the rate."""


class Rate:
    """A bound on units a second, over all loops and threads that take from it, in the order of their asking.

    Whoever takes waits until all that is asked for is there, so that in no stretch of `t` seconds more is taken than
    `per_second * (t + burst_s)`, but for one unit where that is less.
    """

    def __init__(
        self,
        per_second: float,
        *,
        burst_s: float = BURST_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self.per_second = per_second
        self._burst_s = max(burst_s, 1 / per_second)
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._paid_until_s = clock() - self._burst_s

    def book(self, units: float) -> float:
        """Take that many; how many seconds to wait before they are used, 0 for none."""
        with self._lock:
            now_s = self._clock()
            self._paid_until_s = max(self._paid_until_s, now_s - self._burst_s) + units / self.per_second
            return max(0.0, self._paid_until_s - now_s)

    def give_back(self, units: float) -> None:
        """After a wait that was cancelled: what was booked for it is there for others."""
        with self._lock:
            self._paid_until_s -= units / self.per_second

    async def take(self, units: float) -> None:
        """Book, and wait for it."""
        wait_s = self.book(units)
        if wait_s > 0:
            try:
                await self._sleep(wait_s)
            except BaseException:
                self.give_back(units)
                raise
