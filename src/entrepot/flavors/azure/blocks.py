"""Uploads in parts: blocks, which the service keeps apart until a list of them makes the blob.

No request begins an upload, and none ends one that is given up: Azure has no way to drop blocks that are not committed
but to write the blob, which would be seen. They are forgotten here, and the service drops them after a week, or as soon
as the blob is written. Source: Azure Storage REST API Reference, "Put Block", "Put Block List", "Get Block List".
"""

from __future__ import annotations

import base64
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final

from entrepot.auth.entra import SignIn
from entrepot.errors import ContainerNotFound, NotFound, PermissionDenied, StoreError, UnsupportedOperation
from entrepot.flavors.azure.attempts import CopySource
from entrepot.flavors.azure.metadata import CRC32C, NOTHING, crc32c_text
from entrepot.flavors.azure.reading import AzureReading
from entrepot.flavors.azure.requests import block_id
from entrepot.models import NO_OPTIONS, Buffer, ByteRange, ObjectStat, Part, Upload, WriteOptions
from entrepot.objects.client import ObjectClient
from entrepot.objects.waves import REQUESTS, wave
from entrepot.services.checksums import aside, combine_crc32c, crc32c, crc32c_hex, md5_hex
from entrepot.services.client import Hashed, Unsure, flat
from entrepot.services.headers import etag_of, http_time

_log = logging.getLogger(__name__)

_REMEMBERED: Final = 10_000
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_BLOCK: Final = re.compile(r"([0-9a-f]{32})-(\d{5})", re.ASCII)


