"""From addresses to stores, and what lands where in a copy."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot.blocking import SyncArtifactStore
from entrepot.copies import copy, copy_sync
from entrepot.errors import ConfigurationError, InvalidPath, IsADirectory, NotFound
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.stores import locate, make_store, open_store, open_store_sync
from entrepot.transfer.events import Copied

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique_prefix: str) -> Path:
    """An empty directory that is the current one, and a configuration of its own."""
    config = tmp_path / "config.toml"
    config.write_text(f'[artifact_stores.team]\nflavor = "memory"\npath = "memory://team-{unique_prefix}/art"\n')
    monkeypatch.setenv("ENTREPOT_CONFIG", str(config))
    monkeypatch.setenv("ENTREPOT_DATA_DIR", str(tmp_path / "data"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def memory(unique_prefix: str) -> str:
    return f"memory://{unique_prefix}"


def make_tree(root: Path, **files: str) -> Path:
    for name, text in (files or {"a": "1", "b__c": "2"}).items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


async def tree_of(address: str) -> dict[str, str]:
    """Path → content of all files below a store's root."""
    async with open_store(address) as store:
        root = store.path.rstrip("/") + "/"
        uris = [entry.uri async for entry in store.scan() if not entry.is_dir]
        return {uri.removeprefix(root): (await store.read_bytes(uri)).decode() for uri in uris}


# ---- stores ----------------------------------------------------------------------------------------------


async def test_a_store_of_each_kind_of_address(here: Path, memory: str, unique_prefix: str) -> None:
    for address, kind, path in [
        ("sub/dir", LocalArtifactStore, str(here / "sub/dir")),
        (here / "x", LocalArtifactStore, str(here / "x")),
        (os.fsencode(here), LocalArtifactStore, str(here)),
        (f"file://{here}/y", LocalArtifactStore, str(here / "y")),
        ("~", LocalArtifactStore, str(here / "~")),
        (memory + "/art", MemoryArtifactStore, memory + "/art"),
        ("team", MemoryArtifactStore, f"memory://team-{unique_prefix}/art"),
        ("team:", MemoryArtifactStore, f"memory://team-{unique_prefix}/art"),
        ("team:a/b", MemoryArtifactStore, f"memory://team-{unique_prefix}/art/a/b"),
        ("s3://bucket/art", entrepot.S3ArtifactStore, "s3://bucket/art"),
    ]:
        async with open_store(address) as store:
            assert (type(store), store.path) == (kind, path), address


async def test_the_default_store_needs_no_set_up(tmp_path: Path) -> None:
    async with open_store("default") as store:
        await store.write_bytes("a", b"1")
        assert Path(store.path).parent == tmp_path / "data" / "local_stores"
    with open_store_sync("default:") as again:
        assert isinstance(again, SyncArtifactStore)
        assert again.read_bytes("a") == b"1"


def test_keys_of_the_flavor_are_passed_on_and_checked() -> None:
    assert make_store("x", durability="none").config.durability == "none"
    with pytest.raises(ConfigurationError, match="did you mean 'durability'"):
        make_store("x", durabilty="none")
    with pytest.raises(ConfigurationError, match="no option"):
        make_store("team", region="x")
    with pytest.raises(ConfigurationError, match="unknown scheme hdfs://"):
        make_store("hdfs://bucket")
    with pytest.raises(ConfigurationError, match="known: default, team"):
        make_store("taem:x")
    with pytest.raises(ConfigurationError, match="empty"):
        make_store("")
    with pytest.raises(InvalidPath):
        make_store("team:../x")


def test_a_directory_called_as_a_store(here: Path) -> None:
    (here / "team").mkdir()
    (here / "default").mkdir()
    assert make_store("team").path == str(here / "team")
    assert make_store("default").path != str(here / "default")
    assert make_store("./default").path == str(here / "default")


# ---- addresses -------------------------------------------------------------------------------------------


def located(address: Any, *, as_directory: bool = False, **config: Any) -> tuple[str, str]:
    store, path = locate(address, as_directory=as_directory, **config)
    return store.path, path


