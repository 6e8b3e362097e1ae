"""Going through directories: listed several siblings at a time, told in the order of keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from entrepot.batches import each
from entrepot.errors import NotADirectory, NotFound, StoreError
from entrepot.filesystem.primitives import Entry
from entrepot.models import FileStat
from entrepot.paths import checked_key, printable, refusal
from entrepot.patterns import GlobPattern

_SIBLINGS: Final = 16

Found: TypeAlias = tuple[str, list[str], list[str]]
"""As `os.walk`: the directory's address, the names of directories, the names of files."""


def join_key(key: str, name: str) -> str:
    """The key of a name in a directory."""
    return f"{key}/{name}" if key else name


def key_order(entry: Entry) -> str:
    """A directory sorts as its name and `/`, so that going down in this order gives all keys in UTF-8 order."""
    return f"{entry.name}/" if entry.kind == "directory" else entry.name


def shown(name: str) -> str:
    """A name or a key as listings tell it: one that no store may keep is escaped."""
    return printable(name) if refusal(name) else name


def file_stat(uri: str, entry: Entry) -> FileStat:
    """The entry as every flavor tells it."""
    if entry.kind == "directory":
        return FileStat(uri, 0, entry.modified, is_dir=True, mode=entry.mode)
    return FileStat(uri, entry.size_bytes, entry.modified, etag=entry.etag, mode=entry.mode)


class Listings:
    """Lists directories by `children` (sorted in the order of keys), together with siblings that come next."""

    def __init__(self, children: Callable[[str], Awaitable[list[Entry]]]) -> None:
        self._children = children
        self._ahead: dict[str, list[Entry] | StoreError] = {}

    async def of(self, key: str, siblings: Sequence[str] = ()) -> list[Entry] | StoreError:
        """What is in a directory, or why that cannot be told. siblings: those that come after it, the next one last.

        Requests: 1 a directory, up to 16 at once.
        """
        if key not in self._ahead:
            wanted = [key, *siblings[:-_SIBLINGS:-1]]
            self._ahead.update(zip(wanted, await each(wanted, self._children), strict=True))
        return self._ahead.pop(key)


@dataclass(slots=True)
class _Level:
    """Directories side by side, still to be walked, the next one last; and what is told after them (bottom-up)."""

    keys: list[str]
    after: Found | None = None


async def walk(
    listings: Listings,
    top: str,
    *,
    uri_of: Callable[[str], str],
    topdown: bool,
    onerror: Callable[[StoreError], object] | None,
) -> AsyncGenerator[Found, None]:
    """As the contract's `walk`. Memory: the listings of up to 16 directories a level."""
    levels = [_Level([top])]
    while levels:
        level = levels[-1]
        if not level.keys:
            levels.pop()
            if level.after is not None:
                yield level.after
            continue
        key = level.keys.pop()
        entries = await listings.of(key, level.keys)
        if isinstance(entries, StoreError):
            if onerror is not None:
                onerror(entries)
            continue
        below = {shown(entry.name): entry.name for entry in entries if entry.kind == "directory"}
        found = (uri_of(key), sorted(below), sorted(shown(one.name) for one in entries if one.kind == "file"))
        if topdown:
            yield found
        names = [below.get(name) or checked_key(name, operation="walk") for name in found[1]]
        keys = [join_key(key, name) for name in reversed(names)]
        levels.append(_Level(keys, None if topdown else found))


@dataclass(slots=True)
class _Branch:
    """A directory on the way down: its entries still to tell, and those to enter, the next one last."""

    key: str
    entries: Iterator[Entry]
    entered: list[str]


async def go_down(
    listings: Listings,
    top: str,
    *,
    enters: Callable[[int, str], bool],
    passes_over: tuple[type[StoreError], ...] = (NotFound, NotADirectory),
) -> AsyncGenerator[tuple[str, Entry], None]:
    """Keys and entries below a directory, in the order of keys.

    enters: whether a directory is listed, by how deep its parent lies below the top, and its name. passes_over: why a
    directory below the top may be left out; others are raised, for silence would be a listing with a hole in it.
    """
    entries = await listings.of(top)
    if isinstance(entries, StoreError):
        raise entries
    branches: list[_Branch] = []

    def enter(key: str, entries: list[Entry]) -> None:
        depth = len(branches)
        names = (entry.name for entry in reversed(entries) if entry.kind == "directory" and enters(depth, entry.name))
        branches.append(_Branch(key, iter(entries), [join_key(key, name) for name in names]))

    enter(top, entries)
    while branches:
        branch = branches[-1]
        entry = next(branch.entries, None)
        if entry is None:
            branches.pop()
            continue
        key = join_key(branch.key, entry.name)
        yield key, entry
        if branch.entered and branch.entered[-1] == key:
            branch.entered.pop()
            below = await listings.of(key, branch.entered)
            if not isinstance(below, StoreError):
                enter(key, below)
            elif not isinstance(below, passes_over):
                raise below


class Ways:
    """Which directories may hold a match of a pattern."""

    def __init__(self, pattern: GlobPattern) -> None:
        self._segments = pattern.segments
        # From the first segment that may stand for several directories, every directory may hold a match.
        crossing = (
            at
            for at, segment in enumerate(pattern.segments)
            if segment.text == "**" or (pattern.crosses_directories and "[" in segment.text)
        )
        self._crossing = next(crossing, len(pattern.segments))
        self.start = pattern.literal_prefix.rpartition("/")[0]
        self._depth = self.start.count("/") + 1 if self.start else 0

    def enters(self, depth: int, name: str) -> bool:
        """Whether a directory may hold a match. depth: of its parent, whose names all matched, below `start`."""
        at = self._depth + depth
        if at >= self._crossing:
            return True
        return at + 1 < len(self._segments) and self._segments[at].matches(name)
