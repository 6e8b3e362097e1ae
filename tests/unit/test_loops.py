"""What is kept per event loop: opened once, closed with its loop, and never what keeps a loop alive."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import AsyncExitStack

import pytest

from entrepot.services.loops import PerLoop


class Resource:
    """Like an SDK's client it has its loop in it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_open = True


class Opened:
    """The resources that were opened; the first `failing` of them fail."""

    def __init__(self, failing: int = 0) -> None:
        self.count = 0
        self.open = 0
        self.failing = failing
        self.per_loop = PerLoop(self._made)

    async def _made(self, stack: AsyncExitStack) -> Resource:
        await asyncio.sleep(0)
        self.count += 1
        if self.count <= self.failing:
            raise OSError("scripted")
        resource = Resource()
        self.open += 1

        async def close() -> None:
            await asyncio.sleep(0)
            self.open -= 1
            resource.is_open = False

        stack.push_async_callback(close)
        return resource


async def all_at_once(opened: Opened) -> weakref.ref[asyncio.AbstractEventLoop]:
    found = await asyncio.gather(*(opened.per_loop.get() for _ in range(5)))
    assert len(set(map(id, found))) == 1
    assert found[0].is_open
    return weakref.ref(asyncio.get_running_loop())


def test_a_loop_opens_one_whoever_asks_and_closes_it_at_its_end() -> None:
    opened = Opened()
    for number in (1, 2):
        asyncio.run(all_at_once(opened))
        assert (opened.count, opened.open) == (number, 0)


def test_a_loop_that_has_ended_is_not_kept_alive() -> None:
    opened = Opened()
    loop = asyncio.run(all_at_once(opened))
    gc.collect()
    assert loop() is None


def test_a_loop_that_was_only_closed_is_forgotten_when_another_comes() -> None:
    opened = Opened()
    loop = asyncio.new_event_loop()
    reference = loop.run_until_complete(all_at_once(opened))
    loop.close()
    del loop
    asyncio.run(all_at_once(opened))
    gc.collect()
    assert reference() is None


def test_what_was_closed_is_opened_anew() -> None:
    opened = Opened()

    async def run() -> None:
        first = await opened.per_loop.get()
        await opened.per_loop.close()
        await opened.per_loop.close()
        assert not first.is_open
        assert (await opened.per_loop.get()).is_open

    asyncio.run(run())
    assert (opened.count, opened.open) == (2, 0)


def test_what_fails_to_open_is_tried_again() -> None:
    opened = Opened(failing=1)

    async def run() -> None:
        with pytest.raises(OSError, match="scripted"):
            await opened.per_loop.get()
        assert (await opened.per_loop.get()).is_open

    asyncio.run(run())
    assert opened.open == 0
