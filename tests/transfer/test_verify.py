"""What is said of a file's way from its source to its target."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot import LocalArtifactStore, S3ArtifactStore, copy, move
from entrepot.errors import ChecksumMismatch, ConfigurationError
from entrepot.models import FileStat
from entrepot.testing.faults import FaultProxy, FlipBits, Rule
from entrepot.testing.servers import Server
from entrepot.transfer.verify import Verdict, chain, require_equal


@pytest.mark.parametrize(
    ("read", "written", "from_disk", "to_disk", "method"),
    [
        ("md5", "crc32c", False, False, "crc32c"),
        ("md5", "md5", False, False, "md5"),
        (None, "crc32c", True, False, "crc32c"),
        ("part-md5", None, False, True, "part-md5"),
        (None, None, True, True, "size"),
        (None, "crc32c", False, False, None),
        ("crc32c", None, False, False, None),
        (None, None, False, False, None),
        (None, None, True, False, None),
    ],
)
def test_each_leg_over_a_network_needs_a_checksum(
    read: str | None, written: str | None, from_disk: bool, to_disk: bool, method: str | None
) -> None:
    verdict = chain(read, written, read_locally=from_disk, written_locally=to_disk)
    assert verdict.method == method
    assert bool(verdict.why) == (method is None)


def test_the_leg_that_nothing_vouches_for_is_named() -> None:
    assert "its source vouches" in chain(None, "crc32c", read_locally=False, written_locally=False).why
    assert "its target vouches" in chain("crc32c", None, read_locally=False, written_locally=False).why
    assert chain("crc32c", "crc32c", read_locally=False, written_locally=False) == Verdict("crc32c")


def test_a_checksum_in_common_must_be_equal() -> None:
    require_equal({"crc32c": "1", "md5": "2"}, {"crc32c": "1", "sha256": "3"}, uri="u")
    with pytest.raises(ChecksumMismatch, match="crc32c"):
        require_equal({"crc32c": "1"}, {"crc32c": "2"}, uri="u")


# ---- on a service that vouches for nothing it reads ---------------------------------------------------------

SIZES = {"small": 9, "large": 9 << 20}


@pytest.fixture
def source(juicefs_plain_server: Server) -> Iterator[tuple[FaultProxy, S3ArtifactStore]]:
    """A store behind a proxy, with a file that moves whole and one that moves in parts."""
    bucket = juicefs_plain_server.create_bucket()
    for name, size in SIZES.items():
        juicefs_plain_server.bucket(bucket).put(f"t/{name}", os.urandom(size))
    with FaultProxy(juicefs_plain_server.endpoint_url) as proxy:
        options = {**juicefs_plain_server.s3_options, "endpoint_url": proxy.url}
        yield proxy, S3ArtifactStore(f"s3://{bucket}", **options)


@pytest.mark.anyio
async def test_what_no_checksum_vouches_for_is_named_or_read_once_more(
    source: tuple[FaultProxy, S3ArtifactStore], tmp_path: Path
) -> None:
    _, store = source
    async with store:
        told = await copy((store, "t"), tmp_path / "told")
        assert (dict(told.verified), told.unverified_files) == ({}, 2)
        assert sum(told.unverified_reasons.values()) == 2
        assert {one.why for one in told.unverified} == set(told.unverified_reasons)
        assert {"vouches" in one.why for one in told.unverified} == {True}
        read = await copy((store, "t"), tmp_path / "read", verify="download")
        assert (read.ok, dict(read.verified), read.unverified_files) == (True, {"sha256": 2}, 0)
        sizes = await copy((store, "t"), tmp_path / "sizes", verify="size")
        assert (dict(sizes.verified), sizes.unverified_files) == ({"size": 2}, 0)
        moved = await move((store, "t"), tmp_path / "moved", verify="download")
        assert (moved.ok, moved.removed) == (True, 2)


@pytest.mark.anyio
@pytest.mark.parametrize("name", SIZES)
async def test_damage_that_nobody_saw_is_found_by_reading_once_more(
    source: tuple[FaultProxy, S3ArtifactStore], name: str, tmp_path: Path
) -> None:
    proxy, store = source
    rule = Rule("get", FlipBits(), key=f"*{name}", times=1)
    proxy.add(rule)
    async with store:
        report = await copy((store, f"t/{name}"), tmp_path / name, verify="download")
    assert proxy.fired(rule) == 1
    (failed,) = report.failed
    assert isinstance(failed.error, ChecksumMismatch)
    assert not report.files


@pytest.mark.anyio
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("far", [True, False])
async def test_a_target_that_somebody_changed_is_found_by_reading_it(
    juicefs_plain_server: Server, name: str, far: bool, tmp_path: Path
) -> None:
    bucket = juicefs_plain_server.create_bucket()
    (tmp_path / name).write_bytes(os.urandom(SIZES[name]))
    (tmp_path / "disk").mkdir()

    class ChangedObject(S3ArtifactStore):
        """Between the write and the look at it, the same number of other bytes is written by somebody else."""

        async def stat(self, path: str) -> FileStat:
            found = await super().stat(path)
            juicefs_plain_server.bucket(bucket).put(path, bytes(found.size_bytes))
            return await super().stat(path)

    class ChangedFile(LocalArtifactStore):
        async def stat(self, path: str) -> FileStat:
            found = await super().stat(path)
            (tmp_path / "disk" / path).write_bytes(bytes(found.size_bytes))
            return await super().stat(path)

    disk = ChangedFile(tmp_path / "disk")
    async with ChangedObject(f"s3://{bucket}", **juicefs_plain_server.s3_options) if far else disk as store:
        told = await copy(tmp_path / name, (store, "told"), verify="download")
        by = {"small": "md5", "large": "part-md5"}[name] if far else "size"
        assert (told.ok, dict(told.verified)) == (True, {by: 1})
        read = await copy(tmp_path / name, (store, "read"), verify="full")
    (failed,) = read.failed
    assert isinstance(failed.error, ChecksumMismatch)
    assert (read.files, "read once more" in failed.reason) == (0, True)


@pytest.mark.anyio
async def test_full_reads_every_file_once_more(juicefs_server: Server, tmp_path: Path) -> None:
    for name, size in SIZES.items():
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t" / name).write_bytes(os.urandom(size))
    async with S3ArtifactStore(f"s3://{juicefs_server.create_bucket()}", **juicefs_server.s3_options) as store:
        for source, target in [
            (tmp_path / "t", (store, "up")),
            ((store, "up"), (store, "beside")),
            ((store, "beside"), tmp_path / "down"),
            (tmp_path / "down", tmp_path / "copy"),
        ]:
            report = await copy(source, target, verify="full")
            assert (report.failed, dict(report.verified)) == ((), {"sha256": 2})


@pytest.mark.anyio
async def test_a_mode_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="verify: choose size, checksum, download, full"):
        await copy(tmp_path, tmp_path / "x", verify="md5")  # type: ignore[typeddict-item]
