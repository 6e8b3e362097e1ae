"""Copies on the service's side. A service may finish one later: then it is waited for, or taken back.

Source: Azure Storage REST API Reference, "Copy Blob", "Abort Copy Blob", "Set Blob Properties".
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Final

import anyio

from entrepot.errors import (
    ChecksumMismatch,
    Conflict,
    NotFound,
    PreconditionFailed,
    ServiceError,
    StoreError,
    TimedOut,
)
from entrepot.flavors.azure.attempts import CopySource
from entrepot.flavors.azure.blocks import AzureBlocks
from entrepot.flavors.azure.metadata import CRC32C, NOTHING, WRITE_ID, kept
from entrepot.flavors.azure.replies import is_directory, stat_of
from entrepot.models import NO_OPTIONS, ObjectStat, WriteOptions
from entrepot.objects.client import ObjectClient
from entrepot.objects.uploads import ABORT_S
from entrepot.paths import printable
from entrepot.services.client import Unsure
from entrepot.services.headers import etag_of

_log = logging.getLogger(__name__)

_META: Final = "x-ms-meta-"
_META_CRC32C: Final = f"{_META}{CRC32C}"
_META_WRITE_ID: Final = f"{_META}{WRITE_ID}"
_OF_A_WRITE: Final = ("etag", "last-modified", "x-ms-version-id")
_LOOK_FIRST_S: Final = 0.05
_LOOK_LATER_S: Final = 2.0
_STANDSTILL_S: Final = 180.0


class AzureCopies(AzureBlocks):
    """`copy`."""

    async def copy(
        self,
        source: ObjectClient,
        source_key: str,
        key: str,
        options: WriteOptions | None = None,
        *,
        source_etag: str | None = None,
    ) -> ObjectStat:
        """As `ObjectClient.copy`.

        Requests: 2: a HEAD of the source, to which the copy is then pinned; with `source_etag` and no conditions one of
        the copy instead. Where `options` describes the copy both, and one more that sets another content type.
        Raises: ServiceError for one that was looked at and is larger than `limits.copy_max_bytes`.
        """
        wanted = options or NO_OPTIONS
        self._keepable(key, "copy")
        self.check_options(key, wanted, "copy")
        pinned = self._source(source, source_key, source_etag)
        assert isinstance(source, AzureCopies)
        for last in (False, True):
            told: Mapping[str, str] = NOTHING
            if source_etag is None or wanted.describes or _is_conditional(wanted):
                told = await source._retried(lambda: source._head(source_key))
                if is_directory(told):
                    raise NotFound("a directory is there, and no blob", operation="copy", uri=source.uri(source_key))
                pinned = pinned._replace(etag=source_etag or etag_of(told))
                self._require_copyable(source.uri(source_key), stat_of(source_key, told).size_bytes)
            try:
                return await self._copied(pinned, key, wanted, told)
            except PreconditionFailed:
                if last or source_etag is not None or wanted.if_match is not None:
                    raise
        raise AssertionError("the loop returns or raises")

    def _require_copyable(self, uri: str, size_bytes: int) -> None:
        """The service takes larger ones too, and may show them empty until it has them: see `LIMITS`."""
        if size_bytes > self.limits.copy_max_bytes:
            raise ServiceError("too large to be copied by one request; copy it in parts", operation="copy", uri=uri)

    async def _copied(self, source: CopySource, key: str, wanted: WriteOptions, told: Mapping[str, str]) -> ObjectStat:
        """One copy. told: the head of the source, where it was looked at."""
        conditions = WriteOptions(if_none_match=wanted.if_none_match, if_match=wanted.if_match)
        own = _own_metadata(wanted, told)
        unsure = Unsure()
        try:
            headers = await self._retried(
                lambda: unsure.watch(self._copy(source, key, wanted if wanted.describes else conditions, own))
            )
        except StoreError as error:
            found = await self._head_or_none(key) if WRITE_ID in own and unsure.settles(error) else None
            if found is None or found.get(_META_WRITE_ID) != own[WRITE_ID]:
                raise
            _log.warning("the reply to a copy to %s was lost; the blob is ours", self.uri(key))
            headers = found
        if told and not wanted.describes and headers.get("x-ms-copy-status") == "success":
            changed = {name: headers[name] for name in _OF_A_WRITE if name in headers}
            return stat_of(key, {**{name: told[name] for name in told if name not in _OF_A_WRITE}, **changed})
        copied = await self._finished(key, headers)
        if wanted.describes:
            copied = await self._described_anew(key, copied, wanted, own)
        return self._checked(key, copied, told)

    # ---- a copy that takes its time ---------------------------------------------------------------

    async def _finished(self, key: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The head of the copy, once it is whole. headers: of the reply that began it.

        Whatever ends the wait takes back a copy that is not whole: until then its blob is there, and empty.
        """
        copy_id = headers.get("x-ms-copy-id")
        try:
            return await self._awaited(key, copy_id)
        except BaseException:
            if copy_id is not None and headers.get("x-ms-copy-status") != "success":
                with anyio.move_on_after(ABORT_S, shield=True):
                    await self._taken_back(key, copy_id)
            raise

    async def _awaited(self, key: str, copy_id: str | None) -> Mapping[str, str]:
        uri = self.uri(key)
        wait_s, progress, stood_s = _LOOK_FIRST_S, "", 0.0
        while True:
            head = await self._retried(lambda: self._head(key))
            if copy_id is not None and head.get("x-ms-copy-id", copy_id) != copy_id:
                raise Conflict("another writer replaced the copy at once", operation="copy", uri=uri)
            status = head.get("x-ms-copy-status", "success")
            if status == "success":
                return head
            if status != "pending":
                reason = printable(head.get("x-ms-copy-status-description", "")[:200])
                raise ServiceError(f"the service gave the copy up ({status}: {reason})", operation="copy", uri=uri)
            stood_s = 0.0 if head.get("x-ms-copy-progress", "") != progress else stood_s + wait_s
            progress = head.get("x-ms-copy-progress", "")
            if stood_s > _STANDSTILL_S:
                raise TimedOut("the copy makes no progress; it was taken back", operation="copy", uri=uri)
            await self._policy.sleep(wait_s)
            wait_s = min(_LOOK_LATER_S, wait_s * 2)

    async def _taken_back(self, key: str, copy_id: str) -> None:
        """Abort the copy, and remove the empty blob that is left of it. Never raises a StoreError."""
        try:
            try:
                await self._abort_copy(key, copy_id)
            except StoreError as error:
                _log.debug("the copy to %s has ended by itself (%s)", self.uri(key), error)
            left = await self._head(key)
            if left.get("x-ms-copy-id") == copy_id and left.get("x-ms-copy-status") in {"aborted", "failed"}:
                await self._delete(key, etag_of(left))
        except NotFound:
            return
        except StoreError as error:
            _log.warning("an unfinished copy stays at %s: %s", self.uri(key), error)

    # ---- what a copy cannot be given --------------------------------------------------------------

    async def _described_anew(
        self, key: str, copied: Mapping[str, str], wanted: WriteOptions, own: Mapping[str, str]
    ) -> Mapping[str, str]:
        """The content type and, where all of it is to go, the metadata: set on the copy, pinned to it."""
        etag = etag_of(copied)
        changed: dict[str, str] = {}
        if not kept(wanted, own) and any(name.startswith("x-ms-meta-") for name in copied):
            changed.update(await self._retried(lambda: self._set_metadata(key, wanted, own, etag)))
            copied = {name: value for name, value in copied.items() if not name.startswith("x-ms-meta-")}
            etag = etag_of(changed)
        kind = wanted.content_type
        if kind is not None and kind != copied.get("content-type"):
            told, pinned = copied, etag
            changed.update(await self._retried(lambda: self._set_properties(key, told, kind, pinned)))
            changed["content-type"] = kind
        return {**copied, **{name: changed[name] for name in (*_OF_A_WRITE, "content-type") if name in changed}}

    def _checked(self, key: str, copied: Mapping[str, str], told: Mapping[str, str]) -> ObjectStat:
        """told: the source's head, where it was looked at."""
        stat = stat_of(key, copied)
        if told:
            source = stat_of(key, told)
            digests = {one.checksums.get("md5") for one in (source, stat)} - {None}
            if source.size_bytes != stat.size_bytes or len(digests) > 1:
                raise ChecksumMismatch(
                    "the copy is not what was copied; copy it again", operation="copy", uri=self.uri(key)
                )
        return stat


def _is_conditional(wanted: WriteOptions) -> bool:
    return wanted.if_none_match or wanted.if_match is not None


def _own_metadata(wanted: WriteOptions, told: Mapping[str, str]) -> Mapping[str, str]:
    """Metadata of a copy beside what `wanted` gives: any that is sent replaces all of the source's. told: its head.

    What entrepot keeps of the bytes is still true of them. A conditional copy has an id, by which it is known as ours
    when its reply is lost: another writer may have copied the same source.
    """
    own: dict[str, str] = {}
    if wanted.describes:
        own = {CRC32C: told[_META_CRC32C]} if _META_CRC32C in told else {}
    elif _is_conditional(wanted):
        own = {name.removeprefix(_META): value for name, value in told.items() if name.startswith(_META)}
    return {**own, WRITE_ID: secrets.token_hex(8)} if _is_conditional(wanted) else own
