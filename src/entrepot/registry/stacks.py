"""Stacks: an orchestrator, an artifact store, and perhaps a step operator, under one name; one stack is active.

    [stacks.team]
    id = "51d2…"
    orchestrator = "default"
    artifact_store = "team"

    [active]
    stack = "team"

Which one is active: ENTREPOT_STACK names it; else `.entrepot/config.toml` in this directory or one above it (that of a
project); else the user's file; else `default`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from entrepot.components import StackComponentType
from entrepot.errors import ConfigurationError
from entrepot.registry.entries import (
    DEFAULT,
    ComponentEntry,
    add,
    checked,
    entries,
    entry_named,
    known_entry,
    require_name,
    secret_keys,
    shown,
)
from entrepot.registry.home import STACK_VARIABLE, Home, put_table
from entrepot.registry.references import is_reference
from entrepot.registry.stores import StoreEntry, named_store

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

PROJECT_FILE: Final = os.path.join(".entrepot", "config.toml")


@dataclass(frozen=True, slots=True)
class Stack:
    """Components by name. id: a UUID, empty where the file gives none. step_operator: empty for none."""

    name: str
    orchestrator: str = DEFAULT
    artifact_store: str = DEFAULT
    step_operator: str = ""
    id: str = ""

    def components(self) -> dict[StackComponentType, str]:
        """Kind to name, of those that there are."""
        named = {type_: str(getattr(self, type_.value)) for type_ in StackComponentType}
        return {type_: name for type_, name in named.items() if name}

    def table(self) -> dict[str, str]:
        """As the file has it."""
        return {"id": self.id, **{type_.value: name for type_, name in self.components().items()}}


@dataclass(frozen=True, slots=True)
class Active:
    """Which stack is active. origin: what says so, in words."""

    stack: Stack
    origin: str


# ---- reading --------------------------------------------------------------------------------------------


def stacks(home: Home | None = None, document: Mapping[str, Any] | None = None) -> dict[str, Stack]:
    """All stacks by name, `default` first."""
    home = home or Home.of_this_user()
    found = {name: _stack(name, table, home.config_file) for name, table in home.tables("stacks", document).items()}
    return found if DEFAULT in found else {DEFAULT: Stack(DEFAULT), **found}


def stack_named(name: str, home: Home | None = None) -> Stack:
    """The stack of that name. Raises ConfigurationError with the nearest one."""
    return _known(name, stacks(home))


def _known(name: str, known: Mapping[str, Stack], origin: str = "") -> Stack:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    said = f" (named by {origin})" if origin else ""
    raise ConfigurationError(f"no stack is called {name!r}{said}; {hint}known: {', '.join(known)}")


def _stack(name: str, table: Mapping[str, Any], path: str) -> Stack:
    known = {"id", *(type_.value for type_ in StackComponentType)}
    unknown = sorted({*table} - known)
    if unknown or not all(isinstance(value, str) for value in table.values()):
        what = f"has no place for {unknown[0]!r}" if unknown else "needs a text for each component"
        raise ConfigurationError(f"stacks.{name} {what}; it has: {', '.join(sorted(known))}", uri=path)
    return Stack(name, **table)


def active_stack(home: Home | None = None) -> Active:
    """The stack that is active here. Cost: reads one or two small files. Raises ConfigurationError."""
    home = home or Home.of_this_user()
    document = home.read()
    name, origin = active_name(home, document)
    return Active(_known(name, stacks(home, document), origin), origin)


def active_name(home: Home | None = None, document: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """What the active stack is called, whether or not there is one of that name, and what says so, in words."""
    home = home or Home.of_this_user()
    if name := os.environ.get(STACK_VARIABLE):
        return name, f"variable {STACK_VARIABLE}"
    project = _project_file()
    if project is not None and (name := _named_in(_read(project), project)):
        return name, project
    if name := _named_in(home.read() if document is None else document, home.config_file):
        return name, home.config_file
    return DEFAULT, "nothing else is set"


def active_artifact_store(home: Home | None = None) -> StoreEntry:
    """The artifact store of the active stack; the store `default` is made at its first use."""
    return named_store(active_stack(home).stack.artifact_store, home)


def _project_file() -> str | None:
    directory = os.getcwd()
    while True:
        path = os.path.join(directory, PROJECT_FILE)
        if os.path.isfile(path):
            return path
        above = os.path.dirname(directory)
        if above == directory:
            return None
        directory = above


def _read(path: str) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot be read: {error}; mend the file, or remove it", uri=path) from error


def _named_in(document: Mapping[str, Any], path: str) -> str:
    active = document.get("active", {})
    name = active.get("stack", "") if isinstance(active, dict) else None
    if not isinstance(name, str):
        raise ConfigurationError("[active] needs a text for 'stack'", uri=path)
    return name


# ---- changing -------------------------------------------------------------------------------------------


def register(stack: Stack, home: Home | None = None, *, activate: bool = False) -> Stack:
    """A new stack. Raises ConfigurationError for a name that is taken, and for components that do not go together."""
    home = home or Home.of_this_user()
    require_name(stack.name)
    require_together(stack, home)  # which may import what is the user's: not under the lock for the first time

    def change(document: TOMLDocument) -> Stack:
        return _add(document, stack, home, activate=activate)

    return home.change(f"the stack {stack.name!r} cannot be registered here", change)


def _add(document: TOMLDocument, stack: Stack, home: Home, *, activate: bool = False) -> Stack:
    values = document.unwrap()
    if stack.name in stacks(home, values):
        raise ConfigurationError(f"{stack.name!r} is taken; choose another name, or update it")
    require_together(stack, home, values)
    stack = replace(stack, id=str(uuid.uuid4()))
    put_table(document, "stacks", stack.name, stack.table())
    if activate:
        _put_active(document, stack.name)
    return stack


def require_together(stack: Stack, home: Home | None = None, document: Mapping[str, Any] | None = None) -> None:
    """Raise ConfigurationError for a component that is not there, and for a store that another cannot reach.

    document: of `Home.read`.
    """
    home = home or Home.of_this_user()
    document = home.read() if document is None else document
    found = {
        type_: known_entry(type_, name, entries(type_, home, document)) for type_, name in stack.components().items()
    }
    store = found.pop(StackComponentType.ARTIFACT_STORE)
    remote = [one for one in found.values() if not one.is_local]
    if store.is_local and remote:
        raise ConfigurationError(
            f"the {shown(remote[0].component_type)} {remote[0].name!r} does not run on this machine, and would not "
            f"find the artifacts of {store.name!r} ({store.options.get('path', 'local')}); choose a store that both "
            "reach, such as s3://"
        )


def set_active(name: str, home: Home | None = None, *, project: str | None = None) -> Stack:
    """Make a stack the active one of this user; or, with `project`, of all work in that directory and below."""
    home = home or Home.of_this_user()
    stack = stack_named(name, home)
    require_together(stack, home)
    target = home if project is None else replace(home, config_file=os.path.join(project, PROJECT_FILE))

    def change(document: TOMLDocument) -> Stack:
        if target is home:
            values = document.unwrap()
            require_together(_known(name, stacks(home, values)), home, values)
        _put_active(document, name)
        return stack

    return target.change(f"the stack {name!r} cannot be made active here", change)


def _put_active(document: TOMLDocument, name: str) -> None:
    import tomlkit

    active: Any = document.get("active")
    if active is None:
        active = document["active"] = tomlkit.table()
    active["stack"] = name


def update(name: str, components: Mapping[StackComponentType, str], home: Home | None = None) -> Stack:
    """Other components for a stack. Raises ConfigurationError as `register`."""
    home = home or Home.of_this_user()

    def changed_in(document: Mapping[str, Any]) -> Stack:
        known = _known(name, stacks(home, document))
        changed = replace(known, **{type_.value: one for type_, one in components.items()})
        require_together(changed, home, document)
        return changed

    changed_in(home.read())

    def change(document: TOMLDocument) -> Stack:
        changed = changed_in(document.unwrap())
        put_table(document, "stacks", name, changed.table())
        return changed

    return home.change(f"the stack {name!r} cannot be changed here", change)


def copy(name: str, new_name: str, home: Home | None = None) -> Stack:
    """A second stack of the same components."""
    return register(replace(stack_named(name, home), name=new_name), home)


def rename(name: str, new_name: str, home: Home | None = None) -> Stack:
    """Another name; where it is this user's active one, it stays that. Raises ConfigurationError for `default`."""
    home = home or Home.of_this_user()
    require_name(new_name)
    _require_own(name, "renamed")

    def move(document: TOMLDocument) -> Stack:
        known = stacks(home, document.unwrap())
        found = replace(_known(name, known), name=new_name)
        if new_name in known:
            raise ConfigurationError(f"{new_name!r} is taken; choose another name")
        put_table(document, "stacks", new_name, found.table())
        _drop(document, name)
        if _named_in(document.unwrap(), home.config_file) == name:
            _put_active(document, new_name)
        return found

    return home.change(f"the stack {name!r} cannot be renamed here", move)


