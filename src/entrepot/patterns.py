"""Patterns of `glob`, with the meaning of Python 3.13's `glob.translate(…, recursive=True, include_hidden=True)`.

Python 3.11 has no `glob.translate`, so the translation is here, for every flavor alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAGIC = re.compile(r"[*?\[]")
_SET_OPERATIONS = re.compile(r"([&~|])")


def has_magic(text: str) -> bool:
    """Whether the text has a wildcard."""
    return _MAGIC.search(text) is not None


def translate(pattern: str) -> str:
    """The regular expression of a pattern, for `re.match` on a relative path with `/` between its names.

    `*` and `?` stay within a name; `**` as a whole name stands for any number of directories, none included.
    Source: Python 3.13 standard library, `glob.translate`.
    """
    parts = pattern.split("/")
    last = len(parts) - 1
    result: list[str] = []
    for at, part in enumerate(parts):
        if part == "*":
            result.append("[^/]+/" if at < last else "[^/]+")
        elif part == "**":
            if at == last:
                result.append(".*")
            elif parts[at + 1] != "**":
                result.append("(?:.+/)?")
        else:
            result.append(translate_name(part))
            if at < last:
                result.append("/")
    return rf"(?s:{''.join(result)})\Z"


def translate_name(pattern: str) -> str:
    """The regular expression of one name's pattern. Source: Python 3.13 standard library, `fnmatch._translate`."""
    result: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            # One star stands for several: they would only backtrack.
            if not result or result[-1] != "[^/]*":
                result.append("[^/]*")
        elif char == "?":
            result.append("[^/]")
        elif char == "[":
            expression, at = _character_class(pattern, at)
            result.append(expression)
        else:
            result.append(re.escape(char))
    return "".join(result)


def _character_class(pattern: str, start: int) -> tuple[str, int]:
    """The expression for the class whose `[` is before `start`, and where the pattern goes on."""
    end = start
    if pattern[end : end + 1] == "!":
        end += 1
    if pattern[end : end + 1] == "]":
        end += 1
    end = pattern.find("]", end)
    if end < 0:
        return r"\[", start
    inside = pattern[start:end]
    if "-" in inside:
        chunks = _range_chunks(pattern, start, end)
        # Hyphens that make ranges stay, others are escaped, as are backslashes.
        inside = "-".join(chunk.replace("\\", r"\\").replace("-", r"\-") for chunk in chunks)
    else:
        inside = inside.replace("\\", r"\\")
    inside = _SET_OPERATIONS.sub(r"\\\1", inside)
    if not inside:
        return "(?!)", end + 1  # an empty range matches nothing
    if inside == "!":
        return ".", end + 1  # a negated empty range matches any character
    if inside[0] == "!":
        inside = "^" + inside[1:]
    elif inside[0] in "^[":
        inside = "\\" + inside
    return f"[{inside}]", end + 1


def _range_chunks(pattern: str, start: int, end: int) -> list[str]:
    """A class cut at the hyphens of its ranges, without empty ranges (`z-a`)."""
    chunks: list[str] = []
    at = start + 2 if pattern[start] == "!" else start + 1
    while (at := pattern.find("-", at, end)) >= 0:
        chunks.append(pattern[start:at])
        start = at + 1
        at += 3
    rest = pattern[start:end]
    if rest:
        chunks.append(rest)
    else:
        chunks[-1] += "-"
    for one in range(len(chunks) - 1, 0, -1):
        if chunks[one - 1][-1] > chunks[one][0]:
            chunks[one - 1] = chunks[one - 1][:-1] + chunks[one][1:]
            del chunks[one]
    return chunks


@dataclass(frozen=True, slots=True)
class Segment:
    """One name of a pattern. head: its literal beginning. expression: None where all of it is literal."""

    text: str
    head: str
    expression: re.Pattern[str] | None

    def matches(self, name: str) -> bool:
        """Whether a single name matches."""
        return name == self.text if self.expression is None else self.expression.match(name) is not None


@dataclass(frozen=True, slots=True)
class GlobPattern:
    """A parsed pattern, relative to the store's root.

    only_directories: it ends in `/`. segments: the names between the slashes. crosses_directories: it cannot be
    matched name by name, because of `**` or of a character class that takes `/`.
    """

    expression: re.Pattern[str]
    segments: tuple[Segment, ...]
    only_directories: bool
    crosses_directories: bool

    @classmethod
    def parse(cls, pattern: str) -> GlobPattern:
        """The pattern's parts. pattern: relative, checked already for what no path may have."""
        names = pattern.removesuffix("/").split("/")
        segments = tuple(_segment(name) for name in names)
        crosses = any(name == "**" or _takes_slash(segment) for name, segment in zip(names, segments, strict=True))
        return cls(re.compile(translate(pattern)), segments, pattern.endswith("/"), crosses)

    @property
    def literal_prefix(self) -> str:
        """What every match begins with: the directories before the first wildcard, and the head of that name."""
        prefix = ""
        for at, segment in enumerate(self.segments):
            if segment.expression is not None or at == len(self.segments) - 1:
                return prefix + segment.head
            prefix += segment.text + "/"
        return prefix

    def matches(self, path: str, *, is_dir: bool) -> bool:
        """Whether a path below the root matches; path: relative, without a trailing slash."""
        if self.only_directories:
            return is_dir and self.expression.match(path + "/") is not None
        return self.expression.match(path) is not None


def _segment(name: str) -> Segment:
    magic = _MAGIC.search(name)
    if magic is None:
        return Segment(name, name, None)
    expression = r"[^/]+" if name in ("*", "**") else translate_name(name)
    head = name[: magic.start()]
    # Some services refuse to list below `.` and `..`, even as the beginning of a name.
    return Segment(name, head if head.strip(".") else "", re.compile(rf"(?s:{expression})\Z"))


def _takes_slash(segment: Segment) -> bool:
    """Whether a character class within the name may stand for `/`, as `[!b]` in `a[!b]c` does in Python.

    At the beginning or the end of a name it cannot: the name beside the slash would be empty.
    """
    text, at = segment.text, 1
    while segment.expression is not None and (at := text.find("[", at)) >= 0:
        expression, at = _character_class(text, at + 1)
        if at < len(text) and re.match(expression, "/"):
            return True
    return False
