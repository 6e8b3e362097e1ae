"""How fast one store asks its service: requests in flight, retries that it can afford, requests a second.

One `Pace` a store, shared by all its event loops and threads. What is counted is guarded by plain locks, and who waits
is woken in its own loop. A forked child begins anew: nothing of its parent is in flight there.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias
from weakref import WeakSet

import anyio

from entrepot.errors import AlreadyExists, NotFound, PreconditionFailed, Throttled
from entrepot.http.descriptors import free_descriptors
from entrepot.http.lines import Line
from entrepot.rates import Rate

FIRST_LIMIT: Final = 16
MOST: Final = 512
CUT_EVERY_S: Final = 1.0
SHARE_OF_DESCRIPTORS: Final = 4

FULL_BUDGET: Final = 500
TRANSIENT_COST: Final = 14
THROTTLE_COST: Final = 5

_LOOK_EVERY_S: Final = 1.0
"""How often at most the free file descriptors are counted."""

_ANSWERS: Final = (NotFound, AlreadyExists, PreconditionFailed)
"""Errors by which a service that is well answers."""

INSIDE: Final[ContextVar[bool]] = ContextVar("entrepot_inside_an_attempt", default=False)
"""Whether this runs within an attempt. What an attempt asks beside goes on its turn, which has to end first."""

Place: TypeAlias = Literal["plain", "reserved"]
"""A request's place: within the limit, or the one beyond it that is kept for blocking callers inside a loop."""

Fare: TypeAlias = Literal["paid", "alone", "reserved"]
"""What a retry goes by: tokens; where they are used up, being the only one of its store, or the one more beside it
that is kept for blocking callers inside a loop.
"""


