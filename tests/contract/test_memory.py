"""The contract in memory: every rule, every capability, foreign names too."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from contract.memory_hooks import MemoryHooks
from entrepot.flavors.memory import MemoryArtifactStore, MemoryClient
from entrepot.paths import split_uri
from entrepot.testing import ArtifactStoreContract, ObjectClientContract


class TestMemory(MemoryHooks, ArtifactStoreContract):
    cancellation_points = None
    shares_files_between_processes = False
    foreign_names = ("a//b", "x\ty", "..", "./z", "//", "new\nline/below")

    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryArtifactStore]:
        name = secrets.token_hex(8)
        self.raw, self.root = MemoryClient(name), "some/root"
        yield MemoryArtifactStore(f"memory://{name}/some/root")
        await self.raw.delete_many([split_uri(uri)[2] for uri in await self.raw_list()])


class TestMemoryClient(ObjectClientContract):
    @pytest.fixture
    def client(self) -> MemoryClient:
        return MemoryClient(secrets.token_hex(8))
