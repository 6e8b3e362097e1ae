"""The components that this user has configured: artifact stores, orchestrators, step operators, by kind and name.

    [orchestrators.cluster]
    id = "9a4e…"
    flavor = "my_package.orchestrators:Cluster"
    namespace = "ml"

Each change is checked by the component's own flavor before anything is written. The orchestrator `default` is there
without a table; the store `default` is made at its first use.
"""

from __future__ import annotations

import difflib
import os
import re
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from entrepot.components import LocalOrchestrator, StackComponent, StackComponentType
from entrepot.errors import ConfigurationError
from entrepot.paths import scheme_of
from entrepot.registry.catalog import flavor_named
from entrepot.registry.home import Home, put_table
from entrepot.registry.references import require_usable, resolved
from entrepot.registry.stores import DEFAULT_STORE, find_store

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

DEFAULT: Final = DEFAULT_STORE
"""The name of the components, and of the stack, that are there without any set-up."""

_TABLES: Final = {
    StackComponentType.ARTIFACT_STORE: "artifact_stores",
    StackComponentType.ORCHESTRATOR: "orchestrators",
    StackComponentType.STEP_OPERATOR: "step_operators",
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,62}", re.ASCII)
_FIXED: Final = frozenset({"id", "flavor"})


@dataclass(frozen=True, slots=True)
class ComponentEntry:
    """One configured component. id: a UUID, empty where the file gives none. options: the flavor's own keys."""

    component_type: StackComponentType
    name: str
    flavor: str
    id: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def kind(self) -> type[StackComponent]:
        """Its class. Raises ConfigurationError where the flavor is not known, or cannot be imported."""
        return class_of(self.component_type, self.flavor)

    def make(self) -> StackComponent:
        """The component, its references to secrets resolved."""
        return self.kind()(**resolved(self.options))

    @property
    def is_local(self) -> bool:
        """Whether it works on this machine alone: a remote component beside it could not reach it."""
        if self.component_type is StackComponentType.ARTIFACT_STORE:
            return scheme_of(str(self.options.get("path", ""))) in (None, "file", "memory")
        return self.flavor == LocalOrchestrator.FLAVOR or bool(getattr(self.kind(), "IS_LOCAL", False))

    def table(self) -> dict[str, Any]:
        """As the file has it."""
        return {"id": self.id, "flavor": self.flavor, **self.options}


def class_of(type_: StackComponentType, flavor: str) -> type[StackComponent]:
    """The class of a flavor: of a store by the flavors' names, of others `local` or a source path `module:Class`."""
    if type_ is StackComponentType.ARTIFACT_STORE:
        return flavor_named(flavor).load()
    if type_ is StackComponentType.ORCHESTRATOR and flavor == LocalOrchestrator.FLAVOR:
        return LocalOrchestrator
    from entrepot.registry.sources import component_at

    if ":" not in flavor and "." not in flavor:
        known = "local, or " if type_ is StackComponentType.ORCHESTRATOR else ""
        raise ConfigurationError(f"flavor {flavor!r}: give {known}the source path of its class, package.module:Class")
    return component_at(flavor, type_)


def secret_keys(kind: type[StackComponent]) -> frozenset[str]:
    """The keys of a flavor that hold secrets."""
    fields: Mapping[str, Any] = getattr(kind.CONFIG, "model_fields", {})
    return frozenset(name for name, one in fields.items() if "Secret" in str(one.annotation))


# ---- reading --------------------------------------------------------------------------------------------


def entries(
    type_: StackComponentType, home: Home | None = None, document: Mapping[str, Any] | None = None
) -> dict[str, ComponentEntry]:
    """All of one kind by name, `default` first. The store `default` has no path before its first use."""
    home = home or Home.of_this_user()
    found = {
        name: _entry(type_, name, table, home.config_file)
        for name, table in home.tables(_TABLES[type_], document).items()
    }
    if type_ is not StackComponentType.STEP_OPERATOR and DEFAULT not in found:
        found = {DEFAULT: ComponentEntry(type_, DEFAULT, "local"), **found}
    return found


def entry_named(type_: StackComponentType, name: str, home: Home | None = None) -> ComponentEntry:
    """The component of that name; the store `default` is made now. Raises ConfigurationError with the nearest name."""
    home = home or Home.of_this_user()
    if type_ is StackComponentType.ARTIFACT_STORE and name == DEFAULT:
        find_store(DEFAULT, home)
    return known_entry(type_, name, entries(type_, home))


