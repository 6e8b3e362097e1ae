"""How the local store writes: whole or not at all, durable as asked, without litter whatever goes wrong."""

# ruff: noqa: ASYNC221, ASYNC222, ASYNC240  # tests look at the disk itself, and nothing else runs on their loop
# ruff: noqa: ASYNC110  # what a thread does to the disk is seen by looking again
# ruff: noqa: PT012  # leaving a writer by an exception is what is tested
# ruff: noqa: PLW1510  # the exit code is asserted on

from __future__ import annotations

import asyncio
import errno
import gc
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from entrepot.errors import (
    AlreadyExists,
    NoSpace,
    ServiceError,
    SourceChanged,
    StoreClosed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.flavors.local import LocalArtifactStore, writes
from entrepot.models import MIB, CopyItem, FileStat, WriteItem, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX

pytestmark = pytest.mark.anyio

WRITES: dict[str, Callable[[LocalArtifactStore, bytes], Any]] = {}


def write(function: Callable[[LocalArtifactStore, bytes], Any]) -> Callable[[LocalArtifactStore, bytes], Any]:
    WRITES[function.__name__] = function
    return function


@write
async def write_bytes(store: LocalArtifactStore, data: bytes) -> None:
    await store.write_bytes("dir/f", data)


@write
async def streamed(store: LocalArtifactStore, data: bytes) -> None:
    async with store.open("dir/f", "wb") as file:
        for start in range(0, len(data), 100_000):
            await file.write(data[start : start + 100_000])


@write
async def in_parts(store: LocalArtifactStore, data: bytes) -> None:
    async with store.open_parts("dir/f", len(data), WriteOptions(durability="full")) as sink:
        for number, start in enumerate(range(0, len(data), sink.part_size_bytes), 1):
            await sink.put_part(number, data[start : start + sink.part_size_bytes])


@write
async def in_a_batch(store: LocalArtifactStore, data: bytes) -> None:
    (result,) = await store.write_batch([WriteItem("dir/f", data, WriteOptions(durability="batch"))])
    if isinstance(result, StoreError):
        raise result


@write
async def copied(store: LocalArtifactStore, data: bytes) -> None:
    source = Path(store.path).parent / "source"
    source.write_bytes(data)
    other = LocalArtifactStore(source.parent)
    item = CopyItem(await other.stat("source"), "dir/f", WriteOptions(durability="full"))
    (result,) = await store.copy_batch(other, [item])
    if isinstance(result, StoreError):
        raise result


@write
async def appended(store: LocalArtifactStore, data: bytes) -> None:
    async with store.open("dir/f", "ab") as file:
        await file.write(data)


every_write = pytest.mark.parametrize("name", WRITES)


def everything_below(root: str) -> dict[str, bytes]:
    """All files, hidden ones too."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        with suppress(FileNotFoundError, IsADirectoryError):  # a writer under way may just have moved it
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "root")


@pytest.fixture
def old(store: LocalArtifactStore) -> dict[str, bytes]:
    """A file that every write here would replace."""
    Path(store.path, "dir").mkdir(parents=True)
    Path(store.path, "dir", "f").write_bytes(b"old")
    return {"dir/f": b"old"}


# ---- what goes wrong on a disk --------------------------------------------------------------------------


@pytest.mark.holds("full-disk")
@every_write
async def test_a_failed_sync_keeps_the_old_file(
    store: LocalArtifactStore, old: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ServiceError) as caught:
        await WRITES[name](store, b"new" * 100_000)
    assert caught.value.errno == errno.EIO
    assert "dir/f" in caught.value.uri
    assert everything_below(store.path) == old


@pytest.mark.holds("full-disk")
@every_write
@pytest.mark.parametrize("size", [70_000, 3 * MIB])
async def test_a_full_disk_keeps_the_old_file(
    store: LocalArtifactStore, old: dict[str, bytes], name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [50_000]
    limited = {"write": 1, "pwrite": 1, "copy_file_range": 1}

    def until_full(real: Callable[..., int]) -> Callable[..., int]:
        def call(descriptor: int, data: Any, *rest: Any) -> int:
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            if isinstance(data, int):  # copy_file_range
                count = min(rest[0], room[0])
                done = real(descriptor, data, count, *rest[1:])
            else:
                done = real(descriptor, memoryview(data)[: room[0]], *rest)
            room[0] -= done
            return done

        return call

    with monkeypatch.context() as patched:
        for call in limited:
            if hasattr(os, call):
                patched.setattr(os, call, until_full(getattr(os, call)))
        with pytest.raises(NoSpace):
            await WRITES[name](store, b"x" * size)
    assert everything_below(store.path) == old


_ON_A_SMALL_DISK = """
import asyncio, sys
from pathlib import Path
from entrepot.errors import NoSpace
from entrepot.flavors.local import LocalArtifactStore, writes
from entrepot.models import CopyItem, WriteItem, WriteOptions

place, data = Path(sys.argv[1]), b"x" * 2**21
store, other = LocalArtifactStore(place / "small" / "root"), LocalArtifactStore(place)

async def main():
    await store.write_bytes("f", b"old")
    (place / "source").write_bytes(data)
    async def streamed():
        async with store.open("f", "wb") as file:
            await file.write(data)
    async def parts():
        async with store.open_parts("f", len(data), WriteOptions()) as sink:
            await sink.put_part(1, data)
    async def batch():
        raise (await store.write_batch([WriteItem("f", data)]))[0]
    async def copied():
        raise (await store.copy_batch(other, [CopyItem(await other.stat("source"), "f")]))[0]
    async def appended():
        async with store.open("f", "ab") as file:
            await file.write(data)
    for way in (streamed, parts, batch, copied, appended, lambda: store.write_bytes("f", data)):
        try:
            await way()
        except NoSpace:
            found = {path.name: path.read_bytes() for path in Path(store.path).iterdir()}
            assert found == {"f": b"old"}, (way, found.keys())
            print("kept", end=" ")

asyncio.run(main())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="private mounts are Linux's")
def test_a_real_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    shell = 'mount -t tmpfs -o size=256k none "$1/small" || exit 77; exec "$2" -c "$3" "$1"'
    command = ["unshare", "-rm", "sh", "-c", shell, "sh", str(tmp_path), sys.executable, _ON_A_SMALL_DISK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this user may not mount anything, even privately")
    assert (done.stdout.split(), done.stderr) == (["kept"] * 6, "")


async def test_a_name_that_cannot_be_made_durable_is_an_error(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.makedirs("dir")
    real = os.fsync
    synced: list[bool] = []

    def fail_on_directories(descriptor: int) -> None:
        synced.append(os.path.isdir(f"/proc/self/fd/{descriptor}"))
        if synced[-1]:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("what a descriptor is can be asked on Linux only")
    monkeypatch.setattr(os, "fsync", fail_on_directories)
    with pytest.raises(ServiceError):
        await store.write_bytes("dir/f", b"x")
    (first, second) = await store.write_batch(
        [WriteItem(f"dir/{name}", b"x", WriteOptions(durability="batch")) for name in "gh"]
    )
    assert isinstance(first, ServiceError)
    assert isinstance(second, ServiceError)
    assert synced == [False, True, False, False, True]
    assert not [path for path in everything_below(store.path) if TEMPORARY_PREFIX in path]


@pytest.mark.parametrize(
    ("durability", "files", "directories"), [("full", 3, 3), ("batch", 3, 1), ("none", 0, 0), (None, 0, 0)]
)
async def test_a_batch_syncs_what_its_durability_says(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, durability: Any, files: int, directories: int
) -> None:
    await store.makedirs("dir")
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(bool(os.fstat(descriptor).st_mode & 0o040000)))
    options = WriteOptions(durability=durability)
    await store.write_batch([WriteItem(f"dir/{name}", b"x", options) for name in "abc"])
    assert (synced.count(False), synced.count(True)) == (files, directories)


async def test_a_durable_write_syncs_every_directory_that_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    store = LocalArtifactStore(tmp_path / "new" / "root")
    await store.write_bytes("a/b/f", b"x")
    places = [tmp_path, tmp_path / "new", tmp_path / "new/root", tmp_path / "new/root/a", tmp_path / "new/root/a/b"]
    assert {os.stat(place).st_ino for place in (*places, tmp_path / "new/root/a/b/f")} == set(synced)
    synced.clear()
    await LocalArtifactStore(tmp_path / "other", durability="none").write_bytes("a/f", b"x")
    assert synced == []


async def test_a_directory_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    script = """
import asyncio, os, sys
from entrepot.errors import PermissionDenied
from entrepot.flavors.local import LocalArtifactStore, writes
store = LocalArtifactStore(sys.argv[1])
asyncio.run(store.exists(""))  # imports what it needs while this user may read it
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    for call in (
        store.write_bytes("closed/f", b"x"),
        store.remove("closed/kept"),
        store.mkdir("closed/d"),
        store.read_bytes("closed/secret"),
        store.rename("closed/kept", "closed/moved"),
        store.rmtree("closed"),
    ):
        try:
            await call
        except OSError as error:
            print(type(error).__name__, end=" ")
    async for entry in store.scan(""):
        print(os.path.basename(entry.uri), end=" ")
asyncio.run(main())
"""
    closed = tmp_path / "root" / "closed"
    closed.mkdir(parents=True)
    (closed / "kept").write_bytes(b"x")
    (closed / "secret").write_bytes(b"x")
    (closed / "secret").chmod(0)
    closed.chmod(0o555)
    above = [one for one in tmp_path.parents if one.is_relative_to(tempfile.gettempdir())][:-1]
    for parent in (tmp_path, *above):  # pytest's own, one more of them in a worker
        parent.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "root")], capture_output=True, text=True, timeout=60
        )
    finally:
        closed.chmod(0o755)
    assert done.stderr == ""
    assert done.stdout.split() == ["PermissionDenied"] * 5 + ["PartialFailure", "closed", "kept", "secret"]
    assert sorted(everything_below(str(tmp_path / "root"))) == ["closed/kept", "closed/secret"]


