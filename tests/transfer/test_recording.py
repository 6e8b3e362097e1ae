"""Copies with a journal: what an interrupted one has put is not put again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from entrepot import BaseArtifactStore, copy
from entrepot.errors import PermissionDenied
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.models import MIB
from entrepot.testing.faults import FaultProxy, Rule, Status
from entrepot.testing.servers import Server
from entrepot.transfer.events import Event, Progress
from entrepot.transfer.jobs import Jobs

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk(tmp_path: Path) -> LocalArtifactStore:
    (tmp_path / "disk" / "src").mkdir(parents=True)
    (tmp_path / "disk" / "src" / "large").write_bytes(os.urandom(60 * MIB))
    (tmp_path / "disk" / "src" / "small").write_bytes(b"1")
    return LocalArtifactStore(tmp_path / "disk")


async def cut_off(source: BaseArtifactStore, sink: BaseArtifactStore, journal: Path, *, after: int) -> None:
    """Cancel the copy once so many parts are written."""
    parts = 0

    def stop(event: Event) -> None:
        nonlocal parts
        if isinstance(event, Progress):
            parts += 1
            if parts == after:
                task.cancel()

    task = asyncio.ensure_future(copy((source, "src"), (sink, "up"), journal=journal, concurrency=2, on_event=stop))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_part_is_sent_once(rclone_server: Server, disk: LocalArtifactStore, tmp_path: Path) -> None:
    bucket = rclone_server.create_bucket()
    raw = rclone_server.bucket(bucket)
    journal = tmp_path / "journals"
    with FaultProxy(rclone_server.endpoint_url) as proxy:
        options = {**rclone_server.s3_options, "endpoint_url": proxy.url}
        async with S3ArtifactStore(f"s3://{bucket}", **options) as s3:
            await cut_off(disk, s3, journal, after=3)
            assert len(raw.uploads()) == 1
            (job,) = await Jobs(journal).list()
            assert (job.state, job.uploads) == ("interrupted", 1)
            report = await copy((disk, "src"), (s3, "up"), journal=journal)
            assert report.ok
            assert await s3.read_bytes("up/large") == await disk.read_bytes("src/large")
        # Eight parts; what was in flight when it was cut off may be sent once more.
        assert 8 <= proxy.count("put_part") <= 8 + 2
        assert proxy.count("create_upload") == 1
    assert raw.uploads() == []
    assert [(one.state, one.uploads) for one in await Jobs(journal).list()] == [("done", 0)]


async def test_an_upload_that_somebody_dropped_is_begun_anew(
    rclone_server: Server, disk: LocalArtifactStore, tmp_path: Path
) -> None:
    bucket = rclone_server.create_bucket()
    raw = rclone_server.bucket(bucket)
    async with S3ArtifactStore(f"s3://{bucket}", **rclone_server.s3_options) as s3:
        await cut_off(disk, s3, tmp_path / "journals", after=2)
        for key, upload in raw.uploads():
            raw.request("DELETE", key, query={"uploadId": upload})
        assert (await copy((disk, "src"), (s3, "up"), journal=tmp_path / "journals")).ok
        assert await s3.read_bytes("up/large") == await disk.read_bytes("src/large")
    assert raw.uploads() == []


async def test_what_an_earlier_run_has_read_is_why_a_download_is_not_verified(
    rclone_server: Server, disk: LocalArtifactStore, tmp_path: Path
) -> None:
    async with S3ArtifactStore(f"s3://{rclone_server.create_bucket()}", **rclone_server.s3_options) as s3:
        await s3.write_bytes("src/large", os.urandom(40 * MIB))
        await cut_off(s3, disk, tmp_path / "journals", after=2)
        report = await copy((s3, "src"), (disk, "up"), journal=tmp_path / "journals")
        assert await s3.read_bytes("src/large") == await disk.read_bytes("up/large")
    assert report.unverified_reasons == {"an earlier run has read some of its parts; the sizes are equal": 1}


async def test_a_failed_copy_is_gone_on_with_and_tells_what_failed(
    rclone_server: Server, disk: LocalArtifactStore, tmp_path: Path
) -> None:
    bucket = rclone_server.create_bucket()
    with FaultProxy(rclone_server.endpoint_url, Rule("put_part", Status(403), nth=3, times=None)) as proxy:
        options = {**rclone_server.s3_options, "endpoint_url": proxy.url}
        async with S3ArtifactStore(f"s3://{bucket}", **options) as s3:
            try:
                report = await copy((disk, "src"), (s3, "up"), journal=tmp_path / "journals")
                assert not report.ok
            except PermissionDenied:
                pass
            (job,) = await Jobs(tmp_path / "journals").list()
            assert (job.state, job.uploads) == ("interrupted", 1)
            proxy.clear()
            assert (await copy((disk, "src"), (s3, "up"), journal=tmp_path / "journals")).ok
            assert await s3.read_bytes("up/large") == await disk.read_bytes("src/large")


async def test_nothing_is_written_for_a_small_copy(disk: LocalArtifactStore, tmp_path: Path) -> None:
    os.remove(Path(disk.path) / "src" / "large")
    assert (await copy((disk, "src"), (disk, "dst"), journal=tmp_path / "journals")).ok
    assert not (tmp_path / "journals").exists() or not await Jobs(tmp_path / "journals").list()