class AzureBlocks(AzureReading):
    """The upload group."""

    uploads_expire = True
    uploads_are_parts: ClassVar[bool] = True

    def __init__(self, *place: Any, **rules: Any) -> None:
        super().__init__(*place, **rules)
        self._aborted: OrderedDict[str, None] = OrderedDict()

    async def create_upload(
        self, key: str, options: WriteOptions = NO_OPTIONS, size_bytes: int | None = None
    ) -> Upload:
        """As `ObjectClient.create_upload`. Requests: none; a missing container is told by the first part."""
        self._keepable(key, "create_upload")
        self._check_write(key, options)
        return Upload(key, secrets.token_hex(16), options)

    def _require_open(self, upload: Upload, operation: str) -> None:
        if upload.upload_id in self._aborted:
            raise NotFound("the upload was aborted; write again", operation=operation, uri=self.uri(upload.key))

    async def put_part(self, upload: Upload, number: int, data: Buffer) -> Part:
        self._require_open(upload, "put_part")
        data = flat(data)
        hashed = Hashed(await aside(_md5_and_crc32c, data), lambda: aside(_md5_and_crc32c, data))
        name = block_id(upload.upload_id, number)
        await self._retried(lambda: hashed.sent(lambda sums: self._put_block(upload.key, name, data, sums[0])))
        md5, crc = hashed.value
        return Part(number, len(data), name, md5, crc)

    async def copy_part(
        self,
        upload: Upload,
        number: int,
        source: ObjectClient,
        source_key: str,
        byte_range: ByteRange,
        *,
        source_etag: str | None = None,
    ) -> Part:
        """As `ObjectClient.copy_part`. Nothing is known of the bytes, so that the whole will have no CRC32C.

        Raises: UnsupportedOperation where the service does not read from addresses (Azurite).
        """
        self._require_open(upload, "copy_part")
        pinned = self._source(source, source_key, source_etag)
        if byte_range.stop is None:
            byte_range = ByteRange(byte_range.start, (await source.head(source_key)).size_bytes)
        assert byte_range.stop is not None
        name = block_id(upload.upload_id, number)
        await self._retried(lambda: self._block_copied(upload.key, name, pinned, byte_range))
        return Part(number, byte_range.stop - byte_range.start, name)

    async def _block_copied(self, key: str, name: str, source: CopySource, byte_range: ByteRange) -> None:
        """One attempt. A token that is refused is replaced for the request alone, so that what proves to the service
        that the source may be read is the old one still: where that is so, it is made anew, once.
        """
        credential = self._credential
        token = await credential.token() if isinstance(credential, SignIn) else None
        try:
            await self._copy_block(key, name, source, byte_range)
        except PermissionDenied:
            if not isinstance(credential, SignIn) or await credential.token() == token:
                raise
            await self._copy_block(key, name, source, byte_range)

    def _source(self, source: ObjectClient, key: str, etag: str | None) -> CopySource:
        if not isinstance(source, AzureReading):
            raise UnsupportedOperation("only Azure copies from Azure", operation="copy", uri=source.uri(key))
        source._keepable(key, "copy")
        return CopySource(source._location, key, etag)

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat:
        """As `ObjectClient.complete_upload`; the CRC32C of the whole is kept with it where that of each part is known.

        Requests: 1. A lost reply is settled by the blob's own list of blocks, which no other writer has.
        Raises: Conflict where another writer's commit has dropped the blocks.
        """
        self._require_open(upload, "complete_upload")
        parts = sorted(parts, key=lambda part: part.number)
        size = sum(part.size_bytes for part in parts)
        names = [block_id(upload.upload_id, part.number) for part in parts]
        whole = _whole_crc32c(parts)
        own = {CRC32C: crc32c_text(whole, size)} if whole is not None else NOTHING
        checksums = {"crc32c": crc32c_hex(whole)} if whole is not None else {}
        unsure = Unsure()
        try:
            headers = await self._retried(lambda: unsure.watch(self._put_block_list(upload, names, own)))
        except StoreError as error:
            if not unsure.settles(error) or not await self._is_made_of(upload.key, names):
                raise
            stat = await self.head(upload.key)
            _log.warning("the reply to the completion of %s was lost; the blob is ours", self.uri(upload.key))
            return replace(stat, checksums=checksums)
        modified = headers.get("last-modified")
        return ObjectStat(
            upload.key,
            size,
            http_time(modified) if modified else None,
            etag_of(headers),
            headers.get("x-ms-version-id"),
            upload.options.content_type,
            checksums=checksums,
        )

    async def find_completed(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat | None:
        """As `ObjectClient.find_completed`; here the blob's own list of blocks decides. Requests: 2."""
        names = [block_id(upload.upload_id, part.number) for part in parts]
        if not await self._is_made_of(upload.key, names):
            return None
        stat = await self.head(upload.key)
        return stat if stat.size_bytes == upload.size_bytes else None

    async def _is_made_of(self, key: str, names: Sequence[str]) -> bool:
        try:
            held = await self._retried(lambda: self._block_list(key, "committed"))
        except NotFound:
            return False
        # A blob without blocks may be anybody's.
        return bool(names) and [name for name, _ in held] == list(names)

    async def abort_upload(self, upload: Upload) -> None:
        """Forget the upload: this client writes no more of it. Requests: none; the module's text says why."""
        self._aborted[upload.upload_id] = None
        if len(self._aborted) > _REMEMBERED:
            self._aborted.popitem(last=False)

    async def list_parts(self, upload: Upload) -> list[Part]:
        self._require_open(upload, "list_parts")
        held = [(found, size) for found, size in await self._unfinished(upload.key) if found[0] == upload.upload_id]
        return [
            Part(number, size, block_id(upload.upload_id, number))
            for (_, number), size in sorted(held, key=lambda one: one[0][1])
        ]

    def outlives_process(self, upload: Upload) -> bool:
        """True: its id is what the names of its blocks begin with. Whole CRC32Cs need those of the parts written down:
        the service keeps none of them.
        """
        return _ID.fullmatch(upload.upload_id) is not None

    async def _unfinished(self, key: str) -> list[tuple[tuple[str, int], int]]:
        """Blocks of entrepot's that are not committed, as ((upload id, number), size). Requests: 1."""
        try:
            held = await self._retried(lambda: self._block_list(key, "uncommitted"))
        except ContainerNotFound:
            raise
        except NotFound:
            return []
        named = [(_BLOCK.fullmatch(_block_name(name)), size) for name, size in held]
        return [((found[1], int(found[2])), size) for found, size in named if found is not None]

    async def list_uploads(self, prefix: str = "") -> list[Upload]:
        """As `ObjectClient.list_uploads`: those of blobs that are not there yet, but what this client aborted.

        The service does not tell which blobs that exist have blocks beside their content.
        Requests: 1 a 5,000 blobs below the prefix, and 1 for each that has no bytes.
        """

        async def fetch(marker: str | None) -> tuple[list[ObjectStat], str | None]:
            page = await self._list_blobs(prefix, "", marker, None, "uncommittedblobs")
            return [one for one in page.objects if not one.size_bytes and one.key[-1:] != "/"], page.next_token

        blobs = await self._all_pages(fetch, prefix)
        uploads: list[Upload] = []
        for start in range(0, len(blobs), REQUESTS):
            group = blobs[start : start + REQUESTS]
            found = await wave([partial(self._unfinished, blob.key) for blob in group])
            for blob, blocks in zip(group, found, strict=True):
                ids = dict.fromkeys(upload_id for (upload_id, _), _ in blocks)
                uploads += [Upload(blob.key, one, initiated=blob.modified) for one in ids if one not in self._aborted]
        return uploads


def _md5_and_crc32c(data: Buffer) -> tuple[str, int]:
    return md5_hex(data), crc32c(data)


def _whole_crc32c(parts: Sequence[Part]) -> int | None:
    known = [(part.crc32c, part.size_bytes) for part in parts if part.crc32c is not None]
    return combine_crc32c(known) if known and len(known) == len(parts) else None


def _block_name(encoded: str) -> str:
    """What `block_id` encoded; empty where another program made it."""
    try:
        return base64.b64decode(encoded, validate=True).decode("ascii")
    except ValueError:
        return ""
