"""The journal of a copy: what is durable when, who may have it open, and what it never holds."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from entrepot.errors import ConfigurationError, JobBusy, JournalUnusable, NoSpace, StoreClosed
from entrepot.models import FileStat
from entrepot.transfer.group_commit import GROUP_RECORDS, GroupCommit
from entrepot.transfer.journal import Journal
from entrepot.transfer.journal_file import FORMAT, JournalFile, JournalReader
from entrepot.transfer.marks import Marks, mark_of, removal_of
from entrepot.transfer.records import (
    FailureRecord,
    ItemRecord,
    JobSpec,
    PartRecord,
    UploadRecord,
    fingerprint_of,
    identity,
    kept_address,
)

pytestmark = pytest.mark.anyio

NEVER_S = 3_600.0
SPEC = JobSpec.of("/data/runs", "s3://bucket/runs", is_secret=lambda _: False, options={"delete": True})
UPLOAD = UploadRecord("w1", "runs/large", "10:etag", 10 << 20)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


def item(number: int) -> ItemRecord:
    return ItemRecord(f"runs/{number:06}", f"{number}:e{number}", number, f"t{number}")


def seen(path: str, query: str = "SELECT count(*) FROM items") -> Any:
    """What another connection sees, which is what is committed."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchone()[0]
    finally:
        connection.close()


async def until(claim: Callable[[], bool]) -> None:
    while not claim():  # noqa: ASYNC110  # what another connection sees announces itself to nobody
        await anyio.sleep(0.005)


@asynccontextmanager
async def grouping(path: str, group_s: float) -> AsyncIterator[Journal]:
    """A journal whose records wait so long for others."""
    ended = threading.Event()
    commits = GroupCommit(lambda: JournalFile(path, SPEC, time.time()), name="test", after=ended.set, group_s=group_s)
    async with Journal(SPEC, commits, await commits.run(JournalFile.start)) as journal:
        yield journal
    assert ended.is_set()


# ---- what is kept ---------------------------------------------------------------------------------------


async def test_what_was_noted_is_there_when_the_journal_is_opened_again(path: str) -> None:
    async with await Journal.open(path, SPEC) as journal:
        assert not journal.is_done("runs/000001", "1:e1")
        journal.note_found(12, 3_456)
        journal.note_done([item(1), item(2)])
        journal.note_directories(["runs/empty", "runs/none"])
        journal.note_directories(["runs/none"])
        journal.note_failures([FailureRecord("/data/runs/x", "runs/x", "NotFound", "gone")])
        await journal.intend(UPLOAD)
        await journal.intend(replace(UPLOAD, state="open", token="t0k3n", part_size_bytes=8 << 20))
        journal.note_part("w1", PartRecord(2, 2 << 20))
        journal.note_part("w1", PartRecord(1, 8 << 20, 0xFFFFFFFF))
    async with await Journal.open(path, SPEC) as journal:
        assert journal.is_done("runs/000001", "1:e1")
        assert journal.is_done("runs/000002", "2:e2")
        assert not journal.is_done("runs/000001", "1:other")
        assert not journal.is_done("runs/000003", "1:e1")
        assert await journal.directories() == {"runs/empty", "runs/none"}
        assert await journal.uploads() == (replace(UPLOAD, state="open", token="t0k3n", part_size_bytes=8 << 20),)
        assert await journal.parts("w1") == (PartRecord(1, 8 << 20, 0xFFFFFFFF), PartRecord(2, 2 << 20))
        assert [one async for one in journal.items()] == [("runs/000001", 1, "t1"), ("runs/000002", 2, "t2")]
        with JournalReader(path, SPEC.id) as reader:
            summary = reader.summary(running=True)
            assert (summary.copied_files, summary.copied_bytes) == (2, 3)
            assert (summary.found_files, summary.found_bytes) == (12, 3_456)
            assert (summary.failures, summary.uploads, summary.state) == (1, 1, "running")
            assert summary.process == str(os.getpid())
            assert reader.failures(10) == (FailureRecord("/data/runs/x", "runs/x", "NotFound", "gone"),)
            assert reader.spec() == SPEC


