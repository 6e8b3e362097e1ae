"""Files of which the listings tell too little to decide: each end is asked, or read, before they are copied or left."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from entrepot.errors import NotFound
from entrepot.models import FileStat
from entrepot.transfer.budget import Gate
from entrepot.transfer.compare import Comparison, Decision, decide, metadata_decides
from entrepot.transfer.hashing import CHUNK_BYTES, checksum_of, computable
from entrepot.transfer.parts import Route
from entrepot.transfer.plan import PlannedFile
from entrepot.transfer.ports import Located
from entrepot.transfer.schedule import Examine

_MD5: Final = re.compile("[0-9a-f]{32}")


class Examiner:
    """Looks at both ends of a file, within the copy's limits."""

    def __init__(self, route: Route, compare: Comparison, *, time_travels: bool) -> None:
        self._route, self._compare, self._time_travels = route, compare, time_travels

    def is_needed(self, source: FileStat, target: FileStat) -> bool:
        """Whether a look may change what the listings say."""
        route = self._route
        if target.is_dir or source.link_target is not None:
            return False
        if self._compare is Comparison.CHECKSUM:
            return source.size_bytes == target.size_bytes and not _has_common(source, target)
        if route.source.is_local and route.sink.is_local:
            return False
        return metadata_decides(source, target, self._compare)

    def by_listings(self, source: FileStat, target: FileStat | None) -> Decision:
        """The decision as what is known already gives it."""
        return decide(source, target, self._compare, time_travels=self._time_travels)

    async def decide(self, job: Examine) -> tuple[PlannedFile, Decision]:
        """The file, with what was found out of its source, and what becomes of it.

        Requests: a look at each end that is a service; for a checksum that only one end tells, the other one is read
        where it is on this machine. Raises: NotFound for a source that has gone, and what both ends raise.
        """
        route, file = self._route, job.file
        source = await self._look(route.source, route.reads, file.source.uri, file.source)
        try:
            target: FileStat | None = await self._look(route.sink, route.writes, file.target, job.target)
        except NotFound:
            target = None
        if target is not None and self._compare is Comparison.CHECKSUM and not _has_common(source, target):
            source, target = await self._hashed(source, target)
        decision = self.by_listings(source, target)
        # The scan's own words stay: later the source is held to them.
        return replace(file, replaces=target is not None), decision

    async def are_equal(self, job: Examine) -> bool:
        """Whether both files have the same bytes: both are read. Requests: one for each 4 MiB, of each end."""
        route = self._route
        source = await self._with(route.source, route.reads, job.file.source, "sha256")
        target = await self._with(route.sink, route.writes, job.target, "sha256")
        return source.checksums["sha256"] == target.checksums["sha256"]

    async def _look(self, store: Located, gate: Gate, path: str, told: FileStat) -> FileStat:
        if store.is_local:
            return told
        await gate.enter(1)
        try:
            return await store.stat(path)
        finally:
            gate.leave(1)

    async def _hashed(self, source: FileStat, target: FileStat) -> tuple[FileStat, FileStat]:
        """With a checksum in common, where one end is on this machine and the other tells one that can be computed."""
        route = self._route
        if source.size_bytes != target.size_bytes:
            return source, target
        if route.source.is_local and route.sink.is_local:
            source = await self._with(route.source, route.reads, source, "sha256")
            return source, await self._with(route.sink, route.writes, target, "sha256")
        if route.source.is_local and (name := _name_of(target)) is not None:
            source = await self._with(route.source, route.reads, source, name)
            return source, _proven(target, source)
        if route.sink.is_local and (name := _name_of(source)) is not None:
            target = await self._with(route.sink, route.writes, target, name)
            return _proven(source, target), target
        return source, target

    async def _with(self, store: Located, gate: Gate, file: FileStat, name: str) -> FileStat:
        size = max(1, min(CHUNK_BYTES, file.size_bytes))
        await gate.enter(1)
        try:
            await self._route.acquire(size)
            try:
                value = await checksum_of(store, file, name, memoryview(bytearray(size)))
            finally:
                self._route.memory.release(size)
        finally:
            gate.leave(1)
        return replace(file, checksums={**file.checksums, name: value})


def _name_of(remote: FileStat) -> str | None:
    """By which checksum a file can be compared with what its service tells of it."""
    return computable(remote.checksums) or ("md5" if _MD5.fullmatch(remote.etag or "") else None)


def _proven(remote: FileStat, local: FileStat) -> FileStat:
    """With the MD5 that its etag turned out to be; an etag that only looks like another one proves nothing."""
    if not remote.checksums and remote.etag is not None and local.checksums.get("md5") == remote.etag:
        return replace(remote, checksums={"md5": remote.etag})
    return remote


def _has_common(source: FileStat, target: FileStat) -> bool:
    return any(name in target.checksums for name in source.checksums if name != "part-md5")
