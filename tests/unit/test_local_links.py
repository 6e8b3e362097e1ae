"""The local store and what is neither a file nor a directory: links never lead out, FIFOs never block."""

# ruff: noqa: ASYNC240  # tests look at the disk itself, and nothing else runs on their loop

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from entrepot.errors import AlreadyExists, PathOutsideStore, StoreError, UnsupportedOperation
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.local.directories import Tree
from entrepot.models import CopyItem, FileStat, WriteItem, WriteOptions

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")]


@pytest.fixture(params=["by descriptor", "by path"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LocalArtifactStore:
    """A store with a file; also as it works on systems without calls relative to descriptors."""
    made = LocalArtifactStore(tmp_path / "root")
    made._tree = Tree(made.path, by_descriptor=request.param == "by descriptor")
    (tmp_path / "root" / "dir").mkdir(parents=True)
    (tmp_path / "root" / "dir" / "f").write_bytes(b"inside")
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_bytes(b"secret")
    return place


async def _open(store: LocalArtifactStore, path: str, mode: str) -> None:
    async with store.open(path, mode) as file:
        if mode != "rb":
            await file.write(b"planted")


async def _parts(store: LocalArtifactStore, path: str) -> None:
    async with store.open_parts(path, 1, WriteOptions()) as sink:
        await sink.put_part(1, b"x")


async def _only(results: Awaitable[list[Any]]) -> None:
    (result,) = await results
    if isinstance(result, StoreError):
        raise result


CALLS: dict[str, Callable[[LocalArtifactStore, str], Awaitable[object]]] = {
    "read_bytes": lambda store, path: store.read_bytes(path),
    "read_range": lambda store, path: store.read_range(path, 0, 1),
    "open rb": lambda store, path: _open(store, path, "rb"),
    "open wb": lambda store, path: _open(store, path, "wb"),
    "open ab": lambda store, path: _open(store, path, "ab"),
    "write_bytes": lambda store, path: store.write_bytes(path, b"planted"),
    "copyfile from": lambda store, path: store.copyfile(path, "copy"),
    "copyfile to": lambda store, path: store.copyfile("dir/f", path, overwrite=True),
    "rename from": lambda store, path: store.rename(path, "moved"),
    "rename to": lambda store, path: store.rename("dir/f", path, overwrite=True),
    "stat": lambda store, path: store.stat(path),
    "exists": lambda store, path: store.exists(path),
    "isdir": lambda store, path: store.isdir(path),
    "size": lambda store, path: store.size(path),
    "read_batch": lambda store, path: _only(store.read_batch([FileStat(f"{store.path}/{path}", 6)])),
    "write_batch": lambda store, path: _only(store.write_batch([WriteItem(path, b"planted")])),
    "copy_batch": lambda store, path: _only(
        store.copy_batch(store, [CopyItem(FileStat(f"{store.path}/dir/f", 6), path)])
    ),
    "open_parts": _parts,
    "read_part": lambda store, path: store.read_part(FileStat(f"{store.path}/{path}", 6), 0, memoryview(bytearray(1))),
}


@pytest.mark.holds("links")
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("target", ["secret", "new", "../root/dir/f"])
async def test_a_link_is_refused_wherever_it_leads(
    store: LocalArtifactStore, outside: Path, name: str, target: str
) -> None:
    link = Path(store.path, "link")
    link.symlink_to(outside / target)
    with pytest.raises(PathOutsideStore) as caught:
        await CALLS[name](store, "link")
    assert "link" in str(caught.value)
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert link.is_symlink()
    assert Path(store.path, "dir", "f").read_bytes() == b"inside"


@pytest.mark.parametrize("name", [*CALLS, "listdir", "mkdir", "makedirs", "remove", "rmtree"])
@pytest.mark.parametrize("depth", ["", "dir/"])
async def test_a_link_on_the_way_is_refused(store: LocalArtifactStore, outside: Path, name: str, depth: str) -> None:
    Path(store.path, depth, "way").symlink_to(outside)
    call = CALLS.get(name) or (lambda store, path: getattr(store, name)(path))
    with pytest.raises(PathOutsideStore):
        await call(store, f"{depth}way/secret")
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


async def test_a_link_takes_its_name_and_goes_without_what_it_points_to(
    store: LocalArtifactStore, outside: Path
) -> None:
    Path(store.path, "link").symlink_to(outside / "secret")
    Path(store.path, "dir", "way").symlink_to(outside)
    with pytest.raises(AlreadyExists):
        await store.write_bytes("link", b"x", WriteOptions(if_none_match=True))
    with pytest.raises(AlreadyExists):
        await store.copyfile("dir/f", "link")
    with pytest.raises(AlreadyExists):
        await store.rename("dir/f", "link")
    await store.remove("link")
    await store.rmtree("dir")
    assert os.listdir(store.path) == []
    assert (outside / "secret").read_bytes() == b"secret"


async def test_listings_leave_links_and_special_files_out(store: LocalArtifactStore, outside: Path) -> None:
    Path(store.path, "link").symlink_to(outside)
    Path(store.path, "loop").symlink_to(store.path)
    Path(store.path, "dangling").symlink_to("nowhere")
    os.mkfifo(Path(store.path, "dir", "fifo"))
    assert await store.listdir("") == ["dir"]
    assert await store.listdir("dir") == ["f"]
    assert [entry.uri async for entry in store.scan()] == [f"{store.path}/dir", f"{store.path}/dir/f"]
    assert [uri async for uri in store.glob("**")] == [f"{store.path}/dir", f"{store.path}/dir/f"]
    assert [level async for level in store.walk()] == [
        (store.path, ["dir"], []),
        (f"{store.path}/dir", [], ["f"]),
    ]


async def test_a_scan_tells_of_links_and_special_files_when_asked(store: LocalArtifactStore, outside: Path) -> None:
    Path(store.path, "link").symlink_to(outside)
    os.mkfifo(Path(store.path, "dir", "fifo"))
    async with aclosing(store.scan(links=True)) as entries:
        found = {entry.uri[len(store.path) + 1 :]: entry async for entry in entries}
    assert list(found) == ["dir", "dir/f", "dir/fifo", "link"]
    assert found["link"].link_target == str(outside)
    assert not found["link"].is_dir
    assert found["dir/fifo"].special
    assert (found["dir/f"].link_target, found["dir/f"].special) == (None, False)


@pytest.mark.holds("special-files")
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", ["fifo", "socket"])
async def test_special_files_are_refused_and_never_waited_for(
    store: LocalArtifactStore, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.path)  # a socket's address has little room for a path
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "fifo":
            os.mkfifo("special")
        else:
            listening.bind("special")
        with pytest.raises(UnsupportedOperation):
            await CALLS[name](store, "special")
        await store.remove("special")
    assert sorted(os.listdir(store.path)) == ["dir"]


async def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = LocalArtifactStore(tmp_path / "link")
    await store.write_bytes("a/b", b"x")
    assert await store.read_bytes(str(tmp_path / "link" / "a" / "b")) == b"x"
    assert (tmp_path / "real" / "a" / "b").read_bytes() == b"x"
    assert [uri async for uri in store.glob("**")] == [f"{tmp_path}/link/a", f"{tmp_path}/link/a/b"]


async def test_a_directory_swapped_for_a_link_during_writes_never_leads_out(tmp_path: Path, outside: Path) -> None:
    store = LocalArtifactStore(tmp_path / "root")
    way, aside = tmp_path / "root" / "way", tmp_path / "aside"
    way.mkdir(parents=True)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            way.rename(aside)
            with suppress(FileExistsError):  # a write made the directory again
                way.symlink_to(outside)
            while aside.exists():
                if way.is_symlink():
                    way.unlink()
                shutil.rmtree(way, ignore_errors=True)
                with suppress(OSError):
                    aside.rename(way)

    swapping = threading.Thread(target=swap)
    swapping.start()
    refused = 0
    try:
        for number in range(300):
            try:
                await store.write_bytes(f"way/{number}", b"x", WriteOptions(durability="none"))
                await store.read_bytes("way/secret")
            except StoreError:
                refused += 1
    finally:
        stop.set()
        swapping.join()
    assert refused
    assert os.listdir(outside) == ["secret"]
