"""One HTTP/1.1 connection on an asyncio protocol: requests go out one after the other, replies are parsed as they come.

Source: RFC 9112 (HTTP/1.1). The grammar of heads and chunks is llhttp's, in its strict form (`httptools`).
"""

from __future__ import annotations

import asyncio
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


class Connection(asyncio.BufferedProtocol):
    """A connection and the reply that it is receiving, for one task at a time.

    complete: all of the reply has come. reusable: another request may follow it. received: bytes of its body so far.
    """

    def __init__(self, owner: Owner, route: Route, loop: asyncio.AbstractEventLoop) -> None:
        self.route = route
        self.idle_since_s = 0.0
        self._owner, self._loop = owner, loop
        self._transport: Any = None
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
        self._fault: StoreError | None = None
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
            write(b"".join((head, before, body, after)) if body.nbytes or before else head)
        else:
            write(head + before)
            await self._send_pieces(body, after)
        while not self._head_complete:
            await self._wait()
        if self._unsent and self.status < 400:
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
        if limit is not None and self.received > limit:
            raise self.route.sent_too_much(limit)
        if not self.complete:
            self._limit = limit
            await self._until_complete()
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readinto(self, into: memoryview) -> int:
        """The whole body into a buffer; how long it is."""
        if self.received > into.nbytes:
            raise self.route.sent_too_much(into.nbytes)
        start = 0
        for piece in self._pieces:
            into[start : start + len(piece)] = piece
            start += len(piece)
        self._pieces = []
        if not self.complete:
            self._into = into
            await self._until_complete()
        return self.received

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
            raise self._fault

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, fault: StoreError) -> None:
        self.reusable = False
        if not self.complete and self._fault is None:
            self._fault = fault
            self._wake()

    def look(self, now_s: float) -> None:
        """Give up what takes too long. Called now and then while a request is under way."""
        if self._waiter is None:
            return
        timeouts, silent_s = self.route.timeouts, now_s - self._last_s
        if self._sending:
            if silent_s >= timeouts.send_s:
                self._fail(self.route.took_too_little())
        elif silent_s >= timeouts.idle_s:
            self._fail(self.route.sent_nothing())
        elif self._reading and now_s - self._mark_s >= timeouts.progress_s:
            if self.received - self._mark_bytes < timeouts.progress_s * KIB:
                self._fail(self.route.sent_too_slowly())
            self._mark_s, self._mark_bytes = now_s, self.received

    # ---- the end ----------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether nothing is known against a further request."""
        return not self._transport.is_closing()

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

    def fileno(self) -> int:
        """Of the socket."""
        return int(self._transport.get_extra_info("socket").fileno())

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

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._last_s = self._loop.time()
        if self._sending:
            self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._length < 0:
            return self._owner.arrivals
        # A body whose length is known: not a byte more is taken than belongs to it.
        if self._into is not None:
            return self._into[self.received : self._length]
        return self._owner.arrivals[: self._length - self.received]

    def buffer_updated(self, count: int) -> None:
        self._last_s = self._loop.time()
        if self.complete or not self._method:  # nothing was asked for
            self.abort()
        elif self._length >= 0:
            self._counted(count)
        else:
            self._parsed(count)

    def _counted(self, count: int) -> None:
        if self._into is None:
            self._keep(bytes(self._owner.arrivals[:count]))
        else:
            self.received += count
        if self.received == self._length and self._fault is None:
            self._end()

    def _parsed(self, count: int) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = HttpResponseParser(self)
        try:
            parser.feed_data(self._owner.arrivals[:count])
        except (HttpParserError, HttpParserUpgrade):
            self._fail(self.route.not_http())
        if self._length >= 0 or (self.complete and (self._method == "HEAD" or not self.reusable)):
            self._parser = None  # it expects a body that it will not see, or has seen what it should not
        if not self._head_complete:
            self._head_bytes += count
            if self._head_bytes > _HEAD_MOST_BYTES:
                self._fail(self.route.not_http())
        if self._length >= 0 and self.received == self._length and not self.complete and self._fault is None:
            self._end()

    def eof_received(self) -> None:
        if self._until_close and self._fault is None:
            self._end()
        self.reusable = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(self.route.cut_short() if self._head_complete else self.route.broke())
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
        self._field_bytes += len(name) + len(value)
        known = self.headers
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        known[key] = f"{known[key]}, {text}" if key in known else text

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self.complete:
            return
        self.status = status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            self.headers = {}
            return
        if self._fields > _HEAD_MOST_FIELDS or self._field_bytes > _HEAD_MOST_BYTES:
            self._fail(self.route.not_http())
            return
        headers = self.headers
        self._head_complete = True
        self.reusable = self._parser.should_keep_alive()
        if self._method == "HEAD" or status in {204, 304}:
            self._end()
        elif (encoding := headers.get("transfer-encoding")) is not None:
            if encoding.lower() != "chunked":
                self._fail(self.route.not_http())
        elif "content-length" in headers:
            self._length = int(headers["content-length"])
        else:
            self._until_close = True
        self._wake()

    def on_body(self, data: bytes) -> None:
        if self.complete or (self._length >= 0 and self.received + len(data) > self._length):
            self.reusable = False  # a body where none belongs
        else:
            self._keep(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.complete and self._fault is None:
            self._end()

    # ---- the body ---------------------------------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        start, stop = self.received, self.received + len(data)
        if self._into is not None:
            if stop > self._into.nbytes:
                self._fail(self.route.sent_too_much(self._into.nbytes))
                return
            self._into[start:stop] = data
        elif self._limit is not None and stop > self._limit:
            self._fail(self.route.sent_too_much(self._limit))
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
        self._wake()
