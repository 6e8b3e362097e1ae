"""Open files of the local store: one hop to a worker thread for each 256 KiB read and each MiB written."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import anyio
from anyio import to_thread

from entrepot.errors import StoreClosed
from entrepot.files import BinaryReader, BinaryWriter
from entrepot.flavors.local.faults import telling
from entrepot.flavors.local.hops import Check, interruptible
from entrepot.flavors.local.writes import Draft
from entrepot.models import KIB, MIB, Buffer

T = TypeVar("T")

_log = logging.getLogger(__name__)

READ_AHEAD: Final = 256 * KIB
WRITE_BEHIND: Final = 1 * MIB


class LocalReader(BinaryReader):
    """A file open for reading. It keeps the content that it was opened on, whatever takes the file's place."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._raw = io.FileIO(descriptor, "rb")
        # A thread that a cancelled task left behind may still be reading, while the next one begins or all is closed.
        self._lock = threading.Lock()
        self._position = 0
        self._buffer = b""
        self._buffer_start = 0

    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, all that is left when negative; empty at the end."""
        self._require_open()
        if size == 0:
            return b""
        if size < 0:
            data = await self._hop(partial(self._read_at, self._position, -1))
        else:
            data = self._held(size)
            if len(data) < size:
                data += await self._fill(self._position + len(data), size - len(data))
        self._position += len(data)
        return data

    def _held(self, size: int) -> bytes:
        """What the read-ahead has from the position, up to `size` bytes."""
        offset = self._position - self._buffer_start
        return self._buffer[offset : offset + size] if offset >= 0 else b""

    async def _fill(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`, with read-ahead where they are few."""
        if size >= READ_AHEAD:
            return await self._hop(partial(self._read_at, start, size))
        self._buffer = await self._hop(partial(self._read_at, start, READ_AHEAD))
        self._buffer_start = start
        return self._buffer[:size]

    def _read_at(self, start: int, size: int) -> bytes:
        try:
            with self._lock:
                self._require_open()
                return self._read_alone(start, size)
        finally:
            if self.closed:
                self._release()

    def _read_alone(self, start: int, size: int) -> bytes:
        self._raw.seek(start)
        if size < 0:
            return self._raw.readall()
        data = self._raw.read(size)
        if len(data) in (0, size):
            return data
        parts = [data]  # the system may give less than was asked for; only nothing means the end
        missing = size - len(data)
        while missing and (more := self._raw.read(missing)):
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)

    async def _hop(self, work: Callable[[], T]) -> T:
        with telling("read", self.name):
            return await to_thread.run_sync(work)

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, as `io.IOBase.seek`."""
        self._require_open()
        if whence == io.SEEK_END:
            offset += os.fstat(self._raw.fileno()).st_size
        elif whence == io.SEEK_CUR:
            offset += self._position
        elif whence != io.SEEK_SET:
            raise ValueError(f"invalid whence: {whence}")
        if offset < 0:
            raise ValueError(f"negative seek position {offset}")
        self._position = offset
        return offset

    def tell(self) -> int:
        """The position."""
        self._require_open()
        return self._position

    async def close(self) -> None:
        """Release the file; harmless twice."""
        self._close()

    def _close(self) -> None:
        self.closed = True
        self._buffer = b""
        self._release()

    def _release(self) -> None:
        """Release the descriptor; where a thread is reading, it does so itself, as soon as it has read."""
        if self._lock.acquire(blocking=False):
            try:
                self._raw.close()
            finally:
                self._lock.release()

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self._close()

    def _require_open(self) -> None:
        if self.closed:
            raise StoreClosed("the file is closed", operation="read", uri=self.name)


class LocalWriter(BinaryWriter):
    """A file being written. Up to 1 MiB waits in memory, so an error of the disk may show at a later write or close.

    What was written in `w` and `x` is out of sight until `close`. In `a` it is appended to the file itself; aborting
    takes it back where nobody else has appended since.
    """

    def __init__(self, name: str, draft: Draft) -> None:
        self.name = name
        self._draft = draft
        self._pending = bytearray()
        self._size = 0
        self._broken = False

    async def write(self, data: Buffer) -> int:
        """Take the bytes; returns their number."""
        if self.closed or self._broken:
            raise StoreClosed(
                "an earlier write failed; nothing is published" if self._broken else "the file is closed",
                operation="write",
                uri=self.name,
            )
        size = memoryview(data).nbytes
        if len(self._pending) + size < WRITE_BEHIND:
            self._pending += data
        else:
            pending, self._pending = self._pending, bytearray()
            await self._hop(partial(self._write_both, pending, data))
        self._size += size
        return size

    def _write_both(self, pending: Buffer, data: Buffer) -> None:
        if pending:
            self._draft.write(pending)
        self._draft.write(data)

    async def _hop(self, work: Callable[[], object]) -> None:
        try:
            with telling("write", self.name):
                await to_thread.run_sync(work)
        except BaseException:
            # Part of the bytes may be written, part lost: what is there is no longer what the user wrote.
            self._broken = True
            raise

    async def close(self) -> None:
        """Publish what was written; after a failed write, raise and publish nothing."""
        if self.closed:
            return
        if self._broken:
            await self.abort()
            raise StoreClosed("an earlier write failed; nothing was published", operation="close", uri=self.name)
        self.closed = True
        try:
            with telling("close", self.name):
                await interruptible(self._flush_and_commit)
        except BaseException:
            self._draft.discard()
            raise

    def _flush_and_commit(self, check: Check) -> os.stat_result:
        pending, self._pending = self._pending, bytearray()
        if pending:
            self._draft.write(pending)
        return self._draft.commit(check)

    async def abort(self) -> None:
        """Drop what was written, leave what was there before; harmless twice."""
        self.closed = True
        self._pending = bytearray()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._draft.discard)

    def abandon(self) -> None:
        """As `abort`, in place: unlinking a name takes microseconds."""
        self.closed = True
        try:
            self._draft.discard()
        except OSError:
            _log.warning("a temporary of %s could not be removed; a later copy to its directory will", self.name)

    def __del__(self) -> None:
        if hasattr(self, "_draft"):
            super().__del__()

    def tell(self) -> int:
        """How many bytes were written."""
        return self._size
