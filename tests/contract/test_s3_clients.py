"""Both S3 clients by the rules of `ObjectClient`, on every server; gaps of servers are declared with their reason."""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from entrepot import copy
from entrepot.errors import NotFound, ServiceError, ServiceUnavailable, UnsupportedOperation
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.connection import make_client
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.http.retry import RetryPolicy
from entrepot.models import ByteRange
from entrepot.objects.client import ObjectClient
from entrepot.testing.clients import ObjectClientContract
from entrepot.testing.faults import FaultProxy
from entrepot.testing.servers import S3Access, Server
from entrepot.testing.strict import StrictS3


class _OnS3(ObjectClientContract):
    KIND: ClassVar[Literal["wire", "sdk"]]
    SERVER: ClassVar[str]

    # One client and one loop a class: making an SDK client costs a second.
    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, request: pytest.FixtureRequest) -> S3Access:
        found: S3Access = request.getfixturevalue(f"{cls.SERVER}_server")
        return found

    @pytest.fixture(scope="class")
    @classmethod
    async def client(cls, server: S3Access, request: pytest.FixtureRequest) -> AsyncIterator[S3Client]:
        cls.secret_texts = (server.secret,)
        client = cls.make(server, request.getfixturevalue(f"{cls.SERVER}_bucket"))
        yield client
        await client.close()

    @pytest.fixture(scope="class")
    @classmethod
    async def client_of_nothing(cls, server: S3Access) -> AsyncIterator[S3Client]:
        client = cls.make(server, "no-such-bucket-here")
        yield client
        await client.close()

    @classmethod
    def make(cls, server: S3Access, bucket: str) -> S3Client:
        config = S3Config(path=f"s3://{bucket}", client=cls.KIND, **server.s3_options)
        # What a server answers with 500 for good must not take the time of six attempts.
        return make_client(config, policy=RetryPolicy(max_attempts=2, base_s=0.01))


class _OnRclone(_OnS3):
    SERVER = "rclone"
    creates_exclusively = False  # conditions are ignored
    writes_conditionally = False

    async def test_parts_can_be_copied_from_ranges_of_an_object(self, client: ObjectClient, prefix: str) -> None:
        """The server takes a part's copy for a part without bytes, and says 200: that must not pass for a copy."""
        await client.put(prefix + "source", b"0123456789")
        upload = await client.create_upload(prefix + "copy")
        for _ in range(2):
            with pytest.raises(UnsupportedOperation):
                await client.copy_part(upload, 1, client, prefix + "source", ByteRange(2, 6))
        await client.abort_upload(upload)

    async def test_the_last_write_of_a_part_wins(self, client: ObjectClient, prefix: str) -> None:
        """Parts stream to the backend as they come: the same bytes again are taken, others are refused."""
        upload = await client.create_upload(prefix + "one")
        part = await client.put_part(upload, 1, b"bytes")
        assert await client.put_part(upload, 1, b"bytes") == part
        with pytest.raises(UnsupportedOperation):
            await client.put_part(upload, 1, b"other")
        await client.complete_upload(upload, [part])
        assert bytes((await client.get(prefix + "one")).data) == b"bytes"


class TestWireOnRclone(_OnRclone):
    KIND = "wire"


class TestSdkOnRclone(_OnRclone):
    KIND = "sdk"


class _OnJuicefs(_OnS3):
    SERVER = "juicefs"
    creates_exclusively = False  # the gateway ignores conditions on PUT
    writes_conditionally = False


class TestWireOnJuicefs(_OnJuicefs):
    KIND = "wire"


@pytest.mark.nightly
class TestSdkOnJuicefs(_OnJuicefs):
    KIND = "sdk"


