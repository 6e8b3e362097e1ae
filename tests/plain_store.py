"""A flavor of nothing but the contract's methods, on a dictionary, that records what is asked of it and can fail.

All else that it can do are the defaults of the base class.
"""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

from entrepot.contract import BaseArtifactStore, WriteMode
from entrepot.errors import (
    AlreadyExists,
    ConfigurationError,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreClosed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.files import BinaryReader, BinaryWriter
from entrepot.models import NO_OPTIONS, Buffer, Capabilities, FileStat, WriteOptions
from entrepot.paths import Root, StrPath, path_text
from entrepot.patterns import GlobPattern

Fault: TypeAlias = Callable[[str, str], Awaitable[None]]
"""Called with (operation, path) when an operation begins; what it raises or awaits, the operation does."""


async def no_fault(operation: str, path: str) -> None:
    await asyncio.sleep(0)


def failing(operation: str, error: StoreError, wanted: Callable[[str], bool] = lambda path: True) -> Fault:
    """The operation fails with the error, at the paths wanted."""

    async def fault(name: str, path: str) -> None:
        await asyncio.sleep(0)
        if name == operation and wanted(path):
            raise error

    return fault


@dataclass(frozen=True, slots=True)
class PlainConfig:
    path: str


@dataclass(frozen=True, slots=True)
class Written:
    """How a file came to be. version: grows with each write."""

    version: int = 0
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    options: WriteOptions = NO_OPTIONS


class PlainReader(BinaryReader):
    def __init__(self, store: PlainStore, key: str) -> None:
        self.name = store.uri(key)
        self._store, self._key, self._data = store, key, io.BytesIO(store.files[key])

    async def read(self, size: int = -1) -> bytes:
        if self.closed:
            raise StoreClosed("the file is closed", operation="read", uri=self.name)
        await self._store.note("read", self._key)
        return self._data.read(size)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and offset < -len(self._data.getbuffer()):
            raise ValueError("negative seek position")  # where BytesIO would go to the start
        return self._data.seek(offset, whence)

    def tell(self) -> int:
        return self._data.tell()

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            await self._store.note("close-reader", self._key)


class PlainWriter(BinaryWriter):
    def __init__(self, store: PlainStore, key: str, mode: WriteMode, options: WriteOptions) -> None:
        self.name = store.uri(key)
        self._store, self._key, self._mode, self._options = store, key, mode, options
        self._data = bytearray()
        store.drafts.append(key)

    async def write(self, data: Buffer) -> int:
        if self.closed:
            raise StoreClosed("the file is closed", operation="write", uri=self.name)
        await self._store.note("write", self._key)
        self._data += memoryview(data).cast("B")
        return len(data)

    async def close(self) -> None:
        if self.closed:
            return
        try:
            await self._store.note("publish", self._key)
            self._store.check_target(self._key, exclusive=self._mode == "x", operation="close")
            self._store.put(self._key, bytes(self._data), self._options)
        finally:
            self._end()

    async def abort(self) -> None:
        if not self.closed:
            self._end()
            await self._store.note("abort", self._key)

    def abandon(self) -> None:
        if not self.closed:
            self._end()
            self._store.log.append(("abandon", self._key))

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            self._store.drafts.remove(self._key)

    def tell(self) -> int:
        return len(self._data)


class PlainStore(BaseArtifactStore):
    """Real directories; no metadata, no append, no conditions but exclusive create.

    files: what is published. written: how, for those that were not put into `files` by hand. folders: directories
    that are there though nothing may be below; any other is there by what is below it. drafts: writers under way.
    log: (operation, path), in order. loops: where each ran. fault: what an operation meets. told: its capabilities.
    """

    FLAVOR: ClassVar[str] = "plain"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"plain://"})
    CONFIG: ClassVar[type[Any]] = PlainConfig

    def __init__(self, path: StrPath = "plain://here", **configuration: Any) -> None:
        super().__init__(path=path, **configuration)
        self.root = Root.parse(self.config.path)
        self.files: dict[str, bytes] = {}
        self.written: dict[str, Written] = {}
        self.folders: set[str] = set()
        self.drafts: list[str] = []
        self.log: list[tuple[str, str]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.closed_on: list[asyncio.AbstractEventLoop] = []
        self.fault = no_fault
        self.told = Capabilities(
            directories="real", atomic_rename=True, metadata=False, content_type=False, multipart=False
        )
        self._versions = itertools.count(1)

    # ---- for tests --------------------------------------------------------------------------------

    async def note(self, operation: str, path: str) -> None:
        """Record an operation; it fails or never ends where the test said so."""
        self.log.append((operation, path))
        self.loops.append(asyncio.get_running_loop())
        await self.fault(operation, path)

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.log)

    def hang_in(self, *operations: str) -> None:
        """Let these operations never end; a line on standard output and one in the log tell of each."""

        async def fault(operation: str, path: str) -> None:
            if operation not in operations:
                await asyncio.sleep(0)
                return
            print(f"stuck in {operation}", flush=True)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.log.append((f"cancelled-{operation}", path))
                raise

        self.fault = fault

    def put(self, key: str, data: bytes, options: WriteOptions = NO_OPTIONS) -> None:
        self.files[key] = data
        self.written[key] = Written(next(self._versions), datetime.now(UTC), options)

    def contents(self) -> dict[str, bytes]:
        return dict(sorted(self.files.items()))

    def uri(self, key: str) -> str:
        return f"{self.path}/{key}" if key else self.path

    def check_target(self, key: str, *, exclusive: bool, operation: str) -> None:
        """Raise where no file can be published at the key."""
        if self._is_directory(key):
            raise IsADirectory("a directory is there", operation=operation, uri=self.uri(key))
        if exclusive and key in self.files:
            raise AlreadyExists("it is there", operation=operation, uri=self.uri(key))
        self._check_parents(key, operation)

    # ---- keys -------------------------------------------------------------------------------------

    async def _begin(self, operation: str, path: StrPath) -> str:
        key = self.root.relative(path, operation=operation)
        await self.note(operation, key)
        return key

    def _directories(self) -> set[str]:
        return {"", *self.folders, *(one for key in (*self.files, *self.folders) for one in _parents(key))}

    def _is_directory(self, key: str) -> bool:
        below = f"{key}/"
        return not key or key in self.folders or any(one.startswith(below) for one in (*self.files, *self.folders))

    def _check_file(self, key: str, operation: str) -> None:
        if key not in self.files:
            kind = IsADirectory if self._is_directory(key) else NotFound
            raise kind("no such file", operation=operation, uri=self.uri(key))

    def _check_directory(self, key: str, operation: str) -> None:
        if key in self.files:
            raise NotADirectory(operation=operation, uri=self.uri(key))
        if not self._is_directory(key):
            raise NotFound("no such directory", operation=operation, uri=self.uri(key))

    def _check_parents(self, key: str, operation: str) -> None:
        for parent in _parents(key):
            if parent in self.files:
                raise AlreadyExists("a file is in the way", operation=operation, uri=self.uri(parent))

    def _keep_parent(self, key: str) -> None:
        """Directories are real: what was in one may go, and it stays."""
        if parent := _parent(key):
            self.folders.add(parent)

    # ---- contract ---------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return self.root.uri

    @property
    def capabilities(self) -> Capabilities:
        return self.told

    async def close(self) -> None:
        self.closed_on.append(asyncio.get_running_loop())

    async def open_reader(self, path: StrPath) -> BinaryReader:
        key = await self._begin("open_reader", path)
        self._check_file(key, "open")
        return PlainReader(self, key)

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> BinaryWriter:
        key = await self._begin("open_writer", path)
        if mode == "a" or options.if_match or options.metadata or options.content_type:
            raise UnsupportedOperation("see the capabilities", operation="open", uri=self.uri(key))
        self.check_target(key, exclusive=mode == "x", operation="open")
        return PlainWriter(self, key, mode, options)

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        target, source = self.root.relative(dst), await self._begin("copyfile", src)
        self._check_file(source, "copyfile")
        self.check_target(target, exclusive=not overwrite, operation="copyfile")
        self.put(target, self.files[source])

    async def exists(self, path: StrPath) -> bool:
        key = await self._begin("exists", path)
        return key in self.files or self._is_directory(key)

    async def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        parsed = GlobPattern.parse(path_text(pattern).removeprefix(f"{self.path}/"))
        named = [*self.files, *(f"{key}/" for key in self._directories() if key)]
        for name in sorted(named, key=str.encode):
            key = name.rstrip("/")
            if parsed.matches(key, is_dir=name.endswith("/")):
                await self.note("glob", key)
                yield self.uri(key)

    async def isdir(self, path: StrPath) -> bool:
        return self._is_directory(await self._begin("isdir", path))

    async def listdir(self, path: StrPath = "") -> list[str]:
        key = await self._begin("listdir", path)
        self._check_directory(key, "listdir")
        below = f"{key}/" if key else ""
        return sorted(
            {one[len(below) :].partition("/")[0] for one in (*self.files, *self.folders) if one.startswith(below)}
        )

    async def makedirs(self, path: StrPath) -> None:
        key = await self._begin("makedirs", path)
        self._check_parents(f"{key}/", "makedirs")
        if key:
            self.folders.add(key)

    async def mkdir(self, path: StrPath) -> None:
        key = await self._begin("mkdir", path)
        if key in self.files or self._is_directory(key):
            raise AlreadyExists(operation="mkdir", uri=self.uri(key))
        if not self._is_directory(_parent(key)):
            raise NotFound("the parent is missing", operation="mkdir", uri=self.uri(key))
        self.folders.add(key)

    async def remove(self, path: StrPath) -> None:
        key = await self._begin("remove", path)
        self._check_file(key, "remove")
        del self.files[key]
        self._keep_parent(key)

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        target, source = self.root.relative(dst), await self._begin("rename", src)
        if source in self.files:
            self.check_target(target, exclusive=not overwrite, operation="rename")
        else:
            self._check_directory(source, "rename")
            self._check_tree_target(source, target, overwrite=overwrite)

        def moved(key: str) -> str:
            return target + key[len(source) :] if key == source or key.startswith(f"{source}/") else key

        self.files = {moved(key): data for key, data in self.files.items() if key != target or key == source}
        self.written = {moved(key): how for key, how in self.written.items() if key != target or key == source}
        self.folders = {moved(key) for key in self.folders}
        self._keep_parent(source)

    def _check_tree_target(self, source: str, target: str, *, overwrite: bool) -> None:
        if not source or target == source or target.startswith(f"{source}/"):
            raise InvalidPath("a directory cannot be moved into itself", operation="rename", uri=self.uri(source))
        below = any(key.startswith(f"{target}/") for key in (*self.files, *self.folders))
        if target in self.files or below or (target in self.folders and not overwrite):
            raise AlreadyExists(operation="rename", uri=self.uri(target))
        self._check_parents(target, "rename")

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        key = await self._begin("rmtree", path)
        self._check_directory(key, "rmtree")
        if not key and not allow_root:
            raise ConfigurationError("the whole store: pass allow_root=True", operation="rmtree", uri=self.path)
        below = f"{key}/" if key else ""
        for one in [one for one in self.files if one.startswith(below)]:
            del self.files[one]
        self.folders = {one for one in self.folders if one != key and not one.startswith(below)}
        self._keep_parent(key)

    async def stat(self, path: StrPath) -> FileStat:
        return self.look(await self._begin("stat", path))

    def look(self, key: str) -> FileStat:
        if key not in self.files:
            if self._is_directory(key):
                return FileStat(uri=self.uri(key), size_bytes=0, is_dir=True)
            raise NotFound("no such file", operation="stat", uri=self.uri(key))
        how = self.written.get(key, Written())
        return FileStat(self.uri(key), len(self.files[key]), how.at, etag=str(how.version))

    async def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        key = self.root.relative(top, operation="walk")
        try:
            names = await self.listdir(key)
        except StoreError as error:
            if onerror is not None:
                onerror(error)
            return
        below = {name: f"{key}/{name}" if key else name for name in names}
        directories = [name for name in names if below[name] not in self.files]
        level = (self.uri(key), directories, [name for name in names if below[name] in self.files])
        try:
            if topdown:
                yield level
            for name in directories:
                async with aclosing(self.walk(below[name], topdown, onerror)) as levels:
                    async for one in levels:
                        yield one
            if not topdown:
                yield level
        finally:
            self.log.append(("walk-ended", key))


def _parent(key: str) -> str:
    return key.rpartition("/")[0]


def _parents(key: str) -> Iterator[str]:
    while key := _parent(key):
        yield key
