"""The store contract, listing: `listdir`, `glob`, `walk`, `scan`."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import pytest

from entrepot.errors import NotADirectory, NotFound, StoreError
from entrepot.models import Capabilities
from entrepot.testing.rules import StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

TREE: Final = (
    ".hidden",
    "a.txt",
    "b-1",
    "b.txt",
    "b/.conf/x",
    "b/c/deep.txt",
    "b/c/deeper/z.txt",
    "b/x.txt",
    "b/y.bin",
    "b0",
    "bb/x.txt",
)
"""Siblings with one prefix, hidden names, and the order of `b-1 < b.txt < b/ < b0`."""

# Pattern → what it finds in TREE, in order. Python 3.13: glob.translate(p, recursive=True, include_hidden=True).
GLOBS: Final[dict[str, list[str]]] = {
    "*": [".hidden", "a.txt", "b-1", "b.txt", "b", "b0", "bb"],
    "b*": ["b-1", "b.txt", "b", "b0", "bb"],
    "?": ["b"],
    "b?": ["b0", "bb"],
    "*.txt": ["a.txt", "b.txt"],
    ".*": [".hidden"],
    "[ab].txt": ["a.txt", "b.txt"],
    "[!a].txt": ["b.txt"],
    "[a-b]0": ["b0"],
    "b/*": ["b/.conf", "b/c", "b/x.txt", "b/y.bin"],
    "b/*.txt": ["b/x.txt"],
    "*/x.txt": ["b/x.txt", "bb/x.txt"],
    "*/*/*.txt": ["b/c/deep.txt"],
    "*/*/x": ["b/.conf/x"],
    "**/*.txt": ["a.txt", "b.txt", "b/c/deep.txt", "b/c/deeper/z.txt", "b/x.txt", "bb/x.txt"],
    "**/x.txt": ["b/x.txt", "bb/x.txt"],
    "b/**/z.txt": ["b/c/deeper/z.txt"],
    "b/**": [
        "b/.conf", "b/.conf/x", "b/c", "b/c/deep.txt", "b/c/deeper", "b/c/deeper/z.txt", "b/x.txt", "b/y.bin",
    ],
    "b/**/*": [
        "b/.conf", "b/.conf/x", "b/c", "b/c/deep.txt", "b/c/deeper", "b/c/deeper/z.txt", "b/x.txt", "b/y.bin",
    ],
    "**/deeper": ["b/c/deeper"],
    "**/c/**": ["b/c/deep.txt", "b/c/deeper", "b/c/deeper/z.txt"],
    "**": [
        ".hidden", "a.txt", "b-1", "b.txt", "b", "b/.conf", "b/.conf/x", "b/c", "b/c/deep.txt", "b/c/deeper",
        "b/c/deeper/z.txt", "b/x.txt", "b/y.bin", "b0", "bb", "bb/x.txt",
    ],
    "b**": ["b-1", "b.txt", "b", "b0", "bb"],
    "a.txt": ["a.txt"],
    "b/c": ["b/c"],
    "missing": [],
    "missing/*": [],
    "a.txt/*": [],
    "B*": [],
}  # fmt: skip


class ListingRules(StoreRules):
    """What is told of what is there."""

    # ---- listdir ------------------------------------------------------------------------------------------

    async def test_an_empty_store_lists_nothing(self, store: BaseArtifactStore) -> None:
        assert await store.listdir("") == []
        assert await store.listdir(store.path) == []
        assert await self.walked(store) == [("", [], [])]
        assert await self.scanned(store) == {}
        assert await self.scanned(store, recursive=False) == {}
        assert await self.globbed(store, "**") == []

    async def test_listdir_gives_sorted_names_of_files_and_directories(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        assert await store.listdir("") == [".hidden", "a.txt", "b", "b-1", "b.txt", "b0", "bb"]
        assert await store.listdir("b") == [".conf", "c", "x.txt", "y.bin"]
        assert await store.listdir("b/") == [".conf", "c", "x.txt", "y.bin"]
        assert await store.listdir(self.uri(store, "b/c")) == ["deep.txt", "deeper"]

    @pytest.mark.parametrize("path", ["missing", "missing/x", "bo", "b/cc", "a.txt/below", "b/x.txt/below/it"])
    async def test_listing_a_missing_directory_is_not_found(self, store: BaseArtifactStore, path: str) -> None:
        await self.fill(store, TREE)
        with pytest.raises(NotFound) as caught:
            await store.listdir(path)
        assert caught.value.uri == self.uri(store, path)
        with pytest.raises(NotFound):
            await self.scanned(store, path)
        with pytest.raises(NotFound):
            await self.scanned(store, path, recursive=False)

    async def test_listing_a_file_says_that_it_is_no_directory(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        with pytest.raises(NotADirectory):
            await store.listdir("b/x.txt")
        with pytest.raises(NotADirectory):
            await self.scanned(store, "b/x.txt")
        with pytest.raises(NotADirectory):
            await self.scanned(store, "b/x.txt", recursive=False)

    # ---- glob ---------------------------------------------------------------------------------------------

    async def test_glob_finds_what_pythons_glob_finds_in_key_order(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        found = {pattern: await self.globbed(store, pattern) for pattern in GLOBS}
        assert found == GLOBS

    async def test_a_pattern_may_be_a_full_uri(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        assert await self.globbed(store, self.uri(store, "b/*.txt")) == ["b/x.txt"]

    async def test_special_characters_in_a_pattern_can_be_escaped(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["a[1]/x", "a1/x", "s*r", "star", "q?"])
        assert await self.globbed(store, "a[[]1]/*") == ["a[1]/x"]
        assert await self.globbed(store, "s[*]r") == ["s*r"]
        assert await self.globbed(store, "q[?]") == ["q?"]

    # ---- walk ---------------------------------------------------------------------------------------------

    async def test_walk_goes_down_as_os_walk_does(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        assert await self.walked(store) == [
            ("", ["b", "bb"], [".hidden", "a.txt", "b-1", "b.txt", "b0"]),
            ("b", [".conf", "c"], ["x.txt", "y.bin"]),
            ("b/.conf", [], ["x"]),
            ("b/c", ["deeper"], ["deep.txt"]),
            ("b/c/deeper", [], ["z.txt"]),
            ("bb", [], ["x.txt"]),
        ]
        assert await self.walked(store, "b/c") == [
            ("b/c", ["deeper"], ["deep.txt"]),
            ("b/c/deeper", [], ["z.txt"]),
        ]

    async def test_walk_goes_up_as_os_walk_does(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        assert await self.walked(store, topdown=False) == [
            ("b/.conf", [], ["x"]),
            ("b/c/deeper", [], ["z.txt"]),
            ("b/c", ["deeper"], ["deep.txt"]),
            ("b", [".conf", "c"], ["x.txt", "y.bin"]),
            ("bb", [], ["x.txt"]),
            ("", ["b", "bb"], [".hidden", "a.txt", "b-1", "b.txt", "b0"]),
        ]

    async def test_directories_taken_out_of_the_list_are_not_walked(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        seen = []
        async with aclosing(store.walk("")) as levels:
            async for directory, directories, _ in levels:
                seen.append(directory[len(store.path) + 1 :])
                directories[:] = [name for name in directories if name != "c"]
        assert seen == ["", "b", "b/.conf", "bb"]

    async def test_the_order_of_the_list_is_the_order_of_the_walk(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["a/x", "b/x", "c/x"])
        seen = []
        async with aclosing(store.walk("")) as levels:
            async for directory, directories, _ in levels:
                seen.append(directory[len(store.path) + 1 :])
                directories.reverse()
        assert seen == ["", "c", "b", "a"]

    async def test_a_walk_can_be_left(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        async with aclosing(store.walk("")) as levels:
            async for directory, _, _ in levels:
                assert directory == store.path
                break
        assert await store.exists("b/x.txt")

    @pytest.mark.parametrize(("top", "kind"), [("missing", NotFound), ("a.txt", NotADirectory), ("a.txt/x", NotFound)])
    async def test_a_walk_of_no_directory_yields_nothing_and_tells_onerror(
        self, store: BaseArtifactStore, top: str, kind: type[StoreError]
    ) -> None:
        await self.fill(store, TREE)
        assert await self.walked(store, top) == []
        told: list[StoreError] = []
        async with aclosing(store.walk(top, onerror=told.append)) as levels:
            assert [level async for level in levels] == []
        assert [type(error) for error in told] == [kind]

    async def test_an_onerror_that_raises_ends_the_walk(self, store: BaseArtifactStore) -> None:
        def refuse(error: StoreError) -> None:
            raise error

        with pytest.raises(NotFound):
            async with aclosing(store.walk("missing", onerror=refuse)) as levels:
                assert [level async for level in levels] == []

    # ---- scan ---------------------------------------------------------------------------------------------

    async def test_scan_tells_every_file_below_as_stat_does(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        found = await self.scanned(store)
        assert sorted(path for path, entry in found.items() if not entry.is_dir) == sorted(TREE)
        for path in ("a.txt", "b/c/deep.txt"):
            alone = await store.stat(path)
            assert (found[path].size_bytes, found[path].is_dir) == (len(path), False)
            assert found[path].modified is not None
            assert found[path].etag in (None, alone.etag)
        below = await self.scanned(store, "b/c")
        assert {path for path, entry in below.items() if not entry.is_dir} == {"b/c/deep.txt", "b/c/deeper/z.txt"}

    async def test_scan_tells_directories_where_they_are_real_and_never_the_top(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await self.fill(store, TREE)
        directories = {path for path, entry in (await self.scanned(store)).items() if entry.is_dir}
        real = {"b", "b/.conf", "b/c", "b/c/deeper", "bb"}
        assert directories == (real if capabilities.directories == "real" else set())
        directories = {path for path, entry in (await self.scanned(store, "b")).items() if entry.is_dir}
        real = {"b/.conf", "b/c", "b/c/deeper"}
        assert directories == (real if capabilities.directories == "real" else set())

    async def test_scan_of_one_level_tells_files_and_directories(self, store: BaseArtifactStore) -> None:
        await self.fill(store, TREE)
        for top in ("b", "b/", self.uri(store, "b")):
            found = await self.scanned(store, top, recursive=False)
            assert {path: entry.is_dir for path, entry in found.items()} == {
                "b/.conf": True, "b/c": True, "b/x.txt": False, "b/y.bin": False,
            }  # fmt: skip
        assert found["b/x.txt"].size_bytes == len("b/x.txt")
        assert found["b/c"].size_bytes == 0

    async def test_more_than_one_page_is_listed(self, store: BaseArtifactStore) -> None:
        names = [f"{number:05}" for number in range(self.many_files)]
        await store.makedirs("many")
        for start in range(0, len(names), 50):
            await self.fill_through(store, [f"many/{name}" for name in names[start : start + 50]])
        await self.fill(store, ["many2/x"])
        assert await store.listdir("many") == names
        assert sorted(await self.scanned(store, "many")) == [f"many/{name}" for name in names]
        assert await self.globbed(store, "many/*7") == [f"many/{name}" for name in names if name.endswith("7")]
        assert await self.walked(store, "many") == [("many", [], names)]
        assert await store.size("many") == len(names)
        await store.rmtree("many")
        assert await self.raw_list() == [self.uri(store, "many2/x")]

    @staticmethod
    async def fill_through(store: BaseArtifactStore, paths: list[str]) -> None:
        """Many files at once, by the store itself: only their number matters here."""
        from entrepot.models import WriteItem

        for result in await store.write_batch([WriteItem(path, b"x") for path in paths]):
            assert not isinstance(result, StoreError)

    async def test_foreign_names_are_listed_and_can_be_removed(self, store: BaseArtifactStore) -> None:
        if not self.foreign_names:
            return  # nothing can make them here
        await self.fill(store, ["dir/plain"])
        for name in self.foreign_names:
            await self.raw_write(f"{store.path}/dir/{name}", b"foreign")
        found = await self.scanned(store, "dir")
        assert len(found) == 1 + len(self.foreign_names)
        assert "dir/plain" in found
        assert "plain" in await store.listdir("dir")
        assert await self.walked(store, "dir") != []
        await store.rmtree("dir")
        assert await self.raw_list() == []
