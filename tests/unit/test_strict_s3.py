"""strict-s3 refuses what Amazon S3 refuses, by the same codes; where moto looks too, both say the same."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from entrepot import S3ArtifactStore
from entrepot.errors import CredentialsExpired
from entrepot.testing.raw import RawReply, exchanged
from entrepot.testing.raw_s3 import RawS3
from entrepot.testing.servers import Server
from entrepot.testing.strict import StrictS3, strict_s3
from entrepot.testing.strict.checksums import Checksum

MINIMUM = 5 * 1024 * 1024
WHOLE_PART = b"p" * MINIMUM


@pytest.fixture
def server() -> Iterator[StrictS3]:
    with strict_s3() as server:
        yield server


@pytest.fixture
def raw(server: StrictS3) -> RawS3:
    return server.bucket(server.create_bucket("bucket"))


def code_of(reply: RawReply) -> str:
    found = re.search(rb"<Code>(.*?)</Code>", reply.body)
    return found[1].decode() if found else ""


def said(reply: RawReply) -> tuple[int, str]:
    return reply.status, code_of(reply)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def content_md5(data: bytes) -> dict[str, str]:
    return {"content-md5": base64_of(hashlib.md5(data).digest())}


# ---- who asks ------------------------------------------------------------------------------------------


def signed(
    server: StrictS3,
    method: str = "GET",
    target: str = "/bucket",
    body: bytes = b"",
    *,
    change: Callable[[dict[str, str]], object] = lambda headers: None,
    key: str | None = None,
    secret: str | None = None,
    region: str = "us-east-1",
    at_s: float | None = None,
    signed_names: tuple[str, ...] = ("host", "x-amz-content-sha256", "x-amz-date"),
    **more: str,
) -> RawReply:
    """A request signed by hand, as the service's documents say; change: what happens to its headers afterwards."""
    stamp = datetime.fromtimestamp(time.time() if at_s is None else at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": server.endpoint_url.removeprefix("http://"),
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": stamp,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    path, _, query = target.partition("?")
    lines = "".join(f"{name}:{headers[name]}\n" for name in signed_names)
    names = ";".join(signed_names)
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{headers['x-amz-content-sha256']}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signing = f"AWS4{secret or server.secret}".encode()
    for word in scope.split("/"):
        signing = hmac.digest(signing, word.encode(), "sha256")
    signature = hmac.digest(signing, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key or server.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    change(headers)
    return exchanged(server.endpoint_url, method, target, body, headers)


@pytest.mark.usefixtures("raw")
class TestSignatures:
    def test_a_rightly_signed_request_is_served(self, server: StrictS3) -> None:
        assert signed(server).status == 200
        assert not server.refusals

    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ({"secret": "another"}, (403, "SignatureDoesNotMatch")),
            ({"key": "AKIAUNKNOWN"}, (403, "InvalidAccessKeyId")),
            ({"region": "eu-west-1"}, (400, "AuthorizationHeaderMalformed")),
            ({"change": lambda headers: headers.pop("authorization")}, (403, "AccessDenied")),
            ({"change": lambda headers: headers.update(authorization="Basic x")},
             (400, "AuthorizationHeaderMalformed")),
            ({"change": lambda headers: headers.update({"x-amz-meta-a": "b"})}, (403, "AccessDenied")),
            ({"change": lambda headers: headers.pop("x-amz-content-sha256")}, (400, "InvalidRequest")),
            ({"x_amz_content_sha256": "nonsense"}, (400, "InvalidArgument")),
            ({"x_amz_content_sha256": "0" * 64}, (400, "XAmzContentSHA256Mismatch")),
            ({"signed_names": ("x-amz-content-sha256", "x-amz-date")}, (403, "AccessDenied")),
            ({"x_amz_date": "yesterday"}, (400, "AuthorizationHeaderMalformed")),
            ({"x_amz_security_token": "t", "signed_names": ("host", "x-amz-content-sha256", "x-amz-date",
              "x-amz-security-token")}, (400, "InvalidToken")),
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, server: StrictS3, how: dict[str, Any], expected: tuple[int, str]) -> None:
        assert said(signed(server, **how)) == expected
        assert server.refusals == {expected[1]: 1}

    def test_any_change_under_way_breaks_the_signature(self, server: StrictS3) -> None:
        first = signed(server, "PUT", "/bucket/key", b"x")
        assert first.status == 200

        def other_time(headers: dict[str, str]) -> None:
            headers["x-amz-date"] = headers["x-amz-date"][:-2] + ("0Z" if headers["x-amz-date"][-2] != "0" else "1Z")

        assert said(signed(server, change=other_time)) == (403, "SignatureDoesNotMatch")
        assert said(signed(server, change=lambda headers: headers.update(host="else.where"))) == (
            403,
            "SignatureDoesNotMatch",
        )

    def test_an_unsigned_payload_may_be_anything(self, server: StrictS3) -> None:
        reply = signed(server, "PUT", "/bucket/key", b"anything", x_amz_content_sha256="UNSIGNED-PAYLOAD")
        assert reply.status == 200

    @pytest.mark.parametrize("off_s", [-1000, 1000])
    def test_a_clock_that_is_off_by_more_than_a_quarter_of_an_hour_is_refused(
        self, server: StrictS3, off_s: int
    ) -> None:
        assert signed(server, at_s=time.time() + off_s * 0.8).status == 200
        reply = signed(server, at_s=time.time() + off_s)
        assert said(reply) == (403, "RequestTimeTooSkewed")
        assert b"<MaxAllowedSkewMilliseconds>900000<" in reply.body

    def test_the_services_clock_can_be_shifted_and_is_told(self, server: StrictS3) -> None:
        server.shift_clock(3600)
        assert said(signed(server)) == (403, "RequestTimeTooSkewed")
        assert signed(server, at_s=time.time() + 3600).status == 200

    def test_temporary_credentials_need_their_token_and_can_expire(self, server: StrictS3) -> None:
        given = server.issue_session()
        names = ("host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token")

        def ask(token: str) -> RawReply:
            how = {"key": given["key"], "secret": given["secret"], "x_amz_security_token": token}
            return signed(server, signed_names=names, **how)  # type: ignore[arg-type]

        assert ask(given["token"]).status == 200
        assert said(ask("another")) == (400, "InvalidToken")
        without = signed(server, key=given["key"], secret=given["secret"])
        assert said(without) == (403, "InvalidAccessKeyId")
        server.expire_session(given["key"])
        assert said(ask(given["token"])) == (400, "ExpiredToken")

    @pytest.mark.parametrize(
        "target",
        [
            "/bucket/a%20b%2B%25/%C3%A9~-_.%2A",
            "/bucket/key?response-content-type=text%2Fcsv",
            "/bucket?prefix=a%2Fb&list-type=2",
            "/bucket?uploads",
            "/bucket?prefix=&list-type=2&delimiter=%2F",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "PUT"])
    def test_the_sdks_own_signatures_hold_in_headers_and_in_urls(
        self, server: StrictS3, target: str, method: str
    ) -> None:
        credentials = Credentials(server.key, server.secret)
        body = b"x" if method == "PUT" else b""
        for kind in ("header", "query"):
            request = AWSRequest(method, server.endpoint_url + target, data=body if kind == "header" else b"")
            if kind == "header":
                S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
            else:
                S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=60).add_auth(request)
            sent = request.prepare().url.removeprefix(server.endpoint_url)
            reply = exchanged(server.endpoint_url, method, sent, body, dict(request.headers.items()))
            # What this asks for may not be there; who asks is known.
            assert reply.status in {200, 404, 501}, reply.body
            wrong = sent.replace("X-Amz-Signature=", "X-Amz-Signature=0") if kind == "query" else f"{sent}&x=1"
            reply = exchanged(server.endpoint_url, method, wrong, body, dict(request.headers.items()))
            assert reply.status == 403

    def test_a_url_is_good_for_its_time(self, server: StrictS3) -> None:
        request = AWSRequest("GET", f"{server.endpoint_url}/bucket")
        S3SigV4QueryAuth(Credentials(server.key, server.secret), "s3", "us-east-1", expires=60).add_auth(request)
        target = request.prepare().url.removeprefix(server.endpoint_url)

        def ask(text: str = target) -> tuple[int, str]:
            return said(exchanged(server.endpoint_url, "GET", text, b"", {}))

        assert ask() == (200, "")
        server.shift_clock(61)
        assert ask() == (403, "AccessDenied")
        server.shift_clock(-1000)
        assert ask() == (403, "AccessDenied")
        server.shift_clock(0)
        assert ask(target.replace("X-Amz-Expires=60", "X-Amz-Expires=604801")) == (
            400,
            "AuthorizationQueryParametersError",
        )
        assert ask(target.replace("X-Amz-Expires=60&", "")) == (400, "AuthorizationQueryParametersError")
        assert ask(target.replace("X-Amz-Expires=60", "X-Amz-Expires=61")) == (403, "SignatureDoesNotMatch")


