"""The contract of files, kept by the blocking face too."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.memory_hooks import MemoryHooks
from entrepot.blocking import SyncArtifactStore
from entrepot.flavors.azure.store import AzureArtifactStore
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore, MemoryClient
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.testing import (
    AzureHooks,
    AzuriteServer,
    BlockingStoreContract,
    FolderHooks,
    GcsHooks,
    GcsServer,
    S3Hooks,
    Server,
)


class TestBlockingLocal(FolderHooks, BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self, tmp_path: Path) -> SyncArtifactStore:
        self.folder = tmp_path / "root"
        return SyncArtifactStore(LocalArtifactStore(self.folder))


class TestBlockingMemory(MemoryHooks, BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self) -> Iterator[SyncArtifactStore]:
        name = secrets.token_hex(8)
        self.raw, self.root = MemoryClient(name), "root"
        with SyncArtifactStore(MemoryArtifactStore(f"memory://{name}/root")) as store:
            yield store


class TestBlockingS3OnRclone(S3Hooks, BlockingStoreContract):
    keeps_file_beside_directory = False  # buckets are folders: the second of `a` and `a/b` is answered with 500
    survives_a_conflict = False  # and the listing loses the directory

    @pytest.fixture
    def blocking_store(self, rclone_server: Server, rclone_uri: str) -> Iterator[SyncArtifactStore]:
        self.look_into(rclone_server, rclone_uri)
        options = {**rclone_server.s3_options, "max_attempts": 2}
        with SyncArtifactStore(S3ArtifactStore(rclone_uri, **options)) as store:
            yield store


class TestBlockingAzure(AzureHooks, BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self, azurite_server: AzuriteServer, azurite_uri: str) -> Iterator[SyncArtifactStore]:
        self.look_into(azurite_server, azurite_uri)
        with SyncArtifactStore(AzureArtifactStore(azurite_uri, **azurite_server.azure_options)) as store:
            yield store


class TestBlockingGcp(GcsHooks, BlockingStoreContract):
    checks_presigned = False  # the emulator does not look at signatures

    @pytest.fixture
    def blocking_store(
        self, gcs_server: GcsServer, gcs_uri: str, gcs_options: dict[str, Any]
    ) -> Iterator[SyncArtifactStore]:
        self.look_into(gcs_server, gcs_uri)
        with SyncArtifactStore(GcpArtifactStore(gcs_uri, **gcs_options)) as store:
            yield store
