"""The planner: pure, so everything about it can be asked without a store."""

from __future__ import annotations

import json
import pickle

from hypothesis import given
from hypothesis import strategies as st

from entrepot.models import MIB, FileStat, Limits
from entrepot.paths import refusal
from entrepot.transfer.plan import (
    BATCH_BYTES,
    CopyNatively,
    MakeDirectories,
    MoveInParts,
    MoveWhole,
    PlannedFile,
    Planner,
    Refused,
    RemoveFiles,
    Rules,
    Step,
)

ROOT = "s3://bucket/src"


def rules(**changes: object) -> Rules:
    known: dict[str, object] = {"source_root": ROOT, "target_root": "dst", "limits": Limits(), "batch_items": 4}
    return Rules(**(known | changes))  # type: ignore[arg-type]


def plan(planner: Planner, entries: list[FileStat]) -> list[Step | Refused]:
    steps: list[Step | Refused] = []
    for entry in entries:
        placed = planner.place(entry, entry.uri)
        step = planner.add(placed) if isinstance(placed, PlannedFile) else placed
        steps += [step] if step is not None else []
    rest = planner.rest()
    return [*steps, *([rest] if rest else [])]


def file(name: str, size: int = 10) -> FileStat:
    return FileStat(f"{ROOT}/{name}", size)


def test_small_files_come_in_batches() -> None:
    steps = plan(Planner(rules()), [file(str(number)) for number in range(10)])
    assert [len(step.files) for step in steps if isinstance(step, MoveWhole)] == [4, 4, 2]


def test_a_batch_is_bounded_by_its_bytes_and_no_file_is_left_out() -> None:
    sizes = [400_000, 400_000, 400_000, 2 * MIB, 1, 1]
    steps = plan(Planner(rules()), [file(str(at), size) for at, size in enumerate(sizes)])
    whole = [step for step in steps if isinstance(step, MoveWhole)]
    assert [[int(one.target[4:]) for one in step.files] for step in whole] == [[0, 1], [2], [3, 4, 5]] or sum(
        len(step.files) for step in whole
    ) == len(sizes)
    assert all(step.size_bytes <= BATCH_BYTES or len(step.files) == 1 for step in whole)


def test_large_files_move_in_parts_of_the_targets_size() -> None:
    (step,) = plan(Planner(rules()), [file("large", 20 * MIB)])
    assert isinstance(step, MoveInParts)
    assert (step.part_size_bytes, step.parts) == (8 * MIB, 3)
    (huge,) = plan(Planner(rules()), [file("huge", 5 * 1024**4)])
    assert isinstance(huge, MoveInParts)
    assert huge.parts <= 10_000


def test_the_threshold_can_be_given() -> None:
    planner = Planner(rules(part_threshold_bytes=1_000))
    assert [type(step) for step in plan(planner, [file("a", 1_001), file("b", 1_000)])] == [MoveInParts, MoveWhole]


def test_native_copies_take_any_size() -> None:
    steps = plan(Planner(rules(native=True)), [file("a"), file("large", 20 * MIB), file("b")])
    assert all(isinstance(step, CopyNatively) for step in steps)
    assert [len(step.files) for step in steps if isinstance(step, CopyNatively)] == [1, 1, 1]


def test_steps_are_values() -> None:
    steps = [
        *plan(Planner(rules()), [file("large", 20 * MIB), file("a")]),
        *plan(Planner(rules(native=True)), [file("a")]),
        MakeDirectories(("dst/empty",)),
        RemoveFiles(("dst/extra",)),
    ]
    assert pickle.loads(pickle.dumps(steps)) == steps
    shown = json.loads(json.dumps([step.to_json() for step in steps if not isinstance(step, Refused)]))
    assert [step["step"] for step in shown] == ["parts", "whole", "native", "directories", "remove"]
    assert shown[1]["files"] == [{"source": f"{ROOT}/a", "target": "dst/a", "size_bytes": 10}]


names = st.text(min_size=1, max_size=6)
trees = st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=30)


@given(trees)
def test_every_entry_is_planned_once_or_refused_and_nothing_leaves_the_target(paths: list[str]) -> None:
    steps = plan(Planner(rules()), [file(path) for path in paths])
    planned = [one.target for step in steps if isinstance(step, MoveWhole) for one in step.files]
    refused = [step for step in steps if isinstance(step, Refused)]
    assert len(planned) + len(refused) == len(paths)
    assert all(target.startswith("dst/") and refusal(target) is None for target in planned)


@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)), st.sets(st.sampled_from("xyz")))
def test_the_empty_directories_are_those_with_nothing_below(directories: set[str], files_in: set[str]) -> None:
    every = set(directories)
    for directory in directories:
        parts = directory.split("/")
        every |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    files = {f"{directory}/{name}" for directory in list(every)[::3] for name in files_in}
    entries = [FileStat(f"{ROOT}/{one}", 0, is_dir=one in every) for one in sorted(every | files)]
    planner = Planner(rules())
    plan(planner, entries)
    full = {one.rpartition("/")[0] for one in every | files}
    expected = {f"dst/{one}" for one in every - full} if entries else {"dst"}
    assert set(planner.empty_directories()) == expected


def test_addresses_with_another_separator_are_keys_with_slashes() -> None:
    planner = Planner(rules(source_root="C:\\data\\src", separator="\\"))
    (step,) = plan(planner, [FileStat("C:\\data\\src\\d", 0, is_dir=True), FileStat("C:\\data\\src\\d\\a b", 1)])
    assert isinstance(step, MoveWhole)
    assert [one.target for one in step.files] == ["dst/d/a b"]
    assert list(planner.empty_directories()) == []
