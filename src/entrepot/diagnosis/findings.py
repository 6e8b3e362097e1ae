"""What an examination tells: one finding a check, and the verdict of them all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import anyio

from entrepot import errors
from entrepot.errors import StoreError
from entrepot.paths import printable

State: TypeAlias = Literal["ok", "warning", "failed", "skipped"]

ITEMS_NAMED: Final = 100
"""How many addresses a finding names; the others are counted in its message."""

CHECK_S: Final = 60.0
"""How long one check may take, its retries included: somebody waits for it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check. check: its name, such as `credentials`. message: what was found, in one line.

    advice: what to set or to do, empty where nothing is. items: addresses that it is about, the first hundred.
    """

    check: str
    state: State
    message: str
    advice: str = ""
    items: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What was found, and what to do."""
        return f"{self.message}; {self.advice}" if self.advice else self.message

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "check": self.check,
            "state": self.state,
            "message": self.message,
            "advice": self.advice,
            "items": list(self.items),
        }


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings of one examination, in their order. uri: the root of the store."""

    uri: str
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(one.state == "failed" for one in self.findings)

    def named(self, check: str) -> Finding:
        """The finding of a check. Raises KeyError where it was not among them."""
        for one in self.findings:
            if one.check == check:
                return one
        raise KeyError(check)

    @property
    def verdict(self) -> str:
        """`10 checks ok, 1 warning (clock), 2 skipped`: one line."""
        numbers: Counter[str] = Counter(one.state for one in self.findings)
        parts = [f"{counted(numbers['ok'], 'check')} ok"]
        for state, told in (
            ("warning", counted(numbers["warning"], "warning")),
            ("failed", f"{numbers['failed']} failed"),
        ):
            if numbers[state]:
                parts.append(f"{told} ({', '.join(one.check for one in self.findings if one.state == state)})")
        if numbers["skipped"]:
            parts.append(f"{numbers['skipped']} skipped")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """`uri`, `ok`, `verdict`, and how many findings have which state."""
        numbers = Counter(one.state for one in self.findings)
        states: tuple[State, ...] = ("ok", "warning", "failed", "skipped")
        return {
            "uri": self.uri,
            "ok": self.ok,
            "verdict": self.verdict,
            "checks": {state: numbers[state] for state in states},
        }


# What to do where an error's own message does not say it; the first class that matches is taken.
_ADVICE: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.ContainerNotFound, "make the bucket or container, or check its name and the endpoint"),
    (errors.CredentialsExpired, "sign in again"),
    (errors.CredentialsMissing, "check the credentials, and that they are of this endpoint"),
    (errors.PermissionDenied, "check what the credentials, or this user, may do here"),
    (errors.NoSpace, "free some space"),
    (errors.TlsFailed, "check endpoint_url and ca_bundle"),
    (errors.ConnectionFailed, "check the network and endpoint_url"),
    (errors.TimedOut, "check the network and endpoint_url"),
    (errors.Throttled, "try again later, or raise the service's limit"),
    (errors.ServiceUnavailable, "try again later"),
    (errors.NotADirectory, "give the address of a directory"),
)


def failed(check: str, error: StoreError | OSError) -> Finding:
    """A check that ended in an error: its message, and the advice in it or that of its kind."""
    if isinstance(error, StoreError):
        text = error.message or (os.strerror(error.ERRNO) if error.ERRNO is not None else type(error).__name__)
    else:
        text = error.strerror or str(error) or type(error).__name__
    message, _, advice = printable(text).partition("; ")
    if not advice:
        advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    return Finding(check, "failed", message, advice)


Work: TypeAlias = Callable[[], Awaitable["str | Finding"]]
"""One check: what it found; a text alone means that all is well."""


async def judged(check: str, work: Work) -> tuple[Finding, StoreError | OSError | None]:
    """What the work found, or how it failed, and by which error; it ends after `CHECK_S` seconds."""
    found: str | Finding = Finding(check, "failed", f"no result within {CHECK_S:.0f} s", "check the network")
    try:
        with anyio.move_on_after(CHECK_S):
            found = await work()
    except (StoreError, OSError) as error:
        return failed(check, error), error
    return (Finding(check, "ok", found) if isinstance(found, str) else found), None


class Record:
    """The findings so far. told: is given each as it is made; what it raises ends the examination."""

    def __init__(self, told: Callable[[Finding], Awaitable[None]] | None = None) -> None:
        self.findings: list[Finding] = []
        self._told = told

    async def add(self, finding: Finding) -> None:
        self.findings.append(finding)
        if self._told is not None:
            await self._told(finding)

    async def skip(self, checks: Iterable[str], why: str) -> None:
        """One finding for each check that is not made."""
        for check in checks:
            await self.add(Finding(check, "skipped", why))

    async def tried(self, check: str, work: Work) -> bool:
        """Add what the work found, or how it failed; whether it did not."""
        finding, _ = await judged(check, work)
        await self.add(finding)
        return finding.state != "failed"


def counted(number: int, noun: str) -> str:
    """`1 check`, `1,234 checks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def named_items(addresses: Sequence[str]) -> tuple[str, ...]:
    """The first of them, as a finding has them."""
    return tuple(printable(one) for one in addresses[:ITEMS_NAMED])
