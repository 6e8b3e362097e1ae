"""The bulk copy: scan → plan → schedule → move → verify, composed; one report a copy.

    report = await copy_between(source, "runs", sink, "backup/runs", options=CopyOptions(recursive=True))

Sources are scanned as a stream, a page ahead of the workers; nothing grows with the number of files but the failures
that the report names. Every task ends before `copy_between` does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Literal, TypeAlias, cast

import anyio

from entrepot.errors import (
    FATAL,
    AlreadyExists,
    PermissionDenied,
    StoreError,
)
from entrepot.models import FileStat
from entrepot.paths import printable
from entrepot.rates import Rate
from entrepot.transfer import whole
from entrepot.transfer.budget import Gate, Share, process_budget
from entrepot.transfer.ends import (
    existing_files,
    join,
    paced,
    real_path,
    require_kind,
    require_possible,
    rules_of,
    scan_of,
)
from entrepot.transfer.events import (
    Copied,
    Event,
    Failed,
    Planned,
    Progress,
    Skipped,
    Started,
    StepPlanned,
    Stopped,
)
from entrepot.transfer.links import follow
from entrepot.transfer.parts import Route, move_in_parts
from entrepot.transfer.plan import (
    CopyNatively,
    CopyOptions,
    LeftAlone,
    MakeDirectories,
    MakeLink,
    MoveInParts,
    MoveWhole,
    PlannedFile,
    Planner,
    Refused,
    Rules,
    Step,
)
from entrepot.transfer.ports import LinkedSink, LinkedSource, Sink, Source
from entrepot.transfer.removal import remove_directories, remove_source
from entrepot.transfer.report import CopyReport, FailedItem, Ledger
from entrepot.transfer.schedule import LARGE_AT_ONCE, Backlog, WriteWhole, first_error
from entrepot.transfer.verify import SIZE, Verdict, chain, require_equal, require_size, require_written, strongest
from entrepot.transfer.whole import Carried

__all__ = ["CopyOptions", "CopyReport", "FailedItem", "copy_between"]

_log = logging.getLogger(__name__)

_ERRORS_IN_A_ROW = 64
"""So many errors of a service that is failing, throttling or refusing, one after another, with no success between: it
will not get better."""

_Stage: TypeAlias = Literal["read", "write", "remove"]
"""In which stage of its way an item failed."""

_HOPS = 2
"""Batches in worker threads at once, on each end that is on this machine: more only contend for the interpreter."""

_AT_ONCE = 64
"""Requests that a copy would have in flight, where no number is given; each service's own limit bounds them further."""

_PLANNED_EVERY = 1_000
_COPIED_AN_EVENT = 64
_TELL_EVERY_S = 0.05
"""Files that were copied are told together: so many, or those of so long."""

_DIRECTORIES_A_STEP = 16


async def copy_between(
    source: Source,
    source_path: str,
    sink: Sink,
    sink_path: str,
    *,
    options: CopyOptions,
    on_event: Callable[[Event], None] | None = None,
) -> CopyReport:
    """Copy a file, or what is in a directory: `source_path/x` becomes `sink_path/x`; a file becomes `sink_path`.

    source_path, sink_path: relative to their stores. Failures of single items are in the report, which is not `ok`
    then; the copy goes on. Nothing of a failed or cancelled item is visible or left at the target.

    overwrite=False: where the service decides exclusive creation, it does so for each file; elsewhere the target is
    looked at once, before the copy (one listing, or one HEAD for a file), and a file that another writer makes
    meanwhile is overwritten.
    delete_source: each file goes once its copy is durable and verified and the source is still what was copied; its
    directories go when nothing is left in them. What no checksum vouches for on its way over a network is copied,
    kept, and reported as failed, unless `verify` is False. The root of a store stays.

    Requests: one look at the source, its listing, and one read and one write a small file, or a part of a large one.
    Raises: NotFound; IsADirectory (no `recursive`, or no name for a file); InvalidPath (a target inside its own
    source, a target that no store keeps); errors of the listing; and errors that every further item would meet:
    ContainerNotFound, missing or expired credentials, a write or a removal that a service refuses before any
    succeeded, ConnectionFailed, NoSpace, a service that keeps failing. `Stopped` has the report of what was done
    until then.
    """
    began = time.monotonic()
    ledger = Ledger()
    emit = on_event or _ignore
    try:
        require_possible(source, source_path, sink, options)
        with paced(source, sink, options):
            found = await source.stat(source_path)
            require_kind(found, sink, sink_path, options)
            target = sink_path.removesuffix("/")
            rules, exclusive = await rules_of(source, sink, found, target, options)
            with process_budget().share(options.memory_bytes) as memory:
                copy = _Copy(source, sink, rules, options, memory=memory, exclusive=exclusive, ledger=ledger, emit=emit)
                await copy.run(found, source_path)
    except StoreError as error:
        emit(Stopped(error, ledger.report(time.monotonic() - began, dry_run=options.dry_run)))
        raise
    return ledger.report(time.monotonic() - began, dry_run=options.dry_run)