def delete(name: str, home: Home | None = None) -> Stack:
    """Forget a stack; its components stay. Raises ConfigurationError for `default`, and for the active one."""
    home = home or Home.of_this_user()
    _require_own(name, "deleted")

    def drop(document: TOMLDocument) -> Stack:
        found = _known(name, stacks(home, document.unwrap()))
        if _named_in(document.unwrap(), home.config_file) == name:
            raise ConfigurationError(f"{name!r} is the active stack; activate another one first: stack set {DEFAULT}")
        _drop(document, name)
        return found

    return home.change(f"the stack {name!r} cannot be deleted here", drop)


def _require_own(name: str, done: str) -> None:
    if name == DEFAULT:
        raise ConfigurationError(f"the stack {DEFAULT!r} is always there; it cannot be {done}")


def _drop(document: TOMLDocument, name: str) -> None:
    tables: Any = document["stacks"]
    del tables[name]
    if not tables:
        del document["stacks"]


# ---- to another machine ---------------------------------------------------------------------------------


def exported(name: str, home: Home | None = None) -> dict[str, Any]:
    """A stack with its components, as a document that `import_stack` reads.

    Raises ConfigurationError for a secret that was given as such: it would be in the file.
    """
    stack = stack_named(name, home)
    told: dict[str, Any] = {"stack": {"name": stack.name, **stack.table()}}
    for type_, component in stack.components().items():
        entry = entry_named(type_, component, home)
        raw = [key for key in sorted(secret_keys(entry.kind())) if key in entry.options]
        if open_ := [key for key in raw if not is_reference(entry.options[key])]:
            raise ConfigurationError(
                f"{component!r} has {open_[0]!r} as such, and it would be in the file; update it to a reference, such "
                f"as ${{env:{open_[0].upper()}}}"
            )
        told[type_.value] = {"name": entry.name, **entry.table()}
    return told