class RequestLimit:
    """How many requests are in flight at most.

    It begins at 16. A window of successes, as many as the limit, that were made while all of it was in use, raises it
    by 1; a service that asks for fewer requests halves it, at most once a second. Bounds: 1 and 512, and a quarter of
    the file descriptors that are free.
    fixed: a number of the user's in place of that; the descriptors bound it, too.

    Free places are the items of a deque, which a thread takes and gives back in one step: while there is one, no lock
    is needed. All else is guarded by the lock.
    """

    def __init__(
        self, fixed: int | None, clock: Callable[[], float], descriptors: Callable[[], int] = free_descriptors
    ) -> None:
        self._fixed, self._clock, self._descriptors = fixed, clock, descriptors
        self._asked: dict[object, int] = {}
        self._lock = threading.Lock()
        self._line: Line[None, Place] = Line(self._lock, self._give, self._take_back)
        self._waiters = self._line.waiters
        self._free: deque[None] = deque()
        self._owed = 0  # places that are to vanish as they are given back
        self._reserved_taken = False
        self._adaptive, self._successes = FIRST_LIMIT, 0
        self._cut_at_s = -CUT_EVERY_S
        self._limit = 0
        self._ceiling, self._looked_at_s = self._counted(), clock()
        self._settle()

    @property
    def limit(self) -> int:
        """The limit now."""
        return self._limit

    def try_enter(self) -> bool:
        """Take a plain place, if one is free; then nobody waits."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    async def enter(self) -> Place:
        """Take a place, waiting in line."""
        return await self._line.wait(None)

    def try_leave(self) -> bool:
        """Give a plain place back, after a success; false where there is more to it, and `leave` is to be called."""
        if not self._free or self._owed:
            return False
        self._free.append(None)
        if self._waiters:  # who came in between did not see it
            with self._lock:
                self._line.serve()
        return True

    def leave(self, place: Place, *, success: bool, throttled: bool) -> None:
        """Give a place back. success: the service did what was asked. throttled: it asks for fewer requests."""
        with self._lock:
            if throttled:
                self._cut()
            elif success and not self._free:
                self._count_success()
            self._take_back(place)
            self._line.serve()

    def ask(self, who: object, number: int | None) -> None:
        """For the time being a fixed number, for one of those who use the store; the largest one counts, None ends."""
        with self._lock:
            if number is None:
                self._asked.pop(who, None)
            else:
                self._asked[who] = number
            self._settle()
            self._line.serve()

    # All below runs under the lock.

    def _give(self, _ask: None, privileged: bool) -> Place | None:
        if self.try_enter():
            return "plain"
        if privileged and not self._reserved_taken:
            self._reserved_taken = True
            return "reserved"
        return None

    def _take_back(self, place: Place) -> None:
        if place == "reserved":
            self._reserved_taken = False
        elif self._owed:
            self._owed -= 1
        else:
            self._free.append(None)

    def _count_success(self) -> None:
        if self._fixed is not None or self._asked:
            return
        self._successes += 1
        if self._successes >= self._adaptive:
            self._successes = 0
            self._adaptive = min(MOST, self._adaptive + 1)
            if self._clock() - self._looked_at_s >= _LOOK_EVERY_S:
                self._ceiling, self._looked_at_s = self._counted(), self._clock()
            self._settle()

    def _cut(self) -> None:
        now_s = self._clock()
        if now_s - self._cut_at_s >= CUT_EVERY_S:
            self._cut_at_s = now_s
            self._adaptive, self._successes = max(1, self._adaptive // 2), 0
            self._settle()

    def _counted(self) -> int:
        # The sockets of requests in flight are in use by then, and ours to use.
        in_flight = self._limit + self._owed - len(self._free)
        return max(1, (self._descriptors() + in_flight) // SHARE_OF_DESCRIPTORS)

    def _settle(self) -> None:
        self._adaptive = min(self._adaptive, self._ceiling)
        wanted = min(max(self._asked.values(), default=self._fixed or self._adaptive), self._ceiling)
        more, self._limit = wanted - self._limit, wanted
        while more > 0:
            self._take_back("plain")
            more -= 1
        while more < 0:
            if not self.try_enter():
                self._owed += 1
            more += 1


class RetryBudget:
    """What retries a store can afford, so that a service which is down is not asked six times for everything.

    500 tokens; a retry after a transient failure takes 14, one after throttling 5, and each success brings 1 back.
    Where there are too few, retries go one at a time, in order; nothing fails for it. tokens: what is left.
    """

    def __init__(self) -> None:
        self.tokens = FULL_BUDGET
        self._lock = threading.Lock()
        self._line: Line[int, Fare] = Line(self._lock, self._give, self._take_back)
        self._alone_taken = self._reserved_taken = False

    def try_pay(self, cost: int) -> bool:
        """Pay for a retry, if there is enough and nobody waits."""
        with self._lock:
            if self.tokens < cost or self._line.waiters:
                return False
            self.tokens -= cost
            return True

    async def pay(self, cost: int) -> Fare:
        """Pay for a retry, or wait until it may go unpaid."""
        return await self._line.wait(cost)

    def end(self, fare: Fare) -> None:
        """The retry has ended."""
        if fare != "paid":
            with self._lock:
                self._take_back(fare)
                self._line.serve()

    def earn(self) -> None:
        """After a success."""
        with self._lock:
            self.tokens = min(FULL_BUDGET, self.tokens + 1)
            self._line.serve()

    # All below runs under the lock.

    def _give(self, cost: int, privileged: bool) -> Fare | None:
        if self.tokens >= cost:
            self.tokens -= cost
            return "paid"
        if not self._alone_taken:
            self._alone_taken = True
            return "alone"
        if privileged and not self._reserved_taken:
            self._reserved_taken = True
            return "reserved"
        return None

    def _take_back(self, fare: Fare) -> None:
        if fare == "alone":
            self._alone_taken = False
        elif fare == "reserved":
            self._reserved_taken = False


@dataclass(slots=True, eq=False)
class _Counts:
    """What is counted. first: the turn of a first attempt that did not have to wait, as nearly all."""

    requests: RequestLimit
    retries: RetryBudget
    own_rate: Rate | None
    rates: tuple[Rate, ...] = ()
    asked: dict[object, Rate] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    first: Turn = field(init=False)

    def __post_init__(self) -> None:
        self.first = Turn(self, "plain", None)
        self.ask(self, None)

    def ask(self, who: object, rate: Rate | None) -> None:
        """A rate beside the store's own; None ends it. One that is asked for twice counts once."""
        with self.lock:
            if rate is None:
                self.asked.pop(who, None)
            else:
                self.asked[who] = rate
            own = (self.own_rate,) if self.own_rate is not None else ()
            self.rates = tuple(dict.fromkeys((*own, *self.asked.values())))


