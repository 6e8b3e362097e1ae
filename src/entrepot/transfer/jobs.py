"""The jobs of this user: a directory each, with its journal, below one folder.

jobs = Jobs(folder)
async with await jobs.open(spec) as journal: ...
for job in await jobs.list(): ...
async with jobs.forget("3f0c") as forgotten:
    for upload in forgotten.uploads: ...   # abort it; the job goes when the block ends well
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread
from filelock import FileLock, Timeout

from entrepot.disks import sync_directory
from entrepot.errors import ConfigurationError, JobBusy, JournalUnusable, StoreError
from entrepot.transfer.journal import Journal, hold
from entrepot.transfer.journal_file import JournalReader, is_begun, told
from entrepot.transfer.records import FailureRecord, JobSpec, JobSummary, UploadRecord

if TYPE_CHECKING:
    import builtins

KEPT_S: Final = 7 * 24 * 3_600.0
"""How long a job that is done is remembered."""

_JOURNAL: Final = "journal.db"
_GOING: Final = ".gone-"
_LOCK_WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class JobDetails:
    """One job. failures: the first of them, by source; `summary.failures` is their number."""

    summary: JobSummary
    spec: JobSpec
    uploads: tuple[UploadRecord, ...]
    failures: tuple[FailureRecord, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A job about to be forgotten. uploads: those under way, which are lost from sight with it. spec: None, and no
    uploads, where the journal is damaged; `summary` says how.
    """

    summary: JobSummary
    spec: JobSpec | None
    uploads: tuple[UploadRecord, ...]


