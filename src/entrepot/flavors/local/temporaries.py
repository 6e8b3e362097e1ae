"""Temporaries: hidden names in the directory of the file they will be, each locked (`flock`) while its writer lives.

A temporary that can be locked belongs to nobody: its process was killed, and `sweep` may remove it at once. But for
one that is kept to be gone on with, which its name tells: that one is removed when nothing was written to it for a
week.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from typing import Final

from entrepot.flavors.local.directories import Directory
from entrepot.flavors.local.faults import failure
from entrepot.paths import TEMPORARY_PREFIX

if sys.platform != "win32":
    import fcntl

PERMISSIONS: Final = 0o777
"""What is kept of a mode: never set-user-id or the like, which a stranger's metadata could ask for."""

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_DAY_S: Final = 24 * 3600
_KEPT_S: Final = 7 * _DAY_S

KEPT: Final = ".kept"
"""How the name of a temporary ends that outlives its writer."""


def create(directory: Directory, mode: int | None) -> tuple[str, int]:
    """A new temporary, locked: its name and its descriptor."""
    wanted = 0o666 if mode is None else mode & PERMISSIONS | stat.S_IWUSR
    while True:
        name = TEMPORARY_PREFIX + os.urandom(8).hex()
        try:
            descriptor = directory.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, wanted)
        except FileExistsError:
            continue
        try:
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return name, descriptor
        except BaseException:
            os.close(descriptor)
            directory.unlink(name)
            raise
        os.close(descriptor)  # a sweep took it in the moment before it was locked


def reopen(directory: Directory, name: str) -> int:
    """A temporary that another writer has left, locked: its descriptor.

    Raises FileNotFoundError where it is gone, BlockingIOError where its writer lives.
    """
    descriptor = directory.open(name, os.O_RDWR)
    try:
        free = _lock(descriptor)
        status = os.fstat(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if free and stat.S_ISREG(status.st_mode) and status.st_nlink:
        return descriptor
    os.close(descriptor)
    raise failure(errno.ENOENT if free else errno.EWOULDBLOCK)  # gone: a sweep took it before it was locked


def _lock(descriptor: int) -> bool:
    """Whether the file is ours now. Where there are no locks, it is."""
    return _try_to_lock(descriptor) is not False


def _try_to_lock(descriptor: int) -> bool | None:
    """Whether the lock was free; None where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def sweep(directory: Directory) -> int:
    """Remove the temporaries that killed processes left in a directory; returns their number.

    A temporary is dead when its lock is free. Where there are no locks, when it is older than a day; one that is
    kept, when it is older than a week.
    """
    with_prefix = [entry.name for entry in directory.entries() if entry.name.startswith(TEMPORARY_PREFIX)]
    return sum(_remove_if_dead(directory, name) for name in with_prefix)


_SURELY_LOCKED_S: Final = 60.0


def count_dead(top: str, check: Callable[[], None]) -> tuple[int, int]:
    """How many temporaries of killed processes are below a directory, and their bytes; nothing is removed.

    check: is called once a directory. What cannot be read is passed over.
    """
    number = size_bytes = 0
    for directory, _, names in os.walk(top):
        check()
        for name in names:
            if name.startswith(TEMPORARY_PREFIX):
                held = _dead_bytes(os.path.join(directory, name))
                number, size_bytes = number + (held is not None), size_bytes + (held or 0)
    return number, size_bytes


def _dead_bytes(path: str) -> int | None:
    """The size of a dead temporary; None of anything else."""
    try:
        found = os.lstat(path)
        # A writer that met our lock between making its file and locking it would leave the file behind.
        if not stat.S_ISREG(found.st_mode) or time.time() - found.st_mtime < _SURELY_LOCKED_S:
            return None
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        return found.st_size if _is_dead(os.path.basename(path), descriptor) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _remove_if_dead(directory: Directory, name: str) -> bool:
    try:
        if not stat.S_ISREG(directory.status(name).st_mode):
            return False
        descriptor = directory.open(name, os.O_RDWR)
    except OSError:
        return False  # published, dropped or another user's by now
    try:
        dead = _is_dead(name, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not dead:
        os.close(descriptor)
        return False
    return remove(directory, name, descriptor)


def remove(directory: Directory, name: str, descriptor: int) -> bool:
    """Remove a temporary that is locked by this descriptor, and close that; False where it was gone."""
    try:
        if sys.platform != "win32":
            directory.unlink(name)  # with the lock still held, so that no writer can have it
    except FileNotFoundError:
        return False
    finally:
        os.close(descriptor)
    if sys.platform == "win32":
        directory.unlink(name)  # no open file can be removed there
    return True


def _is_dead(name: str, descriptor: int) -> bool:
    now, status = time.time(), os.fstat(descriptor)
    # Only what is old is locked: who goes on with it at this moment must not find it taken. Not by the time of its
    # content, which may be its source's already.
    if name.endswith(KEPT) and now - status.st_ctime <= _KEPT_S:
        return False
    free = _try_to_lock(descriptor)
    return now - status.st_mtime > _DAY_S if free is None else free


def boot_id() -> str:
    """Another text after each start of this machine; empty where the system tells none.

    What was written without being synced is lost with the power, and in part, so that no part of it can be trusted.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""
