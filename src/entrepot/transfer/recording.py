"""What a copy writes down so that it can be gone on with: which items are done, how far each large one is.

Nothing is written for a small copy: the journal begins with the first file that moves in parts, or after 1,000 items;
those that were done before are kept until then. One that an earlier run has left is read first.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import anyio

from entrepot.errors import StoreError
from entrepot.models import FileStat, Part, Resume
from entrepot.paths import join, printable
from entrepot.transfer.plan import PlannedFile
from entrepot.transfer.ports import PartSink, Sink
from entrepot.transfer.records import FailureRecord, ItemRecord, JobSpec, PartRecord, UploadRecord, fingerprint_of

if TYPE_CHECKING:
    from entrepot.transfer.jobs import Jobs
    from entrepot.transfer.journal import Journal

BEGINS_AFTER: Final = 1_000
"""So many items are copied before a journal begins, where no file moves in parts: to copy fewer anew costs less."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is copied, and where its journal lies. anew: forget what an earlier run has left, its uploads too."""

    jobs: Jobs
    spec: JobSpec
    anew: bool = False


@dataclass(slots=True)
class Begun:
    """One large file under way. resume: what an earlier run has left of it."""

    record: UploadRecord
    resume: Resume | None = None
    held: dict[int, int] = field(default_factory=dict)

    @property
    def unread(self) -> str:
        """Why what this run has read of it cannot be compared with a checksum of the whole; empty where it can."""
        return "an earlier run has read some of its parts" if self.held else ""


