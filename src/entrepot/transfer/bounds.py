"""Bounds of size and time, and the words for them: `10M`, `7d`, `2025-01-31`.

Source: https://rclone.org/docs/#size-options and #time-options.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from entrepot.errors import ConfigurationError

_SIZE: Final = re.compile(r"(\d+\.?\d*|\.\d+)(?:(b)|([kmgtpe])(?:i|ib)?)?", re.IGNORECASE | re.ASCII)
_AGE: Final = re.compile(r"(?:(?:\d+\.?\d*|\.\d+)(?:ms|us|µs|ns|[smhdwMy]))+|\d+\.?\d*|\.\d+", re.ASCII)
_AGE_PIECE: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ms|us|µs|ns|[smhdwMy]?)", re.ASCII)
_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "": 1.0,
    "s": 1.0,
    "m": 60.0,
    "h": 3_600.0,
    "d": 86_400.0,
    "w": 604_800.0,
    "M": 30 * 86_400.0,
    "y": 365 * 86_400.0,
}


def parse_size(text: str) -> int | None:
    """`10M`, `1.5Gi` or `100B` in bytes, units as powers of 1,024; None for `off`.

    A number without a unit is refused: rclone takes it for KiB, everybody else for bytes, and a wrong guess copies
    other files without a word. Raises: ConfigurationError.
    """
    if text.lower() == "off":
        return None
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is no size; give one such as 10M, 1.5G or 100B")
    amount, unit = float(found[1]), found[3]
    if not unit and not found[2] and amount:
        raise ConfigurationError(f"{text!r} has no unit; give {text}B for bytes or {text}K for KiB")
    size = amount * 1024.0 ** ("kmgtpe".index(unit.lower()) + 1 if unit else 0)
    if size >= 2**63:
        raise ConfigurationError(f"{text!r} is larger than any file")
    return int(size)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment in time. told: what stays the same from one run to the next: an age in seconds, or the moment itself.

    Two moments are equal when they were told alike: `7d` of yesterday and `7d` of today belong to the same job.
    """

    told: str
    at: datetime = field(compare=False)


def parse_moment(text: str, now: datetime) -> Moment:
    """`7d` (that long before `now`), `2h30m`, a number of seconds; or a date, with or without a time of day.

    Units: ms s m h d w M y (a month has 30 days, a year 365). A date without a zone is of this machine's zone.
    now: with a time zone. Raises: ConfigurationError.
    """
    if _AGE.fullmatch(text):
        seconds = math.fsum(float(amount) * _SECONDS[unit] for amount, unit in _AGE_PIECE.findall(text))
        try:
            at = now.astimezone(UTC) - timedelta(seconds=seconds)
        except OverflowError as error:
            raise ConfigurationError(f"{text!r} is longer ago than any calendar goes") from error
        return Moment(f"{seconds:.9f}".rstrip("0").rstrip(".") + "s", at)
    try:
        at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigurationError(
            f"{text!r} is no time; give an age such as 7d or 2h30m, or a date such as 2025-01-31"
        ) from error
    return Moment(at.isoformat(), at)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What size and time a file may have; each bound belongs to what it admits, and None bounds nothing.

    newer: changed at this moment or after. older: at this moment or before.
    Raises: ConfigurationError for bounds that nothing lies between.
    """

    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    newer: Moment | None = None
    older: Moment | None = None

    def __post_init__(self) -> None:
        least, most = self.min_size_bytes, self.max_size_bytes
        if least is not None and most is not None and least > most:
            raise ConfigurationError("the smallest size is larger than the largest: no file could be chosen")
        if self.newer is not None and self.older is not None and self.newer.at > self.older.at:
            raise ConfigurationError(
                "nothing is newer than the one time and older than the other: no file can be chosen"
            )

    def admit(self, size_bytes: int, modified: datetime | None) -> bool:
        """Whether a file lies within. modified: None is within no bound of time."""
        if self.min_size_bytes is not None and size_bytes < self.min_size_bytes:
            return False
        if self.max_size_bytes is not None and size_bytes > self.max_size_bytes:
            return False
        if self.newer is not None and (modified is None or modified < self.newer.at):
            return False
        return self.older is None or (modified is not None and modified <= self.older.at)


NO_BOUNDS: Final = Bounds()
"""Every size, every time."""
