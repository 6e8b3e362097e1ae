"""Uploads in parts to Cloud Storage: every odd 308 ends in equal bytes or an error, and nothing is left behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canned import AT_ONCE, Reply
from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    NotFound,
    PreconditionFailed,
    ServiceError,
    ServiceUnavailable,
    StoreError,
    UnsupportedOperation,
)
from entrepot.flavors.gcp.client import COMPOSED_FROM_BYTES, GcpClient
from entrepot.flavors.gcp.resumable import CHUNK_BYTES, OddReply, Progress
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Request
from entrepot.models import KIB, MIB, NO_OPTIONS, Upload, WriteOptions
from entrepot.objects import bulk
from entrepot.objects.streams import ObjectWriter
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.services.checksums import crc32c
from gcs_fake import CHUNK, Held, Script, StrictGcs, client_of

pytestmark = pytest.mark.anyio

DATA = random.Random(7).randbytes(3 * MIB + 12_345)
PARTS = [DATA[:MIB], DATA[MIB : 2 * MIB], DATA[2 * MIB :]]


async def sent(client: GcpClient, parts: list[bytes] = PARTS, options: WriteOptions = NO_OPTIONS) -> Any:
    upload = await client.create_upload("k", options)
    done = [await client.put_part(upload, number, part) for number, part in enumerate(parts, 1)]
    return await client.complete_upload(upload, done)


# ---- one session, step by step -----------------------------------------------------------------------------


async def test_a_session_sends_whole_chunks_and_publishes_with_its_end() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k", WriteOptions("text/csv", {"color": "blue"}))
    assert upload.in_order
    done = [await client.put_part(upload, number, part) for number, part in enumerate(PARTS, 1)]
    assert "k" not in service.live, "nothing is visible before the end"
    stat = await client.complete_upload(upload, done)
    held = service.live["k"]
    assert (held.data, held.described["contentType"], held.described["metadata"]) == (
        DATA,
        "text/csv",
        {"color": "blue"},
    )
    assert (stat.size_bytes, stat.etag) == (len(DATA), str(held.generation))
    ranges = [dict(one.headers).get("content-range") for one in service.requests if one.method == "PUT"]
    whole = 2 * MIB + (len(PARTS[2]) // CHUNK) * CHUNK
    assert ranges == [
        f"bytes 0-{MIB - 1}/*",
        f"bytes {MIB}-{2 * MIB - 1}/*",
        f"bytes {2 * MIB}-{whole - 1}/*",
        f"bytes {whole}-{len(DATA) - 1}/{len(DATA)}",
    ]
    hashes = [dict(one.headers).get("x-goog-hash") for one in service.requests if one.method == "PUT"]
    assert hashes[:-1] == [None, None, None]
    assert hashes[-1] is not None


async def test_where_all_is_acknowledged_the_end_is_told_without_bytes() -> None:
    service = StrictGcs()
    await sent(client_of(service), [DATA[:MIB]])
    assert dict(service.requests[-1].headers)["content-range"] == f"bytes */{MIB}"
    assert service.live["k"].data == DATA[:MIB]


async def test_parts_below_a_chunk_wait_for_more() -> None:
    service = StrictGcs()
    await sent(client_of(service), [b"a", b"b" * (CHUNK - 1), b"c"])
    assert service.live["k"].data == b"a" + b"b" * (CHUNK - 1) + b"c"
    assert service.asked("PUT") == ["PUT /upload/storage/v1/b/bucket/o"] * 2


async def test_a_buffer_can_be_used_again_once_its_part_is_put() -> None:
    service, buffer = StrictGcs(), bytearray(DATA[: CHUNK + 5])
    client = client_of(service)
    upload = await client.create_upload("k")
    first = await client.put_part(upload, 1, memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    second = await client.put_part(upload, 2, b"end")
    await client.complete_upload(upload, [first, second])
    assert service.live["k"].data == DATA[: CHUNK + 5] + b"end"


@pytest.mark.parametrize("kept", [0, CHUNK, 3 * CHUNK], ids=["none", "one chunk", "all but one"])
async def test_a_service_that_keeps_less_is_sent_the_rest_again(kept: int) -> None:
    service = StrictGcs()
    answers = itertools.chain([kept], itertools.repeat(1 << 40))
    service.persist = lambda count: min(count, next(answers))
    await sent(client_of(service))
    assert service.live["k"].data == DATA


async def test_a_308_without_range_means_none_and_with_one_what_it_says() -> None:
    service = StrictGcs()
    service.persist = lambda count: 0
    with pytest.raises(BadResponse, match="none of the bytes"):
        await sent(client_of(service))
    assert "k" not in service.live


ODD: dict[str, tuple[str | None, str]] = {
    "more than was sent": (f"bytes=0-{MIB}", "more bytes than were sent"),
    "far more": ("bytes=0-99999999999", "more bytes than were sent"),
    "less than before": (f"bytes=0-{CHUNK - 1}", "lost bytes"),
    "none after some": (None, "lost bytes"),
}


@pytest.mark.parametrize("case", ODD)
async def test_a_308_that_contradicts_what_was_sent_ends_the_upload(case: str) -> None:
    told, text = ODD[case]
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k")
    if "more" not in case:
        await client.put_part(upload, 1, PARTS[0])
    service.acknowledge.append(told)
    with pytest.raises(ServiceError, match=text) as caught:
        await client.put_part(upload, 1 if "more" in case else 2, PARTS[1])
    assert not caught.value.retryable
    assert service.asked()[-1].startswith("DELETE /upload"), "the session is cancelled"
    assert service.sessions == {}
    with pytest.raises(ServiceError, match="write again"):
        await client.put_part(upload, 3, PARTS[2])
    assert "k" not in service.live
    await client.abort_upload(upload)


@pytest.mark.parametrize("told", ["bytes=5-9", "bytes 0-5/9", "bytes=-5", "bytes=0-", "0-5-9", "bytes=0-1,3-4", "x"])
async def test_a_308_with_an_unreadable_range_is_not_believed(told: str) -> None:
    service = StrictGcs()
    service.acknowledge.extend([told] * 10)
    with pytest.raises(BadResponse):
        await sent(client_of(service))
    assert "k" not in service.live


async def test_an_object_that_is_there_too_early_is_withdrawn_and_an_error() -> None:
    service = StrictGcs()

    def publish(number: int, request: Request) -> Reply | None:
        return Reply(200, {}, service_row(service.put("k", request.content))) if number == 1 else None

    service.script = publish
    with pytest.raises(ServiceError, match="before its last bytes"):
        await sent(client_of(service))
    assert "k" not in service.live, "what should not be there is removed"


def service_row(held: Held, **other: Any) -> bytes:
    return json.dumps({**held.row(), **other}).encode()


@pytest.mark.parametrize(("field", "value"), [("size", "3"), ("crc32c", "AAAAAA==")])
async def test_an_object_that_is_not_what_was_sent_is_withdrawn_and_an_error(field: str, value: str) -> None:
    service = StrictGcs()

    def damaged(_number: int, request: Request) -> Reply | None:
        if dict(request.headers).get("content-range", "").endswith("/*") or request.method != "PUT":
            return None
        return Reply(200, {}, service_row(service.put("k", b"xyz"), **{"size": str(len(DATA)), field: value}))

    service.script = damaged
    with pytest.raises(ServiceError, match="the object has"):
        await sent(client_of(service))
    assert "k" not in service.live


async def test_damage_on_the_way_is_refused_by_the_checksum_of_the_whole() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k")
    done = [await client.put_part(upload, number, part) for number, part in enumerate(PARTS, 1)]
    (session,) = service.sessions.values()
    session.data = b"X" + session.data[1:]
    with pytest.raises(ChecksumMismatch):
        await client.complete_upload(upload, done)
    assert "k" not in service.live


# ---- replies that are lost, sessions that are gone ---------------------------------------------------------


@pytest.mark.holds("lost-reply")
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("how", ["lost", "busy", "unsent", 503, 500, 429])
async def test_any_one_reply_lost_or_failed_ends_in_equal_bytes(at: int, how: str | int) -> None:
    service = StrictGcs(Script({at: how if isinstance(how, str) else Reply(how)}))
    await sent(client_of(service))
    assert service.live["k"].data == DATA
    assert service.old == [], "and it was published once"


async def test_after_a_lost_reply_the_session_is_asked_before_anything_is_sent() -> None:
    service = StrictGcs(Script({2: "lost"}))
    await sent(client_of(service))
    ranges = [dict(one.headers).get("content-range") for one in service.requests]
    assert ranges[2:5] == [f"bytes {MIB}-{2 * MIB - 1}/*", "bytes */*", f"bytes {2 * MIB}-{3 * MIB - 1}/*"]


@pytest.mark.parametrize("how", ["lost", "busy"])
async def test_a_lost_end_whose_session_is_forgotten_is_settled_by_a_look(how: str) -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k")
    done = [await client.put_part(upload, number, part) for number, part in enumerate(PARTS, 1)]

    def forget(_number: int, request: Request) -> Reply | str | None:
        if request.method != "PUT":
            return None
        if dict(request.headers)["content-range"] == "bytes */*":
            return Reply(410)
        return how

    service.script = forget
    stat = await client.complete_upload(upload, done)
    assert (service.live["k"].data, stat.size_bytes) == (DATA, len(DATA))


@pytest.mark.parametrize("status", [404, 410])
async def test_a_session_that_is_gone_says_to_write_again(status: int) -> None:
    service = StrictGcs(Script({2: Reply(status)}))
    client = client_of(service)
    upload = await client.create_upload("k")
    await client.put_part(upload, 1, PARTS[0])
    with pytest.raises(NotFound, match="write again"):
        await client.put_part(upload, 2, PARTS[1])
    await client.abort_upload(upload)


async def test_a_session_that_is_gone_at_its_end_is_no_success() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k")
    done = [await client.put_part(upload, number, part) for number, part in enumerate(PARTS, 1)]
    service.put("k", b"another writer's")
    service.sessions.clear()
    with pytest.raises(NotFound, match="write again"):
        await client.complete_upload(upload, done)


async def test_a_service_that_is_down_is_given_up_and_the_end_can_be_tried_again() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k")
    done = [await client.put_part(upload, number, part) for number, part in enumerate(PARTS, 1)]
    service.script = lambda _number, _request: Reply(500)
    with pytest.raises(ServiceUnavailable):
        await client.complete_upload(upload, done)
    service.script = lambda _number, _request: None
    await client.complete_upload(upload, done)
    assert service.live["k"].data == DATA


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5 * CHUNK), min_size=1, max_size=4),
    kept=st.lists(st.integers(0, 6), max_size=12),
    lies=st.dictionaries(st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12 * CHUNK)), max_size=3),
    breaks=st.dictionaries(st.integers(1, 14), st.sampled_from(["lost", "busy", "unsent", 503, 500, 308]), max_size=4),
)
def test_whatever_a_session_acknowledges_ends_in_equal_bytes_or_an_error(
    sizes: list[int], kept: list[int], lies: dict[int, int | None], breaks: dict[int, str | int]
) -> None:
    """kept: chunks persisted of each send. lies: what a 308 tells in place of the truth. breaks: requests that fail."""
    data = random.Random(sum(sizes)).randbytes(sum(sizes))
    ends = list(itertools.accumulate(sizes))
    parts = [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    service = StrictGcs()
    answers = itertools.chain((count * CHUNK for count in kept), itertools.repeat(1 << 40))
    service.persist = lambda count: min(count, next(answers))
    turns = itertools.count()

    def script(number: int, request: Request) -> Reply | str | None:
        if request.method == "PUT" and dict(request.headers)["content-range"].endswith("/*"):
            turn = next(turns)
            if turn in lies:
                told = lies[turn]
                service.acknowledge.append(f"bytes=0-{told - 1}" if told else None)
        how = breaks.get(number)
        return Reply(how) if isinstance(how, int) else how

    service.script = script

    async def run() -> None:
        try:
            await sent(client_of(service, policy=RetryPolicy(max_attempts=4, base_s=0, throttle_base_s=0)), parts)
        except StoreError:
            held = service.live.get("k")
            assert held is None or held.data == data
        else:
            assert service.live["k"].data == data

    anyio.run(run)


@given(st.lists(st.integers(0, 5 * CHUNK_BYTES), max_size=6), st.integers(0, 9))
def test_progress_never_goes_back_nor_beyond_what_was_sent(told: list[int], last: int) -> None:
    progress = Progress()
    for number in told:
        progress.give(bytes(CHUNK_BYTES), crc32c(bytes(CHUNK_BYTES)))
        chunk = progress.next_chunk(last=False)
        assert chunk is not None
        before = progress.held_bytes
        try:
            more = progress.acknowledge(number)
        except OddReply:
            assert number > chunk.stop or number < before
        else:
            assert before <= progress.held_bytes == number == before + more <= chunk.stop


# ---- what is in order, and what is a secret ----------------------------------------------------------------


async def test_parts_out_of_order_are_refused_before_anything_is_sent() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k")
    asked = len(service.requests)
    with pytest.raises(UnsupportedOperation, match="part 1 is next"):
        await client.put_part(upload, 2, b"x")
    assert len(service.requests) == asked


class _Slow(StrictGcs):
    """It takes the bytes of a session at once, and answers late."""

    def send(self, request: Request) -> Any:
        @asynccontextmanager
        async def exchange() -> Any:
            async with super(_Slow, self).send(request) as reply:
                await asyncio.sleep(10 if request.method == "PUT" else 0)
                yield reply

        return exchange()


async def test_a_part_that_was_cancelled_cannot_be_given_again() -> None:
    """Its bytes may be in already: given once more, the object would have them twice."""
    service = _Slow()
    client = client_of(service)
    upload = await client.create_upload("k")
    with anyio.move_on_after(0.05):
        await client.put_part(upload, 1, DATA[:CHUNK])
    assert len(service.requests) == 2, "the bytes had arrived"
    with pytest.raises(ServiceError, match="write again"):
        await client.put_part(upload, 1, DATA[:CHUNK])
    await client.abort_upload(upload)
    assert (service.live, service.sessions) == ({}, {})


async def test_a_part_is_not_given_twice_at_once() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k")
    twice = [client.put_part(upload, 1, DATA[:MIB]) for _ in range(2)]
    first, second = await asyncio.gather(*twice, return_exceptions=True)
    assert isinstance(second, StoreError)
    assert not isinstance(first, BaseException)
    await client.complete_upload(upload, [first])
    assert service.live["k"].data == DATA[:MIB]


async def test_the_address_of_a_session_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = StrictGcs(Script({1: Reply(500), 4: Reply(404)}))
    client = client_of(service)
    upload = await client.create_upload("k")
    await client.put_part(upload, 1, PARTS[0])
    with pytest.raises(NotFound) as caught:
        await client.put_part(upload, 2, PARTS[1])
    for text in (repr(upload), repr(client), str(caught.value), repr(client._sessions.__dict__), caplog.text,
                 repr(service.requests)):  # fmt: skip
        assert "upload_id=s1" not in text
        assert "Bearer" not in text
        assert "/upload/storage" not in text


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/upload?upload_id=secret",
        "http://storage.googleapis.com/upload?upload_id=secret",
        "https://user@storage.googleapis.com/upload?upload_id=secret",
        "https://storage.googleapis.com:444/upload?upload_id=secret",
        "/upload?upload_id=secret",
        "",
        "https://[bad/secret",
    ],
)
async def test_a_session_elsewhere_is_refused(location: str) -> None:
    service = StrictGcs(Script({0: Reply(200, {"location": location})}))
    with pytest.raises(ServiceError) as caught:
        await client_of(service).create_upload("k")
    assert "secret" not in str(caught.value)
    assert len(service.requests) == 1


async def test_writers_and_bulk_parts_send_in_order_where_they_must() -> None:
    service = StrictGcs()
    client = client_of(service)
    data = random.Random(1).randbytes(41 * MIB)
    async with ObjectWriter(client, "written", "gs://bucket/written", on_abandon=lambda *_: None) as writer:
        await writer.write(data)
    assert service.live["written"].data == data
    async with bulk.open_parts(client, "bulk", "gs://bucket/bulk", len(data), WriteOptions()) as parts:
        assert parts.in_order
        for number in range(1, 7):
            await parts.put_part(number, data[(number - 1) * 8 * MIB : number * 8 * MIB])
    assert service.live["bulk"].data == data


async def test_a_large_file_of_known_size_goes_up_in_any_order() -> None:
    service = StrictGcs()
    client = client_of(service)
    data = random.Random(2).randbytes(65 * MIB)
    async with bulk.open_parts(client, "d/bulk", "gs://bucket/d/bulk", len(data), WriteOptions()) as parts:
        assert not parts.in_order
        spans = [(number, data[(number - 1) * 8 * MIB : number * 8 * MIB]) for number in range(1, 10)]
        random.Random(3).shuffle(spans)
        await asyncio.gather(*(parts.put_part(number, span) for number, span in spans))
    assert service.live["d/bulk"].data == data
    assert list(service.live) == ["d/bulk"], "the temporaries are gone"


async def test_parallel_uploads_can_be_switched_off() -> None:
    client = client_of(StrictGcs(), parallel_uploads=False)
    assert (await client.create_upload("k", size_bytes=1 << 40)).in_order


@pytest.mark.parametrize("size", [None, 0, COMPOSED_FROM_BYTES - 1])
async def test_small_and_unknown_sizes_go_up_in_order(size: int | None) -> None:
    assert (await client_of(StrictGcs()).create_upload("k", size_bytes=size)).in_order


async def test_a_key_too_long_for_the_names_of_parts_goes_up_in_order() -> None:
    client = client_of(StrictGcs())
    assert (await client.create_upload("k" * 1000, size_bytes=1 << 40)).in_order
    upload = await client.create_upload("k" * 970, size_bytes=1 << 40)
    part = await client.put_part(upload, 10_000, b"x")
    await client.complete_upload(upload, [part])


# ---- composition -------------------------------------------------------------------------------------------


async def composed(client: GcpClient, count: int, options: WriteOptions = NO_OPTIONS) -> tuple[Upload, bytes]:
    upload = await client.create_upload("d/k", options, 1 << 40)
    parts = []
    bodies = [b"%d|" % number * 20 for number in range(1, count + 1)]
    for number, body in reversed(list(enumerate(bodies, 1))):
        parts.append(await client.put_part(upload, number, body))
    await client.complete_upload(upload, parts)
    return upload, b"".join(bodies)


@pytest.mark.parametrize(("count", "compositions"), [(1, 1), (32, 1), (33, 2), (70, 4), (1025, 34)])
async def test_parts_are_joined_32_at_a_time(count: int, compositions: int) -> None:
    service = StrictGcs()
    _, data = await composed(client_of(service), count, WriteOptions("text/csv", {"color": "blue"}))
    held = service.live["d/k"]
    assert (held.data, held.described["contentType"], held.described["metadata"]) == (
        data,
        "text/csv",
        {"color": "blue"},
    )
    assert list(service.live) == ["d/k"]
    assert sum(line.endswith("/compose") for line in service.asked("POST")) == compositions


async def test_temporaries_lie_beside_the_target_hidden_and_without_its_description() -> None:
    service = StrictGcs()
    client = client_of(service, storage_class="COLDLINE", predefined_acl="publicRead")
    upload = await client.create_upload("d/k", WriteOptions("text/csv", {"a": "b"}), 1 << 40)
    part = await client.put_part(upload, 1, b"x")
    ((name, held),) = service.live.items()
    assert name.startswith(f"d/{TEMPORARY_PREFIX}")
    assert held.described == {"contentType": "application/octet-stream", "storageClass": "STANDARD"}
    assert "ifGenerationMatch=0" in service.requests[-1].target
    assert "predefinedAcl" not in service.requests[-1].target
    store = GcpArtifactStore("gs://bucket", access_token="t")
    store._make_client = lambda: client  # type: ignore[method-assign]
    assert await store.listdir("d") == []
    await client.complete_upload(upload, [part])
    assert service.live["d/k"].described["storageClass"] == "COLDLINE"
    assert await store.listdir("d") == ["k"]


async def test_the_last_write_of_a_part_wins_and_all_are_removed() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("d/k", size_bytes=1 << 40)
    await client.put_part(upload, 1, b"old")
    part = await client.put_part(upload, 1, b"new")
    assert await client.list_parts(upload) == [part]
    await client.complete_upload(upload, await client.list_parts(upload))
    assert service.live["d/k"].data == b"new"
    assert list(service.live) == ["d/k"]


@pytest.mark.parametrize("batches", [True, False])
async def test_a_bucket_that_keeps_versions_keeps_none_of_a_temporary(batches: bool) -> None:
    service = StrictGcs()
    if not batches:
        service.script = lambda _number, request: Reply(501) if request.target.startswith("/batch") else None
    client = client_of(service)
    service.put("d/k", b"before")
    await composed(client, 40, WriteOptions())
    assert [held.name for held in service.old] == ["d/k"], "what the object was is the bucket's to keep"
    upload = await client.create_upload("d/other", size_bytes=1 << 40)
    for number in (1, 2, 2):
        await client.put_part(upload, number, b"x")
    await client.abort_upload(upload)
    assert [held.name for held in service.old] == ["d/k"]
    assert list(service.live) == ["d/k"]


async def test_what_a_first_try_to_complete_has_joined_is_removed_by_the_second() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("d/k", size_bytes=1 << 40)
    parts = [await client.put_part(upload, number, b"x") for number in range(1, 34)]
    service.script = lambda _number, request: Reply(403) if "/d%2Fk/compose" in request.target else None
    with pytest.raises(StoreError):
        await client.complete_upload(upload, parts)
    service.script = lambda _number, _request: None
    await client.complete_upload(upload, parts)
    assert {name: held.data for name, held in service.live.items()} == {"d/k": b"x" * 33}


async def test_the_temporaries_of_many_parts_are_removed_several_batches_at_once() -> None:
    """An abort has ten seconds, and a batch takes one or two."""
    service = _SlowBatches()
    client = client_of(service)
    upload = await client.create_upload("d/k", size_bytes=1 << 40)
    for number in range(1, 701):
        service.put(f"d/{TEMPORARY_PREFIX}{upload.upload_id[-16:]}/k/{number:05d}-00000000", b"x")
    await client.abort_upload(upload)
    assert service.live == {}
    assert service.most == 7


class _SlowBatches(StrictGcs):
    now = most = 0

    def send(self, request: Request) -> Any:
        @asynccontextmanager
        async def exchange() -> Any:
            async with super(_SlowBatches, self).send(request) as reply:
                self.now += request.target.startswith("/batch")
                self.most = max(self.most, self.now)
                await asyncio.sleep(0.01)
                self.now -= request.target.startswith("/batch")
                yield reply

        return exchange()


async def test_an_upload_is_found_by_another_process_and_dropped() -> None:
    service = StrictGcs()
    client, other = client_of(service), client_of(service)
    upload = await client.create_upload("d/k", size_bytes=1 << 40)
    part = await client.put_part(upload, 2, b"x")
    assert [(one.key, one.upload_id) for one in await other.list_uploads("d/k")] == [("d/k", upload.upload_id)]
    assert [one.key for one in await other.list_uploads()] == ["d/k"]
    assert await other.list_uploads("d/z") == []
    assert await other.list_parts(upload) == [part]
    await other.abort_upload(upload)
    assert service.live == {}
    assert await client.list_uploads() == []


async def test_after_an_abort_or_the_end_no_part_is_taken() -> None:
    client = client_of(StrictGcs())
    for end in ("abort", "complete"):
        upload = await client.create_upload("d/k", size_bytes=1 << 40)
        part = await client.put_part(upload, 1, b"x")
        if end == "abort":
            await client.abort_upload(upload)
        else:
            await client.complete_upload(upload, [part])
        with pytest.raises(NotFound):
            await client.put_part(upload, 1, b"x")


@pytest.mark.parametrize("at", range(9))
@pytest.mark.parametrize("how", ["lost", "busy", 503])
async def test_any_one_reply_lost_or_failed_ends_in_the_joined_object(at: int, how: str | int) -> None:
    service = StrictGcs(Script({at: how if isinstance(how, str) else Reply(how)}))
    _, data = await composed(client_of(service), 5)
    assert service.live["d/k"].data == data
    assert list(service.live) == ["d/k"]
    assert [held.name for held in service.old].count("d/k") == 0, "and it was published once"


async def test_a_part_that_comes_after_it_was_given_up_is_removed_as_well() -> None:
    """Its bytes had arrived when its sender was cancelled: the service writes it behind the abort's back."""
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("d/k", size_bytes=1 << 40)
    await client.put_part(upload, 1, b"x")
    (name,) = service.live
    service.script = lambda _number, request: Reply(403) if "multipart" in request.target else None
    with pytest.raises(StoreError):
        await client.put_part(upload, 2, b"y")

    async def write_late() -> None:
        await asyncio.sleep(0.1)
        service.put(name.replace("00001", "00002"), b"y")

    late = asyncio.ensure_future(write_late())
    await client.abort_upload(upload)
    await late
    assert service.live == {}


