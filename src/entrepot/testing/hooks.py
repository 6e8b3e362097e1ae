"""Ready-made raw hooks for stores over S3, Cloud Storage, Azure Blob Storage, and a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import anyio.to_thread

from entrepot.models import MIB
from entrepot.paths import TEMPORARY_PREFIX, split_uri
from entrepot.testing.rules import StoreRules

if TYPE_CHECKING:
    import pytest

    from entrepot.testing.azure_server import AzuriteServer
    from entrepot.testing.gcs import GcsServer
    from entrepot.testing.raw_azure import RawAzure
    from entrepot.testing.raw_gcs import RawGcs
    from entrepot.testing.raw_s3 import RawS3
    from entrepot.testing.servers import S3Access


class RawContainer(Protocol):
    """The plainest client of one bucket or container; every method blocks."""

    def get(self, key: str, /) -> bytes: ...
    def put(self, key: str, data: bytes, /) -> object: ...
    def exists(self, key: str, /) -> bool: ...
    def keys(self, prefix: str, /) -> list[str]: ...


class ServiceHooks(StoreRules):
    """Looks into a container with the plainest client. A subclass calls `watch` before the store is used."""

    raw: Any
    """A `RawContainer`, and what a subclass knows of it beside."""
    container_uri: str
    prefix: str

    def watch(self, raw: RawContainer, uri: str) -> None:
        """Remember where the store under test keeps its objects. uri: its root."""
        scheme, container, root = split_uri(uri)
        self.raw, self.container_uri = raw, f"{scheme}://{container}/"
        self.prefix = f"{root}/" if root else ""

    async def raw_read(self, uri: str) -> bytes:
        data: bytes = await anyio.to_thread.run_sync(self.raw.get, split_uri(uri)[2])
        return data

    async def raw_write(self, uri: str, data: bytes) -> None:
        await anyio.to_thread.run_sync(self.raw.put, split_uri(uri)[2], data)

    async def raw_exists(self, uri: str) -> bool:
        there: bool = await anyio.to_thread.run_sync(self.raw.exists, split_uri(uri)[2])
        return there

    async def raw_keys(self) -> list[str]:
        """The addresses of all that is below the root, markers and temporaries too."""
        keys: list[str] = await anyio.to_thread.run_sync(self.raw.keys, self.prefix)
        return [self.container_uri + key for key in keys]

    async def raw_list(self) -> list[str]:
        return [uri for uri in await self.raw_keys() if not uri.endswith("/") and TEMPORARY_PREFIX not in uri]


class S3Hooks(ServiceHooks):
    """Looks into a bucket of an S3 server. The `store` fixture calls `look_into` first."""

    server: S3Access
    raw: RawS3

    def look_into(self, server: S3Access, uri: str) -> None:
        """Remember where the store under test keeps its objects. uri: its root."""
        self.watch(server.bucket(split_uri(uri)[1]), uri)
        self.server, self.secret_texts = server, [server.secret]

    async def raw_uploads(self) -> list[str]:
        found = await anyio.to_thread.run_sync(self.raw.uploads, self.prefix)
        return [f"{self.container_uri}{key} {upload}" for key, upload in found]

    def give_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.server.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.server.secret)


class AzureHooks(ServiceHooks):
    """Looks into a container of Azurite. The `store` fixture calls `look_into` first."""

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

    def look_into(self, server: AzuriteServer, uri: str) -> None:
        """Remember where the store under test keeps its blobs. uri: its root, `az://container/prefix`."""
        self.watch(server.container(split_uri(uri)[1]), uri)
        self.server, self.secret_texts = server, [server.account_key]

    async def raw_uploads(self) -> list[str]:
        names = await anyio.to_thread.run_sync(self.raw.uncommitted, self.prefix)
        return [self.container_uri + name for name in names]

    def give_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", self.server.account_name)
        monkeypatch.setenv("AZURE_STORAGE_KEY", self.server.account_key)


class GcsHooks(ServiceHooks):
    """Looks into a bucket of the emulator. The `store` fixture calls `look_into` first."""

    # Smaller ones go up by a session, whose address is a secret (Cloud Storage, "Resumable uploads", session URIs).
    continued_from_bytes = 64 * MIB + 5

    raw: RawGcs

    def look_into(self, server: GcsServer, uri: str) -> None:
        """Remember where the store under test keeps its objects. uri: its root."""
        self.watch(server.bucket(split_uri(uri)[1]), uri)

    async def raw_uploads(self) -> list[str]:
        """The parts of compositions; the service tells of no resumable session."""
        return [uri for uri in await self.raw_keys() if TEMPORARY_PREFIX in uri]


class FolderHooks(StoreRules):
    """Looks into a folder with the builtin `open`. The `store` fixture sets `folder` first."""

    proves_completions = False  # a file tells nothing of how it came to be

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
