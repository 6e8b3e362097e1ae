"""The requests of the wire client, as text: each primitive, and each key of the configuration."""

from __future__ import annotations

import base64
import hashlib
import pickle
import subprocess
import sys
from typing import Any

import pytest

from canned import AT_ONCE, CannedTransport, Reply
from entrepot.errors import ConfigurationError, CredentialsMissing, ServiceUnavailable, StoreError, UnsupportedOperation
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.connection import make_client
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.models import ByteRange, Part, Upload, WriteOptions
from entrepot.objects.client import CHANGED
from entrepot.testing.servers import Server
from s3_canned import KEYS, as_text, client_of, xml

pytestmark = pytest.mark.anyio

ETAG = "5d41402abc4b2a76b9719d911017c592"
MD5 = "XUFAKrxLKna5cZ2REBfFkg=="
EMPTY = hashlib.sha256(b"").hexdigest()
UPLOAD = Upload("a/k", "id+/=")
SIGNED = "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/DAY/eu-west-1/s3/aws4_request, SignedHeaders="
TAIL = f"x-amz-content-sha256: {EMPTY}\nx-amz-date: DATE\n{SIGNED}host;"

PRIMITIVES: dict[str, tuple[Any, Reply, str]] = {
    "head": (
        lambda c: c.head("a b/é+%41"),
        Reply(headers={"content-length": "5"}),
        "HEAD /bucket/a%20b/%C3%A9%2B%2541\nhost: s3.example.com\n"
        + TAIL
        + "x-amz-content-sha256;x-amz-date, Signature=SIGNATURE",
    ),
    "get": (
        lambda c: c.get("k", byte_range=ByteRange(1, 5), if_match=ETAG),
        Reply(206, {"content-range": "bytes 1-4/5", "etag": f'"{ETAG}"'}, b"ello"),
        f'GET /bucket/k\nhost: s3.example.com\nrange: bytes=1-4\nif-match: "{ETAG}"\n'
        + TAIL
        + "if-match;range;x-amz-content-sha256;x-amz-date, Signature=SIGNATURE",
    ),
    "put": (
        lambda c: c.put("k", b"hello", WriteOptions("text/plain", {"Color": "blue"}, mtime_s=1.5)),
        Reply(headers={"etag": f'"{ETAG}"'}),
        f"PUT /bucket/k\nhost: s3.example.com\ncontent-md5: {MD5}\ncontent-type: text/plain\nx-amz-meta-color: blue\n"
        "x-amz-meta-mtime: 1.5\nx-amz-content-sha256: UNSIGNED-PAYLOAD\nx-amz-date: DATE\n"
        + SIGNED
        + "content-md5;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-color;x-amz-meta-mtime, "
        "Signature=SIGNATURE\n\nhello",
    ),
    "create only": (
        lambda c: c.put("k", b"", WriteOptions(if_none_match=True)),
        Reply(),
        "PUT /bucket/k\nhost: s3.example.com\ncontent-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\nif-none-match: *\n",
    ),
    "replace this etag": (
        lambda c: c.put("k", b"", WriteOptions(if_match=ETAG)),
        Reply(),
        f'PUT /bucket/k\nhost: s3.example.com\ncontent-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\nif-match: "{ETAG}"\n',
    ),
    "list": (
        lambda c: c.list_page("a b/", delimiter="/", start_after="a b/c", limit=7),
        Reply(body=xml("ListBucketResult")),
        "GET /bucket?delimiter=%2F&encoding-type=url&list-type=2&max-keys=7&prefix=a%20b%2F&start-after=a%20b%2Fc\n",
    ),
    "list on": (
        lambda c: c.list_page("", token="t/+="),
        Reply(body=xml("ListBucketResult")),
        "GET /bucket?continuation-token=t%2F%2B%3D&encoding-type=url&list-type=2&max-keys=1000\n",
    ),
    "delete": (lambda c: c.delete("k"), Reply(204), "DELETE /bucket/k\nhost: s3.example.com\nx-amz-content-sha256: "),
    "delete many": (
        lambda c: c.delete_many(["a&<b>", "c\rd"]),
        Reply(body=xml("DeleteResult")),
        "POST /bucket?delete=\nhost: s3.example.com\ncontent-md5: ",
    ),
    "copy": (
        lambda c: c.copy(c, "s +é", "k", source_etag=ETAG),
        Reply(body=xml("CopyObjectResult", f"<ETag>{ETAG}</ETag>")),
        (
            "PUT /bucket/k\nhost: s3.example.com\nx-amz-copy-source: /bucket/s%20%2B%C3%A9\n"
            f'x-amz-copy-source-if-match: "{ETAG}"\nx-amz-metadata-directive: COPY\n'
        ),
    ),
    "copy with other metadata": (
        lambda c: c.copy(c, "s", "k", WriteOptions(metadata={"a": "1"})),
        Reply(body=xml("CopyObjectResult", f"<ETag>{ETAG}</ETag>")),
        (
            "PUT /bucket/k\nhost: s3.example.com\nx-amz-copy-source: /bucket/s\nx-amz-metadata-directive: REPLACE\n"
            "x-amz-meta-a: 1\n"
        ),
    ),
    "create upload": (
        lambda c: c.create_upload("a/k", WriteOptions("text/plain", {"a": "1"})),
        Reply(body=xml("InitiateMultipartUploadResult", "<UploadId>id</UploadId>")),
        "POST /bucket/a/k?uploads=\nhost: s3.example.com\ncontent-type: text/plain\nx-amz-meta-a: 1\n",
    ),
    "put part": (
        lambda c: c.put_part(UPLOAD, 3, b"hello"),
        Reply(headers={"etag": f'"{ETAG}"'}),
        (
            f"PUT /bucket/a/k?partNumber=3&uploadId=id%2B%2F%3D\nhost: s3.example.com\ncontent-md5: {MD5}\n"
            "x-amz-content-sha256: UNSIGNED-PAYLOAD\n"
        ),
    ),
    "copy part": (
        lambda c: c.copy_part(UPLOAD, 1, c, "s", ByteRange(5, 10), source_etag=ETAG),
        Reply(body=xml("CopyPartResult", f"<ETag>{ETAG}</ETag>")),
        (
            "PUT /bucket/a/k?partNumber=1&uploadId=id%2B%2F%3D\nhost: s3.example.com\nx-amz-copy-source: /bucket/s\n"
            f'x-amz-copy-source-if-match: "{ETAG}"\nx-amz-copy-source-range: bytes=5-9\n'
        ),
    ),
    "complete": (
        lambda c: c.complete_upload(UPLOAD, [Part(2, 1, "b"), Part(1, 5, "a")]),
        Reply(headers={"content-length": "6"}, body=xml("CompleteMultipartUploadResult", "<ETag>c-2</ETag>")),
        "POST /bucket/a/k?uploadId=id%2B%2F%3D\nhost: s3.example.com\ncontent-type: application/xml\n",
    ),
    "abort": (lambda c: c.abort_upload(UPLOAD), Reply(204), "DELETE /bucket/a/k?uploadId=id%2B%2F%3D\n"),
    "list parts": (
        lambda c: c.list_parts(UPLOAD),
        Reply(body=xml("ListPartsResult")),
        "GET /bucket/a/k?uploadId=id%2B%2F%3D\n",
    ),
    "list uploads": (
        lambda c: c.list_uploads("a b"),
        Reply(body=xml("ListMultipartUploadsResult")),
        "GET /bucket?encoding-type=url&prefix=a%20b&uploads=\n",
    ),
    "head of a version": (
        lambda c: c.head("a b", version="v/+="),
        Reply(headers={"content-length": "5"}),
        "HEAD /bucket/a%20b?versionId=v%2F%2B%3D\nhost: s3.example.com\n",
    ),
    "get of a version": (
        lambda c: c.get("k", version="null"),
        Reply(body=b"hello"),
        "GET /bucket/k?versionId=null\nhost: s3.example.com\n",
    ),
    "list versions": (
        lambda c: c.list_versions("a b"),
        Reply(body=xml("ListVersionsResult")),
        "GET /bucket?encoding-type=url&prefix=a%20b&versions=\nhost: s3.example.com\n",
    ),
    "create bucket": (lambda c: c.create_container(), Reply(), "PUT /bucket\nhost: s3.example.com\n"),
}


