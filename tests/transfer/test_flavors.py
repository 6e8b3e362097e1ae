"""Copies between the flavors that need no server."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from entrepot.errors import InvalidPath
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.models import MIB, ObjectStat
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.transfer.engine import CopyOptions, copy_between
from entrepot.transfer.verify import Verify

pytestmark = pytest.mark.anyio

TREE = CopyOptions(recursive=True)
NAMES = ["a", "with space", "100%", "%41", "a+b", "#hash", "what?", "é", "e\u0301", "日本", "empty", "d/x", "d/deep/y"]


@pytest.fixture
def memory() -> MemoryArtifactStore:
    return MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")


@pytest.fixture
def disk(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path)


def make_tree(top: Path) -> None:
    for number, name in enumerate(NAMES):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else name.encode() * number)
        path.chmod(0o640)
        os.utime(path, ns=(0, 1_600_000_000_123_456_000 + number))
    (top / "large").write_bytes(os.urandom(17 * MIB + 5))
    (top / "nothing" / "below").mkdir(parents=True)


def tree(top: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(top)): path.read_bytes() if path.is_file() else None for path in top.rglob("*")}


async def test_a_tree_comes_back_as_it_was(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore
) -> None:
    make_tree(tmp_path / "src")
    up = await copy_between(disk, "src", memory, "up", options=TREE)
    down = await copy_between(memory, "up", disk, "back", options=TREE)
    assert tree(tmp_path / "back") == tree(tmp_path / "src")
    for report in (up, down):
        assert (report.ok, report.files, report.directories) == (True, len(NAMES) + 1, 1)
        assert report.verified["md5"] == len(NAMES)
    for name in NAMES:
        difference = (tmp_path / "src" / name).stat().st_mtime - (tmp_path / "back" / name).stat().st_mtime
        assert abs(difference) < 0.001


async def test_on_one_disk_mode_and_time_are_kept(tmp_path: Path, disk: LocalArtifactStore) -> None:
    make_tree(tmp_path / "src")
    report = await copy_between(disk, "src", disk, "dst", options=TREE)
    assert tree(tmp_path / "dst") == tree(tmp_path / "src")
    assert report.verified == {"size": len(NAMES) + 1}
    for name in [*NAMES, "large"]:
        before, after = (tmp_path / "src" / name).stat(), (tmp_path / "dst" / name).stat()
        assert (before.st_mtime_ns, stat.S_IMODE(before.st_mode)) == (after.st_mtime_ns, stat.S_IMODE(after.st_mode))


async def test_in_one_service_metadata_is_kept(memory: MemoryArtifactStore) -> None:
    from entrepot.models import WriteOptions

    options = WriteOptions(content_type="text/plain", metadata={"color": "blue"}, mtime_s=1.5)
    await memory.write_bytes("src/a", b"1", options)
    report = await copy_between(memory, "src", memory, "dst", options=TREE)
    copied = await memory.stat("dst/a")
    assert report.ok
    assert (copied.content_type, copied.metadata["color"], float(copied.metadata["mtime"])) == (
        "text/plain",
        "blue",
        1.5,
    )


@pytest.mark.holds("special-files")
async def test_links_and_special_files_are_counted(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore
) -> None:
    top = tmp_path / "src"
    top.mkdir()
    (top / "a").write_bytes(b"1")
    (top / "link").symlink_to("a")
    (top / "loop").symlink_to(".")
    (top / "out").symlink_to("/etc")
    os.mkfifo(top / "fifo")
    report = await copy_between(disk, "src", memory, "dst", options=TREE)
    assert (report.ok, report.files, report.links_skipped, report.special_skipped) == (True, 1, 3, 1)
    moved = await copy_between(disk, "src", memory, "dst", options=replace(TREE, delete_source=True))
    assert moved.removed == 1
    assert sorted(os.listdir(top)) == ["fifo", "link", "loop", "out"]


async def test_two_roots_of_one_disk_are_one_place(tmp_path: Path) -> None:
    make_tree(tmp_path / "src")
    (tmp_path / "door").symlink_to("src")
    for target in (tmp_path / "src", tmp_path / "door"):
        with pytest.raises(InvalidPath, match="inside its own source"):
            await copy_between(
                LocalArtifactStore(tmp_path), "src", LocalArtifactStore(target), "below/deeper", options=TREE
            )
    assert not (tmp_path / "src" / "below").exists()


async def test_a_move_to_another_flavor_leaves_no_source(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore
) -> None:
    make_tree(tmp_path / "src")
    before = tree(tmp_path / "src")
    there = await copy_between(disk, "src", memory, "x", options=replace(TREE, delete_source=True))
    assert (there.ok, there.removed) == (True, len(NAMES) + 1)
    assert not (tmp_path / "src").exists()
    # Nothing vouches for the parts of the large object on its way back, and sizes are enough here.
    options = replace(TREE, delete_source=True, verify=Verify.SIZE)
    back = await copy_between(memory, "x", disk, "back", options=options)
    assert (back.ok, back.removed) == (True, len(NAMES) + 1)
    assert tree(tmp_path / "back") == before
    assert not await memory.exists("x")


def make_a_name_that_is_not_utf8(top: Path) -> None:
    top.mkdir()
    (top / "good").write_bytes(b"1")
    Path(os.fsdecode(os.fsencode(top) + b"/not-utf8-\xff")).write_bytes(b"2")


async def test_a_file_that_cannot_be_read_fails_alone(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore
) -> None:
    make_a_name_that_is_not_utf8(tmp_path / "src")
    report = await copy_between(disk, "src", memory, "dst", options=TREE)
    assert report.files == 1
    (failure,) = report.failed
    assert "not-utf8" in failure.source
    failure.source.encode()


async def test_a_file_beside_a_directory_of_its_name_is_a_typed_conflict(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore
) -> None:
    await memory.write_bytes("src/a", b"file")
    await memory.write_bytes("src/a/b", b"below")
    await memory.write_bytes("src/c", b"1")
    report = await copy_between(memory, "src", disk, "dst", options=TREE)
    assert (report.files, len(report.failed)) == (2, 1)
    assert (tmp_path / "dst" / "c").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["x" * 300, "d" * 300 + "/y"])
async def test_a_key_that_cannot_be_a_file_name_fails_alone(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore, name: str
) -> None:
    await memory.write_bytes(f"src/{name}", b"1")
    await memory.write_bytes("src/good", b"1")
    report = await copy_between(memory, "src", disk, "dst", options=TREE)
    assert [item.source for item in report.failed] == [f"{memory.path}/src/{name}"]
    assert tree(tmp_path / "dst") == {"good": b"1"}


async def test_nothing_of_ours_is_left_on_the_disk(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore
) -> None:
    make_tree(tmp_path / "src")
    await copy_between(disk, "src", memory, "x", options=TREE)
    await copy_between(memory, "x", disk, "dst", options=TREE)
    assert not [path for path in tree(tmp_path) if TEMPORARY_PREFIX in path]


@pytest.mark.holds("special-files")
async def test_a_socket_is_not_blocked_on(tmp_path: Path, memory: MemoryArtifactStore) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        report = await copy_between(LocalArtifactStore(tmp_path), "", memory, "dst", options=TREE)
    assert report.special_skipped == 1


async def test_a_move_inside_one_service_looks_at_each_copy_before_its_source_goes(memory: MemoryArtifactStore) -> None:
    for number in range(20):
        await memory.write_bytes(f"src/{number}", b"x" * number)
    looked: list[str] = []
    head = memory.client.head

    async def counting(key: str) -> ObjectStat:
        looked.append(key)
        return await head(key)

    memory.client.head = counting  # type: ignore[method-assign]
    report = await copy_between(memory, "src", memory, "dst", options=replace(TREE, delete_source=True))
    assert (report.ok, report.removed) == (True, 20)
    assert {key for key in looked if key.startswith("dst/")} == {f"dst/{number}" for number in range(20)}
    assert not await memory.exists("src")
