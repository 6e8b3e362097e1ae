"""The rules of the Azure primitives, over single requests: writing, removing, signing, what a lost reply means.

`wire` and `sdk` are the two ways to make the requests; both obey what is here, and in `reading`, `blocks`, `copies`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    Conflict,
    ContainerNotFound,
    NotFound,
    PreconditionFailed,
    ServiceError,
    ServiceUnavailable,
    StoreError,
    Throttled,
    UnsupportedOperation,
)
from entrepot.flavors.azure.address import unkept
from entrepot.flavors.azure.copies import AzureCopies
from entrepot.flavors.azure.faults import PASSING
from entrepot.flavors.azure.metadata import FOLDER, WRITE_ID
from entrepot.flavors.azure.replies import md5_of, stat_of
from entrepot.models import NO_OPTIONS, Buffer, DeleteFailure, ObjectStat, PresignMethod, WriteOptions
from entrepot.objects.client import CHANGED, NO_ETAGS
from entrepot.objects.waves import REQUESTS, wave
from entrepot.paths import printable
from entrepot.services.checksums import md5_aside
from entrepot.services.client import Hashed, Unsure, flat
from entrepot.services.headers import etag_of, http_time

_log = logging.getLogger(__name__)

_MARK = {FOLDER: "true"}


class AzureClient(AzureCopies):
    """One container, by the rules of `ObjectClient`."""

    def __init__(self, *place: Any, **rules: Any) -> None:
        super().__init__(*place, **rules)
        self._takes_batches = True

    # ---- writing ----------------------------------------------------------------------------------

    async def put(self, key: str, data: Buffer, options: WriteOptions = NO_OPTIONS) -> ObjectStat:
        """As `ObjectClient.put`. Requests: 1.

        The marker of a directory is made where nothing is by that name; one that is there already is told.
        """
        self._keepable(key, "put")
        if options is not NO_OPTIONS:
            self.check_options(key, options, "put")
        data = flat(data)
        md5 = await md5_aside(data)
        if key.endswith("/") and not len(data):
            return await self._put_marker(key, options, md5)
        if options is not NO_OPTIONS and (options.if_none_match or options.if_match is not None):
            return await self._put_on_condition(key, data, options, md5)
        hashed = Hashed(md5, lambda: md5_aside(data))

        async def attempt() -> Mapping[str, str]:
            return await hashed.sent(lambda md5: self._put(key, data, options, md5))

        headers = await self._retried(attempt)
        if _took_other_bytes(headers, hashed.value):
            # Its own check of Content-MD5 did not see it.
            headers = await self._retried(attempt)
            self._require_same_bytes(key, headers, hashed.value)
        return self._written(key, len(data), options, hashed.value, headers)

    def _require_same_bytes(self, key: str, headers: Mapping[str, str], md5: str) -> None:
        if _took_other_bytes(headers, md5):
            raise ChecksumMismatch(
                "the service's checksum of what it stored is not that of what was sent; write it again",
                operation="put",
                uri=self.uri(key),
            )

    def _written(self, key: str, size: int, options: WriteOptions, md5: str, headers: Mapping[str, str]) -> ObjectStat:
        modified = headers.get("last-modified")
        return ObjectStat(
            key,
            size,
            http_time(modified) if modified else None,
            etag_of(headers),
            headers.get("x-ms-version-id"),
            options.content_type,
            checksums={"md5": md5} if "content-md5" in headers else {},
        )

    async def _put_on_condition(self, key: str, data: Buffer, options: WriteOptions, md5: str) -> ObjectStat:
        unsure = Unsure()
        own = {WRITE_ID: secrets.token_hex(8)}
        hashed = Hashed(md5, lambda: md5_aside(data))
        try:
            headers = await self._retried(
                lambda: unsure.watch(hashed.sent(lambda md5: self._put(key, data, options, md5, own)))
            )
        except StoreError as error:
            if not unsure.settles(error) and not isinstance(error, AlreadyExists):
                raise
            found = await self._head_or_none(key)
            if found is None and isinstance(error, AlreadyExists):
                return await self._put_as_a_block(key, data, options)
            if found is None or found.get(f"x-ms-meta-{WRITE_ID}") != own[WRITE_ID]:
                raise
            _log.warning("the reply to a conditional write of %s was lost; the blob is ours", self.uri(key))
            return stat_of(key, found)
        self._require_same_bytes(key, headers, hashed.value)
        return self._written(key, len(data), options, hashed.value, headers)

    async def _put_as_a_block(self, key: str, data: Buffer, options: WriteOptions) -> ObjectStat:
        """Create only where blocks that were never committed stand in the way of a plain write; two requests more."""
        upload = await self.create_upload(key, options)
        parts = [await self.put_part(upload, 1, data)] if len(data) else []
        return await self.complete_upload(upload, parts)

    async def _put_marker(self, key: str, options: WriteOptions, md5: str) -> ObjectStat:
        # Only where nothing is: a hierarchical account drops the slash, and a file of that name must stay.
        fresh = replace(options, if_none_match=True, if_match=None)
        unsure = Unsure()
        try:
            headers = await self._retried(lambda: unsure.watch(self._put(key, b"", fresh, md5, _MARK)))
        except (AlreadyExists, Conflict) as error:
            found = await self._marker(key)
            if found is None or (options.if_none_match and not unsure.settles(error)):
                raise
            return found
        return self._written(key, 0, options, md5, headers)

    # ---- removing ---------------------------------------------------------------------------------

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        """As `ObjectClient.delete`. Requests: 1; for a directory's key 2 or 3."""
        self._keepable(key, "delete")
        if not key.endswith("/"):
            await super().delete(key, if_match=if_match)
            return
        found = await self._head_or_none(key)
        if found is not None and found.get("x-ms-resource-type") != "file":
            await super().delete(key, if_match=if_match)
            return
        own = await self._directory(key)
        if own is not None:
            await self._gone(key[:-1], own.etag)

    async def _gone(self, key: str, etag: str | None) -> None:
        try:
            await self._retried(lambda: self._delete(key, etag))
        except ContainerNotFound:
            raise
        except NotFound:
            _log.debug("%s was gone already", self.uri(key))

    async def delete_many(self, keys: Sequence[str], *, etags: Mapping[str, str] = NO_ETAGS) -> list[DeleteFailure]:
        """As `ObjectClient.delete_many`. Requests: 1, and those of `delete` for each directory's key and for each blob
        that is not of its etag.

        Where a service takes no batches, 1 for each key.
        """
        failures = [DeleteFailure(key, "InvalidName", reason) for key in keys if (reason := unkept(key)) is not None]
        refused = {one.key for one in failures}
        plain = [key for key in keys if key not in refused and not key.endswith("/")]
        singly = [key for key in keys if key.endswith("/") and key not in refused]
        if plain and self._takes_batches:
            try:
                left = await self._delete_in_batch(plain, etags)
                failures += [one for one in left if one.code != "ConditionNotMet"]
                plain = [one.key for one in left if one.code == "ConditionNotMet"]  # singly they are looked at
            except (ServiceError, UnsupportedOperation) as error:
                if isinstance(error, (BadResponse, Throttled)):
                    raise
                # One that fails whenever it is tried may do so for batches alone (Azurite, with an account's SAS).
                _log.debug("a batch of deletes failed at %s, they go one by one: %s", self.uri(""), error)
                self._takes_batches = error.retryable
        singly = plain + singly
        for start in range(0, len(singly), REQUESTS):
            group = singly[start : start + REQUESTS]
            done = await wave([partial(self._deleted, key, etags.get(key)) for key in group])
            failures += [one for one in done if one is not None]
        return failures

    async def _deleted(self, key: str, if_match: str | None) -> DeleteFailure | None:
        try:
            await self.delete(key, if_match=if_match)
        except (ContainerNotFound, NotFound):
            raise
        except PreconditionFailed as error:
            return DeleteFailure(key, CHANGED, error.message)
        except StoreError as error:
            if error.retryable:
                raise
            return DeleteFailure(key, type(error).__name__, error.message)
        return None

    async def _delete_in_batch(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[DeleteFailure]:
        failures: list[DeleteFailure] = []
        pending = list(keys)

        async def attempt() -> None:
            nonlocal pending
            left = await self._delete_batch(pending, etags)
            passing = [one for one in left if one.code in PASSING]
            failures.extend(one for one in left if one.code not in PASSING)
            pending = [one.key for one in passing]
            if passing:
                raise (Throttled if passing[0].code == "ServerBusy" else ServiceUnavailable)(
                    f"{len(passing)} blobs could not be deleted for now ({passing[0].code})",
                    operation="delete_many",
                    uri=self.uri(""),
                )

        await self._retried(attempt)
        return failures

    # ---- through the SDK --------------------------------------------------------------------------

    async def presign(self, key: str, method: PresignMethod, expires_s: int) -> str:
        """As `ObjectClient.presign`, by a SAS; with a sign-in, by a key that the service gives for it.

        A PUT by such a URL needs the header `x-ms-blob-type: BlockBlob`. Requests: none; with a sign-in 1 an hour.
        Raises: UnsupportedOperation where there is only a SAS, which cannot sign another.
        """
        self._keepable(key, "presign")
        return await self._administration.presigned(self._location, key, method, expires_s, printable(self.uri(key)))

    async def create_container(self) -> None:
        await self._retried(lambda: self._administration.create_container(self._location, self.uri("")))


def _took_other_bytes(headers: Mapping[str, str], md5: str) -> bool:
    told = headers.get("content-md5")
    return told is not None and md5_of(told) != md5
