"""Small files: read in batches, written in batches, natively where the target can; each with its own outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from entrepot.errors import StoreError
from entrepot.models import CopyItem, FileData, FileStat, WriteItem, WriteOptions
from entrepot.transfer.parts import Route
from entrepot.transfer.plan import CopyOptions, MoveWhole, PlannedFile
from entrepot.transfer.ports import Sink, Source
from entrepot.transfer.times import kept_seconds
from entrepot.transfer.verify import (
    SERVER_SIDE,
    SIZE,
    Verdict,
    Verify,
    chain,
    compared,
    require_equal,
    require_size,
    require_written,
    strongest,
)


@dataclass(slots=True)
class Outcomes:
    """What became of one batch. copied: file, and how it was verified. failed: file, error, and whether by the read."""

    copied: list[tuple[PlannedFile, Verdict]] = field(default_factory=list)
    failed: list[tuple[PlannedFile, StoreError]] = field(default_factory=list)


class Carried:
    """What goes with the bytes of a file: its time, its mode, and, from service to service, its type and metadata."""

    def __init__(self, options: CopyOptions, source: Source, sink: Sink, *, exclusive: bool) -> None:
        self._keeps_time = source.is_local or sink.is_local
        # What the target cannot keep is left behind; what it would refuse to be asked for must not be asked.
        self._keeps_type = sink.capabilities.content_type is not False
        self._keeps_metadata = sink.capabilities.metadata is not False
        self._exclusive = exclusive
        moves = options.delete_source and options.durability in (None, "none")
        self._durability = "batch" if moves else options.durability

    def options(self, listed: FileStat, told: FileStat) -> WriteOptions:
        """How to write a file. told: what the reply to the read told, which knows more than the listing."""
        metadata = told.metadata
        mtime_s = kept_seconds(metadata) if metadata else None
        # Without a time of its own, a download gets the object's; an object gets none that its source did not have.
        if mtime_s is None and self._keeps_time and listed.modified is not None:
            mtime_s = listed.modified.timestamp()
        if metadata:
            metadata = {key: value for key, value in metadata.items() if key != "mtime"}
        return WriteOptions(
            content_type=told.content_type if self._keeps_type else None,
            metadata=metadata if self._keeps_metadata else {},
            mtime_s=mtime_s,
            mode=listed.mode,
            if_none_match=self._exclusive,
            durability=self._durability,
        )

    def native_options(self) -> WriteOptions:
        """How to copy a file natively: its time, mode and metadata are kept by who copies."""
        return WriteOptions(if_none_match=self._exclusive, durability=self._durability)


async def read_whole(
    route: Route, job: MoveWhole
) -> tuple[list[tuple[PlannedFile, FileData]], list[tuple[PlannedFile, StoreError]]]:
    """Read a batch; what was read, and what could not be."""
    files = job.files
    weight = weight_of(route.reads.limit, len(files), local=route.source.is_local)
    await route.may_move(job.size_bytes)
    if not route.reads.passes(weight):
        await route.reads.enter(weight)
    results: Sequence[FileData | StoreError]
    try:
        results = await route.source.read_batch([file.source for file in files])
    except StoreError as error:
        results = [error] * len(files)
    finally:
        route.reads.leave(weight)
    read: list[tuple[PlannedFile, FileData]] = []
    failed: list[tuple[PlannedFile, StoreError]] = []
    for file, result in zip(files, results, strict=True):
        if isinstance(result, StoreError):
            failed.append((file, result))
            continue
        try:
            require_size(file.source, len(result.data))
        except StoreError as error:
            failed.append((file, error))
        else:
            read.append((file, result))
    return read, failed


async def write_whole(route: Route, carried: Carried, files: Sequence[tuple[PlannedFile, FileData]]) -> Outcomes:
    """Write a batch that was read, and compare what both ends tell of it."""
    items = [WriteItem(file.target, data.data, carried.options(file.source, data.stat)) for file, data in files]
    weight = weight_of(route.writes.limit, len(items), local=route.sink.is_local)
    if not route.writes.passes(weight):
        await route.writes.enter(weight)
    results: Sequence[FileStat | StoreError]
    try:
        results = await route.sink.write_batch(items)
    except StoreError as error:
        results = [error] * len(items)
    finally:
        route.writes.leave(weight)
    outcomes = Outcomes()
    from_disk, to_disk = route.source.is_local, route.sink.is_local
    for (file, data), result in zip(files, results, strict=True):
        if isinstance(result, StoreError):
            outcomes.failed.append((file, result))
            continue
        try:
            require_written(file.source, result)
            verdict = Verdict(SIZE)
            if route.verify is not Verify.SIZE:
                read, written = data.stat.checksums, result.checksums
                require_equal(read, written, uri=file.source.uri)
                by, unread = compared(read)
                verdict = chain(by, strongest(written), read_locally=from_disk, written_locally=to_disk, unread=unread)
        except StoreError as error:
            outcomes.failed.append((file, error))
        else:
            outcomes.copied.append((file, verdict))
    return outcomes


async def copy_natively(route: Route, carried: Carried, files: Sequence[PlannedFile]) -> Outcomes:
    """Let the target copy a batch by itself."""
    how = carried.native_options()
    items = [CopyItem(file.source, file.target, how) for file in files]
    local = route.sink.is_local
    weight = weight_of(route.writes.limit, len(items), local=local)
    await route.writes.enter(weight)
    results: Sequence[FileStat | StoreError]
    try:
        results = await route.sink.copy_batch(route.source, items)
    except StoreError as error:
        results = [error] * len(items)
    finally:
        route.writes.leave(weight)
    outcomes = Outcomes()
    for file, result in zip(files, results, strict=True):
        if isinstance(result, StoreError):
            outcomes.failed.append((file, result))
            continue
        try:
            require_written(file.source, result)
        except StoreError as error:
            outcomes.failed.append((file, error))
        else:
            method = strongest(result.checksums) if route.verify is not Verify.SIZE else None
            outcomes.copied.append((file, Verdict(method or (SIZE if local else SERVER_SIDE))))
    return outcomes


def weight_of(limit: int, items: int, *, local: bool) -> int:
    """How much of a gate a batch takes: a batch on this machine is one thread hop, elsewhere each item is a request."""
    return 1 if local else min(limit, items)
