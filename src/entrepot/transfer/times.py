"""When a file was changed: what its user keeps of it, what its service tells, and when two times are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from entrepot.models import FileStat

_LATEST_S: Final = 253_402_300_799.0
"""The end of the year 9999: no file's time lies after it."""

_SECOND_US: Final = 1_000_000
_MILLISECOND_US: Final = 1_000
_ROUNDING_US: Final = 2
"""Times pass through floating point on their way: they come back as they were, but for a microsecond."""


def kept_seconds(metadata: Mapping[str, str]) -> float | None:
    """The file's own time among an object's metadata (`mtime`), in seconds since 1970; None where there is none.

    As a decimal number, as entrepot and rclone write it on S3, or as RFC 3339, as rclone writes it on Azure and
    Google Cloud Storage.
    """
    text = metadata.get("mtime")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        # Without a zone it is not told which moment it was.
        return moment.timestamp() if moment.tzinfo is not None else None
    return seconds if math.isfinite(seconds) and -_LATEST_S <= seconds <= _LATEST_S else None


def own_time(file: FileStat) -> datetime | None:
    """The time of the file itself, which a copy keeps: from its metadata, or of a file in a file system (it has
    permission bits). None where the only time is when an object was written, and where a listing told no metadata.
    """
    kept = kept_seconds(file.metadata)
    if kept is not None:
        try:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=kept)
        except OverflowError:
            return None
    return file.modified if file.mode is not None else None


def known_time(file: FileStat) -> datetime | None:
    """The time of the file itself, else when its object was written."""
    own = own_time(file)
    return own if own is not None else file.modified


def same_time(one: datetime, other: datetime) -> bool:
    """Whether the two are one time, as far as the coarser of them tells it: by seconds, milliseconds or microseconds.

    A place that keeps whole seconds cuts the rest off, or rounds it: less than one unit may lie between.
    """
    apart_us = abs((one - other) // timedelta(microseconds=1))
    return apart_us < max(_unit_us(one), _unit_us(other), _ROUNDING_US)


def _unit_us(moment: datetime) -> int:
    """In how many microseconds the moment seems to be counted."""
    if moment.microsecond == 0:
        return _SECOND_US
    return 1 if moment.microsecond % _MILLISECOND_US else _MILLISECOND_US
