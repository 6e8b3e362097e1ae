"""How fast a store asks: its limit, its retry budget, its rate; over loops, threads and forked processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from clocks import Time
from entrepot.bridge import BRIDGE
from entrepot.errors import NotFound, ServiceUnavailable, StoreError, Throttled
from entrepot.http.pace import FIRST_LIMIT, FULL_BUDGET, MOST, Pace
from entrepot.http.retry import RetryPolicy, retrying
from entrepot.rates import Rate
from forking import status_of_child

pytestmark = pytest.mark.anyio


async def _enter(pace: Pace) -> Any:
    return pace.try_enter() or await pace.enter(0)


@dataclass
class World:
    """A pace and a policy by one clock, and a number of file descriptors that are free."""

    time: Time
    free: int = 100_000

    def pace(self, **settings: Any) -> Pace:
        return Pace(clock=self.time.clock, sleep=self.time.sleep, descriptors=lambda: self.free, **settings)

    def policy(self, **settings: Any) -> RetryPolicy:
        return RetryPolicy(**{"clock": self.time.clock, "sleep": self.time.sleep, **settings})


@pytest.fixture
def world() -> World:
    return World(Time())


class Held:
    """Attempts that stay under way until they are let go."""

    def __init__(self, pace: Pace, policy: RetryPolicy) -> None:
        self._pace, self._policy = pace, policy
        self._go = asyncio.Event()
        self.under_way: list[str] = []
        self.done: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, *names: str) -> None:
        for name in names:
            self.tasks.append(asyncio.create_task(self._one(name)))
            await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)

    async def _one(self, name: str) -> None:
        async def attempt(_number: int) -> None:
            self.under_way.append(name)
            try:
                await self._go.wait()
            finally:
                self.under_way.remove(name)
            self.done.append(name)

        await retrying(self._policy, attempt, self._pace)

    async def end(self) -> None:
        self._go.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


# ---- the limit ------------------------------------------------------------------------------------------


async def fill(pace: Pace) -> list[Any]:
    """Take all places there are."""
    turns = []
    while (turn := pace.try_enter()) is not None:
        turns.append(turn)
    return turns


async def succeed(pace: Pace, turns: list[Any], times: int) -> None:
    """So many requests succeed, each while all places were in use."""
    for _ in range(times):
        turns.pop().end()
        turns += await fill(pace)


async def test_sixteen_requests_are_in_flight_to_begin_with(world: World) -> None:
    assert len(await fill(world.pace())) == FIRST_LIMIT == 16


async def test_a_window_of_successes_adds_one(world: World) -> None:
    pace = world.pace()
    turns = await fill(pace)
    await succeed(pace, turns, 15)
    assert pace.limit == len(turns) == 16
    await succeed(pace, turns, 1)
    assert pace.limit == len(turns) == 17
    await succeed(pace, turns, 17)
    assert pace.limit == 18


async def test_successes_of_a_store_that_is_hardly_used_add_nothing(world: World) -> None:
    pace = world.pace()
    for _ in range(1000):
        turn = pace.try_enter()
        assert turn is not None
        turn.end()
    assert pace.limit == 16


async def test_answers_that_something_is_not_there_are_successes_and_failures_are_not(world: World) -> None:
    pace = world.pace()
    turns = await fill(pace)
    for _ in range(16):
        turns.pop().end(NotFound())
        turns += await fill(pace)
    assert pace.limit == 17
    for _ in range(100):
        turns.pop().end(ServiceUnavailable())
        turns += await fill(pace)
    assert pace.limit == 17


async def test_throttling_halves_it_at_most_once_a_second(world: World) -> None:
    pace = world.pace()
    turns = await fill(pace)
    for _ in range(5):
        turns.pop().end(Throttled())
    assert pace.limit == 8
    assert pace.try_enter() is None  # 11 are in flight still
    world.time.now_s += 0.99
    turns.pop().end(Throttled())
    assert pace.limit == 8
    world.time.now_s += 0.01
    turns.pop().end(Throttled())
    assert pace.limit == 4
    for turn in turns:
        turn.end(ServiceUnavailable())
    assert len(await fill(pace)) == 4


async def test_it_stays_between_one_and_five_hundred_and_twelve(world: World) -> None:
    pace = world.pace()
    turns = await fill(pace)
    while pace.limit < MOST:
        await succeed(pace, turns, pace.limit)
    await succeed(pace, turns, 2 * MOST)
    assert pace.limit == len(turns) == 512
    for _ in range(20):
        world.time.now_s += 1
        turns.pop().end(Throttled())
    assert pace.limit == 1
    for turn in turns:
        turn.end(ServiceUnavailable())
    assert len(await fill(pace)) == 1


async def test_it_is_no_more_than_a_quarter_of_the_free_descriptors(world: World) -> None:
    world.free = 43
    pace = world.pace()
    assert pace.limit == 10
    assert world.pace(concurrency=64).limit == 10
    world.free = 0
    assert world.pace().limit == 1


async def test_descriptors_are_looked_at_again_as_it_grows(world: World) -> None:
    world.free = 70
    pace = world.pace()
    turns = await fill(pace)
    assert pace.limit == 16
    await succeed(pace, turns, 16 + 17)
    assert pace.limit == 17  # a quarter of 70, looked at a moment ago
    world.time.now_s += 1
    world.free = 20
    await succeed(pace, turns, 17)
    assert pace.limit == (20 + 17) // 4  # its own are free to be used again


async def test_a_fixed_number_neither_grows_nor_is_halved(world: World) -> None:
    pace = world.pace(concurrency=3)
    turns = await fill(pace)
    await succeed(pace, turns, 50)
    turns.pop().end(Throttled())
    assert pace.limit == 3
    assert len(await fill(pace)) == 1


async def test_a_user_may_ask_for_a_number_for_a_while(world: World) -> None:
    pace = world.pace()
    with pace.asked(concurrency=5):
        turns = await fill(pace)
        assert len(turns) == 5
        with pace.asked(concurrency=20):
            turns += await fill(pace)
            assert len(turns) == 20
        assert pace.limit == 5
        for turn in turns[:15]:
            turn.end()
        assert pace.try_enter() is None
        for turn in turns[15:]:
            turn.end()
    assert pace.limit == len(await fill(pace)) == 16


async def test_who_waits_comes_in_order(world: World) -> None:
    held = Held(world.pace(concurrency=1), world.policy())
    await held.start("a", "b", "c", "d")
    assert held.under_way == ["a"]
    await held.end()
    assert held.done == ["a", "b", "c", "d"]


async def test_who_is_cancelled_in_line_leaves_it_to_the_others(world: World) -> None:
    pace = world.pace(concurrency=1)
    held = Held(pace, world.policy())
    await held.start("a", "b", "c")
    held.tasks[1].cancel()
    await held.end()
    assert held.done == ["a", "c"]
    assert pace.try_enter() is not None


async def test_who_is_cancelled_just_after_its_turn_came_gives_it_on(world: World) -> None:
    pace = world.pace(concurrency=1)
    turn = pace.try_enter()
    assert turn is not None
    first, second = asyncio.create_task(_enter(pace)), asyncio.create_task(_enter(pace))
    await asyncio.sleep(0)
    turn.end()
    first.cancel()  # the place is its own by now, and it has not run yet
    assert (await second).place == "plain"
    assert first.cancelled() or (await asyncio.wait([first]) and first.cancelled())


async def test_an_attempt_that_is_cancelled_gives_its_place_back(world: World) -> None:
    pace = world.pace(concurrency=1)
    held = Held(pace, world.policy())
    await held.start("a")
    held.tasks[0].cancel()
    await asyncio.wait(held.tasks)
    assert len(await fill(pace)) == 1


@pytest.mark.holds("nested-limiters")
async def test_what_an_attempt_asks_beside_goes_on_its_turn(world: World) -> None:
    pace, policy = world.pace(concurrency=1), world.policy()

    async def inner(_number: int) -> str:
        return "done"

    async def outer(_number: int) -> str:
        return await retrying(policy, inner, pace)

    with anyio.fail_after(10):
        assert await retrying(policy, outer, pace) == "done"
        assert await retrying(policy, inner, pace) == "done"
    assert len(await fill(pace)) == 1


def test_the_limit_holds_over_the_loops_of_many_threads() -> None:
    pace, policy = Pace(concurrency=3), RetryPolicy()
    lock, now, most, done = threading.Lock(), 0, 0, 0

    async def attempt(_number: int) -> None:
        nonlocal now, most, done
        with lock:
            now += 1
            most = max(most, now)
        await asyncio.sleep(0.001)
        with lock:
            now -= 1
            done += 1

    async def work() -> None:
        await asyncio.gather(*[retrying(policy, attempt, pace) for _ in range(25)])

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (done, most) == (200, 3)


def test_a_loop_that_was_only_closed_takes_no_place_with_it(world: World) -> None:
    pace = world.pace(concurrency=1)
    turn = pace.try_enter()
    assert turn is not None
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(pace.enter(0))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    turn.end()
    assert pace.try_enter() is not None
    waiting.get_coro().close()  # type: ignore[union-attr]  # or the test would warn of it
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


# ---- blocking calls inside a running loop ---------------------------------------------------------------


@pytest.fixture
def background() -> Iterator[None]:
    yield
    BRIDGE.stop()


@pytest.mark.holds("nested-limiters")
@pytest.mark.usefixtures("background")
async def test_a_blocking_call_inside_a_loop_gets_through_while_that_loop_holds_all_places(world: World) -> None:
    pace, policy = world.pace(concurrency=2), world.policy()
    held = Held(pace, policy)
    await held.start("a", "b", "c")
    assert held.under_way == ["a", "b"]

    async def attempt(_number: int) -> int:
        return 42

    # Nothing of this loop goes on until these return.
    assert BRIDGE.run(lambda: retrying(policy, attempt, pace)) == 42
    assert BRIDGE.run(lambda: retrying(policy, attempt, pace)) == 42
    await held.end()
    assert held.done == ["a", "b", "c"]
    assert len(await fill(pace)) == 2


@pytest.mark.usefixtures("background")
async def test_blocking_callers_have_one_place_beyond_the_limit_and_no_more(world: World) -> None:
    pace, policy = world.pace(concurrency=1), world.policy()
    held = Held(pace, policy)
    await held.start("a")
    now = most = 0

    async def attempt(_number: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    async def many() -> None:
        await asyncio.gather(*[retrying(policy, attempt, pace) for _ in range(10)])

    BRIDGE.run(many)
    assert most == 1
    await held.end()


@pytest.mark.usefixtures("background")
async def test_a_blocking_caller_retries_while_its_loop_holds_the_one_retry_of_an_empty_budget(world: World) -> None:
    pace, policy = world.pace(), world.policy(base_s=0)
    await spend(pace)
    stays = asyncio.Event()
    attempts = Failures(1)

    async def first(number: int) -> None:
        await attempts(number)
        await stays.wait()

    task = asyncio.create_task(retrying(policy, first, pace))
    for _ in range(10):
        await asyncio.sleep(0)
    assert attempts.retries_under_way == 0
    assert BRIDGE.run(lambda: retrying(policy, Failures(2), pace)) == "done"
    stays.set()
    await task


# ---- the retry budget -----------------------------------------------------------------------------------


class Failures:
    """An operation that fails so often, and then succeeds."""

    under_way = most = 0

    def __init__(self, times: int, error: type[StoreError] = ServiceUnavailable) -> None:
        self._left, self._error = times, error
        self.retries_under_way = 0

    async def __call__(self, number: int) -> str:
        if self._left:
            self._left -= 1
            raise self._error
        return "done"


async def spend(pace: Pace) -> None:
    """Use up the tokens, all of them."""
    while pace.tokens:
        (await pace.enter(5)).end(ServiceUnavailable())


async def test_a_transient_failure_costs_fourteen_tokens_and_throttling_five(world: World) -> None:
    pace, policy = world.pace(), world.policy()
    with pytest.raises(ServiceUnavailable):
        await retrying(policy, Failures(99), pace)
    assert pace.tokens == FULL_BUDGET - 5 * 14  # six attempts are five retries
    await retrying(policy, Failures(2, Throttled), pace)
    assert pace.tokens == FULL_BUDGET - 5 * 14 - 2 * 5 + 1


async def test_a_success_brings_one_back_up_to_five_hundred(world: World) -> None:
    pace, policy = world.pace(), world.policy()
    await retrying(policy, Failures(1), pace)
    assert pace.tokens == 500 - 14 + 1
    for _ in range(12):
        await retrying(policy, Failures(0), pace)
    assert pace.tokens == 499
    for _ in range(5):
        await retrying(policy, Failures(0), pace)
    assert pace.tokens == 500


async def test_with_an_empty_budget_one_retry_at_a_time_goes_and_all_get_through(world: World) -> None:
    pace, policy = world.pace(concurrency=64), world.policy()
    await spend(pace)
    retries = most = 0

    def failing_once() -> Callable[[int], Awaitable[str]]:
        async def attempt(number: int) -> str:
            nonlocal retries, most
            if number == 1:
                raise ServiceUnavailable
            retries += 1
            most = max(most, retries)
            for _ in range(3):
                await asyncio.sleep(0)
            retries -= 1
            return "done"

        return attempt

    results = await asyncio.gather(*[retrying(policy, failing_once(), pace) for _ in range(10)])
    assert results == ["done"] * 10
    assert most == 1


async def test_waiting_for_an_empty_budget_counts_against_no_deadline(world: World) -> None:
    pace, policy = world.pace(), world.policy(deadline_s=10)
    await spend(pace)
    holder = await pace.enter(14)
    waiting = asyncio.create_task(retrying(policy, Failures(3), pace))
    for _ in range(10):
        await asyncio.sleep(0)
    world.time.now_s += 1000
    holder.end(ServiceUnavailable())
    assert await waiting == "done"


async def test_a_first_attempt_never_waits_for_the_budget(world: World) -> None:
    pace = world.pace()
    await spend(pace)
    assert pace.try_enter() is not None


async def test_retries_in_line_go_together_once_successes_have_filled_the_budget(world: World) -> None:
    pace, policy = world.pace(), world.policy()
    await spend(pace)
    stays = asyncio.Event()
    under_way = 0

    async def attempt(number: int) -> None:
        nonlocal under_way
        if number == 1:
            raise ServiceUnavailable
        under_way += 1
        await stays.wait()

    tasks = [asyncio.create_task(retrying(policy, attempt, pace)) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert under_way == 1
    for _ in range(28):
        await retrying(policy, Failures(0), pace)
    for _ in range(3):
        await asyncio.sleep(0)
    assert under_way == 3
    stays.set()
    await asyncio.gather(*tasks)


async def test_a_retry_that_is_cancelled_in_line_leaves_the_turn_to_the_next(world: World) -> None:
    pace = world.pace()
    await spend(pace)
    first = await pace.enter(14)
    assert first.fare == "alone"
    second, third = asyncio.create_task(pace.enter(14)), asyncio.create_task(pace.enter(14))
    await asyncio.sleep(0)
    second.cancel()
    first.end()
    assert (await third).fare == "alone"


# ---- requests a second ----------------------------------------------------------------------------------


async def test_requests_of_all_kinds_together_keep_the_rate(world: World) -> None:
    pace, policy = world.pace(requests_per_second=5), world.policy(base_s=0, throttle_base_s=0)
    moments: list[float] = []

    async def attempt(number: int) -> None:
        moments.append(world.time.now_s - 1000)
        if number == 1:
            raise ServiceUnavailable

    for _ in range(3):
        await retrying(policy, attempt, pace)
    assert moments == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


async def test_a_rate_that_both_ends_of_a_copy_share_counts_once_for_a_request(world: World) -> None:
    pace, policy = world.pace(), world.policy()
    rate = Rate(10, clock=world.time.clock, sleep=world.time.sleep)
    with pace.asked(rate=rate), pace.asked(rate=rate):
        for _ in range(11):
            await retrying(policy, Failures(0), pace)
    assert world.time.now_s == pytest.approx(1001)
    for _ in range(50):
        await retrying(policy, Failures(0), pace)
    assert world.time.now_s == pytest.approx(1001)


async def test_waiting_for_the_rate_counts_against_no_deadline(world: World) -> None:
    pace, policy = world.pace(requests_per_second=0.1), world.policy(deadline_s=5)
    assert await retrying(policy, Failures(3), pace) == "done"
    assert world.time.now_s >= 1030


# ---- processes ------------------------------------------------------------------------------------------


async def test_a_forked_child_begins_anew_whatever_was_held() -> None:
    pace, policy = Pace(concurrency=1), RetryPolicy(base_s=0)
    held = Held(pace, policy)
    await held.start("a", "b")
    with pace._counts.requests._lock, pace._counts.retries._lock:  # as by a thread that is not in the child

        async def in_child() -> None:
            assert pace.tokens == 500
            with anyio.fail_after(20):
                await retrying(policy, Failures(2), pace)
                await asyncio.gather(*[retrying(policy, Failures(0), pace) for _ in range(5)])

        assert status_of_child(in_child) == 0
    await held.end()
    assert held.done == ["a", "b"]
