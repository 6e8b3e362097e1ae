"""The family of errors: builtin bases, attributes, one line, and that they reach other processes."""

from __future__ import annotations

import copy
import errno
import inspect
import io
import os
import pickle

import pytest

from entrepot import errors
from entrepot.errors import (
    AlreadyExists,
    ConnectionFailed,
    InvalidPath,
    IsADirectory,
    NoSpace,
    NotADirectory,
    NotFound,
    PartialFailure,
    PathOutsideStore,
    PermissionDenied,
    ServiceError,
    StoreError,
    Throttled,
    TimedOut,
    UnsupportedOperation,
    from_os_error,
)

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, StoreError)]
FAMILIES = pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)


@FAMILIES
def test_an_error_says_operation_address_and_message_in_this_order(kind: type[StoreError]) -> None:
    error = kind("what to do", operation="stat", uri="s3://b/k")
    assert str(error) == "stat s3://b/k: what to do"
    assert (error.message, error.operation, error.uri) == ("what to do", "stat", "s3://b/k")


@FAMILIES
def test_an_error_without_words_still_says_something(kind: type[StoreError]) -> None:
    assert str(kind())
    assert str(kind(uri="s3://b/k")).startswith("s3://b/k: ")


@FAMILIES
def test_an_error_reaches_another_process_whole(kind: type[StoreError]) -> None:
    error = kind("what to do", operation="stat", uri="s3://b/k")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert vars(again) == vars(error)
        assert str(again) == str(error)
        assert again.args == error.args


@FAMILIES
def test_an_os_errors_attributes_are_those_of_the_builtin(kind: type[StoreError]) -> None:
    error = kind("what to do", uri="s3://b/k")
    if kind.ERRNO is None:
        assert not isinstance(error, OSError) or isinstance(error, io.UnsupportedOperation)
        return
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, error.filename) == (kind.ERRNO, "what to do", "s3://b/k")
    assert kind(uri="x").strerror == os.strerror(kind.ERRNO)  # type: ignore[attr-defined]  # an OSError, by the line above


@FAMILIES
def test_only_a_class_says_whether_an_error_may_pass(kind: type[StoreError]) -> None:
    assert isinstance(kind.retryable, bool)
    assert "retryable" not in vars(kind())


@FAMILIES
def test_every_error_is_documented(kind: type[StoreError]) -> None:
    assert "__doc__" in vars(kind)
    assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (NotFound, FileNotFoundError),
        (AlreadyExists, FileExistsError),
        (IsADirectory, IsADirectoryError),
        (NotADirectory, NotADirectoryError),
        (PermissionDenied, PermissionError),
        (InvalidPath, ValueError),
        (PathOutsideStore, ValueError),
        (UnsupportedOperation, io.UnsupportedOperation),
        (ConnectionFailed, ConnectionError),
        (TimedOut, TimeoutError),
    ],
)
def test_the_builtin_that_a_python_user_expects_catches_it(
    kind: type[StoreError], builtin: type[BaseException]
) -> None:
    with pytest.raises(builtin):
        raise kind("message")


def test_additional_attributes_are_pickled() -> None:
    throttled = pickle.loads(pickle.dumps(Throttled("slow down", uri="u", retry_after_s=2.5)))
    assert throttled.retry_after_s == 2.5
    failures = (NotFound("gone", uri="a"), PermissionDenied("no", uri="b"))
    partial = pickle.loads(pickle.dumps(PartialFailure("2 failed", uri="u", failures=failures)))
    assert [(type(one), one.uri) for one in partial.failures] == [(NotFound, "a"), (PermissionDenied, "b")]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, NotFound),
        (errno.EEXIST, AlreadyExists),
        (errno.EISDIR, IsADirectory),
        (errno.ENOTDIR, NotADirectory),
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.ELOOP, PathOutsideStore),
        (errno.ENAMETOOLONG, InvalidPath),
        (errno.EIO, ServiceError),
        (errno.EBADF, ServiceError),
    ],
)
def test_an_error_of_the_system_becomes_a_member_of_the_family(number: int, kind: type[StoreError]) -> None:
    error = from_os_error(OSError(number, os.strerror(number), "/secret/inner/path"), operation="open", uri="/a/b")
    assert type(error) is kind
    assert (error.operation, error.uri) == ("open", "/a/b")
    assert os.strerror(number) in str(error)
    assert "/secret" not in str(error)


def test_an_error_of_the_system_without_a_number_keeps_its_words() -> None:
    assert "strange" in str(from_os_error(OSError("strange"), operation="open", uri="/a"))
