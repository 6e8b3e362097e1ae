"""Both transports against real servers that are slow, broken, or gone."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from entrepot.errors import (
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    StoreError,
    TimedOut,
    TlsFailed,
    Unreachable,
)
from entrepot.http.aiohttp_transport import AiohttpTransport
from entrepot.http.pools import PooledTransport
from entrepot.http.routes import USER_AGENT
from entrepot.http.transport import Origin, Request, Timeouts, Transport
from entrepot.http.wire_transport import WireTransport
from raw_server import Handler, Server, Thread, answering, certified, reply, serving, then_closing, tls_server

pytestmark = pytest.mark.anyio

Kind: type[PooledTransport[Any]] = WireTransport
"""The transport under test: each test runs with both."""


@pytest.fixture(params=[WireTransport, AiohttpTransport], autouse=True)
def each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[PooledTransport[Any]]:
    monkeypatch.setattr(request.module, "Kind", request.param)
    return request.param


@asynccontextmanager
async def transport(**settings: Any) -> AsyncIterator[PooledTransport[Any]]:
    made = Kind(**settings)
    try:
        yield made
    finally:
        await made.close()


# ---- what is sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/b/a%20b%25%2B%23%3F~.-_",
        "/b/%E6%97%A5%2f%2F",
        "/b/a;b,c@d'(e)*!$&=:+",
        "/b/dot./..x/...",
        "/b?uploads",
        "/b?uploads=",
        "/b?prefix=a%20b%2Bc&delimiter=%2F&marker=",
        "/b/k?versionId=a%3Db%26c&x-id=GetObject",
        "//double//slashes/",
    ],
)
async def test_the_target_is_sent_byte_for_byte(target: str) -> None:
    async with serving(answering(reply())) as server, transport() as http:
        async with http.send(Request("GET", server.origin, target)) as response:
            assert await response.read() == b""
        assert server.heads[0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


async def test_no_header_is_sent_but_ours_and_host_length_and_agent() -> None:
    async with serving(answering(reply())) as server, transport() as http:
        for method, body in (("GET", b""), ("PUT", b"body"), ("PUT", b""), ("POST", b"x"), ("DELETE", b"")):
            headers = [("x-amz-date", "now"), ("authorization", "AWS4 x")]
            async with http.send(Request(method, server.origin, "/b/k", headers, body)) as response:
                await response.read()
    for head, body in zip(server.heads, server.bodies, strict=True):
        names = {line.split(b":")[0].decode().lower() for line in head.split(b"\r\n")[1:-2]}
        sized = {"content-length"} if body or not head.startswith(b"GET") else set()
        assert names == {"host", "user-agent", "x-amz-date", "authorization"} | sized
        assert f"host: 127.0.0.1:{server.port}\r\n".encode() in head.lower()
        assert USER_AGENT.encode() in head
    assert server.bodies == [b"", b"body", b"", b"x", b""]


@pytest.mark.parametrize("size", [1, 4096, 65_537, 256 * 1024, 256 * 1024 + 1, 3 * 2**20 + 7])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bodies_of_every_size_and_kind_arrive_whole(size: int, kind: type) -> None:
    body = os.urandom(size)
    async with serving(answering(reply())) as server, transport() as http:
        async with http.send(Request("PUT", server.origin, "/k", (), kind(body))) as response:
            assert response.status == 200
            await response.read()
        assert server.bodies == [body]
        assert server.accepted == 1


async def test_a_body_that_nobody_takes_times_out() -> None:
    async def stuck(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with serving(stuck) as server, transport(timeouts=Timeouts(send_s=0.2)) as http:
        with pytest.raises(TimedOut, match=f"http://127.0.0.1:{server.port} took too little of the body"):
            async with http.send(Request("PUT", server.origin, "/k", (), bytes(64 * 2**20))):
                pass


# ---- what comes back ------------------------------------------------------------------------------------


async def test_heads_have_lower_case_names_and_repeated_ones_are_joined() -> None:
    head = reply(b"", 'ETag: "x"', "X-Amz-Meta-A: 1", "x-amz-meta-a: 2")
    async with (
        serving(answering(head)) as server,
        transport() as http,
        http.send(Request("HEAD", server.origin, "/k")) as response,
    ):
        assert response.headers == {"content-length": "0", "etag": '"x"', "x-amz-meta-a": "1, 2"}


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent"])
async def test_redirects_are_replies(status: str) -> None:
    elsewhere = reply(b"<Error/>", "Location: http://127.0.0.1:1/other", status=status)
    async with serving(answering(elsewhere)) as server, transport() as http:
        async with http.send(Request("GET", server.origin, "/k")) as response:
            assert response.status == int(status[:3])
            assert response.headers["location"] == "http://127.0.0.1:1/other"
            assert await response.read() == b"<Error/>"
        assert len(server.heads) == 1


async def test_encoded_content_is_not_decoded() -> None:
    zipped = reply(b"\x1f\x8bnot really", "Content-Encoding: gzip")
    async with (
        serving(answering(zipped)) as server,
        transport() as http,
        http.send(Request("GET", server.origin, "/k")) as response,
    ):
        assert await response.read() == b"\x1f\x8bnot really"


async def test_cookies_are_not_kept() -> None:
    async with serving(answering(reply(b"", "Set-Cookie: a=b; Path=/"))) as server, transport() as http:
        for _ in range(2):
            async with http.send(Request("GET", server.origin, "/k")) as response:
                await response.read()
        assert b"cookie" not in server.heads[1].lower()


async def test_a_head_reply_announces_a_body_and_has_none() -> None:
    async with serving(answering(reply(length=10**12))) as server, transport() as http:
        for _ in range(2):
            async with http.send(Request("HEAD", server.origin, "/k")) as response:
                assert response.headers["content-length"] == str(10**12)
                assert await response.read(10) == b""
        assert server.accepted == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"


async def test_chunked_bodies() -> None:
    async with serving(answering(CHUNKED)) as server, transport() as http:
        async with http.send(Request("GET", server.origin, "/k")) as response:
            assert await response.read() == b"hello world"
            assert response.received == 11
        buffer = bytearray(20)
        async with http.send(Request("GET", server.origin, "/k")) as response:
            assert await response.readinto(memoryview(buffer)) == 11
        assert buffer[:11] == b"hello world"
        assert server.accepted == 1


@pytest.mark.parametrize("size", [0, 1, 4096, 3 * 2**20 + 7])
async def test_readinto_fills_the_buffer_and_no_more(size: int) -> None:
    body = os.urandom(size)
    async with serving(answering(reply(body))) as server, transport() as http:
        buffer = bytearray(b"." * (size + 3))
        async with http.send(Request("GET", server.origin, "/k")) as response:
            assert await response.readinto(memoryview(buffer)) == response.received == size
        assert buffer == body + b"..."


@pytest.mark.parametrize("body", [reply(bytes(100)), CHUNKED])
async def test_a_body_above_the_limit_is_refused(body: bytes) -> None:
    async with serving(answering(body)) as server, transport() as http:
        async with http.send(Request("GET", server.origin, "/k")) as response:
            with pytest.raises(BadResponse, match="more than 10"):
                await response.read(10)
        async with http.send(Request("GET", server.origin, "/k")) as response:
            with pytest.raises(BadResponse, match="more than 10"):
                await response.readinto(memoryview(bytearray(10)))


# ---- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("got", [0, 1, 700_000])
async def test_a_body_cut_short_tells_how_much_came(got: int, reset: bool) -> None:
    body = os.urandom(2**20)
    whole = 2**20
    async with serving(then_closing(reply(body[:got], length=whole), reset=reset)) as server, transport() as http:
        async with http.send(Request("GET", server.origin, "/k?secret=1")) as response:
            with pytest.raises(ConnectionFailed, match=f"http://127.0.0.1:{server.port}") as caught:
                await response.read()
            assert response.received <= got
        assert "secret" not in str(caught.value)
        assert not caught.value.not_sent
        buffer = bytearray(whole)
        async with http.send(Request("GET", server.origin, "/k")) as response:
            with pytest.raises(ConnectionFailed):
                await response.readinto(memoryview(buffer))
            assert response.received <= got
            assert buffer[: response.received] == body[: response.received]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("whole", [reply(b"hello", 'ETag: "x"'), CHUNKED], ids=["length", "chunks"])
async def test_a_reply_that_breaks_off_after_any_byte_is_no_reply(whole: bytes, reset: bool) -> None:
    async with transport() as http:
        for stop in range(len(whole)):
            async with serving(then_closing(whole[:stop], reset=reset)) as server:
                with pytest.raises(ConnectionFailed) as caught:
                    async with http.send(Request("GET", server.origin, "/k")) as response:
                        await response.read()
                assert not caught.value.not_sent
                await server.until_open(0)
        async with (
            serving(then_closing(whole)) as server,
            http.send(Request("GET", server.origin, "/k")) as response,
        ):
            assert (await response.read()).startswith(b"hello")


async def test_bytes_that_came_before_a_stall_are_told() -> None:
    async def stalling(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        writer.write(reply(b"half", length=8))
        await reader.read()

    async with serving(stalling) as server, transport(timeouts=Timeouts(idle_s=0.2)) as http:
        buffer = bytearray(8)
        async with http.send(Request("GET", server.origin, "/k")) as response:
            with pytest.raises(TimedOut, match=r"sent nothing for 0\.2 s"):
                await response.readinto(memoryview(buffer))
            assert response.received == 4
        assert buffer[:4] == b"half"
        await server.until_open(0)


@pytest.mark.parametrize("into", [False, True])
async def test_a_body_that_drips_is_given_up(into: bool) -> None:
    async def drip(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(drip) as server, transport(timeouts=Timeouts(progress_s=0.1)) as http:
        async with http.send(Request("GET", server.origin, "/k")) as response:
            with pytest.raises(TimedOut, match="1 KiB/s"):
                await (response.readinto(memoryview(bytearray(10**6))) if into else response.read())
            assert 0 < response.received < 1000
        await server.until_open(0)


async def test_a_reply_that_never_begins_times_out() -> None:
    async def silent(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as server, transport(timeouts=Timeouts(idle_s=0.2)) as http:
        with pytest.raises(TimedOut) as caught:
            async with http.send(Request("GET", server.origin, "/k?token=secret")):
                pass
        assert "secret" not in str(caught.value)
        await server.until_open(0)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_connection_that_ends_before_the_reply_is_not_tried_again_by_itself(method: str) -> None:
    """aiohttp alone would send an idempotent method twice, also one with `If-None-Match`."""

    async def first_then_gone(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        if len(server.heads) == 1:
            writer.write(reply())
            await server.receive(reader)

    async with serving(first_then_gone) as server, transport() as http:
        async with http.send(Request("GET", server.origin, "/k")) as response:
            await response.read()
        with pytest.raises(ConnectionFailed) as caught:
            async with http.send(Request(method, server.origin, "/k", (), b"b" if method == "PUT" else b"")):
                pass
        assert not caught.value.not_sent
        assert len(server.heads) == 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(5000)) + b"\r\n",
    ],
)
async def test_what_is_not_http_is_a_bad_response(garbage: bytes) -> None:
    async with serving(then_closing(garbage)) as server, transport() as http:
        with pytest.raises(BadResponse, match="check endpoint_url"):
            async with http.send(Request("GET", server.origin, "/k")):
                pass


async def test_malformed_chunks_end_in_an_error() -> None:
    async with serving(then_closing(CHUNKED.replace(b"\r\n1\r\n", b"\r\nzz\r\n"))) as server, transport() as http:
        with pytest.raises((BadResponse, ConnectionFailed)):
            async with http.send(Request("GET", server.origin, "/k")) as response:
                await response.read()


async def test_nobody_listens(free_port: int) -> None:
    async with transport() as http:
        with pytest.raises(Unreachable, match=f"http://127.0.0.1:{free_port}.*is the server running") as caught:
            async with http.send(Request("GET", Origin("http", "127.0.0.1", free_port), "/k?secret")):
                pass
    assert caught.value.not_sent
    assert caught.value.retryable
    assert isinstance(caught.value, ConnectionError)
    assert "secret" not in str(caught.value)


async def test_a_server_that_answered_before_and_stopped_is_not_called_unreachable() -> None:
    async with transport() as http:
        async with (
            serving(then_closing(reply())) as server,
            http.send(Request("GET", server.origin, "/k")) as response,
        ):
            await response.read()
        with pytest.raises(ConnectionFailed) as caught:
            async with http.send(Request("GET", server.origin, "/k")):
                pass
    assert not isinstance(caught.value, Unreachable)


async def test_a_host_that_does_not_exist() -> None:
    async with transport() as http:
        with pytest.raises(Unreachable, match=r"no address is known for the host of https://no-such-host\.invalid:443"):
            async with http.send(Request("GET", Origin("https", "no-such-host.invalid", 443), "/k")):
                pass


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


# ---- TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified(tmp_path_factory.mktemp("tls"))


def serving_tls(certificate: Path, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Thread:
    """In a loop of its own, as a failed handshake is an event of the server's loop, too."""
    return Thread(b"over tls", tls_server(certificate, newest))