@pytest.mark.parametrize("name", PRIMITIVES)
async def test_each_primitive_sends_this_request(name: str) -> None:
    run, reply, expected = PRIMITIVES[name]
    client, transport = client_of(reply)
    await run(client)
    assert as_text(transport.requests[0]).startswith(expected)


async def test_the_body_of_a_batched_delete_escapes_what_xml_would_change() -> None:
    client, transport = client_of(Reply(body=xml("DeleteResult")), Reply(204))
    await client.delete_many(["a&<b>", "c\rd", "\x01"])
    body = bytes(transport.requests[0].body).decode()
    digest = base64.b64encode(hashlib.md5(body.encode()).digest()).decode()
    assert dict(transport.requests[0].headers)["content-md5"] == digest
    assert "<Key>a&amp;&lt;b&gt;</Key>" in body
    assert "<Key>c&#13;d</Key>" in body
    assert transport.requests[1].method == "DELETE", "a name that no XML can hold is deleted alone"
    assert transport.requests[1].target == "/bucket/%01"


async def test_amazon_deletes_only_what_has_the_etag_that_is_named() -> None:
    client, transport = client_of(
        Reply(204),
        Reply(
            body=xml("DeleteResult", "<Error><Key>b</Key><Code>PreconditionFailed</Code><Message>m</Message></Error>")
        ),
        endpoint_url=None,
    )
    await client.delete("k", if_match=ETAG)
    assert dict(transport.requests[0].headers)["if-match"] == f'"{ETAG}"'
    (failure,) = await client.delete_many(["a", "b", "c"], etags={"a": ETAG, "b": "x-2"})
    assert (failure.key, failure.code) == ("b", CHANGED)
    assert bytes(transport.requests[1].body).decode().partition("</Quiet>")[2] == (
        f"<Object><Key>a</Key><ETag>&quot;{ETAG}&quot;</ETag></Object><Object><Key>b</Key><ETag>&quot;x-2&quot;</ETag>"
        "</Object><Object><Key>c</Key></Object></Delete>"
    )


