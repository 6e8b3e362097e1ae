"""The contract of files, kept by the blocking face too."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.blocking import SyncArtifactStore
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore, MemoryClient
from entrepot.paths import split_uri
from entrepot.testing import BlockingStoreContract, FolderHooks


class TestBlockingLocal(FolderHooks, BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self, tmp_path: Path) -> SyncArtifactStore:
        self.folder = tmp_path / "root"
        return SyncArtifactStore(LocalArtifactStore(self.folder))


class TestBlockingMemory(BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self) -> Iterator[SyncArtifactStore]:
        name = secrets.token_hex(8)
        self.raw = MemoryClient(name)
        with SyncArtifactStore(MemoryArtifactStore(f"memory://{name}/root")) as store:
            yield store

    async def raw_read(self, uri: str) -> bytes:
        return bytes((await self.raw.get(split_uri(uri)[2])).data)

    async def raw_write(self, uri: str, data: bytes) -> None:
        await self.raw.put(split_uri(uri)[2], data)

    async def raw_exists(self, uri: str) -> bool:
        return uri in await self.raw_list()

    async def raw_list(self) -> list[str]:
        found: list[str] = []
        token: str | None = ""
        while token is not None:
            page = await self.raw.list_page("root/", token=token)
            found += [self.raw.uri(one.key) for one in page.objects if not one.key.endswith("/")]
            token = page.next_token
        return found

    async def raw_uploads(self) -> list[str]:
        return [one.key for one in await self.raw.list_uploads()]
