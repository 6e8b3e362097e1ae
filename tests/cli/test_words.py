"""What is shown, and what is understood, without any store: sizes, times, failures, options."""

from __future__ import annotations

import errno
from datetime import UTC, datetime, timedelta, timezone

import pytest

from entrepot import errors
from entrepot.cli.failures import FAILED, WRONG_USE, WrongUse, failure_of
from entrepot.cli.options import chosen, parsed_bytes, parsed_count
from entrepot.cli.render import counted, human_size, long_line, shown_time, stat_lines, stat_value
from entrepot.models import FileStat


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
        (1024**7, "1024.0 EiB"),
    ],
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert human_size(size) == shown


def test_counts_agree_with_their_noun() -> None:
    assert counted(1, "file") == "1 file"
    assert counted(1234, "file") == "1,234 files"
    assert counted(0, "directory", "directories") == "0 directories"


def test_times_are_utc() -> None:
    assert shown_time(datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))) == "2025-01-02T01:04:05Z"


def test_long_lines_align_with_and_without_a_time() -> None:
    file = FileStat("/a/x", 12, datetime(2025, 1, 2, tzinfo=UTC))
    directory = FileStat("/a/d", 0, is_dir=True)
    for human in (True, False):
        starts = {long_line(stat, "NAME", human=human).index("NAME") for stat in (file, directory)}
        assert len(starts) == 1


def test_unknown_fields_are_left_out() -> None:
    assert stat_value(FileStat("/a/d", 0, is_dir=True)) == {"uri": "/a/d", "type": "directory"}
    shown = stat_lines(FileStat("s3://b/k", 2048, etag="e", metadata={"b": "2", "a": "1"}, mode=0o644))
    assert [line.split(":", 1)[0].strip() for line in shown] == [
        "uri", "type", "size", "etag", "metadata.a", "metadata.b", "mode",
    ]  # fmt: skip
    assert "2048 bytes (2.0 KiB)" in shown[2]


@pytest.mark.parametrize(("text", "size"), [("4096", 4096), ("64M", 64 << 20), ("64MiB", 64 << 20), ("1.5k", 1536)])
def test_sizes_are_understood(text: str, size: int) -> None:
    assert parsed_bytes("--memory", text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 2", "1XB", "१"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(WrongUse, match="--memory"):
        parsed_bytes("--memory", text)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "513", "²"])
def test_counts_keep_their_bounds(text: str) -> None:
    with pytest.raises(WrongUse, match="from 1 to 512"):
        parsed_count("--concurrency", text, most=512)


def test_a_wrong_choice_names_the_nearest() -> None:
    with pytest.raises(WrongUse, match="did you mean follow"):
        chosen("--links", "folow", ("skip", "follow"))
    with pytest.raises(WrongUse, match="choose skip or follow"):
        chosen("--links", "zzz", ("skip", "follow"))


STORE_ERRORS = sorted(
    {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.StoreError) and kind is not errors.StoreError
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", STORE_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_one_line_with_its_address(kind: type[errors.StoreError]) -> None:
    failure = failure_of(kind("no luck\nat all", operation="read_bytes", uri="s3://b/a\x1b[31m"))
    line = failure.line("cp")
    assert line.startswith("cp s3://b/a\\x1b[31m: no luck\\nat all")
    assert line.isprintable()
    wrong = issubclass(kind, (errors.ConfigurationError, errors.InvalidPath))
    assert failure.exit_code == (WRONG_USE if wrong else FAILED)


@pytest.mark.parametrize(
    "kind",
    [errors.NotFound, errors.ContainerNotFound, errors.PermissionDenied, errors.NoSpace, errors.ConnectionFailed],
)
def test_a_message_without_a_next_step_gets_one(kind: type[errors.StoreError]) -> None:
    assert "; " in failure_of(kind("it failed", uri="s3://b")).message
    assert failure_of(kind("it failed; do this", uri="s3://b")).message == "it failed; do this"


def test_a_group_is_told_by_the_error_that_explains_it() -> None:
    group = ExceptionGroup("tasks", [ValueError("x"), ExceptionGroup("more", [errors.NoSpace("full", uri="/d")])])
    assert failure_of(group).kind == "NoSpace"
    assert failure_of(ExceptionGroup("tasks", [OSError(errno.EMFILE, "too many")])).kind == "OSError"


def test_defects_say_so() -> None:
    failure = failure_of(ZeroDivisionError("division by zero"), "s3://b")
    assert failure.exit_code == FAILED
    assert "--debug" in failure.message