# ---- what the body is ----------------------------------------------------------------------------------

DIGESTS = {
    "crc32": zlib.crc32(b"123456789").to_bytes(4, "big"),
    "crc32c": bytes.fromhex("e3069283"),
    "crc64nvme": bytes.fromhex("ae8b14860a799888"),
    "sha1": hashlib.sha1(b"123456789").digest(),
    "sha256": hashlib.sha256(b"123456789").digest(),
}
"""Of `123456789`, the text by which the catalogues of CRCs check theirs."""


class TestChecksums:
    @pytest.mark.parametrize("algorithm", DIGESTS)
    def test_a_checksum_is_verified_kept_and_told(self, raw: RawS3, algorithm: str) -> None:
        name, right = f"x-amz-checksum-{algorithm}", base64_of(DIGESTS[algorithm])
        reply = raw.request("PUT", "key", body=b"123456789", headers={name: right})
        assert (reply.status, reply.headers[name]) == (200, right)
        assert name not in raw.request("HEAD", "key").headers
        told = raw.request("HEAD", "key", headers={"x-amz-checksum-mode": "ENABLED"}).headers
        assert (told[name], told["x-amz-checksum-type"]) == (right, "FULL_OBJECT")
        assert said(raw.request("PUT", "key", body=b"12345678", headers={name: right})) == (400, "BadDigest")
        assert said(raw.request("PUT", "key", body=b"x", headers={name: "AAAA"})) == (400, "InvalidRequest")
        assert raw.get("key") == b"123456789"

    def test_a_checksum_without_its_library_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "google_crc32c", None)
        assert Checksum.of("crc32c", b"123456789").value == base64_of(DIGESTS["crc32c"])

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            (content_md5(b"body"), (200, "")),
            (content_md5(b"other"), (400, "BadDigest")),
            ({"content-md5": "AAAA"}, (400, "InvalidDigest")),
            ({"content-md5": "no base64!"}, (400, "InvalidDigest")),
            ({"x-amz-checksum-md5": "AAAA"}, (400, "InvalidRequest")),
            ({"x-amz-checksum-sha1": "AAAA", "x-amz-checksum-crc32": "AAAAAA=="}, (400, "InvalidRequest")),
            ({"x-amz-sdk-checksum-algorithm": "CRC32C"}, (400, "InvalidRequest")),
        ],
    )
    def test_what_a_request_says_of_its_body_must_hold(
        self, raw: RawS3, headers: Mapping[str, str], expected: tuple[int, str]
    ) -> None:
        assert said(raw.request("PUT", "key", body=b"body", headers=headers)) == expected
        assert raw.exists("key") == (expected[0] == 200)

    @pytest.mark.parametrize(
        ("framed", "expected"),
        [
            (b"4;x=y\r\n1234\r\n", (400, "IncompleteBody")),
            (b"4\r\n1234\r\n5\r\n56789\r\n0\r\nx-amz-checksum-crc32c:%s\r\n\r\n", (200, "")),
            (b"4\r\n1234\r\n5\r\n5678X\r\n0\r\nx-amz-checksum-crc32c:%s\r\n\r\n", (400, "BadDigest")),
            (b"4\r\n1234\r\n0\r\nx-amz-checksum-crc32c:%s\r\n\r\n", (400, "IncompleteBody")),
            (b"9\r\n123456789\r\n0\r\n\r\n", (400, "MalformedTrailerError")),
            (b"9\r\n12345678\r\n0\r\n\r\n", (400, "IncompleteBody")),
        ],
    )
    def test_a_trailer_is_verified(
        self, server: StrictS3, raw: RawS3, framed: bytes, expected: tuple[int, str]
    ) -> None:
        body = framed.replace(b"%s", base64_of(DIGESTS["crc32c"]).encode())
        names = ("host", "x-amz-content-sha256", "x-amz-date", "x-amz-decoded-content-length", "x-amz-trailer")
        reply = signed(
            server, "PUT", "/bucket/key", body, signed_names=names,
            x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER", x_amz_trailer="x-amz-checksum-crc32c",
            x_amz_decoded_content_length="9", content_encoding="aws-chunked",
        )  # fmt: skip
        assert said(reply) == expected
        if expected[0] == 200:
            assert raw.get("key") == b"123456789"
            assert "content-encoding" not in raw.request("HEAD", "key").headers

    def test_a_batched_delete_must_vouch_for_its_body(self, raw: RawS3) -> None:
        raw.put("key", b"x")
        body = b"<Delete><Object><Key>key</Key></Object></Delete>"
        assert said(raw.request("POST", "", query={"delete": ""}, body=body)) == (400, "InvalidRequest")
        wrong = content_md5(b"other")
        assert said(raw.request("POST", "", query={"delete": ""}, body=body, headers=wrong)) == (400, "BadDigest")
        assert raw.exists("key")
        crc = {"x-amz-checksum-crc32": base64_of(zlib.crc32(body).to_bytes(4, "big"))}
        assert raw.request("POST", "", query={"delete": ""}, body=body, headers=crc).status == 200
        assert not raw.exists("key")

    def test_chunks_without_a_length_are_not_taken(self, server: StrictS3, raw: RawS3) -> None:
        how = {"transfer_encoding": "chunked", "x_amz_content_sha256": "UNSIGNED-PAYLOAD"}
        reply = signed(server, "PUT", "/bucket/key", b"1\r\nx\r\n0\r\n\r\n", **how)  # type: ignore[arg-type]
        assert said(reply) == (501, "NotImplemented")


