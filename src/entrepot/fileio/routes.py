"""Which store an address reaches: the longest root of those that are open here, the active stack's, or a disk."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from entrepot.errors import ConfigurationError
from entrepot.opened import opened
from entrepot.paths import StrPath, path_text, scheme_of
from entrepot.registry.stores import StoreEntry

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

_WILD: Final = re.compile(r"[*?\[]")


def route(address: StrPath, *, follow: bool = True) -> tuple[BaseArtifactStore, str]:
    """The store that an address is in, and its path there. Cost: no request.

    follow: a symbolic link at a local path is as good as what it leads to; else the link itself is meant.
    Raises: ConfigurationError for an address that no store here holds, with what to open.
    """
    text = path_text(address)
    if not text:
        raise ConfigurationError("an address is empty; give a path, or a URI")
    if scheme_of(text) in (None, "file"):
        return _local(text.removeprefix("file://"), follow)
    found = _longest(text, opened())
    if found is not None:
        return found, _below(found.path, text)
    entry = _active_entry()
    if _holds(entry.path, text):
        return _made(entry), _below(entry.path, text)
    known = [store.path for store in opened()] + [f"{entry.path} (the active stack's)"]
    raise ConfigurationError(
        f"no store that is open here holds it; open one (`with open_store_sync(…)`), or activate a stack whose store "
        f"does; known: {', '.join(known)}",
        uri=text,
    )


def _longest(address: str, stores: tuple[BaseArtifactStore, ...]) -> BaseArtifactStore | None:
    holding = [store for store in stores if _holds(store.path, address)]
    # Of two with one root, the one that was opened last.
    return max(reversed(holding), key=lambda store: len(store.path), default=None)


def _holds(root: str, address: str) -> bool:
    return address == root or address.startswith(root if root.endswith(("/", os.sep)) else f"{root}/")


def _below(root: str, address: str) -> str:
    """The path of an address in the store that is rooted there."""
    return address.removeprefix(root).removeprefix("/")


def _local(path: str, follow: bool) -> tuple[BaseArtifactStore, str]:
    # A store follows no link below its root; one that the user names, or one above it, is as good as what it leads to.
    whole = os.path.abspath(path)
    literal = whole if _WILD.search(whole) is None else _literal_directory(whole)
    if follow or literal != whole:
        real = os.path.realpath(literal)
    else:
        real = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
    rest = whole[len(literal) :]
    full = f"{real}{rest}"
    local = tuple(store for store in opened() if store.is_local and scheme_of(store.path) is None)
    found = _longest(full.replace(os.sep, "/"), local) if os.sep == "/" else None
    store = found or _disk(Path(full).anchor)
    return store, full[len(store.path) :].replace(os.sep, "/").removeprefix("/")


def _literal_directory(pattern: str) -> str:
    """The directories of a pattern before its first wildcard."""
    names = pattern.split(os.sep)
    first = next(number for number, name in enumerate(names) if _WILD.search(name))
    return os.sep.join(names[:first]) or os.sep


@functools.lru_cache(maxsize=32)
def _disk(anchor: str) -> BaseArtifactStore:
    from entrepot.flavors.local import LocalArtifactStore

    return LocalArtifactStore(anchor)


def _active_entry() -> StoreEntry:
    from entrepot.registry.stacks import active_artifact_store

    return active_artifact_store()


def _made(entry: StoreEntry) -> BaseArtifactStore:
    """One store of the active entry for the process, so that its connections are used again."""
    key = (entry.flavor, entry.path, tuple(sorted((name, repr(value)) for name, value in entry.options.items())))
    store = _MADE.get(key)
    if store is None:
        store = _MADE[key] = entry.make()
    return store


_MADE: Final[dict[Any, BaseArtifactStore]] = {}
