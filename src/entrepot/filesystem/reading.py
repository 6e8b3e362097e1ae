"""The half of the store that changes nothing: what is at a path, listing, reading."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final

import anyio

from entrepot.errors import (
    BadResponse,
    ContainerNotFound,
    IsADirectory,
    NotADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    UnsupportedOperation,
)
from entrepot.filesystem.listing import Found, Listings, Ways, file_stat, go_down, join_key, key_order, shown, walk
from entrepot.filesystem.primitives import Entry, FileSystemPrimitives, RandomAccessFile
from entrepot.filesystem.streams import CLEANUP_S, FIRST_WINDOW_BYTES, FileReader
from entrepot.models import ByteRange, Capabilities, FileStat
from entrepot.paths import TEMPORARY_PREFIX, Root, StrPath, path_text, printable
from entrepot.patterns import GlobPattern

_UNREADABLE: Final = (NotFound, NotADirectory, PermissionDenied)


class ReadableFileSystemStore(FileSystemPrimitives):
    """Finding, listing and reading."""

    scans_in_order: ClassVar[bool] = True
    CAPABILITIES: ClassVar[Capabilities] = Capabilities(
        atomic_rename=True,
        directories="real",
        metadata=False,
        content_type=False,
        multipart=False,
        etags=False,
    )
    """What the file system can do; a flavor replaces what is different with it."""

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self._root = self._parse_root(self.config.path)

    @classmethod
    def _parse_root(cls, path: str) -> Root:
        """Container and key of the root; a flavor may refuse more than what every store does."""
        return Root.parse(path)

    @property
    def path(self) -> str:
        return self._root.uri

    @property
    def capabilities(self) -> Capabilities:
        return self.CAPABILITIES

    # ---- keys and failures ------------------------------------------------------------------------

    def _key(self, path: StrPath, operation: str) -> str:
        """The key of a path, the root's prefix included. Raises InvalidPath, PathOutsideStore."""
        return self._root.key(self._root.relative(path, operation=operation))

    def _uri(self, key: str) -> str:
        return self._root.uri_of_key(shown(key))

    def _is_root(self, key: str) -> bool:
        return key == self._root.prefix

    @contextmanager
    def _telling(self, operation: str, key: str) -> Iterator[None]:
        """Errors of a primitive come out as the family's members, with operation and address."""
        try:
            yield
        except StoreError as error:
            self._placed(error, operation, key)
            raise
        except Exception as error:
            told = self._failure(error)
            if told is None:
                raise
            raise self._placed(told, operation, key) from error

    def _placed(self, error: StoreError, operation: str, key: str) -> StoreError:
        if not error.uri:
            error.operation, error.uri = operation, self._uri(key)
            if isinstance(error, OSError):
                error.filename = error.uri
        return error

    # ---- what is there ----------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Finish what a dropped writer left; the writing half has some."""

    async def _look(self, key: str, operation: str) -> Entry | None:
        """What is at a key, None where nothing is. Requests: 1."""
        await self._settle()
        try:
            with self._telling(operation, key):
                entry = await self._stat(key)
        except ContainerNotFound:
            raise
        except (NotFound, NotADirectory):
            return None
        # The configured root may itself be a link, and so may what is above it; nothing below is followed.
        if entry.kind == "other" and f"{self._root.prefix}/".startswith(f"{key}/"):
            return replace(entry, kind="directory")
        return entry

    async def _file(self, key: str, operation: str) -> Entry:
        """The file at a key. Requests: 1. Raises: NotFound, IsADirectory, UnsupportedOperation for a link or device."""
        entry = None if self._is_root(key) else await self._look(key, operation)
        if self._is_root(key) or (entry is not None and entry.kind == "directory"):
            raise IsADirectory("a directory is there, not a file", operation=operation, uri=self._uri(key))
        if entry is None:
            raise NotFound("no such file", operation=operation, uri=self._uri(key))
        if entry.kind == "other":
            raise UnsupportedOperation(
                "a symbolic link or a device is there, which a store does not follow",
                operation=operation,
                uri=self._uri(key),
            )
        return entry

    async def stat(self, path: StrPath) -> FileStat:
        """What is known of a file or directory. Requests: 1. Raises: NotFound."""
        key = self._key(path, "stat")
        entry = await self._look(key, "stat")
        if entry is None and self._is_root(key):
            entry = Entry("", "directory")
        if entry is None or entry.kind == "other":
            raise NotFound("no such file or directory", operation="stat", uri=self._uri(key))
        return file_stat(self._uri(key), entry)

    async def exists(self, path: StrPath) -> bool:
        """Whether a file or a directory is there. Requests: 1."""
        key = self._key(path, "exists")
        entry = Entry("") if self._is_root(key) else await self._look(key, "exists")
        return entry is not None and entry.kind != "other"

    async def isdir(self, path: StrPath) -> bool:
        """Whether a directory is there; the root always is one. Requests: 1."""
        key = self._key(path, "isdir")
        if self._is_root(key):
            return True
        entry = await self._look(key, "isdir")
        return entry is not None and entry.kind == "directory"

    # ---- listing ----------------------------------------------------------------------------------

    async def _everything_in(self, key: str, operation: str) -> list[Entry]:
        """All that is in a directory, temporaries and links too. Requests: 1, and 1 more to say why it failed."""
        try:
            with self._telling(operation, key):
                entries = await self._list(key)
        except StoreError as error:
            if error.retryable or isinstance(error, (PermissionDenied, ContainerNotFound)):
                raise
            entry = await self._look(key, operation)
            if entry is None and self._is_root(key):
                return []  # a root that was not made yet is empty
            if entry is None:
                raise NotFound("no such directory", operation=operation, uri=self._uri(key)) from error
            if entry.kind != "directory":
                raise NotADirectory("a file is there", operation=operation, uri=self._uri(key)) from error
            raise
        found = [entry for entry in entries if entry.name not in (".", "..")]
        for entry in found:
            if not entry.name or "/" in entry.name or "\0" in entry.name:
                raise BadResponse(
                    f"the server lists a name that no file can have: {printable(entry.name)!r}",
                    operation=operation,
                    uri=self._uri(key),
                )
        return found

    async def _children(self, operation: str, key: str) -> list[Entry]:
        """The files and directories in a directory, in the order of keys. Requests: 1."""
        entries = await self._everything_in(key, operation)
        kept = [one for one in entries if one.kind != "other" and not one.name.startswith(TEMPORARY_PREFIX)]
        return sorted(kept, key=key_order)

    async def listdir(self, path: StrPath = "") -> list[str]:
        """The names in a directory, files and directories, sorted. Requests: 1. Raises: NotFound, NotADirectory."""
        await self._settle()
        return sorted(shown(entry.name) for entry in await self._children("listdir", self._key(path, "listdir")))

    def _listings(self, operation: str) -> Listings:
        return Listings(partial(self._children, operation))

    async def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[Found, None]:
        key = self._key(top, "walk")
        await self._settle()
        async with aclosing(
            walk(self._listings("walk"), key, uri_of=self._uri, topdown=topdown, onerror=onerror)
        ) as levels:
            async for level in levels:
                yield level

    async def scan(self, path: StrPath = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        """Everything in a directory, in the order of keys. Requests: 1 a directory, up to 16 at once.

        Raises: NotFound, NotADirectory; what a directory below could not be listed for.
        """
        key = self._key(path, "scan")
        await self._settle()
        async with aclosing(go_down(self._listings("scan"), key, enters=lambda _depth, _name: recursive)) as found:
            async for below, entry in found:
                yield file_stat(self._uri(below), entry)

    async def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        """The full URIs that match, in the order of keys. Requests: 1 a directory that may hold a match."""
        relative = self._root.relative(pattern, operation="glob")
        parsed = GlobPattern.parse(f"{relative}/" if relative and path_text(pattern).endswith("/") else relative)
        ways = Ways(parsed)
        top = join_key(self._root.prefix, ways.start) if ways.start else self._root.prefix
        start = len(self._root.prefix) + 1 if self._root.prefix else 0
        await self._settle()
        try:
            async with aclosing(
                go_down(self._listings("glob"), top, enters=ways.enters, passes_over=_UNREADABLE)
            ) as found:
                async for key, entry in found:
                    if parsed.matches(key[start:], is_dir=entry.kind == "directory"):
                        yield self._uri(key)
        except _UNREADABLE as error:
            if error.uri != self._uri(top):
                raise

    # ---- reading ----------------------------------------------------------------------------------

    async def _open_file(self, key: str, operation: str) -> tuple[RandomAccessFile, Entry]:
        """A file, and what it is; one that cannot tell is closed again. Requests: 3."""
        entry = await self._file(key, operation)
        with self._telling(operation, key):
            file = await self._open_read(key, entry)
        try:
            with self._telling(operation, key):
                return file, await file.stat()
        except BaseException:
            with anyio.move_on_after(CLEANUP_S, shield=True):
                await self._close_file(file, key)
            raise

    @asynccontextmanager
    async def _opened(self, key: str, operation: str) -> AsyncGenerator[tuple[RandomAccessFile, Entry], None]:
        """A file, and what it is, for the length of a block. Requests: 4."""
        file, entry = await self._open_file(key, operation)
        try:
            yield file, entry
        finally:
            with anyio.move_on_after(CLEANUP_S, shield=True):
                await self._close_file(file, key)

    async def _read_at(self, file: RandomAccessFile, key: str, start: int, size: int) -> bytes:
        """Exactly so many bytes; SourceChanged where they are not there. Requests: 1."""
        if not size:
            return b""
        with self._telling("read", key):
            data = await file.read_at(start, size)
        if len(data) != size:
            raise SourceChanged(
                "the file changed while it was read: it is shorter; open it again",
                operation="read",
                uri=self._uri(key),
            )
        return data

    async def _close_file(self, file: RandomAccessFile, key: str) -> None:
        with self._telling("close", key):
            await file.close()

    async def open_reader(self, path: StrPath) -> FileReader:
        """Requests: 5 for a file up to 256 KiB, which is read at once; else 4 here, and 1 to close it."""
        key = self._key(path, "open")
        file, entry = await self._open_file(key, "open")
        read_at, close = partial(self._read_at, file, key), partial(self._close_file, file, key)
        size = entry.size_bytes
        whole = False
        try:
            first = await read_at(0, min(size, FIRST_WINDOW_BYTES))
            whole = size <= FIRST_WINDOW_BYTES
        except BaseException:
            whole = True
            raise
        finally:
            if whole:  # nothing is left to read, or nobody is left to read it
                with anyio.move_on_after(CLEANUP_S, shield=True):
                    await close()
        return FileReader(self._uri(key), size, first, read_at, None if whole else close)

    async def read_bytes(self, path: StrPath) -> bytes:
        """The whole content of a file. Requests: 5. Raises: NotFound, IsADirectory."""
        key = self._key(path, "read_bytes")
        async with self._opened(key, "read_bytes") as (file, entry):
            return await self._read_at(file, key, 0, entry.size_bytes)

    async def read_range(
        self, path: StrPath, start: int, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        """As the contract's. Requests: 5."""
        span = ByteRange(start, stop)
        key = self._key(path, "read_range")
        async with self._opened(key, "read_range") as (file, entry):
            if if_match is not None and entry.etag != if_match:
                raise PreconditionFailed(
                    "the file is another by now; read it again", operation="read_range", uri=self._uri(key)
                )
            size = entry.size_bytes
            end = size if span.stop is None else min(span.stop, size)
            return await self._read_at(file, key, start, max(0, end - start))
