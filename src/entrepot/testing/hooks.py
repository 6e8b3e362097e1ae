"""Ready-made raw hooks for stores over S3, Cloud Storage, Azure Blob Storage, and a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import anyio.to_thread

from entrepot.paths import TEMPORARY_PREFIX, split_uri
from entrepot.testing.rules import StoreRules

if TYPE_CHECKING:
    import pytest

    from entrepot.testing.azure_server import AzuriteServer
    from entrepot.testing.gcs import GcsServer
    from entrepot.testing.raw_azure import RawAzure
    from entrepot.testing.raw_gcs import RawGcs
    from entrepot.testing.raw_s3 import RawS3
    from entrepot.testing.servers import Server


class S3Hooks(StoreRules):
    """Looks into a bucket with the plainest client. The `store` fixture calls `look_into` first."""

    server: Server
    raw: RawS3
    root: str

    def look_into(self, server: Server, uri: str) -> None:
        """Remember where the store under test keeps its objects. uri: its root."""
        _, bucket, self.root = split_uri(uri)
        self.server, self.raw = server, server.bucket(bucket)
        self.secret_texts = [server.secret]

    async def raw_read(self, uri: str) -> bytes:
        return await anyio.to_thread.run_sync(self.raw.get, split_uri(uri)[2])

    async def raw_write(self, uri: str, data: bytes) -> None:
        await anyio.to_thread.run_sync(self.raw.put, split_uri(uri)[2], data)

    async def raw_exists(self, uri: str) -> bool:
        return await anyio.to_thread.run_sync(self.raw.exists, split_uri(uri)[2])

    async def raw_list(self) -> list[str]:
        keys = await anyio.to_thread.run_sync(self.raw.keys, self.root + "/" if self.root else "")
        return [f"s3://{self.raw.bucket}/{key}" for key in keys if not key.endswith("/")]

    async def raw_uploads(self) -> list[str]:
        found = await anyio.to_thread.run_sync(self.raw.uploads, self.root + "/" if self.root else "")
        return [f"s3://{self.raw.bucket}/{key} {upload}" for key, upload in found]

    def give_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.server.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.server.secret)


class AzureHooks(StoreRules):
    """Looks into a container with the plainest client. The `store` fixture calls `look_into` first."""

    # Blocks that were never committed go by themselves after a week, or when the blob is written; there is no request
    # to drop them (Azure Storage REST API Reference, "Put Block", Remarks). Nothing of them is seen.
    drops_aborted_parts = False
    # Any write of a blob drops its blocks that are not committed (as above, "Put Block List", Remarks).
    uploads_side_by_side = False
    presigned_put_headers: ClassVar[Mapping[str, str]] = {"x-ms-blob-type": "BlockBlob"}
    # The service takes `\\` for `/` and drops a dot at the end, silently, so that the flavor refuses both.
    unkept_names = frozenset({"back\\slash", "trailing.", "..."})

    server: AzuriteServer
    raw: RawAzure
    root: str

    def look_into(self, server: AzuriteServer, uri: str) -> None:
        """Remember where the store under test keeps its blobs. uri: its root, `az://container/prefix`."""
        _, container, self.root = split_uri(uri)
        self.server, self.raw = server, server.container(container)
        self.secret_texts = [server.account_key]

    async def raw_read(self, uri: str) -> bytes:
        return await anyio.to_thread.run_sync(self.raw.get, split_uri(uri)[2])

    async def raw_write(self, uri: str, data: bytes) -> None:
        await anyio.to_thread.run_sync(self.raw.put, split_uri(uri)[2], data)

    async def raw_exists(self, uri: str) -> bool:
        return await anyio.to_thread.run_sync(self.raw.exists, split_uri(uri)[2])

    async def raw_list(self) -> list[str]:
        keys = await anyio.to_thread.run_sync(self.raw.keys, self.root + "/" if self.root else "")
        return [f"az://{self.raw.container}/{key}" for key in keys if not key.endswith("/")]

    async def raw_uploads(self) -> list[str]:
        names = await anyio.to_thread.run_sync(self.raw.uncommitted, self.root + "/" if self.root else "")
        return [f"az://{self.raw.container}/{name}" for name in names]

    def give_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", self.server.account_name)
        monkeypatch.setenv("AZURE_STORAGE_KEY", self.server.account_key)


class GcsHooks(StoreRules):
    """Looks into a bucket with the plainest client. The `store` fixture calls `look_into` first."""

    raw_gcs: RawGcs
    root: str

    def look_into(self, server: GcsServer, uri: str) -> None:
        """Remember where the store under test keeps its objects. uri: its root."""
        _, bucket, self.root = split_uri(uri)
        self.raw_gcs = server.bucket(bucket)

    async def raw_read(self, uri: str) -> bytes:
        return await anyio.to_thread.run_sync(self.raw_gcs.get, split_uri(uri)[2])

    async def raw_write(self, uri: str, data: bytes) -> None:
        await anyio.to_thread.run_sync(self.raw_gcs.put, split_uri(uri)[2], data)

    async def raw_exists(self, uri: str) -> bool:
        return await anyio.to_thread.run_sync(self.raw_gcs.exists, split_uri(uri)[2])

    async def _keys(self) -> list[str]:
        keys = await anyio.to_thread.run_sync(self.raw_gcs.keys, self.root + "/" if self.root else "")
        return [f"gs://{self.raw_gcs.bucket}/{key}" for key in keys]

    async def raw_list(self) -> list[str]:
        return [uri for uri in await self._keys() if not uri.endswith("/") and TEMPORARY_PREFIX not in uri]

    async def raw_uploads(self) -> list[str]:
        """The parts of compositions; the service tells of no resumable session."""
        return [uri for uri in await self._keys() if TEMPORARY_PREFIX in uri]


class FolderHooks(StoreRules):
    """Looks into a folder with the builtin `open`. The `store` fixture sets `folder` first."""

    folder: Path

    async def raw_read(self, uri: str) -> bytes:
        return await anyio.to_thread.run_sync(Path(uri).read_bytes)

    async def raw_write(self, uri: str, data: bytes) -> None:
        await anyio.to_thread.run_sync(_write, Path(uri), data)

    async def raw_exists(self, uri: str) -> bool:
        return await anyio.to_thread.run_sync(Path(uri).is_file)

    async def raw_list(self) -> list[str]:
        return [path for path in await self._files() if TEMPORARY_PREFIX not in path]

    async def raw_temporaries(self) -> list[str]:
        return [path for path in await self._files() if TEMPORARY_PREFIX in path]

    async def _files(self) -> list[str]:
        return await anyio.to_thread.run_sync(partial(_files_below, self.folder))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _files_below(folder: Path) -> list[str]:
    found = [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]
    return sorted(found, key=os.fsencode)
