"""When a request is carried out: conditions of HTTP and of copies; and which bytes of an object a read is for.

Source: Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests"; RFC 9110, 13 and 14.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final

from entrepot.testing.strict.exchange import Refusal, Request
from entrepot.testing.strict.state import Object

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class NotModified(Exception):
    """A read whose condition says that the caller has it already."""


def failed(condition: str) -> Refusal:
    """The refusal of a condition, which it names."""
    message = "At least one of the pre-conditions you specified did not hold"
    return Refusal(412, "PreconditionFailed", message, Condition=condition)


def check_read(request: Request, found: Object) -> None:
    """Raises: Refusal, NotModified. An etag's condition stands above a time's."""
    if_match, if_none = request.header("if-match"), request.header("if-none-match")
    if if_match is not None:
        if not names(if_match, found.etag):
            raise failed("If-Match")
    elif _before(request.header("if-unmodified-since"), found) is True:
        raise failed("If-Unmodified-Since")
    if if_none is not None:
        if names(if_none, found.etag):
            raise NotModified
    elif _before(request.header("if-modified-since"), found) is False:
        raise NotModified


def check_source(request: Request, found: Object) -> None:
    """The conditions of a copy on its source. Raises: Refusal."""
    prefix = "x-amz-copy-source-if-"
    match, none = request.header(prefix + "match"), request.header(prefix + "none-match")
    if match is not None:
        if not names(match, found.etag):
            raise failed(prefix + "match")
    elif _before(request.header(prefix + "unmodified-since"), found) is True:
        raise failed(prefix + "unmodified-since")
    if none is not None:
        if names(none, found.etag):
            raise failed(prefix + "none-match")
    elif _before(request.header(prefix + "modified-since"), found) is False:
        raise failed(prefix + "modified-since")


def check_write(request: Request, key: str, found: Object | None) -> None:
    """The conditions of a write on what is there. Raises: Refusal."""
    if_match, if_none = request.header("if-match"), request.header("if-none-match")
    if if_match is not None and if_none is not None:
        raise _not_implemented("If-Match and If-None-Match together")
    if if_none is not None:
        if if_none.strip() != "*":
            raise _not_implemented("If-None-Match")
        if found is not None:
            raise failed("If-None-Match")
    if if_match is not None:
        if found is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        if not names(if_match, found.etag):
            raise failed("If-Match")


def names(condition: str, etag: str) -> bool:
    """Whether a list of etags, or `*`, names this one; quotes may be left out, as S3 lets them be."""
    return any(one.strip() == "*" or one.strip().strip('"') == etag for one in condition.split(","))


def span_of(text: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None for all of it, as for a range that is none.

    Raises: Refusal for a range that the object has nothing of.
    """
    found = _RANGE.fullmatch(text) if text is not None else None
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or start >= stop:
        raise Refusal(
            416, "InvalidRange", "The requested range is not satisfiable", headers={"content-range": f"bytes */{size}"},
            ActualObjectSize=str(size), RangeRequested=text or "",
        )  # fmt: skip
    return start, stop


def copied_span(text: str | None, size: int) -> tuple[int, int]:
    """The bytes that a part's copy takes: both ends are told, and lie within the source. Raises: Refusal."""
    if text is None:
        return 0, size
    found = _RANGE.fullmatch(text)
    if found is None or not found[1] or not found[2]:
        message = "The x-amz-copy-source-range value must be of the form bytes=first-last"
        raise Refusal(400, "InvalidArgument", message, ArgumentName="x-amz-copy-source-range", ArgumentValue=text)
    first, last = int(found[1]), int(found[2])
    if first > last or last >= size:
        message = f"Range specified is not valid for source object of size: {size}"
        raise Refusal(400, "InvalidArgument", message, ArgumentName="x-amz-copy-source-range", ArgumentValue=text)
    return first, last + 1


def _before(text: str | None, found: Object) -> bool | None:
    """Whether that time is before the object's; None where none is told, or it is no time."""
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp() < int(found.modified_s)
    except (TypeError, ValueError):
        return None


def _not_implemented(header: str) -> Refusal:
    message = "A header you provided implies functionality that is not implemented"
    return Refusal(501, "NotImplemented", message, Header=header)
