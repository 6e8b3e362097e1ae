"""Files by address: which store each reaches, in which context, blocking and awaited alike."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from entrepot import (
    AzureArtifactStore,
    BaseArtifactStore,
    GcpArtifactStore,
    LocalArtifactStore,
    MemoryArtifactStore,
    S3ArtifactStore,
    SyncArtifactStore,
    fileio,
    open_store,
)
from entrepot.components import StackComponentType
from entrepot.errors import AlreadyExists, ConfigurationError, IsADirectory, NotFound
from entrepot.fileio import aio
from entrepot.opened import opened
from entrepot.registry import entries, stacks
from entrepot.testing.azure_server import AzuriteServer
from entrepot.testing.gcs import GcsServer
from entrepot.testing.servers import Server


@pytest.fixture(autouse=True)
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("ENTREPOT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["memory", "s3", "gcs", "azure"])
def store(request: pytest.FixtureRequest) -> Iterator[SyncArtifactStore]:
    """An open store of each service."""
    with SyncArtifactStore(_made(request)) as opened_store:
        yield opened_store


def _made(request: pytest.FixtureRequest) -> BaseArtifactStore:
    if request.param == "memory":
        return MemoryArtifactStore("memory://files")
    if request.param == "s3":
        s3: Server = request.getfixturevalue("rclone_server")
        return S3ArtifactStore(f"s3://{s3.create_bucket()}/root", **s3.s3_options)
    if request.param == "gcs":
        gcs: GcsServer = request.getfixturevalue("gcs_server")
        return GcpArtifactStore(f"gs://{gcs.create_bucket()}/root", endpoint_url=gcs.endpoint_url, anonymous=True)
    azure: AzuriteServer = request.getfixturevalue("azurite_server")
    return AzureArtifactStore(f"az://{azure.create_container()}/root", **azure.azure_options)


def test_files_of_every_service_by_address(store: SyncArtifactStore, tmp_path: Path) -> None:
    root = store.path
    fileio.makedirs(f"{root}/runs/1")
    with fileio.open(f"{root}/runs/1/loss.csv", "w") as file:
        file.write("0.5\n")
    with fileio.open(f"{root}/runs/1/loss.csv") as file:
        assert file.read() == "0.5\n"
    assert fileio.exists(f"{root}/runs/1/loss.csv")
    assert fileio.isdir(f"{root}/runs/1")
    assert fileio.listdir(f"{root}/runs") == ["1"]
    assert list(fileio.glob(f"{root}/**/*.csv")) == [f"{root}/runs/1/loss.csv"]
    assert [names for _, _, names in fileio.walk(f"{root}/runs/1")] == [["loss.csv"]]
    assert fileio.stat(f"{root}/runs/1/loss.csv").size_bytes == fileio.size(f"{root}/runs") == 4
    fileio.copy(f"{root}/runs/1/loss.csv", f"{root}/runs/2/loss.csv")
    with pytest.raises(AlreadyExists):
        fileio.copy(f"{root}/runs/1/loss.csv", f"{root}/runs/2/loss.csv")
    fileio.rename(f"{root}/runs/2", f"{root}/runs/3")
    fileio.remove(f"{root}/runs/3/loss.csv")
    assert not fileio.exists(f"{root}/runs/3/loss.csv")
    # To this machine and back.
    fileio.copy(f"{root}/runs/1/loss.csv", "here.csv")
    assert (tmp_path / "here.csv").read_text() == "0.5\n"
    with pytest.raises(AlreadyExists):
        fileio.copy("here.csv", f"{root}/runs/1/loss.csv")
    fileio.copy("here.csv", f"{root}/runs/1/loss.csv", overwrite=True)
    fileio.rename("here.csv", f"{root}/runs/4/loss.csv")
    assert not (tmp_path / "here.csv").exists()
    assert fileio.size(f"{root}/runs/4/loss.csv") == 4
    fileio.rmtree(f"{root}/runs")
    assert not fileio.exists(f"{root}/runs/4/loss.csv")


def test_what_fails_while_it_is_written_is_not_there(store: SyncArtifactStore) -> None:
    def write() -> None:
        with fileio.open(f"{store.path}/half", "wb") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert not fileio.exists(f"{store.path}/half")


def test_paths_without_a_scheme_are_files_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for path in ("link/a", tmp_path / "link" / "b", f"file://{tmp_path}/link/c"):
        with fileio.open(path, "w") as file:
            file.write("x")
    assert sorted(os.listdir(tmp_path / "real")) == ["a", "b", "c"]
    assert list(fileio.glob("link/?")) == [str(tmp_path / "real" / name) for name in "abc"]
    assert fileio.listdir("link") == ["a", "b", "c"]
    (tmp_path / "to-a").symlink_to(tmp_path / "real" / "a")
    with fileio.open("to-a") as file:
        assert file.read() == "x"
    fileio.rename("real/a", "real/d")
    assert fileio.size("real") == 3
    with pytest.raises(NotFound):
        fileio.stat("real/a")
    with pytest.raises(IsADirectory):
        fileio.remove("real")
    with pytest.raises(ConfigurationError):
        fileio.exists("")


def test_of_stores_with_one_scheme_the_longest_root_wins() -> None:
    outer, inner = MemoryArtifactStore("memory://box"), MemoryArtifactStore("memory://box/inner")
    with SyncArtifactStore(outer), SyncArtifactStore(inner):
        with fileio.open("memory://box/inner/file", "w") as file:
            file.write("x")
        assert fileio.exists("memory://box/inner/file")
        assert not fileio.exists("memory://box/innermost")
        assert SyncArtifactStore(inner).listdir() == ["file"]
        with SyncArtifactStore(MemoryArtifactStore("memory://other")):
            assert len(opened()) == 3
    assert opened() == ()
    with pytest.raises(ConfigurationError, match=r"no store that is open here holds it; open one .*active stack"):
        fileio.exists("memory://box/inner/file")


def test_the_active_stacks_store_is_reached_without_being_opened(rclone_server: Server) -> None:
    bucket = rclone_server.create_bucket()
    options = {"path": f"s3://{bucket}/team", **rclone_server.s3_options}
    entries.register(StackComponentType.ARTIFACT_STORE, "team", "s3", options)
    stacks.register(stacks.Stack("team", artifact_store="team"), activate=True)
    with fileio.open(f"s3://{bucket}/team/file", "w") as file:
        file.write("x")
    assert rclone_server.bucket(bucket).get("team/file") == b"x"
    with pytest.raises(ConfigurationError, match=r"known: s3://.*/team \(the active stack's\)"):
        fileio.exists(f"s3://{bucket}/teams/file")


@pytest.mark.anyio
async def test_tasks_and_worker_threads_see_what_their_starter_opened(rclone_server: Server) -> None:
    """Classic blocking steps below an async pipeline; what one task opens another does not see."""
    bucket = rclone_server.create_bucket()
    address = f"s3://{bucket}/file"
    seen: list[int] = []

    def step() -> None:
        with fileio.open(address, "w") as file:
            file.write("x")

    async def other() -> None:
        async with MemoryArtifactStore("memory://mine"):
            seen.append(len(opened()))

    async with open_store(f"s3://{bucket}", **rclone_server.s3_options):
        await anyio.to_thread.run_sync(step)
        async with aio.open(address) as file:
            assert await file.read() == "x"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
        assert (seen, len(opened())) == ([2], 1)
        assert [one async for one in aio.glob(f"s3://{bucket}/*")] == [address]
        assert [names async for _, _, names in aio.walk(f"s3://{bucket}")] == [["file"]]
        await aio.copy(address, f"{address}-2")
        assert await aio.listdir(f"s3://{bucket}") == ["file", "file-2"]
    assert opened() == ()


def test_both_faces_have_the_same_functions() -> None:
    for name in aio.__all__:
        ours, theirs = inspect.signature(getattr(fileio, name)), inspect.signature(getattr(aio, name))
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name


def test_importing_it_imports_neither_asyncio_nor_a_flavor() -> None:
    code = "import entrepot.fileio, sys; print({'asyncio', 'anyio', 'pydantic', 'tomlkit'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_a_local_store_that_is_open_holds_its_files(tmp_path: Path) -> None:
    with SyncArtifactStore(LocalArtifactStore(tmp_path / "root")) as store:
        with fileio.open(tmp_path / "root" / "file", "w") as file:
            file.write("x")
        assert store.listdir() == ["file"]
