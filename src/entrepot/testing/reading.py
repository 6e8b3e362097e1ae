"""The store contract, reading: `open("r")`, `read_bytes`, `read_range`, `stat`, `exists`, `isdir`, `size`."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from entrepot.errors import IsADirectory, NotFound, PreconditionFailed, StoreError, UnsupportedOperation
from entrepot.models import MIB, Capabilities, WriteOptions
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

TEXT = b"0123456789"
LINES = "first\nsecond\r\nthird\rfourth é😀\n\nlast"


class ReadingRules(StoreRules):
    """How files are read and looked at."""

    # ---- open ----------------------------------------------------------------------------------------------

    async def test_a_file_is_opened_by_async_with_or_by_await(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "a/b"), TEXT)
        async with store.open("a/b", "rb") as file:
            assert await file.read() == TEXT
        assert file.closed
        file = await store.open("a/b", "rb")
        assert not file.closed
        assert await file.read() == TEXT
        await file.close()
        assert file.closed

    async def test_an_open_file_is_named_by_its_address(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "a/b"), TEXT)
        async with store.open("a/b") as text, store.open("a/b", "rb") as file:
            assert text.name == file.name == self.uri(store, "a/b")

    async def test_text_is_the_default_and_utf8(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "t"), "é😀\n".encode())
        async with store.open("t") as file:
            assert await file.read() == "é😀\n"

    @pytest.mark.parametrize("size", [1, 3, 10, 11, 1000])
    async def test_reading_in_pieces_gives_the_whole(self, store: BaseArtifactStore, size: int) -> None:
        await self.raw_write(self.uri(store, "f"), TEXT)
        pieces = []
        async with store.open("f", "rb") as file:
            while piece := await file.read(size):
                assert len(piece) <= size
                pieces.append(piece)
            assert file.tell() == 10
            assert await file.read() == b""
            assert await file.read(5) == b""
        assert b"".join(pieces) == TEXT

    async def test_reading_nothing_moves_nothing(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "f"), TEXT)
        async with store.open("f", "rb") as file:
            assert await file.read(0) == b""
            assert file.tell() == 0

    async def test_seeking_is_as_in_the_builtin_file(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "f"), TEXT)
        async with store.open("f", "rb") as file:
            for offset, whence in [(4, 0), (2, 1), (-3, 1), (-4, 2), (0, 2), (3, 2), (0, 0)]:
                model = io.BytesIO(TEXT)
                model.seek(file.tell())
                assert await file.seek(offset, whence) == model.seek(offset, whence)
                assert file.tell() == model.tell()
                assert await file.read(2) == model.read(2)
                assert file.tell() == model.tell()

    @pytest.mark.parametrize(("offset", "whence"), [(-1, 0), (-11, 2), (0, 9)])
    async def test_seeking_before_the_start_or_from_nowhere_is_an_error(
        self, store: BaseArtifactStore, offset: int, whence: int
    ) -> None:
        await self.raw_write(self.uri(store, "f"), TEXT)
        async with store.open("f", "rb") as file:
            with pytest.raises((ValueError, OSError)):
                await file.seek(offset, whence)

    async def test_a_large_file_is_read_from_anywhere(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "large"), LARGE)
        async with store.open("large", "rb") as file:
            for start in (0, 9 * MIB - 1, len(LARGE) - 7, MIB + 3):
                await file.seek(start)
                assert await file.read(1000) == LARGE[start : start + 1000]
            await file.seek(0)
            assert await file.read() == LARGE

    async def test_lines_end_as_the_builtin_ends_them(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "t"), LINES.encode())
        for newline in (None, "", "\n", "\r", "\r\n"):
            expected = list(io.TextIOWrapper(io.BytesIO(LINES.encode()), encoding="utf-8", newline=newline))
            async with store.open("t", newline=newline) as file:
                assert [line async for line in file] == expected
        async with store.open("t", "rb") as raw:
            assert [line async for line in raw] == list(io.BytesIO(LINES.encode()))

    async def test_a_line_can_be_limited(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "t"), b"a long line\nanother")
        async with store.open("t", "rb") as file:
            assert await file.readline(6) == b"a long"
            assert await file.readline() == b" line\n"
            assert await file.readline() == b"another"
            assert await file.readline() == b""

    @pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
    async def test_other_encodings_are_read(self, store: BaseArtifactStore, encoding: str) -> None:
        await self.raw_write(self.uri(store, "t"), "café\n".encode(encoding))
        async with store.open("t", encoding=encoding) as file:
            assert await file.read() == "café\n"

    async def test_undecodable_text_is_an_error_or_handled_as_asked(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "t"), b"caf\xe9")
        async with store.open("t") as file:
            with pytest.raises(UnicodeDecodeError):
                await file.read()
        async with store.open("t", errors="replace") as file:
            assert await file.read() == "caf\ufffd"

    async def test_a_zero_byte_file_reads_as_nothing(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "empty"), b"")
        async with store.open("empty", "rb") as file:
            assert await file.read() == b""
        assert await store.read_bytes("empty") == b""
        assert await store.read_range("empty", 0, 5) == b""
        assert await store.size("empty") == 0

    async def test_a_closed_file_cannot_be_read(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "f"), TEXT)
        file = await store.open("f", "rb")
        await file.close()
        await file.close()
        with pytest.raises(ValueError, match="closed"):
            await file.read()

    async def test_a_reader_never_mixes_two_versions(self, store: BaseArtifactStore) -> None:
        # Where no etag tells two contents of one size apart, their sizes must.
        old, new = b"o" * len(LARGE), b"n" * (len(LARGE) - (0 if self.tells_etags else 1))
        await store.write_bytes("f", old)
        async with store.open("f", "rb") as file:
            read = await file.read(10)
            await store.write_bytes("f", new)
            try:
                read += await file.read()
            except StoreError:
                return  # it noticed, and said so
        assert read == old

    @pytest.mark.parametrize("mode", ["r+", "rb+", "w+", "w+b", "a+", "x+b"])
    async def test_reading_and_writing_at_once_is_unsupported(self, store: BaseArtifactStore, mode: str) -> None:
        with pytest.raises(UnsupportedOperation):
            await store.open("f", mode)
        assert await self.raw_list() == []

    @pytest.mark.parametrize("mode", ["", "b", "rw", "q", "rbt", "rr", "U"])
    async def test_an_invalid_mode_is_a_value_error(self, store: BaseArtifactStore, mode: str) -> None:
        with pytest.raises(ValueError, match="mode"):
            await store.open("f", mode)

    async def test_binary_mode_takes_no_encoding_and_reading_no_options(self, store: BaseArtifactStore) -> None:
        binary: str = "rb"
        with pytest.raises(ValueError, match="binary"):
            await store.open("f", binary, encoding="utf-8")
        with pytest.raises(ValueError, match="options"):
            await store.open("f", binary, options=WriteOptions())

    # ---- what is missing, or a directory -------------------------------------------------------------------

    @pytest.mark.parametrize("path", ["missing", "missing/below", "file/below", "fil", "dir/missing"])
    async def test_reading_a_missing_file_is_not_found_and_names_the_address(
        self, store: BaseArtifactStore, path: str
    ) -> None:
        await self.fill(store, ["file", "dir/x"])
        for attempt in (store.open(path, "rb"), store.open(path), store.read_bytes(path), store.read_range(path, 0, 4)):
            with pytest.raises(NotFound) as caught:
                await attempt
            assert isinstance(caught.value, FileNotFoundError)
            assert caught.value.uri == self.uri(store, path)
            assert caught.value.filename == self.uri(store, path)
        with pytest.raises(NotFound):
            async with store.open(path):
                pytest.fail("the body must not run")

    async def test_reading_a_directory_says_so(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/x"])
        for path in ("dir", ""):
            for attempt in (store.open(path, "rb"), store.read_bytes(path), store.read_range(path, 0, 4)):
                with pytest.raises(IsADirectory):
                    await attempt

    # ---- whole and in ranges -------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 10, MIB, len(LARGE)])
    async def test_read_bytes_gives_the_whole_file(self, store: BaseArtifactStore, size: int) -> None:
        await self.raw_write(self.uri(store, "f"), LARGE[:size])
        assert await store.read_bytes("f") == LARGE[:size]

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, None), (0, 10), (0, 1), (3, 7), (9, 10), (4, None), (5, 100), (10, None), (10, 12), (50, 60), (4, 4)],
    )
    async def test_read_range_reads_what_a_slice_would(
        self, store: BaseArtifactStore, start: int, stop: int | None
    ) -> None:
        await self.raw_write(self.uri(store, "f"), TEXT)
        assert await store.read_range("f", start, stop) == TEXT[start:stop]

    @pytest.mark.parametrize(("start", "stop"), [(-1, 4), (4, 2)])
    async def test_an_impossible_range_is_a_value_error(self, store: BaseArtifactStore, start: int, stop: int) -> None:
        await self.raw_write(self.uri(store, "f"), TEXT)
        with pytest.raises(ValueError, match="range"):
            await store.read_range("f", start, stop)

    async def test_a_range_pinned_to_another_etag_fails(self, store: BaseArtifactStore) -> None:
        await store.write_bytes("f", TEXT)
        etag = (await store.stat("f")).etag
        if not self.tells_etags:
            return  # there is nothing to pin
        assert etag is not None
        assert await store.read_range("f", 2, 4, if_match=etag) == b"23"
        await store.write_bytes("f", b"another content")
        with pytest.raises(PreconditionFailed):
            await store.read_range("f", 2, 4, if_match=etag)

    # ---- stat, size, exists, isdir -------------------------------------------------------------------------

    async def test_stat_tells_address_size_and_time(self, store: BaseArtifactStore) -> None:
        before = datetime.now(UTC)
        await store.write_bytes("dir/f", TEXT)
        found = await store.stat("dir/f")
        assert (found.uri, found.size_bytes, found.is_dir) == (self.uri(store, "dir/f"), 10, False)
        assert found.modified is not None
        assert found.modified.utcoffset() == timedelta(0)
        # Services keep whole seconds, and clocks are not one clock.
        assert abs(found.modified - before) < timedelta(minutes=5)

    async def test_an_etag_changes_with_the_content(self, store: BaseArtifactStore) -> None:
        await store.write_bytes("f", b"one")
        first = await store.stat("f")
        assert (await store.stat("f")).etag == first.etag
        await store.write_bytes("f", b"two")
        second = await store.stat("f")
        if self.tells_etags:
            assert first.etag is not None
            assert second.etag != first.etag

    async def test_stat_of_a_directory_tells_that_it_is_one(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/sub/f"])
        for path in ("dir", "dir/", "dir/sub"):
            found = await store.stat(path)
            assert (found.uri, found.size_bytes, found.is_dir) == (self.uri(store, path.rstrip("/")), 0, True)
        found = await store.stat("")
        assert (found.uri, found.is_dir) == (store.path, True)

    @pytest.mark.parametrize("path", ["missing", "missing/below", "file/below", "di", "dir/sub/f/"])
    async def test_stat_of_what_is_missing_is_not_found(self, store: BaseArtifactStore, path: str) -> None:
        await self.fill(store, ["file", "dir/sub/x"])
        with pytest.raises(NotFound) as caught:
            await store.stat(path)
        assert caught.value.uri.rstrip("/") == self.uri(store, path).rstrip("/")

    async def test_size_is_a_files_or_the_sum_below_a_directory(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "dir/a"), b"12345")
        await self.raw_write(self.uri(store, "dir/sub/b"), b"123")
        await self.raw_write(self.uri(store, "dir2/c"), b"1")
        assert await store.size("dir/a") == 5
        assert await store.size("dir") == 8
        assert await store.size("") == 9
        with pytest.raises(NotFound):
            await store.size("missing")

    async def test_exists_is_true_of_files_and_directories(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["file", "dir/sub/f"])
        for path in ("file", "dir", "dir/", "dir/sub", "dir/sub/f", ""):
            assert await store.exists(path), path
        for path in ("missing", "fil", "file2", "di", "dir/su", "dir/sub/f/g", "file/x", "missing/x"):
            assert not await store.exists(path), path

    async def test_isdir_is_true_of_directories_only(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["file", "dir/sub/f"])
        for path in ("", "dir", "dir/", "dir/sub"):
            assert await store.isdir(path), path
        for path in ("file", "dir/sub/f", "missing", "di", "dir/su", "file/x"):
            assert not await store.isdir(path), path

    async def test_etags_are_told_as_declared(self, store: BaseArtifactStore, capabilities: Capabilities) -> None:
        assert capabilities.etags is self.tells_etags
        for size in (0, 5, len(LARGE)):
            await store.write_bytes("f", LARGE[:size])
            listed = (await self.scanned(store))["f"]
            if self.tells_etags:
                assert (await store.stat("f")).etag == listed.etag is not None
            else:
                assert listed.etag is None

    async def test_nothing_is_unknown_after_a_probe(self, store: BaseArtifactStore) -> None:
        found = await store.probe_capabilities()
        assert [name for name in Capabilities.__slots__ if getattr(found, name) is None] == []
        assert store.capabilities == found
