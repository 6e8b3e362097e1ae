"""What belongs to one event loop, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One of a kind for each event loop, such as an SDK's client: opened when it is first needed, once at a time.

    make: gives the context manager that opens and closes it. It is closed by `close`, else when its loop shuts its
    asynchronous generators down, as every runner does.
    """

    def __init__(self, make: Callable[[], Awaitable[AbstractAsyncContextManager[T]]]) -> None:
        self._make = make
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Held[T]] = WeakKeyDictionary()

    async def get(self) -> T:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        held = self._loops.get(loop)
        if held is None:
            held = self._loops[loop] = _Held()
        if held.value is None:
            async with held.lock:
                if held.value is None:
                    held.keeper = _kept(await self._make())
                    held.value = await anext(held.keeper)
        return held.value

    async def close(self) -> None:
        """Close the running loop's own; harmless twice."""
        held = self._loops.pop(asyncio.get_running_loop(), None)
        if held is not None and held.keeper is not None:
            await held.keeper.aclose()


class _Held(Generic[T]):
    def __init__(self) -> None:
        self.value: T | None = None
        self.lock = asyncio.Lock()
        self.keeper: AsyncGenerator[T, None] | None = None


async def _kept(context: AbstractAsyncContextManager[T]) -> AsyncGenerator[T, None]:
    async with context as value:
        yield value
