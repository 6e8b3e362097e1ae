"""The transport on our own connections: what a request costs is its bytes, not objects around them."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

import aiohappyeyeballs

from entrepot.errors import ConfigurationError
from entrepot.http.connection import ARRIVALS_BYTES, Connection
from entrepot.http.pools import Connections, PooledTransport
from entrepot.http.routes import USER_AGENT, Route
from entrepot.http.transport import Origin, Request, Response, Timeouts

if TYPE_CHECKING:
    from entrepot.http.aiohttp_transport import AiohttpTransport

_KEEPALIVE_S: Final = 60.0
_ADDRESSES_S: Final = 60.0  # how long a name's addresses are believed
_SECOND_FAMILY_AFTER_S: Final = 0.25  # RFC 8305, 8
_BODYLESS: Final = frozenset({"GET", "HEAD"})
_NOTHING: Final = memoryview(b"")


class WireTransport(PooledTransport["_Wires"]):
    """HTTP/1.1 on asyncio protocols. Where the environment names a proxy, the request goes through aiohttp."""

    _proxied: AiohttpTransport | None = None

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        route = self.route(request.origin)
        if route.proxy is None:
            return _Exchange(self, route, request)
        if self._proxied is None:
            from entrepot.http.aiohttp_transport import AiohttpTransport

            self._proxied = AiohttpTransport(
                timeouts=self.timeouts, connections=self._most_connections, ca_file=self._ca_file
            )
        return self._proxied.send(request)

    async def close(self) -> None:
        await super().close()
        if self._proxied is not None:
            await self._proxied.close()

    def _open(self) -> _Wires:
        return _Wires(self.timeouts, self._most_connections)


class _Wires(Connections):
    """One loop's connections: those in use, and by origin those that wait for their next request, latest first."""

    def __init__(self, timeouts: Timeouts, most: int) -> None:
        super().__init__()
        self.arrivals = memoryview(bytearray(ARRIVALS_BYTES))
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._open = 0  # connections, also those that are being made
        self._made: set[Connection] = set()
        self._used: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._addresses: dict[Origin, tuple[float, list[Any]]] = {}
        self._turn = 0
        self._tick_s = min(1.0, min(timeouts.idle_s, timeouts.send_s, timeouts.progress_s) / 4)
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    # ---- one connection for a request -------------------------------------------------------------

    async def acquire(self, route: Route) -> Connection:
        """A connection for one request; whoever has it gives it back by `release`.

        Raises: ConnectionFailed, Unreachable, TlsFailed, TimedOut; nothing was sent then.
        """
        waits, before_others = bool(self._waiting), False
        while True:
            if waits:
                await self._turn_to_come(before_others=before_others)
            connection = self._take(route)
            if connection is not None or self._open < self._most or self._give_up_another():
                break
            before_others, waits = waits, True
        if waits:
            self._wake_next()  # there may be room for more than one
        if connection is None:
            connection = await self._connect(route)
        self._used.add(connection)
        if self._timer is None:
            self._watch_later()
        return connection

    def release(self, connection: Connection) -> None:
        """Keep a connection whose reply has come to its end; any other is closed."""
        self._used.discard(connection)
        if connection.settled and not self.closed:
            connection.idle_since_s = self._loop.time()
            self._idle.setdefault(connection.route.origin, []).append(connection)
            if self._waiting:
                self._wake_next()
        else:
            connection.abort()

    def _take(self, route: Route) -> Connection | None:
        idle = self._idle.get(route.origin)
        while idle:
            connection = idle.pop()
            if self._loop.time() - connection.idle_since_s < _KEEPALIVE_S and connection.quiet:
                return connection
            self._drop(connection)
        return None

    def _give_up_another(self) -> bool:
        """Make room by closing an idle connection to another origin; whether there was one."""
        for idle in self._idle.values():
            if idle:
                self._drop(idle.pop(0))
                return True
        return False

    async def _turn_to_come(self, *, before_others: bool) -> None:
        """Wait until something was given back. Who waits stays in the queue until then, so that nobody overtakes.

        before_others: for one whose turn has come, and another one's need was met.
        """
        turn: asyncio.Future[None] = self._loop.create_future()
        if before_others:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            self._wake_next()  # this turn may have come already, and is another's
            raise
        finally:
            self._waiting.remove(turn)

    def _wake_next(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
                return

    def lost(self, connection: Connection) -> None:
        idle = self._idle.get(connection.route.origin)
        if idle and connection in idle:
            idle.remove(connection)
        if connection in self._made:
            self._made.discard(connection)
            self._open -= 1
            self._wake_next()

    def _drop(self, connection: Connection) -> None:
        """Close an idle connection; its room is the caller's."""
        self._made.discard(connection)
        self._open -= 1
        connection.abort()

    def _watch_later(self) -> None:
        self._due_s = self._loop.time() + self._tick_s
        self._timer = self._loop.call_at(self._due_s, self._watch)

    def _watch(self) -> None:
        now_s = self._loop.time()
        for connection in tuple(self._used):
            connection.look(now_s, now_s - self._due_s)
        for idle in self._idle.values():
            while idle and now_s - idle[0].idle_since_s >= _KEEPALIVE_S:
                self._drop(idle.pop(0))
        if self._used:
            self._watch_later()
        else:
            self._timer = None

    # ---- connecting -------------------------------------------------------------------------------

    async def _connect(self, route: Route) -> Connection:
        self._open += 1
        try:
            try:
                async with asyncio.timeout(route.timeouts.connect_s):
                    sock = await self._socket(route)
                    connection = await self._spoken(route, sock)
            except TimeoutError:
                raise route.not_in_time() from None
        except BaseException:
            self._open -= 1
            self._wake_next()
            self._addresses.pop(route.origin, None)
            raise
        self._made.add(connection)
        return connection

    async def _socket(self, route: Route) -> socket.socket:
        try:
            found = await self._resolved(route.origin)
        except (socket.gaierror, UnicodeError) as error:
            raise route.not_found() from error
        # Requests are spread over all addresses of a name: each connection begins with the next one.
        self._turn += 1
        first = self._turn % len(found)
        try:
            return await aiohappyeyeballs.start_connection(
                found[first:] + found[:first],
                happy_eyeballs_delay=_SECOND_FAMILY_AFTER_S,
                interleave=1,
                socket_factory=self._new_socket,
            )
        except TimeoutError:
            raise
        except OSError as error:
            raise route.not_connected(error) from error

    async def _resolved(self, origin: Origin) -> list[Any]:
        until_s, found = self._addresses.get(origin, (0.0, []))
        if self._loop.time() >= until_s:
            found = await self._loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            self._addresses[origin] = (self._loop.time() + _ADDRESSES_S, found)
        return found

    def _new_socket(self, address: Any) -> socket.socket:
        sock = socket.socket(family=address[0], type=address[1], proto=address[2])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.sockets.add(sock)
        return sock

    async def _spoken(self, route: Route, sock: socket.socket) -> Connection:
        """A connection over a socket that is connected, its TLS agreed on."""
        connection = Connection(self, route, self._loop)
        host = route.origin.host if route.tls is not None else None
        try:
            await self._loop.create_connection(lambda: connection, sock=sock, ssl=route.tls, server_hostname=host)
        except BaseException as error:
            # asyncio only closes: over TLS it would wait for the peer's farewell, on a descriptor that is another's.
            connection.abort()
            sock.close()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                raise route.not_trusted(error) from error
            raise
        if not connection.usable:  # ended, or greeted by what is no HTTP, as soon as it was there
            connection.abort()
            raise route.broke()
        return connection

    # ---- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in tuple(self._made):
            if connection in self._used:
                connection.abort()
            else:
                connection.close()
        await asyncio.sleep(0)
        for connection in tuple(self._made):  # a peer may take its time to answer TLS's farewell
            connection.abort()
        await asyncio.sleep(0)


class _Exchange(Response):
    """One request and its reply: the context manager that `send` returns, and the response in it."""

    _connection: Connection
    _wires: _Wires

    def __init__(self, transport: WireTransport, route: Route, request: Request) -> None:
        self._transport, self._route, self._request = transport, route, request

    async def __aenter__(self) -> Response:
        request, route, transport = self._request, self._route, self._transport
        body = memoryview(request.body).cast("B") if request.body else _NOTHING
        head = _head(request, route, len(request.before) + body.nbytes + len(request.after))
        self._wires = wires = transport.kept() or await transport.opened()
        self._connection = connection = await wires.acquire(route)
        try:
            await connection.send(request.method, head, request.before, body, request.after)
        except BaseException:
            connection.abort()
            wires.release(connection)
            raise
        route.answered = True
        self.status = connection.status
        self.headers = connection.headers
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._wires.release(self._connection)
        del self._connection  # a read that is late would take another's reply

    async def read(self, limit: int | None = None) -> bytes:
        connection = self._connection
        try:
            return await connection.read(limit)
        finally:
            self.received = connection.received

    async def readinto(self, into: memoryview) -> int:
        connection = self._connection
        try:
            return await connection.readinto(into)
        finally:
            self.received = connection.received


def _head(request: Request, route: Route, body_bytes: int) -> bytes:
    """The request's first line and its fields, with the empty line after them.

    Raises: ConfigurationError where a value would end its line: what follows would be a request of its own.
    """
    length = f"content-length: {body_bytes}\r\n" if body_bytes or request.method not in _BODYLESS else ""
    fields = "".join([f"{name}: {value}\r\n" for name, value in request.headers])
    text = (
        f"{request.method} {request.target} HTTP/1.1\r\nhost: {route.authority}\r\nuser-agent: {USER_AGENT}\r\n"
        f"{fields}{length}\r\n"
    )
    try:
        head = text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError("a header's value has half of a character in it") from None
    lines = len(request.headers) + (5 if length else 4)
    if not (head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n") == lines) or b"\0" in head:
        raise ConfigurationError("a header's value has a line break or a zero byte in it")
    if " " in request.target or not request.target.isprintable():
        raise ConfigurationError("the target of a request has a space or a control character in it")
    return head
