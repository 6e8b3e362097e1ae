"""The rules of the Cloud Storage primitives, over single requests: retries, verification, what a lost reply means.

`wire` and `sdk` are the two ways to make the requests; both obey what is here. An object's etag is its generation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from entrepot.auth.goog4 import MAX_EXPIRES_S, UrlToSign
from entrepot.auth.google import TokenSource
from entrepot.errors import (
    AlreadyExists,
    ChecksumMismatch,
    ConfigurationError,
    PermissionDenied,
    PreconditionFailed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.files import PartChecksum
from entrepot.flavors.gcp.attempts import (
    NO_OBJECT,
    GcpAttempts,
    condition_of,
    is_generation,
    is_written,
    with_write_id,
    without_write_id,
)
from entrepot.flavors.gcp.composed import COMPOSED, ComposedUploads, fits, is_composed
from entrepot.flavors.gcp.copies import copied
from entrepot.flavors.gcp.removals import Removals
from entrepot.flavors.gcp.replies import (
    crc32c_of,
    generation_of,
    refuse_decoded,
    stat_of,
)
from entrepot.flavors.gcp.requests import WRITE_ID, Doomed, Source, description
from entrepot.flavors.gcp.sessions import SessionUploads
from entrepot.models import (
    MIB,
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
from entrepot.objects.client import NO_ETAGS, ObjectClient
from entrepot.services.checksums import PartCrc, crc32c_aside, crc32c_hex
from entrepot.services.client import Hashed, flat
from entrepot.services.download import Download
from entrepot.services.endpoint import Endpoint, keeps_path

_log = logging.getLogger(__name__)

COMPOSED_FROM_BYTES: Final = 64 * MIB
"""From this size on parts go up side by side, as objects that the service joins; below, one after another."""


class GcpDownload(Download):
    """One read, by the heads of Cloud Storage. crc32c: of the object, in hex, where the first reply told it."""

    __slots__ = ("crc32c",)
    etag_of = staticmethod(generation_of)
    stat_of = staticmethod(stat_of)

    def accept(self, status: int, headers: Mapping[str, str]) -> memoryview | None:
        refuse_decoded(headers)
        if not self.received:
            self.crc32c = crc32c_of(headers)
        return super().accept(status, headers)


class GcpClient(GcpAttempts):
    """One bucket, by the rules of `ObjectClient`.

    composes: large uploads of known size go up as parts that the service joins. anonymous: no token is sent.
    """

    own_metadata: ClassVar[frozenset[str]] = frozenset({WRITE_ID})
    uploads_are_parts: ClassVar[bool] = True

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: Endpoint,
        credentials: TokenSource,
        composes: bool = True,
        anonymous: bool = False,
        **service: Any,
    ) -> None:
        super().__init__(bucket, **service)
        self._endpoint = endpoint
        self._credentials = credentials
        self._composes = composes
        self._anonymous = anonymous
        self._sessions = SessionUploads(self)
        self._removals = Removals(self, anonymous=anonymous)
        self._composed = ComposedUploads(self, self._removals)

    # ---- reading ----------------------------------------------------------------------------------

    async def head(self, key: str, *, version: str | None = None) -> ObjectStat:
        return without_write_id(await self._retried(lambda: self._head(key, version)))

    def _download(
        self, key: str, byte_range: ByteRange | None, if_match: str | None, into: memoryview | None, version: str | None
    ) -> Download:
        if if_match is not None and not is_generation(if_match):
            raise PreconditionFailed(
                "if_match is no generation, so no object here is that; take the etag that stat tells",
                operation="get",
                uri=self.uri(key),
            )
        return GcpDownload(key, byte_range, if_match, into, version)

    async def _verified(self, found: ObjectData, download: Download) -> ObjectData:
        """A whole object, compared with the CRC32C that the service tells with it; read again once if it differs."""
        if not download.whole:
            return found
        assert isinstance(download, GcpDownload)
        for last in (False, True):
            told = download.crc32c
            if told is None:
                return found
            if crc32c_hex(await crc32c_aside(found.data)) == told:
                return self._with_crc32c(found, told)
            if last:
                break
            download.restart()
            second = await self._downloaded(download)
            assert second is not None
            found = second
        raise ChecksumMismatch(
            "the bytes do not match the object's checksum, read twice; it is damaged, or the network is",
            operation="get",
            uri=self.uri(download.key),
        )

    @staticmethod
    def _with_crc32c(found: ObjectData, crc32c: str) -> ObjectData:
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
                {"crc32c": crc32c},
            ),
        )

    def part_checksum(self, file: FileStat, part_size_bytes: int) -> PartChecksum | None:
        crc32c = file.checksums.get("crc32c")
        if crc32c is None or part_size_bytes <= 0:
            return None
        return PartCrc("crc32c", crc32c, max(1, -(-file.size_bytes // part_size_bytes)))

    async def list_versions(self, key: str) -> list[ObjectStat]:
        found = await self._all_pages(partial(self._list_versions, key), key)
        return [without_write_id(one) for one in sorted(found, key=lambda one: int(one.etag or 0), reverse=True)]

    # ---- writing ----------------------------------------------------------------------------------

    async def put(self, key: str, data: Buffer, options: WriteOptions = NO_OPTIONS) -> ObjectStat:
        """As `ObjectClient.put`. The service compares the CRC32C that is sent before the object is there.

        A write without a condition of the caller's: an attempt that follows a lost reply looks first, and replaces
        only what it has seen. Requests: 1, and a look for each reply that was lost.
        """
        data = flat(data)
        self._check_write(key, options)
        condition = condition_of(options, self.uri(key))
        if condition is not None:
            options = with_write_id(options)
        hashed, size = Hashed(await crc32c_aside(data), lambda: crc32c_aside(data)), len(data)

        async def write(generation: str | None) -> ObjectStat:
            return await hashed.sent(lambda crc32c: put(crc32c, generation))

        async def put(crc32c: int, generation: str | None) -> ObjectStat:
            stat, wanted = await self._put(key, data, options, crc32c, generation), crc32c_hex(crc32c)
            if stat.checksums.get("crc32c", wanted) != wanted or stat.size_bytes != size:
                raise ChecksumMismatch(
                    "the service's checksum of what it stored is not that of what was sent; write it again",
                    operation="put",
                    uri=self.uri(key),
                )
            return stat

        async def recognise(seen: ObjectStat) -> ObjectStat | None:
            return seen if is_written(seen, size, crc32c_hex(hashed.value), options) else None

        stat = await self.settled(key, write, recognise, condition)
        return without_write_id(stat)

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        self._check_pinned(key, if_match)
        await self._removals.one(key, if_match)

    async def delete_many(self, keys: Sequence[str], *, etags: Mapping[str, str] = NO_ETAGS) -> list[DeleteFailure]:
        self._check_pinned("", etags)
        return await self._removals.many([Doomed(key, etags.get(key)) for key in keys])

    # ---- copies -----------------------------------------------------------------------------------

    async def copy(
        self,
        source: ObjectClient,
        source_key: str,
        key: str,
        options: WriteOptions | None = None,
        *,
        source_etag: str | None = None,
    ) -> ObjectStat:
        """As `ObjectClient.copy`, of any size. Requests: 1, and 1 for each step of a large copy between places.

        Where the service is not known to keep conditions on copies, the source is looked at afterwards. A lost reply
        is settled by looking at both; equal bytes and metadata are a success, whoever copied them.
        """
        if not isinstance(source, GcpClient):
            raise UnsupportedOperation(
                "only Cloud Storage copies from Cloud Storage", operation="copy", uri=source.uri(source_key)
            )
        given = options or NO_OPTIONS
        self.check_options(key, given, "copy")
        if given.if_none_match and not self.capabilities.exclusive_copy:
            raise UnsupportedOperation(
                "the service does not keep conditions on copies; look first", operation="copy", uri=self.uri(key)
            )
        stat = await copied(self, key, source, Source(source.container, source_key, source_etag), given)
        return without_write_id(stat)

    # ---- uploads in parts -------------------------------------------------------------------------

    async def create_upload(
        self, key: str, options: WriteOptions = NO_OPTIONS, size_bytes: int | None = None
    ) -> Upload:
        """As `ObjectClient.create_upload`.

        Sizes of 64 MiB and more: by composition, in any order and several parts at once (Requests: none). Smaller and
        unknown ones: by a resumable session, in order, known to this client only (Requests: 1); one that is neither
        completed nor aborted is dropped by the service after a week.
        """
        self._check_write(key, options)
        if condition_of(options, self.uri(key)) is not None:
            options = with_write_id(options)
        description(options, self._settings)
        if self._composes and (size_bytes or 0) >= COMPOSED_FROM_BYTES and fits(key):
            return self._composed.create(key, options, size_bytes)
        return await self._sessions.create(key, options, size_bytes)

    async def put_part(self, upload: Upload, number: int, data: Buffer) -> Part:
        return await self._uploads_of(upload).put_part(upload, number, flat(data))

    def _uploads_of(self, upload: Upload) -> SessionUploads | ComposedUploads:
        return self._composed if upload.upload_id.startswith(COMPOSED) else self._sessions

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
        """The service copies whole objects of any size, and no parts. Raises: UnsupportedOperation."""
        raise UnsupportedOperation(
            "the service copies whole objects, of any size, and no parts; use copy",
            operation="copy_part",
            uri=self.uri(upload.key),
        )

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat:
        """As `ObjectClient.complete_upload`. The whole's CRC32C is compared, before it is published by a session, and
        by what the service tells of a composition. Requests: as `SessionUploads` and `ComposedUploads` tell.

        Where the service is not known to keep conditions here, a look comes before: another writer may come between.
        """
        condition = condition_of(upload.options, self.uri(upload.key))
        if condition is not None and not self.keeps_conditions:
            seen = await self._retried(lambda: self.look(upload.key))
            if (seen.etag if seen is not None else NO_OBJECT) != condition:
                kind = AlreadyExists if upload.options.if_none_match else PreconditionFailed
                raise kind(
                    "the object is not what the condition named",
                    operation="complete_upload",
                    uri=self.uri(upload.key),
                )
        ordered = sorted(parts, key=lambda part: part.number)
        return without_write_id(await self._uploads_of(upload).complete(upload, ordered))

    async def abort_upload(self, upload: Upload) -> None:
        await self._uploads_of(upload).abort(upload)

    async def list_parts(self, upload: Upload) -> list[Part]:
        return await self._uploads_of(upload).parts(upload)

    def outlives_process(self, upload: Upload) -> bool:
        """True for compositions: all that is known of one is in the bucket. The address of a session is a secret that
        whoever has it may write by, so that it is kept nowhere but in this client.
        """
        return is_composed(upload.upload_id)

    async def continue_upload(self, upload: Upload) -> list[Part]:
        held = await super().continue_upload(upload)
        self._composed.adopt(upload)
        return held

    async def list_uploads(self, prefix: str = "") -> list[Upload]:
        """As `ObjectClient.list_uploads`: compositions of any process, and the sessions of this client: the service
        tells of no session. Requests: a listing of all that is below the prefix's directory.
        """
        return [*self._sessions.uploads(prefix), *await self._composed.uploads(prefix)]

    # ---- the bucket, and who may come -------------------------------------------------------------

    async def identity(self) -> str:
        return await self._credentials.identity()

    async def create_container(self) -> None:
        """As `ObjectClient.create_container`; one that exists and can be listed counts as ours. Requests: 1 or 2.

        Raises: ConfigurationError where no project is known to make it in.
        """
        project = self._settings.project or await self._credentials.project()
        if not project:
            raise ConfigurationError(
                "a bucket is made in a project: set project (or GOOGLE_CLOUD_PROJECT)",
                operation="create_container",
                uri=self.uri(""),
            )
        try:
            await self._retried(lambda: self._create_bucket(project))
        except AlreadyExists as error:
            # The service says the same of the caller's own bucket and of another's.
            try:
                await self.list_page("", limit=1)
            except PermissionDenied:
                raise error from None

    async def presign(self, key: str, method: PresignMethod, expires_s: int) -> str:
        """As `ObjectClient.presign`: a V4 signature, valid for 7 days at most, by the service account that asks; what
        an anonymous client may do needs none.

        Requests: none with its private key, else 1 or 2 to IAM, which signs for it.
        Raises: ConfigurationError for a longer time; CredentialsMissing where there is no account to sign for.
        """
        if not 1 <= expires_s <= MAX_EXPIRES_S:
            raise ConfigurationError(
                f"a presigned URL is valid for 1 to {MAX_EXPIRES_S} seconds (7 days)",
                operation="presign",
                uri=self.uri(key),
            )
        try:
            signer = await self._credentials.signer()
            path = f"{self._endpoint.base}/{keeps_path(self.container)}/{keeps_path(key)}"
            if signer is None:
                return self._endpoint.origin.url + path
            url = UrlToSign(method, self._endpoint.origin, path, signer.email, expires_s, self._settings.user_project)
            return url.signed(await signer.sign(url.text))
        except StoreError as error:
            if not error.uri:
                error.operation, error.uri = "presign", self.uri(key)
            raise
