"""The rules of the S3 primitives, over single requests: retries, verification, what a lost reply means.

`wire` and `sdk` are the two ways to make the requests; both obey what is here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    ContainerNotFound,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ServiceUnavailable,
    StoreError,
    Throttled,
    UnsupportedOperation,
)
from entrepot.files import PartChecksum
from entrepot.flavors.s3.attempts import S3Attempts
from entrepot.flavors.s3.checksums import checksum_hex, composite_md5, computable, digest_aside, part_checksum
from entrepot.flavors.s3.faults import PASSING, BucketIsOurs
from entrepot.flavors.s3.replies import checksums_told, composite_count, stat_of
from entrepot.flavors.s3.requests import CopySource, Digests, fits_xml
from entrepot.models import (
    NO_OPTIONS,
    Buffer,
    ByteRange,
    DeleteFailure,
    FileStat,
    ObjectData,
    ObjectStat,
    Part,
    PresignMethod,
    Upload,
    WriteOptions,
)
from entrepot.objects.client import CHANGED, NO_ETAGS, ObjectClient
from entrepot.objects.uploads import drop_lost_uploads
from entrepot.services.checksums import aside, md5_aside
from entrepot.services.client import Hashed, Unsure, flat
from entrepot.services.download import Download
from entrepot.services.headers import etag_of, is_md5

_log = logging.getLogger(__name__)


class _S3Download(Download):
    __slots__ = ()
    etag_of = staticmethod(etag_of)
    stat_of = staticmethod(stat_of)


class S3Client(S3Attempts):
    """One bucket, by the rules of `ObjectClient`."""

    # ---- reading ----------------------------------------------------------------------------------

    async def head(self, key: str, *, version: str | None = None) -> ObjectStat:
        headers = await self._retried(lambda: self._head(key, version))
        told = checksums_told(headers)
        return replace(stat_of(key, headers), checksums=told) if told else stat_of(key, headers)

    def _download(
        self, key: str, byte_range: ByteRange | None, if_match: str | None, into: memoryview | None, version: str | None
    ) -> Download:
        return _S3Download(key, byte_range, if_match, into, version)

    async def _verified(self, found: ObjectData, download: Download) -> ObjectData:
        """What was read, compared with the checksum that is told, or else with its etag as far as that is an MD5."""
        if not download.whole:
            return found
        told = checksums_told(download.headers)
        if (known := computable(told)) is not None:
            return await self._checked(found, download, known)
        if is_md5(found.stat.etag):
            found = await self._matched(found, download)
        # What cannot be computed here is told all the same, so that a report can say what is missing.
        return self._with(found, told) if told and not found.stat.checksums else found

    async def _matched(self, found: ObjectData, download: Download) -> ObjectData:
        """What was read, compared with an etag that may be its MD5; `EtagKnowledge` has the reasons."""
        etag = found.stat.etag
        md5 = await md5_aside(found.data)
        confirmed = self.etags.matches(download.headers, etag, md5)
        if confirmed:
            return self._with(found, {"md5": md5})
        if confirmed is None or self.etags.holds is False:
            return found
        download.restart()
        second = await self._downloaded(download)
        assert second is not None
        md5_again = await md5_aside(second.data)
        if self.etags.matches(download.headers, second.stat.etag, md5_again):
            return self._with(second, {"md5": md5_again})
        if self.etags.holds or (second.stat.etag == etag and md5_again != md5):
            raise self._damaged(download)
        self.etags.doubt()
        return second

    async def _checked(self, found: ObjectData, download: Download, told: tuple[str, str]) -> ObjectData:
        """What was read, if it has the checksum that is told; else it is read once more."""
        name, expected = told
        if await aside(partial(checksum_hex, name), found.data) == expected:
            return self._with(found, {name: expected})
        download.restart()
        second = await self._downloaded(download)
        assert second is not None
        again = checksums_told(download.headers).get(name)  # the object may be another one by now
        if again is None or await aside(partial(checksum_hex, name), second.data) != again:
            raise self._damaged(download)
        return self._with(second, {name: again})

    def _damaged(self, download: Download) -> ChecksumMismatch:
        return ChecksumMismatch(
            "the bytes do not match the object's checksum, read twice; it is damaged, or the network is",
            operation="get",
            uri=self.uri(download.key),
        )

    @staticmethod
    def _with(found: ObjectData, checksums: Mapping[str, str]) -> ObjectData:
        stat = found.stat  # `replace` would cost more than the checksum
        return ObjectData(
            found.data,
            ObjectStat(
                stat.key,
                stat.size_bytes,
                stat.modified,
                stat.etag,
                stat.version,
                stat.content_type,
                stat.metadata,
                checksums,
            ),
        )

    def part_checksum(self, file: FileStat, part_size_bytes: int) -> PartChecksum | None:
        return part_checksum(file, part_size_bytes)

    # ---- writing ----------------------------------------------------------------------------------

    async def put(self, key: str, data: Buffer, options: WriteOptions = NO_OPTIONS) -> ObjectStat:
        data = flat(data)
        self._check_write(key, options)
        hashed = await self._hashed(data)
        if options.if_none_match or options.if_match is not None:
            return await self._put_on_condition(key, data, options, hashed)

        async def attempt() -> Mapping[str, str]:
            return await hashed.sent(lambda digests: self._put(key, data, options, digests))

        headers = await self._retried(attempt)
        if self.etags.matches(headers, etag_of(headers), hashed.value.md5) is False and self.etags.holds:
            # The service took other bytes than were sent, and its own check of Content-MD5 did not see it.
            headers = await self._retried(attempt)
        return self._written(key, len(data), options, hashed.value, headers)

    async def _hashed(self, data: Buffer) -> Hashed[Digests]:
        async def digests() -> Digests:
            return await digest_aside(data, signed=self._signs_bodies)

        return Hashed(await digests(), digests)

    def _written(
        self, key: str, size: int, options: WriteOptions, digests: Digests, headers: Mapping[str, str]
    ) -> ObjectStat:
        etag = etag_of(headers)
        matches = self.etags.matches(headers, etag, digests.md5)
        if matches is False and self.etags.holds:
            raise ChecksumMismatch(
                "the service's checksum of what it stored is not that of what was sent; write it again",
                operation="put",
                uri=self.uri(key),
            )
        version = headers.get("x-amz-version-id")
        return ObjectStat(
            key,
            size,
            etag=etag,
            version=None if version == "null" else version,
            content_type=options.content_type,
            checksums={"md5": digests.md5} if matches else {},
        )

    async def _put_on_condition(
        self, key: str, data: Buffer, options: WriteOptions, hashed: Hashed[Digests]
    ) -> ObjectStat:
        unsure = Unsure()
        try:
            headers = await self._retried(
                lambda: unsure.watch(hashed.sent(lambda digests: self._put(key, data, options, digests)))
            )
        except StoreError as error:
            if not unsure.settles(error):
                raise
            stat = await self._found(key)
            md5 = hashed.value.md5
            if stat is None or (stat.size_bytes, stat.etag) != (len(data), md5):
                raise
            _log.warning("the reply to a conditional write of %s was lost; the object is ours", self.uri(key))
            return replace(stat, checksums={"md5": md5})
        return self._written(key, len(data), options, hashed.value, headers)

    async def delete_many(self, keys: Sequence[str], *, etags: Mapping[str, str] = NO_ETAGS) -> list[DeleteFailure]:
        self._check_pinned("", etags)
        failures: list[DeleteFailure] = []
        pending = [key for key in keys if fits_xml(key)]

        async def attempt() -> None:
            nonlocal pending
            left = await self._delete_many(pending, {key: etags[key] for key in pending if key in etags})
            if not {one.key for one in left} <= set(pending):
                raise BadResponse(
                    "the service names keys that were not to be deleted", operation="delete_many", uri=self.uri("")
                )
            passing = [one for one in left if one.code in PASSING]
            failures.extend(one for one in left if one.code not in PASSING)
            pending = [one.key for one in passing]
            if passing:
                raise (Throttled if passing[0].code == "SlowDown" else ServiceUnavailable)(
                    f"{len(passing)} keys could not be deleted for now ({passing[0].code})",
                    operation="delete_many",
                    uri=self.uri(""),
                )

        if pending:
            await self._retried(attempt)
        for key in keys:
            if not fits_xml(key):  # characters that no XML document can name
                try:
                    await self.delete(key, if_match=etags.get(key))
                except PreconditionFailed as error:
                    failures.append(DeleteFailure(key, CHANGED, error.message))
        return failures

    # ---- copies -----------------------------------------------------------------------------------

    def _source(self, source: ObjectClient, key: str, etag: str | None) -> CopySource:
        if not isinstance(source, S3Client):
            raise UnsupportedOperation("only S3 copies from S3", operation="copy", uri=source.uri(key))
        return CopySource(source.container, key, etag, source._settings.sealed_source)

    async def copy(
        self,
        source: ObjectClient,
        source_key: str,
        key: str,
        options: WriteOptions | None = None,
        *,
        source_etag: str | None = None,
    ) -> ObjectStat:
        """As `ObjectClient.copy`. Requests: 2: the reply to a copy tells no size, so a HEAD follows it."""
        self.check_options(key, options or NO_OPTIONS, "copy")
        if options is not None and options.if_none_match and not self.capabilities.exclusive_copy:
            raise UnsupportedOperation(
                "the service does not keep conditions on copies; look first", operation="copy", uri=self.uri(key)
            )
        pinned = self._source(source, source_key, source_etag)
        unsure = Unsure()
        try:
            etag, _ = await self._retried(lambda: unsure.watch(self._copy(pinned, key, options)))
        except AlreadyExists as error:
            stat = await self._found(key) if unsure.settles(error) else None
            if stat is None or source_etag is None or stat.etag != source_etag:
                raise
            return stat
        stat = await self.head(key)
        if self.etags.holds and is_md5(source_etag) and is_md5(etag) and etag != source_etag:
            # A service that does not look at the condition has copied what the source is now.
            raise PreconditionFailed(
                "the source is another by now; look at it again", operation="copy", uri=source.uri(source_key)
            )
        if is_md5(etag) and etag == source_etag == stat.etag and self.etags.holds:
            return replace(stat, checksums={"md5": etag})
        return stat

    # ---- uploads in parts -------------------------------------------------------------------------

    async def create_upload(
        self, key: str, options: WriteOptions = NO_OPTIONS, size_bytes: int | None = None
    ) -> Upload:
        self._check_write(key, options)
        unsure, since = Unsure(), datetime.now(UTC)
        known: tuple[str, ...] = ()
        try:
            known = (await self._retried(lambda: unsure.watch(self._create_upload(key, options))),)
        finally:
            if unsure.lost:  # an attempt whose reply was lost may have begun one more
                await self._drop_lost(key, since, known)
        return Upload(key, known[0], options)

    async def _drop_lost(self, key: str, since: datetime, known: tuple[str, ...]) -> None:
        try:
            await drop_lost_uploads(self, key, since=since, known=known)
        except StoreError as error:
            _log.warning("an upload may have been begun at %s, and its id was lost: %s", self.uri(key), error)

    async def put_part(self, upload: Upload, number: int, data: Buffer) -> Part:
        data = flat(data)
        hashed = await self._hashed(data)
        headers = await self._retried(
            lambda: hashed.sent(lambda digests: self._put_part(upload, number, data, digests))
        )
        md5 = hashed.value.md5
        return Part(number, len(data), etag_of(headers) or md5, md5)

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
        """As `ObjectClient.copy_part`.

        A reply without an etag is never success: the service is asked what it holds, one request more. Servers that
        do not know this request take it as a part without bytes; then UnsupportedOperation, and no further attempts:
        the bytes have to pass through the caller, in an upload made anew (not every server replaces the empty part).
        """
        if byte_range.stop is None:
            byte_range = ByteRange(byte_range.start, (await source.head(source_key)).size_bytes)
        pinned = self._source(source, source_key, source_etag)
        return await self._retried(lambda: self._part_copied(upload, number, pinned, byte_range))

    async def _part_copied(self, upload: Upload, number: int, source: CopySource, byte_range: ByteRange) -> Part:
        assert byte_range.stop is not None
        size = byte_range.stop - byte_range.start
        where = {"operation": "copy_part", "uri": self.uri(upload.key)}
        if self._copies_parts:
            etag = await self._copy_part(upload, number, source, byte_range)
            if etag:
                return Part(number, size, etag)
            held = next((part for part in await self.list_parts(upload) if part.number == number), None)
            if held is None:
                raise BadResponse("the service answered a copy without a body", **where)
            if held.size_bytes == size and held.etag:
                return held
            self._copies_parts = False
        raise UnsupportedOperation("the service does not copy parts; send the bytes instead", **where)

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat:
        """As `ObjectClient.complete_upload`. Requests: 2, the second a HEAD."""
        parts = sorted(parts, key=lambda part: part.number)
        size = sum(part.size_bytes for part in parts)
        composite = composite_md5(part.md5 or "" for part in parts) if all(part.md5 for part in parts) else None
        unsure = Unsure()
        try:
            etag = await self._retried(lambda: unsure.watch(self._complete(upload, parts))) or None
        except StoreError as error:
            if not unsure.settles(error):
                raise
            stat = await self._found(upload.key)
            if stat is None or stat.size_bytes != size:
                raise
            if not await self._made_by(upload, parts, stat, gone=isinstance(error, NotFound)):
                raise
            _log.warning("the reply to the completion of %s was lost; the object is ours", self.uri(upload.key))
            return self._completed(stat, stat.etag, composite)
        return self._completed(await self._look(upload, size, etag), etag, composite)

    @staticmethod
    def _completed(stat: ObjectStat, etag: str | None, composite: str | None) -> ObjectStat:
        """etag: as the completion told it. Only one made of the parts vouches for them."""
        return replace(stat, checksums={"part-md5": composite}) if composite is not None and etag == composite else stat

    async def _look(self, upload: Upload, size: int, etag: str | None) -> ObjectStat:
        """What HEAD tells of the completed object, as some services keep another etag than they answer.

        The object is written, whatever comes of this: credentials may allow no HEAD, or another writer came next.
        """
        try:
            return await self.head(upload.key)
        except StoreError as error:
            _log.debug("no look at %s after its completion (%s)", self.uri(upload.key), type(error).__name__)
            return ObjectStat(upload.key, size, etag=etag, content_type=upload.options.content_type)

    async def _made_by(self, upload: Upload, parts: Sequence[Part], stat: ObjectStat, *, gone: bool) -> bool:
        """Whether an object of the right size is the one that the upload made.

        An etag of the form `MD5-N`, or the MD5 of a single part, decides. Any other says nothing of the parts, and an
        older object may well have the same size: there the upload must be gone, as only its completion makes it.
        """
        md5s = [part.md5 for part in parts if part.md5 is not None]
        if len(md5s) == len(parts):
            if composite_count(stat.etag) is not None:
                return stat.etag == composite_md5(md5s)
            if len(parts) == 1 and is_md5(stat.etag) and self.etags.holds:
                return stat.etag == md5s[0]
        if gone:
            return True
        try:
            await self.list_parts(upload)
        except NotFound:
            return True
        return False

    async def find_completed(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat | None:
        """As `ObjectClient.find_completed`; here an etag that is made of the parts decides. Requests: 1."""
        stat = await self._found(upload.key)
        composite = composite_md5(part.md5 or "" for part in parts) if all(part.md5 for part in parts) else None
        if stat is None or stat.size_bytes != upload.size_bytes or composite is None or stat.etag != composite:
            return None
        return self._completed(stat, stat.etag, composite)

    async def abort_upload(self, upload: Upload) -> None:
        try:
            await self._retried(lambda: self._abort(upload))
        except NotFound:
            _log.debug("the upload of %s was gone already", self.uri(upload.key))

    async def list_parts(self, upload: Upload) -> list[Part]:
        return await self._all_pages(partial(self._list_parts, upload), upload.key)

    def outlives_process(self, upload: Upload) -> bool:
        """True: its id means something to the service only with the credentials of who may write there."""
        return True

    async def list_uploads(self, prefix: str = "") -> list[Upload]:
        try:
            uploads = await self._all_pages(partial(self._list_uploads, prefix), prefix)
        except ContainerNotFound:
            raise
        except NotFound:  # what `rclone serve s3` answers for a bucket that never had an upload
            return []
        return [one for one in uploads if one.key.startswith(prefix)]

    async def list_versions(self, key: str) -> list[ObjectStat]:
        found = await self._all_pages(partial(self._list_versions, key), key)
        return [one for one in found if one.key == key]

    async def presign(self, key: str, method: PresignMethod, expires_s: int) -> str:
        """As `ObjectClient.presign`. The region is the configured one, or the one that a request was redirected to."""
        if self._settings.sealed:
            raise UnsupportedOperation(
                "with sse_customer_key every request must carry the key, which a URL cannot",
                operation="presign",
                uri=self.uri(key),
            )
        return await self._presigned(key, method, expires_s)

    async def create_container(self) -> None:
        """As `ObjectClient.create_container`. One that exists and can be listed counts as ours. Requests: 1 or 2."""
        try:
            await self._retried(self._create_bucket)
        except BucketIsOurs:
            _log.debug("%s is ours already", self.uri(""))
        except AlreadyExists as error:
            # Not every server tells the caller's own bucket from another's.
            try:
                await self.list_page("", limit=1)
            except PermissionDenied:
                raise error from None
