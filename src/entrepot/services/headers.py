"""What the heads of replies say, whatever the service: times, etags, ranges. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from entrepot.services.faults import Unreadable

_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII | re.IGNORECASE)
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)


def etag_of(headers: Mapping[str, str]) -> str | None:
    """The etag without its quotes; None where there is none."""
    return bare_etag(headers.get("etag", "")) or None


def bare_etag(text: str) -> str:
    """`"abc"` → `abc`; a weak one stays as it is."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def quoted_etag(etag: str) -> str:
    """As a condition wants it."""
    return etag if etag.startswith(('"', "W/")) else f'"{etag}"'


def is_md5(etag: str | None) -> bool:
    """Whether the etag has the form of an MD5."""
    return etag is not None and _MD5.fullmatch(etag) is not None


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int | None]:
    """Content-Range as (start, stop, whole size or None). Raises: Unreadable."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if not found:
        raise Unreadable("a partial reply that does not tell its range")
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


@lru_cache(maxsize=1024)  # what was written in one second has one
def http_time(text: str) -> datetime | None:
    """`Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110, 5.6.7) in UTC; None where it is not one."""
    try:
        return datetime(
            int(text[12:16]),
            _MONTHS[text[8:11]],
            int(text[5:7]),
            int(text[17:19]),
            int(text[20:22]),
            int(text[23:25]),
            tzinfo=UTC,
        )
    except (KeyError, ValueError):
        return None


def iso_time(text: str) -> datetime | None:
    """`2015-10-21T07:28:00.000Z` in UTC; None where it is not one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    zone = moment.tzinfo
    if zone is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if zone is None else moment.astimezone(UTC)
