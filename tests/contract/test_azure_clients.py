"""Both Azure clients by the rules of `ObjectClient`, on Azurite; its gaps are declared with their reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar, Literal

import pytest

from entrepot.flavors.azure.client import AzureClient
from entrepot.flavors.azure.config import AzureConfig
from entrepot.flavors.azure.connection import make_client
from entrepot.http.retry import RetryPolicy
from entrepot.testing.azure_server import AzuriteServer
from entrepot.testing.clients import ObjectClientContract
from entrepot.testing.hooks import AzureHooks


class _OnAzurite(ObjectClientContract):
    KIND: ClassVar[Literal["wire", "sdk"]]

    copies_parts = False  # Azurite answers 501 to Put Block From URL (its README, "Features Scope")
    unkept_names = AzureHooks.unkept_names

    # One client and one loop a class: making an SDK client costs a second.
    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture(scope="class")
    @classmethod
    async def client(cls, azurite_server: AzuriteServer, azurite_container: str) -> AsyncIterator[AzureClient]:
        cls.secret_texts = (azurite_server.account_key,)
        client = cls.make(azurite_server, azurite_container)
        yield client
        await client.close()

    @pytest.fixture(scope="class")
    @classmethod
    async def client_of_nothing(cls, azurite_server: AzuriteServer) -> AsyncIterator[AzureClient]:
        client = cls.make(azurite_server, "no-such-container-here")
        yield client
        await client.close()

    @classmethod
    def make(cls, server: AzuriteServer, container: str) -> AzureClient:
        config = AzureConfig(path=f"az://{container}", client=cls.KIND, **server.azure_options)
        return make_client(config, policy=RetryPolicy(max_attempts=2, base_s=0.01))


class TestWireOnAzurite(_OnAzurite):
    KIND = "wire"


class TestSdkOnAzurite(_OnAzurite):
    KIND = "sdk"
