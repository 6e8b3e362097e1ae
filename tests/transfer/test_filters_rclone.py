"""Filters beside rclone's own: the same rules, the same tree, the same files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from entrepot.errors import ConfigurationError
from entrepot.transfer.bounds import NO_BOUNDS, Bounds, parse_moment, parse_size
from entrepot.transfer.filters import Filters, Option, read_filter_file
from rclone_rules import Rclone, Refused, globs, make_paths, rules, running_rclone

AGES = {"a/b.txt": 1, "a/abc": 2, "b.txt": 3, "b/a.b": 5, "a b/é": 9}
"""Files and how many days old they are; all others are a hundred."""

PATH = re.compile(r"((?:.*/)?)([^/]+/?)", re.DOTALL)
"""A path as its directory and its name."""


@dataclass(frozen=True)
class Tree:
    """Files on a disk, as they were made: path → size and time."""

    root: Path
    files: dict[str, tuple[int, datetime]]
    below: dict[str, list[str]]
    """Directory → the names in it, those of directories with a slash."""

    def listed(self, filters: Filters) -> set[str]:
        """What is selected from a listing without directories."""
        return {path for path in self.files if self.admitted(filters, path)}

    def walked(self, filters: Filters, directory: str = "") -> set[str]:
        """What is selected by a walk that passes by each directory that holds nothing for it."""
        chosen: set[str] = set()
        for name in self.below[directory]:
            path = directory + name
            if not name.endswith("/"):
                chosen.update({path} if self.admitted(filters, path) else ())
            elif filters.admits_directory(path.removesuffix("/")):
                chosen |= self.walked(filters, path)
        return chosen

    def admitted(self, filters: Filters, path: str) -> bool:
        size, modified = self.files[path]
        return filters.admits(path, size_bytes=size, modified=modified)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("tree")
    make_paths(root)
    now = datetime.now(UTC)
    files: dict[str, tuple[int, datetime]] = {}
    below: dict[str, list[str]] = {"": []}
    for found in sorted(root.rglob("*")):
        path = found.relative_to(root).as_posix() + ("/" if found.is_dir() else "")
        directory, name = PATH.fullmatch(path).groups()
        below[directory].append(name)
        if found.is_dir():
            below[path] = []
            continue
        changed = now - timedelta(days=AGES.get(path, 100))
        os.utime(found, (changed.timestamp(), changed.timestamp()))
        files[path] = found.stat().st_size, changed
    return Tree(root, files, below)


@pytest.fixture(scope="module")
def rclone(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    with running_rclone(tmp_path_factory.mktemp("rclone-rcd"), tree.root) as running:
        yield running


def alike(
    rclone: Rclone, tree: Tree, theirs: dict[str, Any], ours: list[tuple[Option, str]], bounds: Bounds = NO_BOUNDS
) -> str:
    """Require that both select the same, and tell what that was."""
    try:
        expected = rclone.selected(theirs)
    except Refused as refused:
        if "can't nest" in str(refused):
            return "nested"  # alternatives within alternatives are read from 1.76 on
        with pytest.raises(ConfigurationError):
            Filters.parse(ours, bounds=bounds)
        return "refused"
    filters = Filters.parse(ours, bounds=bounds)
    assert tree.walked(filters) == expected
    assert tree.listed(filters) == expected
    return "all" if len(expected) == len(tree.files) else "some" if expected else "none"


def filters_alike(rclone: Rclone, tree: Tree, lines: list[str]) -> None:
    event(alike(rclone, tree, {"FilterRule": lines}, [("filter", line) for line in lines]))


def one_glob_alike(rclone: Rclone, tree: Tree, glob: str) -> None:
    event(alike(rclone, tree, {"IncludeRule": [glob]}, [("include", glob)]))
    alike(rclone, tree, {"ExcludeRule": [glob]}, [("exclude", glob)])


UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


@given(lines=st.lists(rules, min_size=1, max_size=5))
@settings(UNTIMED, max_examples=250)
def test_rules_select_what_rclone_selects(rclone: Rclone, tree: Tree, lines: list[str]) -> None:
    filters_alike(rclone, tree, lines)


@given(glob=globs)
@settings(UNTIMED, max_examples=250)
def test_a_pattern_alone_selects_what_rclone_selects(rclone: Rclone, tree: Tree, glob: str) -> None:
    one_glob_alike(rclone, tree, glob)


@given(included=st.lists(globs, max_size=2), excluded=st.lists(globs, max_size=2), lines=st.lists(rules, max_size=2))
@settings(UNTIMED, max_examples=60)
def test_options_in_rclones_order_select_what_rclone_selects(
    rclone: Rclone, tree: Tree, included: list[str], excluded: list[str], lines: list[str]
) -> None:
    ours: list[tuple[Option, str]] = [("include", glob) for glob in included]
    ours += [("exclude", glob) for glob in excluded]
    ours += [("filter", line) for line in lines]
    theirs = {"IncludeRule": included, "ExcludeRule": excluded, "FilterRule": lines}
    event(alike(rclone, tree, {name: value for name, value in theirs.items() if value}, ours))


@pytest.mark.nightly
@pytest.mark.timeout(900)
@given(lines=st.lists(rules, min_size=1, max_size=8))
@settings(UNTIMED, max_examples=10_000)
def test_many_rules_select_what_rclone_selects(rclone: Rclone, tree: Tree, lines: list[str]) -> None:
    filters_alike(rclone, tree, lines)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@given(glob=globs)
@settings(UNTIMED, max_examples=10_000)
def test_many_patterns_select_what_rclone_selects(rclone: Rclone, tree: Tree, glob: str) -> None:
    one_glob_alike(rclone, tree, glob)


@pytest.mark.parametrize(
    ("least", "most"), [("5B", None), (None, "5B"), ("5B", "8B"), ("0", "0.004K"), ("1K", "off"), (".005ki", "7b")]
)
def test_sizes_select_what_rclone_selects(rclone: Rclone, tree: Tree, least: str | None, most: str | None) -> None:
    theirs = {name: value for name, value in (("MinSize", least), ("MaxSize", most)) if value is not None}
    bounds = Bounds(parse_size(least) if least else None, parse_size(most) if most else None)
    assert alike(rclone, tree, {**theirs, "FilterRule": ["- a b/"]}, [("filter", "- a b/")], bounds) in ("some", "none")


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("36h", None),
        ("4d", None),
        (None, "4d"),
        ("1w", "1d12h"),
        ("0.5M", None),
        (None, "1y"),
        ("200000", None),
        ("date", None),
    ],
)
def test_times_select_what_rclone_selects(rclone: Rclone, tree: Tree, newer: str | None, older: str | None) -> None:
    now = datetime.now(UTC)
    if newer == "date":
        newer = (now - timedelta(days=4)).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    theirs = {name: value for name, value in (("MaxAge", newer), ("MinAge", older)) if value is not None}
    if older == "1d12h":
        theirs["MinAge"] = "36h"  # rclone knows units of time above hours one by one only
    bounds = Bounds(
        newer=parse_moment(newer, now) if newer else None, older=parse_moment(older, now) if older else None
    )
    assert alike(rclone, tree, theirs, [], bounds) in ("some", "none")


def test_a_list_selects_what_rclone_selects(rclone: Rclone, tree: Tree, tmp_path: Path) -> None:
    listed = tmp_path / "listed"
    listed.write_text("# 1\n\n; 2\n  b.txt  \n/a/abc\na/b.txt/\nno/such\na\na/b/ab\r\n a b/é", encoding="utf-8")
    expected = rclone.selected({"FilesFrom": [str(listed)]})
    assert len(expected) == 4
    filters = Filters.parse(files_from=read_filter_file(listed))
    assert tree.walked(filters) == expected == tree.listed(filters)


def test_a_file_of_rules_selects_what_rclone_selects(rclone: Rclone, tree: Tree, tmp_path: Path) -> None:
    lines = tmp_path / "rules"
    lines.write_bytes("# a comment\n+ b.txt\n; another\n!\n\t+ /a/**\u00a0\r\n  - *.txt \n\n- ?\n".encode())
    ours: list[tuple[Option, str]] = [("filter", line) for line in read_filter_file(lines)]
    assert alike(rclone, tree, {"FilterFrom": [str(lines)]}, ours) == "some"
