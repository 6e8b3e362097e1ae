"""The base for file systems keeps the contract where nothing is exclusive and every failure is vague."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from entrepot.paths import split_uri
from entrepot.testing import ArtifactStoreContract, FolderHooks
from folder_store import FolderStore


class TestFolder(FolderHooks, ArtifactStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncGenerator[FolderStore, None]:
        self.folder = tmp_path / "root"
        async with FolderStore(f"folder://this{self.folder}") as store:
            yield store

    async def raw_read(self, uri: str) -> bytes:
        return await super().raw_read(f"/{split_uri(uri)[2]}")

    async def raw_write(self, uri: str, data: bytes) -> None:
        await super().raw_write(f"/{split_uri(uri)[2]}", data)

    async def raw_exists(self, uri: str) -> bool:
        return await super().raw_exists(f"/{split_uri(uri)[2]}")

    async def raw_list(self) -> list[str]:
        return [f"folder://this{path}" for path in await super().raw_list()]
