"""Signatures: AWS's published examples, and botocore as the oracle."""

from __future__ import annotations

import calendar
import datetime as dt
import time
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.auth.aws import AwsCredentials
from entrepot.auth.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Signer, canonical_query

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EXAMPLES_AT = float(calendar.timegm((2013, 5, 24, 0, 0, 0)))
NOW = 1_760_000_000.75


def authorization(headers: list[tuple[str, str]]) -> str:
    (value,) = (value for name, value in headers if name == "authorization")
    return value


# Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in a Single
# Chunk", the four examples.
EXAMPLES = [
    pytest.param(
        "GET",
        "/test.txt",
        [("Range", "bytes=0-9")],
        EMPTY_SHA256,
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        id="get object",
    ),
    pytest.param(
        "PUT",
        "/test%24file.text",
        [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        id="put object",
    ),
    pytest.param(
        "GET",
        "/?lifecycle",
        [],
        EMPTY_SHA256,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        id="get lifecycle",
    ),
    pytest.param(
        "GET",
        "/?max-keys=2&prefix=J",
        [],
        EMPTY_SHA256,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        id="list objects",
    ),
]


@pytest.mark.parametrize(("method", "target", "headers", "payload", "signature"), EXAMPLES)
def test_the_published_examples(
    method: str, target: str, headers: list[tuple[str, str]], payload: str, signature: str
) -> None:
    signed = Signer().sign(
        method=method,
        authority="examplebucket.s3.amazonaws.com",
        target=target,
        headers=headers,
        payload_sha256=payload,
        credentials=AwsCredentials(KEY, SECRET),
        region="us-east-1",
        now=EXAMPLES_AT,
    )
    assert authorization(signed).endswith(f"Signature={signature}")


def botocore_authorization(
    method: str, authority: str, target: str, headers: list[tuple[str, str]], payload: str, token: str | None
) -> str:
    """What botocore sends for the same request at the same second."""
    request = AWSRequest(method=method, url=f"https://{authority}{target}", headers=dict(headers))
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW))
    signer = S3SigV4Auth(Credentials(KEY, SECRET, token), "s3", "eu-west-3")
    if token:
        request.headers["X-Amz-Security-Token"] = token
    request.headers["X-Amz-Content-SHA256"] = payload
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    signer.payload = lambda request: payload
    canonical = signer.canonical_request(request)
    to_sign = signer.string_to_sign(request, canonical)
    signature = signer.signature(to_sign, request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    return (
        f"AWS4-HMAC-SHA256 Credential={KEY}/{time.strftime('%Y%m%d', time.gmtime(NOW))}/eu-west-3/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


def check(
    method: str,
    target: str,
    headers: list[tuple[str, str]] | None = None,
    payload: str = EMPTY_SHA256,
    token: str | None = None,
    authority: str = "bucket.s3.eu-west-3.amazonaws.com",
) -> None:
    given_headers = headers or []
    signed = Signer().sign(
        method=method,
        authority=authority,
        target=target,
        headers=given_headers,
        payload_sha256=payload,
        credentials=AwsCredentials(KEY, SECRET, token),
        region="eu-west-3",
        now=NOW,
    )
    assert authorization(signed) == botocore_authorization(method, authority, target, given_headers, payload, token)


ODD_KEYS = [
    "plain.bin",
    "with space",
    " leading and trailing ",
    "100%",
    "%41%2F",
    "a+b",
    "a#b",
    "a?b=c&d",
    "tilde~dot.dash-under_score",
    "quotes'\"`",
    "brackets[]{}()<>",
    "semi;colon:comma,at@",
    "equals=and&",
    "back\\slash|pipe^",
    "star*bang!dollar$",
    "ümläut/ñ",
    "日本語/キー",
    "emoji/🗄️",
    "deep/er/and/deeper/k",
    "dot./.hidden",
]


@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzEJr//token+with/signs=="])
@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_signed_as_they_are_sent(key: str, token: str | None) -> None:
    check("GET", "/" + quote(key, safe="/~"), token=token)
    check("GET", "/bucket/" + quote(key, safe="/~"), token=token, authority="127.0.0.1:9000")


@pytest.mark.parametrize(
    "query",
    [
        "uploads",
        "uploads=",
        "acl&versionId=3",
        "list-type=2&prefix=a%20b%2Bc%25&delimiter=%2F&continuation-token=1%2F%3D",
        "prefix=&delimiter=",
        "partNumber=10&uploadId=abc~DEF.1-2_3",
        "partNumber=2&partNumber=10",
        "a=2&a-b=1&a%2F=0",
        "list-type=2&start-after=%F0%9F%97%84&encoding-type=url",
    ],
)
def test_queries_are_put_in_order(query: str) -> None:
    check("GET", f"/bucket?{query}")
    check("POST", f"/bucket/key%20x?{query}", token="t")


def test_headers_are_signed_whatever_their_case_and_spaces() -> None:
    check(
        "PUT",
        "/k",
        [
            ("X-Amz-Meta-Spaces", "  two   inner  runs "),
            ("x-amz-meta-mtime", "1760000000.123456789"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
            ("If-None-Match", "*"),
            ("x-amz-acl", "bucket-owner-full-control"),
            ("x-amz-copy-source", "/bucket/a%20b?versionId=1"),
        ],
        payload=UNSIGNED_PAYLOAD,
        token="token",
    )


def test_what_proxies_rewrite_is_not_signed() -> None:
    check("PUT", "/k", [("User-Agent", "x"), ("Expect", "100-continue"), ("Connection", "close")])


segments = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    path=st.lists(segments, min_size=1, max_size=4), query=st.dictionaries(segments, st.text(max_size=9), max_size=4)
)
def test_any_key_and_query(path: list[str], query: dict[str, str]) -> None:
    encoded = "&".join(
        f"{quote(name, safe='~')}={quote(value, safe='~', errors='replace')}" for name, value in query.items()
    )
    check("GET", "/b/" + quote("/".join(path), safe="/~") + (f"?{encoded}" if encoded else ""))


def test_what_is_returned_is_all_that_must_be_sent_and_the_given_is_not_changed() -> None:
    given_headers = [("range", "bytes=0-9")]
    signed = Signer().sign(
        method="GET",
        authority="h",
        target="/k",
        headers=given_headers,
        payload_sha256=EMPTY_SHA256,
        credentials=AwsCredentials(KEY, SECRET, "token"),
        region="eu-west-3",
        now=NOW,
    )
    assert given_headers == [("range", "bytes=0-9")]
    assert signed[:-1] == [
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", EMPTY_SHA256),
        ("x-amz-date", "20251009T085320Z"),
        ("x-amz-security-token", "token"),
    ]
    assert signed[-1][0] == "authorization"


def test_one_signer_serves_several_identities_regions_and_days() -> None:
    signer = Signer()

    def sign(secret: str, region: str, day: int) -> str:
        return authorization(
            signer.sign(
                method="GET",
                authority="h",
                target="/k",
                headers=(),
                payload_sha256=EMPTY_SHA256,
                credentials=AwsCredentials(KEY, secret),
                region=region,
                now=NOW + day * 86_400,
            )
        )

    cases = [(secret, region, day) for secret in ("a", "b") for region in ("r1", "r2") for day in range(40)]
    first = [sign(*case) for case in cases]
    assert len(set(first)) == len(cases)
    assert first == [sign(*case) for case in cases]
    assert first == [
        authorization(
            Signer().sign(
                method="GET",
                authority="h",
                target="/k",
                headers=(),
                payload_sha256=EMPTY_SHA256,
                credentials=AwsCredentials(KEY, secret),
                region=region,
                now=NOW + day * 86_400,
            )
        )
        for secret, region, day in cases
    ]


def test_the_date_follows_the_clock_given() -> None:
    signer = Signer()
    for now in (NOW, NOW + 1, NOW - 3600):
        signed = dict(
            signer.sign(
                method="GET",
                authority="h",
                target="/",
                headers=(),
                payload_sha256=EMPTY_SHA256,
                credentials=AwsCredentials(KEY, SECRET),
                region="r",
                now=now,
            )
        )
        moment = dt.datetime.fromtimestamp(int(now), dt.UTC)
        assert signed["x-amz-date"] == moment.strftime("%Y%m%dT%H%M%SZ")


def test_a_query_without_parameters_stays_empty() -> None:
    assert canonical_query("") == ""


def test_no_secret_in_any_representation() -> None:
    credentials = AwsCredentials("AKIA", "canary-secret", "canary-token")
    assert "canary" not in repr(credentials)
    assert "canary" not in str(credentials)
    signer = Signer()
    signer.sign(
        method="GET",
        authority="h",
        target="/",
        headers=(),
        payload_sha256=EMPTY_SHA256,
        credentials=credentials,
        region="r",
        now=NOW,
    )
    assert "canary" not in repr(signer)


def presigned(method: str, target: str, credentials: AwsCredentials, *, now: float, expires_s: int, host: str) -> str:
    return Signer().presign(
        method=method,
        authority=host,
        target=target,
        credentials=credentials,
        region="us-east-1",
        now=now,
        expires_s=expires_s,
    )


def test_a_presigned_url_is_the_published_example() -> None:
    """Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters", the example."""
    signed = presigned(
        "GET",
        "/test.txt",
        AwsCredentials(KEY, SECRET),
        now=EXAMPLES_AT,
        expires_s=86_400,
        host="examplebucket.s3.amazonaws.com",
    )
    assert signed.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
@pytest.mark.parametrize("target", ["/a%20b%2B%C3%A9", "/k?versionId=1", "/k?x-amz-request-payer=requester"])
def test_presigned_urls_are_those_of_botocore(method: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.auth import S3SigV4QueryAuth

    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: moment.replace(tzinfo=None))
    request = AWSRequest(method, f"https://b.example.com{target}")
    S3SigV4QueryAuth(Credentials(KEY, SECRET, "token/+="), "s3", "us-east-1", expires=900).add_auth(request)
    ours = presigned(
        method,
        target,
        AwsCredentials(KEY, SECRET, "token/+="),
        now=moment.timestamp(),
        expires_s=900,
        host="b.example.com",
    )
    theirs = request.url.removeprefix("https://b.example.com")
    assert ours.partition("X-Amz-Signature=")[2] == theirs.partition("X-Amz-Signature=")[2]
    assert sorted(ours.partition("?")[2].split("&")) == sorted(theirs.partition("?")[2].split("&"))
