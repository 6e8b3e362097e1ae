"""Connections of a store: one for each event loop, gone with it, and never shared with a forked child."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from weakref import finalize

C = TypeVar("C")


_LONG_S: Final = 86_400.0


@dataclass(slots=True)
class _Slot(Generic[C]):
    """One loop's connection, and the task that ends it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: C | None = None
    keeper: asyncio.Task[None] | None = None
    dropped: finalize[..., Any] | None = None

    async def end(self) -> None:
        self.connection, keeper, self.keeper = None, self.keeper, None
        if self.dropped is not None:
            self.dropped.detach()
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
            if not keeper.cancelled() and (error := keeper.exception()) is not None:
                raise error


class LoopConnections(Generic[C]):
    """One connection for each event loop, made when it is first needed, and again once it has broken.

    It ends by `close`, with its loop, or with the last reference to this object.

    connect: makes one. disconnect: ends one, and returns when nothing of it is left; a plain function, since what it
    refers to lives as long as the loop. is_open: whether it can be used still. descriptor: its socket's, so that a
    forked child lets go of it without a word; the parent goes on.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        disconnect: Callable[[C], Awaitable[None]],
        *,
        is_open: Callable[[C], bool],
        descriptor: Callable[[C], int],
    ) -> None:
        self._connect, self._disconnect = connect, disconnect
        self._is_open, self._descriptor = is_open, descriptor
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._slots: dict[asyncio.AbstractEventLoop, _Slot[C]] = {}
        self._inherited: list[object] = []

    async def get(self) -> C:
        """The running loop's connection. Raises what `connect` raises."""
        slot = self._slot()
        if slot.connection is not None and self._is_open(slot.connection):
            return slot.connection
        async with slot.lock:
            if slot.connection is None or not self._is_open(slot.connection):
                await slot.end()
                connection = await self._connect()
                slot.connection, slot.keeper = connection, await _kept(connection, self._disconnect)
                slot.dropped = finalize(self, _let_go, slot.keeper, self._pid)
                slot.dropped.atexit = False
            return slot.connection

    async def close(self) -> None:
        """End the running loop's connection; harmless twice, and the next `get` makes a new one."""
        slot = self._slot()
        async with slot.lock:
            await slot.end()

    def _slot(self) -> _Slot[C]:
        if self._pid != os.getpid():
            self._drop_inherited()
        loop = asyncio.get_running_loop()
        slot = self._slots.get(loop)
        if slot is None:
            with self._lock:
                for ended in [one for one in self._slots if one.is_closed()]:
                    dropped = self._slots.pop(ended).dropped
                    if dropped is not None:
                        dropped.detach()
                slot = self._slots[loop] = _Slot()
        return slot

    def _drop_inherited(self) -> None:
        """In a forked child: the sockets are the parent's, so nothing may be said on them.

        Their descriptors lead nowhere from here on, and the objects are kept, so that no finaliser ends what is shared.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        for slot in self._slots.values():
            if slot.connection is not None and (descriptor := self._descriptor(slot.connection)) >= 0:
                os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
        self._inherited.append(self._slots)
        self._pid, self._lock, self._slots = os.getpid(), threading.Lock(), {}


async def _kept(connection: C, disconnect: Callable[[C], Awaitable[None]]) -> asyncio.Task[None]:
    """A task that ends the connection once it is cancelled, as runners cancel all tasks of a loop that ends."""
    begun = asyncio.Event()

    async def keep() -> None:
        try:
            begun.set()
            # Not an Event, which only its waiter knows: the loop refers to its timers, and so to this task.
            while True:  # noqa: ASYNC110
                await asyncio.sleep(_LONG_S)
        finally:
            await disconnect(connection)

    task = asyncio.get_running_loop().create_task(keep())
    try:
        await begun.wait()
    except BaseException:
        task.cancel()
        raise
    return task


def _let_go(keeper: asyncio.Task[None], pid: int) -> None:
    """After an owner that was dropped without `close`: a loop that is idle now ends the connection when it ends."""
    loop = keeper.get_loop()
    if pid == os.getpid() and not loop.is_closed():
        loop.call_soon_threadsafe(keeper.cancel)
