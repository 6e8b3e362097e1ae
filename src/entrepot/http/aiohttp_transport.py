"""The transport on aiohttp: for proxies, and as the reference."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, TransferEncodingError
from multidict import CIMultiDict
from yarl import URL

from entrepot.errors import ConfigurationError, ConnectionFailed, StoreError
from entrepot.http.pools import Connections, PooledTransport
from entrepot.http.routes import USER_AGENT, Route
from entrepot.http.transport import Request, Response, Timeouts
from entrepot.models import KIB, MIB

FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.TimeoutError)
"""What aiohttp and the system raise, and `translated` turns into the family's errors."""

_CHUNK_BYTES: Final = 256 * KIB  # of a body to send: larger ones are copied by the event loop, 0.74 s of CPU a GB
_READ_BUFFER_BYTES: Final = 2 * MIB  # a smaller one stops and starts the socket often: 0.99 s of CPU a GB, not 0.76
_NEVER_WAITS_BYTES: Final = 32 * KIB  # of a body: aiohttp waits for the socket above 64 KiB, below no timer is needed
_KEEPALIVE_S: Final = 60.0
# aiohttp must not add a Content-Type: it would not be covered by the signature.
_NO_CONTENT_TYPE: Final = ("Content-Type",)
_BODYLESS: Final = frozenset({"GET", "HEAD"})


class AiohttpTransport(PooledTransport["_Session"]):
    """The seam on aiohttp: what goes through a proxy, and the reference that the other one is tested against."""

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        return _Exchange(self, request)

    def _open(self) -> _Session:
        return _Session(self.timeouts, self._most_connections)


class _Session(Connections):
    """One loop's aiohttp session."""

    def __init__(self, timeouts: Timeouts, most: int) -> None:
        super().__init__()
        sockets = self.sockets

        def open_socket(address: Any) -> socket.socket:
            sock = socket.socket(family=address[0], type=address[1], proto=address[2])
            sockets.add(sock)
            return sock

        self.session = aiohttp.ClientSession(
            connector=_Connector(limit=most, keepalive_timeout=_KEEPALIVE_S, socket_factory=open_socket),
            request_class=_BareRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s, sock_read=timeouts.idle_s),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
            middlewares=(_once,),
            trust_env=False,  # it would cost two thread hops a request, and sign for us from ~/.netrc
        )

    async def close(self) -> None:
        self.closed = True
        await self.session.close()

    def abandon(self) -> None:
        self.session.detach()


class _Connector(aiohttp.TCPConnector):
    """Silent when collected: its pool has closed the sockets."""

    def __del__(self, *_: object) -> None:
        pass


class _BareRequest(aiohttp.ClientRequest):
    """Sends the headers it is given and no others."""

    DEFAULT_HEADERS = {}  # noqa: RUF012 (as the base class declares it)


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send once: aiohttp alone would repeat a request whose kept connection broke, also one that must not be."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error) or type(error).__name__) from error


class _Broken(aiohttp.ClientConnectionError):
    """The connection broke after the request was begun."""


class _Exchange(Response):
    """One request and its reply: the context manager that `send` returns, and the response in it."""

    _body: _Body | None
    _reply: aiohttp.ClientResponse
    _route: Route

    def __init__(self, transport: AiohttpTransport, request: Request) -> None:
        self._transport = transport
        self._request = request

    async def __aenter__(self) -> Response:
        request, transport = self._request, self._transport
        self._route = route = transport.route(request.origin)
        session = (transport.kept() or await transport.opened()).session
        path, _, query = request.target.partition("?")
        headers: CIMultiDict[str] = CIMultiDict(request.headers)
        headers["Host"] = route.authority
        headers["User-Agent"] = USER_AGENT
        self._body = body = _Body(request, transport.timeouts.send_s) if request.content_bytes else None
        try:
            self._reply = reply = await session.request(
                request.method,
                URL.build(scheme=route.scheme, authority=route.authority, path=path, query_string=query, encoded=True),
                headers=headers,
                data=body,
                skip_auto_headers=None if request.method in _BODYLESS else _NO_CONTENT_TYPE,
                allow_redirects=False,
                proxy=route.proxy,
                ssl=route.tls or True,
            )
        except BaseException as error:
            if body is not None:
                body.abandon()
            if isinstance(error, FAILURES):
                raise translated(error, route) from cause(error)
            raise
        route.answered = True
        self.status = reply.status
        self.headers = _plain(reply.headers)
        return self

    async def __aexit__(self, *exception: object) -> None:
        # At the body's end aiohttp has taken the connection back already; any other one is closed.
        closed = self._reply.closed
        if not closed:
            self._reply.close()
        if self._body is not None and not (closed and self._body.written):
            self._body.abandon()

    async def read(self, limit: int | None = None) -> bytes:
        content = self._reply.content
        self._refuse_above(limit)
        self._begin_body()
        pieces: list[bytes] = []
        while True:
            try:
                piece = await content.readany()
            except FAILURES as error:
                raise translated(error, self._route) from cause(error)
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if limit is not None and self.received + len(piece) > limit:
                raise self._route.sent_too_much(limit)
            self.received += len(piece)
            pieces.append(piece)
            self._require_progress()

    async def readinto(self, into: memoryview) -> int:
        content = self._reply.content
        self._refuse_above(into.nbytes)
        self._begin_body()
        start = 0
        while True:
            try:
                piece, ends_chunk = await content.readchunk()
            except FAILURES as error:
                raise translated(error, self._route) from cause(error)
            if not piece and not ends_chunk:
                return start
            stop = start + len(piece)
            if stop > into.nbytes:
                raise self._route.sent_too_much(into.nbytes)
            into[start:stop] = piece
            self.received = start = stop
            self._require_progress()

    def _begin_body(self) -> None:
        self.received = self._mark_bytes = 0
        self._mark_s = time.monotonic()

    def _require_progress(self) -> None:
        """Give up a body that drips: `idle_s` alone would let a byte every half minute go on for ever."""
        now_s, limit_s = time.monotonic(), self._transport.timeouts.progress_s
        if now_s - self._mark_s < limit_s:
            return
        if self.received - self._mark_bytes < limit_s * KIB:
            raise self._route.sent_too_slowly()
        self._mark_s, self._mark_bytes = now_s, self.received

    def _refuse_above(self, limit: int | None) -> None:
        declared = self.headers.get("content-length", "")
        if limit is None or not declared.isdigit() or int(declared) <= limit or self._reply.content.at_eof():
            return
        raise self._route.announced_too_much(int(declared), limit)


