"""A file system in the shape of a remote one: a folder of this machine by the primitives of `entrepot.filesystem`.

It answers vaguely, as SFTP does: what fails is a ServiceError unless nothing is there. faults: what a primitive meets.
lists: what is told in place of a directory's names. calls: the primitives, as they were asked for.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import FileIO
from typing import Any, ClassVar, Literal

from entrepot.errors import NotFound, ServiceError, StoreError
from entrepot.filesystem import Entry, FileSystemArtifactStore, RandomAccessFile, WritableFile
from entrepot.models import Buffer
from entrepot.paths import StrPath


@dataclass(frozen=True, slots=True)
class FolderConfig:
    path: str


class _File(RandomAccessFile, WritableFile):
    def __init__(self, file: FileIO) -> None:
        self._file = file

    async def stat(self) -> Entry:
        await asyncio.sleep(0)
        return _entry("", os.fstat(self._file.fileno()))

    async def read_at(self, start: int, size: int) -> bytes:
        await asyncio.sleep(0)
        return os.pread(self._file.fileno(), size, start)

    async def write(self, data: Buffer) -> None:
        await asyncio.sleep(0)
        self._file.write(data)

    async def close(self) -> None:
        await asyncio.sleep(0)
        self._file.close()

    def __del__(self) -> None:
        self._file.close()  # as a server does once the connection has gone


class FolderStore(FileSystemArtifactStore):
    """`folder://this/absolute/path`; its rename replaces whatever it is told, so that nothing is exclusive."""

    FLAVOR: ClassVar[str] = "folder"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"folder://"})
    CONFIG: ClassVar[type[Any]] = FolderConfig
    CAPABILITIES = replace(
        FileSystemArtifactStore.CAPABILITIES, exclusive_create=False, exclusive_copy=False, etags=True
    )

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self.faults: dict[str, Callable[[str], Exception | None]] = {}
        self.lists: dict[str, list[Entry]] = {}
        self.calls: list[tuple[str, str]] = []

    async def _begin(self, primitive: str, key: str) -> str:
        self.calls.append((primitive, key))
        await asyncio.sleep(0)
        fault = self.faults.get(primitive, lambda _key: None)(key)
        if fault is not None:
            raise fault
        return f"/{key}"

    def _failure(self, error: Exception) -> StoreError | None:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return NotFound("no such file")
        return ServiceError("Failure") if type(error) in (OSError, FileExistsError, IsADirectoryError) else None

    async def _stat(self, key: str) -> Entry:
        return _entry("", os.lstat(await self._begin("stat", key)))

    async def _list(self, key: str) -> Sequence[Entry]:
        path = await self._begin("list", key)
        if key in self.lists:
            return self.lists[key]
        with os.scandir(path) as entries:
            return [_entry(one.name, one.stat(follow_symlinks=False)) for one in entries]

    async def _make_directory(self, key: str) -> None:
        os.mkdir(await self._begin("make_directory", key))

    async def _remove_file(self, key: str) -> None:
        os.unlink(await self._begin("remove_file", key))

    async def _remove_directory(self, key: str) -> None:
        os.rmdir(await self._begin("remove_directory", key))

    async def _rename(self, source: str, target: str, *, replace: bool) -> None:
        path = await self._begin("rename", source)
        os.replace(path, f"/{target}")

    async def _open_read(self, key: str, entry: Entry) -> RandomAccessFile:
        return _opened(await self._begin("open_read", key), "rb")

    async def _open_write(self, key: str) -> WritableFile:
        return _opened(await self._begin("open_write", key), "xb")

    async def _copy_content(self, source: str, target: str) -> bool:
        shutil.copyfile(f"/{source}", await self._begin("copy_content", target))
        return True


def _opened(path: str, mode: Literal["rb", "xb"]) -> _File:
    return _File(open(path, mode, buffering=0))  # who asked for it closes it


def _entry(name: str, status: os.stat_result) -> Entry:
    time = datetime.fromtimestamp(status.st_mtime, UTC)
    if stat.S_ISREG(status.st_mode):
        etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
        return Entry(name, "file", status.st_size, time, etag)
    return Entry(name, "directory" if stat.S_ISDIR(status.st_mode) else "other", modified=time)
