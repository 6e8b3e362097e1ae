"""The store contract, names: what is kept byte for byte, what is refused, and how a path may be given."""

from __future__ import annotations

import glob
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from entrepot.errors import InvalidPath, PathOutsideStore, StoreError
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.testing.names import ODD_NAMES, REFUSED_PATHS, longest_key
from entrepot.testing.rules import StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

Call = Callable[["BaseArtifactStore", Any], Awaitable[object]]


async def _walk(store: BaseArtifactStore, path: Any) -> None:
    def refuse(error: StoreError) -> None:
        raise error

    async with aclosing(store.walk(path, onerror=refuse)) as levels:
        async for _ in levels:
            pass


async def _scan(store: BaseArtifactStore, path: Any) -> None:
    async with aclosing(store.scan(path)) as entries:
        async for _ in entries:
            pass


CALLS: dict[str, Call] = {
    "open to read": lambda store, path: _awaited(store.open(path, "rb")),
    "open to write": lambda store, path: _awaited(store.open(path, "wb")),
    "read_bytes": lambda store, path: store.read_bytes(path),
    "read_range": lambda store, path: store.read_range(path, 0, 1),
    "write_bytes": lambda store, path: store.write_bytes(path, b"x"),
    "exists": lambda store, path: store.exists(path),
    "isdir": lambda store, path: store.isdir(path),
    "stat": lambda store, path: store.stat(path),
    "size": lambda store, path: store.size(path),
    "listdir": lambda store, path: store.listdir(path),
    "mkdir": lambda store, path: store.mkdir(path),
    "makedirs": lambda store, path: store.makedirs(path),
    "remove": lambda store, path: store.remove(path),
    "rmtree": lambda store, path: store.rmtree(path),
    "copyfile from": lambda store, path: store.copyfile(path, "dst"),
    "copyfile to": lambda store, path: store.copyfile("kept", path),
    "rename from": lambda store, path: store.rename(path, "dst"),
    "rename to": lambda store, path: store.rename("kept", path),
    "walk": _walk,
    "scan": _scan,
}
"""Every method that takes a path."""


async def _awaited(opening: Awaitable[Any]) -> None:
    await opening


