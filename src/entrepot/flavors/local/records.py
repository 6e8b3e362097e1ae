"""What the store tells of a file: the system's status as a `FileStat`, and names as they are shown."""

from __future__ import annotations

import os
import re
import stat
from datetime import UTC, datetime
from typing import Final

from entrepot.errors import SourceChanged
from entrepot.flavors.local.directories import is_link
from entrepot.models import FileStat
from entrepot.paths import printable

_REFUSED_AS_KEY: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def shown(name: str) -> str:
    """The name as listings tell it: one that no store may keep (not UTF-8, control characters) is escaped."""
    if name.isascii() and name.isprintable():
        return name
    return printable(name) if _REFUSED_AS_KEY.search(name) else name


def fingerprint(status: os.stat_result) -> str:
    """What changes whenever a file's content does: device, inode, size and times; the `etag` of a local file."""
    return f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def require_unchanged(before: os.stat_result, after: os.stat_result, *, operation: str, uri: str) -> None:
    """Raise SourceChanged where a file was written between two looks at its descriptor."""
    if (
        before.st_size != after.st_size
        or before.st_mtime_ns != after.st_mtime_ns
        or before.st_ctime_ns != after.st_ctime_ns
    ):
        raise SourceChanged("the file changed while it was read; copy it again", operation=operation, uri=uri)


def require_listed(file: FileStat, found: os.stat_result, *, operation: str) -> None:
    """Raise SourceChanged where the file is no longer the one that a listing saw."""
    if found.st_size != file.size_bytes or (file.etag is not None and file.etag != fingerprint(found)):
        raise SourceChanged(
            "the file changed since it was listed; copy it again", operation=operation, uri=printable(file.uri)
        )


def _modified(status: os.stat_result) -> datetime | None:
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):  # a time that no calendar has: a damaged or hostile file system
        return None


def record(uri: str, status: os.stat_result, link_target: str | None = None) -> FileStat:
    """The status as a `FileStat`."""
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return FileStat(uri, status.st_size, _modified(status), False, fingerprint(status), mode=mode & 0o7777)
    if is_link(status):
        return FileStat(uri, 0, _modified(status), mode=mode & 0o7777, link_target=link_target or "")
    is_dir = stat.S_ISDIR(mode)
    return FileStat(uri, 0, _modified(status), is_dir, mode=mode & 0o7777, special=not is_dir)
