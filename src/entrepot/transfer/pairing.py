"""Two trees side by side: what both have, and what only one has, in one pass over both listings."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from entrepot.errors import NotFound, ServiceError
from entrepot.models import FileStat
from entrepot.transfer.ends import scan_of
from entrepot.transfer.ports import Located


@dataclass(frozen=True, slots=True)
class Entry:
    """What a scan told, and its path below the top of the scan, with `/` between names.

    outside: a listing named something that does not lie in the tree; `path` is then its address.
    """

    path: str
    stat: FileStat
    outside: bool = False

    @property
    def key(self) -> str:
        """What entries are ordered by: the services' order, in which a directory is its name and `/`."""
        return f"{self.path}/" if self.stat.is_dir else self.path


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory in a store. top: its address. may_be_missing: then one that is not there has nothing in it."""

    store: Located
    path: str
    top: str
    may_be_missing: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """What two trees have at one path; one of both may be missing. A file and a directory of one name are no pair."""

    path: str
    source: Entry | None
    target: Entry | None


async def side_by_side(source: Tree, target: Tree) -> AsyncGenerator[Pair, None]:
    """What two directories have. Requests: both listings. Raises: as `entries_of` and `paired`."""
    async with (
        aclosing(entries_of(source)) as sources,
        aclosing(entries_of(target)) as targets,
        aclosing(paired(sources, targets)) as pairs,
    ):
        async for pair in pairs:
            yield pair


async def entries_of(tree: Tree) -> AsyncGenerator[Entry, None]:
    """What is in a directory, in key order. Where a store's listing has no order, all of it is held and sorted.

    Raises: errors of the listing, whole or nothing: what follows is compared with it.
    """
    store, path = tree.store, tree.path
    separator = "/" if "://" in tree.top else os.sep
    prefix = tree.top.removesuffix(separator) + separator

    async def told() -> AsyncGenerator[Entry, None]:
        async with aclosing(scan_of(store, path)) as found:
            async for stat in found:
                relative = stat.uri.removeprefix(prefix)
                outside = len(relative) == len(stat.uri)
                yield Entry(relative if separator == "/" else relative.replace(separator, "/"), stat, outside=outside)

    began = False
    try:
        async with aclosing(told()) as entries:
            if store.scans_in_order:
                async for entry in entries:
                    began = True
                    yield entry
            else:
                for entry in sorted([entry async for entry in entries], key=lambda entry: entry.key):
                    began = True
                    yield entry
    except NotFound:
        if began or not tree.may_be_missing:
            raise


async def paired(sources: AsyncIterator[Entry], targets: AsyncIterator[Entry]) -> AsyncGenerator[Pair, None]:
    """Both trees merged by key. Memory: one entry of each.

    What a hostile listing names outside of its tree is told as it comes, of the source; of the target it is nothing.
    Raises: ServiceError where a listing is not in order: what follows would be taken for missing.
    """
    left, right = _Side(sources), _Side(targets)
    source, target = await left.next(), await right.next()
    while source is not None or target is not None:
        if target is not None and target.outside:
            target = await right.next()
        elif source is not None and (source.outside or target is None or source.key < target.key):
            yield Pair(source.path, source, None)
            source = await left.next()
        elif target is not None and (source is None or target.key < source.key):
            yield Pair(target.path, None, target)
            target = await right.next()
        else:
            yield Pair(target.path if target is not None else "", source, target)
            source, target = await left.next(), await right.next()


class _Side:
    """One of two listings, held to its order."""

    def __init__(self, entries: AsyncIterator[Entry]) -> None:
        self._entries = entries
        self._last = ""

    async def next(self) -> Entry | None:
        entry = await anext(self._entries, None)
        if entry is None or entry.outside:
            return entry
        if entry.key <= self._last:
            raise ServiceError(
                "the listing is not in the order of keys, so that trees cannot be compared",
                operation="scan",
                uri=entry.stat.uri,
            )
        self._last = entry.key
        return entry
