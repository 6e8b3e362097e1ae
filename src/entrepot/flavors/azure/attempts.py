"""What differs between the two ways to speak to Azure: single requests, each one attempt.

`AzureClient` has the rules that hold for both; `wire` and `sdk` make the requests.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from entrepot.auth.azure import Credential
from entrepot.errors import CredentialsExpired, PermissionDenied, StoreError
from entrepot.flavors.azure.address import Location
from entrepot.flavors.azure.administration import Administration
from entrepot.flavors.azure.metadata import NOTHING
from entrepot.flavors.azure.requests import BlockKind
from entrepot.models import (
    MIB,
    Buffer,
    ByteRange,
    Capabilities,
    DeleteFailure,
    Limits,
    ListPage,
    Upload,
    WriteOptions,
)
from entrepot.services.client import ServiceClient

LIMITS: Final = Limits(
    part_min_bytes=1,
    part_max_bytes=4_000 * MIB,
    max_parts=50_000,
    put_max_bytes=5_000 * MIB,
    # What the service copies larger it may do later, and the blob is empty until then: parts are published whole.
    copy_max_bytes=256 * MIB,
    delete_batch=256,
    list_page=5_000,
)
"""Source: Microsoft Learn, "Scalability and performance targets for Blob Storage"; REST API Reference, "Blob Batch"."""

AZURE_CAPABILITIES: Final = Capabilities(
    conditional_write=True, conditional_delete=True, presign=True, versions=True, continued_parts=True
)
"""What Azure documents: conditions on every write, delete and copy, markers, metadata."""

OTHER_CAPABILITIES: Final = Capabilities(
    conditional_write=True, conditional_delete=True, presign=True, continued_parts=True
)
"""A server that speaks the same protocol: its conditions are part of that; versions are not."""


class CopySource(NamedTuple):
    """What a server-side copy reads. etag: pins it."""

    location: Location
    key: str
    etag: str | None = None

    @property
    def url(self) -> str:
        """Without a signature."""
        return self.location.url(self.key)


class AzureAttempts(ServiceClient):
    """One container. Each method with an underscore makes one attempt, and raises members of `StoreError`.

    shown: how addresses begin, `az://container` or `abfs://container@account.dfs…`.
    """

    SCHEME = "az"

    def __init__(
        self,
        location: Location,
        *,
        shown: str,
        credential: Credential,
        administration: Administration,
        **service: Any,
    ) -> None:
        super().__init__(location.container, limits=LIMITS, **service)
        self._location = location
        self._shown = shown
        self._credential = credential
        self._administration = administration

    def uri(self, key: str) -> str:
        return f"{self._shown}/{key}" if key else self._shown

    async def identity(self) -> str:
        return await self._credential.identity()

    def _explained_by_credential(self, error: StoreError, now: float) -> StoreError:
        """A refusal, by its reason where the credential itself tells it. now: seconds since 1970."""
        expired = self._credential.expired(now) if isinstance(error, PermissionDenied) else None
        return error if expired is None else CredentialsExpired(expired, operation=error.operation, uri=error.uri)

    # ---- one request, one attempt -----------------------------------------------------------------

    @abstractmethod
    async def _head(self, key: str, version: str | None = None) -> Mapping[str, str]: ...
    @abstractmethod
    async def _put(
        self, key: str, data: Buffer, options: WriteOptions, md5: str, own: Mapping[str, str] = NOTHING
    ) -> Mapping[str, str]: ...
    @abstractmethod
    async def _delete(self, key: str, if_match: str | None = None) -> None: ...
    @abstractmethod
    async def _delete_batch(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[DeleteFailure]:
        """Raises: UnsupportedOperation where the service takes no batches."""

    @abstractmethod
    async def _list_blobs(
        self, prefix: str, delimiter: str, token: str | None, limit: int | None, include: str
    ) -> ListPage:
        """include: what to list beside blobs, or to tell of them: `metadata`, `versions`, `uncommittedblobs`."""

    @abstractmethod
    async def _copy(
        self, source: CopySource, key: str, options: WriteOptions, own: Mapping[str, str]
    ) -> Mapping[str, str]: ...
    @abstractmethod
    async def _abort_copy(self, key: str, copy_id: str) -> None: ...
    @abstractmethod
    async def _set_properties(
        self, key: str, told: Mapping[str, str], content_type: str, if_match: str | None
    ) -> Mapping[str, str]: ...
    @abstractmethod
    async def _set_metadata(
        self, key: str, options: WriteOptions, own: Mapping[str, str], if_match: str | None
    ) -> Mapping[str, str]: ...
    @abstractmethod
    async def _put_block(self, key: str, block_id: str, data: Buffer, md5: str) -> None: ...
    @abstractmethod
    async def _copy_block(self, key: str, block_id: str, source: CopySource, byte_range: ByteRange) -> None: ...
    @abstractmethod
    async def _put_block_list(
        self, upload: Upload, block_ids: Sequence[str], own: Mapping[str, str]
    ) -> Mapping[str, str]: ...
    @abstractmethod
    async def _block_list(self, key: str, kind: BlockKind) -> list[tuple[str, int]]: ...

    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage:
        return await self._list_blobs(prefix, delimiter, token, limit, "metadata")
