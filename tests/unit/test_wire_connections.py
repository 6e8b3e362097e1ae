"""The wire transport's connections against real servers: what is sent and when, who gets which, and what stays."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from entrepot.errors import BadResponse, ConfigurationError, ConnectionFailed, TlsFailed, Unreachable
from entrepot.http.transport import Origin, Request, Response
from entrepot.http.wire_transport import WireTransport
from entrepot.models import KIB, MIB
from raw_server import Handler, Server, Thread, answering, certified, reply, serving, tls_server
from wire_line import turns

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified(tmp_path_factory.mktemp("tls"))


class Site:
    """How a server is served and reached: plainly, or over TLS."""

    def __init__(self, certificate: Path | None) -> None:
        self.certificate = certificate

    def serving(self, handler: Handler) -> Any:
        return serving(handler, None if self.certificate is None else tls_server(self.certificate))

    def thread(self) -> Thread:
        return Thread(b"x" * 100_000, None if self.certificate is None else tls_server(self.certificate))

    def origin(self, server: Server) -> Origin:
        return server.origin if self.certificate is None else Origin("https", "localhost", server.port)

    @asynccontextmanager
    async def transport(self, **settings: Any) -> AsyncIterator[WireTransport]:
        http = WireTransport(ca_file=None if self.certificate is None else str(self.certificate), **settings)
        try:
            yield http
        finally:
            await http.close()


@pytest.fixture(params=["plain", "tls"])
def site(request: pytest.FixtureRequest, certificate: Path) -> Site:
    return Site(certificate if request.param == "tls" else None)


PLAIN = Site(None)


async def fetch(http: WireTransport, origin: Origin, target: str = "/k") -> bytes:
    async with http.send(Request("GET", origin, target)) as response:
        return await response.read()


# ---- what is sent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "body", "after"),
    [
        (b"", b"", b"after"),
        (b"before", b"", b""),
        (b"before", b"", b"after"),
        (b"before", b"body", b"after"),
        (b"", bytes(range(256)) * 1000, b"after"),
        (b"before" * 20_000, b"x", b""),
        (b"before" * 20_000, b"", b"after" * 20_000),
        (b"before", bytes(range(256)) * 9000, b"after" * 20_000),
    ],
)
async def test_what_surrounds_a_body_is_sent_exactly(before: bytes, body: bytes, after: bytes, site: Site) -> None:
    async with site.serving(answering(reply())) as server, site.transport() as http:
        request = Request("PUT", site.origin(server), "/k", (), memoryview(body), before=before, after=after)
        for _ in range(2):
            async with http.send(request) as response:
                await response.read()
        assert server.bodies == [before + body + after] * 2
        assert server.accepted == 1


async def test_8_mib_go_there_and_back_exactly(site: Site) -> None:
    body = os.urandom(8 * MIB)

    async def echo(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.receive(reader)
            writer.write(reply(server.bodies[-1]))
            await writer.drain()

    async with site.serving(echo) as server, site.transport() as http:
        request = Request("PUT", site.origin(server), "/k", (), bytearray(body))
        async with http.send(request) as response:
            assert await response.read(8 * MIB) == body
        buffer = bytearray(8 * MIB)
        async with http.send(request) as response:
            assert await response.readinto(memoryview(buffer)) == 8 * MIB
        assert buffer == body
        assert server.accepted == 1


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", Origin("http", "h", 1), "/k HTTP/1.1\r\nX: y"),
        Request("GET", Origin("http", "h", 1), "/k HTTP/1.0"),
        Request("GET", Origin("http", "h", 1), "/k\tx"),
        Request("GET", Origin("http", "h", 1), "/k\nx"),
        Request("GET", Origin("http", "h", 1), "/k\0"),
        Request("GET", Origin("http", "h", 1), "/k", [("a", "b\r\nX: y")]),
        Request("GET", Origin("http", "h", 1), "/k", [("a", "b\nX: y")]),
        Request("GET", Origin("http", "h", 1), "/k", [("a", "b\rX: y")]),
        Request("GET", Origin("http", "h", 1), "/k", [("a", "b\r\n\r\nGET / HTTP/1.1")]),
        Request("GET", Origin("http", "h", 1), "/k", [("a", "b\0c")]),
        Request("GET", Origin("http", "h", 1), "/k", [("a\r\nX", "y")]),
        Request("GET", Origin("http", "h", 1), "/k", [("a", "\udc80")]),
        Request("GET / HTTP/1.1\r\nX: y\r\n\r\nGET", Origin("http", "h", 1), "/k"),
    ],
)
async def test_what_would_be_another_request_is_refused_before_anything_is_done(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        pytest.fail("a name was looked up")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    async with PLAIN.transport() as http:
        with pytest.raises(ConfigurationError):
            async with http.send(request_):
                pass
        assert http.kept() is None


async def test_bytes_of_a_buffer_that_is_its_owners_again_are_not_sent() -> None:
    """The event loop keeps views of what it could not send yet, not copies (from Python 3.12 on)."""
    got = bytearray()

    async def refusing(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply(b"no", status="403 Forbidden"))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        while piece := await reader.read(MIB):
            got.extend(piece)

    over = asyncio.Event()
    body = bytearray(b"a" * (32 * MIB))
    async with PLAIN.serving(refusing) as server, PLAIN.transport() as http:
        async with http.send(Request("PUT", server.origin, "/k", (), body)) as response:
            assert response.status == 403
            assert await response.read() == b"no"
        body[:] = b"b" * len(body)
        over.set()
        await server.until_open(0)
    assert 0 < len(got) < len(body)
    assert got.count(b"a") == len(got)


# ---- replies that come early --------------------------------------------------------------------------------


@asynccontextmanager
async def answering_early(site: Site, *answers: bytes) -> AsyncIterator[Server]:
    """Answers when the head of a request has come, and reads no more."""
    over = asyncio.Event()

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for answer in answers:
            writer.write(answer)
            await turns()
        await over.wait()

    async with site.serving(handler) as server:
        try:
            yield server
        finally:
            over.set()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "403 Forbidden", "412 Precondition Failed", "413 Large"])
async def test_a_refusal_while_a_body_is_sent_is_told_and_its_connection_closed(status: str, site: Site) -> None:
    refusal = reply(b"<Error/>", status=status)
    async with answering_early(site, CONTINUE, refusal) as server, site.transport() as http:
        request = Request("PUT", site.origin(server), "/k", (), bytes(32 * MIB))
        for count in (1, 2):
            async with http.send(request) as response:
                assert response.status == int(status[:3])
                assert await response.read() == b"<Error/>"
            assert server.accepted == count


async def test_a_success_while_a_body_is_sent_is_a_bad_response(site: Site) -> None:
    async with answering_early(site, CONTINUE, reply()) as server, site.transport() as http:
        with pytest.raises(BadResponse, match="answered before the whole request"):
            async with http.send(Request("PUT", site.origin(server), "/k", (), bytes(32 * MIB))):
                pass


# ---- what comes unasked -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 2, 100, 64 * KIB, 200_000, 256 * KIB, 3 * MIB])
@pytest.mark.parametrize("into", [False, True])
async def test_what_follows_a_reply_is_never_the_next_one(size: int, into: bool, site: Site) -> None:
    body = os.urandom(size)
    async with site.serving(answering(reply(body) + reply(b"not asked for"))) as server, site.transport() as http:
        for count in (1, 2, 3):
            async with http.send(Request("GET", site.origin(server), "/k")) as response:
                if into:
                    buffer = bytearray(size)
                    assert await response.readinto(memoryview(buffer)) == size
                    assert buffer == body
                else:
                    assert await response.read() == body
            assert server.accepted == count


class Elsewhere:
    """A server in a thread of its own, which goes on while the test's loop stands still."""

    def __init__(self, site: Site, unasked: bytes, *, ends: bool) -> None:
        self.site, self.unasked, self.ends = site, unasked, ends
        self.ready, self.go, self.done = threading.Event(), threading.Event(), threading.Event()

    async def handler(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.receive(reader)
            writer.write(reply(b"asked for"))
            if server.accepted == 1:
                await asyncio.to_thread(self.go.wait, 10)
                writer.write(self.unasked)
                if self.ends:
                    break
                await writer.drain()
                self.done.set()

    async def main(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.site.serving(self.handler) as self.server:
            self.ready.set()
            if self.ends:
                await self.server.until_open(1)
                await self.server.until_open(0)
                await turns()
                self.done.set()
            await self.stop.wait()

    def __enter__(self) -> Elsewhere:
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()))
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self.go.set()
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(
    ("unasked", "ends"), [(b"", True), (reply(status="408 Request Timeout"), True), (reply(b"unasked"), False)]
)
async def test_a_connection_that_ended_or_spoke_while_idle_is_not_used(
    unasked: bytes, ends: bool, seen: bool, site: Site
) -> None:
    with Elsewhere(site, unasked, ends=ends) as other:
        origin = site.origin(other.server)
        async with site.transport() as http:
            assert await fetch(http, origin) == b"asked for"
            other.go.set()
            if seen:
                await asyncio.to_thread(other.done.wait, 10)
                await turns(20)
            else:
                assert other.done.wait(10)  # the loop stands still
            assert await fetch(http, origin) == b"asked for"
            assert other.server.accepted == 2


