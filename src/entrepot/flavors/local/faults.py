"""Errors of the system as the store's own, and two that the system has no number for."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager

from entrepot.errors import AlreadyExists, NotFound, StoreError, UnsupportedOperation, from_os_error
from entrepot.paths import printable


def failure(code: int) -> OSError:
    """What the system would raise for that `errno`."""
    return OSError(code, os.strerror(code))


class LinkRefused(OSError):
    """A symbolic link is at this place."""

    def __init__(self) -> None:
        super().__init__(errno.ELOOP, "a symbolic link is there, and links are not followed below a store's root")


class SpecialFile(OSError):
    """Neither a file nor a directory is at this place."""

    def __init__(self) -> None:
        super().__init__(errno.EOPNOTSUPP, "a FIFO, socket or device is there; a store keeps files and directories")


def typed(error: OSError, *, operation: str, uri: str, reading: bool = False) -> StoreError:
    """The store's error for one of the system; chain it with `raise … from error`.

    reading: what lies below a file is not there, where a writer is told that the parent is no directory.
    """
    uri = printable(uri)
    if isinstance(error, SpecialFile):
        return UnsupportedOperation(error.strerror or "", operation=operation, uri=uri)
    if reading and isinstance(error, NotADirectoryError):
        return NotFound(operation=operation, uri=uri)
    if error.errno == errno.ENOTEMPTY:
        return AlreadyExists("the directory is not empty", operation=operation, uri=uri)
    return from_os_error(error, operation=operation, uri=uri)


def typed_from(error: OSError, *, operation: str, uri: str) -> StoreError:
    """As `typed`, chained to its cause, for an error that is told rather than raised."""
    known = typed(error, operation=operation, uri=uri)
    known.__cause__ = error
    return known


@contextmanager
def telling(operation: str, uri: str, *, reading: bool = False) -> Generator[None, None, None]:
    """Errors of the system leave as members of `StoreError` that name the operation and the address."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise typed(error, operation=operation, uri=uri, reading=reading) from error
