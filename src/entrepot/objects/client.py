"""The primitives of one object service: few, abstract, each one request."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import ClassVar, Final

from entrepot.crcs import combined, crc_hex
from entrepot.errors import (
    ConfigurationError,
    ContainerNotFound,
    NotFound,
    PreconditionFailed,
    UnsupportedOperation,
    UploadGone,
)
from entrepot.files import PartChecksum
from entrepot.models import (
    NO_OPTIONS,
    Buffer,
    ByteRange,
    Capabilities,
    DeleteFailure,
    FileStat,
    Limits,
    ListPage,
    ObjectData,
    ObjectStat,
    Part,
    PresignMethod,
    Reached,
    Upload,
    WriteOptions,
)
from entrepot.rates import Rate

MTIME_KEY = "mtime"
"""The user metadata that keeps a file's own time, in decimal seconds since 1970; rclone reads and writes the same."""


NO_ETAGS: Final[Mapping[str, str]] = MappingProxyType({})
"""For `ObjectClient.delete_many`: whatever is there goes."""

CHANGED: Final = "PreconditionFailed"
"""The code of a `DeleteFailure` for an object that is no longer the one that was to go."""


def changed(operation: str, uri: str) -> PreconditionFailed:
    """What a delete raises that is pinned to an etag, where another object is there."""
    return PreconditionFailed("another writer's object is there by now; it is kept", operation=operation, uri=uri)


def user_metadata(options: WriteOptions) -> Mapping[str, str]:
    """What a write keeps as user metadata: the caller's own, and the file's time."""
    if options.mtime_s is None:
        return options.metadata
    seconds = f"{options.mtime_s:.9f}".rstrip("0").rstrip(".")
    return {**options.metadata, MTIME_KEY: seconds}


_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_NAMES: Final = "a name of metadata is made of ASCII letters, digits and -_. (no spaces)"


def metadata_name(name: str) -> str:
    """In lower case, as services keep it. Raises: ConfigurationError for one that no header could have."""
    lower = name.lower()
    if not _NAME.fullmatch(lower):
        raise ConfigurationError(_NAMES)
    return lower


def _unkept(options: WriteOptions, own: frozenset[str]) -> str | None:
    """Why no service keeps that content type or metadata, and what to do. own: names that a user may not give."""
    if options.content_type is not None and not options.content_type.isprintable():
        return "content_type is printable text, such as text/csv"
    for name, value in options.metadata.items():
        lower = name.lower()
        if not _NAME.fullmatch(lower):
            return _NAMES
        if lower in own:
            return f"{lower} is metadata of entrepot's own, which no listing shows; choose another name"
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"the metadata {lower} has half of a character (a lone surrogate), which UTF-8 does not have"
    return None


