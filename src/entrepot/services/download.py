"""One read of an object or a range, over as many replies as it takes. Pure: replies in, bytes kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from entrepot.errors import PreconditionFailed
from entrepot.models import MIB, Buffer, ByteRange, ObjectData, ObjectStat
from entrepot.services.faults import Unreadable
from entrepot.services.headers import content_range

_WHOLE_BELOW_BYTES = 1 * MIB
_PROGRESS_BYTES = 1 * MIB
"""A body that broke off after at least this much has made progress: its attempts are counted anew."""


class Download(ABC):
    """What was asked for, what has come, and what to ask for next. A subclass reads its service's heads.

    A reply that breaks off is resumed behind its last byte, pinned to the etag of the first reply, so that the bytes
    are of one object. Without an etag nothing can be pinned: then the read begins again.
    """

    __slots__ = ("_body", "_headers", "_into", "_range", "_size", "_wanted", "etag", "if_match", "key", "received",
                 "version")  # fmt: skip

    def __init__(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        if_match: str | None = None,
        into: memoryview | None = None,
        version: str | None = None,
    ) -> None:
        self.key, self.if_match, self.version = key, if_match, version
        self._range, self._into = byte_range, into
        self.restart()

    @staticmethod
    @abstractmethod
    def etag_of(headers: Mapping[str, str]) -> str | None:
        """What a reply's head tells as the etag by which reads are pinned, None where it tells none."""

    @staticmethod
    @abstractmethod
    def stat_of(key: str, headers: Mapping[str, str], size_bytes: int) -> ObjectStat:
        """What a reply's head tells of an object whose whole size is known."""

    def restart(self) -> None:
        """Forget what came."""
        self.etag = self.if_match
        self.received = 0
        self._size = self._wanted = -1
        self._body: memoryview | None = None
        self._headers: Mapping[str, str] = {}

    @property
    def whole(self) -> bool:
        """Whether all of the object was asked for."""
        return self._range is None

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the first reply."""
        return self._headers

    @property
    def span(self) -> str | None:
        """The `Range` to ask for next; None for the whole object."""
        if self._range is None:
            return f"bytes={self.received}-" if self.received else None
        return ByteRange(self._range.start + self.received, self._range.stop).header

    def accept(self, status: int, headers: Mapping[str, str]) -> memoryview | None:
        """Where the body of this reply goes; None where it is small, or its length unknown: read it, then `fill`.

        Raises: PreconditionFailed where the object is another; Unreadable where the reply is not what was asked for.
        """
        etag = self.etag_of(headers)
        if self.etag is not None and etag is not None and etag != self.etag:
            if self.if_match is None:
                self.restart()
                raise Unreadable("the object changed while it was read")
            raise PreconditionFailed("the object is another by now; look at it again")
        first = self._range.start if self._range is not None else 0
        start, stop, size = self._extent(status, headers)
        if start != first + self.received:
            raise Unreadable("a range that was not asked for")
        if self.received:
            if size != self._size:
                raise Unreadable("the object's size changed while it was read")
        elif size >= 0:
            end = size if self._range is None or self._range.stop is None else min(self._range.stop, size)
            self._allocate(end - first, size)
        self._headers = self._headers or headers
        self.etag = self.etag or etag
        if size >= 0 and stop - first != self._wanted:
            raise Unreadable("a range that was not asked for")
        return self._body[self.received :] if self._body is not None else None

    def _extent(self, status: int, headers: Mapping[str, str]) -> tuple[int, int, int]:
        """The bytes that a reply brings, as start and stop, and the whole size; -1 where it is not told."""
        # A Content-Range tells what came, also where a service calls it 200 (RFC 9110, 14.4 knows it for 206 only).
        if status == 206 or (status == 200 and "content-range" in headers):
            if self.span is None:
                raise Unreadable("a part of the object where all of it was asked for")
            start, stop, whole = content_range(headers)
            if whole is None:
                raise Unreadable("a partial reply that does not tell the whole size")
            return start, stop, whole
        if status != 200:
            raise Unreadable(f"HTTP {status} where bytes were asked for")
        length = headers.get("content-length", "")
        size = int(length) if length.isdecimal() else -1
        end = self._range.stop if self._range is not None else None
        if self.span is not None and (size < 0 or (end is not None and end < size)):
            # All of it is a fair answer only to a range that is all of it.
            raise Unreadable("the service ignored the range")
        return 0, size, size

    def _allocate(self, wanted: int, size: int) -> None:
        self._wanted, self._size = wanted, size
        if self._into is not None:
            if wanted > self._into.nbytes:
                raise Unreadable(f"{wanted} bytes, more than there is room for")
            self._body = self._into[:wanted]
        elif wanted >= _WHOLE_BELOW_BYTES:
            self._body = memoryview(bytearray(wanted))

    @property
    def most(self) -> int | None:
        """How many bytes the body of the only reply may have; None where that was not told."""
        if self._wanted >= 0:
            return self._wanted
        return self._into.nbytes if self._into is not None else None

    def fill(self, data: bytes) -> ObjectData:
        """The result, from the whole body of the only reply."""
        if self._wanted >= 0 and len(data) != self._wanted:
            raise Unreadable(f"{len(data)} bytes where {self._wanted} were announced")
        if self._into is not None:  # its length was not announced
            self._into[: len(data)] = data
            return self._result(self._into[: len(data)])
        return self._result(data)

    def finish(self, count: int) -> ObjectData:
        """The result, once a reply has ended whose bytes went where `accept` said. Raises: Unreadable for too few."""
        missing = self._wanted - self.received - count
        if missing:
            self.interrupted(count)
            raise Unreadable(f"{missing} bytes less than were announced")
        assert self._body is not None
        return self._result(self._body if self._into is not None else self._body.obj)  # type: ignore[arg-type]  # our bytearray

    def interrupted(self, count: int) -> bool:
        """Take note of a reply that broke off after so many good bytes; whether they are progress."""
        if self.etag is None:
            self.restart()
            return False
        self.received += count
        return count >= _PROGRESS_BYTES

    def _result(self, data: Buffer) -> ObjectData:
        size = self._size if self._size >= 0 else len(data)
        return ObjectData(data, self.stat_of(self.key, self._headers, size))
