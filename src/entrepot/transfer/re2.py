r"""Regular expressions of Go (RE2), written anew for Python's `re`, so that a rule selects here what it selects there.

Pure text to text. What RE2 refuses is refused, and so are the few things that `re` cannot say: Unicode classes
(`\p{Greek}`). One difference stays: RE2 takes linear time for every expression, and `re` does not for a repetition
of a repetition, such as `(a+)+`.

Source: https://pkg.go.dev/regexp/syntax, and its parser with the flags that `regexp.Compile` sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

_Ranges: TypeAlias = list[tuple[int, int]]

_LAST: Final = 0x10FFFF
_MOST_REPEATS: Final = 1_000
_REPEAT: Final = re.compile(r"\{(0|[1-9]\d*)(?:(,)(0|[1-9]\d*)?)?\}", re.ASCII)
_FLAGS: Final = re.compile(r"\(\?(?P<on>[imsU]*)(?:-(?P<off>[imsU]+))?(?P<end>[:)])")
_NAMED_GROUP: Final = re.compile(r"\(\?P?<(?P<name>\w+)>", re.ASCII)
_NAMED_CLASS: Final = re.compile(r"\[:(?P<not>\^?)(?P<name>.*?):\]", re.DOTALL)
# A digit that is not 0 and stands alone would be a backreference.
_OCTAL: Final = re.compile(r"[1-7][0-7]{1,2}|0[0-7]{0,2}")
_HEX: Final = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")
_CONTROLS: Final = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


def _ranges(text: str) -> _Ranges:
    """`09AZ` as the ranges 0-9 and A-Z."""
    return [(ord(text[at]), ord(text[at + 1])) for at in range(0, len(text), 2)]


_PERL: Final = {"d": _ranges("09"), "s": _ranges("\t\n\f\r  "), "w": _ranges("09AZ__az")}
_POSIX: Final = {
    "alnum": _ranges("09AZaz"),
    "alpha": _ranges("AZaz"),
    "ascii": _ranges("\x00\x7f"),
    "blank": _ranges("\t\t  "),
    "cntrl": _ranges("\x00\x1f\x7f\x7f"),
    "digit": _ranges("09"),
    "graph": _ranges("!~"),
    "lower": _ranges("az"),
    "print": _ranges(" ~"),
    "punct": _ranges("!/:@[`{~"),
    "space": _ranges("\t\r  "),
    "upper": _ranges("AZ"),
    "word": _ranges("09AZaz__"),
    "xdigit": _ranges("09AFaf"),
}


def python_pattern(expression: str) -> str:
    """The same expression for `re.search`, without groups that capture.

    Whether something matches is the same; what a match spans need not be. Raises: ValueError, saying what is wrong.
    """
    translation = _Translation(expression)
    translation.run()
    return translation.groups[0].text()


@dataclass(slots=True)
class _Group:
    """One open group. flags: as they were before it. atoms: of its last alternative, each a whole expression."""

    flags: frozenset[str]
    alternatives: list[str] = field(default_factory=list)
    atoms: list[str] = field(default_factory=list)

    def next_alternative(self) -> None:
        self.alternatives.append("".join(self.atoms))
        self.atoms.clear()

    def text(self) -> str:
        return "|".join([*self.alternatives, "".join(self.atoms)])


class _Translation:
    """One expression under way, from the left; `at` is where the rest begins."""

    def __init__(self, expression: str) -> None:
        self._source = expression
        self._at = 0
        self._flags: frozenset[str] = frozenset()
        self.groups = [_Group(self._flags)]

    def run(self) -> None:
        """Translate all of it."""
        repeated = False
        while self._at < len(self._source):
            repeats = self._repeat()
            if repeats is None:
                self._take_one()
            elif repeated:
                raise ValueError("a repetition is repeated")
            elif not self.groups[-1].atoms:
                raise ValueError("there is nothing before a repetition")
            else:
                atoms = self.groups[-1].atoms
                atoms[-1] = f"(?:{atoms[-1]}){repeats}"
            repeated = repeats is not None
        if len(self.groups) > 1:
            raise ValueError("a `(` is not closed")

    def _take_one(self) -> None:
        """One character, class, group or assertion."""
        char = self._source[self._at]
        if char == "\\":
            self._take_escape()
            return
        if char == "[":
            self._add(self._class(), folds=True)
            return
        if char == "(":
            self._open()
            return
        self._at += 1
        group = self.groups[-1]
        if char == "|":
            group.next_alternative()
        elif char == ")":
            if len(self.groups) == 1:
                raise ValueError("a `)` has no `(`")
            self.groups.pop()
            self._flags = group.flags
            self._add(f"(?:{group.text()})")
        elif char == ".":
            self._add("(?s:.)" if "s" in self._flags else r"[^\n]")
        elif char == "^":
            self._add("(?m:^)" if "m" in self._flags else r"\A")
        elif char == "$":
            self._add("(?m:$)" if "m" in self._flags else r"\Z")
        else:
            self._add(re.escape(char), folds=True)

    def _add(self, atom: str, *, folds: bool = False) -> None:
        """folds: it is one that upper and lower case matter to."""
        self.groups[-1].atoms.append(f"(?i:{atom})" if folds and "i" in self._flags else atom)

    def _repeat(self) -> str | None:
        """The repetition that begins here; None where something else does. Greedy or not makes no difference."""
        char = self._source[self._at]
        if char in "*+?":
            self._at += 1
            repeats = char
        elif found := _REPEAT.match(self._source, self._at):
            least, most = int(found[1]), int(found[3] or found[1])
            if max(least, most) > _MOST_REPEATS or most < least:
                raise ValueError(f"{found[0]} is no number of repetitions")
            self._at = found.end()
            repeats = found[0]
        else:
            return None
        if self._source.startswith("?", self._at):
            self._at += 1
        return repeats

    def _open(self) -> None:
        """A group, with or without a name, or flags for the rest of this one."""
        source, at = self._source, self._at
        before = self._flags
        if not source.startswith("(?", at):
            self._at += 1
        elif found := _NAMED_GROUP.match(source, at):
            self._at = found.end()
        elif found := _FLAGS.match(source, at):
            self._at = found.end()
            self._flags = (before | {*found["on"]}) - {*(found["off"] or "")}
            if found["end"] == ")":
                return
        else:
            raise ValueError(f"`{source[at : at + 4]}` opens no group")
        self.groups.append(_Group(before))

    # ---- escapes ----------------------------------------------------------------------------------

    def _take_escape(self) -> None:
        source, at = self._source, self._at
        letter = source[at + 1 : at + 2]
        if letter == "Q":
            end = source.find("\\E", at)
            quoted = source[at + 2 : end] if end >= 0 else source[at + 2 :]
            self._at = end + 2 if end >= 0 else len(source)
            for char in quoted:
                self._add(re.escape(char), folds=True)
            return
        assertion = {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}.get(letter)
        if assertion is not None:
            self._at += 2
            self._add(assertion)
        elif (ranges := self._perl_class()) is not None:
            self._add(_class_of(ranges), folds=True)
        else:
            self._add(re.escape(chr(self._escaped())), folds=True)

    def _perl_class(self) -> _Ranges | None:
        r"""The class of `\d` and the like, None where another escape begins here."""
        letter = self._source[self._at + 1 : self._at + 2]
        if letter in ("p", "P"):
            raise ValueError("Unicode classes such as \\p{L} are not supported; name the characters, as in [a-z]")
        ranges = _PERL.get(letter.lower())
        if ranges is None:
            return None
        self._at += 2
        return ranges if letter.islower() else _others(ranges)

    def _escaped(self) -> int:
        """The code point of one escaped character."""
        source, at = self._source, self._at + 1
        char = source[at : at + 1]
        if not char:
            raise ValueError("a backslash ends it")
        if found := _OCTAL.match(source, at):
            code = int(found[0], 8)
        elif found := _HEX.match(source, at):
            code = int(found[1] or found[2], 16)
        elif char in _CONTROLS:
            self._at = at + 1
            return _CONTROLS[char]
        elif char.isascii() and not char.isalnum():
            self._at = at + 1
            return ord(char)
        else:
            raise ValueError(f"\\{char} means nothing")
        if code > _LAST:
            raise ValueError(f"\\{found[0]} is no character")
        self._at = found.end()
        return code

    # ---- classes ----------------------------------------------------------------------------------

    def _class(self) -> str:
        """`[…]`, rewritten as ranges, so that nothing in it can mean anything else to `re`."""
        source = self._source
        self._at += 1
        negated = source.startswith("^", self._at)
        self._at += negated
        ranges: _Ranges = []
        first = True
        while first or not source.startswith("]", self._at):
            first = False
            ranges += self._in_class()
        self._at += 1
        return _class_of(ranges, negated=negated)

    def _in_class(self) -> _Ranges:
        """One character, range, or class of a name within the brackets."""
        source = self._source
        if found := _NAMED_CLASS.match(source, self._at):
            ranges = _POSIX.get(found["name"])
            if ranges is None:
                raise ValueError(f"{found[0]} is no class of characters")
            self._at = found.end()
            return _others(ranges) if found["not"] else ranges
        if source.startswith("\\", self._at) and (perl := self._perl_class()) is not None:
            return perl
        low = high = self._class_char()
        if source.startswith("-", self._at) and self._at + 1 < len(source) and source[self._at + 1] != "]":
            self._at += 1
            high = self._class_char()
            if high < low:
                raise ValueError(f"a range goes from {chr(low)!r} down to {chr(high)!r}")
        return [(low, high)]

    def _class_char(self) -> int:
        if self._at >= len(self._source):
            raise ValueError("a `[` is not closed")
        char = self._source[self._at]
        if char == "\\":
            return self._escaped()
        self._at += 1
        return ord(char)


def _others(ranges: _Ranges) -> _Ranges:
    """Every character that is in none of the ranges; they are sorted and do not touch."""
    starts = [0, *(high + 1 for _, high in ranges)]
    ends = [*(low - 1 for low, _ in ranges), _LAST]
    return [(low, high) for low, high in zip(starts, ends, strict=True) if low <= high]


def _class_of(ranges: Iterable[tuple[int, int]], *, negated: bool = False) -> str:
    inside = "".join(
        _in_brackets(low) if low == high else f"{_in_brackets(low)}-{_in_brackets(high)}" for low, high in ranges
    )
    return f"[{'^' if negated else ''}{inside}]"


def _in_brackets(code: int) -> str:
    char = chr(code)
    if not (char.isascii() and char.isprintable()):
        return f"\\U{code:08x}"
    return char if char.isalnum() else "\\" + char