async def test_items_come_in_pages_of_any_number(path: str) -> None:
    async with await Journal.open(path, SPEC) as journal:
        journal.note_done([item(number) for number in range(2_500)])
        assert [target async for target, _, _ in journal.items()] == [item(number).target for number in range(2_500)]


async def test_of_one_target_the_last_record_counts(path: str) -> None:
    first, second = ItemRecord("a", "1:old", 1), ItemRecord("a", "2:new", 2)
    async with await Journal.open(path, SPEC) as journal:
        journal.note_done([first, ItemRecord("b", "1:b", 1)])
        journal.note_done([second])
        journal.note_removed(["b"])
    async with await Journal.open(path, SPEC) as journal:
        assert journal.is_done("a", "2:new")
        assert not journal.is_done("a", "1:old")  # its source is the old one again: what is at the target is not
        assert not journal.is_done("b", "1:b")
        journal.note_done([ItemRecord("b", "1:b", 1)])
    async with await Journal.open(path, SPEC) as journal:
        assert journal.is_done("b", "1:b")


async def test_a_finished_upload_is_an_item_and_its_parts_are_forgotten(path: str) -> None:
    async with await Journal.open(path, SPEC) as journal:
        await journal.intend(UPLOAD)
        journal.note_part("w1", PartRecord(1, 8 << 20))
        await journal.intend(
            replace(UPLOAD, write_id="w2")
        )  # another attempt at one target loses no sight of the first
        assert [one.write_id for one in await journal.uploads()] == ["w1", "w2"]
        await journal.intend(replace(UPLOAD, state="completing"))
        journal.finish("w1", ItemRecord(UPLOAD.target, UPLOAD.fingerprint, UPLOAD.size_bytes, "e"))
        journal.drop("w2")
        journal.note_part("w2", PartRecord(1, 8 << 20))  # a late word of what is gone
        await journal.flush()
        assert await journal.uploads() == ()
        assert seen(path, "SELECT count(*) FROM parts") == 0
    async with await Journal.open(path, SPEC) as journal:
        assert journal.is_done(UPLOAD.target, UPLOAD.fingerprint)


async def test_a_failure_is_replaced_by_the_next_and_forgotten_when_its_item_is_done(path: str) -> None:
    failed = FailureRecord("/data/runs/x", "runs/000007", "NotFound", "gone")
    async with await Journal.open(path, SPEC) as journal:
        journal.note_failures([failed, replace(failed, source="/data/y", target="")])
        journal.note_failures([replace(failed, reason="really gone")])
        await journal.flush()
        assert seen(path, "SELECT group_concat(reason) FROM failures") == "really gone,gone"
    async with await Journal.open(path, SPEC) as journal:
        journal.note_done([item(7)])
        await journal.flush()
        assert seen(path, "SELECT group_concat(source) FROM failures") == "/data/y"


@pytest.mark.parametrize("state", ["interrupted", "done"])
async def test_closing_says_how_the_job_was_left_and_leaves_one_file(path: str, state: Any) -> None:
    journal = await Journal.open(path, SPEC)
    journal.note_done([item(1)])
    await journal.close(state)
    await journal.close()
    assert seen(path, "SELECT state FROM job") == state
    assert seen(path) == 1
    assert sorted(os.listdir(Path(path).parent)) == ["journal.db", "journal.db.lock"]
    for call in (lambda: journal.note_done([item(2)]), lambda: journal.drop("w")):
        with pytest.raises(StoreClosed):
            call()
    with pytest.raises(StoreClosed):
        await journal.flush()


async def test_leaving_by_an_error_is_an_interruption_and_keeps_what_was_noted(path: str) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with await Journal.open(path, SPEC) as journal:
            journal.note_done([item(1)])
            raise ZeroDivisionError
    assert (seen(path), seen(path, "SELECT state FROM job")) == (1, "interrupted")


async def test_a_cancelled_copy_closes_its_journal(path: str) -> None:
    with anyio.CancelScope() as scope:
        async with await Journal.open(path, SPEC) as journal:
            journal.note_done([item(1)])
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert (seen(path), seen(path, "SELECT state FROM job")) == (1, "interrupted")
    await (await Journal.open(path, SPEC)).close()


