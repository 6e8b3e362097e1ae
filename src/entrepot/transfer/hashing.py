"""Checksums by the names that services call them, of bytes as they stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Protocol

from anyio import to_thread

from entrepot.crcs import Extend, crc_hex, extender
from entrepot.models import MIB, Buffer, FileStat
from entrepot.transfer.ports import Located
from entrepot.transfer.verify import STRENGTH

CHUNK_BYTES: Final = 4 * MIB
"""Of a file that is read to be hashed."""

_BY_HASHLIB: Final = ("md5", "sha1", "sha256", "sha512")


class Hash(Protocol):
    """A checksum under way."""

    def update(self, data: Buffer, /) -> object: ...
    def hexdigest(self) -> str: ...


class _Crc:
    """A CRC, by the function that continues it."""

    def __init__(self, name: str, extend: Extend) -> None:
        self._name, self._extend, self._value = name, extend, 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._extend(self._value, data)

    def hexdigest(self) -> str:
        return crc_hex(self._name, self._value)


def new_hash(name: str) -> Hash | None:
    """A checksum by its name in `FileStat.checksums`, None where this installation cannot compute it."""
    if name in _BY_HASHLIB:
        return hashlib.new(name, usedforsecurity=False)
    extend = extender(name)
    return _Crc(name, extend) if extend is not None else None


def computable(names: Iterable[str]) -> str | None:
    """The first of these checksums that can be computed here, the strongest first."""
    return next((name for name in STRENGTH if name in set(names) and new_hash(name) is not None), None)


async def checksum_of(store: Located, file: FileStat, name: str, buffer: memoryview) -> str:
    """The checksum of a whole file, read through a buffer. Raises: SourceChanged, and what reading raises.

    Requests: 1 for each filling of the buffer.
    """
    digest = new_hash(name)
    if digest is None:
        raise ValueError(f"{name} cannot be computed here")
    for start in range(0, file.size_bytes, len(buffer)):
        piece = buffer[: min(len(buffer), file.size_bytes - start)]
        await store.read_part(file, start, piece)
        await to_thread.run_sync(digest.update, piece)
    return digest.hexdigest()
