"""AWS credentials: given, from the environment, from the SDK's chain, by role; against a real token service."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from entrepot.auth.aws import (
    Anonymous,
    AwsCredentials,
    AwsSettings,
    Chain,
    Static,
    aws_environment,
    credential_source,
    resolve_region,
)
from entrepot.errors import ConfigurationError, ConnectionFailed, CredentialsMissing, PermissionDenied

pytestmark = pytest.mark.anyio

ROLE = "arn:aws:iam::123456789012:role/writer"


@pytest.fixture(autouse=True)
def no_ambient_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own: no variables, no files, no instance service."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Clock:
    def __init__(self) -> None:
        self.now = 1_760_000_000.0

    def __call__(self) -> float:
        return self.now


class TokenService:
    """AssumeRole as STS answers it: numbered credentials that live an hour of the clock given."""

    def __init__(self, clock: Clock) -> None:
        self.asked: list[dict[str, str]] = []
        self.status = 200
        self.lifetime_s = 3600.0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                fields = {name: values[0] for name, values in parse_qs(body).items()}
                service.asked.append({**fields, "authorization": self.headers["authorization"]})
                number = len(service.asked)
                until = dt.datetime.fromtimestamp(clock() + service.lifetime_s, dt.UTC).isoformat()
                if service.status == 200:
                    text = (
                        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
                        f"<Credentials><AccessKeyId>ASIA{number}</AccessKeyId>"
                        f"<SecretAccessKey>canary-secret-{number}</SecretAccessKey>"
                        f"<SessionToken>canary-token-{number}</SessionToken><Expiration>{until}</Expiration>"
                        "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
                    )
                else:
                    text = (
                        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                        "<Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>"
                    )
                self.send_response(service.status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sts(clock: Clock) -> Iterator[TokenService]:
    service = TokenService(clock)
    thread = threading.Thread(target=service.http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield service
    finally:
        service.http.shutdown()
        thread.join()
        service.http.server_close()


# ---- which source ---------------------------------------------------------------------------------------


async def test_given_keys_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    source = credential_source(AwsSettings(key="k", secret="s", token="t"))
    assert isinstance(source, Static)
    assert await source.current() == AwsCredentials("k", "s", "t")
    assert await source.refresh() == AwsCredentials("k", "s", "t")


async def test_anonymous_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    source = credential_source(AwsSettings(anonymous=True))
    assert isinstance(source, Anonymous)
    assert await source.current() is None
    assert await source.refresh() is None


async def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env-token")
    source = credential_source(AwsSettings())
    assert isinstance(source, Static)
    assert await source.current() == AwsCredentials("env-key", "env-secret", "env-token")


def test_keys_of_the_environment_import_no_sdk() -> None:
    code = (
        "import asyncio, sys\n"
        "from entrepot.auth.aws import AwsSettings, credential_source, resolve_region\n"
        "source = credential_source(AwsSettings())\n"
        "print(asyncio.run(source.current()).key, asyncio.run(resolve_region()))\n"
        "print([name for name in ('botocore', 'aiobotocore', 'aiohttp') if name in sys.modules])\n"
    )
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "k us-east-1\n[]\n"


@pytest.mark.parametrize(
    "settings",
    [
        AwsSettings(key="k"),
        AwsSettings(secret="s"),
        AwsSettings(token="t"),
        AwsSettings(anonymous=True, key="k", secret="s"),
        AwsSettings(anonymous=True, profile="p"),
        AwsSettings(anonymous=True, role_arn=ROLE),
        AwsSettings(key="k", secret="s", profile="p"),
    ],
)
def test_settings_that_contradict_each_other(settings: AwsSettings) -> None:
    with pytest.raises(ConfigurationError, match="give"):
        credential_source(settings)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_pair_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(CredentialsMissing, match="set both"):
        credential_source(AwsSettings())


# ---- the chain ------------------------------------------------------------------------------------------


async def test_no_credentials_anywhere_names_the_ways_to_give_them() -> None:
    with pytest.raises(CredentialsMissing) as caught:
        await credential_source(AwsSettings()).current()
    for way in ("key and secret", "AWS_ACCESS_KEY_ID", "profile", "anonymous=True"):
        assert way in str(caught.value)


async def test_a_profile_of_the_credentials_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = dk\naws_secret_access_key = ds\n"
        "[team]\naws_access_key_id = tk\naws_secret_access_key = ts\naws_session_token = tt\n"
    )
    assert await credential_source(AwsSettings()).current() == AwsCredentials("dk", "ds")
    assert await credential_source(AwsSettings(profile="team")).current() == AwsCredentials("tk", "ts", "tt")
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert await credential_source(AwsSettings()).current() == AwsCredentials("tk", "ts", "tt")


async def test_a_profile_that_is_named_wins_over_keys_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = tk\naws_secret_access_key = ts\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    assert await credential_source(AwsSettings(profile="team")).current() == AwsCredentials("tk", "ts")


async def test_a_profile_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="nobody"):
        await credential_source(AwsSettings(profile="nobody")).current()


async def test_a_refresh_reads_again_what_changed(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = old\naws_secret_access_key = s\n")
    source = credential_source(AwsSettings())
    old = await source.current()
    file.write_text("[default]\naws_access_key_id = new\naws_secret_access_key = s\n")
    assert await source.current() == old
    assert await source.refresh(old) == AwsCredentials("new", "s")
    assert await source.current() == AwsCredentials("new", "s")


@pytest.fixture
def process_profile(tmp_path: Path) -> Path:
    """A profile whose command gives expiring credentials, and writes a line each time it runs."""
    runs, script = tmp_path / "runs", tmp_path / "give"
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    answer = {"Version": 1, "AccessKeyId": "pk", "SecretAccessKey": "ps", "SessionToken": "pt", "Expiration": until}
    script.write_text(f"#!/bin/sh\necho run >> {runs}\necho '{json.dumps(answer)}'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = {script}\n")
    return runs


def test_refreshable_credentials_are_asked_for_once(process_profile: Path) -> None:
    source = credential_source(AwsSettings(profile="p"))

    async def ask() -> set[AwsCredentials | None]:
        return set(await asyncio.gather(*[source.current() for _ in range(20)]))

    assert asyncio.run(ask()) == {AwsCredentials("pk", "ps", "pt")}
    assert process_profile.read_text() == "run\n"


def test_loops_and_threads_share_what_was_found(process_profile: Path) -> None:
    source = credential_source(AwsSettings(profile="p"))

    async def ask() -> AwsCredentials | None:
        await asyncio.gather(*[source.refresh() for _ in range(3)])
        return await source.current()

    assert asyncio.run(ask()) == AwsCredentials("pk", "ps", "pt")
    got: list[AwsCredentials | None] = []
    threads = [threading.Thread(target=lambda: got.append(asyncio.run(source.current()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == [AwsCredentials("pk", "ps", "pt")] * 4
    assert process_profile.read_text() == "run\n"
    assert asyncio.run(ask()) == AwsCredentials("pk", "ps", "pt")


async def test_a_broken_command_of_a_profile(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile p]\ncredential_process = false\n")
    with pytest.raises(CredentialsMissing, match="could not be had"):
        await credential_source(AwsSettings(profile="p")).current()


async def test_a_single_sign_on_that_was_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").write_text(
        "[profile p]\nsso_start_url = https://sso.invalid/start\nsso_region = eu-west-3\n"
        "sso_account_id = 123456789012\nsso_role_name = r\n"
    )
    with pytest.raises(CredentialsMissing, match="aws sso login --profile p"):
        await credential_source(AwsSettings(profile="p")).current()


# ---- roles ----------------------------------------------------------------------------------------------


def assuming(sts: TokenService, clock: Clock, **more: str) -> Chain:
    return Chain(AwsSettings(key="AKIABASE", secret="s", role_arn=ROLE, sts_endpoint_url=sts.url, **more), clock=clock)


async def test_a_role_is_assumed_with_the_keys_given(sts: TokenService, clock: Clock) -> None:
    credentials = await assuming(sts, clock, region="eu-west-3").current()
    assert credentials == AwsCredentials("ASIA1", "canary-secret-1", "canary-token-1", clock.now + 3600)
    (asked,) = sts.asked
    assert (asked["Action"], asked["RoleArn"]) == ("AssumeRole", ROLE)
    assert asked["RoleSessionName"].startswith("entrepot-")
    assert "Credential=AKIABASE/" in asked["authorization"]
    assert "/eu-west-3/sts/" in asked["authorization"]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"])
async def test_the_token_service_of_the_environment(
    sts: TokenService, clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, sts.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    source = credential_source(AwsSettings(role_arn=ROLE))
    credentials = await source.current()
    assert credentials is not None
    assert credentials.key == "ASIA1"
    assert "Credential=AKIAENV/" in sts.asked[0]["authorization"]


async def test_a_role_is_assumed_again_five_minutes_before_the_end(sts: TokenService, clock: Clock) -> None:
    source = assuming(sts, clock)
    first = await source.current()
    clock.now += 3600 - 301
    assert await source.current() == first
    clock.now += 2
    assert (await source.current()).key == "ASIA2"
    assert len(sts.asked) == 2


async def test_many_that_wait_ask_once(sts: TokenService, clock: Clock) -> None:
    source = assuming(sts, clock)
    assert {c.key for c in await asyncio.gather(*[source.current() for _ in range(30)])} == {"ASIA1"}
    rejected = await source.current()
    assert {c.key for c in await asyncio.gather(*[source.refresh(rejected) for _ in range(30)])} == {"ASIA2"}
    assert (await source.refresh(rejected)).key == "ASIA2", "someone else has replaced them already"
    assert len(sts.asked) == 2


async def test_short_lives_do_not_make_each_request_ask(sts: TokenService, clock: Clock) -> None:
    sts.lifetime_s = 200
    source = assuming(sts, clock)
    for _ in range(5):
        assert (await source.current()).key == "ASIA1"
    clock.now += 61
    assert (await source.current()).key == "ASIA2"


async def test_while_the_old_credentials_work_a_failed_replacement_is_no_failure(
    sts: TokenService, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source = assuming(sts, clock)
    first = await source.current()
    sts.status = 403
    clock.now += 3400
    assert await source.current() == first
    assert "could not be replaced" in caplog.text
    asked = len(sts.asked)
    assert await source.current() == first
    assert len(sts.asked) == asked, "nor is each request delayed by another try"
    clock.now += 3600
    with pytest.raises(PermissionDenied, match=ROLE):
        await source.current()


async def test_a_refused_role(sts: TokenService, clock: Clock) -> None:
    sts.status = 403
    with pytest.raises(PermissionDenied, match="trust policy"):
        await assuming(sts, clock).current()


async def test_a_role_without_keys_to_ask_with(sts: TokenService, clock: Clock) -> None:
    with pytest.raises(CredentialsMissing, match="AWS_ACCESS_KEY_ID"):
        await Chain(AwsSettings(role_arn=ROLE, sts_endpoint_url=sts.url), clock=clock).current()


async def test_a_token_service_that_is_not_there(sts: TokenService, clock: Clock) -> None:
    source = Chain(AwsSettings(key="k", secret="s", role_arn=ROLE, sts_endpoint_url="http://127.0.0.1:1"), clock=clock)
    with pytest.raises(ConnectionFailed, match="could not be reached"):
        await source.current()


async def test_no_secret_reaches_a_log_or_a_representation(
    sts: TokenService, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = AwsSettings(
        key="AKIABASE", secret="canary-base", token="canary-base-token", role_arn=ROLE, sts_endpoint_url=sts.url
    )
    source = Chain(settings, clock=clock)
    credentials = await source.current()
    assert credentials.secret == "canary-secret-1"
    for text in (caplog.text, repr(source), repr(settings), repr(credentials), repr(Static(credentials))):
        assert "canary" not in text


# ---- the environment ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "endpoint", "sts_endpoint"),
    [
        ({}, None, None),
        ({"AWS_ENDPOINT_URL": "http://a"}, "http://a", "http://a"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, "http://b", "http://a"),
        ({"AWS_ENDPOINT_URL_S3": "http://b", "AWS_ENDPOINT_URL_STS": "http://c"}, "http://b", "http://c"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None, None),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"}, "http://a", "http://a"),
        ({"AWS_ENDPOINT_URL": ""}, None, None),
    ],
)
def test_endpoints_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], endpoint: str | None, sts_endpoint: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = aws_environment()
    assert (environment.endpoint_url, environment.sts_endpoint_url) == (endpoint, sts_endpoint)


def test_the_environment_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/ca.pem")
    environment = aws_environment()
    assert "canary" not in repr(environment)
    assert environment.secret == "canary"
    assert environment.ca_bundle == "/ca.pem"


async def test_the_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert await resolve_region() == "us-east-1"
    (tmp_path / "config").write_text(
        "[default]\nregion = eu-west-1\n[profile team]\nregion=eu-west-2\ns3 =\n  addressing_style = path\n"
        '[profile "two words"]\nregion = eu-west-3\n[sso-session x]\nsso_region = eu-south-1\n'
    )
    assert await resolve_region() == "eu-west-1"
    assert await resolve_region("team") == "eu-west-2"
    assert await resolve_region("two words") == "eu-west-3"
    assert await resolve_region("unknown") == "us-east-1"
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert await resolve_region() == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-1")
    assert await resolve_region() == "ap-1"
    monkeypatch.setenv("AWS_REGION", "ap-2")
    assert await resolve_region("team") == "ap-2"


async def test_a_shared_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("region = before any section\n")
    with pytest.raises(ConfigurationError, match="config"):
        await resolve_region()
