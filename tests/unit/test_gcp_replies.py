"""What the Cloud Storage client makes of replies: errors, hostile bodies, lost answers, corrections. No network."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from canned import CannedTransport, Reply
from entrepot import errors
from entrepot.auth.google import GoogleToken, Static, TokenSource
from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    ConnectionFailed,
    ContainerNotFound,
    CredentialsExpired,
    CredentialsMissing,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
    StoreError,
    Throttled,
    UnsupportedOperation,
)
from entrepot.flavors.gcp import replies
from entrepot.flavors.gcp.attempts import Overtaken
from entrepot.flavors.gcp.client import GcpClient
from entrepot.flavors.gcp.faults import did_nothing, fault
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.http.transport import Request
from entrepot.models import MIB, ByteRange, DeleteFailure, FileStat, WriteOptions
from entrepot.services.checksums import crc32c, crc32c_hex
from entrepot.services.faults import ErrorReply, Unreadable
from gcs_fake import TOKEN, Script, StrictGcs, client_of

pytestmark = pytest.mark.anyio

HELLO = b"hello"
ROW = {"name": "k", "size": "5", "generation": "17", "crc32c": "mnG7TA==", "md5Hash": "XUFAKrxLKna5cZ2REBfFkg=="}


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def refusal(status: int, reason: str, message: str = "m") -> Reply:
    return Reply(status, {}, body({"error": {"code": status, "message": message, "errors": [{"reason": reason}]}}))


# ---- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "operation", "kind"),
    [
        (404, "notFound", "head", "NotFound"),
        (404, "", "get", "NotFound"),
        (404, "NoSuchKey", "get", "NotFound"),
        (404, "NoSuchBucket", "get", "ContainerNotFound"),
        (404, "notFound", "put", "ContainerNotFound"),
        (404, "notFound", "list", "ContainerNotFound"),
        (404, "notFound", "create_upload", "ContainerNotFound"),
        (404, "notFound", "put_part", "NotFound"),
        (410, "gone", "complete_upload", "NotFound"),
        (401, "authError", "get", "CredentialsExpired"),
        (401, "", "get", "CredentialsExpired"),
        (403, "forbidden", "get", "PermissionDenied"),
        (403, "AccessDenied", "get", "PermissionDenied"),
        (403, "insufficientPermissions", "get", "PermissionDenied"),
        (403, "rateLimitExceeded", "get", "Throttled"),
        (403, "userRateLimitExceeded", "get", "Throttled"),
        (400, "userProjectMissing", "get", "ConfigurationError"),
        (400, "UserProjectMissing", "get", "ConfigurationError"),
        (412, "conditionNotMet", "put", "PreconditionFailed"),
        (412, "", "put", "PreconditionFailed"),
        (429, "rateLimitExceeded", "put", "Throttled"),
        (429, "", "put", "Throttled"),
        (408, "", "put", "TimedOut"),
        (500, "backendError", "get", "ServiceUnavailable"),
        (502, "", "get", "ServiceUnavailable"),
        (503, "backendError", "get", "ServiceUnavailable"),
        (503, "SlowDown", "get", "Throttled"),
        (504, "", "get", "ServiceUnavailable"),
        (413, "uploadTooLarge", "put", "ServiceError"),
        (400, "invalid", "put", "ServiceError"),
        (409, "conflict", "create_container", "AlreadyExists"),
        (302, "", "get", "ConfigurationError"),
        (308, "", "get", "ConfigurationError"),
        (501, "", "get", "UnsupportedOperation"),
    ],
)
def test_status_and_reason_decide_the_class(status: int, code: str, operation: str, kind: str) -> None:
    found = fault(ErrorReply(status, code), operation=operation, uri="gs://b/k")
    assert type(found) is getattr(errors, kind)
    assert (found.operation, found.uri) == (operation, "gs://b/k")
    assert "\n" not in str(found)


def test_a_gateway_that_is_busy_is_no_word_of_the_service() -> None:
    found = fault(ErrorReply(503, headers={"retry-after": "7"}), operation="put", uri="")
    assert isinstance(found, Throttled)
    assert (found.retry_after_s, did_nothing(found)) == (7, False)
    assert did_nothing(fault(ErrorReply(503, "SlowDown"), operation="put", uri=""))
    assert did_nothing(fault(ErrorReply(429), operation="put", uri=""))


def test_a_failed_condition_of_a_create_is_an_object_that_exists() -> None:
    assert type(fault(ErrorReply(412), operation="put", uri="", creates=True)) is AlreadyExists


def test_a_missing_bucket_is_told_from_a_missing_object_where_the_service_does() -> None:
    told = ErrorReply(404, "notFound", "The specified bucket does not exist.")
    assert type(fault(told, operation="head", uri="")) is ContainerNotFound
    assert type(fault(ErrorReply(404, "notFound", "No such object: b/k"), operation="head", uri="")) is NotFound


def test_a_checksum_that_the_service_refuses_is_worth_another_try() -> None:
    told = ErrorReply(400, "invalid", 'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "mnG7TA==".')
    found = fault(told, operation="put", uri="")
    assert type(found) is ChecksumMismatch
    assert found.retryable


def test_without_a_token_a_refusal_says_to_give_one() -> None:
    found = fault(ErrorReply(401, "required"), operation="get", uri="", anonymous=True)
    assert type(found) is CredentialsMissing
    assert "give token" in str(found)


async def test_a_missing_bucket_says_what_to_do() -> None:
    with pytest.raises(ContainerNotFound, match=r"create it .* or check its name and project") as caught:
        await client_of(StrictGcs(), path="gs://no-such-bucket").list_page("")
    assert caught.value.uri == "gs://no-such-bucket"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"error": {"code": 400, "errors": [{"reason": "x"}], "message": "m"}}', "x"),
        (b'{"error": {"code": 400}}', ""),
        (b'{"error": "invalid_grant", "error_description": "d"}', "invalid_grant"),
        (b'{"error": {"errors": "x"}}', ""),
        (b'{"error": {"errors": [3]}}', ""),
        (b'{"error": 3}', ""),
        (b"[]", ""),
        (b"{", ""),
        (b"<Error><Code>c</Code></Error>", "c"),
        (b"<html>", ""),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><Error><Code>&a;</Code></Error>", ""),
        (b"Not Found", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (b'{"a":' * 100_000, ""),
    ],
)
def test_an_error_is_read_whatever_its_body_is(text: bytes, code: str) -> None:
    assert replies.error_reply(418, {}, text).code == code


# ---- documents ---------------------------------------------------------------------------------------------


def test_an_objects_description_is_read() -> None:
    told = {**ROW, "updated": "2026-11-25T00:20:15.27007Z", "contentType": "text/csv", "metadata": {"Color": "blue"}}
    stat = replies.parse_object(body(told), "k")
    assert (stat.key, stat.size_bytes, stat.etag, stat.version, stat.content_type) == ("k", 5, "17", "17", "text/csv")
    assert stat.modified is not None
    assert stat.modified.isoformat() == "2026-11-25T00:20:15.270070+00:00"
    assert stat.metadata == {"color": "blue"}
    assert stat.checksums == {"crc32c": "9a71bb4c", "md5": "5d41402abc4b2a76b9719d911017c592"}


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b" ",
        b"{}",
        b"[]",
        b"null",
        b"nonsense",
        b"\xff",
        b"[" * 100_000,
        body({**ROW, "name": "other"}),
        body({**ROW, "name": None}),
        body({**ROW, "name": 3}),
        body({**ROW, "size": "x"}),
        body({**ROW, "size": None}),
        body({**ROW, "generation": "1; drop"}),
        body({**ROW, "generation": 17}),
        body({**ROW, "crc32c": "%%%"}),
        body({**ROW, "crc32c": 3}),
        body({**ROW, "metadata": [1]}),
        body({**ROW, "metadata": {"a": 1}}),
        body({**ROW, "updated": 3}),
    ],
)
def test_what_is_not_the_description_of_that_object_is_unreadable(told: bytes) -> None:
    with pytest.raises(Unreadable):
        replies.parse_object(told, "k")


def listed(document: Any, prefix: str = "d/", delimiter: str = "/", token: str | None = None, after: str = "") -> Any:
    return replies.parse_list(body(document), prefix=prefix, delimiter=delimiter, token=token, after=after)


def test_a_listing_is_read() -> None:
    rows = [{**ROW, "name": name} for name in ("d/a", "d/b")]
    page = listed({"items": rows, "prefixes": ["d/c/"], "nextPageToken": "t"}, after="d/a")
    assert ([one.key for one in page.objects], page.prefixes, page.next_token) == (["d/b"], ("d/c/",), "t")
    assert page.objects[0].checksums["crc32c"] == "9a71bb4c"


@pytest.mark.parametrize(
    "document",
    [
        {"items": [{**ROW, "name": "elsewhere"}]},
        {"items": [{**ROW, "name": "../d/x"}]},
        {"items": [3]},
        {"items": {}},
        {"items": "x"},
        {"prefixes": ["e/"]},
        {"prefixes": ["d/x"]},
        {"prefixes": [3]},
        {"prefixes": "d/"},
        {"nextPageToken": "same"},
        {"nextPageToken": 3},
        [],
    ],
)
def test_a_listing_that_cannot_be_believed_is_refused(document: Any) -> None:
    with pytest.raises(Unreadable):
        listed(document, token="same")
    with pytest.raises(Unreadable):
        listed({"prefixes": ["d/x/"]}, delimiter="")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"done": False},
        {"done": "true", "resource": ROW},
        {"done": False, "rewriteToken": ""},
        {"done": False, "rewriteToken": 3, "totalBytesRewritten": "1"},
        {"done": False, "rewriteToken": "t", "totalBytesRewritten": "x"},
        {"done": True},
        {"done": True, "resource": {}},
    ],
)
def test_a_step_of_a_copy_that_cannot_be_believed_is_refused(document: Any) -> None:
    with pytest.raises(Unreadable):
        replies.parse_rewrite(body(document), "k")


BATCH = "multipart/mixed; boundary=b"


def batch(*parts: str) -> bytes:
    return ("".join(f"--b\r\n{part}\r\n" for part in parts) + "--b--").encode()


def part(number: int | str, status: int | str, text: str = "") -> str:
    return f"content-id: <response-{number}>\r\n\r\nHTTP/1.1 {status} X\r\na: b\r\n\r\n{text}"


def test_a_batch_is_read_by_the_numbers_of_its_parts() -> None:
    text = batch(part(1, 404, '{"error": {"errors": [{"reason": "notFound"}]}}'), part(0, 204))
    found = replies.parse_batch(text, 'Multipart/Mixed; boundary="b"', 2)
    assert (found[0].status, found[1].status, found[1].code) == (204, 404, "notFound")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (batch(part(0, 204)), "text/html"),
        (batch(part(0, 204)), "multipart/mixed"),
        (batch(part(2, 204)), BATCH),
        (batch(part(0, 204), part(0, 204)), BATCH),
        (batch(part("x", 204)), BATCH),
        (batch(part(0, "ok")), BATCH),
        (batch("junk"), BATCH),
    ],
)
def test_a_batch_that_cannot_be_believed_is_refused(text: bytes, kind: str) -> None:
    with pytest.raises(Unreadable):
        replies.parse_batch(text, kind, 2)


# ---- reads -------------------------------------------------------------------------------------------------


def media(data: bytes = HELLO, *, status: int = 200, cut: int | None = None, **headers: str) -> Reply:
    told = {"x-goog-generation": "17", "x-goog-hash": f"md5=AAAA,crc32c={b64(data)}"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, told, data, cut=cut)


def b64(data: bytes) -> str:
    import base64

    return base64.b64encode(crc32c(data).to_bytes(4, "big")).decode()


async def test_a_whole_object_is_compared_with_its_checksum() -> None:
    found = await client_of(CannedTransport(media(x_goog_meta_color="blue", content_type="a/b"))).get("k")
    assert (bytes(found.data), found.stat.checksums) == (HELLO, {"crc32c": crc32c_hex(crc32c(HELLO))})
    assert (found.stat.etag, found.stat.content_type, found.stat.metadata) == ("17", "a/b", {"color": "blue"})


async def test_a_wrong_checksum_is_read_again_once_then_an_error() -> None:
    damaged = Reply(200, {"x-goog-generation": "17", "x-goog-hash": f"crc32c={b64(HELLO)}"}, b"jello")
    transport = CannedTransport(damaged, media())
    assert bytes((await client_of(transport).get("k")).data) == HELLO
    transport = CannedTransport(damaged)
    with pytest.raises(ChecksumMismatch, match="read twice"):
        await client_of(transport).get("k")
    assert len(transport.requests) == 2


async def test_without_a_checksum_nothing_is_called_verified() -> None:
    found = await client_of(CannedTransport(Reply(200, {"x-goog-generation": "17"}, HELLO))).get("k")
    assert found.stat.checksums == {}


async def test_a_range_vouches_for_nothing() -> None:
    found = await client_of(CannedTransport(media(b"ell", status=206, content_range="bytes 1-3/5"))).get(
        "k", byte_range=ByteRange(1, 4)
    )
    assert (bytes(found.data), found.stat.checksums, found.stat.size_bytes) == (b"ell", {}, 5)


async def test_another_generation_than_asked_for_is_never_believed() -> None:
    with pytest.raises(PreconditionFailed):
        await client_of(CannedTransport(media(x_goog_generation="18"))).get("k", if_match="17")


async def test_a_body_that_breaks_off_goes_on_at_its_end_pinned_to_its_generation() -> None:
    data = bytes(range(256)) * (12 * MIB // 256)
    rest = len(data) - 2 * MIB
    transport = CannedTransport(
        media(data, cut=2 * MIB),
        media(data[2 * MIB :], status=206, content_range=f"bytes {2 * MIB}-{len(data) - 1}/{len(data)}"),
    )
    found = await client_of(transport).get("k")
    assert bytes(found.data) == data
    assert found.stat.checksums == {"crc32c": crc32c_hex(crc32c(data))}
    assert dict(transport.requests[1].headers)["range"] == f"bytes={2 * MIB}-"
    assert dict(transport.requests[1].headers)["x-goog-if-generation-match"] == "17"
    assert rest > 0


@pytest.mark.parametrize(
    "reply",
    [
        media(status=206, content_range="bytes 0-4/5"),
        media(x_goog_stored_content_encoding="gzip"),
        Reply(204),
        Reply(200, {"content-length": "9"}, HELLO),
        Reply(200, {"x-goog-generation": "17", "x-goog-hash": "crc32c=%%%"}, HELLO),
        Reply(200, {"x-goog-generation": "17", "x-goog-hash": "crc32c=AAAA"}, HELLO),
    ],
    ids=["a part", "decompressed", "no content", "short", "no checksum", "short checksum"],
)
async def test_a_reply_that_is_not_the_object_is_not_believed(reply: Reply) -> None:
    with pytest.raises(BadResponse):
        await client_of(CannedTransport(reply)).get("k")


async def test_an_object_kept_as_gzip_comes_as_it_is_kept() -> None:
    transport = CannedTransport(media(b"\x1f\x8b", content_encoding="gzip", x_goog_stored_content_encoding="gzip"))
    assert bytes((await client_of(transport).get("k")).data) == b"\x1f\x8b"
    assert ("accept-encoding", "gzip") in transport.requests[0].headers


def test_a_listing_lets_a_download_in_parts_be_verified() -> None:
    client = client_of(CannedTransport())
    data = bytes(range(200))
    file = FileStat("gs://b/k", 200, checksums={"crc32c": crc32c_hex(crc32c(data))})
    digest = client.part_checksum(file, 150)
    assert digest is not None
    digest.update(2, data[150:])
    digest.update(1, data[:150])
    assert digest.verified() == "crc32c"
    assert client.part_checksum(FileStat("gs://b/k", 200), 150) is None


# ---- tokens ------------------------------------------------------------------------------------------------


class Sequenced(TokenSource):
    """Tokens that a refresh replaces by the next ones."""

    def __init__(self, *values: str) -> None:
        self.left = [GoogleToken(value) for value in values]

    async def current(self) -> GoogleToken:
        return self.left[0]

    async def refresh(self, rejected: GoogleToken | None = None) -> GoogleToken:
        if len(self.left) > 1:
            self.left.pop(0)
        return self.left[0]


async def test_a_refused_token_is_replaced_once_and_the_operation_goes_on() -> None:
    service = StrictGcs()
    client = client_of(service)
    client._credentials = Sequenced("stale", TOKEN)
    await client.put("k", HELLO)
    assert service.asked() == ["POST /upload/storage/v1/b/bucket/o"] * 2


async def test_a_token_that_stays_refused_has_expired() -> None:
    service = StrictGcs()
    client = client_of(service)
    client._credentials = Sequenced("stale", "older")
    with pytest.raises(CredentialsExpired, match="give a new one"):
        await client.head("k")
    assert len(service.requests) == 2
    client = client_of(service, access_token="given")
    with pytest.raises(CredentialsExpired):
        await client.head("k")
    assert len(service.requests) == 3, "a token that was given is not asked for again"


# ---- writes whose reply is lost ----------------------------------------------------------------------------


OTHER = WriteOptions(metadata={"by": "another"})


@pytest.mark.parametrize("how", ["lost", "busy", "unsent", 500, 503, 429])
async def test_a_put_whose_attempt_failed_ends_as_if_written_once(how: str | int) -> None:
    service = StrictGcs(Script({0: how if isinstance(how, str) else Reply(how)}))
    stat = await client_of(service).put("k", HELLO, WriteOptions("text/csv", {"a": "1"}))
    held = service.live["k"]
    assert (held.data, stat.etag, service.old) == (HELLO, str(held.generation), [])


async def test_an_unconditional_put_has_no_condition_until_a_reply_is_lost() -> None:
    service = StrictGcs()
    service.put("k", b"old")
    await client_of(service).put("k", HELLO)
    assert "ifGenerationMatch" not in service.requests[0].target
    service = StrictGcs()
    seen = service.put("k", b"old").generation
    service.script = Script({0: Reply(500)})
    await client_of(service).put("k", HELLO)
    assert service.asked() == ["POST /upload/storage/v1/b/bucket/o", "GET /storage/v1/b/bucket/o/k",
                               "POST /upload/storage/v1/b/bucket/o"]  # fmt: skip
    assert service.requests[2].target.endswith(f"&ifGenerationMatch={seen}")


async def test_a_repeated_put_never_replaces_what_another_wrote_after_the_look() -> None:
    service = StrictGcs()

    def script(number: int, _request: Request) -> Reply | None:
        if number == 0:
            return Reply(500)
        if number == 2:
            service.put("k", b"newer", by="another")
        return Reply(500) if number > 2 and number % 2 == 1 else None

    service.script = script
    with pytest.raises((Overtaken, ServiceUnavailable)):
        await client_of(service).put("k", HELLO)
    assert service.live["k"].data == b"newer"


async def test_a_put_that_was_done_and_then_replaced_by_another_is_written_again_knowingly() -> None:
    """Its reply was lost, and the look sees another's object: the write comes last, as if it had been slow."""
    service = StrictGcs(Script({0: "lost"}))

    def script(number: int, _request: Request) -> str | None:
        if number == 1:
            service.put("k", b"newer")
        return "lost" if number == 0 else None

    service.script = script
    await client_of(service).put("k", HELLO)
    assert service.live["k"].data == HELLO


