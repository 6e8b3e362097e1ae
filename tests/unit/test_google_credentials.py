"""Google's tokens and signed URLs: where credentials come from, when they are replaced, what a mistake says."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pickle
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import anyio
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from canned import CannedTransport, Reply
from entrepot.auth.goog4 import UrlToSign
from entrepot.auth.google import AccountTokens, Anonymous, GoogleToken, Static, token_source
from entrepot.auth.google_accounts import Account
from entrepot.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsMissing,
    PermissionDenied,
    ServiceUnavailable,
    StoreError,
    Unreachable,
)
from entrepot.flavors.gcp.config import GcpConfig
from entrepot.flavors.gcp.connection import make_client
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Origin, Request
from entrepot.http.wire_transport import WireTransport
from entrepot.testing.gcs import GcsServer
from gcs_fake import StrictGcs
from google_signin import EMAIL, SignIn, sign_in

pytestmark = pytest.mark.anyio

AT_ONCE = RetryPolicy(max_attempts=3, base_s=0, throttle_base_s=0, deadline_s=10)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def service(key: rsa.RSAPrivateKey) -> Iterator[SignIn]:
    with sign_in(key) as running:
        yield running


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("GOOGLE_", "GCLOUD_", "GCE_", "STORAGE_EMULATOR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def tokens_of(given: str | dict[str, Any] | None, **how: Any) -> AccountTokens:
    text = json.dumps(given) if isinstance(given, dict) else given
    return AccountTokens(text, how.pop("transport", None) or WireTransport(), policy=AT_ONCE, **how)


async def first(given: str | dict[str, Any] | None, **how: Any) -> str:
    tokens = tokens_of(given, **how)
    try:
        return (await tokens.current()).value
    finally:
        await tokens.close()


# ---- where they come from ----------------------------------------------------------------------------------


async def test_a_service_account_signs_an_assertion_and_gets_a_token(service: SignIn) -> None:
    assert await first(service.account()) == "canary-token-1"
    ((path, form),) = service.asked
    assert (path, form["grant_type"]) == ("/token", "urn:ietf:params:oauth:grant-type:jwt-bearer")


async def test_the_key_can_be_a_file_given_or_named_by_the_environment_or_the_users_own(
    service: SignIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(service.account()))
    assert await first(str(file)) == "canary-token-1"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert await first(None) == "canary-token-2"
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    own = tmp_path / "gcloud" / "application_default_credentials.json"
    own.parent.mkdir()
    user = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "canary-refresh",
            "token_uri": f"{service.url}/token"}  # fmt: skip
    own.write_text(json.dumps(user))
    assert await first(None) == "canary-token-3"
    assert service.asked[-1][1]["refresh_token"] == "canary-refresh"


async def test_the_metadata_server_gives_the_token_of_the_machine(
    service: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", service.host)
    assert await first(None) == "canary-token-1"
    assert service.asked == [
        ("/computeMetadata/v1/instance/service-accounts/default/token", {"authorization": "Google"})
    ]


async def test_a_metadata_server_that_has_just_started_is_asked_again(
    service: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs before the metadata server of its node answers."""
    monkeypatch.setenv("GCE_METADATA_HOST", service.host)

    class Starting(WireTransport):
        failures: ClassVar[list[StoreError]] = [Unreachable("nothing listens yet"), ConnectionFailed("reset")]

        def send(self, request: Request) -> Any:
            if self.failures:
                raise self.failures.pop()
            return super().send(request)

    assert await first(None, transport=Starting()) == "canary-token-1"


