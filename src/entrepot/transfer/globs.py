r"""rclone's globs: a pattern of a path as a regular expression, and as the patterns of the directories it may lie in.

    *  any characters but /     **  any characters          ?  one character but /     [a-z] [^a-z] \d  one of these
    {a,b}  one of those         {{expression}}  a regular expression                  \c  the character c itself

A pattern that begins with `/` matches from the root of what is copied, any other from a name on. Pure; both functions
go the way of rclone's own, step by step, because what they do at the edges is what people have come to rely on.

Source: https://rclone.org/filtering/ and rclone's `fs/filter/glob.go` (v1.76).
"""

from __future__ import annotations

import re
from typing import Final

from entrepot.errors import ConfigurationError
from entrepot.transfer.re2 import python_pattern

_META: Final = frozenset(".+()|^$")
_STARS: Final = {0: "", 1: "[^/]*", 2: ".*"}

# Alternatives with / or **, expressions, alternatives within others: in which directories they may lie is not told.
_TOO_HARD: Final = re.compile(r"(\{[^{}]*(\*\*|/)[^{}]*\})|\{\{|\}\}|\{[^{}]*\{")
_SLASHES: Final = re.compile(r"/{2,}")


def compiled_glob(glob: str) -> re.Pattern[str]:
    """The glob as an expression to `search` for in a path (`a/b`) or, with a slash at its end, a directory (`a/`).

    Raises: ConfigurationError for what rclone refuses, and for Unicode classes.
    """
    try:
        return re.compile(python_pattern(_Reading(glob).expression()))
    except (ValueError, re.error, RecursionError, OverflowError) as error:
        raise ConfigurationError(f"{glob!r} is no pattern of a path: {error}") from error


def directory_globs(glob: str) -> list[str]:
    """Globs of every directory that may hold a file which the glob matches, directories above included."""
    if _TOO_HARD.search(glob):
        return ["/**"]
    rest, found = _SLASHES.sub("/", glob), list[str]()
    while True:
        slash, stars = rest.rfind("/"), rest.rfind("**")
        cut, kept = (stars, "**") if stars > slash else (slash, "")
        if cut < 0:
            return found or ["/**"]
        rest = rest[:cut]
        directory = f"{rest}{kept}/"
        if not found or found[-1] != directory:
            found.append(directory)


class _Reading:
    """One glob on its way to an expression of Go."""

    def __init__(self, glob: str) -> None:
        rooted = glob.startswith("/")
        self._glob = glob[1:] if rooted else glob
        self._out = ["^" if rooted else "(^|/)"]
        self._stars = 0
        self._braces = 0
        self._brackets = 0
        self._escaped = False
        self._in_regexp = False
        self._after_regexp = False
        """The last two characters closed an expression; a further brace belongs to it."""

    def expression(self) -> str:
        """All of it. Raises ValueError, saying what is wrong."""
        last = ""
        for char in self._glob:
            self._take(char, last)
            last = char
        self._end_stars()
        if self._brackets > 0:
            raise ValueError("a `[` is not closed")
        if self._braces != 0:
            raise ValueError("a `{` is not closed")
        if self._in_regexp:
            raise ValueError("a `{{` is not closed")
        return "".join(self._out) + "$"

    def _take(self, char: str, last: str) -> None:
        out = self._out
        if self._escaped:
            self._escaped = False
            out.append(char)
            return
        if self._after_regexp and char == "}":
            out[-1:] = ["}", ")"]
            return
        self._after_regexp = False
        if self._in_regexp:
            if char == "}" and last == "}":
                self._in_regexp, self._after_regexp = False, True
                out[-1] = ")"
            else:
                out.append(char)
            return
        if char != "*":
            self._end_stars()
        if self._brackets > 0:
            self._brackets += (char == "[") - (char == "]")
            out.append(char)
            return
        self._take_plain(char, last)

    def _take_plain(self, char: str, last: str) -> None:
        """A character outside of brackets and of expressions."""
        out = self._out
        if char == "*":
            self._stars += 1
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            self._brackets += 1
            out.append(char)
        elif char == "]":
            raise ValueError("a `]` has no `[`")
        elif char == "{" and self._braces > 0 and last == "{":
            # The first brace has opened a group already; its end is that of the expression.
            self._in_regexp = True
            self._braces -= 1
        elif char == "{":
            self._braces += 1
            out.append("(")
        elif char == "}":
            if self._braces == 0:
                raise ValueError("a `}` has no `{`")
            self._braces -= 1
            out.append(")")
        elif char == "," and self._braces > 0:
            out.append("|")
        elif char in _META:
            out.append("\\" + char)
        else:
            self._escaped = char == "\\"
            out.append(char)

    def _end_stars(self) -> None:
        if self._stars not in _STARS:
            raise ValueError("there are more than two stars in a row")
        if self._stars:
            self._out.append(_STARS[self._stars])
        self._stars = 0
