"""What the Azure client makes of replies: errors, listings, broken bodies, lost answers. No network."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from azure_canned import client_of, header, listing, methods, refused, row, xml
from canned import Reply
from entrepot import errors
from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    Conflict,
    ConnectionFailed,
    ContainerNotFound,
    NotFound,
    PreconditionFailed,
    ServiceError,
    ServiceUnavailable,
)
from entrepot.flavors.azure import metadata, replies
from entrepot.flavors.azure.attempts import LIMITS
from entrepot.flavors.azure.batch import parse_batch
from entrepot.flavors.azure.faults import fault
from entrepot.flavors.azure.requests import block_id, content_md5
from entrepot.http.transport import Request
from entrepot.models import MIB, ByteRange, FileStat, Part, Upload, WriteOptions
from entrepot.objects.client import CHANGED
from entrepot.objects.trees import copy_object
from entrepot.services.checksums import PartCrc, WholeMd5, crc32c, crc32c_hex, md5_hex
from entrepot.services.faults import ErrorInside, ErrorReply, Unreadable

pytestmark = pytest.mark.anyio

HELLO = b"hello"
MD5 = content_md5(md5_hex(HELLO))
UPLOAD = Upload("k", "0" * 32)
TAGGED = {"etag": '"0x1"'}


# ---- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "BlobNotFound", "NotFound"),
        (404, "ContainerNotFound", "ContainerNotFound"),
        (404, "", "NotFound"),
        (403, "AuthenticationFailed", "CredentialsMissing"),
        (403, "AuthorizationPermissionMismatch", "PermissionDenied"),
        (403, "", "PermissionDenied"),
        (401, "InvalidAuthenticationInfo", "CredentialsExpired"),
        (401, "NoAuthenticationInformation", "CredentialsMissing"),
        (409, "PublicAccessNotPermitted", "CredentialsMissing"),
        (409, "BlobAlreadyExists", "AlreadyExists"),
        (412, "ConditionNotMet", "PreconditionFailed"),
        (412, "SourceConditionNotMet", "PreconditionFailed"),
        (412, "LeaseIdMissing", "PermissionDenied"),
        (400, "InvalidBlockList", "Conflict"),
        (400, "InvalidBlobOrBlock", "Conflict"),
        (409, "InvalidBlobType", "Conflict"),
        (409, "BlobArchived", "PermissionDenied"),
        (409, "ContainerBeingDeleted", "ServiceUnavailable"),
        (409, "PendingCopyOperation", "ServiceUnavailable"),
        (409, "Whatever", "ServiceError"),
        (503, "ServerBusy", "Throttled"),
        (500, "InternalError", "ServiceUnavailable"),
        (500, "OperationTimedOut", "TimedOut"),
        (500, "", "ServiceUnavailable"),
        (400, "Md5Mismatch", "ChecksumMismatch"),
        (400, "MetadataTooLarge", "ConfigurationError"),
        (413, "RequestBodyTooLarge", "ServiceError"),
        (501, "APINotImplemented", "UnsupportedOperation"),
        (400, "Whatever", "ServiceError"),
        (307, "", "ConfigurationError"),
    ],
)
def test_status_and_code_decide_the_class(status: int, code: str, kind: str) -> None:
    found = fault(ErrorReply(status, code), operation="get", uri="az://b/k")
    assert type(found) is getattr(errors, kind)
    assert (found.operation, found.uri) == ("get", "az://b/k")
    assert "\n" not in str(found)


def test_a_failed_condition_of_a_create_is_a_blob_that_exists() -> None:
    assert type(fault(ErrorReply(412, "ConditionNotMet"), operation="put", uri="", creates=True)) is AlreadyExists
    source = ErrorReply(412, "SourceConditionNotMet")
    assert type(fault(source, operation="copy", uri="", creates=True)) is PreconditionFailed


async def test_a_missing_container_says_what_to_do() -> None:
    client, _ = client_of(refused(404, "ContainerNotFound"))
    for run in (client.head("k"), client.put("k", b""), client.list_page(""), client.delete_many(["k"])):
        with pytest.raises(ContainerNotFound, match="create it") as caught:
            await run
        assert "account_name" in str(caught.value)


async def test_a_head_tells_why_it_is_refused() -> None:
    client, _ = client_of(Reply(404, {"x-ms-error-code": "ContainerNotFound"}))
    with pytest.raises(ContainerNotFound):
        await client.head("k")


def test_the_ids_of_a_request_are_not_shown() -> None:
    reply = replies.error_reply(400, {}, xml("Error", "<Code>Odd</Code><Message>Why.\nRequestId:1\nTime:2</Message>"))
    text = str(fault(reply, operation="put", uri="az://b/k"))
    assert "Odd: Why." in text
    assert "RequestId" not in text
    assert replies.error_reply(502, {}, b"<html>a proxy").code == ""


# ---- metadata ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("color", "color"),
        ("Run-Id", "run_x002d_id"),
        ("a.b", "a_x002e_b"),
        ("1st", "_x0031_st"),
        ("_x", "_x"),
        ("a_x002d_b", "a_x005f_x002d_b"),
        ("_x002d_", "_x005f_x002d_"),
        ("crc32c", "_x0063_rc32c"),
        ("hdi_isfolder", "_x0068_di_isfolder"),
        ("entrepot_write", "_x0065_ntrepot_write"),
        ("a!#$%&'*+^`|~b", "a_x0021__x0023__x0024__x0025__x0026__x0027__x002a__x002b__x005e__x0060__x007c__x007e_b"),
    ],
)
def test_a_name_is_an_identifier_and_comes_back(name: str, sent: str) -> None:
    assert metadata.kept_name(name) == sent
    assert re.fullmatch(r"[a-z_][a-z0-9_]*", sent)
    assert metadata.given_name(sent.upper()) == name.lower()
    assert metadata.given([(sent, "v")]) == {name.lower(): "v"}


@pytest.mark.parametrize("name", ["", "a b", "é", "a\n", "a:b"])
def test_a_name_that_no_header_has_is_refused(name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="ASCII"):
        metadata.kept_name(name)


@pytest.mark.parametrize("value", ["blue", "a  b", " x ", "é", "=?UTF-8?B?eA==?=", "日本", "a\nb", ""])
def test_a_value_comes_back(value: str) -> None:
    sent = metadata.kept(WriteOptions(metadata={"k": value}))
    assert sent["k"].isascii()
    assert sent["k"].isprintable() or not sent["k"]
    assert metadata.given(sent.items()) == {"k": value}


async def test_what_is_entrepots_own_is_not_the_users() -> None:
    head = {
        "content-length": "5",
        "x-ms-meta-crc32c": f"{crc32c_hex(crc32c(HELLO))}-5",
        "x-ms-meta-entrepot_write": "0",
        "x-ms-meta-run_x002d_id": "7",
        **TAGGED,
    }
    client, _ = client_of(Reply(headers=head))
    found = await client.head("k")
    assert found.metadata == {"run-id": "7"}
    assert found.checksums == {"crc32c": crc32c_hex(crc32c(HELLO))}


@pytest.mark.parametrize("kept", ["", "zz", "00000000", "00000000-6", "0000000-5", "00000000-x"])
async def test_a_crc32c_of_another_size_or_form_is_none_of_this_blob(kept: str) -> None:
    client, _ = client_of(Reply(200, {"x-ms-meta-crc32c": kept, **TAGGED}, HELLO))
    assert (await client.get("k")).stat.checksums == {}


# ---- listings ----------------------------------------------------------------------------------------------


def test_a_document_type_is_refused_before_anything_is_expanded() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><EnumerationResults>&a;</EnumerationResults>'
    with pytest.raises(Unreadable, match="document type"):
        replies.parse_list(bomb, prefix="", token=None)
    with pytest.raises(Unreadable, match="document type"):
        replies.parse_block_list(bomb)


@pytest.mark.parametrize("body", [b"", b"  \n", b"<html>", b"no xml", b"\xff\xfe<\x00a\x00", b"<a/>", b"<a>" * 50])
@pytest.mark.parametrize(
    "parse", [lambda body: replies.parse_list(body, prefix="", token=None), replies.parse_block_list]
)
def test_what_is_not_the_document_asked_for_is_unreadable(parse: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(body)


def test_an_error_in_a_listing_is_an_error() -> None:
    with pytest.raises(ErrorInside) as caught:
        replies.parse_list(xml("Error", "<Code>ServerBusy</Code>"), prefix="", token=None)
    assert caught.value.reply.code == "ServerBusy"


def test_a_listing_is_read() -> None:
    one = row(
        "a/b c%é&amp;",
        7,
        properties=f"<Content-Type>text/csv</Content-Type><Content-MD5>{MD5}</Content-MD5><Other>x</Other>",
        metadata={"Run_x002d_id": "7", "crc32c": "0a1b2c3d-7"},
    )
    page = replies.parse_list(
        listing(one, "<BlobPrefix><Name>a/d/</Name></BlobPrefix>", marker="n"), prefix="a", token=None
    )
    (found,) = page.objects
    assert (found.key, found.size_bytes, found.etag) == ("a/b c%é&", 7, "0x1")
    assert found.modified == datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
    assert found.content_type == "text/csv"
    assert found.metadata == {"run-id": "7"}
    assert found.checksums == {"md5": md5_hex(HELLO), "crc32c": "0a1b2c3d"}
    assert (page.prefixes, page.next_token) == (("a/d/",), "n")


def test_names_that_xml_cannot_hold_come_encoded() -> None:
    one = row("x").replace("<Name>", '<Name Encoded="true">').replace(">x<", ">a%EF%BF%BE%20b<")
    found = replies.parse_list(listing(one, row("a%20b")), prefix="", token=None).objects
    assert {one.key for one in found} == {"a%20b", "a\ufffe b"}


def test_keys_are_in_the_order_of_utf8_whatever_the_services_is() -> None:
    by_utf16 = ["a", "\U0001f600", "\uff5e"]
    found = replies.parse_list(listing(*map(row, by_utf16)), prefix="", token=None).objects
    assert [one.key for one in found] == ["a", "\uff5e", "\U0001f600"]


@pytest.mark.parametrize(
    "rows",
    [
        [row("other/k")],
        ["<BlobPrefix><Name>../</Name></BlobPrefix>"],
        [row("p/k").replace("<Name>p/k</Name>", "")],
        [row("p/k").replace("<Content-Length>0<", "<Content-Length>many<")],
    ],
)
def test_a_listing_that_cannot_be_believed_is_refused(rows: list[str]) -> None:
    with pytest.raises(Unreadable):
        replies.parse_list(listing(*rows), prefix="p/", token="t")


def test_a_listing_that_leads_back_to_itself_is_refused() -> None:
    with pytest.raises(Unreadable, match="does not go on"):
        replies.parse_list(listing(marker="same"), prefix="", token="same")


async def test_pages_that_the_service_leaves_empty_are_passed_over() -> None:
    client, transport = client_of(
        Reply(body=listing(marker="1")), Reply(body=listing(marker="2")), Reply(body=listing(row("k"), marker="3"))
    )
    page = await client.list_page("", limit=1)
    assert ([one.key for one in page.objects], page.next_token) == (["k"], "3")
    assert "marker=2" in transport.requests[2].target


@pytest.mark.holds("repeated-token")
async def test_empty_pages_in_a_circle_are_an_error() -> None:
    client, transport = client_of(
        Reply(body=listing(marker="1")), Reply(body=listing(marker="2")), Reply(body=listing(marker="1"))
    )
    with pytest.raises(BadResponse, match="repeats"):
        await client.list_page("")
    assert len(transport.requests) == 3


async def test_what_comes_up_to_a_name_is_read_and_dropped() -> None:
    client, transport = client_of(
        Reply(body=listing(row("a"), row("b"), marker="1")),
        Reply(body=listing(row("c"), row("d"), marker="2")),
    )
    page = await client.list_page("", start_after="c")
    assert ([one.key for one in page.objects], page.next_token) == (["d"], "2")
    assert len(transport.requests) == 2
    assert "start" not in transport.requests[0].target


async def test_versions_are_told_newest_first_and_of_one_key_only() -> None:
    def version(name: str, at: str) -> str:
        return row(name, 1).replace("<Properties>", f"<VersionId>{at}</VersionId><Properties>")

    client, transport = client_of(
        Reply(body=listing(version("k", "2024-01-01T00:00:00.0Z"), version("k", "2024-02-01T00:00:00.0Z"), marker="1")),
        Reply(body=listing(version("k", "2023-01-01T00:00:00.0Z"), version("kk", "2025-01-01T00:00:00.0Z"))),
    )
    found = await client.list_versions("k")
    assert [one.version and one.version[:7] for one in found] == ["2024-02", "2024-01", "2023-01"]
    assert len(transport.requests) == 2


async def test_versions_are_not_looked_for_among_all_that_a_name_begins() -> None:
    client, transport = client_of(Reply(body=listing(row("k", 1), row("k-other", 1), marker="1")))
    assert [one.key for one in await client.list_versions("k")] == ["k"]
    assert len(transport.requests) == 1


# ---- batches -----------------------------------------------------------------------------------------------


def answer(number: int | str, status: str, code: str = "") -> str:
    told = f"x-ms-error-code: {code}\r\n" if code else ""
    body = f"\r\n<Error><Code>{code}</Code></Error>" if code else ""
    return (
        f"--b\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\n{told}"
        f"x-ms-request-id: 1\r\n{body}\r\n"
    )


def batch_reply(*answers: str) -> Reply:
    return Reply(202, {"content-type": "multipart/mixed; boundary=b"}, ("".join(answers) + "--b--\r\n").encode())


@pytest.mark.holds("delete-errors")
async def test_what_could_not_be_deleted_is_told_and_what_passes_is_tried_again() -> None:
    client, transport = client_of(
        batch_reply(
            answer(1, "503 Busy", "ServerBusy"),
            answer(0, "403 Forbidden", "AuthorizationPermissionMismatch"),
            answer(2, "404 The specified blob does not exist.", "BlobNotFound"),
            answer(3, "202 Accepted"),
        ),
        batch_reply(answer(0, "202 Accepted")),
    )
    failures = await client.delete_many(["a", "b", "c", "d"])
    assert [(one.key, one.code) for one in failures] == [("a", "AuthorizationPermissionMismatch")]
    assert b"DELETE /box/b HTTP" in bytes(transport.requests[1].body)
    assert b"/box/a" not in bytes(transport.requests[1].body)


async def test_blobs_that_are_another_by_now_are_told_from_those_that_are_gone() -> None:

    def singly(request: Request) -> Reply:
        if request.target == "/box/a":
            return Reply(404)
        return Reply(headers=HEAD_OF) if request.method == "HEAD" else refused(412, "ConditionNotMet")

    batch = batch_reply(*(answer(number, "412 Condition", "ConditionNotMet") for number in range(2)))
    client, transport = client_of(batch, singly)
    failures = await client.delete_many(["a", "b"], etags={"a": "0x1", "b": "0x2"})
    assert [(one.key, one.code) for one in failures] == [("b", CHANGED)]
    assert b'if-match: "0x1"' in bytes(transport.requests[0].body)
    asked = sorted((one.method, one.target, header(one, "if-match")) for one in transport.requests[1:])
    assert asked == [("DELETE", "/box/a", '"0x1"'), ("DELETE", "/box/b", '"0x2"'), ("HEAD", "/box/b", None)]


async def test_parts_of_a_batch_are_signed_by_the_services_clock_too() -> None:
    there = {"date": "Wed, 21 Oct 2015 07:28:00 GMT"}

    def by_its_clock(request: Request) -> Reply:
        right = bytes(request.body).count(b"x-ms-date: Wed, 21 Oct 2015") == 1
        return batch_reply(answer(0, "202 Accepted" if right else "403 No", "" if right else "AuthenticationFailed"))

    client, _ = client_of(refused(403, "AuthenticationFailed", there), by_its_clock)
    assert await client.delete_many(["a"]) == []


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [answer(0, "202 Accepted")],
        [answer(0, "202 Accepted"), answer(0, "202 Accepted")],
        [answer(0, "202 Accepted"), answer(7, "202 Accepted")],
        [answer(0, "202 Accepted"), answer(1, "no status")],
    ],
)
async def test_a_batch_that_is_not_answered_part_by_part_is_not_believed(answers: list[str]) -> None:
    client, transport = client_of(batch_reply(*answers))
    with pytest.raises(BadResponse):
        await client.delete_many(["a", "b"])
    assert len(transport.requests) == 3


def test_a_reply_of_another_kind_is_no_answer_to_a_batch() -> None:
    with pytest.raises(Unreadable, match="multipart"):
        parse_batch("text/plain", b"", 1)


@pytest.mark.parametrize(
    "refusal",
    [
        refused(501, "NotImplemented"),
        refused(400, "InvalidInput"),
        batch_reply(answer("", "400 Bad", "InvalidInput").replace("Content-ID: \r\n", "")),
    ],
)
async def test_where_batches_are_refused_each_is_deleted_by_itself(refusal: Reply) -> None:
    client, transport = client_of(refusal, Reply(202), refused(404, "BlobNotFound"), Reply(202))
    assert await client.delete_many(["a", "b"]) == []
    assert await client.delete_many(["c"]) == []
    assert methods(transport) == [
        "POST /box?restype=container&comp=batch",
        "DELETE /box/a",
        "DELETE /box/b",
        "DELETE /box/c",
    ]


async def test_a_batch_that_may_not_be_deleted_is_not_tried_one_by_one() -> None:
    client, transport = client_of(refused(403, "AuthorizationFailure"))
    with pytest.raises(errors.PermissionDenied):
        await client.delete_many(["a", "b"])
    assert len(transport.requests) == 1


# ---- reading -----------------------------------------------------------------------------------------------

BIG = bytes(range(256)) * (8 * MIB // 256)
BIG_MD5 = content_md5(md5_hex(BIG))


def serving(data: bytes, cuts: list[int], head: dict[str, str]) -> Callable[[Request], Reply]:
    """A server that keeps ranges, and whose replies break off at these lengths, one after another."""

    def reply(request: Request) -> Reply:
        cut = cuts.pop(0) if cuts else None
        span = header(request, "range")
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
    client, transport = client_of(serving(BIG, cuts, {"content-md5": BIG_MD5, **TAGGED}))
    found = await client.get("k")
    assert bytes(found.data) == BIG
    assert found.stat.checksums == {"md5": md5_hex(BIG)}
    assert len(transport.requests) == count + 1
    assert header(transport.requests[-1], "if-match") == '"0x1"'


@pytest.mark.parametrize(
    "told",
    [
        {"content-md5": MD5},
        {"x-ms-blob-content-md5": MD5},
        {"x-ms-meta-crc32c": f"{crc32c_hex(crc32c(HELLO))}-5"},
        {"content-md5": MD5, "x-ms-meta-crc32c": f"{crc32c_hex(crc32c(HELLO))}-5"},
    ],
)
async def test_bytes_are_compared_with_what_the_service_tells(told: dict[str, str]) -> None:
    client, transport = client_of(Reply(200, {**told, **TAGGED}, HELLO))
    found = await client.get("k")
    assert len(found.stat.checksums) == 1
    assert len(transport.requests) == 1
    flipped = Reply(200, {**told, **TAGGED}, b"hellp")
    client, transport = client_of(flipped, Reply(200, {**told, **TAGGED}, HELLO))
    assert bytes((await client.get("k")).data) == HELLO
    assert len(transport.requests) == 2
    client, transport = client_of(flipped)
    with pytest.raises(ChecksumMismatch, match="read twice"):
        await client.get("k")


async def test_an_old_version_whose_etag_does_not_match_is_looked_at_itself() -> None:
    client, transport = client_of(refused(412, "ConditionNotMet"), Reply(404))
    with pytest.raises(NotFound):
        await client.get("k", if_match="0x1", version="2024-01-01T00:00:00.0Z")
    assert methods(transport) == [f"{one} /box/k?versionid=2024-01-01T00%3A00%3A00.0Z" for one in ("GET", "HEAD")]


async def test_the_checksum_of_a_part_is_not_taken_for_the_wholes() -> None:
    head = {"content-md5": MD5, "content-range": "bytes 0-4/9", **TAGGED}
    client, _ = client_of(Reply(206, head, HELLO))
    assert (await client.get("k", byte_range=ByteRange(0, 5))).stat.checksums == {}


async def test_a_pinned_read_of_a_blob_that_is_gone_finds_none() -> None:
    client, _ = client_of(refused(412, "ConditionNotMet"), refused(404, "BlobNotFound"))
    with pytest.raises(NotFound):
        await client.get("k", if_match="0x1")
    client, _ = client_of(refused(412, "ConditionNotMet"), Reply(headers={"content-length": "1", **TAGGED}))
    with pytest.raises(PreconditionFailed):
        await client.get("k", if_match="0x2")


async def test_a_range_of_no_bytes_as_azurite_answers_it() -> None:
    odd = Reply(206, {"content-length": "0", "content-range": "bytes 0--1/0", **TAGGED})
    client, _ = client_of(odd, Reply(headers={"content-length": "0", **TAGGED}))
    assert bytes((await client.get("k", byte_range=ByteRange(0, 5))).data) == b""


@pytest.mark.holds("gzip")
async def test_gzip_is_not_decoded() -> None:
    packed = base64.b64decode("H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA==")
    client, transport = client_of(Reply(200, {"content-encoding": "gzip", **TAGGED}, packed))
    assert bytes((await client.get("k")).data) == packed
    assert header(transport.requests[0], "accept-encoding") is None


def test_a_file_read_in_parts_is_verified_by_what_is_known_of_it() -> None:
    client, _ = client_of()
    both = {"md5": md5_hex(b"abc"), "crc32c": crc32c_hex(crc32c(b"abc"))}
    by_crc = client.part_checksum(FileStat("u", 3, checksums=both), 2)
    assert isinstance(by_crc, PartCrc)
    by_crc.update(2, b"c")
    by_crc.update(1, b"ab")
    assert by_crc.verified() == "crc32c"
    by_md5 = client.part_checksum(FileStat("u", 3, checksums={"md5": md5_hex(b"abc")}), 2)
    assert isinstance(by_md5, WholeMd5)
    by_md5.update(1, b"ab")
    by_md5.update(2, b"x")
    with pytest.raises(ChecksumMismatch):
        by_md5.verified()
    assert client.part_checksum(FileStat("u", 3, etag="e"), 2) is None


# ---- writing -----------------------------------------------------------------------------------------------


async def test_a_write_that_the_service_took_otherwise_is_repeated_once() -> None:
    other = Reply(201, {"content-md5": content_md5(md5_hex(b"hellp")), **TAGGED})
    client, transport = client_of(other, Reply(201, {"content-md5": MD5, **TAGGED}))
    assert (await client.put("k", HELLO)).checksums == {"md5": md5_hex(HELLO)}
    assert len(transport.requests) == 2
    client, transport = client_of(other)
    with pytest.raises(ChecksumMismatch):
        await client.put("k", HELLO)


async def test_what_was_not_confirmed_is_not_told() -> None:
    client, _ = client_of(Reply(201, TAGGED))
    assert (await client.put("k", HELLO)).checksums == {}


@pytest.mark.parametrize("options", [WriteOptions(if_none_match=True), WriteOptions(if_match="0x0")])
@pytest.mark.parametrize("ours", [True, False])
async def test_a_lost_reply_to_a_conditional_write_is_settled_by_its_own_mark(
    options: WriteOptions, ours: bool
) -> None:
    """Another writer of the same bytes is not taken for this one."""

    def then(request: Request) -> Reply:
        if request.method == "HEAD":
            mark = header(transport.requests[0], "x-ms-meta-entrepot_write") if ours else "another"
            return Reply(headers={"content-length": "5", "content-md5": MD5, "x-ms-meta-entrepot_write": mark or "",
                                  **TAGGED})  # fmt: skip
        return refused(409, "BlobAlreadyExists") if options.if_none_match else refused(412, "ConditionNotMet")

    client, transport = client_of(Reply(lost=True), then)
    if ours:
        found = await client.put("k", HELLO, options)
        assert (found.etag, found.metadata) == ("0x1", {})
    else:
        with pytest.raises((AlreadyExists, PreconditionFailed)):
            await client.put("k", HELLO, options)
    assert [one.method for one in transport.requests] == ["PUT", "PUT", "HEAD"]


async def test_a_refusal_without_a_lost_reply_is_believed_at_once() -> None:
    client, transport = client_of(refused(409, "BlobAlreadyExists"), Reply(headers={"content-length": "5", **TAGGED}))
    with pytest.raises(AlreadyExists):
        await client.put("k", HELLO, WriteOptions(if_none_match=True))
    assert [one.method for one in transport.requests] == ["PUT", "HEAD"]
    client, transport = client_of(refused(412, "ConditionNotMet"))
    with pytest.raises(PreconditionFailed):
        await client.put("k", HELLO, WriteOptions(if_match="0x0"))
    assert len(transport.requests) == 1


@pytest.mark.parametrize("data", [HELLO, b""])
async def test_blocks_that_were_never_committed_are_no_blob(data: bytes) -> None:
    """Azurite takes them for one when a blob is only to be created, and not when they are committed."""
    client, transport = client_of(
        refused(409, "BlobAlreadyExists"), refused(404, "BlobNotFound"), Reply(201, TAGGED), Reply(201, TAGGED)
    )
    found = await client.put("k", data, WriteOptions(if_none_match=True))
    assert (found.size_bytes, found.etag) == (len(data), "0x1")
    assert transport.requests[-1].target == "/box/k?comp=blocklist"
    assert header(transport.requests[-1], "if-none-match") == "*"


async def test_a_passing_failure_is_repeated_with_the_same_bytes() -> None:
    client, transport = client_of(Reply(500), Reply(lost=True), Reply(201, TAGGED))
    await client.put("k", HELLO)
    assert [bytes(one.body) for one in transport.requests] == [HELLO] * 3


# ---- uploads -----------------------------------------------------------------------------------------------


def blocks(*names: str, kind: str = "Committed") -> Reply:
    rows = "".join(f"<Block><Name>{name}</Name><Size>5</Size></Block>" for name in names)
    return Reply(body=xml("BlockList", f"<{kind}Blocks>{rows}</{kind}Blocks>"), headers={"etag": '"0x9"'})


NAMES = [block_id(UPLOAD.upload_id, number) for number in (1, 2)]
PARTS = [Part(1, 5, crc32c=crc32c(HELLO)), Part(2, 5, crc32c=crc32c(HELLO))]


async def test_block_ids_are_of_one_length_and_of_one_upload() -> None:
    client, transport = client_of(Reply(201))
    first, second = await client.create_upload("k"), await client.create_upload("k")
    assert transport.requests == []
    assert first.upload_id != second.upload_id
    names = {block_id(one.upload_id, number) for one in (first, second) for number in (1, 50_000)}
    assert len(names) == 4
    assert {len(base64.b64decode(name)) for name in names} == {38}


@pytest.mark.holds("lost-reply")
@pytest.mark.parametrize("created", [True, False])
async def test_a_lost_reply_to_a_commit_is_settled_by_the_blobs_own_blocks(created: bool) -> None:
    upload = Upload("k", UPLOAD.upload_id, WriteOptions(if_none_match=True))
    held = NAMES if created else [block_id("f" * 32, 1)]
    client, transport = client_of(
        Reply(lost=True),
        refused(409, "BlobAlreadyExists"),
        blocks(*held),
        Reply(headers={"content-length": "10", **TAGGED}),
    )
    if created:
        found = await client.complete_upload(upload, PARTS)
        assert (found.etag, found.size_bytes) == ("0x1", 10)
        assert found.checksums == {"crc32c": crc32c_hex(crc32c(HELLO + HELLO))}
    else:
        with pytest.raises(AlreadyExists):
            await client.complete_upload(upload, PARTS)
    assert "blocklisttype=committed" in transport.requests[2].target


async def test_a_blob_without_blocks_is_not_taken_for_the_commit_of_none() -> None:
    client, _ = client_of(Reply(lost=True), refused(409, "BlobAlreadyExists"), blocks(), Reply(headers=TAGGED))
    with pytest.raises(AlreadyExists):
        await client.complete_upload(Upload("k", UPLOAD.upload_id, WriteOptions(if_none_match=True)), [])


def test_a_list_of_as_many_blocks_as_a_blob_can_have_is_read() -> None:
    rows = "".join(f"<Block><Name>{block_id('0' * 32, n)}</Name><Size>1</Size></Block>" for n in range(1, 50_001))
    body = xml("BlockList", f"<CommittedBlocks>{rows}</CommittedBlocks>")
    assert len(replies.parse_block_list(body)) == 50_000


async def test_a_commit_whose_reply_was_lost_is_repeated() -> None:
    client, transport = client_of(Reply(lost=True), Reply(201, TAGGED))
    assert (await client.complete_upload(UPLOAD, PARTS)).etag == "0x1"
    assert b"<Latest>" in bytes(transport.requests[1].body), "the blocks are found, committed or not"


async def test_who_comes_second_with_a_commit_is_told_what_happened() -> None:
    client, transport = client_of(refused(400, "InvalidBlockList"))
    with pytest.raises(Conflict, match="another writer's"):
        await client.complete_upload(UPLOAD, PARTS)
    assert len(transport.requests) == 1


async def test_without_the_crc32c_of_each_part_none_is_kept() -> None:
    client, transport = client_of(Reply(201, TAGGED))
    assert (await client.complete_upload(UPLOAD, [PARTS[0], Part(2, 5)])).checksums == {}
    assert header(transport.requests[0], "x-ms-meta-crc32c") is None


async def test_an_upload_that_was_given_up_takes_no_more_and_asks_nothing() -> None:
    client, transport = client_of(Reply(201))
    await client.abort_upload(UPLOAD)
    for run in (
        lambda: client.put_part(UPLOAD, 1, HELLO),
        lambda: client.complete_upload(UPLOAD, PARTS),
        lambda: client.list_parts(UPLOAD),
        lambda: client.copy_part(UPLOAD, 1, client, "s", ByteRange(0, 1)),
    ):
        with pytest.raises(NotFound, match="aborted"):
            await run()
    assert transport.requests == []


async def test_only_so_many_uploads_that_were_given_up_are_remembered() -> None:
    client, _ = client_of()
    for number in range(10_050):
        await client.abort_upload(Upload("k", f"{number:032x}"))
    assert len(client._aborted) == 10_000


async def test_blocks_of_others_are_none_of_an_upload() -> None:
    foreign = ["eA==", "!", block_id("f" * 32, 3)]
    client, _ = client_of(blocks(NAMES[1], *foreign, NAMES[0], kind="Uncommitted"))
    assert [part.number for part in await client.list_parts(UPLOAD)] == [1, 2]
    client, _ = client_of(refused(404, "BlobNotFound"))
    assert await client.list_parts(UPLOAD) == []


async def test_uploads_are_found_by_blobs_without_bytes() -> None:
    client, transport = client_of(
        Reply(body=listing(row("p/full", 3), row("p/k", 0), row("p/marker/", 0))),
        blocks(*NAMES, block_id("f" * 32, 1), "eA==", kind="Uncommitted"),
    )
    found = await client.list_uploads("p/")
    assert [(one.key, one.upload_id) for one in found] == [("p/k", UPLOAD.upload_id), ("p/k", "f" * 32)]
    assert len(transport.requests) == 2


# ---- copies ------------------------------------------------------------------------------------------------

SOURCE = Reply(headers={"content-length": "5", "content-type": "text/csv", "content-md5": MD5, **TAGGED})
BEGUN = Reply(202, {"x-ms-copy-id": "c1", "x-ms-copy-status": "pending", "etag": '"0x5"'})
DONE = Reply(202, {"x-ms-copy-id": "c1", "x-ms-copy-status": "success", "etag": '"0x5"'})


def copied(status: str, copy_id: str = "c1", **told: str) -> Reply:
    head = {"x-ms-copy-id": copy_id, "x-ms-copy-status": status, "etag": '"0x6"', "content-length": "5"}
    return Reply(
        headers={**head, "content-md5": MD5, **{name.replace("_", "-"): value for name, value in told.items()}}
    )


async def test_a_copy_is_pinned_to_the_source_as_it_was_seen() -> None:
    client, transport = client_of(SOURCE, DONE)
    found = await client.copy(client, "s", "k")
    assert (found.key, found.etag, found.size_bytes, found.content_type) == ("k", "0x5", 5, "text/csv")
    assert header(transport.requests[1], "x-ms-source-if-match") == '"0x1"'
    assert len(transport.requests) == 2


async def test_a_source_that_changes_at_once_is_looked_at_again() -> None:
    newer = Reply(headers={"content-length": "6", "etag": '"0x2"'})
    client, transport = client_of(SOURCE, refused(412, "SourceConditionNotMet"), newer, DONE)
    assert (await client.copy(client, "s", "k")).size_bytes == 6
    assert header(transport.requests[3], "x-ms-source-if-match") == '"0x2"'
    client, transport = client_of(refused(412, "SourceConditionNotMet"))
    with pytest.raises(PreconditionFailed):
        await client.copy(client, "s", "k", source_etag="0x1")
    assert len(transport.requests) == 1


async def test_a_large_blob_is_copied_in_parts_as_it_would_be_seen_empty() -> None:
    head = {"content-length": str(LIMITS.copy_max_bytes + 1), "etag": '"0x1"'}
    client, transport = client_of(lambda request: Reply(200 if request.method == "HEAD" else 201, head))
    await copy_object(client, "k", client, "s")
    written = [one for one in transport.requests if one.method == "PUT"]
    assert all("comp=block" in one.target for one in written), "nothing is at the key before the blocks are committed"
    assert written[-1].target == "/box/k?comp=blocklist"


async def test_a_copy_that_takes_its_time_is_waited_for() -> None:
    client, transport = client_of(SOURCE, BEGUN, copied("pending"), copied("pending"), copied("success"))
    client._policy = client._policy.__class__(sleep=_no_sleep)
    assert (await client.copy(client, "s", "k")).etag == "0x6"
    assert [one.method for one in transport.requests] == ["HEAD", "PUT", "HEAD", "HEAD", "HEAD"]


async def _no_sleep(_: float) -> None:
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("ends", ["failed", "aborted"])
async def test_a_copy_that_the_service_gives_up_leaves_no_empty_blob(ends: str) -> None:
    client, transport = client_of(
        SOURCE, BEGUN, copied(ends), refused(409, "NoPendingCopyOperation"), copied(ends), Reply(202)
    )
    with pytest.raises(ServiceError, match=ends):
        await client.copy(client, "s", "k")
    assert methods(transport)[3:] == ["PUT /box/k?comp=copy&copyid=c1", "HEAD /box/k", "DELETE /box/k"]
    assert header(transport.requests[-1], "if-match") == '"0x6"'


async def test_a_copy_that_is_cancelled_is_taken_back() -> None:
    client, transport = client_of(SOURCE, BEGUN, copied("pending"), Reply(204), copied("aborted"), Reply(202))

    async def forever(_: float) -> None:
        await anyio.sleep_forever()

    client._policy = client._policy.__class__(sleep=forever)
    with anyio.move_on_after(0.05) as scope:
        await client.copy(client, "s", "k")
    assert scope.cancelled_caught
    assert methods(transport)[3:] == ["PUT /box/k?comp=copy&copyid=c1", "HEAD /box/k", "DELETE /box/k"]
    assert header(transport.requests[3], "x-ms-copy-action") == "abort"


async def test_what_another_writer_made_of_a_copy_stays() -> None:
    client, transport = client_of(BEGUN, copied("success", "theirs"), Reply(204), copied("success", "theirs"))
    with pytest.raises(Conflict, match="another writer"):
        await client.copy(client, "s", "k", source_etag="0x1")
    assert not any(one.method == "DELETE" for one in transport.requests)


async def test_a_copy_with_other_metadata_keeps_what_is_known_of_the_bytes() -> None:
    kept = {"x-ms-meta-crc32c": f"{crc32c_hex(crc32c(HELLO))}-5", "x-ms-meta-old": "1"}
    client, transport = client_of(
        Reply(headers={"content-length": "5", **kept, **TAGGED}),
        DONE,
        copied("success", x_ms_meta_a="1", x_ms_meta_crc32c=kept["x-ms-meta-crc32c"], content_type="text/plain"),
        Reply(200, {"etag": '"0x7"'}),
    )
    found = await client.copy(client, "s", "k", WriteOptions("text/csv", {"a": "1"}))
    assert (found.etag, found.content_type, found.metadata) == ("0x7", "text/csv", {"a": "1"})
    assert header(transport.requests[1], "x-ms-meta-crc32c") == kept["x-ms-meta-crc32c"]
    assert header(transport.requests[1], "x-ms-meta-old") is None
    last = transport.requests[3]
    assert last.target == "/box/k?comp=properties"
    assert header(last, "x-ms-blob-content-type") == "text/csv"
    assert header(last, "x-ms-blob-content-md5") == MD5, "what is not sent again would be cleared"
    assert header(last, "if-match") == '"0x6"'


async def test_a_copy_that_is_described_without_metadata_has_none() -> None:
    client, transport = client_of(
        SOURCE, DONE, copied("success", x_ms_meta_old="1", content_type="text/csv"), Reply(200, {"etag": '"0x7"'})
    )
    found = await client.copy(client, "s", "k", WriteOptions("text/csv"))
    assert (found.etag, found.metadata) == ("0x7", {})
    assert transport.requests[3].target == "/box/k?comp=metadata"


async def test_a_copy_that_is_not_what_was_copied_is_an_error() -> None:
    other = copied("success", content_md5=content_md5(md5_hex(b"hellp")), x_ms_meta_a="1")
    client, _ = client_of(SOURCE, DONE, other)
    with pytest.raises(ChecksumMismatch):
        await client.copy(client, "s", "k", WriteOptions(metadata={"a": "1"}))


CONDITIONS = [WriteOptions(if_none_match=True), WriteOptions(if_match="0x5"),
              WriteOptions(metadata={"a": "1"}, if_match="0x5")]  # fmt: skip


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("pinned", [None, "0x1"])
@pytest.mark.parametrize("options", CONDITIONS, ids=["create only", "this etag", "this etag, with metadata"])
@pytest.mark.parametrize("then", ["refused", "lost"])
async def test_a_lost_reply_to_a_conditional_copy_is_settled_by_its_own_mark(
    options: WriteOptions, pinned: str | None, ours: bool, then: str
) -> None:
    """Another writer may have copied the same source there."""
    marks: list[str] = []

    def service(request: Request) -> Reply:
        if request.method == "HEAD" and request.target == "/box/s":
            return Reply(headers={"content-length": "5", "x-ms-meta-old": "1", **TAGGED})
        if request.method == "HEAD":
            mark = marks[0] if ours else "0" * 16
            return Reply(headers={**copied("success", x_ms_meta_a="1").headers, "x-ms-meta-entrepot_write": mark})
        marks.append(header(request, "x-ms-meta-entrepot_write") or "")
        if len(marks) == 1 or then == "lost":
            return Reply(lost=True)
        return refused(409, "BlobAlreadyExists") if options.if_none_match else refused(412, "ConditionNotMet")

    client, transport = client_of(service)
    run = client.copy(client, "s", "k", options, source_etag=pinned)
    if ours:
        assert (await run).etag == "0x6"
    else:
        with pytest.raises((AlreadyExists, PreconditionFailed, ConnectionFailed)):
            await run
    assert len(set(marks)) == 1
    assert re.fullmatch("[0-9a-f]{16}", marks[0])
    sent = next(one for one in transport.requests if one.method == "PUT")
    assert header(sent, "x-ms-source-if-match") == '"0x1"'
    assert header(sent, "x-ms-meta-old") == (None if options.metadata else "1"), "what is sent replaces all of it"


async def test_a_conditional_copy_that_is_refused_at_once_is_believed() -> None:
    client, transport = client_of(SOURCE, refused(412, "ConditionNotMet"))
    with pytest.raises(PreconditionFailed):
        await client.copy(client, "s", "k", WriteOptions(if_match="0x5"))
    assert len(transport.requests) == 2


async def test_a_sas_goes_with_the_address_of_a_copys_source_and_nowhere_else() -> None:
    client, transport = client_of(DONE, copied("success"), sas_token="se=2999-01-01&sig=x%2By")
    await client.copy(client, "s", "k", source_etag="0x1")
    assert header(transport.requests[0], "x-ms-copy-source") == (
        "https://acct.blob.core.windows.net/box/s?se=2999-01-01&sig=x%2By"
    )
    client, transport = client_of(refused(403, "CannotVerifyCopySource"), sas_token="se=2999-01-01&sig=x%2By")
    with pytest.raises(errors.PermissionDenied) as caught:
        await client.copy(client, "s", "k", source_etag="0x1")
    assert "sig=" not in str(caught.value)


# ---- directories -------------------------------------------------------------------------------------------

FOLDER = {"x-ms-meta-hdi_isfolder": "true"}
REAL = {"x-ms-resource-type": "directory"}
HEAD_OF = {"content-length": "0", "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT", **TAGGED}


@pytest.mark.parametrize("mark", [FOLDER, REAL, {**REAL, **FOLDER}])
async def test_a_directory_is_no_blob_and_is_a_marker(mark: dict[str, str]) -> None:
    def server(request: Request) -> Reply:
        return Reply(200, {**HEAD_OF, **mark}) if request.target == "/box/d" else refused(404, "BlobNotFound")

    client, _ = client_of(server)
    with pytest.raises(NotFound, match="a directory"):
        await client.head("d")
    with pytest.raises(NotFound, match="a directory"):
        await client.get("d")
    found = await client.head("d/")
    assert (found.key, found.size_bytes, found.etag) == ("d/", 0, "0x1")
    with pytest.raises(NotFound):
        await client.head("e/")


async def test_a_file_is_a_file_whatever_its_metadata_says() -> None:
    told = {"content-length": "5", "x-ms-resource-type": "file", **FOLDER, **TAGGED}
    client, _ = client_of(Reply(200, told, HELLO))
    assert bytes((await client.get("d")).data) == HELLO
    with pytest.raises(NotFound):
        await client.head("d/")


async def test_a_directory_is_never_copied_as_a_file() -> None:
    client, transport = client_of(Reply(200, {**HEAD_OF, **FOLDER}))
    with pytest.raises(NotFound, match="a directory"):
        await client.copy(client, "d", "k")
    assert len(transport.requests) == 1, "what is at the target stays"


@pytest.mark.parametrize(
    "one",
    [
        row("p/d", metadata={"hdi_isfolder": "true"}),
        row("p/d", properties="<ResourceType>directory</ResourceType>"),
    ],
)
async def test_a_listing_tells_a_directory_as_its_marker(one: str) -> None:
    client, transport = client_of(Reply(body=listing(row("p/a", 1), one, row("p/d-x", 1), row("p/d/f", 1))))
    page = await client.list_page("p/")
    assert [found.key for found in page.objects] == ["p/a", "p/d-x", "p/d/", "p/d/f"]
    assert len(transport.requests) == 1
    both = listing(
        row("p/a", 1), one, "<BlobPrefix><Name>p/c/</Name></BlobPrefix><BlobPrefix><Name>p/d/</Name></BlobPrefix>"
    )
    client, _ = client_of(Reply(body=both))
    page = await client.list_page("p/", delimiter="/")
    assert ([found.key for found in page.objects], page.prefixes) == (["p/a"], ("p/c/", "p/d/"))


def test_a_file_of_a_hierarchical_account_is_listed_as_a_file() -> None:
    one = row("d", 3, properties="<ResourceType>file</ResourceType>", metadata={"hdi_isfolder": "true"})
    assert replies.parse_list(listing(one), prefix="", token=None).objects[0].key == "d"


@pytest.mark.parametrize("below", [[], [row("d/e", metadata={"hdi_isfolder": "true"})]])
async def test_a_directory_that_holds_no_files_is_found_by_its_own_blob(below: list[str]) -> None:
    client, transport = client_of(Reply(body=listing(*below)), Reply(200, {**HEAD_OF, **FOLDER}))
    page = await client.list_page("d/", limit=1)
    assert [one.key for one in page.objects] == ["d/"] + ["d/e/"] * len(below)
    assert methods(transport)[1] == "HEAD /box/d"


@pytest.mark.parametrize(
    "reply", [refused(404, "BlobNotFound"), Reply(200, HEAD_OF), refused(403, "AuthorizationFailure")]
)
async def test_a_directory_that_is_none_is_not_made_up(reply: Reply) -> None:
    client, _ = client_of(Reply(body=listing()), reply)
    page = await client.list_page("d/")
    assert page.objects == ()


async def test_removing_a_directory_removes_its_blob_pinned_and_no_file() -> None:
    def server(request: Request) -> Reply:
        if request.method == "DELETE":
            return Reply(202)
        return Reply(200, {**HEAD_OF, **FOLDER}) if request.target == "/box/d" else refused(404, "BlobNotFound")

    client, transport = client_of(server)
    await client.delete("d/")
    assert methods(transport) == ["HEAD /box/d/", "HEAD /box/d", "DELETE /box/d"]
    assert header(transport.requests[-1], "if-match") == '"0x1"'
    file = Reply(200, {**HEAD_OF, "x-ms-resource-type": "file"})
    client, transport = client_of(file)
    await client.delete("d/")
    assert not any(one.method == "DELETE" for one in transport.requests)


async def test_removing_many_removes_markers_one_by_one() -> None:
    def server(request: Request) -> Reply:
        if request.method == "POST":
            return batch_reply(answer(0, "202 Accepted"))
        return Reply(200, HEAD_OF) if request.method == "HEAD" else Reply(202)

    client, transport = client_of(server)
    assert await client.delete_many(["d/f", "d/"]) == []
    assert methods(transport) == ["POST /box?restype=container&comp=batch", "HEAD /box/d/", "DELETE /box/d/"]


async def test_a_directory_that_is_not_empty_is_a_failure_of_its_own() -> None:
    def server(request: Request) -> Reply:
        return Reply(200, HEAD_OF) if request.method == "HEAD" else refused(409, "DirectoryIsNotEmpty")

    client, _ = client_of(server)
    (failure,) = await client.delete_many(["d/"])
    assert (failure.key, failure.code) == ("d/", "Conflict")


async def test_a_marker_replaces_nothing() -> None:
    """A hierarchical account would drop the slash, and a file of that name would be lost."""
    client, transport = client_of(refused(409, "BlobAlreadyExists"), Reply(200, {**HEAD_OF, **FOLDER}))
    assert (await client.put("d/", b"")).key == "d/"
    assert header(transport.requests[0], "if-none-match") == "*"

    def a_file(request: Request) -> Reply:
        if request.method == "PUT":
            return refused(409, "ResourceTypeMismatch")
        return Reply(200, {**HEAD_OF, "x-ms-resource-type": "file"})

    client, _ = client_of(a_file)
    with pytest.raises(Conflict):
        await client.put("d/", b"")


# ---- signed URLs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "rights"), [("GET", "r"), ("HEAD", "r"), ("PUT", "cw"), ("DELETE", "d")])
async def test_a_signed_url_allows_one_method(method: Any, rights: str) -> None:
    client, transport = client_of()
    url = await client.presign("a b/é", method, 60)
    assert url.startswith("https://acct.blob.core.windows.net/box/a%20b/%C3%A9?")
    assert f"&sp={rights}&" in url
    assert "spr=https&" in url
    assert "sr=b&" in url
    assert transport.requests == []


@pytest.mark.parametrize("options", [{"sas_token": "se=2999-01-01&sig=x"}, {"anonymous": True}])
async def test_what_cannot_sign_gives_no_url(options: dict[str, Any]) -> None:
    client, _ = client_of(**options)
    with pytest.raises(errors.UnsupportedOperation, match="account key or a sign-in"):
        await client.presign("k", "GET", 60)


async def test_a_url_that_would_not_hold_is_refused() -> None:
    client, _ = client_of()
    with pytest.raises(errors.ConfigurationError):
        await client.presign("k", "GET", 0)


async def test_attempts_end() -> None:
    client, transport = client_of(Reply(500))
    with pytest.raises(ServiceUnavailable):
        await client.head("k")
    assert len(transport.requests) == 3


def test_metadata_called_as_a_property_is_told() -> None:
    properties = "<Content-Length>3</Content-Length><AccessTier>Hot</AccessTier><Cache-Control/><BlobType>x</BlobType>"
    metadata = "<AccessTier>mine</AccessTier><BlobType>&lt;/Metadata&gt;</BlobType>"
    blob = f"<Blob><Name>a</Name><Properties>{properties}</Properties><Metadata>{metadata}</Metadata></Blob>"
    body = f"<EnumerationResults><Blobs>{blob}{blob.replace('<Name>a', '<Name>b')}</Blobs></EnumerationResults>"
    page = replies.parse_list(body.encode(), prefix="", token=None)
    assert [one.key for one in page.objects] == ["a", "b"]
    for one in page.objects:
        assert (one.size_bytes, dict(one.metadata)) == (3, {"accesstier": "mine", "blobtype": "</Metadata>"})