def test_where_addresses_lead(here: Path, memory: str, unique_prefix: str) -> None:
    (here / "dir").mkdir()
    (here / "file").write_text("")
    os.symlink("dir", here / "dir-link")
    os.symlink("dir/target", here / "link")
    team = f"memory://team-{unique_prefix}/art"
    for address, expected in [
        ("dir", (str(here / "dir"), "")),
        ("dir/", (str(here / "dir"), "")),
        (".", (str(here), "")),
        ("..", (str(here.parent), "")),
        ("dir-link", (str(here / "dir-link"), "")),
        ("/", ("/", "")),
        ("file", (str(here), "file")),
        ("new", (str(here), "new")),
        ("new/er", (str(here / "new"), "er")),
        ("link", (str(here / "dir"), "target")),
        ("./a:b", (str(here), "a:b")),
        ("dir/ab:c", (str(here / "dir"), "ab:c")),
        ("C:x", (str(here), "C:x")),
        (here / "ab:c", (str(here), "ab:c")),
        (f"file://{here}/new", (str(here), "new")),
        (f"file://{here}/dir", (str(here / "dir"), "")),
        (f"{memory}/a/b", (memory, "a/b")),
        (f"{memory}/a/b/", (memory, "a/b/")),
        (f"{memory}/", (memory, "")),
        (memory, (memory, "")),
        ("s3://bucket/a b?c#d", ("s3://bucket", "a b?c#d")),
        ("team:", (team, "")),
        ("team:a/b", (team, "a/b")),
        (b"team:a", (team, "a")),
    ]:
        assert located(address) == expected, address
    assert located("new", as_directory=True) == (str(here / "new"), "")
    assert located("team:a", as_directory=True) == (team, "a")


