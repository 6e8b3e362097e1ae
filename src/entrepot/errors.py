"""The errors of every flavor: one family, each also the builtin that a Python user expects."""

from __future__ import annotations

import errno as _errno
import io
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final


class StoreError(Exception):
    """The root of every error that entrepot raises on purpose.

    message: what went wrong and what to do next, in one line.
    operation: the method that failed (`read_bytes`), or empty.
    uri: the address that it was about, never with a query or a secret, or empty.

    `retryable` says whether the same request may succeed later; it is a property of the class.
    Instances pickle, so that worker processes can report them.
    """

    retryable: ClassVar[bool] = False
    ERRNO: ClassVar[int | None] = None

    def __init__(self, message: str = "", *, operation: str = "", uri: str = "") -> None:
        super().__init__(message)
        self.message, self.operation, self.uri = message, operation, uri
        if self.ERRNO is not None:
            builtin: Any = self
            builtin.errno, builtin.strerror, builtin.filename = self.ERRNO, message or os.strerror(self.ERRNO), uri

    def __str__(self) -> str:
        where = " ".join(part for part in (self.operation, self.uri) if part)
        what = self.message or (os.strerror(self.ERRNO) if self.ERRNO is not None else type(self).__name__)
        return f"{where}: {what}" if where else what

    def __reduce__(self) -> tuple[Callable[..., StoreError], tuple[Any, ...]]:
        return _restore, (type(self), self._state())

    def _state(self) -> dict[str, Any]:
        """The keyword arguments that make an equal instance."""
        return {"message": self.message, "operation": self.operation, "uri": self.uri}


def _restore(kind: type[StoreError], state: dict[str, Any]) -> StoreError:
    return kind(**state)


# ---- what is there, and what is not -------------------------------------------------------------------


class NotFound(StoreError, FileNotFoundError):
    """No file or directory at this URI."""

    ERRNO = _errno.ENOENT


class ContainerNotFound(NotFound):
    """The bucket or container itself does not exist."""


class UploadGone(NotFound):
    """What a large file was to be gone on with is no more, or is of another file, size or part size: begin anew."""


class AlreadyExists(StoreError, FileExistsError):
    """Something is at this URI already."""

    ERRNO = _errno.EEXIST


class IsADirectory(StoreError, IsADirectoryError):
    """A file was asked for, and a directory is there."""

    ERRNO = _errno.EISDIR


class NotADirectory(StoreError, NotADirectoryError):
    """A directory was asked for, and a file is there or at a parent."""

    ERRNO = _errno.ENOTDIR


class PreconditionFailed(StoreError, OSError):
    """The object is no longer (or not yet) what `if_match` or `if_none_match` named."""

    ERRNO = _errno.ESTALE


class Conflict(StoreError, OSError):
    """A file and a directory of the same name cannot be kept side by side here."""

    ERRNO = _errno.EEXIST


# ---- what the caller asked for ------------------------------------------------------------------------


class InvalidPath(StoreError, ValueError):
    """The path has a form that no store keeps: `.` or `..`, an empty segment, a control character."""


class PathOutsideStore(InvalidPath):
    """The path does not lie below the store's root."""


class ConfigurationError(StoreError, ValueError):
    """An unknown flavor, scheme or option, or a value that the flavor does not take."""


class UnsupportedOperation(StoreError, io.UnsupportedOperation):
    """This store cannot do that; its `capabilities` say what it can."""

    ERRNO = _errno.ENOTSUP


class StoreClosed(StoreError, ValueError):
    """The file or the store was closed before this call."""


# ---- who asked ----------------------------------------------------------------------------------------


class PermissionDenied(StoreError, PermissionError):
    """The service knows who is asking and refuses, or the file system does."""

    ERRNO = _errno.EACCES


class CredentialsMissing(PermissionDenied):
    """No credentials were found, or those found cannot be used."""


class CredentialsExpired(PermissionDenied):
    """The token has expired; one refresh is tried before this is raised."""


# ---- what may pass ------------------------------------------------------------------------------------


class ServiceError(StoreError, OSError):
    """The service answered with an error that has no class of its own."""

    ERRNO = _errno.EIO


class ServiceUnavailable(ServiceError):
    """The service failed for now (500, 502, 503, 504) after the last attempt."""

    retryable = True


