"""What an S3 etag proves of the bytes, what it does not, and the checksums beside it. Pure but for the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial

from entrepot.auth.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD
from entrepot.crcs import crc_hex, extender
from entrepot.files import PartChecksum
from entrepot.flavors.s3.replies import CHECKSUMS, composite_count, etag_may_be_md5
from entrepot.flavors.s3.requests import Digests
from entrepot.models import Buffer, FileStat
from entrepot.services.checksums import PartCrc, WholeMd5, aside, crc, md5_hex
from entrepot.services.headers import is_md5


def digest_body(data: Buffer, *, signed: bool) -> Digests:
    """signed: the signature covers the body's own hash; over TLS the connection and Content-MD5 are enough."""
    if not signed:
        return Digests(md5_hex(data), UNSIGNED_PAYLOAD)
    return Digests(md5_hex(data), hashlib.sha256(data).hexdigest() if len(data) else EMPTY_SHA256)


async def digest_aside(data: Buffer, *, signed: bool) -> Digests:
    """As `digest_body`; bodies from 1 MiB in a worker thread, in one hop."""
    return await aside(partial(digest_body, signed=signed), data)


def composite_md5(parts_md5: Iterable[str]) -> str:
    """The etag of an object written in parts, from the MD5 of each, in order. Hex and `-N`."""
    digests = [bytes.fromhex(one) for one in parts_md5]
    return f"{md5_hex(b''.join(digests))}-{len(digests)}"


class EtagKnowledge:
    """Whether this service's etags of objects written whole are their MD5; learned as replies come.

    Many servers promise it, none must keep it, and a reply does not tell which. So:
    - One equality proves it of the service: another rule would hit the same 128 bits by no chance. `holds` is True.
    - While it holds, an inequality is damage: the object's bytes, or those that came, are not those that were sent.
      Replies that name KMS or the caller's key are no evidence either way, nor are etags of another form.
    - Before anything is known, an inequality may be either. Reading again decides: bytes that differ between two
      readings under one etag are damage; equal ones are most likely of a service with other etags (`holds` False),
      so they are returned, and not called verified. A later equality still sets True.
    AWS is known (True), but for directory buckets, whose etags are no MD5.
    """

    __slots__ = ("holds",)

    def __init__(self, holds: bool | None = None) -> None:
        self.holds = holds

    def matches(self, headers: Mapping[str, str], etag: str | None, md5: str) -> bool | None:
        """Whether the etag confirms the MD5; None where it says nothing."""
        if not is_md5(etag) or not etag_may_be_md5(headers):
            return None
        if etag == md5:
            self.holds = True
            return True
        return False

    def doubt(self) -> None:
        """Bytes came twice alike and did not match."""
        if self.holds is None:
            self.holds = False


def computable(told: Mapping[str, str]) -> tuple[str, str] | None:
    """The first of these checksums that can be computed here, and its value."""
    for name in CHECKSUMS:
        if name in told and (name.startswith("sha") or extender(name) is not None):
            return name, told[name]
    return None


def checksum_hex(name: str, data: Buffer) -> str:
    """A checksum by its name; CRC or SHA."""
    if name.startswith("sha"):
        return hashlib.new(name, data, usedforsecurity=False).hexdigest()
    return crc_hex(name, crc(name, data))


class PartMd5(PartChecksum):
    """Verifies a download against an etag, by the MD5 of each part.

    A mismatch proves nothing: a listing does not tell how the object was encrypted, nor in which parts it was written.
    """

    def __init__(self, etag: str, parts: int) -> None:
        self._etag, self._parts = etag, parts
        self._md5: dict[int, str] = {}

    def update(self, number: int, data: Buffer) -> None:
        self._md5[number] = md5_hex(data)

    def verified(self) -> str | None:
        if sorted(self._md5) != list(range(1, self._parts + 1)):
            return None
        return "part-md5" if composite_md5(self._md5[n] for n in sorted(self._md5)) == self._etag else None


def part_checksum(file: FileStat, part_size_bytes: int) -> PartChecksum | None:
    """What can verify a file read in parts of this size, by a CRC or by its etag; None where nothing can."""
    if part_size_bytes <= 0:
        return None
    parts = max(1, -(-file.size_bytes // part_size_bytes))
    known = computable({name: value for name, value in file.checksums.items() if name.startswith("crc")})
    if known is not None:
        return PartCrc(*known, parts)
    if file.etag is None:
        return None
    if composite_count(file.etag) == parts:
        return PartMd5(file.etag, parts)
    if not is_md5(file.etag):
        return None
    # A mismatch proves nothing: a listing does not tell how the object was encrypted.
    return WholeMd5(file.etag, parts, proves=False)
