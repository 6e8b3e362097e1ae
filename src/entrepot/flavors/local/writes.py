"""How a file comes to be: written under a hidden name beside its place, made durable, and moved there in one step."""

from __future__ import annotations

import errno
import math
import os
import stat
import sys
import threading
from abc import ABC, abstractmethod
from typing import Final, Literal, NamedTuple, TypeAlias

from entrepot.disks import sync_descriptor
from entrepot.errors import StoreClosed, UnsupportedOperation
from entrepot.flavors.local.directories import Directory, Tree, split_key
from entrepot.flavors.local.faults import failure
from entrepot.flavors.local.hops import Check
from entrepot.flavors.local.temporaries import KEPT, PERMISSIONS, create, sweep
from entrepot.models import Buffer, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX

Durability: TypeAlias = Literal["full", "batch", "none"]

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class Publication(NamedTuple):
    """How a temporary takes its place.

    name: in the temporary's directory. exclusive: only where nothing is. mode: permission bits, None for those of the
    file that is replaced, else of any new file (0666 without the umask). mtime_ns: None for now.
    sync_file, sync_directory: what the device must have before the write is done. told: whether the status after the
    move is wanted, or any will do.
    """

    name: str
    exclusive: bool = False
    mode: int | None = None
    mtime_ns: int | None = None
    sync_file: bool = True
    sync_directory: bool = True
    told: bool = True


def plan_publication(
    name: str,
    options: WriteOptions,
    *,
    durability: Durability,
    in_batch: bool = False,
    exclusive: bool = False,
    mode: int | None = None,
    mtime_ns: int | None = None,
) -> Publication:
    """What the options ask for. mode, mtime_ns: where the options say nothing. in_batch: directories are synced once,
    later, and of the file only its size is told.

    Raises UnsupportedOperation for what files on disk do not have.
    """
    if options.metadata or options.content_type or options.if_match:
        asked = "metadata" if options.metadata else "content type" if options.content_type else "if_match"
        raise UnsupportedOperation(f"files on disk have no {asked}; see the store's capabilities", operation="write")
    wanted = options.durability or durability
    permissions = options.mode if options.mode is not None else mode
    return Publication(
        name,
        exclusive=exclusive or options.if_none_match,
        mode=None if permissions is None else permissions & PERMISSIONS,
        mtime_ns=mtime_ns if options.mtime_s is None else _nanoseconds(options.mtime_s),
        sync_file=wanted != "none",
        sync_directory=wanted == "full" or (wanted == "batch" and not in_batch),
        told=not in_batch,
    )


def _nanoseconds(seconds: float) -> int:
    # In one product, a double would be off by hundreds of nanoseconds.
    whole = math.floor(seconds)
    return whole * 1_000_000_000 + round((seconds - whole) * 1e9)


def look_before_writing(directory: Directory, name: str, *, exclusive: bool) -> int | None:
    """The mode of the file that would be replaced, None where nothing is.

    Raises FileExistsError (exclusive), IsADirectoryError, LinkRefused, SpecialFile. A race after this look is
    harmless: the move itself replaces a link rather than follow it, and fails on a directory.
    """
    if exclusive:
        try:
            directory.status(name)
        except FileNotFoundError:
            return None
        raise failure(errno.EEXIST)
    found = directory.look(name)
    if found is None:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise failure(errno.EISDIR)
    return found.st_mode