async def test_a_certificate_of_the_authority_given_is_trusted(certificate: Path) -> None:
    with serving_tls(certificate) as server:
        request = Request("GET", Origin("https", "localhost", server.port), "/k")
        async with transport(ca_file=str(certificate)) as http, http.send(request) as response:
            assert await response.read() == b"over tls"


async def test_an_untrusted_certificate_is_final_and_nothing_is_sent(certificate: Path) -> None:
    with serving_tls(certificate) as server:
        async with transport() as http:
            with pytest.raises(TlsFailed, match=f"https://localhost:{server.port}.*not trusted.*ca_file") as caught:
                async with http.send(Request("GET", Origin("https", "localhost", server.port), "/k")):
                    pass
        assert not caught.value.retryable
        assert server.server.heads == []


async def test_a_certificate_of_another_host_is_refused(certificate: Path) -> None:
    with serving_tls(certificate) as server:
        async with transport(ca_file=str(certificate)) as http:
            with pytest.raises(TlsFailed, match="not trusted"):
                async with http.send(Request("GET", Origin("https", "127.0.0.1", server.port), "/k")):
                    pass


async def test_tls_older_than_1_2_is_refused(certificate: Path) -> None:
    with serving_tls(certificate, ssl.TLSVersion.TLSv1_1) as server:
        async with transport(ca_file=str(certificate)) as http:
            with pytest.raises((TlsFailed, ConnectionFailed)):  # the server's alert, or its reset, comes first
                async with http.send(Request("GET", Origin("https", "localhost", server.port), "/k")):
                    pass
        assert server.server.heads == []


