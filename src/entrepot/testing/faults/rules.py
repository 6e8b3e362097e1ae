"""Which request meets which fault: rules, and how often each has fired. Seeded, so that a run can be repeated."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from entrepot.testing.faults.operations import ANY, OPERATIONS, Asked
from entrepot.testing.faults.values import Fault, Status


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A fault, and the requests that meet it. Each rule counts its own matches; the first rule that fires wins.

    operation: one of `OPERATIONS`, several, or `*`. key: a pattern of `fnmatch` for the object's key, decoded.
    nth: the first match that may meet the fault, from 1. times: how many do, None for all. probability: of each.
    within: only so many matches from the nth on, for_s: only so many seconds from the nth match on.
    Raises: ValueError for what no request can match.
    """

    operation: str | tuple[str, ...]
    fault: Fault
    key: str = "*"
    nth: int = 1
    times: int | None = 1
    probability: float = 1.0
    within: int | None = None
    for_s: float | None = None

    def __post_init__(self) -> None:
        unknown = {*self._operations} - OPERATIONS - {ANY}
        if unknown or not self._operations:
            raise ValueError(f"no such operation: {', '.join(sorted(unknown)) or 'none'}; see OPERATIONS")
        if self.nth < 1 or (self.times is not None and self.times < 1) or not 0 < self.probability <= 1:
            raise ValueError("nth and times are at least 1, probability is above 0 and at most 1")

    @property
    def _operations(self) -> tuple[str, ...]:
        return (self.operation,) if isinstance(self.operation, str) else self.operation

    def matches(self, asked: Asked) -> bool:
        """Whether this request is one of those the rule is for."""
        named = self._operations
        return (ANY in named or asked.operation in named) and fnmatchcase(asked.key, self.key)


def burst(
    operation: str | tuple[str, ...] = ANY,
    *,
    fault: Fault | None = None,
    key: str = "*",
    probability: float = 1.0,
    requests: int | None = None,
    for_s: float | None = None,
) -> Rule:
    """A bad time: each request meets the fault with that probability, over so many requests or seconds.

    fault: None is a 503, by which each service asks for fewer requests. `burst(probability=0.3, for_s=60)` is a
    minute in which 30 % of all requests are refused.
    """
    return Rule(
        operation, fault or Status(503), key=key, times=None, probability=probability, within=requests, for_s=for_s
    )


@dataclass(slots=True, eq=False)
class _Track:
    """What has become of one rule."""

    rule: Rule
    random: random.Random
    matched: int = 0
    taken: int = 0
    fired: int = 0
    since_s: float = 0.0


@dataclass(slots=True, eq=False)
class Shot:
    """A fault that one request is about to meet. `fire` when it takes effect, `spare` when it could not."""

    fault: Fault
    random: random.Random
    fire: Callable[[], None]
    spare: Callable[[], None]


@dataclass(slots=True, eq=False)
class Rules:
    """All rules of a proxy, for threads. clock: seconds, of any origin. Draws come in the order of the matches."""

    seed: int
    clock: Callable[[], float]
    _tracks: list[_Track] = field(default_factory=list)
    _hits: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _added: int = 0

    def add(self, rules: Iterable[Rule]) -> None:
        """Append rules; each gets a random sequence of its own."""
        with self._lock:
            for rule in rules:
                self._added += 1
                self._tracks.append(_Track(rule, random.Random(f"{self.seed}/{self._added}")))  # noqa: S311

    def clear(self) -> None:
        """Forget the rules; what was counted stays."""
        with self._lock:
            self._tracks = []

    def hits(self) -> Counter[str]:
        """How often each kind of fault took effect, by its class's name."""
        with self._lock:
            return Counter(self._hits)

    def fired(self, rule: Rule) -> int:
        """How often this rule's fault took effect. Raises: ValueError for a rule that is not of this proxy."""
        with self._lock:
            found = [track.fired for track in self._tracks if track.rule is rule]
        if not found:
            raise ValueError("the proxy has no such rule, or had it once")
        return found[0]

    def meet(self, asked: Asked) -> Shot | None:
        """The fault for this request, if any. Every rule that matches counts it."""
        with self._lock:
            chosen: _Track | None = None
            for track in self._tracks:
                if track.rule.matches(asked) and self._draws(track) and chosen is None:
                    chosen = track
            if chosen is None:
                return None
            chosen.taken += 1
        return self._shot(chosen)

    def _draws(self, track: _Track) -> bool:
        rule = track.rule
        track.matched += 1
        beyond = track.matched - rule.nth
        if beyond < 0:
            return False
        if beyond == 0:
            track.since_s = self.clock()
        if rule.within is not None and beyond >= rule.within:
            return False
        if rule.for_s is not None and self.clock() - track.since_s >= rule.for_s:
            return False
        # Drawn for every match, so that what one request meets does not depend on what became of the others.
        drawn = rule.probability >= 1 or track.random.random() < rule.probability
        return drawn and (rule.times is None or track.taken < rule.times)

    def _shot(self, track: _Track) -> Shot:
        def fire() -> None:
            with self._lock:
                track.fired += 1
                self._hits[type(track.rule.fault).__name__] += 1

        def spare() -> None:
            with self._lock:
                track.taken -= 1

        return Shot(track.rule.fault, random.Random(track.random.random()), fire, spare)  # noqa: S311