class Draft(ABC):
    """A descriptor that is being written, shared by the threads that write and whoever drops it.

    A thread that a cancelled task left behind may still be writing when the draft is dropped. Its descriptor is
    closed by the last user, so that the number never means another file while it writes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._dropped = self._ended = False
        self._pid = os.getpid()

    def _enter(self) -> None:
        with self._lock:
            if self._ended or self._dropped:
                raise StoreClosed("the file is closed", operation="write")
            self._users += 1

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._dropped and not self._users and not self._ended
            self._ended = self._ended or last
        if last:
            self._drop()

    def discard(self) -> None:
        """Leave what was there before and no litter; harmless twice and after `commit`; never blocks on a writer."""
        if self._pid != os.getpid():  # in a forked child the lock may be held for ever by a thread that is not here
            self._drop()
            return
        with self._lock:
            self._dropped = True
            last = not self._users and not self._ended
            self._ended = self._ended or last
        if last:
            self._drop()

    def write(self, data: Buffer) -> None:
        """Append the bytes."""
        self._enter()
        try:
            self._write(data)
        finally:
            self._leave()

    def commit(self, check: Check) -> os.stat_result:
        """Make what was written the file's content, in one step; the file's status. A failure discards.

        check: called right before that step, so that what nobody waits for any more is not published.
        """
        self._enter()
        try:
            done = self._commit(check)
            self._ended = True
            return done
        except BaseException:
            self._dropped = True
            raise
        finally:
            self._leave()

    def __del__(self) -> None:
        # The last resort, for a draft that nobody committed or discarded.
        if hasattr(self, "_pid"):
            self.discard()

    @abstractmethod
    def _write(self, data: Buffer) -> None: ...
    @abstractmethod
    def _commit(self, check: Check) -> os.stat_result: ...
    @abstractmethod
    def _drop(self) -> None: ...


def write_all(descriptor: int, data: Buffer) -> int:
    """Write every byte; returns their number."""
    rest = memoryview(data).cast("B")
    size = len(rest)
    written = os.write(descriptor, rest) if size else 0
    while written < size:
        written += os.write(descriptor, rest[written:])
    return size


class Temporary(Draft):
    """A file under way, under a hidden name in the directory that it will be published in.

    size_bytes: how long the file will be, where parts of it are written at offsets; else it is as long as what was
    written. owns_directory: close the directory with the temporary. left: the name and the locked descriptor of one
    that was kept, of that size; it stays kept until `unkeep`.
    """

    def __init__(
        self,
        directory: Directory,
        publication: Publication,
        *,
        size_bytes: int | None = None,
        owns_directory: bool = False,
        left: tuple[str, int] | None = None,
    ) -> None:
        self._directory, self._publication, self._owns = directory, publication, owns_directory
        self._name, self.descriptor = create(directory, publication.mode) if left is None else left
        self.size_bytes = 0 if size_bytes is None else size_bytes
        self._is_kept, self._syncs_parts = left is not None, False
        super().__init__()
        if size_bytes and left is None:
            try:
                os.truncate(self.descriptor, size_bytes)
            except BaseException:
                self.discard()
                raise

    def _write(self, data: Buffer) -> None:
        self.size_bytes += write_all(self.descriptor, data)

    @property
    def identity(self) -> str:
        """What tells it from other temporaries of its directory: 16 hexadecimal digits."""
        return self._name.removeprefix(TEMPORARY_PREFIX).removesuffix(KEPT)

    def keep(self, *, syncs_parts: bool) -> None:
        """From now on the file outlives this writer, and its process, unless it is published; harmless twice.

        syncs_parts: what was written is on the device before this returns, and each further part before it is done.
        """
        self._enter()
        try:
            if not self._name.endswith(KEPT):
                self._directory.replace(self._name, self._directory, self._name + KEPT)
                self._name += KEPT
            if syncs_parts and not self._syncs_parts:
                sync_descriptor(self.descriptor)
                self._syncs_parts = True
            self._is_kept = True
        finally:
            self._leave()

    def unkeep(self) -> None:
        """Dropping it removes the file again."""
        self._is_kept = False

    def write_at(self, data: Buffer, offset: int) -> None:
        """Write the bytes at their place; threads may do so side by side."""
        self._enter()
        try:
            rest = memoryview(data).cast("B")
            if not hasattr(os, "pwrite"):
                with self._lock:
                    os.lseek(self.descriptor, offset, os.SEEK_SET)
                    write_all(self.descriptor, rest)
            else:
                while rest:
                    written = os.pwrite(self.descriptor, rest, offset)
                    rest, offset = rest[written:], offset + written
            if self._syncs_parts:
                sync_descriptor(self.descriptor)
        finally:
            self._leave()

    def _commit(self, check: Check) -> os.stat_result:
        wanted = self._publication
        status = os.fstat(self.descriptor)
        if status.st_size != self.size_bytes:
            raise OSError(errno.EIO, f"the file has {status.st_size} bytes where {self.size_bytes} were written")
        if wanted.mode is not None and stat.S_IMODE(status.st_mode) != wanted.mode & PERMISSIONS:
            _set_mode(self.descriptor, wanted.mode & PERMISSIONS)
        if wanted.mtime_ns is not None:
            self._directory.set_time(self._name, self.descriptor, wanted.mtime_ns)
        if wanted.sync_file:
            self._sync()
        check()
        try:
            done = self._publish(status)
        except FileExistsError:
            self.unkeep()  # nothing that goes on with it could publish it
            raise
        if wanted.sync_directory:
            self._directory.sync()
        self._release_directory()
        return done

    def _sync(self) -> None:
        try:
            sync_descriptor(self.descriptor)
        except OSError:
            self.unkeep()  # the system drops what it could not write: nobody knows which parts still are whole
            raise

    def _publish(self, status: os.stat_result) -> os.stat_result:
        """Close, whose errors count (NFS tells of a full disk only then), and move into place."""
        # The second descriptor keeps the lock: without it a sweep could take the name between close and move.
        # Windows moves no open file; there the lock does not exist either.
        kept = os.dup(self.descriptor) if sys.platform != "win32" else -1
        try:
            closing, self.descriptor = self.descriptor, -1
            os.close(closing)
            if self._publication.exclusive:
                move_exclusively(self._directory, self._name, self._directory, self._publication.name)
            else:
                self._directory.replace(self._name, self._directory, self._publication.name)
            self._name = ""
            if not self._publication.told:
                return status
            return os.fstat(kept) if kept >= 0 else self._directory.status(self._publication.name)
        finally:
            if kept >= 0:
                os.close(kept)

    def _release_directory(self) -> None:
        if self._owns:
            self._directory.close()

    def _drop(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        try:
            # A forked child has our descriptor, but the file is its parent's.
            if self._name and self._pid == os.getpid() and not self._is_kept:
                if sys.platform == "win32" and descriptor >= 0:  # no open file can be removed there
                    os.close(descriptor)
                    descriptor = -1
                self._directory.unlink(self._name)
                self._name = ""
        except FileNotFoundError:
            self._name = ""
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            self._release_directory()


def open_draft(
    tree: Tree,
    key: str,
    options: WriteOptions,
    *,
    durability: Durability,
    exclusive: bool = False,
    size_bytes: int | None = None,
    sweeping: bool = False,
) -> Temporary:
    """A temporary for the file of that key; its parents are made.

    size_bytes: of a file that is written in parts. sweeping: free its directory of dead temporaries.
    """
    parent, name = split_key(key)
    if not name:
        raise failure(errno.EISDIR)
    plan = plan_publication(name, options, durability=durability, exclusive=exclusive)
    directory, is_new = tree.make(parent, durable=plan.sync_directory)
    try:
        if sweeping and not is_new:
            sweep(directory)
        replaced = look_before_writing(directory, name, exclusive=plan.exclusive)
        if plan.mode is None and replaced is not None:
            plan = plan._replace(mode=replaced & PERMISSIONS)
        return Temporary(directory, plan, size_bytes=size_bytes, owns_directory=True)
    except BaseException:
        directory.close()
        raise


class Appending(Draft):
    """A file appended to in place.

    A file cannot grow out of sight, so readers may see what was appended before it is committed. Dropping it takes
    the bytes back, and a new file with them, where nobody else has appended since.
    """

    def __init__(self, directory: Directory, name: str, *, sync_file: bool, sync_directory: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND
        self._directory, self._name = directory, name
        self._sync_file, self._sync_directory = sync_file, sync_directory
        try:
            self.descriptor, self._is_new = directory.open(name, flags | os.O_CREAT | os.O_EXCL), True
        except FileExistsError:
            found = directory.look(name)
            if found is not None and stat.S_ISDIR(found.st_mode):
                raise failure(errno.EISDIR) from None
            self.descriptor, self._is_new = directory.open(name, flags), False
        self._start = os.fstat(self.descriptor).st_size
        self.size_bytes = 0
        super().__init__()

    def _write(self, data: Buffer) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            written = os.write(self.descriptor, rest)
            self.size_bytes += written
            rest = rest[written:]

    def _commit(self, check: Check) -> os.stat_result:
        if self._sync_file:
            sync_descriptor(self.descriptor)
        check()
        status = os.fstat(self.descriptor)
        closing, self.descriptor = self.descriptor, -1
        os.close(closing)
        if self._is_new and self._sync_directory:
            self._directory.sync()
        self._directory.close()
        return status

    def _drop(self) -> None:
        try:
            if self.descriptor >= 0 and self._pid == os.getpid():
                self._take_back()
        finally:
            if self.descriptor >= 0:
                closing, self.descriptor = self.descriptor, -1
                os.close(closing)
            self._directory.close()

    def _take_back(self) -> None:
        if os.fstat(self.descriptor).st_size != self._start + self.size_bytes:
            return  # somebody else appended, too: their bytes stay, and so must ours before them
        if self._is_new:
            self._directory.unlink(self._name)
        elif self.size_bytes:
            os.truncate(self.descriptor, self._start)


def move_exclusively(origin: Directory, name: str, target: Directory, new: str) -> None:
    """Move a file to a name that nobody has; FileExistsError where one is taken."""
    try:
        origin.link(name, target, new)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No links here (FAT, some network file systems): an empty file claims the name, exclusively.
        os.close(target.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            origin.replace(name, target, new)
        except OSError:
            target.unlink(new)
            raise
        return
    try:
        origin.unlink(name)
    except OSError:  # it may not be removed where it was: then it does not move
        target.unlink(new)
        raise


def _set_mode(descriptor: int, mode: int) -> None:
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)
