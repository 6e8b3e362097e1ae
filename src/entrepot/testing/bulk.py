"""The store contract, the ports of the bulk copy: batches of small files, parts of large ones, native copies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from entrepot.errors import IsADirectory, NotFound, SourceChanged, StoreError, UnsupportedOperation
from entrepot.models import MIB, CopyItem, FileData, FileStat, WriteItem, WriteOptions
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore
    from entrepot.models import Capabilities


class BulkRules(StoreRules):
    """What `entrepot.copy` relies on; the defaults of the base class keep all of it."""

    # ---- batches -------------------------------------------------------------------------------------------

    async def test_a_batch_is_read_in_the_order_asked_for(self, store: BaseArtifactStore) -> None:
        paths = ["b", "a", "dir/c %41é", "empty"]
        await self.fill(store, paths[:-1])
        await self.raw_write(self.uri(store, "empty"), b"")
        files = [(await self.scanned(store))[path] for path in paths]
        results = await store.read_batch(files)
        for path, file, result in zip(paths, files, results, strict=True):
            assert isinstance(result, FileData)
            assert bytes(result.data) == (b"" if path == "empty" else path.encode())
            assert (result.stat.uri, result.stat.size_bytes) == (file.uri, file.size_bytes)

    async def test_a_file_missing_from_a_batch_is_its_own_error_only(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["a", "b"])
        found = await self.scanned(store)
        gone = replace(found["a"], uri=self.uri(store, "gone"))
        first, middle, last = await store.read_batch([found["a"], gone, found["b"]])
        assert isinstance(first, FileData)
        assert isinstance(last, FileData)
        assert isinstance(middle, NotFound)

    async def test_a_file_that_changed_since_the_scan_is_an_error(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["a", "b"])
        found = await self.scanned(store)
        await self.raw_write(self.uri(store, "a"), b"longer than it was")
        changed, same = await store.read_batch([found["a"], found["b"]])
        assert isinstance(changed, SourceChanged)
        assert isinstance(same, FileData)

    async def test_a_batch_is_written_with_its_options(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        items = [
            WriteItem("dir/a", b"1"),
            WriteItem("dir/b %41é", bytearray(b"22"), self.kept_options(capabilities)),
            WriteItem("c", b""),
        ]
        results = await store.write_batch(items)
        for item, result in zip(items, results, strict=True):
            assert isinstance(result, FileStat)
            assert (result.uri, result.size_bytes) == (self.uri(store, item.path), len(item.data))
        assert await self.files_of(store) == {"dir/a": b"1", "dir/b %41é": b"22", "c": b""}
        assert self.says_what_was_kept(await store.stat("dir/b %41é"), self.kept_options(capabilities))

    async def test_a_refused_item_is_its_own_error_only(self, store: BaseArtifactStore) -> None:
        results = await store.write_batch([WriteItem("a", b"1"), WriteItem("../b", b"2"), WriteItem("c", b"3")])
        assert [isinstance(result, StoreError) for result in results] == [False, True, False]
        assert await self.files_of(store) == {"a": b"1", "c": b"3"}

    async def test_an_empty_batch_is_nothing(self, store: BaseArtifactStore) -> None:
        assert await store.read_batch([]) == []
        assert await store.write_batch([]) == []

    # ---- parts ---------------------------------------------------------------------------------------------

    async def test_a_part_is_read_into_the_buffer(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "large"), LARGE)
        file = (await self.scanned(store))["large"]
        for start, size in ((0, MIB), (8 * MIB, 8 * MIB), (len(LARGE) - 5, 5)):
            buffer = bytearray(size)
            await store.read_part(file, start, memoryview(buffer))
            assert buffer == LARGE[start : start + size]

    async def test_a_part_beyond_the_end_or_of_another_file_is_a_changed_source(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "f"), b"0123456789")
        file = (await self.scanned(store))["f"]
        with pytest.raises(SourceChanged):
            await store.read_part(file, 8, memoryview(bytearray(5)))
        await self.raw_write(self.uri(store, "f"), b"another content, and longer")
        with pytest.raises(SourceChanged):
            await store.read_part(file, 0, memoryview(bytearray(5)))

    async def test_parts_can_be_verified_or_nothing_is_claimed(self, store: BaseArtifactStore) -> None:
        await store.write_bytes("large", LARGE)
        file = await store.stat("large")
        size = store.limits.part_size_bytes(file.size_bytes)
        starts = list(range(0, len(LARGE), size))
        checksum = store.part_checksum(file, size)
        if checksum is None:
            return  # nothing is known of the whole here
        numbers = range(1, len(starts) + 1)
        for number in numbers if checksum.in_order else reversed(numbers):
            checksum.update(number, LARGE[starts[number - 1] :][:size])
        assert checksum.verified() in (None, "md5", "part-md5", "crc32c", "crc64nvme")

    @pytest.mark.parametrize("size", [1, 8 * MIB, len(LARGE)])
    async def test_parts_make_one_file(self, store: BaseArtifactStore, capabilities: Capabilities, size: int) -> None:
        data, options = LARGE[:size], self.kept_options(capabilities)
        async with store.open_parts("dir/large", size, options) as sink:
            step = sink.part_size_bytes
            pieces = {1 + start // step: data[start : start + step] for start in range(0, size, step)}
            if sink.in_order:
                for number, piece in pieces.items():
                    await sink.put_part(number, piece)
            else:
                async with anyio.create_task_group() as tasks:
                    for number in reversed(pieces):
                        tasks.start_soon(sink.put_part, number, pieces[number])
            assert await self.raw_list() == []
        told = sink.result()
        assert (told.uri, told.size_bytes) == (self.uri(store, "dir/large"), size)
        assert await self.files_of(store) == {"dir/large": data}
        found = await store.stat("dir/large")
        if self.tells_etags:
            assert told.etag in (None, found.etag)
        assert self.says_what_was_kept(found, options)
        await self.no_litter_stays()

    async def test_an_exception_among_parts_publishes_nothing(self, store: BaseArtifactStore) -> None:
        await self.raw_write(self.uri(store, "large"), b"old")

        class Interrupted(Exception):
            pass

        with pytest.raises(Interrupted):
            async with store.open_parts("large", len(LARGE), WriteOptions()) as sink:
                await sink.put_part(1, LARGE[: sink.part_size_bytes])
                raise Interrupted
        assert await self.files_of(store) == {"large": b"old"}
        await self.no_litter_stays()

    async def test_a_cancellation_among_parts_publishes_nothing(self, store: BaseArtifactStore) -> None:
        with anyio.CancelScope() as scope:
            async with store.open_parts("large", len(LARGE), WriteOptions()) as sink:
                await sink.put_part(1, LARGE[: sink.part_size_bytes])
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert await self.raw_list() == []
        await self.no_litter_stays()

    async def test_missing_parts_publish_nothing(self, store: BaseArtifactStore) -> None:
        with pytest.raises(StoreError):
            async with store.open_parts("large", len(LARGE), WriteOptions()) as sink:
                await sink.put_part(1, LARGE[: sink.part_size_bytes])
        assert await self.raw_list() == []
        await self.no_litter_stays()

    # ---- native copies -------------------------------------------------------------------------------------

    async def test_a_native_copy_is_made_or_declared_unsupported(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["a", "b %41é"])
        await self.raw_write(self.uri(store, "large"), LARGE)
        found = await self.scanned(store)
        items = [CopyItem(file, f"copy/{path}") for path, file in found.items()]
        if not store.copies_natively_from(store):
            with pytest.raises(UnsupportedOperation):
                await store.copy_batch(store, items)
            return
        missing = CopyItem(replace(found["a"], uri=self.uri(store, "gone")), "copy/gone")
        *results, failure = await store.copy_batch(store, [*items, missing])
        for item, result in zip(items, results, strict=True):
            assert isinstance(result, FileStat)
            assert (result.uri, result.size_bytes) == (self.uri(store, item.path), item.source.size_bytes)
        assert isinstance(failure, NotFound)
        files = await self.files_of(store)
        assert {path: files[f"copy/{path}"] for path in found} == {path: files[path] for path in found}
        await self.no_litter_stays()

    async def test_a_directory_is_no_file_to_read_in_a_batch(self, store: BaseArtifactStore) -> None:
        await self.fill(store, ["dir/x"])
        (result,) = await store.read_batch([FileStat(uri=self.uri(store, "dir"), size_bytes=0)])
        assert isinstance(result, IsADirectory | NotFound | SourceChanged)
