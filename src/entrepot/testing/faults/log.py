"""What a proxy saw: one record a request, filled in before the client can know of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from entrepot.testing.faults.operations import Asked
from entrepot.testing.faults.rules import Shot
from entrepot.testing.faults.values import Fault


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the proxy saw it.

    key: decoded; empty where the request is about no single object. status: of the reply as the client got it, None
    where it got none. request_bytes, reply_bytes: of the bodies' content, as far as it was passed on. fault: the name
    of the fault's class, once it took effect. forwarded: the server got the request, or a part of it.
    """

    operation: str
    container: str
    key: str
    method: str
    status: int | None
    request_bytes: int
    reply_bytes: int
    fault: str | None
    forwarded: bool


@dataclass(slots=True, eq=False)
class Record:
    """One exchange under way, and the fault that it is to meet."""

    asked: Asked
    method: str
    shot: Shot | None
    status: int | None = None
    request_bytes: int = 0
    reply_bytes: int = 0
    fired: str | None = None
    forwarded: bool = False

    @property
    def fault(self) -> Fault | None:
        """What is to go wrong."""
        return self.shot.fault if self.shot is not None else None

    def take_effect(self) -> None:
        """Count the fault, once, before anything can be noticed of it."""
        if self.shot is not None and self.fired is None:
            self.fired = type(self.shot.fault).__name__
            self.shot.fire()

    def end(self) -> None:
        """The exchange is over: a fault that could not take effect is left for another."""
        if self.shot is not None and self.fired is None:
            self.shot.spare()

    def seen(self) -> Seen:
        """As it stands now."""
        asked = self.asked
        return Seen(
            asked.operation,
            asked.container,
            asked.key,
            self.method,
            self.status,
            self.request_bytes,
            self.reply_bytes,
            self.fired,
            self.forwarded,
        )


@dataclass(slots=True, eq=False)
class Log:
    """All records of a proxy, in the order in which the requests came."""

    _records: list[Record] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, asked: Asked, method: str, shot: Shot | None) -> Record:
        """A record for a request whose head has come."""
        record = Record(asked, method, shot)
        with self._lock:
            self._records.append(record)
        return record

    def seen(self) -> list[Seen]:
        """All requests so far, those under way too."""
        with self._lock:
            return [record.seen() for record in self._records]

    def clear(self) -> None:
        """Forget what was seen."""
        with self._lock:
            self._records.clear()
