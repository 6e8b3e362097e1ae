"""HTTP/1.1 messages as they pass: heads as the very bytes that came, bodies piece by piece.

For servers and proxies on loopback, which must not tidy up what they are sent. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal, NamedTuple, Self

PIECE_BYTES: Final = 64 * 1024
_BODILESS: Final = frozenset({204, 304})


class BadMessage(ConnectionError):
    """What came is not HTTP/1.1, or ended before its end."""


@dataclass(frozen=True, slots=True)
class Head:
    """A start line and fields. raw: the bytes they came as, the empty line included. fields: names as they came."""

    raw: bytes
    start: str
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises: BadMessage."""
        lines = raw.decode("latin-1").split("\r\n")
        fields = []
        for line in lines[1:-2]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadMessage(f"a line that is no field: {line[:80]!r}")
            fields.append((name, value.strip(" \t")))
        return cls(raw, lines[0], tuple(fields))

    def get(self, name: str, default: str = "") -> str:
        """The values of a field, joined by commas; name: in lower case."""
        values = [value for field, value in self.fields if field.lower() == name]
        return ",".join(values) if values else default

    def has(self, name: str) -> bool:
        """Whether there is such a field; name: in lower case."""
        return any(field.lower() == name for field, _ in self.fields)

    @property
    def is_chunked(self) -> bool:
        """Whether the body tells its own length, chunk by chunk."""
        return self.get("transfer-encoding").lower().endswith("chunked")

    @property
    def length(self) -> int | None:
        """As `Content-Length` tells it. Raises: BadMessage."""
        told = self.get("content-length")
        if not told or self.is_chunked:
            return None
        if not told.isdecimal():
            raise BadMessage(f"a length that is none: {told[:40]!r}")
        return int(told)

    @property
    def ends_connection(self) -> bool:
        """Whether no other message follows on this connection."""
        asked = self.get("connection").lower()
        return "close" in asked or ("HTTP/1.0" in self.start and "keep-alive" not in asked)

    def changed(
        self, *, start: str | None = None, drop: Iterable[str] = (), add: Iterable[tuple[str, str]] = ()
    ) -> Head:
        """The same head with another start line, without some fields (in lower case), with others at its end."""
        dropped = frozenset(drop)
        kept = [(name, value) for name, value in self.fields if name.lower() not in dropped]
        return made_head(start or self.start, [*kept, *add])

    def replaced(self, name: str, old: str, new: str) -> Head:
        """The same head with another text in the values of a field; name: in lower case. Itself if nothing differs."""
        fields = [(field, value.replace(old, new) if field.lower() == name else value) for field, value in self.fields]
        return self if tuple(fields) == self.fields else made_head(self.start, fields)


def made_head(start: str, fields: Iterable[tuple[str, str]]) -> Head:
    """A head of one's own."""
    fields = tuple(fields)
    lines = [start, *(f"{name}: {value}" for name, value in fields)]
    return Head(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), start, fields)


def status_line(status: int) -> str:
    """`HTTP/1.1 503 Service Unavailable`."""
    try:
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP/1.1 {status} Unknown"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's head. target: path and query exactly as sent."""

    head: Head
    method: str
    target: str

    @classmethod
    def of(cls, head: Head) -> Self:
        """Raises: BadMessage."""
        words = head.start.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith(("/", "*")):
            raise BadMessage(f"a line that starts no request: {head.start[:80]!r}")
        return cls(head, words[0], words[1])

    @property
    def waits_to_send(self) -> bool:
        """Whether the body comes only once the server asks for it."""
        return "100-continue" in self.head.get("expect").lower()

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the target's question mark."""
        return self.target.partition("?")[2]


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None where the connection ended before its first byte. Raises: BadMessage."""
    try:
        return Head.parse(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BadMessage("the connection ended within a head") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise BadMessage("a head too long") from error


def status_of(head: Head) -> int:
    """A reply's status. Raises: BadMessage."""
    words = head.start.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise BadMessage(f"a line that starts no reply: {head.start[:80]!r}")
    return int(words[1])