# ---- uploads in parts ----------------------------------------------------------------------------------


def created(raw: RawS3, key: str = "key", **headers: str) -> str:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = raw.request("POST", key, query={"uploads": ""}, headers=given)
    found = re.search(rb"<UploadId>(.*?)</UploadId>", reply.body)
    assert found, reply.body
    return found[1].decode()


def completed(raw: RawS3, upload: str, rows: str, headers: Mapping[str, str] | None = None) -> RawReply:
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    return raw.request("POST", "key", query={"uploadId": upload}, body=body, headers=headers)


def row(number: int, data: bytes, **more: str) -> str:
    told = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    return f'<Part><PartNumber>{number}</PartNumber><ETag>"{hashlib.md5(data).hexdigest()}"</ETag>{told}</Part>'


def sent(raw: RawS3, upload: str, number: int, data: bytes, **headers: str) -> RawReply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return raw.request("PUT", "key", query={"partNumber": str(number), "uploadId": upload}, body=data, headers=given)


def crc32c_of(data: bytes) -> str:
    return Checksum.of("crc32c", data).value


class TestUploads:
    def test_the_checksum_of_the_whole_is_verified_at_the_end(self, raw: RawS3) -> None:
        upload = created(raw, x_amz_checksum_algorithm="CRC32C", x_amz_checksum_type="FULL_OBJECT")
        assert sent(raw, upload, 1, WHOLE_PART, x_amz_checksum_crc32c=crc32c_of(WHOLE_PART)).status == 200
        assert sent(raw, upload, 2, b"end").headers["x-amz-checksum-crc32c"] == crc32c_of(b"end")
        rows = row(1, WHOLE_PART) + row(2, b"end")
        wrong = completed(raw, upload, rows, {"x-amz-checksum-crc32c": crc32c_of(b"other")})
        assert said(wrong) == (400, "BadDigest")
        whole = crc32c_of(WHOLE_PART + b"end")
        reply = completed(raw, upload, rows, {"x-amz-checksum-crc32c": whole, "x-amz-checksum-type": "FULL_OBJECT"})
        assert (reply.status, f"<ChecksumCRC32C>{whole}</ChecksumCRC32C>".encode() in reply.body) == (200, True)
        told = raw.request("HEAD", "key", headers={"x-amz-checksum-mode": "ENABLED"}).headers
        assert (told["x-amz-checksum-crc32c"], told["x-amz-checksum-type"]) == (whole, "FULL_OBJECT")

    def test_the_checksum_of_the_parts_is_made_of_theirs(self, raw: RawS3) -> None:
        upload = created(raw, x_amz_checksum_algorithm="SHA256")
        one = base64_of(hashlib.sha256(b"only").digest())
        sent(raw, upload, 1, b"only", x_amz_checksum_sha256=one)
        assert said(completed(raw, upload, row(1, b"only"))) == (400, "InvalidRequest")
        assert said(completed(raw, upload, row(1, b"only", ChecksumSHA256="AAAA"))) == (400, "InvalidPart")
        reply = completed(raw, upload, row(1, b"only", ChecksumSHA256=one))
        joined = base64_of(hashlib.sha256(base64.b64decode(one)).digest())
        assert (reply.status, f"{joined}-1".encode() in reply.body) == (200, True)

    @pytest.mark.parametrize(
        ("algorithm", "kind"), [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("MD5", "FULL_OBJECT")]
    )
    def test_checksums_that_cannot_be_joined_so_are_refused(self, raw: RawS3, algorithm: str, kind: str) -> None:
        headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
        assert said(raw.request("POST", "key", query={"uploads": ""}, headers=headers)) == (400, "InvalidRequest")

    def test_a_part_of_another_checksum_is_refused(self, raw: RawS3) -> None:
        upload = created(raw, x_amz_checksum_algorithm="CRC32C")
        crc = base64_of(zlib.crc32(b"x").to_bytes(4, "big"))
        assert said(sent(raw, upload, 1, b"x", x_amz_checksum_crc32=crc)) == (400, "InvalidRequest")
        assert said(sent(raw, upload, 1, b"x", x_amz_checksum_crc32c=crc32c_of(b"y"))) == (400, "BadDigest")

    def test_a_size_that_is_told_must_hold(self, raw: RawS3) -> None:
        upload = created(raw)
        sent(raw, upload, 1, b"four")
        wrong = completed(raw, upload, row(1, b"four"), {"x-amz-mp-object-size": "5"})
        assert said(wrong) == (400, "InvalidRequest")
        assert completed(raw, upload, row(1, b"four"), {"x-amz-mp-object-size": "4"}).status == 200

    def test_the_minimum_of_a_part_can_be_lowered_for_a_test(self) -> None:
        with StrictS3(part_least_bytes=3) as server:
            raw = server.bucket(server.create_bucket())
            upload = created(raw)
            sent(raw, upload, 1, b"abc")
            sent(raw, upload, 2, b"d")
            assert completed(raw, upload, row(1, b"abc") + row(2, b"d")).status == 200
            assert raw.get("key") == b"abcd"

    def test_pages_of_parts_and_uploads_lead_through_all(self, raw: RawS3) -> None:
        uploads = [created(raw, f"k{n % 2}") for n in range(5)]
        found: list[str] = []
        query = {"uploads": "", "max-uploads": "2"}
        while True:
            body = raw.request("GET", "", query=query).body.decode()
            found += re.findall("<Upload><Key>.*?</Key><UploadId>(.*?)</UploadId>", body)
            if "<IsTruncated>true" not in body:
                break
            for name, element in (("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker")):
                query[name] = re.findall(f"<{element}>(.*?)</{element}>", body)[0]
        assert sorted(found) == sorted(uploads)
        upload = created(raw)
        for number in (5, 1, 3):
            sent(raw, upload, number, b"x")
        first = raw.request("GET", "key", query={"uploadId": upload, "max-parts": "2"}).body
        assert re.findall(rb"<PartNumber>(\d+)<", first) == [b"1", b"3"]
        assert b"<NextPartNumberMarker>3<" in first
        rest = raw.request("GET", "key", query={"uploadId": upload, "part-number-marker": "3"}).body
        assert re.findall(rb"<PartNumber>(\d+)<", rest) == [b"5"]