async def test_an_intent_whose_caller_is_cancelled_is_recorded_all_the_same(path: str) -> None:
    async with grouping(path, NEVER_S) as journal:
        task = asyncio.get_running_loop().create_task(journal.intend(UPLOAD))
        await asyncio.sleep(0)  # it waits for the disk now
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await journal.uploads() == (UPLOAD,)


async def test_a_journal_that_is_never_closed_says_so_and_gives_up_its_lock(path: str) -> None:
    journal = await Journal.open(path, SPEC)
    journal.note_done([item(1)])
    with pytest.warns(ResourceWarning, match="was not closed"):
        del journal
    async with await opened_when_free(path) as journal:
        assert journal.is_done("runs/000001", "1:e1")


async def opened_when_free(path: str) -> Journal:
    while True:
        try:
            return await Journal.open(path, SPEC)
        except JobBusy:
            await anyio.sleep(0.005)


# ---- commits in groups ----------------------------------------------------------------------------------


async def test_a_full_group_is_committed_and_one_that_is_not_full_waits(path: str) -> None:
    async with grouping(path, NEVER_S) as journal:
        for number in range(GROUP_RECORDS - 1):
            journal.note_done([item(number)])
        assert seen(path) == 0
        journal.note_done([item(GROUP_RECORDS)])
        await until(lambda: seen(path) == GROUP_RECORDS)


async def test_a_group_that_is_not_full_is_committed_when_its_time_has_come(path: str) -> None:
    async with grouping(path, 0.02) as journal:
        journal.note_done([item(1)])
        await until(lambda: seen(path) == 1)
        journal.note_done([item(2)])
        await until(lambda: seen(path) == 2)


async def test_an_intent_is_durable_when_it_returns_and_takes_with_it_what_was_noted_before(path: str) -> None:
    async with grouping(path, NEVER_S) as journal:
        journal.note_done([item(1)])
        await journal.intend(UPLOAD)
        assert (seen(path), seen(path, "SELECT count(*) FROM uploads")) == (1, 1)
        journal.note_done([item(2)])
        await journal.flush()
        assert seen(path) == 2


async def test_keeping_up_waits_only_for_much(path: str) -> None:
    async with grouping(path, NEVER_S) as journal:
        journal.note_done([item(1)])
        await journal.keep_up()
        assert seen(path) == 0
        journal.note_done([item(number) for number in range(2, 20_001)])
        await journal.keep_up()
        assert seen(path) == 20_000


async def test_many_loops_and_threads_share_one_journal(path: str) -> None:
    async with await Journal.open(path, SPEC) as journal:

        def work(first: int) -> None:
            async def note() -> None:
                for number in range(first, first + 200):
                    journal.note_done([item(number)])
                    if number % 50 == 0:
                        await journal.intend(replace(UPLOAD, write_id=str(number)))
                        assert str(number) in {one.write_id for one in await journal.uploads()}

            asyncio.run(note())

        async with anyio.create_task_group() as tasks:
            for first in (0, 1_000, 2_000, 3_000):
                tasks.start_soon(anyio.to_thread.run_sync, work, first)
        assert len(await journal.uploads()) == 16
    assert (seen(path), seen(path, "SELECT copied_files FROM job")) == (800, 800)


class _FullDisk(JournalFile):
    """A journal on a disk that is full."""

    def __init__(self, path: str, pages: int) -> None:
        super().__init__(path, SPEC, time.time())
        self._connection.execute(f"PRAGMA max_page_count = {pages}")


async def test_the_first_error_ends_the_journal_and_every_later_call_says_it(path: str) -> None:
    commits = GroupCommit(lambda: _FullDisk(path, 30), name="test", after=lambda: None)
    journal = Journal(SPEC, commits, await commits.run(JournalFile.start))
    journal.note_done([item(1)])
    await journal.flush()
    journal.note_done([item(number) for number in range(10_000)])
    for _ in range(2):
        with pytest.raises(NoSpace, match="no room for the journal"):
            await journal.intend(UPLOAD)
        with pytest.raises(NoSpace):
            journal.note_done([item(2)])
    with pytest.raises(NoSpace):
        await journal.close("done")
    assert (seen(path), seen(path, "SELECT state FROM job")) == (1, "running")
    async with await Journal.open(path, SPEC) as journal:
        assert journal.is_done("runs/000001", "1:e1")