def test_a_name_with_a_colon(here: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no store is called 'notes'; known: default, team"):
        locate("notes:today", as_directory=False)
    (here / "notes:today").write_text("")
    assert located("notes:today") == (str(here), "notes:today")
    (here / "team:x").write_text("")
    assert located("team:x")[1] == "x"


def test_an_open_store_is_an_address(memory: str) -> None:
    store = MemoryArtifactStore(memory)
    assert locate((store, "a"), as_directory=False) == (store, "a")
    assert locate((SyncArtifactStore(store), "a"), as_directory=False) == (store, "a")
    with pytest.raises(ConfigurationError):
        locate((store, "a"), as_directory=False, region="x")


# ---- copies ----------------------------------------------------------------------------------------------


def test_both_copies_have_one_signature() -> None:
    assert inspect.signature(copy_sync) == inspect.signature(copy)
    assert copy_sync.__doc__ == copy.__doc__
    assert copy_sync.__name__ == "copy_sync"
    assert inspect.iscoroutinefunction(copy)
    assert not inspect.iscoroutinefunction(copy_sync)


async def test_a_tree_lands_below_its_target_whatever_is_there(here: Path, memory: str) -> None:
    make_tree(here / "src")
    expected = {"a": "1", "b/c": "2"}
    for target in ("dst", "dst/", "dst", f"file://{here}/other", "deep/er/dst"):
        report = await copy("src", target)
        assert (report.ok, report.files, report.bytes) == (True, 2, 2)
        assert await tree_of(target.rstrip("/")) == expected
    (here / "real").mkdir()
    os.symlink("real", here / "link")
    await copy("src/", "link")
    assert await tree_of("real") == expected
    await copy("src", f"{memory}/x/y/")
    assert await tree_of(f"{memory}/x/y") == expected
    await copy(f"{memory}/x", "back")
    assert await tree_of("back") == {"y/a": "1", "y/b/c": "2"}
    await copy("src", memory)
    assert await tree_of(memory) == {**expected, "x/y/a": "1", "x/y/b/c": "2"}
    await copy("src", "team:deep")
    assert await tree_of("team:deep") == expected
    await copy("team:deep", "default:")
    assert await tree_of("default") == expected


async def test_a_file_becomes_its_target(here: Path, memory: str) -> None:
    make_tree(here, f="1")
    for target in ("g", "deep/er/g", f"{memory}/x/g", "team:g"):
        report = await copy(here / "f", target)
        assert report.files == 1
    assert (here / "g").read_text() == (here / "deep/er/g").read_text() == "1"
    assert await tree_of(memory) == {"x/g": "1"}
    await copy(f"{memory}/x/g", "back")
    assert (here / "back").read_text() == "1"
    os.symlink("f", here / "link")
    await copy("link", "from-link")
    assert (here / "from-link").read_text() == "1"
    assert not (here / "from-link").is_symlink()


async def test_a_file_needs_a_name_at_its_target(here: Path, memory: str) -> None:
    make_tree(here, f="1")
    (here / "dir").mkdir()
    for target in (memory, "team:", "dir", "."):
        with pytest.raises(IsADirectory, match="into"):
            await copy("f", target)
    for target, address in ((memory, memory), ("team:", "team"), ("dir", "dir"), ("new/dir", "new/dir")):
        assert (await copy("f", into=target)).files == 1
        assert await tree_of(address) == {"f": "1"}


async def test_several_sources_land_by_their_names(here: Path, memory: str) -> None:
    make_tree(here / "src")
    make_tree(here, f="3")
    expected = {"src/a": "1", "src/b/c": "2", "f": "3"}
    sources = ["src/", here / "f"]
    for target in ("dst", f"{memory}/d", (MemoryArtifactStore(f"{memory}-2"), "x/")):
        report = await copy(sources, into=target)
        assert (report.files, report.bytes, report.ok, dict(report.verified)) == (3, 3, True, report.verified)
        assert sum(report.verified.values()) == 3
    assert await tree_of("dst") == await tree_of(f"{memory}/d") == await tree_of(f"{memory}-2/x") == expected
    await copy([f"{memory}/d/src", (MemoryArtifactStore(f"{memory}-2"), "x/f"), "team:"][:2], into="again")
    assert await tree_of("again") == expected
    os.symlink("dst", here / "link")
    await copy([here / "f"], into="link/sub")
    assert (here / "dst/sub/f").read_text() == "3"


async def test_what_is_wrong_is_told_before_anything_is_copied(here: Path, memory: str) -> None:
    make_tree(here / "src")
    for call, complaint in [
        (lambda: copy("src"), "one target"),
        (lambda: copy("src", "a", into="b"), "one target"),
        (lambda: copy(["src", "src/a"], "dst"), "into=DIR"),
        (lambda: copy(["src/a", "./src/a"], into="dst"), "one by one"),
        (lambda: copy(["src", memory], into="dst"), "whole store"),
        (lambda: copy(["src", "team:"], into="dst"), "whole store"),
        (lambda: copy("src", "hdfs://x/y"), "unknown scheme"),
        (lambda: copy("src", "nobody:y"), "no store is called"),
        (lambda: copy("src", "dst", src_config={"durabilty": "full"}), "did you mean"),
        (lambda: copy("src", "dst", concurrency=0), "concurrency"),
    ]:
        with pytest.raises(ConfigurationError, match=complaint):
            await call()
    with pytest.raises(NotFound):
        await copy("missing", "dst")
    with pytest.raises(NotFound):
        await copy(f"{memory}/missing", "dst")
    with pytest.raises(IsADirectory):
        await copy("src", "dst", recursive=False)
    for target in ("src", "src/b", "./src/new/deep", f"{here}/src/a/../b"):
        with pytest.raises(InvalidPath, match="source"):
            await copy("src", target)
    assert not (here / "dst").exists()
    assert await tree_of("src") == {"a": "1", "b/c": "2"}


async def test_dry_run_overwrite_events_and_configuration(here: Path, memory: str) -> None:
    make_tree(here / "src")
    assert (await copy("src", "dst", dry_run=True)).dry_run
    assert not (here / "dst").exists()
    events: list[object] = []
    await copy("src", "dst", on_event=events.append, dst_config={"durability": "none"})
    assert sum(len(event.files) for event in events if isinstance(event, Copied)) == 2
    make_tree(here / "src", a="changed")
    report = await copy("src", "dst", compare="skip-existing")
    assert (report.files, report.skipped) == (0, 2)
    assert (here / "dst/a").read_text() == "1"


async def test_two_addresses_in_one_container_share_a_store(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = MemoryArtifactStore.__init__

    def counting(self: MemoryArtifactStore, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        make(self, *args, **kwargs)

    monkeypatch.setattr(MemoryArtifactStore, "__init__", counting)
    closed = []
    monkeypatch.setattr(MemoryArtifactStore, "close", lambda self: _closed(self, closed))
    store = MemoryArtifactStore(memory)
    await store.write_bytes("a/x", b"1")
    report = await copy(f"{memory}/a", f"{memory}/b")
    assert dict(report.verified) == {"server-side": 1}
    assert len(made) <= 3
    assert closed
    assert store not in closed
    await copy((store, "a"), (store, "c"))
    assert store not in closed
    assert await store.listdir() == ["a", "b", "c"]


async def _closed(store: MemoryArtifactStore, closed: list[MemoryArtifactStore]) -> None:
    closed.append(store)


def test_copying_plainly_and_from_inside_a_loop(here: Path, memory: str) -> None:
    import asyncio

    make_tree(here / "src")
    assert copy_sync("src", f"{memory}/plain").files == 2
    with open_store_sync(memory) as store:
        assert copy_sync((store, "plain"), (store, "again")).files == 2
        assert store.listdir() == ["again", "plain"]

    async def step() -> int:
        return copy_sync("src", f"{memory}/inside").files

    assert asyncio.run(step()) == 2
