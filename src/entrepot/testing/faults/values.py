"""The faults, as values. What each does to an exchange is `relay`'s to do.

Offsets count bytes of the body's content: 0 is the first, -1 the last; None is one that the proxy's seed chooses. A
body that has no such byte is left alone, and nothing is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Direction: TypeAlias = Literal["request", "reply"]
"""Which way the bytes go: to the server, or back to the client."""

_NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Delay:
    """The request is held for so long before any of it reaches the server; then it goes on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more is passed on from that byte on; the connection stays open until the client or the proxy ends it.

    Of a request with at_byte=0 nothing at all reaches the server.
    """

    at_byte: int | None = 0
    direction: Direction = "reply"


@dataclass(frozen=True, slots=True)
class Drip:
    """The body passes at this rate."""

    bytes_per_second: float
    direction: Direction = "reply"


@dataclass(frozen=True, slots=True)
class Reset:
    """The bytes before that one pass, then both connections are reset (ECONNRESET).

    Of a request with at_byte=0 nothing at all reaches the server.
    """

    at_byte: int | None = 0
    direction: Direction = "reply"


@dataclass(frozen=True, slots=True)
class Close:
    """As `Reset`, but the connections end in order, as if the other side had nothing more to say."""

    at_byte: int | None = 0
    direction: Direction = "reply"


@dataclass(frozen=True, slots=True)
class DropReply:
    """The server gets the whole request and answers; of the reply, not even its head, nothing reaches the client.

    how: what comes in its place: a reset, the connection's end in order, or nothing until the client gives up.
    """

    how: Literal["reset", "close", "stall"] = "reset"


@dataclass(frozen=True, slots=True)
class FlipBits:
    """One bit of one byte is another when it arrives; the length is kept."""

    at_byte: int | None = None
    direction: Direction = "reply"


@dataclass(frozen=True, slots=True)
class Status:
    """An error reply. body: None is the service's own document; error: its code, None is the usual one of the status.

    applied: the server gets the request and does its work, and only then is the reply another; else it gets nothing.
    """

    code: int
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS, hash=False)
    body: bytes | None = None
    error: str | None = None
    applied: bool = False


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """Status 200, and the service's error document as the body.

    applied: as for `Status`; a request that the server refuses is left alone, so that no 200 stands for work undone.
    """

    error: str | None = None
    applied: bool = False


@dataclass(frozen=True, slots=True)
class EmptyOk:
    """Status 200 and no body at all. applied: as for `ErrorBody`."""

    applied: bool = False


@dataclass(frozen=True, slots=True)
class WrongRange:
    """The reply to a read of a range (206) is not what was asked for; other replies are left alone.

    ignored: 200 and as many bytes as the object has. Those within the range are the object's, the others are zeros,
    as the proxy cannot ask for them: a client that takes the first bytes for its own is found out.
    shifted: `Content-Range` tells the range one byte further on. missing: there is no `Content-Range`.
    """

    how: Literal["ignored", "shifted", "missing"] = "shifted"


@dataclass(frozen=True, slots=True)
class NoLength:
    """The reply does not tell its length; its end is the connection's."""


@dataclass(frozen=True, slots=True)
class RedirectTo:
    """The client is sent to another origin. url: scheme, host, port; the request's own target follows it."""

    url: str
    code: int = 307


@dataclass(frozen=True, slots=True)
class RepeatToken:
    """A page of a listing leads to itself: its token is the one it was asked for with.

    A first page, which was asked for without one, is left alone.
    """


Fault: TypeAlias = (
    Delay | Stall | Drip | Reset | Close | DropReply | FlipBits | Status | ErrorBody | EmptyOk | WrongRange | NoLength
    | RedirectTo | RepeatToken
)  # fmt: skip