async def test_over_tls_a_body_without_a_length_ends_by_a_farewell_only(certificate: Path) -> None:
    site = Site(certificate)

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await server.receive(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await writer.drain()
        if b"/cut" in head:
            ended = socket.fromfd(writer.get_extra_info("socket").fileno(), socket.AF_INET, socket.SOCK_STREAM)
            ended.shutdown(socket.SHUT_WR)
            ended.close()
            await reader.read()

    async with site.serving(handler) as server, site.transport() as http:
        assert await fetch(http, site.origin(server), "/whole") == b"hello"
        with pytest.raises(ConnectionFailed, match="before the whole body"):
            await fetch(http, site.origin(server), "/cut")


# ---- a body that nobody reads -------------------------------------------------------------------------------


async def test_a_body_that_nobody_reads_stays_where_it_is_and_is_read_whole_later(site: Site) -> None:
    body = os.urandom(MIB) * 32
    wrote = asyncio.Event()

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.receive(reader)
            writer.write(reply(body))
            wrote.set()
            await writer.drain()

    async with site.serving(handler) as server, site.transport() as http:
        for _ in range(2):
            wrote.clear()
            async with http.send(Request("GET", site.origin(server), "/k")) as response:
                await wrote.wait()
                await turns(200)
                assert connection_of(response).received <= 512 * KIB
                buffer = bytearray(len(body))
                assert await response.readinto(memoryview(buffer)) == len(body)
                assert buffer == body
        assert server.accepted == 1


def connection_of(response: Response) -> Any:
    return response._connection  # type: ignore[attr-defined]


# ---- addresses ----------------------------------------------------------------------------------------------


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[tuple[str, int]]], None]:
    """Give `store.example` the addresses, with ports, that the test has listeners on."""

    def resolve(addresses: Sequence[tuple[str, int]]) -> None:
        async def getaddrinfo(host: str, *more: Any, **settings: Any) -> Any:
            if host != "store.example":
                return await type(loop).getaddrinfo(loop, host, *more, **settings)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)

    return resolve


