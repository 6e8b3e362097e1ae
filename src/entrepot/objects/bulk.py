"""What bulk copy needs of an object store: pinned reads, parts in any order, copies on the service's side."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from entrepot.errors import AlreadyExists, NotFound, PreconditionFailed, SourceChanged, UploadGone
from entrepot.files import PartWriter
from entrepot.models import (
    Buffer,
    ByteRange,
    CopyItem,
    FileData,
    FileStat,
    ObjectStat,
    Part,
    Resume,
    Upload,
    WriteOptions,
)
from entrepot.objects.client import ObjectClient
from entrepot.objects.listing import file_stat
from entrepot.objects.trees import copy_object
from entrepot.objects.uploads import OpenUpload
from entrepot.resuming import UploadToken, is_final

_log = logging.getLogger(__name__)


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
        self.held_parts = {number: part.size_bytes for number, part in upload.parts.items()}
        self.is_kept = False
        opened = upload.upload
        if opened is not None and upload.client.outlives_process(opened):
            self.resume_token = UploadToken(uri, opened.upload_id, size_bytes, self.part_size_bytes).to_text()

    async def put_part(self, number: int, data: Buffer) -> Part:
        expected = min(self.part_size_bytes, self._size_bytes - (number - 1) * self.part_size_bytes)
        if number < 1 or memoryview(data).nbytes != expected:
            raise ValueError(f"part {number} must have {max(0, expected):,} bytes")
        return await self._upload.put(number, data) if self._count else Part(number, 0)

    async def keep(self) -> None:
        """As `PartWriter.keep`; what an upload costs while it is kept is the service's to say."""
        if self.resume_token is None:
            await super().keep()
        self.is_kept = True

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
    client: ObjectClient,
    key: str,
    uri: str,
    size_bytes: int,
    options: WriteOptions,
    *,
    resume: Resume | None = None,
) -> AsyncGenerator[PartWriter, None]:
    """A multipart upload, completed by a clean exit, and aborted by any other unless it is kept.

    Requests: 2, and 1 a part; to resume, a listing of the parts in place of the first.
    """
    upload = OpenUpload(client, key, options, size_bytes)
    if resume is not None:
        await _go_on(upload, uri, size_bytes, resume)
    elif size_bytes:
        await upload.create()
    parts = ObjectParts(upload, uri, size_bytes)
    try:
        yield parts
        await parts.publish()
    except BaseException as error:
        if parts.is_kept and not is_final(error):
            _log.debug("an unfinished upload of %s is kept, to be gone on with", uri)
        else:
            await upload.abort()
        raise


async def _go_on(opened: OpenUpload, uri: str, size_bytes: int, resume: Resume) -> None:
    """Have the upload that the token names. The service's list is the truth: of parts, and of their checksums."""
    client = opened.client
    token = UploadToken.parse(resume.token, operation="open_parts", uri=uri)
    token.require_size(size_bytes, client.limits.part_size_bytes(size_bytes), operation="open_parts")
    upload = Upload(opened.key, token.upload_id, opened.options, size_bytes)
    _require_known(client, upload, "open_parts")
    listed = await client.continue_upload(upload)
    noted = {part.number: part for part in resume.parts}
    held = (
        _held(part, noted.get(part.number)) for part in listed if part.size_bytes == token.planned_bytes(part.number)
    )
    opened.go_on(upload, [part for part in held if part is not None])


def _held(listed: Part, noted: Part | None) -> Part | None:
    """The part as both tell it; None where what is held is not what was written down, and must be put again."""
    if noted is None:
        return listed
    told = ((listed.size_bytes, noted.size_bytes), (listed.etag, noted.etag), (listed.crc32c, noted.crc32c))
    if any(one != other for one, other in told if one not in (None, "") and other not in (None, "")):
        return None
    return replace(listed, md5=noted.md5, crc32c=noted.crc32c if listed.crc32c is None else listed.crc32c)


async def drop_parts(client: ObjectClient, key: str, uri: str, token: str) -> None:
    """Abort the upload that a token names. Requests: those of `abort_upload`."""
    named = UploadToken.parse(token, operation="drop_parts", uri=uri)
    upload = Upload(key, named.upload_id, size_bytes=named.size_bytes)
    _require_known(client, upload, "drop_parts")
    await client.abort_upload(upload)


async def find_completed(client: ObjectClient, key: str, uri: str, resume: Resume) -> FileStat | None:
    """The object that the parts of an upload have become, where they prove it. Requests: 1 or 2."""
    token = UploadToken.parse(resume.token, operation="open_parts", uri=uri)
    parts = sorted(resume.parts, key=lambda part: part.number)
    if [part.number for part in parts] != list(range(1, len(parts) + 1)):
        return None
    if sum(part.size_bytes for part in parts) != token.size_bytes:
        return None
    found = await client.find_completed(Upload(key, token.upload_id, size_bytes=token.size_bytes), parts)
    return file_stat(found, uri) if found is not None else None


def _require_known(client: ObjectClient, upload: Upload, operation: str) -> None:
    if not client.outlives_process(upload):
        raise UploadGone(
            "the token is of another service; write it anew", operation=operation, uri=client.uri(upload.key)
        )
