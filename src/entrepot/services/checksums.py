"""Checksums of bytes in memory, by C libraries, large ones in a worker thread.

CRC32C of a whole is combined from those of its parts by arithmetic, so that no byte is read twice.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, TypeVar

import anyio.to_thread

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
    """CRC32C (Castagnoli) of the bytes. Needs google-crc32c, of the extras `gcp` and `azure`."""
    import google_crc32c

    # The C library takes `bytes` alone; what lies in another buffer is read through a copy of 1 MiB at a time.
    if isinstance(data, bytes):
        return int(google_crc32c.value(data))
    view, value = memoryview(data), 0
    for start in range(0, len(view), MIB):
        value = google_crc32c.extend(value, bytes(view[start : start + MIB]))
    return value


async def crc32c_aside(data: Buffer) -> int:
    """As `crc32c`; from 1 MiB in a worker thread."""
    return await aside(crc32c, data)


def crc32c_hex(value: int) -> str:
    """As `FileStat.checksums` has it: eight lower-case digits, the first byte first."""
    return f"{value:08x}"


def crc32c_base64(value: int) -> str:
    """As Google writes it: base64 of the four bytes, the first one first (RFC 4960, appendix B)."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


_POLYNOMIAL: Final = 0x82F63B78  # of CRC32C, reflected


def _times(matrix: tuple[int, ...], vector: int) -> int:
    total = 0
    for row in matrix:
        if vector & 1:
            total ^= row
        vector >>= 1
    return total


@lru_cache(maxsize=64)
def _zeros(power: int) -> tuple[int, ...]:
    """What 2**power zero bytes do to a CRC, as a matrix over GF(2)."""
    if power == 0:
        one_bit = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
        two = tuple(_times(one_bit, row) for row in one_bit)
        four = tuple(_times(two, row) for row in two)
        return tuple(_times(four, row) for row in four)
    half = _zeros(power - 1)
    return tuple(_times(half, row) for row in half)


def combine_crc32c(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC32C of a whole, from (CRC32C, size in bytes) of its parts in order.

    Source: M. Adler's `crc32_combine` in zlib, for another polynomial.
    """
    whole = 0
    for value, size_bytes in parts:
        power = 0
        while size_bytes >> power:
            if size_bytes >> power & 1:
                whole = _times(_zeros(power), whole)
            power += 1
        whole ^= value
    return whole


class PartCrc32c(PartChecksum):
    """Verifies a download against the CRC32C that the service vouches for, from the parts in any order."""

    def __init__(self, expected: str, parts: int) -> None:
        self._expected, self._parts = expected, parts
        self._held: dict[int, tuple[int, int]] = {}

    def update(self, number: int, data: Buffer) -> None:
        self._held[number] = (crc32c(data), len(data))

    def verified(self) -> str | None:
        """Raises: ChecksumMismatch: unlike an etag, this checksum is never anything else."""
        if sorted(self._held) != list(range(1, self._parts + 1)):
            return None
        found = crc32c_hex(combine_crc32c(self._held[number] for number in sorted(self._held)))
        if found != self._expected:
            raise ChecksumMismatch("the bytes read have not the CRC32C that the service tells; read them again")
        return "crc32c"


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
