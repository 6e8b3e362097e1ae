"""The requests of the wire client, as text: each primitive, and each key of the configuration."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from canned import AT_ONCE, CannedTransport, Reply
from entrepot.errors import (
    ConfigurationError,
    CredentialsMissing,
    PreconditionFailed,
    ServiceUnavailable,
    StoreError,
)
from entrepot.flavors.gcp.config import GcpConfig
from entrepot.flavors.gcp.connection import make_client
from entrepot.flavors.gcp.endpoint import GOOGLE
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.flavors.gcp.wire import GcpWireClient
from entrepot.http.transport import Request
from entrepot.models import ByteRange, WriteOptions
from gcs_fake import TOKEN, StrictGcs, client_of

pytestmark = pytest.mark.anyio

FIELDS = "name%2Csize%2Cupdated%2Cgeneration%2Ccrc32c%2Cmd5Hash%2CcontentType%2Cmetadata"
ROW = {"name": "k", "size": "5", "generation": "17", "crc32c": "mnG7TA==", "contentType": "text/csv"}
OBJECT = Reply(200, {}, json.dumps(ROW).encode())
DONE = Reply(200, {}, json.dumps({"done": True, "resource": ROW}).encode())
SESSION = Reply(200, {"location": "https://storage.googleapis.com/upload/storage/v1/b/bucket/o?upload_id=x%2By"})
AUTH = f"authorization: Bearer {TOKEN}\n"
HOST = "host: storage.googleapis.com\n"
GET = HOST + AUTH + "accept-encoding: gzip\n"
JSON = HOST + AUTH + "content-type: application/json; charset=UTF-8\n"


def as_text(request: Request) -> str:
    """The request as it would be read on the wire, with the random boundary masked."""
    lines = [f"{request.method} {request.target}", f"host: {request.origin.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    text = "\n".join(lines) + "\n\n" + request.content.decode().replace("\r\n", "\n")
    boundary = re.search(r"boundary=([0-9a-f]{32})", text)
    return text.replace(boundary[1], "BOUNDARY") if boundary else text


def multipart(described: dict[str, Any], body: str, kind: str = "application/octet-stream") -> str:
    return (
        "content-type: multipart/related; boundary=BOUNDARY\n\n--BOUNDARY\n"
        f"content-type: application/json; charset=UTF-8\n\n{json.dumps(described)}\n--BOUNDARY\n"
        f"content-type: {kind}\n\n{body}\n--BOUNDARY--\n"
    )


PRIMITIVES: dict[str, tuple[Any, Reply, str]] = {
    "head": (
        lambda c: c.head("k"),
        OBJECT,
        f"GET /storage/v1/b/bucket/o/k?fields={FIELDS}\n{HOST}{AUTH}\n",
    ),
    "head of a version": (
        lambda c: c.head("k", version="16"),
        OBJECT,
        f"GET /storage/v1/b/bucket/o/k?fields={FIELDS}&generation=16\n{HOST}{AUTH}\n",
    ),
    "get": (
        lambda c: c.get("a b/é+%41?#"),
        Reply(200, {"x-goog-generation": "17"}, b"hello"),
        f"GET /bucket/a%20b/%C3%A9%2B%2541%3F%23\n{GET}\n",
    ),
    "get a range of a generation": (
        lambda c: c.get("k", byte_range=ByteRange(1, 5), if_match="17"),
        Reply(206, {"content-range": "bytes 1-4/5", "x-goog-generation": "17"}, b"ello"),
        f"GET /bucket/k\n{GET}range: bytes=1-4\nx-goog-if-generation-match: 17\n\n",
    ),
    "get a version": (
        lambda c: c.get("k", version="16"),
        Reply(200, {"x-goog-generation": "16"}, b"hello"),
        f"GET /bucket/k?generation=16\n{GET}\n",
    ),
    "put": (
        lambda c: c.put("k", b"hello", WriteOptions("text/csv", {"Color": "blue", "word": "é"}, mtime_s=1.5)),
        OBJECT,
        f"POST /upload/storage/v1/b/bucket/o?uploadType=multipart&fields={FIELDS}\n{HOST}{AUTH}"
        + multipart(
            {
                "contentType": "text/csv",
                "metadata": {"color": "blue", "word": "=?UTF-8?B?w6k=?=", "mtime": "1.5"},
                "name": "k",
                "crc32c": "mnG7TA==",
            },
            "hello",
            "text/csv",
        ),
    ),
    "replace this generation": (
        lambda c: c.put("k", b"hello", WriteOptions(if_match="16")),
        OBJECT,
        f"POST /upload/storage/v1/b/bucket/o?uploadType=multipart&fields={FIELDS}&ifGenerationMatch=16\n",
    ),
    "create only": (
        lambda c: c.put("k", b"hello", WriteOptions(if_none_match=True)),
        OBJECT,
        f"POST /upload/storage/v1/b/bucket/o?uploadType=multipart&fields={FIELDS}&ifGenerationMatch=0\n",
    ),
    "list": (
        lambda c: c.list_page("a b/", delimiter="/", start_after="a b/c", limit=7),
        Reply(200, {}, b"{}"),
        ("GET /storage/v1/b/bucket/o?delimiter=%2F&fields=items%28name%2Csize%2Cupdated%2Cgeneration%2Ccrc32c%2Cmd5Hash"
        f"%29%2Cprefixes%2CnextPageToken&maxResults=7&prefix=a%20b%2F&startOffset=a%20b%2Fc\n{HOST}{AUTH}\n"),
    ),
    "list on": (
        lambda c: c.list_page("", token="t/+="),
        Reply(200, {}, b"{}"),
        ("GET /storage/v1/b/bucket/o?fields=items%28name%2Csize%2Cupdated%2Cgeneration%2Ccrc32c%2Cmd5Hash"
        f"%29%2Cprefixes%2CnextPageToken&maxResults=1000&pageToken=t%2F%2B%3D\n{HOST}{AUTH}\n"),
    ),
    "list versions": (
        lambda c: c.list_versions("d/k"),
        Reply(200, {}, b"{}"),
        (f"GET /storage/v1/b/bucket/o?endOffset=d%2Fk%20&fields=items%28{FIELDS}%29%2CnextPageToken&prefix=d%2Fk"
        f"&versions=true\n{HOST}{AUTH}\n"),
    ),
    "delete": (
        lambda c: c.delete("d/k é"),
        Reply(204),
        f"DELETE /storage/v1/b/bucket/o/d%2Fk%20%C3%A9\n{HOST}{AUTH}\n",
    ),
    "delete this generation": (
        lambda c: c.delete("k", if_match="17"),
        Reply(204),
        f"DELETE /storage/v1/b/bucket/o/k?ifGenerationMatch=17\n{HOST}{AUTH}\n",
    ),
    "delete many": (
        lambda c: c.delete_many(["a/b", "c d"]),
        Reply(
            200,
            {"content-type": "multipart/mixed; boundary=b"},
            b"--b\r\ncontent-id: <response-0>\r\n\r\nHTTP/1.1 204 X\r\n\r\n\r\n"
            b"--b\r\ncontent-id: <response-1>\r\n\r\nHTTP/1.1 404 X\r\n\r\n\r\n--b--",
        ),
        (f"POST /batch/storage/v1\n{HOST}{AUTH}content-type: multipart/mixed; boundary=BOUNDARY\n\n"
        "--BOUNDARY\ncontent-type: application/http\ncontent-id: <0>\n\n"
        "DELETE /storage/v1/b/bucket/o/a%2Fb HTTP/1.1\n\n\n"
        "--BOUNDARY\ncontent-type: application/http\ncontent-id: <1>\n\n"
        "DELETE /storage/v1/b/bucket/o/c%20d HTTP/1.1\n\n\n--BOUNDARY--\n"),
    ),
    "copy": (
        lambda c: c.copy(c, "s/a", "k", source_etag="16"),
        DONE,
        ("POST /storage/v1/b/bucket/o/s%2Fa/rewriteTo/b/bucket/o/k?fields=done%2CtotalBytesRewritten%2CrewriteToken%2C"
        f"resource%28{FIELDS}%29&ifSourceGenerationMatch=16\n{HOST}{AUTH}\n"),
    ),
    "copy that creates, with other metadata": (
        lambda c: c.copy(c, "s", "k", WriteOptions("text/csv", {"a": "1"}, if_none_match=True)),
        DONE,
        ("POST /storage/v1/b/bucket/o/s/rewriteTo/b/bucket/o/k?fields=done%2CtotalBytesRewritten%2CrewriteToken%2C"
        f"resource%28{FIELDS}%29&ifGenerationMatch=0\n{JSON}\n"
        '{"contentType": "text/csv", "metadata": {"a": "1"}}'),
    ),
    "create upload": (
        lambda c: c.create_upload("a/k", WriteOptions("text/csv", {"a": "1"})),
        SESSION,
        (f"POST /upload/storage/v1/b/bucket/o?uploadType=resumable&fields={FIELDS}\n{JSON}"
        'x-upload-content-type: text/csv\n\n{"contentType": "text/csv", "metadata": {"a": "1"}, "name": "a/k"}'),
    ),
    "create container": (
        lambda c: c.create_container(),
        Reply(200, {}, b"{}"),
        f'POST /storage/v1/b?project=test-project\n{JSON}\n{{"name": "bucket"}}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRIMITIVES)
async def test_a_primitive_is_one_request(name: str) -> None:
    call, reply, expected = PRIMITIVES[name]
    transport = CannedTransport(reply)
    await call(client_of(transport))
    assert len(transport.requests) == 1
    assert as_text(transport.requests[0]).startswith(expected)
    if expected.endswith("\n\n"):
        assert as_text(transport.requests[0]) == expected


async def test_a_conditional_write_carries_an_id_that_is_not_shown() -> None:
    service = StrictGcs()
    client = client_of(service)
    told = await client.put("k", b"x", WriteOptions(metadata={"a": "1"}, if_none_match=True))
    assert re.fullmatch(r"[0-9a-f]{16}", service.live["k"].described["metadata"]["entrepot-write"])
    for stat in (told, await client.head("k"), (await client.get("k")).stat, *await client.list_versions("k")):
        assert dict(stat.metadata) == {"a": "1"}


async def test_the_parts_of_a_session_and_its_end() -> None:
    transport = CannedTransport(SESSION, Reply(308, {"range": "bytes=0-262143"}), Reply(200, {}, b""), Reply(499))
    client = client_of(transport)
    upload = await client.create_upload("k", WriteOptions("text/csv"))
    await client.put_part(upload, 1, b"a" * 262_144)
    await client.abort_upload(upload)
    chunk, cancel = transport.requests[1:]
    assert as_text(chunk).startswith(
        f"PUT /upload/storage/v1/b/bucket/o?upload_id=x%2By\n{HOST}{AUTH}content-range: bytes 0-262143/*\n"
        "content-type: text/csv\n\naaa"
    )
    assert as_text(cancel) == f"DELETE /upload/storage/v1/b/bucket/o?upload_id=x%2By\n{HOST}{AUTH}\n"


async def test_the_parts_of_a_composition_and_its_end() -> None:
    def told(name: str) -> Reply:
        return Reply(200, {}, json.dumps({**ROW, "name": name}).encode())

    transport = CannedTransport()
    transport.replies = [
        lambda request: told(json.loads(request.content.split(b"\r\n\r\n")[1].split(b"\r\n")[0])["name"])
    ]
    client = client_of(transport)
    upload = await client.create_upload("d/k", WriteOptions("text/csv", {"a": "1"}), 1 << 30)
    part = await client.put_part(upload, 7, b"hello")
    put = as_text(transport.requests[0])
    name = rf"d/\.~entrepot-{upload.upload_id[8:]}/k/00007-[0-9a-f]{{8}}"
    assert put.startswith(
        f"POST /upload/storage/v1/b/bucket/o?uploadType=multipart&fields={FIELDS}&ifGenerationMatch=0\n"
    )
    assert re.search(
        rf'{{"contentType": "application/octet-stream", "storageClass": "STANDARD", "name": "{name}", '
        r'"crc32c": "mnG7TA=="}', put
    )  # fmt: skip
    transport.replies = [told("d/k"), Reply(404)]
    await client.complete_upload(upload, [part])
    compose = as_text(transport.requests[1])
    assert compose.startswith(f"POST /storage/v1/b/bucket/o/d%2Fk/compose?fields={FIELDS}\n{JSON}\n")
    assert json.loads(compose.partition("\n\n")[2])["destination"] == {
        "contentType": "text/csv",
        "metadata": {"a": "1"},
    }
    (source,) = json.loads(compose.partition("\n\n")[2])["sourceObjects"]
    assert re.fullmatch(name, source.pop("name"))
    assert source == {"generation": "17", "objectPreconditions": {"ifGenerationMatch": "17"}}


# ---- configuration -----------------------------------------------------------------------------------------

KMS = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
QUOTED_KMS = "projects%2Fp%2Flocations%2Fl%2FkeyRings%2Fr%2FcryptoKeys%2Fk"


async def asked_with(call: Any, *replies: Any, **options: Any) -> list[str]:
    transport = CannedTransport(*replies)
    await call(client_of(transport, **options))
    return [as_text(one) for one in transport.requests]


async def test_access_token_is_sent() -> None:
    (text,) = await asked_with(lambda c: c.head("k"), OBJECT, access_token="other")
    assert "authorization: Bearer other\n" in text


async def test_anonymous_sends_no_token() -> None:
    (text,) = await asked_with(lambda c: c.head("k"), OBJECT, access_token=None, anonymous=True)
    assert "authorization" not in text


async def test_user_project_pays_for_every_request() -> None:
    calls = ("head", "get", "put", "list", "list versions", "delete", "copy", "create upload")
    for name in calls:
        call, reply, _ = PRIMITIVES[name]
        (text,) = await asked_with(call, reply, user_project="payer")
        assert "userProject=payer" in text or "x-goog-user-project: payer" in text, name
    (text,) = await asked_with(PRIMITIVES["delete many"][0], PRIMITIVES["delete many"][1], user_project="payer")
    assert "DELETE /storage/v1/b/bucket/o/a%2Fb?userProject=payer HTTP/1.1" in text


async def test_the_name_of_our_own_metadata_is_nobodys_to_give() -> None:
    transport = CannedTransport()
    client = client_of(transport)
    options = WriteOptions(metadata={"Entrepot-Write": "mine"})
    for attempt in (
        client.put("k", b"", options),
        client.create_upload("k", options),
        client.copy(client, "s", "k", options),
    ):
        with pytest.raises(ConfigurationError, match=r"entrepot's own.*choose another name"):
            await attempt
    assert transport.requests == []


async def test_storage_class_is_that_of_what_is_written() -> None:
    (put,) = await asked_with(PRIMITIVES["put"][0], OBJECT, storage_class="NEARLINE")
    assert '"storageClass": "NEARLINE"' in put
    (session,) = await asked_with(PRIMITIVES["create upload"][0], SESSION, storage_class="NEARLINE")
    assert '"storageClass": "NEARLINE"' in session
    kept = Reply(
        200,
        {},
        json.dumps(
            {"generation": "16", "contentType": "text/csv", "metadata": {"a": "1"}, "cacheControl": "x"}
        ).encode(),
    )
    look, copy = await asked_with(lambda c: c.copy(c, "s", "k"), kept, DONE, storage_class="NEARLINE")
    assert look.startswith("GET /storage/v1/b/bucket/o/s?fields=generation%2CcontentType%2Cmetadata%2CcacheControl")
    assert "&ifSourceGenerationMatch=16\n" in copy, "what is kept and what is copied are of one object"
    assert json.loads(copy.partition("\n\n")[2]) == {
        "contentType": "text/csv",
        "metadata": {"a": "1"},
        "cacheControl": "x",
        "storageClass": "NEARLINE",
    }


async def test_kms_key_name_and_predefined_acl_are_those_of_what_is_written() -> None:
    options = {"kms_key_name": KMS, "predefined_acl": "projectPrivate"}
    for name in ("put", "create upload"):
        (text,) = await asked_with(*PRIMITIVES[name][:2], **options)
        assert f"&kmsKeyName={QUOTED_KMS}&predefinedAcl=projectPrivate" in text
    (text,) = await asked_with(*PRIMITIVES["copy"][:2], **options)
    assert f"?destinationKmsKeyName={QUOTED_KMS}&destinationPredefinedAcl=projectPrivate&" in text


async def test_project_and_location_are_where_a_bucket_is_made() -> None:
    (text,) = await asked_with(
        lambda c: c.create_container(), Reply(200), project="mine", location="EU", storage_class="NEARLINE"
    )
    assert text.startswith("POST /storage/v1/b?project=mine\n")
    assert json.loads(text.partition("\n\n")[2]) == {"name": "bucket", "location": "EU", "storageClass": "NEARLINE"}


async def test_a_bucket_without_a_project_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(ConfigurationError, match="set project"):
        await client_of(CannedTransport(), project=None).create_container()
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "of-the-environment")
    transport = CannedTransport(Reply(200))
    await client_of(transport, project=None).create_container()
    assert transport.requests[0].target == "/storage/v1/b?project=of-the-environment"


async def test_endpoint_url_is_where_requests_go() -> None:
    transport = CannedTransport(OBJECT)
    await client_of(transport, endpoint_url="https://gcs.example.com:8443/base").head("k")
    assert transport.requests[0].origin.url == "https://gcs.example.com:8443"
    assert transport.requests[0].target.startswith("/base/storage/v1/b/bucket/o/k?")


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://localhost:4443", "http://localhost:4443"),
        ("localhost:4443", "http://localhost:4443"),
        ("http://127.0.0.1:4443/", "http://127.0.0.1:4443"),
        ("http://127.0.0.1:4443/storage/v1/", "http://127.0.0.1:4443"),
        ("https://emulator.example", "https://emulator.example"),
    ],
)
async def test_the_emulator_of_the_environment_is_spoken_to_without_token(
    value: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", value)
    transport = CannedTransport(OBJECT)
    client = make_client(GcpConfig(path="gs://bucket"), transport=transport, policy=AT_ONCE)
    await client.head("k")
    assert transport.requests[0].origin.url == url
    assert transport.requests[0].headers == ()
    given = make_client(GcpConfig(path="gs://bucket", access_token="t"), transport=transport, policy=AT_ONCE)
    await given.head("k")
    assert transport.requests[1].headers == (("authorization", "Bearer t"),)
    assert client.capabilities.exclusive_copy is False, "what an emulator keeps is not taken for granted"


def test_endpoint_url_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://localhost:1")
    config = GcpConfig(path="gs://bucket", endpoint_url="https://storage.googleapis.com")
    assert config.endpoint() == GOOGLE
    assert not config.is_anonymous


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": "gs://B"}, "3 to 63 lower-case"),
        ({"path": "gs://ab"}, "3 to 63 lower-case"),
        ({"path": "gs://1.2.3.4"}, "no IP address"),
        ({"path": "gs://goog-mine"}, "goog"),
        ({"path": "gs://" + "a" * 64}, "3 to 63"),
        ({"endpoint_url": "http://storage.example.com"}, "https"),
        ({"endpoint_url": "http://169.254.169.254"}, "metadata"),
        ({"endpoint_url": "https://u:canary@storage.example.com"}, "user or password"),
        ({"token": "{", "access_token": None}, "token is not JSON"),
        ({"token": "{}", "access_token": None}, "no credentials file of a known type"),
        ({"token": "ya29.canary", "access_token": None}, "given as access_token"),
        ({"token": "x"}, "either token or access_token"),
        ({"anonymous": True}, "anonymous takes no token"),
        ({"access_token": "a b"}, "a character that no token has"),
        ({"access_token": "a\n"}, "a character that no token has"),
        ({"ca_bundle": "/no/such/file"}, "file of certificates"),
        ({"predefined_acl": "everyone"}, "predefined_acl"),
        ({"kms_key_name": "key"}, "kms_key_name"),
        ({"storage_class": "nearline"}, "storage_class"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"tokenn": "x"}, "token"),
    ],
)
def test_contradictions_and_mistakes_are_refused_before_any_request(options: dict[str, Any], text: str) -> None:
    given = {"path": "gs://bucket", "access_token": "canary", **options}
    with pytest.raises(StoreError, match=re.escape(text)) as caught:
        GcpArtifactStore(**given)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_allow_http_and_allow_link_local_lift_their_refusals() -> None:
    GcpConfig(path="gs://bucket", endpoint_url="http://storage.example.com", allow_http=True)
    GcpConfig(path="gs://bucket", endpoint_url="https://169.254.169.254", allow_link_local=True)


async def test_max_attempts_is_how_often_a_request_is_made() -> None:
    transport = CannedTransport(Reply(500))
    config = GcpConfig(path="gs://bucket", access_token="t", max_attempts=1)
    with pytest.raises(ServiceUnavailable):
        await make_client(config, transport=transport).head("k")
    assert len(transport.requests) == 1


def test_ca_bundle_is_what_both_clients_trust(tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    file.write_text("no certificate")
    for kind in ("wire", "sdk"):
        config = GcpConfig(path="gs://bucket", anonymous=True, ca_bundle=str(file), client=kind)
        with pytest.raises(ConfigurationError, match="certificate authorities"):
            make_client(config)._transport.route(GOOGLE.origin)


def test_client_decides_who_speaks() -> None:
    from entrepot.flavors.gcp.sdk import GcpSdkClient

    assert isinstance(client_of(CannedTransport()), GcpWireClient)
    assert isinstance(client_of(CannedTransport(), client="sdk"), GcpSdkClient)


def test_a_pickle_carries_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    store = GcpArtifactStore("gs://bucket/p", access_token="canary-token", user_project="payer")
    data = pickle.dumps(store)
    assert b"canary" not in data
    again = pickle.loads(data)
    assert (again.path, again.config.user_project, again.config.access_token) == ("gs://bucket/p", "payer", None)
    assert "canary" not in repr(store)


async def test_an_unpickled_store_without_credentials_says_how_to_give_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    again = pickle.loads(pickle.dumps(GcpArtifactStore("gs://bucket", access_token="t")))
    with pytest.raises(CredentialsMissing, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await again.exists("k")
    await again.close()


@pytest.mark.parametrize("name", ["a b", "é", "a:b", "", "a\nb"])
async def test_a_name_of_metadata_that_no_header_has_is_refused(name: str) -> None:
    client = client_of(CannedTransport())
    for call in (
        client.put("k", b"", WriteOptions(metadata={name: "x"})),
        client.create_upload("k", WriteOptions(metadata={name: "x"})),
    ):
        with pytest.raises(ConfigurationError):
            await call


@pytest.mark.parametrize("value", ["plain", "é", " padded ", "two\nlines", "=?UTF-8?B?w6k=?=", "", "日本"])
async def test_every_value_of_metadata_comes_back_as_it_was(value: str) -> None:
    client = client_of(StrictGcs())
    await client.put("k", b"x", WriteOptions(metadata={"a": value}))
    assert (await client.head("k")).metadata["a"] == value
    assert (await client.get("k")).stat.metadata["a"] == value


async def test_an_etag_of_another_service_is_no_generation() -> None:
    transport = CannedTransport()
    client = client_of(transport)
    for call in (
        client.get("k", if_match="5d41402abc4b2a76b9719d911017c592"),
        client.put("k", b"", WriteOptions(if_match="5d41402a")),
        client.copy(client, "s", "k", source_etag="5d41402a"),
        client.create_upload("k", WriteOptions(if_match="٣")),
    ):
        with pytest.raises(PreconditionFailed):
            await call
    assert transport.requests == []
