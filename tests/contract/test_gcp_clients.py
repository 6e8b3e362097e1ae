"""Both Cloud Storage clients by the rules of `ObjectClient`, on the emulator; gaps are declared with their reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar, Literal

import pytest

from entrepot.flavors.gcp.client import GcpClient
from entrepot.flavors.gcp.config import GcpConfig
from entrepot.flavors.gcp.connection import make_client
from entrepot.http.retry import RetryPolicy
from entrepot.testing.clients import ObjectClientContract
from entrepot.testing.gcs import GcsServer
from gcs_fake import TOKEN, StrictGcs, client_of


class _OnFakeGcs(ObjectClientContract):
    KIND: ClassVar[Literal["wire", "sdk"]]

    replaces_parts = False  # a resumable session takes its bytes in order, once
    writes_parts_in_order = True
    copies_parts = False  # the service copies whole objects, of any size
    repeats_prefixes = True  # the emulator names all prefixes on every page

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture(scope="class")
    @classmethod
    async def client(cls, gcs_server: GcsServer, gcs_bucket: str) -> AsyncIterator[GcpClient]:
        client = cls.make(gcs_server, gcs_bucket)
        yield client
        await client.close()

    @pytest.fixture(scope="class")
    @classmethod
    async def client_of_nothing(cls, gcs_server: GcsServer) -> AsyncIterator[GcpClient]:
        client = cls.make(gcs_server, "no-such-bucket-here")
        yield client
        await client.close()

    @classmethod
    def make(cls, server: GcsServer, bucket: str) -> GcpClient:
        config = GcpConfig(path=f"gs://{bucket}", client=cls.KIND, **server.options)
        return make_client(config, policy=RetryPolicy(max_attempts=2, base_s=0.01))


class TestWireOnFakeGcs(_OnFakeGcs):
    KIND = "wire"


class TestSdkOnFakeGcs(_OnFakeGcs):
    KIND = "sdk"


class TestWireOnAStrictService(ObjectClientContract):
    """What the emulator does not enforce: conditions on every request, checksums, tokens, and nothing but what
    was asked for.
    """

    replaces_parts = False  # as above
    writes_parts_in_order = True
    copies_parts = False
    secret_texts = (TOKEN,)

    @pytest.fixture
    def client(self) -> GcpClient:
        return client_of(StrictGcs())

    @pytest.fixture
    def client_of_nothing(self) -> GcpClient:
        return client_of(StrictGcs(), path="gs://no-such-bucket")
