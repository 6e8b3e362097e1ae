"""Open files over a file system: a reader by ranges, and a writer into a hidden file that is published by a rename."""

from __future__ import annotations

import asyncio
import io
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

import anyio

from entrepot.errors import StoreClosed
from entrepot.files import BinaryReader, BinaryWriter
from entrepot.filesystem.primitives import WritableFile
from entrepot.models import KIB, MIB, Buffer

_log = logging.getLogger(__name__)

FIRST_WINDOW_BYTES: Final = 256 * KIB
CHUNK_BYTES: Final = 4 * MIB
"""How much is written, or copied, by one call of a primitive."""

_SEEK_WINDOW_BYTES: Final = 64 * KIB
_MAX_WINDOW_BYTES: Final = 8 * MIB
CLEANUP_S: Final = 10.0
"""How long a cancelled operation may still take to leave nothing behind."""

ReadAt = Callable[[int, int], Awaitable[bytes]]


class FileReader(BinaryReader):
    """Reads one open file, with read-ahead that grows while reading goes on in order.

    read_at: exactly so many bytes from there, or an error. close: releases the file; not called for one that is whole
    in its first window. Memory: one window, 8 MiB at most, or what one `read` asks for.
    """

    def __init__(
        self, uri: str, size_bytes: int, first: bytes, read_at: ReadAt, close: Callable[[], Awaitable[None]] | None
    ) -> None:
        self.name, self.size_bytes = uri, size_bytes
        self._read_at, self._release = read_at, close
        self._window, self._window_start = first, 0
        self._window_bytes = FIRST_WINDOW_BYTES
        self._position = 0

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
        tail = self._window[: wanted - len(head)]
        self._position += len(tail)
        return head + tail if head else tail

    async def _fill(self, least: int) -> None:
        """Replace the window by one that begins at the position and has at least that many bytes."""
        in_order = self._position == self._window_start + len(self._window)
        self._window_bytes = min(self._window_bytes * 2, _MAX_WINDOW_BYTES) if in_order else _SEEK_WINDOW_BYTES
        size = min(max(least, self._window_bytes), self.size_bytes - self._position)
        self._window, self._window_start = await self._read_at(self._position, size), self._position

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
        """Release the file. Requests: 1, or none for a file that was whole in its first window."""
        release, self._release = self._release, None
        self.closed, self._window = True, b""
        if release is not None:
            with anyio.move_on_after(CLEANUP_S, shield=True):
                await release()


@dataclass(slots=True)
class Draft:
    """A hidden file that is being written, to become the file at `target`. key: its own.

    exclusive: nothing may be there yet. file: None once it is closed.
    """

    key: str
    target: str
    exclusive: bool
    file: WritableFile | None = None
    mtime_s: float | None = None
    mode: int | None = None


class FileWriter(BinaryWriter):
    """Writes one file: published by `close`, dropped by anything else.

    write: sends bytes to the draft. publish, drop: end it; `drop` may be called again. on_abandon: takes a draft
    whose writer was dropped. Memory: 4 MiB.
    """

    def __init__(
        self,
        uri: str,
        draft: Draft,
        *,
        write: Callable[[Draft, Buffer], Awaitable[None]],
        publish: Callable[[Draft], Awaitable[None]],
        drop: Callable[[Draft], Awaitable[None]],
        on_abandon: Callable[[Draft, asyncio.AbstractEventLoop], None],
    ) -> None:
        self.name, self._draft = uri, draft
        self._write, self._publish, self._drop, self._on_abandon = write, publish, drop, on_abandon
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        self._room = bytearray()
        self._written = 0
        self._end: Literal["", "published", "aborted", "failed"] = ""

    async def write(self, data: Buffer) -> int:
        """Take the bytes; nothing is visible yet. Requests: none until 4 MiB wait, then 1 for each 4 MiB."""
        if self.closed:
            raise StoreClosed("the file is closed", operation="write", uri=self.name)
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            take = min(CHUNK_BYTES - len(self._room), len(view) - at)
            self._room += view[at : at + take]
            at += take
            if len(self._room) == CHUNK_BYTES:
                await self._guarded(self._send)
        self._written += len(view)
        return len(view)

    async def _send(self) -> None:
        room, self._room = self._room, bytearray()
        await self._write(self._draft, room)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a step; whatever ends it early drops the draft, shielded and bounded in time."""
        try:
            await work()
        except BaseException:
            self._end, self.closed = "failed", True
            await self._drop(self._draft)
            raise

    async def close(self) -> None:
        """Publish what was written. Requests: 1 for what waits, 1 to close the draft, 1 to rename it.

        Raises: AlreadyExists in mode `x`; IsADirectory; StoreClosed where an earlier write failed and that was passed
        over.
        """
        if self._end == "failed":
            raise StoreClosed("a write failed before, so nothing was published", operation="close", uri=self.name)
        if not self.closed:
            await self._guarded(self._finish)
            self._end, self.closed = "published", True

    async def _finish(self) -> None:
        if self._room:
            await self._send()
        await self._publish(self._draft)

    async def abort(self) -> None:
        """Drop what was written. Requests: 2."""
        if not self.closed:
            self._end, self.closed = "aborted", True
            self._room = bytearray()
            await self._drop(self._draft)

    def tell(self) -> int:
        return self._written

    def abandon(self) -> None:
        # In a forked child, the draft is the parent's.
        if not self.closed and getattr(self, "_pid", None) == os.getpid():
            self._on_abandon(self._draft, self._loop)
        self.closed, self._end = True, "aborted"


class AbandonedDrafts:
    """Drafts whose writers were dropped, to be removed where something can be awaited again.

    A finaliser may run in any thread, with any lock held, so that nothing here takes a lock: a deque's ends are atomic.
    """

    def __init__(self, drop: Callable[[Draft], Awaitable[None]]) -> None:
        self._drop = drop
        self._waiting: deque[tuple[Draft, asyncio.AbstractEventLoop]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._tasks)

    def add(self, draft: Draft, loop: asyncio.AbstractEventLoop) -> None:
        """Have the draft removed on its loop; if that has ended, by the next `settle`."""
        self._waiting.append((draft, loop))
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._start, loop)
            except RuntimeError:
                _log.debug("a loop closed before the removal of %s could be scheduled on it", draft.key)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting:
            task = loop.create_task(self._drop_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _drop_waiting(self) -> None:
        here = asyncio.get_running_loop()
        for _ in range(len(self._waiting)):
            try:
                draft, loop = self._waiting.popleft()
            except IndexError:  # another loop was faster
                return
            if loop is not here and loop.is_running():
                self._waiting.append((draft, loop))  # that one does it: the open file is on its connection
                continue
            if loop is not here:
                draft.file = None
            try:
                await self._drop(draft)
            except BaseException:  # this loop ends: the next one does it
                self._waiting.append((draft, loop))
                raise

    async def settle(self) -> None:
        """Remove what waits, and wait for the removals that run on this loop."""
        await self._drop_waiting()
        loop = asyncio.get_running_loop()
        for task in [one for one in tuple(self._tasks) if one.get_loop() is loop]:
            await asyncio.wait([task])
        self._tasks -= {one for one in tuple(self._tasks) if one.get_loop().is_closed()}