async def test_equal_bytes_of_other_metadata_are_not_taken_for_ours() -> None:
    service = StrictGcs()
    service.put("k", HELLO, contentType="application/octet-stream", metadata={"by": "another"})
    service.script = Script({0: Reply(500)})
    await client_of(service).put("k", HELLO, WriteOptions(metadata={"by": "us"}))
    assert service.live["k"].described["metadata"] == {"by": "us"}


async def test_a_create_only_put_whose_reply_was_lost_is_ours() -> None:
    service = StrictGcs(Script({0: "lost"}))
    stat = await client_of(service).put("k", HELLO, WriteOptions(if_none_match=True))
    assert stat.etag == str(service.live["k"].generation)


async def test_two_racers_with_equal_bytes_and_lost_replies_have_one_winner() -> None:
    service = StrictGcs(Script({0: "lost"}))
    await client_of(service).put("lock", b"", WriteOptions(if_none_match=True))
    service.script = Script({len(service.requests): "lost"})
    with pytest.raises(AlreadyExists):
        await client_of(service).put("lock", b"", WriteOptions(if_none_match=True))


async def test_a_put_pinned_to_a_generation_whose_reply_was_lost_is_ours_and_no_other() -> None:
    service = StrictGcs()
    old = str(service.put("k", b"5").generation)
    service.script = Script({0: "lost"})
    await client_of(service).put("k", b"6", WriteOptions(if_match=old))
    newer = str(service.live["k"].generation)

    def script(number: int, _request: Request) -> Reply | None:
        if number == first:
            service.put("k", b"7")
            return Reply(lost=True)
        return None

    first = len(service.requests)
    service.script = script
    with pytest.raises(PreconditionFailed):
        await client_of(service).put("k", b"7", WriteOptions(if_match=newer))


