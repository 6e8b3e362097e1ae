"""Objects on S3 whose etag proves nothing: the checksum that they were written with verifies what is read."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot import LocalArtifactStore, S3ArtifactStore, copy, crcs, move
from entrepot.errors import ChecksumMismatch
from entrepot.testing.faults import FaultProxy, FlipBits, Rule
from entrepot.testing.raw_s3 import RawS3
from entrepot.testing.strict import StrictS3, strict_s3
from entrepot.testing.strict.checksums import DIGESTS

pytestmark = pytest.mark.anyio

SMALL = b"123456789"
LARGE = bytes(range(256)) * 36 * 1024
"""More than one part."""


@pytest.fixture
def server() -> Iterator[StrictS3]:
    with strict_s3() as server:
        yield server


@pytest.fixture
def raw(server: StrictS3) -> RawS3:
    return server.bucket(server.create_bucket("bucket"))


@pytest.fixture(params=["wire", "sdk"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(raw: RawS3, key: str, data: bytes, algorithm: str) -> str:
    """An object in one part, whose etag is therefore no MD5; its checksum, in hex."""
    asked = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": "FULL_OBJECT"}
    begun = raw.request("POST", key, query={"uploads": ""}, headers=asked)
    found = re.search(rb"<UploadId>(.*?)</UploadId>", begun.body)
    assert found, begun.body
    upload = {"uploadId": found[1].decode()}
    put = raw.request("PUT", key, query={"partNumber": "1", **upload}, body=data)
    row = f"<Part><PartNumber>1</PartNumber><ETag>{put.headers['etag']}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{row}</CompleteMultipartUpload>".encode()
    done = raw.request("POST", key, query=upload, body=body)
    assert done.status == 200, done.body
    return DIGESTS[algorithm](data).hex()


def opened(server: StrictS3, client: str, **more: Any) -> S3ArtifactStore:
    options = {**server.s3_options, "tells_checksums": True, **more}
    return S3ArtifactStore("s3://bucket", client=client, **options)


@pytest.mark.parametrize("algorithm", ["crc64nvme", "crc32c", "crc32"])
async def test_the_checksum_is_told_and_verifies_a_copy(
    server: StrictS3, raw: RawS3, client: str, algorithm: str, tmp_path: Path
) -> None:
    expected = write(raw, "small", SMALL, algorithm)
    async with opened(server, client) as store:
        told = await store.stat("small")
        assert (told.checksums, told.etag and told.etag[-2:]) == ({algorithm: expected}, "-1")
        report = await copy((store, "small"), (LocalArtifactStore(tmp_path), "small"))
    assert (dict(report.verified), report.unverified) == ({algorithm: 1}, ())


async def test_a_large_file_is_verified_from_its_parts(
    server: StrictS3, raw: RawS3, client: str, tmp_path: Path
) -> None:
    write(raw, "large", LARGE, "crc32")
    async with opened(server, client) as store:
        report = await copy((store, "large"), (LocalArtifactStore(tmp_path), "large"))
    assert (dict(report.verified), report.unverified) == ({"crc32": 1}, ())
    assert (tmp_path / "large").read_bytes() == LARGE


@pytest.mark.parametrize(("algorithm", "data"), [("crc64nvme", SMALL), ("crc32c", LARGE)])
async def test_a_library_that_is_missing_is_named(
    server: StrictS3,
    raw: RawS3,
    client: str,
    algorithm: str,
    data: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(raw, "object", data, algorithm)
    for name in ("google_crc32c", "awscrt.checksums"):
        monkeypatch.setitem(sys.modules, name, None)
    crcs._crc32c_extender.cache_clear()
    crcs._crc64nvme_extender.cache_clear()
    source, disk = opened(server, client), LocalArtifactStore(tmp_path)
    why = f"to compare its {algorithm.upper()}, install {crcs.missing_library(algorithm)}; the sizes are equal"
    async with source:
        told = await copy((source, "object"), (disk, "told"))
        assert (told.ok, dict(told.verified), told.unverified_reasons) == (True, {}, {why: 1})
        assert [(one.uri, one.why) for one in told.unverified] == [("s3://bucket/object", why)]
        assert (await copy((source, "object"), (disk, "read"), verify="download")).verified == {"sha256": 1}
        kept = await move((source, "object"), (disk, "moved"))
        assert [why in item.reason for item in kept.failed] == [True]
        assert await source.read_bytes("object") == data


@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_flipped_bits_are_found(server: StrictS3, raw: RawS3, client: str, data: bytes, tmp_path: Path) -> None:
    write(raw, "object", data, "crc32")
    with FaultProxy(server.endpoint_url) as proxy:
        rule = Rule("get", FlipBits(), times=None)
        proxy.add(rule)
        async with opened(server, client, endpoint_url=proxy.url, max_attempts=2) as store:
            report = await copy((store, "object"), (LocalArtifactStore(tmp_path), "object"))
        assert proxy.fired(rule) > 0
    (failed,) = report.failed
    assert isinstance(failed.error, ChecksumMismatch)
    assert not (tmp_path / "object").exists()


async def test_bits_that_flipped_once_are_read_again(server: StrictS3, raw: RawS3, client: str) -> None:
    write(raw, "object", SMALL, "crc64nvme")
    with FaultProxy(server.endpoint_url) as proxy:
        rule = Rule("get", FlipBits(), times=1)
        proxy.add(rule)
        async with opened(server, client, endpoint_url=proxy.url) as store:
            assert await store.read_bytes("object") == SMALL
        assert proxy.fired(rule) == 1


async def test_other_services_are_not_asked_unless_it_is_wanted(server: StrictS3, raw: RawS3, client: str) -> None:
    write(raw, "object", SMALL, "crc32")
    async with opened(server, client, tells_checksums=None) as store:
        assert (await store.stat("object")).checksums == {}
        assert await store.read_bytes("object") == SMALL
