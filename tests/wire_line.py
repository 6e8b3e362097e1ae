"""A connection of the wire transport without a network: what it gets, in which pieces, and what it does, step by step.

What no server can be made to do at a given byte, this does: every split, every moment of an end.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import h11

from entrepot.errors import StoreError
from entrepot.http.connection import ARRIVALS_BYTES, Connection
from entrepot.http.routes import Route
from entrepot.http.transport import Origin, Timeouts

Way: TypeAlias = Literal["read", "limit", "into", "late"]
WAYS: tuple[Way, ...] = ("read", "limit", "into", "late")
"""How the body is asked for: at once, within a limit, into a buffer, or only when all has come."""

_GUARD = b"\xa5" * 16


class Owner:
    """Lends the buffer, as a pool does, and counts the ends it is told of."""

    arrivals = memoryview(bytearray(ARRIVALS_BYTES))

    def __init__(self) -> None:
        self.ended: list[Connection] = []

    def lost(self, connection: Connection) -> None:
        self.ended.append(connection)


class Line(asyncio.Transport):
    """An asyncio transport whose other end is the test."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.sent = bytearray()
        self.unsent_bytes = 0  # what it would claim to hold still
        self.reading = True
        self.waiting: bytes = b""
        self._closing = False
        self._ends = socket.socketpair()
        connection.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._ends[0] if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self.sent += data

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        held, self.waiting = self.waiting, b""
        asyncio.get_running_loop().call_soon(self.give, held)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    abort = close

    def lose(self) -> None:
        self._closing = True
        if self._ends[0].fileno() >= 0:
            self.connection.connection_lost(None)
            for end in self._ends:
                end.close()

    def give(self, data: bytes) -> None:
        """Let bytes arrive, as an event loop does; the shared buffer is another's at once."""
        while data and not self._closing:
            if not self.reading:
                self.waiting += data
                return
            buffer = self.connection.get_buffer(-1)
            assert len(buffer) > 0, "an event loop fails on an empty buffer"
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
            self.connection.buffer_updated(count)
            arrivals: memoryview = self.connection._owner.arrivals
            arrivals[:count] = b"\xee" * min(count, len(arrivals))
            data = data[count:]

    def give_end(self) -> None:
        if not self._closing and not self.connection.eof_received():  # type: ignore[func-returns-value]
            self.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an exchange came to. fault: the family's member it ended with. reusable: after all
    that came, before the peer's end.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: type[StoreError] | None = None
    reusable: bool = field(default=False, compare=False)


def route(**timeouts: float) -> Route:
    return Route(Origin("http", "192.0.2.1", 80), None, Timeouts(**timeouts))


async def turns(count: int = 3) -> None:
    """So many turns of the event loop: enough for whatever is ready, and what follows from it."""
    for _ in range(count):
        await asyncio.sleep(0)


async def exchange(pieces: Sequence[bytes], *, method: str = "GET", way: Way = "read", most: int = 4096) -> Outcome:
    """One request, the pieces that come in answer, then the peer's end.

    most: bytes that are asked for, by a limit or by the buffer's size.
    """
    loop, owner = asyncio.get_running_loop(), Owner()
    connection = Connection(owner, route(), loop)
    line = Line(connection)
    all_came = asyncio.Event()
    buffer = bytearray(most) + bytearray(_GUARD)

    async def ask() -> Outcome:
        try:
            await connection.send(method, b"head", b"", memoryview(b""), b"")
            status, headers = connection.status, dict(connection.headers)
            if "transfer-encoding" in headers:  # as h11 tells it
                headers["transfer-encoding"] = headers["transfer-encoding"].lower()
            if way == "late":
                await all_came.wait()
            if way == "into":
                body = bytes(buffer[: await connection.readinto(memoryview(buffer)[:most])])
            else:
                body = await connection.read(most if way == "limit" else None)
        except StoreError as error:
            return Outcome(fault=type(error))
        assert connection.complete
        assert connection.received == len(body)
        return Outcome(status, headers, body)

    task = asyncio.create_task(ask())
    await turns(1)
    for piece in pieces:
        line.give(piece)
        await turns()
    all_came.set()
    await turns()
    reusable = task.done() and connection.settled
    line.give_end()
    await turns(8)
    assert task.done(), "it waits for what cannot come any more"
    outcome = task.result()
    line.abort()
    await turns(1)
    assert owner.ended == [connection]
    assert bytes(buffer[most:]) == _GUARD
    if outcome.fault is None:
        assert not bytes(buffer[len(outcome.body) if way == "into" else 0 : most]).strip(b"\0")
    return replace(outcome, reusable=reusable)


def _plain(raw: bytes) -> bytes:
    """Without reasons, and empty lines before heads."""
    line = re.match(rb"[\r\n]*(HTTP/\d\.\d (\d)\d\d)( [^\r\n]*)?\r\n", raw)
    if line is None:
        return raw
    end = raw.find(b"\r\n\r\n", line.end() - 2) + 4
    if line[2] != b"1" or end < 4:
        end = len(raw)
    return line[1] + b"\r\n" + raw[line.end() : end] + _plain(raw[end:])


def told_by_h11(raw: bytes, method: str) -> Outcome | None:
    """The reading of another implementation, the peer's end included; None where it refuses.

    It is stricter in two things that change nothing: empty lines before a head, and the characters of a reason, which
    we never show.
    """
    raw = _plain(raw)
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    peer.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    peer.send(h11.EndOfMessage())
    status, headers, body = 0, dict[str, str](), b""
    at_end = kept_by_word = False
    try:
        peer.receive_data(raw)
        while True:
            event = peer.next_event()
            if event is h11.NEED_DATA:
                if at_end:
                    return None
                at_end = True
                peer.receive_data(b"")
            elif isinstance(event, h11.InformationalResponse):
                continue
            elif isinstance(event, h11.Response):
                status = event.status_code
                for name, value in event.headers:
                    key, text = name.decode(), value.decode("utf-8", "surrogateescape")
                    headers[key] = f"{headers[key]}, {text}" if key in headers else text
                kept_by_word = event.http_version == b"1.0" and "keep-alive" in headers.get("connection", "").lower()
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                keeps = (peer.their_state is h11.DONE or kept_by_word) and not at_end
                keeps = keeps and not peer.trailing_data[0].strip(b"\r\n")
                return Outcome(status, headers, body, reusable=keeps)
            else:
                return None
    except h11.RemoteProtocolError:
        return None
