"""The walk of `os.walk`, awaited: directories are listed several siblings at a time, and given out one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from anyio import to_thread

from entrepot.errors import StoreError
from entrepot.flavors.local.directories import Tree, join_key
from entrepot.flavors.local.faults import typed_from
from entrepot.flavors.local.listing import Children, list_children
from entrepot.flavors.local.records import shown
from entrepot.paths import checked_key

_SIBLINGS: Final = 16

Found: TypeAlias = tuple[str, list[str], list[str]]
"""As `os.walk`: the directory's address, the names of directories, the names of files."""


@dataclass(slots=True)
class _Level:
    """Directories side by side, still to be walked, the next one last; and what is told after them (bottom-up)."""

    keys: list[str]
    after: Found | None = None


class Walk:
    """One walk; `advance` until it is False, and read `found` in between.

    Errors of a listing go to `onerror`, else they are passed over.
    """

    def __init__(self, tree: Tree, top: str, *, topdown: bool, onerror: Callable[[StoreError], object] | None) -> None:
        self._tree, self._topdown, self._onerror = tree, topdown, onerror
        self._levels = [_Level([top])]
        self._listed: dict[str, Children | OSError] = {}
        self._given: str | None = None
        self._names: dict[str, str] = {}
        self.found: Found = ("", [], [])

    async def advance(self) -> bool:
        """Find the next directory; False at the end."""
        if self._given is not None:
            self._enter_given()
        while self._levels:
            level = self._levels[-1]
            if not level.keys:
                self._levels.pop()
                if level.after is not None:
                    self.found = level.after
                    return True
                continue
            children = await self._list(level)
            key = level.keys.pop()
            if isinstance(children, OSError):
                self._report(key, children)
            elif self._tell(key, children):
                return True
        return False

    async def _list(self, level: _Level) -> Children | OSError:
        key = level.keys[-1]
        if key not in self._listed:
            ahead = level.keys[: -_SIBLINGS - 1 : -1]
            self._listed.update(zip(ahead, await to_thread.run_sync(list_children, self._tree, ahead), strict=True))
        return self._listed.pop(key)

    def _report(self, key: str, error: OSError) -> None:
        if not key and isinstance(error, FileNotFoundError):  # a root that was not made yet is empty
            self.found = (self._tree.root, [], [])
            self._levels.append(_Level([], self.found))
        elif self._onerror is not None:
            self._onerror(typed_from(error, operation="walk", uri=self._tree.path(shown(key))))

    def _tell(self, key: str, children: Children) -> bool:
        directories, files = [shown(name) for name in children.directories], [shown(name) for name in children.files]
        found = (self._tree.path(shown(key)), directories, files)
        if not self._topdown:
            below = [join_key(key, name) for name in reversed(children.directories)]
            self._levels.append(_Level(below, found))
            return False
        self.found, self._given = found, key
        self._names = dict(zip(directories, children.directories, strict=True))
        return True

    def _enter_given(self) -> None:
        """Go on below the directory that was told last, by what the user left of its names."""
        key, self._given = self._given or "", None
        names = [self._names.get(name) or checked_key(name, operation="walk") for name in self.found[1]]
        self._levels.append(_Level([join_key(key, name) for name in reversed(names)]))
