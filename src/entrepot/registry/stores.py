"""The stores that this user has configured. The local store `default` needs no set-up: its first use writes its table,
with a new UUID and a folder of that name.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from entrepot.errors import ConfigurationError
from entrepot.paths import join
from entrepot.registry.catalog import flavor_named
from entrepot.registry.home import Home, put_table
from entrepot.registry.references import require_usable, resolved

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from entrepot.contract import BaseArtifactStore

DEFAULT_STORE: Final = "default"
"""The name of the local store that exists without any set-up."""

_KIND: Final = "artifact_stores"


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One configured store. id: a UUID, empty where the file gives none. options: the flavor's own keys."""

    name: str
    flavor: str
    path: str
    id: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def make(self, *, below: str = "", **options: Any) -> BaseArtifactStore:
        """A store made of the entry, its references to secrets resolved.

        below: a path in it to be the root. options: in place of configured ones.
        """
        require_usable("path", self.path)
        path = join(self.path, below)
        return flavor_named(self.flavor).load()(path, **resolved({**self.options, **options}))


def store_names(home: Home | None = None) -> list[str]:
    """The names of all configured stores, sorted; `default` is always there."""
    return sorted({DEFAULT_STORE, *_stores(home or Home.of_this_user())})


def find_store(name: str, home: Home | None = None) -> StoreEntry | None:
    """The configured store of that name, or None; `default` is made at its first use.

    Raises ConfigurationError for a file that cannot be read, or written where `default` is new.
    """
    home = home or Home.of_this_user()
    found = _stores(home).get(name)
    if found is None and name == DEFAULT_STORE:
        return _make_default(home)
    return found


def named_store(name: str, home: Home | None = None) -> StoreEntry:
    """As `find_store`. Raises ConfigurationError that lists the known names."""
    found = find_store(name, home)
    if found is None:
        known = store_names(home)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}:? " if near else ""
        raise ConfigurationError(
            f"no store is called {name!r}; {hint}known: {', '.join(known)}; a local path is written ./{name}"
        )
    return found


def _stores(home: Home, document: Mapping[str, Any] | None = None) -> dict[str, StoreEntry]:
    tables = home.tables(_KIND, document)
    return {name: _entry(home.config_file, name, table) for name, table in tables.items()}


def _entry(path: str, name: str, table: Mapping[str, Any]) -> StoreEntry:
    options = dict(table)
    texts = {key: options.pop(key, "") for key in ("id", "flavor", "path")}
    for key, value in texts.items():
        if not isinstance(value, str) or (key != "id" and not value):
            raise ConfigurationError(f"{_KIND}.{name} needs a text for {key!r}", uri=path)
    return StoreEntry(name, options=MappingProxyType(options), **texts)


def _make_default(home: Home) -> StoreEntry:
    """Write the table of `default`, or return the one that another process wrote meanwhile."""

    def add(document: TOMLDocument) -> StoreEntry:
        found = _stores(home, document.unwrap()).get(DEFAULT_STORE)
        if found is not None:
            return found
        identity = str(uuid.uuid4())
        path = home.local_store(identity)
        put_table(document, _KIND, DEFAULT_STORE, {"id": identity, "flavor": "local", "path": path})
        return StoreEntry(DEFAULT_STORE, "local", path, identity)

    return home.change("the store 'default' cannot be set up here", add)
