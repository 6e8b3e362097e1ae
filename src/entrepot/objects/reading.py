"""The half of the store that changes nothing: its client, what is at a path, listing, reading."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn, get_args

from entrepot.contract import BaseArtifactStore
from entrepot.errors import (
    ContainerNotFound,
    InvalidPath,
    IsADirectory,
    NotFound,
    PreconditionFailed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.models import (
    ByteRange,
    Capabilities,
    FileStat,
    Limits,
    ObjectStat,
    PresignMethod,
)
from entrepot.objects.client import ObjectClient
from entrepot.objects.listing import Listing, file_stat
from entrepot.objects.probes import Probes
from entrepot.objects.streams import ObjectReader
from entrepot.objects.uploads import AbandonedUploads
from entrepot.paths import Root, StrPath, path_text, printable
from entrepot.patterns import GlobPattern

_PRESIGN_MAX_S: Final = 7 * 24 * 3_600
"""What S3 and GCS allow at most; longer ones of Azure are refused, too, so that the flavors do not differ."""


class ReadableObjectStore(BaseArtifactStore):
    """Finding, listing and reading: whether a name is a directory is asked only after a read has missed."""

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self._root = self._parse_root(self.config.path)
        self._lock = threading.Lock()
        self._listing: Listing | None = None
        self._pid = os.getpid()
        self._inherited: list[Listing] = []
        self._probes = Probes()
        self._abandoned = AbandonedUploads()

    @abstractmethod
    def _make_client(self) -> ObjectClient:
        """The client of this store's container; called once, and once more in each forked child. No I/O."""

    @classmethod
    def _parse_root(cls, path: str) -> Root:
        return Root.parse(path)

    def _listed(self) -> Listing:
        """The listing over the client of this process, made when it is first needed."""
        if self._pid != os.getpid():
            # A forked child: the lock may have been held, and sockets are the parent's. The old client is kept, not
            # closed, so that nothing is said on those.
            self._lock = threading.Lock()
            if self._listing is not None:
                self._inherited.append(self._listing)
            self._listing, self._pid, self._abandoned = None, os.getpid(), AbandonedUploads()
        if self._listing is None:
            with self._lock:
                if self._listing is None:
                    self._listing = Listing(self._make_client(), self._root)
        return self._listing

    @property
    def client(self) -> ObjectClient:
        """The primitives that this store is made of."""
        return self._listed().client

    @property
    def path(self) -> str:
        return self._root.uri

    @property
    def key_prefix(self) -> str:
        """How the keys of all that is in this store begin: empty for a whole container, else it ends in a slash."""
        return self._listed().prefix_of("")

    @property
    def capabilities(self) -> Capabilities:
        return self._probes.merged(self.client.capabilities)

    @property
    def limits(self) -> Limits:
        return self.client.limits

    async def probe_capabilities(self) -> Capabilities:
        return await self._probes.settle(self.client, self._root)

    async def close(self) -> None:
        if self._listing is not None and self._pid == os.getpid():
            await self._abandoned.settle()
            await self._listing.client.close()

    # ---- paths and what is at them ------------------------------------------------------------------

    def _path(self, path: StrPath, operation: str) -> str:
        return self._root.relative(path, operation=operation)

    def _uri(self, path: str) -> str:
        return self._listed().uri_of(path)

    def _file(self, path: StrPath, operation: str) -> tuple[str, str]:
        """The relative path and the key of a file. Raises InvalidPath; IsADirectory for the root."""
        relative = self._root.relative(path, operation=operation)
        if not relative:
            raise IsADirectory("the store's root is a directory", operation=operation, uri=self.path)
        key = self._root.key(relative)
        most = self.client.limits.key_max_bytes
        if len(key) * 4 > most and len(key.encode()) > most:
            raise InvalidPath(
                f"with the store's prefix, a key is at most {most:,} bytes of UTF-8", operation=operation, uri=self.path
            )
        return relative, key

    async def _raise_miss(self, relative: str, operation: str, error: NotFound) -> NoReturn:
        """Say what a read missed: a directory is there, or nothing. Requests: 1."""
        if isinstance(error, ContainerNotFound):
            raise error
        if (await self._listed().first_below(relative))[0]:
            raise IsADirectory(
                "a directory is there, not a file", operation=operation, uri=self._uri(relative)
            ) from error
        raise NotFound("no such file", operation=operation, uri=self._uri(relative)) from error

    async def _head(self, relative: str) -> ObjectStat | None:
        """What is known of a file, None where none is. Requests: 1."""
        try:
            return await self.client.head(self._root.key(relative))
        except ContainerNotFound:
            raise
        except NotFound:
            return None

    async def stat(self, path: StrPath) -> FileStat:
        relative = self._path(path, "stat")
        if not relative:
            return FileStat(self.path, 0, is_dir=True)
        found = await self._head(relative)
        if found is not None:
            return file_stat(found, self._uri(relative))
        there, marker = await self._listed().first_below(relative)
        if not there:
            raise NotFound("no such file or directory", operation="stat", uri=self._uri(relative))
        return FileStat(self._uri(relative), 0, marker.modified if marker else None, is_dir=True)

    async def exists(self, path: StrPath) -> bool:
        relative = self._path(path, "exists")
        if not relative:
            return True
        try:
            return await self._head(relative) is not None or (await self._listed().first_below(relative))[0]
        except ContainerNotFound:
            return False

    async def isdir(self, path: StrPath) -> bool:
        relative = self._path(path, "isdir")
        if not relative:
            return True
        try:
            return (await self._listed().first_below(relative))[0]
        except ContainerNotFound:
            return False

    async def size(self, path: StrPath) -> int:
        relative = self._path(path, "size")
        found = await self._head(relative) if relative else None
        if found is not None:
            return found.size_bytes
        total = 0
        async with aclosing(self._listed().scan(relative, recursive=True)) as entries:
            async for entry in entries:
                total += entry.size_bytes
        return total

    # ---- listing --------------------------------------------------------------------------------------

    async def listdir(self, path: StrPath = "") -> list[str]:
        return await self._listed().names(self._path(path, "listdir"))

    def scan(self, path: StrPath = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        return self._listed().scan(self._path(path, "scan"), recursive=recursive)

    def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        return self._listed().walk(self._path(top, "walk"), topdown=topdown, onerror=onerror)

    def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        relative = self._path(pattern, "glob")
        if relative and path_text(pattern).endswith("/"):
            relative += "/"
        return self._listed().glob(GlobPattern.parse(relative))

    # ---- reading --------------------------------------------------------------------------------------

    async def open_reader(self, path: StrPath) -> ObjectReader:
        relative, key = self._file(path, "open")
        try:
            return await ObjectReader.open(self.client, key, self._uri(relative))
        except NotFound as error:
            await self._raise_miss(relative, "open", error)

    async def read_bytes(self, path: StrPath) -> bytes:
        relative, key = self._file(path, "read_bytes")
        try:
            data = (await self.client.get(key)).data
        except NotFound as error:
            await self._raise_miss(relative, "read_bytes", error)
        return data if isinstance(data, bytes) else bytes(data)

    async def read_range(
        self, path: StrPath, start: int, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        span = ByteRange(start, stop)
        relative, key = self._file(path, "read_range")
        try:
            if start == stop:  # HTTP has no empty range, but a missing file is still an error
                await self._require_etag(key, if_match)
                return b""
            data = (await self.client.get(key, byte_range=span, if_match=if_match)).data
        except NotFound as error:
            await self._raise_miss(relative, "read_range", error)
        return data if isinstance(data, bytes) else bytes(data)

    # ---- where the service has them -------------------------------------------------------------------

    async def presign(self, path: StrPath, method: PresignMethod = "GET", expires_s: int = 3_600) -> str:
        relative, key = self._file(path, "presign")
        uri = self._uri(relative)
        if method not in get_args(PresignMethod):
            raise ValueError(f"method must be one of {', '.join(get_args(PresignMethod))}, not {method!r}")
        if not 1 <= expires_s <= _PRESIGN_MAX_S:
            raise ValueError(f"expires_s must be from 1 to {_PRESIGN_MAX_S:,} (seven days), not {expires_s}")
        if not self.capabilities.presign:
            raise UnsupportedOperation("this service has no presigned URLs", operation="presign", uri=uri)
        return await self.client.presign(key, method, expires_s)

    async def list_versions(self, path: StrPath) -> list[FileStat]:
        relative, key = self._file(path, "list_versions")
        uri = self._uri(relative)
        await self._require_versions("list_versions", uri)
        return [file_stat(one, uri) for one in await self.client.list_versions(key)]

    async def read_version(self, path: StrPath, version: str) -> bytes:
        relative, key = self._file(path, "read_version")
        await self._require_versions("read_version", self._uri(relative))
        data = (await self.client.get(key, version=version)).data
        return data if isinstance(data, bytes) else bytes(data)

    async def _require_versions(self, operation: str, uri: str) -> None:
        if not (await self._probes.settle(self.client, self._root, ("versions",))).versions:
            raise UnsupportedOperation("this service keeps no versions", operation=operation, uri=uri)

    async def _require_etag(self, key: str, if_match: str | None) -> None:
        found = await self.client.head(key)
        if if_match is not None and found.etag != if_match:
            raise PreconditionFailed(
                "the file is another by now", operation="read_range", uri=printable(self.client.uri(key))
            )