def _ignore(_event: Event) -> None:
    """Nobody listens."""


# ---- the copy -------------------------------------------------------------------------------------------


class _Copy:
    """One copy under way: the scan, its workers, and what becomes of each item."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        rules: Rules,
        options: CopyOptions,
        *,
        memory: Share,
        exclusive: bool,
        ledger: Ledger,
        emit: Callable[[Event], None],
    ) -> None:
        # What links lead to may lie outside of the source's root.
        follows = options.links == "follow" and source.capabilities.links
        self._disk = cast("LinkedSource", source).disk() if follows else None
        source = self._disk or source
        self._source, self._sink, self._options = source, sink, options
        self._ledger, self._emit, self._exclusive = ledger, emit, exclusive
        self._planner = Planner(rules)
        self._native = rules.native
        at_once = options.concurrency or _AT_ONCE
        requests, hops = Gate(at_once), Gate(min(_HOPS, at_once))
        # As many workers as requests, so that one who has a file seldom waits for its turn to ask.
        self._workers = 2 * _HOPS if source.is_local and sink.is_local else max(2, at_once)
        self._backlog = Backlog(
            write_items=max(1, sink.batch_items),
            large_at_once=min(LARGE_AT_ONCE, self._workers - 1),  # small files need a worker, too
            contended=lambda: memory.contended,
        )
        self._route = Route(
            source=source,
            sink=sink,
            reads=hops if source.is_local else requests,
            writes=hops if sink.is_local else requests,
            memory=memory,
            acquire=self._acquire,
            part_bytes=Gate(max(1, options.memory_bytes * 3 // 4)),
            verify=options.verify,
            flow=Rate(options.bandwidth_bytes_s) if options.bandwidth_bytes_s is not None else None,
        )
        self._carried = Carried(options, source, sink, exclusive=exclusive)
        self._errors_in_a_row = 0
        self._told_files = 0
        self._copied: list[PlannedFile] = []
        self._copied_told_bytes = 0
        self._tell_at_s = 0.0

    async def run(self, found: FileStat, source_path: str) -> None:
        """All of it; every task has ended when this returns or raises."""
        failed: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                if not self._options.dry_run:
                    for _ in range(self._workers):
                        tasks.start_soon(self._work)
                await self._scan(found, source_path)
                self._backlog.scan_ended()
        except BaseExceptionGroup as group:
            failed = first_error(group)
        if failed is None or isinstance(failed, StoreError):
            self._tell_copied()
        if failed is not None:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # A cancellation that met an error on its way out is still a cancellation.
                raise asyncio.CancelledError from failed
            raise failed
        if found.is_dir and self._options.delete_source and not self._options.dry_run:
            await remove_directories(self._source, source_path, self._ledger)

    # ---- scan -------------------------------------------------------------------------------------

    async def _scan(self, found: FileStat, source_path: str) -> None:
        planner = self._planner
        if not found.is_dir:
            await self._admit(planner.add_file(PlannedFile(found, planner.target_root)))
        elif self._disk is not None:
            goal = real_path(join(self._sink.path, planner.target_root)) if self._sink.is_local else None
            async with aclosing(follow(self._disk, found, target=goal)) as followed:
                async for address, reached in followed:
                    if isinstance(reached, StoreError):
                        shown = printable(address)
                        self._record(FailedItem(shown, "", reached.message, _bare(reached)))
                    else:
                        await self._take(reached, address)
        else:
            async with aclosing(scan_of(self._source, source_path)) as entries:
                async for entry in entries:
                    await self._take(entry)
        await self._admit(planner.rest())
        if found.is_dir:
            await self._plan_directories()
        self._emit(Planned(planner.files, planner.size_bytes, complete=True))

    async def _take(self, entry: FileStat, address: str | None = None) -> None:
        if entry.link_target is not None and self._options.links != "preserve":
            self._ledger.links_skipped += 1
        elif entry.special:
            self._ledger.special_skipped += 1
        elif (step := self._planner.add(entry, address)) is not None:
            await self._admit(step)
        elif self._backlog.starving:
            await self._admit(self._planner.rest())

    async def _admit(self, step: Step | Refused | LeftAlone | None) -> None:
        if step is None:
            return
        if isinstance(step, Refused):
            target = join(self._sink.path, step.target) if step.target else ""
            self._record(FailedItem(step.source, target, step.error.message, step.error))
        elif isinstance(step, LeftAlone):
            self._skip(step.file)
        elif self._options.dry_run:
            self._pretend(step)
        else:
            await self._backlog.put(step)
        if self._planner.files >= self._told_files + _PLANNED_EVERY:
            self._told_files = self._planner.files
            self._emit(Planned(self._planner.files, self._planner.size_bytes, complete=False))

    async def _plan_directories(self) -> None:
        empty = list(self._planner.empty_directories())
        if not empty:
            return
        if not (await self._sink.probe_capabilities()).empty_directories:
            self._ledger.empty_directories_skipped += len(empty)
            return
        for start in range(0, len(empty), _DIRECTORIES_A_STEP):
            await self._admit(MakeDirectories(tuple(empty[start : start + _DIRECTORIES_A_STEP])))

    def _pretend(self, step: Step) -> None:
        ledger = self._ledger
        if isinstance(step, MakeDirectories):
            ledger.directories += len(step.paths)
        elif isinstance(step, MakeLink):
            ledger.links += 1
        elif isinstance(step, MoveInParts):
            ledger.files += 1
            ledger.size_bytes += step.file.source.size_bytes
        else:
            ledger.files += len(step.files)
            ledger.size_bytes += step.size_bytes
        self._emit(StepPlanned(step))

    # ---- work -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        backlog = self._backlog
        while (job := await backlog.take()) is not None:
            if isinstance(job, MoveWhole):
                await self._read(job)
                continue
            if isinstance(job, WriteWhole):
                await self._write(job)
            elif isinstance(job, MoveInParts):
                await self._move_in_parts(job.file)
            elif isinstance(job, CopyNatively):
                await self._settle(await whole.copy_natively(self._route, self._carried, job.files))
            elif isinstance(job, MakeLink):
                await self._make_link(job.file)
            else:
                await self._make_directories(job)
            backlog.done(job)

    async def _read(self, job: MoveWhole) -> None:
        await self._acquire(job.size_bytes)
        read, failed = await whole.read_whole(self._route, job)
        held = job.size_bytes
        for file, error in failed:
            held -= file.source.size_bytes
            self._fail(file, error, "read")
        self._route.memory.release(job.size_bytes - held)
        self._backlog.put_read(job, read, held)

    async def _acquire(self, size_bytes: int) -> None:
        """Take memory. Files that were read hold some until they are written, and a wait for that could be for ever:
        so who would wait writes them first, and who reads more while somebody waits writes before it goes on.
        """
        memory, backlog = self._route.memory, self._backlog
        while not memory.try_acquire(size_bytes):
            if (chunk := backlog.take_read()) is None:
                await memory.acquire(size_bytes)
                return
            await self._write(chunk)
            backlog.done(chunk)

    async def _write(self, job: WriteWhole) -> None:
        outcomes = await whole.write_whole(self._route, self._carried, job.files)
        self._route.memory.release(job.size_bytes)
        await self._settle(outcomes)

    async def _move_in_parts(self, file: PlannedFile) -> None:
        route, told_bytes = self._route, 0

        def tell(part_of: PlannedFile, size_bytes: int) -> None:
            nonlocal told_bytes
            told_bytes += size_bytes
            self._emit(Progress(part_of, size_bytes))

        try:
            # Not after the upload of a large file, but before it: the sink's own answer comes at its end.
            if self._exclusive and await existing_files(self._sink, file.target, tree=False):
                self._skip(file)
                return
            told = file.source if self._source.is_local else await self._source.stat(file.source.uri)
            require_size(file.source, told.size_bytes)
            if told.checksums:  # a listing does not tell what some services keep with the object
                file = replace(file, source=replace(file.source, checksums=told.checksums))
            self._emit(Started(file))
            written, read = await move_in_parts(route, file, self._carried.options(file.source, told), tell)
            require_written(file.source, written)
            if self._options.verify:
                require_equal(file.source.checksums, written.checksums, uri=file.source.uri)
        except StoreError as error:
            stage: _Stage = "read" if error.uri == file.source.uri else "write"
            self._fail(file, error, stage, told_bytes=told_bytes)
            return
        verdict = Verdict(SIZE)
        if self._options.verify:
            verdict = chain(
                read,
                strongest(written.checksums),
                read_locally=self._source.is_local,
                written_locally=self._sink.is_local,
            )
        await self._settle(whole.Outcomes(copied=[(file, verdict)]), told_bytes=told_bytes)

    async def _make_directories(self, job: MakeDirectories) -> None:
        for path in job.paths:
            try:
                await self._sink.makedirs(path)
            except StoreError as error:
                address = printable(join(self._sink.path, path))
                self._judge(error, "write")
                self._record(FailedItem(address, address, error.message, _bare(error)))
            else:
                self._ledger.directories += 1

    async def _make_link(self, file: PlannedFile) -> None:
        sink = cast("LinkedSink", self._sink)
        try:
            await sink.copy_link(self._source, file.source, file.target, overwrite=self._options.overwrite)
        except StoreError as error:
            self._fail(file, error, "write")
        else:
            self._ledger.links += 1

    # ---- outcomes ---------------------------------------------------------------------------------

    async def _settle(self, outcomes: whole.Outcomes, *, told_bytes: int = 0) -> None:
        """Enter what became of a batch, and remove sources that are to move."""
        if outcomes.copied:
            self._errors_in_a_row = 0
            for file, verdict in outcomes.copied:
                self._ledger.copied(file.source.size_bytes, verdict, file.source.uri)
                self._copied.append(file)
            self._copied_told_bytes += told_bytes
            now = time.monotonic()
            if told_bytes or len(self._copied) >= _COPIED_AN_EVENT or now >= self._tell_at_s:
                self._tell_at_s = now + _TELL_EVERY_S
                self._tell_copied()
        for file, error in outcomes.failed:
            self._fail(file, error, "write")
        if self._options.delete_source:
            for file, verdict in outcomes.copied:
                try:
                    await remove_source(
                        self._source, self._sink, file, verified=verdict.method is not None, native=self._native
                    )
                except StoreError as error:
                    self._fail(file, error, "remove")
                else:
                    self._ledger.removed += 1

    def _tell_copied(self) -> None:
        if self._copied:
            files, told_bytes = tuple(self._copied), self._copied_told_bytes
            self._copied, self._copied_told_bytes = [], 0
            self._emit(Copied(files, sum(file.source.size_bytes for file in files), told_bytes))

    def _fail(self, file: PlannedFile, error: StoreError, stage: _Stage, *, told_bytes: int = 0) -> None:
        """Enter one failure. Raises the error where every further item would meet it too."""
        if self._exclusive and isinstance(error, AlreadyExists):
            self._skip(file)
            return
        self._judge(error, stage)
        target = printable(join(self._sink.path, file.target))
        self._record(FailedItem(printable(file.source.uri), target, error.message, _bare(error)), told_bytes)

    def _judge(self, error: StoreError, stage: _Stage) -> None:
        ledger = self._ledger
        at_a_service = not (self._sink if stage == "write" else self._source).is_local
        refused = isinstance(error, PermissionDenied) and at_a_service
        if error.retryable or refused:
            self._errors_in_a_row += 1
        # Who was refused its first write, or its first removal, is refused the others as well.
        none_yet = not ledger.files if stage == "write" else stage == "remove" and not ledger.removed
        if isinstance(error, FATAL) or (refused and none_yet) or self._errors_in_a_row >= _ERRORS_IN_A_ROW:
            raise error

    def _record(self, item: FailedItem, told_bytes: int = 0) -> None:
        _log.debug("%s", item.error)
        self._ledger.failed.append(item)
        self._emit(Failed(item, told_bytes))

    def _skip(self, file: PlannedFile) -> None:
        self._ledger.skipped += 1
        self._emit(Skipped(file))


def _bare(error: StoreError) -> StoreError:
    """The error without tracebacks, its causes' too: their frames hold the content that was under way."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
