"""Checksums of bytes in memory, by C libraries, large ones in a worker thread.

CRCs are those of `entrepot.crcs`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import anyio.to_thread

from entrepot.crcs import combined, crc_hex, extender, missing_library
from entrepot.errors import ChecksumMismatch
from entrepot.files import PartChecksum
from entrepot.models import MIB, Buffer

T = TypeVar("T")

_IN_THREAD_FROM_BYTES: Final = 1 * MIB


async def aside(digest: Callable[[Buffer], T], data: Buffer) -> T:
    """`digest(data)`; from 1 MiB in a worker thread, in one hop."""
    if len(data) < _IN_THREAD_FROM_BYTES:
        return digest(data)
    return await anyio.to_thread.run_sync(digest, data)


def md5_hex(data: Buffer) -> str:
    """MD5 as a checksum, also where the machine's policy forbids it for security."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def md5_aside(data: Buffer) -> str:
    """As `md5_hex`; from 1 MiB in a worker thread."""
    return await aside(md5_hex, data)


def crc32c(data: Buffer) -> int:
    """CRC32C (Castagnoli) of the bytes. Needs google-crc32c, of the extras `gcp` and `azure`, or awscrt, of `s3`."""
    return crc("crc32c", data)


def crc(name: str, data: Buffer) -> int:
    """The CRC of that name. Raises: ModuleNotFoundError where its library is missing."""
    extend = extender(name)
    if extend is None:
        raise ModuleNotFoundError(f"{name} needs {missing_library(name)}")
    return extend(0, data)


async def crc32c_aside(data: Buffer) -> int:
    """As `crc32c`; from 1 MiB in a worker thread."""
    return await aside(crc32c, data)


def crc32c_hex(value: int) -> str:
    """As `FileStat.checksums` has it: eight lower-case digits, the first byte first."""
    return crc_hex("crc32c", value)


def crc32c_base64(value: int) -> str:
    """As Google writes it: base64 of the four bytes, the first one first (RFC 4960, appendix B)."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def combine_crc32c(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC32C of a whole, from (CRC32C, size in bytes) of its parts in order."""
    return combined("crc32c", parts)


class PartCrc(PartChecksum):
    """Verifies a download against the CRC that the service vouches for, from the parts in any order.

    name: of the checksum; its library is there.
    """

    def __init__(self, name: str, expected: str, parts: int) -> None:
        self.name = name
        self._expected, self._parts = expected, parts
        self._held: dict[int, tuple[int, int]] = {}

    def update(self, number: int, data: Buffer) -> None:
        self._held[number] = (crc(self.name, data), len(data))

    def verified(self) -> str | None:
        """Raises: ChecksumMismatch: unlike an etag, this checksum is never anything else."""
        if sorted(self._held) != list(range(1, self._parts + 1)):
            return None
        found = crc_hex(self.name, combined(self.name, (self._held[number] for number in sorted(self._held))))
        if found != self._expected:
            shown = self.name.upper()
            raise ChecksumMismatch(f"the bytes read have not the {shown} that the service tells; read them again")
        return self.name


class WholeMd5(PartChecksum):
    """Verifies a download against the MD5 of the whole, by its parts in order.

    proves: the checksum is certainly an MD5 of the bytes, so that a mismatch is damage; else it proves nothing.
    """

    in_order = True

    def __init__(self, expected: str, parts: int, *, proves: bool) -> None:
        self._expected, self._parts, self._proves = expected, parts, proves
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._next = 1

    def update(self, number: int, data: Buffer) -> None:
        if number != self._next:
            raise ValueError(f"part {number} comes before part {self._next}")
        self._next += 1
        self._md5.update(data)

    def verified(self) -> str | None:
        """Raises: ChecksumMismatch, where the checksum proves."""
        if self._next != self._parts + 1:
            return None
        if self._md5.hexdigest() == self._expected:
            return "md5"
        if self._proves:
            raise ChecksumMismatch("the bytes read have not the MD5 that the service tells; read them again")
        return None
