"""Paths of the local store, and its listings: order, pages, names that no store may keep."""

# ruff: noqa: ASYNC240  # tests look at the disk itself, and nothing else runs on their loop

from __future__ import annotations

import os
import random
import stat
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from entrepot.errors import (
    ConfigurationError,
    InvalidPath,
    NotADirectory,
    NotFound,
    PartialFailure,
    PathOutsideStore,
    PreconditionFailed,
    StoreError,
)
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.local.addresses import windows_refusal
from entrepot.flavors.local.listing import PAGE
from entrepot.models import FileStat
from entrepot.patterns import GlobPattern

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(os.name == "nt", reason="such names cannot be on Windows")


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "root")


def make(store: LocalArtifactStore, *names: str) -> None:
    for name in names:
        path = Path(store.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


async def keys(store: LocalArtifactStore, path: str = "") -> list[str]:
    async with aclosing(store.scan(path)) as entries:
        return [entry.uri[len(store.path) + 1 :] + "/" * entry.is_dir async for entry in entries]


# ---- roots and paths ------------------------------------------------------------------------------------


def test_a_relative_root_is_taken_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert LocalArtifactStore("a/b").path == str(tmp_path / "a" / "b")
    assert LocalArtifactStore(".").path == str(tmp_path)
    assert LocalArtifactStore(f"file://{tmp_path}/a%20b").path == str(tmp_path / "a%20b")
    assert LocalArtifactStore(b"bytes").path == str(tmp_path / "bytes")


@pytest.mark.parametrize("root", ["", "file://relative", "file://host/x", "file://", "a\x00b"])
def test_a_root_that_is_no_place_is_refused(root: str) -> None:
    with pytest.raises(StoreError):
        LocalArtifactStore(root)


def test_a_durability_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="full, batch, none"):
        LocalArtifactStore(tmp_path, durability="most")


async def test_paths_are_relative_or_below_the_root(store: LocalArtifactStore) -> None:
    await store.write_bytes("a/b %41", b"x")
    for path in ("a/b %41", f"{store.path}/a/b %41", f"file://{store.path}/a/b %41", Path(store.path, "a", "b %41")):
        assert (await store.stat(path)).uri == f"{store.path}/a/b %41"
    for path in (f"{store.path}EVIL/x", "/etc/passwd", "file:///etc/passwd", "s3://bucket/x", "/"):
        with pytest.raises(PathOutsideStore):
            await store.stat(path)
    for path in (f"{store.path}/../x", "../x", f"{store.path}//a", "a//b", "file://relative/x", "a\nb", "a/./b"):
        with pytest.raises(InvalidPath):
            await store.stat(path)


