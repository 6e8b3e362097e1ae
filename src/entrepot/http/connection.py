"""One HTTP/1.1 connection on an asyncio protocol: requests go out one after the other, replies are parsed as they come.

Source: RFC 9112 (HTTP/1.1). The grammar of heads and chunks is llhttp's, in its strict form (`httptools`).
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from entrepot.errors import StoreError
from entrepot.http.routes import Route
from entrepot.models import KIB

ARRIVALS_BYTES: Final = 256 * KIB
"""Of the buffer that a loop's connections share."""

_CHUNK_BYTES: Final = 256 * KIB  # of a body to send: what the socket does not take at once, the event loop copies
_JOINED_BYTES: Final = 64 * KIB  # a smaller body goes with its head in one system call; copying it costs less
_AHEAD_BYTES: Final = 256 * KIB  # of a body that nobody reads yet; then the socket is left alone
_HEAD_MOST_BYTES: Final = 64 * KIB
_HEAD_MOST_FIELDS: Final = 256
_UNKNOWN: Final = -1


class Owner(Protocol):
    """Who keeps connections: lends the buffer in which heads and small bodies arrive, and is told of an end.

    arrivals: one for all connections of a loop. What arrives in it is taken before another connection is looked at.
    """

    arrivals: memoryview

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""