class ObjectClient(ABC):
    """One container (bucket) of one service, as flat keys.

    Keys are literal and complete: the root's prefix is above this layer. Every primitive retries by the one policy
    (`entrepot.http.retry`) and raises members of `StoreError` with the object's URI: NotFound, ContainerNotFound,
    PermissionDenied, Throttled … No answer is believed unchecked: an error inside a 200, a wrong range, a short body
    are errors. A client may be used from several event loops; what belongs to a loop is kept per loop.
    """

    limits: Limits
    capabilities: Capabilities
    """As known now; the store replaces unknowns after probing."""
    own_metadata: ClassVar[frozenset[str]] = frozenset()
    """Names of user metadata that it writes for itself and never shows, so that no user may give them."""
    uploads_are_parts: ClassVar[bool] = False
    """Whether the service knows of an upload by its parts alone, so that one without parts is none."""
    directories_may_outlive_files: bool = False
    """Whether a directory may go on being listed once all its keys are deleted, as over a file system."""
    uploads_expire: bool = False
    """Whether the service drops unfinished uploads by itself after a while, and knows no other way to end them."""

    def check_options(self, key: str, options: WriteOptions, operation: str) -> None:
        """Refuse a content type and metadata that cannot be kept. Requests: none. Raises: ConfigurationError."""
        if options.metadata or options.content_type is not None:
            fault = _unkept(options, self.own_metadata)
            if fault is not None:
                raise ConfigurationError(fault, operation=operation, uri=self.uri(key))

    @abstractmethod
    async def head(self, key: str, *, version: str | None = None) -> ObjectStat:
        """What is known of one object, its user metadata included; version: of an older one. Raises: NotFound."""

    @abstractmethod
    async def get(
        self,
        key: str,
        *,
        byte_range: ByteRange | None = None,
        if_match: str | None = None,
        into: memoryview | None = None,
        version: str | None = None,
    ) -> ObjectData:
        """The bytes of an object, or of a range of it, whole in memory; version: of an older one.

        into: where the bytes go (then `data` is this view, cut to what came). A range that begins at or after the
        end gives empty data. stat.size_bytes is the whole object's. stat.checksums: what `data` was compared with,
        or was told and cannot be computed here.
        Raises: NotFound; PreconditionFailed where the reply's etag is not `if_match`, whether or not the server
        checked it; ChecksumMismatch; BadResponse where the reply is not the range asked for.
        """

    @abstractmethod
    async def put(self, key: str, data: Buffer, options: WriteOptions = NO_OPTIONS) -> ObjectStat:
        """Write one object whole. Idempotent, but for `if_none_match`, whose lost reply is settled by a HEAD.

        options: metadata is kept as `user_metadata` tells it, the file's time included; so for `create_upload`.
        Raises: AlreadyExists (`if_none_match`), PreconditionFailed (`if_match`), Conflict.
        """

    @abstractmethod
    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        token: str | None = None,
        start_after: str = "",
        limit: int | None = None,
    ) -> ListPage:
        """One page of keys that begin with the prefix, in UTF-8 order. Raises: ContainerNotFound."""

    @abstractmethod
    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Delete one object; a missing one is no error.

        if_match: only while it has that etag, which needs `capabilities.conditional_delete`.
        Raises: PreconditionFailed where another object is there by now, which stays.
        """

    @abstractmethod
    async def delete_many(self, keys: Sequence[str], *, etags: Mapping[str, str] = NO_ETAGS) -> list[DeleteFailure]:
        """Delete up to `limits.delete_batch` objects; what failed, by key. A missing one is no failure.

        etags: by key, of those that go only while they have it, as `if_match` of `delete`; what is another by now is a
        failure of the code `CHANGED`.
        """

    @abstractmethod
    async def copy(
        self,
        source: ObjectClient,
        source_key: str,
        key: str,
        options: WriteOptions | None = None,
        *,
        source_etag: str | None = None,
    ) -> ObjectStat:
        """Copy one object up to `limits.copy_max_bytes` on the service's side; `copies_from` said that it can.

        options: None, or one that does not describe the object, keeps the source's metadata and type.
        options.if_none_match is honoured only where `capabilities.exclusive_copy`. source_etag pins the source:
        PreconditionFailed where it changed. Requests: 1, and where its reply tells no size, a HEAD.
        """

    @abstractmethod
    def copies_from(self, source: ObjectClient) -> bool:
        """Whether `copy` and `copy_part` can read from that client's container (same service and credentials)."""

    @abstractmethod
    async def create_upload(
        self, key: str, options: WriteOptions = NO_OPTIONS, size_bytes: int | None = None
    ) -> Upload:
        """Begin a multipart upload; nothing is visible until it is completed.

        size_bytes: the whole, where it is known; a service may go by it. Where the upload is `in_order`, its parts
        must come one after another, from 1 on, all but the last of a whole number of MiB.
        """

    @abstractmethod
    async def put_part(self, upload: Upload, number: int, data: Buffer) -> Part:
        """Upload one part (1-based); parts may arrive in any order, the last write of a number wins."""

    @abstractmethod
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
        """One part copied on the service's side."""

    @abstractmethod
    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat:
        """Publish the object from its parts. A lost reply is settled by a HEAD before an error is raised."""

    @abstractmethod
    async def abort_upload(self, upload: Upload) -> None:
        """Drop the upload and its parts; one that is gone already is no error."""

    @abstractmethod
    async def list_parts(self, upload: Upload) -> list[Part]:
        """The parts that the service holds, by number."""

    @abstractmethod
    async def list_uploads(self, prefix: str = "") -> list[Upload]:
        """Multipart uploads under way below a prefix; `initiated` where the service tells it."""

    def outlives_process(self, upload: Upload) -> bool:
        """Whether another process can go on with that upload, by its key and its id, which is no secret."""
        return False

    async def continue_upload(self, upload: Upload) -> list[Part]:
        """The parts held, of whatever size, of an upload that another client may have begun. Requests: a listing.

        Raises: UploadGone where the service has none of it: completed, aborted, dropped with time. So is one that has
        no part yet, where the service knows of nothing but parts.
        """
        where = {"operation": "open_parts", "uri": self.uri(upload.key)}
        try:
            held = await self.list_parts(upload)
        except ContainerNotFound:
            raise
        except NotFound as error:
            raise UploadGone("the upload was completed, aborted or forgotten; write it anew", **where) from error
        if not held and self.uploads_are_parts:
            raise UploadGone("no part of the upload is there; write it anew", **where)
        return held

    async def find_completed(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat | None:
        """The object that an upload has become which is gone, where its parts prove that; else None. Requests: 1 or 2.

        parts: all of them, in order. Here the CRC32C of the whole decides, made of those of the parts.
        """
        try:
            stat = await self.head(upload.key)
        except NotFound:
            return None
        crcs = [(part.crc32c, part.size_bytes) for part in parts if part.crc32c is not None]
        whole = combined("crc32c", crcs) if len(crcs) == len(parts) else None
        same = whole is not None and stat.checksums.get("crc32c") == crc_hex("crc32c", whole)
        return stat if same and stat.size_bytes == upload.size_bytes else None

    @abstractmethod
    async def create_container(self) -> None:
        """Make the bucket or container; one that is ours already is no error."""

    async def presign(self, key: str, method: PresignMethod, expires_s: int) -> str:
        """A URL by which anyone can do that until it expires. Requests: none, unless a service must sign."""
        raise UnsupportedOperation("this service has no presigned URLs", operation="presign", uri=self.uri(key))

    async def list_versions(self, key: str) -> list[ObjectStat]:
        """What the service keeps of one key, newest first, each with its `version`. Requests: 1 a 1,000 versions."""
        raise UnsupportedOperation("this service keeps no versions", operation="list_versions", uri=self.uri(key))

    async def reach(self) -> Reached | None:
        """Have the service answer anything at all, by a request that is not signed. Requests: 1.

        None where there is no service, or no such request. Raises: Unreachable, ConnectionFailed, TlsFailed, TimedOut.
        """
        return None

    async def identity(self) -> str:
        """Who asks, in a few words without a secret (`access key …WXYZ`); empty where nobody has to be known.

        Requests: what finding the credentials takes. Raises: CredentialsMissing, CredentialsExpired.
        """
        return ""

    @abstractmethod
    def uri(self, key: str) -> str:
        """The address of a key, for messages and results."""

    def paced(self, *, concurrency: int | None = None, rate: Rate | None = None) -> AbstractContextManager[None]:
        """As `BaseArtifactStore.paced`; a client that asks no service has nothing to bound."""
        return nullcontext()

    async def close(self) -> None:
        """Drop the connections of the running loop; harmless twice, the client stays usable."""

    def part_checksum(self, file: FileStat, part_size_bytes: int) -> PartChecksum | None:
        """As `BaseArtifactStore.part_checksum`."""
        return None