async def test_https_to_a_plain_server_says_so() -> None:
    async def plain(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply(status="400 Bad Request"))

    async with serving(plain) as server, transport() as http:
        with pytest.raises(TlsFailed, match="does it speak https"):
            async with http.send(Request("GET", Origin("https", "127.0.0.1", server.port), "/k")):
                pass


async def test_an_authority_file_that_is_not_there(tmp_path: Path) -> None:
    async with transport(ca_file=str(tmp_path / "none.pem")) as http:
        with pytest.raises(ConfigurationError, match=r"none\.pem"):
            async with http.send(Request("GET", Origin("https", "localhost", 1), "/k")):
                pass


# ---- proxies --------------------------------------------------------------------------------------------


async def test_the_proxy_of_the_environment_is_used_but_not_for_excepted_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(reply(b"by proxy"))) as proxy, serving(answering(reply(b"direct"))) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with transport() as http:
            async with http.send(Request("GET", server.origin, "/k")) as response:
                assert await response.read() == b"direct"
            async with http.send(Request("GET", Origin("http", "store.invalid", 80), "/k%20a?b=c")) as response:
                assert await response.read() == b"by proxy"
        assert proxy.heads[0].startswith(b"GET http://store.invalid/k%20a?b=c HTTP/1.1\r\n")


