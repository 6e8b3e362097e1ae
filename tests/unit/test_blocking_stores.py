"""The blocking face over the real flavors: on disk, and on S3 through both servers' connections."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.blocking import SyncArtifactStore
from entrepot.bridge import BRIDGE
from entrepot.copies import copy_sync
from entrepot.errors import AlreadyExists, NotFound
from entrepot.models import MIB
from entrepot.stores import make_store, open_store_sync
from entrepot.testing.servers import Server


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[SyncArtifactStore]:
    with open_store_sync(tmp_path / "store", durability="none") as store:
        yield store


@pytest.fixture
def on_s3(rclone_server: Server, rclone_uri: str) -> Iterator[SyncArtifactStore]:
    with open_store_sync(rclone_uri, **rclone_server.s3_options) as store:
        yield store


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest) -> SyncArtifactStore:
    found: SyncArtifactStore = request.getfixturevalue(f"on_{request.param}")
    return found


def test_a_round_of_everything(store: SyncArtifactStore) -> None:
    data = os.urandom(10 * MIB)
    store.write_bytes("small", b"1")
    with store.open("dir/large", "wb") as file:
        file.write(data)
    with store.open("dir/large", "rb") as file:
        assert file.read() == data
        file.seek(-5, os.SEEK_END)
        assert file.read() == data[-5:]
    with store.open("dir/text", "w") as text:
        text.writelines(f"{number}\n" for number in range(1_000))
    with store.open("dir/text") as text:
        assert sum(int(line) for line in text) == 499_500
    with store.open("dir/zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"1")
    with store.open("dir/zip", "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("a") == b"1"
    assert store.listdir() == ["dir", "small"]
    assert [Path(uri).name for uri in store.glob("dir/*")] == ["large", "text", "zip"]
    assert sum(entry.size_bytes for entry in store.scan("dir")) == store.size("dir")
    with pytest.raises(NotFound):
        store.read_bytes("missing")
    store.rmtree("dir")
    assert [level[1:] for level in store.walk()] == [([], ["small"])]


def test_what_is_dropped_leaves_nothing(store: SyncArtifactStore) -> None:
    store.write_bytes("old", b"old")
    for name in ("old", "new"):
        file = store.open(name, "wb")
        file.write(bytes(9 * MIB))
        file.flush()
        del file
        text = store.open(name, "w")
        text.write("new")
        del text
        gc.collect()
    assert store.listdir() == ["old"]
    assert store.read_bytes("old") == b"old"
    if store.is_local:
        assert os.listdir(store.path) == ["old"]


def test_exclusive_and_append_on_disk(on_disk: SyncArtifactStore) -> None:
    with on_disk.open("a", "x") as file:
        file.write("1\n")
    with pytest.raises(AlreadyExists):
        on_disk.open("a", "x").close()
    with on_disk.open("a", "a") as file:
        file.write("2\n")
    with on_disk.open("a", "ab") as binary:
        binary.write(b"3\n")
    assert on_disk.read_bytes("a") == b"1\n2\n3\n"


def test_threads_share_a_store_and_leave_no_connection(rclone_server: Server, rclone_uri: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = SyncArtifactStore(make_store(rclone_uri, **rclone_server.s3_options))

        def work(number: int) -> bytes:
            store.write_bytes(f"{number}", b"%d" % number)
            with store.open(f"{number}", "rb") as file:
                return file.read()

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(64))) == [b"%d" % number for number in range(64)]
        thread = threading.Thread(target=work, args=(1,))
        thread.start()
        thread.join()
        assert len(store.listdir()) == 64
        store.close()
        assert len(store.listdir()) == 64  # usable after a close
        store.close()
        gc.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_has_connections_of_its_own(store: SyncArtifactStore) -> None:
    store.write_bytes("a", b"1")
    list(store.scan())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert store.read_bytes("a") == b"1"
            with store.open("b", "w") as file:
                file.write("from the child")
            store.close()
            BRIDGE.stop()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.read_bytes("b") == b"from the child"
    assert len(list(store.scan())) == 2


SCRIPT = """
import logging, sys, threading
logging.getLogger("asyncio").setLevel("ERROR")  # else slow steps are told on stderr
from entrepot.stores import make_store
from entrepot.blocking import SyncArtifactStore
store = SyncArtifactStore(make_store(sys.argv[1], **eval(sys.argv[2])))
store.write_bytes("a", b"1")
with store.open("b", "wb") as file:
    file.write(b"2")
thread = threading.Thread(target=store.read_bytes, args=("a",)); thread.start(); thread.join()
print(store.listdir())
left = store.open("c", "wb"); left.write(bytes(9 << 20)); left.flush()
levels = store.walk(); next(levels)
"""


def test_a_process_that_closes_nothing_ends_cleanly(tmp_path: Path, rclone_server: Server, rclone_uri: str) -> None:
    for uri, options in ((str(tmp_path / "store"), {}), (rclone_uri, rclone_server.s3_options)):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, uri, repr(options)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("['a', 'b']\n", "")
    assert sorted(os.listdir(tmp_path / "store")) == ["a", "b"]


def test_copies_between_disk_and_s3(tmp_path: Path, rclone_server: Server, rclone_uri: str) -> None:
    for number in range(50):
        path = tmp_path / "src" / f"{number % 5}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * number)
    (tmp_path / "src" / "large").write_bytes(os.urandom(20 * MIB))
    up = copy_sync(tmp_path / "src", rclone_uri, dst_config=rclone_server.s3_options)
    down = copy_sync(rclone_uri, tmp_path / "back", src_config=rclone_server.s3_options)
    one = copy_sync(f"{rclone_uri}/large", tmp_path / "one", src_config=rclone_server.s3_options)
    assert (up.files, down.files, one.files, up.ok, down.ok) == (51, 51, 1, True, True)
    for name in ("0/5", "4/49", "large"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "src" / name).read_bytes()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "src" / "large").read_bytes()
