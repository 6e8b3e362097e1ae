"""Directories below the root, opened one segment at a time, never through a symbolic link.

Where the system has calls relative to a descriptor (POSIX), a directory is its descriptor: a segment that somebody
swaps for a link while we work cannot lead out. Elsewhere (Windows) a directory is its path, and every segment is
looked at before it is used. Functions here block, and raise `OSError` as the system does; a segment that is a link
is `LinkRefused`, a FIFO, socket or device `SpecialFile`.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from entrepot.disks import sync_descriptor
from entrepot.flavors.local.faults import LinkRefused, SpecialFile, failure

_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
# Passing through a directory needs the right to search it, not to read it.
_PASS: Final = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY
# Without O_NONBLOCK, opening a FIFO that took a file's place would wait for its other end.
_FILE: Final = _NO_FOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

BY_DESCRIPTOR: Final = bool(_NO_FOLLOW) and {os.open, os.stat, os.mkdir, os.unlink, os.rename, os.link} <= (
    os.supports_dir_fd
)
"""Whether this system can work relative to a directory's descriptor."""


class Directory(ABC):
    """An open directory; names are single segments."""

    __slots__ = ()

    @abstractmethod
    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """A descriptor of a file; a link at the name is not followed."""

    @abstractmethod
    def status(self, name: str) -> os.stat_result:
        """What is at the name; a link is told as such."""

    @abstractmethod
    def child(self, name: str) -> Directory:
        """A directory in this one, open. Raises LinkRefused, NotADirectoryError, FileNotFoundError."""

    @abstractmethod
    def make(self, name: str) -> None:
        """Make a directory."""

    @abstractmethod
    def replace(self, name: str, into: Directory, new: str) -> None:
        """Rename, in place of what is there."""

    @abstractmethod
    def link(self, name: str, into: Directory, new: str) -> None:
        """A second name for a file; FileExistsError where one is taken."""

    @abstractmethod
    def unlink(self, name: str) -> None:
        """Remove a name that is no directory's."""

    @abstractmethod
    def remove_empty(self, name: str) -> None:
        """Remove an empty directory."""

    @abstractmethod
    def link_target(self, name: str) -> str:
        """Where a link points, as written in it."""

    @abstractmethod
    def make_link(self, text: str, name: str, *, to_directory: bool) -> None:
        """Make a symbolic link; FileExistsError where anything is. to_directory: what Windows has to know of it."""

    @abstractmethod
    def set_time(self, name: str, descriptor: int, mtime_ns: int) -> None:
        """Set a file's times, in nanoseconds since 1970, by its open descriptor where that is possible."""

    @abstractmethod
    def entries(self) -> Generator[os.DirEntry[str], None, None]:
        """What is in the directory; consume it whole, or close it."""

    @abstractmethod
    def sync(self) -> None:
        """Return when the device has the directory's names."""

    @abstractmethod
    def close(self) -> None:
        """Release it; harmless twice."""

    def look(self, name: str) -> os.stat_result | None:
        """What is at the name, None where nothing is. Raises LinkRefused and SpecialFile."""
        try:
            found = self.status(name)
        except FileNotFoundError:
            return None
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            return found
        raise LinkRefused if is_link(found) else SpecialFile

    def open_file(self, name: str) -> tuple[int, os.stat_result]:
        """A regular file open for reading, and its status. Nothing else is ever opened.

        Raises IsADirectoryError, LinkRefused, SpecialFile, FileNotFoundError.
        """
        found = self.look(name)
        if found is None:
            raise failure(errno.ENOENT)
        if stat.S_ISDIR(found.st_mode):
            raise failure(errno.EISDIR)
        descriptor = self.open(name, os.O_RDONLY)
        opened = os.fstat(descriptor)
        if not stat.S_ISREG(opened.st_mode):
            os.close(descriptor)
            raise SpecialFile
        return descriptor, opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_link(status: os.stat_result) -> bool:
    """Whether that is a symbolic link, or what Windows has in its place (a junction, any reparse point)."""
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0))


