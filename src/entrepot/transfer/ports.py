"""What bulk copy needs of a store: to be copied from (`Source`) and to (`Sink`). Every store satisfies both."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from entrepot.errors import StoreError
from entrepot.models import Buffer, Capabilities, CopyItem, FileData, FileStat, Limits, WriteItem, WriteOptions
from entrepot.rates import Rate


class PartDigest(Protocol):
    """Verifies a large file from its parts as they are read (see `entrepot.files.PartChecksum`)."""

    in_order: bool

    def update(self, number: int, data: Buffer, /) -> None: ...
    def verified(self) -> str | None: ...


class PartSink(Protocol):
    """A large file under way (see `entrepot.files.PartWriter`). `data` is the sink's only until `put_part` returns."""

    part_size_bytes: int
    in_order: bool
    uploads_multipart: bool

    async def put_part(self, number: int, data: Buffer, /) -> None: ...
    def result(self) -> FileStat: ...


class Located(Protocol):
    """What both ends tell of themselves."""

    @property
    def path(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def batch_items(self) -> int: ...
    @property
    def is_local(self) -> bool: ...
    def scan(self, path: Any = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]: ...
    async def stat(self, path: Any, /) -> FileStat: ...
    def paced(self, *, concurrency: int | None = None, rate: Rate | None = None) -> AbstractContextManager[None]: ...


class Source(Located, Protocol):
    """A store that is copied from. `FileStat`s are as `scan` or `stat` told them; uris are below `path`."""

    async def read_batch(self, files: Sequence[FileStat], /) -> list[FileData | StoreError]: ...
    async def read_part(self, file: FileStat, start: int, into: memoryview, /) -> None: ...
    def part_checksum(self, file: FileStat, part_size_bytes: int, /) -> PartDigest | None: ...
    async def remove(self, path: Any, /) -> None: ...
    async def remove_empty_directories(self, path: Any, /) -> None: ...


class LinkedSource(Source, Protocol):
    """A source whose `capabilities.links` is true: it tells of symbolic links, and follows them when asked to.

    disk: reads whatever `resolve` has found, which may lie outside of the store.
    """

    def scan(
        self, path: Any = "", recursive: bool = True, *, links: bool = False
    ) -> AsyncGenerator[FileStat, None]: ...
    async def resolve(self, path: Any, /) -> FileStat: ...
    def disk(self) -> LinkedSource: ...


class Sink(Located, Protocol):
    """A store that is copied to. Paths are relative to its root."""

    async def write_batch(self, items: Sequence[WriteItem], /) -> list[FileStat | StoreError]: ...
    def open_parts(
        self, path: Any, size_bytes: int, options: WriteOptions, /
    ) -> AbstractAsyncContextManager[PartSink]: ...
    def copies_natively_from(self, source: object, /) -> bool: ...
    async def copy_batch(self, source: Any, items: Sequence[CopyItem], /) -> list[FileStat | StoreError]: ...
    async def makedirs(self, path: Any, /) -> None: ...
    async def probe_capabilities(self) -> Capabilities: ...


class LinkedSink(Sink, Protocol):
    """A sink whose `capabilities.links` is true: it can make a link as another such store has it."""

    async def copy_link(self, source: Any, link: FileStat, path: Any, /, *, overwrite: bool) -> None: ...
