"""What the clients of every object service have in common: retries, reads that resume, what a lost reply means.

A flavor's client adds the rules of its service; below it, `wire` and `sdk` make single requests, each one attempt.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, TypeVar

from entrepot import telemetry
from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    ConnectionFailed,
    ContainerNotFound,
    NotFound,
    PreconditionFailed,
    ServiceError,
    StoreError,
    UnsupportedOperation,
)
from entrepot.http.pace import Pace
from entrepot.http.retry import RetryPolicy, retrying
from entrepot.models import Buffer, ByteRange, Capabilities, Limits, ListPage, ObjectData, ObjectStat, WriteOptions
from entrepot.objects.client import ObjectClient, changed
from entrepot.rates import Rate
from entrepot.services.download import Download
from entrepot.services.faults import RangeOutside

D = TypeVar("D")
T = TypeVar("T")
M = TypeVar("M", bound=Hashable)
_log = logging.getLogger(__name__)


class ServiceClient(ObjectClient):
    """One container of a service. Methods with an underscore that are abstract make one attempt each.

    account: what names service and credentials; clients with equal ones can copy from each other.
    telemetry: what is told of requests, as the process's providers were when the client was made; None tells nothing.
    pace: how fast it asks; one of its own by default.
    """

    SCHEME: str

    def __init__(
        self,
        container: str,
        *,
        account: tuple[object, ...],
        limits: Limits,
        capabilities: Capabilities,
        policy: RetryPolicy,
        pace: Pace | None = None,
    ) -> None:
        self.container = container
        self.limits = limits
        self.capabilities = capabilities
        self._account = account
        self._policy = policy
        self.telemetry = telemetry.current()
        self.pace = pace or Pace(clock=policy.clock, sleep=policy.sleep)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri('')!r})"

    def paced(self, *, concurrency: int | None = None, rate: Rate | None = None) -> AbstractContextManager[None]:
        return self.pace.asked(concurrency=concurrency, rate=rate)

    def uri(self, key: str) -> str:
        root = f"{self.SCHEME}://{self.container}"
        return f"{root}/{key}" if key else root

    def copies_from(self, source: ObjectClient) -> bool:
        # Both clients of one service read from each other.
        return isinstance(source, ServiceClient) and (source.SCHEME, source._account) == (self.SCHEME, self._account)

    # ---- one request, one attempt -----------------------------------------------------------------

    @abstractmethod
    def _download(
        self, key: str, byte_range: ByteRange | None, if_match: str | None, into: memoryview | None, version: str | None
    ) -> Download:
        """The state of one read, by this service's heads."""

    @abstractmethod
    async def _get(self, download: Download) -> ObjectData | None:
        """None where the body broke off after progress: then the rest is asked for, with attempts counted anew."""

    @abstractmethod
    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage: ...
    @abstractmethod
    async def _delete(self, key: str, if_match: str | None = None) -> None: ...

    # ---- retries ----------------------------------------------------------------------------------

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        if self.telemetry is not None:
            return await retrying(self._policy, self.telemetry.attempts(self.SCHEME, attempt), self.pace)
        return await retrying(self._policy, lambda _number: attempt(), self.pace)

    async def _all_pages(self, fetch: Callable[[M | None], Awaitable[tuple[list[T], M | None]]], key: str) -> list[T]:
        """The rows of every page. Raises: BadResponse where a marker comes again, as that listing would never end."""
        rows: list[T] = []
        marker: M | None = None
        seen: set[M] = set()
        while True:
            page, marker = await self._retried(partial(fetch, marker))
            rows += page
            if marker is None:
                return rows
            if marker in seen:
                raise BadResponse("the service repeats a page of the listing", operation="list", uri=self.uri(key))
            seen.add(marker)

    # ---- reading ----------------------------------------------------------------------------------

    async def get(
        self,
        key: str,
        *,
        byte_range: ByteRange | None = None,
        if_match: str | None = None,
        into: memoryview | None = None,
        version: str | None = None,
    ) -> ObjectData:
        download = self._download(key, byte_range, if_match, into, version)
        found = None
        if byte_range is None or byte_range.start != byte_range.stop:
            found = await self._downloaded(download)
        if found is None:
            assert byte_range is not None
            return await self._nothing(key, byte_range, if_match, into, version)
        return await self._verified(found, download)

    async def _downloaded(self, download: Download) -> ObjectData | None:
        """The read, resumed as often as bodies that break off make progress. None: the range lies behind the end."""
        while True:
            try:
                found = await self._retried(lambda: self._read(download))
            except RangeOutside:
                return None
            if found is not None:
                return found

    async def _read(self, download: Download) -> ObjectData | None:
        """One attempt. What tells that the object is another since the reply before begins the read anew."""
        try:
            return await self._get(download)
        except RangeOutside as error:
            if not (download.received or download.whole):
                raise
            cause: Exception = error
        except PreconditionFailed as error:
            if download.if_match is not None or download.etag is None:
                raise
            cause = error
        download.restart()
        raise BadResponse(
            "the object changed while it was read", operation="get", uri=self.uri(download.key)
        ) from cause

    async def _nothing(
        self, key: str, byte_range: ByteRange, if_match: str | None, into: memoryview | None, version: str | None
    ) -> ObjectData:
        """An empty range, or one that the service says begins at the end or behind."""
        stat = await self.head(key, version=version)
        if if_match is not None and stat.etag is not None and stat.etag != if_match:
            raise PreconditionFailed(
                "the object is another by now; look at it again", operation="get", uri=self.uri(key)
            )
        if byte_range.start != byte_range.stop and byte_range.start < stat.size_bytes:
            raise ServiceError("the service refused a range that the object has", operation="get", uri=self.uri(key))
        return ObjectData(into[:0] if into is not None else b"", stat)

    async def _verified(self, found: ObjectData, download: Download) -> ObjectData:
        """What was read, compared with what the service vouches for; this default knows nothing to compare with."""
        return found

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        token: str | None = None,
        start_after: str = "",
        limit: int | None = None,
    ) -> ListPage:
        count = min(limit or self.limits.list_page, self.limits.list_page)
        return await self._retried(lambda: self._list(prefix, delimiter, token, start_after, count))

    # ---- writing ----------------------------------------------------------------------------------

    def _check_write(self, key: str, options: WriteOptions) -> None:
        """Refuse what the service does not keep, before any request."""
        self.check_options(key, options, "put")
        if (options.if_none_match and self.capabilities.exclusive_create is False) or (
            options.if_match is not None and self.capabilities.conditional_write is False
        ):
            raise UnsupportedOperation(
                "the service does not keep conditions on writes; write without", operation="put", uri=self.uri(key)
            )

    async def _found(self, key: str) -> ObjectStat | None:
        try:
            return await self.head(key)
        except NotFound:
            return None

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        """As `ObjectClient.delete`. Requests: 1, and a HEAD where the etag does not match: the object may be gone."""
        self._check_pinned(key, if_match)
        try:
            await self._retried(lambda: self._delete(key, if_match))
        except ContainerNotFound:
            raise
        except NotFound:
            _log.debug("%s was gone already", self.uri(key))
        except PreconditionFailed as error:
            if if_match is None:
                raise
            if await self._found(key) is not None:
                raise changed("delete", self.uri(key)) from error

    def _check_pinned(self, key: str, etag: object) -> None:
        if etag and not self.capabilities.conditional_delete:
            raise UnsupportedOperation(
                "the service does not keep conditions on deletes; delete without", operation="delete", uri=self.uri(key)
            )


