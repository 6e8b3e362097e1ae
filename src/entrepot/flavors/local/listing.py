"""Listings of the local store, a page at a time: sorted as the services sort their keys, with nothing held open
between pages.

Names of our own temporaries are never told, and symbolic links, FIFOs, sockets and devices only where asked for.
A directory sorts as its name and `/`, so that a walk in this order gives the keys of a whole tree in UTF-8 order
(which is the order of Python's strings).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from entrepot.errors import PathOutsideStore
from entrepot.flavors.local.directories import Directory, Tree, is_link, join_key
from entrepot.flavors.local.faults import LinkRefused, telling
from entrepot.flavors.local.records import record, shown
from entrepot.models import FileStat
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.patterns import GlobPattern

PAGE: Final = 1_000
_VISITS: Final = 20_000
"""How many names one hop of a glob looks at, so that a pattern that matches little still can be cancelled."""


def read_names(directory: Directory, *, links: bool = False) -> list[str]:
    """The names in a directory, a directory's with `/` at its end, in the order of keys.

    links: also symbolic links and special files.
    """
    names = []
    for entry in directory.entries():
        name = entry.name
        if name.startswith(TEMPORARY_PREFIX):
            continue
        if entry.is_dir(follow_symlinks=False):
            if not _is_junction(entry):
                names.append(name + "/")
        elif links or entry.is_file(follow_symlinks=False):
            names.append(name)
    names.sort()
    return names


def _is_junction(entry: os.DirEntry[str]) -> bool:
    return os.name == "nt" and is_link(entry.stat(follow_symlinks=False))


def list_names(tree: Tree, key: str) -> list[str]:
    """What `listdir` returns: names of files and directories, sorted as plain names."""
    with tree.open_to_list(key) as directory:
        return sorted(shown(name.removesuffix("/")) for name in read_names(directory))


@dataclass(slots=True)
class _Level:
    """A directory that is being listed: its key, and the names still to tell."""

    key: str
    names: Iterator[str]


class Scan:
    """All that is below a directory, or only in it, as pages of `FileStat`; call `page` until it is empty."""

    def __init__(self, tree: Tree, key: str, *, recursive: bool, links: bool) -> None:
        self._tree, self._recursive, self._links = tree, recursive, links
        self._top: str | None = key
        self._levels: list[_Level] = []

    def page(self) -> list[FileStat]:
        """Up to 1,000 entries; empty at the end. What vanishes meanwhile is passed over.

        Raises what opening the directory raises, also for one below that may not be read: silence would be a
        listing with a hole in it.
        """
        found: list[FileStat] = []
        if self._top is not None:
            key, self._top = self._top, None
            with self._tree.open_to_list(key) as directory:
                self._levels.append(_Level(key, iter(read_names(directory, links=self._links))))
        while self._levels and len(found) < PAGE:
            level = self._levels[-1]
            below: str | None = None
            try:
                with self._tree.open(level.key) as directory:
                    below = self._take(directory, level, found)
                    if below is not None:
                        self._descend(directory, level, below)
            except (FileNotFoundError, NotADirectoryError, LinkRefused):
                self._levels.pop()
                continue
            if below is None and len(found) < PAGE:
                self._levels.pop()
        return found

    def _take(self, directory: Directory, level: _Level, found: list[FileStat]) -> str | None:
        """Tell what is in a directory up to the page's end or to a directory that is listed next: its name."""
        base = os.path.join(self._tree.path(shown(level.key)), "")
        for entry in level.names:
            name = entry.removesuffix("/")
            try:
                status = directory.status(name)
                is_file, is_dir = stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode)
                if not (is_file or is_dir or self._links):
                    continue
                target = shown(directory.link_target(name)) if is_link(status) else None
            except FileNotFoundError:
                continue
            found.append(record(base + shown(name), status, target))
            if is_dir and self._recursive:
                return name
            if len(found) >= PAGE:
                return None
        return None

    def _descend(self, directory: Directory, level: _Level, name: str) -> None:
        key = join_key(level.key, name)
        try:
            with telling("scan", self._tree.path(key)), directory.child(name) as below:
                names = read_names(below, links=self._links)
        except (FileNotFoundError, NotADirectoryError, PathOutsideStore):
            return  # it went, or something else took its place, since it was told
        self._levels.append(_Level(key, iter(names)))


@dataclass(frozen=True, slots=True)
class Children:
    """The names in one directory, as the system has them, sorted."""

    directories: list[str]
    files: list[str]


def list_children(tree: Tree, keys: Iterable[str]) -> list[Children | OSError]:
    """What is in each of several directories, or why that cannot be told."""
    return [_children(tree, key) for key in keys]


def _children(tree: Tree, key: str) -> Children | OSError:
    try:
        with tree.open_to_list(key) as directory:
            names = read_names(directory)
    except OSError as error:
        return error
    directories = sorted(name[:-1] for name in names if name.endswith("/"))
    return Children(directories, [name for name in names if not name.endswith("/")])


@dataclass(slots=True)
class _Branch(_Level):
    """A directory on the way to matches; depth: how many names its key has."""

    depth: int


class Matches:
    """The keys that match a pattern, in the order of keys; call `page` until `ended`."""

    def __init__(self, tree: Tree, pattern: GlobPattern) -> None:
        self._tree, self._pattern = tree, pattern
        # From the first segment that may stand for several directories, every directory may hold a match.
        crossing = (
            at
            for at, segment in enumerate(pattern.segments)
            if segment.text == "**" or (pattern.crosses_directories and "[" in segment.text)
        )
        self._crossing = next(crossing, len(pattern.segments))
        self._branches: list[_Branch] = []
        self._begun = self.ended = False

    def page(self) -> list[str]:
        """Some matching keys, as they are shown; possibly none before the end."""
        found: list[str] = []
        if not self._begun:
            self._begun = True
            start = self._pattern.literal_prefix.rpartition("/")[0]
            self._open(start, start.count("/") + 1 if start else 0)
        visits = 0
        while self._branches and len(found) < PAGE and visits < _VISITS:
            branch = self._branches[-1]
            for name in branch.names:
                visits += 1
                if self._visit(branch, name, found) or len(found) >= PAGE or visits >= _VISITS:
                    break
            else:
                self._branches.pop()
        self.ended = not self._branches
        return found

    def _visit(self, branch: _Branch, entry: str, found: list[str]) -> bool:
        """Match one name; whether a directory was entered, which is listed before the names after it."""
        is_dir = entry.endswith("/")
        name = entry.removesuffix("/")
        key = join_key(branch.key, name)
        if self._pattern.matches(key, is_dir=is_dir):
            found.append(shown(key))
        return is_dir and self._may_hold(branch.depth, name) and self._open(key, branch.depth + 1)

    def _may_hold(self, depth: int, name: str) -> bool:
        """Whether a directory may hold a match; depth: of its parent, whose names all matched."""
        if depth >= self._crossing:
            return True
        segments = self._pattern.segments
        return depth + 1 < len(segments) and segments[depth].matches(name)

    def _open(self, key: str, depth: int) -> bool:
        # Unlike a scan, a glob passes over what it may not read, as `glob.glob` does.
        try:
            with self._tree.open(key) as directory:
                names = read_names(directory)
        except (FileNotFoundError, NotADirectoryError, LinkRefused, PermissionError):
            return False
        self._branches.append(_Branch(key, iter(names), depth))
        return True