# ---- everything else that is strict --------------------------------------------------------------------


class TestRefusals:
    @pytest.mark.parametrize(
        "how",
        [
            {"headers": {"x-amz-tagging": "a=b"}},
            {"headers": {"x-amz-server-side-encryption": "aws:kms"}},
            {"query": {"tagging": ""}},
            {"query": {"acl": ""}},
        ],
    )
    def test_what_is_not_implemented_is_not_ignored(self, raw: RawS3, how: dict[str, Any]) -> None:
        assert said(raw.request("PUT", "key", body=b"x", **how)) == (501, "NotImplemented")
        assert raw.keys() == []

    def test_a_long_key_and_much_metadata_are_refused(self, raw: RawS3) -> None:
        assert raw.request("PUT", "k" * 1024, body=b"x").status == 200
        assert said(raw.request("PUT", "k" * 1025, body=b"x")) == (400, "KeyTooLongError")
        assert said(raw.request("PUT", "k", headers={"x-amz-meta-a": "x" * 2048})) == (400, "MetadataTooLarge")

    def test_conditions_of_a_batched_delete_are_told_by_key(self, raw: RawS3) -> None:
        raw.put("same", b"1")
        raw.put("other", b"2")
        one = hashlib.md5(b"1").hexdigest()
        rows = "".join(f'<Object><Key>{k}</Key><ETag>"{one}"</ETag></Object>' for k in ("same", "other", "gone"))
        body = f"<Delete>{rows}</Delete>".encode()
        reply = raw.request("POST", "", query={"delete": ""}, body=body, headers=content_md5(body))
        assert re.findall(rb"<Deleted><Key>(.*?)<", reply.body) == [b"same"]
        assert re.findall(rb"<Error><Key>(.*?)</Key><Code>(.*?)<", reply.body) == [
            (b"other", b"PreconditionFailed"),
            (b"gone", b"NoSuchKey"),
        ]
        assert raw.keys() == ["other"]

    def test_a_delete_can_be_pinned_to_an_etag(self, raw: RawS3) -> None:
        raw.put("key", b"1")
        assert said(raw.request("DELETE", "key", headers={"if-match": '"0"'})) == (412, "PreconditionFailed")
        assert raw.exists("key")
        pinned = {"if-match": f'"{hashlib.md5(b"1").hexdigest()}"'}
        assert raw.request("DELETE", "key", headers=pinned).status == 204
        assert said(raw.request("DELETE", "key", headers=pinned)) == (404, "NoSuchKey")

    @pytest.mark.parametrize("condition", [{"if-none-match": "*"}, {"if-match": '"0"'}])
    def test_copies_and_completions_keep_conditions_on_their_target(
        self, raw: RawS3, condition: Mapping[str, str]
    ) -> None:
        raw.put("key", b"old")
        raw.put("source", b"new")
        copied = raw.request("PUT", "key", headers={"x-amz-copy-source": "/bucket/source", **condition})
        assert said(copied) == (412, "PreconditionFailed")
        upload = created(raw)
        sent(raw, upload, 1, b"new")
        assert said(completed(raw, upload, row(1, b"new"), condition)) == (412, "PreconditionFailed")
        assert raw.get("key") == b"old"
        assert completed(raw, upload, row(1, b"new")).status == 200, "a refused completion leaves the upload"
        assert raw.get("key") == b"new"

    def test_one_of_many_creators_wins(self, server: StrictS3, raw: RawS3) -> None:
        found: list[int] = []

        def create(number: int) -> None:
            reply = raw.request("PUT", "prize", body=b"%d" % number, headers={"if-none-match": "*"})
            found.append(reply.status)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [200] + [412] * 19

    def test_a_region_of_its_own_is_told_and_wanted(self) -> None:
        with StrictS3(region="eu-west-1") as server:
            raw = server.bucket("bucket")
            assert said(raw.request("PUT", "")) == (400, "IllegalLocationConstraintException")
            body = (
                b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>"
                b"</CreateBucketConfiguration>"
            )
            assert raw.request("PUT", "", body=body).status == 200
            assert said(raw.request("PUT", "", body=body)) == (409, "BucketAlreadyOwnedByYou")
            assert raw.request("HEAD", "").headers["x-amz-bucket-region"] == "eu-west-1"
            wrong = RawS3(server.endpoint_url, "bucket", server.key, server.secret, "us-east-1").request("GET", "")
            assert said(wrong) == (400, "AuthorizationHeaderMalformed")
            assert b"<Region>eu-west-1</Region>" in wrong.body


