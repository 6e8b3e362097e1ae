"""The S3 store over a network that breaks, before a server that refuses what is not exactly right."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from entrepot import S3ArtifactStore
from entrepot import copy as bulk_copy
from entrepot.errors import AlreadyExists, BadResponse, StoreError
from entrepot.models import WriteOptions
from entrepot.testing.faults import (
    Close,
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
    Status,
    WrongRange,
)
from entrepot.testing.raw_s3 import RawS3
from entrepot.testing.strict import StrictS3
from recording_server import RecordingServer

pytestmark = pytest.mark.anyio

SMALL = b"0123456789" * 500
LARGE = bytes(range(256)) * 4096 * 18
"""Three parts."""


@pytest.fixture
def raw(strict_server: StrictS3) -> RawS3:
    return strict_server.bucket(strict_server.create_bucket())


@pytest.fixture
def proxy(strict_server: StrictS3) -> Iterator[FaultProxy]:
    with FaultProxy(strict_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
async def store(strict_server: StrictS3, proxy: FaultProxy, raw: RawS3) -> AsyncIterator[S3ArtifactStore]:
    async with S3ArtifactStore(f"s3://{raw.bucket}", **strict_server.at(proxy.url).s3_options) as store:
        yield store


BEFORE_OR_AFTER: list[Fault] = [
    Reset(0, "request"),
    DropReply(),
    DropReply("close"),
    Status(500),
    Status(500, applied=True),
]


@pytest.mark.holds("lost-reply")
@pytest.mark.parametrize("fault", BEFORE_OR_AFTER, ids=repr)
@pytest.mark.parametrize("operation", ["put", "create_upload", "put_part", "complete", "copy", "delete", "delete_many"])
async def test_a_write_that_breaks_is_as_if_done_once(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, operation: str, fault: Fault
) -> None:
    rule = Rule(operation, fault)
    proxy.add(rule)
    await store.write_bytes("small", SMALL)
    async with store.open("large", "wb") as file:
        await file.write(LARGE)
    await store.copyfile("small", "copied")
    await store.write_bytes("tree/one", b"1")
    await store.write_bytes("tree/two", b"2")
    await store.rmtree("tree")
    await store.remove("small")
    assert {key: raw.get(key) for key in raw.keys()} == {"copied": SMALL, "large": LARGE}  # noqa: SIM118 - a request
    assert proxy.fired(rule) == 1


@pytest.mark.holds("lost-reply")
@pytest.mark.parametrize("fault", BEFORE_OR_AFTER, ids=repr)
async def test_an_exclusive_write_that_breaks_is_ours_or_is_told(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, fault: Fault
) -> None:
    await store.probe_capabilities()
    proxy.add(Rule("put", fault, times=2))
    await store.write_bytes("mine", SMALL, WriteOptions(if_none_match=True))
    raw.put("theirs", b"old")
    with pytest.raises(AlreadyExists):
        await store.write_bytes("theirs", SMALL, WriteOptions(if_none_match=True))
    assert (raw.get("mine"), raw.get("theirs")) == (SMALL, b"old")
    assert proxy.hits.total() == 2


@pytest.mark.holds("cut-body")
@pytest.mark.parametrize("at_byte", [0, 1, len(LARGE) // 2, -1])
@pytest.mark.parametrize("fault", [Reset, Close])
async def test_a_read_that_is_cut_goes_on(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, fault: type[Reset | Close], at_byte: int
) -> None:
    raw.put("large", LARGE)
    proxy.add(Rule("get", fault(at_byte)))
    assert await store.read_bytes("large") == LARGE
    assert proxy.hits == {fault.__name__: 1}
    assert proxy.count("get") == 2


@pytest.mark.holds("wrong-range")
@pytest.mark.parametrize("fault", [WrongRange("ignored"), WrongRange("shifted"), WrongRange("missing"), NoLength()])
async def test_a_range_that_is_answered_wrongly_never_gives_other_bytes(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, fault: Fault
) -> None:
    raw.put("large", LARGE)
    proxy.add(Rule("get", fault, times=None))
    with suppress(StoreError):  # an error is right, too
        assert await store.read_range("large", 1_000, 2_000) == LARGE[1_000:2_000]
    assert proxy.hits.total() >= 1


@pytest.mark.holds("flipped-bits")
async def test_flipped_bits_are_found_both_ways(store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3) -> None:
    there = [Rule(operation, FlipBits(direction="request")) for operation in ("put", "put_part")]
    back = Rule("get", FlipBits())
    proxy.add(*there, back)
    await store.write_bytes("small", SMALL)
    async with store.open("large", "wb") as file:
        await file.write(LARGE)
    assert (raw.get("small"), raw.get("large")) == (SMALL, LARGE)
    assert await store.read_bytes("small") == SMALL
    assert [proxy.fired(rule) for rule in (*there, back)] == [1, 1, 1]


SAYS_NOTHING_GOOD: list[tuple[str, Fault]] = [
    *itertools.product(["copy", "copy_part", "complete", "list", "delete_many"], [ErrorBody(), EmptyOk(), Close(-1)]),
    ("delete", ErrorBody()),  # nothing at all is what a delete of one key is answered with
]


@pytest.mark.holds("false-success")
@pytest.mark.parametrize(("operation", "fault"), SAYS_NOTHING_GOOD, ids=repr)
async def test_a_200_that_says_nothing_good_is_no_success(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, operation: str, fault: Fault
) -> None:
    """They are tried again, and done; a service that goes on so is given up."""
    store.client.limits = replace(store.limits, copy_max_bytes=1 << 20)
    rule = Rule(operation, fault)
    proxy.add(rule)
    await store.write_bytes("tree/a", SMALL)
    await store.write_bytes("tree/b", SMALL)
    await store.copyfile("tree/a", "copied")
    async with store.open("large", "wb") as file:
        await file.write(LARGE)
    assert (await bulk_copy((store, "large"), (store, "in parts"))).ok
    assert sorted(await store.listdir("")) == ["copied", "in parts", "large", "tree"]
    await store.rmtree("tree")
    assert (raw.get("copied"), raw.get("in parts"), raw.keys()) == (SMALL, LARGE, ["copied", "in parts", "large"])
    await store.remove("copied")
    assert raw.keys() == ["in parts", "large"]
    assert proxy.fired(rule) == 1


@pytest.mark.holds("repeated-token")
async def test_a_listing_that_leads_back_to_itself_is_an_error(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3
) -> None:
    for number in range(5):
        raw.put(f"tree/{number}", b"")
    proxy.add(Rule("list", RepeatToken(), times=None))
    first = await store.client.list_page("tree/", limit=2)
    assert [one.key for one in first.objects] == ["tree/0", "tree/1"]
    with pytest.raises(BadResponse):
        await store.client.list_page("tree/", token=first.next_token, limit=2)
    assert proxy.hits["RepeatToken"] >= 1


async def test_another_origin_is_asked_nothing(store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3) -> None:
    with RecordingServer() as elsewhere:
        proxy.add(*(Rule("*", RedirectTo(elsewhere.address, code), times=None) for code in (301, 302, 307, 308)))
        with pytest.raises(StoreError):
            await store.write_bytes("small", SMALL)
        with pytest.raises(StoreError):
            await store.read_bytes("small")
        assert elsewhere.connections == 0
    assert proxy.hits["RedirectTo"] >= 2