async def test_all_addresses_of_a_name_are_used_in_turn_and_one_that_refuses_is_passed_over(
    resolving: Callable[[Sequence[tuple[str, int]]], None],
) -> None:
    used: list[str] = []

    async def listen(host: str, port: int) -> asyncio.Server:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            used.append(host)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply(b"", "Connection: close"))
            writer.close()

        return await asyncio.start_server(handler, host, port)

    with socket.socket() as unheard:
        unheard.bind(("127.0.0.3", 0))
        first = await listen("127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        second = await listen("127.0.0.2", port)
        origin = Origin("http", "store.example", port)
        async with first, second:
            resolving([("127.0.0.1", port), ("127.0.0.2", port)])
            async with PLAIN.transport() as http:
                for _ in range(6):
                    await fetch(http, origin)
            assert sorted(used) == ["127.0.0.1"] * 3 + ["127.0.0.2"] * 3
            assert used[:3] in (["127.0.0.1", "127.0.0.2", "127.0.0.1"], ["127.0.0.2", "127.0.0.1", "127.0.0.2"])
            resolving([unheard.getsockname(), ("127.0.0.2", port)])
            used.clear()
            async with PLAIN.transport() as http:
                for _ in range(4):
                    await fetch(http, origin)
            assert used == ["127.0.0.2"] * 4
            resolving([unheard.getsockname()])
            async with PLAIN.transport() as http:
                with pytest.raises(Unreachable, match="is the server running"):
                    await fetch(http, origin)


# ---- more requests than connections -------------------------------------------------------------------------


def holding(gate: asyncio.Event, order: list[str]) -> Handler:
    """Answers once the gate is open; notes the targets as they come."""

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            order.append((await server.receive(reader)).split(b" ")[1].decode())
            await gate.wait()
            writer.write(reply())
            await writer.drain()

    return handler


async def test_who_waits_is_served_in_turn_and_nobody_overtakes() -> None:
    gate, order = asyncio.Event(), list[str]()
    gate.set()
    async with PLAIN.serving(holding(gate, order)) as server, PLAIN.transport(connections=1) as http:

        async def several(name: str) -> None:
            for number in range(3):
                await fetch(http, server.origin, f"/{name}{number}")

        await asyncio.gather(*[several(name) for name in "abc"])
        assert order == [f"/{name}{number}" for number in range(3) for name in "abc"]
        assert server.accepted == 1


@pytest.mark.parametrize("given_back", ["kept", "closed", "cut"])
async def test_waiters_cancelled_at_any_moment_lose_no_turn(given_back: str) -> None:
    """Four wait for one connection; it is given back, and after so many turns of the loop some are cancelled."""
    answer = {"kept": reply(), "closed": reply(b"", "Connection: close"), "cut": reply(length=1)}[given_back]
    for moment in range(8):
        for cancelled in ((0,), (0, 1), (1,), (0, 1, 2), (2, 0)):
            gate = asyncio.Event()

            async def handler(
                server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event = gate
            ) -> None:
                while True:
                    await server.receive(reader)
                    await gate.wait()
                    writer.write(answer)
                    await writer.drain()
                    if given_back != "kept":
                        break

            async with PLAIN.serving(handler) as server, PLAIN.transport(connections=1) as http:

                async def call(http: WireTransport = http, origin: Origin = server.origin) -> None:
                    try:
                        await fetch(http, origin)
                    except ConnectionFailed:
                        assert given_back == "cut"

                holder = asyncio.create_task(call())
                await server.until_open(1)
                waiters = [asyncio.create_task(call()) for _ in range(4)]
                await turns()
                gate.set()
                await holder
                await turns(moment)
                for index in cancelled:
                    waiters[index].cancel()
                async with asyncio.timeout(10):
                    ends = await asyncio.gather(*waiters, return_exceptions=True)
                    await call()
                assert [end for end in ends if end is not None and not isinstance(end, asyncio.CancelledError)] == []
                wires: Any = http.kept()
                assert not wires._waiting
                assert not wires._used
                assert wires._open == len(wires._made) <= 1


async def test_idle_connections_to_another_origin_make_room() -> None:
    async with (
        PLAIN.serving(answering(reply(b"one"))) as one,
        PLAIN.serving(answering(reply(b"two"))) as two,
        PLAIN.transport(connections=2) as http,
    ):
        for _ in range(2):
            assert await asyncio.gather(*[fetch(http, one.origin) for _ in range(4)]) == [b"one"] * 4
            await one.until_open(2)
            assert await asyncio.gather(*[fetch(http, two.origin) for _ in range(4)]) == [b"two"] * 4
            await one.until_open(0)
            await two.until_open(2)
        got = await asyncio.gather(*[fetch(http, (one, two)[number % 2].origin) for number in range(20)])
        assert got == [b"one", b"two"] * 10
        assert one.open + two.open <= 2


# ---- cancelled at every await, and what stays ---------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def watched() -> int:
    """How many descriptors the running loop waits for, where it tells."""
    selector = getattr(asyncio.get_running_loop(), "_selector", None)
    return 0 if selector is None else len(selector.get_map())


async def test_cancelled_after_any_turn_of_the_loop_nothing_stays_and_the_next_request_is_served(site: Site) -> None:
    body = bytes(300 * KIB)
    async with site.serving(answering(reply(bytes(300 * KIB)))) as server:
        at_first = (descriptors(), watched())
        moment, finished = 0, False
        while not finished:
            async with site.transport(connections=1) as http:

                async def call(http: WireTransport = http) -> None:
                    async with http.send(Request("PUT", site.origin(server), "/k", (), body)) as response:
                        assert len(await response.read()) == 300 * KIB

                task = asyncio.create_task(call())
                await turns(moment)
                if moment % 2:  # as a busy machine may, one turn is a long one: more is ready at the next
                    await asyncio.to_thread(int)
                finished = task.done()
                task.cancel()
                await asyncio.wait([task])
                assert finished or task.cancelled()
                async with asyncio.timeout(10):
                    await call()
                wires: Any = http.kept()
                assert (wires._open, len(wires._made), len(wires._used), len(wires._waiting)) == (1, 1, 0, 0)
            await server.until_open(0)
            await turns(10)
            assert (descriptors(), watched()) == at_first
            moment += 1
        assert moment > 3


async def test_nothing_runs_after_a_call_but_one_watchdog_which_ends_too(site: Site) -> None:
    loop: Any = asyncio.get_running_loop()
    tasks = asyncio.all_tasks()
    with site.thread() as server:
        async with site.transport() as http:
            for _ in range(3):
                await fetch(http, site.origin(server.server))
            assert asyncio.all_tasks() == tasks
            wires: Any = http.kept()
            timers = [timer for timer in getattr(loop, "_scheduled", [wires._timer]) if not timer.cancelled()]
            ours = [timer for timer in timers if "_watch" in repr(timer)]
            assert ours == [wires._timer]
            assert [timer for timer in timers if "sslproto" in repr(timer)] == []
            ours[0].cancel()
            wires._watch()  # as it does when its time comes
            assert wires._timer is None


async def test_after_a_close_nothing_waits_for_the_collector(site: Site) -> None:
    async with site.serving(answering(reply(b"x" * 100_000))) as server:
        gc.collect()
        gc.disable()
        try:
            http = WireTransport(ca_file=None if site.certificate is None else str(site.certificate))
            await asyncio.gather(*[fetch(http, site.origin(server)) for _ in range(4)])
            wires: Any = http.kept()
            connections = list(wires._made)
            assert connections
            kept = [weakref.ref(each) for each in (http, wires, *connections)]
            await http.close()
            await turns(10)
            del http, wires, connections
            await server.until_open(0)
            await turns(10)
            assert [reference() for reference in kept if reference() is not None] == []
        finally:
            gc.enable()


async def test_a_certificate_that_is_not_trusted_leaves_nothing(certificate: Path) -> None:
    with Thread(tls=tls_server(certificate)) as server:
        async with PLAIN.transport() as http:
            at_first = watched()
            for _ in range(3):
                with pytest.raises(TlsFailed, match="not trusted"):
                    await fetch(http, Origin("https", "localhost", server.port))
            await turns(10)
            assert watched() == at_first