# ---- beside moto ---------------------------------------------------------------------------------------

Ask = Callable[..., RawReply]


def conditional_writes(ask: Ask) -> None:
    etag = ask("PUT", "k", body=b"one", headers={"if-none-match": "*"}).headers["etag"]
    ask("PUT", "k", body=b"two", headers={"if-none-match": "*"})
    ask("PUT", "k", body=b"two", headers={"if-match": '"0"'})
    ask("PUT", "k", body=b"two", headers={"if-match": etag})
    ask("PUT", "k", body=b"three", headers={"if-match": etag})
    ask("PUT", "missing", body=b"x", headers={"if-match": etag})
    ask("GET", "k")


def conditional_reads(ask: Ask) -> None:
    etag = ask("PUT", "k", body=b"0123456789").headers["etag"]
    past, future = "Mon, 01 Jan 2001 00:00:00 GMT", "Sun, 01 Jan 2090 00:00:00 GMT"
    for method in ("GET", "HEAD"):
        ask(method, "k", headers={"if-match": etag})
        ask(method, "k", headers={"if-match": '"0"'})
        ask(method, "k", headers={"if-none-match": etag})
        ask(method, "k", headers={"if-none-match": '"0"'})
        ask(method, "k", headers={"if-modified-since": past})
        ask(method, "k", headers={"if-unmodified-since": past})
        ask(method, "k", headers={"if-unmodified-since": future})
        ask(method, "missing", headers={"if-match": etag})


