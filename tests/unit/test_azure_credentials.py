"""Who asks Azure: signatures beside the SDK's own, tokens had and replaced, and what a failed sign-in says."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import HttpRequest
from azure.identity import CredentialUnavailableError
from azure.storage.blob import UserDelegationKey
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy, _storage_header_sort
from azure.storage.blob.aio import BlobServiceClient

from azure_canned import KEY, client_of, header, refused
from canned import Reply
from entrepot import errors
from entrepot.auth.azure import Anonymous, ConnectionString, Sas, SharedKey, azure_environment, canonical_headers
from entrepot.auth.entra import Principal, SignIn, Token, sign_in, sign_in_error
from entrepot.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsMissing,
    PermissionDenied,
)
from entrepot.flavors.azure.metadata import kept_name
from entrepot.http.transport import Request
from entrepot.models import ByteRange, Upload

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
THERE = Reply(headers={"content-length": "0"})


# ---- shared key --------------------------------------------------------------------------------------------


def by_the_sdk(method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> str:
    """The signature that azure-storage-blob gives the same request."""
    request = HttpRequest(method, f"https://acct.blob.core.windows.net{target}", headers=dict(headers))
    if body:
        request.headers["content-length"] = str(len(body))
    pipeline = PipelineRequest(request, PipelineContext(None))  # type: ignore[arg-type]  # only its kind is asked
    SharedKeyCredentialPolicy("acct", KEY).on_request(pipeline)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        ("GET", "/box/k", [], b""),
        ("HEAD", "/box/a%20b/%C3%A9%2B%2541", [], b""),
        ("GET", "/box/k", [("if-match", '"0x1"')], b""),
        (
            "PUT",
            "/box/k",
            [("x-ms-blob-type", "BlockBlob"), ("content-md5", "eA=="), ("content-type", "a/b")],
            b"hello",
        ),
        ("PUT", "/box/k", [("x-ms-blob-type", "BlockBlob"), ("if-none-match", "*")], b""),
        ("PUT", "/box/k", [("x-ms-meta-run_x002d_id", "a"), ("x-ms-meta-run", "b"), ("x-ms-meta-runa", "c")], b"x"),
        ("GET", "/box?restype=container&comp=list&prefix=a%20b%2Fc&include=metadata", [], b""),
        ("PUT", "/box/k?comp=block&blockid=MDAw%2BMQ%3D%3D", [("content-md5", "eA==")], b"block"),
        ("PUT", "/box/k", [("x-ms-copy-source", "https://acct.blob.core.windows.net/box/s")], b""),
    ],
)
async def test_a_signature_is_the_sdks(method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
    same, sent = await SharedKey("acct", KEY).signed(method, target, headers, len(body), NOW)
    assert same == target
    assert dict(sent)["x-ms-date"] == formatdate(NOW, usegmt=True)
    unsigned = [(name, value) for name, value in sent if name != "authorization"]
    assert dict(sent)["authorization"] == by_the_sdk(method, target, unsigned, body)


def test_names_are_signed_in_the_order_of_the_service() -> None:
    names = [
        "a", "ab", "a_b", "a1", "a-b", "b", "_a", "color", "run-id", "runs", "run_id", "run.id", "run1", "crc32c",
    ]  # fmt: skip
    own = [(f"x-ms-meta-{kept_name(name)}", name) for name in names]
    own += [("x-ms-date", "d"), ("x-ms-version", "v"), ("x-ms-blob-type", "t"), ("x-ms-blob-content-type", "c")]
    expected = "".join(f"{name}:{value}\n" for name, value in _storage_header_sort(own))
    assert canonical_headers(own) == expected


async def test_a_range_is_signed() -> None:
    """The SDK sends ranges by another header, so that its signer is no measure here."""
    signer = SharedKey("acct", KEY)
    _, with_range = await signer.signed("GET", "/box/k", [("range", "bytes=0-1")], 0, NOW)
    _, without = await signer.signed("GET", "/box/k", [], 0, NOW)
    assert dict(with_range)["authorization"] != dict(without)["authorization"]


@pytest.mark.parametrize("credential", [SharedKey("acct", KEY), Sas("sig=c2lnbmF0dXJl"), Anonymous()])
def test_no_secret_is_in_a_repr(credential: object) -> None:
    assert KEY not in repr(credential)
    assert "c2lnbmF0dXJl" not in repr(credential)
    assert "the-secret" not in repr(Principal("c", "the-secret", "t"))
    assert "the-secret" not in repr(ConnectionString.parse("AccountName=a;AccountKey=the-secret"))


# ---- the environment and connection strings ----------------------------------------------------------------


def test_the_environment_is_read_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCOUNT", "ACCOUNT_NAME", "KEY", "ACCOUNT_KEY", "ACCESS_KEY", "SAS_TOKEN", "CONNECTION_STRING"):
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", name.lower())
    found = azure_environment()
    assert (found.account_name, found.account_key) == ("account_name", "account_key")
    assert (found.sas_token, found.connection_string) == ("sas_token", "connection_string")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    assert azure_environment().account_name == "account"
    assert azure_environment().account_key == "key"
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    assert azure_environment().account_key == "access_key"
    assert "access_key'" not in repr(azure_environment())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5==;EndpointSuffix=core.windows.net",
            ConnectionString("a", "a2V5==", None, None, "core.windows.net"),
        ),
        ("accountname = a ; ACCOUNTKEY = k;", ConnectionString("a", "k")),
        ("BlobEndpoint=https://x/;SharedAccessSignature=sv=1&sig=2", ConnectionString(None, None, "sv=1&sig=2", "https://x/")),
        ("DefaultEndpointsProtocol=http;AccountName=a", ConnectionString("a", endpoint_url="http://a.blob.core.windows.net")),
    ],
)  # fmt: skip
def test_a_connection_string_is_read(text: str, expected: ConnectionString) -> None:
    assert ConnectionString.parse(text) == expected


# ---- signing in --------------------------------------------------------------------------------------------


class Entra:
    """A stand-in for azure-identity's credentials: gives what it was told to give, one after another."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = self.closed = 0

    def __call__(self) -> AbstractAsyncContextManager[Any]:
        entra = self

        class Credential:
            async def __aenter__(self) -> Any:
                return self

            async def __aexit__(self, *_: object) -> None:
                entra.closed += 1

            async def get_token(self, scope: str) -> AccessToken:
                assert scope == "https://storage.azure.com/.default"
                entra.asked += 1
                await asyncio.sleep(0)
                answer = entra.answers.pop(0) if len(entra.answers) > 1 else entra.answers[0]
                if isinstance(answer, Exception):
                    raise answer
                assert isinstance(answer, AccessToken)
                return answer

        return Credential()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def token(text: str, lives_s: int = 3600, now: float = NOW) -> AccessToken:
    return AccessToken(text, int(now) + lives_s)


