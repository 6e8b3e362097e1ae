"""Files by address, awaited: the functions of `entrepot.fileio` for async code.

from entrepot.fileio import aio as fileio

async with fileio.open("s3://bucket/runs/1/loss.csv", "w") as file:
await file.write(text)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from entrepot.fileio.routes import route
from entrepot.models import FileStat
from entrepot.paths import StrPath

if TYPE_CHECKING:
    from entrepot.errors import StoreError
    from entrepot.files import Opening
    from entrepot.transfer.report import CopyReport

__all__ = [
    "copy",
    "exists",
    "glob",
    "isdir",
    "listdir",
    "makedirs",
    "mkdir",
    "open",
    "remove",
    "rename",
    "rmtree",
    "size",
    "stat",
    "walk",
]


def open(path: StrPath, mode: Any = "r", **options: Any) -> Opening[Any]:  # noqa: A001  # the name that users know
    """As `BaseArtifactStore.open`; what is written becomes visible at a clean end of its `async with`."""
    store, address = route(path)
    opening: Opening[Any] = store.open(address, mode, **options)
    return opening


async def copy(src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
    """Copy one file, within a store on the service's side where it can, else through this process, verified.

    Raises: NotFound, AlreadyExists, IsADirectory, and what both stores raise.
    """
    (source, from_), (sink, to) = route(src), route(dst)
    if source is sink:
        await source.copyfile(from_, to, overwrite)
        return
    from entrepot.copies import copy as bulk_copy

    compare: Any = "always" if overwrite else "error"
    _require_done(await bulk_copy((source, from_), (sink, to), recursive=False, compare=compare))


async def rename(src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
    """Move a file or a tree; between two stores it is copied, verified, and then removed.

    Raises: as `BaseArtifactStore.rename`; between stores the first error of what was not moved, which stays.
    """
    (source, from_), (sink, to) = route(src, follow=False), route(dst, follow=False)
    if source is sink:
        await source.rename(from_, to, overwrite)
        return
    from entrepot.copies import move

    compare: Any = "always" if overwrite else "error"
    _require_done(await move((source, from_), (sink, to), compare=compare))


def _require_done(report: CopyReport) -> None:
    if report.failed:
        raise report.failed[0].error


async def exists(path: StrPath) -> bool:
    """Whether a file or a directory is there."""
    store, address = route(path)
    return await store.exists(address)


def glob(pattern: StrPath) -> AsyncGenerator[str, None]:
    """The addresses that match, sorted; `**` stands for any number of directories. See `BaseArtifactStore.glob`."""
    store, address = route(pattern)
    return store.glob(address)


async def isdir(path: StrPath) -> bool:
    """Whether a directory is there."""
    store, address = route(path)
    return await store.isdir(address)


async def listdir(path: StrPath) -> list[str]:
    """The names in a directory, sorted. Raises: NotFound, NotADirectory."""
    store, address = route(path)
    return await store.listdir(address)


async def makedirs(path: StrPath) -> None:
    """Make a directory and its parents; one that is there is fine. Raises: AlreadyExists where a file is in the way."""
    store, address = route(path)
    await store.makedirs(address)


async def mkdir(path: StrPath) -> None:
    """Make one directory. Raises: AlreadyExists; NotFound where the parent is missing."""
    store, address = route(path)
    await store.mkdir(address)


async def remove(path: StrPath) -> None:
    """Remove one file. Raises: NotFound, IsADirectory."""
    store, address = route(path, follow=False)
    await store.remove(address)


async def rmtree(path: StrPath) -> None:
    """Remove a directory and all below it; the root of a store stays. Raises: as `BaseArtifactStore.rmtree`."""
    store, address = route(path, follow=False)
    await store.rmtree(address)


async def size(path: StrPath) -> int:
    """The size of a file in bytes, or of all files below a directory. Raises: NotFound."""
    store, address = route(path)
    return await store.size(address)


async def stat(path: StrPath) -> FileStat:
    """What is known of a file or a directory. Raises: NotFound."""
    store, address = route(path)
    return await store.stat(address)


def walk(
    top: StrPath, topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
    """As `os.walk`, with the addresses of directories. See `BaseArtifactStore.walk`."""
    store, address = route(top)
    return store.walk(address, topdown, onerror)
