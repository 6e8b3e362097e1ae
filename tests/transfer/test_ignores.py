"""Patterns of gitignore beside git itself."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable

import pytest

from entrepot.errors import ConfigurationError
from entrepot.transfer.filters import Filters

NAMES = ("a", "b", "c.o", "d e", "foo")
PATHS = [
    *("a.o", "x", "foo", "#x", "!x"),
    *(f"{one}/{two}" for one in NAMES[:4] for two in ("leaf", "c.p", "x.o", "keep")),
    *(f"{one}/{two}/{three}" for one in NAMES[:4] for two in NAMES for three in NAMES[:3]),
]
PATTERNS = [
    *("a", "/a", "a/", "*.o", "!c.o", "**/b", "a/**", "a/*", "!a/b", "a/**/c.o", "[ab]", "\\!x", "foo/bar/"),
    *("!foo", "b/", "/b/*", "!/b/foo", "d e", "d\\ e", "*", "!*/", "a*", "?", "**", "/**/a", "b/**/", "foo/**/b"),
    *("[!a]", "[a", "a/b", "/", "//", "a//b", "  ", "a ", "\\#x", "{a,b}", "!a/", "*/b", "/*", "!/a", "*/**"),
    *("**/*", "a/**/**", "**/", "[^a-b]", "\\a", "a**", "**a", "a/**b", "!b/c.o", "b/a/**", "!*.p", "*[.]o"),
    *("a/**/", "!**/", "**/**", "*/*/", "keep", "!keep", "# a", "", "*.[op]", "!x.o", "[[]", "c.?", "/b/foo/"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ignored_by_git(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], set[str]]:
    """What git leaves out, of `PATHS`, by the lines given."""
    git, root = shutil.which("git"), tmp_path_factory.mktemp("repository")
    if git is None:
        pytest.skip("git is not installed, and is who is asked")
    subprocess.run([git, "init", "--quiet", root], check=True)
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not (root / path).exists():
            (root / path).touch()

    def ask(lines: list[str]) -> set[str]:
        (root / ".git" / "info" / "exclude").write_text("\n".join(lines) + "\n")
        command = [git, "-C", root, "-c", "core.excludesFile=", "check-ignore", "--no-index", "--stdin", "-z"]
        told = subprocess.run(command, input="\0".join(PATHS), capture_output=True, text=True, check=False)
        assert told.returncode in (0, 1), told.stderr
        return {path for path in told.stdout.split("\0") if path}

    return ask


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_out_is_what_git_leaves_out(ignored_by_git: Callable[[list[str]], set[str]], seed: int) -> None:
    rng = random.Random(seed)
    sets = [[pattern] for pattern in PATTERNS[seed::4]] + [rng.sample(PATTERNS, rng.randint(2, 5)) for _ in range(60)]
    for lines in sets:
        filters = Filters.parse(ignore=lines)
        kept = {path for path in PATHS if filters.admits(path, size_bytes=0, modified=None)}
        assert set(PATHS) - kept == ignored_by_git(lines), lines


def test_a_directory_that_is_left_out_is_not_looked_into() -> None:
    filters = Filters.parse(ignore=["build/", "!build/kept", "logs/*", "!logs/kept"])
    assert not filters.admits_directory("build")
    assert not filters.admits_directory("a/build/kept")
    assert filters.admits_directory("logs")
    assert filters.admits("logs/kept", size_bytes=0, modified=None)


def test_rules_and_gitignore_must_both_admit() -> None:
    filters = Filters.parse([("include", "*.csv")], ignore=["tmp/"])
    assert [
        path for path in ("a.csv", "tmp/a.csv", "a.txt") if filters.admits(path, size_bytes=0, modified=None)
    ] == ["a.csv"]  # fmt: skip


@pytest.mark.parametrize("line", ["!", "a\\", "[z-a]", "[[:alpha:]]x"])
def test_what_is_no_pattern_is_told(line: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Filters.parse(ignore=[line])
    assert repr(line) in raised.value.message
