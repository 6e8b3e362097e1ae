"""Large files on disk that are gone on with: after SIGKILL, beside the living, after a restart, and swept at last."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entrepot.errors import AlreadyExists, NoSpace, PathOutsideStore, ServiceError, UploadBusy, UploadGone
from entrepot.flavors.local import LocalArtifactStore, parts, temporaries, writes
from entrepot.flavors.local.directories import Tree
from entrepot.flavors.local.temporaries import KEPT, sweep
from entrepot.models import MIB, NO_OPTIONS, Part, Resume, WriteItem, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name == "nt", reason="no open file is renamed on Windows")]

DATA = os.urandom(4_096) * (20 * MIB // 4_096) + b"an odd end"
STEP = 8 * MIB
PIECES = {number: DATA[(number - 1) * STEP : number * STEP] for number in (1, 2, 3)}
DAY_S = 24 * 3600

# Writes parts 1 and 3 of what it reads, tells its token, and waits to be killed.
_WRITER = """
import asyncio, sys
from entrepot.flavors.local import LocalArtifactStore
from entrepot.models import WriteOptions

async def main():
    data = sys.stdin.buffer.read()
    async with LocalArtifactStore(sys.argv[1]).open_parts("dir/large", len(data), WriteOptions()) as sink:
        step = sink.part_size_bytes
        if sys.argv[2] == "kept":
            await sink.keep()
        await sink.put_part(3, data[2 * step :])
        await sink.put_part(1, data[:step])
        print(sink.resume_token, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


class Interrupted(Exception):
    pass


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "root")


def left_of(store: LocalArtifactStore) -> list[Path]:
    return sorted(Path(store.path).rglob(TEMPORARY_PREFIX + "*"))


def resume_of(token: str, *numbers: int) -> Resume:
    return Resume(token, tuple(Part(number, len(PIECES[number])) for number in numbers))


async def leave(store: LocalArtifactStore, *numbers: int, options: WriteOptions = NO_OPTIONS) -> Resume:
    """What a writer that kept these parts left."""
    tokens: list[str] = []

    async def write() -> None:
        async with store.open_parts("dir/large", len(DATA), options) as sink:
            assert sink.resume_token is not None
            tokens.append(sink.resume_token)
            await sink.keep()
            for number in numbers:
                await sink.put_part(number, PIECES[number])
            raise Interrupted

    with pytest.raises(Interrupted):
        await write()
    return resume_of(tokens[0], *numbers)


async def go_on(store: LocalArtifactStore, resume: Resume, options: WriteOptions = NO_OPTIONS) -> list[int]:
    async with store.open_parts("dir/large", len(DATA), options, resume=resume) as sink:
        held = sorted(sink.held_parts)
        for number in PIECES.keys() - sink.held_parts.keys():
            await sink.put_part(number, PIECES[number])
    return held


async def is_gone(store: LocalArtifactStore, resume: Resume) -> None:
    with pytest.raises(UploadGone):
        await go_on(store, resume)
    assert left_of(store) == []


def killed_writer(store: LocalArtifactStore, how: str) -> str:
    """Its token; it wrote parts 1 and 3, and could do nothing at its end."""
    with start_writer(store, how) as process:
        token = told(process)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return token