class _Ended(asyncio.Transport):
    """In the place of a transport that is not there yet, or gone: asyncio's own leads back to the connection, a cycle
    that holds its buffers, and some of its methods fail when all is over.
    """

    def is_closing(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


_ENDED: Final = _Ended()


class Connection(asyncio.BufferedProtocol):
    """A connection and the reply that it is receiving, for one task at a time.

    complete: all of the reply has come. reusable: another request may follow it. received: bytes of its body so far.
    """

    def __init__(self, owner: Owner, route: Route, loop: asyncio.AbstractEventLoop) -> None:
        self.route = route
        self.idle_since_s = 0.0
        self._owner, self._loop = owner, loop
        self._transport: Any = _ENDED
        self._arrived: Callable[[], object] | None = None
        self._parser: HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writing_paused = self._reading_paused = False
        self._begin("")

    def _begin(self, method: str) -> None:
        """Forget the reply before."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.received = 0
        self.complete = self.reusable = False
        self._method = method
        # Made where it is raised: one that is kept holds its traceback, this object and its caller's buffers.
        self._fault: Callable[[], StoreError] | None = None
        self._head_complete = self._interim = self._until_close = self._unsent = self._sending = False
        self._head_bytes = self._fields = self._field_bytes = 0
        self._length = _UNKNOWN  # of a body that is counted here, not by the parser
        self._reading = False
        self._pieces: list[bytes] = []
        self._into: memoryview | None = None
        self._limit: int | None = None
        self._mark_s, self._mark_bytes = 0.0, 0
        self._last_s = self._loop.time()

    # ---- sending ----------------------------------------------------------------------------------

    async def send(self, method: str, head: bytes, before: bytes, body: memoryview, after: bytes) -> None:
        """Send a request and wait for the head of its reply. After any exception the connection is only good to abort.

        A reply that comes before all is sent ends the sending, if it is a refusal.
        """
        self._begin(method)
        write = self._transport.write
        if len(before) + body.nbytes + len(after) <= _JOINED_BYTES:
            write(b"".join((head, before, body, after)))
        else:
            write(head + before)
            await self._send_pieces(body, after)
        while not self._head_complete:
            await self._wait()
        if self.status < 300 and (self._unsent or self._transport.get_write_buffer_size()):
            raise self.route.answered_early()

    async def _send_pieces(self, body: memoryview, after: bytes) -> None:
        write = self._transport.write
        for start in range(0, body.nbytes, _CHUNK_BYTES):
            write(body[start : start + _CHUNK_BYTES])
            self._sending, self._last_s = True, self._loop.time()
            while self._writing_paused and not self._head_complete:
                await self._wait()
            self._sending = False
            if self._head_complete and (self._writing_paused or after or start + _CHUNK_BYTES < body.nbytes):
                self._unsent = True
                return
        if after:
            write(after)
        self._last_s = self._loop.time()

    # ---- receiving --------------------------------------------------------------------------------

    async def read(self, limit: int | None) -> bytes:
        """The whole body. Raises: what went wrong; BadResponse above `limit` bytes."""
        if limit is not None:
            self._refuse_above(limit)
        if not self.complete:
            self._limit = limit
            await self._until_complete()
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readinto(self, into: memoryview) -> int:
        """The whole body into a buffer; how long it is."""
        self._refuse_above(into.nbytes)
        start = 0
        for piece in self._pieces:
            into[start : start + len(piece)] = piece
            start += len(piece)
        self._pieces = []
        if not self.complete:
            self._into = into
            await self._until_complete()
        return self.received

    def _refuse_above(self, limit: int) -> None:
        if self._length > limit:
            raise self.route.announced_too_much(self._length, limit)
        if self.received > limit:
            raise self.route.sent_too_much(limit)

    async def _until_complete(self) -> None:
        self._reading = True
        self._last_s = self._mark_s = self._loop.time()
        self._mark_bytes = self.received
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        try:
            while not self.complete:
                await self._wait()
        finally:
            # The buffer is its owner's again, whatever still comes.
            self._into = None
            if not self.complete:
                self.abort()

    async def _wait(self) -> None:
        if self._fault is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._raise_fault()

    def _raise_fault(self) -> None:
        if self._fault is not None and not self.complete:
            raise self._fault()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, fault: Callable[[], StoreError]) -> None:
        self.reusable = False
        if not self.complete and self._fault is None:
            self._fault = fault
            self._wake()

    def look(self, now_s: float, stood_s: float) -> None:
        """Give up what takes too long. Called now and then while a request is under way.

        stood_s: how long the event loop stood still since it was last called. That is no silence of the peer's.
        """
        if self._waiter is None:
            return
        self._last_s += stood_s
        self._mark_s += stood_s
        timeouts, silent_s = self.route.timeouts, now_s - self._last_s
        if self._sending:
            if silent_s >= timeouts.send_s:
                self._fail(self.route.took_too_little)
        elif silent_s >= timeouts.idle_s:
            self._fail(self.route.sent_nothing)
        elif self._reading and now_s - self._mark_s >= timeouts.progress_s:
            if self.received - self._mark_bytes < timeouts.progress_s * KIB:
                self._fail(self.route.sent_too_slowly)
            self._mark_s, self._mark_bytes = now_s, self.received

    # ---- the end ----------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether nothing is known against a request."""
        return not self._transport.is_closing()

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last reply, also nothing that the loop has not looked at yet: what has
        would be taken for the reply to the next request, or ends it. A system call.
        """
        return not (self._transport.is_closing() or self._arrived is None or self._arrived())

    @property
    def settled(self) -> bool:
        """Whether a reply has come to its end, and the next request may follow on this connection."""
        return (
            self.complete
            and self.reusable
            and not self._unsent
            and self.usable
            and not self._transport.get_write_buffer_size()
        )

    def close(self) -> None:
        """As one takes leave: with TLS's farewell."""
        self.reusable = False
        self._transport.close()

    def abort(self) -> None:
        """At once, sending no more of a body: also not what the connection still holds of a buffer, which by then may
        be its owner's again, with other bytes in it.
        """
        self.reusable = False
        self._transport.abort()

    # ---- called by the event loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._arrived = _poll(transport.get_extra_info("socket").fileno())

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._last_s = self._loop.time()
        if self._sending:
            self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:
        # Without an own buffer there is room for more than belongs to the reply, so that it is seen at once. What comes
        # behind a body that fills its buffer stays in the socket, or TLS gives it before the task goes on.
        if self._into is None or self._length <= self.received:
            return self._owner.arrivals
        return self._into[self.received : self._length]

    def buffer_updated(self, count: int) -> None:
        self._last_s = self._loop.time()
        if self.complete or not self._method:  # nothing was asked for
            self.abort()
        elif self._length >= 0:
            self._counted(count)
        else:
            self._parsed(count)

    def _counted(self, count: int) -> None:
        missing = self._length - self.received
        if self._into is not None and missing > 0:  # it is where it belongs
            self.received += count
        else:
            if count > missing:
                self.reusable = False
            self._keep(bytes(self._owner.arrivals[: min(count, missing)]))
        if self.received == self._length and self._fault is None:
            self._end()

    def _parsed(self, count: int) -> None:
        parser, received = self._parser, self.received
        if parser is None:
            parser = self._parser = HttpResponseParser(self)
        data = self._owner.arrivals[:count]
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail(self.route.not_http)
        if self.complete:
            if self._method == "HEAD":
                self._parser = None  # it expects a body that it will not see
                self.reusable = self.reusable and _ends_head(bytes(data))
        elif self.received != received:
            self._head_bytes = 0
        else:  # of a head, or of what surrounds a body: neither is kept without an end
            self._head_bytes += count
            if self._head_bytes > _HEAD_MOST_BYTES:
                self._fail(self.route.not_http)
        if self._length >= 0:
            self._parser = None  # the rest is counted here
            if self.received == self._length and self._fault is None:
                self._end()

    def eof_received(self) -> None:
        if self._until_close and self._fault is None and self._took_leave():
            self._end()
        self._fail(self.route.cut_short if self._head_complete else self.route.broke)
        self.abort()

    def _took_leave(self) -> bool:
        """Whether the peer ended the connection, not somebody between: who cannot say TLS's farewell."""
        tls = self._transport.get_extra_info("ssl_object")
        try:
            return tls is None or tls.read(1) == b""
        except ssl.SSLError:
            return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(self.route.cut_short if self._head_complete else self.route.broke)
        self._transport, self._arrived = _ENDED, None
        self._parser = None  # which holds this object
        self._owner.lost(self)

    # ---- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False  # a second reply, where one was asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete:
            return  # of a trailer
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4  # `: ` and the line's end
        known = self.headers
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape").rstrip(" \t")
        known[key] = f"{known[key]}, {text}" if key in known else text

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self.complete:
            return
        self.status = status = self._parser.get_status_code()
        encoding = self.headers.get("transfer-encoding")
        if encoding is not None and encoding.lower() != "chunked":
            self._fail(self.route.not_http)
            return
        if status < 200:
            if status < 100 or status == 101:
                self._fail(self.route.not_http)
            self._interim = True
            self.headers = {}
            return
        if self._fields > _HEAD_MOST_FIELDS or self._field_bytes > _HEAD_MOST_BYTES:
            self._fail(self.route.not_http)
            return
        headers = self.headers
        self._head_complete = True
        self.reusable = self._parser.should_keep_alive()
        if self._method == "HEAD" or status in {204, 304}:
            self._end()
        elif "content-length" in headers:
            self._length = int(headers["content-length"])
        elif encoding is None:
            self._until_close = True
        self._wake()

    def on_body(self, data: bytes) -> None:
        if self._interim:
            self._fail(self.route.not_http)
        elif self.complete:
            self.reusable = False  # a body where none belongs
        else:
            self._keep(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self.complete:
            if self._method == "HEAD" and "transfer-encoding" in self.headers:
                self.reusable = False  # the end of a body where none belongs
        elif self._fault is None:
            self._end()

    # ---- the body ---------------------------------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        start, stop = self.received, self.received + len(data)
        if self._into is not None:
            if stop > self._into.nbytes:
                self._fail(partial(self.route.sent_too_much, self._into.nbytes))
                return
            self._into[start:stop] = data
        elif self._limit is not None and stop > self._limit:
            self._fail(partial(self.route.sent_too_much, self._limit))
            return
        else:
            self._pieces.append(data)
        self.received = stop
        if not self._reading and not self._reading_paused and stop >= _AHEAD_BYTES:
            self._reading_paused = True
            self._transport.pause_reading()

    def _end(self) -> None:
        self.complete = True
        self._length = _UNKNOWN
        if self._reading_paused:  # nobody asked for this body yet; what comes after it must be seen
            self._reading_paused = False
            self._transport.resume_reading()
        self._wake()


def _ends_head(data: bytes) -> bool:
    """Whether the last piece of a head has nothing after it."""
    _, end, rest = data.partition(b"\r\n\r\n")
    return not rest if end else b"\r\n\r\n".endswith(data)


def _poll(descriptor: int) -> Callable[[], object]:
    """A function that tells, without waiting, whether a socket has anything to read, or is at its end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return partial(poll.poll, 0)
    return lambda: select.select([descriptor], [], [], 0)[0]
