"""What the S3 client makes of replies: errors, broken bodies, lost answers, corrections. No network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from canned import CannedTransport, Reply
from entrepot import errors
from entrepot.auth.aws import AwsCredentials
from entrepot.errors import BadResponse, ChecksumMismatch, ConnectionFailed, NotFound, PreconditionFailed, StoreError
from entrepot.flavors.s3 import replies
from entrepot.flavors.s3.checksums import composite_md5, md5_hex, part_checksum
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.faults import fault
from entrepot.flavors.s3.wire import S3WireClient
from entrepot.http.transport import Request
from entrepot.models import MIB, ByteRange, FileStat, Part, Upload, WriteOptions
from entrepot.services.faults import ErrorInside, ErrorReply, Unreadable
from s3_canned import Sequenced, client_of, error, xml

pytestmark = pytest.mark.anyio

HELLO = b"hello"
ETAG = md5_hex(HELLO)
QUOTED = {"etag": f'"{ETAG}"'}
UPLOAD = Upload("k", "id")


# ---- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", "NotFound"),
        (404, "NoSuchBucket", "ContainerNotFound"),
        (404, "NoSuchUpload", "NotFound"),
        (404, "", "NotFound"),
        (403, "AccessDenied", "PermissionDenied"),
        (403, "SignatureDoesNotMatch", "CredentialsMissing"),
        (403, "InvalidAccessKeyId", "CredentialsMissing"),
        (403, "", "PermissionDenied"),
        (400, "ExpiredToken", "CredentialsExpired"),
        (412, "PreconditionFailed", "PreconditionFailed"),
        (409, "ConditionalRequestConflict", "ServiceUnavailable"),
        (503, "SlowDown", "Throttled"),
        (429, "", "Throttled"),
        (503, "", "Throttled"),
        (500, "InternalError", "ServiceUnavailable"),
        (502, "", "ServiceUnavailable"),
        (599, "", "ServiceUnavailable"),
        (400, "RequestTimeout", "TimedOut"),
        (400, "BadDigest", "ChecksumMismatch"),
        (400, "EntityTooSmall", "ServiceError"),
        (400, "Whatever", "ServiceError"),
        (400, "KeyTooLongError", "InvalidPath"),
        (501, "NotImplemented", "UnsupportedOperation"),
        (405, "MethodNotAllowed", "UnsupportedOperation"),
        (301, "PermanentRedirect", "ConfigurationError"),
        (507, "", "NoSpace"),
    ],
)
def test_status_and_code_decide_the_class(status: int, code: str, kind: str) -> None:
    found = fault(ErrorReply(status, code), operation="get", uri="s3://b/k")
    assert type(found) is getattr(errors, kind)
    assert (found.operation, found.uri) == ("get", "s3://b/k")
    assert "\n" not in str(found)


def test_a_message_is_one_line_without_control_characters_and_short() -> None:
    found = fault(ErrorReply(400, "Odd", "a\n\x1b[31m" + "b" * 5000), operation="get", uri="s3://b/k")
    assert "\x1b" not in str(found)
    assert "\n" not in str(found)
    assert len(str(found)) < 500


def test_retry_after_is_heeded() -> None:
    found = fault(ErrorReply(503, "SlowDown", headers={"retry-after": "7"}), operation="get", uri="")
    assert isinstance(found, errors.Throttled)
    assert found.retry_after_s == 7


def test_a_failed_condition_of_a_create_is_an_object_that_exists() -> None:
    assert type(fault(ErrorReply(412), operation="put", uri="", creates=True)) is errors.AlreadyExists
    source = ErrorReply(412, "PreconditionFailed", condition="x-amz-copy-source-If-Match")
    assert type(fault(source, operation="copy", uri="", creates=True)) is PreconditionFailed


# ---- XML ---------------------------------------------------------------------------------------------------


def test_a_document_type_is_refused_before_anything_is_expanded() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult><Name>&a;</Name></ListBucketResult>'
    with pytest.raises(Unreadable, match="document type"):
        replies.parse_list(bomb, prefix="", token=None)
    with pytest.raises(Unreadable, match="document type"):
        replies.parse_xml(bomb, "ListBucketResult")


@pytest.mark.parametrize("body", [b"", b"  \n", b"<html>", b"no xml", b"\xff\xfe<\x00a\x00", b"<a/>", b"<a>" * 50])
@pytest.mark.parametrize(
    "parse",
    [
        lambda body: replies.parse_list(body, prefix="", token=None),
        replies.parse_delete,
        replies.parse_copy,
        replies.parse_completed,
        replies.parse_created_upload,
        replies.parse_parts,
        replies.parse_uploads,
        replies.parse_versions,
    ],
)
def test_what_is_not_the_document_asked_for_is_unreadable(parse: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(body)


def test_versions_are_told_without_the_marks_of_deletions() -> None:
    one = "<Key>a%20b</Key><Size>3</Size><VersionId>v</VersionId><LastModified>2026-01-02T03:04:05Z</LastModified>"
    inner = f"<EncodingType>url</EncodingType><Version>{one}</Version><DeleteMarker><Key>a</Key></DeleteMarker>"
    ((found,), marker) = replies.parse_versions(xml("ListVersionsResult", inner))
    assert (found.key, found.size_bytes, found.version, marker) == ("a b", 3, "v", None)
    inner += "<IsTruncated>true</IsTruncated><NextKeyMarker>a%20b</NextKeyMarker>"
    inner += "<NextVersionIdMarker>v</NextVersionIdMarker>"
    assert replies.parse_versions(xml("ListVersionsResult", inner))[1] == ("a b", "v")


def test_a_document_of_very_many_elements_is_refused() -> None:
    with pytest.raises(Unreadable, match="too many"):
        replies.parse_delete(xml("DeleteResult", "<a/>" * 1_000_000))


def test_an_error_in_a_listing_is_an_error() -> None:
    with pytest.raises(ErrorInside) as caught:
        replies.parse_list(xml("Error", "<Code>SlowDown</Code>"), prefix="", token=None)
    assert caught.value.reply.code == "SlowDown"


def listing(inner: str) -> bytes:
    return xml("ListBucketResult", inner)


def test_a_listing_is_read() -> None:
    row = (
        "<Contents><Owner><ID>o</ID></Owner><Key>a%2Fb+c%25%C3%A9</Key><LastModified>2024-05-06T07:08:09.120Z"
        "</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size></Contents>"
    )
    page = replies.parse_list(
        listing(
            "<Prefix>x</Prefix><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
            f"<NextContinuationToken>n</NextContinuationToken>{row}<CommonPrefixes><Prefix>a%2F</Prefix></CommonPrefixes>"
        ),
        prefix="a",
        token=None,
    )
    (found,) = page.objects
    assert (found.key, found.size_bytes, found.etag) == ("a/b c%é", 7, "e")
    assert found.modified == datetime(2024, 5, 6, 7, 8, 9, 120_000, UTC)
    assert (page.prefixes, page.next_token) == (("a/",), "n")


def test_names_are_literal_where_the_server_does_not_encode_them() -> None:
    row = "<Contents><Key>a+b%20&amp;</Key><Size>1</Size></Contents>"
    assert replies.parse_list(listing(row), prefix="", token=None).objects[0].key == "a+b%20&"


def test_names_that_are_not_utf8_go_back_as_the_bytes_they_were() -> None:
    row = "<EncodingType>url</EncodingType><Contents><Key>a%FF</Key><Size>1</Size></Contents>"
    key = replies.parse_list(listing(row), prefix="", token=None).objects[0].key
    client, transport = client_of(Reply(204))
    return_target = client._requests.delete(key).target  # type: ignore[attr-defined]
    assert return_target == "/bucket/a%FF"
    assert transport.requests == []


@pytest.mark.parametrize(
    "inner",
    [
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>",
        "<Contents><Key>other/k</Key><Size>1</Size></Contents>",
        "<CommonPrefixes><Prefix>../</Prefix></CommonPrefixes>",
        "<Contents><Key>p/k</Key></Contents>",
        "<Contents><Key>p/k</Key><Size>many</Size></Contents>",
    ],
)
def test_a_listing_that_cannot_be_believed_is_refused(inner: str) -> None:
    with pytest.raises(Unreadable):
        replies.parse_list(listing(inner), prefix="p/", token="same")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-06T07:08:09.000Z", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06T07:08:09Z", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06T09:08:09+02:00", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06T07:08:09.123456789Z", datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)),
        ("yesterday", None),
    ],
)
def test_times_are_utc(text: str, moment: datetime | None) -> None:
    assert replies.iso_time(text) == moment
    assert moment is None or replies.iso_time(text).tzinfo is UTC  # type: ignore[union-attr]


def test_http_times_are_utc() -> None:
    assert replies.http_time("Wed, 21 Oct 2015 07:28:00 GMT") == datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
    assert replies.http_time("soon") is None


# ---- successes that are none -------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", xml("Error", "<Code>InternalError</Code>"), b"<html/>"])
@pytest.mark.parametrize(
    "run",
    [
        lambda c: c.copy(c, "s", "k"),
        lambda c: c.complete_upload(UPLOAD, [Part(1, 5, ETAG, ETAG)]),
        lambda c: c.delete_many(["k"]),
        lambda c: c.list_page(""),
        lambda c: c.create_upload("k"),
    ],
)
async def test_a_success_with_an_error_or_nothing_in_it_is_no_success(
    run: Callable[[S3Client], Any], body: bytes
) -> None:
    client, transport = client_of(lambda request: Reply(404) if request.method == "HEAD" else Reply(body=body))
    with pytest.raises((BadResponse, errors.ServiceUnavailable)):
        await run(client)
    assert len([one for one in transport.requests if one.method != "HEAD"]) >= 3, "it was tried again"


async def test_keys_that_could_not_be_deleted_are_told_and_passing_ones_tried_again() -> None:
    def row(key: str, code: str) -> str:
        return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>m</Message></Error>"

    client, transport = client_of(
        Reply(body=xml("DeleteResult", row("a", "AccessDenied") + row("b", "InternalError") + row("c", "NoSuchKey"))),
        Reply(body=xml("DeleteResult")),
    )
    failures = await client.delete_many(["a", "b", "c", "d"])
    assert [(one.key, one.code) for one in failures] == [("a", "AccessDenied")]
    assert b"<Key>b</Key>" in bytes(transport.requests[1].body)
    assert b"<Key>a</Key>" not in bytes(transport.requests[1].body)


async def test_a_pinned_delete_that_is_refused_is_looked_into() -> None:
    """What is not that object any more may be gone, which is no error."""
    client, transport = client_of(error(412, "PreconditionFailed"), Reply(404), endpoint_url=None)
    await client.delete("k", if_match="e")
    assert [one.method for one in transport.requests] == ["DELETE", "HEAD"]
    client, _ = client_of(error(412, "PreconditionFailed"), Reply(headers={"content-length": "1"}), endpoint_url=None)
    with pytest.raises(PreconditionFailed, match="it is kept"):
        await client.delete("k", if_match="e")


async def test_a_reply_that_blames_other_keys_deletes_none_of_them() -> None:
    row = "<Error><Key>theirs</Key><Code>InternalError</Code><Message>m</Message></Error>"
    client, transport = client_of(Reply(body=xml("DeleteResult", row)))
    with pytest.raises(BadResponse):
        await client.delete_many(["a"])
    assert not any(b"theirs" in bytes(request.body) for request in transport.requests)


@pytest.mark.parametrize(
    ("root", "marker", "run"),
    [
        ("ListPartsResult", "<NextPartNumberMarker>{}</NextPartNumberMarker>", lambda c: c.list_parts(UPLOAD)),
        (
            "ListMultipartUploadsResult",
            "<NextKeyMarker>{}</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>",
            lambda c: c.list_uploads(),
        ),
    ],
)
@pytest.mark.parametrize("markers", [[""], ["1"], ["1", "2"]])
async def test_a_listing_that_goes_in_circles_is_an_error(
    root: str, marker: str, run: Callable[[S3Client], Any], markers: list[str]
) -> None:
    pages = [Reply(body=xml(root, f"<IsTruncated>true</IsTruncated>{marker.format(one)}")) for one in markers * 20]
    client, transport = client_of(*pages)
    with pytest.raises(BadResponse):
        await run(client)
    assert len(transport.requests) <= 4


# ---- reading -----------------------------------------------------------------------------------------------

BIG = bytes(range(256)) * (8 * MIB // 256)
BIG_ETAG = md5_hex(BIG)


def serving(data: bytes, cuts: list[int], etag: str | None = None) -> Callable[[Request], Reply]:
    """A server that keeps ranges, and whose replies break off at these lengths, one after another."""
    head = {"etag": f'"{etag}"'} if etag else {}

    def reply(request: Request) -> Reply:
        cut = cuts.pop(0) if cuts else None
        span = dict(request.headers).get("range")
        if span is None:
            return Reply(200, head, data, cut)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", span)
        assert found
        start, stop = int(found[1]), int(found[2]) + 1 if found[2] else len(data)
        return Reply(206, {**head, "content-range": f"bytes {start}-{stop - 1}/{len(data)}"}, data[start:stop], cut)

    return reply


@pytest.mark.parametrize("cuts", [[0], [1], [4 * MIB], [len(BIG) - 1], [2 * MIB] * 3, [0, 3 * MIB, 7]])
async def test_a_body_that_breaks_off_is_resumed_behind_its_last_byte(cuts: list[int]) -> None:
    count = len(cuts)
    client, transport = client_of(serving(BIG, cuts, BIG_ETAG))
    found = await client.get("k")
    assert bytes(found.data) == BIG
    assert found.stat.checksums == {"md5": BIG_ETAG}
    assert len(transport.requests) == count + 1
    assert dict(transport.requests[-1].headers)["if-match"] == f'"{BIG_ETAG}"'


async def test_progress_counts_the_attempts_anew() -> None:
    client, transport = client_of(serving(BIG, [MIB] * 7, BIG_ETAG))
    assert bytes((await client.get("k")).data) == BIG
    assert len(transport.requests) == 8, "more than the three attempts of the policy"


async def test_without_an_etag_a_broken_read_begins_again() -> None:
    client, transport = client_of(serving(BIG, [4 * MIB]))
    assert bytes((await client.get("k")).data) == BIG
    assert "range" not in dict(transport.requests[1].headers)


@pytest.mark.parametrize("etag", [BIG_ETAG, None])
async def test_a_body_that_ends_early_yet_cleanly_uses_up_attempts(etag: str | None) -> None:
    head = {"etag": f'"{etag}"'} if etag else {}
    whole = Reply(200, {**head, "content-length": str(len(BIG))}, BIG[: 2 * MIB])
    client, transport = client_of(whole)
    with pytest.raises(BadResponse):
        await client.get("k")
    assert len(transport.requests) == 3


async def test_without_an_etag_nothing_is_progress_as_all_is_read_anew() -> None:
    client, transport = client_of(serving(BIG, [4 * MIB] * 100))
    with pytest.raises(ConnectionFailed):
        await client.get("k")
    assert len(transport.requests) == 3


async def test_an_object_that_is_cut_short_while_it_is_read_is_read_anew() -> None:
    client, _ = client_of(
        Reply(200, {"etag": f'"{BIG_ETAG}"'}, BIG, cut=4 * MIB),
        Reply(416),
        Reply(200, QUOTED, HELLO),
    )
    assert bytes((await client.get("k")).data) == HELLO


async def test_a_whole_read_that_is_refused_as_a_range_is_an_error() -> None:
    client, _ = client_of(Reply(416))
    with pytest.raises(BadResponse):
        await client.get("k")


async def test_no_more_is_read_than_was_announced() -> None:
    limits: list[int | None] = []

    class Noting(CannedTransport):
        def send(self, request: Request) -> Any:
            sent = super().send(request)

            @asynccontextmanager
            async def exchange() -> Any:
                async with sent as response:
                    read = response.read

                    async def noting(limit: int | None = None) -> bytes:
                        limits.append(limit)
                        return await read(limit)

                    response.read = noting  # type: ignore[method-assign]
                    yield response

            return exchange()

    client, _ = client_of()
    assert isinstance(client, S3WireClient)
    client._transport = Noting(Reply(206, {**QUOTED, "content-range": "bytes 0-4/5"}, HELLO * 1000))
    with pytest.raises(BadResponse):
        await client.get("k", byte_range=ByteRange(0, 9))
    assert limits
    assert set(limits) == {5}


async def test_an_object_that_changes_between_two_replies_is_read_anew_and_whole() -> None:
    other = BIG[::-1]
    client, _ = client_of(
        Reply(200, {"etag": f'"{BIG_ETAG}"'}, BIG, cut=4 * MIB),
        Reply(412),
        serving(other, [], md5_hex(other)),
    )
    assert bytes((await client.get("k")).data) == other


async def test_a_resumed_range_goes_into_the_buffer_given() -> None:
    buffer = bytearray(4 * MIB)
    client, transport = client_of(serving(BIG, [3 * MIB], BIG_ETAG))
    found = await client.get("k", byte_range=ByteRange(MIB, 5 * MIB), into=memoryview(buffer))
    assert buffer == BIG[MIB : 5 * MIB]
    assert len(found.data) == 4 * MIB
    assert dict(transport.requests[1].headers)["range"] == f"bytes={4 * MIB}-{5 * MIB - 1}"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, QUOTED, HELLO),
        Reply(206, {**QUOTED, "content-range": "bytes 0-2/5"}, b"hel"),
        Reply(206, {**QUOTED, "content-range": "bytes 1-3/5"}, b"ell"),
        Reply(206, {**QUOTED, "content-range": "bytes 1-2/*"}, b"el"),
        Reply(206, QUOTED, b"el"),
        Reply(206, {**QUOTED, "content-range": "bytes 1-2/5"}, b"ell"),
        Reply(206, {**QUOTED, "content-range": "bytes 1-2/5"}, b"e"),
        Reply(204, QUOTED),
    ],
)
async def test_a_range_that_was_not_asked_for_is_never_taken(reply: Reply) -> None:
    client, _ = client_of(reply)
    with pytest.raises(BadResponse):
        await client.get("k", byte_range=ByteRange(1, 3))


async def test_a_part_where_all_was_asked_for_is_refused() -> None:
    client, _ = client_of(Reply(206, {**QUOTED, "content-range": "bytes 0-4/5"}, HELLO))
    with pytest.raises(BadResponse):
        await client.get("k")


async def test_a_range_behind_the_end_is_empty_and_tells_the_size() -> None:
    client, _ = client_of(
        lambda request: Reply(headers={"content-length": "5", **QUOTED}) if request.method == "HEAD" else Reply(416)
    )
    found = await client.get("k", byte_range=ByteRange(5, 9))
    assert (bytes(found.data), found.stat.size_bytes) == (b"", 5)
    with pytest.raises(PreconditionFailed):
        await client.get("k", byte_range=ByteRange(5, 9), if_match="other")
    with pytest.raises(errors.ServiceError):
        await client.get("k", byte_range=ByteRange(2, 9))


# ---- what etags prove --------------------------------------------------------------------------------------


async def test_bytes_that_differ_between_two_readings_of_one_etag_are_damaged() -> None:
    client, _ = client_of(Reply(200, QUOTED, b"hellp"), Reply(200, QUOTED, b"hellq"))
    with pytest.raises(ChecksumMismatch):
        await client.get("k")


async def test_damage_that_passes_is_read_again() -> None:
    client, transport = client_of(Reply(200, QUOTED, b"hellp"), Reply(200, QUOTED, HELLO))
    found = await client.get("k")
    assert (bytes(found.data), found.stat.checksums) == (HELLO, {"md5": ETAG})
    assert len(transport.requests) == 2


async def test_where_etags_are_known_to_be_md5_the_same_wrong_bytes_twice_are_damaged() -> None:
    client, _ = client_of(Reply(headers=QUOTED), Reply(200, QUOTED, b"hellp"))
    await client.put("k", HELLO)
    with pytest.raises(ChecksumMismatch):
        await client.get("k")
    client, _ = client_of(Reply(200, QUOTED, b"hellp"), endpoint_url=None)
    with pytest.raises(ChecksumMismatch):
        await client.get("k")


async def test_where_nothing_is_known_the_same_bytes_twice_are_unverified_and_doubted_once() -> None:
    client, transport = client_of(Reply(200, QUOTED, b"other"))
    assert (await client.get("k")).stat.checksums == {}
    assert (await client.get("k")).stat.checksums == {}
    assert len(transport.requests) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": '"abc"'},
        {"etag": f'"{ETAG}-1"'},
        {**QUOTED, "x-amz-server-side-encryption": "aws:kms"},
        {**QUOTED, "x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {},
    ],
)
async def test_etags_that_are_no_md5_are_not_compared(headers: dict[str, str]) -> None:
    client, transport = client_of(Reply(200, headers, b"other"), endpoint_url=None)
    assert (await client.get("k")).stat.checksums == {}
    assert len(transport.requests) == 1


async def test_a_put_whose_etag_is_another_is_written_again_then_an_error() -> None:
    client, transport = client_of(Reply(headers={"etag": f'"{"0" * 32}"'}), Reply(headers=QUOTED), endpoint_url=None)
    assert (await client.put("k", HELLO)).checksums == {"md5": ETAG}
    assert len(transport.requests) == 2
    client, _ = client_of(Reply(headers={"etag": f'"{"0" * 32}"'}), endpoint_url=None)
    with pytest.raises(ChecksumMismatch):
        await client.put("k", HELLO)


def test_a_download_in_parts_is_verified_by_the_etag_of_its_parts() -> None:
    parts = [b"a" * 8, b"b" * 8, b"c"]
    etag = composite_md5(hashlib.md5(part).hexdigest() for part in parts)
    file = FileStat("s3://b/k", 17, etag=etag)
    checksum = part_checksum(file, 8)
    assert checksum is not None
    for number in (3, 1, 2):
        checksum.update(number, parts[number - 1])
    assert checksum.verified() == "part-md5"
    assert part_checksum(file, 6) is not None, "also three parts, of another size: a mismatch that proves nothing"
    assert part_checksum(file, 20) is None
    assert part_checksum(FileStat("s3://b/k", 5, etag="other-form"), 3) is None


@pytest.mark.parametrize(("data", "verified"), [(HELLO, "md5"), (b"hellp", None)])
def test_a_download_in_parts_is_verified_by_the_etag_of_the_whole_in_order(data: bytes, verified: str | None) -> None:
    checksum = part_checksum(FileStat("s3://b/k", 5, etag=ETAG), 3)
    assert checksum is not None
    assert checksum.in_order
    checksum.update(1, data[:3])
    assert checksum.verified() is None
    checksum.update(2, data[3:])
    assert checksum.verified() == verified


# ---- lost replies ------------------------------------------------------------------------------------------

FOUND = Reply(headers={"content-length": "5", **QUOTED})


async def test_a_create_whose_reply_was_lost_is_settled_by_a_look() -> None:
    client, _ = client_of(Reply(lost=True), error(412, "PreconditionFailed"), FOUND)
    told = await client.put("k", HELLO, WriteOptions(if_none_match=True))
    assert (told.etag, told.checksums) == (ETAG, {"md5": ETAG})


async def test_a_create_that_lost_to_another_is_refused() -> None:
    client, _ = client_of(Reply(lost=True), error(412, "PreconditionFailed"), FOUND)
    with pytest.raises(errors.AlreadyExists):
        await client.put("k", b"other", WriteOptions(if_none_match=True))
    client, transport = client_of(error(412, "PreconditionFailed"), FOUND)
    with pytest.raises(errors.AlreadyExists):
        await client.put("k", HELLO, WriteOptions(if_none_match=True))
    assert len(transport.requests) == 1, "no reply was lost, so there is nothing to look for"


PARTS = [Part(1, 3, "a", md5_hex(b"hel")), Part(2, 2, "b", md5_hex(b"lo"))]
COMPOSITE = composite_md5(part.md5 or "" for part in PARTS)


def completing(found: Reply, completion: Reply, parts: Reply) -> Callable[[Request], Reply]:
    by_method = {"HEAD": found, "POST": completion, "GET": parts}
    return lambda request: by_method[request.method]


LOST = Reply(lost=True)
GONE = error(404, "NoSuchUpload")
HELD = Reply(body=xml("ListPartsResult"))


async def test_a_completion_whose_reply_was_lost_is_settled_by_the_etag_of_the_parts() -> None:
    found = Reply(headers={"content-length": "5", "etag": f'"{COMPOSITE}"'})
    client, _ = client_of(completing(found, LOST, HELD))
    told = await client.complete_upload(UPLOAD, PARTS)
    assert (told.size_bytes, told.checksums) == (5, {"part-md5": COMPOSITE})


@pytest.mark.parametrize(
    ("etag", "size", "parts", "is_ours"),
    [
        (f"{'0' * 32}-2", 5, GONE, False),
        (COMPOSITE, 6, GONE, False),
        ("other-form", 5, HELD, False),
        ("other-form", 5, GONE, True),
        (None, 5, HELD, False),
        (None, 5, GONE, True),
    ],
)
async def test_an_older_object_of_the_same_size_is_not_taken_for_the_upload(
    etag: str | None, size: int, parts: Reply, is_ours: bool
) -> None:
    head = {"content-length": str(size), **({"etag": f'"{etag}"'} if etag else {})}
    client, _ = client_of(completing(Reply(headers=head), LOST, parts))
    if is_ours:
        assert (await client.complete_upload(UPLOAD, PARTS)).size_bytes == 5
    else:
        with pytest.raises(ConnectionFailed):
            await client.complete_upload(UPLOAD, PARTS)


async def test_a_completion_is_done_even_where_no_look_is_allowed() -> None:
    done = Reply(body=xml("CompleteMultipartUploadResult", f"<ETag>&quot;{COMPOSITE}&quot;</ETag>"))
    client, _ = client_of(completing(Reply(403), done, error(403, "AccessDenied")))
    told = await client.complete_upload(UPLOAD, PARTS)
    assert (told.size_bytes, told.etag, told.checksums) == (5, COMPOSITE, {"part-md5": COMPOSITE})


async def test_an_upload_that_is_gone_without_a_lost_reply_is_not_found() -> None:
    client, transport = client_of(completing(FOUND, GONE, GONE))
    with pytest.raises(NotFound):
        await client.complete_upload(UPLOAD, PARTS)
    assert len(transport.requests) == 1


async def test_a_copied_part_without_an_etag_is_looked_for() -> None:
    row = "<Part><PartNumber>1</PartNumber><ETag>e</ETag><Size>5</Size></Part>"
    client, _ = client_of(
        lambda request: Reply() if request.method == "PUT" else Reply(body=xml("ListPartsResult", row))
    )
    assert await client.copy_part(UPLOAD, 1, client, "s", ByteRange(0, 5)) == Part(1, 5, "e")
    with pytest.raises(errors.UnsupportedOperation):
        await client.copy_part(UPLOAD, 1, client, "s", ByteRange(0, 6))
    client, transport = client_of(
        lambda request: Reply() if request.method == "PUT" else Reply(body=xml("ListPartsResult"))
    )
    with pytest.raises(BadResponse):
        await client.copy_part(UPLOAD, 1, client, "s", ByteRange(0, 5))
    assert len(transport.requests) == 6


async def test_a_copy_of_a_source_that_changed_is_an_error_though_the_service_did_not_look() -> None:
    client, _ = client_of(Reply(headers=QUOTED), Reply(body=xml("CopyObjectResult", f"<ETag>{'0' * 32}</ETag>")), FOUND)
    await client.put("s", HELLO)
    with pytest.raises(PreconditionFailed):
        await client.copy(client, "s", "k", source_etag=ETAG)


async def test_deleting_what_is_gone_is_no_error_but_a_missing_bucket_is() -> None:
    client, _ = client_of(error(404, "NoSuchKey"))
    await client.delete("k")
    client, _ = client_of(error(404, "NoSuchBucket"))
    with pytest.raises(errors.ContainerNotFound):
        await client.delete("k")


# ---- corrections -------------------------------------------------------------------------------------------


async def test_a_redirect_to_another_region_signs_anew_there_and_is_remembered() -> None:
    moved = Reply(301, {"x-amz-bucket-region": "eu-west-3", "location": "https://evil.example.com/"})
    client, transport = client_of(moved, Reply(headers={"content-length": "0"}), endpoint_url=None)
    await client.head("k")
    await client.head("k")
    hosts = [one.origin.host for one in transport.requests]
    assert hosts == ["bucket.s3.eu-west-1.amazonaws.com", *["bucket.s3.eu-west-3.amazonaws.com"] * 2]
    assert "/eu-west-3/s3/" in dict(transport.requests[1].headers)["authorization"]


async def test_a_custom_endpoint_keeps_its_host_and_signs_for_the_region_it_names() -> None:
    client, transport = client_of(
        error(400, "AuthorizationHeaderMalformed", "<Region>mars-1</Region>"), Reply(headers=QUOTED)
    )
    await client.put("k", HELLO)
    assert {one.origin.host for one in transport.requests} == {"s3.example.com"}
    assert "/mars-1/s3/" in dict(transport.requests[1].headers)["authorization"]


@pytest.mark.parametrize("region", ["eu-west-1", "evil.example.com/", "x@y", ""])
async def test_a_redirect_that_leads_nowhere_is_an_error(region: str) -> None:
    client, transport = client_of(Reply(301, {"x-amz-bucket-region": region}), endpoint_url=None)
    with pytest.raises(StoreError) as caught:
        await client.put("k", HELLO)
    assert isinstance(caught.value, errors.ConfigurationError)
    assert len(transport.requests) == 1


async def test_redirects_are_followed_once() -> None:
    client, transport = client_of(
        Reply(301, {"x-amz-bucket-region": "eu-west-2"}), Reply(301, {"x-amz-bucket-region": "eu-west-1"}),
        endpoint_url=None,
    )  # fmt: skip
    with pytest.raises(errors.ConfigurationError):
        await client.put("k", HELLO)
    assert len(transport.requests) == 2


async def test_a_clock_that_differs_is_followed() -> None:
    skewed = error(403, "RequestTimeTooSkewed", headers={"date": "Wed, 21 Oct 2015 07:28:00 GMT"})
    client, transport = client_of(skewed, Reply(headers=QUOTED))
    await client.put("k", HELLO)
    assert dict(transport.requests[1].headers)["x-amz-date"].startswith("20151021T0728")


def signing_with(source: Sequenced, *answers: Reply) -> tuple[S3Client, CannedTransport]:
    client, transport = client_of(*answers)
    assert isinstance(client, S3WireClient)
    client._credentials = source
    return client, transport


async def test_an_expired_token_is_refreshed_once() -> None:
    old, new = AwsCredentials("OLD", "s", "t1"), AwsCredentials("NEW", "s", "t2")
    client, transport = signing_with(Sequenced(old, new), error(400, "ExpiredToken"), Reply(headers=QUOTED))
    await client.put("k", HELLO)
    assert dict(transport.requests[1].headers)["x-amz-security-token"] == "t2"
    client, transport = signing_with(Sequenced(old, new), error(400, "ExpiredToken"))
    with pytest.raises(errors.CredentialsExpired):
        await client.put("k", HELLO)
    assert len(transport.requests) == 2
    client, transport = signing_with(Sequenced(old), error(400, "ExpiredToken"))
    with pytest.raises(errors.CredentialsExpired):
        await client.put("k", HELLO)
    assert len(transport.requests) == 1, "there is nothing newer"


async def test_a_refused_head_is_explained_by_a_get() -> None:
    client, transport = client_of(Reply(403), error(403, "SignatureDoesNotMatch"))
    with pytest.raises(errors.CredentialsMissing, match="SignatureDoesNotMatch"):
        await client.head("k")
    assert [one.method for one in transport.requests] == ["HEAD", "GET"]
    old, new = AwsCredentials("OLD", "s", "t1"), AwsCredentials("NEW", "s", "t2")
    client, _ = signing_with(Sequenced(old, new), Reply(400), error(400, "ExpiredToken"), FOUND)
    assert (await client.head("k")).size_bytes == 5


async def test_errors_below_http_name_the_object() -> None:
    client, transport = client_of(LOST)
    with pytest.raises(ConnectionFailed) as caught:
        await client.get("a/k")
    assert (caught.value.uri, caught.value.operation) == ("s3://bucket/a/k", "get")
    assert caught.value.filename == "s3://bucket/a/k"
    assert len(transport.requests) == 3


async def test_a_bucket_that_exists_counts_as_ours_only_where_it_can_be_listed() -> None:
    client, _ = client_of(error(409, "BucketAlreadyOwnedByYou"))
    await client.create_container()
    client, _ = client_of(error(409, "BucketAlreadyExists"), Reply(body=listing("")))
    await client.create_container()
    client, _ = client_of(error(409, "BucketAlreadyExists"), error(403, "AccessDenied"))
    with pytest.raises(errors.AlreadyExists):
        await client.create_container()


async def test_a_bucket_elsewhere_is_made_with_its_region() -> None:
    client, transport = client_of(Reply(), endpoint_url=None)
    await client.create_container()
    assert b"<LocationConstraint>eu-west-1</LocationConstraint>" in bytes(transport.requests[0].body)
    client, transport = client_of(Reply(), endpoint_url=None, region="us-east-1")
    await client.create_container()
    assert bytes(transport.requests[0].body) == b""
