"""`doctor` on real servers: each is well, and each thing that can be wrong is one line that says what to set."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.programs import Result, Run
from entrepot import S3ArtifactStore, open_store_sync
from entrepot.diagnosis import Diagnosis, examine
from entrepot.models import Upload
from entrepot.testing.azure_server import AzuriteServer
from entrepot.testing.gcs import GcsServer
from entrepot.testing.servers import Server

Use = Callable[[Server], None]
S3 = ["rclone", "juicefs", "moto"]
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="session")
def servers(
    rclone_server: Server,
    juicefs_server: Server,
    moto_server: Server,
    gcs_server: GcsServer,
    azurite_server: AzuriteServer,
) -> dict[str, Any]:
    """All of them, started before a test gets directories of its own: one is installed below the user's."""
    return {
        "rclone": rclone_server,
        "juicefs": juicefs_server,
        "moto": moto_server,
        "gcs": gcs_server,
        "azurite": azurite_server,
    }


@pytest.fixture(params=[*S3, "gcs", "azurite"])
def uri(request: pytest.FixtureRequest, servers: dict[str, Any], use: Use, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new container on each server, which the standard variables lead to."""
    server = servers[request.param]
    if isinstance(server, AzuriteServer):
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", server.connection_string)
        return f"az://{server.create_container()}"
    if isinstance(server, GcsServer):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.endpoint_url)
        return f"gs://{server.create_bucket()}"
    use(server)
    return f"s3://{server.create_bucket()}"


def states(result: Result) -> dict[str, str]:
    return {one["check"]: one["state"] for one in result.values[:-1]}


def failure(result: Result, check: str) -> str:
    """The one line of a check that failed: message and advice."""
    assert result.code == 1, result
    assert result.stderr == ""
    lines = [line for line in result.lines if line.startswith("failed ")]
    assert len(lines) == 1, result
    assert lines[0].split()[1] == check
    assert "; " in lines[0], "what to set is missing"
    assert result.lines[-1].endswith(" skipped")
    assert f"1 failed ({check})" in result.lines[-1]
    return lines[0]


# ---- all is well ----------------------------------------------------------------------------------------


def test_every_server_is_well(run: Run, uri: str) -> None:
    result = run("doctor", f"{uri}/some dir/below")
    assert (result.code, result.stderr) == (0, ""), result
    assert result.lines[-1].startswith(f"{uri}/some dir/below: 1")
    for check in ("configuration", "reachable", "clock", "credentials", "container", "list", "write", "read", "stat"):
        assert f"ok       {check} " in result.stdout
    assert run("ls", "-r", uri).lines == []
    with open_store_sync(uri) as store:
        assert list(store.scan("")) == []


def test_results_for_machines(run: Run, uri: str) -> None:
    result = run("doctor", "--json", uri)
    assert result.code == 0
    found, last = result.values[:-1], result.values[-1]
    assert all(set(one) == {"check", "state", "message", "advice", "items"} for one in found)
    assert (last["uri"], last["ok"], last["checks"]["failed"]) == (uri, True, 0)
    assert last["checks"]["ok"] == sum(one["state"] == "ok" for one in found)


def test_read_only_leaves_out_what_writes(run: Run, uri: str) -> None:
    result = run("doctor", "--json", "--read-only", uri)
    assert result.code == 0
    assert [states(result)[name] for name in ("list", "write", "delete", "multipart")] == ["ok", *["skipped"] * 3]
    shown = run("doctor", "--read-only", uri)
    assert "it would write, and only reading was asked for (" in shown.stdout


@pytest.mark.parametrize("server_name", S3)
def test_the_other_client_is_well(run: Run, use: Use, server_name: str, servers: dict[str, Any]) -> None:
    server: Server = servers[server_name]
    use(server)
    result = run("doctor", "--json", "--client", "sdk", f"s3://{server.create_bucket()}")
    assert result.code == 0
    assert [states(result)[name] for name in ("reachable", "credentials", "delete")] == ["skipped", "ok", "ok"]


def test_a_store_by_its_name(run: Run) -> None:
    for name in ("default", "default:"):
        result = run("doctor", name)
        assert result.code == 0
        assert "flavor local" in result.stdout


# ---- what is wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("server_name", ["rclone", "juicefs"])
def test_a_wrong_secret(
    run: Run, use: Use, server_name: str, servers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Server = servers[server_name]
    use(server)
    bucket = server.create_bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret-of-nobody")
    line = failure(run("doctor", f"s3://{bucket}"), "credentials")
    assert f"access key …{server.key[-4:]}: the signature was refused; check key and secret" in line
    assert "canary" not in line
    assert server.key not in line


def test_a_wrong_account_key(run: Run, azurite_server: AzuriteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    container = azurite_server.create_container()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", azurite_server.account_name)
    monkeypatch.setenv("AZURE_STORAGE_KEY", "Y2FuYXJ5")
    result = run("doctor", f"az://{container}", "--endpoint-url", azurite_server.endpoint_url)
    assert result.code == 1
    # Azurite answers as to a key that is known, and may not.
    assert f"ok       credentials       account {azurite_server.account_name}, by its key" in result.stdout
    (line,) = [line for line in result.lines if line.startswith("failed   list")]
    assert "check them" in line
    assert "Y2FuYXJ5" not in result.stdout


def test_no_credentials(run: Run, rclone_server: Server) -> None:
    result = run("doctor", f"s3://{rclone_server.create_bucket()}", "--endpoint-url", rclone_server.endpoint_url)
    assert "AWS_ACCESS_KEY_ID" in failure(result, "credentials")


def test_a_missing_container(run: Run, uri: str) -> None:
    scheme = uri.partition("://")[0]
    missing = f"{scheme}://none-{secrets.token_hex(6)}"
    result = run("doctor", missing)
    line = failure(result, "container")
    assert "bucket" in line or "container" in line
    assert "ok       credentials" in result.stdout


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_nobody_listens(run: Run, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AZURE_STORAGE_KEY", "a2V5")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    given = ["--anonymous"] if scheme == "gs" else []
    line = failure(run("doctor", f"{scheme}://bucket", "--endpoint-url", NOBODY, *given), "reachable")
    assert NOBODY in line
    assert "--endpoint-url" in line


def test_a_server_that_does_not_speak_https(run: Run, rclone_server: Server, use: Use) -> None:
    use(rclone_server)
    endpoint = rclone_server.endpoint_url.replace("http://", "https://")
    line = failure(run("doctor", "s3://bucket", "--endpoint-url", endpoint), "reachable")
    assert "does it speak https?" in line


def test_a_configuration_that_cannot_be(run: Run) -> None:
    for arguments in (["s3://A..B"], ["nosuch://x"], ["s3://bucket", "--endpoint-url", "ftp://x"]):
        result = run("doctor", *arguments)
        assert result.code == 2
        assert result.stderr == ""
        assert result.lines[0].startswith("failed   configuration ")
        assert result.lines[1].endswith("0 checks ok, 1 failed (configuration)")


@pytest.mark.parametrize("off_s", [1_200, -1_200])
def test_a_clock_that_is_twenty_minutes_off(moto_server: Server, off_s: float) -> None:
    async def look() -> Diagnosis:
        async with S3ArtifactStore(f"s3://{moto_server.create_bucket()}", **moto_server.s3_options) as store:
            return await examine(store, clock=lambda: time.time() + off_s)

    clock = asyncio.run(look()).named("clock")
    where = "ahead of" if off_s > 0 else "behind"
    assert clock.state == "failed"
    assert (
        clock.line == f"this machine's clock is 20 min {where} the service's; set this machine's clock, by NTP for one"
    )


def test_a_directory_of_which_nothing_can_be_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert "is no directory; give the address of a directory" in failure(run("doctor", tmp_path / "file"), "directory")


@pytest.mark.parametrize(
    "arguments",
    [["--abort-orphans", "--read-only"], ["--older-than", "soon"], ["--region", "x"], ["--no-such-option"]],
)
def test_wrong_use(run: Run, arguments: list[str]) -> None:
    result = run("doctor", ".", *arguments)
    assert result.code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


# ---- uploads that nobody completed ----------------------------------------------------------------------


async def begin(server: Server, bucket: str, key: str) -> Upload:
    async with S3ArtifactStore(f"s3://{bucket}", **server.s3_options) as store:
        return await store.client.create_upload(key)


async def uploads(server: Server, bucket: str) -> list[str]:
    async with S3ArtifactStore(f"s3://{bucket}", **server.s3_options) as store:
        return [one.key for one in await store.client.list_uploads()]


def test_uploads_that_nobody_completed(run: Run, moto_server: Server, use: Use) -> None:
    """moto says of every upload that it began in 2010."""
    use(moto_server)
    bucket = moto_server.create_bucket()
    for key in ("mine/a", "mine/b", "other"):
        asyncio.run(begin(moto_server, bucket, key))
    shown = run("doctor", f"s3://{bucket}/mine")
    assert shown.code == 0, "a warning is no failure"
    assert "warning  uploads           2 unfinished and older than 1 day" in shown.stdout
    assert "--abort-orphans" in shown.stdout
    assert f"s3://{bucket}/mine/a (for " in shown.stdout
    assert len(asyncio.run(uploads(moto_server, bucket))) == 3
    dropped = run("doctor", f"s3://{bucket}/mine", "--abort-orphans")
    assert "ok       abort             2 unfinished uploads dropped" in dropped.stdout
    assert asyncio.run(uploads(moto_server, bucket)) == ["other"]


@pytest.mark.parametrize("server_name", ["rclone", "juicefs"])
def test_young_uploads_are_left(run: Run, use: Use, server_name: str, servers: dict[str, Any]) -> None:
    server: Server = servers[server_name]
    use(server)
    bucket = server.create_bucket()
    asyncio.run(begin(server, bucket, "a"))
    result = run("doctor", f"s3://{bucket}", "--abort-orphans")
    assert "ok       uploads           1 under way, none older than 1 day" in result.stdout
    assert asyncio.run(uploads(server, bucket)) == ["a"]


def test_nothing_is_left_in_the_working_directory(run: Run) -> None:
    assert run("doctor", ".").code == 0
    assert os.listdir() == []
