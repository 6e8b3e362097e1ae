"""The content of one file into another, in the kernel where it can."""

from __future__ import annotations

import errno
import os
from typing import Final

from entrepot.errors import SourceChanged
from entrepot.flavors.local.hops import Check
from entrepot.flavors.local.records import require_unchanged
from entrepot.flavors.local.writes import Temporary, write_all
from entrepot.models import KIB, MIB

_CHUNK: Final = 64 * MIB
_READ: Final = 1 * MIB
_SMALL: Final = 64 * KIB
"""Below this, one read and one write cost less than setting up a copy inside the kernel."""

_NOT_IN_KERNEL: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY}
)


def copy_into(draft: Temporary, source: int, before: os.stat_result, *, uri: str, check: Check) -> None:
    """Copy a whole open file into a temporary. Raises SourceChanged where it was written meanwhile."""
    draft.size_bytes = copy_content(source, draft.descriptor, before.st_size, check)
    require_unchanged(before, os.fstat(source), operation="copy", uri=uri)
    if draft.size_bytes != before.st_size:
        raise SourceChanged("the file ends before its size", operation="copy", uri=uri)


def copy_content(source: int, target: int, size_bytes: int, check: Check) -> int:
    """Copy from the start of one descriptor to the start of another; returns how many bytes there were.

    On file systems that share blocks (XFS, Btrfs, APFS by its own call) the kernel copies none.
    """
    done = 0
    if size_bytes > _SMALL and hasattr(os, "copy_file_range"):
        done = _copy_in_kernel(source, target, size_bytes, check)
        os.lseek(source, done, os.SEEK_SET)
        os.lseek(target, done, os.SEEK_SET)
    while done < size_bytes:
        data = os.read(source, min(_READ, size_bytes - done))
        if not data:
            break
        done += write_all(target, data)
        if done < size_bytes:
            check()
    return done


def _copy_in_kernel(source: int, target: int, size_bytes: int, check: Check) -> int:
    done = 0
    while done < size_bytes:
        check()
        try:
            copied = os.copy_file_range(source, target, min(_CHUNK, size_bytes - done), done, done)
        except OSError as error:
            if error.errno in _NOT_IN_KERNEL:
                break
            raise
        if not copied:
            break
        done += copied
    return done
