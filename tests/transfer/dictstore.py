"""A store of nothing but the contract's thirteen methods, on a dictionary, with a place for faults at each of them."""

from __future__ import annotations

import fnmatch
import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio.lowlevel

from entrepot.contract import BaseArtifactStore, WriteMode
from entrepot.errors import AlreadyExists, IsADirectory, NotFound, StoreError
from entrepot.files import BinaryReader, BinaryWriter
from entrepot.models import Buffer, Capabilities, FileStat, WriteOptions
from entrepot.paths import Root, StrPath

Fault = Callable[[str, str], Awaitable[None]]


@dataclass
class Entry:
    data: bytes
    version: int
    options: WriteOptions


@dataclass
class Journal:
    """What happened: operations by name, and writers that are open."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    open_writers: int = 0

    def count(self, operation: str) -> int:
        return sum(1 for name, _ in self.calls if name == operation)


async def no_fault(operation: str, path: str) -> None:
    await anyio.lowlevel.checkpoint()


@dataclass(frozen=True)
class DictConfig:
    path: str


class DictStore(BaseArtifactStore):
    FLAVOR = "dict"
    SUPPORTED_SCHEMES = frozenset({"dict://"})
    CONFIG = DictConfig

    def __init__(self, path: str = "dict://box/root", **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self._root = Root.parse(path)
        self.files: dict[str, Entry] = {}
        self.folders: set[str] = set()
        self.fault: Fault = no_fault
        self.journal = Journal()
        self.exclusive: bool = True
        self.keeps_empty_directories = True

    # ---- raw hooks --------------------------------------------------------------------------------

    def put(self, path: str, data: bytes) -> None:
        version = self.files[path].version + 1 if path in self.files else 1
        self.files[path] = Entry(data, version, WriteOptions())

    def contents(self) -> dict[str, bytes]:
        return {path: entry.data for path, entry in sorted(self.files.items())}

    async def _call(self, operation: str, path: StrPath) -> str:
        relative = self._root.relative(path, operation=operation)
        self.journal.calls.append((operation, relative))
        await self.fault(operation, relative)
        return relative

    # ---- contract ---------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return self._root.uri

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(exclusive_create=self.exclusive, empty_directories=self.keeps_empty_directories)

    def _uri(self, path: str) -> str:
        return f"{self._root.uri}/{path}" if path else self._root.uri

    def _is_dir(self, path: str) -> bool:
        return not path or path in self.folders or any(key.startswith(path + "/") for key in self._all())

    def _all(self) -> list[str]:
        return [*self.files, *self.folders]

    def _stat(self, path: str) -> FileStat:
        entry = self.files.get(path)
        if entry is not None:
            modified = datetime(2024, 1, 1, tzinfo=UTC)
            return FileStat(self._uri(path), len(entry.data), modified, etag=str(entry.version))
        if self._is_dir(path):
            return FileStat(self._uri(path), 0, is_dir=True)
        raise NotFound("no such file", operation="stat", uri=self._uri(path))

    async def stat(self, path: StrPath) -> FileStat:
        return self._stat(await self._call("stat", path))

    async def open_reader(self, path: StrPath) -> BinaryReader:
        relative = await self._call("read", path)
        if relative not in self.files:
            raise NotFound("no such file", operation="read", uri=self._uri(relative))
        return _Reader(self._uri(relative), self.files[relative].data)

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> BinaryWriter:
        relative = await self._call("write", path)
        return _Writer(self, relative, mode, options)

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        await self.write_bytes(dst, await self.read_bytes(src), WriteOptions(if_none_match=not overwrite))

    async def exists(self, path: StrPath) -> bool:
        relative = await self._call("exists", path)
        return relative in self.files or self._is_dir(relative)

    async def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        for path in fnmatch.filter(sorted(self.files), str(pattern)):
            yield self._uri(path)

    async def isdir(self, path: StrPath) -> bool:
        return self._is_dir(await self._call("isdir", path))

    async def listdir(self, path: StrPath = "") -> list[str]:
        relative = await self._call("list", path)
        if not self._is_dir(relative):
            raise NotFound("no such directory", operation="list", uri=self._uri(relative))
        before = relative + "/" if relative else ""
        return sorted({key[len(before) :].split("/")[0] for key in self._all() if key.startswith(before)} - {""})

    async def makedirs(self, path: StrPath) -> None:
        self.folders.add(await self._call("makedirs", path))

    async def mkdir(self, path: StrPath) -> None:
        self.folders.add(await self._call("mkdir", path))

    async def remove(self, path: StrPath) -> None:
        relative = await self._call("remove", path)
        if relative not in self.files:
            raise NotFound("no such file", operation="remove", uri=self._uri(relative))
        del self.files[relative]

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        await self.copyfile(src, dst, overwrite)
        await self.remove(src)

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        relative = await self._call("rmtree", path)
        for key in [key for key in self.files if key.startswith(relative + "/")]:
            del self.files[key]
        self.folders = {key for key in self.folders if key != relative and not key.startswith(relative + "/")}

    async def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        pending = [self._root.relative(top)]
        while pending:
            current = pending.pop(0)
            names = await self.listdir(current)
            paths = {name: f"{current}/{name}" if current else name for name in names}
            directories = [name for name in names if paths[name] not in self.files]
            yield self._uri(current), directories, [name for name in names if paths[name] in self.files]
            pending += [paths[name] for name in directories]


class _Reader(BinaryReader):
    def __init__(self, name: str, data: bytes) -> None:
        self.name, self._file = name, io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    async def close(self) -> None:
        self.closed = True


class _Writer(BinaryWriter):
    def __init__(self, store: DictStore, path: str, mode: WriteMode, options: WriteOptions) -> None:
        self.name = f"{store.path}/{path}"
        self._store, self._path, self._mode, self._options = store, path, mode, options
        self._chunks: list[Buffer] = []
        store.journal.open_writers += 1

    async def write(self, data: Buffer) -> int:
        await self._store._call("write-chunk", self._path)
        self._chunks.append(data)  # kept as it is: a writer may do that with what it is given
        return len(data)

    async def close(self) -> None:
        if self.closed:
            return
        try:
            await self._store._call("publish", self._path)
            if self._mode == "x" and self._path in self._store.files:
                raise AlreadyExists("it is there", operation="write", uri=self.name)
            if self._path in self._store.folders:
                raise IsADirectory("a directory is there", operation="write", uri=self.name)
            self._store.put(self._path, b"".join(self._chunks))
            self._store.files[self._path].options = self._options
        finally:
            self._end()

    async def abort(self) -> None:
        self._end()

    def abandon(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            self._store.journal.open_writers -= 1

    def tell(self) -> int:
        return sum(len(chunk) for chunk in self._chunks)
