"""A flavor of nothing but the contract's methods, on a dictionary, that records what is asked of it and can be slow."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from entrepot.contract import BaseArtifactStore, WriteMode
from entrepot.errors import AlreadyExists, IsADirectory, NotADirectory, NotFound, StoreError, UnsupportedOperation
from entrepot.files import BinaryReader, BinaryWriter
from entrepot.models import Buffer, Capabilities, FileStat, WriteOptions
from entrepot.paths import Root, StrPath


@dataclass(frozen=True, slots=True)
class PlainConfig:
    path: str


class PlainReader(BinaryReader):
    def __init__(self, store: PlainStore, key: str, data: bytes) -> None:
        self.name = f"{store.path}/{key}"
        self._store, self._key, self._data = store, key, io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        await self._store.note("read", self._key)
        return self._data.read(size)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._data.seek(offset, whence)

    def tell(self) -> int:
        return self._data.tell()

    async def close(self) -> None:
        await self._store.note("close-reader", self._key)
        self.closed = True


class PlainWriter(BinaryWriter):
    def __init__(self, store: PlainStore, key: str) -> None:
        self.name = f"{store.path}/{key}"
        self._store, self._key, self._data = store, key, bytearray()
        store.drafts.add(key)

    async def write(self, data: Buffer) -> int:
        await self._store.note("write", self._key)
        self._data += data
        return len(data)

    async def close(self) -> None:
        if self.closed:
            return
        try:
            await self._store.note("commit", self._key)
            self._store.files[self._key] = bytes(self._data)
        finally:
            self._end()

    async def abort(self) -> None:
        if not self.closed:
            self._end()
            await self._store.note("abort", self._key)

    def abandon(self) -> None:
        self._end()
        self._store.log.append(("abandon", self._key))

    def _end(self) -> None:
        self.closed = True
        self._store.drafts.discard(self._key)

    def tell(self) -> int:
        return len(self._data)


class PlainStore(BaseArtifactStore):
    """files: what is published. drafts: writers under way. log: (operation, path), in order."""

    FLAVOR: ClassVar[str] = "plain"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"plain://"})
    CONFIG: ClassVar[type[Any]] = PlainConfig

    def __init__(self, path: StrPath = "plain://here") -> None:
        super().__init__(path=path)
        self.root = Root.parse(self.config.path)
        self.files: dict[str, bytes] = {}
        self.drafts: set[str] = set()
        self.log: list[tuple[str, str]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.closed_on: list[asyncio.AbstractEventLoop] = []
        self.failures: dict[str, type[StoreError]] = {}
        self.stuck: set[str] = set()

    async def note(self, operation: str, path: str) -> None:
        """Record an operation; fails or never ends where the test said so."""
        self.log.append((operation, path))
        self.loops.append(asyncio.get_running_loop())
        if operation in self.failures:
            raise self.failures[operation]("as the test wants it", operation=operation, uri=path)
        if operation in self.stuck:
            print(f"stuck in {operation}", flush=True)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.log.append((f"cancelled-{operation}", path))
                raise
        else:
            await asyncio.sleep(0)

    @property
    def path(self) -> str:
        return self.root.uri

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(etags=False)

    async def close(self) -> None:
        self.closed_on.append(asyncio.get_running_loop())

    def _key(self, path: StrPath, operation: str) -> str:
        return self.root.relative(path, operation=operation)

    def _is_directory(self, key: str) -> bool:
        return not key or any(one.startswith(f"{key}/") for one in self.files)

    async def open_reader(self, path: StrPath) -> BinaryReader:
        key = self._key(path, "open")
        await self.note("open", key)
        if key not in self.files:
            raise (IsADirectory if self._is_directory(key) else NotFound)(operation="open", uri=f"{self.path}/{key}")
        return PlainReader(self, key, self.files[key])

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> BinaryWriter:
        key = self._key(path, "open")
        await self.note("open", key)
        if mode == "a":
            raise UnsupportedOperation("cannot append", operation="open", uri=key)
        if mode == "x" and key in self.files:
            raise AlreadyExists(operation="open", uri=f"{self.path}/{key}")
        return PlainWriter(self, key)

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        source, target = self._key(src, "copyfile"), self._key(dst, "copyfile")
        if source not in self.files:
            raise NotFound(operation="copyfile", uri=source)
        if target in self.files and not overwrite:
            raise AlreadyExists(operation="copyfile", uri=target)
        self.files[target] = self.files[source]

    async def exists(self, path: StrPath) -> bool:
        key = self._key(path, "exists")
        await self.note("exists", key)
        return key in self.files or self._is_directory(key)

    async def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        for key in sorted(self.files):
            if fnmatchcase(key, self._key(pattern, "glob")):
                await self.note("glob", key)
                yield f"{self.path}/{key}"

    async def isdir(self, path: StrPath) -> bool:
        return self._is_directory(self._key(path, "isdir"))

    async def listdir(self, path: StrPath = "") -> list[str]:
        key = self._key(path, "listdir")
        await self.note("listdir", key)
        if key in self.files:
            raise NotADirectory(operation="listdir", uri=f"{self.path}/{key}")
        if not self._is_directory(key):
            raise NotFound(operation="listdir", uri=f"{self.path}/{key}")
        start = f"{key}/" if key else ""
        return sorted({one[len(start) :].split("/")[0] for one in self.files if one.startswith(start)})

    async def makedirs(self, path: StrPath) -> None:
        await self.note("makedirs", self._key(path, "makedirs"))

    async def mkdir(self, path: StrPath) -> None:
        await self.note("mkdir", self._key(path, "mkdir"))

    async def remove(self, path: StrPath) -> None:
        key = self._key(path, "remove")
        if key not in self.files:
            raise NotFound(operation="remove", uri=f"{self.path}/{key}")
        del self.files[key]

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        await self.copyfile(src, dst, overwrite)
        await self.remove(src)

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        key = self._key(path, "rmtree")
        for one in [one for one in self.files if one.startswith(f"{key}/")]:
            del self.files[one]

    async def stat(self, path: StrPath) -> FileStat:
        key = self._key(path, "stat")
        await self.note("stat", key)
        uri = f"{self.path}/{key}" if key else self.path
        if key in self.files:
            return FileStat(uri=uri, size_bytes=len(self.files[key]))
        if self._is_directory(key):
            return FileStat(uri=uri, size_bytes=0, is_dir=True)
        raise NotFound(operation="stat", uri=uri)

    async def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        key = self._key(top, "walk")
        try:
            names = await self.listdir(top)
        except StoreError as error:
            if onerror is not None:
                onerror(error)
            return
        below = [(name, f"{key}/{name}" if key else name) for name in names]
        directories = [name for name, one in below if one not in self.files]
        files = [name for name, one in below if one in self.files]
        try:
            yield f"{self.path}/{key}" if key else self.path, directories, files
            for name in directories:
                async for level in self.walk(f"{key}/{name}" if key else name, topdown, onerror):
                    yield level
        finally:
            self.log.append(("walk-ended", key))
