"""One large file: concurrent ranged reads into concurrent part writes, hashed on the way, published whole or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio
import anyio.to_thread

from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    NoSpace,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    UploadGone,
)
from entrepot.models import KIB, FileStat, Part, WriteOptions
from entrepot.rates import BURST_S, Rate
from entrepot.transfer.budget import Gate, Share
from entrepot.transfer.plan import PlannedFile
from entrepot.transfer.ports import PartDigest, PartSink, Sink, Source
from entrepot.transfer.recording import Begun, Recorder
from entrepot.transfer.schedule import first_error
from entrepot.transfer.verify import Verify

_INLINE_DIGEST_BYTES = 64 * KIB
"""Up to this size, hashing costs less than a thread hop."""

_LEAST_PIECE_BYTES = 256 * KIB
"""A smaller range would be mostly the request for it."""


_OF_THE_FILE = (SourceChanged, ChecksumMismatch, AlreadyExists, PreconditionFailed, NoSpace)
"""Errors after which nothing that was put is of use."""


@dataclass(frozen=True, slots=True)
class Route:
    """What every move of one copy shares: both ends, how many requests each takes, and the memory.

    acquire: takes from the memory, waiting in line. part_bytes: how much of the memory may be buffers of parts; the
    rest is always there for small files. flow: how many bytes of content may move a second, where that is bounded.
    """

    source: Source
    sink: Sink
    reads: Gate
    writes: Gate
    memory: Share
    acquire: Callable[[int], Awaitable[None]]
    part_bytes: Gate
    verify: Verify
    flow: Rate | None = None

    async def may_move(self, size_bytes: int) -> None:
        """Wait until so much content may be read, and written."""
        if self.flow is not None:
            await self.flow.take(size_bytes)


async def move_in_parts(
    route: Route,
    file: PlannedFile,
    options: WriteOptions,
    on_part: Callable[[PlannedFile, int], None],
    recorder: Recorder,
) -> tuple[FileStat, str | None, Begun | None]:
    """Copy one file; what the target told of it, the checksum by which the bytes read were verified, and its record.

    Where nothing is recorded, any exception, a cancellation too, leaves by the sink's abort: nothing is published and
    nothing is left. Else what was put is kept to be gone on with, unless the error is of the file itself.
    Memory: one buffer of a part for each part in flight, taken from the share before it is made. While others wait
    for memory, a buffer goes back after every part.
    A completion that was asked for, and of which nobody heard, is settled by what is at the target.
    Requests: one read and one write a part, and what the sink needs to begin and to end. Where the bandwidth is
    bounded, a read for each tenth of a second, of 256 KiB at least.
    Raises: SourceChanged, ChecksumMismatch, and what both ends raise.
    """
    if (old := recorder.obsolete(file)) is not None:
        if old.token:
            await route.sink.drop_parts(file.target, old.token)
        recorder.dropped(old)
    while True:
        begun = await recorder.begin_upload(file)
        try:
            return *await _move(route, file, options, _Notes(on_part, recorder, begun)), begun
        except UploadGone:
            if begun is None or begun.resume is None:
                raise
            if begun.record.state == "completing":
                made = await route.sink.find_completed(file.target, begun.resume)
                if made is not None:
                    on_part(file, made.size_bytes)
                    begun.held = {part.number: part.size_bytes for part in begun.resume.parts}
                    return made, None, begun
            recorder.dropped(begun.record)  # somebody has dropped or completed it: then anew
        except StoreError as error:
            if begun is not None and (not begun.record.token or isinstance(error, _OF_THE_FILE)):
                recorder.dropped(begun.record)  # the sink has dropped it
            raise


@dataclass(frozen=True, slots=True)
class _Notes:
    """Who is told how far one file is: who watches, and the journal where there is one."""

    on_part: Callable[[PlannedFile, int], None]
    recorder: Recorder
    begun: Begun | None

    @property
    def held(self) -> Mapping[int, int]:
        """Parts that an earlier run has put."""
        return self.begun.held if self.begun is not None else {}

    async def opened(self, file: PlannedFile, out: PartSink) -> None:
        """The sink is open; what it holds already counts as moved."""
        if self.begun is not None:
            await self.recorder.opened(self.begun, out)
        for size_bytes in self.held.values():
            self.on_part(file, size_bytes)

    def put(self, file: PlannedFile, part: Part) -> None:
        """One more part is there."""
        if self.begun is not None:
            self.recorder.part(self.begun, part)
        self.on_part(file, part.size_bytes)

    async def completing(self) -> None:
        """All parts are there."""
        if self.begun is not None:
            await self.recorder.completing(self.begun)


async def _move(route: Route, file: PlannedFile, options: WriteOptions, notes: _Notes) -> tuple[FileStat, str | None]:
    source, size = file.source, file.source.size_bytes
    resume = notes.begun.resume if notes.begun is not None else None
    async with route.sink.open_parts(file.target, size, options, resume=resume) as out:
        await notes.opened(file, out)
        # Of parts that an earlier run has read nothing is left to hash.
        digest = None
        if route.verify is not Verify.SIZE and not notes.held:
            digest = route.source.part_checksum(source, out.part_size_bytes)
        await _Parts(route, file, out, digest, notes).move()
        verified = digest.verified() if digest is not None else None
        await notes.completing()
    return out.result(), verified


class _Parts:
    """The parts of one file, taken in order by as many workers as there are buffers for."""

    def __init__(
        self, route: Route, file: PlannedFile, out: PartSink, digest: PartDigest | None, notes: _Notes
    ) -> None:
        self._route, self._file, self._out, self._digest, self._notes = route, file, out, digest, notes
        self._held = notes.held
        self._size, self._part_size = file.source.size_bytes, out.part_size_bytes
        if self._part_size < 1:
            raise BadResponse("the target asks for empty parts", operation="copy", uri=file.target)
        self._count = max(1, -(-self._size // self._part_size))
        # Where bytes are counted, a part is read in pieces: all at once would fill the line and then leave it idle.
        flow = route.flow
        self._piece_bytes = self._part_size if flow is None else max(_LEAST_PIECE_BYTES, int(flow.per_second * BURST_S))
        self._begun = 0
        self._written = len(self._held)
        self._hashing, self._writing = _Turns(), _Turns()
        self._skip_held()

    async def move(self) -> None:
        buffers = max(1, self._route.part_bytes.limit // self._part_size)
        workers = min(self._count, buffers, max(self._route.reads.limit, self._route.writes.limit))
        failed: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(workers):
                    tasks.start_soon(self._work, tasks.cancel_scope)
        except BaseExceptionGroup as group:
            failed = first_error(group)
        if failed is not None:
            raise failed  # alone, so that the sink's abort sees what it was

    async def _work(self, scope: anyio.CancelScope) -> None:
        memory, part_bytes = self._route.memory, self._route.part_bytes
        size = min(self._part_size, self._size)
        weight = min(size, part_bytes.limit)
        while self._begun < self._count:
            await part_bytes.enter(weight)
            try:
                await self._route.acquire(size)
                try:
                    await self._move_parts(memoryview(bytearray(size)))
                finally:
                    memory.release(size)
            finally:
                part_bytes.leave(weight)
        if self._written == self._count:
            scope.cancel()  # workers that still wait for memory have nothing left to do

    async def _move_parts(self, buffer: memoryview) -> None:
        """Move parts through one buffer, until none is left or somebody waits for the memory."""
        # A number is taken after the memory, so no lower part ever waits for the buffer of a higher one.
        while self._begun < self._count:
            self._begun += 1
            number = self._begun
            self._skip_held()
            await self._move_part(number, buffer)
            if self._route.memory.contended or self._route.part_bytes.contended:
                break
        buffer.release()

    def _skip_held(self) -> None:
        """Pass over the parts that are next and need not be put."""
        while self._begun + 1 in self._held:
            self._begun += 1
            self._writing.pass_on(self._begun)

    async def _move_part(self, number: int, buffer: memoryview) -> None:
        start = (number - 1) * self._part_size
        data = buffer[: min(self._part_size, self._size - start)]
        reads, writes = self._route.reads, self._route.writes
        piece = self._piece_bytes
        for at in range(0, len(data), piece):
            await self._route.may_move(len(data[at : at + piece]))
            await reads.enter(1)
            try:
                await self._route.source.read_part(self._file.source, start + at, data[at : at + piece])
            finally:
                reads.leave(1)
        if self._digest is not None:
            await self._hash(self._digest, number, data)
        if self._out.in_order:
            await self._writing.come_to(number)
        await writes.enter(1)
        try:
            part = await self._out.put_part(number, data)
        finally:
            writes.leave(1)
        self._writing.pass_on(number)
        self._written += 1
        self._notes.put(self._file, part)

    async def _hash(self, digest: PartDigest, number: int, data: memoryview) -> None:
        if digest.in_order:
            await self._hashing.come_to(number)
        if len(data) <= _INLINE_DIGEST_BYTES:
            digest.update(number, data)
        else:
            await anyio.to_thread.run_sync(digest.update, number, data)
        self._hashing.pass_on(number)


class _Turns:
    """Lets parts go on one after another, by number."""

    def __init__(self) -> None:
        self._next = 1
        self._waiting: dict[int, anyio.Event] = {}

    async def come_to(self, number: int) -> None:
        if number != self._next:
            self._waiting[number] = anyio.Event()
            await self._waiting[number].wait()

    def pass_on(self, number: int) -> None:
        self._next = number + 1
        if (waiting := self._waiting.pop(self._next, None)) is not None:
            waiting.set()
