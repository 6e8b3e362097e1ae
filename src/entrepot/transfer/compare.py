"""Whether a file is copied over what is at its target: the comparisons, and their truth table. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from entrepot.models import FileStat
from entrepot.transfer.times import known_time, own_time, same_time


class Comparison(StrEnum):
    """When a file whose target exists is copied.

    `different` is what `sync` goes by: all that is told of both sides without reading them.
    """

    ALWAYS = "always"
    SKIP_EXISTING = "skip-existing"
    NEWER = "newer"
    SIZE = "size"
    CHECKSUM = "checksum"
    DIFFERENT = "different"
    ERROR = "error"


Action: TypeAlias = Literal["copy", "skip", "fail"]


class Reason(StrEnum):
    """Why a file is copied or not; the values are words for people."""

    MISSING = "not at the target"
    OVERWRITTEN = "overwritten unseen"
    EXISTS = "exists at the target"
    DIRECTORY = "directory at the target"
    SIZE_DIFFERS = "size differs"
    SIZE_EQUAL = "size equal"
    CHECKSUM_DIFFERS = "checksum differs"
    CHECKSUM_EQUAL = "checksum equal"
    NO_CHECKSUM = "no checksum in common"
    TIME_DIFFERS = "time differs"
    TIME_EQUAL = "time equal"
    NEWER = "source newer"
    NOT_NEWER = "source not newer"
    NO_TIME = "no time to compare"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one file, and why."""

    action: Action
    reason: Reason


_Checksum: TypeAlias = Literal["equal", "differs", "none"]
_Time: TypeAlias = Literal["equal", "newer", "older", "none"]

_WITHOUT_A_LOOK: Final = {
    Comparison.ALWAYS: Decision("copy", Reason.OVERWRITTEN),
    Comparison.SKIP_EXISTING: Decision("skip", Reason.EXISTS),
    Comparison.ERROR: Decision("fail", Reason.EXISTS),
}
_BY_CHECKSUM: Final[dict[_Checksum, Decision]] = {
    "differs": Decision("copy", Reason.CHECKSUM_DIFFERS),
    "equal": Decision("skip", Reason.CHECKSUM_EQUAL),
    "none": Decision("copy", Reason.NO_CHECKSUM),
}
_BY_PARTS: Final = "part-md5"
"""A checksum of parts: of other parts it is another one, whatever the bytes."""


