"""A bound on units a second: smooth, in order, and given back by who did not wait for it."""

from __future__ import annotations

import asyncio

import pytest

from clocks import Time
from entrepot.rates import Rate

pytestmark = pytest.mark.anyio


@pytest.fixture
def time() -> Time:
    return Time()


async def for_ever(_seconds: float) -> None:
    await asyncio.Event().wait()


async def moments(time: Time, rate: Rate, count: int, units: float) -> list[float]:
    """When each of so many takers may go on."""
    found = []
    for _ in range(count):
        await rate.take(units)
        found.append(time.now_s - 1000)
    return found


async def test_takers_go_on_one_after_another_evenly(time: Time) -> None:
    rate = Rate(4, clock=time.clock, sleep=time.sleep)
    assert await moments(time, rate, 5, 1) == pytest.approx([0, 0.25, 0.5, 0.75, 1])


async def test_a_tenth_of_a_second_that_was_not_used_may_be_taken_at_once_and_no_more(time: Time) -> None:
    rate = Rate(1000, clock=time.clock, sleep=time.sleep)
    time.now_s += 60
    waits = [rate.book(1) for _ in range(150)]
    assert waits[:100] == pytest.approx([0] * 100, abs=1e-9)
    assert waits[100:] == pytest.approx([(n + 1) / 1000 for n in range(50)])


@pytest.mark.parametrize("size", [1, 10_000, 2_000_000])
async def test_in_no_stretch_of_time_is_more_taken_than_the_rate_allows(time: Time, size: int) -> None:
    per_second = 1_000_000
    rate = Rate(per_second, clock=time.clock, sleep=time.sleep)
    found = await moments(time, rate, 200, size)
    for first in range(0, 200, 7):
        for last in range(first, 200, 11):
            # What the first one took was there before.
            assert (last - first) * size <= per_second * (found[last] - found[first] + 0.1) + 1e-3


async def test_one_that_is_larger_than_a_burst_waits_until_all_of_it_is_there(time: Time) -> None:
    rate = Rate(1_000_000, clock=time.clock, sleep=time.sleep)
    assert await moments(time, rate, 2, 8_000_000) == pytest.approx([7.9, 15.9])


async def test_what_was_booked_for_a_wait_that_is_cancelled_is_there_for_others(time: Time) -> None:
    rate = Rate(10, clock=time.clock, sleep=for_ever)
    assert rate.book(1) == 0
    tasks = [asyncio.create_task(rate.take(1)) for _ in range(100)]
    await asyncio.sleep(0)
    assert rate.book(1) == pytest.approx(10.1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert rate.book(1) == pytest.approx(0.2)
