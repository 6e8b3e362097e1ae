"""What the wire transport makes of replies: every kind of them, in every cut, right ones and wrong ones."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.errors import BadResponse, ConnectionFailed, StoreError, TimedOut
from entrepot.http.connection import Connection
from entrepot.models import KIB
from wire_line import WAYS, Line, Outcome, Owner, Way, exchange, route, told_by_h11, turns

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

LIKE = b"HTTP/1.1 500 X\r\n\r\n\0"

# ---- every kind of reply, in every cut ----------------------------------------------------------------------

REPLIES = {
    "length": ("GET", OK + b"Content-Length: 5\r\nETag: \"x\"\r\n\r\nhello", b"hello", True),
    "length of nothing": ("GET", OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "length with zeros before": ("GET", OK + b"Content-Length: 005\r\n\r\nhello", b"hello", True),
    "spaces around values": ("GET", OK + b"Content-Length: \t 5 \t\r\nX:\r\nY: \t a b \t\r\n\r\nhello", b"hello", True),
    "no reason": ("GET", b"HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nno", b"no", True),
    "not ASCII": ("GET", OK + b"X-A: \xc3\xa9\xff\r\nContent-Length: 0\r\n\r\n", b"", True),
    "body like a head": ("GET", OK + b"Content-Length: 19\r\n\r\n" + LIKE, LIKE, True),
    "chunks": ("GET", CHUNKED + b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", b"hello world", True),
    "no chunks": ("GET", CHUNKED + b"0\r\n\r\n", b"", True),
    "chunks extended": ("GET", CHUNKED + b'2;a\r\nhe\r\n03;b=c;d="e;f"\r\nllo\r\n0;x\r\n\r\n', b"hello", True),
    "trailers": ("GET", CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nETag: late\r\n\r\n", b"hello", True),
    "chunked by any case": ("GET", OK + b"transfer-encoding: CHUNKED \r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", True),
    "until the end": ("GET", OK + b"X: y\r\n\r\nhello", b"hello", False),
    "nothing until the end": ("GET", OK + b"\r\n", b"", False),
    "HTTP/1.0": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "HTTP/1.0 until the end": ("GET", b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello", False),
    "to be closed": ("GET", OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "close in a list": ("GET", OK + b"Connection: x, Close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "chunks, to be closed": ("GET", CHUNKED[:-2] + b"Connection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", False),
    "continue first": ("PUT", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", b"ok", True),
    "hints first": ("GET", b"HTTP/1.1 103 Early Hints\r\nETag: early\r\n\r\n" * 2 + CHUNKED + b"0\r\n\r\n", b"", True),
    "HEAD": ("HEAD", OK + b"Content-Length: 1000\r\n\r\n", b"", True),
    "HEAD of nothing": ("HEAD", OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "HEAD of chunks": ("HEAD", b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n", b"", True),
    "HEAD after hints": ("HEAD", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 1000\r\n\r\n", b"", None),
    "HEAD of no length": ("HEAD", OK + b"X: y\r\n\r\n", b"", None),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", b"", True),
    "204 with a length": ("DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"", True),
    "304 with a length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000000\r\n\r\n", b"", True),
}  # fmt: skip
"""By name: the method asked with, all that comes, the body in it, and whether another request may follow: None where
it may and need not."""


def splits(raw: bytes) -> Iterator[list[bytes]]:
    yield [raw]
    yield [raw[at : at + 1] for at in range(len(raw))]
    for at in range(1, len(raw)):
        yield [raw[:at], raw[at:]]


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("way", WAYS)
async def test_a_reply_is_the_same_in_every_cut(name: str, way: Way) -> None:
    method, raw, body, reusable = REPLIES[name]
    expected = told_by_h11(raw, method)
    assert expected is not None
    assert expected.body == body
    for pieces in splits(raw):
        told = await exchange(pieces, method=method, way=way)
        assert told == expected, pieces
        assert reusable is None or told.reusable == reusable, pieces


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("way", WAYS)
async def test_a_reply_cut_short_is_never_taken_for_whole(name: str, way: Way) -> None:
    method, raw, _, _ = REPLIES[name]
    for stop in range(len(raw)):
        told = await exchange([raw[:stop]], method=method, way=way)
        if told_by_h11(raw[:stop], method) is None:
            assert told.fault is ConnectionFailed, raw[:stop]
        else:  # one whose body has no other end
            assert told.fault is None, raw[:stop]


TRAILING = [b"H", OK + b"Content-Length: 2\r\n\r\nNO", b"0\r\n\r\n", b"5\r\n\r\n"]


@pytest.mark.parametrize("trailing", TRAILING)
@pytest.mark.parametrize("name", [name for name, (_, _, _, reusable) in REPLIES.items() if reusable])
async def test_what_follows_a_reply_ends_the_connection_and_not_the_reply(name: str, trailing: bytes) -> None:
    method, raw, body, _ = REPLIES[name]
    ways: tuple[Way, ...] = ("read", "into")
    for way in ways:
        for pieces in splits(raw + trailing):
            told = await exchange(pieces, method=method, way=way)
            assert (told.fault, told.body) == (None, body), (way, pieces)
            assert not told.reusable, (way, pieces)


@pytest.mark.parametrize("name", [name for name, (_, _, body, _) in REPLIES.items() if len(body) > 1])
async def test_a_body_longer_than_asked_for_is_refused_in_every_cut(name: str) -> None:
    method, raw, body, _ = REPLIES[name]
    ways: tuple[Way, ...] = ("limit", "into")
    for way in ways:
        for pieces in splits(raw):
            assert (await exchange(pieces, method=method, way=way, most=len(body))).body == body
            told = await exchange(pieces, method=method, way=way, most=len(body) - 1)
            assert told.fault is BadResponse, (way, pieces)


# ---- against another implementation -------------------------------------------------------------------------

tokens = st.text("abcdefghijklmnopqrstuvwxyz-0123456789!#$%&'*+.^_`|~", min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127).strip())
FRAMING = {b"content-length", b"transfer-encoding", b"connection", b"proxy-connection", b"upgrade", b"keep-alive"}
fields = st.lists(
    st.tuples(tokens.filter(lambda name: name not in FRAMING), values).map(lambda field: b": ".join(field) + b"\r\n"),
    max_size=5,
).map(b"".join)
bodies = st.binary(max_size=300)


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    body = draw(bodies)
    cuts = [0, *sorted(draw(st.lists(st.integers(0, len(body)), max_size=4))), len(body)]
    framed = b""
    for start, stop in pairwise(cuts):
        if start < stop:
            extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c";d']))
            framed += b"%0*x%b\r\n%b\r\n" % (draw(st.integers(1, 4)), stop - start, extension, body[start:stop])
    return b"Transfer-Encoding: chunked\r\n%b\r\n%b0\r\n%b\r\n" % (draw(fields), framed, draw(fields))


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    interim = st.sampled_from([b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 103 Early Hints\r\n"])
    before = b"".join(draw(st.lists(st.builds(lambda line, more: line + more + b"\r\n", interim, fields), max_size=2)))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    status = draw(st.sampled_from([200, 200, 206, 204, 304, 307, 400, 404, 412, 503]))
    head = b"%b %d%b\r\n%b" % (version, status, draw(st.sampled_from([b" OK", b" ", b""])), draw(fields))
    head += draw(st.sampled_from([b"", b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"]))
    body = draw(bodies)
    framed = st.sampled_from([b"Content-Length: %d\r\n\r\n%b" % (len(body), body), b"\r\n" + body])
    return before + head + draw(framed | chunked())


def cut(raw: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted({point % (len(raw) + 1) for point in at}), len(raw)]
    return [raw[start:stop] for start, stop in pairwise(bounds) if start < stop]


points = st.lists(st.integers(0, 2**16), max_size=6)
methods = st.sampled_from(["GET", "GET", "PUT", "HEAD"])
few = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(raw=replies(), at=points, method=methods, way=st.sampled_from(WAYS))
def test_generated_replies_are_read_as_another_implementation_reads_them(
    raw: bytes, at: list[int], method: str, way: Way, runner: asyncio.Runner
) -> None:
    expected = told_by_h11(raw, method)
    assert expected is not None
    told = runner.run(exchange(cut(raw, at), method=method, way=way))
    assert told == expected
    assert expected.reusable or not told.reusable


# fmt: off
NASTY = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b";", b",", b"0", b"-", b"+", b"0x", b"\x80", b"\xff",
    b"f" * 17, b"9" * 20, b"0\r\n\r\n", b"chunked", b"close", b"Content-Length: 3\r\n", b"Connection: close\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 X\r\n\r\n", b"HTTP/1.1 103 X\r\n\r\n",
]
# fmt: on
mutations = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 3), st.sampled_from(NASTY) | st.binary(max_size=2)),
    min_size=1,
    max_size=3,
)


def mutated(raw: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, put in changes:
        at = place % (len(raw) + 1)
        raw = raw[:at] + put + raw[at + removed :]
    return raw


@few
@given(raw=replies(), changes=mutations, at=points, method=methods, way=st.sampled_from(WAYS))
def test_a_mutated_reply_is_read_as_by_another_implementation_or_refused(
    raw: bytes, changes: list[tuple[int, int, bytes]], at: list[int], method: str, way: Way, runner: asyncio.Runner
) -> None:
    raw = mutated(raw, changes)
    told = runner.run(exchange(cut(raw, at), method=method, way=way))
    if told.fault is not None:
        assert issubclass(told.fault, StoreError)
        return
    expected = told_by_h11(raw, method)
    assert told == expected
    assert expected.reusable or not told.reusable


# ---- replies that are none ----------------------------------------------------------------------------------

LENGTH, CHUNK = b"Content-Length: 5\r\n", b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = {
    "encoding and length": OK + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNK,
    "length and encoding": OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK,
    "length and unknown encoding": OK + LENGTH + b"Transfer-Encoding: x\r\n\r\nhello",
    "two lengths": OK + LENGTH + b"Content-Length: 6\r\n\r\nhello!",
    "one length twice": OK + LENGTH + LENGTH + b"\r\nhello",
    "a list of lengths": OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "encoding gzip": OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "encodings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK,
    "encodings, turned": OK + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNK,
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK,
    "no encoding": OK + b"Transfer-Encoding:\r\n\r\n" + CHUNK,
    "folded line": OK + b"X: a\r\n b\r\n" + LENGTH + b"\r\nhello",
    "folded encoding": OK + b"Transfer-Encoding:\r\n chunked\r\n" + LENGTH + b"\r\nhello",
    "bare LF": OK.replace(b"\r", b"") + b"Content-Length: 5\n\nhello",
    "bare LF after a field": OK + b"X: a\n" + LENGTH + b"\r\nhello",
    "bare CR in a field": OK + b"X: a\rY: b\r\n" + LENGTH + b"\r\nhello",
    "NUL in a value": OK + b"X: a\0b\r\n" + LENGTH + b"\r\nhello",
    "NUL in a name": OK + b"X\0: a\r\n" + LENGTH + b"\r\nhello",
    "space before a colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "space before a name": OK + b" Content-Length: 5\r\n\r\nhello",
    "no colon": OK + b"Content-Length\r\n\r\n",
    "no name": OK + b": 5\r\n" + LENGTH + b"\r\nhello",
    "length -5": OK + b"Content-Length: -5\r\n\r\nhello",
    "length +5": OK + b"Content-Length: +5\r\n\r\nhello",
    "length 0x5": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "length 5 5": OK + b"Content-Length: 5 5\r\n\r\nhello",
    "length without digits": OK + b"Content-Length: \r\n\r\nhello",
    "length of 2^64": OK + b"Content-Length: 18446744073709551616\r\n\r\nhello",
    "chunk -5": CHUNKED + b"-" + CHUNK,
    "chunk +5": CHUNKED + b"+" + CHUNK,
    "chunk 0x5": CHUNKED + b"0x" + CHUNK,
    "chunk with a space": CHUNKED + b" " + CHUNK,
    "chunk without a size": CHUNKED + CHUNK[1:],
    "chunk of 2^68": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\nhello",
    "chunk longer than told": CHUNKED + b"4" + CHUNK[1:],
    "chunk ended by LF": CHUNKED + b"5\nhello\n0\n\n",
    "chunk not ended": CHUNKED + b"5\r\nhello0\r\n\r\n",
    "extension with LF": CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "length after the body": CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\nhello",
    "interim with a body": b"HTTP/1.1 150 X\r\nContent-Length: 5\r\n\r\nHTTP/" + OK + LENGTH + b"\r\nhello",
    "other protocol": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + OK + LENGTH + b"\r\nhello",
    "switched without a word": b"HTTP/1.1 101 X\r\n\r\n" + OK + LENGTH + b"\r\nhello",
    "status of two digits": b"HTTP/1.1 20 OK\r\n" + LENGTH + b"\r\nhello",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\nhello",
    "status below 100": b"HTTP/1.1 099 OK\r\n" + LENGTH + b"\r\nhello",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a record of TLS": b"\x15\x03\x01\x00\x02\x02\x46",
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_could_be_read_in_two_ways_is_refused_in_every_cut(name: str) -> None:
    for pieces in splits(SMUGGLED[name]):
        told = await exchange(pieces)
        assert told == Outcome(fault=BadResponse), pieces
        assert not told.reusable


def fields_of(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


ENDLESS = {
    "a head": OK + b"X: " + b"y" * 70_000,
    "a name": OK + b"y" * 70_000,
    "a status line": b"HTTP/1.1 200 " + b"y" * 70_000,
    "fields": OK + fields_of(8000),
    "interim replies": b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
    "a trailer": CHUNKED + b"0\r\nX: " + b"y" * 70_000,
    "trailers": CHUNKED + b"0\r\n" + fields_of(8000),
    "an extension": CHUNKED + b"5;" + b"y" * 70_000,
    "a size": CHUNKED + b"0" * 70_000,
}


@pytest.mark.parametrize("step", [1000, 70_000])
@pytest.mark.parametrize("name", ENDLESS)
async def test_what_has_no_end_is_given_up(name: str, step: int) -> None:
    raw = ENDLESS[name] * (1 + step // 70_000)  # beyond the limit, however much comes at once
    told = await exchange([raw[start : start + step] for start in range(0, len(raw), step)])
    assert told == Outcome(fault=BadResponse)


async def test_a_head_has_at_most_256_fields_and_64_kib() -> None:
    def head(more: bytes) -> bytes:
        return OK + LENGTH + more + b"\r\nhello"

    for raw, expected in (
        (head(fields_of(255)), None),
        (head(fields_of(256)), BadResponse),
        (head(b"X: " + b"y" * (64 * KIB - 100) + b"\r\n"), None),
        (head(b"X: " + b"y" * 64 * KIB + b"\r\n"), BadResponse),
    ):
        for pieces in ([raw], [raw[:100], raw[100:]], [raw[start : start + 997] for start in range(0, len(raw), 997)]):
            assert (await exchange(pieces)).fault is expected


async def test_small_chunks_of_a_long_body_are_not_taken_for_a_long_head() -> None:
    pieces = [CHUNKED, *[b"1\r\n", b"x", b"\r\n"] * 20_000, b"0\r\n\r\n"]
    assert (await exchange(pieces)).body == b"x" * 20_000


# ---- a body that nobody reads -------------------------------------------------------------------------------


class Call:
    """One request on a line, step by step."""

    def __init__(self, method: str = "GET", body: bytes = b"", **timeouts: float) -> None:
        self.owner = Owner()
        self.connection = Connection(self.owner, route(**timeouts), asyncio.get_running_loop())
        self.line = Line(self.connection)
        self.method, self.body = method, body

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.connection.send(self.method, b"head", b"", memoryview(self.body), b""))


def framed(body: bytes, *, chunked: bool) -> bytes:
    if not chunked:
        return OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [256 * KIB, 300 * KIB, 512 * KIB + 1, 3000 * KIB])
async def test_of_a_body_that_nobody_reads_little_is_taken_and_all_is_kept(size: int, chunked: bool) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    call = Call()
    head = call.start()
    await turns()
    call.line.give(framed(body, chunked=chunked))
    await turns(10)
    await head
    assert call.connection.received <= 512 * KIB
    if call.connection.received < len(body):
        assert not call.line.reading
    buffer = bytearray(len(body))
    assert await call.connection.readinto(memoryview(buffer)) == len(body)
    assert buffer == body
    assert call.line.reading, "what comes while it is idle must be seen"
    assert call.connection.settled
    call.line.give(b"x")
    assert not call.connection.usable
    call.line.lose()


async def test_a_connection_whose_body_came_before_it_was_read_serves_the_next_request() -> None:
    call = Call()
    for _ in range(3):
        head = call.start()
        await turns()
        call.line.give(framed(bytes(300 * KIB), chunked=False))
        await head
        assert len(await call.connection.read(None)) == 300 * KIB
        assert call.connection.settled
    call.line.lose()


# ---- replies that come early --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [307, 400, 403, 412, 413, 503])
async def test_a_refusal_while_a_body_is_sent_is_told_and_the_rest_is_not_sent(status: int) -> None:
    call = Call("PUT", bytes(2000 * KIB))
    head = call.start()
    call.connection.pause_writing()
    await turns()
    call.line.give(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nno" % status)
    await head
    assert call.connection.status == status
    assert await call.connection.read(100) == b"no"
    assert not call.connection.settled
    call.connection.resume_writing()
    await turns()
    assert len(call.line.sent) < 300 * KIB
    call.line.lose()


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_success_before_the_body_was_sent_is_none(interim: bytes) -> None:
    call = Call("PUT", bytes(2000 * KIB))
    head = call.start()
    call.connection.pause_writing()
    await turns()
    call.line.give(interim + OK + b"Content-Length: 0\r\n\r\n")
    with pytest.raises(BadResponse, match="before the whole request"):
        await head
    assert not call.connection.settled
    call.line.lose()


async def test_a_success_while_the_end_of_the_body_is_still_held_is_none() -> None:
    call = Call("PUT", bytes(100))
    head = call.start()
    call.line.unsent_bytes = 1
    await turns()
    call.line.give(OK + b"Content-Length: 0\r\n\r\n")
    with pytest.raises(BadResponse, match="before the whole request"):
        await head
    call.line.lose()


async def test_an_interim_reply_lets_the_body_go_on() -> None:
    body = bytes(range(256)) * 4000
    call = Call("PUT", body)
    head = call.start()
    call.connection.pause_writing()
    for _ in range(3):
        await turns()
        call.line.give(b"HTTP/1.1 100 Continue\r\n\r\n")
    await turns()
    assert len(call.line.sent) < len(body)
    call.connection.resume_writing()
    await turns()
    assert call.line.sent == b"head" + body
    call.line.give(OK + b"Content-Length: 0\r\n\r\n")
    await head
    assert call.connection.status == 200
    assert call.connection.settled
    call.line.lose()


async def test_a_peer_that_ends_its_side_while_a_body_is_sent_is_not_waited_for() -> None:
    call = Call("PUT", bytes(2000 * KIB))
    head = call.start()
    call.connection.pause_writing()
    await turns()
    call.line.give_end()
    with pytest.raises(ConnectionFailed, match="broke"):
        await head
    await turns()
    assert call.owner.ended == [call.connection]


# ---- time, as the watchdog tells it -------------------------------------------------------------------------


async def test_silence_is_given_up_and_a_loop_that_stood_still_is_no_silence() -> None:
    call = Call(idle_s=30)
    head = call.start()
    await turns()
    now_s = asyncio.get_running_loop().time()
    call.connection.look(now_s + 29, 0)
    call.connection.look(now_s + 1000, 999)
    await turns()
    assert not head.done()
    call.connection.look(now_s + 1030, 0)
    with pytest.raises(TimedOut, match="sent nothing for 30 s"):
        await head
    call.line.lose()


async def test_a_body_that_nobody_takes_is_given_up_by_its_own_limit() -> None:
    call = Call("PUT", bytes(2000 * KIB), idle_s=1, send_s=60)
    head = call.start()
    call.connection.pause_writing()
    await turns()
    now_s = asyncio.get_running_loop().time()
    call.connection.look(now_s + 59, 0)
    await turns()
    assert not head.done()
    call.connection.look(now_s + 61, 0)
    with pytest.raises(TimedOut, match="took too little"):
        await head
    call.line.lose()


async def test_a_body_that_drips_is_given_up_and_one_that_nobody_reads_is_not() -> None:
    call = Call(idle_s=30, progress_s=60)
    head = call.start()
    await turns()
    call.line.give(OK + b"Content-Length: 100000\r\n\r\n")
    await head
    now_s = asyncio.get_running_loop().time()
    call.connection.look(now_s + 10_000, 0)
    body = asyncio.create_task(call.connection.read(None))
    await turns()
    now_s = asyncio.get_running_loop().time()
    call.line.give(bytes(60 * KIB))
    call.connection.look(now_s + 61, 40)
    call.line.give(bytes(30 * KIB))
    await turns()
    assert not body.done()
    for after_s in (90, 119, 150, 180):
        call.line.give(b"x")
        call.connection._last_s = now_s + after_s  # as if it had come then
        call.connection.look(now_s + after_s, 0)
    with pytest.raises(TimedOut, match="1 KiB/s"):
        await body
    await turns()
    assert call.owner.ended == [call.connection]


# ---- cancelled, and gone ------------------------------------------------------------------------------------


async def test_the_buffer_of_a_call_that_was_cancelled_is_not_written_any_more() -> None:
    call = Call()
    head = call.start()
    await turns()
    call.line.give(OK + b"Content-Length: 100\r\n\r\nhello")
    await head
    buffer = bytearray(100)
    body = asyncio.create_task(call.connection.readinto(memoryview(buffer)))
    await turns()
    call.line.give(b" wor")
    body.cancel()
    with pytest.raises(asyncio.CancelledError):
        await body
    assert not call.connection.usable
    arrivals = call.connection.get_buffer(-1)
    arrivals[:2] = b"ld"
    call.connection.buffer_updated(2)
    assert buffer == b"hello wor" + bytes(91)
    del body
    await turns()
    buffer.clear()  # which fails while anything holds a view of it


@pytest.mark.parametrize("end", ["kept", "cut", "refused", "cancelled"])
async def test_nothing_of_a_connection_waits_for_the_collector(end: str) -> None:
    class Body(bytearray):
        pass

    gc.collect()
    gc.disable()
    try:
        call, buffer = Call(), Body(10)
        head = call.start()
        await turns()
        call.line.give(CHUNKED if end == "refused" else OK + b"Content-Length: 10\r\n\r\n")
        await head
        body = asyncio.create_task(call.connection.readinto(memoryview(buffer)))
        await turns()
        if end == "kept":
            call.line.give(b"0123456789")
            assert await body == 10
        elif end == "cut":
            call.line.give_end()
        elif end == "refused":
            call.line.give(b"z")
        elif end == "cancelled":
            body.cancel()
        await asyncio.wait([body])
        if end != "kept":
            kind = {"cut": ConnectionFailed, "refused": BadResponse, "cancelled": asyncio.CancelledError}[end]
            with pytest.raises(kind):
                body.result()
        call.line.close()
        await turns()
        assert call.owner.ended == [call.connection]
        call.owner.ended.clear()
        kept = [weakref.ref(call.connection), weakref.ref(call.line), weakref.ref(buffer)]
        del call, buffer, head, body
        await turns()
        assert [reference() for reference in kept] == [None] * 3
    finally:
        gc.enable()