class NamingRules(StoreRules):
    """Nothing is normalised: a name comes back as it was given, or is refused before any I/O."""

    @pytest.mark.parametrize("name", ODD_NAMES)
    async def test_every_name_is_kept_as_a_files(self, store: BaseArtifactStore, name: str) -> None:
        path = f"dir/{name}"
        if name in self.unkept_names:
            with pytest.raises(StoreError):
                await store.write_bytes(path, b"content")
            assert await self.raw_list() == []
            return
        told = await store.write_bytes(path, b"content")
        assert told.uri == self.uri(store, path)
        assert await self.files_of(store) == {path: b"content"}
        assert await store.read_bytes(path) == b"content"
        assert await store.read_bytes(told.uri) == b"content"
        assert await store.exists(path)
        assert (await store.stat(path)).uri == self.uri(store, path)
        assert await store.listdir("dir") == [name]
        assert await self.globbed(store, f"dir/{glob.escape(name)}") == [path]
        assert await self.globbed(store, "**/*") == ["dir", path]
        assert await self.walked(store, "dir") == [("dir", [], [name])]
        assert list(await self.scanned(store, "dir")) == [path]
        await store.copyfile(path, f"copy/{name}")
        await store.rename(path, f"moved/{name}")
        assert await self.files_of(store) == {f"copy/{name}": b"content", f"moved/{name}": b"content"}
        await store.remove(f"copy/{name}")
        assert await self.files_of(store) == {f"moved/{name}": b"content"}

    @pytest.mark.parametrize("name", ODD_NAMES)
    async def test_every_name_is_kept_as_a_directorys(self, store: BaseArtifactStore, name: str) -> None:
        if name in self.unkept_names:
            return  # said by `test_every_name_is_kept_as_a_files`
        await store.write_bytes(f"{name}/f", b"content")
        await store.write_bytes("other", b"stays")
        assert await self.files_of(store) == {f"{name}/f": b"content", "other": b"stays"}
        assert await store.isdir(name)
        assert await store.listdir(name) == ["f"]
        assert await store.listdir("") == sorted([name, "other"])
        assert await self.walked(store, name) == [(name, [], ["f"])]
        assert await self.globbed(store, f"{glob.escape(name)}/*") == [f"{name}/f"]
        files = {path for path, entry in (await self.scanned(store)).items() if not entry.is_dir}
        assert files == {f"{name}/f", "other"}
        await store.rename(name, "moved")
        await store.rename("moved", name)
        await store.rmtree(name)
        assert await self.files_of(store) == {"other": b"stays"}

    async def test_names_in_two_normal_forms_or_cases_are_two_names(self, store: BaseArtifactStore) -> None:
        if self.folds_names:
            return  # the place cannot tell them apart, and its test says so
        names = ["caf\u00e9", "cafe\u0301", "name", "Name", "NAME"]
        for name in names:
            await store.write_bytes(name, name.encode())
        assert await self.files_of(store) == {name: name.encode() for name in names}
        assert await store.listdir("") == sorted(names)

    async def test_a_key_of_1024_bytes_is_kept(self, store: BaseArtifactStore) -> None:
        # The root's own prefix is part of a key.
        _, _, root = store.path.partition("://")
        path = longest_key(len(root.partition("/")[2].encode()) + 1 if root else 0)
        await store.write_bytes(path, b"content")
        assert await store.read_bytes(path) == b"content"
        assert await self.files_of(store) == {path: b"content"}
        await store.remove(path)
        assert await self.raw_list() == []

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    async def test_a_path_that_cannot_be_kept_is_refused_before_any_io(
        self, store: BaseArtifactStore, call: Call
    ) -> None:
        await self.fill(store, ["kept"])
        for path in REFUSED_PATHS:
            with pytest.raises(InvalidPath) as caught:
                await call(store, path)
            assert isinstance(caught.value, ValueError)
            assert str(caught.value).isprintable(), "one line, nothing that a terminal obeys"
        assert await self.files_of(store) == {"kept": b"kept"}

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    async def test_what_lies_outside_the_root_is_refused_on_whole_segments(
        self, store: BaseArtifactStore, call: Call
    ) -> None:
        await self.fill(store, ["kept"])
        for path in (store.path + "EVIL/x", store.path + "EVIL", store.path[:-1], "nosuch://elsewhere/x"):
            with pytest.raises(PathOutsideStore) as caught:
                await call(store, path)
            assert store.path in str(caught.value)
        with pytest.raises(InvalidPath):
            await call(store, store.path + "/../x")
        assert await self.files_of(store) == {"kept": b"kept"}

    @pytest.mark.parametrize(
        ("full", "form"),
        # A PurePath would fold the // of a URI, which is why URIs are not given as one.
        [(False, str), (True, str), (False, str.encode), (True, str.encode), (False, PurePosixPath)],
        ids=["relative", "uri", "bytes", "uri as bytes", "os.PathLike"],
    )
    async def test_a_path_may_be_relative_or_a_uri_and_str_bytes_or_pathlike(
        self, store: BaseArtifactStore, full: bool, form: Callable[[str], Any]
    ) -> None:
        def as_given(path: str) -> Any:
            return form(self.uri(store, path) if full else path)

        await store.write_bytes(as_given("dir/é 1"), b"content")
        async with store.open(as_given("dir/two"), "wb") as writer:
            await writer.write(b"2")
        assert await self.files_of(store) == {"dir/é 1": b"content", "dir/two": b"2"}
        async with store.open(as_given("dir/é 1"), "rb") as file:
            assert await file.read() == b"content"
        assert await store.read_bytes(as_given("dir/é 1")) == b"content"
        assert await store.read_range(as_given("dir/é 1"), 0, 2) == b"co"
        assert await store.exists(as_given("dir"))
        assert await store.isdir(as_given("dir"))
        assert (await store.stat(as_given("dir/two"))).size_bytes == 1
        assert await store.size(as_given("dir")) == 8
        assert await store.listdir(as_given("dir")) == ["two", "é 1"]
        await store.copyfile(as_given("dir/two"), as_given("dir/three"))
        await store.rename(as_given("dir/three"), as_given("dir/four"))
        await store.remove(as_given("dir/four"))
        await store.makedirs(as_given("new/deep"))
        await _walk(store, as_given("dir"))
        await _scan(store, as_given("dir"))
        async with aclosing(store.glob(as_given("dir/*"))) as found:
            assert [uri async for uri in found] == [self.uri(store, "dir/two"), self.uri(store, "dir/é 1")]
        await store.rmtree(as_given("dir"))
        assert await self.raw_list() == []

    async def test_bytes_that_are_not_utf8_are_refused(self, store: BaseArtifactStore) -> None:
        with pytest.raises(InvalidPath):
            await store.write_bytes(b"\xff\xfe", b"x")
        assert await self.raw_list() == []

    async def test_one_trailing_slash_is_ignored(self, store: BaseArtifactStore) -> None:
        await store.write_bytes("dir/", b"a file")
        assert await self.files_of(store) == {"dir": b"a file"}
        assert await store.read_bytes("dir/") == b"a file"
        assert await store.read_bytes("dir") == b"a file"

    async def test_temporaries_on_disk_are_hidden(self, store: BaseArtifactStore) -> None:
        if not store.is_local:
            return  # services have no temporaries of ours
        await self.fill(store, ["dir/f"])
        hidden = self.uri(store, f"dir/{TEMPORARY_PREFIX}0123456789abcdef")
        await self.raw_write(hidden, b"left by a crash")
        assert await store.listdir("dir") == ["f"]
        assert await self.walked(store, "dir") == [("dir", [], ["f"])]
        assert list(await self.scanned(store, "dir")) == ["dir/f"]
        assert await self.globbed(store, "dir/*") == ["dir/f"]
        assert await store.size("dir") == 5
        await store.rmtree("dir")
        assert not await store.exists("dir")
        assert not await self.raw_exists(hidden)
