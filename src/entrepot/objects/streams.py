"""Open files over an object client: a reader by ranges, and a writer that commits on close."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Literal

from entrepot.errors import NotFound, PreconditionFailed, SourceChanged, StoreClosed, UnsupportedOperation
from entrepot.files import BinaryReader, BinaryWriter
from entrepot.models import KIB, MIB, NO_OPTIONS, Buffer, ByteRange, ObjectStat, WriteOptions
from entrepot.objects.client import ObjectClient
from entrepot.objects.uploads import OpenUpload

FIRST_WINDOW_BYTES: Final = 256 * KIB
_SEEK_WINDOW_BYTES: Final = 64 * KIB
_MAX_WINDOW_BYTES: Final = 8 * MIB
_WHOLE_BYTES: Final = 64 * MIB
"""Up to this size, an object that has no etag is read whole by its second request."""

_WAVE_BYTES: Final = 32 * MIB
_PARTS_PER_SIZE: Final = 1_000
"""After so many parts of an object of unknown length, the part size doubles (8 MiB at first: 78 GiB a doubling)."""


class ObjectReader(BinaryReader):
    """Reads one object by ranges, with read-ahead that grows while reading goes on in order.

    Every range is pinned to the etag of the first reply: an object that was replaced meanwhile is SourceChanged,
    never a mixture. Where a service tells no etag, the second request reads the object whole, and it must begin with
    what was read before; above 64 MiB its size and time are compared instead.
    Memory: one window, 8 MiB at most (64 MiB without an etag), or what one `read` asks for.
    """

    def __init__(self, client: ObjectClient, stat: ObjectStat, first: bytes, uri: str) -> None:
        self.name = uri
        self.stat = stat
        self._client = client
        self._window, self._window_start = first, 0
        self._position = 0
        self._window_bytes = FIRST_WINDOW_BYTES

    @classmethod
    async def open(cls, client: ObjectClient, key: str, uri: str) -> ObjectReader:
        """The reader, with its first window; an object up to 256 KiB is whole in it. Requests: 1. Raises: NotFound."""
        found = await client.get(key, byte_range=ByteRange(0, FIRST_WINDOW_BYTES))
        # No byte from the very start on: the object is empty, whatever a refused range tells of its size.
        stat = found.stat if len(found.data) else replace(found.stat, size_bytes=0)
        return cls(client, stat, _as_bytes(found.data), uri)

    @property
    def size_bytes(self) -> int:
        """The size of the object."""
        return self.stat.size_bytes

    def _check_open(self, operation: str) -> None:
        if self.closed:
            raise StoreClosed("the file is closed", operation=operation, uri=self.name)

    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, all that is left when negative. Requests: 0 from the window, else 1."""
        self._check_open("read")
        left = max(0, self.size_bytes - self._position)
        wanted = left if size < 0 else min(size, left)
        at = self._position - self._window_start
        head = self._window[at : at + wanted] if 0 <= at < len(self._window) else b""
        self._position += len(head)
        if len(head) == wanted:
            return head
        await self._fill(wanted - len(head))
        at = self._position - self._window_start
        tail = self._window[at : at + wanted - len(head)]
        self._position += len(tail)
        return head + tail if head else tail

    async def _fill(self, least: int) -> None:
        """Replace the window by one that begins at the position and has at least that many bytes."""
        if self._position == self._window_start + len(self._window):
            self._window_bytes = min(self._window_bytes * 2, _MAX_WINDOW_BYTES)
        else:
            self._window_bytes = _SEEK_WINDOW_BYTES
        whole = self.stat.etag is None and self.size_bytes <= _WHOLE_BYTES
        start = 0 if whole else self._position
        stop = self.size_bytes if whole else min(self.size_bytes, start + max(least, self._window_bytes))
        try:
            found = await self._client.get(self.stat.key, byte_range=ByteRange(start, stop), if_match=self.stat.etag)
        except PreconditionFailed as error:
            raise self._changed("it was replaced") from error
        except NotFound as error:
            raise self._changed("it was removed") from error
        if len(found.data) != stop - start or found.stat.size_bytes != self.size_bytes:
            raise self._changed("its size is another")
        window = _as_bytes(found.data)
        if self.stat.etag is None and (
            found.stat.modified != self.stat.modified or (whole and not window.startswith(self._window))
        ):
            raise self._changed("it was replaced")
        self._window, self._window_start = window, start

    def _changed(self, how: str) -> SourceChanged:
        return SourceChanged(
            f"the object changed while it was read: {how}; open it again", operation="read", uri=self.name
        )

    async def readline(self, limit: int = -1) -> bytes:
        """Read to the next newline, the end, or `limit` bytes."""
        self._check_open("readline")
        at = self._position - self._window_start
        if 0 <= at < len(self._window):
            cut = self._window.find(b"\n", at) + 1
            if cut and (limit < 0 or cut - at <= limit):
                self._position += cut - at
                return self._window[at:cut]
        return await super().readline(limit)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, as `io.IOBase.seek`; no request is made."""
        self._check_open("seek")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}.get(whence)
        if base is None:
            raise ValueError(f"invalid whence: {whence}")
        if base + offset < 0:
            raise ValueError(f"negative seek position: {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        self._check_open("tell")
        return self._position

    async def close(self) -> None:
        self.closed = True
        self._window = b""


def _as_bytes(data: Buffer) -> bytes:
    return data if isinstance(data, bytes) else bytes(data)


class ObjectWriter(BinaryWriter):
    """Writes one object: published by `close`, dropped by anything else.

    Up to one part is kept and sent as one PUT at `close`; more becomes a multipart upload, several parts at once.
    Parts are sent inside `write` and `close`, and no task outlives the call. Memory: 40 MiB, and more only after
    78 GiB, where parts grow.
    """

    def __init__(
        self,
        client: ObjectClient,
        key: str,
        uri: str,
        options: WriteOptions = NO_OPTIONS,
        *,
        on_abandon: Callable[[OpenUpload, asyncio.AbstractEventLoop], None],
    ) -> None:
        self.name = uri
        self.result: ObjectStat | None = None
        self._client, self._key, self._options = client, key, options
        self._on_abandon, self._loop = on_abandon, asyncio.get_running_loop()
        self._first_part_bytes = client.limits.part_size_bytes(None)
        self._room: bytearray = bytearray()
        self._full: list[Buffer] = []
        self._numbered = 0
        self._written = 0
        self._open: OpenUpload | None = None
        self._end: Literal["", "published", "aborted", "failed"] = ""

    def _part_bytes(self, number: int) -> int:
        size = self._first_part_bytes << ((number - 1) // _PARTS_PER_SIZE)
        return min(size, self._client.limits.part_max_bytes)

    def _next_part_bytes(self) -> int:
        """The size of the part that is being filled."""
        if not self._client.capabilities.multipart:
            return self._client.limits.put_max_bytes
        return self._part_bytes(self._numbered + len(self._full) + 1)

    async def write(self, data: Buffer) -> int:
        """Take the bytes; nothing is visible yet. Requests: none until 32 MiB wait, then 1 a part."""
        if self.closed:
            raise StoreClosed("the file is closed", operation="write", uri=self.name)
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            size = self._next_part_bytes()
            take = min(size - len(self._room), len(view) - at)
            if take == size:
                # A whole part of the caller's own memory: not copied unless it must outlive this call.
                self._full.append(view[at : at + take])
            else:
                self._room += view[at : at + take]
                if len(self._room) == size:
                    self._full.append(self._room)
                    self._room = bytearray()
            at += take
            if len(self._full) * size >= _WAVE_BYTES and at < len(view):
                await self._guarded(self._send_full)
        if len(self._full) > 1 and sum(map(len, self._full)) >= _WAVE_BYTES:
            await self._guarded(self._send_full)
        self._full = [bytes(one) if isinstance(one, memoryview) else one for one in self._full]
        self._written += len(view)
        return len(view)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a step; whatever ends it early drops the upload, shielded and bounded in time."""
        try:
            await work()
        except BaseException:
            self._end, self.closed = "failed", True
            await self._drop()
            raise

    async def _drop(self) -> None:
        self._full, self._room = [], bytearray()
        if self._open is not None:
            await self._open.abort()

    async def _send_full(self) -> None:
        """Upload the full parts at once."""
        if not self._client.capabilities.multipart:
            raise UnsupportedOperation(
                "the object is larger than one request may be, and the service has no parts",
                operation="write",
                uri=self.name,
            )
        parts, self._full = self._full, []
        first = self._numbered + 1
        self._numbered += len(parts)
        if self._numbered > self._client.limits.max_parts:
            raise UnsupportedOperation(
                f"the object has more than {self._client.limits.max_parts:,} parts", operation="write", uri=self.name
            )
        if self._open is None:
            self._open = OpenUpload(self._client, self._key, self._options)
            await self._open.create()
        await self._open.put_all(parts, first)

    async def close(self) -> None:
        """Publish what was written. Requests: 1 up to a part, else the rest of the parts and 1.

        Raises: AlreadyExists or PreconditionFailed by the conditions of the write; StoreClosed where an earlier
        write failed and that was passed over.
        """
        if self._end == "failed":
            raise StoreClosed("a write failed before, so nothing was published", operation="close", uri=self.name)
        if self.closed:
            return
        await self._guarded(self._publish)
        self._end, self.closed = "published", True

    async def _publish(self) -> None:
        parts = [*self._full, self._room] if self._room else self._full
        if self._open is None and len(parts) <= 1:
            self._full, self._room = [], bytearray()
            self.result = await self._client.put(self._key, parts[0] if parts else b"", self._options)
            return
        self._full, self._room = parts, bytearray()
        if parts:
            await self._send_full()
        assert self._open is not None
        self.result = await self._open.complete()

    async def abort(self) -> None:
        """Drop what was written. Requests: 1 if parts were uploaded."""
        if not self.closed:
            self._end, self.closed = "aborted", True
        await self._drop()

    def tell(self) -> int:
        return self._written

    def abandon(self) -> None:
        self.closed, self._end = True, "aborted"
        upload = getattr(self, "_open", None)
        if upload is not None and upload.is_open:
            self._on_abandon(upload, self._loop)
