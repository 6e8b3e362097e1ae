"""A server that keeps the very bytes it was sent, and answers with the very bytes it was told to."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from entrepot.testing.loopback import LoopbackServer, flushed
from entrepot.testing.messages import Body, RequestHead, read_head

Answer = Callable[[RequestHead], bytes]


def plain(content: bytes = b"hello", status: str = "200 OK", *fields: str) -> bytes:
    """A whole reply of a known length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class Got:
    """One request as it came: head and body, the frames of chunks included."""

    head: bytes
    body: bytes = b""
    content: bytes = b""
    is_whole: bool = False


class RecordingServer(LoopbackServer):
    """answer: the raw reply to a request; it may be replaced at any time. early: it is sent before the body is read.

    got: the requests, each kept from its head on. connections: how many there were.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__()
        self.answer: Answer = answer or (lambda _: plain())
        self.early = False
        self.closes = False
        self.got: list[Got] = []
        self.connections = 0
        self.idle = threading.Event()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (head := await read_head(reader)) is not None:
                request = RequestHead.of(head)
                got = Got(head.raw)
                self.got.append(got)
                if request.waits_to_send:
                    writer.write(b"HTTP/1.1 100 Continue\r\nX-Odd:  spaced\r\n\r\n")
                if self.early:
                    writer.write(self.answer(request))
                await self._take(Body.of_request(request, reader), got)
                if not self.early:
                    writer.write(self.answer(request))
                await flushed(writer)
                if self.closes:
                    return
        finally:
            self.idle.set()

    @staticmethod
    async def _take(body: Body, got: Got) -> None:
        while (piece := await body.next()) is not None:
            got.body += piece.wire
            got.content += piece.wire if piece.is_payload else b""
        got.is_whole = True


@dataclass
class RawConnection:
    """A socket to an endpoint, and what came from there."""

    socket: socket.socket
    received: bytes = field(default=b"")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, end: bytes) -> bytes:
        """Read on until these bytes have come; what was read since the last call."""
        while end not in self.received:
            piece = self.socket.recv(65_536)
            assert piece, f"the connection ended after {self.received!r}"
            self.received += piece
        head, _, self.received = self.received.partition(end)
        return head + end

    def rest(self) -> bytes:
        """All that comes until the other side ends the connection in order."""
        while piece := self.socket.recv(65_536):
            self.received += piece
        return self.received


@contextmanager
def connected(url: str) -> Iterator[RawConnection]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as found:
        yield RawConnection(found)
