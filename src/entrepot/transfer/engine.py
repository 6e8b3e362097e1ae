"""The bulk copy: listings → decisions → plan → schedule → move → verify, composed; one report a copy.

    report = await copy_between(source, "runs", sink, "backup/runs", options=CopyOptions(recursive=True))

Listings are read as streams, a page ahead of the workers; nothing grows with the number of files but the failures
that the report names, and what a mirroring copy is going to delete. Every task ends before `copy_between` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

from entrepot.errors import ChecksumMismatch, StoreError
from entrepot.models import FileStat
from entrepot.paths import join, printable
from entrepot.rates import Rate
from entrepot.transfer import whole
from entrepot.transfer.account import Account, Stage
from entrepot.transfer.budget import Gate, Share, process_budget
from entrepot.transfer.compare import Comparison, decide
from entrepot.transfer.ends import paced, require_kind, require_possible, rules_of
from entrepot.transfer.events import Event, Progress, Started, Stopped
from entrepot.transfer.examining import Examiner
from entrepot.transfer.intake import Intake, looks_at_targets, stat_or_none
from entrepot.transfer.mirror import Mirrored
from entrepot.transfer.parts import Route, move_in_parts
from entrepot.transfer.plan import (
    CopyNatively,
    CopyOptions,
    MakeDirectories,
    MakeLink,
    MoveInParts,
    MoveWhole,
    PlannedFile,
    Planner,
    Rules,
)
from entrepot.transfer.plans import CopyPlan, PlanWriter
from entrepot.transfer.ports import LinkedSink, LinkedSource, Sink, Source
from entrepot.transfer.recording import Begun, Job, Recorder
from entrepot.transfer.removal import remove_directories, remove_source
from entrepot.transfer.report import CopyReport, FailedItem, Ledger
from entrepot.transfer.scan import Scan
from entrepot.transfer.schedule import LARGE_AT_ONCE, Backlog, Examine, WriteWhole, crew
from entrepot.transfer.verify import (
    SIZE,
    Verdict,
    Verify,
    chain,
    require_equal,
    require_size,
    require_written,
    strongest,
    uncomputed,
)
from entrepot.transfer.watch import watched
from entrepot.transfer.whole import Carried

__all__ = ["CopyOptions", "CopyReport", "FailedItem", "copy_between"]

_HOPS: Final = 2
"""Batches in worker threads at once, on each end that is on this machine: more only contend for the interpreter."""

_AT_ONCE: Final = 64
"""Requests that a copy would have in flight, where no number is given; each service's own limit bounds them further."""


