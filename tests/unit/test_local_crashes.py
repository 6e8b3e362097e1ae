"""The local store and SIGKILL: what is visible is whole, and a rerun in bulk leaves no temporary."""

# ruff: noqa: ASYNC240  # tests look at the disk itself, and nothing else runs on their loop

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrepot.errors import NotFound
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.local.directories import Tree
from entrepot.flavors.local.temporaries import sweep
from entrepot.models import MIB, CopyItem, WriteItem, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")]

# Every file's content is its own SHA-256 and then the bytes that it was made of.
_WRITE_FOR_EVER = """
import asyncio, hashlib, os, sys
from entrepot.flavors.local import LocalArtifactStore
from entrepot.models import CopyItem, WriteItem, WriteOptions

store = LocalArtifactStore(sys.argv[1])

def content(size):
    body = os.urandom(16) * (size // 16)
    return hashlib.sha256(body).digest() + body

async def streamed(turn):
    async with store.open(f"streams/{turn % 5}", "wb") as file:
        data = content(3_000_000)
        for start in range(0, len(data), 500_000):
            await file.write(data[start : start + 500_000])

async def in_parts(turn):
    data = content(20_000_000)
    async with store.open_parts(f"parts/{turn % 2}", len(data), WriteOptions()) as sink:
        for number, start in enumerate(range(0, len(data), sink.part_size_bytes), 1):
            await sink.put_part(number, data[start : start + sink.part_size_bytes])

async def main():
    print("writing", flush=True)
    turn = 0
    while True:
        turn += 1
        await store.write_bytes(f"single/{turn % 7}", content(50_000))
        await store.write_batch([WriteItem(f"batch/{n}", content(4_096)) for n in range(64)])
        files = [entry async for entry in store.scan("batch")]
        await store.copy_batch(store, [CopyItem(file, "copies" + file.uri[len(store.path) + 6 :]) for file in files])
        await streamed(turn)
        await in_parts(turn)
        await store.rename(f"single/{turn % 7}", f"moved/{turn % 3}", overwrite=True)

asyncio.run(main())
"""


def _temporaries(root: str) -> list[str]:
    return [str(path) for path in Path(root).rglob(TEMPORARY_PREFIX + "*")]


@pytest.mark.holds("kill")
async def test_after_sigkill_every_visible_file_is_whole_and_a_rerun_leaves_no_temporary(tmp_path: Path) -> None:
    store = LocalArtifactStore(tmp_path / "root")
    moments = random.Random(20_240_817)
    left = seen = 0
    for kill in range(80):
        if kill >= 8 and left:
            break
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", _WRITE_FOR_EVER, store.path], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == b"writing\n"
            try:
                process.wait(moments.uniform(0.01, 0.7))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        left += len(_temporaries(store.path))
        async for entry in store.scan():
            if not entry.is_dir:
                data = await store.read_bytes(entry.uri)
                assert hashlib.sha256(data[32:]).digest() == data[:32]
                assert TEMPORARY_PREFIX not in entry.uri
                seen += 1
    assert seen > 100
    assert left, "the kills missed every write, and what follows would show nothing"
    again = LocalArtifactStore(store.path)
    directories = [entry.uri async for entry in again.scan() if entry.is_dir]
    results = await again.write_batch([WriteItem(f"{directory}/again", b"x") for directory in directories])
    assert not [result for result in results if isinstance(result, Exception)]
    assert _temporaries(store.path) == []


# ---- temporaries of the dead and of the living ----------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "root")


@contextmanager
def _dead_temporary(store: LocalArtifactStore, key: str) -> Iterator[Path]:
    path = Path(store.path, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half of a fi")
    yield path
    assert not path.exists()


@pytest.mark.parametrize("way", ["write_batch", "copy_batch", "open_parts"])
async def test_bulk_writes_remove_dead_temporaries_and_leave_living_ones(store: LocalArtifactStore, way: str) -> None:
    living = await store.open("dir/living", "wb")
    await living.write(b"x" * 2 * MIB)
    with _dead_temporary(store, f"dir/{TEMPORARY_PREFIX}0123456789abcdef"):
        fresh = LocalArtifactStore(store.path)
        if way == "write_batch":
            await fresh.write_batch([WriteItem("dir/f", b"x")])
        elif way == "copy_batch":
            await store.write_bytes("source", b"x")
            await fresh.copy_batch(store, [CopyItem(await store.stat("source"), "dir/f")])
        else:
            async with fresh.open_parts("dir/f", 1, WriteOptions()) as sink:
                await sink.put_part(1, b"x")
    assert len(_temporaries(store.path)) == 1
    await living.close()
    assert _temporaries(store.path) == []
    assert (await store.stat("dir/living")).size_bytes == 2 * MIB


async def test_temporaries_are_hidden_and_their_names_refused(store: LocalArtifactStore) -> None:
    name = TEMPORARY_PREFIX + "0123456789abcdef"
    with _dead_temporary(store, f"dir/{name}"):
        assert await store.listdir("dir") == []
        assert [entry.uri async for entry in store.scan(links=True)] == [f"{store.path}/dir"]
        assert [uri async for uri in store.glob("**")] == [f"{store.path}/dir"]
        assert [files async for _, _, files in store.walk()] == [[], []]
        for call in (store.read_bytes, store.exists, store.stat, store.remove):
            with pytest.raises(ValueError, match="kept for temporaries"):
                await call(f"dir/{name}")
        await store.rmtree("dir")
    with pytest.raises(NotFound):
        await store.stat("dir")


async def test_a_sweep_leaves_what_only_looks_like_a_temporary(store: LocalArtifactStore) -> None:
    place = Path(store.path)
    (place / (TEMPORARY_PREFIX + "directory")).mkdir(parents=True)
    os.mkfifo(place / (TEMPORARY_PREFIX + "fifo"))
    (place / (TEMPORARY_PREFIX + "link")).symlink_to(place / "f")
    (place / "f").write_bytes(b"kept")
    with Tree(store.path).open("") as directory:
        assert sweep(directory) == 0
    assert len(os.listdir(place)) == 4


@pytest.mark.parametrize(("age_days", "removed"), [(0, 0), (2, 1)])
async def test_where_there_are_no_locks_only_old_temporaries_are_dead(
    store: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, age_days: int, removed: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    await store.write_bytes("f", b"written without a lock")
    path = Path(store.path, TEMPORARY_PREFIX + "0123456789abcdef")
    path.write_bytes(b"x")
    then = time.time() - age_days * 24 * 3600
    os.utime(path, (then, then))
    with Tree(store.path).open("") as directory:
        assert sweep(directory) == removed
    assert path.exists() == (not removed)