async def test_who_does_not_say_that_it_is_google_is_no_metadata_server(
    service: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", service.host)
    service.flavor = ""
    with pytest.raises(CredentialsMissing, match="no Google credentials were found"):
        await first(None)


async def test_workload_identity_exchanges_its_own_token_and_impersonates(service: SignIn, tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("subject-token\n")
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{service.url}/sts",
        "credential_source": {"file": str(tmp_path / "subject")},
        "service_account_impersonation_url": f"{service.url}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken",
    }
    service.replies = [
        (200, {"access_token": "federated", "expires_in": 3600}),
        (200, {"accessToken": "canary-impersonated"}),
    ]
    assert await first(account) == "canary-impersonated"
    assert service.asked[0][1]["subject_token"] == "subject-token"
    assert service.asked[1][1]["authorization"] == "Bearer federated"


def test_what_is_given_decides_the_source() -> None:
    def unused() -> Any:
        raise AssertionError("no transport is needed")

    given = {"token": None, "access_token": None, "anonymous": False, "transport": unused}
    assert isinstance(token_source(**{**given, "anonymous": True}), Anonymous)
    assert isinstance(token_source(**{**given, "access_token": "t"}), Static)
    assert isinstance(token_source(**{**given, "transport": WireTransport}), AccountTokens)


# ---- when they are replaced --------------------------------------------------------------------------------


async def test_a_token_is_used_until_five_minutes_before_its_end(service: SignIn) -> None:
    clock = Clock()
    tokens = tokens_of(service.account(), clock=clock)
    assert (await tokens.current()).value == "canary-token-1"
    clock.now += 3299
    assert (await tokens.current()).value == "canary-token-1"
    clock.now += 2
    assert (await tokens.current()).value == "canary-token-2"
    await tokens.close()


async def test_a_token_of_a_few_minutes_is_not_asked_for_at_each_request(service: SignIn) -> None:
    clock = Clock()
    service.lifetime_s = 200
    tokens = tokens_of(service.account(), clock=clock)
    for _ in range(3):
        await tokens.current()
    assert len(service.asked) == 1
    clock.now += 61
    await tokens.current()
    assert len(service.asked) == 2
    await tokens.close()


async def test_many_tasks_ask_once(service: SignIn) -> None:
    tokens = tokens_of(service.account())
    found = await asyncio.gather(*(tokens.current() for _ in range(20)))
    assert {one.value for one in found} == {"canary-token-1"}
    before = await tokens.current()
    found = await asyncio.gather(*(tokens.refresh(before) for _ in range(20)))
    assert {one.value for one in found} == {"canary-token-2"}
    await tokens.close()


async def test_a_token_that_cannot_be_replaced_yet_is_used_to_its_end(service: SignIn) -> None:
    clock = Clock()
    tokens = tokens_of(service.account(), clock=clock)
    await tokens.current()
    clock.now += 3400
    service.replies = [(503, {})] * 3
    assert (await tokens.current()).value == "canary-token-1"
    clock.now += 201
    service.replies = [(503, {})] * 3
    with pytest.raises(ServiceUnavailable):
        await tokens.current()
    assert (await tokens.current()).value.startswith("canary-token-")
    await tokens.close()


async def test_one_source_serves_two_event_loops(service: SignIn) -> None:
    tokens = tokens_of(service.account())
    here = await tokens.current()
    found: list[GoogleToken] = []

    def elsewhere() -> None:
        async def run() -> None:
            found.append(await tokens.current())
            found.append(await tokens.refresh(here))
            await tokens.close()

        asyncio.run(run())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    assert [one.value for one in found] == ["canary-token-1", "canary-token-2"]
    assert (await tokens.current()).value == "canary-token-2"
    await tokens.close()


@pytest.mark.parametrize("failure", [(500, {}), (503, "x"), (429, {}), (200, "not json")])
async def test_what_passes_is_tried_again(service: SignIn, failure: tuple[int, Any]) -> None:
    service.replies = [failure]
    if failure[0] == 200:
        with pytest.raises(CredentialsMissing):
            await first(service.account())
    else:
        assert await first(service.account()) == "canary-token-2"


# ---- mistakes ----------------------------------------------------------------------------------------------


async def refused(given: str | dict[str, Any] | None, kind: type[StoreError] = CredentialsMissing) -> str:
    with pytest.raises(kind) as caught:
        await first(given)
    assert "\n" not in str(caught.value)
    assert "canary" not in repr((caught.value.__dict__, str(caught.value)))
    assert "PRIVATE KEY" not in str(caught.value)
    return str(caught.value)


async def test_a_file_that_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    text = await refused(str(tmp_path / "missing.json"))
    assert "missing.json" in text
    assert "token names no file" in text
    assert "cannot be read" in await refused(str(tmp_path))


async def test_a_missing_file_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    assert "GOOGLE_APPLICATION_CREDENTIALS names no file" in await refused(None)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not JSON"),
        (b"canary{", "is not JSON"),
        (b"[1]", "no credentials file of a known type"),
        (b"{}", "no credentials file of a known type"),
        (b'{"type": "canary"}', "no credentials file of a known type"),
        (b'{"type": ["canary"]}', "no credentials file of a known type"),
        (b'{"type": "service_account"}', "has no client_email"),
        (b'{"type": "service_account", "client_email": "x"}', "has no private_key"),
        (b'{"type": "authorized_user", "client_id": "x"}', "has no client_secret"),
        (b'{"type": "external_account", "audience": "x"}', "has no subject_token_type"),
        (b"\xff\xfe", "no JSON"),
    ],
)
async def test_a_file_that_is_no_key_says_what_is_wrong(content: bytes, text: str, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_bytes(content)
    assert text in await refused(str(file))


async def test_a_damaged_private_key_says_so(service: SignIn) -> None:
    for pem in ("canary", service.pem[:200], service.pem.replace("A", "B")):
        assert "download the key" in await refused(service.account(private_key=pem))


@pytest.mark.parametrize("name", ["token_uri", "token_url", "service_account_impersonation_url"])
@pytest.mark.parametrize("url", ["http://evil.example/token", "ftp://x", "https://[bad"])
async def test_a_secret_goes_to_https_or_this_machine_only(service: SignIn, name: str, url: str) -> None:
    account = service.account(**{name: url})
    assert "must be an https address" in await refused(account)
    assert service.asked == []


async def test_a_removed_key_another_clock_and_an_ended_sign_in_are_told_apart(service: SignIn) -> None:
    service.replies = [(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})]
    assert "its key was removed" in await refused(service.account())
    service.replies = [(401, {"error": "invalid_client"})]
    assert "invalid_client" in await refused(service.account())
    text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    service.replies = [(400, {"error": "invalid_grant", "error_description": text})]
    assert "set this machine's clock" in await refused(service.account())
    user = {"type": "authorized_user", "client_id": "i", "client_secret": "canary-s", "refresh_token": "canary-r",
            "token_uri": f"{service.url}/token"}  # fmt: skip
    service.replies = [(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."})]
    assert "gcloud auth application-default login" in await refused(user)
    assert len(service.asked) == 4, "none of these is tried again"


async def test_an_impersonation_that_is_not_allowed_names_the_role(service: SignIn) -> None:
    account = service.account(service_account_impersonation_url=f"{service.url}/x:generateAccessToken")
    service.replies = [
        (200, {"access_token": "t", "expires_in": 3600}),
        (403, {"error": {"status": "PERMISSION_DENIED", "message": "canary"}}),
    ]
    assert "Service Account Token Creator" in await refused(account, PermissionDenied)


async def test_a_redirect_of_the_sign_in_is_not_followed(service: SignIn) -> None:
    service.replies = [(307, {})]
    await refused(service.account())
    assert len(service.asked) == 1


async def test_without_any_credentials_the_ways_to_give_them_are_told() -> None:
    text = await refused(None)
    for way in ("token", "access_token", "GOOGLE_APPLICATION_CREDENTIALS", "gcloud auth", "anonymous=True"):
        assert way in text


async def test_a_machine_without_a_service_account_says_so(service: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", service.host)
    service.replies = [(404, "Not Found")]
    assert "attach one" in await refused(None)


# ---- the store ---------------------------------------------------------------------------------------------


async def test_a_store_with_a_service_account_reads_and_writes(service: SignIn) -> None:
    gcs = StrictGcs()
    gcs.tokens = {"canary-token-1"}
    config = GcpConfig(path="gs://bucket", token=json.dumps(service.account()))
    client = make_client(config, transport=gcs, policy=AT_ONCE)
    client._credentials = tokens_of(service.account())
    await client.put("k", b"x")
    gcs.tokens = {"canary-token-2"}
    assert bytes((await client.get("k")).data) == b"x", "a refused token is replaced"
    gcs.tokens = set()
    with pytest.raises(CredentialsExpired):
        await client.get("k")
    assert len(service.asked) == 3
    await client._credentials.close()


async def test_the_project_of_the_account_is_where_a_bucket_is_made(
    service: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tokens_of(service.account())
    assert await tokens.project() == "project-one"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "of-the-environment")
    assert await tokens.project() == "of-the-environment"


async def test_no_secret_is_shown_or_logged(service: SignIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text = json.dumps(service.account())
    tokens = tokens_of(text)
    token = await tokens.current()
    account = await Account.find(text, None, "", "")
    store = GcpArtifactStore("gs://bucket", token=text)
    secrets = (token.value, service.pem, service.pem[60:90])
    shown = [repr(token), repr(tokens), repr(account), repr(store), repr(store.config), repr(store.client), caplog.text]
    shown += [pickle.dumps(store).decode("latin1"), repr(tokens._requests)]
    for one in shown:
        assert not any(secret in one for secret in secrets)
    await tokens.close()


# ---- signed URLs -------------------------------------------------------------------------------------------

# Google's own conformance tests of V4 signatures, "Simple GET" and others: googleapis/conformance-tests, storage/v1.
ROBOT = "test-iam-credentials@dummy-project-id.iam.gserviceaccount.com"


def test_the_text_to_sign_is_that_of_googles_conformance_tests() -> None:
    at = datetime(2019, 2, 1, 9, 0, tzinfo=UTC)
    google = Origin("https", "storage.googleapis.com", 443)
    url = UrlToSign("GET", google, "/test-bucket/test-object", ROBOT, 10, now=at)
    credential = (
        "test-iam-credentials%40dummy-project-id.iam.gserviceaccount.com%2F20190201%2Fauto%2Fstorage%2Fgoog4_request"
    )
    query = (
        f"X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential={credential}&X-Goog-Date=20190201T090000Z"
        "&X-Goog-Expires=10&X-Goog-SignedHeaders=host"
    )
    assert url.canonical == (
        f"GET\n/test-bucket/test-object\n{query}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
    )
    assert url.text.decode() == (
        "GOOG4-RSA-SHA256\n20190201T090000Z\n20190201/auto/storage/goog4_request\n"
        "00e2fb794ea93d7adb703edaebdd509821fcc7d4f1a79ac5c8d2b394df109320"
    )
    assert url.signed(b"\xab").endswith(f"/test-bucket/test-object?{query}&X-Goog-Signature=ab")


async def test_a_signature_is_of_the_accounts_own_key(service: SignIn, key: rsa.RSAPrivateKey) -> None:
    config = GcpConfig(path="gs://bucket", token=json.dumps(service.account()), user_project="payer")
    url = await make_client(config).presign("a b/é+%41", "PUT", 60)
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path) == (
        "https",
        "storage.googleapis.com",
        "/bucket/a%20b/%C3%A9%2B%2541",
    )
    query, _, signature = parts.query.rpartition("&X-Goog-Signature=")
    told = {name: values[0] for name, values in parse_qs(query).items()}
    assert (told["X-Goog-Expires"], told["userProject"]) == ("60", "payer")
    assert told["X-Goog-Credential"].startswith(f"{EMAIL}/")
    now = datetime.strptime(told["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    again = UrlToSign("PUT", Origin("https", "storage.googleapis.com", 443), parts.path, EMAIL, 60, "payer", now)
    assert again.query == query
    key.public_key().verify(bytes.fromhex(signature), again.text, padding.PKCS1v15(), hashes.SHA256())
    assert service.asked == [], "no request is needed"


async def test_without_a_private_key_iam_signs(service: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:8080")
    signed = Reply(200, {}, json.dumps({"signedBlob": base64.b64encode(b"signature").decode()}).encode())
    flavor = {"metadata-flavor": "Google"}
    transport = CannedTransport(
        Reply(200, flavor, EMAIL.encode()),
        Reply(200, flavor, json.dumps({"access_token": "t", "expires_in": 60}).encode()),
        signed,
    )
    tokens = tokens_of(None, transport=transport)
    signer = await tokens.signer()
    assert signer.email == EMAIL
    assert await signer.sign(b"text") == b"signature"
    asked = transport.requests[-1]
    assert asked.origin.url + asked.target == (
        f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{EMAIL}:signBlob"
    )
    assert base64.urlsafe_b64decode(json.loads(bytes(asked.body))["payload"]) == b"text"
    assert ("authorization", "Bearer t") in [(name.lower(), value) for name, value in asked.headers]
    transport.replies = [
        Reply(200, flavor, json.dumps({"access_token": "t", "expires_in": 60}).encode()),
        Reply(403, {}, b'{"error": {"status": "PERMISSION_DENIED"}}'),
    ]
    with pytest.raises(PermissionDenied, match="Service Account Token Creator"):
        await signer.sign(b"text")
    transport.replies = [
        Reply(200, flavor, json.dumps({"access_token": "t", "expires_in": 60}).encode()),
        Reply(503),
        Reply(429),
        signed,
    ]
    assert await signer.sign(b"text") == b"signature", "what passes is no denial"


@pytest.mark.parametrize(
    "options",
    [
        {"access_token": "t"},
        {
            "token": json.dumps(
                {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
            )
        },
    ],
)
async def test_without_a_service_account_nothing_is_signed(options: dict[str, Any]) -> None:
    client = make_client(GcpConfig(path="gs://bucket", **options))
    with pytest.raises(CredentialsMissing, match="give token") as caught:
        await client.presign("k", "GET", 60)
    assert caught.value.uri == "gs://bucket/k"


async def test_what_anyone_may_do_needs_no_signature() -> None:
    client = make_client(GcpConfig(path="gs://bucket", anonymous=True))
    assert await client.presign("a b", "GET", 60) == "https://storage.googleapis.com/bucket/a%20b"


@pytest.mark.parametrize("expires_s", [0, -1, 7 * 24 * 3600 + 1])
async def test_seven_days_are_the_most(service: SignIn, expires_s: int) -> None:
    client = make_client(GcpConfig(path="gs://bucket", token=json.dumps(service.account())))
    with pytest.raises(ConfigurationError, match="7 days"):
        await client.presign("k", "GET", expires_s)
    assert await client.presign("k", "GET", 7 * 24 * 3600)


async def test_a_signed_url_leads_to_the_object(service: SignIn, gcs_server: GcsServer, gcs_bucket: str) -> None:
    options = {"endpoint_url": gcs_server.endpoint_url, "token": json.dumps(service.account())}
    client = make_client(GcpConfig(path=f"gs://{gcs_bucket}", **options))
    gcs_server.bucket(gcs_bucket).put("signed/a b+%41", b"bytes")
    url = await client.presign("signed/a b+%41", "GET", 60)
    with await anyio.to_thread.run_sync(urlopen, UrlRequest(url)) as reply:
        assert reply.read() == b"bytes"
