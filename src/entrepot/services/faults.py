"""What a service's errors mean: replies that fail, and the table from status and code to the family of `StoreError`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from entrepot.errors import (
    BadResponse,
    NoSpace,
    PreconditionFailed,
    ServiceError,
    ServiceUnavailable,
    StoreError,
    Throttled,
    TimedOut,
    UnsupportedOperation,
)
from entrepot.http.retry import retry_after_s
from entrepot.paths import printable

_MESSAGE_MAX: Final = 200

Meaning: TypeAlias = "tuple[type[StoreError], str]"
"""The class to raise, and what to do next in one line; empty where the service's own message says enough."""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error as the service told it. headers: of the reply, names in lower case.

    code: empty where there was no body to tell it (HEAD). region: the bucket's, where the reply names another.
    condition: the header whose condition failed, where told.
    """

    status: int
    code: str = ""
    message: str = ""
    region: str | None = None
    condition: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class ErrorInside(Exception):
    """A reply that began as a success, and has an error in its body."""

    def __init__(self, reply: ErrorReply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class Unreadable(Exception):
    """A reply that cannot be what was asked for; the text says why."""


class RangeOutside(Exception):
    """The service answered that a range begins at the object's end or behind it."""


COMMON: Final[Mapping[int, Meaning]] = {
    405: (UnsupportedOperation, "the service does not offer this here"),
    408: (TimedOut, "the service waited too long"),
    412: (PreconditionFailed, "the object is not what the condition named"),
    416: (ServiceError, "the range lies outside the object"),
    429: (Throttled, "the service asks for fewer requests; try later, or with less concurrency"),
    500: (ServiceUnavailable, "the service failed"),
    501: (UnsupportedOperation, "the service does not offer this"),
    502: (ServiceUnavailable, "a gateway before the service failed"),
    503: (Throttled, "the service is busy; try later, or with less concurrency"),
    504: (ServiceUnavailable, "a gateway before the service waited too long"),
    507: (NoSpace, "the service's storage is full"),
}
"""What HTTP's own statuses mean, the same at every service."""

_FINAL: Final = frozenset({505, 506, 508, 510, 511})
"""Failures that come again with the same request. All above them are of gateways (520 to 530, 599), and pass."""


@dataclass(frozen=True, slots=True)
class Faults:
    """One service's table. by_code goes before by_status, and `COMMON` comes last."""

    by_code: Mapping[str, Meaning]
    by_status: Mapping[int, Meaning] = field(default_factory=dict)

    def meaning(self, reply: ErrorReply) -> Meaning:
        """The class for a reply, and the advice that goes with it."""
        found = self.by_code.get(reply.code) or self.by_status.get(reply.status) or COMMON.get(reply.status)
        if found is not None:
            return found
        if reply.status >= 500 and reply.status not in _FINAL:
            return ServiceUnavailable, "the service failed"
        if reply.status < 400:
            return BadResponse, "an answer that does not fit the request"
        return ServiceError, "the service refused the request"

    def error(self, kind: type[StoreError], advice: str, reply: ErrorReply, *, operation: str, uri: str) -> StoreError:
        """The error itself: one line with the service's own code, and its message where the table says little."""
        message = self._worded(reply, advice)
        if issubclass(kind, Throttled):
            wait_s = retry_after_s(reply.headers.get("retry-after"), time.time())
            return kind(message, operation=operation, uri=uri, retry_after_s=wait_s)
        return kind(message, operation=operation, uri=uri)

    def _worded(self, reply: ErrorReply, advice: str) -> str:
        own = reply.code or f"HTTP {reply.status}"
        if reply.message and reply.code not in self.by_code:
            said = printable(" ".join(reply.message.split()))
            own += f": {said[:_MESSAGE_MAX]}"
        return f"{advice} ({printable(own)})"