async def test_damage_on_the_way_up_is_sent_again() -> None:
    service = StrictGcs()

    def damage(number: int, request: Request) -> Reply | None:
        if number:
            return None
        return service.answer(Request(request.method, request.origin, request.target, request.headers,
                                      request.content.replace(b"hello", b"jello")))  # fmt: skip

    service.script = damage
    await client_of(service).put("k", HELLO)
    assert service.live["k"].data == HELLO
    assert len(service.asked("POST")) == 2


async def test_a_service_that_kept_other_bytes_is_not_believed() -> None:
    told = Reply(200, {}, body({**ROW, "crc32c": "AAAAAA=="}))
    with pytest.raises(ChecksumMismatch):
        await client_of(CannedTransport(told)).put("k", HELLO)


# ---- deletes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["lost", "busy", "unsent", 500, 429])
async def test_a_delete_whose_attempt_failed_ends_deleted(how: str | int) -> None:
    service = StrictGcs()
    service.put("k", b"x")
    service.script = Script({0: how if isinstance(how, str) else Reply(how)})
    await client_of(service).delete("k")
    assert service.live == {}


@pytest.mark.parametrize("how", ["lost", "busy"])
async def test_a_repeated_delete_removes_only_what_was_seen(how: str) -> None:
    service = StrictGcs()
    service.put("k", b"x")

    def script(number: int, _request: Request) -> str | None:
        if number == 0:
            return how
        if number == 1:
            service.put("k", b"newer")
        if number == 2:
            service.put("k", b"newest")
        return None

    service.script = script
    await client_of(service).delete("k")
    conditions = [one.target.partition("?")[2] for one in service.requests if one.method == "DELETE"]
    assert conditions[0] == ""
    assert all(one.startswith("ifGenerationMatch=17") for one in conditions[1:])