# ---- races and drops ------------------------------------------------------------------------------------


@pytest.mark.holds("racers")
def test_of_fifty_exclusive_writers_one_wins(store: LocalArtifactStore) -> None:
    barrier = threading.Barrier(50)
    winners: list[bytes] = []

    def race(number: int) -> None:
        data = b"racer %d" % number

        async def write() -> None:
            async with store.open("prize", "xb") as file:
                await file.write(data)
                await anyio.to_thread.run_sync(barrier.wait)

        try:
            asyncio.run(write())
        except AlreadyExists:
            return
        winners.append(data)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert everything_below(store.path) == {"prize": winners[0]}


async def test_where_links_are_not_supported_a_name_is_still_taken_once(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: Any, **places: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    await store.write_bytes("f", b"first", WriteOptions(if_none_match=True))
    with pytest.raises(AlreadyExists):
        await store.write_bytes("f", b"second", WriteOptions(if_none_match=True))
    await store.rename("f", "g")
    with pytest.raises(AlreadyExists):
        await store.copyfile("g", "g")
    assert everything_below(store.path) == {"g": b"first"}


@every_write
async def test_a_write_whose_task_is_cancelled_by_asyncio_leaves_old_or_new(
    store: LocalArtifactStore, old: dict[str, bytes], name: str
) -> None:
    data = b"new" * MIB
    for turns in (1, 2, 3, 5, 9, 30):
        task = asyncio.ensure_future(WRITES[name](store, data))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        allowed = [{"dir/f": content} for content in (b"old", data, b"old" + data)]
        with anyio.fail_after(20):  # a thread that the task left behind cleans up when its call to the system returns
            while everything_below(store.path) not in allowed:
                gc.collect()
                await anyio.sleep(0.01)
        Path(store.path, "dir", "f").write_bytes(b"old")


@pytest.mark.parametrize("name", [name for name in WRITES if name != "appended"])
async def test_a_thread_that_a_cancelled_task_left_behind_publishes_nothing(
    store: LocalArtifactStore, old: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def slowly(descriptor: int) -> None:
        syncing.set()
        assert go_on.wait(20)

    monkeypatch.setattr(writes, "sync_descriptor", slowly)
    task = asyncio.ensure_future(WRITES[name](store, b"new"))
    assert await anyio.to_thread.run_sync(syncing.wait, 20)
    task.cancel()
    (error,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(error, asyncio.CancelledError)
    go_on.set()
    with anyio.fail_after(20):
        while any(TEMPORARY_PREFIX in path for path in everything_below(store.path)):
            await anyio.sleep(0.01)
    assert everything_below(store.path) == old


async def test_a_large_file_that_there_is_no_room_for_leaves_nothing(
    store: LocalArtifactStore, old: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "truncate", _full)
    with pytest.raises(NoSpace):
        async with store.open_parts("dir/f", 20 * MIB, WriteOptions()):
            pass
    assert everything_below(store.path) == old


async def test_a_read_that_was_cancelled_does_not_disturb_the_next(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(store.path).mkdir()
    Path(store.path, "f").write_bytes(b"a" * MIB + b"b" * MIB)
    reading, go_on, has_read = threading.Event(), threading.Event(), threading.Event()

    class Slow(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            if reading.is_set():
                return super().read(size)
            reading.set()
            assert go_on.wait(20)
            try:
                return super().read(size)
            finally:
                has_read.set()

        def seek(self, offset: int, whence: int = 0) -> int:
            try:
                return super().seek(offset, whence)
            finally:
                if offset:  # the second read: now the first one goes on, and moves the position
                    go_on.set()
                    assert has_read.wait(20)

    monkeypatch.setattr(io, "FileIO", Slow)
    async with store.open("f", "rb") as file:
        first = asyncio.ensure_future(file.read(MIB))
        assert await anyio.to_thread.run_sync(reading.wait, 20)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await file.seek(MIB)
        second = asyncio.ensure_future(file.read(MIB))
        await anyio.to_thread.run_sync(go_on.wait, 0.2)
        go_on.set()
        assert await second == b"b" * MIB


async def test_a_reader_that_is_closed_during_a_read_keeps_its_descriptor_until_the_read_ends(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(store.path).mkdir()
    Path(store.path, "f").write_bytes(b"a" * MIB)
    reading, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            reading.set()
            assert go_on.wait(20)
            assert not self.closed
            return super().read(size)

        def close(self) -> None:
            super().close()
            closed.set()

    monkeypatch.setattr(io, "FileIO", Slow)
    file = await store.open("f", "rb")
    first = asyncio.ensure_future(file.read(MIB))
    assert await anyio.to_thread.run_sync(reading.wait, 20)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await file.close()
    assert not closed.is_set()
    go_on.set()
    assert await anyio.to_thread.run_sync(closed.wait, 20)


async def test_a_writer_that_failed_publishes_nothing_at_close(
    store: LocalArtifactStore, old: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await store.open("dir/f", "wb")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", _full)
        with pytest.raises(NoSpace):
            await file.write(b"x" * 2 * MIB)
    with pytest.raises(StoreClosed):
        await file.write(b"more")
    with pytest.raises(StoreClosed):
        await file.close()
    assert everything_below(store.path) == old


def _full(*arguments: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_an_aborted_append_takes_its_bytes_back(store: LocalArtifactStore, old: dict[str, bytes]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.open("dir/f", "ab") as file:
            await file.write(b"x" * 3 * MIB)
            assert os.path.getsize(f"{store.path}/dir/f") > 3
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        async with store.open("dir/new", "ab") as file:
            await file.write(b"x")
            raise ZeroDivisionError
    assert everything_below(store.path) == old


async def test_an_aborted_append_keeps_what_others_appended(store: LocalArtifactStore, old: dict[str, bytes]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.open("dir/f", "ab") as file:
            await file.write(b"x" * MIB)
            async with store.open("dir/f", "ab") as other:
                await other.write(b"theirs")
            raise ZeroDivisionError
    assert everything_below(store.path) == {"dir/f": b"old" + b"x" * MIB + b"theirs"}


async def test_a_forked_child_does_not_take_its_parents_writer_away(store: LocalArtifactStore) -> None:
    file = await store.open("f", "wb")
    await file.write(b"kept")
    pid = os.fork()
    if not pid:
        file.abandon()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    await file.close()
    assert everything_below(store.path) == {"f": b"kept"}


# ---- modes, times and what is refused -------------------------------------------------------------------


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


async def test_a_new_file_has_the_umasks_mode_and_a_replaced_one_keeps_its_own(
    store: LocalArtifactStore, umask: None
) -> None:
    await store.write_bytes("f", b"x")
    assert (await store.stat("f")).mode == 0o640
    os.chmod(f"{store.path}/f", 0o600)
    await store.write_bytes("f", b"y")
    await store.write_batch([WriteItem("f", b"z")])
    assert (await store.stat("f")).mode == 0o600
    async with store.open("f", "w") as file:
        await file.write("text")
    assert (await store.stat("f")).mode == 0o600


@pytest.mark.parametrize("name", ["write_bytes", "batch", "open", "parts"])
async def test_mode_and_time_are_set_before_the_file_is_seen(store: LocalArtifactStore, name: str) -> None:
    options = WriteOptions(mode=0o4751, mtime_s=1_234_567_890.25)
    if name == "write_bytes":
        await store.write_bytes("f", b"x", options)
    elif name == "batch":
        await store.write_batch([WriteItem("f", b"x", options)])
    elif name == "open":
        async with store.open("f", "wb", options=options) as file:
            await file.write(b"x")
    else:
        async with store.open_parts("f", 1, options) as sink:
            await sink.put_part(1, b"x")
    found = os.stat(f"{store.path}/f")
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o751, 1_234_567_890_250_000_000)


async def test_a_native_copy_keeps_mode_and_time_to_the_nanosecond(store: LocalArtifactStore, tmp_path: Path) -> None:
    source = LocalArtifactStore(tmp_path / "source")
    for name, size in (("small", 10), ("large", 200_000), ("empty", 0)):
        await source.write_bytes(name, os.urandom(size), WriteOptions(mode=0o640))
        os.utime(f"{source.path}/{name}", ns=(1, 1_234_567_890_123_456_789))
    items = [CopyItem(await source.stat(name), f"to/{name}") for name in ("small", "large", "empty")]
    results = await store.copy_batch(source, items)
    assert [isinstance(result, FileStat) for result in results] == [True] * 3
    for item in items:
        found = os.stat(f"{store.path}/{item.path}")
        assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o640, 1_234_567_890_123_456_789)
        assert Path(store.path, item.path).read_bytes() == Path(item.source.uri).read_bytes()


async def test_a_copy_falls_back_where_the_kernel_cannot(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    data = os.urandom(3 * MIB + 7)
    await store.write_bytes("f", data)
    await store.copyfile("f", "g")
    assert await store.read_bytes("g") == data


@pytest.mark.parametrize(
    "options", [WriteOptions(metadata={"a": "b"}), WriteOptions(content_type="text/csv"), WriteOptions(if_match="x")]
)
async def test_what_files_do_not_have_is_refused(store: LocalArtifactStore, options: WriteOptions) -> None:
    with pytest.raises(UnsupportedOperation):
        await store.write_bytes("f", b"x", options)
    with pytest.raises(UnsupportedOperation):
        await store.open("f", "wb", options=options)
    (result,) = await store.write_batch([WriteItem("f", b"x", options)])
    assert isinstance(result, UnsupportedOperation)
    assert await store.listdir("") == []


@pytest.mark.holds("changed-source")
async def test_a_source_that_grows_or_shrinks_while_it_is_copied_is_told(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write_bytes("f", b"x" * 1000)
    file = await store.stat("f")
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        with open(f"{store.path}/f", "ab") as other:
            other.write(b"more")
        return data

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read)
        (result,) = await store.copy_batch(store, [CopyItem(file, "g")])
    assert isinstance(result, SourceChanged)
    (result,) = await store.copy_batch(store, [CopyItem(file, "g")])
    assert isinstance(result, SourceChanged)
    assert await store.listdir("") == ["f"]


async def test_a_part_of_the_wrong_size_is_refused(store: LocalArtifactStore) -> None:
    for number, size in ((1, 5), (1, 11), (2, 10), (2, 0)):
        with pytest.raises(SourceChanged):
            async with store.open_parts("f", 10, WriteOptions()) as sink:
                await sink.put_part(number, b"x" * size)
    assert everything_below(store.path) == {}
    async with store.open_parts("empty", 0, WriteOptions()):
        pass
    assert everything_below(store.path) == {"empty": b""}


# ---- descriptors, processes -----------------------------------------------------------------------------


def test_sixty_four_descriptors_are_enough_for_a_thousand_files(tmp_path: Path) -> None:
    script = """
import asyncio, os, resource, sys
from entrepot.flavors.local import LocalArtifactStore, writes
from entrepot.models import CopyItem, WriteItem
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
source, target = LocalArtifactStore(sys.argv[1] + "/a"), LocalArtifactStore(sys.argv[1] + "/b")
async def main():
    items = [WriteItem(f"{n % 30}/sub/{n}", b"%d" % n) for n in range(1000)]
    batches = [items[at : at + 64] for at in range(0, 1000, 64)]
    results = sum(await asyncio.gather(*(source.write_batch(batch) for batch in batches[:4])), [])
    for batch in batches[4:]:
        results += await source.write_batch(batch)
    assert not [result for result in results if isinstance(result, Exception)]
    files = [entry async for entry in source.scan() if not entry.is_dir]
    assert len(files) == 1000
    copies = [CopyItem(file, file.uri[len(source.path) + 1 :]) for file in files]
    for at in range(0, 1000, 256):
        four = [copies[start : start + 64] for start in range(at, min(at + 256, 1000), 64)]
        for results in await asyncio.gather(*(target.copy_batch(source, batch) for batch in four)):
            assert not [result for result in results if isinstance(result, Exception)]
    read = [data for at in range(0, 1000, 64) for data in await target.read_batch(
        [entry async for entry in target.scan() if not entry.is_dir][at : at + 64])]
    assert sorted(int(bytes(one.data)) for one in read) == list(range(1000))
    await asyncio.gather(*(target.stat(f"{n % 30}/sub/{n}") for n in range(200)))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    await target.rmtree("", allow_root=True)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert before == after
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def _write_in_child(store: LocalArtifactStore) -> None:
    asyncio.run(store.write_bytes("child", b"x"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_works_in_other_processes(store: LocalArtifactStore, method: str) -> None:
    asyncio.run(store.write_bytes("parent", b"x"))
    child = multiprocessing.get_context(method).Process(target=_write_in_child, args=(store,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert everything_below(store.path) == {"parent": b"x", "child": b"x"}


def test_a_pickled_store_keeps_its_place_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalArtifactStore("relative", durability="batch")
    packed = pickle.dumps(store)
    monkeypatch.chdir("/")
    again = pickle.loads(packed)
    assert again.path == store.path == str(tmp_path / "relative")
    assert again.config == store.config


def test_nothing_is_left_open(store: LocalArtifactStore) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open descriptors can be counted on Linux only")

    async def main() -> int:
        await store.exists("")
        gc.collect()  # what other tests dropped is not counted here
        start = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            for one in WRITES.values():
                await one(store, b"data")
            async with store.open("dir/f", "rb") as file:
                await file.read(1)
            dropped = await store.open("dir/f", "rb")
            del dropped
            await store.copyfile("dir/f", "dir/g", overwrite=True)
            await store.rename("dir/g", "dir/h", overwrite=True)
            with pytest.raises(StoreError):
                await store.read_bytes("dir/f/below")
            with pytest.raises(StoreError):
                await store.write_bytes("dir/f/below", b"x")
            assert [uri async for uri in store.glob("**")]
            await store.rmtree("dir")
        gc.collect()
        return len(os.listdir("/proc/self/fd")) - start

    assert asyncio.run(main()) == 0