def import_stack(document: Mapping[str, Any], home: Home | None = None, *, name: str | None = None) -> Stack:
    """Register what `exported` told of. A component that is there already with the same options is used.

    All of it or nothing is registered. name: of the stack, in place of its own. Raises ConfigurationError for a
    component that is there with others.
    """
    home = home or Home.of_this_user()
    try:
        told = dict(document["stack"])
        wanted = [_imported(StackComponentType(key), dict(value)) for key, value in document.items() if key != "stack"]
        stack = Stack(str(name or told["name"]), **{one.component_type.value: one.name for one in wanted})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError("this is no stack that was exported") from error
    require_name(stack.name)
    others = (one for one in wanted if one.name != DEFAULT)
    new = [checked(one.component_type, one.name, one.flavor, one.options, home) for one in others]

    def change(target: TOMLDocument) -> Stack:
        for entry in new:
            there = entries(entry.component_type, home, target.unwrap()).get(entry.name)
            if there is None:
                add(target, entry, home)
            elif (there.flavor, dict(there.options)) != (entry.flavor, dict(entry.options)):
                raise ConfigurationError(
                    f"the {shown(entry.component_type)} {entry.name!r} is there, and is another one; rename it first"
                )
        return _add(target, stack, home)

    return home.change(f"the stack {stack.name!r} cannot be imported here", change)


def _imported(type_: StackComponentType, told: Mapping[str, Any]) -> ComponentEntry:
    options = {key: value for key, value in told.items() if key not in ("id", "name", "flavor")}
    return ComponentEntry(type_, str(told["name"]), str(told["flavor"]), "", options)
