"""One large file: concurrent ranged reads into concurrent part writes, hashed on the way, published whole or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import anyio.to_thread

from entrepot.errors import BadResponse
from entrepot.models import KIB, FileStat, WriteOptions
from entrepot.transfer.budget import Gate, Share
from entrepot.transfer.plan import PlannedFile
from entrepot.transfer.ports import PartDigest, PartSink, Sink, Source
from entrepot.transfer.schedule import first_error

_INLINE_DIGEST_BYTES = 64 * KIB
"""Up to this size, hashing costs less than a thread hop."""


@dataclass(frozen=True, slots=True)
class Route:
    """What every move of one copy shares: both ends, how many requests each takes, and the memory."""

    source: Source
    sink: Sink
    reads: Gate
    writes: Gate
    memory: Share
    verify: bool


async def move_in_parts(
    route: Route, file: PlannedFile, options: WriteOptions, on_part: Callable[[PlannedFile, int], None]
) -> tuple[FileStat, str | None]:
    """Copy one file; what the target told of it, and the checksum by which the bytes read were verified.

    Any exception, a cancellation too, leaves by the sink's abort: nothing is published and nothing is left.
    Memory: one buffer of a part for each part in flight, taken from the share before it is made. While others wait
    for memory, a buffer goes back after every part.
    Requests: one read and one write a part, and what the sink needs to begin and to end.
    Raises: SourceChanged, ChecksumMismatch, and what both ends raise.
    """
    source, size = file.source, file.source.size_bytes
    async with route.sink.open_parts(file.target, size, options) as out:
        digest = route.source.part_checksum(source, out.part_size_bytes) if route.verify else None
        await _Parts(route, file, out, digest, on_part).move()
        verified = digest.verified() if digest is not None else None
    return out.result(), verified


class _Parts:
    """The parts of one file, taken in order by as many workers as there are buffers for."""

    def __init__(
        self,
        route: Route,
        file: PlannedFile,
        out: PartSink,
        digest: PartDigest | None,
        on_part: Callable[[PlannedFile, int], None],
    ) -> None:
        self._route, self._file, self._out, self._digest, self._on_part = route, file, out, digest, on_part
        self._size, self._part_size = file.source.size_bytes, out.part_size_bytes
        if self._part_size < 1:
            raise BadResponse("the target asks for empty parts", operation="copy", uri=file.target)
        self._count = max(1, -(-self._size // self._part_size))
        self._begun = 0
        self._written = 0
        self._turn = 1
        self._turns: dict[int, anyio.Event] = {}

    async def move(self) -> None:
        buffers = max(1, self._route.memory.limit_bytes // self._part_size)
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
        memory = self._route.memory
        size = min(self._part_size, self._size)
        while self._begun < self._count:
            await memory.acquire(size)
            try:
                buffer = memoryview(bytearray(size))
                # The number is taken after the memory: a lower part never waits for the buffer of a higher one.
                while self._begun < self._count:
                    self._begun += 1
                    await self._move_part(self._begun, buffer)
                    if memory.contended:
                        break
                buffer.release()
            finally:
                memory.release(size)
        if self._written == self._count:
            scope.cancel()  # workers that still wait for memory have nothing left to do

    async def _move_part(self, number: int, buffer: memoryview) -> None:
        start = (number - 1) * self._part_size
        data = buffer[: min(self._part_size, self._size - start)]
        reads, writes = self._route.reads, self._route.writes
        if data:
            await reads.enter(1)
            try:
                await self._route.source.read_part(self._file.source, start, data)
            finally:
                reads.leave(1)
        if self._digest is not None:
            if len(data) <= _INLINE_DIGEST_BYTES:
                self._digest.update(number, data)
            else:
                await anyio.to_thread.run_sync(self._digest.update, number, data)
        if self._out.in_order:
            await self._wait_for_turn(number)
        await writes.enter(1)
        try:
            await self._out.put_part(number, data)
        finally:
            writes.leave(1)
        self._written += 1
        self._turn = number + 1
        if (waiting := self._turns.pop(self._turn, None)) is not None:
            waiting.set()
        self._on_part(self._file, len(data))

    async def _wait_for_turn(self, number: int) -> None:
        if number != self._turn:
            self._turns[number] = anyio.Event()
            await self._turns[number].wait()
