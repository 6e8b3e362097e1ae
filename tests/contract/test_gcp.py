"""The store contract on Google Cloud Storage, by our own requests, on its emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.testing.contract import ArtifactStoreContract
from entrepot.testing.gcs import GcsServer
from entrepot.testing.hooks import GcsHooks


class TestGcpOnFakeGcs(GcsHooks, ArtifactStoreContract):
    foreign_names = ("a//b", "..", "./z", "//")

    @pytest.fixture
    async def store(self, gcs_server: GcsServer, gcs_uri: str) -> AsyncIterator[GcpArtifactStore]:
        self.look_into(gcs_server, gcs_uri)
        async with GcpArtifactStore(path=gcs_uri, max_attempts=2, **gcs_server.options) as store:
            yield store