async def test_the_body_of_a_completion_lists_the_parts_in_order() -> None:
    client, transport = client_of(
        Reply(headers={"content-length": "6"}, body=xml("CompleteMultipartUploadResult", "<ETag>c-2</ETag>"))
    )
    await client.complete_upload(UPLOAD, [Part(2, 1, "b"), Part(1, 5, "a")])
    assert bytes(transport.requests[0].body).decode().partition(">")[2] == (
        "<Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>"
        "<Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part></CompleteMultipartUpload>"
    )


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("plain text", "plain text"),
        ("", ""),
        ("é", "=?UTF-8?B?w6k=?="),
        ("two  spaces", "=?UTF-8?B?dHdvICBzcGFjZXM=?="),
        (" outer ", "=?UTF-8?B?IG91dGVyIA==?="),
        ("=?UTF-8?B?w6k=?=", "=?UTF-8?B?PT9VVEYtOD9CP3c2az0/PQ==?="),
        ("a\nb", "=?UTF-8?B?YQpi?="),
    ],
)
async def test_metadata_that_headers_do_not_keep_is_encoded_and_read_back(value: str, sent: str) -> None:
    client, transport = client_of(Reply())
    await client.put("k", b"", WriteOptions(metadata={"m": value}))
    assert dict(transport.requests[0].headers)["x-amz-meta-m"] == sent
    client, _ = client_of(Reply(headers={"content-length": "0", "x-amz-meta-m": sent}))
    assert (await client.head("k")).metadata == {"m": value}