async def test_a_token_is_had_once_and_sent_with_each_request() -> None:
    entra = Entra(token("one"), token("two"))
    client, transport = client_of(THERE, credential=SignIn(entra, clock=Clock()))
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(client.head, "k")
    assert (entra.asked, entra.closed) == (1, 1)
    assert {header(request, "authorization") for request in transport.requests} == {"Bearer one"}
    assert header(transport.requests[0], "x-ms-version") == "2023-11-03"


async def test_a_token_is_replaced_five_minutes_early() -> None:
    clock, entra = Clock(), Entra(token("one"), token("two", now=NOW + 3400))
    source = SignIn(entra, clock=clock)
    assert (await source.token()).text == "one"
    clock.now += 3600 - 301
    assert (await source.token()).text == "one"
    clock.now += 2
    assert (await source.token()).text == "two"
    assert entra.asked == 2


async def test_an_old_token_is_used_as_long_as_it_holds_and_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    entra = Entra(token("one"), ServiceRequestError("no network"))
    source = SignIn(entra, clock=clock)
    await source.token()
    clock.now += 3400
    assert (await source.token()).text == "one"
    assert "the old one is used" in caplog.text
    assert (await source.token()).text == "one"
    assert entra.asked == 2, "and is not asked for with each request"
    clock.now += 300
    with pytest.raises(ConnectionFailed, match="could not be reached"):
        await source.token()