class _Descriptor(Directory):
    """A directory as its descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        try:
            return os.open(name, flags | _FILE, mode, dir_fd=self._fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise LinkRefused from error
            if error.errno == errno.ENXIO:  # a FIFO without a reader, or a socket, opened for writing
                raise SpecialFile from error
            raise

    def status(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False)

    def child(self, name: str) -> Directory:
        try:
            return _Descriptor(os.open(name, _PASS | _NO_FOLLOW, dir_fd=self._fd))
        except OSError as error:
            # A link is ELOOP or ENOTDIR, as the system likes.
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and is_link(self.status(name)):
                raise LinkRefused from error
            raise

    def make(self, name: str) -> None:
        os.mkdir(name, dir_fd=self._fd)

    def replace(self, name: str, into: Directory, new: str) -> None:
        assert isinstance(into, _Descriptor)
        os.replace(name, new, src_dir_fd=self._fd, dst_dir_fd=into._fd)

    def link(self, name: str, into: Directory, new: str) -> None:
        assert isinstance(into, _Descriptor)
        os.link(name, new, src_dir_fd=self._fd, dst_dir_fd=into._fd, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._fd)

    def remove_empty(self, name: str) -> None:
        os.rmdir(name, dir_fd=self._fd)

    def link_target(self, name: str) -> str:
        return os.readlink(name, dir_fd=self._fd)

    def make_link(self, text: str, name: str, *, to_directory: bool) -> None:
        os.symlink(text, name, dir_fd=self._fd)

    def set_time(self, name: str, descriptor: int, mtime_ns: int) -> None:
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))

    def _readable(self) -> int:
        return os.open(".", os.O_RDONLY | _DIRECTORY, dir_fd=self._fd)

    def entries(self) -> Generator[os.DirEntry[str], None, None]:
        fd = self._readable()
        try:
            with os.scandir(fd) as found:
                yield from found
        finally:
            os.close(fd)

    def sync(self) -> None:
        fd = self._readable()
        try:
            sync_descriptor(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems have no such call for directories
                raise
        finally:
            os.close(fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class _Path(Directory):
    """A directory as its path, for systems without calls relative to a descriptor."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        path = self._at(name)
        if not flags & os.O_EXCL and os.path.lexists(path) and is_link(os.lstat(path)):
            raise LinkRefused
        return os.open(path, flags | _FILE, mode)

    def status(self, name: str) -> os.stat_result:
        return os.lstat(self._at(name))

    def child(self, name: str) -> Directory:
        path = self._at(name)
        found = os.lstat(path)
        if is_link(found):
            raise LinkRefused
        if not stat.S_ISDIR(found.st_mode):
            raise failure(errno.ENOTDIR)
        return _Path(path)

    def make(self, name: str) -> None:
        os.mkdir(self._at(name))

    def replace(self, name: str, into: Directory, new: str) -> None:
        assert isinstance(into, _Path)
        os.replace(self._at(name), into._at(new))

    def link(self, name: str, into: Directory, new: str) -> None:
        assert isinstance(into, _Path)
        os.link(self._at(name), into._at(new))

    def unlink(self, name: str) -> None:
        os.unlink(self._at(name))

    def remove_empty(self, name: str) -> None:
        os.rmdir(self._at(name))

    def link_target(self, name: str) -> str:
        return os.readlink(self._at(name))

    def make_link(self, text: str, name: str, *, to_directory: bool) -> None:
        os.symlink(text, self._at(name), target_is_directory=to_directory)

    def set_time(self, name: str, descriptor: int, mtime_ns: int) -> None:
        os.utime(self._at(name), ns=(mtime_ns, mtime_ns))

    def entries(self) -> Generator[os.DirEntry[str], None, None]:
        with os.scandir(self._path) as found:
            yield from found

    def sync(self) -> None:
        """Windows writes names with the file's own metadata, and has no call for a directory's."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A root and what lies below it, by keys (`a/b`, without a slash at either end; `` is the root).

    root: an absolute path, which may itself be a link.
    """

    root: str
    by_descriptor: bool = BY_DESCRIPTOR
    prefix: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", os.path.join(self.root, ""))

    def path(self, key: str) -> str:
        """The absolute path of a key, as the system writes it."""
        if not key:
            return self.root
        return self.prefix + (key if os.sep == "/" else key.replace("/", os.sep))

    def _open_root(self) -> Directory:
        if self.by_descriptor:
            return _Descriptor(os.open(self.root, _PASS))
        if not stat.S_ISDIR(os.stat(self.root).st_mode):
            raise failure(errno.ENOTDIR)
        return _Path(self.root)

    def open(self, key: str) -> Directory:
        """The directory of that key, open. Raises FileNotFoundError, NotADirectoryError, LinkRefused."""
        here = self._open_root()
        try:
            for segment in key.split("/") if key else ():
                below = here.child(segment)
                here.close()
                here = below
        except BaseException:
            here.close()
            raise
        return here

    def open_to_list(self, key: str) -> Directory:
        """As `open`, but what lies below a file is not there: FileNotFoundError."""
        try:
            return self.open(key)
        except NotADirectoryError:
            parent, _ = split_key(key)
            if parent:
                try:
                    self.open(parent).close()
                except NotADirectoryError:
                    raise failure(errno.ENOENT) from None
            raise

    def make(self, key: str, *, durable: bool) -> tuple[Directory, bool]:
        """The directory of that key, open, and whether it is new; it and its parents are made where they are missing.

        durable: return when the device has every name that was made.
        """
        new = self._make_root(durable=durable)
        here = self._open_root()
        try:
            for segment in key.split("/") if key else ():
                try:
                    below, new = here.child(segment), False
                except FileNotFoundError:
                    below, new = self._make_child(here, segment, durable=durable)
                here.close()
                here = below
        except BaseException:
            here.close()
            raise
        return here, new

    @staticmethod
    def _make_child(here: Directory, segment: str, *, durable: bool) -> tuple[Directory, bool]:
        try:
            here.make(segment)
        except FileExistsError:  # another writer was faster
            return here.child(segment), False
        if durable:
            here.sync()
        return here.child(segment), True

    def _make_root(self, *, durable: bool) -> bool:
        if os.path.lexists(self.root):
            return False
        missing = [self.root]
        while not os.path.lexists(parent := os.path.dirname(missing[-1])):
            missing.append(parent)
        for path in reversed(missing):
            os.makedirs(path, exist_ok=True)
            if durable:
                with Tree(os.path.dirname(path), self.by_descriptor)._open_root() as parent_directory:
                    parent_directory.sync()
        return True


def split_key(key: str) -> tuple[str, str]:
    """`a/b/c` → (`a/b`, `c`)."""
    parent, _, name = key.rpartition("/")
    return parent, name


def join_key(key: str, name: str) -> str:
    """The key of a name in a directory."""
    return f"{key}/{name}" if key else name


class Cursor:
    """The directories of one batch, at most one of them open at a time: a batch of any size needs few descriptors."""

    __slots__ = ("_here", "_key", "tree")

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._key: str | None = None
        self._here: Directory | None = None

    def open(self, key: str) -> Directory:
        """The directory of that key; it stays the cursor's."""
        if self._here is None or key != self._key:
            self.close()
            self._here, self._key = self.tree.open(key), key
        return self._here

    def make(self, key: str, *, durable: bool) -> tuple[Directory, bool, bool]:
        """As `Tree.make`: the directory, whether it is new, and whether the cursor was elsewhere before."""
        if self._here is not None and key == self._key:
            return self._here, False, False
        self.close()
        self._here, new = self.tree.make(key, durable=durable)
        self._key = key
        return self._here, new, True

    def close(self) -> None:
        """Release the directory that is open."""
        if self._here is not None:
            self._here.close()
            self._here = self._key = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
