"""What a meter makes of events: numbers, a rate over a window, and a forecast that says how sure it is."""

from __future__ import annotations

import json
import random

import pytest

from entrepot.errors import NotFound, PermissionDenied
from entrepot.models import MIB, FileStat
from entrepot.transfer.engine import CopyOptions, copy_between
from entrepot.transfer.events import Copied, Event, Failed, Planned, Progress, Skipped, Started, StepPlanned
from entrepot.transfer.meter import WINDOW_S, Meter, Snapshot
from entrepot.transfer.plan import MakeDirectories, PlannedFile
from entrepot.transfer.report import FailedItem
from plain_store import PlainStore, failing


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def file(name: str, size_bytes: int) -> PlannedFile:
    return PlannedFile(FileStat(f"s3://b/{name}", size_bytes), name)


def failed(name: str, told_bytes: int = 0) -> Failed:
    return Failed(FailedItem(f"s3://b/{name}", "t", "gone", NotFound("gone")), told_bytes)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> Meter:
    return Meter(clock)


def test_numbers(meter: Meter) -> None:
    large = file("l", 100)
    events: list[Event] = [
        Planned(1_000, 5_000, complete=False),
        Started(large),
        Progress(large, 60),
        Progress(large, 40),
        Copied((large,), 100, told_bytes=100),
        Copied((file("a", 3), file("b", 4)), 7),
        Skipped(file("c", 20)),
        failed("d"),
        StepPlanned(MakeDirectories(("x",))),
        Planned(1_004, 5_127, complete=True),
    ]
    for event in events:
        meter.take(event)
    found = meter.snapshot()
    assert (found.files, found.size_bytes, found.skipped, found.errors) == (5, 127, 1, 1)
    assert (found.known_files, found.known_bytes, found.complete) == (1_004, 5_127, True)


def test_what_a_failed_file_had_moved_is_of_no_worth(meter: Meter) -> None:
    meter.take(Planned(1, 100, complete=True))
    meter.take(Progress(file("l", 100), 60))
    meter.take(failed("l", told_bytes=60))
    assert meter.snapshot().size_bytes == 0


def test_copies_one_after_another_add_up(meter: Meter) -> None:
    for number in (1, 2):
        meter.next_copy()
        assert not meter.snapshot().complete
        meter.take(Planned(5, 50, complete=False))
        meter.take(Planned(10, 100, complete=True))
        meter.take(Copied(tuple(file(f"{number}", 10) for _ in range(10)), 100))
        assert (meter.snapshot().known_files, meter.snapshot().size_bytes) == (10 * number, 100 * number)
    assert meter.snapshot().complete


def test_the_rate_is_of_the_last_ten_seconds(meter: Meter, clock: Clock) -> None:
    meter.take(Planned(1, 10_000, complete=True))
    large = file("l", 10_000)
    for _ in range(60):
        clock.now += 1
        meter.take(Progress(large, 100))
    assert meter.snapshot().rate_bytes_s == pytest.approx(100)
    for _ in range(5):
        clock.now += 1
        meter.take(Progress(large, 300))
    assert meter.snapshot().rate_bytes_s == pytest.approx((5 * 300 + 5 * 100) / 10)
    clock.now += WINDOW_S
    assert meter.snapshot().rate_bytes_s == 0
    assert meter.snapshot().left_s is None


def test_what_was_skipped_is_no_rate(meter: Meter, clock: Clock) -> None:
    meter.take(Planned(2, 2_000, complete=True))
    clock.now += 5
    meter.take(Skipped(file("a", 1_000)))
    found = meter.snapshot()
    assert (found.rate_bytes_s, found.size_bytes, found.left_s) == (0, 1_000, None)


def test_a_forecast_needs_a_moment_and_then_is_at_least(meter: Meter, clock: Clock) -> None:
    meter.take(Planned(10, 1_000, complete=False))
    clock.now += 1
    meter.take(Copied((file("a", 100),), 100))
    assert meter.snapshot().left_s is None, "too early to tell"
    clock.now += 1
    found = meter.snapshot()
    assert (found.left_s, found.complete) == (pytest.approx(18), False)
    meter.take(Planned(20, 2_000, complete=True))
    assert meter.snapshot().left_s == pytest.approx(38)


def test_empty_files_are_forecast_by_their_number(meter: Meter, clock: Clock) -> None:
    meter.take(Planned(10, 0, complete=True))
    clock.now += 4
    assert meter.snapshot().left_s is None
    meter.take(Copied((file("a", 0), file("b", 0)), 0))
    assert meter.snapshot().left_s == pytest.approx(16)


def test_nothing_is_left_once_all_are_settled(meter: Meter, clock: Clock) -> None:
    meter.take(Planned(2, 200, complete=True))
    clock.now += 5
    meter.take(Copied((file("a", 100),), 100))
    meter.take(failed("b"))
    assert meter.snapshot().left_s == 0


def test_memory_is_bounded_and_the_clock_may_stand_still(meter: Meter, clock: Clock) -> None:
    assert meter.snapshot().rate_bytes_s == 0
    rng = random.Random(7)
    for _ in range(20_000):
        clock.now += rng.choice((0, 0, 0.001, 0.2))
        meter.take(Progress(file("l", 1), 1))
        assert len(meter._samples) <= 60


def test_as_json(meter: Meter) -> None:
    found = json.loads(json.dumps(meter.snapshot().to_json()))
    assert set(found) == {
        "files", "bytes", "known_files", "known_bytes", "complete", "skipped", "errors", "bytes_per_second",
        "seconds_left", "seconds",
    }  # fmt: skip
    assert found["seconds_left"] is None


@pytest.mark.anyio
async def test_of_a_real_copy_it_ends_where_the_report_does() -> None:
    source, sink = PlainStore("plain://source/root"), PlainStore("plain://sink/root")
    for number in range(150):
        source.put(f"t/{number}", b"x" * number)
    source.put("t/large", bytes(20 * MIB))
    meter = Meter()
    last: list[Snapshot] = []

    def note(event: Event) -> None:
        meter.take(event)
        last.append(meter.snapshot())

    sink.fault = failing("publish", PermissionDenied("no", uri="x"), lambda path: path.endswith("77"))
    report = await copy_between(source, "t", sink, "t", options=CopyOptions(recursive=True), on_event=note)
    found = meter.snapshot()
    assert (report.files, len(report.failed)) == (150, 1)
    assert (found.files, found.errors) == (151, 1)
    assert found.size_bytes == report.bytes
    assert (found.known_files, found.complete) == (151, True)
    assert found.left_s in {0, None}
    assert all(0 <= one.size_bytes <= one.known_bytes and one.files <= one.known_files for one in last)