@pytest.mark.parametrize("how", ["lost", 500, 429])
async def test_a_pinned_delete_never_removes_another_object(how: str | int) -> None:
    service = StrictGcs()
    old = service.put("k", b"x")
    service.script = Script({0: how if isinstance(how, str) else Reply(how)})
    await client_of(service).delete("k", if_match=str(old.generation))
    assert service.live == {}
    service.put("k", b"theirs")
    with pytest.raises(PreconditionFailed, match="it is kept"):
        await client_of(service).delete("k", if_match=str(old.generation))
    with pytest.raises(PreconditionFailed, match="it is kept"):
        await client_of(service).delete("k", if_match="no generation")
    assert service.live["k"].data == b"theirs"
    assert all("ifGenerationMatch" in one.target for one in service.requests if one.method == "DELETE")


async def test_a_rename_keeps_what_another_writer_put_at_its_source() -> None:
    service = StrictGcs()
    service.put("dir/k", b"x")

    def script(_number: int, request: Request) -> None:
        if request.method == "DELETE":
            service.put("dir/k", b"theirs")

    service.script = script
    store = GcpArtifactStore(path="gs://bucket/dir", access_token=TOKEN)
    store._make_client = lambda: client_of(service)  # type: ignore[method-assign]
    with pytest.raises(PreconditionFailed, match="replaced the source"):
        await store.rename("k", "moved")
    assert {name: held.data for name, held in service.live.items()} == {"dir/k": b"theirs", "dir/moved": b"x"}


