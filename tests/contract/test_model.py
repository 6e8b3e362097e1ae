"""Random sequences of operations on every flavor, beside a dictionary."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from contract.memory_hooks import MemoryHooks
from entrepot.flavors.azure.store import AzureArtifactStore
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore, MemoryClient
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.testing import AzureHooks, AzuriteServer, FolderHooks, S3Hooks, Server, StoreModelContract


class TestLocalModel(FolderHooks, StoreModelContract):
    model_examples = 40

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], LocalArtifactStore]:
        def make() -> LocalArtifactStore:
            self.folder = tmp_path / secrets.token_hex(8)
            return LocalArtifactStore(self.folder, durability="none")

        return make


class TestMemoryModel(MemoryHooks, StoreModelContract):
    @pytest.fixture
    def make_store(self) -> Callable[[], MemoryArtifactStore]:
        def make() -> MemoryArtifactStore:
            name = secrets.token_hex(8)
            self.raw, self.root = MemoryClient(name), "root"
            return MemoryArtifactStore(f"memory://{name}/root")

        return make


class _OnS3(S3Hooks, StoreModelContract):
    SERVER: ClassVar[str]
    model_examples = 20
    model_steps = 20
    compares_after_every_step = False

    @pytest.fixture
    def make_store(self, request: pytest.FixtureRequest) -> Callable[[], S3ArtifactStore]:
        server: Server = request.getfixturevalue(f"{self.SERVER}_server")
        bucket: str = request.getfixturevalue(f"{self.SERVER}_bucket")

        def make() -> S3ArtifactStore:
            uri = f"s3://{bucket}/m-{secrets.token_hex(6)}"
            self.look_into(server, uri)
            return S3ArtifactStore(uri, max_attempts=2, **server.s3_options)

        return make


class TestModelOnRclone(_OnS3):
    SERVER = "rclone"
    keeps_file_beside_directory = False  # buckets are folders
    markers_stay = False


class TestModelOnJuicefs(_OnS3):
    SERVER = "juicefs"
    keeps_file_beside_directory = False  # a file system lies below
    markers_stay = False


class TestModelOnAzurite(AzureHooks, StoreModelContract):
    model_examples = 20
    model_steps = 20
    compares_after_every_step = False

    @pytest.fixture
    def make_store(self, azurite_server: AzuriteServer, azurite_container: str) -> Callable[[], AzureArtifactStore]:
        def make() -> AzureArtifactStore:
            uri = f"az://{azurite_container}/m-{secrets.token_hex(6)}"
            self.look_into(azurite_server, uri)
            return AzureArtifactStore(uri, **azurite_server.azure_options)

        return make
