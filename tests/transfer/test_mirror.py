"""Copies that look at what is at the target: comparisons, filters, and mirrors that delete, on disks and services."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from entrepot import copy, mirror, move
from entrepot.contract import BaseArtifactStore
from entrepot.errors import AlreadyExists, DeletionRefused, IsADirectory, PermissionDenied, ServiceUnavailable
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.models import FileStat, WriteOptions
from entrepot.transfer.events import Copied, Event, Skipped, StepPlanned
from entrepot.transfer.filters import Filters
from entrepot.transfer.plan import RemoveFiles

pytestmark = pytest.mark.anyio

FILES = {"a": b"one", "d/b": b"two two", "d/e/c": b"three", "z-last": b"", "d.txt": b"between"}
"""In the order of keys `d.txt` comes before what is in `d`, though `d` itself is the shorter name."""


@pytest.fixture
def disk(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "disk")


@pytest.fixture(params=["local", "memory", "unordered", "rclone", "juicefs", "moto"])
async def far(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseArtifactStore]:
    """The other side: a disk, a service in memory, one whose listing has no order, and services over HTTP."""
    if request.param == "local":
        yield LocalArtifactStore(tmp_path / "far")
    elif request.param == "memory":
        yield MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")
    elif request.param == "unordered":
        yield Unordered(f"memory://{secrets.token_hex(8)}")
    else:
        server = request.getfixturevalue(f"{request.param}_server")
        async with S3ArtifactStore(f"s3://{server.create_bucket()}", **server.s3_options) as store:
            yield store


class Unordered(MemoryArtifactStore):
    """Lists what it has from the end."""

    scans_in_order = False

    async def scan(self, path: Any = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        for entry in reversed([entry async for entry in super().scan(path, recursive)]):
            yield entry


async def fill(store: BaseArtifactStore, top: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        if store.is_local:
            await store.makedirs(f"{top}/{path}".rpartition("/")[0])
        await store.write_bytes(f"{top}/{path}", data, WriteOptions(mtime_s=1_600_000_000.25))


async def files_in(store: BaseArtifactStore, top: str = "") -> dict[str, bytes]:
    found = {}
    async for entry in store.scan(top):
        if not entry.is_dir:
            relative = entry.uri.removeprefix(store.path.rstrip("/") + "/").removeprefix(f"{top}/" if top else "")
            found[relative] = await store.read_bytes(entry.uri)
    return found


async def directories_in(store: BaseArtifactStore, top: str) -> set[str]:
    return {entry.uri.rpartition("/")[2] async for entry in store.scan(top) if entry.is_dir}


# ---- mirrors --------------------------------------------------------------------------------------------


async def test_a_mirror_is_made_and_the_second_one_copies_nothing(
    disk: LocalArtifactStore, far: BaseArtifactStore
) -> None:
    await fill(disk, "src", FILES)
    for source, target in (((disk, "src"), (far, "up")), ((far, "up"), (disk, "back"))):
        first = await mirror(source, target, delete=True)
        assert (first.ok, first.files, first.skipped) == (True, len(FILES), 0)
        events: list[Event] = []
        second = await mirror(source, target, delete=True, on_event=events.append)
        assert (second.ok, second.files, second.skipped, second.deleted) == (True, 0, len(FILES), 0)
        assert {event.reason for event in events if isinstance(event, Skipped)} <= {
            "time equal",
            "checksum equal",
            "source not newer",
        }
    assert await files_in(far, "up") == await files_in(disk, "back") == FILES


async def test_what_changed_is_copied_and_what_only_the_target_has_goes(
    disk: LocalArtifactStore, far: BaseArtifactStore
) -> None:
    await fill(disk, "src", FILES)
    await mirror((disk, "src"), (far, "up"))
    await fill(far, "up", {"extra": b"1", "d/extra": b"2", "more/x/y": b"3", "more/z": b"4"})
    await far.write_bytes("upper", b"beside it")
    changed = {**FILES, "a": b"other", "d/new": b"n"}
    del changed["d/e/c"]
    await disk.write_bytes("src/a", b"other", WriteOptions(mtime_s=1_700_000_000.5))
    await disk.write_bytes("src/d/new", b"n")
    await disk.remove("src/d/e/c")
    report = await mirror((disk, "src"), (far, "up"), delete=True)
    assert (report.ok, report.files, report.deleted) == (True, 2, 5)
    assert await files_in(far, "up") == changed
    assert await far.read_bytes("upper") == b"beside it"
    assert not {"more", "x"} & await directories_in(far, "up")


async def test_without_delete_nothing_goes(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a": b"1"})
    await fill(far, "up", {"extra": b"2"})
    report = await mirror((disk, "src"), (far, "up"))
    assert (report.files, report.deleted) == (1, 0)
    assert await files_in(far, "up") == {"a": b"1", "extra": b"2"}


async def test_a_dry_run_tells_all_of_it_and_changes_nothing(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a": b"1", "b": b"2"})
    await fill(far, "up", {"a": b"old one", "extra": b"2"})
    events: list[Event] = []
    report = await mirror((disk, "src"), (far, "up"), delete=True, dry_run=True, on_event=events.append)
    assert (report.dry_run, report.files, report.deleted) == (True, 2, 1)
    steps = [event.step for event in events if isinstance(event, StepPlanned)]
    assert [step for step in steps if isinstance(step, RemoveFiles)] == [RemoveFiles(("up/extra",))]
    assert await files_in(far, "up") == {"a": b"old one", "extra": b"2"}


async def test_more_deletions_than_allowed_are_none(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a": b"1"})
    await fill(far, "up", {f"extra{number}": b"x" for number in range(3)})
    with pytest.raises(DeletionRefused, match="3 files would be deleted at the target, more than the 2"):
        await mirror((disk, "src"), (far, "up"), delete=True, max_delete=2)
    assert set(await files_in(far, "up")) == {"a", "extra0", "extra1", "extra2"}
    assert (await mirror((disk, "src"), (far, "up"), delete=True, max_delete=3)).deleted == 3


async def test_an_empty_source_empties_no_target_unless_told(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await disk.makedirs("src")
    await fill(far, "up", {"a": b"1"})
    with pytest.raises(DeletionRefused, match="the source has no file"):
        await mirror((disk, "src"), (far, "up"), delete=True)
    assert await files_in(far, "up") == {"a": b"1"}
    assert (await mirror((disk, "src"), (far, "up"), delete=True, max_delete=10)).deleted == 1


async def test_after_a_failure_nothing_is_deleted(
    disk: LocalArtifactStore, far: BaseArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(disk, "src", {"a": b"1", "bad": b"2"})
    await fill(far, "up", {"extra": b"x"})
    real = disk.read_batch

    async def read_batch(files: Any) -> Any:
        return [
            PermissionDenied("no", uri=file.uri) if file.uri.endswith("bad") else result
            for file, result in zip(files, await real(files), strict=True)
        ]

    monkeypatch.setattr(disk, "read_batch", read_batch)
    monkeypatch.setattr(disk, "copies_natively_from", lambda source: False)
    monkeypatch.setattr(far, "copies_natively_from", lambda source: False)
    report = await mirror((disk, "src"), (far, "up"), delete=True)
    assert (len(report.failed), report.deleted, report.not_deleted) == (1, 0, 1)
    assert set(await files_in(far, "up")) == {"a", "extra"}


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_listing_that_fails_deletes_nothing(disk: LocalArtifactStore, side: str) -> None:
    class Failing(MemoryArtifactStore):
        async def scan(self, path: Any = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
            async for entry in super().scan(path, recursive):
                yield entry
                raise ServiceUnavailable("listing broke", operation="scan", uri=self.path)

    broken, whole = Failing(f"memory://{secrets.token_hex(8)}"), MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")
    source, target = (broken, whole) if side == "source" else (whole, broken)
    await fill(source, "src", {"a": b"1", "b": b"2"})
    await fill(target, "up", {"a": b"1", "extra": b"x", "extra2": b"x"})
    with pytest.raises(ServiceUnavailable):
        await mirror((source, "src"), (target, "up"), delete=True)
    assert {"extra", "extra2"} <= set(await files_in(MemoryArtifactStore(target.path), "up"))


async def test_what_goes_or_is_written_over_is_kept_aside(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a": b"new one", "same": b"s", "d/b": b"even newer"})
    await fill(far, "up", {"a": b"old", "same": b"s", "d/b": b"old b", "d/extra": b"x", "kept/earlier": b"k"})
    report = await mirror((disk, "src"), (far, "up"), delete=True, backup_dir="up/kept")
    assert (report.ok, report.deleted) == (True, 1)
    kept = {"kept/a": b"old", "kept/d/b": b"old b", "kept/d/extra": b"x", "kept/earlier": b"k"}
    assert await files_in(far, "up") == {"a": b"new one", "same": b"s", "d/b": b"even newer", **kept}


async def test_filtered_files_are_not_there_on_either_side(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a.csv": b"1", "b.tmp": b"2", "cache/c.csv": b"3", "d/e.csv": b"4"})
    await fill(far, "up", {"old.csv": b"x", "old.tmp": b"y", "cache/old.csv": b"z"})
    filters = Filters.parse([("exclude", "*.tmp"), ("exclude", "/cache/")])
    report = await mirror((disk, "src"), (far, "up"), delete=True, filters=filters)
    assert (report.files, report.deleted, report.excluded) == (2, 1, 2)
    assert await files_in(far, "up") == {"a.csv": b"1", "d/e.csv": b"4", "old.tmp": b"y", "cache/old.csv": b"z"}


# ---- comparisons ----------------------------------------------------------------------------------------


async def test_existing_files_are_left_or_are_failures(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a": b"1", "b": b"2"})
    await fill(far, "up", {"a": b"old"})
    left = await copy((disk, "src"), (far, "up"), compare="skip-existing")
    assert (left.ok, left.files, left.skipped) == (True, 1, 1)
    failed = await copy((disk, "src"), (far, "up"), compare="error")
    assert (failed.ok, failed.files, len(failed.failed)) == (False, 0, 2)
    assert all(isinstance(item.error, AlreadyExists) for item in failed.failed)
    assert await files_in(far, "up") == {"a": b"old", "b": b"2"}


async def test_by_size_only_sizes_count(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"same-size": b"new", "other-size": b"longer"})
    await fill(far, "up", {"same-size": b"old", "other-size": b"old"})
    report = await copy((disk, "src"), (far, "up"), compare="size")
    assert (report.files, report.skipped) == (1, 1)
    assert await files_in(far, "up") == {"same-size": b"old", "other-size": b"longer"}


async def test_by_checksum_the_bytes_count_and_times_do_not(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"equal": b"abc", "differs": b"new"})
    await fill(far, "up", {"equal": b"abc", "differs": b"old"})
    for path in ("equal", "differs"):
        os.utime(Path(disk.path) / "src" / path, (1_900_000_000, 1_900_000_000))
    for source, target in (((disk, "src"), (far, "up")), ((far, "up"), (disk, "back"))):
        report = await copy(source, target, compare="checksum")
        assert report.ok
    assert await files_in(far, "up") == {"equal": b"abc", "differs": b"new"}
    events: list[Event] = []
    again = await copy((far, "up"), (disk, "back"), compare="checksum", on_event=events.append)
    assert (again.files, again.skipped) == (0, 2)
    assert {event.reason for event in events if isinstance(event, Skipped)} == {"checksum equal"}


async def test_newer_files_are_copied_and_older_ones_are_not(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"newer": b"new", "older": b"new"})
    os.utime(Path(disk.path) / "src" / "newer", (4_000_000_000, 4_000_000_000))
    os.utime(Path(disk.path) / "src" / "older", (1_000_000_000, 1_000_000_000))
    await fill(far, "up", {"newer": b"old", "older": b"old"})
    report = await copy((disk, "src"), (far, "up"), compare="newer")
    assert (report.files, report.skipped) == (1, 1)
    assert await files_in(far, "up") == {"newer": b"new", "older": b"old"}


async def test_a_single_file_is_compared_as_well(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a": b"1"})
    assert (await copy((disk, "src/a"), (far, "one"), compare="different")).files == 1
    assert (await copy((disk, "src/a"), (far, "one"), compare="different")).skipped == 1
    assert (await copy((disk, "src/a"), (far, "one"), compare="always")).files == 1


async def test_a_directory_where_a_file_should_be_is_a_failure_of_its_own(disk: LocalArtifactStore) -> None:
    memory = MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")
    await fill(memory, "src", {"a": b"1", "b": b"2"})
    await disk.makedirs("dst/a/below")
    report = await copy((memory, "src"), (disk, "dst"), compare="different")
    assert (report.files, len(report.failed)) == (1, 1)
    assert isinstance(report.failed[0].error, IsADirectory)


async def test_a_move_leaves_what_it_did_not_copy(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a": b"1", "b": b"2"})
    await fill(far, "up", {"a": b"old"})
    report = await move((disk, "src"), (far, "up"), compare="skip-existing", verify="size")
    assert (report.files, report.removed, report.skipped) == (1, 1, 1)
    assert await files_in(disk, "src") == {"a": b"1"}


async def test_filters_choose_from_a_tree(disk: LocalArtifactStore, far: BaseArtifactStore) -> None:
    await fill(disk, "src", {"a.csv": b"1", "b.tmp": b"22", "d/c.csv": b"333", "only/x.tmp": b""})
    copied: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Copied):
            copied.extend(file.target for file in event.files)

    report = await copy((disk, "src"), (far, "up"), filters=Filters.parse([("include", "*.csv")]), on_event=note)
    assert (report.files, report.excluded) == (2, 2)
    assert sorted(copied) == ["up/a.csv", "up/d/c.csv"]
    assert await directories_in(far, "up") <= {"d"}, "a directory of nothing but what is left out is not made"


async def test_a_look_is_spent_only_where_it_may_decide(disk: LocalArtifactStore) -> None:
    """Of one size and no checksum in common, the time that a listing does not tell is asked for, of no other file."""
    looks: list[str] = []

    class Counting(MemoryArtifactStore):
        async def scan(self, path: Any = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
            async for entry in super().scan(path, recursive):
                yield replace(entry, checksums={}, metadata={})

        async def stat(self, path: Any) -> FileStat:
            looks.append(str(path).rpartition("/")[2])
            return await super().stat(path)

    memory = Counting(f"memory://{secrets.token_hex(8)}")
    await fill(disk, "src", {"same": b"1", "longer": b"22", "new": b"3"})
    await fill(memory, "up", {"same": b"1", "longer": b"2"})
    looks.clear()
    report = await mirror((disk, "src"), (memory, "up"))
    assert (report.files, report.skipped) == (2, 1)
    assert looks == ["same"]
