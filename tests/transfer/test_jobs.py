"""The jobs of a user: found, told apart, looked at while they run, and forgotten."""

# ruff: noqa: ASYNC240  # tests look at the disk itself, and nothing else runs on their loop

from __future__ import annotations

import itertools
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from entrepot.errors import ConfigurationError, JobBusy, JournalUnusable
from entrepot.transfer.jobs import KEPT_S, Jobs
from entrepot.transfer.journal import FailureRecord, ItemRecord, JobSpec, UploadRecord
from entrepot.transfer.records import JobSummary

pytestmark = pytest.mark.anyio

DAY_S = 24 * 3_600.0
UPLOAD = UploadRecord("w1", "y/large", "10:etag", 10 << 20, 8 << 20, "open", "t0k3n")


class Clock:
    """Seconds since 1970, by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(tmp_path: Path, clock: Clock) -> Jobs:
    return Jobs(tmp_path / "state" / "jobs", clock=clock)


def job(source: str = "s3://b/x", **options: Any) -> JobSpec:
    return JobSpec.of(source, "/y", is_secret=lambda _: False, options=options, configuration={"region": "r"})


async def left(jobs: Jobs, spec: JobSpec, state: Any, *uploads: UploadRecord) -> str:
    """A job that was run once and left so."""
    journal = await jobs.open(spec)
    for upload in uploads:
        await journal.intend(upload)
    journal.note_done([ItemRecord("y/a", "1:a", 5)])
    await journal.close(state)
    return spec.id


# ---- looking --------------------------------------------------------------------------------------------


async def test_there_are_no_jobs_before_the_first_and_looking_makes_no_folder(jobs: Jobs) -> None:
    assert await jobs.list() == []
    assert await jobs.prune() == ()
    assert not os.path.exists(jobs.folder)


async def test_jobs_are_listed_the_latest_first_as_they_are_and_as_they_were_left(jobs: Jobs, clock: Clock) -> None:
    began = clock.now
    interrupted = await left(jobs, job("s3://b/1"), "interrupted", UPLOAD)
    clock.now += 60
    done = await left(jobs, job("s3://b/2"), "done")
    clock.now += 60
    async with await jobs.open(job("s3://b/3")) as journal:
        journal.note_found(7, 70)
        journal.note_failures([FailureRecord("s3://b/3/f", "y/f", "NotFound", "gone")])
        await journal.flush()
        found = await jobs.list()
        assert [(one.id, one.state) for one in found] == [
            (job("s3://b/3").id, "running"), (done, "done"), (interrupted, "interrupted"),
        ]  # fmt: skip
        assert (found[0].found_files, found[0].found_bytes, found[0].failures) == (7, 70, 1)
    last = found[2]
    assert last.created == last.updated == datetime.fromtimestamp(began, UTC)
    assert last == JobSummary(
        interrupted, "interrupted", "s3://b/1", "/y", last.created, last.updated, str(os.getpid()), 1, 5, uploads=1
    )


async def test_one_job_is_shown_by_any_beginning_of_its_id(jobs: Jobs) -> None:
    spec = job(delete=True)
    async with await jobs.open(spec) as journal:
        await journal.intend(UPLOAD)
        journal.note_failures([FailureRecord(f"s3://b/x/{n}", f"y/{n}", "NotFound", "gone") for n in range(5)])
        await journal.flush()
        for prefix in (spec.id, spec.id[:1], spec.id[:9]):
            shown = await jobs.show(prefix, failures=2)
            assert shown.summary.state == "running"
        assert shown.spec == spec
        assert shown.uploads == (UPLOAD,)
        assert [one.source for one in shown.failures] == ["s3://b/x/0", "s3://b/x/1"]
        assert shown.summary.failures == 5


async def test_ids_that_are_no_beginning_or_of_several_are_refused(jobs: Jobs) -> None:
    ids = sorted([await left(jobs, job(f"s3://b/{n}"), "done") for n in range(17)])
    shared = next(one[0] for one, other in itertools.pairwise(ids) if one[0] == other[0])
    with pytest.raises(ConfigurationError, match=r"is the beginning of several jobs, .*; add a digit"):
        await jobs.show(shared)
    for prefix in ("", "x", "..", ".lock", ids[0] + "0"):
        with pytest.raises(ConfigurationError, match=r"no job .*`entrepot jobs list`"):
            await jobs.show(prefix)
    assert jobs.ids() == ids
    assert jobs.ids(ids[3]) == [ids[3]]


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
async def test_directories_are_this_users_alone_whatever_the_umask_is(jobs: Jobs) -> None:
    before = os.umask(0)
    try:
        await left(jobs, job(), "done")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path(jobs.folder).rglob("*")}
    assert modes.pop(job().id) == 0o700
    assert set(modes.values()) == {0o600}
    assert {*modes} == {"journal.db", "journal.db.lock", ".lock"}
    assert stat.S_IMODE(os.stat(jobs.folder).st_mode) == 0o700


# ---- continuing -----------------------------------------------------------------------------------------


async def test_the_same_job_goes_on_and_another_begins(jobs: Jobs) -> None:
    await left(jobs, job(delete=True), "interrupted", UPLOAD)
    async with await jobs.open(job(delete=True)) as journal:
        assert journal.is_done("y/a", "1:a")
        assert await journal.uploads() == (UPLOAD,)
    async with await jobs.open(job(delete=False)) as journal:
        assert not journal.is_done("y/a", "1:a")
    assert len(await jobs.list()) == 2


async def test_a_job_that_runs_is_refused_to_others_and_looks_are_in_nobodys_way(jobs: Jobs) -> None:
    async with await jobs.open(job()):
        with pytest.raises(JobBusy, match=f"process {os.getpid()} runs this job"):
            await jobs.open(job())
        with pytest.raises(JobBusy):
            async with jobs.forget(job().id):
                pytest.fail("it runs")
        assert [one.state for one in await jobs.list()] == ["running"]

    async def look() -> None:
        for _ in range(30):
            await jobs.list()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(look)
        for _ in range(30):
            async with await jobs.open(job()):
                pass


_RUN = """
import asyncio, sys
from entrepot.transfer.jobs import Jobs
from entrepot.transfer.journal import JobSpec, ItemRecord

