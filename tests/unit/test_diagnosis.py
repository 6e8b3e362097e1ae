"""The examination of a store: what each fault is called, what it advises, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from canned import AT_ONCE, CannedTransport, Reply
from entrepot import MemoryArtifactStore, S3ArtifactStore
from entrepot.diagnosis import Diagnosis, Finding, examine
from entrepot.errors import (
    ConfigurationError,
    ConnectionFailed,
    ContainerNotFound,
    CredentialsMissing,
    PermissionDenied,
    UnsupportedOperation,
)
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryClient
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.connection import make_client
from entrepot.models import NO_OPTIONS, ObjectData, Reached, Upload, WriteOptions
from folder_store import FolderStore
from scripted import ScriptedClient, failing, store_over

pytestmark = pytest.mark.anyio

FILES = ["write", "read", "stat", "overwrite", "delete", "capabilities", "exclusive create", "metadata"]
SERVICE = ["configuration", "reachable", "clock", "credentials", "container", "list", *FILES, "multipart", "uploads"]
REFUSED = PermissionDenied("the credentials may not do this; check the policies of user and bucket")


def checks(diagnosis: Diagnosis) -> list[str]:
    return [one.check for one in diagnosis.findings]


def states(diagnosis: Diagnosis, *names: str) -> list[str]:
    return [diagnosis.named(name).state for name in names]


async def test_a_store_that_is_well() -> None:
    store = MemoryArtifactStore("memory://well/prefix")
    found = await examine(store)
    assert checks(found) == SERVICE
    assert found.ok
    assert {one.state for one in found.findings} == {"ok", "skipped"}
    assert [entry async for entry in store.glob("**")] == []
    assert found.uri == "memory://well/prefix"


async def test_findings_are_told_as_they_come() -> None:
    client = ScriptedClient()
    told: list[tuple[str, int]] = []

    async def note(finding: Finding) -> None:
        told.append((finding.check, len(client.calls)))

    found = await examine(store_over(client), on_finding=note)
    assert [name for name, _ in told] == checks(found)
    calls = dict(told)
    assert calls["list"] < calls["write"] < calls["delete"] < calls["multipart"]


async def test_read_only_writes_nothing() -> None:
    client = ScriptedClient()
    found = await examine(store_over(client), read_only=True)
    assert set(client.calls) <= {"list_page", "head", "get"}
    assert sorted(checks(found)) == sorted(SERVICE)
    assert states(found, "write", "delete", "multipart") == ["skipped"] * 3
    assert states(found, "list", "capabilities", "uploads") == ["ok"] * 3
    with pytest.raises(ConfigurationError, match="read_only"):
        await examine(store_over(client), read_only=True, abort_orphans=True)


# ---- files ----------------------------------------------------------------------------------------------


async def test_a_write_that_is_refused() -> None:
    client = ScriptedClient()
    client.scripts["put"] = failing(REFUSED)
    found = await examine(store_over(client))
    assert found.named("write") == Finding(
        "write", "failed", "the credentials may not do this", "check the policies of user and bucket"
    )
    assert states(found, *FILES[1:]) == ["skipped"] * 7
    assert found.named("multipart").state == "ok"
    assert not found.ok


async def test_a_read_that_is_refused_leaves_nothing_behind() -> None:
    client = ScriptedClient()

    async def refuse(real: Any, *arguments: Any, **named: Any) -> Any:
        raise REFUSED

    client.scripts["get"] = refuse
    found = await examine(store_over(client))
    assert states(found, "write", "read", "stat", "delete") == ["ok", "failed", "ok", "ok"]
    assert client.all_keys() == []


async def test_other_bytes_than_were_written_are_found() -> None:
    client = ScriptedClient()

    async def spoil(real: Any, *arguments: Any, **named: Any) -> ObjectData:
        found = await real(*arguments, **named)
        return ObjectData(b"!" + bytes(found.data)[1:], found.stat)

    client.scripts["get"] = spoil
    found = await examine(store_over(client))
    assert states(found, "read", "overwrite") == ["failed", "failed"]
    assert "do not rely" in found.named("read").advice


async def test_a_condition_that_is_promised_and_not_kept_is_found() -> None:
    client = ScriptedClient()

    async def forget(real: Any, key: str, data: Any, options: WriteOptions = NO_OPTIONS) -> Any:
        return await real(key, data, WriteOptions(metadata=options.metadata))

    client.scripts["put"] = forget
    found = await examine(store_over(client))
    assert found.named("exclusive create").state == "failed"
    assert "lock" in found.named("exclusive create").advice


async def test_a_delete_that_is_refused_names_what_stays() -> None:
    client = ScriptedClient()

    async def refuse(real: Any, *arguments: Any, **named: Any) -> Any:
        raise REFUSED

    client.scripts["delete"] = refuse
    found = await examine(store_over(client))
    (left,) = client.all_keys()
    delete = found.named("delete")
    assert (delete.state, delete.message) == ("failed", "the credentials may not do this")
    assert left in delete.advice
    assert states(found, "capabilities", "exclusive create", "metadata") == ["skipped"] * 3


@pytest.mark.parametrize("at", range(1, 26))
async def test_a_cancellation_leaves_nothing_behind(at: int) -> None:
    client = ScriptedClient()
    calls = 0
    task: asyncio.Task[Diagnosis]

    def cancelling(name: str) -> Any:
        async def script(real: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                task.cancel()
            try:
                return await real(*arguments, **named)
            finally:
                await asyncio.sleep(0)

        return script

    for name in ("put", "get", "head", "delete", "list_page", "create_upload", "abort_upload"):
        client.scripts[name] = cancelling(name)
    task = asyncio.create_task(examine(store_over(client)))
    if await asyncio.wait([task]) and task.cancelled():
        assert calls >= at
    else:
        assert task.result().ok
        assert calls < at
    assert (client.all_keys(), client.uploads()) == ([], [])


async def test_a_listener_that_fails_ends_it_and_leaves_nothing() -> None:
    client = ScriptedClient()

    async def fail(finding: Finding) -> None:
        if finding.check == "stat":
            raise RuntimeError("the listener's own")

    with pytest.raises(RuntimeError):
        await examine(store_over(client), on_finding=fail)
    assert client.all_keys() == []


async def test_who_may_write_and_delete_but_not_look_leaves_nothing_behind() -> None:
    client = ScriptedClient()

    async def refuse(real: Any, *arguments: Any, **named: Any) -> Any:
        raise REFUSED

    client.scripts["head"] = client.scripts["get"] = refuse
    found = await examine(store_over(client))
    assert states(found, "write", "read", "stat", "delete") == ["ok", "failed", "failed", "failed"]
    assert client.all_keys() == []


# ---- services -------------------------------------------------------------------------------------------


class Service(ScriptedClient):
    """With a clock and an identity, as a service has them. ahead_s: of the service's clock over this machine's."""

    ahead_s = 0.0

    async def reach(self) -> Reached | None:
        return Reached("https://service.example", datetime.now(UTC) + timedelta(seconds=self.ahead_s))

    async def identity(self) -> str:
        return "account example"


@pytest.mark.parametrize(
    ("ahead_s", "state", "told"),
    [
        (0, "ok", "within 5 s"),
        (30, "warning", "this machine's clock is 30 s behind"),
        (-45, "warning", "45 s ahead of"),
        (1_200, "failed", "20 min behind"),
        (-90_000, "failed", "1 day ahead of"),
    ],
)
async def test_clocks_that_differ(ahead_s: float, state: str, told: str) -> None:
    client = Service()
    client.ahead_s = ahead_s
    clock = (await examine(store_over(client))).named("clock")
    assert clock.state == state
    assert told in clock.message.replace("29 s", "30 s").replace("44 s", "45 s").replace("31 s", "30 s")
    assert ("NTP" in clock.advice) is (state != "ok")


async def test_who_asks_is_told_with_what_was_refused() -> None:
    client = Service()
    client.scripts["list_page"] = failing(CredentialsMissing("the signature was refused; check key and secret"))
    found = await examine(store_over(client))
    assert found.named("credentials").line == "account example: the signature was refused; check key and secret"
    assert states(found, "container", "list", "write", "uploads") == ["skipped"] * 4
    assert client.count("put") == 0


async def test_a_container_that_is_not_there() -> None:
    client = Service()
    client.scripts["list_page"] = failing(ContainerNotFound("no such bucket"))
    found = await examine(store_over(client))
    assert states(found, "reachable", "credentials", "container", "list") == ["ok", "ok", "failed", "skipped"]
    assert found.named("container").line == (
        "no such bucket; make the bucket or container, or check its name and the endpoint"
    )


async def test_who_may_not_list_may_still_write() -> None:
    client = Service()
    client.scripts["list_page"] = failing(REFUSED)
    found = await examine(store_over(client))
    assert states(found, "credentials", "container", "list", "write") == ["ok", "skipped", "failed", "ok"]


async def test_a_connection_that_breaks_after_the_first_answer_is_of_the_listing() -> None:
    client = Service()
    client.scripts["list_page"] = failing(ConnectionFailed("the connection broke"))
    found = await examine(store_over(client))
    assert states(found, "reachable", "list", "write") == ["ok", "failed", "skipped"]
    assert "has not confirmed" in found.named("credentials").message


async def test_an_endpoint_that_is_none_of_the_service_is_told_in_one_line() -> None:
    config = {"endpoint_url": "http://127.0.0.1:1", "region": "x", "key": "AKIAEXAMPLE9WXYZ", "secret": "canary"}
    store = S3ArtifactStore("s3://bucket", **config)
    found = await examine(store)
    await store.close()
    reachable = found.named("reachable")
    assert reachable.state == "failed"
    assert "http://127.0.0.1:1" in reachable.message
    assert "endpoint_url" in reachable.advice
    assert set(states(found, *SERVICE[2:])) == {"skipped"}
    assert "canary" not in repr(found)


# ---- uploads --------------------------------------------------------------------------------------------


async def begin(client: MemoryClient, key: str, age_s: float | None) -> Upload:
    upload = await client.create_upload(key)
    pending = client._held.uploads[upload.upload_id]
    begun = datetime.now(UTC) - timedelta(seconds=age_s) if age_s is not None else None
    pending.upload = Upload(key, upload.upload_id, initiated=begun)
    return upload


async def test_old_uploads_are_shown_and_then_dropped() -> None:
    client = ScriptedClient()
    await begin(client, "root/old", 90_000)
    await begin(client, "root/older", 200_000)
    await begin(client, "root/new", 3_600)
    await begin(client, "root/ageless", None)
    await begin(client, "elsewhere/old", 90_000)
    store = store_over(client)
    uploads = (await examine(store)).named("uploads")
    assert (uploads.state, uploads.message) == (
        "warning",
        "2 unfinished and older than 1 day, of 1 the age is not told",
    )
    assert "abort_orphans" in uploads.advice
    assert [item.rsplit("/", 1)[1] for item in uploads.items] == ["older (for 2 days)", "old (for 1 day)"]
    assert len(client.uploads()) == 5

    told: list[tuple[str, int]] = []

    async def note(finding: Finding) -> None:
        told.append((finding.check, len(client.uploads())))

    found = await examine(store, abort_orphans=True, on_finding=note)
    assert dict(told)["uploads"] == 5, "they are shown before anything is dropped"
    assert found.named("abort").message == "2 unfinished uploads dropped"
    assert sorted(client.uploads()) == ["elsewhere/old", "root/ageless", "root/new"]
    assert (await examine(store, older_than_s=1_800, abort_orphans=True)).named("abort").state == "ok"
    assert sorted(client.uploads()) == ["elsewhere/old", "root/ageless"]


async def test_an_abort_that_fails() -> None:
    client = ScriptedClient()
    await begin(client, "root/a", 90_000)
    await begin(client, "root/b", 90_000)
    client.scripts["abort_upload"] = failing(REFUSED, at=2)  # the first is the check's own
    found = await examine(store_over(client), abort_orphans=True)
    abort = found.named("abort")
    assert (abort.state, abort.message) == (
        "failed",
        "1 of 2 uploads could not be dropped: the credentials may not do this",
    )
    assert len(client.uploads()) == 1


async def test_a_service_that_drops_them_by_itself_is_left_alone() -> None:
    client = ScriptedClient()
    client.uploads_expire = True
    await begin(client, "root/a", 90_000)
    found = await examine(store_over(client), abort_orphans=True)
    assert states(found, "multipart", "uploads") == ["skipped", "ok"]
    assert "drops them by itself" in found.named("uploads").message
    assert client.uploads() == ["root/a"]
    assert "abort" not in checks(found)


@pytest.mark.parametrize("error", [UnsupportedOperation("the service does not offer this"), REFUSED])
async def test_uploads_that_cannot_be_listed(error: Any) -> None:
    class Listless(ScriptedClient):
        async def list_uploads(self, prefix: str = "") -> list[Upload]:
            raise error

    uploads = (await examine(store_over(Listless()))).named("uploads")
    assert uploads.state == "skipped"
    assert error.message.partition(";")[0] in uploads.message


# ---- a directory ----------------------------------------------------------------------------------------


async def test_a_directory_that_is_well(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"x")
    found = await examine(LocalArtifactStore(tmp_path))
    assert checks(found) == ["configuration", "directory", "space", "list", *FILES, "durability", "temporaries"]
    assert found.ok
    assert os.listdir(tmp_path) == ["kept"]


async def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = await examine(LocalArtifactStore(tmp_path / "a" / "b"))
    assert found.ok
    assert found.named("directory") == Finding(
        "directory", "warning", "it is not there yet", "the first write makes it"
    )
    assert found.named("write").state == "skipped"
    assert os.listdir(tmp_path) == []


async def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        directory = (await examine(LocalArtifactStore(path))).named("directory")
        assert directory.state == "failed"
        assert str(tmp_path / "file") in directory.message


async def test_temporaries_of_killed_processes_are_counted_and_left(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    dead, young = below / ".~entrepot-00", below / ".~entrepot-01"
    for path in (dead, young):
        path.write_bytes(b"12345")
    os.utime(dead, (time.time() - 3_600,) * 2)
    async with LocalArtifactStore(tmp_path).open("below/open", "wb") as writer:
        await writer.write(b"under way")
        for path in below.iterdir():
            if path not in (dead, young):
                os.utime(path, (time.time() - 3_600,) * 2)
        temporaries = (await examine(LocalArtifactStore(tmp_path))).named("temporaries")
    assert (temporaries.state, temporaries.message) == (
        "warning",
        "1 temporary file left by killed processes, 5 bytes",
    )
    assert sorted(os.listdir(below)) == [".~entrepot-00", ".~entrepot-01", "open"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes do not close a directory on Windows")
def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    script = """
import asyncio, json, os, sys
from entrepot.diagnosis import examine
from entrepot.flavors.local import LocalArtifactStore
async def main():
    await examine(LocalArtifactStore(sys.argv[2]))  # imports what it needs while this user may read it
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    found = await examine(LocalArtifactStore(sys.argv[1]))
    print(json.dumps([one.to_json() for one in found.findings]))