async def test_a_composition_that_is_something_else_is_withdrawn() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("d/k", size_bytes=1 << 40)
    part = await client.put_part(upload, 1, b"hello")
    (temporary,) = service.live.values()
    temporary.data = b"jello"
    with pytest.raises(ChecksumMismatch):
        await client.complete_upload(upload, [part])
    assert "d/k" not in service.live


async def test_a_part_that_was_replaced_meanwhile_is_not_joined() -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("d/k", size_bytes=1 << 40)
    part = await client.put_part(upload, 1, b"hello")
    service.put(next(iter(service.live)), b"other")
    with pytest.raises(PreconditionFailed):
        await client.complete_upload(upload, [part])
    assert "d/k" not in service.live


async def test_temporaries_that_cannot_be_removed_are_no_failure_of_the_upload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = StrictGcs()
    service.script = lambda _number, request: Reply(403) if "batch" in request.target else None
    await composed(client_of(service), 2)
    assert "d/k" in service.live
    assert "temporaries stay" in caplog.text


# ---- conditions --------------------------------------------------------------------------------------------


SIZES = pytest.mark.parametrize("size", [None, COMPOSED_FROM_BYTES], ids=["session", "composition"])


@SIZES
async def test_create_only_uploads_lose_to_an_object_that_came_first(size: int | None) -> None:
    service = StrictGcs()
    client = client_of(service)
    upload = await client.create_upload("k", WriteOptions(if_none_match=True), size)
    part = await client.put_part(upload, 1, b"mine")
    service.put("k", b"first")
    with pytest.raises(AlreadyExists):
        await client.complete_upload(upload, [part])
    assert service.live["k"].data == b"first"


