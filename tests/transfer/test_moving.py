"""A move takes what it has copied, and nothing that others put there meanwhile."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import anyio.lowlevel
import pytest

from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.transfer.engine import CopyOptions, copy_between
from entrepot.transfer.verify import Verify
from plain_store import PlainStore

pytestmark = pytest.mark.anyio

MOVE = CopyOptions(recursive=True, delete_source=True, verify=Verify.SIZE)


async def test_what_appears_in_a_directory_that_moves_stays_there(tmp_path: Path) -> None:
    top = tmp_path / "src"
    for name in ("a/file", "b/file", "c/file", "empty/deeper/file"):
        (top / name).parent.mkdir(parents=True)
        (top / name).write_bytes(b"1")
    (top / "empty/deeper/file").unlink()
    sink = PlainStore()

    async def appear(name: str, path: str) -> None:
        await anyio.lowlevel.checkpoint()
        if name == "publish" and path == "dst/a/file":
            (top / "a" / "link").symlink_to("elsewhere")
            (top / "b" / f"{TEMPORARY_PREFIX}0123456789abcdef").write_bytes(b"of a writer")
            os.mkfifo(top / "c" / "fifo")

    sink.fault = appear
    report = await copy_between(LocalArtifactStore(tmp_path), "src", sink, "dst", options=MOVE)
    assert (report.ok, report.removed) == (True, 3)
    assert sorted(path.name for path in top.rglob("*") if not path.is_dir()) == [
        f"{TEMPORARY_PREFIX}0123456789abcdef",
        "fifo",
        "link",
    ]
    assert not (top / "empty").exists()


async def test_what_is_written_while_the_markers_of_a_move_go_stays() -> None:
    memory = MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")
    await memory.write_bytes("src/a", b"1")
    await memory.makedirs("src/nothing/below")
    delete = memory.client.delete

    async def delete_and_be_overtaken(key: str) -> None:
        await delete(key)
        if key.endswith("/"):
            await memory.write_bytes("src/late", b"2")

    memory.client.delete = delete_and_be_overtaken  # type: ignore[method-assign]
    report = await copy_between(memory, "src", PlainStore(), "dst", options=MOVE)
    assert (report.ok, report.removed) == (True, 1)
    assert await memory.listdir("src") == ["late"]


@pytest.mark.parametrize("flavor", ["local", "memory"])
async def test_a_tree_of_empty_directories_moves_whole(tmp_path: Path, flavor: str) -> None:
    source = LocalArtifactStore(tmp_path) if flavor == "local" else MemoryArtifactStore("memory://moving")
    await source.makedirs("src/a/b/c")
    await source.makedirs("src2")
    sink = PlainStore()
    await copy_between(source, "src", sink, "dst", options=MOVE)
    assert sink.folders == {"dst/a/b/c"}
    assert await source.listdir("") == ["src2"]
