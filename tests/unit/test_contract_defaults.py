"""A flavor of nothing but what is abstract: the defaults of the base class make a whole store of it."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

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
from entrepot.models import MIB, Buffer, Capabilities, FileStat, WriteOptions
from entrepot.paths import Root, StrPath, path_text
from entrepot.patterns import GlobPattern
from entrepot.stores import copy
from entrepot.testing import ArtifactStoreContract


@dataclass
class Place:
    """What one root holds: files, and directories that are real."""

    files: dict[str, bytes] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: {""})


PLACES: dict[str, Place] = {}


@dataclass(frozen=True)
class DictConfig:
    path: str


class DictReader(BinaryReader):
    def __init__(self, name: str, data: bytes) -> None:
        self.name, self._data = name, io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        if self.closed:
            raise StoreClosed("the file is closed", operation="read", uri=self.name)
        return self._data.read(size)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and offset < -len(self._data.getbuffer()):
            raise ValueError("negative seek position")  # where BytesIO would go to the start
        return self._data.seek(offset, whence)

    def tell(self) -> int:
        return self._data.tell()

    async def close(self) -> None:
        self.closed = True


class DictWriter(BinaryWriter):
    def __init__(self, name: str, publish: Callable[[bytes], None]) -> None:
        self.name, self._publish, self._data = name, publish, bytearray()

    async def write(self, data: Buffer) -> int:
        if self.closed:
            raise StoreClosed("the file is closed", operation="write", uri=self.name)
        self._data += memoryview(data).cast("B")
        return len(data)

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._publish(bytes(self._data))

    async def abort(self) -> None:
        self.closed = True

    def tell(self) -> int:
        return len(self._data)

    def abandon(self) -> None:
        self.closed = True


class DictStore(BaseArtifactStore):
    """Real directories; no metadata, no append, no conditions but exclusive create."""

    FLAVOR: ClassVar[str] = "dict"
    CONFIG: ClassVar[type[Any]] = DictConfig
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"dict://"})

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self._root = Root.parse(self.config.path)

    @property
    def path(self) -> str:
        return self._root.uri

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(directories="real", atomic_rename=True, metadata=False, content_type=False, multipart=False)

    @property
    def _place(self) -> Place:
        return PLACES.setdefault(self.path, Place())

    def _uri(self, key: str) -> str:
        return f"{self.path}/{key}" if key else self.path

    def _key(self, path: StrPath, operation: str) -> str:
        return self._root.relative(path, operation=operation)

    def _file(self, path: StrPath, operation: str) -> str:
        key = self._key(path, operation)
        if key in self._place.directories:
            raise IsADirectory(operation=operation, uri=self._uri(key))
        if key not in self._place.files:
            raise NotFound(operation=operation, uri=self._uri(key))
        return key

    def _directory(self, path: StrPath, operation: str) -> str:
        key = self._key(path, operation)
        if key in self._place.files:
            raise NotADirectory(operation=operation, uri=self._uri(key))
        if key not in self._place.directories:
            raise NotFound(operation=operation, uri=self._uri(key))
        return key

    def _make_parents(self, key: str, operation: str) -> None:
        parents = list(_parents(key))
        for parent in parents:
            if parent in self._place.files:
                raise AlreadyExists("a file is in the way", operation=operation, uri=self._uri(parent))
        self._place.directories.update(parents)

    def _put(self, key: str, data: bytes, *, exclusive: bool, operation: str) -> None:
        if key in self._place.directories:
            raise IsADirectory(operation=operation, uri=self._uri(key))
        if exclusive and key in self._place.files:
            raise AlreadyExists(operation=operation, uri=self._uri(key))
        self._make_parents(key, operation)
        self._place.files[key] = data
        self._place.times[key] = time.time_ns()

    def _children(self, key: str) -> tuple[list[str], list[str]]:
        directories = sorted(_name(d) for d in self._place.directories if d and _parent(d) == key)
        return directories, sorted(_name(f) for f in self._place.files if _parent(f) == key)

    async def open_reader(self, path: StrPath) -> BinaryReader:
        key = self._file(path, "open")
        return DictReader(self._uri(key), self._place.files[key])

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> BinaryWriter:
        key = self._key(path, "open")
        if mode == "a" or options.if_match or options.metadata or options.content_type:
            raise UnsupportedOperation("see the capabilities", operation="open", uri=self._uri(key))
        if key in self._place.directories:
            raise IsADirectory(operation="open", uri=self._uri(key))
        exclusive = mode == "x" or options.if_none_match
        return DictWriter(self._uri(key), lambda data: self._put(key, data, exclusive=exclusive, operation="close"))

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        target = self._key(dst, "copyfile")
        source = self._file(src, "copyfile")
        self._put(target, self._place.files[source], exclusive=not overwrite, operation="copyfile")

    async def exists(self, path: StrPath) -> bool:
        key = self._key(path, "exists")
        return key in self._place.files or key in self._place.directories

    async def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        parsed = GlobPattern.parse(path_text(pattern).removeprefix(self.path + "/"))
        named = [*self._place.files, *(f"{key}/" for key in self._place.directories if key)]
        for key in sorted(named, key=str.encode):
            if parsed.matches(key.rstrip("/"), is_dir=key.endswith("/")):
                yield self._uri(key.rstrip("/"))

    async def isdir(self, path: StrPath) -> bool:
        return self._key(path, "isdir") in self._place.directories

    async def listdir(self, path: StrPath = "") -> list[str]:
        directories, files = self._children(self._directory(path, "listdir"))
        return sorted(directories + files)

    async def makedirs(self, path: StrPath) -> None:
        key = self._key(path, "makedirs")
        self._make_parents(f"{key}/" if key else "", "makedirs")

    async def mkdir(self, path: StrPath) -> None:
        key = self._key(path, "mkdir")
        if await self.exists(path):
            raise AlreadyExists(operation="mkdir", uri=self._uri(key))
        if _parent(key) not in self._place.directories:
            raise NotFound("the parent is missing", operation="mkdir", uri=self._uri(key))
        self._place.directories.add(key)

    async def remove(self, path: StrPath) -> None:
        del self._place.files[self._file(path, "remove")]

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        target, source = self._key(dst, "rename"), self._key(src, "rename")
        place = self._place
        if source in place.files:
            self._put(target, place.files[source], exclusive=not overwrite, operation="rename")
            if source != target:
                del place.files[source]
            return
        source = self._directory(src, "rename")
        if not source or target == source or target.startswith(f"{source}/"):
            raise InvalidPath("a directory cannot be moved into itself", operation="rename", uri=self._uri(source))
        below = [key for key in (*place.files, *place.directories) if key.startswith(f"{target}/")]
        if target in place.files or below or (target in place.directories and not overwrite):
            raise AlreadyExists(operation="rename", uri=self._uri(target))
        self._make_parents(target, "rename")

        def moved(key: str) -> str:
            return target + key[len(source) :] if key == source or key.startswith(f"{source}/") else key

        place.files = {moved(key): data for key, data in place.files.items()}
        place.times = {moved(key): at for key, at in place.times.items()}
        place.directories = {moved(key) for key in place.directories}

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        key = self._directory(path, "rmtree")
        if not key and not allow_root:
            raise ConfigurationError("the whole store: pass allow_root=True", operation="rmtree", uri=self.path)
        below = f"{key}/" if key else ""
        self._place.files = {k: data for k, data in self._place.files.items() if not k.startswith(below)}
        kept = {d for d in self._place.directories if d != key and not d.startswith(below)}
        self._place.directories = kept | {""}

    async def stat(self, path: StrPath) -> FileStat:
        key = self._key(path, "stat")
        if key in self._place.directories:
            return FileStat(uri=self._uri(key), size_bytes=0, is_dir=True)
        key = self._file(path, "stat")
        at = self._place.times[key]
        modified = datetime.fromtimestamp(at / 1e9, UTC)
        return FileStat(uri=self._uri(key), size_bytes=len(self._place.files[key]), modified=modified, etag=f"{at}")

    async def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        try:
            key = self._directory(top, "walk")
        except InvalidPath:
            raise
        except StoreError as error:
            if onerror is not None:
                onerror(error)
            return
        directories, files = self._children(key)
        if topdown:
            yield self._uri(key), directories, files
        for name in directories:
            async for level in self.walk(f"{key}/{name}" if key else name, topdown, onerror):
                yield level
        if not topdown:
            yield self._uri(key), directories, files


def _parent(key: str) -> str:
    return key.rpartition("/")[0]


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _parents(key: str) -> Iterator[str]:
    while key:
        key = _parent(key)
        yield key


class TestAFlavorOfThirteenMethods(ArtifactStoreContract):
    many_files = 100

    @pytest.fixture
    def store(self, unique_prefix: str) -> Iterator[BaseArtifactStore]:
        self.root = f"dict://place/{unique_prefix}"
        yield DictStore(self.root)
        PLACES.pop(self.root, None)

    @property
    def place(self) -> Place:
        return PLACES.setdefault(self.root, Place())

    async def raw_read(self, uri: str) -> bytes:
        return self.place.files[uri[len(self.root) + 1 :]]

    async def raw_write(self, uri: str, data: bytes) -> None:
        key = uri[len(self.root) + 1 :]
        self.place.directories.update(_parents(key))
        self.place.files[key], self.place.times[key] = data, time.time_ns()

    async def raw_exists(self, uri: str) -> bool:
        return uri[len(self.root) + 1 :] in self.place.files

    async def raw_list(self) -> list[str]:
        return sorted((f"{self.root}/{key}" for key in self.place.files), key=str.encode)


@pytest.mark.anyio
async def test_a_flavor_of_thirteen_methods_works_in_copy(unique_prefix: str, tmp_path: Path) -> None:
    sizes = {"a é": 1, "empty": 0, "deep/b": 100_000, "deep/large": 40 * MIB}
    for name, size in sizes.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(b"%d" % (size % 10) * size)
    (tmp_path / "src" / "no files").mkdir()
    store = DictStore(f"dict://place/{unique_prefix}")
    try:
        there = await copy(tmp_path / "src", (store, "sub"))
        assert (there.files, there.bytes, there.directories, there.failed) == (4, sum(sizes.values()), 1, ())
        found = {path: len(data) for path, data in PLACES[store.path].files.items()}
        assert found == {f"sub/{name}": size for name, size in sizes.items()}
        back = await copy((store, "sub"), tmp_path / "back")
        assert (back.files, back.bytes, back.failed) == (4, sum(sizes.values()), ())
        for name in sizes:
            assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "src" / name).read_bytes()
        assert (tmp_path / "back" / "no files").is_dir()
        within = await copy((store, "sub"), (store, "again"))
        assert (within.files, within.failed) == (4, ())
    finally:
        PLACES.pop(store.path, None)
