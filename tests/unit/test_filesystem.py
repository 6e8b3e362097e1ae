"""The base for file systems: what a hostile, vague or failing server makes of it, and what it costs."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ConnectionFailed,
    NotFound,
    PartialFailure,
    PermissionDenied,
    ServiceError,
    SourceChanged,
    StoreError,
    TimedOut,
    UnsupportedOperation,
)
from entrepot.filesystem import Entry
from entrepot.models import MIB
from entrepot.paths import TEMPORARY_PREFIX
from folder_store import FolderStore
from forking import status_of_child

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
async def store(folder: Path) -> AsyncGenerator[FolderStore, None]:
    folder.mkdir()
    async with FolderStore(f"folder://this{folder}") as store:
        yield store


def always(error: Exception) -> Callable[[str], Exception | None]:
    return lambda _key: error


def hidden(folder: Path) -> list[str]:
    return [name for _, _, names in os.walk(folder) for name in names if name.startswith(TEMPORARY_PREFIX)]


def primitives(store: FolderStore) -> list[str]:
    calls = [name for name, _ in store.calls]
    store.calls.clear()
    return calls


# ---- what it costs ---------------------------------------------------------------------------------------


async def test_each_method_costs_the_requests_that_it_tells(store: FolderStore) -> None:
    await store.makedirs("dir")
    primitives(store)
    await store.write_bytes("dir/f", b"content")
    assert primitives(store) == ["stat", "open_write", "rename"]
    assert await store.read_bytes("dir/f") == b"content"
    assert primitives(store) == ["stat", "open_read"]
    await store.listdir("dir")
    assert primitives(store) == ["list"]
    await store.rename("dir/f", "dir/g")
    assert primitives(store) == ["stat", "stat", "stat", "rename"]
    await store.remove("dir/g")
    assert primitives(store) == ["stat", "remove_file"]
    await store.mkdir("new")
    assert primitives(store) == ["make_directory"]
    await store.makedirs("new/a/b")
    assert primitives(store) == ["stat", "stat", "stat", "make_directory", "make_directory"]


async def test_siblings_are_listed_together_and_a_pruned_one_is_not(store: FolderStore, folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / name / "below").mkdir(parents=True)
    seen: list[list[str]] = []
    async for _directory, directories, _ in store.walk(""):
        directories[:] = [name for name in directories if name != "b"]
        seen.append([Path(key).name for name, key in store.calls if name == "list"])
        store.calls.clear()
    assert seen == [["root"], ["a", "c"], ["below"], [], ["below"]]


async def test_a_glob_lists_only_what_may_match(store: FolderStore, folder: Path) -> None:
    for path in ("a/x/f.txt", "a/y/f.txt", "b/x/f.txt", "ab/x/f.bin"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    found = [uri[len(store.path) + 1 :] async for uri in store.glob("a*/x/*.txt")]
    assert found == ["a/x/f.txt"]
    listed = sorted(os.path.relpath(f"/{key}", folder) for name, key in store.calls if name == "list")
    assert listed == [".", "a", "a/x", "ab", "ab/x"]


async def test_a_long_stream_is_sent_as_it_comes(store: FolderStore, folder: Path) -> None:
    async with store.open("large", "wb") as file:
        for _ in range(9):
            await file.write(bytes(MIB))
        (draft,) = hidden(folder)
        assert (folder / draft).stat().st_size == 8 * MIB
    assert (folder / "large").stat().st_size == 9 * MIB


# ---- a root that is not there, links, odd names ----------------------------------------------------------


async def test_a_root_that_was_not_made_is_an_empty_directory(folder: Path) -> None:
    store = FolderStore(f"folder://this{folder}/not/yet")
    assert await store.listdir() == []
    assert [level async for level in store.walk()] == [(store.path, [], [])]
    assert [entry async for entry in store.scan()] == []
    assert await store.isdir("")
    assert (await store.stat("")).is_dir
    await store.rmtree("", allow_root=True)
    await store.mkdir("first")
    assert (folder / "not" / "yet" / "first").is_dir()


async def test_links_below_the_root_are_not_followed_and_go_with_their_tree(
    store: FolderStore, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    (folder / "dir").mkdir()
    (folder / "dir" / "file-link").symlink_to(outside / "secret")
    (folder / "dir" / "dir-link").symlink_to(outside)
    assert await store.listdir("dir") == []
    assert [entry async for entry in store.scan("")] == [await store.stat("dir")]
    for path in ("dir/file-link", "dir/dir-link"):
        assert not await store.exists(path)
        with pytest.raises(NotFound):
            await store.stat(path)
        with pytest.raises(UnsupportedOperation):
            await store.read_bytes(path)
    await store.rmtree("dir")
    assert not (folder / "dir").exists()
    assert (outside / "secret").read_text() == "s"


async def test_the_root_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    folder.symlink_to(tmp_path / "real")
    store = FolderStore(f"folder://this{folder}")
    await store.write_bytes("a/b", b"x")
    assert (tmp_path / "real" / "a" / "b").read_bytes() == b"x"
    assert await store.listdir() == ["a"]
    assert (await store.stat("")).is_dir
    await store.rmtree("", allow_root=True)
    assert folder.is_symlink()
    assert list(folder.iterdir()) == []


async def test_names_that_no_store_keeps_are_listed_escaped_and_removed_with_their_tree(
    store: FolderStore, folder: Path
) -> None:
    (folder / "dir").mkdir()
    for name in (b"new\nline", b"not-\xff-utf8", b"plain"):
        Path(os.fsdecode(bytes(folder / "dir") + b"/" + name)).write_text("x")
    assert await store.listdir("dir") == ["new\\nline", "not-\\udcff-utf8", "plain"]
    assert len([entry async for entry in store.scan("dir")]) == 3
    await store.rmtree("dir")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["../escaped", "a/b", "", "nul\0"])
async def test_a_hostile_listing_is_refused(store: FolderStore, folder: Path, name: str) -> None:
    store.lists[str(folder)[1:]] = [Entry("."), Entry("fine"), Entry(name)]
    for attempt in (store.listdir(""), store.rmtree("", allow_root=True)):
        with pytest.raises(BadResponse, match="a name that no file can have") as caught:
            await attempt
        assert str(caught.value).isprintable()


# ---- failures --------------------------------------------------------------------------------------------


async def test_an_error_of_the_library_has_operation_and_address(store: FolderStore) -> None:
    store.faults["stat"] = always(OSError("told by nobody"))
    with pytest.raises(ServiceError) as caught:
        await store.stat("a")
    assert (caught.value.operation, caught.value.uri, caught.value.filename) == (
        "stat", f"{store.path}/a", f"{store.path}/a",
    )  # fmt: skip
    assert isinstance(caught.value.__cause__, OSError)
    store.faults["stat"] = always(RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        await store.stat("a")


def test_errors_of_the_system_have_their_members(folder: Path) -> None:
    told = super(FolderStore, FolderStore(f"folder://this{folder}"))._failure
    assert type(told(TimeoutError())) is TimedOut
    assert type(told(ConnectionResetError("reset"))) is ConnectionFailed
    assert type(told(PermissionError(13, "no"))) is PermissionDenied
    assert told(KeyError("x")) is None


@pytest.mark.parametrize("primitive", ["open_write", "rename"])
@pytest.mark.parametrize("kind", [ConnectionFailed, PermissionDenied, ServiceError])
async def test_a_write_that_fails_leaves_nothing(
    store: FolderStore, folder: Path, primitive: str, kind: type[StoreError]
) -> None:
    (folder / "f").write_text("old")
    store.faults[primitive] = always(kind("told by the server"))
    with pytest.raises(kind) as caught:
        await store.write_bytes("f", b"new")
    assert caught.value.uri == f"{store.path}/f"
    assert (folder / "f").read_text() == "old"
    assert hidden(folder) == []


async def test_what_cannot_be_removed_is_told_one_by_one(store: FolderStore, folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / "dir" / name).mkdir(parents=True)
        (folder / "dir" / name / "f").write_text("x")
    store.faults["remove_file"] = lambda key: PermissionDenied("not yours") if "/b/" in key else None
    with pytest.raises(PartialFailure) as caught:
        await store.rmtree("dir")
    assert f"{store.path}/dir/b/f" in [error.uri for error in caught.value.failures]
    assert sorted(path.name for path in (folder / "dir").rglob("*")) == ["b", "f"]


async def test_a_directory_below_that_cannot_be_listed_is_no_hole_in_a_scan(store: FolderStore, folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
    store.faults["list"] = lambda key: PermissionDenied("not yours") if key.endswith("/b") else None
    with pytest.raises(PermissionDenied):
        assert [entry async for entry in store.scan("")]
    told: list[StoreError] = []
    walked = [directory async for directory, _, _ in store.walk("", onerror=told.append)]
    assert walked == [store.path, f"{store.path}/a"]
    assert [error.uri for error in told] == [f"{store.path}/b"]
    assert [uri async for uri in store.glob("**")] == [f"{store.path}/a", f"{store.path}/b"]


async def test_a_file_that_became_shorter_is_a_changed_source(store: FolderStore, folder: Path) -> None:
    (folder / "f").write_bytes(bytes(MIB))
    async with store.open("f", "rb") as file:
        await file.read(10)
        os.truncate(folder / "f", 400_000)
        with pytest.raises(SourceChanged):
            await file.read()


async def test_a_directory_made_by_somebody_else_meanwhile_is_fine(store: FolderStore, folder: Path) -> None:
    def made_first(key: str) -> Exception:
        os.mkdir(f"/{key}")
        return OSError("Failure")

    store.faults["make_directory"] = made_first
    await store.makedirs("a/b")
    assert (folder / "a" / "b").is_dir()
    with pytest.raises(AlreadyExists):
        await store.mkdir("a")


async def test_empty_directories_go_and_one_with_a_file_stays(store: FolderStore, folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "c" / "d").mkdir(parents=True)
    (folder / "c" / "f").write_text("x")
    for path in ("a", "c", "missing", ""):
        await store.remove_empty_directories(path)
    assert sorted(path.name for path in folder.rglob("*")) == ["c", "d", "f"]


# ---- dropped writers -------------------------------------------------------------------------------------


def test_the_draft_of_a_loop_that_ended_is_removed_by_the_next_use(folder: Path) -> None:
    folder.mkdir()
    store = FolderStore(f"folder://this{folder}")
    kept: list[object] = []

    async def begin() -> None:
        file = await store.open("f", "wb")
        await file.write(b"x")
        kept.append(file)

    asyncio.run(begin())
    assert len(hidden(folder)) == 1
    kept.clear()
    gc.collect()
    asyncio.run(store.exists("f"))
    assert list(folder.iterdir()) == []


def test_a_forked_child_leaves_the_drafts_of_its_parent_alone(folder: Path) -> None:
    folder.mkdir()
    store = FolderStore(f"folder://this{folder}")

    async def write() -> None:
        file = await store.open("f", "wb")
        await file.write(b"parent")

        async def drop() -> None:
            file.abandon()
            assert not store._abandoned
            await store.exists("f")

        assert status_of_child(drop) == 0
        await file.close()

    asyncio.run(write())
    assert (folder / "f").read_bytes() == b"parent"