async def test_a_name_of_metadata_that_is_no_header_is_refused() -> None:
    client, transport = client_of(Reply())
    with pytest.raises(ConfigurationError):
        await client.put("k", b"", WriteOptions(metadata={"a b": "1"}))
    assert transport.requests == []


# ---- presigned URLs ----------------------------------------------------------------------------------------


async def test_a_presigned_url_needs_no_request_and_shows_no_secret() -> None:
    client, transport = client_of(token="session/+=")
    url = await client.presign("a b", "GET", 60)
    assert url.startswith("https://s3.example.com/bucket/a%20b?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID")
    assert "X-Amz-Expires=60&" in url
    assert "X-Amz-Security-Token=session%2F%2B%3D&" in url
    assert KEYS["secret"] not in url
    assert transport.requests == []


async def test_what_every_request_carries_is_in_a_presigned_url() -> None:
    client, _ = client_of(requester_pays=True)
    assert "&x-amz-request-payer=requester&X-Amz-Signature=" in await client.presign("k", "GET", 60)


async def test_a_presigned_url_of_nobody_is_the_plain_address() -> None:
    client, _ = client_of(key=None, secret=None, anonymous=True)
    assert await client.presign("a b", "GET", 60) == "https://s3.example.com/bucket/a%20b"


async def test_the_key_of_encrypted_objects_never_gets_into_a_url() -> None:
    client, _ = client_of(sse_customer_key=CUSTOMER_KEY)
    with pytest.raises(UnsupportedOperation, match="sse_customer_key"):
        await client.presign("k", "GET", 60)


# ---- each key of the configuration -------------------------------------------------------------------------

CUSTOMER_KEY = base64.b64encode(b"k" * 32).decode()
CUSTOMER_MD5 = base64.b64encode(hashlib.md5(b"k" * 32).digest()).decode()
SEALED = (
    "x-amz-server-side-encryption-customer-algorithm: AES256\n"
    f"x-amz-server-side-encryption-customer-key: {CUSTOMER_KEY}\n"
    f"x-amz-server-side-encryption-customer-key-md5: {CUSTOMER_MD5}\n"
)


async def asked(operation: str = "put", **options: Any) -> str:
    if operation == "put":
        client, transport = client_of(Reply(headers={"etag": '"d41d8cd98f00b204e9800998ecf8427e"'}), **options)
        await client.put("a/k", b"")
    else:
        client, transport = client_of(Reply(headers={"content-length": "0"}), **options)
        await client.head("a/k")
    return as_text(transport.requests[0])


