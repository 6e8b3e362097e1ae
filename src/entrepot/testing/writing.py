"""The store contract, writing: modes, sizes, options, and what is told of a write."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from entrepot.errors import (
    AlreadyExists,
    ConfigurationError,
    IsADirectory,
    PreconditionFailed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.models import MIB, Capabilities, WriteOptions
from entrepot.testing.names import UNKEPT_OPTIONS
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore


class WritingRules(StoreRules):
    """Modes, sizes, options and results."""

    async def test_missing_parents_are_made(self, store: BaseArtifactStore) -> None:
        async with store.open("a/b/c", "wb") as file:
            await file.write(b"x")
        await store.write_bytes("d/e/f", b"y")
        assert await self.files_of(store) == {"a/b/c": b"x", "d/e/f": b"y"}

    @pytest.mark.parametrize("mode", ["w", "wb"])
    async def test_writing_nothing_makes_an_empty_file(self, store: BaseArtifactStore, mode: str) -> None:
        async with store.open("empty", mode):
            pass
        await store.write_bytes("empty2", b"")
        assert await self.files_of(store) == {"empty": b"", "empty2": b""}

    @pytest.mark.parametrize("chunk", [7_777, MIB, 5 * MIB + 1, 32 * MIB])
    async def test_a_file_of_several_parts_is_written_in_chunks_of_any_size(
        self, store: BaseArtifactStore, chunk: int
    ) -> None:
        data = LARGE if chunk >= MIB else LARGE[: 9 * MIB]
        async with store.open("large", "wb") as file:
            for start in range(0, len(data), chunk):
                piece = data[start : start + chunk]
                assert await file.write(piece) == len(piece)
            assert file.tell() == len(data)
        assert await self.raw_read(self.uri(store, "large")) == data
        await self.no_litter_stays()

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_every_kind_of_buffer_is_written(self, store: BaseArtifactStore, kind: Callable[..., Any]) -> None:
        async with store.open("f", "wb") as file:
            assert await file.write(kind(b"bytes")) == 5
        told = await store.write_bytes("g", kind(b"bytes"))
        assert told.size_bytes == 5
        assert await self.files_of(store) == {"f": b"bytes", "g": b"bytes"}

    async def test_a_buffer_may_be_reused_after_write(self, store: BaseArtifactStore) -> None:
        buffer = bytearray(b"first ")
        async with store.open("f", "wb") as file:
            await file.write(buffer)
            buffer[:] = b"second"
            await file.write(memoryview(buffer))
            buffer[:] = b"third "
        assert await self.raw_read(self.uri(store, "f")) == b"first second"

    @pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
    async def test_text_is_written_with_the_newline_asked_for(
        self, store: BaseArtifactStore, newline: str | None
    ) -> None:
        text = "one\ntwo é\n"
        async with store.open("t", "w", newline=newline) as file:
            assert await file.write(text) == len(text)
        expected = text if newline in (None, "") else text.replace("\n", newline)
        assert await self.raw_read(self.uri(store, "t")) == expected.encode()

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "latin-1", "utf-8-sig"])
    async def test_text_is_encoded_as_the_builtin_does(self, store: BaseArtifactStore, encoding: str) -> None:
        async with store.open("empty", "w", encoding=encoding):
            pass
        assert await self.raw_read(self.uri(store, "empty")) == b""
        async with store.open("t", "w", encoding=encoding) as file:
            await file.write("caf")
            await file.write("é\n")
        assert await self.raw_read(self.uri(store, "t")) == "café\n".encode(encoding)

    async def test_text_is_for_text_and_bytes_for_bytes(self, store: BaseArtifactStore) -> None:
        wrong: Any = b"bytes"
        with pytest.raises((TypeError, AttributeError)):
            async with store.open("t", "w") as text:
                await text.write(wrong)
        wrong = "text"
        with pytest.raises(TypeError):
            async with store.open("t", "wb") as file:
                await file.write(wrong)
        assert await self.raw_list() == []

    @pytest.mark.parametrize("option", [{"newline": "x"}, {"encoding": "no-such"}, {"errors": "no-such"}])
    async def test_text_options_that_mean_nothing_are_refused_before_any_io(
        self, store: BaseArtifactStore, option: dict[str, Any]
    ) -> None:
        for mode in ("r", "w"):
            with pytest.raises((ValueError, LookupError)):
                await store.open("f", mode, **option)

    # ---- x, a, conditions ----------------------------------------------------------------------------------

    async def test_x_creates_a_new_file_or_is_declared_unsupported(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        if not capabilities.exclusive_create:
            for attempt in (
                lambda: store.open("f", "xb"),
                lambda: store.write_bytes("f", b"x", WriteOptions(if_none_match=True)),
            ):
                with pytest.raises(UnsupportedOperation):
                    await attempt()
            assert await self.raw_list() == []
            return
        async with store.open("dir/f", "x") as file:
            await file.write("mine")
        await store.write_bytes("dir/g", b"mine", WriteOptions(if_none_match=True))
        assert await self.files_of(store) == {"dir/f": b"mine", "dir/g": b"mine"}

    @pytest.mark.parametrize("data", [b"", b"mine", LARGE], ids=["empty", "small", "large"])
    async def test_x_never_replaces(self, store: BaseArtifactStore, capabilities: Capabilities, data: bytes) -> None:
        await self.raw_write(self.uri(store, "f"), b"old")
        refusal: type[StoreError] = AlreadyExists if capabilities.exclusive_create else UnsupportedOperation
        with pytest.raises(refusal):
            async with store.open("f", "xb") as file:
                await file.write(data)
        with pytest.raises(refusal):
            await store.write_bytes("f", data, WriteOptions(if_none_match=True))
        assert await self.files_of(store) == {"f": b"old"}
        await self.no_litter_stays()

    async def test_x_has_one_winner_of_twenty(self, store: BaseArtifactStore, capabilities: Capabilities) -> None:
        if not capabilities.exclusive_create:
            return  # `test_x_creates_a_new_file_or_is_declared_unsupported` says what holds then
        winners: list[bytes] = []

        async def race(number: int) -> None:
            data = b"racer %d" % number
            try:
                async with store.open("prize", "xb") as file:
                    await file.write(data)
            except AlreadyExists:
                return
            winners.append(data)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(race, number)
        assert len(winners) == 1
        assert await self.files_of(store) == {"prize": winners[0]}
        await self.no_litter_stays()

    async def test_a_appends_or_is_declared_unsupported(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await self.raw_write(self.uri(store, "f"), b"old ")
        if not capabilities.append:
            for mode in ("a", "ab"):
                with pytest.raises(UnsupportedOperation):
                    await store.open("f", mode)
            assert await self.files_of(store) == {"f": b"old "}
            return
        async with store.open("f", "a") as file:
            await file.write("new")
        async with store.open("dir/g", "ab") as binary:
            await binary.write(b"made")
        assert await self.files_of(store) == {"f": b"old new", "dir/g": b"made"}

    async def test_a_write_pinned_to_an_etag_is_kept_or_declared_unsupported(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await store.write_bytes("f", b"one")
        first = (await store.stat("f")).etag
        if not capabilities.conditional_write:
            with pytest.raises(UnsupportedOperation):
                await store.write_bytes("f", b"two", WriteOptions(if_match=first or "any"))
            assert await self.files_of(store) == {"f": b"one"}
            return
        assert first is not None
        await store.write_bytes("f", b"two", WriteOptions(if_match=first))
        with pytest.raises(PreconditionFailed):
            await store.write_bytes("f", b"three", WriteOptions(if_match=first))
        with pytest.raises(PreconditionFailed):
            async with store.open("f", "wb", options=WriteOptions(if_match=first)) as file:
                await file.write(b"three")
        assert await self.files_of(store) == {"f": b"two"}

    # ---- options and results -------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [4, len(LARGE)], ids=["small", "large"])
    async def test_metadata_and_content_type_are_kept(
        self, store: BaseArtifactStore, capabilities: Capabilities, size: int
    ) -> None:
        options = self.kept_options(capabilities)
        await store.write_bytes("f", LARGE[:size], options)
        async with store.open("g", "wb", options=options) as file:
            await file.write(LARGE[:size])
        for path in ("f", "g"):
            assert self.says_what_was_kept(await store.stat(path), options)

    @pytest.mark.parametrize(
        ("capability", "options"),
        [
            ("metadata", WriteOptions(metadata={"color": "blue"})),
            ("content_type", WriteOptions(content_type="text/csv")),
        ],
    )
    async def test_options_that_the_store_does_not_keep_are_refused(
        self, store: BaseArtifactStore, capabilities: Capabilities, capability: str, options: WriteOptions
    ) -> None:
        if getattr(capabilities, capability):
            return  # `test_metadata_and_content_type_are_kept` says what holds then
        with pytest.raises(UnsupportedOperation):
            await store.write_bytes("f", b"x", options)
        with pytest.raises(UnsupportedOperation):
            async with store.open("f", "wb", options=options) as file:
                await file.write(b"x")
        assert await self.raw_list() == []

    @pytest.mark.parametrize("options", UNKEPT_OPTIONS, ids=repr)
    async def test_options_that_nothing_can_keep_are_refused_and_nothing_is_written(
        self, store: BaseArtifactStore, options: WriteOptions
    ) -> None:
        refusals = (ConfigurationError, UnsupportedOperation)
        with pytest.raises(refusals):
            await store.write_bytes("f", b"x", options)
        with pytest.raises(refusals):
            async with store.open("f", "wb", options=options) as file:
                await file.write(b"x")
        assert await self.raw_list() == []

    async def test_a_time_given_is_kept_as_the_files_own_or_in_metadata(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await store.write_bytes("f", b"x", WriteOptions(mtime_s=1_600_000_000.5))
        found = await store.stat("f")
        if "mtime" in found.metadata:
            assert float(found.metadata["mtime"]) == 1_600_000_000.5
        elif capabilities.metadata or store.is_local:
            assert found.modified is not None
            assert found.modified.timestamp() == 1_600_000_000.5

    async def test_a_mode_given_is_kept_where_files_have_one(self, store: BaseArtifactStore) -> None:
        await store.write_bytes("f", b"x", WriteOptions(mode=0o640))
        assert (await store.stat("f")).mode in (None, 0o640)

    @pytest.mark.parametrize("size", [0, 5, len(LARGE)])
    async def test_write_bytes_tells_what_stat_tells(self, store: BaseArtifactStore, size: int) -> None:
        told = await store.write_bytes("dir/f", LARGE[:size])
        found = await store.stat("dir/f")
        assert (told.uri, told.size_bytes) == (self.uri(store, "dir/f"), size)
        if self.tells_etags:
            assert found.etag is not None
            assert told.etag in (None, found.etag)

    # ---- where something else is in the way ----------------------------------------------------------------

    async def test_writing_over_a_directory_is_an_error_where_directories_are_real(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await self.fill(store, ["dir/x"])
        if capabilities.directories == "implied" and self.keeps_file_beside_directory:
            await store.write_bytes("dir", b"beside")
            assert await self.files_of(store) == {"dir": b"beside", "dir/x": b"dir/x"}
            return
        kind = IsADirectoryError if capabilities.directories == "real" else StoreError
        with pytest.raises(kind):
            await store.write_bytes("dir", b"beside")
        with pytest.raises(kind):
            async with store.open("dir", "wb") as file:
                await file.write(b"beside")
        await self.nothing_was_lost(store, {"dir/x"})

    async def test_writing_below_a_file_is_an_error_where_directories_are_real(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await self.fill(store, ["file"])
        if capabilities.directories == "implied" and self.keeps_file_beside_directory:
            await store.write_bytes("file/x", b"below")
            assert await self.files_of(store) == {"file": b"file", "file/x": b"below"}
            return
        real = capabilities.directories == "real"
        with pytest.raises((FileExistsError, NotADirectoryError) if real else StoreError):
            await store.write_bytes("file/x", b"below")
        await self.nothing_was_lost(store, {"file"})

    async def test_the_root_cannot_be_written(self, store: BaseArtifactStore) -> None:
        with pytest.raises(IsADirectory):
            await store.write_bytes("", b"x")
        with pytest.raises(IsADirectory):
            await store.open(store.path, "wb")
        assert await self.raw_list() == []

    async def test_a_zip_archive_can_be_written_through_a_buffer(self, store: BaseArtifactStore) -> None:
        import zipfile

        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("inner", b"content")
        await store.write_bytes("archive.zip", packed.getbuffer())
        with zipfile.ZipFile(io.BytesIO(await store.read_bytes("archive.zip"))) as archive:
            assert archive.read("inner") == b"content"
