"""The fault proxy: what it passes on is the very bytes; each fault has its effect on a plain client, and is counted."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from entrepot.testing.faults import (
    Close,
    Delay,
    Drip,
    DropReply,
    EmptyOk,
    ErrorBody,
    Fault,
    FaultProxy,
    FlipBits,
    NoLength,
    RedirectTo,
    RepeatToken,
    Reset,
    Rule,
    Stall,
    Status,
    WrongRange,
    burst,
)
from entrepot.testing.messages import Head, RequestHead
from entrepot.testing.raw import RawReply, exchanged
from recording_server import RecordingServer, connected, plain

CONTENT = bytes(range(256)) * 1024
"""More than one piece, and more than a socket takes at once."""


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.fixture
def proxy(server: RecordingServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.address) as proxy:
        yield proxy


def ask(
    proxy: FaultProxy, method: str = "GET", target: str = "/bucket/key", body: bytes = b"", **headers: str
) -> RawReply:
    return exchanged(proxy.url, method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})


def broken(proxy: FaultProxy, method: str = "GET", body: bytes = b"") -> bytes:
    """What came of a reply's body before the connection broke; which way, an error tells."""
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=60)
    try:
        connection.request(method, "/bucket/key", body=body)
        reply = connection.getresponse()
        came = b""
        while piece := reply.read1(65_536):
            came += piece
        assert reply.length, "the whole body came"
        return came
    finally:
        connection.close()


# ---- what passes ---------------------------------------------------------------------------------------


def test_requests_and_replies_pass_as_the_very_bytes_on_one_connection(
    server: RecordingServer, proxy: FaultProxy
) -> None:
    first = b"PUT /bucket/a%2fb%2Bc//d?Q=%7e&empty&x= HTTP/1.1\r\nhOsT: signed.example\r\nX-Odd:   two  spaces \r\n"
    sent = first + b"x-odd: again\r\nContent-Length: 262144\r\n\r\n"
    odd = b'HTTP/1.1 200 Fine by me\r\nx-Lower: 1\r\nETag:"e"\r\nContent-Length:  5\r\n\r\nhello'
    server.answer = lambda _: odd
    with connected(proxy.url) as client:
        for _ in range(2):
            client.send(sent + CONTENT)
            assert client.until(b"hello") == odd
    assert [(got.head, got.body) for got in server.got] == [(sent, CONTENT)] * 2
    assert server.connections == 1
    assert not proxy.hits


