"""What went wrong, as one line for people, one object for machines, and an exit code."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from entrepot import errors
from entrepot.errors import StoreError
from entrepot.paths import printable

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
SIGNAL_BASE: Final = 128
READER_GONE: Final = 141
"""128 + SIGPIPE, as the shell reports of any other program whose reader has left."""

EXIT_CODES: Final = (
    "Exit codes: 0 all done; 1 the operation failed, or some items of it; 2 wrong use (unknown option or scheme, bad "
    "address, a directory without -r); 130 interrupted (Ctrl-C); 143 terminated; 141 the reader of the output left."
)


class WrongUse(Exception):
    """The command cannot mean what was typed. message: what, and what to type instead."""

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.message, self.address = message, address


class Interrupted(Exception):
    """A signal asked the command to end, and it has cleaned up."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class OutputClosed(Exception):
    """Whoever read our standard output has left (`| head`)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, ready to be shown. kind: the error's class name. message: with what to do next."""

    kind: str
    message: str
    address: str
    exit_code: int

    def line(self, command: str) -> str:
        """`cp s3://bucket/key: message`, in one line, control characters escaped."""
        where = " ".join(part for part in (command, self.address) if part)
        return printable(f"{where}: {self.message}" if where else self.message)

    def to_json(self) -> dict[str, str]:
        """The fields that `--json` shows of a failure."""
        return {"kind": self.kind, "address": self.address, "message": self.message}


# What to do next, for messages that do not say it; the first class that matches is taken.
_NEXT_STEPS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.ContainerNotFound, "check the bucket's name and the endpoint, or make the bucket first"),
    (errors.NotFound, "check the address, or look around with `entrepot ls`"),
    (errors.AlreadyExists, "choose another name, or remove it first"),
    (errors.IsADirectory, "name a file"),
    (errors.NotADirectory, "name a directory"),
    (errors.Conflict, "choose another target"),
    (errors.CredentialsExpired, "sign in again and repeat the command"),
    (errors.CredentialsMissing, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, use --profile, or --anonymous"),
    (errors.PermissionDenied, "check the permissions and the credentials"),
    (errors.NoSpace, "free some space and repeat the command"),
    (errors.SourceChanged, "repeat the command when nobody writes to it"),
    (errors.ChecksumMismatch, "repeat the command"),
    (errors.Throttled, "repeat the command with a lower --concurrency"),
    (errors.ConnectionFailed, "check the network and --endpoint-url"),
    (errors.TimedOut, "check the network and --endpoint-url, then repeat the command"),
    (errors.ServiceUnavailable, "repeat the command later"),
    (errors.InvalidPath, "write another address"),
)
# The library's messages name options as Python writes them.
_SPELLINGS: Final = (
    ("allow_http=True", "--allow-http"),
    ("endpoint_url", "--endpoint-url"),
    ("links='follow'", "--links follow"),
    ("links='skip'", "--links skip"),
    ("links='preserve'", "--links preserve"),
    ("abort_orphans=True", "--abort-orphans"),
)
_WRONG_USE: Final = (errors.ConfigurationError, errors.InvalidPath)
_OS_NEXT_STEPS: Final = {
    errno.ENOSPC: "free some space and repeat the command",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`), or lower --concurrency",
}


def failure_of(error: BaseException, address: str = "") -> Failure:
    """What to show of an error. address: shown where the error names none."""
    error = _first(error)
    if isinstance(error, WrongUse):
        return Failure("WrongUse", error.message, error.address, WRONG_USE)
    if isinstance(error, StoreError):
        code = WRONG_USE if isinstance(error, _WRONG_USE) else FAILED
        return Failure(type(error).__name__, _with_next_step(error), error.uri or address, code)
    if isinstance(error, OSError):
        what = error.strerror or str(error) or type(error).__name__
        step = _OS_NEXT_STEPS.get(error.errno or 0)
        where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else address
        return Failure(type(error).__name__, f"{what}; {step}" if step else what, where, FAILED)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure("InternalError", f"this is a defect: {what}; --debug shows where, please report it", address, FAILED)


def item_failures(error: BaseException) -> Iterator[StoreError]:
    """The errors of single items that one error of a bulk operation carries."""
    if isinstance(error, errors.PartialFailure):
        yield from error.failures


def _first(error: BaseException) -> BaseException:
    """The error that matters of a group: tasks that fail together mostly fail for one reason."""
    leaves = [*_leaves(error)]
    return next((one for one in leaves if isinstance(one, StoreError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def as_typed(message: str) -> str:
    """A message of the library, with its options as they are typed."""
    for in_python, typed in _SPELLINGS:
        message = message.replace(in_python, typed)
    return message


def _with_next_step(error: StoreError) -> str:
    message = error.message or (os.strerror(error.ERRNO) if error.ERRNO is not None else type(error).__name__)
    message = as_typed(message)
    if ";" in message:
        return message
    step = next((step for kind, step in _NEXT_STEPS if isinstance(error, kind)), None)
    return f"{message}; {step}" if step else message
