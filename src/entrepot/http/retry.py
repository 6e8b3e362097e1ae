"""The one owner of retries: which attempt comes when, and when to give up. SDK retries are off."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar

import anyio

from entrepot.errors import ChecksumMismatch, StoreError, Throttled, Unreachable
from entrepot.http.pace import INSIDE, THROTTLE_COST, TRANSIENT_COST, Pace

T = TypeVar("T")
_MISMATCHES = 1
"""How often bytes that were damaged on their way are sent, or read, once more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how long, how far apart. Throttling counts only against the deadline, not against the attempts.

    deadline_s: since the operation began, or since its bytes last moved. stall_s: so long may an attempt last of which
    no byte moves (`Timeouts`: connecting, and then the longest wait); one that lasted longer has moved some until then.
    unreachable_attempts: for an endpoint that has never answered. Most often its address is mistyped or its server
    not started, and someone waits for that message; one that did answer before gets `max_attempts`, as it may restart.
    """

    max_attempts: int = 6
    unreachable_attempts: int = 3
    deadline_s: float = 180.0
    base_s: float = 0.1
    throttle_base_s: float = 1.0
    cap_s: float = 20.0
    retry_after_cap_s: float = 60.0
    stall_s: float = 70.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    rng: random.Random = field(default_factory=random.Random)

    def attempts(self, error: StoreError) -> int:
        """After how many failures that are not throttling this error is final."""
        return self.unreachable_attempts if isinstance(error, Unreachable) else self.max_attempts

    def delay_s(self, failures: int, error: StoreError) -> float:
        """Before the next attempt, after that many failures (1-based) of one kind: full jitter, or what was asked for.

        A service that asks for a shorter wait gets the jitter: `Retry-After: 0` must not become a loop without pause.
        """
        base_s, asked_s = self.base_s, 0.0
        if isinstance(error, Throttled):
            base_s, asked_s = self.throttle_base_s, error.retry_after_s or 0.0
        jitter_s = self.rng.uniform(0, min(self.cap_s, base_s * 2 ** min(failures - 1, 16)))
        return max(jitter_s, min(self.retry_after_cap_s, asked_s))


def retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header, a count or a date; None where there is none that can be read.

    now: seconds since 1970. Source: RFC 9110, 10.2.3.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


@dataclass(slots=True)
class _Failures:
    """What one operation has met so far."""

    policy: RetryPolicy
    transient: int = 0
    throttled: int = 0
    mismatched: int = 0

    def wait_s(self, error: StoreError, elapsed_s: float) -> float | None:
        """How long to wait before the next attempt; None where this failure is final. elapsed_s: of the deadline."""
        policy, failures = self.policy, 0
        if not error.retryable:
            return None
        if isinstance(error, Throttled):
            self.throttled += 1
            failures = self.throttled
        else:
            self.transient += 1
            self.mismatched += isinstance(error, ChecksumMismatch)
            failures = self.transient
            if failures >= policy.attempts(error) or self.mismatched > _MISMATCHES:
                return None
        delay_s = policy.delay_s(failures, error)
        return delay_s if elapsed_s + delay_s <= policy.deadline_s else None


async def retrying(policy: RetryPolicy, attempt: Callable[[int], Awaitable[T]], pace: Pace | None = None) -> T:
    """Run `attempt(number)` (1-based) until it succeeds, raises what is not retryable, or the policy ends.

    The attempt itself knows what is safe to repeat: it raises a retryable error only where a repetition is.
    pace: of the store; each attempt waits for its turn there, which counts against no deadline. An attempt within
    another one goes on that one's turn.
    """
    if pace is not None and INSIDE.get():
        pace = None
    started_s = policy.clock()
    failures: _Failures | None = None
    number = cost = 0
    began_s = started_s
    while True:
        number += 1
        try:
            if pace is None:
                return await attempt(number)
            turn = pace.try_enter() if not cost else None
            if turn is None:
                asked_s = policy.clock()
                turn = await pace.enter(cost)
                began_s = policy.clock()
                started_s += began_s - asked_s
            before = INSIDE.set(True)
            try:
                result = await attempt(number)
            except BaseException as error:
                turn.end(error)
                if not isinstance(error, GeneratorExit):  # which comes from anywhere, into a task that is given up
                    INSIDE.reset(before)
                raise
            turn.end()
            INSIDE.reset(before)
            return result
        except StoreError as error:
            failures, now_s = failures or _Failures(policy), policy.clock()
            if now_s - began_s > policy.stall_s:
                started_s = now_s - policy.stall_s
            delay_s = failures.wait_s(error, now_s - started_s)
            if delay_s is None:
                raise
            cost = THROTTLE_COST if isinstance(error, Throttled) else TRANSIENT_COST
            _log.debug("attempt %d failed (%s); next in %.2f s", number, type(error).__name__, delay_s)
        await policy.sleep(delay_s)
        began_s = policy.clock()
