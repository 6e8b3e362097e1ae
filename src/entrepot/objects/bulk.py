"""What bulk copy needs of an object store: pinned reads, parts in any order, copies on the service's side."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from entrepot.errors import AlreadyExists, NotFound, PreconditionFailed, SourceChanged
from entrepot.files import PartWriter
from entrepot.models import Buffer, ByteRange, CopyItem, FileData, FileStat, ObjectStat, WriteOptions
from entrepot.objects.client import ObjectClient
from entrepot.objects.listing import file_stat
from entrepot.objects.trees import copy_object
from entrepot.objects.uploads import OpenUpload


def source_changed(operation: str, uri: str, how: str = "it was replaced") -> SourceChanged:
    """What a read pinned to a listing raises."""
    return SourceChanged(f"the file changed since it was listed: {how}; copy it again", operation=operation, uri=uri)


async def read_whole(client: ObjectClient, key: str, file: FileStat) -> FileData:
    """One small file, the one that the listing saw. Requests: 1."""
    try:
        found = await client.get(key, if_match=file.etag)
    except PreconditionFailed as error:
        raise source_changed("read_batch", file.uri) from error
    if len(found.data) != file.size_bytes:
        raise source_changed("read_batch", file.uri, "it has another size")
    return FileData(found.data, file_stat(found.stat, file.uri))


async def read_part(client: ObjectClient, key: str, file: FileStat, start: int, into: memoryview) -> None:
    """Fill the buffer from the file that the listing saw. Requests: 1."""
    try:
        found = await client.get(key, byte_range=ByteRange(start, start + len(into)), if_match=file.etag, into=into)
    except PreconditionFailed as error:
        raise source_changed("read_part", file.uri) from error
    if len(found.data) != len(into) or found.stat.size_bytes != file.size_bytes:
        raise source_changed("read_part", file.uri, "it has another size")


async def copy_item(
    client: ObjectClient, key: str, source: ObjectClient, source_key: str, item: CopyItem, *, exclusive: bool
) -> FileStat:
    """One native copy, pinned to the source that the listing saw.

    Requests: those of `copy_object`, and a look first where `if_none_match` needs one.
    exclusive: the service decides `if_none_match` of a copy; else a look comes before.
    """
    file, options, uri = item.source, item.options, client.uri(key)
    if options.if_none_match and not exclusive:
        await require_absent(client, key, uri, "copy_batch")
        options = WriteOptions(options.content_type, options.metadata, options.mtime_s)
    seen = ObjectStat(source_key, file.size_bytes, etag=file.etag)
    try:
        copied = await copy_object(client, key, source, source_key, options=options, seen=seen)
    except PreconditionFailed as error:
        raise source_changed("copy_batch", file.uri) from error
    if copied.size_bytes != file.size_bytes:  # not every service looks at the etag
        raise source_changed("copy_batch", file.uri, "it has another size")
    return FileStat(uri, file.size_bytes, copied.modified, etag=copied.etag, version=copied.version)


async def require_absent(client: ObjectClient, key: str, uri: str, operation: str) -> None:
    """Raise AlreadyExists where an object is; another writer may still come between. Requests: 1."""
    try:
        await client.head(key)
    except NotFound:
        return
    raise AlreadyExists("a file is there already; pass overwrite=True to replace it", operation=operation, uri=uri)


class ObjectParts(PartWriter):
    """One large object, its parts in any order and at once."""

    uploads_multipart = True

    def __init__(self, upload: OpenUpload, uri: str, size_bytes: int) -> None:
        self.part_size_bytes = upload.client.limits.part_size_bytes(size_bytes)
        self._upload, self._uri, self._size_bytes = upload, uri, size_bytes
        self._count = -(-size_bytes // self.part_size_bytes)
        self._published: ObjectStat | None = None
        self.in_order = upload.in_order

    async def put_part(self, number: int, data: Buffer) -> None:
        expected = min(self.part_size_bytes, self._size_bytes - (number - 1) * self.part_size_bytes)
        if number < 1 or memoryview(data).nbytes != expected:
            raise ValueError(f"part {number} must have {max(0, expected):,} bytes")
        if self._count:
            await self._upload.put(number, data)

    async def publish(self) -> None:
        """Complete the object. Raises SourceChanged where parts are missing."""
        missing = self._count - len(self._upload.parts)
        if missing:
            raise SourceChanged(
                f"{missing:,} of {self._count:,} parts were not written, so nothing is published",
                operation="open_parts",
                uri=self._uri,
            )
        if self._count:
            self._published = await self._upload.complete()
        else:
            upload = self._upload
            self._published = await upload.client.put(upload.key, b"", upload.options)

    def result(self) -> FileStat:
        if self._published is None:
            raise ValueError("the parts are not published")
        return file_stat(self._published, self._uri)


@asynccontextmanager
async def open_parts(
    client: ObjectClient, key: str, uri: str, size_bytes: int, options: WriteOptions
) -> AsyncGenerator[PartWriter, None]:
    """A multipart upload, completed by a clean exit and aborted by any other. Requests: 2, and 1 a part."""
    upload = OpenUpload(client, key, options, size_bytes)
    if size_bytes:
        await upload.create()
    parts = ObjectParts(upload, uri, size_bytes)
    try:
        yield parts
        await parts.publish()
    except BaseException:
        await upload.abort()
        raise
