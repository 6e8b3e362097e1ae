"""The retry policy: counted, timed, jittered; clock, sleep and random are ours."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from clocks import Highest, Time
from entrepot.errors import (
    BadResponse,
    ChecksumMismatch,
    ConnectionFailed,
    CredentialsExpired,
    NoSpace,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ServiceError,
    ServiceUnavailable,
    StoreError,
    Throttled,
    TimedOut,
    TlsFailed,
    Unreachable,
    UnsupportedOperation,
)
from entrepot.http.retry import RetryPolicy, retry_after_s, retrying

pytestmark = pytest.mark.anyio


class Failing:
    """An attempt that raises what it is given, in turn, and then succeeds."""

    def __init__(self, *errors: StoreError) -> None:
        self.errors, self.numbers = list(errors), list[int]()

    async def __call__(self, number: int) -> str:
        self.numbers.append(number)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def make(time: Time) -> Callable[..., RetryPolicy]:
    def policy(**settings: object) -> RetryPolicy:
        return RetryPolicy(**{"clock": time.clock, "sleep": time.sleep, "rng": Highest(), **settings})  # type: ignore[arg-type]

    return policy


async def test_a_success_waits_for_nothing(make: Callable[..., RetryPolicy], time: Time) -> None:
    assert await retrying(make(), Failing()) == "done"
    assert time.slept_s == []


async def test_attempts_are_numbered_from_one(make: Callable[..., RetryPolicy]) -> None:
    attempt = Failing(ServiceUnavailable(), TimedOut())
    assert await retrying(make(), attempt) == "done"
    assert attempt.numbers == [1, 2, 3]


async def test_transient_failures_end_after_six_attempts_each_waiting_twice_as_long(
    make: Callable[..., RetryPolicy], time: Time
) -> None:
    last = ServiceUnavailable("the sixth")
    attempt = Failing(*[ServiceUnavailable() for _ in range(5)], last)
    with pytest.raises(ServiceUnavailable) as caught:
        await retrying(make(), attempt)
    assert caught.value is last
    assert time.slept_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


async def test_an_endpoint_that_never_answered_is_given_up_after_three_attempts(
    make: Callable[..., RetryPolicy], time: Time
) -> None:
    attempt = Failing(*[Unreachable() for _ in range(9)])
    with pytest.raises(Unreachable):
        await retrying(make(), attempt)
    assert attempt.numbers == [1, 2, 3]
    assert sum(time.slept_s) < 1


async def test_an_endpoint_that_answered_before_gets_all_attempts(make: Callable[..., RetryPolicy]) -> None:
    attempt = Failing(*[ConnectionFailed(not_sent=True) for _ in range(5)])
    assert await retrying(make(), attempt) == "done"


@pytest.mark.parametrize(
    "error",
    [
        NotFound(), TlsFailed(), PreconditionFailed(), UnsupportedOperation(), ServiceError(), NoSpace(),
        PermissionDenied(), CredentialsExpired(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_what_is_not_retryable_is_raised_at_once(make: Callable[..., RetryPolicy], error: StoreError) -> None:
    attempt = Failing(error)
    with pytest.raises(type(error)):
        await retrying(make(), attempt)
    assert attempt.numbers == [1]


async def test_bytes_that_were_damaged_on_their_way_are_sent_once_more_and_no_third_time(
    make: Callable[..., RetryPolicy],
) -> None:
    attempt = Failing(*[ChecksumMismatch() for _ in range(5)])
    with pytest.raises(ChecksumMismatch):
        await retrying(make(), attempt)
    assert attempt.numbers == [1, 2]


async def test_a_failure_of_another_kind_does_not_use_up_the_one_repetition_of_damaged_bytes(
    make: Callable[..., RetryPolicy],
) -> None:
    attempt = Failing(BadResponse(), ServiceUnavailable(), ChecksumMismatch())
    assert await retrying(make(), attempt) == "done"


async def test_throttling_counts_only_against_the_deadline(make: Callable[..., RetryPolicy], time: Time) -> None:
    attempt = Failing(*[Throttled() for _ in range(50)])
    with pytest.raises(Throttled):
        await retrying(make(), attempt)
    assert time.slept_s[:6] == pytest.approx([1, 2, 4, 8, 16, 20])
    assert sum(time.slept_s) <= 180
    assert len(attempt.numbers) > 6


async def test_throttling_does_not_use_up_the_attempts_of_other_failures(make: Callable[..., RetryPolicy]) -> None:
    attempt = Failing(*[Throttled(retry_after_s=0) for _ in range(20)], *[ServiceUnavailable() for _ in range(5)])
    assert await retrying(make(deadline_s=1e6), attempt) == "done"


async def test_a_wait_that_the_service_asks_for_is_kept_up_to_a_minute(
    make: Callable[..., RetryPolicy], time: Time
) -> None:
    await retrying(make(), Failing(Throttled(retry_after_s=7), Throttled(retry_after_s=3600)))
    assert time.slept_s == [7, 60]


async def test_a_service_that_asks_for_no_wait_gets_the_usual_one(make: Callable[..., RetryPolicy], time: Time) -> None:
    await retrying(make(), Failing(*[Throttled(retry_after_s=0) for _ in range(3)]))
    assert time.slept_s == [1, 2, 4]


async def test_no_wait_begins_that_would_end_after_the_deadline(make: Callable[..., RetryPolicy], time: Time) -> None:
    with pytest.raises(Throttled):
        await retrying(make(deadline_s=10), Failing(Throttled(retry_after_s=11)))
    assert time.slept_s == []


async def test_time_spent_in_attempts_counts_against_the_deadline(make: Callable[..., RetryPolicy], time: Time) -> None:
    async def slow(number: int) -> str:
        time.now_s += 60
        raise TimedOut

    with pytest.raises(TimedOut):
        await retrying(make(), slow)
    assert len(time.slept_s) == 2


async def test_the_deadline_counts_from_when_bytes_last_moved(make: Callable[..., RetryPolicy], time: Time) -> None:
    numbers = []

    async def long(number: int) -> str:
        # An attempt that nothing moves for 60 s is given up: this one was at it for most of its time.
        numbers.append(number)
        time.now_s += 1000
        if number < 6:
            raise ConnectionFailed
        return "done"

    assert await retrying(make(), long) == "done"
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_jitter_is_full_between_nothing_and_the_bound() -> None:
    policy = RetryPolicy(rng=random.Random(7))
    waits = [policy.delay_s(4, ServiceUnavailable()) for _ in range(2000)]
    assert min(waits) >= 0
    assert max(waits) <= 0.8
    assert min(waits) < 0.05
    assert max(waits) > 0.75
    assert sum(waits) / len(waits) == pytest.approx(0.4, rel=0.1)


def test_jitter_never_exceeds_its_cap_however_many_failures() -> None:
    policy = RetryPolicy(rng=Highest())
    assert policy.delay_s(10_000, ServiceUnavailable()) == 20
    assert policy.delay_s(10_000, Throttled()) == 20


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("١٢", None),
    ],
)
def test_retry_after_is_a_count_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=1445412480.0) == seconds