class Turn(NamedTuple):
    """The right to make one attempt. fare: None for a first one."""

    counts: _Counts
    place: Place
    fare: Fare | None

    def end(self, error: BaseException | None = None) -> None:
        """Give it back, with what became of the attempt."""
        counts = self.counts
        success = error is None or isinstance(error, _ANSWERS)
        if self is not counts.first or not success or not counts.requests.try_leave():
            counts.requests.leave(self.place, success=success, throttled=isinstance(error, Throttled))
            if self.fare is not None:
                counts.retries.end(self.fare)
        if success and counts.retries.tokens < FULL_BUDGET:
            counts.retries.earn()


class Pace:
    """What every attempt of one store passes through, in `entrepot.http.retry.retrying`.

    concurrency: a fixed number of requests in flight; None adapts it to what the service takes.
    requests_per_second: an even rate of attempts, all operations together; None for no bound.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        requests_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        descriptors: Callable[[], int] = free_descriptors,
    ) -> None:
        self._concurrency, self._per_second = concurrency, requests_per_second
        self._clock, self._sleep, self._descriptors = clock, sleep, descriptors
        self._counts = self._fresh()
        _PACES.add(self)

    def _fresh(self) -> _Counts:
        requests = RequestLimit(self._concurrency, self._clock, self._descriptors)
        per_second = self._per_second
        rate = Rate(per_second, clock=self._clock, sleep=self._sleep) if per_second is not None else None
        return _Counts(requests, RetryBudget(), rate)

    def begin_anew(self) -> None:
        """In a forked child: nothing is in flight, and a lock that another thread held is never let go of."""
        self._counts = self._fresh()

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return self._counts.requests.limit

    @property
    def tokens(self) -> int:
        """What is left to pay for retries."""
        return self._counts.retries.tokens

    @contextmanager
    def asked(self, *, concurrency: int | None = None, rate: Rate | None = None) -> Generator[None]:
        """For the length of a `with`: a fixed number of requests in flight, and a rate beside the store's own.

        Of several numbers at once the largest counts, of several rates each.
        """
        counts, who = self._counts, object()
        counts.requests.ask(who, concurrency)
        counts.ask(who, rate)
        try:
            yield
        finally:
            counts.requests.ask(who, None)
            counts.ask(who, None)

    # ---- one attempt ------------------------------------------------------------------------------

    def try_enter(self) -> Turn | None:
        """A turn for a first attempt, if there is one at once."""
        counts = self._counts
        return counts.first if not counts.rates and counts.requests.try_enter() else None

    async def enter(self, cost: int) -> Turn:
        """A turn, waited for. cost: of a retry, 0 for a first attempt. A cancellation leaves nothing taken."""
        counts = self._counts
        fare: Fare | None = None
        if cost:
            fare = "paid" if counts.retries.try_pay(cost) else await counts.retries.pay(cost)
        try:
            for rate in counts.rates:
                await rate.take(1)
            place: Place = "plain" if counts.requests.try_enter() else await counts.requests.enter()
        except BaseException:
            if fare is not None:
                counts.retries.end(fare)
            raise
        return Turn(counts, place, fare)


_PACES: Final[WeakSet[Pace]] = WeakSet()
"""Those of this process, for a child that is forked: to ask for the process's id costs a system call a request."""


def _begin_anew() -> None:
    for pace in list(_PACES):
        pace.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