@watched
async def copy_between(
    source: Source,
    source_path: str,
    sink: Sink,
    sink_path: str,
    *,
    options: CopyOptions,
    plan: CopyPlan | None = None,
    job: Job | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> CopyReport:
    """Copy a file, or what is in a directory: `source_path/x` becomes `sink_path/x`; a file becomes `sink_path`.

    source_path, sink_path: relative to their stores. Failures of single items are in the report, which is not `ok`
    then; the copy goes on. Nothing of a failed or cancelled item is visible or left at the target.

    options.compare, other than `always`: source and target are listed side by side, and `compare.decide` tells what
    is copied; a look at a file more is spent only where that may change the decision. skip-existing and error: where
    the service decides exclusive creation, it does so for each file, and no target is listed; elsewhere a file that
    another writer makes meanwhile is overwritten.
    plan: what was decided before (`plan_between`); then nothing is listed. A source that is another one since is a
    failure of its own.
    job: where the copy writes down how far it is, once that is worth it: with the first file that moves in parts, or
    after 1,000 items. An earlier run of the same job is gone on with: what it has copied, and is at its target with
    its size, is not copied again; a large file goes on at its next missing part.
    options.mirror: after everything was copied and nothing failed, what only the target has is deleted.
    delete_source: each file goes once its copy is durable and verified and the source is still what was copied; its
    directories go when nothing is left in them. What no checksum vouches for on its way over a network is copied,
    kept, and reported as failed, unless `verify` has it read again, or is `size`. The root of a store stays.

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
            recorder = Recorder(job if not options.dry_run else None, root=sink.path, target=target)
            with process_budget().share(options.memory_bytes) as memory:
                async with recorder.running(sink):
                    copy = _Copy(
                        source, sink, rules, options, memory=memory, exclusive=exclusive, ledger=ledger, emit=emit,
                        recorder=recorder,
                    )  # fmt: skip
                    await copy.run(found, source_path, plan)
                    if not ledger.failed:
                        await recorder.finish()
    except StoreError as error:
        emit(Stopped(error, ledger.report(time.monotonic() - began, dry_run=options.dry_run)))
        raise
    return ledger.report(time.monotonic() - began, dry_run=options.dry_run)


async def plan_between(
    source: Source, source_path: str, sink: Sink, sink_path: str, *, addresses: tuple[str, str], options: CopyOptions
) -> CopyPlan:
    """What `copy_between` would do, as a value that is run later by giving it back. Memory: does not grow with it.

    addresses: of source and target, as the plan is to name them. Requests: those of the listings and looks.
    Raises: as `copy_between`; the first failure of an item, as a plan is of a whole tree or of nothing.
    """
    found = await source.stat(source_path)
    target = sink_path.removesuffix("/")
    writer = PlanWriter(*addresses, found.uri, target, tree=found.is_dir, options=options)
    report = await copy_between(
        source, source_path, sink, sink_path, options=replace(options, dry_run=True), on_event=writer.take
    )
    if report.failed:
        raise report.failed[0].error
    return writer.finish(skipped=report.skipped, excluded=report.excluded, local=(source.is_local, sink.is_local))


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
        recorder: Recorder,
    ) -> None:
        # What links lead to may lie outside of the source's root.
        follows = options.links == "follow" and source.capabilities.links
        self._disk = cast("LinkedSource", source).disk() if follows else None
        source = self._disk or source
        self._source, self._sink, self._options = source, sink, options
        self._ledger, self._emit, self._exclusive = ledger, emit, exclusive
        self._recorder, self._target = recorder, rules.target_root
        planner = Planner(rules)
        self._native = rules.native
        self._account = Account(
            source,
            sink,
            ledger,
            emit,
            skips_existing=exclusive and options.compare is Comparison.SKIP_EXISTING,
            note_failure=recorder.failed,
        )
        self._mirrored = (
            Mirrored(options.mirror, sink, rules.target_root, self._account) if options.mirror is not None else None
        )
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
        self._examiner = Examiner(self._route, options.compare, time_travels=sink.is_local and not source.is_local)
        self._scan = Scan(
            sink,
            options,
            planner=planner,
            backlog=self._backlog,
            examiner=self._examiner,
            account=self._account,
            mirrored=self._mirrored,
            recorder=recorder,
            emit=emit,
        )

    async def run(self, found: FileStat, source_path: str, plan: CopyPlan | None) -> None:
        """All of it; every task has ended when this returns or raises."""
        try:
            async with crew(self._work, self._workers):
                if plan is None:
                    looks = self._recorder.resumes or looks_at_targets(self._options, exclusive=self._exclusive)
                    await self._scan.read(
                        Intake(self._source, source_path, found, self._sink, self._target, self._disk, looks)
                    )
                else:
                    await self._scan.follow(plan)
                self._backlog.scan_ended()
        except Exception as error:
            if isinstance(error, StoreError):
                self._account.tell_copied()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # A cancellation that met an error on its way out is still a cancellation.
                raise asyncio.CancelledError from error
            raise
        self._account.tell_copied()
        if self._mirrored is not None and found.is_dir:
            await self._mirrored.finish(dry_run=self._options.dry_run)
        if found.is_dir and self._options.delete_source and not self._options.dry_run:
            await remove_directories(self._source, source_path, self._ledger)

    # ---- work -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        backlog = self._backlog
        while (job := await backlog.take()) is not None:
            if isinstance(job, MoveWhole):
                await self._read(job)
                continue
            if isinstance(job, Examine):
                await self._examine(job)
            elif isinstance(job, WriteWhole):
                await self._write(job)
            elif isinstance(job, MoveInParts):
                await self._move_in_parts(job.file)
            elif isinstance(job, CopyNatively):
                if files := await self._backed_up(job.files):
                    await self._settle(await whole.copy_natively(self._route, self._carried, files))
            elif isinstance(job, MakeLink):
                await self._make_link(job.file)
            elif isinstance(job, MakeDirectories):
                await self._make_directories(job)
            backlog.done(job)

    async def _examine(self, job: Examine) -> None:
        """Look at both ends, then decide; the file goes on as a step of its own."""
        try:
            file, decision = await self._examiner.decide(job)
        except StoreError as error:
            self._account.failed(job.file, error, "read" if error.uri == job.file.source.uri else "write")
            return
        self._scan.examined(file, decision)

    async def _backed_up(self, files: tuple[PlannedFile, ...]) -> tuple[PlannedFile, ...]:
        """The files whose targets, where they are kept, are kept aside now; of the others the failure is entered."""
        if self._mirrored is None:
            return files
        failed = await self._mirrored.back_up(self._route.writes, files)
        for file, error in failed:
            self._account.failed(file, error, "write")
        lost = {file.target for file, _ in failed}
        return tuple(file for file in files if file.target not in lost) if lost else files

    async def _read(self, job: MoveWhole) -> None:
        files = await self._backed_up(job.files)
        if len(files) < len(job.files):
            job = MoveWhole(files, sum(file.source.size_bytes for file in files))
        await self._acquire(job.size_bytes)
        read, failed = await whole.read_whole(self._route, job)
        held = job.size_bytes
        for file, error in failed:
            held -= file.source.size_bytes
            self._account.failed(file, error, "read")
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
            if self._exclusive and not await self._is_new(file):
                return
            if not await self._backed_up((file,)):
                return
            told = file.source if self._source.is_local else await self._source.stat(file.source.uri)
            require_size(file.source, told.size_bytes)
            if told.checksums:  # a listing does not tell what some services keep with the object
                file = replace(file, source=replace(file.source, checksums=told.checksums))
            self._emit(Started(file))
            how = self._carried.options(file.source, told)
            written, read, begun = await move_in_parts(route, file, how, tell, self._recorder)
            verdict = await self._verdict(file, read, written, begun)
        except StoreError as error:
            stage: Stage = "read" if error.uri == file.source.uri else "write"
            self._account.failed(file, error, stage, told_bytes=told_bytes)
            return
        await self._settle(whole.Outcomes(copied=[(file, verdict)]), told_bytes=told_bytes, large=True)

    async def _verdict(self, file: PlannedFile, read: str | None, written: FileStat, begun: Begun | None) -> Verdict:
        """Whether what is at the target is what was read, and how that is known; then a large file is done."""
        verdict = Verdict(SIZE)
        try:
            require_written(file.source, written)
            if self._options.verify is not Verify.SIZE:
                require_equal(file.source.checksums, written.checksums, uri=file.source.uri)
                verdict = chain(
                    read,
                    strongest(written.checksums),
                    read_locally=self._source.is_local,
                    written_locally=self._sink.is_local,
                    unread=(begun.unread if begun is not None else "") or uncomputed(file.source.checksums),
                )
                verdict = await self._certain(file, verdict)
        except StoreError:
            if begun is not None:
                self._recorder.dropped(begun.record)
            raise
        if begun is not None:
            self._recorder.completed(begun, written)
        return verdict

    async def _certain(self, file: PlannedFile, verdict: Verdict) -> Verdict:
        """Where that is wanted, always or where no checksum vouches for a copy, both ends are read and compared.

        Raises: ChecksumMismatch; SourceChanged, NotFound, and what reading raises.
        """
        verify = self._options.verify
        if not verify.may_read_again or (verdict.is_of_bytes and verify is not Verify.FULL):
            return verdict
        target = await self._sink.stat(file.target)
        if not await self._examiner.are_equal(Examine(file, target)):
            raise ChecksumMismatch(
                "read once more, the copy is not what its source is; copy it again", operation="copy", uri=target.uri
            )
        return Verdict("sha256")

    async def _is_new(self, file: PlannedFile) -> bool:
        """Whether nothing is at a file's target; if something is, that is entered."""
        there = await stat_or_none(self._sink, file.target)
        if there is None or there.is_dir:
            return True
        self._scan.is_settled(file, decide(file.source, there, self._options.compare))
        return False

    async def _make_directories(self, job: MakeDirectories) -> None:
        for path in job.paths:
            try:
                await self._sink.makedirs(path)
            except StoreError as error:
                address = printable(join(self._sink.path, path))
                self._account.judge(error, "write")
                self._account.record(address, address, error)
            else:
                self._ledger.directories += 1

    async def _make_link(self, file: PlannedFile) -> None:
        sink = cast("LinkedSink", self._sink)
        try:
            await sink.copy_link(self._source, file.source, file.target, overwrite=self._options.overwrites)
        except StoreError as error:
            self._account.failed(file, error, "write")
        else:
            self._ledger.links += 1

    async def _made_certain(self, outcomes: whole.Outcomes) -> whole.Outcomes:
        made = whole.Outcomes(failed=outcomes.failed)
        for file, verdict in outcomes.copied:
            try:
                made.copied.append((file, await self._certain(file, verdict)))
            except StoreError as error:
                made.failed.append((file, error))
        return made

    # ---- outcomes ---------------------------------------------------------------------------------

    async def _settle(self, outcomes: whole.Outcomes, *, told_bytes: int = 0, large: bool = False) -> None:
        """Enter what became of a batch, and remove sources that are to move. large: it is written down already."""
        if self._options.verify.may_read_again and not large:
            outcomes = await self._made_certain(outcomes)
        for file, verdict in outcomes.copied:
            self._account.copied(file, verdict, told_bytes)
        if not large and outcomes.copied:
            await self._recorder.copied([file for file, _ in outcomes.copied])
        for file, error in outcomes.failed:
            self._account.failed(file, error, "write")
        if self._options.delete_source:
            for file, verdict in outcomes.copied:
                try:
                    await remove_source(self._source, self._sink, file, verdict, native=self._native)
                except StoreError as error:
                    self._account.failed(file, error, "remove")
                else:
                    self._ledger.removed += 1