PUT = "content-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\n"
KEYED: dict[str, tuple[dict[str, Any], str, str]] = {
    "path": ({"path": "s3://other.bucket/p"}, "put", "PUT /other.bucket/a/k\n"),
    "key": ({"key": "AKIDOTHER", "secret": "s"}, "put", "Credential=AKIDOTHER/DAY/eu-west-1/s3/aws4_request"),
    "token": ({"token": "session"}, "put", "x-amz-security-token: session\n"),
    "region": ({"region": "ap-south-1"}, "put", "/DAY/ap-south-1/s3/aws4_request"),
    "endpoint_url": (
        {"endpoint_url": "http://127.0.0.1:9000/base/"}, "put", "PUT /base/bucket/a/k\nhost: 127.0.0.1:9000\n",
    ),
    "aws": ({"endpoint_url": None}, "put", "PUT /a/k\nhost: bucket.s3.eu-west-1.amazonaws.com\n"),
    "aws, a bucket with dots": (
        {"endpoint_url": None, "path": "s3://a.b"}, "put", "PUT /a.b/a/k\nhost: s3.eu-west-1.amazonaws.com\n",
    ),
    "aws in China": (
        {"endpoint_url": None, "region": "cn-north-1"}, "put", "host: bucket.s3.cn-north-1.amazonaws.com.cn\n",
    ),
    "addressing_style path": (
        {"endpoint_url": None, "addressing_style": "path"}, "put",
        "PUT /bucket/a/k\nhost: s3.eu-west-1.amazonaws.com\n",
    ),
    "addressing_style virtual": ({"addressing_style": "virtual"}, "put", "PUT /a/k\nhost: bucket.s3.example.com\n"),
    "sse": ({"sse": "AES256"}, "put", f"x-amz-server-side-encryption: AES256\n{PUT}"),
    "sse_kms_key_id": (
        {"sse": "aws:kms", "sse_kms_key_id": "key-1"}, "put",
        f"x-amz-server-side-encryption: aws:kms\nx-amz-server-side-encryption-aws-kms-key-id: key-1\n{PUT}",
    ),
    "sse_customer_key": ({"sse_customer_key": CUSTOMER_KEY}, "put", SEALED + PUT),
    "sse_customer_key to read": ({"sse_customer_key": CUSTOMER_KEY}, "head", f"host: s3.example.com\n{SEALED}"),
    "acl": ({"acl": "public-read"}, "put", f"x-amz-acl: public-read\n{PUT}"),
    "storage_class": ({"storage_class": "STANDARD_IA"}, "put", f"x-amz-storage-class: STANDARD_IA\n{PUT}"),
    "requester_pays": ({"requester_pays": True}, "put", f"x-amz-request-payer: requester\n{PUT}"),
    "requester_pays to read": ({"requester_pays": True}, "head", "x-amz-request-payer: requester\n"),
    "allow_http": ({"endpoint_url": "http://s3.example.com", "allow_http": True}, "put", "host: s3.example.com\n"),
    "allow_link_local": (
        {"endpoint_url": "https://169.254.1.1", "allow_link_local": True}, "put", "host: 169.254.1.1\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYED)
async def test_each_key_changes_the_request(name: str) -> None:
    options, operation, expected = KEYED[name]
    assert expected in await asked(operation, **options)


async def test_what_is_for_new_objects_is_not_sent_when_reading() -> None:
    text = await asked("head", sse="AES256", acl="private", storage_class="STANDARD")
    assert "encryption" not in text
    assert "x-amz-acl" not in text
    assert "storage-class" not in text


async def test_over_plain_http_the_signature_covers_the_body() -> None:
    client, transport = client_of(Reply(), endpoint_url="http://localhost:9000")
    await client.put("k", b"hello")
    assert dict(transport.requests[0].headers)["x-amz-content-sha256"] == hashlib.sha256(b"hello").hexdigest()


async def test_anonymous_requests_are_not_signed() -> None:
    client, transport = client_of(Reply(headers={"content-length": "0"}), key=None, secret=None, anonymous=True)
    await client.head("k")
    assert as_text(transport.requests[0]) == "HEAD /bucket/k\nhost: s3.example.com"


async def test_the_environment_gives_endpoint_region_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.example.com")
    monkeypatch.setenv("AWS_REGION", "sa-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    text = await asked(endpoint_url=None, region=None, key=None, secret=None)
    assert "host: minio.example.com" in text
    assert "Credential=AKIDENV/DAY/sa-east-1/" in text


async def test_a_profile_signs(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = AKIDTEAM\naws_secret_access_key = s\n")
    (tmp_path / "config").write_text("[profile team]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    text = await asked(profile="team", key=None, secret=None, region=None)
    assert "Credential=AKIDTEAM/DAY/eu-north-1/" in text


async def test_a_role_signs_with_the_keys_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch, moto_server: Server
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server.endpoint_url)
    role = "arn:aws:iam::123456789012:role/reader"
    text = await asked(role_arn=role, role_session_name="a-session", external_id="a-partner")
    assert "Credential=ASIA" in text
    assert "x-amz-security-token: " in text


async def test_a_copy_that_creates_only_keeps_the_metadata() -> None:
    client, transport = client_of(Reply(body=xml("CopyObjectResult", f"<ETag>{ETAG}</ETag>")), endpoint_url=None)
    await client.copy(client, "s", "k", WriteOptions(if_none_match=True))
    sent = as_text(transport.requests[0])
    assert "x-amz-metadata-directive: COPY\nif-none-match: *\n" in sent


async def test_ca_bundle_is_what_tls_trusts(tmp_path: Any) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("no certificates")
    config = S3Config(path="s3://bucket", endpoint_url="https://127.0.0.1:1", ca_bundle=str(bundle), **KEYS)
    client = make_client(config)
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        await client.head("k")
    await client.close()


async def test_max_attempts_bounds_the_requests() -> None:
    transport = CannedTransport(Reply(500))
    client = make_client(S3Config(path="s3://bucket", max_attempts=2, **KEYS), transport=transport)
    with pytest.raises(ServiceUnavailable):
        await client.put("k", b"")
    assert len(transport.requests) == 2


def test_client_chooses_the_sdk() -> None:
    client = make_client(S3Config(path="s3://bucket", client="sdk", **KEYS), policy=AT_ONCE)
    assert type(client).__name__ == "S3SdkClient"


# ---- what is refused before any request ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"key": "a"},
        {"secret": "canary"},
        {"token": "canary"},
        {"key": "a", "secret": "canary", "profile": "p"},
        {"anonymous": True, "key": "a", "secret": "canary"},
        {"external_id": "canary"},
        {"endpoint_url": "https://user:canary@example.com"},
        {"endpoint_url": "https://example.com/?token=canary"},
        {"endpoint_url": "http://example.com"},
        {"endpoint_url": "http://169.254.169.254"},
        {"endpoint_url": "https://[fe80::1]"},
        {"endpoint_url": "https://[::ffff:169.254.169.254]"},
        {"endpoint_url": "ftp://example.com"},
        {"endpoint_url": "example.com:9000"},
        {"endpoint_url": "http://s3.example.com", "allow_http": True, "sse_customer_key": CUSTOMER_KEY},
        {"sse_customer_key": "canary"},
        {"sse_customer_key": CUSTOMER_KEY, "sse": "AES256"},
        {"sse_kms_key_id": "canary"},
        {"sse": "canary"},
        {"region": "canary/evil"},
        {"role_arn": "canary"},
        {"ca_bundle": "/no/such/canary"},
        {"max_attempts": 0},
        {"client": "canary"},
        {"secret": ["canary"]},
        {"path": "s3://UPPER"},
        {"path": "s3://ab"},
        {"path": "s3://192.168.0.1"},
        {"path": "s3://a..b"},
        {"path": "s3://"},
    ],
)
def test_what_cannot_be_meant_is_refused_without_showing_values(options: dict[str, Any]) -> None:
    with pytest.raises(StoreError) as caught:
        S3ArtifactStore(**{"path": "s3://bucket", **options})
    assert isinstance(caught.value, ValueError)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="endpoint_url"):
        S3ArtifactStore("s3://bucket", endpoint_uri="https://example.com")


def test_a_pickle_carries_no_secret_and_falls_back_to_the_chain() -> None:
    store = S3ArtifactStore("s3://bucket/p", token="canary-token", region="eu-west-1", **KEYS)
    pickled = pickle.dumps(store)
    assert b"canary" not in pickled
    assert KEYS["secret"].encode() not in pickled
    assert pickle.loads(pickled).describe() == {
        key: value for key, value in store.describe().items() if key not in {"key", "secret", "token"}
    }


def test_a_store_whose_encryption_key_was_not_pickled_never_writes_without_it() -> None:
    store = S3ArtifactStore("s3://bucket/p", sse_customer_key=CUSTOMER_KEY, **KEYS)
    assert CUSTOMER_KEY.encode() not in pickle.dumps(store)
    for copied in (pickle.loads(pickle.dumps(store)), pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(store))))):
        with pytest.raises(CredentialsMissing, match="sse_customer_key"):
            _ = copied.client


def test_no_sdk_is_imported_where_keys_are_given() -> None:
    code = (
        "import sys\nfrom entrepot.flavors.s3.store import S3ArtifactStore\n"
        "S3ArtifactStore('s3://bucket', key='a', secret='b', endpoint_url='https://example.com').client\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in {'botocore', 'aiobotocore', 'boto3'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
