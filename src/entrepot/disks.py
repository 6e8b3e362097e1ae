"""What makes a file, or a name, survive a power cut."""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import fcntl


def sync_descriptor(descriptor: int) -> None:
    """Return when the device has the file's content; on macOS that takes more than `fsync`."""
    full = getattr(fcntl, "F_FULLFSYNC", None) if sys.platform != "win32" else None
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    if os.name == "nt":  # directories cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