async def test_a_token_that_lives_for_less_than_five_minutes_is_not_asked_for_each_time() -> None:
    entra = Entra(token("short", lives_s=120))
    source = SignIn(entra, clock=Clock())
    assert await source.token() == await source.token() == Token("short", NOW + 120)
    assert entra.asked == 1


async def test_a_token_that_is_refused_is_replaced_once() -> None:
    entra = Entra(token("old"), token("new"))
    client, transport = client_of(
        refused(401, "InvalidAuthenticationInfo"), THERE, credential=SignIn(entra, clock=Clock())
    )
    await client.head("k")
    assert [header(request, "authorization") for request in transport.requests] == ["Bearer old", "Bearer new"]


async def test_a_token_that_is_refused_again_has_expired() -> None:
    entra = Entra(token("old"), token("new"))
    client, transport = client_of(refused(401, "InvalidAuthenticationInfo"), credential=SignIn(entra, clock=Clock()))
    with pytest.raises(CredentialsExpired, match="sign in again"):
        await client.get("k")
    assert len(transport.requests) == 2


async def test_loops_and_threads_share_a_token() -> None:
    entra = Entra(token("one"))
    source = SignIn(entra, clock=Clock())

    def in_a_loop_of_its_own(_: int) -> str:
        return asyncio.run(source.token()).text  # type: ignore[arg-type]  # a coroutine

    assert (await source.token()).text == "one"
    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(in_a_loop_of_its_own, range(3))) == {"one"}
    assert entra.asked == 1


def test_a_loop_in_which_many_waited_for_a_token_is_not_kept_alive() -> None:
    source = SignIn(Entra(token("one")), clock=Clock())

    async def run() -> weakref.ref[asyncio.AbstractEventLoop]:
        await asyncio.gather(*(source.token() for _ in range(3)))
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(run())
    gc.collect()
    assert loop() is None


def entra_error(code: str) -> ClientAuthenticationError:
    """As azure-identity words the answer of Microsoft Entra."""
    text = f"Authentication failed: {code}: Some text of the service. Trace ID: 1 Correlation ID: 2 Timestamp: 3"
    return ClientAuthenticationError(message=text, response=SimpleNamespace(reason="x", status_code=401))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (entra_error("AADSTS7000215"), CredentialsMissing, "set client_secret to the secret's value, not its id"),
        (entra_error("AADSTS7000222"), CredentialsExpired, "the client secret has expired"),
        (entra_error("AADSTS700016"), CredentialsMissing, "check client_id and tenant_id"),
        (entra_error("AADSTS90002"), CredentialsMissing, "there is no such tenant; check tenant_id"),
        (entra_error("AADSTS900023"), CredentialsMissing, "check tenant_id"),
        (entra_error("AADSTS53003"), PermissionDenied, "conditional access"),
        (entra_error("AADSTS700082"), CredentialsExpired, "az login"),
        (entra_error("AADSTS123456"), CredentialsMissing, "check client_id, client_secret and tenant_id"),
        (CredentialUnavailableError("DefaultAzureCredential failed:\nmany\nlines"), CredentialsMissing, "az login"),
        (ClientAuthenticationError("no token"), CredentialsMissing, "AZURE_STORAGE_CONNECTION_STRING"),
        (ServiceRequestError("no network"), ConnectionFailed, "could not be reached"),
        (ValueError("invalid tenant"), ConfigurationError, "tenant_id"),
    ],
)
async def test_a_failed_sign_in_says_in_one_line_what_to_set(
    error: Exception, kind: type[errors.StoreError], says: str
) -> None:
    client, transport = client_of(THERE, credential=SignIn(Entra(error)))
    with pytest.raises(kind) as caught:
        await client.head("k")
    assert type(caught.value) is kind
    text = str(caught.value)
    assert says in text
    assert "az://box/k" in text
    assert "\n" not in text
    assert "Trace ID" not in text
    assert transport.requests == []