def ranges(ask: Ask) -> None:
    ask("PUT", "k", body=b"0123456789")
    for text in ("0-0", "3-5", "3-", "-3", "-30", "9-100", "10-", "10-12", "0-9"):
        ask("GET", "k", headers={"range": f"bytes={text}"})
    ask("PUT", "empty", body=b"")
    ask("GET", "empty", headers={"range": "bytes=0-"})


def what_is_missing(ask: Ask) -> None:
    ask("GET", "missing")
    ask("HEAD", "missing")
    ask("DELETE", "missing")
    ask("PUT", "copy", headers={"x-amz-copy-source": f"/{ask.bucket}/missing"})  # type: ignore[attr-defined]
    ask("PUT", "copy", headers={"x-amz-copy-source": "/no-such-bucket-here/missing"})
    ask("GET", "k", bucket="no-such-bucket-here")
    ask("HEAD", "", bucket="no-such-bucket-here")
    ask("GET", "", query={"list-type": "2"}, bucket="no-such-bucket-here")
    ask("PUT", "k", body=b"x", bucket="no-such-bucket-here")
    for method in ("GET", "DELETE"):
        ask(method, "k", query={"uploadId": "missing"})


def copies(ask: Ask) -> None:
    here = f"/{ask.bucket}/k"  # type: ignore[attr-defined]
    etag = ask("PUT", "k", body=b"x", headers={"x-amz-meta-a": "1", "content-type": "text/csv"}).headers["etag"]
    ask("PUT", "c", headers={"x-amz-copy-source": here})
    ask("HEAD", "c")
    ask("PUT", "k", headers={"x-amz-copy-source": here})
    ask("PUT", "k", headers={"x-amz-copy-source": here, "x-amz-metadata-directive": "REPLACE"})
    ask("PUT", "c", headers={"x-amz-copy-source": here, "x-amz-copy-source-if-match": etag})
    ask("PUT", "c", headers={"x-amz-copy-source": here, "x-amz-copy-source-if-match": '"0"'})
    ask("PUT", "c", headers={"x-amz-copy-source": here, "x-amz-copy-source-if-none-match": etag})