def test_chunks_pass_with_their_sizes_extensions_and_trailers(server: RecordingServer, proxy: FaultProxy) -> None:
    head = b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    frames = b"5;x=y\r\nhello\r\n00A\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n"
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + frames
    server.answer = lambda _: reply
    with connected(proxy.url) as client:
        for _ in range(2):
            client.send(head + frames)
            assert client.until(b"x-sum: 1\r\n\r\n") == reply
    assert [(got.body, got.content) for got in server.got] == [(frames, b"hello0123456789")] * 2
    assert [(seen.request_bytes, seen.reply_bytes) for seen in proxy.requests] == [(15, 15)] * 2


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    ],
)
def test_replies_without_a_body_leave_the_connection_usable(
    server: RecordingServer, proxy: FaultProxy, method: str, reply: bytes
) -> None:
    server.answer = lambda _: reply
    with connected(proxy.url) as client:
        for _ in range(2):
            client.send(f"{method} /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert client.until(b"\r\n\r\n") == reply
    assert server.connections == 1


def test_a_body_that_ends_with_the_connection_comes_whole(server: RecordingServer, proxy: FaultProxy) -> None:
    server.answer, server.closes = (lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT), True
    with connected(proxy.url) as client:
        client.send(b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.rest() == b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT


def test_a_client_that_waits_to_send_is_told_to_go_on_by_the_server(server: RecordingServer, proxy: FaultProxy) -> None:
    head = b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with connected(proxy.url) as client:
        client.send(head)
        assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\nX-Odd:  spaced\r\n\r\n"
        client.send(b"body")
        assert client.until(b"hello") == plain()
    assert server.got[0].content == b"body"


def test_a_reply_that_comes_before_the_body_is_sent_gets_through(server: RecordingServer, proxy: FaultProxy) -> None:
    server.early, server.answer = True, lambda _: plain(b"refused", "403 Forbidden")
    with connected(proxy.url) as client:
        client.send(b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
        assert client.until(b"refused") == plain(b"refused", "403 Forbidden")
        client.send(b"dy")
        client.send(b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        client.until(b"refused")
    assert [got.content for got in server.got] == [b"body", b""]


def test_a_server_that_ends_an_idle_connection_ends_the_clients(server: RecordingServer, proxy: FaultProxy) -> None:
    server.closes = True
    with connected(proxy.url) as client:
        client.send(b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.rest() == plain()
    assert ask(proxy).body == b"hello"


def test_a_client_that_leaves_within_its_body_leaves_the_server_too(server: RecordingServer, proxy: FaultProxy) -> None:
    with connected(proxy.url) as client:
        client.send(b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nfew")
    assert server.idle.wait(60)
    assert [(got.content, got.is_whole) for got in server.got] == [(b"few", False)]


def test_many_clients_at_once_get_their_own_replies(server: RecordingServer, proxy: FaultProxy) -> None:
    server.answer = lambda request: plain(request.target.encode() * 10_000)
    wrong: list[int] = []

    def run(number: int) -> None:
        target = f"/bucket/{number}"
        if ask(proxy, target=target).body != target.encode() * 10_000:
            wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert proxy.count("get") == 20


def test_the_hosts_name_and_locations_are_changed_for_emulators_that_want_it(server: RecordingServer) -> None:
    server.answer = lambda _: plain(b"", "200 OK", f"Location: {server.address}/upload?upload_id=1")
    with FaultProxy(server.address, service="gcs") as proxy:
        reply = ask(proxy, "POST", "/upload/storage/v1/b/bucket/o?uploadType=resumable&name=k")
        assert reply.headers["location"] == f"{proxy.url}/upload?upload_id=1"
    assert f"Host: {urlsplit(server.address).netloc}\r\n".encode() in server.got[0].head
    assert [seen.operation for seen in proxy.requests] == ["create_upload"]


def test_what_is_no_http_ends_the_connection(server: RecordingServer, proxy: FaultProxy) -> None:
    for nonsense in (b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET /\r\n\r\n"):
        with connected(proxy.url) as client:
            client.send(nonsense)
            assert client.rest() == b""
    assert server.got == []


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with RecordingServer() as gone:
        address = gone.address
    with FaultProxy(address) as proxy, pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(proxy)


# ---- each fault ----------------------------------------------------------------------------------------


def test_a_delay_holds_the_request_and_not_others(server: RecordingServer) -> None:
    held, asked, released = threading.Event(), list[float](), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        loops.append(asyncio.get_running_loop())
        held.set()
        await released.wait()

    with FaultProxy(server.address, Rule("get", Delay(7.5), key="slow"), sleep=sleep) as proxy:
        replies: list[RawReply] = []
        thread = threading.Thread(target=lambda: replies.append(ask(proxy, target="/bucket/slow")))
        thread.start()
        assert held.wait(60)
        assert ask(proxy, target="/bucket/other").body == b"hello"
        assert [got.head.split(b" ")[1] for got in server.got] == [b"/bucket/other"]
        assert replies == []
        loops[0].call_soon_threadsafe(released.set)
        thread.join()
        assert (replies[0].body, asked, proxy.hits) == (b"hello", [7.5], {"Delay": 1})


@pytest.mark.parametrize("at_byte", [0, 1, 100_000, -1])
@pytest.mark.parametrize("fault", [Reset, Close])
def test_a_reply_is_cut_at_a_byte(
    server: RecordingServer, proxy: FaultProxy, fault: type[Reset | Close], at_byte: int
) -> None:
    server.answer = lambda _: plain(CONTENT)
    proxy.add(Rule("get", fault(at_byte)))
    point = at_byte % len(CONTENT)
    with connected(proxy.url) as client:
        client.send(b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
        client.until(b"\r\n\r\n")
        if fault is Close:
            assert client.rest() == CONTENT[:point]
        else:
            with pytest.raises(ConnectionResetError):
                client.rest()
            assert client.received == CONTENT[: len(client.received)]
            assert len(client.received) <= point
    assert proxy.hits == {fault.__name__: 1}
    assert [(seen.status, seen.reply_bytes, seen.fault) for seen in proxy.requests] == [(200, point, fault.__name__)]
    assert ask(proxy).body == CONTENT


@pytest.mark.parametrize("at_byte", [1, 100_000, -1])
@pytest.mark.parametrize("fault", [Reset, Close])
def test_a_request_is_cut_at_a_byte(
    server: RecordingServer, proxy: FaultProxy, fault: type[Reset | Close], at_byte: int
) -> None:
    proxy.add(Rule("put", fault(at_byte, "request")))
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(proxy, "PUT", body=CONTENT)
    assert server.idle.wait(60)
    point = at_byte % len(CONTENT)
    assert not server.got[0].is_whole
    assert server.got[0].content == CONTENT[: len(server.got[0].content)]
    assert len(server.got[0].content) == point if fault is Close else len(server.got[0].content) <= point
    assert [(seen.status, seen.request_bytes, seen.forwarded) for seen in proxy.requests] == [(None, point, True)]
    assert proxy.hits == {fault.__name__: 1}


@pytest.mark.parametrize("fault", [Reset(0, "request"), Close(0, "request")])
@pytest.mark.parametrize("body", [b"", CONTENT])
def test_a_request_cut_at_its_first_byte_never_reaches_the_server(
    server: RecordingServer, proxy: FaultProxy, fault: Fault, body: bytes
) -> None:
    proxy.add(Rule("*", fault))
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(proxy, "PUT" if body else "DELETE", body=body)
    assert (server.got, server.connections) == ([], 0)
    assert [(seen.forwarded, seen.fault) for seen in proxy.requests] == [(False, type(fault).__name__)]


def test_the_end_of_chunks_is_found_for_a_cut(server: RecordingServer, proxy: FaultProxy) -> None:
    server.answer = lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    proxy.add(Rule("get", Close(-1)))
    with connected(proxy.url) as client:
        client.send(b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
        client.until(b"\r\n\r\n")
        assert client.rest() == b"3\r\nabc\r\n3\r\nde"


def test_a_body_too_short_for_the_byte_is_left_alone_and_the_fault_for_another(
    server: RecordingServer, proxy: FaultProxy
) -> None:
    rule = Rule("get", Close(10))
    proxy.add(rule)
    assert ask(proxy).body == b"hello"
    assert (proxy.fired(rule), proxy.hits) == (0, {})
    server.answer = lambda _: plain(b"hello, world")
    assert broken(proxy) == b"hello, wor"
    assert proxy.fired(rule) == 1


@pytest.mark.parametrize("at_byte", [0, 100_000])
def test_a_stalled_reply_ends_with_the_clients_patience(
    server: RecordingServer, proxy: FaultProxy, at_byte: int
) -> None:
    server.answer = lambda _: plain(CONTENT)
    proxy.add(Rule("get", Stall(at_byte)))
    with connected(proxy.url) as client:
        client.send(b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
        client.until(b"\r\n\r\n")
        while len(client.received) < at_byte:
            client.received += client.socket.recv(65_536)
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.socket.recv(1)
        assert client.received == CONTENT[:at_byte]
    assert server.idle.wait(60), "the connection to the server ends with the client's"
    assert proxy.hits == {"Stall": 1}


@pytest.mark.parametrize(("at_byte", "reached"), [(0, []), (3, [b"hel"])])
def test_a_stalled_request_does_not_go_on(
    server: RecordingServer, proxy: FaultProxy, at_byte: int, reached: list[bytes]
) -> None:
    proxy.add(Rule("put", Stall(at_byte, "request")))
    with connected(proxy.url) as client:
        client.send(b"PUT /bucket/key HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.socket.recv(1)
    proxy.stop()
    if reached:
        assert server.idle.wait(60)
    assert [got.content for got in server.got] == reached
    assert proxy.hits == {"Stall": 1}


@pytest.mark.parametrize("direction", ["request", "reply"])
def test_a_body_drips_at_its_rate(server: RecordingServer, direction: str) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    server.answer = lambda _: plain(b"x" * 1000)
    fault = Drip(200, "request" if direction == "request" else "reply")
    with FaultProxy(server.address, Rule("put", fault), sleep=sleep) as proxy:
        assert ask(proxy, "PUT", body=b"y" * 1000).body == b"x" * 1000
        assert server.got[0].content == b"y" * 1000
        assert proxy.hits == {"Drip": 1}
    assert len(slept) == 100
    assert sum(slept) == pytest.approx(5.0)


def test_a_dropped_reply_follows_a_request_that_was_carried_out(server: RecordingServer, proxy: FaultProxy) -> None:
    proxy.add(Rule("put", DropReply()))
    with pytest.raises(ConnectionResetError):
        ask(proxy, "PUT", body=CONTENT)
    assert [(got.content, got.is_whole) for got in server.got] == [(CONTENT, True)]
    assert [(seen.status, seen.request_bytes, seen.fault) for seen in proxy.requests] == [
        (None, len(CONTENT), "DropReply")
    ]
    assert ask(proxy, "PUT", body=b"again").status == 200


def test_a_reply_can_be_kept_back_without_a_reset(server: RecordingServer, proxy: FaultProxy) -> None:
    server.answer = lambda _: b"HTTP/1.1 204 No Content\r\n\r\n"
    proxy.add(Rule("delete", DropReply("close")), Rule("delete", DropReply("stall")))
    for how in ("close", "stall"):
        with connected(proxy.url) as client:
            client.send(b"DELETE /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
            if how == "close":
                assert client.rest() == b""
            else:
                client.socket.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.socket.recv(1)
    assert len(server.got) == 2
    assert proxy.hits == {"DropReply": 2}


def bits_that_differ(one: bytes, other: bytes) -> list[tuple[int, int]]:
    assert len(one) == len(other)
    return [(at, (a ^ b).bit_count()) for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


@pytest.mark.parametrize("at_byte", [None, 0, 70_000, -1])
def test_one_bit_is_flipped_on_its_way(server: RecordingServer, proxy: FaultProxy, at_byte: int | None) -> None:
    server.answer = lambda _: plain(CONTENT)
    proxy.add(Rule("get", FlipBits(at_byte)), Rule("put", FlipBits(at_byte, "request")))
    back = bits_that_differ(ask(proxy).body, CONTENT)
    assert ask(proxy, "PUT", body=CONTENT).body == CONTENT
    there = bits_that_differ(server.got[-1].content, CONTENT)
    for flipped in (back, there):
        ((where, how_many),) = flipped
        assert how_many == 1
        assert at_byte is None or where == at_byte % len(CONTENT)
    assert proxy.hits == {"FlipBits": 2}


def test_the_seed_decides_what_is_left_to_chance(server: RecordingServer) -> None:
    server.answer = lambda _: plain(CONTENT)

    def run(seed: int) -> tuple[list[int], bytes]:
        rules = burst("head", probability=0.5), Rule("get", FlipBits())
        with FaultProxy(server.address, *rules, seed=seed) as proxy:
            return [ask(proxy, "HEAD").status for _ in range(40)], ask(proxy).body

    assert run(1) == run(1)
    assert run(1)[0] != run(2)[0]
    assert run(1)[1] != run(2)[1]


def test_a_status_is_answered_without_the_server(server: RecordingServer, proxy: FaultProxy) -> None:
    proxy.add(Rule("put", Status(429, {"Retry-After": "7"}, b"slow down")), Rule("put", Status(503)))
    first, second = (ask(proxy, "PUT", body=CONTENT) for _ in range(2))
    assert (first.status, first.headers["retry-after"], first.body) == (429, "7", b"slow down")
    assert (second.status, b"<Code>SlowDown</Code>" in second.body) == (503, True)
    assert server.got == []
    assert ask(proxy, "PUT", body=CONTENT).status == 200
    assert proxy.hits == {"Status": 2}


def test_a_status_that_has_no_body_has_none(server: RecordingServer, proxy: FaultProxy) -> None:
    proxy.add(Rule("get", Status(304)))
    with connected(proxy.url) as client:
        for _ in range(2):
            client.send(b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 304 ")
        assert client.until(b"hello") == plain()


def test_a_status_that_is_applied_comes_after_the_work(server: RecordingServer, proxy: FaultProxy) -> None:
    proxy.add(Rule("put", Status(500, error="InternalError", applied=True)))
    reply = ask(proxy, "PUT", body=CONTENT)
    assert (reply.status, b"InternalError" in reply.body) == (500, True)
    assert server.got[0].content == CONTENT


@pytest.mark.parametrize("fault", [ErrorBody(applied=True), EmptyOk(applied=True)], ids=repr)
def test_what_the_server_refuses_is_told_by_no_200(fault: Fault) -> None:
    def refusing_first(request: RequestHead) -> bytes:
        return plain(b"no", "503 Slow Down") if len(server.got) == 1 else plain()

    with RecordingServer(refusing_first) as server, FaultProxy(server.address, Rule("put", fault)) as proxy:
        refused = ask(proxy, "PUT", body=CONTENT)
        assert (refused.status, refused.body, proxy.hits.total()) == (503, b"no", 0)
        assert ask(proxy, "PUT", body=CONTENT).body != b"hello"
        assert proxy.hits.total() == 1


@pytest.mark.parametrize(
    ("service", "target", "told"),
    [
        ("s3", "/bucket/key", b"<Error><Code>InternalError</Code>"),
        ("azure", "/container/key", b"<Error><Code>InternalError</Code>"),
        ("gcs", "/bucket/key", b'"reason": "internalError"'),
    ],
)
def test_a_200_with_an_error_inside_is_the_services_own(
    server: RecordingServer, service: str, target: str, told: bytes
) -> None:
    with FaultProxy(server.address, Rule("get", ErrorBody()), service=service) as proxy:  # type: ignore[arg-type]
        reply = ask(proxy, target=target)
    assert (reply.status, told in reply.body) == (200, True)
    assert proxy.hits == {"ErrorBody": 1}


@pytest.mark.parametrize("applied", [True, False])
def test_an_empty_200(server: RecordingServer, proxy: FaultProxy, applied: bool) -> None:
    proxy.add(Rule("put", EmptyOk(applied)))
    reply = ask(proxy, "PUT", body=b"x")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, "0", b"")
    assert len(server.got) == applied
    assert proxy.hits == {"EmptyOk": 1}


def ranged(request: RequestHead) -> bytes:
    text = request.head.get("range")
    if not text:
        return plain(b"0123456789")
    first, last = map(int, text.removeprefix("bytes=").split("-"))
    return plain(b"0123456789"[first : last + 1], "206 Partial Content", f"Content-Range: bytes {first}-{last}/10")


@pytest.mark.parametrize(
    ("how", "status", "told", "body"),
    [
        ("ignored", 200, None, bytes(3) + b"345" + bytes(4)),
        ("shifted", 206, "bytes 4-6/10", b"345"),
        ("missing", 206, None, b"345"),
    ],
)
def test_a_range_is_answered_wrongly(
    server: RecordingServer, proxy: FaultProxy, how: str, status: int, told: str | None, body: bytes
) -> None:
    server.answer = ranged
    proxy.add(Rule("get", WrongRange(how)))  # type: ignore[arg-type]
    assert ask(proxy).body == b"0123456789"
    assert proxy.hits == {}, "only a range can be wrong"
    reply = ask(proxy, range="bytes=3-5")
    assert (reply.status, reply.headers.get("content-range"), reply.body) == (status, told, body)
    assert proxy.hits == {"WrongRange": 1}
    assert ask(proxy, range="bytes=3-5").body == b"345"


@pytest.mark.parametrize("chunked", [True, False])
def test_a_length_is_kept_back(server: RecordingServer, proxy: FaultProxy, chunked: bool) -> None:
    framed = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    server.answer = lambda _: framed if chunked else plain()
    proxy.add(Rule(("get", "head"), NoLength(), times=2))
    with connected(proxy.url) as client:
        client.send(b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    server.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert "content-length" not in ask(proxy, "HEAD").headers
    assert proxy.hits == {"NoLength": 2}


def test_a_redirect_leads_elsewhere_with_the_same_target(server: RecordingServer, proxy: FaultProxy) -> None:
    with RecordingServer() as elsewhere:
        proxy.add(Rule("get", RedirectTo(elsewhere.address, 301)))
        reply = ask(proxy, target="/bucket/a%20b?x=1")
        assert (reply.status, reply.headers["location"]) == (301, f"{elsewhere.address}/bucket/a%20b?x=1")
        assert (server.got, elsewhere.got) == ([], [])
    assert proxy.hits == {"RedirectTo": 1}


S3_PAGE = (
    b'<?xml version="1.0"?>\n<ListBucketResult xmlns="x"><IsTruncated>%s</IsTruncated>%s<Contents/></ListBucketResult>'
)


@pytest.mark.parametrize(
    "page",
    [
        S3_PAGE % (b"true", b"<NextContinuationToken>other</NextContinuationToken>"),
        S3_PAGE % (b"false", b""),
    ],
    ids=["goes on", "last"],
)
def test_a_page_leads_back_to_itself(server: RecordingServer, proxy: FaultProxy, page: bytes) -> None:
    server.answer = lambda _: plain(page)
    proxy.add(Rule("list", RepeatToken(), times=None))
    assert ask(proxy, target="/bucket?list-type=2").body == page, "the first page has no token to repeat"
    assert proxy.hits == {}
    for _ in range(2):
        told = ask(proxy, target="/bucket?list-type=2&continuation-token=one%2Ftwo%26").body
        assert told.count(b"<NextContinuationToken>one/two&amp;</NextContinuationToken>") == 1
        assert told.count(b"<IsTruncated>true</IsTruncated>") == 1
        assert told.count(b"NextContinuationToken") == 2
    assert proxy.hits == {"RepeatToken": 2}


@pytest.mark.parametrize("service", ["gcs", "azure"])
def test_pages_of_the_other_services_lead_back_too(server: RecordingServer, service: str) -> None:
    page, target, told = {
        "gcs": (b'{"items": []}', "/storage/v1/b/bucket/o?pageToken=abc", b'"nextPageToken": "abc"'),
        "azure": (
            b"<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>",
            "/container?restype=container&comp=list&marker=abc",
            b"<NextMarker>abc</NextMarker></EnumerationResults>",
        ),
    }[service]
    server.answer = lambda _: plain(page)
    with FaultProxy(server.address, Rule("list", RepeatToken()), service=service) as proxy:  # type: ignore[arg-type]
        assert told in ask(proxy, target=target).body
        assert ask(proxy, target=target).body == page


# ---- rules ---------------------------------------------------------------------------------------------


def statuses(proxy: FaultProxy, number: int, method: str = "GET") -> list[int]:
    return [ask(proxy, method).status for _ in range(number)]


def test_the_nth_match_meets_the_fault_and_as_many_as_wanted(proxy: FaultProxy) -> None:
    rule = Rule("get", Status(503), nth=3, times=2)
    proxy.add(rule)
    statuses(proxy, 5, "HEAD")
    assert statuses(proxy, 6) == [200, 200, 503, 503, 200, 200]
    assert proxy.fired(rule) == 2


def test_the_first_rule_that_fires_wins_and_every_rule_counts(proxy: FaultProxy) -> None:
    proxy.add(Rule("get", Status(503)), Rule("*", Status(500), nth=2))
    assert statuses(proxy, 3) == [503, 500, 200]


def test_a_burst_is_over_after_its_requests_or_its_time(server: RecordingServer) -> None:
    now = [0.0]
    with FaultProxy(server.address, burst(requests=3), clock=lambda: now[0]) as proxy:
        assert statuses(proxy, 5) == [503, 503, 503, 200, 200]
    with FaultProxy(server.address, burst(for_s=60, fault=Status(500)), clock=lambda: now[0]) as proxy:
        assert statuses(proxy, 2) == [500, 500]
        now[0] = 59.9
        assert statuses(proxy, 1) == [500]
        now[0] = 60.0
        assert statuses(proxy, 1) == [200]


def test_a_share_of_requests_meets_a_fault(server: RecordingServer) -> None:
    with FaultProxy(server.address, burst(probability=0.3), seed=5) as proxy:
        found = statuses(proxy, 200)
        assert proxy.hits["Status"] == found.count(503)
    assert 30 < found.count(503) < 90
    assert {*found} == {200, 503}


def test_keys_are_matched_decoded_and_by_pattern(proxy: FaultProxy) -> None:
    proxy.add(Rule("get", Status(503), key="a b/*.txt", times=None))
    assert ask(proxy, target="/bucket/a%20b/c%2Bd.txt").status == 503
    assert ask(proxy, target="/bucket/a%20b/c.csv").status == 200
    assert proxy.count("get", "a b/*") == 2


def test_rules_can_be_forgotten(proxy: FaultProxy) -> None:
    rule = Rule("get", Status(503), times=None)
    proxy.add(rule)
    assert statuses(proxy, 1) == [503]
    proxy.clear()
    assert statuses(proxy, 1) == [200]
    assert (proxy.count(), proxy.hits) == (1, {"Status": 1})
    with pytest.raises(ValueError, match="no such rule"):
        proxy.fired(rule)


def test_rules_that_match_nothing_are_refused(proxy: FaultProxy) -> None:
    for wrong in ({"operation": "gett"}, {"operation": ()}, {"nth": 0}, {"times": 0}, {"probability": 0.0}):
        with pytest.raises(ValueError, match=r"operation|nth"):
            Rule(**{"operation": "get", "fault": Status(503), **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="operation"):
        proxy.count("gett")
    with pytest.raises(ValueError, match="http://"):
        FaultProxy("https://storage.example")


def test_a_proxy_is_started_once_and_stopped_twice(server: RecordingServer) -> None:
    proxy = FaultProxy(server.address)
    with pytest.raises(RuntimeError, match="not started"):
        proxy.url  # noqa: B018 - the access is the test
    with proxy:
        ask(proxy)
    proxy.stop()
    with pytest.raises(RuntimeError, match="once"):
        proxy.start()
    assert proxy.count() == 1


# ---- operations ----------------------------------------------------------------------------------------


def told(service: str, line: str, *fields: tuple[str, str], base: str = "") -> tuple[str, str, str]:
    from entrepot.testing.faults.operations import asked_of

    method, target = line.split(" ")
    head = Head(b"", f"{method} {target} HTTP/1.1", fields)
    asked = asked_of(service, RequestHead.of(head), base)  # type: ignore[arg-type]
    return asked.operation, asked.container, asked.key


@pytest.mark.parametrize(
    ("line", "operation"),
    [
        ("GET /b/k", "get"),
        ("GET /b/k?versionId=1", "get"),
        ("HEAD /b/k", "head"),
        ("PUT /b/k", "put"),
        ("DELETE /b/k", "delete"),
        ("POST /b/k?uploads=", "create_upload"),
        ("PUT /b/k?partNumber=1&uploadId=u", "put_part"),
        ("POST /b/k?uploadId=u", "complete"),
        ("DELETE /b/k?uploadId=u", "abort"),
        ("GET /b/k?uploadId=u", "list_parts"),
        ("PUT /b/k?tagging", "other"),
        ("GET /b?list-type=2&prefix=k", "list"),
        ("GET /b", "list"),
        ("GET /b?uploads", "list_uploads"),
        ("GET /b/?versions=", "list_versions"),
        ("POST /b?delete=", "delete_many"),
        ("PUT /b", "create_container"),
        ("HEAD /b", "head_container"),
        ("DELETE /b", "delete_container"),
        ("GET /b?location", "other"),
        ("GET /", "list_containers"),
    ],
)
def test_operations_of_s3(line: str, operation: str) -> None:
    about_objects = "/k" in line
    assert told("s3", line) == (operation, "" if line == "GET /" else "b", "k" if about_objects else "")


def test_copies_of_s3_and_azure_are_told_by_their_source() -> None:
    source = ("X-Amz-Copy-Source", "/b/other")
    assert told("s3", "PUT /b/k", source)[0] == "copy"
    assert told("s3", "PUT /b/k?partNumber=1&uploadId=u", source)[0] == "copy_part"
    source = ("x-ms-copy-source", "http://h/acct/c/other")
    assert told("azure", "PUT /acct/c/k", source, base="/acct") == ("copy", "c", "k")
    assert told("azure", "PUT /acct/c/k?comp=block&blockid=1", source, base="/acct")[0] == "copy_part"


@pytest.mark.parametrize(
    ("line", "operation"),
    [
        ("GET /acct/c/k", "get"),
        ("HEAD /acct/c/k", "head"),
        ("PUT /acct/c/k", "put"),
        ("DELETE /acct/c/k", "delete"),
        ("PUT /acct/c/k?comp=block&blockid=x", "put_part"),
        ("PUT /acct/c/k?comp=blocklist", "complete"),
        ("GET /acct/c/k?comp=blocklist&blocklisttype=all", "list_parts"),
        ("PUT /acct/c/k?comp=metadata", "other"),
        ("GET /acct/c?restype=container&comp=list&prefix=a", "list"),
        ("GET /acct/c?restype=container&comp=list&include=versions,metadata", "list_versions"),
        ("GET /acct/c?restype=container&comp=list&include=uncommittedblobs", "list_uploads"),
        ("POST /acct/c?restype=container&comp=batch", "delete_many"),
        ("PUT /acct/c?restype=container", "create_container"),
        ("HEAD /acct/c?restype=container", "head_container"),
        ("DELETE /acct/c?restype=container", "delete_container"),
    ],
)
def test_operations_of_azure(line: str, operation: str) -> None:
    assert told("azure", line, base="/acct") == (operation, "c", "k" if "/k" in line else "")


@pytest.mark.parametrize(
    ("line", "operation", "key"),
    [
        ("GET /storage/v1/b/b/o/a%2Fk?fields=name", "head", "a/k"),
        ("GET /storage/v1/b/b/o/a%2Fk?alt=media", "get", "a/k"),
        ("GET /b/a/k", "get", "a/k"),
        ("DELETE /storage/v1/b/b/o/a%2Fk", "delete", "a/k"),
        ("POST /upload/storage/v1/b/b/o?uploadType=media&name=a%2Fk", "put", "a/k"),
        ("POST /upload/storage/v1/b/b/o?uploadType=multipart", "put", ""),
        ("POST /upload/storage/v1/b/b/o?uploadType=resumable&name=k", "create_upload", "k"),
        ("PUT /upload/storage/v1/b/b/o?uploadType=resumable&upload_id=1", "put_part", ""),
        ("DELETE /upload/storage/v1/b/b/o?uploadType=resumable&upload_id=1", "abort", ""),
        ("POST /storage/v1/b/x/o/s/rewriteTo/b/b/o/a%2Fk", "copy", "a/k"),
        ("POST /storage/v1/b/b/o/a%2Fk/compose", "complete", "a/k"),
        ("GET /storage/v1/b/b/o?prefix=a", "list", ""),
        ("GET /storage/v1/b/b/o?versions=true", "list_versions", ""),
        ("GET /storage/v1/b/b", "head_container", ""),
    ],
)
def test_operations_of_cloud_storage(line: str, operation: str, key: str) -> None:
    assert told("gcs", line) == (operation, "b", key)


def test_containers_and_batches_of_cloud_storage() -> None:
    assert told("gcs", "POST /batch/storage/v1")[0] == "delete_many"
    assert told("gcs", "POST /storage/v1/b?project=p")[0] == "create_container"
    assert told("gcs", "GET /storage/v1/b?project=p")[0] == "list_containers"


def test_the_key_of_an_upload_to_cloud_storage_is_read_from_its_body(server: RecordingServer) -> None:
    name = 'a "quoted" é/k'
    body = b"--x\r\ncontent-type: application/json\r\n\r\n" + json.dumps({"name": name}).encode() + b"\r\n--x--\r\n"
    with FaultProxy(server.address, Rule("put", Status(503), key="a *"), service="gcs") as proxy:
        assert ask(proxy, "POST", "/upload/storage/v1/b/b/o?uploadType=multipart", body).status == 503
        assert ask(proxy, "POST", "/upload/storage/v1/b/b/o?uploadType=multipart", body).status == 200
        assert [seen.key for seen in proxy.requests] == [name] * 2
    assert server.got[0].content == body


def test_a_log_of_real_requests(tmp_path: Path) -> None:
    """Signed requests to a real server pass, as `Host` is what was signed."""
    from entrepot.testing.servers import rclone_s3

    with rclone_s3(tmp_path) as server, FaultProxy(server.endpoint_url) as proxy:
        bucket = server.create_bucket()
        raw = type(server.bucket(bucket))(proxy.url, bucket, server.key, server.secret)
        raw.put("a b", b"12345")
        assert raw.get("a b") == b"12345"
        assert raw.keys() == ["a b"]
        raw.delete("a b")
        seen = [(one.operation, one.key, one.status, one.request_bytes) for one in proxy.requests]
    assert seen == [("put", "a b", 200, 5), ("get", "a b", 200, 0), ("list", "", 200, 0), ("delete", "a b", 204, 0)]