async def test_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login canary password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(answering(reply())) as server, transport() as http:
        async with http.send(Request("GET", server.origin, "/k")) as response:
            await response.read()
        assert b"authorization" not in server.heads[0].lower()


# ---- connections ----------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_after_a_body_read_to_its_end() -> None:
    async with serving(answering(reply(b"x" * 100_000))) as server, transport() as http:
        for _ in range(5):
            async with http.send(Request("GET", server.origin, "/k")) as response:
                await response.read()
        assert server.accepted == 1


async def test_leaving_before_the_body_ends_closes_the_connection() -> None:
    async with serving(then_closing_never(reply(b"x", length=10))) as server, transport() as http:
        async with http.send(Request("GET", server.origin, "/k")):
            await server.until_open(1)
        await server.until_open(0)


def then_closing_never(data: bytes) -> Handler:
    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        writer.write(data)
        await reader.read()

    return handler


@pytest.mark.parametrize("stage", ["head", "body", "upload"])
async def test_cancelled_at_any_stage_no_connection_stays_in_use(stage: str) -> None:
    data = reply(b"x", length=10) if stage == "body" else b""
    async with serving(then_closing_never(data)) as server, transport(connections=1) as http:
        reached = asyncio.Event()

        async def call() -> None:
            body = bytes(64 * 2**20) if stage == "upload" else b""
            async with http.send(Request("PUT" if body else "GET", server.origin, "/k", (), body)) as response:
                reached.set()
                await response.read()

        task = asyncio.create_task(call())
        await server.until_open(1)
        if stage == "body":
            await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until_open(0)


