"""Which files of a tree are copied: rules of paths as rclone has them, bounds, lists, and gitignore's patterns.

    Filters.parse([("exclude", "*.tmp"), ("include", "/runs/**")], bounds=Bounds(min_size_bytes=1))

Pure, but for `read_filter_file`. Paths are relative to the root of what is copied, with `/` between names.

**Rules.** The first that matches decides; what none matches is copied. `include` and `exclude` are rules with one sign
each, `filter` gives it (`+ *.csv`, `- /tmp/`, `!` forgets all rules before it), and all of them stand in the order in
which they are given; rclone sorts them by option first. As there, an `include` anywhere leaves out, at the very end,
all that no rule has chosen. Rules of directories follow from the rules of paths, and a directory that none can choose
from is not looked into.

Source: https://rclone.org/filtering/ and rclone's `fs/filter/filter.go` (v1.76).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from entrepot.errors import ConfigurationError
from entrepot.models import FileStat
from entrepot.transfer.bounds import NO_BOUNDS, Bounds, Moment, parse_moment
from entrepot.transfer.globs import compiled_glob, directory_globs
from entrepot.transfer.ignores import Ignored

Option: TypeAlias = Literal["include", "exclude", "filter"]
"""What gives a rule, and so how its text is read."""

_MOST_REMEMBERED: Final = 4_096
# What Go's `strings.TrimSpace` takes off.
_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)
# To rules, control characters look as rclone shows them (U+240A for a line break): `.` and `**` match them.
_SHOWN: Final = {**{code: 0x2400 + code for code in range(0x20)}, 0x7F: 0x2421}


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule. text: as it would stand in a file of filters. file, directories: None and empty where it says nothing
    of files, or of directories; a directory is searched with a slash at its end.
    """

    text: str
    includes: bool
    file: re.Pattern[str] | None = field(compare=False)
    directories: tuple[re.Pattern[str], ...] = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The files of a list, and every directory above one of them."""

    files: frozenset[str]
    directories: frozenset[str] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which files of a tree are chosen. Values: equal ones choose alike, and they pickle.

    rules: in the order that decides. bounds: of size and time. listed: only these files. ignored: what gitignore's
    patterns leave out, whatever the rules say.
    """

    rules: tuple[_Rule, ...] = ()
    bounds: Bounds = NO_BOUNDS
    listed: _Listed | None = None
    ignored: Ignored | None = None
    _known: dict[str, bool] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Directories and whether they are looked into: the files of one come together."""

    @classmethod
    def parse(
        cls,
        options: Iterable[tuple[Option, str]] = (),
        *,
        bounds: Bounds = NO_BOUNDS,
        files_from: Iterable[str] | None = None,
        ignore: Iterable[str] = (),
    ) -> Filters:
        """The filters of a command line.

        options: each rule with the option that gave it, in the order of the command line. files_from: exact paths, as
        `read_filter_file` has them; as in rclone nothing else may go with them. ignore: lines in gitignore's grammar.
        Raises: ConfigurationError for a rule that has no meaning, and for a list beside anything else.
        """
        rules = _parsed(options)
        left_out = Ignored.parse(ignore)
        ignored = left_out if left_out.lines else None
        if files_from is None:
            return cls(rules, bounds, None, ignored)
        if rules or bounds != NO_BOUNDS or ignored is not None:
            raise ConfigurationError("a list of files is a choice by itself: give it without any other filter")
        return cls(listed=_listed(files_from))

    @property
    def admits_all(self) -> bool:
        """Whether nothing is left out, so that nobody needs to ask."""
        return not self.rules and self.bounds == NO_BOUNDS and self.listed is None and self.ignored is None

    def admits(self, path: str, *, size_bytes: int, modified: datetime | None) -> bool:
        """Whether the file is copied.

        It is not where a directory above it is not looked into: what is chosen does not depend on how it is listed.
        modified: None where nobody knows; then no bound of time admits it.
        """
        if self.listed is not None:
            return path in self.listed.files
        if not self.bounds.admit(size_bytes, modified):
            return False
        if self.ignored is not None and self.ignored.holds(path):
            return False
        return self._first(path) and self.admits_directory(path[: max(0, path.rfind("/"))])

    def chooses(self, path: str, entry: FileStat) -> bool:
        """Whether an entry of a tree is copied, or looked into."""
        if self.admits_all:
            return True
        if entry.is_dir:
            return self.admits_directory(path)
        return self.admits(path, size_bytes=entry.size_bytes, modified=entry.modified)

    def admits_directory(self, path: str) -> bool:
        """Whether a directory may hold a file that is admitted, at any depth; where not, a walk can pass it by.

        path: without a slash at its end; the root (empty) is always looked into.
        """
        if not path:
            return True
        known = self._known.get(path)
        if known is None:
            known = self._looks_into(path)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[path] = known
        return known

    def canonical(self) -> str:
        """All that decides, as JSON: equal for equal filters, whenever they were parsed."""
        bounds = self.bounds
        told = {
            "rules": [rule.text for rule in self.rules],
            "min_size_bytes": bounds.min_size_bytes,
            "max_size_bytes": bounds.max_size_bytes,
            "newer": _told(bounds.newer),
            "older": _told(bounds.older),
            "files_from": sorted(self.listed.files) if self.listed is not None else None,
            "ignore": list(self.ignored.lines) if self.ignored is not None else None,
        }
        return json.dumps({name: value for name, value in told.items() if value is not None})

    @classmethod
    def from_canonical(cls, text: str, now: datetime) -> Filters:
        """The filters that `canonical` told of. now: what ages are counted from, with a time zone.

        Raises: ConfigurationError for any other text.
        """
        try:
            told = json.loads(text)
            bounds = Bounds(
                told.get("min_size_bytes"),
                told.get("max_size_bytes"),
                *(parse_moment(told[name], now) if name in told else None for name in ("newer", "older")),
            )
            rules: list[tuple[Option, str]] = [("filter", rule) for rule in told.get("rules", ())]
            return cls.parse(rules, bounds=bounds, files_from=told.get("files_from"), ignore=told.get("ignore", ()))
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError("these are no filters that were written down") from error

    def fingerprint(self) -> str:
        """The SHA-256 of `canonical`, in hex: what a journal keeps to tell the same job from another."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def _first(self, path: str) -> bool:
        """What the first rule says that matches the path of a file."""
        shown = _shown(path)
        for rule in self.rules:
            if rule.file is not None and rule.file.search(shown):
                return rule.includes
        return True

    def _looks_into(self, path: str) -> bool:
        if self.listed is not None:
            return path in self.listed.directories
        if not self.admits_directory(path[: max(0, path.rfind("/"))]):
            return False
        named = path + "/"
        if self.ignored is not None and self.ignored.holds(named):
            return False
        shown = _shown(named)
        for rule in self.rules:
            if any(directory.search(shown) for directory in rule.directories):
                return rule.includes
        return True


