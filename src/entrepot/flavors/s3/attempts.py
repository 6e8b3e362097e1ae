"""What differs between the two ways to speak to S3: single requests, each one attempt.

`S3Client` has the rules that hold for both; `wire` and `sdk` make the requests.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from entrepot.errors import AlreadyExists, ConnectionFailed, NotFound, PreconditionFailed, StoreError
from entrepot.flavors.s3.checksums import EtagKnowledge
from entrepot.flavors.s3.download import Download
from entrepot.flavors.s3.requests import CopySource, Digests, Settings
from entrepot.http.retry import RetryPolicy
from entrepot.models import (
    Buffer,
    ByteRange,
    Capabilities,
    DeleteFailure,
    Limits,
    ListPage,
    ObjectData,
    Part,
    Upload,
    WriteOptions,
)
from entrepot.objects.client import ObjectClient

AWS_CAPABILITIES = Capabilities(conditional_write=True)
"""What Amazon S3 documents: conditions on PUT, CompleteMultipartUpload and CopyObject, keys that end in a slash."""

OTHER_CAPABILITIES = Capabilities(
    exclusive_create=None, exclusive_copy=False, conditional_write=None, empty_directories=None,
    metadata=None, content_type=None, etags=None,
)  # fmt: skip
"""A server that speaks S3: what it keeps is asked for, and conditions on copies are not relied on at all."""

T = TypeVar("T")


class RangeOutside(Exception):
    """The service answered that a range begins at the object's end or behind it."""


class S3Attempts(ObjectClient):
    """One bucket. Each method with an underscore makes one attempt, and raises members of `StoreError`.

    account: what names service and credentials; clients with equal ones can copy from each other.
    signs_bodies: the signature covers the hash of what is sent (over plain http).
    """

    def __init__(
        self,
        bucket: str,
        *,
        account: tuple[object, ...],
        capabilities: Capabilities,
        settings: Settings,
        policy: RetryPolicy,
        signs_bodies: bool,
        etags_are_md5: bool | None = None,
    ) -> None:
        self.bucket = bucket
        self.limits = Limits()
        self.capabilities = capabilities
        self.etags = EtagKnowledge(etags_are_md5)
        self._account = account
        self._settings = settings
        self._policy = policy
        self._signs_bodies = signs_bodies
        self._copies_parts = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri('')!r})"

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}" if key else f"s3://{self.bucket}"

    # ---- one request, one attempt -----------------------------------------------------------------

    @abstractmethod
    async def _head(self, key: str) -> Mapping[str, str]: ...
    @abstractmethod
    async def _get(self, download: Download) -> ObjectData | None:
        """None where the body broke off after progress: then the rest is asked for, with attempts counted anew."""

    @abstractmethod
    async def _put(self, key: str, data: Buffer, options: WriteOptions, digests: Digests) -> Mapping[str, str]: ...
    @abstractmethod
    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage: ...
    @abstractmethod
    async def _delete(self, key: str) -> None: ...
    @abstractmethod
    async def _delete_many(self, keys: Sequence[str]) -> list[DeleteFailure]: ...
    @abstractmethod
    async def _copy(
        self, source: CopySource, key: str, options: WriteOptions | None
    ) -> tuple[str, datetime | None]: ...
    @abstractmethod
    async def _create_upload(self, key: str, options: WriteOptions) -> str: ...
    @abstractmethod
    async def _put_part(self, upload: Upload, number: int, data: Buffer, digests: Digests) -> Mapping[str, str]: ...
    @abstractmethod
    async def _copy_part(self, upload: Upload, number: int, source: CopySource, byte_range: ByteRange) -> str: ...
    @abstractmethod
    async def _complete(self, upload: Upload, parts: Sequence[Part]) -> str: ...
    @abstractmethod
    async def _abort(self, upload: Upload) -> None: ...
    @abstractmethod
    async def _list_parts(self, upload: Upload, marker: str | None) -> tuple[list[Part], str | None]: ...
    @abstractmethod
    async def _list_uploads(
        self, prefix: str, marker: tuple[str, str] | None
    ) -> tuple[list[Upload], tuple[str, str] | None]: ...
    @abstractmethod
    async def _create_bucket(self) -> None:
        """A bucket that is the caller's already is no error."""


class Unsure:
    """Whether a write may have been done by an attempt whose reply was lost."""

    __slots__ = ("_lost",)

    def __init__(self) -> None:
        self._lost = False

    async def watch(self, attempt: Awaitable[T]) -> T:
        """One attempt of the write."""
        try:
            return await attempt
        except StoreError as error:
            if error.retryable and not (isinstance(error, ConnectionFailed) and error.not_sent):
                self._lost = True
            raise

    def settles(self, error: StoreError) -> bool:
        """Whether a look at the object may show that this error is none."""
        return self._lost and (error.retryable or isinstance(error, (AlreadyExists, PreconditionFailed, NotFound)))


def flat(data: Buffer) -> Buffer:
    """The same bytes, with a length in bytes."""
    return data.cast("B") if isinstance(data, memoryview) and (data.itemsize != 1 or data.ndim != 1) else data
