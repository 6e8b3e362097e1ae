"""Symbolic links of a source: followed, or preserved, when a copy is asked to."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from entrepot.errors import AlreadyExists, NotFound, PathOutsideStore, UnsupportedOperation
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.models import MIB
from entrepot.transfer.engine import CopyOptions, CopyReport, copy_between
from plain_store import PlainStore

pytestmark = pytest.mark.anyio

FOLLOW = CopyOptions(recursive=True, links="follow")
PRESERVE = CopyOptions(recursive=True, links="preserve")


@pytest.fixture
def disk(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path)


@pytest.fixture
def memory() -> MemoryArtifactStore:
    return MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")


def put(path: Path, data: bytes = b"1") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def files(top: Path) -> dict[str, bytes]:
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


async def followed(disk: LocalArtifactStore, *, source: str = "src", target: str = "dst") -> CopyReport:
    with anyio.fail_after(30):
        return await copy_between(disk, source, disk, target, options=FOLLOW)


# ---- followed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 9 * MIB])
async def test_a_link_to_a_file_is_copied_as_the_file(
    tmp_path: Path, disk: LocalArtifactStore, memory: MemoryArtifactStore, size: int
) -> None:
    put(tmp_path / "outside" / "file", data := os.urandom(size))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "one").symlink_to(tmp_path / "outside" / "file")
    (tmp_path / "src" / "two").symlink_to("one")
    report = await followed(disk)
    assert (report.ok, report.files, report.links_skipped) == (True, 2, 0)
    assert files(tmp_path / "dst") == {"one": data, "two": data}
    assert not (tmp_path / "dst" / "one").is_symlink()
    up = await copy_between(disk, "src", memory, "x", options=FOLLOW)
    assert (up.ok, up.files) == (True, 2)
    assert await memory.read_bytes("x/two") == data


async def test_a_link_to_a_directory_is_descended_into(tmp_path: Path, disk: LocalArtifactStore) -> None:
    put(tmp_path / "outside" / "deep" / "file")
    (tmp_path / "outside" / "empty").mkdir()
    (tmp_path / "outside" / "on").symlink_to("../further")
    put(tmp_path / "further" / "x", b"2")
    put(tmp_path / "src" / "own")
    (tmp_path / "src" / "a").symlink_to("../outside")
    (tmp_path / "src" / "b").symlink_to("../outside")
    report = await followed(disk)
    assert (report.ok, report.files, report.directories) == (True, 5, 2)
    below = {"deep/file": b"1", "on/x": b"2"}
    assert files(tmp_path / "dst") == {"own": b"1"} | {f"{top}/{name}": d for top in "ab" for name, d in below.items()}
    assert (tmp_path / "dst" / "a" / "empty").is_dir()


async def test_the_source_itself_may_be_reached_through_links(tmp_path: Path) -> None:
    put(tmp_path / "real" / "src" / "file")
    (tmp_path / "real" / "src" / "link").symlink_to("file")
    (tmp_path / "door").symlink_to("real")
    source, sink = LocalArtifactStore(tmp_path / "door"), LocalArtifactStore(tmp_path / "dst")
    report = await copy_between(source, "src", sink, "", options=FOLLOW)
    assert (report.ok, report.files) == (True, 2)
    assert files(tmp_path / "dst").keys() == {"file", "link"}


@pytest.mark.holds("links")
@pytest.mark.parametrize("text", [".", "..", "../..", "../d"])
async def test_a_link_in_a_circle_fails_alone(tmp_path: Path, disk: LocalArtifactStore, text: str) -> None:
    put(tmp_path / "top" / "src" / "d" / "file")
    (tmp_path / "top" / "src" / "d" / "loop").symlink_to(text)
    report = await followed(disk, source="top/src", target="dst")
    loops = [item for item in report.failed if "not followed" in item.reason]
    assert loops == list(report.failed)
    assert len(loops) == 1
    assert (tmp_path / "dst" / "d" / "file").read_bytes() == b"1"


@pytest.mark.holds("links")
async def test_two_directories_that_lead_to_each_other_end(tmp_path: Path, disk: LocalArtifactStore) -> None:
    for here, there in (("a", "b"), ("b", "a")):
        put(tmp_path / "src" / here / "file")
        (tmp_path / "src" / here / there).symlink_to(f"../{there}")
    report = await followed(disk)
    assert len(report.failed) == 2
    assert files(tmp_path / "dst").keys() == {"a/file", "a/b/file", "b/file", "b/a/file"}


async def test_links_that_lead_nowhere_fail_alone(tmp_path: Path, disk: LocalArtifactStore) -> None:
    put(tmp_path / "src" / "file")
    (tmp_path / "src" / "nothing").symlink_to("nowhere")
    (tmp_path / "src" / "self").symlink_to("self")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "src" / "fifo").symlink_to("../fifo")
    report = await followed(disk)
    assert (report.files, report.special_skipped) == (1, 1)
    assert {(Path(item.source).name, type(item.error)) for item in report.failed} == {
        ("nothing", NotFound),
        ("self", PathOutsideStore),
    }


@pytest.mark.parametrize("text", ["../dst", "..", "../dst/below"])
async def test_a_link_to_where_the_copy_is_written_fails_alone(
    tmp_path: Path, disk: LocalArtifactStore, text: str
) -> None:
    put(tmp_path / "src" / "file")
    put(tmp_path / "dst" / "below" / "old")
    (tmp_path / "src" / "link").symlink_to(text)
    report = await followed(disk)
    assert ["written" in item.reason for item in report.failed] == [True]
    assert files(tmp_path / "dst").keys() == {"below/old", "file"}


# ---- preserved ------------------------------------------------------------------------------------------


async def test_links_are_made_with_the_same_text(tmp_path: Path, disk: LocalArtifactStore) -> None:
    put(tmp_path / "src" / "d" / "file")
    texts = {"to-file": "d/file", "to-dir": "d", "out": "../..", "absolute": "/etc/passwd", "nothing": "no where"}
    for name, text in texts.items():
        (tmp_path / "src" / name).symlink_to(text)
    for again in (False, True):
        report = await copy_between(disk, "src", disk, "dst", options=PRESERVE)
        assert (report.ok, report.files, report.links, report.links_skipped) == (True, 1, 5, 0), again
    assert {name: os.readlink(tmp_path / "dst" / name) for name in texts} == texts
    assert sorted(os.listdir(tmp_path / "dst")) == sorted([*texts, "d"])


async def test_a_link_takes_the_place_of_a_file_but_of_no_directory(tmp_path: Path, disk: LocalArtifactStore) -> None:
    (tmp_path / "src").mkdir()
    for name in ("a", "b"):
        (tmp_path / "src" / name).symlink_to("x")
    put(tmp_path / "dst" / "a", b"old")
    put(tmp_path / "dst" / "b" / "file", b"old")
    kept = await copy_between(disk, "src", disk, "dst", options=replace(PRESERVE, compare="skip-existing"))
    assert (kept.ok, kept.skipped, kept.links) == (True, 2, 0)
    report = await copy_between(disk, "src", disk, "dst", options=PRESERVE)
    assert (report.links, len(report.failed)) == (1, 1)
    assert os.readlink(tmp_path / "dst" / "a") == "x"
    assert (tmp_path / "dst" / "b" / "file").read_bytes() == b"old"


async def test_a_dry_run_counts_links_and_makes_none(tmp_path: Path, disk: LocalArtifactStore) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").symlink_to("x")
    report = await copy_between(disk, "src", disk, "dst", options=replace(PRESERVE, dry_run=True))
    assert report.links == 1
    assert not (tmp_path / "dst").exists()


async def test_a_target_without_links_is_refused_before_any_write(disk: LocalArtifactStore, tmp_path: Path) -> None:
    put(tmp_path / "src" / "file")
    sink = PlainStore()
    with pytest.raises(UnsupportedOperation, match=r"links='follow'.*links='skip'"):
        await copy_between(disk, "src", sink, "dst", options=PRESERVE)
    assert sink.log == []


@pytest.mark.parametrize("options", [FOLLOW, PRESERVE])
async def test_a_move_neither_follows_nor_takes_links(
    disk: LocalArtifactStore, tmp_path: Path, options: CopyOptions
) -> None:
    put(tmp_path / "src" / "file")
    with pytest.raises(UnsupportedOperation, match="move"):
        await copy_between(disk, "src", disk, "dst", options=replace(options, delete_source=True))
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("options", [FOLLOW, PRESERVE])
async def test_a_source_without_links_pays_nothing(options: CopyOptions) -> None:
    calls = []
    for one in (replace(options, links="skip"), options):
        source, sink = PlainStore("plain://source/root"), PlainStore("plain://sink/root")
        source.put("src/a", b"1")
        assert (await copy_between(source, "src", sink, "dst", options=one)).files == 1
        calls.append((source.log, sink.log))
    assert calls[0] == calls[1]


# ---- the store's side -----------------------------------------------------------------------------------


async def test_resolving_is_the_only_way_through_a_link(disk: LocalArtifactStore, tmp_path: Path) -> None:
    put(tmp_path / "real", b"123")
    (tmp_path / "link").symlink_to("real")
    found = await disk.resolve("link")
    assert (found.uri, found.size_bytes) == (str((tmp_path / "real").resolve()), 3)
    assert await disk.disk().read_bytes(found.uri) == b"123"
    with pytest.raises(PathOutsideStore):
        await disk.disk().read_bytes(str((tmp_path / "link").parent.resolve() / "link"))


async def test_copying_a_link_exclusively(disk: LocalArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("x")
    put(tmp_path / "b")
    links = [entry async for entry in disk.scan(links=True) if entry.link_target]
    with pytest.raises(AlreadyExists):
        await disk.copy_link(disk, links[0], "b", overwrite=False)
    assert (tmp_path / "b").read_bytes() == b"1"