@pytest.mark.parametrize("etag", ["0", "017"])
async def test_what_no_object_can_be_is_refused_and_creates_nothing(etag: str) -> None:
    service = StrictGcs()
    client = client_of(service)
    with pytest.raises(PreconditionFailed):
        await client.put("k", b"x", WriteOptions(if_match=etag))
    with pytest.raises(PreconditionFailed):
        await client.create_upload("k", WriteOptions(if_match=etag))
    with pytest.raises(PreconditionFailed):
        await client.get("k", if_match=etag)
    assert service.requests == []


async def test_a_batch_tells_each_key_apart() -> None:
    service = StrictGcs()
    for name in ("a", "b", "c"):
        service.put(name, b"x")
    parts = batch(part(0, 204), part(1, 403, '{"error": {"message": "no", "errors": [{"reason": "forbidden"}]}}'),
                  part(2, 500))  # fmt: skip
    service.script = Script({0: Reply(200, {"content-type": BATCH}, parts)})
    failures = await client_of(service).delete_many(["a", "b", "c"])
    assert [(one.key, one.code) for one in failures] == [("b", "AccessDenied")]
    assert "c" not in service.live, "what failed for now is deleted singly"


async def test_the_parts_that_a_service_is_too_busy_for_go_again_in_one_batch() -> None:
    service = StrictGcs()
    for name in ("a", "b", "c", "d"):
        service.put(name, b"x")
    denied = part(1, 403, '{"error": {"message": "no", "errors": [{"reason": "forbidden"}]}}')
    busy = batch(part(0, 429), denied, part(2, 503), part(3, 500))
    slow = batch(part(0, 204), part(1, 403, '{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}'))
    service.script = Script({n: Reply(200, {"content-type": BATCH}, one) for n, one in enumerate((busy, slow))})
    failures = await client_of(service).delete_many(["a", "b", "c", "d"])
    assert [(one.key, one.code) for one in failures] == [("b", "AccessDenied")]
    sent = [re.findall(r"/o/(\w) HTTP", one.content.decode()) for one in service.requests[:3]]
    assert sent == [["a", "b", "c", "d"], ["a", "c"], ["c"]]
    assert service.asked()[3:] == ["GET /storage/v1/b/bucket/o/d", "DELETE /storage/v1/b/bucket/o/d"]
    assert set(service.live) == {"a", "b"}, "whose replies were scripted"


