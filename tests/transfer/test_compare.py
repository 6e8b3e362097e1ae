"""What counts as different: every row of the table, in the code's docstring and in the documentation."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.models import FileStat, WriteOptions
from entrepot.objects.client import user_metadata
from entrepot.transfer.compare import Comparison, Decision, Reason, decide, metadata_decides
from entrepot.transfer.times import kept_seconds, known_time, own_time, same_time

DOC = Path(__file__).parents[2] / "docs" / "copy.md"
COLUMNS = ("comparison", "target", "size", "checksum", "own time", "any time", "action", "reason")
NOW: Final = datetime(2025, 6, 15, 12, 0, 0, 123_457, tzinfo=UTC)
UNTIMED: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
HOUR: Final = timedelta(hours=1)
MICROSECOND: Final = timedelta(microseconds=1)


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of the table with these columns, as the text has it."""
    lines = [line.strip() for line in text.splitlines()]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    at = cells.index(list(COLUMNS))
    body = list(itertools.takewhile(lambda row: len(row) == len(COLUMNS), cells[at + 2 :]))
    return [dict(zip(COLUMNS, row, strict=True)) for row in body]


TABLE = rows_of(decide.__doc__ or "")


def fits(cell: str, value: str) -> bool:
    return cell in ("-", "any") or value in cell.split(",")


@dataclass(frozen=True)
class Case:
    """One state of both sides, in the words of the table, and files that are in it."""

    words: dict[str, str]
    source: FileStat
    target: FileStat | None
    time_travels: bool = False


