"""The same contract for the blocking face: its calls are awaited in worker threads, so the same tests read it.

class TestBlockingLocal(FolderHooks, BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self, tmp_path):
        self.folder = tmp_path / "root"
        return SyncArtifactStore(LocalArtifactStore(self.folder))
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

import anyio
import anyio.lowlevel
import pytest

from entrepot.blocking import SyncArtifactStore
from entrepot.contract import BaseArtifactStore, WriteMode
from entrepot.errors import StoreError
from entrepot.files import BinaryReader, BinaryWriter, Opening
from entrepot.models import Buffer, Capabilities, FileStat, Limits, PresignMethod, WriteOptions
from entrepot.paths import StrPath
from entrepot.testing.committing import CommitRules
from entrepot.testing.declaring import DeclarationRules
from entrepot.testing.lifecycle import UseRules
from entrepot.testing.listing import ListingRules
from entrepot.testing.moving import CopyingRules, MovingRules
from entrepot.testing.naming import NamingRules
from entrepot.testing.reading import ReadingRules
from entrepot.testing.removing import DirectoryRules, RemovingRules
from entrepot.testing.sharing import SharingRules
from entrepot.testing.writing import WritingRules

P = ParamSpec("P")
T = TypeVar("T")

_END: Final = object()
_THREADS: Final = 4


class _Threads:
    """Worker threads that end when they are told to, and with them the connections that they opened."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in one of the threads; a cancellation that comes meanwhile waits for its end."""
        await anyio.lowlevel.checkpoint()
        waiting = asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *args, **kwargs))
        with anyio.CancelScope(shield=True):
            await asyncio.wait({waiting})
        return waiting.result()

    async def each(self, items: Generator[T, None, None]) -> AsyncGenerator[T, None]:
        """A plain generator, each step in one of the threads."""
        try:
            while (item := await self.run(next, items, _END)) is not _END:
                yield item  # type: ignore[misc]  # not the end, so an item
        finally:
            with anyio.CancelScope(shield=True):
                await self.run(items.close)

    def end(self, last: Callable[[], object]) -> None:
        """End the threads. last: what each of them calls once."""
        all_here = threading.Barrier(_THREADS)

        def finish() -> None:
            all_here.wait()
            last()

        with self._pool:
            for ended in [self._pool.submit(finish) for _ in range(_THREADS)]:
                ended.result()


class AwaitedFile:
    """An `io` object of the blocking face, each call in a worker thread."""

    def __init__(self, file: Any, threads: _Threads) -> None:
        self._file, self._threads = file, threads

    @property
    def name(self) -> str:
        """The address of the file."""
        name: str = self._file.name
        return name

    @property
    def closed(self) -> bool:
        """Whether the `io` object is closed."""
        closed: bool = self._file.closed
        return closed

    async def read(self, size: int = -1) -> Any:
        return await self._threads.run(self._file.read, size)

    async def readline(self, limit: int = -1) -> Any:
        return await self._threads.run(self._file.readline, limit)

    async def seek(self, offset: int, whence: int = 0) -> int:
        return await self._threads.run(self._file.seek, offset, whence)

    def tell(self) -> int:
        position: int = self._file.tell()
        return position

    async def write(self, data: Any) -> int:
        return await self._threads.run(self._file.write, data)

    async def abort(self) -> None:
        await self._threads.run(self._file.abort)

    async def close(self) -> None:
        await self._threads.run(self._file.close)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while line := await self.readline():
            yield line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._threads.run(self._file.__exit__, kind, error, trace)


