"""Copies between disk and S3, on two real servers: equal by hash, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import entrepot
from entrepot.errors import ContainerNotFound, CredentialsMissing, PermissionDenied, Unreachable
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.models import MIB, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.testing.servers import Server
from entrepot.transfer.engine import CopyOptions, copy_between
from entrepot.transfer.events import Event, Progress
from trees import NAMES, hashes

pytestmark = pytest.mark.anyio

TREE = CopyOptions(recursive=True)


@pytest.fixture(params=["rclone", "juicefs"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
async def s3(server: Server) -> AsyncIterator[S3ArtifactStore]:
    async with S3ArtifactStore(f"s3://{server.create_bucket()}", **server.s3_options) as store:
        yield store


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_within_a_service_type_metadata_and_time_are_kept(s3: S3ArtifactStore) -> None:
    given = WriteOptions(content_type="text/csv", metadata={"color": "blue"}, mtime_s=12.5)
    await s3.write_bytes("from/small", b"text", given)
    await copy_between(s3, "from", s3, "to", options=TREE)
    found = await s3.stat("to/small")
    assert (found.content_type, dict(found.metadata)) == ("text/csv", {"color": "blue", "mtime": "12.5"})


@pytest.mark.usefixtures("disk")
async def test_a_service_that_drops_metadata_takes_files_without_their_time(
    juicefs_plain_server: Server, tmp_path: Path
) -> None:
    there, options = f"s3://{juicefs_plain_server.create_bucket()}/up", juicefs_plain_server.s3_options
    up = await entrepot.copy(tmp_path / "src", there, dst_config=options)
    down = await entrepot.copy(there, tmp_path / "back", src_config=options)
    assert (up.ok, down.ok) == (True, True)
    assert hashes(tmp_path / "back") == hashes(tmp_path / "src")


async def test_a_service_that_drops_metadata_takes_objects_that_have_some(
    juicefs_plain_server: Server, juicefs_server: Server
) -> None:
    from_uri, to_uri = f"s3://{juicefs_server.create_bucket()}", f"s3://{juicefs_plain_server.create_bucket()}"
    given = WriteOptions(content_type="text/csv", metadata={"color": "blue"}, mtime_s=12.5)
    async with (
        S3ArtifactStore(from_uri, **juicefs_server.s3_options) as source,
        S3ArtifactStore(to_uri, **juicefs_plain_server.s3_options) as sink,
    ):
        await source.write_bytes("f", b"text", given)
        report = await entrepot.copy(
            from_uri, to_uri, src_config=juicefs_server.s3_options, dst_config=juicefs_plain_server.s3_options
        )
        assert report.ok, report.failed
        assert await sink.read_bytes("f") == b"text"


async def test_large_copies_within_a_service_that_does_not_copy_parts(rclone_server: Server) -> None:
    bucket = rclone_server.create_bucket()
    async with S3ArtifactStore(f"s3://{bucket}", **rclone_server.s3_options) as store:
        store.client.limits = replace(store.limits, copy_max_bytes=MIB)
        data = os.urandom(17 * MIB + 3)
        await store.write_bytes("from/large", data)
        await store.copyfile("from/large", "one")
        await copy_between(store, "from", store, "to", options=TREE)
        assert await store.read_bytes("one") == data
        assert await store.read_bytes("to/large") == data
        assert await store.client.list_uploads() == []


async def test_up_within_and_down_again(
    tmp_path: Path, disk: LocalArtifactStore, s3: S3ArtifactStore, server: Server
) -> None:
    up = await copy_between(disk, "src", s3, "up", options=TREE)
    within = await copy_between(s3, "up", s3, "within", options=TREE)
    down = await copy_between(s3, "within", disk, "back", options=TREE)
    await copy_between(s3, "up", disk, "direct", options=TREE)
    keeps_empty = server.name != "rclone"
    before = hashes(tmp_path / "src")
    if not keeps_empty:
        del before["nothing"]
    assert hashes(tmp_path / "back") == hashes(tmp_path / "direct") == before
    for report in (up, within, down):
        assert (report.ok, report.files) == (True, len(NAMES) + 1)
    assert (up.directories, up.empty_directories_skipped) == ((1, 0) if keeps_empty else (0, 1))
    assert (up.unverified_files, down.unverified_files) == (0, 0)
    # The gateway's own copy drops metadata.
    for name in (*NAMES, "large"):
        difference = (tmp_path / "src" / name).stat().st_mtime - (tmp_path / "direct" / name).stat().st_mtime
        assert abs(difference) < 0.001


async def test_existing_objects_are_skipped(disk: LocalArtifactStore, s3: S3ArtifactStore) -> None:
    await s3.write_bytes("up/plain", b"old")
    await s3.write_bytes("up/large", b"old")
    report = await copy_between(disk, "src", s3, "up", options=replace(TREE, compare="skip-existing"))
    assert (report.ok, report.skipped, report.files) == (True, 2, len(NAMES) - 1)
    assert await s3.read_bytes("up/plain") == await s3.read_bytes("up/large") == b"old"


async def test_a_move_there_and_back(tmp_path: Path, disk: LocalArtifactStore, s3: S3ArtifactStore) -> None:
    before = {name: value for name, value in hashes(tmp_path / "src").items() if name != "nothing"}
    (tmp_path / "src" / "nothing").rmdir()
    there = await copy_between(disk, "src", s3, "x", options=replace(TREE, delete_source=True))
    assert (there.ok, there.removed) == (True, len(NAMES) + 1)
    assert not (tmp_path / "src").exists()
    back = await copy_between(s3, "x", disk, "back", options=replace(TREE, delete_source=True))
    assert (back.ok, back.removed) == (True, len(NAMES) + 1)
    assert hashes(tmp_path / "back") == before
    assert not await s3.exists("x")


@pytest.mark.parametrize("seed", range(6))
async def test_a_cancelled_upload_leaves_no_upload(
    disk: LocalArtifactStore, s3: S3ArtifactStore, server: Server, seed: int
) -> None:
    task = asyncio.ensure_future(copy_between(disk, "src", s3, "up", options=TREE))
    await asyncio.sleep(random.Random(seed).uniform(0, 0.2))
    task.cancel()
    with suppress(asyncio.CancelledError):  # it may have been quicker
        await task
    assert server.bucket(s3.path.removeprefix("s3://")).uploads() == []


async def test_a_large_upload_cancelled_between_parts_leaves_nothing(
    disk: LocalArtifactStore, s3: S3ArtifactStore, server: Server
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress):
            task.cancel()

    task = asyncio.ensure_future(copy_between(disk, "src/large", s3, "up", options=CopyOptions(), on_event=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    bucket = server.bucket(s3.path.removeprefix("s3://"))
    assert bucket.uploads() == []
    assert not bucket.exists("up")


async def test_a_cancelled_download_leaves_no_temporary(
    tmp_path: Path, disk: LocalArtifactStore, s3: S3ArtifactStore
) -> None:
    await copy_between(disk, "src", s3, "up", options=TREE)

    def stop(event: Event) -> None:
        if isinstance(event, Progress):
            task.cancel()

    task = asyncio.ensure_future(copy_between(s3, "up", disk, "back", options=TREE, on_event=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    before = hashes(tmp_path / "src")
    after = hashes(tmp_path / "back")
    assert not [name for name in after if TEMPORARY_PREFIX in name]
    assert after.items() <= before.items()
    assert "large" not in after


async def test_a_missing_bucket_ends_the_copy_at_once(disk: LocalArtifactStore, rclone_server: Server) -> None:
    async with S3ArtifactStore("s3://no-such-bucket-here", **rclone_server.s3_options) as s3:
        with pytest.raises(ContainerNotFound):
            await copy_between(disk, "src", s3, "up", options=TREE)
        with pytest.raises(ContainerNotFound):
            await copy_between(s3, "up", disk, "back", options=TREE)


async def test_wrong_credentials_end_the_copy_at_once(disk: LocalArtifactStore, juicefs_server: Server) -> None:
    options = juicefs_server.s3_options | {"secret": "not-the-secret"}
    async with S3ArtifactStore(f"s3://{juicefs_server.create_bucket()}", **options) as s3:
        with pytest.raises((CredentialsMissing, PermissionDenied)):
            await copy_between(disk, "src", s3, "up", options=TREE)


async def test_an_unreachable_endpoint_ends_the_copy(
    disk: LocalArtifactStore, rclone_server: Server, unused_port: int
) -> None:
    options = rclone_server.s3_options | {"endpoint_url": f"http://127.0.0.1:{unused_port}"}
    async with S3ArtifactStore("s3://bucket", max_attempts=1, **options) as s3:
        with pytest.raises(Unreachable):
            await copy_between(disk, "src", s3, "up", options=TREE)
