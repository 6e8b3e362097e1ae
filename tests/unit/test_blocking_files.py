"""Open files of the blocking face: real `io` objects, published by `close()` or a clean exit and by nothing else."""

# ruff: noqa: PT012 - leaving a `with` by an exception is what is tested

from __future__ import annotations

import csv
import gc
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from entrepot.blocking import SyncArtifactStore
from entrepot.errors import (
    AlreadyExists,
    ConnectionFailed,
    NoSpace,
    NotFound,
    StoreClosed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.models import MIB
from plain_store import PlainStore, failing, no_fault


class Boom(Exception):
    """What ends a `with` in these tests."""


@pytest.fixture
def plain() -> PlainStore:
    return PlainStore()


@pytest.fixture
def store(plain: PlainStore) -> Iterator[SyncArtifactStore]:
    with SyncArtifactStore(plain) as store:
        yield store


def nothing_was_published(plain: PlainStore) -> bool:
    gc.collect()
    return plain.files == {"old": b"old"} and not plain.drafts


@pytest.fixture
def old(plain: PlainStore) -> None:
    plain.files["old"] = b"old"


# ---- they are io objects ---------------------------------------------------------------------------------


def test_kinds(store: SyncArtifactStore) -> None:
    with store.open("a", "wb") as binary:
        assert isinstance(binary, io.BufferedWriter)
        assert (binary.name, binary.mode) == ("plain://here/a", "wb")
        assert binary.writable()
        assert not binary.readable()
        assert not binary.seekable()
    with store.open("b", "w") as text:
        assert isinstance(text, io.TextIOWrapper)
        assert (text.name, text.mode, text.encoding) == ("plain://here/b", "w", "utf-8")
    with store.open("a", "rb") as reader:
        assert isinstance(reader, io.BufferedReader)
        assert reader.readable()
        assert reader.seekable()
    with store.open("b") as text:
        assert isinstance(text, io.TextIOWrapper)
    with store.open("a", "rb", buffering=0) as raw:
        assert isinstance(raw, io.RawIOBase)
        assert not isinstance(raw, io.BufferedIOBase)
    with pytest.raises(ValueError, match="always buffered"):
        store.open("a", "r", buffering=0)
    with pytest.raises(ValueError, match="encoding"):
        store.open("a", "rb", encoding="utf-8")
    with pytest.raises(ValueError, match="invalid mode"):
        store.open("a", "rw")
    with pytest.raises(UnsupportedOperation):
        store.open("a", "r+")
    with pytest.raises(UnsupportedOperation):
        store.open("a", "a")


def test_errors_are_those_of_the_store(store: SyncArtifactStore) -> None:
    with pytest.raises(NotFound):
        store.open("missing", "rb")
    store.write_bytes("there", b"")
    with pytest.raises(AlreadyExists):
        store.open("there", "x")


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 3 * MIB + 17])
def test_every_way_of_reading_gives_the_same_bytes(store: SyncArtifactStore, plain: PlainStore, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    plain.files["a"] = data = data[:size]
    with store.open("a", "rb") as file:
        assert file.read() == data
        assert file.read() == b""
        assert file.seek(0) == 0
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data
        file.seek(0)
        into = bytearray(size)
        assert file.readinto(into) == size
        assert into == data
        assert file.seek(-min(10, size), io.SEEK_END) == size - min(10, size)
        assert file.read() == data[-10:]
        assert file.tell() == size
    with pytest.raises(ValueError, match="closed"):
        file.read()
    with store.open("a", "rb", buffering=0) as raw:
        assert raw.readall() == data
        assert raw.seek(size // 2) == size // 2
        assert raw.seek(-1 if size > 1 else 0, io.SEEK_CUR) == max(0, size // 2 - (size > 1))
        with pytest.raises(ValueError, match="negative"):
            raw.seek(-1)
        with pytest.raises(ValueError, match="whence"):
            raw.seek(0, 7)


def test_a_large_read_is_few_hops(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.files["a"] = bytes(8 * MIB)
    with store.open("a", "rb") as file:
        file.read()
        whole = plain.log.count(("read", "a"))
        file.seek(0)
        file.read(8 * MIB - 1)
        ranged = plain.log.count(("read", "a")) - whole
        file.seek(0)
        file.readinto(bytearray(8 * MIB))
    assert whole <= 2
    assert ranged <= 3
    assert plain.log.count(("read", "a")) <= whole + ranged + 2


def test_text_keeps_newlines_and_encodings(store: SyncArtifactStore, plain: PlainStore) -> None:
    with store.open("a", "w", encoding="utf-16-le", newline="\r\n") as file:
        file.write("é\nß\n")
    assert plain.files["a"] == "é\r\nß\r\n".encode("utf-16-le")
    with store.open("a", "r", encoding="utf-16-le") as file:
        assert list(file) == ["é\n", "ß\n"]
    with store.open("a", "r", encoding="utf-16-le", newline="") as file:
        assert file.readline() == "é\r\n"
    with store.open("b", "w") as file:
        file.write("a\nb")
    assert plain.files["b"] == b"a\nb"
    with store.open("b", "r", encoding="ascii", errors="replace") as file:
        assert file.read() == "a\nb"


def test_line_buffering_sends_each_line(store: SyncArtifactStore, plain: PlainStore) -> None:
    with store.open("a", "w", buffering=1) as file:
        file.write("one\n")
        assert ("write", "a") in plain.log
        assert "a" not in plain.files


# ---- what others write to them and read from them --------------------------------------------------------


def test_pickle_csv_json_zip_tar_and_copyfileobj(store: SyncArtifactStore) -> None:
    value = {"numbers": list(range(100_000)), "blob": bytes(3 * MIB)}
    with store.open("p", "wb") as file:
        pickle.dump(value, file)
    with store.open("p", "rb") as file:
        assert pickle.load(file) == value
    with store.open("c", "w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], ["1", "x\ny"]])
    with store.open("c", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["1", "x\ny"]]
    with store.open("j", "w") as file:
        json.dump(value["numbers"], file)
    with store.open("j") as file:
        assert json.load(file) == value["numbers"]
    with store.open("z", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one", b"1" * MIB)
        archive.writestr("two", b"2")
    with store.open("z", "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("two") == b"2"
    with store.open("t", "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("x")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    with store.open("t", "rb") as file, tarfile.open(fileobj=file) as archive:
        member = archive.extractfile("x")
        assert member is not None
        assert member.read() == b"abc"
    with store.open("p", "rb") as source, store.open("p2", "wb") as target:
        shutil.copyfileobj(source, target)
    assert store.read_bytes("p2") == store.read_bytes("p")


def test_numpy_and_pandas(store: SyncArtifactStore) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(500_000, dtype="f8")
    with store.open("n.npy", "wb") as file:
        numpy.save(file, array)
    with store.open("n.npy", "rb") as file:
        assert (numpy.load(file) == array).all()
    with store.open("n.npz", "wb") as file:
        numpy.savez(file, a=array)
    with store.open("n.npz", "rb") as file, numpy.load(file) as loaded:
        assert (loaded["a"] == array).all()
    with store.open("raw", "wb", buffering=0) as raw:
        assert raw.write(array.data) == array.nbytes
    assert store.read_bytes("raw") == array.tobytes()
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "ü"]})
    for mode in ("w", "wb"):
        with store.open("f.csv", mode) as file:
            frame.to_csv(file, index=False)
        with store.open("f.csv", mode.replace("w", "r")) as file:
            pandas.testing.assert_frame_equal(pandas.read_csv(file), frame)
    with store.open("f.pkl", "wb") as file:
        frame.to_pickle(file)
    with store.open("f.pkl", "rb") as file:
        pandas.testing.assert_frame_equal(pandas.read_pickle(file), frame)


# ---- the commit rule -------------------------------------------------------------------------------------


def test_close_publishes_and_only_then(store: SyncArtifactStore, plain: PlainStore) -> None:
    for mode, data in (("wb", b"data"), ("w", "data"), ("xb", b"data")):
        name = f"a-{mode}"
        file = store.open(name, mode)
        file.write(data)
        file.flush()
        assert name not in plain.files
        file.close()
        assert plain.files[name] == b"data"
        file.close()
        file.abort()
        assert plain.files[name] == b"data"
    raw = store.open("raw", "wb", buffering=0)
    raw.write(b"data")
    raw.close()
    assert plain.files["raw"] == b"data"


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(("mode", "data"), [("wb", b"new"), ("w", "new")])
def test_an_exception_in_with_publishes_nothing(
    store: SyncArtifactStore, plain: PlainStore, mode: str, data: Any
) -> None:
    for buffering in (-1, 16) if mode == "w" else (-1, 16, 0):
        with pytest.raises(Boom), store.open("old", mode, buffering=buffering) as file:
            file.write(data * 100)
            raise Boom
        assert file.closed
        assert nothing_was_published(plain)


@pytest.mark.usefixtures("old")
def test_abort_publishes_nothing(store: SyncArtifactStore, plain: PlainStore) -> None:
    for mode, data in (("wb", b"new"), ("w", "new")):
        with store.open("old", mode) as file:
            file.write(data)
            file.abort()
        assert nothing_was_published(plain)


def dropped_binary(store: SyncArtifactStore) -> object:
    file = store.open("old", "wb")
    file.write(b"new")
    return file


def dropped_after_flush(store: SyncArtifactStore) -> object:
    file = store.open("old", "wb")
    file.write(b"new")
    file.flush()
    return file


def dropped_text(store: SyncArtifactStore) -> object:
    file = store.open("old", "w")
    file.write("new")
    return file


def dropped_raw(store: SyncArtifactStore) -> object:
    file = store.open("old", "wb", buffering=0)
    file.write(b"new")
    return file


def dropped_plain_text_wrapper(store: SyncArtifactStore) -> object:
    file = io.TextIOWrapper(store.open("old", "wb"))
    file.write("new")
    return file


def dropped_plain_buffer_over_raw(store: SyncArtifactStore) -> object:
    file = io.BufferedWriter(store.open("old", "wb", buffering=0))
    file.write(b"new")
    return file


def dropped_tower(store: SyncArtifactStore) -> object:
    file = io.TextIOWrapper(io.BufferedWriter(store.open("old", "wb", buffering=0)))
    file.write("new")
    return file


def dropped_zip(store: SyncArtifactStore) -> object:
    archive = zipfile.ZipFile(store.open("old", "wb"), "w")
    archive.writestr("a", b"new")
    return archive


def dropped_csv(store: SyncArtifactStore) -> object:
    rows = csv.writer(store.open("old", "w"))
    rows.writerow(["new"])
    return rows


def dropped_detached(store: SyncArtifactStore) -> object:
    text = store.open("old", "w")
    text.write("new")
    return text.detach()


def dropped_iterator_over_wrapped(store: SyncArtifactStore) -> object:
    text = io.TextIOWrapper(store.open("old", "wb"), write_through=True)
    text.write("new")
    return [text]


DROPPED = [
    dropped_binary,
    dropped_after_flush,
    dropped_text,
    dropped_raw,
    dropped_plain_text_wrapper,
    dropped_plain_buffer_over_raw,
    dropped_tower,
    dropped_zip,
    dropped_csv,
    dropped_detached,
    dropped_iterator_over_wrapped,
]


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("make", DROPPED)
@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_a_dropped_file_publishes_nothing(
    store: SyncArtifactStore, plain: PlainStore, make: Callable[[SyncArtifactStore], object], in_a_cycle: bool
) -> None:
    held = [make(store)]
    assert "old" in plain.drafts
    if in_a_cycle:
        held.append(held)
    del held
    assert nothing_was_published(plain)
    assert ("publish", "old") not in plain.log


@pytest.mark.usefixtures("old")
def test_a_detached_buffer_still_publishes(store: SyncArtifactStore, plain: PlainStore) -> None:
    text = store.open("a", "w")
    text.write("data")
    buffer = text.detach()
    del text
    gc.collect()
    buffer.close()
    assert plain.files["a"] == b"data"


@pytest.mark.usefixtures("old")
def test_an_exception_inside_a_wrapper_that_is_not_ours(store: SyncArtifactStore, plain: PlainStore) -> None:
    with pytest.raises(Boom), io.TextIOWrapper(store.open("old", "wb")) as text:
        text.write("new")
        raise Boom
    assert nothing_was_published(plain)
    with pytest.raises(Boom), store.open("old", "wb") as file, io.TextIOWrapper(file) as text:
        text.write("new")
        raise Boom
    assert nothing_was_published(plain)
    with pytest.raises(Boom), io.BufferedWriter(store.open("old", "wb", buffering=0)) as buffered:
        buffered.write(b"new")
        raise Boom
    assert nothing_was_published(plain)
    with pytest.raises(Boom), store.open("old", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"new")
        raise Boom
    assert nothing_was_published(plain)
    with pytest.raises(Boom), ExitStack() as stack:
        file = stack.enter_context(store.open("old", "wb"))
        file.write(b"new")
        raise Boom
    assert nothing_was_published(plain)


@pytest.mark.usefixtures("old")
def test_an_exception_inside_pandas(store: SyncArtifactStore, plain: PlainStore) -> None:
    pandas = pytest.importorskip("pandas")

    class Bad:
        def __str__(self) -> str:
            raise Boom

    frame = pandas.DataFrame({"a": [*range(50_000), Bad()]})
    for mode in ("w", "wb"):
        with pytest.raises(Boom), store.open("old", mode) as file:
            frame.to_csv(file)
        assert nothing_was_published(plain)


def test_a_close_inside_an_except_clause_publishes(store: SyncArtifactStore, plain: PlainStore) -> None:
    file = store.open("a", "wb")
    try:
        raise Boom
    except Boom:
        file.write(b"data")
        file.close()
    assert plain.files["a"] == b"data"
    with store.open("b", "wb") as managed, io.TextIOWrapper(managed) as text:
        text.write("data")
    assert plain.files["b"] == b"data"


@pytest.mark.usefixtures("old")
def test_a_failed_write_publishes_nothing(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.fault = failing("write", NoSpace("as the test wants it"))
    for mode, data in (("wb", b"new"), ("w", "new")):
        file = store.open("old", mode)
        file.write(data)
        with pytest.raises(NoSpace):
            file.close()
        assert file.closed
        assert nothing_was_published(plain)
    raw = store.open("old", "wb", buffering=0)
    wrapped = io.BufferedWriter(raw)
    wrapped.write(b"new")
    with pytest.raises(StoreError):
        wrapped.close()
    assert nothing_was_published(plain)


@pytest.mark.usefixtures("old")
def test_a_failed_write_that_was_caught_is_told_by_close(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.fault = failing("write", NoSpace("as the test wants it"))
    raw = store.open("old", "wb", buffering=0)
    with pytest.raises(NoSpace):
        raw.write(b"new")
    plain.fault = no_fault
    with pytest.raises(StoreClosed, match="a write failed before"):
        raw.write(b"more")
    with pytest.raises(StoreClosed, match="a write failed before"):
        raw.close()
    assert nothing_was_published(plain)


@pytest.mark.usefixtures("old")
def test_a_failed_commit_is_raised_once(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.fault = failing("publish", ConnectionFailed("as the test wants it"))
    file = store.open("old", "wb")
    with pytest.raises(ConnectionFailed):
        file.close()
    file.close()
    assert nothing_was_published(plain)


def test_a_dropped_reader_is_closed(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.files["a"] = b"abc"
    for file in (store.open("a", "rb"), store.open("a", "r"), store.open("a", "rb", buffering=0)):
        file.read(1)
    del file
    gc.collect()
    assert plain.log.count(("close-reader", "a")) == 3