class AwaitedStore(BaseArtifactStore):
    """The blocking face of a store, in the shape of the async one."""

    FLAVOR = "awaited"
    SUPPORTED_SCHEMES = frozenset()

    def __init__(self, blocking: SyncArtifactStore) -> None:
        self._blocking = blocking
        self.config = blocking.store.config
        self._threads = _Threads()

    def end(self) -> None:
        """End the threads in which the calls ran; each closes the connections that it opened."""
        self._threads.end(self._blocking.close)

    def __repr__(self) -> str:
        return repr(self._blocking)

    def describe(self) -> dict[str, Any]:
        return self._blocking.describe()

    @property
    def path(self) -> str:
        return self._blocking.path

    @property
    def capabilities(self) -> Capabilities:
        return self._blocking.capabilities

    @property
    def limits(self) -> Limits:
        return self._blocking.limits

    @property
    def is_local(self) -> bool:
        return self._blocking.is_local

    async def probe_capabilities(self) -> Capabilities:
        return await self._threads.run(self._blocking.probe_capabilities)

    async def close(self) -> None:
        await self._threads.run(self._blocking.close)

    def open(self, path: StrPath, mode: str = "r", **how: Any) -> Opening[Any]:
        async def make() -> AwaitedFile:
            opened = await self._threads.run(lambda: self._blocking.open(path, mode, **how))
            return AwaitedFile(opened, self._threads)

        return Opening(make)

    async def open_reader(self, path: StrPath) -> BinaryReader:
        raise NotImplementedError("`open` is the blocking face's own")

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> BinaryWriter:
        raise NotImplementedError("`open` is the blocking face's own")

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        await self._threads.run(self._blocking.copyfile, src, dst, overwrite=overwrite)

    async def exists(self, path: StrPath) -> bool:
        return await self._threads.run(self._blocking.exists, path)

    def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        return self._threads.each(self._blocking.glob(pattern))

    async def isdir(self, path: StrPath) -> bool:
        return await self._threads.run(self._blocking.isdir, path)

    async def listdir(self, path: StrPath = "") -> list[str]:
        return await self._threads.run(self._blocking.listdir, path)

    async def makedirs(self, path: StrPath) -> None:
        await self._threads.run(self._blocking.makedirs, path)

    async def mkdir(self, path: StrPath) -> None:
        await self._threads.run(self._blocking.mkdir, path)

    async def remove(self, path: StrPath) -> None:
        await self._threads.run(self._blocking.remove, path)

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        await self._threads.run(self._blocking.rename, src, dst, overwrite=overwrite)

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        await self._threads.run(self._blocking.rmtree, path, allow_root=allow_root)

    async def stat(self, path: StrPath) -> FileStat:
        return await self._threads.run(self._blocking.stat, path)

    def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        return self._threads.each(self._blocking.walk(top, topdown, onerror))

    def scan(self, path: StrPath = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        return self._threads.each(self._blocking.scan(path, recursive))

    async def size(self, path: StrPath) -> int:
        return await self._threads.run(self._blocking.size, path)

    async def read_bytes(self, path: StrPath) -> bytes:
        return await self._threads.run(self._blocking.read_bytes, path)

    async def write_bytes(self, path: StrPath, data: Buffer, options: WriteOptions | None = None) -> FileStat:
        return await self._threads.run(self._blocking.write_bytes, path, data, options)

    async def presign(self, path: StrPath, method: PresignMethod = "GET", expires_s: int = 3_600) -> str:
        return await self._threads.run(self._blocking.presign, path, method, expires_s)

    async def list_versions(self, path: StrPath) -> list[FileStat]:
        return await self._threads.run(self._blocking.list_versions, path)

    async def read_version(self, path: StrPath, version: str) -> bytes:
        return await self._threads.run(self._blocking.read_version, path, version)

    async def read_range(
        self, path: StrPath, start: int, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        return await self._threads.run(self._blocking.read_range, path, start, stop, if_match=if_match)


class BlockingStoreContract(
    ReadingRules,
    CommitRules,
    WritingRules,
    ListingRules,
    DirectoryRules,
    RemovingRules,
    CopyingRules,
    MovingRules,
    NamingRules,
    SharingRules,
    DeclarationRules,
    UseRules,
):
    """Every rule but those of ports and of event loops, kept by the blocking face.

    A subclass gives `blocking_store` and the raw hooks.
    """

    @pytest.fixture
    def blocking_store(self) -> SyncArtifactStore:
        """As `store` of the async contract, behind its blocking face."""
        raise NotImplementedError("give a fixture `blocking_store`")

    @pytest.fixture
    def store(self, blocking_store: SyncArtifactStore) -> Iterator[BaseArtifactStore]:
        store = AwaitedStore(blocking_store)
        yield store
        store.end()