@posix
async def test_the_whole_file_system_can_be_a_root(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    store = LocalArtifactStore("/")
    key = str(tmp_path / "f").removeprefix("/")
    assert await store.read_bytes(key) == await store.read_bytes("/" + key) == b"x"
    assert (await store.stat(key)).uri == str(tmp_path / "f")
    assert [entry.uri async for entry in store.scan(tmp_path)] == [str(tmp_path / "f")]
    assert [uri async for uri in store.glob(f"{tmp_path}/*")] == [str(tmp_path / "f")]


@pytest.mark.parametrize(
    "key", ["a\\b", "C:", "a/b:c", "con", "a/NUL.txt", "com1.x", "LPT¹", "dot.", "space ", 'qu"ote', "a|b", "a*", "a?"]
)
def test_what_windows_does_not_keep_is_refused_there(key: str) -> None:
    assert windows_refusal(key)


@pytest.mark.parametrize("key", ["", "a/b.c", "console", "a.con", "com", "com10", " space", ".dot", "é😀"])
def test_what_windows_keeps_is_accepted_there(key: str) -> None:
    assert windows_refusal(key) is None


async def test_a_root_that_was_not_made_is_an_empty_directory(store: LocalArtifactStore) -> None:
    assert await store.listdir("") == []
    assert await store.exists("")
    assert await store.isdir("")
    assert (await store.stat("")).is_dir
    assert await store.size("") == 0
    assert await keys(store) == []
    assert [uri async for uri in store.glob("**")] == []
    assert [level async for level in store.walk()] == [(store.path, [], [])]
    assert [level async for level in store.walk(topdown=False)] == [(store.path, [], [])]
    await store.rmtree("", allow_root=True)
    for call in (store.listdir, store.stat, store.read_bytes, store.remove, store.rmtree):
        with pytest.raises(NotFound):
            await call("missing")
    assert not os.path.lexists(store.path)
    await store.mkdir("first")
    assert await store.listdir("") == ["first"]


async def test_a_root_that_is_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    store = LocalArtifactStore(tmp_path / "file")
    for call in (lambda: store.listdir(""), lambda: store.write_bytes("f", b"x"), lambda: store.mkdir("d")):
        with pytest.raises(NotADirectory):
            await call()
    with pytest.raises(NotFound):
        await store.read_bytes("f")
    assert (tmp_path / "file").read_bytes() == b"kept"


# ---- order and pages ------------------------------------------------------------------------------------


async def test_a_scan_is_in_the_order_of_utf8_keys(store: LocalArtifactStore) -> None:
    names = ["a/x", "a.b", "a b/c/d", "a-", "a/y/z", "b", "é", "z", "😀/f", "\uffee", "A", "a0"]
    make(store, *names)
    found = await keys(store)
    assert found == sorted(found, key=str.encode)
    assert [key for key in found if not key.endswith("/")] == sorted(names, key=str.encode)
    assert await store.listdir("") == sorted(["a", "a.b", "a b", "a-", "b", "é", "z", "😀", "\uffee", "A", "a0"])
    globbed = [uri[len(store.path) + 1 :] async for uri in store.glob("**")]
    assert globbed == [key.removesuffix("/") for key in found]


@pytest.mark.parametrize("seed", range(3))
async def test_a_tree_of_many_pages_is_listed_whole(store: LocalArtifactStore, seed: int) -> None:
    numbers = random.Random(seed)
    names = {f"{numbers.randrange(9)}/{numbers.randrange(40)}/{numbers.randrange(10**6)}" for _ in range(PAGE)}
    names |= {f"flat/{n}" for n in range(2 * PAGE)} | {f"single/{n}/f" for n in range(200)}
    make(store, *names)
    found = await keys(store)
    assert [key for key in found if not key.endswith("/")] == sorted(names)
    assert len(found) == len(set(found))
    walked = [f"{top}/{name}" async for top, _, files in store.walk() for name in files]
    assert sorted(walked) == sorted(f"{store.path}/{name}" for name in names)
    bottom_up = [top async for top, _, _ in store.walk(topdown=False)]
    assert bottom_up[-1] == store.path
    assert set(bottom_up) == {top async for top, _, _ in store.walk()}
    entries = [entry async for entry in store.scan("flat", recursive=False)]
    assert len(entries) == 2 * PAGE
    assert len([uri async for uri in store.glob("flat/*")]) == 2 * PAGE


@pytest.mark.parametrize(
    "pattern",
    ["**", "*", "*/*", "**/x", "a/**", "a/**/x", "**/b/**", "[ab]/*", "a[!b]c", "*/", "**/", "a/b/x", "?", "**/**/x"],
)
async def test_a_glob_is_the_scan_that_matches(store: LocalArtifactStore, pattern: str) -> None:
    make(store, "a/b/x", "a/b/b/x", "a/x", "b/x", "x", "a/c", "abc", "a-c", "b/b/b/b", ".h/x")
    expected = []
    async for entry in store.scan():
        key = entry.uri[len(store.path) + 1 :]
        if GlobPattern.parse(pattern).matches(key, is_dir=entry.is_dir):
            expected.append(entry.uri)
    assert [uri async for uri in store.glob(pattern)] == expected


async def test_a_listing_that_is_given_up_holds_nothing_open(store: LocalArtifactStore) -> None:
    make(store, *(f"{n}/f" for n in range(50)))
    async with aclosing(store.scan()) as entries:
        async for _ in entries:
            break
    await store.rmtree("7")
    async with aclosing(store.walk()) as levels:
        async for _, directories, _ in levels:
            directories[:] = directories[:2]
            await store.rmtree("0")
            break
    assert "0" not in await store.listdir("")


async def test_what_vanishes_during_a_scan_is_passed_over(store: LocalArtifactStore) -> None:
    make(store, *(f"flat/{n:05}" for n in range(PAGE + 500)), *(f"late/{n}/f" for n in range(3)))
    seen = 0
    async with aclosing(store.scan()) as entries:
        async for _ in entries:
            if not seen:
                await store.rmtree("late")
                await store.remove(f"flat/{PAGE + 400:05}")
            seen += 1
    assert seen == PAGE + 500  # the directory, and all its files but one


async def test_errors_of_a_walk_go_to_onerror(store: LocalArtifactStore) -> None:
    make(store, "f", "d/x")
    told: list[StoreError] = []
    for top in ("missing", "f"):
        assert [level async for level in store.walk(top, onerror=told.append)] == []
        assert [level async for level in store.walk(top)] == []
    assert [type(error) for error in told] == [NotFound, NotADirectory]


# ---- names that no store may keep -----------------------------------------------------------------------


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
async def test_names_that_are_not_utf8_are_listed_escaped_fail_one_by_one_and_can_be_removed(
    store: LocalArtifactStore,
) -> None:
    make(store, "dir/good", os.fsdecode(b"dir/\xff\xfe"), "dir/new\nline", os.fsdecode(b"d\xe9/f"))
    shown = ["d\\udce9/", "d\\udce9/f", "dir/", "dir/good", "dir/new\\nline", "dir/\\udcff\\udcfe"]
    assert sorted(await keys(store)) == sorted(shown)
    for text in await keys(store):
        text.encode()
    assert await store.listdir("dir") == sorted(["good", "new\\nline", "\\udcff\\udcfe"])
    assert [sorted(files) async for _, _, files in store.walk()][1:] == [await store.listdir("dir"), ["f"]]
    files = [entry async for entry in store.scan("dir")]
    results = await store.read_batch(files)
    failed = {file.uri for file, result in zip(files, results, strict=True) if isinstance(result, InvalidPath)}
    assert failed == {f"{store.path}/dir/new\\nline", f"{store.path}/dir/\\udcff\\udcfe"}
    assert all("rename it" in str(result) for result in results if isinstance(result, InvalidPath))
    await store.rmtree("dir")
    await store.rmtree("", allow_root=True)
    assert os.listdir(store.path) == []


async def test_a_backslash_is_a_letter_like_any_other(store: LocalArtifactStore) -> None:
    if os.name == "nt":
        pytest.skip("there it parts names")
    await store.write_bytes("a\\udcff", b"x")
    (data,) = await store.read_batch([entry async for entry in store.scan()])
    assert not isinstance(data, StoreError)
    (result,) = await store.read_batch([FileStat(f"{store.path}/b\\udcff", 1)])
    assert isinstance(result, NotFound)


# ---- status ---------------------------------------------------------------------------------------------


async def test_status_tells_time_mode_and_an_etag_that_changes_with_the_file(store: LocalArtifactStore) -> None:
    told = await store.write_bytes("f", b"content")
    found = await store.stat("f")
    assert told == found
    assert (found.size_bytes, found.is_dir, found.mode) == (7, False, os.stat(found.uri).st_mode & 0o7777)
    assert found.modified is not None
    assert found.modified.tzinfo is UTC
    assert abs((datetime.now(UTC) - found.modified).total_seconds()) < 3600
    assert await store.read_range("f", 1, 3, if_match=found.etag) == b"on"
    await store.write_bytes("f", b"CONTENT")
    assert (await store.stat("f")).etag != found.etag
    with pytest.raises(PreconditionFailed):
        await store.read_range("f", 1, 3, if_match=found.etag)


@posix
async def test_a_time_that_no_calendar_has_is_none(store: LocalArtifactStore) -> None:
    make(store, "f")
    try:
        os.utime(f"{store.path}/f", (0, 2**40))
    except OSError:
        pytest.skip("this file system has no such time either")
    found = await store.stat("f")
    if os.stat(found.uri).st_mtime < 2**39:
        pytest.skip("this file system has no such time either")
    assert found.modified is None


@posix
async def test_rmtree_reports_what_stays_and_removes_the_rest(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, "dir/a", "dir/kept/b", "dir/sub/c")
    real = os.unlink

    def refuse_b(name: str, *, dir_fd: int | None = None) -> None:
        if name == "b":
            raise PermissionError(1, "Operation not permitted")
        real(name, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse_b)
        with pytest.raises(PartialFailure) as caught:
            await store.rmtree("dir")
    assert [error.uri for error in caught.value.failures] == [f"{store.path}/dir/kept/b"]
    assert await keys(store) == ["dir/", "dir/kept/", "dir/kept/b"]


@posix
async def test_rmtree_works_where_the_system_tells_no_kinds_with_the_names(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then an entry looks at its file itself, relative to the descriptor of the directory that was listed."""
    (Path(store.path) / "dir" / "sub").mkdir(parents=True)
    (Path(store.path) / "dir" / "sub" / "f").write_bytes(b"x")
    real = os.scandir

    class Entry:
        def __init__(self, fd: int, name: str) -> None:
            self.fd, self.name = fd, name

        def is_dir(self, *, follow_symlinks: bool = True) -> bool:
            return stat.S_ISDIR(os.stat(self.name, dir_fd=self.fd, follow_symlinks=follow_symlinks).st_mode)

    @contextmanager
    def scandir(fd: int) -> Iterator[Iterator[Entry]]:
        with real(fd) as entries:
            yield (Entry(fd, entry.name) for entry in entries)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        await store.rmtree("dir")
    assert not (Path(store.path) / "dir").exists()


async def test_depth_costs_neither_stack_nor_descriptors(store: LocalArtifactStore) -> None:
    depth = 150
    os.makedirs(store.path)
    before = os.getcwd()
    try:
        os.chdir(store.path)
        for _ in range(depth):
            os.mkdir("deep")
            os.chdir("deep")
        Path("f").write_bytes(b"x")
    finally:
        os.chdir(before)
    assert len(await keys(store)) == depth + 1
    assert len([level async for level in store.walk(topdown=False)]) == depth + 1
    await store.rmtree("deep")
    assert await store.listdir("") == []