NO_FILTERS: Final = Filters()
"""Every file."""


def read_filter_file(path: str | Path) -> list[str]:
    """The rules or the names in a file of filters. Blocks. Raises: OSError."""
    return lines_of(Path(path).read_bytes())


def lines_of(content: bytes) -> list[str]:
    """The lines that say something, without the space around them: not those that begin with `#` or `;`."""
    # Names that are no UTF-8 are names nevertheless, as Python spells them in paths.
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    told = (line.strip(_SPACE) for line in lines)
    return [line for line in told if line and line[0] not in "#;"]


def ignore_lines_of(content: bytes) -> list[str]:
    """The lines of a file in gitignore's grammar, in which space and comments are its own affair."""
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    return [line.removesuffix("\r") for line in lines]


# ---- parsing --------------------------------------------------------------------------------------------


def _parsed(options: Iterable[tuple[Option, str]]) -> tuple[_Rule, ...]:
    rules: dict[str, _Rule] = {}  # by their text: a rule that is repeated never comes to decide
    only_included = False
    for option, text in options:
        if option == "filter":
            if text == "!":
                rules.clear()
                continue
            if text[:2] not in ("+ ", "- "):
                raise ConfigurationError(f"{text!r} is no rule; give `+ PATTERN`, `- PATTERN` or `!`")
            includes, glob = text[0] == "+", text[2:]
        else:
            includes, glob = option == "include", text
            only_included = only_included or includes
        _add(rules, glob, includes=includes)
    if only_included:
        _add(rules, "/**", includes=False)
    return tuple(rules.values())


def _add(rules: dict[str, _Rule], glob: str, *, includes: bool) -> None:
    rule = _rule(glob, includes=includes)
    rules.setdefault(rule.text, rule)


def _rule(glob: str, *, includes: bool) -> _Rule:
    """What one pattern says of files, and of directories."""
    text = f"{'+' if includes else '-'} {glob}"
    of_directories = glob.endswith("/")
    of_files = not of_directories
    if of_directories and not includes:
        glob += "**"  # without the directory goes all that is in it
    if "**" in glob:
        of_directories = of_files = True
    pattern = compiled_glob(glob)
    directories: list[re.Pattern[str]] = []
    # What is left out in a directory tells nothing of the directory, unless it is everything.
    if of_files and (includes or glob == "*"):
        # The root is looked into without a rule.
        directories = [compiled_glob(one) for one in directory_globs(glob) if one != "/"]
    if of_directories:
        directories.append(pattern)
    return _Rule(text, includes, pattern if of_files else None, tuple(directories))


def _listed(names: Iterable[str]) -> _Listed:
    files = frozenset(name.strip("/") for name in names)
    directories = set[str]()
    for name in files:
        above = name[: max(0, name.rfind("/"))]
        while above and above not in directories:
            directories.add(above)
            above = above[: max(0, above.rfind("/"))]
    return _Listed(files, frozenset(directories))


def _shown(path: str) -> str:
    return path if path.isprintable() else path.translate(_SHOWN)


def _told(moment: Moment | None) -> str | None:
    return moment.told if moment is not None else None
