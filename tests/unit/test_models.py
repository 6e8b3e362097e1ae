"""The values: ranges, limits, and that none of them can be changed."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.models import GIB, MIB, NO_OPTIONS, ByteRange, Capabilities, FileStat, Limits, ListPage, ObjectStat

SIZES = st.integers(min_value=0, max_value=48 * 1024 * GIB)


@pytest.mark.parametrize(
    ("byte_range", "header"),
    [
        (ByteRange(0), "bytes=0-"),
        (ByteRange(7), "bytes=7-"),
        (ByteRange(0, 1), "bytes=0-0"),
        (ByteRange(3, 10), "bytes=3-9"),
    ],
)
def test_a_range_stops_before_its_stop(byte_range: ByteRange, header: str) -> None:
    assert byte_range.header == header


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (-1, 3), (4, 3)])
def test_a_range_runs_forward(start: int, stop: int | None) -> None:
    with pytest.raises(ValueError, match="range"):
        ByteRange(start, stop)


def test_an_empty_range_has_no_header() -> None:
    with pytest.raises(ValueError, match="empty"):
        _ = ByteRange(3, 3).header


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_a_ranges_header_names_the_bytes_of_a_slice(data: bytes, start: int, length: int) -> None:
    stop = start + length
    if length == 0:
        return
    first, _, last = ByteRange(start, stop).header.removeprefix("bytes=").partition("-")
    assert data[int(first) : int(last) + 1] == data[start:stop]


@given(SIZES)
def test_parts_are_few_enough_large_enough_and_whole_mebibytes(size_bytes: int) -> None:
    limits = Limits()
    part = limits.part_size_bytes(size_bytes)
    assert limits.part_min_bytes <= part <= limits.part_max_bytes
    assert part % MIB == 0
    assert part >= 8 * MIB
    assert -(-size_bytes // part) <= 9_900


@pytest.mark.parametrize(
    ("size_bytes", "part"),
    [
        (None, 8 * MIB),
        (0, 8 * MIB),
        (9_900 * 8 * MIB, 8 * MIB),
        (9_900 * 8 * MIB + 1, 9 * MIB),
        (5 * 1024 * GIB, 530 * MIB),
    ],
)
def test_part_sizes_grow_from_eight_mebibytes(size_bytes: int | None, part: int) -> None:
    assert Limits().part_size_bytes(size_bytes) == part


def test_a_services_own_limits_are_obeyed() -> None:
    assert Limits(part_min_bytes=16 * MIB).part_size_bytes(1) == 16 * MIB
    few = Limits(max_parts=100)
    assert -(-GIB * 10 // few.part_size_bytes(GIB * 10)) <= 100


@pytest.mark.parametrize(
    "value",
    [ByteRange(0), Limits(), Capabilities(), NO_OPTIONS, FileStat("u", 1), ObjectStat("k", 1), ListPage((), (), None)],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen_and_slotted(value: object) -> None:
    assert not hasattr(value, "__dict__")
    assert dataclasses.is_dataclass(value)
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)


def test_an_absent_mapping_is_shared_and_cannot_be_written() -> None:
    metadata = FileStat("u", 1).metadata
    assert metadata is FileStat("v", 2).metadata
    assert metadata is pickle.loads(pickle.dumps(metadata))
    assert (metadata, dict(metadata), "k" in metadata, metadata.get("k")) == ({}, {}, False, None)
    with pytest.raises(TypeError):
        metadata["k"] = "v"  # type: ignore[index]


@pytest.mark.parametrize(
    "value",
    [
        FileStat("s3://b/k", 3, datetime(2026, 1, 2, tzinfo=UTC), etag="e", metadata={"a": "b"}),
        FileStat("s3://b/k", 3),
        NO_OPTIONS,
        Capabilities(exclusive_create=None),
        Limits(),
    ],
    ids=["full", "bare", "options", "capabilities", "limits"],
)
def test_values_reach_other_processes(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
