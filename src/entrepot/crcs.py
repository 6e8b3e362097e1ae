"""CRCs by C libraries: of bytes as they stream, and of a whole by those of its parts, so that no byte is read twice."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, TypeAlias

from entrepot.models import MIB, Buffer

Extend: TypeAlias = Callable[[int, Buffer], int]
"""Continues a CRC, which begins with 0."""

_POLYNOMIALS: Final = {"crc32": 0xEDB88320, "crc32c": 0x82F63B78, "crc64nvme": 0x9A6C9329AC4BC9B5}
"""By their names in `FileStat.checksums`; reflected, as all of them are."""

_LIBRARIES: Final = {"crc32c": "google-crc32c (entrepot[gcp])", "crc64nvme": "awscrt (entrepot[s3])"}


def extender(name: str) -> Extend | None:
    """What computes the CRC of that name; None where its library is not installed, and for what is no CRC."""
    try:
        if name == "crc32":
            return lambda value, data: zlib.crc32(data, value)
        if name == "crc32c":
            return _crc32c_extender()
        if name == "crc64nvme":
            return _crc64nvme_extender()
    except ImportError:
        return None
    return None


@lru_cache(maxsize=1)
def _crc32c_extender() -> Extend:
    try:
        import google_crc32c
    except ImportError:
        from awscrt.checksums import crc32c  # `entrepot[s3]` brings no other

        return lambda value, data: int(crc32c(data, value))

    def extend(value: int, data: Buffer) -> int:
        # The library takes `bytes` alone; what lies in another buffer is read through a copy of 1 MiB at a time.
        view = memoryview(data)
        for start in range(0, len(view), MIB):
            value = int(google_crc32c.extend(value, bytes(view[start : start + MIB])))
        return value

    return extend


@lru_cache(maxsize=1)
def _crc64nvme_extender() -> Extend:
    from awscrt.checksums import crc64nvme

    return lambda value, data: int(crc64nvme(data, value))


def missing_library(name: str) -> str | None:
    """What is to be installed so that the CRC can be computed, and the extra that brings it; None where it can be,
    and for what is no CRC.
    """
    library = _LIBRARIES.get(name)
    return library if library is not None and extender(name) is None else None


def crc_hex(name: str, value: int) -> str:
    """As `FileStat.checksums` has it: lower-case digits, the first byte first."""
    return f"{value:0{_bits(name) // 4}x}"


def combined(name: str, parts: Iterable[tuple[int, int]]) -> int:
    """The CRC of a whole, from (CRC, size in bytes) of its parts in order.

    Source: M. Adler's `crc32_combine` in zlib, for other polynomials.
    """
    whole = 0
    for value, size_bytes in parts:
        power = 0
        while size_bytes >> power:
            if size_bytes >> power & 1:
                whole = _times(_zeros(name, power), whole)
            power += 1
        whole ^= value
    return whole


def _bits(name: str) -> int:
    return 64 if name == "crc64nvme" else 32


def _times(matrix: tuple[int, ...], vector: int) -> int:
    total = 0
    for row in matrix:
        if vector & 1:
            total ^= row
        vector >>= 1
    return total


@lru_cache(maxsize=192)
def _zeros(name: str, power: int) -> tuple[int, ...]:
    """What 2**power zero bytes do to a CRC, as a matrix over GF(2)."""
    if power == 0:
        one_bit = (_POLYNOMIALS[name], *(1 << bit for bit in range(_bits(name) - 1)))
        two = tuple(_times(one_bit, row) for row in one_bit)
        four = tuple(_times(two, row) for row in two)
        return tuple(_times(four, row) for row in four)
    half = _zeros(name, power - 1)
    return tuple(_times(half, row) for row in half)
