"""How many more files and sockets this process may open."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

UNKNOWN: Final = 512
"""Where the system does not tell: as many sockets as a `select` on Windows takes."""

_OPEN: Final = ("/proc/self/fd", "/dev/fd")


def free_descriptors() -> int:
    """Of the soft limit (`ulimit -n`), what is not in use. Cost: a listing of what is open."""
    if sys.platform == "win32":
        return UNKNOWN
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    for directory in _OPEN:
        try:
            return max(0, limit - len(os.listdir(directory)))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return 0
    return min(limit, UNKNOWN)
