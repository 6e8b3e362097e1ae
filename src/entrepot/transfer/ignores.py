"""What a file in gitignore's grammar leaves out.

`pathspec` reads the grammar; which pattern decides is settled here, because its own way differs from git's where a
pattern takes a directory back: of `*.log` and `!kept`, git leaves out `kept/a.log`, and `pathspec` would not.

Source: https://git-scm.com/docs/gitignore
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from entrepot.errors import ConfigurationError

_NAMED_CLASS: Final = re.compile(r"\[:[a-z]+:\]")


@dataclass(frozen=True, slots=True)
class Ignored:
    """Patterns of gitignore, relative to the root of what is copied; the last that matches decides.

    lines: without comments and empty lines, in order.
    """

    lines: tuple[str, ...]
    _last_first: tuple[tuple[bool, re.Pattern[str]], ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Ignored:
        """The patterns of those lines. Raises: ConfigurationError for one that is no pattern."""
        kept = tuple(line for line in lines if line.strip() and not line.startswith("#"))
        compiled = [one for one in map(_compiled, kept) if one is not None]
        return cls(kept, tuple(reversed(compiled)))

    def __reduce__(self) -> tuple[Callable[..., Ignored], tuple[tuple[str, ...]]]:
        return Ignored.parse, (self.lines,)

    def holds(self, path: str) -> bool:
        """Whether this very path is left out; a directory is named with a slash at its end.

        Below a directory that is left out everything is, whatever this says: ask for directories first.
        """
        return next((leaves_out for leaves_out, pattern in self._last_first if pattern.search(path)), False)


def _compiled(line: str) -> tuple[bool, re.Pattern[str]] | None:
    """Whether the pattern leaves out, and what to search for; None for one that matches nothing."""
    from pathspec import GitIgnoreSpec

    if _NAMED_CLASS.search(line):
        raise ConfigurationError(f"{line!r}: classes of a name such as [:digit:] are not read here; write 0-9")
    # Directories below `a`; pathspec would take it for `a/`.
    text = f"{line}*/" if line.endswith("/**/") else line
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `[[]` may once mean something else to `re`
            pattern: Any = next(iter(GitIgnoreSpec.from_lines([text], backend="simple").patterns))
            return _of_itself(line, pattern)
    except (ValueError, re.error) as error:
        raise ConfigurationError(f"{line!r} is no pattern of gitignore") from error


def _of_itself(line: str, pattern: Any) -> tuple[bool, re.Pattern[str]] | None:
    """What matches a path itself: the expressions of pathspec also match all that lies below."""
    if pattern.include is None:
        return None
    expression: str = pattern.regex.pattern
    if "ps_d" in pattern.regex.groupindex:  # the slash after a directory that matched
        expression = rf"(?:{expression})\Z"
    elif expression.endswith("/"):  # of `a/**`: everything below
        expression = f"(?:{expression})(?s:.)"
    elif expression != ".":  # of `*`: everything
        raise NotImplementedError(f"pathspec reads {line!r} in a way that is not known here: {expression}")
    return pattern.include, re.compile(expression)
