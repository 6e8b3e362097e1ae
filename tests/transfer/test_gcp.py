"""Copies between disk and Google Cloud Storage, on its emulator: equal by hash, and nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from entrepot.errors import ContainerNotFound
from entrepot.flavors.gcp import client as gcp_client
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.models import MIB, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.testing.gcs import GcsServer
from entrepot.testing.names import ODD_NAMES
from entrepot.transfer.engine import CopyOptions, copy_between
from entrepot.transfer.events import Event, Progress
from trees import disk_with, hashes

pytestmark = pytest.mark.anyio

TREE = CopyOptions(recursive=True)
NAMES = [*ODD_NAMES, "empty", "d/deep/y"]


@pytest.fixture(params=["session", "composition"])
async def gcs(
    gcs_server: GcsServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GcpArtifactStore]:
    if request.param == "composition":  # also of files that do not take a minute
        monkeypatch.setattr(gcp_client, "COMPOSED_FROM_BYTES", 16 * MIB)
    async with GcpArtifactStore(f"gs://{gcs_server.create_bucket()}", **gcs_server.options) as store:
        await store.probe_capabilities()  # so that no probe is under way where a test cancels
        yield store


@pytest.fixture
def disk(tmp_path: Path) -> LocalArtifactStore:
    return disk_with(tmp_path, NAMES)


def keys_of(server: GcsServer, store: GcpArtifactStore) -> list[str]:
    return server.bucket(store.path.removeprefix("gs://")).keys()


async def test_up_within_and_down_again(
    tmp_path: Path, disk: LocalArtifactStore, gcs: GcpArtifactStore, gcs_server: GcsServer
) -> None:
    up = await copy_between(disk, "src", gcs, "up", options=TREE)
    within = await copy_between(gcs, "up", gcs, "within", options=TREE)
    down = await copy_between(gcs, "within", disk, "back", options=TREE)
    assert hashes(tmp_path / "back") == hashes(tmp_path / "src")
    for report in (up, within, down):
        assert (report.ok, report.files) == (True, len(NAMES) + 1)
        assert (report.directories, report.empty_directories_skipped, report.unverified_files) == (1, 0, 0)
    for name in (*NAMES, "large"):
        difference = (tmp_path / "src" / name).stat().st_mtime - (tmp_path / "back" / name).stat().st_mtime
        assert abs(difference) < 0.001
    assert not [key for key in keys_of(gcs_server, gcs) if TEMPORARY_PREFIX in key]


async def test_type_metadata_and_time_go_along_between_services(gcs: GcpArtifactStore, gcs_server: GcsServer) -> None:
    given = WriteOptions(content_type="text/csv", metadata={"color": "blau grün"}, mtime_s=12.5)
    await gcs.write_bytes("from/small", b"text", given)
    async with MemoryArtifactStore("memory://gcp-transfer") as memory:
        await copy_between(gcs, "from", memory, "there", options=TREE)
        await copy_between(memory, "there", gcs, "back", options=TREE)
    found = await gcs.stat("back/small")
    assert (found.content_type, dict(found.metadata)) == ("text/csv", {"color": "blau grün", "mtime": "12.5"})
    assert found.checksums["md5"] == hashlib.md5(b"text").hexdigest()


async def test_a_move_there_and_back(tmp_path: Path, disk: LocalArtifactStore, gcs: GcpArtifactStore) -> None:
    (tmp_path / "src" / "nothing").rmdir()
    before = hashes(tmp_path / "src")
    there = await copy_between(disk, "src", gcs, "x", options=replace(TREE, delete_source=True))
    assert (there.ok, there.removed) == (True, len(NAMES) + 1)
    back = await copy_between(gcs, "x", disk, "back", options=replace(TREE, delete_source=True))
    assert (back.ok, back.removed) == (True, len(NAMES) + 1)
    assert hashes(tmp_path / "back") == before
    assert not await gcs.exists("x")


@pytest.mark.parametrize("seed", range(4))
async def test_a_cancelled_upload_leaves_no_temporaries(
    disk: LocalArtifactStore, gcs: GcpArtifactStore, gcs_server: GcsServer, seed: int
) -> None:
    task = asyncio.ensure_future(copy_between(disk, "src", gcs, "up", options=TREE))
    await asyncio.sleep(random.Random(seed).uniform(0, 0.4))
    task.cancel()
    with suppress(asyncio.CancelledError):  # it may have been quicker
        await task
    assert not [key for key in keys_of(gcs_server, gcs) if TEMPORARY_PREFIX in key]


async def test_a_large_upload_cancelled_between_parts_leaves_nothing(
    disk: LocalArtifactStore, gcs: GcpArtifactStore, gcs_server: GcsServer
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress):
            task.cancel()

    task = asyncio.ensure_future(copy_between(disk, "src/large", gcs, "up", options=CopyOptions(), on_event=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert keys_of(gcs_server, gcs) == []


async def test_a_missing_bucket_ends_the_copy_at_once(disk: LocalArtifactStore, gcs_server: GcsServer) -> None:
    async with GcpArtifactStore("gs://no-such-bucket-here", **gcs_server.options) as gcs:
        with pytest.raises(ContainerNotFound):
            await copy_between(disk, "src", gcs, "up", options=TREE)
        with pytest.raises(ContainerNotFound):
            await copy_between(gcs, "up", disk, "back", options=TREE)