class Recorder:
    """The journal of one copy; without a job it records nothing."""

    def __init__(self, job: Job | None = None, *, root: str = "", target: str = "") -> None:
        """root: the address of the target store. target: the path in it that is copied to."""
        self._job, self._root, self._target = job, root, target
        self._journal: Journal | None = None
        self._opening = anyio.Lock()
        self._waiting: list[ItemRecord] = []
        self._left: dict[str, UploadRecord] = {}

    @property
    def resumes(self) -> bool:
        """Whether an earlier run has left anything."""
        return self._journal is not None

    async def begin(self, sink: Sink) -> None:
        """Read what an earlier run has left. A job that was done is a new one; one that is to be begun anew is dropped.

        Raises: JobBusy, JournalUnusable, and what dropping large files raises.
        """
        job = self._job
        if job is None or job.spec.id not in job.jobs.ids(job.spec.id):
            return
        details = await job.jobs.show(job.spec.id, failures=0)
        if details.summary.state == "running":
            await self._open()  # says who runs it
        if details.summary.state == "done" or job.anew:
            async with job.jobs.forget(job.spec.id) as forgotten:
                for upload in forgotten.uploads:
                    if upload.token:
                        await sink.drop_parts(join(self._target, upload.target), upload.token)
            return
        journal = await self._open()
        for upload in await journal.uploads():
            if upload.token:
                self._left[upload.target] = upload
            else:  # whether it was begun is not known, nor by which name
                if details.summary.created is not None:
                    await sink.drop_lost_parts(join(self._target, upload.target), details.summary.created)
                journal.drop(upload.write_id)

    async def _open(self) -> Journal:
        async with self._opening:
            if self._journal is None:
                assert self._job is not None
                self._journal = await self._job.jobs.open(self._job.spec)
                self._journal.note_done(self._waiting)
                self._waiting = []
            return self._journal

    def _below(self, path: str) -> str:
        """A path in the target store, as it is written down."""
        top = self._target
        return path.removeprefix(top).removeprefix("/") if top else path

    # ---- items ------------------------------------------------------------------------------------

    def is_done(self, file: PlannedFile, target: FileStat | None) -> bool:
        """Whether an earlier run has copied this content of the source, and its copy is still there as it was."""
        return (
            self._journal is not None
            and target is not None
            and not target.is_dir
            and target.size_bytes == file.source.size_bytes
            and self._journal.is_done(self._below(file.target), fingerprint_of(file.source))
        )

    async def copied(self, files: Sequence[PlannedFile]) -> None:
        """Small files that are at their targets, and verified."""
        if self._job is None:
            return
        records = [
            ItemRecord(self._below(one.target), fingerprint_of(one.source), one.source.size_bytes) for one in files
        ]
        if self._journal is not None:
            self._journal.note_done(records)
            await self._journal.keep_up()
            return
        self._waiting += records
        if len(self._waiting) > BEGINS_AFTER:
            await self._open()

    def failed(self, source: str, target: str, error: StoreError) -> None:
        """One item that could not be copied. source, target: addresses, escaped."""
        if self._journal is not None:
            target = self._below(target.removeprefix(printable(self._root)).lstrip("/"))
            self._journal.note_failures([FailureRecord(source, target, type(error).__name__, error.message)])

    def found(self, files: int, size_bytes: int) -> None:
        """What the scan has found so far."""
        if self._journal is not None:
            self._journal.note_found(files, size_bytes)

    # ---- large files ------------------------------------------------------------------------------

    async def begin_upload(self, file: PlannedFile) -> Begun | None:
        """One large file, with what an earlier run has left of it; None where nothing is recorded.

        What was left of another content of the source is of no use: `obsolete` gives it.
        """
        if self._job is None:
            return None
        journal = await self._open()
        print_ = fingerprint_of(file.source)
        left = self._left.get(self._below(file.target))
        if left is not None and left.fingerprint == print_ and left.token:
            parts = tuple(
                Part(one.number, one.size_bytes, md5=one.md5, crc32c=one.crc32c)
                for one in await journal.parts(left.write_id)
            )
            return Begun(left, Resume(left.token, parts))
        record = UploadRecord(secrets.token_hex(16), self._below(file.target), print_, file.source.size_bytes)
        await journal.intend(record)
        return Begun(record)

    def obsolete(self, file: PlannedFile) -> UploadRecord | None:
        """What an earlier run has left of another content of the file, to be dropped."""
        left = self._left.get(self._below(file.target))
        if left is None or left.fingerprint == fingerprint_of(file.source):
            return None
        return self._left.pop(left.target)

    async def opened(self, begun: Begun, out: PartSink) -> None:
        """The upload is open: written down, it is kept whatever ends this run."""
        assert self._journal is not None
        if out.resume_token is None:
            return
        begun.record = replace(begun.record, token=out.resume_token, part_size_bytes=out.part_size_bytes, state="open")
        await self._journal.intend(begun.record)
        await out.keep()
        begun.held = dict(out.held_parts)

    def part(self, begun: Begun, part: Part) -> None:
        """One more part of it was written."""
        assert self._journal is not None
        self._journal.note_part(begun.record.write_id, PartRecord(part.number, part.size_bytes, part.crc32c, part.md5))

    async def completing(self, begun: Begun) -> None:
        """All parts are written."""
        assert self._journal is not None
        begun.record = replace(begun.record, state="completing")
        await self._journal.intend(begun.record)

    def completed(self, begun: Begun, written: FileStat) -> None:
        """The file is at its target, and verified."""
        assert self._journal is not None
        self._left.pop(begun.record.target, None)
        record = ItemRecord(begun.record.target, begun.record.fingerprint, written.size_bytes, written.etag)
        self._journal.finish(begun.record.write_id, record)

    def dropped(self, record: UploadRecord) -> None:
        """An upload is no more."""
        assert self._journal is not None
        self._left.pop(record.target, None)
        self._journal.drop(record.write_id)

    # ---- the end ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self, sink: Sink) -> AsyncGenerator[None]:
        """While the block lasts the job runs; it is done where the block ends well and `finish` was called."""
        try:
            await self.begin(sink)
            yield
        finally:
            if self._journal is not None:
                await self._journal.close()  # as interrupted, unless `finish` has closed it

    async def finish(self) -> None:
        """All is done, and nothing failed."""
        if self._journal is not None:
            await self._journal.close("done")