def decide(
    source: FileStat, target: FileStat | None, comparison: Comparison, *, time_travels: bool = False
) -> Decision:
    """Whether to copy the file over what is at its target; the first column names the comparison.

    target: None where nothing is there. time_travels: a copy gives the target the time of an object that keeps none
    of its own, as copies from a service to a disk do.

    - checksum: of those that both sides tell. One that differs is enough to differ.
    - own time: of the file itself, kept by both sides (`times.own_time`), or carried by `time_travels`. Two times are
      equal up to the unit of the coarser.
    - any time: the file's own, else when its object was written. It tells the order, and only that.

    A dash stands for anything, a comma for or.

    | comparison    | target    | size    | checksum   | own time    | any time    | action | reason                  |
    |---------------|-----------|---------|------------|-------------|-------------|--------|-------------------------|
    | any           | none      | -       | -          | -           | -           | copy   | not at the target       |
    | any           | directory | -       | -          | -           | -           | fail   | directory at the target |
    | always        | file      | -       | -          | -           | -           | copy   | overwritten unseen      |
    | skip-existing | file      | -       | -          | -           | -           | skip   | exists at the target    |
    | error         | file      | -       | -          | -           | -           | fail   | exists at the target    |
    | newer         | file      | -       | -          | -           | newer       | copy   | source newer            |
    | newer         | file      | -       | -          | -           | equal,older | skip   | source not newer        |
    | newer         | file      | -       | -          | -           | none        | fail   | no time to compare      |
    | size          | file      | differs | -          | -           | -           | copy   | size differs            |
    | size          | file      | equal   | -          | -           | -           | skip   | size equal              |
    | checksum      | file      | differs | -          | -           | -           | copy   | size differs            |
    | checksum      | file      | equal   | differs    | -           | -           | copy   | checksum differs        |
    | checksum      | file      | equal   | equal      | -           | -           | skip   | checksum equal          |
    | checksum      | file      | equal   | none       | -           | -           | copy   | no checksum in common   |
    | different     | file      | differs | -          | -           | -           | copy   | size differs            |
    | different     | file      | equal   | differs    | -           | -           | copy   | checksum differs        |
    | different     | file      | equal   | equal      | -           | -           | skip   | checksum equal          |
    | different     | file      | equal   | none       | newer,older | -           | copy   | time differs            |
    | different     | file      | equal   | none       | equal       | -           | skip   | time equal              |
    | different     | file      | equal   | none       | none        | newer       | copy   | source newer            |
    | different     | file      | equal   | none       | none        | equal,older | skip   | source not newer        |
    | different     | file      | equal   | none       | none        | none        | copy   | no time to compare      |
    """
    if target is None or target.is_dir:
        return Decision("copy", Reason.MISSING) if target is None else Decision("fail", Reason.DIRECTORY)
    settled = _WITHOUT_A_LOOK.get(comparison)
    if settled is not None:
        return settled
    if comparison is Comparison.NEWER:
        return _by_order(source, target, unknown="fail")
    differs = source.size_bytes != target.size_bytes
    if differs or comparison is Comparison.SIZE:
        return Decision("copy", Reason.SIZE_DIFFERS) if differs else Decision("skip", Reason.SIZE_EQUAL)
    if comparison is Comparison.CHECKSUM:
        return _BY_CHECKSUM[_compared_checksums(source, target)]
    return _by_all(source, target, time_travels=time_travels)


def metadata_decides(source: FileStat, target: FileStat | None, comparison: Comparison) -> bool:
    """Whether metadata that a listing did not tell may change the decision, so that a `stat` is worth its request.

    It holds the time of an object's own. True also where a `stat` found none: ask once.
    """
    if target is None or target.is_dir or comparison not in (Comparison.NEWER, Comparison.DIFFERENT):
        return False
    if own_time(source) is not None and own_time(target) is not None:
        return False
    if comparison is Comparison.NEWER:
        return True
    return source.size_bytes == target.size_bytes and _compared_checksums(source, target) == "none"


def _by_all(source: FileStat, target: FileStat, *, time_travels: bool) -> Decision:
    """For files of one size: by their checksums, and where none is in common, by their times."""
    checksum = _compared_checksums(source, target)
    if checksum != "none":
        return _BY_CHECKSUM[checksum]
    own = own_time(source)
    time = _compared_times(source.modified if own is None and time_travels else own, own_time(target))
    if time in ("newer", "older"):
        return Decision("copy", Reason.TIME_DIFFERS)
    return Decision("skip", Reason.TIME_EQUAL) if time == "equal" else _by_order(source, target, unknown="copy")


def _by_order(source: FileStat, target: FileStat, *, unknown: Action) -> Decision:
    time = _compared_times(known_time(source), known_time(target))
    if time == "none":
        return Decision(unknown, Reason.NO_TIME)
    return Decision("copy", Reason.NEWER) if time == "newer" else Decision("skip", Reason.NOT_NEWER)


def _compared_checksums(source: FileStat, target: FileStat) -> _Checksum:
    """By those of the same name; one that differs outweighs others that are equal."""
    common = [
        (name, value == target.checksums[name]) for name, value in source.checksums.items() if name in target.checksums
    ]
    if any(not equal for name, equal in common if name != _BY_PARTS):
        return "differs"
    return "equal" if any(equal for _, equal in common) else "none"


def _compared_times(source: datetime | None, target: datetime | None) -> _Time:
    if source is None or target is None:
        return "none"
    if same_time(source, target):
        return "equal"
    return "newer" if source > target else "older"