class Hashed(Generic[D]):
    """What vouches for the bytes of a write: hashed anew after a service received others, before they go once more.

    It is the reading again of what may have changed in memory, as in a buffer that its owner wrote to meanwhile.
    """

    __slots__ = ("_hash", "value")

    def __init__(self, value: D, hash_again: Callable[[], Awaitable[D]]) -> None:
        self.value, self._hash = value, hash_again

    async def sent(self, send: Callable[[D], Awaitable[T]]) -> T:
        """One attempt of the write."""
        try:
            return await send(self.value)
        except ChecksumMismatch:
            self.value = await self._hash()
            raise


class Unsure:
    """Whether a write may have been done by an attempt whose reply was lost."""

    __slots__ = ("_lost",)

    def __init__(self, lost: bool = False) -> None:
        self._lost = lost

    @property
    def lost(self) -> bool:
        """Whether the reply to an attempt was lost, so that what it did is not known."""
        return self._lost

    async def watch(self, attempt: Awaitable[T]) -> T:
        """One attempt of the write."""
        try:
            return await attempt
        except StoreError as error:
            self.note(error)
            raise

    def note(self, error: StoreError) -> None:
        """Take account of what an attempt raised."""
        if error.retryable and not (isinstance(error, ConnectionFailed) and error.not_sent):
            self._lost = True

    def settles(self, error: StoreError) -> bool:
        """Whether a look at the object may show that this error is none."""
        return self._lost and (error.retryable or isinstance(error, (AlreadyExists, PreconditionFailed, NotFound)))


def flat(data: Buffer) -> Buffer:
    """The same bytes, with a length in bytes."""
    return data.cast("B") if isinstance(data, memoryview) and (data.itemsize != 1 or data.ndim != 1) else data
