"""What only a directory of this machine has: space, durability, and temporaries of processes that were killed."""

from __future__ import annotations

import os
import shutil
from typing import Final

from anyio import to_thread

from entrepot.diagnosis.files import temporary_file
from entrepot.diagnosis.findings import Finding, Record, counted
from entrepot.flavors.local.hops import Check, interruptible
from entrepot.flavors.local.store import LocalArtifactStore
from entrepot.flavors.local.temporaries import count_dead
from entrepot.models import GIB, MIB, WriteOptions

SPACE_WARNS_BYTES: Final = GIB
SPACE_FAILS_BYTES: Final = MIB
_INODES_WARN: Final = 1_000


async def look_at_directory(store: LocalArtifactStore, record: Record) -> bool:
    """The checks `directory` and `space`; whether the directory is there."""
    there = True

    async def directory() -> str | Finding:
        nonlocal there
        finding = await to_thread.run_sync(_directory, store.path)
        there = isinstance(finding, str)
        return finding

    usable = await record.tried("directory", directory)
    if usable:
        await record.tried("space", lambda: to_thread.run_sync(_space, store.path))
    else:
        await record.skip(["space"], "there is no such directory")
    return usable and there


def _existing(path: str) -> str:
    """The nearest directory above that is there, or the path itself."""
    while not os.path.lexists(path) and (parent := os.path.dirname(path)) != path:
        path = parent
    return path


def _directory(path: str) -> str | Finding:
    nearest = _existing(path)
    if not os.path.isdir(nearest):
        return Finding("directory", "failed", f"{nearest} is no directory", "give the address of a directory")
    if nearest == path:
        return "it is there"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            "directory", "failed", f"it is not there, and nothing can be made in {nearest}",
            "make it, or give this user the right to",
        )  # fmt: skip
    return Finding("directory", "warning", "it is not there yet", "the first write makes it")


def _space(path: str) -> str | Finding:
    nearest = _existing(path)
    usage = shutil.disk_usage(nearest)
    if not usage.total:
        return Finding("space", "skipped", "this file system does not tell its size")
    free = f"{usage.free / GIB:,.1f} GiB of {usage.total / GIB:,.1f} GiB free"
    if usage.free < SPACE_FAILS_BYTES:
        return Finding("space", "failed", free, "free some space")
    if hasattr(os, "statvfs"):
        inodes = os.statvfs(nearest)
        if inodes.f_files and inodes.f_favail < _INODES_WARN:
            left = f"{inodes.f_favail:,} files can be made before the file system's inodes are used up"
            return Finding("space", "warning" if inodes.f_favail else "failed", left, "remove files")
    if usage.free < SPACE_WARNS_BYTES:
        return Finding("space", "warning", free, "free some space")
    return free


async def try_durability(store: LocalArtifactStore, record: Record) -> None:
    """The check `durability`: whether the device can be had to keep a file, and its name, before a write returns."""

    async def write() -> str:
        async with temporary_file(store) as path:
            await store.write_bytes(path, b"entrepot doctor\n", WriteOptions(durability="full"))
        return f"the device keeps a file and its name before a write returns; this store is set to {_setting(store)}"

    await record.tried("durability", write)


def _setting(store: LocalArtifactStore) -> str:
    return str(store.config.durability)


async def count_temporaries(store: LocalArtifactStore, record: Record) -> None:
    """The check `temporaries`. Cost: a walk over all that is below the root."""

    def count(check: Check) -> str | Finding:
        number, size_bytes = count_dead(store.path, check)
        if not number:
            return "none was left by a killed process"
        left = f"{counted(number, 'temporary file')} left by killed processes, {size_bytes:,} bytes"
        return Finding(
            "temporaries", "warning", left, "the next copy into their directory removes them",
        )  # fmt: skip

    await record.tried("temporaries", lambda: interruptible(count))
