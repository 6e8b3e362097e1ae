"""Time as tests want it: it stands still until somebody sleeps."""

from __future__ import annotations

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
