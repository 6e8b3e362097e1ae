"""The memory flavor: objects in this process, for tests and caches."""

from __future__ import annotations

import hashlib
import secrets
import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar, Final

import anyio.lowlevel
import anyio.to_thread

from entrepot.errors import AlreadyExists, BadResponse, NotFound, PreconditionFailed, StoreError, UnsupportedOperation
from entrepot.models import (
    MIB,
    NO_OPTIONS,
    Buffer,
    ByteRange,
    Capabilities,
    DeleteFailure,
    Limits,
    ListPage,
    ObjectData,
    ObjectStat,
    Part,
    Upload,
    WriteOptions,
)
from entrepot.objects.client import CHANGED, NO_ETAGS, ObjectClient, changed, user_metadata
from entrepot.objects.store import ObjectArtifactStore
from entrepot.paths import Root, split_uri

_INLINE_BYTES: Final = MIB
"""Up to this size a hash is made on the loop: a thread hop costs more."""


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    stat: ObjectStat


@dataclass(slots=True)
class _Pending:
    """An upload under way: its parts by number."""

    upload: Upload
    parts: dict[int, tuple[Part, bytes]] = field(default_factory=dict)


class _SortedKeys:
    """The keys of a container in UTF-8 order, sorted when a listing asks and not at every write."""

    def __init__(self) -> None:
        self._sorted: list[str] = []
        self._added: list[str] = []
        self._gone: set[str] = set()

    def add(self, key: str) -> None:
        if key in self._gone:
            self._gone.remove(key)
        else:
            self._added.append(key)

    def remove(self, key: str) -> None:
        self._gone.add(key)

    def settled(self) -> tuple[list[str], set[str]]:
        """All keys in order, and those among them that are gone."""
        if len(self._gone) > 1_000 and len(self._gone) * 2 > len(self._sorted) + len(self._added):
            gone = self._gone
            self._sorted = [key for key in self._sorted if key not in gone]
            self._added = [key for key in self._added if key not in gone]
            self._gone = set()
        if self._added:
            # Python compares text by code points, which is the order of the UTF-8 bytes.
            self._sorted += self._added
            self._sorted.sort()
            self._added = []
        return self._sorted, self._gone