async def test_leaving_by_an_error_says_that_error_and_not_the_journals(path: str) -> None:
    commits = GroupCommit(lambda: _FullDisk(path, 30), name="test", after=lambda: None)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with Journal(SPEC, commits, await commits.run(JournalFile.start)) as journal:
            journal.note_done([item(number) for number in range(10_000)])
            raise ZeroDivisionError


async def test_what_cannot_be_kept_is_an_error_and_not_a_lost_record(path: str) -> None:
    journal = await Journal.open(path, SPEC)
    journal.note_directories(["lone \udc80 surrogate"])
    with pytest.raises(JournalUnusable, match="cannot be kept"):
        await journal.flush()
    with pytest.raises(JournalUnusable):
        await journal.close()


# ---- one process, and files that are no journal ---------------------------------------------------------


async def test_a_second_journal_is_refused_and_told_who_has_the_first(path: str) -> None:
    async with await Journal.open(path, SPEC):
        with pytest.raises(
            JobBusy, match=f"process {os.getpid()} runs this job.*`entrepot jobs show {SPEC.id}`"
        ) as busy:
            await Journal.open(path, SPEC)
    assert busy.value.pid == os.getpid()
    assert pickle.loads(pickle.dumps(busy.value)).pid == os.getpid()
    await (await Journal.open(path, SPEC)).close()


_OPEN_AND_WAIT = """
import asyncio, sys
from entrepot.transfer.journal import Journal, JobSpec

async def main():
    spec = JobSpec.of("/data/runs", "s3://bucket/runs", is_secret=lambda _: False, options={"delete": True})
    async with await Journal.open(sys.argv[1], spec):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.mark.holds("one-journal")
async def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went(path: str) -> None:
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", _OPEN_AND_WAIT, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == b"open\n"
            with pytest.raises(JobBusy, match=f"process {first.pid} runs this job") as busy:
                await Journal.open(path, SPEC)
            assert busy.value.pid == first.pid
        finally:
            first.kill()
    await (await Journal.open(path, SPEC)).close()


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
async def test_files_are_this_users_alone_whatever_the_umask_is(path: str) -> None:
    before = os.umask(0)
    try:
        async with await Journal.open(path, SPEC) as journal:
            journal.note_done([item(1)])
            await journal.flush()
            files = sorted(Path(path).parent.iterdir())
            assert [file.name.removeprefix("journal.db") for file in files] == ["", "-shm", "-wal", ".lock"]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


async def _spoilt(path: str, spoil: Callable[[], object]) -> str:
    async with await Journal.open(path, SPEC) as journal:
        journal.note_done([item(number) for number in range(5_000)])
    spoil()
    with pytest.raises(JournalUnusable) as told:
        await Journal.open(path, SPEC)
    return str(told.value)


def _scrambled(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(3 * 4_096)
        file.write(random.Random(7).randbytes(20 * 4_096))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: Path(path).write_bytes(b""),
        lambda path: Path(path).write_bytes(b"no database" * 999),
        lambda path: os.truncate(path, 8_192),
        _scrambled,
    ],
    ids=["empty", "another file", "truncated", "scrambled"],
)
async def test_a_damaged_journal_says_how_to_be_rid_of_it(path: str, spoil: Callable[[str], object]) -> None:
    told = await _spoilt(path, partial(spoil, path))
    assert "the journal is damaged" in told
    assert f"`entrepot jobs forget {SPEC.id}` removes it" in told
    with pytest.raises(JournalUnusable):  # and not JobBusy: the lock was given up
        await Journal.open(path, SPEC)


def _execute(path: str, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        (f"PRAGMA user_version = {FORMAT + 1}", f"a newer entrepot wrote this journal (format {FORMAT + 1}"),
        ("PRAGMA application_id = 7", "it is not one of entrepot's"),
        ("UPDATE job SET id = 'another'", "it belongs to another job"),
        ("DELETE FROM job", "it belongs to another job"),
    ],
)
async def test_a_file_of_another_kind_is_left_alone(path: str, statement: str, complaint: str) -> None:
    assert complaint in await _spoilt(path, lambda: _execute(path, statement))


async def test_a_journal_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalUnusable, match="ENTREPOT_STATE may name another"):
        await Journal.open(str(tmp_path / "file" / "journal.db"), SPEC)
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(JournalUnusable, match="ENTREPOT_STATE"):
        await Journal.open(str(tmp_path / "journal.db"), SPEC)


# ---- SIGKILL --------------------------------------------------------------------------------------------

_COPY_FOR_EVER = """
import asyncio, sys
from dataclasses import replace
from entrepot.transfer.journal import *

