"""Bounds of one copy and of the process: bytes held in memory, and requests in flight."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import anyio

from entrepot.models import MIB


@dataclass(slots=True, eq=False)
class _Waiter:
    share: Share
    size_bytes: int
    loop: asyncio.AbstractEventLoop
    event: anyio.Event = field(default_factory=anyio.Event)
    granted: bool = False


class ByteBudget:
    """How many bytes of content the process may hold, over all copies, event loops and threads.

    Counters under one lock; who waits is served in order and woken in its own loop. Every share may hold one item
    whatever the others hold: so an item larger than the budget moves alone, and a copy that is started while the loop
    of another is blocked cannot wait for ever. The bound is therefore the limit, and one item for every copy
    beyond the first.
    """

    def __init__(self, limit_bytes: int = 128 * MIB) -> None:
        self._least_bytes = limit_bytes
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._shares: set[Share] = set()
        self._waiters: deque[_Waiter] = deque()
        self.peak_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What is held now."""
        return self._held_bytes

    @property
    def limit_bytes(self) -> int:
        """The limit: as made, or what the most generous copy under way asks for."""
        return max((share.limit_bytes for share in self._shares), default=self._least_bytes)

    def share(self, limit_bytes: int) -> Share:
        """One copy's share, a context manager; what it still holds at its end is given back."""
        return Share(self, limit_bytes)

    # All below runs under the lock.

    def _fits(self, share: Share, size_bytes: int) -> bool:
        if share.held_bytes == 0:
            return True
        limit = max(self.limit_bytes, self._least_bytes)
        return share.held_bytes + size_bytes <= share.limit_bytes and self._held_bytes + size_bytes <= limit

    def _take(self, share: Share, size_bytes: int) -> None:
        share.held_bytes += size_bytes
        self._held_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self._held_bytes)

    def _give(self, share: Share, size_bytes: int) -> None:
        share.held_bytes -= size_bytes
        self._held_bytes -= size_bytes

    def _serve(self) -> None:
        """Grant what fits, in order: a waiter passes another one only where that waits for its own share's limit."""
        passed: set[Share] = set()
        full = False
        for waiter in tuple(self._waiters):
            share = waiter.share
            alone = share.held_bytes == 0
            if share in passed or (full and not alone):
                continue
            if not self._fits(share, waiter.size_bytes):
                passed.add(share)
                full = full or share.held_bytes + waiter.size_bytes <= share.limit_bytes
                continue
            self._waiters.remove(waiter)
            try:
                waiter.loop.call_soon_threadsafe(waiter.event.set)
            except RuntimeError:  # its loop has ended, nobody is there to take it
                continue
            waiter.granted = True
            self._take(share, waiter.size_bytes)


class Share:
    """One copy's part of a `ByteBudget`: acquire before reading, release after the write."""

    def __init__(self, budget: ByteBudget, limit_bytes: int) -> None:
        self._budget, self.limit_bytes = budget, limit_bytes
        self.held_bytes = 0

    @property
    def contended(self) -> bool:
        """Whether anybody waits; then who holds a buffer for long should give it back between two parts."""
        return bool(self._budget._waiters)

    def try_acquire(self, size_bytes: int) -> bool:
        """Take the bytes if that is possible at once, and nobody has waited before."""
        budget = self._budget
        with budget._lock:
            if (budget._waiters and self.held_bytes) or not budget._fits(self, size_bytes):
                return False
            budget._take(self, size_bytes)
            return True

    async def acquire(self, size_bytes: int) -> None:
        """Take the bytes, waiting in line."""
        if self.try_acquire(size_bytes):
            return
        budget = self._budget
        waiter = _Waiter(self, size_bytes, asyncio.get_running_loop())
        with budget._lock:
            budget._waiters.append(waiter)
            budget._serve()
        try:
            await waiter.event.wait()
        except BaseException:
            with budget._lock:
                if waiter.granted:
                    budget._give(self, size_bytes)
                elif waiter in budget._waiters:
                    budget._waiters.remove(waiter)
                budget._serve()
            raise

    def release(self, size_bytes: int) -> None:
        """Give bytes back."""
        budget = self._budget
        with budget._lock:
            budget._give(self, size_bytes)
            if budget._waiters:
                budget._serve()

    def __enter__(self) -> Self:
        with self._budget._lock:
            self._budget._shares.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._budget._lock:
            self._budget._shares.discard(self)
            self._budget._give(self, self.held_bytes)
            self._budget._serve()


@functools.cache
def _budget_of(_process_id: int) -> ByteBudget:
    return ByteBudget()


def process_budget() -> ByteBudget:
    """The one budget of this process; a forked child begins with its own, with fresh locks."""
    return _budget_of(os.getpid())


class Gate:
    """How many requests (or thread hops) one copy has in flight; for one event loop, in order."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._waiters: deque[tuple[int, anyio.Event]] = deque()

    @property
    def contended(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiters)

    def passes(self, weight: int) -> bool:
        """Enter if that is possible at once. weight: how many requests, at most the limit."""
        if self._waiters or self._free < weight:
            return False
        self._free -= weight
        return True

    async def enter(self, weight: int) -> None:
        """Enter, waiting in line."""
        if self.passes(weight):
            return
        waiter = (weight, anyio.Event())
        self._waiters.append(waiter)
        try:
            await waiter[1].wait()
        except BaseException:
            if waiter[1].is_set():
                self._free += weight
            else:
                self._waiters.remove(waiter)
            self._admit()
            raise

    def leave(self, weight: int) -> None:
        """Go out, with the weight of the way in."""
        self._free += weight
        if self._waiters:
            self._admit()

    def _admit(self) -> None:
        while self._waiters and self._free >= self._waiters[0][0]:
            weight, event = self._waiters.popleft()
            self._free -= weight
            event.set()