class _Container:
    """What one container holds; every method is atomic."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, _Object] = {}
        self.uploads: dict[str, _Pending] = {}
        self.keys = _SortedKeys()

    def store(self, held: _Object) -> None:
        if held.stat.key not in self.objects:
            self.keys.add(held.stat.key)
        self.objects[held.stat.key] = held

    def drop(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            self.keys.remove(key)

    def page(self, prefix: str, delimiter: str, bound: str, limit: int) -> ListPage:
        """One page of what is at or after `bound` in the order of keys."""
        keys, gone = self.keys.settled()
        objects: list[ObjectStat] = []
        prefixes: list[str] = []
        at = bisect_left(keys, max(prefix, bound))
        while at < len(keys) and keys[at].startswith(prefix):
            key = keys[at]
            if key in gone:
                at += 1
                continue
            if len(objects) + len(prefixes) == limit:
                return ListPage(tuple(objects), tuple(prefixes), key)
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                objects.append(self.objects[key].stat)
                at += 1
            else:
                common = key[: cut + len(delimiter)]
                prefixes.append(common)
                at = bisect_left(keys, _after_all_with(common), at)
        return ListPage(tuple(objects), tuple(prefixes), None)


def _after_all_with(prefix: str) -> str:
    """The least text after every one with that prefix (which does not end in the last code point)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class _Containers:
    """The containers of this process, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, _Container] = {}

    def get(self, name: str) -> _Container:
        with self._lock:
            return self._by_name.setdefault(name, _Container())


_PROCESS: Final = _Containers()


class MemoryClient(ObjectClient):
    """The primitives on a dictionary that the whole process shares, by container name; thread safe.

    It keeps every condition, and tells MD5 etags as S3 does, so that it stands for a complete service in tests.
    """

    def __init__(self, container: str = "", *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits(part_min_bytes=1)
        self.capabilities = Capabilities(conditional_write=True, conditional_delete=True)
        self.container = container
        self._held = _PROCESS.get(container)

    def uri(self, key: str) -> str:
        return f"memory://{self.container}/{key}"

    def _missing(self, operation: str, key: str) -> NotFound:
        return NotFound("no such object", operation=operation, uri=self.uri(key))

    def _object(self, operation: str, key: str, if_match: str | None = None) -> _Object:
        found = self._held.objects.get(key)
        if found is None:
            raise self._missing(operation, key)
        if if_match is not None and found.stat.etag != if_match:
            raise PreconditionFailed("the object has another etag by now", operation=operation, uri=self.uri(key))
        return found

    def _refuse_version(self, key: str, version: str | None) -> None:
        if version is not None:
            raise UnsupportedOperation("memory keeps no versions", operation="read_version", uri=self.uri(key))

    async def head(self, key: str, *, version: str | None = None) -> ObjectStat:
        self._refuse_version(key, version)
        return self._object("head", key).stat

    async def get(
        self,
        key: str,
        *,
        byte_range: ByteRange | None = None,
        if_match: str | None = None,
        into: memoryview | None = None,
        version: str | None = None,
    ) -> ObjectData:
        self._refuse_version(key, version)
        found = self._object("get", key, if_match)
        data, stat = found.data, found.stat
        if byte_range is not None:
            # What was hashed at the write is the whole object, so a range vouches for nothing.
            data, stat = data[byte_range.start : byte_range.stop], replace(stat, checksums={})
        if into is None:
            return ObjectData(data, stat)
        if len(data) > len(into):
            raise BadResponse("the object is larger than the buffer for it", operation="get", uri=self.uri(key))
        into[: len(data)] = data
        return ObjectData(into[: len(data)], stat)

    async def put(self, key: str, data: Buffer, options: WriteOptions = NO_OPTIONS) -> ObjectStat:
        self.check_options(key, options, "put")
        content = bytes(data)
        md5 = await _md5(content)
        return self._publish("put", key, content, options, etag=md5, checksums={"md5": md5})

    def _publish(
        self,
        operation: str,
        key: str,
        content: bytes,
        options: WriteOptions,
        *,
        etag: str,
        checksums: Mapping[str, str],
    ) -> ObjectStat:
        stat = ObjectStat(
            key=key,
            size_bytes=len(content),
            modified=datetime.now(UTC),
            etag=etag,
            content_type=options.content_type,
            metadata=user_metadata(options),
            checksums=checksums,
        )
        with self._held.lock:
            self._check_conditions(operation, key, options)
            self._held.store(_Object(content, stat))
        return stat

    def _check_conditions(self, operation: str, key: str, options: WriteOptions) -> None:
        if options.if_none_match and key in self._held.objects:
            raise AlreadyExists("an object is there already", operation=operation, uri=self.uri(key))
        if options.if_match is not None:
            self._object(operation, key, options.if_match)

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        token: str | None = None,
        start_after: str = "",
        limit: int | None = None,
    ) -> ListPage:
        await anyio.lowlevel.checkpoint()
        bound = token if token is not None else (start_after + "\0" if start_after else "")
        with self._held.lock:
            return self._held.page(prefix, delimiter, bound, min(limit or self.limits.list_page, self.limits.list_page))

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        with self._held.lock:
            if not self._drop(key, if_match):
                raise changed("delete", self.uri(key))

    async def delete_many(self, keys: Sequence[str], *, etags: Mapping[str, str] = NO_ETAGS) -> list[DeleteFailure]:
        with self._held.lock:
            kept = [key for key in keys if not self._drop(key, etags.get(key))]
        return [DeleteFailure(key, CHANGED, changed("delete", self.uri(key)).message) for key in kept]

    def _drop(self, key: str, etag: str | None) -> bool:
        """Whether nothing is there any more; False where another etag keeps it. Under the lock."""
        found = self._held.objects.get(key)
        if found is not None and etag is not None and found.stat.etag != etag:
            return False
        self._held.drop(key)
        return True

    def copies_from(self, source: ObjectClient) -> bool:
        return isinstance(source, MemoryClient)

    async def copy(
        self,
        source: ObjectClient,
        source_key: str,
        key: str,
        options: WriteOptions | None = None,
        *,
        source_etag: str | None = None,
    ) -> ObjectStat:
        assert isinstance(source, MemoryClient)
        self.check_options(key, options or NO_OPTIONS, "copy")
        found = source._object("copy", source_key, source_etag)
        wanted = options or NO_OPTIONS
        if not wanted.describes:
            wanted = replace(wanted, content_type=found.stat.content_type, metadata=found.stat.metadata)
        etag, checksums = found.stat.etag, found.stat.checksums
        return self._publish("copy", key, found.data, wanted, etag=etag or "", checksums=checksums)

    # ---- uploads in parts ---------------------------------------------------------------------------

    async def create_upload(
        self, key: str, options: WriteOptions = NO_OPTIONS, size_bytes: int | None = None
    ) -> Upload:
        self.check_options(key, options, "create_upload")
        upload = Upload(key, secrets.token_hex(16), options, initiated=datetime.now(UTC))
        with self._held.lock:
            self._held.uploads[upload.upload_id] = _Pending(upload)
        return upload

    def _pending(self, operation: str, upload: Upload) -> _Pending:
        pending = self._held.uploads.get(upload.upload_id)
        if pending is None:
            raise NotFound("the upload was completed or aborted", operation=operation, uri=self.uri(upload.key))
        return pending

    async def put_part(self, upload: Upload, number: int, data: Buffer) -> Part:
        content = bytes(data)
        md5 = await _md5(content)
        part = Part(number, len(content), md5, md5)
        with self._held.lock:
            self._pending("put_part", upload).parts[number] = (part, content)
        return part

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
        found = await source.get(source_key, byte_range=byte_range, if_match=source_etag)
        return await self.put_part(upload, number, found.data)

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat:
        held = self._pending("complete_upload", upload).parts
        for part in parts:
            if part.number not in held or held[part.number][0].etag != part.etag:
                raise StoreError(
                    f"part {part.number} is not the one that was written",
                    operation="complete_upload",
                    uri=self.uri(upload.key),
                )
        content = b"".join(held[part.number][1] for part in parts)
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        stat = self._publish(
            "complete_upload", upload.key, content, upload.options, etag=etag, checksums={"part-md5": etag}
        )
        await self.abort_upload(upload)
        return stat

    async def abort_upload(self, upload: Upload) -> None:
        with self._held.lock:
            self._held.uploads.pop(upload.upload_id, None)

    async def list_parts(self, upload: Upload) -> list[Part]:
        with self._held.lock:
            return [part for _, (part, _) in sorted(self._pending("list_parts", upload).parts.items())]

    async def list_uploads(self, prefix: str = "") -> list[Upload]:
        with self._held.lock:
            return [one.upload for one in self._held.uploads.values() if one.upload.key.startswith(prefix)]

    async def create_container(self) -> None:
        """Containers are there from their first use."""


async def _md5(content: bytes) -> str:
    if len(content) > _INLINE_BYTES:
        return await anyio.to_thread.run_sync(_md5_here, content)
    return _md5_here(content)


def _md5_here(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """path: `memory://`, `memory://name` or `memory://name/prefix`."""

    path: str


class MemoryArtifactStore(ObjectArtifactStore):
    """Artifacts in this process: gone when it ends, shared by all stores of one container name."""

    FLAVOR: ClassVar[str] = "memory"
    CONFIG: ClassVar[type[MemoryConfig]] = MemoryConfig
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"memory://"})

    def _make_client(self) -> ObjectClient:
        return MemoryClient(self._root.container)

    @classmethod
    def _parse_root(cls, path: str) -> Root:
        scheme, container, key = split_uri(path)
        # The container without a name serves stores that share with nobody's `memory://name`.
        return Root.parse(path) if container else Root(scheme, "", Root.parse(f"{scheme}://-/{key}").prefix)
