"""The store contract, directories and removing: `mkdir`, `makedirs`, `remove`, `rmtree`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from entrepot.errors import AlreadyExists, IsADirectory, NotADirectory, NotFound, StoreError
from entrepot.models import Capabilities
from entrepot.testing.rules import StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore


class DirectoryRules(StoreRules):
    """Directories that are made, and those that come and go with their files."""

    async def test_an_empty_directory_is_kept_or_declared_not_kept(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await store.mkdir("empty")
        await store.makedirs("deep/er/empty")
        assert await self.raw_list() == []
        if not capabilities.empty_directories:
            assert not await store.isdir("empty")
            assert await store.listdir("") == []
            assert await self.scanned(store) == {}
            return
        for path in ("empty", "deep", "deep/er", "deep/er/empty"):
            assert await store.isdir(path)
            assert await store.exists(path)
            assert (await store.stat(path)).is_dir
        assert await store.listdir("empty") == []
        assert await store.listdir("") == ["deep", "empty"]
        assert await self.walked(store) == [
            ("", ["deep", "empty"], []),
            ("deep", ["er"], []),
            ("deep/er", ["empty"], []),
            ("deep/er/empty", [], []),
            ("empty", [], []),
        ]
        found = await self.scanned(store)
        assert all(entry.is_dir for entry in found.values())
        assert {"empty", "deep/er/empty"} <= found.keys()
        assert await self.scanned(store, "empty") == {}
        assert await self.scanned(store, "empty", recursive=False) == {}
        assert list(await self.scanned(store, recursive=False)) == ["deep", "empty"]
        assert await self.globbed(store, "*") == ["deep", "empty"]
        assert await self.globbed(store, "**/empty") == ["deep/er/empty", "empty"]
        assert await store.size("empty") == 0

    async def test_an_empty_directory_can_be_removed_as_a_tree(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        if not capabilities.empty_directories:
            return  # said by `test_an_empty_directory_is_kept_or_declared_not_kept`
        await store.makedirs("dir/empty")
        with pytest.raises(IsADirectory):
            await store.remove("dir/empty")
        await store.rmtree("dir/empty")
        assert not await store.exists("dir/empty")
        if await store.exists("dir"):
            await store.rmtree("dir")
        assert await store.listdir("") == []

    async def test_mkdir_of_what_is_there_is_an_error(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/x", "file"])
        for path in ("dir", "dir/", "file", "dir/x", ""):
            with pytest.raises(AlreadyExists) as caught:
                await store.mkdir(path)
            assert isinstance(caught.value, FileExistsError)
        assert await self.files_of(store) == {"dir/x": b"dir/x", "file": b"file"}

    async def test_mkdir_needs_its_parent(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/x"])
        with pytest.raises(NotFound):
            await store.mkdir("missing/new")
        assert not await store.exists("missing")
        await store.mkdir("dir/new")

    async def test_mkdir_below_a_file_is_an_error(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["file"])
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            await store.mkdir("file/new")
        assert await self.files_of(store) == {"file": b"file"}

    async def test_makedirs_of_a_directory_that_is_there_changes_nothing(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/sub/x"])
        for path in ("dir", "dir/sub", "dir/sub/", ""):
            await store.makedirs(path)
        assert await self.files_of(store) == {"dir/sub/x": b"dir/sub/x"}
        assert await store.listdir("dir") == ["sub"]

    @pytest.mark.parametrize("path", ["file", "file/new", "file/new/er"])
    async def test_makedirs_with_a_file_in_the_way_is_an_error(self, store: BaseArtifactStore, path: str) -> None:
        await self.fill(store, ["file"])
        with pytest.raises(AlreadyExists):
            await store.makedirs(path)
        assert await self.files_of(store) == {"file": b"file"}

    async def test_a_file_makes_its_parents_directories(self, store: BaseArtifactStore) -> None:
        await store.write_bytes("a/b/c", b"x")
        for path in ("a", "a/b"):
            assert await store.isdir(path)
            with pytest.raises(IsADirectory):
                await store.remove(path)

    async def test_an_implied_directory_may_end_with_its_last_file(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await store.write_bytes("a/b/c", b"x")
        await store.remove("a/b/c")
        if capabilities.directories == "real":
            assert await store.isdir("a/b")
        for path in ("a", "a/b"):
            # Whether it ended or not, every method says the same.
            there = await store.isdir(path)
            assert await store.exists(path) == there
            if there:
                assert await store.listdir(path) in ([], ["b"])
            else:
                with pytest.raises(NotFound):
                    await store.listdir(path)
                with pytest.raises(NotFound):
                    await store.stat(path)

    async def test_a_directory_that_was_made_stays_after_its_last_file(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await store.makedirs("made")
        await store.write_bytes("made/f", b"x")
        assert await store.listdir("made") == ["f"]
        await store.remove("made/f")
        if capabilities.directories == "real":
            assert await store.listdir("made") == []


class RemovingRules(StoreRules):
    """`remove` takes one file, `rmtree` one tree, and neither anything else."""

    async def test_remove_takes_one_file_and_leaves_its_siblings(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/f", "dir/f2", "dir/f.x", "dir2/f"])
        await store.remove("dir/f")
        assert sorted(await self.files_of(store)) == ["dir/f.x", "dir/f2", "dir2/f"]
        assert not await store.exists("dir/f")

    @pytest.mark.parametrize("path", ["missing", "missing/x", "file/x", "fil"])
    async def test_removing_what_is_missing_is_not_found(self, store: BaseArtifactStore, path: str) -> None:
        await self.fill(store, ["file"])
        with pytest.raises(NotFound) as caught:
            await store.remove(path)
        assert caught.value.uri == self.uri(store, path)
        assert await self.files_of(store) == {"file": b"file"}

    @pytest.mark.parametrize("path", ["dir", "dir/sub", ""])
    async def test_remove_refuses_a_directory(self, store: BaseArtifactStore, path: str) -> None:
        await self.fill(store, ["dir/sub/f"])
        with pytest.raises(IsADirectory):
            await store.remove(path)
        assert await self.files_of(store) == {"dir/sub/f": b"dir/sub/f"}

    async def test_rmtree_takes_all_below_and_leaves_siblings_with_the_same_prefix(
        self, store: BaseArtifactStore
    ) -> None:
        await self.fill(store, ["up/dir/a", "up/dir/sub/b", "up/dir/.c", "up/dir2/x", "up/dir.txt", "up/di"])
        await store.rmtree("up/dir")
        assert sorted(await self.files_of(store)) == ["up/di", "up/dir.txt", "up/dir2/x"]
        assert not await store.exists("up/dir")
        assert not await store.isdir("up/dir/sub")

    async def test_a_removed_tree_is_told_by_no_listing(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["gone/f", "gone/sub/deep/f", "gone/sub/g", "kept/f"])
        await store.rmtree("gone")
        assert await store.listdir("") == ["kept"]
        assert set(await self.scanned(store, recursive=False)) == {"kept"}
        await self.fill(store, ["kept/sub/deep/f"])
        await store.rmtree("kept/sub")
        assert await store.listdir("kept") == ["f"]

    async def test_rmtree_takes_empty_directories_too(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/f"])
        await store.makedirs("dir/empty/er")
        await store.rmtree("dir/")
        assert not await store.exists("dir")
        assert await store.listdir("") == []

    async def test_rmtree_of_what_is_missing_is_not_found(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/f"])
        for path in ("missing", "di", "dir/g"):
            with pytest.raises(NotFound):
                await store.rmtree(path)
        assert await self.files_of(store) == {"dir/f": b"dir/f"}

    async def test_rmtree_refuses_a_file(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/f", "dir/f2"])
        with pytest.raises(NotADirectory):
            await store.rmtree("dir/f")
        assert sorted(await self.files_of(store)) == ["dir/f", "dir/f2"]

    async def test_rmtree_of_the_root_needs_the_flag(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/f", "g"])
        for path in ("", store.path, store.path + "/"):
            with pytest.raises(StoreError) as caught:
                await store.rmtree(path)
            assert "allow_root" in str(caught.value)
        assert sorted(await self.files_of(store)) == ["dir/f", "g"]

    async def test_the_root_can_be_emptied_and_is_still_a_directory(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/f", "g"])
        await store.rmtree("", allow_root=True)
        assert await self.raw_list() == []
        assert await store.isdir("")
        assert await store.listdir("") == []
        await store.write_bytes("again", b"x")
        assert await store.listdir("") == ["again"]

    async def test_an_empty_root_can_be_emptied(self, store: BaseArtifactStore) -> None:
        await store.rmtree("", allow_root=True)
        assert await store.listdir("") == []
