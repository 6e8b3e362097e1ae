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

from entrepot.errors import StoreError, Throttled, Unreachable

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how long, how far apart. Throttling counts only against the deadline, not against the attempts.

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


async def retrying(policy: RetryPolicy, attempt: Callable[[int], Awaitable[T]]) -> T:
    """Run `attempt(number)` (1-based) until it succeeds, raises what is not retryable, or the policy ends.

    The attempt itself knows what is safe to repeat: it raises a retryable error only where a repetition is.
    """
    started = policy.clock()
    number = transient = throttled = 0
    while True:
        number += 1
        try:
            return await attempt(number)
        except StoreError as error:
            if not error.retryable:
                raise
            if isinstance(error, Throttled):
                throttled += 1
                failures = throttled
            else:
                transient += 1
                failures = transient
                if transient >= policy.attempts(error):
                    raise
            delay_s = policy.delay_s(failures, error)
            if policy.clock() - started + delay_s > policy.deadline_s:
                raise
            _log.debug("attempt %d failed (%s); next in %.2f s", number, type(error).__name__, delay_s)
        await policy.sleep(delay_s)