def parts(ask: Ask) -> None:
    upload = re.findall(rb"<UploadId>(.*?)</UploadId>", ask("POST", "k", query={"uploads": ""}).body)[0].decode()

    def send(number: int, data: bytes) -> None:
        ask("PUT", "k", query={"partNumber": str(number), "uploadId": upload}, body=data)

    def complete(rows: str, **headers: str) -> None:
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        ask("POST", "k", query={"uploadId": upload}, body=body, headers=headers)

    send(1, b"small")
    send(2, b"end")
    send(10_001, b"x")
    complete(row(1, b"small") + row(2, b"end"))
    send(1, WHOLE_PART)
    complete(row(2, b"end") + row(1, WHOLE_PART))
    complete(row(1, b"other") + row(2, b"end"))
    complete(row(1, WHOLE_PART) + row(3, b"end"))
    complete("")
    ask("GET", "k", query={"uploadId": upload})
    complete(row(1, WHOLE_PART) + row(2, b"end"))
    ask("HEAD", "k")
    ask("GET", "k", headers={"range": f"bytes={MINIMUM - 1}-"})
    ask("GET", "k", query={"uploadId": upload})


def part_copies(ask: Ask) -> None:
    here = f"/{ask.bucket}/source"  # type: ignore[attr-defined]
    ask("PUT", "source", body=b"0123456789")
    upload = re.findall(rb"<UploadId>(.*?)</UploadId>", ask("POST", "k", query={"uploads": ""}).body)[0].decode()
    query = {"partNumber": "1", "uploadId": upload}
    ask("PUT", "k", query=query, headers={"x-amz-copy-source": here, "x-amz-copy-source-range": "bytes=2-5"})
    ask("GET", "k", query={"uploadId": upload})
    ask("PUT", "k", query=query, headers={"x-amz-copy-source": f"{here}-missing"})
    body = f"<CompleteMultipartUpload>{row(1, b'2345')}</CompleteMultipartUpload>".encode()
    ask("POST", "k", query={"uploadId": upload}, body=body)
    ask("GET", "k")


def listings(ask: Ask) -> None:
    for key in ("a", "a/1", "a/2", "b/x y+&<é", "b/", "c", "\U0001f600", "\uff5e"):
        ask("PUT", key, body=b"x")
    for query in (
        {},
        {"prefix": "a/"},
        {"delimiter": "/"},
        {"prefix": "b/", "delimiter": "/"},
        {"start-after": "a/1"},
        {"max-keys": "2"},
        {"delimiter": "/", "max-keys": "2"},
        {"encoding-type": "url"},
        {"prefix": "none"},
    ):
        ask("GET", "", query={"list-type": "2", **query})
    ask("GET", "", query={"list-type": "2", "max-keys": "x"})


