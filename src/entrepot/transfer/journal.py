"""The journal of a bulk copy: what is done and what is under way, so that a killed copy goes on where it was.

    async with await Journal.open(path, spec) as journal:
        if not journal.is_done(target, fingerprint):
            await journal.intend(upload)                       # durable before the call that it announces
            journal.note_part(upload.write_id, part)           # may lag: at worst the part is sent again
            journal.finish(upload.write_id, item)
        await journal.close("done")

What `intend` was awaited for survives a power cut. What is noted may lag 64 records or 200 ms behind, which a killed
process loses: then a few items are copied again.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Literal, Self

import anyio
from anyio import to_thread
from filelock import FileLock, Timeout

from entrepot.errors import JobBusy, JournalUnusable, StoreError
from entrepot.transfer.group_commit import GroupCommit
from entrepot.transfer.journal_file import JournalFile, JournalReader, is_begun, process_text, told
from entrepot.transfer.marks import Marks, mark_of
from entrepot.transfer.records import FailureRecord, ItemRecord, JobSpec, PartRecord, UploadRecord

__all__ = ["FailureRecord", "ItemRecord", "JobSpec", "Journal", "PartRecord", "UploadRecord", "hold"]

_PAGE: int = 1_000
_CLOSE_S: float = 10.0
"""How long a cancelled copy waits for its journal; beyond, the disk hangs."""


class Journal:
    """The journal of one job, open for writing in this process and in no other.

    Notes (`note_…`, `finish`, `drop`) return at once and raise StoreClosed, or the error that ended the journal: no
    room (NoSpace), or JournalUnusable. Whoever notes in a loop awaits `keep_up` now and then. Every `await` may be
    cancelled; what it asked for happens all the same.
    """

    def __init__(self, spec: JobSpec, commits: GroupCommit[JournalFile], marks: Marks) -> None:
        self.spec = spec
        self._commits, self._marks = commits, marks
        self._closed = False

    @classmethod
    async def open(
        cls, path: str, spec: JobSpec, *, lock: FileLock | None = None, clock: Callable[[], float] = time.time
    ) -> Self:
        """Continue the journal in this file, or begin it there.

        lock: what `hold` gave, where it was called already. It is released when the journal is closed.
        Cost: reads what is done, about 3 s and 27 MB for 1,000,000 items.
        Raises JobBusy, JournalUnusable (damaged, of a newer version, of another job), NoSpace.
        """
        held = await to_thread.run_sync(hold, path, spec.id) if lock is None else lock
        commits = GroupCommit(
            lambda: JournalFile(path, spec, clock()), name="entrepot-journal", after=held.release, clock=clock
        )
        try:
            marks = await commits.run(JournalFile.start)
        except BaseException:
            with anyio.move_on_after(_CLOSE_S, shield=True), contextlib.suppress(StoreError):
                await commits.close()  # which releases the lock
            raise
        return cls(spec, commits, marks)

    # ---- what is done -----------------------------------------------------------------------------

    def is_done(self, target: str, fingerprint: str) -> bool:
        """Whether an earlier run has put this content of the source at the target. Cost: 4 µs, no I/O."""
        return mark_of(target, fingerprint) in self._marks

    def note_done(self, items: Sequence[ItemRecord]) -> None:
        """Items that are at their targets, durable and verified. A failure that was noted of them is forgotten."""
        self._commits.note(partial(JournalFile.add_items, items=tuple(items)), len(items))

    def note_removed(self, targets: Sequence[str]) -> None:
        """Items that are at their targets no more."""
        self._commits.note(partial(JournalFile.remove_items, targets=tuple(targets)), len(targets))

    def note_directories(self, targets: Sequence[str]) -> None:
        """Directories that were made, as paths in the target store."""
        self._commits.note(partial(JournalFile.add_directories, targets=tuple(targets)), len(targets))

    def note_failures(self, failures: Sequence[FailureRecord]) -> None:
        """Items that failed; of each the last error is kept."""
        self._commits.note(partial(JournalFile.put_failures, failures=tuple(failures)), len(failures))

    def note_found(self, files: int, size_bytes: int) -> None:
        """What the scan has found so far, in total."""
        self._commits.note(lambda file: file.put_found(files, size_bytes))

    async def items(self) -> AsyncGenerator[tuple[str, int | None, str | None], None]:
        """Every item that was noted, in that order: target, size, etag at the target; size None: removed.

        An item that was copied again comes again. Memory: one page of 1,000.
        """
        after = 0
        while page := await self._commits.run(partial(JournalFile.items, after=after, limit=_PAGE), 0):
            for number, target, size_bytes, etag in page:
                yield target, size_bytes, etag
                after = number

    async def directories(self) -> frozenset[str]:
        """The directories that were made."""
        return await self._commits.run(JournalFile.directories, 0)

    # ---- large items under way --------------------------------------------------------------------

    async def intend(self, upload: UploadRecord) -> None:
        """Record an upload as it is now, or is about to be; returns when that is durable.

        `creating`: before the call that creates it. `open`: with its token, before its first part. `completing`:
        before the call that completes it. Parts that were noted stay.
        """
        await self._commits.run(partial(JournalFile.put_upload, upload=upload))

    def note_part(self, write_id: str, part: PartRecord) -> None:
        """One more part of an upload was written. What its store says of its parts goes before what is noted here."""
        self._commits.note(partial(JournalFile.put_part, write_id=write_id, part=part))

    def finish(self, write_id: str, item: ItemRecord) -> None:
        """An upload was completed, and its item is durable and verified: one is forgotten as the other is noted."""
        self._commits.note(partial(JournalFile.finish_upload, write_id=write_id, item=item), 2)

    def drop(self, write_id: str) -> None:
        """An upload is no more: its store has aborted it, or does not know it."""
        self._commits.note(partial(JournalFile.remove_upload, write_id=write_id))

    async def uploads(self) -> tuple[UploadRecord, ...]:
        """The uploads under way, oldest first; there may be several to one target."""
        return await self._commits.run(JournalFile.uploads, 0)

    async def parts(self, write_id: str) -> tuple[PartRecord, ...]:
        """The parts that were noted of an upload, by number."""
        return await self._commits.run(partial(JournalFile.parts, write_id=write_id), 0)

    # ---- the end ----------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Return when all that was noted is durable."""
        await self._commits.run(lambda _: None, 0)

    async def keep_up(self) -> None:
        """Return at once, but where more than 16,384 records wait for the disk; then when they are written."""
        if self._commits.behind:
            await self.flush()

    async def close(self, state: Literal["interrupted", "done"] = "interrupted") -> None:
        """Write what was noted, and how the job was left, and give up the lock; harmless twice.

        A cancelled caller waits for it too, 10 s at most.
        Raises the error of what could not be written.
        """
        if self._closed:
            return
        self._closed = True
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await self._commits.close(partial(JournalFile.end, state=state))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the job as interrupted, unless it was closed before."""
        try:
            await self.close()
        except StoreError:
            if error is None:  # else that one says it already, or says what is worse
                raise

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"the journal of job {self.spec.id} was not closed", ResourceWarning, stacklevel=1)
            self._commits.end(partial(JournalFile.end, state="interrupted"))


def hold(path: str, id_: str) -> FileLock:
    """The lock of a journal, held until its `release`, by whichever thread. Blocks for microseconds.

    Raises JobBusy where another process, or another journal of this one, holds it; JournalUnusable.
    """
    # The lock outlives the thread that took it: it is released by the one that has written the last record.
    lock = FileLock(f"{path}.lock", timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        pid, host = _holder(path, id_)
        who = f"process {process_text(pid, host)}" if pid else "another process"
        raise JobBusy(
            f"{who} runs this job; wait for it, or end it first: `entrepot jobs show {id_}` tells how far it is",
            uri=path,
            pid=pid or None,
        ) from None
    except OSError as error:
        raise told(error, path, id_) from error
    return lock


def _holder(path: str, id_: str) -> tuple[int, str]:
    try:
        if is_begun(path):
            with JournalReader(path, id_) as reader:
                return reader.process()
    except JournalUnusable:
        pass  # it is busy all the same
    return 0, ""
