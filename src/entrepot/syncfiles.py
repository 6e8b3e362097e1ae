"""Files of a store as blocking code sees them: real `io` objects over async readers and writers.

A writer publishes by an explicit `close()` or a clean `with` exit, and by nothing else, in every layer: raw, buffered,
text, and under wrappers that are not ours (a plain `io.TextIOWrapper`, zipfile, pandas). CPython's own wrappers call
`close()` on what they wrap in two more cases, which are told apart here: from their finaliser (`_dealloc_warn` comes
before it), and from their `__exit__` when an exception leaves the `with`. The limit: a wrapper that is not ours, kept
in a `contextlib.ExitStack`, closes as for a clean exit whatever happened; give it a `with` of its own.
"""

from __future__ import annotations

import codecs
import io
import sys
from functools import partial
from opcode import opmap
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from entrepot.bridge import Background, Make
from entrepot.errors import StoreClosed
from entrepot.files import BinaryReader, BinaryWriter
from entrepot.models import MIB

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

BUFFER_BYTES: Final = MIB
"""What a buffered file moves at once: a hop to the loop costs as much as copying about this much."""

_WRITE_BYTES: Final = 8 * MIB  # a larger write goes in pieces, so that the copy handed over stays small
_WITH_EXCEPT_START: Final = opmap["WITH_EXCEPT_START"]


def _left_by_exception(frame: FrameType | None) -> bool:
    """Whether that frame is at the `__exit__` of a `with` which an exception is leaving.

    A wrapper's C code calls `close()` there as it does for a clean exit; only the instruction tells them apart. An
    explicit `close()` in an `except` clause is another instruction, and publishes.
    """
    return frame is not None and frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _WITH_EXCEPT_START


class RawFile(io.RawIOBase):
    """What raw readers and writers share: their loop, their name, and an end that no finaliser mistakes for `close`."""

    def __init__(self, background: Background, name: str, mode: str) -> None:
        self._background = background
        self._dropped = self._forsaken = False
        self.name = name
        self.mode = mode
        background.files.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} mode={self.mode!r}{' closed' if self.closed else ''}>"

    def _run(self, make: Make[Any]) -> Any:
        if self.closed:
            raise StoreClosed("the file is closed", uri=self.name)
        return self._background.run(make)

    def _dealloc_warn(self, source: object) -> None:
        """Called by CPython's wrappers when their finaliser is about to flush and close."""
        self._dropped = True

    def forsake(self) -> None:
        """Let go of the async file without publishing, from anywhere, and wait no longer than a moment.

        It stays open as an `io` object: finalisers that come later (a zip archive's) may write to it yet, and what
        they write is passed over.
        """
        if not self.closed and not self._forsaken:
            self._forsaken = True
            self._let_go()

    def _let_go(self) -> None:
        raise NotImplementedError

    def finalise(self) -> None:
        """What a finaliser does, of this object or of one that it is wrapped in."""
        self._dropped = True
        self.forsake()

    def __del__(self) -> None:
        if hasattr(self, "_forsaken"):  # else its making failed
            self.finalise()


class RawReader(RawFile):
    """Unbuffered reading; seeking costs nothing until the next read."""

    def __init__(self, background: Background, reader: BinaryReader, mode: str = "rb") -> None:
        self._reader = reader
        self._position = reader.tell()
        super().__init__(background, reader.name, mode)

    def readable(self) -> bool:
        return not self.closed

    def seekable(self) -> bool:
        return not self.closed

    async def _read(self, size: int) -> bytes:
        if self._reader.tell() != self._position:
            await self._reader.seek(self._position)
        return await self._reader.read(size)

    async def _end(self) -> int:
        return await self._reader.seek(0, io.SEEK_END)

    def read(self, size: int | None = -1, /) -> bytes:
        data: bytes = self._run(lambda: self._read(-1 if size is None else size))
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view)) if len(view) else b""
        # Copied here and not on the loop: after an interrupt the buffer may be gone while the read still runs.
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if self.closed:
            raise StoreClosed("the file is closed", operation="seek", uri=self.name)
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"invalid whence: {whence}")
        base = self._run(self._end) if whence == io.SEEK_END else self._position if whence == io.SEEK_CUR else 0
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self._dropped or self._forsaken:
                self.forsake()
            else:
                self._run(self._reader.close)
        finally:
            super().close()

    def _let_go(self) -> None:
        self._background.release(self._reader.close)