def known_entry(type_: StackComponentType, name: str, known: Mapping[str, ComponentEntry]) -> ComponentEntry:
    """The one of that name among those. Raises ConfigurationError with the nearest name."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigurationError(f"no {shown(type_)} is called {name!r}; {hint}known: {', '.join(known) or 'none'}")


def shown(type_: StackComponentType) -> str:
    """The kind in words: `artifact store`."""
    return type_.value.replace("_", " ")


def _entry(type_: StackComponentType, name: str, table: Mapping[str, Any], path: str) -> ComponentEntry:
    options = dict(table)
    id_, flavor = options.pop("id", ""), options.pop("flavor", "")
    if not isinstance(flavor, str) or not flavor or not isinstance(id_, str):
        raise ConfigurationError(f"{_TABLES[type_]}.{name} needs a text for 'flavor'", uri=path)
    return ComponentEntry(type_, name, flavor, id_, MappingProxyType(options))


# ---- changing -------------------------------------------------------------------------------------------


def register(
    type_: StackComponentType, name: str, flavor: str, options: Mapping[str, Any], home: Home | None = None
) -> ComponentEntry:
    """A new component. options: the flavor's keys; secrets best as references.

    A local store without a path gets a folder of its own, by its id. Raises ConfigurationError for a name that is
    taken, and for options that the flavor does not take.
    """
    home = home or Home.of_this_user()
    entry = checked(type_, name, flavor, options, home)
    return home.change(f"{name!r} cannot be registered here", lambda document: add(document, entry, home))


def checked(
    type_: StackComponentType, name: str, flavor: str, options: Mapping[str, Any], home: Home
) -> ComponentEntry:
    """A new component that `add` takes. Raises ConfigurationError for options that the flavor does not take."""
    require_name(name)
    entry = ComponentEntry(type_, name, flavor, str(uuid.uuid4()), options)
    if type_ is StackComponentType.ARTIFACT_STORE and flavor == "local" and "path" not in options:
        entry = replace(entry, options={"path": home.local_store(entry.id), **options})
    return _checked(entry)


def add(document: TOMLDocument, entry: ComponentEntry, home: Home) -> ComponentEntry:
    """Put a new component into a file that is being changed. Raises ConfigurationError for a name that is taken."""
    if entry.name in entries(entry.component_type, home, document.unwrap()):
        raise ConfigurationError(f"{entry.name!r} is taken; choose another name, or update it")
    put_table(document, _TABLES[entry.component_type], entry.name, entry.table())
    return entry


def require_name(name: str) -> None:
    """Raise ConfigurationError for what is no name of a component or stack: it is written `NAME:path` in addresses."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no name: two or more letters, digits, and -_. between them")


def _checked(entry: ComponentEntry) -> ComponentEntry:
    """The entry, if its flavor takes its options; a path on this machine is the same in every directory."""
    kind, options = entry.kind(), dict(entry.options)
    for key, value in options.items():
        require_usable(key, value)
    kind.configure(options)
    if entry.component_type is StackComponentType.ARTIFACT_STORE:
        path = options.get("path")
        if isinstance(path, str) and scheme_of(path) is None:
            options["path"] = os.path.abspath(os.path.expanduser(path))
    return replace(entry, options=MappingProxyType(options))


def update(
    type_: StackComponentType,
    name: str,
    changes: Mapping[str, Any],
    *,
    remove: Collection[str] = (),
    home: Home | None = None,
) -> ComponentEntry:
    """Give options other values, or take them away. Raises ConfigurationError where the flavor would not take that."""
    home = home or Home.of_this_user()
    if fixed := _FIXED & {*changes, *remove}:
        raise ConfigurationError(f"{min(fixed)} stays as it is; register another component instead")
    entry_named(type_, name, home)

    def change(document: TOMLDocument) -> ComponentEntry:
        found = known_entry(type_, name, entries(type_, home, document.unwrap()))
        if absent := sorted({*remove} - {*found.options}):
            raise ConfigurationError(f"{name!r} has no {absent[0]!r}; it has: {', '.join(found.options) or 'nothing'}")
        options = {key: value for key, value in {**found.options, **changes}.items() if key not in remove}
        changed = _checked(replace(found, options=options))
        put_table(document, _TABLES[type_], name, changed.table())
        table: Any = document[_TABLES[type_]]
        for key in remove:
            del table[name][key]
        return changed

    return home.change(f"{name!r} cannot be changed here", change)


def copy(type_: StackComponentType, name: str, new_name: str, home: Home | None = None) -> ComponentEntry:
    """A second component with the same options, under another name and id."""
    found = entry_named(type_, name, home)
    return register(type_, new_name, found.flavor, found.options, home)


def rename(type_: StackComponentType, name: str, new_name: str, home: Home | None = None) -> ComponentEntry:
    """Another name; stacks go on with it. Raises ConfigurationError for `default`, and a name that is taken."""
    require_name(new_name)

    def move(document: TOMLDocument, found: ComponentEntry) -> ComponentEntry:
        if new_name in entries(type_, home, document.unwrap()):
            raise ConfigurationError(f"{new_name!r} is taken; choose another name")
        put_table(document, _TABLES[type_], new_name, found.table())
        _drop_table(document, _TABLES[type_], name)
        for stack in _stack_tables(document).values():
            if stack.get(type_.value) == name:
                stack[type_.value] = new_name
        return replace(found, name=new_name)

    return _of_the_user(type_, name, "renamed", home, move)


def delete(type_: StackComponentType, name: str, home: Home | None = None) -> ComponentEntry:
    """Forget a component; what is in a store stays.

    Raises ConfigurationError for `default`, and while a stack uses it.
    """

    def drop(document: TOMLDocument, found: ComponentEntry) -> ComponentEntry:
        users = [stack for stack, table in _stack_tables(document).items() if table.get(type_.value) == name]
        if users:
            raise ConfigurationError(f"{name!r} is in use by the stack {users[0]!r}; delete or update that first")
        _drop_table(document, _TABLES[type_], name)
        return found

    return _of_the_user(type_, name, "deleted", home, drop)


def _of_the_user(
    type_: StackComponentType,
    name: str,
    done: str,
    home: Home | None,
    change: Callable[[TOMLDocument, ComponentEntry], ComponentEntry],
) -> ComponentEntry:
    if name == DEFAULT:
        raise ConfigurationError(f"{DEFAULT!r} is always there; it cannot be {done}")
    home = home or Home.of_this_user()

    def checked(document: TOMLDocument) -> ComponentEntry:
        return change(document, known_entry(type_, name, entries(type_, home, document.unwrap())))

    return home.change(f"{name!r} cannot be {done} here", checked)


def _stack_tables(document: TOMLDocument) -> Mapping[str, Any]:
    tables: Any = document.get("stacks", {})
    return tables if isinstance(tables, dict) else {}


def _drop_table(document: TOMLDocument, kind: str, name: str) -> None:
    tables: Any = document[kind]
    del tables[name]
    if not tables:
        del document[kind]
