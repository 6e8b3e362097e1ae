"""What belongs to one event loop, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One of a kind for each event loop, such as an SDK's client: opened when it is first needed, once at a time.

    make: opens it, and enters into the stack what closes it, no `@asynccontextmanager`: a loop that ends closes all
    asynchronous generators at once, also one within another. It is closed by `close`, else when its loop shuts those
    down, as every runner does; then nothing here leads to the loop any more. What belongs to a loop that was only
    closed is forgotten when another loop comes. A forked child has loops of its own.
    """

    def __init__(self, make: Callable[[AsyncExitStack], Awaitable[T]]) -> None:
        self._make = make
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Held[T]] = WeakKeyDictionary()

    async def get(self) -> T:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        held = self._loops.get(loop)
        if held is None:
            self._forget_closed()
            held = self._loops[loop] = _Held()
        if held.value is None:
            async with held.lock:
                if held.value is None:
                    keeper = held.kept(self._make)
                    held.value = await anext(keeper)
                    held.keeper = keeper
        return held.value

    async def close(self) -> None:
        """Close the running loop's own; harmless twice."""
        held = self._loops.pop(asyncio.get_running_loop(), None)
        if held is not None and held.keeper is not None:
            await held.keeper.aclose()

    def _forget_closed(self) -> None:
        for reference in self._loops.keyrefs():  # a list made in one step: other threads' loops come and go
            loop = reference()
            if loop is not None and loop.is_closed():
                self._loops.pop(loop, None)


class _Held(Generic[T]):
    """One loop's own. What is open has the loop in it, so that it would keep its key in the dictionary for ever; and so
    would a lock of asyncio that was waited for.
    """

    def __init__(self) -> None:
        self.value: T | None = None
        self.lock = anyio.Lock()
        self.keeper: AsyncGenerator[T, None] | None = None

    async def kept(self, make: Callable[[AsyncExitStack], Awaitable[T]]) -> AsyncGenerator[T, None]:
        try:
            async with AsyncExitStack() as stack:
                yield await make(stack)
        finally:
            self.value = self.keeper = None