asyncio.run(main())
"""
    closed, own = tmp_path / "closed", tmp_path / "own"
    for one in (closed, own):
        one.mkdir()
    above = [one for one in tmp_path.parents if one.is_relative_to(tempfile.gettempdir())][:-1]
    for parent in (tmp_path, *above):  # pytest's own, one more of them in a worker
        parent.chmod(0o755)
    closed.chmod(0o555)
    command = [sys.executable, "-c", script, str(closed), str(own)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    finally:
        closed.chmod(0o755)
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert found["write"]["state"] == "failed"
    assert found["write"]["message"] == "Permission denied"
    assert "user" in found["write"]["advice"]
    assert found["list"]["state"] == "ok"
    assert found["read"]["state"] == "skipped"


# ---- others ---------------------------------------------------------------------------------------------


async def test_a_flavor_of_ones_own(tmp_path: Path) -> None:
    found = await examine(FolderStore(f"folder://this{tmp_path}"))
    assert checks(found) == ["configuration", "list", *FILES]
    assert found.ok
    assert os.listdir(tmp_path) == []


def test_verdicts() -> None:
    def diagnosis(*states_of: str) -> Diagnosis:
        return Diagnosis("u", tuple(Finding(f"c{at}", state, "m") for at, state in enumerate(states_of)))  # type: ignore[arg-type]

    assert diagnosis("ok").verdict == "1 check ok"
    assert diagnosis("ok", "ok", "skipped", "warning").verdict == "2 checks ok, 1 warning (c3), 1 skipped"
    assert diagnosis("failed", "warning", "failed", "warning").verdict == (
        "0 checks ok, 2 warnings (c1, c3), 2 failed (c0, c2)"
    )
    assert diagnosis("failed").to_json()["checks"] == {"ok": 0, "warning": 0, "failed": 1, "skipped": 0}


# ---- what a client tells --------------------------------------------------------------------------------


async def test_any_answer_is_one_and_the_request_is_not_signed() -> None:
    transport = CannedTransport(Reply(403, {"date": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""))
    config = S3Config(path="s3://bucket", endpoint_url="https://s3.example.com", region="r", key="k", secret="s")
    client = make_client(config, transport=transport, policy=AT_ONCE)
    assert await client.reach() == Reached("https://s3.example.com", datetime(2015, 10, 21, 7, 28, tzinfo=UTC))
    (request,) = transport.requests
    assert (request.method, request.target, tuple(request.headers)) == ("HEAD", "/bucket", ())


async def test_a_connection_that_breaks_is_tried_again() -> None:
    transport = CannedTransport(Reply(lost=True), Reply(500))
    config = S3Config(path="s3://bucket", endpoint_url="https://s3.example.com", region="r", key="k", secret="s")
    client = make_client(config, transport=transport, policy=AT_ONCE)
    assert await client.reach() == Reached("https://s3.example.com")
    assert len(transport.requests) == 2


@pytest.mark.parametrize(
    ("key", "shown"), [("AKIAIOSFODNN7EXAMPLE", "access key …MPLE"), ("minioadmin", "access key …")]
)
async def test_of_a_key_the_end_is_told(key: str, shown: str) -> None:
    config = S3Config(path="s3://bucket", region="r", key=key, secret="canary", token="canary-token")
    told = await make_client(config).identity()
    assert told == f"{shown}, temporary"
