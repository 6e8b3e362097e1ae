"""The base for file systems keeps the contract where nothing is exclusive and every failure is vague."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from entrepot.paths import split_uri
from entrepot.testing import ArtifactStoreContract, FolderHooks, StoreModelContract
from folder_store import FolderStore


class OnFolder(FolderHooks):
    """Looks into the folder: an address ends with the path on this machine."""

    async def raw_read(self, uri: str) -> bytes:
        return await super().raw_read(f"/{split_uri(uri)[2]}")

    async def raw_write(self, uri: str, data: bytes) -> None:
        await super().raw_write(f"/{split_uri(uri)[2]}", data)

    async def raw_exists(self, uri: str) -> bool:
        return await super().raw_exists(f"/{split_uri(uri)[2]}")

    async def raw_list(self) -> list[str]:
        return [f"folder://this{path}" for path in await super().raw_list()]


class TestFolder(OnFolder, ArtifactStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncGenerator[FolderStore, None]:
        self.folder = tmp_path / "root"
        async with FolderStore(f"folder://this{self.folder}") as store:
            yield store


class TestFolderModel(OnFolder, StoreModelContract):
    model_examples = 40

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], FolderStore]:
        def make() -> FolderStore:
            self.folder = tmp_path / secrets.token_hex(8)
            return FolderStore(f"folder://this{self.folder}")

        return make
