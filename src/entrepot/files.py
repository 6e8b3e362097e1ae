"""Open files as async code sees them: binary readers and writers, their text layers, and `Opening`.

A writer becomes visible by `close()` or a clean `async with` exit, and by nothing else.
"""

from __future__ import annotations

import codecs
import io
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from entrepot.errors import StoreClosed, UnsupportedOperation
from entrepot.models import KIB, Buffer, FileStat, Part


class _AsyncFile(Protocol):
    async def __aenter__(self) -> Any: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


F = TypeVar("F", bound=_AsyncFile)


class Opening(Generic[F]):
    """What `store.open(…)` returns: `await` it for the file, or use it as `async with`."""

    __slots__ = ("_file", "_make")

    def __init__(self, make: Callable[[], Awaitable[F]]) -> None:
        self._make = make
        self._file: F | None = None

    def __await__(self) -> Generator[Any, Any, F]:
        return self._make().__await__()

    async def __aenter__(self) -> F:
        self._file = await self._make()
        return self._file

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            await self._file.__aexit__(kind, error, trace)


class BinaryReader(ABC):
    """A seekable async reader; positions and sizes are bytes."""

    name: str = ""
    closed: bool = False

    @abstractmethod
    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, all that is left when negative; empty at the end."""

    @abstractmethod
    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, as `io.IOBase.seek`; no request is made."""

    @abstractmethod
    def tell(self) -> int:
        """The position."""

    @abstractmethod
    async def close(self) -> None:
        """Release what the reader holds; harmless twice."""

    async def readline(self, limit: int = -1) -> bytes:
        """Read to the next newline, the end, or `limit` bytes."""
        line = bytearray()
        while limit < 0 or len(line) < limit:
            start = self.tell()
            chunk = await self.read(8 * KIB if limit < 0 else min(8 * KIB, limit - len(line)))
            if not chunk:
                break
            cut = chunk.find(b"\n") + 1
            line += chunk[:cut] if cut else chunk
            if cut:
                await self.seek(start + cut)
                break
        return bytes(line)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._lines()

    async def _lines(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class BinaryWriter(ABC):
    """An async writer that publishes in one step, or not at all."""

    name: str = ""
    closed: bool = False

    @abstractmethod
    async def write(self, data: Buffer) -> int:
        """Take the bytes; nothing is visible yet. Returns their number."""

    @abstractmethod
    async def close(self) -> None:
        """Publish what was written; harmless twice, and after `abort` it publishes nothing."""

    @abstractmethod
    async def abort(self) -> None:
        """Drop what was written, leave what was there before, and leave no litter; harmless twice."""

    @abstractmethod
    def tell(self) -> int:
        """How many bytes were written."""

    @abstractmethod
    def abandon(self) -> None:
        """As `abort`, but from where nothing can be awaited (a finaliser): what needs I/O is scheduled or left
        to the store's next operation. Must not raise.
        """

    def __del__(self) -> None:
        if not self.closed:
            self.abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.abort()


class TextReader:
    """Text over a `BinaryReader`: decoding and newlines as the builtin `open` does them."""

    def __init__(
        self, buffer: BinaryReader, *, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
    ) -> None:
        check_text_options(encoding, errors, newline)
        self.buffer, self.encoding, self.errors, self.newline = buffer, encoding, errors, newline
        self._restart()

    def _restart(self) -> None:
        decoder = codecs.getincrementaldecoder(self.encoding)(self.errors)
        universal = self.newline in (None, "")
        self._decoder: codecs.IncrementalDecoder | io.IncrementalNewlineDecoder = (
            io.IncrementalNewlineDecoder(decoder, translate=self.newline is None) if universal else decoder
        )
        self._pending = ""
        self._at_end = False

    @property
    def name(self) -> str:
        """The address of the file."""
        return self.buffer.name

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self.buffer.closed

    async def _fill(self, size: int = 64 * KIB) -> bool:
        """Decode one more chunk; False at the end of the file."""
        if self._at_end:
            return False
        chunk = await self.buffer.read(size)
        self._at_end = not chunk
        self._pending += self._decoder.decode(chunk, final=not chunk)
        return True

    async def read(self, size: int = -1) -> str:
        """Read up to `size` characters, all that is left when negative."""
        if size < 0:
            chunk = await self.buffer.read()
            self._at_end = True
            text, self._pending = self._pending + self._decoder.decode(chunk, final=True), ""
            return text
        while len(self._pending) < size and await self._fill():
            continue
        text, self._pending = self._pending[:size], self._pending[size:]
        return text

    async def readline(self) -> str:
        """Read one line with its ending; empty at the end."""
        searched = 0
        while True:
            cut = self._line_end(searched)
            if cut:
                line, self._pending = self._pending[:cut], self._pending[cut:]
                return line
            searched = max(0, len(self._pending) - 1)
            if not await self._fill():
                line, self._pending = self._pending, ""
                return line

    def _line_end(self, start: int) -> int:
        """Where the first line of the pending text ends, 0 if its end is not there yet."""
        text = self._pending
        if self.newline is None:
            return text.find("\n", start) + 1
        if self.newline:
            found = text.find(self.newline, start)
            return found + len(self.newline) if found >= 0 else 0
        ends = [at for at in (text.find("\n", start), text.find("\r", start)) if at >= 0]
        if not ends:
            return 0
        at = min(ends)
        return at + (2 if text.startswith("\r\n", at) else 1)

    def __aiter__(self) -> AsyncIterator[str]:
        return self._lines()

    async def _lines(self) -> AsyncIterator[str]:
        while line := await self.readline():
            yield line

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Back to the start; other positions of encoded text need the binary file below (`buffer`)."""
        if offset != 0 or whence != io.SEEK_SET:
            raise UnsupportedOperation(
                "text is decoded as it streams: only seek(0) is possible, or open the file with 'b'",
                operation="seek",
                uri=self.name,
            )
        await self.buffer.seek(0)
        self._restart()
        return 0

    async def close(self) -> None:
        """Release what the reader holds; harmless twice."""
        await self.buffer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.buffer.__aexit__(kind, error, trace)


class TextWriter:
    """Text over a `BinaryWriter`: encoding and newlines as the builtin `open` does them."""

    def __init__(
        self, buffer: BinaryWriter, *, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
    ) -> None:
        check_text_options(encoding, errors, newline)
        self.buffer, self.encoding, self.errors = buffer, encoding, errors
        self._encoder = codecs.getincrementalencoder(encoding)(errors)
        # Artifacts move between machines, so "\n" stays "\n" everywhere; the builtin would write os.linesep.
        self._newline = newline or "\n"
        self._begun = False

    @property
    def name(self) -> str:
        """The address of the file."""
        return self.buffer.name

    @property
    def closed(self) -> bool:
        """True after `close` or `abort`."""
        return self.buffer.closed

    async def write(self, text: str) -> int:
        """Take the text; returns the number of characters, as the builtin does."""
        if self.closed:
            raise StoreClosed("the file is closed", operation="write", uri=self.name)
        self._begun = True
        translated = text.replace("\n", self._newline) if self._newline != "\n" else text
        await self.buffer.write(self._encoder.encode(translated))
        return len(text)

    async def close(self) -> None:
        """Publish what was written."""
        # A file that no text was written to is empty: without the byte order mark that an encoder begins with.
        if self._begun and not self.closed and (rest := self._encoder.encode("", final=True)):
            await self.buffer.write(rest)
        await self.buffer.close()

    async def abort(self) -> None:
        """Drop what was written."""
        await self.buffer.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.abort()


def check_text_options(encoding: str, errors: str, newline: str | None) -> None:
    """Refuse, before anything is opened, what the builtin `open` refuses. Raises ValueError, LookupError."""
    if newline not in (None, "", "\n", "\r", "\r\n"):
        raise ValueError(f"illegal newline value: {newline!r}")
    codecs.lookup(encoding)
    codecs.lookup_error(errors)


NO_PARTS: Final[Mapping[int, int]] = MappingProxyType({})


class PartWriter(ABC):
    """One large file being written in parts; made by a store's `open_parts`.

    What was put is dropped where the context is left by an exception or a cancellation, unless `keep` was called:
    then a writer that `open_parts(…, resume=…)` makes goes on with it, in this process or in another.
    """

    part_size_bytes: int
    """Every part has this size, but for the last."""

    in_order: bool = False
    """True where parts must come one after another, beginning with 1."""

    uploads_multipart: bool = False
    """True where the service keeps parts by number (so an interrupted upload must be aborted there)."""

    resume_token: str | None = None
    """Names what is being written, for `Resume`: ASCII text that an equal store in any process understands, known
    before the first part is put; None where the store cannot go on with it. It is no secret: it says where and how
    large, and whoever uses it needs the store's own credentials.
    """

    held_parts: Mapping[int, int] = NO_PARTS
    """Parts that were put before, of a file that is gone on with: number → size in bytes. They need not be put."""

    @abstractmethod
    async def put_part(self, number: int, data: Buffer) -> Part:
        """Write one part; number: 1-based. Safe to call concurrently unless `in_order`.

        Returns what is known of it: its size, and the checksums that were computed. For a `Resume`, write that down.
        """

    async def keep(self) -> None:
        """From now on, whatever ends this writer, the end of the process too, leaves what was put to be gone on with.

        But for errors that nothing can go on from: SourceChanged, ChecksumMismatch, NoSpace, and a condition of the
        write that does not hold (AlreadyExists, PreconditionFailed). Call it once the token is written down: what is
        kept, and nobody knows of, stays until the service or a later write drops it. Idempotent.
        Requests: none. Raises: UnsupportedOperation where `resume_token` is None.
        """
        raise UnsupportedOperation("nothing can go on with a file that was written here in part", operation="keep")

    @abstractmethod
    def result(self) -> FileStat:
        """What the service told of the published file; only after a clean exit.

        `checksums` has what was compared: `md5` (whole object), `part-md5` (each part by its own checksum, the whole
        by its parts), or nothing.
        """


class PartChecksum(ABC):
    """Verifies a large file from its parts, as a reader receives them: in any order, unless `in_order`."""

    in_order: bool = False
    """True where `update` must be called for part 1, then 2, and so on (a checksum of the whole)."""

    @abstractmethod
    def update(self, number: int, data: Buffer) -> None:
        """Take note of one part; number: 1-based. CPU-bound: call it in a worker thread for large parts."""

    @abstractmethod
    def verified(self) -> str | None:
        """After every part: the name of what matched (`md5`, `part-md5`), None where it proves nothing.

        Raises: ChecksumMismatch where the bytes are certainly wrong.
        """