class _Body(aiohttp.Payload):
    """Bytes in memory, sent in pieces that the socket takes without a copy of the rest.

    written: all of them were given to the connection.
    """

    def __init__(self, request: Request, send_s: float) -> None:
        super().__init__(request.body)
        self._view = memoryview(request.body).cast("B")
        self._before, self._after = request.before, request.after
        self._send_s = send_s
        self._size = self._bytes = request.content_bytes
        self._connection: asyncio.WriteTransport | None = None
        self.written = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join((self._before, self._view, self._after)).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        assert isinstance(writer, StreamWriter)
        self._connection = writer.transport
        if self._bytes <= _NEVER_WAITS_BYTES:
            await writer.write(b"".join((self._before, self._view, self._after)))
            self.written = True
            return
        if self._before:
            await writer.write(self._before)
        for start in range(0, self._view.nbytes, _CHUNK_BYTES):
            async with asyncio.timeout(self._send_s):
                await writer.write(self._view[start : start + _CHUNK_BYTES])
        if self._after:
            await writer.write(self._after)
        self.written = True

    def abandon(self) -> None:
        """Send no more of it, also not what the connection still holds: a closed one would, and by then the buffer
        may be its owner's again, with other bytes in it.
        """
        if self._connection is not None:
            self._connection.abort()


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Names in lower case; the values of a repeated name joined by `, `."""
    plain = {name.lower(): value for name, value in headers.items()}
    if len(plain) < len(headers):
        plain.clear()
        for name, value in headers.items():
            lower = name.lower()
            plain[lower] = f"{plain[lower]}, {value}" if lower in plain else value
    return plain


def translated(error: BaseException, route: Route) -> StoreError:  # noqa: PLR0911 (one a row of the table)
    """The family's member for one of FAILURES; never with a path or a query in its text."""
    match error:
        case aiohttp.ClientSSLError():
            return route.not_trusted(error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return route.not_in_time()
        case aiohttp.ClientConnectorDNSError():
            return route.not_found()
        case aiohttp.ClientConnectorError():
            return route.not_connected(error.os_error)
        case aiohttp.SocketTimeoutError():
            return route.sent_nothing()
        case asyncio.TimeoutError():
            return route.took_too_little()
        case aiohttp.ClientPayloadError() if not _is_malformed(error):
            return route.cut_short()
        case aiohttp.ClientHttpProxyError():
            return ConnectionFailed(f"{route.where}: the proxy answered {error.status}", not_sent=True)
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError() | HttpProcessingError():
            return route.not_http()
        case aiohttp.InvalidURL():
            return ConfigurationError(f"not an address: {route.where}; check endpoint_url")
        case _:
            return route.broke()


def cause(error: BaseException) -> BaseException | None:
    """The part of a failure that may be shown as the cause: an error of the system, whose text has no URL."""
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None


def _is_malformed(error: aiohttp.ClientPayloadError) -> bool:
    """Whether a body is not HTTP, rather than cut short: both are told as a payload error."""
    return not isinstance(error.__cause__, (ContentLengthError, TransferEncodingError, OSError, type(None)))