class RawWriter(RawFile):
    """Unbuffered writing; a write takes all it is given."""

    def __init__(self, background: Background, writer: BinaryWriter, mode: str) -> None:
        self._writer = writer
        self._failure: BaseException | None = None
        super().__init__(background, writer.name, mode)

    def writable(self) -> bool:
        return not self.closed

    def tell(self) -> int:
        return self._writer.tell()

    def write(self, data: ReadableBuffer, /) -> int:
        if self.closed:
            raise StoreClosed("the file is closed", operation="write", uri=self.name)
        view = memoryview(data).cast("B")
        if self._dropped or self._forsaken:  # finalisers flush and write; nothing of it will be published
            return len(view)
        self._refuse_after_failure()
        for start in range(0, len(view), _WRITE_BYTES):
            # A copy: what a buffered layer hands down is its own memory, which it uses again or frees.
            piece = bytes(view[start : start + _WRITE_BYTES])
            try:
                self._run(partial(self._put, piece))
            except BaseException as error:
                self._failure = error
                raise
        return len(view)

    async def _put(self, piece: bytes) -> None:
        await self._writer.write(piece)

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise StoreClosed("a write failed before; nothing is published", uri=self.name) from self._failure

    def close(self) -> None:
        """Publish, unless it is a finaliser or an exception that ends the file.

        Raises: StoreClosed where a write failed before, or the process is ending: then nothing is published.
        """
        if self.closed:
            return
        try:
            if self._dropped or self._forsaken:
                self.forsake()
            elif self._failure is not None or _left_by_exception(sys._getframe().f_back):
                self._run(self._writer.abort)
            else:
                self._run(self._writer.close)
        finally:
            super().close()
        if self._forsaken and not self._dropped:
            raise StoreClosed("the process is ending; nothing is published", operation="close", uri=self.name)
        if not self._dropped:
            self._refuse_after_failure()

    def _let_go(self) -> None:
        if not self._background.release(self._writer.abort) and not self._background.loop.inherited:
            self._writer.abandon()

    def abort(self) -> None:
        """Drop what was written; what was there before stays. Harmless twice."""
        if self.closed:
            return
        try:
            self._run(self._writer.abort)
        finally:
            super().close()


class _Committing:
    """A `with` that publishes by a clean exit, and by nothing else."""

    if TYPE_CHECKING:

        def close(self) -> None: ...
        def abort(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class StoreWriter(_Committing, io.BufferedWriter):
    """A buffered writer: published by `close()` or a clean `with` exit, dropped by anything else."""

    def abort(self) -> None:
        """Drop what was written; what was there before stays. Harmless twice."""
        _raw_of(self).abort()

    def close(self) -> None:
        if self.closed:
            return
        if _left_by_exception(sys._getframe().f_back):
            self.abort()
            return
        if not _raw_of(self)._dropped:
            _flush_or_abort(self, self)
        super().close()

    def __del__(self) -> None:
        raw = getattr(self, "raw", None)
        if raw is not None:  # else detached, or never made
            raw.finalise()


class StoreTextWriter(_Committing, io.TextIOWrapper):
    """A text writer: published by `close()` or a clean `with` exit, dropped by anything else."""

    def abort(self) -> None:
        """Drop what was written; what was there before stays. Harmless twice."""
        _writer_of(self).abort()

    def close(self) -> None:
        if self.closed:
            return
        _flush_or_abort(self, _writer_of(self))
        super().close()

    def __del__(self) -> None:
        buffer = getattr(self, "buffer", None)
        raw = getattr(buffer, "raw", None)
        if raw is not None:
            raw.finalise()


class MarkedTextWriter(StoreTextWriter):
    """For encodings that begin with a byte order mark, which the layer below leaves out of what cannot be sought."""

    _marked = False

    def write(self, text: str, /) -> int:
        if text and not self._marked:
            self._marked = True
            self.buffer.write("".encode(self.encoding))
        return super().write(text)


def begins_with_mark(encoding: str) -> bool:
    """Whether text in this encoding begins with a byte order mark that `io.TextIOWrapper` does not always write."""
    return codecs.lookup(encoding).name in ("utf-16", "utf-32")


def _raw_of(writer: StoreWriter) -> RawWriter:
    raw = writer.raw
    assert isinstance(raw, RawWriter)
    return raw


def _writer_of(text: StoreTextWriter) -> StoreWriter:
    buffer = text.buffer
    assert isinstance(buffer, StoreWriter)
    return buffer


def _flush_or_abort(layer: io.IOBase, writer: StoreWriter) -> None:
    """Flush; where that fails, abort: the C layers would go on and close, which would publish a part."""
    try:
        layer.flush()
    except BaseException:
        writer.abort()
        raise
