"""What a file system offers to be a store: what is at a path, open files, and the primitives over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from entrepot.contract import BaseArtifactStore
from entrepot.errors import ConnectionFailed, StoreError, TimedOut, from_os_error
from entrepot.models import Buffer


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory, or what is at a path (its name does not matter then).

    kind: `other` is neither file nor directory (a symbolic link, a device): listings leave it out, nothing opens it,
    and a removed tree takes it along. name: undecodable bytes as surrogates, so that they can be given back.
    etag: changes whenever the content does; None where nothing promises that (a time in whole seconds does not).
    mode: POSIX permission bits, where there are some.
    """

    name: str
    kind: Literal["file", "directory", "other"] = "file"
    size_bytes: int = 0
    modified: datetime | None = None
    etag: str | None = None
    mode: int | None = None


class RandomAccessFile(ABC):
    """One file open for reading."""

    @abstractmethod
    async def stat(self) -> Entry:
        """What is open, as the open file itself tells it: a file that took its name meanwhile is another."""

    @abstractmethod
    async def read_at(self, start: int, size: int) -> bytes:
        """The bytes from `start`, as many as asked for; fewer only where the file has become shorter."""

    @abstractmethod
    async def close(self) -> None:
        """Release what it holds on the server."""


class WritableFile(ABC):
    """One new file open for writing, from its start to its end."""

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Append the bytes, 4 MiB at most; the buffer is the caller's again afterwards."""

    @abstractmethod
    async def close(self) -> None:
        """Return once the server has all of it. Raises what went wrong with any byte of it."""


class FileSystemPrimitives(BaseArtifactStore):
    """The primitives, which a flavor implements. Each is about one request; none looks before it leaps.

    key: a path from the container's top, without a leading slash: `sftp://host/data/a` has the key `data/a`. The
    store has checked it; the top itself is the empty key.

    They raise what their library raises: `_failure` names the member of `StoreError` for it, in one table a flavor,
    and the base adds operation and address. Only `_stat` must tell NotFound from other failures. Where a service
    answers vaguely (SFTP says `Failure` for most things), the base looks afterwards to say what was in the way.
    """

    @abstractmethod
    async def _stat(self, key: str) -> Entry:
        """What is there, links not followed. Raises: NotFound, or NotADirectory where a parent is a file."""

    @abstractmethod
    async def _list(self, key: str) -> Sequence[Entry]:
        """All that is in a directory, in any order; `.` and `..` may be among it. Raises for anything else."""

    @abstractmethod
    async def _make_directory(self, key: str) -> None:
        """Make one directory. Raises where anything is there, or no parent."""

    @abstractmethod
    async def _remove_file(self, key: str) -> None:
        """Remove a file, or what is neither file nor directory."""

    @abstractmethod
    async def _remove_directory(self, key: str) -> None:
        """Remove an empty directory. Raises where it is not empty."""

    @abstractmethod
    async def _rename(self, source: str, target: str, *, replace: bool) -> None:
        """Move a file or a tree in one step.

        replace: a file takes the place of a file that is there. Else the server itself must refuse where anything is
        there; if it cannot, the flavor declares `exclusive_create=False` and `exclusive_copy=False`.
        """

    @abstractmethod
    async def _open_read(self, key: str, entry: Entry) -> RandomAccessFile:
        """Open a file. entry: what `_stat` told of it just before. The reader may live on while it is replaced."""

    @abstractmethod
    async def _open_write(self, key: str) -> WritableFile:
        """Make a new file. Raises where anything is there, or no parent directory."""

    async def _set_attributes(self, key: str, *, mtime_s: float | None, mode: int | None) -> None:
        """Give a file a time (seconds since 1970) and permission bits, before it is published; by default neither is
        kept.
        """

    async def _copy_content(self, source: str, target: str) -> bool:
        """Copy a file to a new one on the server's side; False where it cannot, and nothing was made."""
        return False

    def _failure(self, error: Exception) -> StoreError | None:
        """The family's member for an error of the flavor's library, with a message; None for a defect.

        This one takes the errors of the operating system; a flavor asks it last.
        """
        if isinstance(error, TimeoutError):
            return TimedOut("the server did not answer in time")
        if isinstance(error, ConnectionError):
            return ConnectionFailed(error.strerror or "the connection broke")
        return from_os_error(error, operation="", uri="") if isinstance(error, OSError) else None