async def main():
    spec = JobSpec.of("s3://b/x", "/y", is_secret=lambda _: False, configuration={"region": "r"})
    async with await Jobs(sys.argv[1]).open(spec) as journal:
        journal.note_done([ItemRecord("y/killed", "1:a", 9)])
        await journal.flush()
        print("running", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def test_a_job_in_another_process_runs_until_that_is_killed_and_is_interrupted_then(jobs: Jobs) -> None:
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", _RUN, jobs.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"running\n"
            (running,) = await jobs.list()
            assert (running.state, running.process, running.copied_files) == ("running", str(other.pid), 1)
            assert (await jobs.show(running.id)).summary == running
            with pytest.raises(JobBusy, match=f"process {other.pid}") as busy:
                await jobs.open(job())
            assert busy.value.pid == other.pid
        finally:
            other.kill()
    assert other.returncode in (-signal.SIGKILL, 1)
    assert await jobs.list() == [replace(running, state="interrupted")]
    async with await jobs.open(job()) as journal:
        assert journal.is_done("y/killed", "1:a")


# ---- forgetting -----------------------------------------------------------------------------------------


async def test_forgetting_gives_the_uploads_first_and_removes_all_there_is(jobs: Jobs) -> None:
    id_ = await left(jobs, job(), "interrupted", UPLOAD)
    async with jobs.forget(id_[:6]) as forgotten:
        assert forgotten.summary.id == id_
        assert forgotten.spec == job()
        assert forgotten.uploads == (UPLOAD,)
        with pytest.raises(JobBusy):
            await jobs.open(job())
    assert await jobs.list() == []
    assert os.listdir(jobs.folder) == [".lock"]
    async with await jobs.open(job()) as journal:
        assert not journal.is_done("y/a", "1:a")


async def test_an_error_on_the_way_forgets_nothing(jobs: Jobs) -> None:
    id_ = await left(jobs, job(), "interrupted", UPLOAD)
    with pytest.raises(ZeroDivisionError):
        async with jobs.forget(id_):
            raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        async with jobs.forget(id_):
            scope.cancel()
            await anyio.sleep_forever()
    assert (await jobs.show(id_)).uploads == (UPLOAD,)
    await left(jobs, job(), "interrupted")


async def test_a_damaged_job_is_listed_cannot_be_opened_and_can_be_forgotten(jobs: Jobs) -> None:
    id_ = await left(jobs, job(), "interrupted", UPLOAD)
    good = await left(jobs, job("s3://b/good"), "done")
    Path(jobs.folder, id_, "journal.db").write_bytes(b"no database" * 999)
    assert [(one.id, one.state) for one in await jobs.list()] == [(good, "done"), (id_, "unreadable")]
    for attempt in (jobs.open(job()), jobs.show(id_)):
        with pytest.raises(JournalUnusable, match=f"is damaged.*`entrepot jobs forget {id_}` removes it"):
            await attempt
    async with jobs.forget(id_) as forgotten:
        assert (forgotten.spec, forgotten.uploads) == (None, ())
        assert "is damaged" in forgotten.summary.problem
    assert [one.id for one in await jobs.list()] == [good]
    await left(jobs, job(), "done")


async def test_jobs_that_are_long_done_are_forgotten_and_others_are_not(jobs: Jobs, clock: Clock) -> None:
    old = await left(jobs, job("s3://b/old"), "done")
    unfinished = await left(jobs, job("s3://b/unfinished"), "interrupted")
    async with await jobs.open(job("s3://b/running")) as running:
        clock.now += KEPT_S - DAY_S
        newer = await left(jobs, job("s3://b/newer"), "done")
        assert await jobs.prune() == ()
        clock.now += DAY_S + 1
        os.mkdir(os.path.join(jobs.folder, ".gone-0123"))  # of a process that was killed while it removed a job
        assert await jobs.prune() == (old,)
        assert sorted(jobs.ids()) == sorted([unfinished, newer, running.spec.id])
        assert [name for name in os.listdir(jobs.folder) if name.startswith(".gone")] == []
    clock.now += KEPT_S
    await left(jobs, job("s3://b/next"), "done")  # whoever opens a job clears up first
    assert newer not in jobs.ids()


async def test_openers_and_forgetters_at_once_leave_every_job_whole(jobs: Jobs) -> None:
    spec = job()
    opened = forgotten = 0

    async def open_it(number: int) -> None:
        nonlocal opened
        for turn in range(20):
            try:
                async with await jobs.open(spec) as journal:
                    journal.note_done([ItemRecord(f"y/{number}/{turn}", "1:a", 1)])
                    opened += 1
            except JobBusy:
                pass

    async def forget_it() -> None:
        nonlocal forgotten
        for _ in range(20):
            try:
                async with jobs.forget(spec.id):
                    forgotten += 1
            except (JobBusy, ConfigurationError):
                pass

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(open_it, number)
            tasks.start_soon(forget_it)
    assert opened
    assert forgotten
    async with await jobs.open(spec):
        pass
    assert os.listdir(os.path.join(jobs.folder, spec.id)) != []
    assert sorted(os.listdir(jobs.folder)) == sorted([".lock", spec.id])