async def test_a_batch_that_is_lost_after_a_busy_one_leaves_nothing_behind() -> None:
    service = StrictGcs()
    for name in ("a", "b"):
        service.put(name, b"x")
    busy = Reply(200, {"content-type": BATCH}, batch(part(0, 500), part(1, 429)))
    service.script = Script({0: busy, 1: "lost"})
    assert await client_of(service).delete_many(["a", "b"]) == []
    assert service.live == {}


@pytest.mark.parametrize("how", ["lost", "busy"])
async def test_a_batch_whose_reply_is_lost_is_settled_key_by_key(how: str) -> None:
    service = StrictGcs()
    for name in ("a", "b"):
        service.put(name, b"x")

    def script(number: int, _request: Request) -> str | None:
        if number == 0:
            return how
        if number == 1:
            service.put("a", b"another's, newer")
        return None

    service.script = script
    assert await client_of(service).delete_many(["a", "b"]) == []
    assert all("ifGenerationMatch" in one.target for one in service.requests if one.method == "DELETE")


async def test_a_batch_whose_parts_refuse_the_token_is_settled_with_a_new_one() -> None:
    """The parts of a batch are refused one by one, in a reply that is a success itself."""
    service = StrictGcs()
    for name in ("a", "b"):
        service.put(name, b"x")
    client = client_of(service)
    old, new = GoogleToken("old"), GoogleToken(TOKEN)
    replaced: list[GoogleToken | None] = []

    class Replaced(Static):
        async def refresh(self, rejected: GoogleToken | None = None) -> GoogleToken:
            replaced.append(rejected)
            self._token = new
            return new

    client._credentials = Replaced(old.value)
    refused = batch(part(0, 401, '{"error": {"message": "Invalid Credentials"}}'), part(1, 401, "{}"))
    service.script = Script({0: Reply(200, {"content-type": BATCH}, refused)})
    assert await client.delete_many(["a", "b"]) == []
    assert service.live == {}
    assert replaced


