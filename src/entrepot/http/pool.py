"""The transport on aiohttp: one pool of connections per event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet, finalize

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from entrepot import __version__
from entrepot.errors import BadResponse, TimedOut
from entrepot.http.routes import FAILURES, Route, cause, tls_context
from entrepot.http.transport import Origin, Request, Response, Timeouts, Transport
from entrepot.models import KIB, MIB

USER_AGENT: Final = f"entrepot/{__version__}"

_CHUNK_BYTES: Final = 256 * KIB  # of a body to send: larger ones are copied by the event loop, 0.74 s of CPU a GB
_READ_BUFFER_BYTES: Final = 2 * MIB  # a smaller one stops and starts the socket often: 0.99 s of CPU a GB, not 0.76
_NEVER_WAITS_BYTES: Final = 32 * KIB  # of a body: aiohttp waits for the socket above 64 KiB, below no timer is needed
_KEEPALIVE_S: Final = 60.0
# aiohttp must not add a Content-Type: it would not be covered by the signature.
_NO_CONTENT_TYPE: Final = ("Content-Type",)
_BODYLESS: Final = frozenset({"GET", "HEAD"})


class AiohttpTransport(Transport):
    """Connections are kept per event loop and dropped when it ends; a forked child begins with none.

    connections: an upper bound for each loop, far above what callers run at once: they bound themselves.
    ca_file: PEM file of trusted certificate authorities in place of the system's.
    Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY` …), read when an origin is first used.
    """

    def __init__(
        self, *, timeouts: Timeouts | None = None, connections: int = 1024, ca_file: str | None = None
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self._connections = connections
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._pid = os.getpid()
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()
        self._inherited: list[object] = []
        self._routes: dict[Origin, Route] = {}

    def __repr__(self) -> str:
        return f"AiohttpTransport({self.timeouts!r})"

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        return _Exchange(self, request)

    async def close(self) -> None:
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None and self._pid == os.getpid():
            await pool.close()

    def kept_pool(self) -> _Pool | None:
        """The running loop's connections, if there are any yet."""
        if self._pid != os.getpid():
            self._drop_inherited()
        pool = self._pools.get(asyncio.get_running_loop())
        return pool if pool is not None and not pool.session.closed else None

    async def new_pool(self) -> _Pool:
        """The running loop's first connections, or those after a `close`."""
        self._drop_ended()
        pool = self._pools[asyncio.get_running_loop()] = _Pool(self.timeouts, self._connections)
        await pool.keep()
        return pool

    def route(self, origin: Origin) -> Route:
        """What every request to an origin has in common."""
        route = self._routes.get(origin)
        if route is None:
            if origin.scheme == "https" and self._tls is None:
                self._tls = tls_context(self._ca_file)
            route = self._routes[origin] = Route(origin, self._tls if origin.scheme == "https" else None)
        return route

    def _drop_inherited(self) -> None:
        """In a forked child: the parent goes on using these connections, so nothing may be said on them.

        Closing a transport would speak TLS and change the parent's epoll set; closing the descriptors does neither.
        The objects around them are kept, unused, so that no finaliser touches what is shared.
        """
        self._pid = os.getpid()
        for pool in list(self._pools.values()):
            for sock in list(pool.sockets):
                descriptor = sock.detach()
                if descriptor >= 0:
                    os.close(descriptor)
            self._inherited.append(pool)
        self._inherited.extend(self._pools.keys())
        self._pools = WeakKeyDictionary()

    def _drop_ended(self) -> None:
        """Loops close their pools as they end (`_Pool.keep`); this is for loops that were only closed."""
        for reference in self._pools.keyrefs():  # a list made in one step: other threads' loops come and go
            loop = reference()
            if loop is not None and loop.is_closed():
                self._pools.pop(loop, None)


class _Pool:
    """One loop's aiohttp session, and the sockets it has opened.

    Nothing that the loop or aiohttp holds leads back here, so that a pool which its owner drops is noticed.
    """

    def __init__(self, timeouts: Timeouts, connections: int) -> None:
        self.sockets = sockets = WeakSet[socket.socket]()

        def open_socket(address: Any) -> socket.socket:
            sock = socket.socket(family=address[0], type=address[1], proto=address[2])
            sockets.add(sock)
            return sock

        self.session = aiohttp.ClientSession(
            connector=_Connector(limit=connections, keepalive_timeout=_KEEPALIVE_S, socket_factory=open_socket),
            request_class=_BareRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s, sock_read=timeouts.idle_s),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
            middlewares=(_once,),
            trust_env=False,  # it would cost two thread hops a request, and sign for us from ~/.netrc
        )
        self._keeper = _close_at_end(self.session)
        # Held until then by the registry of finalisers, the session outlives garbage that the pool may be part of.
        self._dropped = finalize(self, _let_go, asyncio.get_running_loop(), self.session, self._keeper, sockets)
        self._dropped.atexit = False

    async def keep(self) -> None:
        """Have the loop close this pool when it shuts its asynchronous generators down, as every runner does."""
        await anext(self._keeper)

    async def close(self) -> None:
        self._dropped.detach()
        await self._keeper.aclose()


async def _close_at_end(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()


def _let_go(
    loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession, _keeper: object, sockets: WeakSet[socket.socket]
) -> None:
    """After a pool that nobody closed. A living loop runs the keeper's end by itself, once this reference is gone;
    for a loop that was only closed, the sockets are.
    """
    if loop.is_closed():
        for sock in list(sockets):
            sock.close()
        session.detach()


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
        pool = transport.kept_pool() or await transport.new_pool()
        path, _, query = request.target.partition("?")
        headers: CIMultiDict[str] = CIMultiDict(request.headers)
        headers["Host"] = route.authority
        headers["User-Agent"] = USER_AGENT
        self._body = body = _Body(request, transport.timeouts.send_s) if request.body or request.before else None
        try:
            self._reply = reply = await pool.session.request(
                request.method,
                URL.build(scheme=route.scheme, authority=route.authority, path=path, query_string=query, encoded=True),
                headers=headers,
                data=body,
                skip_auto_headers=None if request.method in _BODYLESS else _NO_CONTENT_TYPE,
                allow_redirects=False,
                proxy=route.proxy,
                ssl=route.tls,
            )
        except BaseException as error:
            if body is not None:
                body.abandon()
            if isinstance(error, FAILURES):
                raise route.error(error, transport.timeouts) from cause(error)
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
                raise self._route.error(error, self._transport.timeouts) from cause(error)
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if limit is not None and self.received + len(piece) > limit:
                raise BadResponse(f"{self._route.where} sent a body of more than {limit} bytes")
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
                raise self._route.error(error, self._transport.timeouts) from cause(error)
            if not piece and not ends_chunk:
                return start
            stop = start + len(piece)
            if stop > into.nbytes:
                raise BadResponse(f"{self._route.where} sent a body of more than {into.nbytes} bytes")
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
            raise TimedOut(f"{self._route.where} sent less than 1 KiB/s for {limit_s:g} s")
        self._mark_s, self._mark_bytes = now_s, self.received

    def _refuse_above(self, limit: int | None) -> None:
        declared = self.headers.get("content-length", "")
        if limit is None or not declared.isdigit() or int(declared) <= limit or self._reply.content.at_eof():
            return
        raise BadResponse(f"{self._route.where} announced a body of {declared} bytes, more than {limit}")


class _Body(aiohttp.Payload):
    """Bytes in memory, sent in pieces that the socket takes without a copy of the rest.

    written: all of them were given to the connection.
    """

    def __init__(self, request: Request, send_s: float) -> None:
        super().__init__(request.body)
        self._view = memoryview(request.body).cast("B")
        self._before, self._after = request.before, request.after
        self._send_s = send_s
        self._size = self._bytes = len(self._before) + self._view.nbytes + len(self._after)
        self._connection: asyncio.WriteTransport | None = None
        self.written = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join((self._before, self._view, self._after)).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        assert isinstance(writer, StreamWriter)
        self._connection = writer.transport
        if self._bytes <= _NEVER_WAITS_BYTES:
            await writer.write(b"".join((self._before, self._view, self._after)) if self._before else self._view)
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
