"""Time as tests want it: it stands still until somebody sleeps."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import anyio.lowlevel


@dataclass
class Time:
    """A clock that only `sleep` moves."""

    now_s: float = 1000.0
    slept_s: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds
        await anyio.lowlevel.checkpoint()


class Highest(random.Random):
    """Jitter that always waits as long as it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Together:
    """Time that many tasks sleep in: it goes on to the next one's end once nothing else runs."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._ends: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        end = self.now_s + seconds
        heapq.heappush(self._ends, end)
        try:
            while self.now_s < end:
                for _ in range(50):  # whatever else there is to do comes first
                    await anyio.lowlevel.checkpoint()
                if self._ends[0] == end:
                    self.now_s = max(self.now_s, end)
        finally:
            self._ends.remove(end)
            heapq.heapify(self._ends)