def checksums(state: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Checksums of two sides that compare so; each way there is."""
    if state == "equal":
        yield {"md5": "1", "crc32c": "2"}, {"md5": "1"}
        yield {"part-md5": "1-2"}, {"part-md5": "1-2"}
    elif state == "differs":
        yield {"md5": "1"}, {"md5": "2"}
        yield {"md5": "1", "crc32c": "2"}, {"crc32c": "3", "md5": "1"}
    else:
        yield {}, {}
        yield {"md5": "1"}, {"crc32c": "1"}
        yield {"part-md5": "1-2"}, {"part-md5": "3-4"}


SHIFTS = {"newer": -HOUR, "equal": timedelta(0), "older": HOUR}
"""How much later the target's time is, where the source's is so."""


def times(own: str, known: str) -> Iterator[tuple[FileStat, FileStat, bool]]:
    """Files whose times compare so, and whether a copy carries times; none for what cannot be."""
    source, target = FileStat("src", 1, NOW), FileStat("dst", 1, NOW)
    if own != "none":
        later = SHIFTS[own]
        # When objects were written says the contrary, and must not count.
        kept = {"mtime": f"{(NOW + later).timestamp():.6f}"}
        if known == own:
            yield (
                replace(source, modified=NOW + HOUR, metadata={"mtime": f"{NOW.timestamp():.6f}"}),
                replace(target, modified=NOW, metadata=kept),
                False,
            )
            yield replace(source, mode=0o644), replace(target, metadata=kept), False
            yield replace(source, mode=0o644), replace(target, modified=NOW + later, mode=0o600), False
            yield source, replace(target, modified=NOW + later, mode=0o644), True
    elif known != "none":
        later = SHIFTS[known]
        yield source, replace(target, modified=NOW + later), False
        yield source, replace(target, modified=NOW + later), True
        yield replace(source, mode=0o644), replace(target, modified=NOW + later), True
        yield source, replace(target, modified=NOW + later, mode=0o644), False
    else:
        yield replace(source, modified=None), target, True
        yield replace(source, mode=0o644), replace(target, modified=None), False
        yield replace(source, modified=None), replace(target, modified=None, metadata={"mtime": "soon"}), False


def cases() -> Iterator[Case]:
    yield Case({"target": "none"}, FileStat("src", 1, NOW), None)
    yield Case({"target": "directory"}, FileStat("src", 1, NOW), FileStat("dst", 0, NOW, is_dir=True))
    states = itertools.product(("equal", "differs"), ("equal", "differs", "none"), (*SHIFTS, "none"), (*SHIFTS, "none"))
    for size, checksum, own, known in states:
        words = {"target": "file", "size": size, "checksum": checksum, "own time": own, "any time": known}
        for (source, target, travels), (here, there) in itertools.product(times(own, known), checksums(checksum)):
            yield Case(
                words,
                replace(source, checksums=here),
                replace(target, checksums=there, size_bytes=1 if size == "equal" else 2),
                travels,
            )


def rows_for(case: Case, comparison: Comparison) -> list[dict[str, str]]:
    words = {**dict.fromkeys(COLUMNS[2:6], "?"), **case.words, "comparison": comparison.value}
    return [row for row in TABLE if all(fits(row[column], words[column]) for column in COLUMNS[:6])]


@pytest.mark.parametrize("comparison", Comparison)
def test_every_state_has_one_row_and_is_decided_by_it(comparison: Comparison) -> None:
    for case in cases():
        rows = rows_for(case, comparison)
        assert len(rows) == 1, (case.words, rows)
        decision = decide(case.source, case.target, comparison, time_travels=case.time_travels)
        assert (decision.action, decision.reason.value) == (rows[0]["action"], rows[0]["reason"]), case


def test_every_row_is_reached_by_each_of_its_words() -> None:
    reached = {
        (TABLE.index(row), column, case.words.get(column, "-") if row[column] != "-" else "-")
        for comparison in Comparison
        for case in cases()
        for row in rows_for(case, comparison)
        for column in COLUMNS[1:6]
    }
    for at, row in enumerate(TABLE):
        for column in COLUMNS[1:6]:
            assert {(at, column, word) for word in row[column].split(",")} <= reached, row


def test_the_documentation_has_the_same_table() -> None:
    section = re.split(r"^## ", DOC.read_text(encoding="utf-8"), flags=re.MULTILINE)
    [text] = [one for one in section if one.startswith("What counts as different\n")]
    assert rows_of(text) == TABLE
    told = set(re.findall(r"^\| `([a-z-]+)` \|", text, flags=re.MULTILINE))
    assert told == {comparison.value for comparison in Comparison}


def test_a_decision_says_why_in_words() -> None:
    assert str(decide(FileStat("a", 1), FileStat("b", 2), Comparison.SIZE).reason) == "size differs"
    assert decide(FileStat("a", 1), None, Comparison.ERROR) == Decision("copy", Reason.MISSING)


# ---- whether a stat is worth its request ----------------------------------------------------------------

_stats = st.builds(
    FileStat,
    uri=st.just("f"),
    size_bytes=st.sampled_from([1, 2]),
    modified=st.sampled_from([None, NOW, NOW + HOUR]),
    metadata=st.sampled_from([{}, {"mtime": f"{NOW.timestamp():.6f}"}, {"a": "b"}]),
    checksums=st.sampled_from([{}, {"md5": "1"}, {"md5": "2"}]),
    mode=st.sampled_from([None, 0o644]),
)
_told = st.sampled_from([{}, {"mtime": f"{NOW.timestamp():.6f}"}, {"mtime": f"{(NOW + HOUR).timestamp():.6f}"}])


@given(source=_stats, target=st.none() | _stats, comparison=st.sampled_from(Comparison), told=st.tuples(_told, _told))
@UNTIMED
def test_metadata_that_does_not_decide_changes_no_decision(
    source: FileStat, target: FileStat | None, comparison: Comparison, told: tuple[dict[str, str], dict[str, str]]
) -> None:
    if metadata_decides(source, target, comparison):
        return
    before = decide(source, target, comparison)
    if own_time(source) is None:
        source = replace(source, metadata=told[0])
    if target is not None and own_time(target) is None:
        target = replace(target, metadata=told[1])
    assert decide(source, target, comparison) == before


def test_metadata_decides_for_a_listing_of_objects_only() -> None:
    local, listed = FileStat("a", 1, NOW, mode=0o644), FileStat("s3://b/a", 1, NOW + HOUR)
    kept = replace(listed, metadata={"mtime": str((NOW - HOUR).timestamp())})
    assert metadata_decides(local, listed, Comparison.DIFFERENT)
    assert decide(local, listed, Comparison.DIFFERENT).action == "skip"
    assert decide(local, kept, Comparison.DIFFERENT).action == "copy"
    assert not metadata_decides(local, kept, Comparison.DIFFERENT)
    assert not metadata_decides(local, replace(listed, size_bytes=2), Comparison.DIFFERENT)
    assert not metadata_decides(local, listed, Comparison.CHECKSUM)


# ---- times ----------------------------------------------------------------------------------------------


@given(st.integers(0, 7_000_000_000_000_000).map(lambda after: datetime(1970, 1, 1, tzinfo=UTC) + after * MICROSECOND))
@UNTIMED
def test_a_time_comes_back_from_metadata_as_the_same(moment: datetime) -> None:
    kept = FileStat("f", 1, NOW, metadata=user_metadata(WriteOptions(mtime_s=moment.timestamp())))
    returned = own_time(kept)
    assert returned is not None
    assert same_time(returned, moment)
    for step in (timedelta(seconds=1), timedelta(seconds=2)):
        assert not same_time(returned, moment + step)
        assert not same_time(moment - step, returned)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0, 0, True), (123_457, 123_456, True), (123_457, 123_459, False), (123_457, 123_000, True),
        (123_457, 124_000, True), (123_457, 122_000, False), (123_457, 0, True), (999_999, 0, True),
        (123_000, 124_000, False), (123_000, 0, True),
    ],
)  # fmt: skip
def test_times_are_compared_by_the_unit_of_the_coarser(one: int, other: int, same: bool) -> None:
    moment = NOW.replace(microsecond=0)
    first, second = moment.replace(microsecond=one), moment.replace(microsecond=other)
    assert same_time(first, second) is same
    assert same_time(second, first) is same


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000000.25", 1_700_000_000.25), ("0", 0.0), ("-1.5", -1.5), ("2023-11-14T22:13:20.25Z", 1_700_000_000.25),
        ("2023-11-14T22:13:20.250000001Z", 1_700_000_000.25), ("2023-11-15T00:13:20+02:00", 1_700_000_000.0),
        ("2023-11-14T22:13:20", None), ("", None), ("soon", None), ("nan", None), ("inf", None), ("1e300", None),
    ],
)  # fmt: skip
def test_the_time_that_metadata_keeps(text: str, seconds: float | None) -> None:
    assert kept_seconds({"mtime": text}) == seconds


def test_an_object_without_a_time_of_its_own_has_its_services() -> None:
    listed = FileStat("s3://b/k", 1, NOW)
    assert own_time(listed) is None
    assert known_time(listed) == NOW
    assert own_time(replace(listed, mode=0o644)) == NOW
    assert known_time(replace(listed, metadata={"mtime": "1700000000"})) == datetime.fromtimestamp(1_700_000_000, UTC)
    assert own_time(replace(listed, metadata={"mtime": "-99999999999"})) is None
