"""Pages of flat keys → entries of directories: listing, walking, globbing.

No task group or cancel scope is open at a `yield`: pages that are fetched ahead come in waves between two yields.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from entrepot.errors import BadResponse, ContainerNotFound, NotADirectory, NotFound, StoreError
from entrepot.models import FileStat, ListPage, ObjectStat
from entrepot.objects.client import ObjectClient
from entrepot.objects.waves import REQUESTS, wave
from entrepot.paths import TEMPORARY_PREFIX, Root, printable
from entrepot.patterns import GlobPattern, Segment

_FOREIGN: Final = re.compile(rf"[\x00-\x1f\x7f]|(?:^|/)(?:\.{{0,2}}(?:/|\Z)|{re.escape(TEMPORARY_PREFIX)})")
"""A key that we would not write: control characters, a segment that is empty, `.` or `..`, a temporary."""

_SHOWN_SPECIAL: Final = {"": "\\x2f", ".": "\\x2e", "..": "\\x2e\\x2e"}
"""Names that would mean another directory are shown escaped, as control characters are."""

_HELD_PAGES: Final = 64
"""How many first pages a walk keeps fetched ahead, at most."""


def shown(path: str) -> str | None:
    """The path of a key as listings show it, foreign names escaped; None for a temporary, which is hidden.

    path: relative, without a trailing slash of its own.
    """
    if _FOREIGN.search(path) is None:
        return path
    names = path.split("/")
    if any(name.startswith(TEMPORARY_PREFIX) for name in names):
        return None
    return "/".join(_SHOWN_SPECIAL.get(name) or printable(name) for name in names)


def _children(page: ListPage, prefix: str, seen: set[str]) -> Iterator[tuple[str, ObjectStat | None]]:
    """The (name, object or None for a directory) of a page in key order; not the prefix's own marker.

    seen: prefixes told before, some services repeat them on each page.
    """
    files: list[tuple[str, ObjectStat | None]] = [(found.key, found) for found in page.objects]
    if page.prefixes:
        files.extend((one, None) for one in page.prefixes)
        files.sort(key=lambda entry: entry[0])
    for key, found in files:
        name = key[len(prefix) :]
        if not name:
            continue
        if found is not None and not name.endswith("/"):
            yield name, found
        elif key not in seen:
            seen.add(key)
            yield name[:-1], None


@dataclass(slots=True)
class _Visit:
    """A directory that a walk comes to. first: its first page, where that was fetched ahead, or the error of it."""

    prefix: str
    path: str
    first: ListPage | None = None
    error: StoreError | None = None
    level: _Level | None = None


@dataclass(slots=True)
class _Level:
    """What a directory holds. raw: shown name → name in the key, where they differ."""

    directories: list[str]
    files: list[str]
    raw: dict[str, str]


class Listing:
    """The directories of one client below one root."""

    def __init__(self, client: ObjectClient, root: Root) -> None:
        self.client, self.root = client, root
        self._base = root.uri_of_key("x")[:-1]
        self._root_prefix = self.prefix_of("")

    def prefix_of(self, path: str) -> str:
        """What the keys in a directory begin with; path: relative to the root."""
        key = self.root.key(path)
        return f"{key}/" if key else ""

    def uri_of(self, path: str) -> str:
        """The full address of a relative path, as it is shown."""
        return self._base + self.root.key(path) if path else self.root.uri

    async def pages(
        self, prefix: str, *, delimiter: str = "", first: ListPage | None = None
    ) -> AsyncGenerator[ListPage, None]:
        """All pages below a prefix. Raises BadResponse where the service repeats a token: it would never end."""
        page = first or await self.client.list_page(prefix, delimiter=delimiter)
        # Brent's cycle detection: every token is compared with one that is replaced at powers of two.
        kept: str | None = None
        age, limit = 0, 1
        while True:
            yield page
            token = page.next_token
            if token is None:
                return
            if token == kept:
                raise BadResponse(
                    "the service repeats a page of the listing; nothing can be said about what is there",
                    operation="list",
                    uri=printable(self.client.uri(prefix)),
                )
            age += 1
            if age == limit:
                kept, age, limit = token, 0, limit * 2
            page = await self.client.list_page(prefix, delimiter=delimiter, token=token)

    async def first_below(self, path: str) -> tuple[bool, ObjectStat | None]:
        """Whether a directory is there, and its marker if that is what the service lists first. Requests: 1."""
        prefix = self.prefix_of(path)
        page = await self.client.list_page(prefix, limit=1)
        marker = page.objects[0] if page.objects and page.objects[0].key == prefix else None
        return bool(page.objects or page.prefixes), marker

    async def first_keys(self, path: str, count: int) -> list[str]:
        """The first keys in a directory, up to `count`, its own marker among them. Requests: 1."""
        page = await self.client.list_page(self.prefix_of(path), limit=count)
        return [found.key for found in page.objects]

    async def absence(self, path: str, operation: str) -> StoreError:
        """Why nothing is listed in a directory: it is a file, or nothing. Requests: 1."""
        uri = printable(self.uri_of(path))
        try:
            await self.client.head(self.root.key(path))
        except ContainerNotFound as error:
            return error
        except NotFound:
            return NotFound("no such directory", operation=operation, uri=uri)
        return NotADirectory("a file is there, not a directory", operation=operation, uri=uri)

    # ---- one directory, or all below it -------------------------------------------------------------

    async def names(self, path: str) -> list[str]:
        """The sorted names in a directory. Raises: NotFound, NotADirectory."""
        level = await self._level(_Visit(self.prefix_of(path), path), "listdir")
        return sorted({*level.directories, *level.files})

    async def scan(self, path: str, *, recursive: bool) -> AsyncGenerator[FileStat, None]:
        """As the store's `scan`, a page at a time."""
        prefix = self.prefix_of(path)
        empty = bool(path)
        shown_prefix = self._base + prefix
        seen: set[str] = set()
        async with aclosing(self.pages(prefix, delimiter="" if recursive else "/")) as pages:
            async for page in pages:
                empty = empty and not page.objects and not page.prefixes
                entries = (
                    self._flat_entries(page, prefix, shown_prefix)
                    if recursive
                    else self._direct_entries(page, prefix, shown_prefix, seen)
                )
                for entry in entries:
                    yield entry
        if empty:
            raise await self.absence(path, "scan")

    @staticmethod
    def _flat_entries(page: ListPage, prefix: str, shown_prefix: str) -> Iterator[FileStat]:
        start = len(prefix)
        for found in page.objects:
            name = found.key[start:]
            is_marker = name.endswith("/")
            path = shown(name[:-1] if is_marker else name) if name else None
            if path is not None:
                yield file_stat(found, shown_prefix + path, is_dir=is_marker)

    @staticmethod
    def _direct_entries(page: ListPage, prefix: str, shown_prefix: str, seen: set[str]) -> Iterator[FileStat]:
        for name, found in _children(page, prefix, seen):
            path = shown(name)
            if path is not None:
                uri = shown_prefix + path
                yield file_stat(found, uri) if found is not None else FileStat(uri, 0, is_dir=True)

    async def _level(self, visit: _Visit, operation: str) -> _Level:
        """Everything in one directory. Raises what its listing raised, or why it is none."""
        if visit.error is not None:
            raise visit.error
        directories: list[str] = []
        files: list[str] = []
        raw: dict[str, str] = {}
        seen: set[str] = set()
        empty = visit.prefix != self._root_prefix
        async with aclosing(self.pages(visit.prefix, delimiter="/", first=visit.first)) as pages:
            async for page in pages:
                empty = empty and not page.objects and not page.prefixes
                for name, found in _children(page, visit.prefix, seen):
                    path = shown(name)
                    if path is None:
                        continue
                    (directories if found is None else files).append(path)
                    if path != name:
                        raw[path] = name
        visit.first = None
        if empty:
            raise await self.absence(visit.path, operation)
        return _Level(sorted(set(directories)), sorted(files), raw)

    # ---- walk -----------------------------------------------------------------------------------------

    async def walk(
        self, top: str, *, topdown: bool, onerror: Callable[[StoreError], object] | None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        """As the store's `walk`. Memory: the directories on the way, and at most 64 pages fetched ahead."""
        stack = [_Visit(self.prefix_of(top), top)]
        while stack:
            visit = stack.pop()
            if visit.level is not None:  # bottom up, and all below it was yielded
                yield self.uri_of(visit.path), visit.level.directories, visit.level.files
                continue
            if visit.first is None and visit.error is None:
                await self._fetch_first_pages(visit, stack)
            try:
                level = await self._level(visit, "walk")
            except StoreError as error:
                if onerror is not None:
                    onerror(error)
                continue
            if topdown:
                yield self.uri_of(visit.path), level.directories, level.files
            else:
                visit.level = level
                stack.append(visit)
            # Only now, so that an edit of the names prunes, and nothing is listed below what was not yielded.
            stack.extend(self._below(visit, level, name) for name in reversed(level.directories))

    def _below(self, visit: _Visit, level: _Level, name: str) -> _Visit:
        return _Visit(f"{visit.prefix}{level.raw.get(name, name)}/", f"{visit.path}/{name}" if visit.path else name)

    async def _fetch_first_pages(self, visit: _Visit, stack: list[_Visit]) -> None:
        """The first page of a directory and, at the same time, of those that come after it."""
        group = [visit]
        held = 0
        for later in reversed(stack):
            if later.level is not None:
                continue
            if later.first is not None or later.error is not None:
                held += 1
            else:
                group.append(later)
            if len(group) == REQUESTS or held + len(group) >= _HELD_PAGES:
                break

        async def fetch(one: _Visit) -> None:
            try:
                one.first = await self.client.list_page(one.prefix, delimiter="/")
            except StoreError as error:
                one.error = error

        await wave([partial(fetch, one) for one in group])

    # ---- glob -----------------------------------------------------------------------------------------

    async def glob(self, pattern: GlobPattern) -> AsyncGenerator[str, None]:
        """The addresses that match, in key order; a file and a directory of one name are told once."""
        matches = self._flat_matches(pattern) if pattern.crosses_directories else self._matches(pattern)
        # Between `a` and `a/` in key order are only names that begin with `a`: these suffice to find a repetition.
        files: list[str] = []
        async with aclosing(matches):
            async for path, is_dir in matches:
                while files and not path.startswith(files[-1]):
                    files.pop()
                if is_dir and path in files:
                    continue
                if not is_dir:
                    files.append(path)
                yield self.uri_of(path)

    async def _flat_matches(self, pattern: GlobPattern) -> AsyncGenerator[tuple[str, bool], None]:
        """One flat listing; a directory comes into sight with the first key below it, in its place in the order."""
        start = len(self._root_prefix)
        directory, above = "", frozenset[str]()
        async with aclosing(self.pages(self._root_prefix + pattern.literal_prefix)) as pages:
            async for page in pages:
                for found in page.objects:
                    name = found.key[start:]
                    path = shown(name.removesuffix("/")) if name else None
                    if path is None:
                        continue
                    is_marker = name.endswith("/")
                    parent = path if is_marker else path.rpartition("/")[0]
                    if parent != directory:
                        parents = _with_parents(parent)
                        for one in parents:
                            if one not in above and pattern.matches(one, is_dir=True):
                                yield one, True
                        directory, above = parent, frozenset(parents)
                    if not is_marker and pattern.matches(path, is_dir=False):
                        yield path, False

    def _matches(self, pattern: GlobPattern) -> AsyncGenerator[tuple[str, bool], None]:
        """Name by name: lists only directories whose own path matches so far."""
        if not pattern.segments[0].text:
            return _nothing()
        prefix, path, segments = _literal_part(self._root_prefix, "", pattern.segments)
        return self._matches_in(prefix, path, segments, pattern.only_directories, None)

    async def _matches_in(
        self, prefix: str, path: str, segments: tuple[Segment, ...], only_directories: bool, first: ListPage | None
    ) -> AsyncGenerator[tuple[str, bool], None]:
        """Matches of the segments in one directory. prefix: of its keys; path: its shown path and `/`, or empty."""
        segment, later = segments[0], segments[1:]
        seen: set[str] = set()
        async with aclosing(self.pages(prefix + segment.head, delimiter="/", first=first)) as pages:
            async for page in pages:
                found = [
                    (name, as_shown, entry is None)
                    for name, entry in _children(page, prefix, seen)
                    if (as_shown := shown(name)) is not None and segment.matches(as_shown)
                ]
                if not later:
                    for _, name, is_dir in found:
                        if is_dir or not only_directories:
                            yield path + name, is_dir
                    continue
                below = [
                    _literal_part(f"{prefix}{name}/", f"{path}{as_shown}/", later)
                    for name, as_shown, is_dir in found
                    if is_dir
                ]
                async with aclosing(self._matches_below(below, only_directories)) as matches:
                    async for match in matches:
                        yield match

    async def _matches_below(
        self, directories: list[tuple[str, str, tuple[Segment, ...]]], only_directories: bool
    ) -> AsyncGenerator[tuple[str, bool], None]:
        for at in range(0, len(directories), REQUESTS):
            group = directories[at : at + REQUESTS]
            firsts = await wave(
                [
                    partial(self.client.list_page, prefix + segments[0].head, delimiter="/")
                    for prefix, _, segments in group
                ]
            )
            for (prefix, path, segments), first in zip(group, firsts, strict=True):
                async with aclosing(self._matches_in(prefix, path, segments, only_directories, first)) as matches:
                    async for match in matches:
                        yield match


def _literal_part(prefix: str, path: str, segments: tuple[Segment, ...]) -> tuple[str, str, tuple[Segment, ...]]:
    """Literal names, but for the last, need no listing: they are part of the prefix."""
    while len(segments) > 1 and segments[0].expression is None:
        prefix, path = f"{prefix}{segments[0].text}/", f"{path}{segments[0].text}/"
        segments = segments[1:]
    return prefix, path, segments


async def _nothing() -> AsyncGenerator[tuple[str, bool], None]:
    return
    yield


def _with_parents(path: str) -> list[str]:
    """`a/b/c` → `a`, `a/b`, `a/b/c`; nothing for the root."""
    names = path.split("/") if path else []
    return ["/".join(names[:count]) for count in range(1, len(names) + 1)]


def file_stat(found: ObjectStat, uri: str, *, is_dir: bool = False) -> FileStat:
    """What the store tells of an object, or of a directory's marker."""
    if is_dir:
        return FileStat(uri, 0, found.modified, is_dir=True)
    return FileStat(
        uri,
        found.size_bytes,
        found.modified,
        False,
        found.etag,
        found.version,
        found.content_type,
        found.metadata,
        found.checksums,
    )