async def test_a_body_that_is_given_up_is_not_sent_later() -> None:
    """A connection that is only closed goes on sending what it holds of a buffer that is its owner's again."""

    async def stuck(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()

    stop = asyncio.Event()
    async with serving(stuck) as server, transport() as http:
        before = len(os.listdir("/proc/self/fd"))
        request = Request("PUT", server.origin, "/k", (), bytes(64 * 2**20))
        task = asyncio.create_task(http.send(request).__aenter__())
        await server.until_open(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) == before + 1, "the server's end alone is open"
        stop.set()


async def test_a_pool_at_its_limit_waits_instead_of_failing() -> None:
    async with serving(answering(reply(b"x"))) as server, transport(connections=2) as http:

        async def call() -> None:
            async with http.send(Request("GET", server.origin, "/k")) as response:
                assert await response.read() == b"x"

        await asyncio.gather(*[call() for _ in range(40)])
        assert server.accepted <= 2


async def test_close_twice_and_use_again() -> None:
    async with serving(answering(reply(b"x"))) as server:
        http = Kind()
        await http.close()
        for _ in range(2):
            async with http.send(Request("GET", server.origin, "/k")) as response:
                assert await response.read() == b"x"
            await http.close()
            await http.close()
            await server.until_open(0)


async def fetch(http: Transport, origin: Origin) -> bytes:
    async with http.send(Request("GET", origin, "/k")) as response:
        return await response.read()


def test_two_loops_in_two_threads_share_a_transport() -> None:
    with Thread() as server:
        http, got = Kind(), list[bytes]()
        both = threading.Barrier(2, timeout=10)

        async def client() -> None:
            for _ in range(3):
                got.append(await fetch(http, server.origin))
                await asyncio.to_thread(both.wait)
            await http.close()

        threads = [threading.Thread(target=lambda: asyncio.run(client())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert got == [b"hello"] * 6
        assert server.server.accepted == 2
        server.wait_open(0)


def test_a_loop_that_ends_closes_its_connections_silently() -> None:
    with Thread() as server:
        http = Kind()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(3):
                assert asyncio.run(fetch(http, server.origin)) == b"hello"
                server.wait_open(0)
            gc.collect()
        assert server.server.accepted == 3


def test_a_transport_that_is_dropped_lets_its_connections_go() -> None:
    async def main(origin: Origin) -> None:
        assert await fetch(Kind(), origin) == b"hello"
        gc.collect()
        await asyncio.to_thread(server.wait_open, 0)

    with Thread() as server:
        asyncio.run(main(server.origin))


def test_a_loop_that_was_only_closed_is_noticed_at_the_next_use() -> None:
    with Thread() as server:
        http = Kind()
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(fetch(http, server.origin)) == b"hello"
        loop.close()
        assert asyncio.run(fetch(http, server.origin)) == b"hello"
        server.wait_open(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # asyncio's own, of a loop closed over open transports
            del loop
            gc.collect()


FORK = """
    import asyncio, logging, os, sys, warnings
    from entrepot.http.aiohttp_transport import AiohttpTransport
    from entrepot.http.transport import Origin, Request
    from entrepot.http.wire_transport import WireTransport

    kind = {"AiohttpTransport": AiohttpTransport, "WireTransport": WireTransport}[sys.argv[2]]
    warnings.simplefilter("error")
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine's slow callbacks are no fault
    origin, http = Origin("http", "127.0.0.1", int(sys.argv[1])), kind()
    loop = asyncio.new_event_loop()

    async def fetch():
        async with http.send(Request("GET", origin, "/k")) as response:
            return await response.read()

    assert loop.run_until_complete(fetch()) == b"hello"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert asyncio.run(fetch()) == b"hello"
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert loop.run_until_complete(fetch()) == b"hello"
    loop.run_until_complete(http.close())
    loop.close()
"""


def test_after_fork_the_child_connects_anew_and_the_parent_goes_on() -> None:
    with Thread() as server:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", textwrap.dedent(FORK), str(server.server.port), Kind.__name__],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert server.server.accepted == 2, "one of the parent, used before and after; one of the child"
        server.wait_open(0)


# ---- errors as values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ConnectionFailed("x", not_sent=True), Unreachable("x"), TlsFailed("x", uri="s3://b")]
)
def test_errors_survive_pickling(error: StoreError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