async def test_a_batch_whose_parts_refuse_a_token_that_nothing_replaces_ends_the_work() -> None:
    service = StrictGcs()
    service.tokens.clear()
    refused = batch(part(0, 401, "{}"), part(1, 401, "{}"))
    service.script = Script({0: Reply(200, {"content-type": BATCH}, refused)})
    with pytest.raises(CredentialsExpired):
        await client_of(service).delete_many(["a", "b"])


async def test_a_batch_that_is_throttled_is_sent_again_and_not_key_by_key() -> None:
    service = StrictGcs()
    for name in ("a", "b", "c"):
        service.put(name, b"x")
    service.script = Script({0: Reply(429), 1: Reply(429)})
    assert await client_of(service).delete_many(["a", "b", "c"]) == []
    assert service.live == {}
    assert service.asked() == ["POST /batch/storage/v1"] * 3


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_service_without_batches_is_asked_singly_from_then_on(status: int) -> None:
    service = StrictGcs()
    service.put("a", b"x")
    service.script = lambda _number, request: Reply(status) if request.target.startswith("/batch") else None
    client = client_of(service)
    assert await client.delete_many(["a", "missing"]) == []
    assert await client.delete_many(["a"]) == []
    assert sum("batch" in line for line in service.asked()) == 1
    assert service.live == {}


async def test_a_batch_that_leaves_keys_out_is_not_believed() -> None:
    service = StrictGcs()
    for name in ("a", "b"):
        service.put(name, b"x")
    service.script = Script({0: Reply(200, {"content-type": BATCH}, batch(part(0, 204)))})
    assert await client_of(service).delete_many(["a", "b"]) == []
    assert "b" not in service.live


@pytest.mark.holds("delete-errors")
async def test_keys_that_are_denied_singly_are_told_by_key() -> None:
    service = StrictGcs(lambda _number, request: Reply(403) if request.method == "DELETE" else Reply(501))
    assert await client_of(service).delete_many(["a"]) == [DeleteFailure("a", "AccessDenied", _ANY)]


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


_ANY: Any = _Any()


# ---- copies ------------------------------------------------------------------------------------------------


async def test_a_large_copy_goes_on_by_its_token_until_it_is_done() -> None:
    service = StrictGcs()
    service.copy_step = 40
    service.put("s", bytes(100), contentType="text/csv", metadata={"a": "1"})
    stat = await client_of(service).copy(client_of(service), "s", "k")
    assert (stat.size_bytes, service.live["k"].described["metadata"]) == (100, {"a": "1"})
    tokens = [one.target.partition("rewriteToken=")[2].partition("&")[0] for one in service.requests]
    assert tokens == ["", "t1", "t2"]


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("how", ["lost", "busy", 500, 429])
async def test_each_step_of_a_copy_is_retried(at: int, how: str | int) -> None:
    service = StrictGcs()
    service.copy_step = 40
    service.put("s", bytes(100))
    service.script = Script({at: how if isinstance(how, str) else Reply(how)})
    await client_of(service).copy(client_of(service), "s", "k")
    assert service.live["k"].data == bytes(100)
    assert service.old == [], "and it was published once"


async def test_a_copy_that_does_not_go_on_ends_in_an_error() -> None:
    told = Reply(200, {}, body({"done": False, "rewriteToken": "t", "totalBytesRewritten": "0"}))
    transport = CannedTransport(told)
    client = client_of(transport)
    with pytest.raises(BadResponse, match="does not go on"):
        await client.copy(client, "s", "k")
    assert len(transport.requests) == 2


async def test_a_copy_is_pinned_to_its_source() -> None:
    service = StrictGcs()
    old = str(service.put("s", b"old").generation)
    service.put("s", b"newer")
    client = client_of(service)
    with pytest.raises(PreconditionFailed, match="the source is another"):
        await client.copy(client, "s", "k", source_etag=old)
    assert "k" not in service.live