def test_a_sign_in_error_is_chained_and_has_the_services_code() -> None:
    assert "AADSTS7000215" in str(sign_in_error(entra_error("AADSTS7000215")))


async def test_a_principal_signs_in_as_it_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    import azure.identity.aio

    made: list[dict[str, str]] = []

    def make(**given: str) -> AbstractAsyncContextManager[Any]:
        made.append(given)
        return Entra(token("t"))()

    monkeypatch.setattr(azure.identity.aio, "ClientSecretCredential", make)
    await sign_in(Principal("c", "s", "t"), "core.windows.net").token()
    await sign_in(Principal("c", "s", "t"), "core.chinacloudapi.cn").token()
    plain = {"tenant_id": "t", "client_id": "c", "client_secret": "s"}
    assert made == [plain, {**plain, "authority": "login.chinacloudapi.cn"}]


async def test_the_default_chain_is_azure_identitys(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing configured and nobody signed in, the chain says so, and this error what to do."""
    import azure.identity.aio

    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    real: Callable[..., Any] = azure.identity.aio.DefaultAzureCredential
    monkeypatch.setattr(
        azure.identity.aio,
        "DefaultAzureCredential",
        lambda: real(
            exclude_managed_identity_credential=True,
            exclude_cli_credential=True,
            exclude_powershell_credential=True,
            exclude_developer_cli_credential=True,
            exclude_visual_studio_code_credential=True,
            exclude_shared_token_cache_credential=True,
            exclude_broker_credential=True,
        ),
    )
    with pytest.raises(CredentialsMissing, match="or say anonymous=True"):
        await sign_in(None, "core.windows.net").token()


async def test_with_a_sign_in_urls_are_signed_by_a_key_that_the_service_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[datetime, datetime]] = []

    async def give(_: Any, start: datetime, end: datetime, **__: object) -> UserDelegationKey:
        asked.append((start, end))
        key = UserDelegationKey()
        key.signed_oid, key.signed_tid = "who", "tenant"
        key.signed_start, key.signed_expiry = "2024-01-01T00:00:00Z", "2024-01-01T02:00:00Z"
        key.signed_service, key.signed_version, key.value = "b", "2023-11-03", KEY
        return key

    monkeypatch.setattr(BlobServiceClient, "get_user_delegation_key", give)
    client, transport = client_of(credential=SignIn(Entra(token("t"))))
    first, second = await client.presign("k", "GET", 600), await client.presign("l", "PUT", 600)
    assert "skoid=who" in first
    assert "&sp=r&" in first
    assert "&sp=cw&" in second
    assert KEY not in first
    assert len(asked) == 1
    with pytest.raises(ConfigurationError, match="7 days"):
        await client.presign("k", "GET", 8 * 86_400)
    assert transport.requests == []


async def test_with_a_sign_in_the_source_of_a_copied_block_is_read_by_its_token() -> None:
    client, transport = client_of(Reply(201), credential=SignIn(Entra(token("one"))))
    await client.copy_part(Upload("k", "0" * 32), 1, client, "s", ByteRange(0, 5))
    (request,) = transport.requests
    assert header(request, "x-ms-copy-source") == "https://acct.blob.core.windows.net/box/s"
    assert header(request, "x-ms-copy-source-authorization") == "Bearer one"


@pytest.mark.parametrize("then", [401, 403])
async def test_what_proves_a_source_is_made_anew_with_the_token(then: int) -> None:
    """The request is asked again with a new token, and still names the source by the one that was refused."""

    def service(request: Request) -> Reply:
        if header(request, "authorization") == "Bearer old":
            return refused(401, "InvalidAuthenticationInfo")
        if header(request, "x-ms-copy-source-authorization") == "Bearer old":
            return refused(then, "CannotVerifyCopySource")
        return Reply(201)

    client, transport = client_of(service, credential=SignIn(Entra(token("old"), token("new"))))
    await client.copy_part(Upload("k", "0" * 32), 1, client, "s", ByteRange(0, 5))
    assert header(transport.requests[-1], "x-ms-copy-source-authorization") == "Bearer new"
    client, transport = client_of(refused(403, "CannotVerifyCopySource"), credential=SignIn(Entra(token("good"))))
    with pytest.raises(PermissionDenied):
        await client.copy_part(Upload("k", "0" * 32), 1, client, "s", ByteRange(0, 5))
    assert len(transport.requests) == 1, "a source that may not be read is not asked for twice"


async def test_parts_of_a_batch_are_each_signed_in() -> None:
    client, transport = client_of(refused(400, "InvalidInput"), Reply(202), credential=SignIn(Entra(token("one"))))
    await client.delete_many(["a", "b"])
    body = bytes(transport.requests[0].body).decode()
    assert body.count("authorization: Bearer one") == 2
    assert "x-ms-version" not in body


# ---- what has expired, and clocks --------------------------------------------------------------------------


async def test_a_sas_that_has_ended_says_when() -> None:
    ended = "sv=2023-11-03&sp=r&se=2020-01-01T00%3A00%3A00Z&sig=c2VjcmV0"
    client, transport = client_of(refused(403, "AuthenticationFailed"), sas_token=ended)
    with pytest.raises(CredentialsExpired) as caught:
        await client.get("k")
    assert "ended at 2020-01-01T00:00:00Z; make a new one and set sas_token" in str(caught.value)
    assert "c2VjcmV0" not in f"{caught.value} {vars(caught.value)} {client!r}"
    assert len(transport.requests) == 1


async def test_a_sas_that_holds_and_is_refused_has_not_ended() -> None:
    client, _ = client_of(refused(403, "AuthorizationPermissionMismatch"), sas_token="se=2999-01-01&sig=x")
    with pytest.raises(PermissionDenied) as caught:
        await client.get("k")
    assert type(caught.value) is PermissionDenied


async def test_a_clock_that_differs_is_followed() -> None:
    there = formatdate(datetime(2030, 1, 1, tzinfo=UTC).timestamp(), usegmt=True)
    client, transport = client_of(refused(403, "AuthenticationFailed", {"date": there}), THERE)
    await client.head("k")
    assert (header(transport.requests[1], "x-ms-date") or "").startswith("Tue, 01 Jan 2030 00:00")
    await client.head("k")
    assert (header(transport.requests[2], "x-ms-date") or "").startswith("Tue, 01 Jan 2030 00:00")


async def test_a_wrong_key_is_not_taken_for_a_wrong_clock() -> None:
    client, transport = client_of(refused(403, "AuthenticationFailed", {"date": formatdate(usegmt=True)}))
    with pytest.raises(CredentialsMissing, match="check account_key"):
        await client.head("k")
    assert len(transport.requests) == 1


async def test_no_secret_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for options in ({}, {"sas_token": "se=2999-01-01&sig=canary-sig"}, {"anonymous": True}):
        client, _ = client_of(refused(403, "AuthenticationFailed"), **options)
        with pytest.raises(PermissionDenied):
            await client.get("k")
        await client.abort_upload(await client.create_upload("k"))
    client, _ = client_of(THERE, credential=SignIn(Entra(token("canary-token"))))
    await client.head("k")
    for secret in (KEY, "canary-sig", "canary-token"):
        assert secret not in caplog.text


async def test_requests_that_learn_late_of_a_refused_token_do_not_replace_the_new_one() -> None:
    entra = Entra(token("old"), token("new"), token("one too many"))
    source = SignIn(entra, clock=Clock())
    await source.token()
    assert await source.refresh("Bearer old")
    assert await source.refresh("Bearer old"), "asking again helps: there is a newer one"
    assert (await source.token()).text == "new"
    assert entra.asked == 2
