"""The contract in memory: every rule, every capability, foreign names too."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from entrepot.flavors.memory import MemoryArtifactStore, MemoryClient
from entrepot.paths import split_uri
from entrepot.testing import ArtifactStoreContract, ObjectClientContract


class TestMemory(ArtifactStoreContract):
    foreign_names = ("a//b", "x\ty", "..", "./z", "//", "new\nline/below")

    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryArtifactStore]:
        name = secrets.token_hex(8)
        self.raw = MemoryClient(name)
        yield MemoryArtifactStore(f"memory://{name}/some/root")
        await self.raw.delete_many([split_uri(uri)[2] for uri in await self.raw_list()])

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
            page = await self.raw.list_page("some/root/", token=token)
            found += [self.raw.uri(one.key) for one in page.objects if not one.key.endswith("/")]
            token = page.next_token
        return found

    async def raw_uploads(self) -> list[str]:
        return [one.key for one in await self.raw.list_uploads()]


class TestMemoryClient(ObjectClientContract):
    @pytest.fixture
    def client(self) -> MemoryClient:
        return MemoryClient(secrets.token_hex(8))
