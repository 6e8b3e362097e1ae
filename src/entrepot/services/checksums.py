"""Checksums of bytes in memory, by C libraries, large ones in a worker thread."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, TypeVar

import anyio.to_thread

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
