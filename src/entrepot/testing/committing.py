"""The store contract, the commit rule: what ends a write, and what that leaves behind."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from entrepot.errors import Conflict
from entrepot.models import MIB
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore


class Interrupted(Exception):
    """What ends a write in these tests."""


SIZES = pytest.mark.parametrize("data", [b"new content", LARGE], ids=["small", "large"])


class CommitRules(StoreRules):
    """A write becomes visible in one step, by `close()` or a clean exit, and by nothing else."""

    @pytest.fixture(params=["over nothing", "over an old file"])
    async def before(self, request: pytest.FixtureRequest, store: BaseArtifactStore) -> dict[str, bytes]:
        """What is there before the write, and must be there after a failed one."""
        if request.param == "over nothing":
            return {}
        await self.raw_write(self.uri(store, "dir/f"), b"old content")
        return {"dir/f": b"old content"}

    async def unchanged(self, store: BaseArtifactStore, before: dict[str, bytes]) -> None:
        assert await self.files_of(store) == before
        await self.no_litter_stays()

    @SIZES
    async def test_nothing_is_visible_until_a_clean_exit(
        self, store: BaseArtifactStore, before: dict[str, bytes], data: bytes
    ) -> None:
        async with store.open("dir/f", "wb") as file:
            await file.write(data)
            assert await self.files_of(store) == before
        assert await self.files_of(store) == {"dir/f": data}
        await self.no_litter_stays()

    async def test_nothing_is_visible_until_close(self, store: BaseArtifactStore, before: dict[str, bytes]) -> None:
        file = await store.open("dir/f", "w")
        await file.write("text é")
        assert await self.files_of(store) == before
        await file.close()
        assert await self.files_of(store) == {"dir/f": "text é".encode()}

    @SIZES
    async def test_an_exception_commits_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes], data: bytes
    ) -> None:
        with pytest.raises(Interrupted):
            async with store.open("dir/f", "wb") as file:
                await file.write(data)
                raise Interrupted
        assert file.closed
        await self.unchanged(store, before)

    async def test_an_exception_in_text_mode_commits_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes]
    ) -> None:
        with pytest.raises(Interrupted):
            async with store.open("dir/f", "w", encoding="utf-16") as file:
                await file.write("new")
                raise Interrupted
        await self.unchanged(store, before)

    async def test_text_that_cannot_be_encoded_commits_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes]
    ) -> None:
        with pytest.raises(UnicodeEncodeError):
            async with store.open("dir/f", "w", encoding="ascii") as file:
                await file.write("plain")
                await file.write("é")
        await self.unchanged(store, before)

    @SIZES
    async def test_a_cancellation_commits_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes], data: bytes
    ) -> None:
        with anyio.CancelScope() as scope:
            async with store.open("dir/f", "wb") as file:
                await file.write(data)
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        await self.unchanged(store, before)

    @pytest.mark.parametrize("turns", [1, 2, 5, 20])
    async def test_a_write_cancelled_under_way_commits_all_or_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes], turns: int
    ) -> None:
        async def write() -> None:
            await store.write_bytes("dir/f", LARGE)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert await self.files_of(store) in (before, {"dir/f": LARGE})
        await self.no_litter_stays()

    @SIZES
    async def test_an_aborted_writer_commits_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes], data: bytes
    ) -> None:
        file = await store.open("dir/f", "wb")
        await file.write(data)
        await file.abort()
        await file.abort()
        await file.close()
        assert file.closed
        await self.unchanged(store, before)

    @SIZES
    async def test_a_dropped_writer_commits_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes], data: bytes
    ) -> None:
        file = await store.open("dir/f", "wb")
        await file.write(data)
        del file
        gc.collect()
        await store.exists("dir/f")
        await self.unchanged(store, before)

    async def test_a_dropped_text_writer_commits_nothing(
        self, store: BaseArtifactStore, before: dict[str, bytes]
    ) -> None:
        file = await store.open("dir/f", "w")
        await file.write("text")
        del file
        gc.collect()
        await store.exists("dir/f")
        await self.unchanged(store, before)

    async def test_an_opening_never_used_does_nothing(self, store: BaseArtifactStore, before: dict[str, bytes]) -> None:
        opening = store.open("dir/f", "wb")
        del opening
        gc.collect()
        await self.unchanged(store, before)

    async def test_closing_twice_commits_once(self, store: BaseArtifactStore) -> None:
        file = await store.open("f", "wb")
        await file.write(b"mine")
        await file.close()
        await self.raw_write(self.uri(store, "f"), b"someone else's")
        await file.close()
        await file.abort()
        assert await self.files_of(store) == {"f": b"someone else's"}

    async def test_a_closed_or_aborted_writer_takes_no_more(self, store: BaseArtifactStore) -> None:
        file = await store.open("f", "wb")
        await file.close()
        with pytest.raises(ValueError, match="closed"):
            await file.write(b"more")
        file = await store.open("g", "wb")
        await file.abort()
        with pytest.raises(ValueError, match="closed"):
            await file.write(b"more")
        assert await self.files_of(store) == {"f": b""}

    async def test_two_writers_never_mix(self, store: BaseArtifactStore) -> None:
        contents = [b"1" * (12 * MIB), b"2" * (11 * MIB), b"3" * 100, b"4" * 50]
        written: list[bytes] = []

        async def write(data: bytes) -> None:
            try:
                async with store.open("f", "wb") as file:
                    for start in range(0, len(data), MIB):
                        await file.write(data[start : start + MIB])
            except Conflict:
                if self.uploads_side_by_side or len(data) < MIB:
                    raise
            else:
                written.append(data)

        async with anyio.create_task_group() as tasks:
            for data in contents:
                tasks.start_soon(write, data)
        assert await self.raw_read(self.uri(store, "f")) in written
        assert await self.raw_list() == [self.uri(store, "f")]
        await self.no_litter_stays()
