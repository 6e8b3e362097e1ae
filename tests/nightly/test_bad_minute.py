"""A service that refuses three of ten requests for a minute: everything is copied, without a storm of requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot import copy
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.testing.faults import FaultProxy, burst
from entrepot.testing.servers import Server

pytestmark = [pytest.mark.nightly, pytest.mark.anyio, pytest.mark.timeout(900)]

OBJECTS = 5_000


@pytest.mark.holds("bad-minute")
async def test_five_thousand_objects_through_a_bad_minute(rclone_server: Server, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(OBJECTS):
        path = tree / f"{number % 50:02}" / f"{number:04}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number % 4096))
    bucket = rclone_server.create_bucket()
    with FaultProxy(rclone_server.endpoint_url, burst("put", probability=0.3, for_s=60), seed=7) as proxy:
        options = {**rclone_server.s3_options, "endpoint_url": proxy.url}
        async with S3ArtifactStore(f"s3://{bucket}", **options) as s3:
            report = await copy((LocalArtifactStore(tree), ""), (s3, "up"))
        refused, asked = proxy.hits["Status"], proxy.count("put")
    assert (report.ok, report.files) == (True, OBJECTS)
    assert refused >= OBJECTS // 5, "it was a bad minute"
    assert asked <= 1.6 * OBJECTS
    print(f"{asked:,} requests for {OBJECTS:,} objects, {refused:,} refused, {report.seconds:.0f} s")
