"""What a copy has to decide about, one by one: entries of the source, each beside what is at its target."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

from entrepot.errors import NotFound, StoreError
from entrepot.models import FileStat
from entrepot.paths import join
from entrepot.transfer.compare import Comparison
from entrepot.transfer.ends import real_path, scan_of
from entrepot.transfer.links import follow
from entrepot.transfer.pairing import Tree, entries_of, side_by_side
from entrepot.transfer.plan import CopyOptions
from entrepot.transfer.ports import LinkedSource, Sink, Source

UNSEEN: Final = FileStat("", -1)
"""In place of what is at a target, where nobody looked."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry of the source. target: what is there now, None for nothing, or UNSEEN.

    address: by which it was reached, where a link led to it.
    """

    entry: FileStat
    target: FileStat | None = UNSEEN
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Extra:
    """What only the target has. path: below the target of the copy."""

    path: str
    entry: FileStat


@dataclass(frozen=True, slots=True)
class Broken:
    """What a link leads nowhere from. address: of the link."""

    address: str
    error: StoreError


Taken: TypeAlias = Candidate | Extra | Broken


@dataclass(frozen=True, slots=True)
class Intake:
    """Where a copy reads from and writes to. found: what is at `source_path`. target: the path in the target store.

    disk: reads the source with links followed; None where they are not. looks: whether what is at the targets is
    asked for.
    """

    source: Source
    source_path: str
    found: FileStat
    sink: Sink
    target: str
    disk: LinkedSource | None
    looks: bool

    def taken(self) -> AsyncGenerator[Taken, None]:
        """All of it. Requests: the listing of the source, and one of the target where it is looked at.

        Raises: errors of either listing.
        """
        if not self.found.is_dir:
            return self._one()
        if self.disk is not None:
            return self._followed(self.disk)
        return self._side_by_side() if self.looks else self._unseen()

    async def _one(self) -> AsyncGenerator[Taken, None]:
        yield Candidate(self.found, await stat_or_none(self.sink, self.target) if self.looks else UNSEEN)

    async def _unseen(self) -> AsyncGenerator[Taken, None]:
        async with aclosing(scan_of(self.source, self.source_path)) as entries:
            async for entry in entries:
                yield Candidate(entry)

    async def _side_by_side(self) -> AsyncGenerator[Taken, None]:
        source = Tree(self.source, self.source_path, self.found.uri)
        async with aclosing(side_by_side(source, self._goal)) as pairs:
            async for pair in pairs:
                target = pair.target.stat if pair.target is not None else None
                if pair.source is not None:
                    yield Candidate(pair.source.stat, target)
                elif target is not None:
                    yield Extra(pair.path, target)

    async def _followed(self, disk: LinkedSource) -> AsyncGenerator[Taken, None]:
        """Links may lead anywhere, so that there is no order: what is at the target is held."""
        there: dict[str, FileStat] = {}
        if self.looks:
            async with aclosing(entries_of(self._goal)) as targets:
                there = {entry.key: entry.stat async for entry in targets}
        prefix = self.found.uri.rstrip("/\\")
        goal = real_path(self._goal.top) if self.sink.is_local else None
        async with aclosing(follow(disk, self.found, target=goal)) as followed:
            async for address, reached in followed:
                if isinstance(reached, StoreError):
                    yield Broken(address, reached)
                    continue
                key = address[len(prefix) + 1 :].replace("\\", "/") + ("/" if reached.is_dir else "")
                yield Candidate(reached, there.pop(key, None) if self.looks else UNSEEN, address)
        for key, entry in there.items():
            yield Extra(key.rstrip("/"), entry)

    @property
    def _goal(self) -> Tree:
        return Tree(self.sink, self.target, join(self.sink.path, self.target), may_be_missing=True)


def looks_at_targets(options: CopyOptions, *, exclusive: bool) -> bool:
    """Whether a decision needs to know what is at the target. exclusive: the target's service decides what is new."""
    if options.mirror is not None:
        return True
    if options.compare in (Comparison.SKIP_EXISTING, Comparison.ERROR):
        return options.dry_run or not exclusive
    return options.compare is not Comparison.ALWAYS


async def stat_or_none(sink: Sink, path: str) -> FileStat | None:
    """What is at a path. Requests: 1 or 2."""
    try:
        return await sink.stat(path)
    except NotFound:
        return None