async def test_a_copy_into_a_storage_class_never_mixes_two_writers_objects() -> None:
    """Its source is described first, and may be another when it is copied."""
    service = StrictGcs()
    old = str(service.put("s", b"old", contentType="text/old", metadata={"by": "one"}).generation)
    client = client_of(service, storage_class="NEARLINE")

    def script(_number: int, request: Request) -> None:
        if request.method == "POST" and len(service.asked("POST")) == 1:
            service.put("s", b"newer", contentType="text/new", metadata={"by": "another"})

    service.script = script
    await client.copy(client, "s", "k")
    held = service.live["k"]
    assert (held.data, held.described["contentType"], held.described["metadata"], held.described["storageClass"]) == (
        b"newer",
        "text/new",
        {"by": "another"},
        "NEARLINE",
    )
    assert service.asked("POST") == ["POST /storage/v1/b/bucket/o/s/rewriteTo/b/bucket/o/k"] * 2
    with pytest.raises(PreconditionFailed, match="the source is another") as caught:
        await client.copy(client, "s", "k2", source_etag=old)
    assert caught.value.uri == "gs://bucket/s"
    assert "k2" not in service.live


async def test_an_exclusive_copy_loses_to_what_is_there_and_says_which_condition_failed() -> None:
    service = StrictGcs()
    client = client_of(service)
    there = str(service.put("s", b"x").generation)
    service.put("k", b"first")
    for etag in (None, there):
        with pytest.raises(AlreadyExists):
            await client.copy(client, "s", "k", WriteOptions(if_none_match=True), source_etag=etag)
    assert service.live["k"].data == b"first"


async def test_where_conditions_on_copies_are_not_known_to_be_kept_they_are_refused_or_checked() -> None:
    service = StrictGcs()
    client = client_of(service)
    from dataclasses import replace

    client.capabilities = replace(client.capabilities, exclusive_copy=False)
    with pytest.raises(UnsupportedOperation):
        await client.copy(client, "s", "k", WriteOptions(if_none_match=True))
    now = str(service.put("s", b"x").generation)

    def script(number: int, _request: Request) -> None:
        if number == 1:
            service.put("s", b"y")

    service.script = script
    with pytest.raises(PreconditionFailed, match="the source is another"):
        await client.copy(client, "s", "k", source_etag=now)


async def test_parts_are_not_copied() -> None:
    client = client_of(StrictGcs())
    upload = await client.create_upload("k")
    with pytest.raises(UnsupportedOperation, match="use copy"):
        await client.copy_part(upload, 1, client, "s", ByteRange(0, 1))


# ---- versions, buckets -------------------------------------------------------------------------------------


async def test_versions_are_told_newest_first_and_read() -> None:
    service = StrictGcs()
    for data in (b"1", b"2", b"3"):
        service.put("k", data)
    service.put("k2", b"x")
    service.put("k/below", b"x")
    client = client_of(service)
    found = await client.list_versions("k")
    assert [one.key for one in found] == ["k"] * 3
    assert [bytes((await client.get("k", version=one.version)).data) for one in found] == [b"3", b"2", b"1"]
    assert (await client.head("k", version=found[2].version)).etag == found[2].version


async def test_a_listing_of_versions_that_repeats_a_token_ends() -> None:
    pages = [Reply(200, {}, body({"nextPageToken": token})) for token in ("a", "b", "a", "b")]
    with pytest.raises(BadResponse):
        await client_of(CannedTransport(*pages)).list_versions("k")


async def test_a_bucket_of_anothers_is_told_from_ours() -> None:
    denied = refusal(403, "forbidden")
    with pytest.raises(AlreadyExists):
        await client_of(CannedTransport(refusal(409, "conflict"), denied)).create_container()
    await client_of(CannedTransport(refusal(409, "conflict"), Reply(200, {}, b"{}"))).create_container()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.head("k"),
        lambda c: c.get("k"),
        lambda c: c.put("k", b"x"),
        lambda c: c.delete("k"),
        lambda c: c.list_page(""),
        lambda c: c.list_versions("k"),
        lambda c: c.copy(c, "s", "k"),
        lambda c: c.create_upload("k"),
        lambda c: c.create_container(),
    ],
)
async def test_a_service_that_is_down_ends_in_one_typed_line(call: Callable[[GcpClient], Awaitable[Any]]) -> None:
    for reply in (Reply(500), Reply(lost=True)):
        transport = CannedTransport(reply)
        with pytest.raises((ServiceUnavailable, ConnectionFailed)) as caught:
            await call(client_of(transport))
        assert "\n" not in str(caught.value)
        assert caught.value.uri.startswith("gs://bucket")
        assert TOKEN not in repr(caught.value.__dict__)
        assert isinstance(caught.value, StoreError)