async def main():
    spec = JobSpec.of("/data/runs", "s3://bucket/runs", is_secret=lambda _: False, options={"delete": True})
    run = sys.argv[2]
    print("begun", flush=True)
    async with await Journal.open(sys.argv[1], spec) as journal:
        turn = 0
        while True:
            turn += 1
            name = f"{run}/{turn}"
            journal.note_done([ItemRecord(f"small/{name}/{n}", "f", n) for n in range(10)])
            upload = UploadRecord(f"w/{name}", f"large/{name}", "f", 1 << 30)
            await journal.intend(upload)
            print("intended", name, flush=True)
            await journal.intend(replace(upload, state="open", token=name, part_size_bytes=8 << 20))
            print("opened", name, flush=True)
            for number in range(1, 20):
                journal.note_part(upload.write_id, PartRecord(number, 8 << 20, number))
            if turn % 2:
                journal.finish(upload.write_id, ItemRecord(upload.target, "f", 1 << 30))
            if turn % 3 == 0:
                await journal.flush()
                print("flushed", name, flush=True)
            await asyncio.sleep(0)

asyncio.run(main())
"""


def _killed_after(lines: int, moment_s: float, path: str, run: int) -> list[list[str]]:
    """What a copy had said was durable, that was killed such a moment after it had said so much."""
    with subprocess.Popen([sys.executable, "-c", _COPY_FOR_EVER, path, str(run)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = b"".join(process.stdout.readline() for _ in range(1 + lines))
        time.sleep(moment_s)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return [line.split() for line in said.decode().splitlines() if line.count(" ") == 1]


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
async def test_after_sigkill_everything_that_was_awaited_is_there(path: str) -> None:
    moments = random.Random(20_250_301)
    promised: list[list[str]] = []
    for run in range(24):
        # The first kills come while the journal is made or opened.
        promised += _killed_after(max(0, run - 5) * 2, moments.uniform(0.0, 0.02 if run > 5 else 0.1), path, run)
        async with await Journal.open(path, SPEC) as journal:
            uploads = {one.write_id: one for one in await journal.uploads()}
            for word, name in promised:
                turn = int(name.split("/")[1])
                finished = journal.is_done(f"large/{name}", "f")
                if word != "flushed":
                    assert finished or f"w/{name}" in uploads, (word, name)
                    if word == "opened" and not finished:
                        assert uploads[f"w/{name}"].token == name
                else:
                    assert finished == bool(turn % 2)
                    assert finished or len(await journal.parts(f"w/{name}")) == 19
                # What was noted before an intent went to the disk with it.
                assert journal.is_done(f"small/{name}/9", "f")
    assert len(promised) > 300


# ---- marks ----------------------------------------------------------------------------------------------


def test_marks_tell_the_last_of_each_target() -> None:
    marks, known = Marks(), dict[str, str]()
    moves = random.Random(5)
    for _ in range(60_000):
        target, fingerprint = f"t{moves.randrange(20_000)}", f"f{moves.randrange(3)}"
        if moves.random() < 0.1:
            marks.add(removal_of(target))
            known.pop(target, None)
        else:
            marks.add(mark_of(target, fingerprint))
            known[target] = fingerprint
    for number in range(20_000):
        target = f"t{number}"
        for fingerprint in ("f0", "f1", "f2"):
            assert (mark_of(target, fingerprint) in marks) == (known.get(target) == fingerprint)


def test_a_mark_is_not_found_across_two_others_nor_in_the_second_half_of_one() -> None:
    marks = Marks()
    first = bytes.fromhex("0000000000000001") + bytes.fromhex("0000aabbccddeeff")
    marks.add(first)
    assert first[8:] + first[:8] not in marks
    second = bytes.fromhex("0000000000000002") + b"second--"
    marks.add(second)
    across = first[12:] + bytes.fromhex("00000000")
    assert across + b"any-half" not in marks
    inner = first[8:] + b"own half"  # its target's half is another's second half
    marks.add(inner)
    assert inner in marks
    assert first in marks
    assert second in marks


# ---- identity, fingerprints, secrets --------------------------------------------------------------------


def test_fingerprints_change_with_the_content() -> None:
    then = datetime(2025, 1, 2, 3, 4, 5, 678, UTC)
    files = [
        FileStat("u", 1, etag="a"),
        FileStat("u", 2, etag="a"),
        FileStat("u", 1, etag="b"),
        FileStat("u", 1, version="v"),
        FileStat("u", 1, then),
        FileStat("u", 1, then.replace(microsecond=679)),
        FileStat("u", 1),
    ]
    assert len({fingerprint_of(file) for file in files}) == len(files)
    assert fingerprint_of(FileStat("u", 1, then, etag="a")) == fingerprint_of(FileStat("v", 1, etag="a", mode=0o600))


def test_jobs_are_the_same_by_source_target_and_options() -> None:
    options = {"filters": ["+ *.py", "- *"], "delete": True, "part_size": None, "source_endpoint": "http://h:1"}
    same = identity("s3://b/x", "/y", options)
    assert len(same) == 16
    assert same == identity("s3://b/x/", "/y/", dict(reversed(options.items())))
    assert same == JobSpec.of("s3://b/x", "/y", is_secret=lambda _: False, options=options).id
    others = [
        identity("s3://b/z", "/y", options),
        identity("s3://b/x", "/z", options),
        identity("s3://b/x", "/y", options | {"delete": False}),
        identity("s3://b/x", "/y", options | {"filters": ["- *", "+ *.py"]}),
        identity("s3://b/x", "/y", options | {"source_endpoint": "http://h:2"}),
        identity("s3://b/x?a=1", "/y", options),
        identity("s3://b/x?a=2", "/y", options),
    ]
    assert len({same, *others}) == len(others) + 1
    assert identity("sftp://me:one@h/x", "/y", {}) == identity("sftp://me:two@h/x", "/y", {})
    assert identity("sftp://me@h/x", "/y", {}) != identity("sftp://you@h/x", "/y", {})


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/", "s3://bucket/a"),
        ("s3://bucket/why?", "s3://bucket/why?"),
        ("s3://bucket/a@b:c/d", "s3://bucket/a@b:c/d"),
        ("/data/what?a=b", "/data/what?a=b"),
        ("file:///data/what?a=b", "file:///data/what?a=b"),
        ("/", "/"),
        ("default:", "default:"),
        ("sftp://me:secret@host:22/x", "sftp://me@host:22/x"),
        ("sftp://me:se@cret@host/x", "sftp://me@host/x"),
        ("sftp://:secret@host", "sftp://@host"),
        ("abfs://box@acct.dfs.core.windows.net/x", "abfs://box@acct.dfs.core.windows.net/x"),
        ("az://box/x?sv=2024&sig=secret/1", "az://box/x?…"),
        ("az://box/x?y?sig=secret", "az://box/x?y?…"),
    ],
)
def test_addresses_are_kept_without_passwords_and_queries(address: str, kept: str) -> None:
    assert kept_address(address) == kept
    assert kept_address(kept) == kept


CANARY = "c4nary"


async def test_no_secret_is_in_any_file_of_a_journal(path: str) -> None:
    configuration = {
        "region": "eu-central-1",
        "secret": f"{CANARY}-1",
        "endpoint_url": f"http://user:{CANARY}-2@host:9000/?token={CANARY}-3",
        "deep": {"account_key": f"{CANARY}-4", "hosts": [f"http://u:{CANARY}-5@h", {"secret": f"{CANARY}-6"}]},
    }
    spec = JobSpec.of(
        f"sftp://me:{CANARY}-7@host/data",
        f"az://box/x?sig={CANARY}-8",
        is_secret={"secret", "account_key"}.__contains__,
        options={"delete": True, "secret": f"{CANARY}-9"},
        configuration=configuration,
    )
    assert CANARY not in repr(spec)
    assert spec.configuration["deep"] == {"hosts": ["http://u@h", {}]}
    upload = replace(UPLOAD, token=f"{CANARY}-token")
    assert CANARY not in repr(upload)
    files = Path(path).parent
    async with await Journal.open(path, spec) as journal:
        journal.note_done([item(1)])
        await journal.intend(UPLOAD)
        raw = b"".join(file.read_bytes() for file in files.iterdir())
        assert b"eu-central-1" in raw
        assert b"me@host" in raw
        assert UPLOAD.target.encode() in raw
        assert CANARY.encode() not in raw
        await journal.intend(upload)
        journal.drop(upload.write_id)
    # Even what had to be kept for a while is gone with its upload.
    assert CANARY.encode() not in b"".join(file.read_bytes() for file in files.iterdir())
    with JournalReader(path, spec.id) as reader:
        assert reader.spec() == spec


def test_a_value_that_json_has_no_form_of_is_refused_without_being_shown() -> None:
    class Secret:
        def __repr__(self) -> str:
            return CANARY

    with pytest.raises(ConfigurationError, match=r"^proxy: a Secret cannot be kept") as refused:
        JobSpec.of("a", "b", is_secret=lambda _: False, configuration={"proxy": [Secret()]})
    assert CANARY not in str(refused.value)


async def test_a_source_whose_name_is_not_utf_8_comes_back_as_it_was(path: str) -> None:
    spec = JobSpec.of("/data/\udcff\udcfe", "/back", is_secret=lambda _: False)
    async with await Journal.open(path, spec):
        pass
    with JournalReader(path, spec.id) as reader:
        assert reader.spec().source == "/data/\udcff\udcfe"


# ---- a million items ------------------------------------------------------------------------------------

_MILLIONS = """
import asyncio, json, os, sys, time
from entrepot.transfer.journal import *