class _OnPlainJuicefs(_OnJuicefs):
    SERVER = "juicefs_plain"
    tells_multipart_etag = False  # the gateway keeps etags only with --keep-etag
    keeps_metadata = False  # and metadata only with --object-meta
    keeps_content_type = False

    async def test_head_tells_size_time_and_etag(self, client: ObjectClient, prefix: str) -> None:
        """Without --keep-etag there is none, which is told as such."""
        await client.put(prefix + "one", b"0123456789")
        found = await client.head(prefix + "one")
        assert (found.size_bytes, found.etag) == (10, None)
        assert found.modified is not None

    async def test_put_tells_the_etag_that_head_tells(self, client: ObjectClient, prefix: str) -> None:
        """Only the reply to the PUT has one: it proves what was written, and is of no use later."""
        told = await client.put(prefix + "one", b"0123456789")
        assert told.checksums == {"md5": hashlib.md5(b"0123456789").hexdigest()}
        assert (await client.get(prefix + "one")).stat.etag is None

    async def test_get_pinned_to_another_etag_fails_whether_or_not_the_server_looks(
        self, client: ObjectClient, prefix: str
    ) -> None:
        pytest.skip("the gateway without --keep-etag tells no etag that could be compared")


@pytest.mark.nightly
class TestWireOnPlainJuicefs(_OnPlainJuicefs):
    KIND = "wire"


@pytest.mark.nightly
class TestSdkOnPlainJuicefs(_OnPlainJuicefs):
    KIND = "sdk"


class _OnPartMinimum(_OnS3):
    """Servers that hold multipart uploads to the minimum of a part, as AWS does."""

    async def test_a_part_below_the_minimum_is_refused_at_the_end(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        parts = [await client.put_part(upload, number, b"small") for number in (1, 2)]
        with pytest.raises(ServiceError, match="EntityTooSmall"):
            await client.complete_upload(upload, parts)
        await client.abort_upload(upload)


class _OnMoto(_OnPartMinimum):
    SERVER = "moto"

    async def test_a_part_after_the_abort_is_not_found(self, client: ObjectClient, prefix: str) -> None:
        """The server fails with a traceback of its own and answers 500."""
        upload = await client.create_upload(prefix + "one")
        await client.abort_upload(upload)
        with pytest.raises(ServiceUnavailable):
            await client.put_part(upload, 1, b"x")


class TestWireOnMoto(_OnMoto):
    KIND = "wire"


@pytest.mark.nightly
class TestSdkOnMoto(_OnMoto):
    KIND = "sdk"


class _OnStrict(_OnPartMinimum):
    SERVER = "strict"


class TestWireOnStrict(_OnStrict):
    KIND = "wire"


@pytest.mark.nightly
class TestSdkOnStrict(_OnStrict):
    KIND = "sdk"


class TestWireThroughTheFaultProxy(_OnStrict):
    """A proxy without rules is not noticed."""

    KIND = "wire"

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, strict_server: StrictS3) -> Iterator[S3Access]:
        with FaultProxy(strict_server.endpoint_url) as proxy:
            yield strict_server.at(proxy.url)
            assert proxy.count() > 100
            assert not proxy.hits


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["wire", "sdk"])
async def test_no_secret_is_logged_at_debug(
    kind: Literal["wire", "sdk"], moto_server: Server, moto_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    sealed = base64.b64encode(b"canary-canary-canary-canary-cana").decode()
    given = {**moto_server.s3_options, "secret": "canary-secret", "token": "canary-token", "sse_customer_key": sealed}
    caplog.set_level(logging.DEBUG)
    client = make_client(S3Config(path=f"s3://{moto_bucket}", client=kind, **given), policy=RetryPolicy(max_attempts=1))
    await client.put("log/one", b"x")
    await client.get("log/one")
    await client.copy(client, "log/one", "log/two")
    await client.delete_many(["log/one", "log/two"])
    with pytest.raises(NotFound):
        await client.get("log/one")
    await client.close()
    for secret in ("canary-secret", "canary-token", sealed, "canary-canary"):
        assert secret not in caplog.text


@pytest.mark.holds("gzip")
@pytest.mark.anyio
@pytest.mark.parametrize("client", ["wire", "sdk"])
async def test_what_is_stored_as_gzip_is_copied_as_it_is(moto_server: Server, tmp_path: Path, client: str) -> None:
    packed = gzip.compress(b"text" * 10_000)
    raw = moto_server.bucket(moto_server.create_bucket())
    raw.put("src/page", packed, headers={"content-encoding": "gzip"})
    async with S3ArtifactStore(f"s3://{raw.bucket}", client=client, **moto_server.s3_options) as store:
        assert await store.read_bytes("src/page") == packed
        report = await copy((store, "src"), (LocalArtifactStore(tmp_path), "dst"))
    assert report.ok
    assert (tmp_path / "dst" / "page").read_bytes() == packed