class Throttled(ServiceError):
    """The service asked for fewer requests (429, SlowDown) until the deadline ended."""

    retryable = True
    ERRNO = _errno.EBUSY

    def __init__(
        self, message: str = "", *, operation: str = "", uri: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, operation=operation, uri=uri)
        self.retry_after_s = retry_after_s

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "retry_after_s": self.retry_after_s}


class ConnectionFailed(StoreError, ConnectionError):
    """The endpoint could not be reached, or the connection broke.

    not_sent: no byte of the request left, so that repeating it is safe whatever it was.
    """

    retryable = True
    ERRNO = _errno.ECONNRESET

    def __init__(self, message: str = "", *, operation: str = "", uri: str = "", not_sent: bool = False) -> None:
        super().__init__(message, operation=operation, uri=uri)
        self.not_sent = not_sent

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "not_sent": self.not_sent}


class Unreachable(ConnectionFailed):
    """An endpoint that has not answered once: its name is unknown, or nothing listens there. Given up sooner."""

    ERRNO = _errno.ECONNREFUSED

    def __init__(self, message: str = "", *, operation: str = "", uri: str = "", not_sent: bool = True) -> None:
        super().__init__(message, operation=operation, uri=uri, not_sent=not_sent)


class TlsFailed(StoreError, ConnectionError):
    """No trusted connection: the certificate or the protocol was refused. Nothing was sent; never retried."""

    ERRNO = _errno.EPROTO


class TimedOut(StoreError, TimeoutError):
    """The endpoint did not answer in time."""

    retryable = True
    ERRNO = _errno.ETIMEDOUT


class BadResponse(ServiceError):
    """A reply that cannot be believed: not parseable, the wrong range, too short."""

    retryable = True


class ChecksumMismatch(ServiceError):
    """The bytes that arrived are not the bytes that were sent."""

    retryable = True


# ---- bulk work ----------------------------------------------------------------------------------------


class SourceChanged(StoreError, OSError):
    """The source was written, or ended early, while it was being copied; nothing was published."""

    ERRNO = _errno.ESTALE


class UploadBusy(StoreError, OSError):
    """Another process is writing that large file, or has not ended yet; only one can go on with it."""

    ERRNO = _errno.EBUSY


class NoSpace(StoreError, OSError):
    """The disk or the quota is full; what was there before is unchanged."""

    ERRNO = _errno.ENOSPC


class DeletionRefused(StoreError, OSError):
    """A mirroring copy would delete more than it may; nothing was deleted."""

    ERRNO = _errno.EPERM


class JobBusy(StoreError, OSError):
    """Another process has the journal of this job open. pid: its process id, None where it has not told yet."""

    ERRNO = _errno.EBUSY

    def __init__(self, message: str = "", *, operation: str = "", uri: str = "", pid: int | None = None) -> None:
        super().__init__(message, operation=operation, uri=uri)
        self.pid = pid

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "pid": self.pid}


class JournalUnusable(StoreError, OSError):
    """The journal of a job is damaged, of a newer version, or its disk fails."""

    ERRNO = _errno.EIO


class PartialFailure(StoreError, OSError):
    """Some items of a bulk operation failed; `failures` has one error an item."""

    ERRNO = _errno.EIO

    def __init__(
        self, message: str = "", *, operation: str = "", uri: str = "", failures: Sequence[StoreError] = ()
    ) -> None:
        super().__init__(message, operation=operation, uri=uri)
        self.failures = tuple(failures)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "failures": self.failures}


FATAL: Final = (ContainerNotFound, CredentialsMissing, CredentialsExpired, NoSpace, ConnectionFailed, TlsFailed)
"""Errors that every further item of a bulk operation would meet too: the first of them ends it."""

_BY_ERRNO: dict[int, type[StoreError]] = {
    _errno.ENOENT: NotFound,
    _errno.EEXIST: AlreadyExists,
    _errno.EISDIR: IsADirectory,
    _errno.ENOTDIR: NotADirectory,
    _errno.EACCES: PermissionDenied,
    _errno.EPERM: PermissionDenied,
    _errno.EROFS: PermissionDenied,
    _errno.ENOSPC: NoSpace,
    _errno.EDQUOT: NoSpace,
    _errno.ELOOP: PathOutsideStore,
    _errno.ENAMETOOLONG: InvalidPath,
}


def from_os_error(error: OSError, *, operation: str, uri: str) -> StoreError:
    """The family's member for an error of the operating system; chain it with `raise … from error`."""
    kind = _BY_ERRNO.get(error.errno or 0, ServiceError)
    return kind(error.strerror or str(error), operation=operation, uri=uri)
