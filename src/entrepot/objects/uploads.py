"""Multipart uploads that are completed or aborted, never left behind."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import anyio

from entrepot.errors import NotFound, PreconditionFailed, StoreError, UnsupportedOperation
from entrepot.models import MIB, NO_OPTIONS, Buffer, ByteRange, ObjectStat, Part, Upload, WriteOptions
from entrepot.objects.client import ObjectClient
from entrepot.objects.waves import wave

_log = logging.getLogger(__name__)

ABORT_S: Final = 10.0
LATE_S: Final = 0.5
"""How long after a write was given up its object may still appear: the service had its bytes by then."""
"""How long an abort may take when the work that it ends was cancelled."""

_CREATE_GRACE_S: Final = 5.0
"""How long a cancelled create may go on, so that its upload is known and can be aborted."""

_COPY_PART_BYTES: Final = 256 * MIB
_COPY_PARTS_AT_ONCE: Final = 8
_CARRIED_BYTES: Final = 32 * MIB


class OpenUpload:
    """One multipart upload: created, filled with parts, then completed or aborted.

    Parts may be put concurrently; nothing is kept of them but number, size and etag.
    """

    def __init__(
        self, client: ObjectClient, key: str, options: WriteOptions = NO_OPTIONS, size_bytes: int | None = None
    ) -> None:
        self.client, self.key, self.options, self.size_bytes = client, key, options, size_bytes
        self.upload: Upload | None = None
        self.parts: dict[int, Part] = {}

    async def create(self) -> None:
        """Begin the upload; a cancellation that comes meanwhile waits for its id, then aborts it. Requests: 1."""
        failures: list[StoreError] = []
        done = anyio.Event()
        scope = anyio.CancelScope(shield=True)

        async def run() -> None:
            with scope:
                try:
                    self.upload = await self.client.create_upload(self.key, self.options, self.size_bytes)
                except StoreError as error:
                    failures.append(error)
            done.set()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                try:
                    await done.wait()
                except BaseException:
                    scope.deadline = anyio.current_time() + _CREATE_GRACE_S
                    raise
        except BaseException:
            await self.abort()
            raise
        if failures:
            raise failures[0]
        if self.upload is not None and self.upload.size_bytes != self.size_bytes:
            self.upload = replace(self.upload, size_bytes=self.size_bytes)

    @property
    def in_order(self) -> bool:
        """Whether parts must be put one after another."""
        return self.upload is not None and self.upload.in_order

    @property
    def is_open(self) -> bool:
        """Whether the service holds something that must be completed or aborted."""
        return self.upload is not None

    def _opened(self) -> Upload:
        if self.upload is None:
            raise StoreError("the upload is not open", operation="put_part", uri=self.client.uri(self.key))
        return self.upload

    def go_on(self, upload: Upload, parts: Iterable[Part]) -> None:
        """Have an upload that was begun before, and what is held of it, in place of a new one."""
        self.upload, self.parts = upload, {part.number: part for part in parts}

    async def put(self, number: int, data: Buffer) -> Part:
        """Upload one part; number: 1-based. Requests: 1."""
        part = self.parts[number] = await self.client.put_part(self._opened(), number, data)
        return part

    async def put_all(self, parts: Sequence[Buffer], first: int) -> None:
        """Upload several parts, numbered from `first`: at once, or one after another where they must be."""
        if not self.in_order:
            await wave([partial(self.put, number, data) for number, data in enumerate(parts, first)])
            return
        for number, data in enumerate(parts, first):
            await self.put(number, data)

    async def put_copy(self, number: int, source: ObjectClient, key: str, span: ByteRange, etag: str | None) -> None:
        """Have the service copy one part from another object. Requests: 1."""
        upload = self._opened()
        self.parts[number] = await self.client.copy_part(upload, number, source, key, span, source_etag=etag)

    async def complete(self) -> ObjectStat:
        """Publish the object. Requests: 1. After a failure the upload is still open: abort it."""
        parts = [self.parts[number] for number in sorted(self.parts)]
        stat = await self.client.complete_upload(self._opened(), parts)
        self.upload = None
        return stat

    async def abort(self) -> None:
        """Drop what was uploaded; shielded from cancellation and bounded in time. Never raises a StoreError."""
        upload = self.upload
        if upload is None:
            return
        with anyio.move_on_after(ABORT_S, shield=True) as scope:
            await _abort(self.client, upload)
        if scope.cancelled_caught:
            _warn_left_behind(self.client, upload, "no answer in time")
        self.upload = None


_CLOCKS_APART: Final = timedelta(minutes=1)


async def drop_lost_uploads(client: ObjectClient, key: str, *, since: datetime, known: Collection[str] = ()) -> None:
    """Abort uploads of this key that nobody can name: begun since then, without any part, and none of those known.

    An upload whose creation was answered to nobody stays for ever otherwise, and is billed once parts are put to it by
    mistake. Another writer's of the same key, begun in this very moment, would begin anew.
    Requests: 1, and 2 for each of them. Raises: what listing raises.
    """
    for upload in await client.list_uploads(key):
        begun = upload.initiated
        if upload.key != key or upload.upload_id in known or begun is None or begun < since - _CLOCKS_APART:
            continue
        try:
            if not await client.list_parts(upload):
                await client.abort_upload(upload)
        except NotFound:
            continue  # its writer has ended it


async def _abort(client: ObjectClient, upload: Upload) -> None:
    try:
        await client.abort_upload(upload)
    except StoreError as error:
        _warn_left_behind(client, upload, str(error))


def _warn_left_behind(client: ObjectClient, upload: Upload, reason: str) -> None:
    _log.warning("an unfinished upload stays at %s: %s", client.uri(upload.key), reason)


async def copy_in_parts(
    client: ObjectClient, key: str, source: ObjectClient, stat: ObjectStat, options: WriteOptions
) -> ObjectStat:
    """Copy a large object part by part, pinned to the etag seen: on the service's side, else through this process.

    Requests: 2, and 1 for each 256 MiB; where the service does not copy parts, 2 for each 8 MiB (32 MiB in memory).
    A failure or a cancellation aborts the upload. Raises: PreconditionFailed where the source changed.
    """
    limits, size = client.limits, stat.size_bytes
    part_bytes = limits.part_size_bytes(size)
    copied_bytes = min(limits.part_max_bytes, max(_COPY_PART_BYTES, part_bytes))

    async def copied(opened: OpenUpload, number: int, span: ByteRange) -> None:
        await opened.put_copy(number, source, stat.key, span, stat.etag)

    async def carried(opened: OpenUpload, number: int, span: ByteRange) -> None:
        await opened.put(number, await _read_span(source, stat, span))

    try:
        return await _written_in_parts(
            OpenUpload(client, key, options, size), copied_bytes, _COPY_PARTS_AT_ONCE, copied
        )
    except UnsupportedOperation as error:
        _log.debug("the bytes of %s come through this process: %s", client.uri(key), error)
    at_once = max(1, _CARRIED_BYTES // part_bytes)
    return await _written_in_parts(OpenUpload(client, key, options, size), part_bytes, at_once, carried)


async def _written_in_parts(
    opened: OpenUpload, part_bytes: int, at_once: int, put: Callable[[OpenUpload, int, ByteRange], Awaitable[None]]
) -> ObjectStat:
    """The object, from parts that `put` writes; an upload that fails is aborted."""
    size = opened.size_bytes or 0
    starts = range(0, size, part_bytes)
    await opened.create()
    at_once = 1 if opened.in_order else at_once
    try:
        for first in range(0, len(starts), at_once):
            spans = [ByteRange(start, min(start + part_bytes, size)) for start in starts[first : first + at_once]]
            await wave([partial(put, opened, number, span) for number, span in enumerate(spans, first + 1)])
        return await opened.complete()
    except BaseException:
        await opened.abort()
        raise


async def _read_span(source: ObjectClient, stat: ObjectStat, span: ByteRange) -> Buffer:
    found = await source.get(stat.key, byte_range=span, if_match=stat.etag)
    if found.stat.size_bytes != stat.size_bytes or (stat.etag is None and found.stat.modified != stat.modified):
        raise PreconditionFailed("the source changed", operation="copy", uri=source.uri(stat.key))
    return found.data


class AbandonedUploads:
    """Uploads whose writers were dropped, to be aborted where something can be awaited again.

    A finaliser may run in any thread, with any lock held, so that nothing here takes a lock: a deque's ends are atomic.
    """

    def __init__(self) -> None:
        self._waiting: deque[OpenUpload] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._tasks)

    def add(self, upload: OpenUpload, loop: asyncio.AbstractEventLoop) -> None:
        """Have the upload aborted on its loop; if that has ended, by the next `settle`."""
        self._waiting.append(upload)
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._start, loop)
            except RuntimeError:
                _log.debug("a loop closed before the abort of %s could be scheduled on it", upload.key)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting:
            task = loop.create_task(self._abort_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _abort_waiting(self) -> None:
        while self._waiting:
            try:
                upload = self._waiting.popleft()
            except IndexError:  # another loop was faster
                return
            try:
                await upload.abort()
            except BaseException:  # the loop ends: the next one does it
                self._waiting.append(upload)
                raise

    async def settle(self) -> None:
        """Abort what waits, and wait for the aborts that run on this loop."""
        await self._abort_waiting()
        loop = asyncio.get_running_loop()
        for task in [one for one in tuple(self._tasks) if one.get_loop() is loop]:
            await asyncio.wait([task])
        for task in [one for one in tuple(self._tasks) if one.get_loop().is_closed()]:
            self._tasks.discard(task)
