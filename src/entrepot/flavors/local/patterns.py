"""Glob patterns, matched segment by segment while a tree is walked, so that what cannot match is not listed.

The meaning is that of Python 3.13's `glob.translate(pattern, recursive=True, include_hidden=True)`.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from entrepot.paths import checked_key

_MAGIC: Final = re.compile(r"[*?[]")
_ANY: Final = "**"

States: TypeAlias = frozenset[int]
"""How many segments of the pattern may have been matched so far."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern in two parts: the directory that is written out, and the segments to match below it.

    directories_only: the pattern ends in a slash.
    """

    literal_directory: str
    segments: tuple[re.Pattern[str] | None, ...]
    directories_only: bool = False

    @classmethod
    def parse(cls, pattern: str) -> Pattern:
        """pattern: relative to the root. Raises InvalidPath for a segment that no key has."""
        segments = checked_key(pattern, operation="glob").split("/")
        first = next((at for at, segment in enumerate(segments) if _MAGIC.search(segment)), len(segments) - 1)
        compiled = tuple(
            None if segment == _ANY else re.compile(fnmatch.translate(segment)) for segment in segments[first:]
        )
        return cls("/".join(segments[:first]), compiled, pattern.endswith("/"))

    @property
    def start(self) -> States:
        """Before any name."""
        return self._closure({0})

    def step(self, states: States, name: str) -> States:
        """After one name more; empty where nothing below can match."""
        after = set()
        for state in states:
            if state == len(self.segments):
                continue
            segment = self.segments[state]
            if segment is None:
                after.add(state)
                if state == len(self.segments) - 1:
                    after.add(state + 1)
            elif segment.match(name):
                after.add(state + 1)
        return self._closure(after)

    def _closure(self, states: set[int]) -> States:
        # `**` before other segments also stands for no directory at all; at the end it stands for one name at least.
        for state in range(len(self.segments) - 1):
            if state in states and self.segments[state] is None:
                states.add(state + 1)
        return frozenset(states)

    def accepts(self, states: States, *, is_dir: bool) -> bool:
        """Whether what was matched so far is a whole match."""
        return len(self.segments) in states and (is_dir or not self.directories_only)

    def goes_on(self, states: States) -> bool:
        """Whether something below may match."""
        return any(state < len(self.segments) for state in states)
