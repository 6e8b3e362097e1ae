"""The bulk-copy ports of a store that has only the contract's methods: correct first, one file at a time each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol, TypeVar

import anyio

from entrepot.errors import NotFound, SourceChanged, StoreError
from entrepot.files import BinaryWriter, PartWriter
from entrepot.models import Buffer, FileData, FileStat, Limits, Part, WriteItem, WriteOptions
from entrepot.paths import StrPath

T = TypeVar("T")
R = TypeVar("R")


_REMOVED_AT_ONCE: Final = 16


class _Store(Protocol):
    async def remove(self, path: StrPath) -> None: ...
    async def stat(self, path: StrPath) -> FileStat: ...
    async def read_bytes(self, path: StrPath) -> bytes: ...
    async def read_range(
        self, path: StrPath, start: int, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes: ...
    async def write_bytes(self, path: StrPath, data: Buffer, options: WriteOptions | None = None) -> FileStat: ...


async def each(items: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R | StoreError]:
    """`work` on every item at once, with the result or the StoreError of each, in the order given.

    Items are as many as the caller wants in flight. Any other exception ends the whole batch.
    """
    results: list[R | StoreError | None] = [None] * len(items)

    async def one(at: int, item: T) -> None:
        try:
            results[at] = await work(item)
        except StoreError as error:
            results[at] = error

    if len(items) == 1:
        await one(0, items[0])
    else:
        async with anyio.create_task_group() as tasks:
            for at, item in enumerate(items):
                tasks.start_soon(one, at, item)
    return results  # type: ignore[return-value]  # every place was filled, or the group raised


async def read_each(store: _Store, files: Sequence[FileStat]) -> list[FileData | StoreError]:
    async def read(file: FileStat) -> FileData:
        data = await store.read_bytes(file.uri)
        check_unchanged(file, await store.stat(file.uri), operation="read_batch")
        if len(data) != file.size_bytes:
            raise SourceChanged("the file's size changed while it was read", operation="read_batch", uri=file.uri)
        return FileData(data, FileStat(uri=file.uri, size_bytes=len(data), etag=file.etag))

    return await each(files, read)


def check_unchanged(expected: FileStat, found: FileStat, *, operation: str) -> None:
    """Raise SourceChanged where two looks at a file saw different content."""
    if found.size_bytes != expected.size_bytes or (expected.etag and found.etag and found.etag != expected.etag):
        raise SourceChanged(
            "the file changed since it was listed; copy it again", operation=operation, uri=expected.uri
        )


async def read_part(store: _Store, file: FileStat, start: int, into: memoryview) -> None:
    data = await store.read_range(file.uri, start, start + len(into))
    check_unchanged(file, await store.stat(file.uri), operation="read_part")
    if len(data) != len(into):
        raise SourceChanged("the file ends before its listed size", operation="read_part", uri=file.uri)
    into[:] = data


async def write_each(store: _Store, items: Sequence[WriteItem]) -> list[FileStat | StoreError]:
    return await each(items, lambda item: store.write_bytes(item.path, item.data, item.options))


async def remove_each(store: _Store, paths: Sequence[str]) -> list[StoreError]:
    failures: list[StoreError] = []
    for start in range(0, len(paths), _REMOVED_AT_ONCE):
        results = await each(paths[start : start + _REMOVED_AT_ONCE], store.remove)
        failures += [one for one in results if isinstance(one, StoreError) and not isinstance(one, NotFound)]
    return failures


class _Sequential(PartWriter):
    in_order = True

    def __init__(self, writer: BinaryWriter, size_bytes: int) -> None:
        self._writer, self._size_bytes = writer, size_bytes
        self.part_size_bytes = Limits().part_size_bytes(size_bytes)
        self._next = 1

    async def put_part(self, number: int, data: Buffer) -> Part:
        if number != self._next:
            raise ValueError(f"parts come in order here: expected {self._next}, got {number}")
        self._next += 1
        return Part(number, await self._writer.write(data))

    def check_whole(self) -> None:
        """Raise where what was written is not the size that was announced."""
        if self._writer.tell() != self._size_bytes:
            raise SourceChanged(
                f"{self._writer.tell():,} of {self._size_bytes:,} bytes arrived; nothing was published",
                operation="open_parts",
                uri=self._writer.name,
            )

    def result(self) -> FileStat:
        return FileStat(uri=self._writer.name, size_bytes=self._size_bytes)


def parts_through_a_writer(
    open_writer: Callable[[], Awaitable[BinaryWriter]], size_bytes: int
) -> AbstractAsyncContextManager[PartWriter]:
    """Parts in order, into one writer."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[PartWriter, None]:
        writer = await open_writer()
        async with writer:
            parts = _Sequential(writer, size_bytes)
            yield parts
            parts.check_whole()

    return opened()