@SIZES
async def test_uploads_replace_only_the_generation_they_name(size: int | None) -> None:
    service = StrictGcs()
    client = client_of(service)
    old = str(service.put("k", b"old").generation)
    upload = await client.create_upload("k", WriteOptions(if_match=old), size)
    part = await client.put_part(upload, 1, b"mine")
    await client.complete_upload(upload, [part])
    assert service.live["k"].data == b"mine"
    upload = await client.create_upload("k", WriteOptions(if_match=str(service.live["k"].generation)), size)
    part = await client.put_part(upload, 1, b"again")
    service.put("k", b"another's")
    with pytest.raises(PreconditionFailed):
        await client.complete_upload(upload, [part])
    assert service.live["k"].data == b"another's"


@SIZES
async def test_a_lost_end_of_a_create_only_upload_is_told_from_another_writer_of_equal_bytes(size: int | None) -> None:
    for winner in ("mine", "another's"):
        service = StrictGcs()
        client = client_of(service)
        upload = await client.create_upload("k", WriteOptions(if_none_match=True), size)
        part = await client.put_part(upload, 1, b"lock")
        begun = len(service.requests)

        def lose(
            number: int, _request: Request, begun: int = begun, winner: str = winner, service: Any = service
        ) -> Any:
            if number != begun:
                return None
            if winner == "mine":
                return "lost"
            service.put("k", b"lock")
            return Reply(lost=True)

        service.script = lose
        if winner == "mine":
            stat = await client.complete_upload(upload, [part])
            assert "entrepot-write" not in stat.metadata
        else:
            with pytest.raises(AlreadyExists):
                await client.complete_upload(upload, [part])