class Jobs:
    """The jobs in a folder, which is made when the first job is. Methods block in threads, never the loop.

    An id may be any beginning of one that no other job has. Raises ConfigurationError for others.
    """

    def __init__(self, folder: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self.folder = os.path.abspath(folder)
        self._clock = clock

    async def open(self, spec: JobSpec) -> Journal:
        """The journal of this job: continued where there is one, else begun. Jobs long done are forgotten first.

        Raises JobBusy, JournalUnusable, NoSpace.
        """
        lock = await to_thread.run_sync(self._hold_new, spec.id)
        return await Journal.open(self._journal(spec.id), spec, lock=lock, clock=self._clock)

    async def list(self) -> list[JobSummary]:
        """Every job, the one that was written to last comes first; one that cannot be read comes last."""
        return await to_thread.run_sync(self._list)

    async def show(self, prefix: str, *, failures: int = 100) -> JobDetails:
        """One job. failures: how many of them to give, at most. Raises JournalUnusable."""
        return await to_thread.run_sync(self._show, prefix, failures)

    @asynccontextmanager
    async def forget(self, prefix: str) -> AsyncGenerator[Forgotten]:
        """Give what a job has under way, and remove its journal when the block ends well. Raises JobBusy."""
        id_, lock = await to_thread.run_sync(self._hold_known, prefix)
        try:
            yield await to_thread.run_sync(self._forgotten, id_)
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._remove, id_, lock)
        finally:
            lock.release()

    async def prune(self, *, older_than_s: float = KEPT_S) -> tuple[str, ...]:
        """Remove the jobs that have been done for so long; their ids. One that is not done stays for ever."""
        return await to_thread.run_sync(self._prune, older_than_s)

    def ids(self, prefix: str = "") -> builtins.list[str]:
        """The ids that begin so, sorted. Cost: one look at the folder, by this thread."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return sorted(
            name
            for name in names
            if name.startswith(prefix) and not name.startswith(".") and is_begun(self._journal(name))
        )

    # ---- in threads -------------------------------------------------------------------------------

    def _journal(self, id_: str) -> str:
        return os.path.join(self.folder, id_, _JOURNAL)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else takes the lock of a job, looks at it, or removes its directory. Waits for milliseconds.

        Without it, a lock could be taken in a directory that is being removed, and a look at a lock be in the way of
        whoever wants to have it.
        """
        path = os.path.join(self.folder, ".lock")
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            lock = FileLock(path, timeout=_LOCK_WAIT_S, mode=0o600)
            lock.acquire()
        except Timeout as error:
            raise JournalUnusable(
                f"another process has held it for {_LOCK_WAIT_S:.0f} s; try again", uri=path
            ) from error
        except OSError as error:
            raise told(error, path, "") from error
        try:
            yield
        finally:
            lock.release()

    def _hold_new(self, id_: str) -> FileLock:
        with contextlib.suppress(StoreError):  # what is in the way of others is in nobody's way here
            self._prune(KEPT_S)
        path = self._journal(id_)
        with self._alone():
            try:
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                sync_directory(self.folder)
            except OSError as error:
                raise told(error, path, id_) from error
            return hold(path, id_)

    def _hold_known(self, prefix: str) -> tuple[str, FileLock]:
        with self._alone():
            id_ = self._resolved(prefix)
            return id_, hold(self._journal(id_), id_)

    def _resolved(self, prefix: str) -> str:
        found = self.ids(prefix) if prefix else []
        if prefix in found:
            return prefix
        if not found:
            raise ConfigurationError(f"no job {prefix!r}; `entrepot jobs list` shows those there are")
        if len(found) > 1:
            raise ConfigurationError(f"{prefix!r} is the beginning of several jobs, {', '.join(found)}; add a digit")
        return found[0]

    def _summary(self, id_: str) -> JobSummary:
        """What a look tells; call it alone."""
        path = self._journal(id_)
        try:
            running = False
            try:
                hold(path, id_).release()
            except JobBusy:
                running = True
            with JournalReader(path, id_) as reader:
                return reader.summary(running=running)
        except StoreError as error:
            return JobSummary(id_, "unreadable", problem=error.message)

    def _list(self) -> builtins.list[JobSummary]:
        if not self.ids():
            return []
        with self._alone():
            found = [self._summary(id_) for id_ in self.ids()]
        return sorted(found, key=lambda one: one.updated.timestamp() if one.updated else 0, reverse=True)

    def _show(self, prefix: str, failures: int) -> JobDetails:
        with self._alone():
            id_ = self._resolved(prefix)
            summary = self._summary(id_)
        if summary.state == "unreadable":
            raise JournalUnusable(summary.problem, uri=self._journal(id_))
        with JournalReader(self._journal(id_), id_) as reader:
            return JobDetails(summary, reader.spec(), reader.uploads(), reader.failures(failures))

    def _forgotten(self, id_: str) -> Forgotten:
        path = self._journal(id_)
        try:
            with JournalReader(path, id_) as reader:
                return Forgotten(reader.summary(running=False), reader.spec(), reader.uploads())
        except StoreError as error:
            return Forgotten(JobSummary(id_, "unreadable", problem=error.message), None, ())

    def _remove(self, id_: str, lock: FileLock) -> None:
        """Remove a job whose lock is held."""
        going = os.path.join(self.folder, f"{_GOING}{secrets.token_hex(8)}")
        path = os.path.join(self.folder, id_)
        try:
            with self._alone():
                lock.release()  # its file is in the directory; nobody takes it, for we are alone
                os.rename(path, going)  # in one step: what is left of it when we are killed is no job
            shutil.rmtree(going, ignore_errors=True)  # the next prune removes what is left
        except OSError as error:
            raise told(error, path, id_) from error

    def _prune(self, older_than_s: float) -> tuple[str, ...]:
        before = self._clock() - older_than_s
        removed: builtins.list[str] = []
        for id_ in self.ids():
            path = self._journal(id_)
            try:
                if os.path.getmtime(path) > before:
                    continue
                with self._alone():
                    lock = hold(path, id_)
            except (OSError, StoreError):  # another process removes it, or works on it
                continue
            try:
                job = self._forgotten(id_).summary
                if job.state == "done" and job.updated is not None and job.updated.timestamp() <= before:
                    self._remove(id_, lock)
                    removed.append(id_)
            finally:
                lock.release()
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                if name.startswith(_GOING):  # of a process that was killed before it was all gone
                    shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)
        return tuple(removed)
