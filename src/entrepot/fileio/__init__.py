"""Files by address, in whichever store they are: for steps and scripts, called plainly.

    from entrepot import fileio

    with fileio.open("s3://bucket/runs/1/loss.csv", "w") as file:
        file.write(text)

An address with a scheme is in a store that is open here (`with open_store_sync(…)`, `async with store`), the one with
the longest root, or else in the store of the active stack; one without is a file of this machine. What is open is known
to a task, and to the tasks and anyio's worker threads that it starts. `entrepot.fileio.aio` has the same to be awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import IO, TYPE_CHECKING, Any

from entrepot.fileio import aio
from entrepot.fileio.routes import route
from entrepot.models import FileStat
from entrepot.paths import StrPath

if TYPE_CHECKING:
    from entrepot.blocking import SyncArtifactStore
    from entrepot.errors import StoreError

__all__ = aio.__all__


def _located(path: StrPath, *, follow: bool = True) -> tuple[SyncArtifactStore, str]:
    from entrepot.blocking import SyncArtifactStore

    store, address = route(path, follow=follow)
    return SyncArtifactStore(store), address


def open(path: StrPath, mode: Any = "r", **options: Any) -> IO[Any]:  # noqa: A001  # the name that users know
    """As `SyncArtifactStore.open`; what is written becomes visible at a clean end of its `with`."""
    store, address = _located(path)
    file: IO[Any] = store.open(address, mode, **options)
    return file


def copy(src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
    """As `aio.copy`."""
    from entrepot.bridge import BRIDGE

    BRIDGE.run(lambda: aio.copy(src, dst, overwrite))


def rename(src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
    """As `aio.rename`."""
    from entrepot.bridge import BRIDGE

    BRIDGE.run(lambda: aio.rename(src, dst, overwrite))


def exists(path: StrPath) -> bool:
    """As `aio.exists`."""
    store, address = _located(path)
    return store.exists(address)


def glob(pattern: StrPath) -> Generator[str, None, None]:
    """As `aio.glob`."""
    store, address = _located(pattern)
    return store.glob(address)


def isdir(path: StrPath) -> bool:
    """As `aio.isdir`."""
    store, address = _located(path)
    return store.isdir(address)


def listdir(path: StrPath) -> list[str]:
    """As `aio.listdir`."""
    store, address = _located(path)
    return store.listdir(address)


def makedirs(path: StrPath) -> None:
    """As `aio.makedirs`."""
    store, address = _located(path)
    store.makedirs(address)


def mkdir(path: StrPath) -> None:
    """As `aio.mkdir`."""
    store, address = _located(path)
    store.mkdir(address)


def remove(path: StrPath) -> None:
    """As `aio.remove`."""
    store, address = _located(path, follow=False)
    store.remove(address)


def rmtree(path: StrPath) -> None:
    """As `aio.rmtree`."""
    store, address = _located(path, follow=False)
    store.rmtree(address)


def size(path: StrPath) -> int:
    """As `aio.size`."""
    store, address = _located(path)
    return store.size(address)


def stat(path: StrPath) -> FileStat:
    """As `aio.stat`."""
    store, address = _located(path)
    return store.stat(address)


def walk(
    top: StrPath, topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
) -> Generator[tuple[str, list[str], list[str]], None, None]:
    """As `aio.walk`."""
    store, address = _located(top)
    return store.walk(address, topdown, onerror)
