"""Both Cloud Storage clients by the rules of `ObjectClient`, on the emulator; gaps are declared with their reason."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import ClassVar, Literal

import pytest

from entrepot.errors import ConfigurationError, NotFound, StoreError, Unreachable
from entrepot.flavors.gcp.client import GcpClient
from entrepot.flavors.gcp.config import GcpConfig
from entrepot.flavors.gcp.connection import make_client
from entrepot.http.retry import RetryPolicy
from entrepot.models import WriteOptions
from entrepot.testing.clients import ObjectClientContract
from entrepot.testing.gcs import GcsServer
from gcs_fake import TOKEN, StrictGcs, client_of
from google_signin import SignIn


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


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["wire", "sdk"])
async def test_no_secret_is_logged_at_debug_or_shown_by_an_error(
    kind: Literal["wire", "sdk"], gcs_server: GcsServer, gcs_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given = {**gcs_server.options, "anonymous": False, "access_token": "canary-token"}
    client = make_client(GcpConfig(path=f"gs://{gcs_bucket}", client=kind, **given), policy=RetryPolicy(max_attempts=1))
    await client.put("log/one", b"x")
    await client.get("log/one")
    await client.copy(client, "log/one", "log/two")
    await client.delete_many(["log/one", "log/two"])
    with pytest.raises(NotFound) as caught:
        await client.head("log/one")
    await client.close()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)
    assert "canary-token" not in caplog.text + shown


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["wire", "sdk"])
@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_is_not_followed(kind: Literal["wire", "sdk"], status: int, google_sign_in: SignIn) -> None:
    given = {"endpoint_url": google_sign_in.url, "access_token": "t", "client": kind}
    client = make_client(GcpConfig(path="gs://bucket", **given), policy=RetryPolicy(max_attempts=1))
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.head("k"),
        lambda: client.get("k"),
        lambda: client.list_page(""),
        lambda: client.delete("k"),
        lambda: client.copy(client, "s", "k"),
    ]
    for call in calls:
        google_sign_in.replies[:] = [(status, {})]
        asked = len(google_sign_in.asked)
        with pytest.raises(ConfigurationError, match="redirects elsewhere"):
            await call()
        assert len(google_sign_in.asked) == asked + 1
    await client.close()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["wire", "sdk"])
async def test_an_endpoint_where_nothing_listens_says_so(kind: Literal["wire", "sdk"]) -> None:
    given = {"endpoint_url": "http://127.0.0.1:1", "anonymous": True, "client": kind}
    client = make_client(GcpConfig(path="gs://bucket", **given), policy=RetryPolicy(max_attempts=1))
    for call in (client.head("k"), client.get("k"), client.put("k", b"")):
        with pytest.raises(Unreachable, match="endpoint_url"):
            await call
    await client.close()


@pytest.mark.anyio
async def test_the_sdk_sends_what_a_configuration_adds(google_sign_in: SignIn) -> None:
    given = {
        "endpoint_url": google_sign_in.url,
        "access_token": "t",
        "user_project": "payer",
        "storage_class": "NEARLINE",
        "predefined_acl": "private",
        "client": "sdk",
    }
    client = make_client(GcpConfig(path="gs://bucket", **given), policy=RetryPolicy(max_attempts=1))
    row = {"name": "k", "size": "1", "generation": "7", "crc32c": "mxB2Yg=="}
    for call in (
        client.put("k", b"x", WriteOptions("text/csv", {"a": "1"}, if_match="6")),
        client.head("k"),
        client.delete("k"),
        client.list_page(""),
    ):
        google_sign_in.replies[:] = [(200, row)]
        with suppress(StoreError):
            await call
        path, form = google_sign_in.asked[-1]
        assert "userProject=payer" in path
        if "uploadType" in path:
            assert "ifGenerationMatch=6" in path
            assert "predefinedAcl=private" in path
            sent = json.loads(form["body"].split("\r\n\r\n")[1].split("\r\n")[0])
            assert sent == {"contentType": "text/csv", "crc32c": sent["crc32c"], "metadata": sent["metadata"],
                            "storageClass": "NEARLINE", "name": "k"}  # fmt: skip
            assert sent["metadata"]["a"] == "1"
    await client.close()
