"""The store contract on Azure Blob Storage, by our own requests, on Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar

import pytest

from entrepot.flavors.azure.store import AzureArtifactStore
from entrepot.testing.azure_server import AzuriteServer
from entrepot.testing.contract import ArtifactStoreContract
from entrepot.testing.hooks import AzureHooks
from entrepot.testing.resuming import ResumingRules


class _OnAzurite(AzureHooks):
    CLIENT: ClassVar[str] = "wire"

    @pytest.fixture
    async def store(self, azurite_server: AzuriteServer, azurite_uri: str) -> AsyncIterator[AzureArtifactStore]:
        self.look_into(azurite_server, azurite_uri)
        async with AzureArtifactStore(path=azurite_uri, client=self.CLIENT, **azurite_server.azure_options) as store:
            # Pages of Azure's own size would need more blobs than Azurite likes.
            store.client.limits = replace(store.client.limits, list_page=500)
            yield store


class TestAzureOnAzurite(_OnAzurite, ArtifactStoreContract):
    foreign_names = ("a//b", "//")  # with dots at an end, or control characters, a container cannot have any


class TestResumingOnAzuriteBySdk(_OnAzurite, ResumingRules):
    CLIENT = "sdk"