@SIZES
async def test_where_conditions_are_not_known_to_be_kept_a_look_comes_first(size: int | None, gcs_server: Any) -> None:
    from entrepot.flavors.gcp.config import GcpConfig
    from entrepot.flavors.gcp.connection import make_client

    bucket = gcs_server.create_bucket()
    client = make_client(GcpConfig(path=f"gs://{bucket}", **gcs_server.options), policy=AT_ONCE)
    upload = await client.create_upload("k", WriteOptions(if_none_match=True), size)
    part = await client.put_part(upload, 1, b"mine")
    gcs_server.bucket(bucket).put("k", b"first")
    with pytest.raises(AlreadyExists):
        await client.complete_upload(upload, [part])
    await client.abort_upload(upload)
    assert gcs_server.bucket(bucket).get("k") == b"first"
    assert gcs_server.bucket(bucket).keys() == ["k"]
    await client.close()


@pytest.mark.parametrize("turns", range(1, 40, 3))
@SIZES
async def test_a_cancelled_upload_leaves_nothing(size: int | None, turns: int) -> None:
    service = StrictGcs()
    client = client_of(service)

    async def write() -> None:
        opened = bulk.open_parts(client, "d/k", "gs://bucket/d/k", size or 9 * MIB, WriteOptions())
        async with opened as parts:
            for number in range(1, 3):
                await parts.put_part(number, bytes(8 * MIB if number == 1 or size else MIB))
                await asyncio.sleep(0)
            await asyncio.sleep(10)

    task = asyncio.ensure_future(write())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.live == {}
    assert service.sessions == {}


def test_the_chunk_of_the_fake_is_that_of_the_client() -> None:
    assert CHUNK == CHUNK_BYTES == 256 * KIB
