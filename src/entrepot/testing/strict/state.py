"""What the strict server holds: buckets, objects, uploads under way. All in memory, for one thread."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from entrepot.testing.strict.checksums import Checksum
from entrepot.testing.strict.exchange import Refusal

PART_LEAST_BYTES: Final = 5 * 1024 * 1024
"""Of each part but the last. Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is kept of an object beside its bytes. headers: as they are given back, the user's own included."""

    headers: tuple[tuple[str, str], ...] = ()
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class Object:
    """One object. etag: without quotes. modified_s: since 1970."""

    data: bytes = field(repr=False)
    etag: str
    modified_s: float
    described: Described = Described()
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an upload. etag: without quotes."""

    data: bytes = field(repr=False)
    etag: str
    modified_s: float
    checksum: Checksum | None = None


@dataclass(slots=True)
class Upload:
    """One upload under way. algorithm: of its checksums, None where none was asked for; kind: how they are joined."""

    key: str
    upload_id: str
    initiated_s: float
    described: Described
    algorithm: str | None = None
    kind: str = "FULL_OBJECT"
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """objects: by key. uploads: by id."""

    name: str
    created_s: float
    objects: dict[str, Object] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def object(self, key: str) -> Object:
        """Raises: Refusal."""
        found = self.objects.get(key)
        if found is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        return found

    def upload(self, key: str, upload_id: str | None) -> Upload:
        """Raises: Refusal."""
        found = self.uploads.get(upload_id or "")
        if found is None or found.key != key:
            message = "The specified upload does not exist. It may have been aborted or completed."
            raise Refusal(404, "NoSuchUpload", message, UploadId=upload_id or "")
        return found


@dataclass(slots=True)
class State:
    """region: of every bucket. now: seconds since 1970, as the service's clock tells them."""

    region: str
    now: Callable[[], float]
    part_least_bytes: int = PART_LEAST_BYTES
    buckets: dict[str, Bucket] = field(default_factory=dict)

    def bucket(self, name: str) -> Bucket:
        """Raises: Refusal."""
        found = self.buckets.get(name)
        if found is None:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist", BucketName=name)
        return found


def md5(data: bytes) -> str:
    """Hex, as etags have it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def in_order(key: str) -> bytes:
    """What listings are sorted by."""
    return key.encode()
