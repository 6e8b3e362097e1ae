"""What differs between the two ways to speak to S3: single requests, each one attempt.

`S3Client` has the rules that hold for both; `wire` and `sdk` make the requests.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from entrepot.auth.aws import CredentialSource
from entrepot.flavors.s3.checksums import EtagKnowledge
from entrepot.flavors.s3.requests import CopySource, Digests, Settings
from entrepot.models import (
    Buffer,
    ByteRange,
    Capabilities,
    DeleteFailure,
    Limits,
    ObjectStat,
    Part,
    PresignMethod,
    Upload,
    WriteOptions,
)
from entrepot.services.client import ServiceClient

AWS_CAPABILITIES = Capabilities(
    conditional_write=True, conditional_delete=True, presign=True, versions=True, continued_parts=True
)
"""What Amazon S3 documents: conditions on PUT, CompleteMultipartUpload, CopyObject and deletes; markers."""

OTHER_CAPABILITIES = Capabilities(
    exclusive_create=None, exclusive_copy=False, conditional_write=None, empty_directories=None,
    metadata=None, content_type=None, etags=None, presign=True, versions=None, continued_parts=True,
)  # fmt: skip
"""A server that speaks S3: what it keeps is asked for; conditions on copies and deletes are not relied on at all."""


class S3Attempts(ServiceClient):
    """One bucket. Each method with an underscore makes one attempt, and raises members of `StoreError`.

    signs_bodies: the signature covers the hash of what is sent (over plain http).
    """

    SCHEME = "s3"
    _credentials: CredentialSource

    def __init__(
        self,
        bucket: str,
        *,
        capabilities: Capabilities,
        settings: Settings,
        signs_bodies: bool,
        etags_are_md5: bool | None = None,
        **service: Any,
    ) -> None:
        super().__init__(bucket, limits=Limits(), capabilities=capabilities, **service)
        self.etags = EtagKnowledge(etags_are_md5)
        self._settings = settings
        self._signs_bodies = signs_bodies
        self.directories_may_outlive_files = capabilities.empty_directories is None  # a server that is not known
        self._copies_parts = True

    async def identity(self) -> str:
        credentials = await self._credentials.current()
        return credentials.shown if credentials is not None else "nobody (anonymous)"

    # ---- one request, one attempt -----------------------------------------------------------------

    @abstractmethod
    async def _head(self, key: str, version: str | None) -> Mapping[str, str]: ...
    @abstractmethod
    async def _put(self, key: str, data: Buffer, options: WriteOptions, digests: Digests) -> Mapping[str, str]: ...
    @abstractmethod
    async def _delete_many(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[DeleteFailure]: ...
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
    async def _presigned(self, key: str, method: PresignMethod, expires_s: int) -> str: ...
    @abstractmethod
    async def _list_versions(
        self, key: str, marker: tuple[str, str] | None
    ) -> tuple[list[ObjectStat], tuple[str, str] | None]:
        """One page of the versions of keys that begin with this one."""

    @abstractmethod
    async def _create_bucket(self) -> None:
        """A bucket that is the caller's already is no error."""
