"""Trees compared without copying."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot import check, copy
from entrepot.contract import BaseArtifactStore
from entrepot.errors import NotADirectory, NotFound
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.models import MIB
from entrepot.transfer.checking import Difference, Finding
from entrepot.transfer.filters import Filters

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk(tmp_path: Path) -> LocalArtifactStore:
    top = tmp_path / "disk" / "src"
    for name in ("a", "d/b", "d/c", "é"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode() * 100)
    (top / "large").write_bytes(os.urandom(9 * MIB))
    return LocalArtifactStore(tmp_path / "disk")


@pytest.fixture(params=["local", "memory", "rclone", "juicefs"])
async def far(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseArtifactStore]:
    if request.param == "local":
        yield LocalArtifactStore(tmp_path / "far")
    elif request.param == "memory":
        yield MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")
    else:
        server = request.getfixturevalue(f"{request.param}_server")
        async with S3ArtifactStore(f"s3://{server.create_bucket()}", **server.s3_options) as store:
            yield store


async def test_a_copy_is_equal_and_what_changed_is_found(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await copy((disk, "src"), (far, "up"))
    told_only = await check((disk, "src"), (far, "up"))
    assert told_only.equal + told_only.undecided == 5
    assert told_only.undecided <= 1, "of the large file a service may tell no checksum that can be computed"
    assert told_only.ok == (told_only.undecided == 0)
    same = await check((disk, "src"), (far, "up"), download=True)
    assert (same.ok, same.equal) == (True, 5)
    await far.write_bytes("up/a", b"b" * 100)
    await far.write_bytes("up/d/b", b"shorter")
    await far.remove("up/é")
    await far.write_bytes("up/more", b"1")
    told: list[Difference] = []
    report = await check((disk, "src"), (far, "up"), download=True, on_difference=told.append)
    found = {one.path: one.finding for one in report.differences}
    assert found == {
        "a": Finding.DIFFERS,
        "d/b": Finding.DIFFERS,
        "é": Finding.MISSING_AT_TARGET,
        "more": Finding.MISSING_AT_SOURCE,
    }
    assert not report.ok
    assert sorted(told, key=lambda one: one.path) == list(report.differences)
    assert (await check((disk, "src"), (far, "up"), one_way=True)).missing_at_source == 0
    chosen = Filters.parse([("include", "/d/c")])
    assert (await check((disk, "src"), (far, "up"), download=True, filters=chosen)).ok


async def test_by_size_alone_equal_sizes_are_equal(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await copy((disk, "src"), (far, "up"))
    await far.write_bytes("up/a", b"b" * 100)
    report = await check((disk, "src"), (far, "up"), size_only=True)
    assert (report.ok, report.equal) == (True, 5)


async def test_two_services_without_a_common_checksum_are_read(
    disk: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (MemoryArtifactStore(f"memory://{secrets.token_hex(8)}") for _ in range(2))
    await copy((disk, "src"), (one, "x"))
    await copy((disk, "src"), (other, "x"))
    await other.write_bytes("x/a", b"b" * 100)
    monkeypatch.setattr("entrepot.transfer.examining._has_common", lambda source, target: False)
    monkeypatch.setattr("entrepot.transfer.compare._compared_checksums", lambda source, target: "none")
    assert (await check((one, "x"), (other, "x"))).undecided == 5
    report = await check((one, "x"), (other, "x"), download=True)
    assert (report.equal, report.undecided) == (4, 0)
    assert [(item.path, item.finding) for item in report.differences] == [("a", Finding.DIFFERS)]


async def test_two_files(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await copy((disk, "src/a"), (far, "one"))
    assert (await check((disk, "src/a"), (far, "one"))).equal == 1
    await far.write_bytes("one", b"x")
    assert (await check((disk, "src/a"), (far, "one"), download=True)).differing == 1
    with pytest.raises(NotADirectory):
        await check((disk, "src"), (far, "one"))
    with pytest.raises(NotFound):
        await check((disk, "src"), (far, "nowhere"))