def memory_bytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

async def main():
    path, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spec = JobSpec.of("/data/runs", "s3://bucket/runs", is_secret=lambda _: False, options={"delete": True})
    began, before = time.perf_counter(), memory_bytes("VmRSS")
    async with await Journal.open(path, spec) as journal:
        opened_s = time.perf_counter() - began
        if way == "write":
            for first in range(0, number, 64):
                # As a scan that is not sorted would give them: neighbours are far apart.
                journal.note_done([ItemRecord(f"runs/{n * 7919 % number:07}/file.bin", f"{n * 7919 % number}:e", 4_096,
                    "0123456789abcdef0123456789abcdef") for n in range(first, min(number, first + 64))])
                await journal.keep_up()
        else:
            assert all(journal.is_done(f"runs/{n:07}/file.bin", f"{n}:e") for n in range(number))
            assert not any(journal.is_done(f"runs/{n:07}/file.bin", f"{n}:other") for n in range(number))
    print(json.dumps({"seconds": time.perf_counter() - began, "opened_s": opened_s,
        "peak": memory_bytes("VmHWM"), "grown": memory_bytes("VmRSS") - before, "size": os.path.getsize(path)}))

asyncio.run(main())
"""


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the memory of a process is read from /proc")
def test_a_million_items_in_little_memory_and_in_time_that_grows_as_they_do(tmp_path: Path) -> None:
    import json

    told: dict[tuple[str, int], dict[str, float]] = {}
    for number in (250_000, 1_000_000):
        path = str(tmp_path / f"{number}.db")
        for way in ("write", "read"):
            done = subprocess.run(
                [sys.executable, "-c", _MILLIONS, path, way, str(number)], capture_output=True, text=True, check=True
            )
            told[way, number] = json.loads(done.stdout)
            print(way, number, told[way, number])
    for way in ("write", "read"):
        ratio = told[way, 1_000_000]["seconds"] / told[way, 250_000]["seconds"]
        print(f"{way}: four times the items took {ratio:.1f} times as long")
        assert told[way, 1_000_000]["peak"] < 100_000_000
    # Bytes on the disk are no matter of the machine's mood: they grow as the items do.
    assert told["write", 1_000_000]["size"] < 4.2 * told["write", 250_000]["size"]