def deletes(ask: Ask) -> None:
    for key in ("a", "b", "c"):
        ask("PUT", key, body=b"x")
    ask("DELETE", "a")
    for quiet in ("true", "false"):
        rows = "<Object><Key>b</Key></Object><Object><Key>no</Key></Object>"
        body = f"<Delete><Quiet>{quiet}</Quiet>{rows}</Delete>".encode()
        ask("POST", "", query={"delete": ""}, body=body, headers=content_md5(body))
    ask("POST", "", query={"delete": ""}, body=b"<Delete/>", headers=content_md5(b"<Delete/>"))
    ask("DELETE", "", bucket=ask.bucket)  # type: ignore[attr-defined]
    ask("DELETE", "c")
    ask("DELETE", "", bucket=ask.bucket)  # type: ignore[attr-defined]


# (conversation, number of the request) → what moto does otherwise.
DIFFERENCES = {
    ("copies", 6): "moto does not look at a condition on the source's etag",
    ("parts", 6): "moto looks at the parts' sizes before their order",
    ("part_copies", 4): "moto refuses without a code",
    ("listings", 15): "moto writes a space as %20, which Amazon S3 writes as a plus",
    ("listings", 17): "moto fails with 500",
    ("deletes", 4): "moto is never quiet",
    ("deletes", 6): "moto fails with 500",
}


def outcome(method: str, reply: RawReply) -> dict[str, Any]:
    """What both servers must agree in: status, code, and what a client goes by."""
    answered: dict[str, Any] = {"said": said(reply)}
    if reply.status < 300 and reply.body.startswith(b"<?xml"):
        body = re.sub(rb"\s*\n\s*", b"", reply.body)
        for name in (b"Key", b"Prefix", b"IsTruncated", b"KeyCount", b"PartNumber", b"Size", b"Code"):
            answered[name.decode()] = re.findall(rb"<%s>([^<]+)</%s>" % (name, name), body)
    elif reply.status < 300:
        told = ("etag", "content-range", "content-type", "x-amz-meta-a") if method in {"GET", "HEAD"} else ("etag",)
        answered |= {name: reply.headers.get(name) for name in told}
        answered["body"] = hashlib.sha256(reply.body).hexdigest()
    return answered


def run(conversation: Callable[[Ask], None], access: Server | StrictS3) -> list[tuple[str, dict[str, Any]]]:
    name = access.create_bucket()
    found: list[tuple[str, dict[str, Any]]] = []

    def ask(method: str, key: str, *, bucket: str = name, **how: Any) -> RawReply:
        reply = access.bucket(bucket).request(method, key, **how)
        about = [f"{k}={v}" for k, v in how.get("query", {}).items() if k != "uploadId"]
        headers = [f"{k}: {v}".replace(name, "BUCKET") for k, v in how.get("headers", {}).items()]
        found.append((" ".join([f"{len(found)}", method, key, *about, *headers]), outcome(method, reply)))
        return reply

    ask.bucket = name  # type: ignore[attr-defined]
    conversation(ask)
    return found


@pytest.mark.parametrize(
    "conversation",
    [conditional_writes, conditional_reads, ranges, what_is_missing, copies, parts, part_copies, listings, deletes],
)
def test_moto_says_the_same(conversation: Callable[[Ask], None], strict_server: StrictS3, moto_server: Server) -> None:
    ours, theirs = run(conversation, strict_server), run(conversation, moto_server)
    assert [asked for asked, _ in ours] == [asked for asked, _ in theirs]
    differ = {
        (conversation.__name__, n) for n, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other
    }
    expected = {one for one in DIFFERENCES if one[0] == conversation.__name__}
    assert differ == expected, [(ours[n], theirs[n]) for _, n in sorted(differ - expected)]


# ---- a client of it ------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("client", ["wire", "sdk"])
async def test_expired_credentials_are_told_as_such(server: StrictS3, client: str) -> None:
    server.create_bucket("bucket")
    given = {**server.s3_options, **server.issue_session()}
    async with S3ArtifactStore(path="s3://bucket", client=client, max_attempts=1, **given) as store:
        await store.write_bytes("a", b"x")
        server.expire_session(given["key"])
        with pytest.raises(CredentialsExpired):
            await store.read_bytes("a")
        assert server.refusals["ExpiredToken"] >= 1


@pytest.mark.anyio
async def test_a_client_whose_clock_is_wrong_follows_the_services(server: StrictS3) -> None:
    server.create_bucket("bucket")
    server.shift_clock(-7200)
    async with S3ArtifactStore(path="s3://bucket", **server.s3_options) as store:
        await store.write_bytes("a", b"x")
        assert await store.read_bytes("a") == b"x"
    assert server.refusals == {"RequestTimeTooSkewed": 1}