class Piece(NamedTuple):
    """Some bytes of a body on the wire. is_payload: of the content itself, not of the chunks' frame."""

    wire: bytes
    is_payload: bool = True


class Body:
    """A body under way, read piece by piece, none larger than 64 KiB; `next` gives None at its end.

    length: in bytes, where it is known before; None for chunks, and for what ends with the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, *, length: int | None, is_chunked: bool = False) -> None:
        self.length = length
        self.until_close = length is None and not is_chunked
        self._reader = reader
        self._is_chunked = is_chunked
        self._left = length if length is not None else 0  # of the body, or of the chunk under way
        self._frame: Literal["size", "data", "gap", "trailer"] = "size"  # what comes next of a chunked body
        self._ahead: list[Piece] = []
        self._ended = length == 0

    @classmethod
    def of_request(cls, request: RequestHead, reader: asyncio.StreamReader) -> Self:
        """A request without a length and without chunks has no body."""
        chunked = request.head.is_chunked
        return cls(reader, length=None if chunked else request.head.length or 0, is_chunked=chunked)

    @classmethod
    def of_reply(cls, head: Head, method: str, reader: asyncio.StreamReader) -> Self:
        """A reply without a length and without chunks ends with the connection, but for those that have no body."""
        if method == "HEAD" or status_of(head) in _BODILESS:
            return cls(reader, length=0)
        return cls(reader, length=head.length, is_chunked=head.is_chunked)

    async def peek(self) -> bytes:
        """The first bytes of the payload, which `next` still gives; at least one, unless it is empty."""
        while True:
            piece = await self._read()
            if piece is None:
                return b""
            self._ahead.append(piece)
            if piece.is_payload:
                return piece.wire

    async def next(self) -> Piece | None:
        """Raises: BadMessage where the connection ends before the body does."""
        return self._ahead.pop(0) if self._ahead else await self._read()

    async def whole(self, most_bytes: int | None = None) -> bytes:
        """The payload. Raises: BadMessage where it is longer than that."""
        pieces, size = [], 0
        while (piece := await self.next()) is not None:
            if piece.is_payload:
                pieces.append(piece.wire)
                size += len(piece.wire)
                if most_bytes is not None and size > most_bytes:
                    raise BadMessage("a body too long")
        return b"".join(pieces)

    async def gathered(self) -> None:
        """Read all that is to come, so that its length is known; `next` gives it as it came."""
        while (piece := await self._read()) is not None:
            self._ahead.append(piece)
        self.length = len(self.content())

    def content(self) -> bytes:
        """The payload that `gathered` has read, and `next` has not yet given."""
        return b"".join(piece.wire for piece in self._ahead if piece.is_payload)

    async def _read(self) -> Piece | None:
        if self._ended:
            return None
        if self._is_chunked:
            return await self._read_chunked()
        wanted = PIECE_BYTES if self.until_close else min(self._left, PIECE_BYTES)
        data = await self._reader.read(wanted)
        if not data:
            self._ended = True
            if self.until_close:
                return None
            raise BadMessage(f"the connection ended {self._left} bytes before the body did")
        self._left -= len(data)
        self._ended = not self.until_close and self._left == 0
        return Piece(data)

    async def _read_chunked(self) -> Piece:
        if self._frame == "data":
            data = await self._reader.read(min(self._left, PIECE_BYTES))
            if not data:
                raise BadMessage("the connection ended within a chunk")
            self._left -= len(data)
            if not self._left:
                self._frame = "gap"
            return Piece(data)
        line = await self._line()
        if self._frame == "size":
            try:
                self._left = int(line.partition(b";")[0].strip(), 16)
            except ValueError as error:
                raise BadMessage(f"a chunk without a size: {line[:40]!r}") from error
            self._frame = "data" if self._left else "trailer"
        elif self._frame == "gap":
            self._frame = "size"
        else:
            self._ended = line in (b"\r\n", b"\n")
        return Piece(line, is_payload=False)

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise BadMessage("the connection ended within a chunked body") from error