def start_writer(store: LocalArtifactStore, how: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", _WRITER, store.path, how], stdin=pipe, stdout=pipe)


def told(process: subprocess.Popen[bytes]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(DATA)
    process.stdin.close()
    return process.stdout.readline().decode().strip()


# ---- after a kill, and beside the living ----------------------------------------------------------------


async def test_after_sigkill_another_process_goes_on_with_what_was_written(store: LocalArtifactStore) -> None:
    resume = resume_of(killed_writer(store, "kept"), 1, 3)
    # A bulk write to its directory removes what the dead left, and not this.
    await store.write_batch([WriteItem("dir/other", b"x")])
    assert [path.name.endswith(KEPT) for path in left_of(store)] == [True]
    assert await store.listdir("dir") == ["other"]
    assert await go_on(store, resume) == [1, 3]
    assert await store.read_bytes("dir/large") == DATA
    assert left_of(store) == []


async def test_what_a_killed_process_did_not_keep_is_swept_or_dropped(store: LocalArtifactStore) -> None:
    token = killed_writer(store, "not kept")
    assert len(left_of(store)) == 1
    with pytest.raises(UploadGone):
        await go_on(store, resume_of(token, 1, 3))
    await store.drop_parts("dir/large", token)
    assert left_of(store) == []
    killed_writer(store, "not kept")
    await LocalArtifactStore(store.path).write_batch([WriteItem("dir/other", b"x")])
    assert left_of(store) == []


async def test_while_its_writer_lives_nobody_else_goes_on_with_it_or_drops_it(store: LocalArtifactStore) -> None:
    with start_writer(store, "kept") as process:
        resume = resume_of(told(process), 1, 3)
        with pytest.raises(UploadBusy, match="another process"):
            await go_on(store, resume)
        with pytest.raises(UploadBusy, match="another process"):
            await store.drop_parts("dir/large", resume.token)
        assert len(left_of(store)) == 1
        process.send_signal(signal.SIGKILL)
    assert await go_on(store, resume) == [1, 3]
    assert await store.read_bytes("dir/large") == DATA


async def test_of_two_that_go_on_with_it_the_second_is_refused(store: LocalArtifactStore) -> None:
    resume = await leave(store, 1)
    async with store.open_parts("dir/large", len(DATA), NO_OPTIONS, resume=resume) as sink:
        with pytest.raises(UploadBusy):
            await go_on(LocalArtifactStore(store.path), resume)
        for number in (2, 3):
            await sink.put_part(number, PIECES[number])
    assert await store.read_bytes("dir/large") == DATA


# ---- what is no more, or cannot be trusted --------------------------------------------------------------


async def test_after_a_restart_of_the_machine_nothing_of_it_is_believed(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = await leave(store, 1)
    monkeypatch.setattr(parts, "boot_id", lambda: "00000000-0000-0000-0000-000000000000")
    await is_gone(store, resume)


async def test_one_of_another_length_is_not_believed(store: LocalArtifactStore) -> None:
    resume = await leave(store, 1)
    os.truncate(left_of(store)[0], 100)
    await is_gone(store, resume)


@pytest.mark.parametrize("tells", [True, False])
async def test_where_no_restart_is_told_every_part_is_synced(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    monkeypatch.setattr(parts, "boot_id", lambda: "7" if tells else "")
    synced: list[int] = []
    monkeypatch.setattr(writes, "sync_descriptor", synced.append)
    resume = await leave(store, 1, 3)
    assert len(synced) == (0 if tells else 3), "what was there before, and each part"
    await go_on(store, resume)
    assert len(synced) == (0 if tells else 5), "and so by who goes on with it"
    assert await store.read_bytes("dir/large") == DATA


async def test_a_machine_that_tells_its_starts_tells_the_same_twice() -> None:
    assert temporaries.boot_id() == temporaries.boot_id()
    if sys.platform == "linux":
        assert len(temporaries.boot_id()) == 36


@pytest.mark.parametrize("upload_id", ["../../etc/passwd@", "0123456789abcdef", "0123456789ABCDEF@1", "compose-1"])
async def test_a_token_names_nothing_but_a_temporary(store: LocalArtifactStore, upload_id: str) -> None:
    resume = await leave(store, 1)
    forged = json.dumps({**json.loads(resume.token), "upload_id": upload_id})
    with pytest.raises(UploadGone):
        await go_on(store, Resume(forged))
    with pytest.raises(UploadGone):
        await store.drop_parts("dir/large", forged)
    assert await go_on(store, resume) == [1]


async def test_a_link_in_its_place_is_not_followed(store: LocalArtifactStore, tmp_path: Path) -> None:
    resume = await leave(store, 1)
    (tmp_path / "outside").write_bytes(bytes(len(DATA)))
    place = left_of(store)[0]
    place.unlink()
    place.symlink_to(tmp_path / "outside")
    for attempt in (go_on(store, resume), store.drop_parts("dir/large", resume.token)):
        with pytest.raises(PathOutsideStore):
            await attempt
    assert (tmp_path / "outside").read_bytes() == bytes(len(DATA))


async def test_where_its_directory_went_it_is_gone(store: LocalArtifactStore) -> None:
    resume = await leave(store, 1)
    await store.rmtree("dir")
    await is_gone(store, resume)
    await store.drop_parts("dir/large", resume.token)


async def test_a_part_of_another_size_is_not_held(store: LocalArtifactStore) -> None:
    resume = await leave(store, 1, 3)
    noted = (Part(1, STEP - 1), Part(3, len(PIECES[3])), Part(4, STEP), Part(0, STEP))
    assert await go_on(store, Resume(resume.token, noted)) == [3]
    assert await store.read_bytes("dir/large") == DATA


# ---- how long it stays ----------------------------------------------------------------------------------


async def test_it_is_swept_a_week_after_its_last_part(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = await leave(store, 1)
    now = time.time()
    # The time of its content may be the source's already, where the process died on the way to publish it.
    os.utime(left_of(store)[0], (0, 0))
    with Tree(store.path).open("dir") as directory:
        monkeypatch.setattr(time, "time", lambda: now + 6.9 * DAY_S)
        assert sweep(directory) == 0
        monkeypatch.setattr(time, "time", lambda: now + 7.1 * DAY_S)
        async with store.open_parts("dir/large", len(DATA), NO_OPTIONS, resume=resume) as sink:
            assert sweep(directory) == 0, "somebody goes on with it"
            for number in (2, 3):
                await sink.put_part(number, PIECES[number])
        resume = await leave(store, 1)
        monkeypatch.setattr(time, "time", lambda: now + 14.2 * DAY_S)
        assert sweep(directory) == 1
    await is_gone(store, resume)


# ---- how it is published --------------------------------------------------------------------------------


async def test_the_options_are_those_of_who_publishes_it(store: LocalArtifactStore) -> None:
    resume = await leave(store, 1, options=WriteOptions(mode=0o600, mtime_s=1.0))
    await go_on(store, resume, WriteOptions(mode=0o640, mtime_s=1_700_000_000.25))
    found = os.stat(Path(store.path, "dir/large"))
    assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o640, 1_700_000_000_250_000_000)


async def test_a_file_that_is_there_already_is_told_and_what_was_kept_stays(store: LocalArtifactStore) -> None:
    resume = await leave(store, 1)
    await store.write_bytes("dir/large", b"another's")
    with pytest.raises(AlreadyExists):
        await go_on(store, resume, WriteOptions(if_none_match=True))
    assert len(left_of(store)) == 1
    await go_on(store, resume)
    assert await store.read_bytes("dir/large") == DATA


async def test_what_the_device_did_not_take_is_not_gone_on_with(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an fsync that fails, the system has dropped what it could not write, and says so only once."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    resume = await leave(store, 1, 2, 3)
    monkeypatch.setattr(writes, "sync_descriptor", fail)

    async def publish() -> None:
        async with store.open_parts("dir/large", len(DATA), WriteOptions(durability="full"), resume=resume) as sink:
            await sink.keep()

    with pytest.raises(ServiceError):
        await publish()
    await is_gone(store, resume)


async def test_a_disk_that_is_full_is_not_kept_full_by_what_was_written(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    resume = await leave(store, 1)

    async def write() -> None:
        async with store.open_parts("dir/large", len(DATA), NO_OPTIONS, resume=resume) as sink:
            await sink.keep()
            await sink.put_part(2, PIECES[2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(NoSpace):
            await write()
    await is_gone(store, resume)
