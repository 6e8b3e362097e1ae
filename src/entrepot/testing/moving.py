"""The store contract, copying and moving inside one store: `copyfile`, `rename`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from entrepot.errors import AlreadyExists, InvalidPath, IsADirectory, NotFound, StoreError
from entrepot.models import Capabilities
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore


class CopyingRules(StoreRules):
    """`copyfile`."""

    @pytest.mark.parametrize("data", [b"", b"content", LARGE], ids=["empty", "small", "large"])
    async def test_a_copy_has_the_same_bytes_and_the_source_stays(self, store: BaseArtifactStore, data: bytes) -> None:
        await self.raw_write(self.uri(store, "src"), data)
        await store.copyfile("src", "new/dir/dst")
        assert await self.files_of(store) == {"src": data, "new/dir/dst": data}
        await self.no_litter_stays()

    async def test_a_copy_keeps_metadata_and_type(self, store: BaseArtifactStore, capabilities: Capabilities) -> None:
        options = self.kept_options(capabilities)
        await store.write_bytes("src", b"x", options)
        await store.copyfile("src", "dst")
        assert self.says_what_was_kept(await store.stat("dst"), options)

    async def test_a_copy_replaces_only_when_told_to(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["src", "dst"])
        with pytest.raises(AlreadyExists) as caught:
            await store.copyfile("src", "dst")
        assert isinstance(caught.value, FileExistsError)
        assert caught.value.uri == self.uri(store, "dst")
        assert await self.files_of(store) == {"src": b"src", "dst": b"dst"}
        await store.copyfile("src", "dst", overwrite=True)
        assert await self.files_of(store) == {"src": b"src", "dst": b"src"}

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_copying_a_missing_file_is_not_found(self, store: BaseArtifactStore, overwrite: bool) -> None:
        await self.fill(store, ["other"])
        with pytest.raises(NotFound) as caught:
            await store.copyfile("missing", "dst", overwrite=overwrite)
        assert caught.value.uri == self.uri(store, "missing")
        assert sorted(await self.files_of(store)) == ["other"]

    async def test_copying_a_missing_file_over_another_keeps_that(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dst"])
        with pytest.raises(NotFound):
            await store.copyfile("missing", "dst", overwrite=True)
        assert await self.files_of(store) == {"dst": b"dst"}

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_a_directory_is_not_copied_as_a_file(self, store: BaseArtifactStore, overwrite: bool) -> None:
        await self.fill(store, ["dir/x"])
        for path in ("dir", ""):
            with pytest.raises(IsADirectory):
                await store.copyfile(path, "dst", overwrite=overwrite)
        assert await self.files_of(store) == {"dir/x": b"dir/x"}

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_a_file_is_not_copied_over_a_directory(
        self, store: BaseArtifactStore, capabilities: Capabilities, overwrite: bool
    ) -> None:
        await self.fill(store, ["src", "dir/x"])
        if capabilities.directories == "implied" and self.keeps_file_beside_directory:
            await store.copyfile("src", "dir", overwrite=overwrite)
            assert await self.files_of(store) == {"src": b"src", "dir": b"src", "dir/x": b"dir/x"}
            return
        if capabilities.directories == "implied":
            kinds: tuple[type[Exception], ...] = (StoreError,)
        else:
            kinds = (IsADirectoryError,) if overwrite else (IsADirectoryError, FileExistsError)
        with pytest.raises(kinds):
            await store.copyfile("src", "dir", overwrite=overwrite)
        await self.nothing_was_lost(store, {"src", "dir/x"})

    async def test_the_root_is_no_target(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["src"])
        with pytest.raises(IsADirectory):
            await store.copyfile("src", "", overwrite=True)
        with pytest.raises(StoreError):
            await store.rename("src", "", overwrite=True)
        assert await self.files_of(store) == {"src": b"src"}

    async def test_copying_a_file_onto_itself_never_loses_it(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["f"])
        with pytest.raises(AlreadyExists):
            await store.copyfile("f", "f")
        with suppress(StoreError):  # refusing is as good as doing nothing
            await store.copyfile("f", "f", overwrite=True)
        assert await self.files_of(store) == {"f": b"f"}


class MovingRules(StoreRules):
    """`rename` of files and trees."""

    @pytest.mark.parametrize("data", [b"", b"content", LARGE], ids=["empty", "small", "large"])
    async def test_a_file_moves_with_its_bytes(self, store: BaseArtifactStore, data: bytes) -> None:
        await self.raw_write(self.uri(store, "src"), data)
        await store.rename("src", "new/dir/dst")
        assert await self.files_of(store) == {"new/dir/dst": data}
        await self.no_litter_stays()

    async def test_a_file_keeps_metadata_and_type(self, store: BaseArtifactStore, capabilities: Capabilities) -> None:
        options = self.kept_options(capabilities)
        await store.write_bytes("src", b"x", options)
        await store.rename("src", "dst")
        assert self.says_what_was_kept(await store.stat("dst"), options)

    async def test_a_move_replaces_only_when_told_to(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["src", "dst"])
        with pytest.raises(AlreadyExists):
            await store.rename("src", "dst")
        assert await self.files_of(store) == {"src": b"src", "dst": b"dst"}
        await store.rename("src", "dst", overwrite=True)
        assert await self.files_of(store) == {"dst": b"src"}

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_moving_what_is_missing_is_not_found(self, store: BaseArtifactStore, overwrite: bool) -> None:
        await self.fill(store, ["other"])
        for path in ("missing", "missing/x", "other/x", "othe"):
            with pytest.raises(NotFound):
                await store.rename(path, "dst", overwrite=overwrite)
        assert await self.files_of(store) == {"other": b"other"}

    async def test_a_tree_moves_whole_and_siblings_stay(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/a", "dir/sub/b", "dir/sub/%41 é+😀", "dir2/x", "dir.txt"])
        await store.rename("dir", "new/place")
        assert await self.files_of(store) == {
            "new/place/a": b"dir/a",
            "new/place/sub/b": b"dir/sub/b",
            "new/place/sub/%41 é+😀": "dir/sub/%41 é+😀".encode(),
            "dir2/x": b"dir2/x",
            "dir.txt": b"dir.txt",
        }
        assert not await store.exists("dir")

    async def test_a_tree_moves_with_its_empty_directories(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await self.fill(store, ["dir/a"])
        await store.makedirs("dir/empty")
        await store.rename("dir", "new")
        assert not await store.exists("dir")
        assert await store.isdir("new/empty") == bool(capabilities.empty_directories)

    async def test_a_tree_moves_to_a_sibling_with_its_name_as_prefix(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/a"])
        await store.rename("dir", "dir-old")
        assert await self.files_of(store) == {"dir-old/a": b"dir/a"}

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_a_tree_is_not_moved_over_what_is_there(self, store: BaseArtifactStore, overwrite: bool) -> None:
        files = ["dir/sub/a", "other/b", "file"]
        await self.fill(store, files)
        for source, target in (("dir", "other"), ("dir", "file"), ("dir/sub", "dir")):
            with pytest.raises(AlreadyExists):
                await store.rename(source, target, overwrite=overwrite)
        assert sorted(await self.files_of(store)) == sorted(files)

    async def test_a_tree_takes_the_place_of_an_empty_directory_when_told_to(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await self.fill(store, ["dir/a"])
        await store.makedirs("empty")
        if capabilities.empty_directories:
            with pytest.raises(AlreadyExists):
                await store.rename("dir", "empty")
            assert await self.files_of(store) == {"dir/a": b"dir/a"}
        await store.rename("dir", "empty", overwrite=True)
        assert await self.files_of(store) == {"empty/a": b"dir/a"}
        assert not await store.exists("dir")

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_a_tree_is_not_moved_into_itself(self, store: BaseArtifactStore, overwrite: bool) -> None:
        await self.fill(store, ["dir/a", "dir/sub/b"])
        for target in ("dir/new", "dir/sub/new", "dir/sub"):
            with pytest.raises(StoreError):
                await store.rename("dir", target, overwrite=overwrite)
        assert await self.files_of(store) == {"dir/a": b"dir/a", "dir/sub/b": b"dir/sub/b"}

    @pytest.mark.parametrize("path", ["f", "dir"])
    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_moving_onto_itself_never_loses_anything(
        self, store: BaseArtifactStore, path: str, overwrite: bool
    ) -> None:
        await self.fill(store, ["f", "dir/x"])
        with suppress(StoreError):  # refusing is as good as doing nothing
            await store.rename(path, path, overwrite=overwrite)
        assert await self.files_of(store) == {"f": b"f", "dir/x": b"dir/x"}

    async def test_a_file_is_not_moved_over_a_directory(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await self.fill(store, ["src", "dir/x"])
        for overwrite in (False, True):
            if capabilities.directories == "implied" and self.keeps_file_beside_directory and overwrite:
                continue  # as for a write: it lands beside the directory, or is refused; nothing is promised
            with pytest.raises(StoreError):
                await store.rename("src", "dir", overwrite=overwrite)
            await self.nothing_was_lost(store, {"src", "dir/x"})

    async def test_the_root_is_not_moved(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["f"])
        with pytest.raises(StoreError):
            await store.rename("", "dst")
        assert await self.files_of(store) == {"f": b"f"}

    async def test_a_failed_move_keeps_the_source(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["f", "dir/x"])
        for source in ("f", "dir"):
            with pytest.raises(InvalidPath):
                await store.rename(source, "a/../b")
            with pytest.raises(InvalidPath):
                await store.rename(source, "other://place/b")
        assert await self.files_of(store) == {"f": b"f", "dir/x": b"dir/x"}
