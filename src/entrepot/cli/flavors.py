"""`artifact-store flavor …`: the kinds of store that there are, and those that a user adds."""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from anyio import to_thread

from entrepot.cli.failures import DONE
from entrepot.cli.options import DryRun
from entrepot.cli.session import Session
from entrepot.registry import FlavorRow, Home, delete_flavor, flavor_named, flavor_rows, register_flavor

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

Name = Annotated[str, typer.Argument(metavar="NAME", hidden=True)]


async def list_flavors(session: Session) -> int:
    """List the flavors: what each is called, its addresses, where it is from, and whether it can be used.

    Flavors are built in, registered by you, or entry points (entrepot.flavors) of installed distributions. Of one that
    cannot be used, the last column says what to install, or what is wrong.

    --json: per flavor name, schemes, source, origin, installed, and where there is something to say hint.
    """
    rows = await to_thread.run_sync(flavor_rows)
    if session.output.as_json:
        for row in rows:
            session.output.value(_row_value(row))
        return DONE
    cells = [
        (row.name, _schemes(row.schemes), row.origin, "yes" if row.installed else f"no: {row.hint}") for row in rows
    ]
    await session.output.table(("FLAVOR", "ADDRESSES", "FROM", "INSTALLED"), cells)
    return DONE


async def describe(session: Session, name: Name) -> int:
    """Show a flavor: its addresses, where it is from, and the keys that configure it.

    --json: name, schemes, source, origin, installed, and where it can be imported description and options (a list of
    name, type, required, secret, and default).
    """
    flavor = await to_thread.run_sync(flavor_named, name)
    rows = await to_thread.run_sync(flavor_rows)
    row = next(one for one in rows if (one.name, one.origin) == (flavor.name, flavor.origin))
    kind = await to_thread.run_sync(flavor.load) if row.installed else None
    options = _options(kind) if kind is not None else []
    about = inspect.getdoc(kind.CONFIG) if kind is not None else None
    output = session.output
    if output.as_json:
        known = {"description": about, "options": options} if kind is not None else {}
        output.value({**_row_value(row), **known})
        return DONE
    lines = {"flavor": row.name, "addresses": _schemes(row.schemes), "from": row.origin, "source": row.source}
    lines["installed"] = "yes" if row.installed else f"no: {row.hint}"
    for title, text in lines.items():
        output.line(f"{title + ':':<11}{text}")
    if kind is None:
        return DONE
    output.line("")
    for line in (about or "").splitlines():
        output.line(line)
    output.line("")
    await output.table(
        ("OPTION", "TYPE", "DEFAULT"),
        [(one["name"], one["type"], "required" if one["required"] else _default(one)) for one in options],
    )
    return DONE


async def register(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="SOURCE", hidden=True)],
    dry_run: DryRun = False,
) -> int:
    """Make a flavor of your own known, by the source path of its class.

    SOURCE is my_package.module:MyStore, or with a dot in place of the colon. The class is imported once, to be checked,
    also from the current directory, as python -m does. Later commands import it by the same path: install it, or
    have its directory in PYTHONPATH. The same SOURCE again brings its schemes up to date.

    --json: name, schemes, source, origin.
    """
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    flavor = await to_thread.run_sync(register_flavor, source, Home.of_this_user(rehearses=dry_run))
    value = {
        "name": flavor.name,
        "schemes": [f"{one}://" for one in flavor.schemes],
        "source": flavor.source,
        "origin": flavor.origin,
    }
    line = f"registered {flavor.name} ({flavor.source}) for {_schemes(flavor.schemes)}"
    session.done(line, value, dry_run=dry_run)
    if _found_in(here, flavor.source):
        session.output.note(
            f"{session.command}: it was found in the current directory; install it, or add {here} to PYTHONPATH, "
            "for other commands to find it"
        )
    return DONE


def _found_in(directory: str, source: str) -> bool:
    """Whether the module of a source path was found by the current directory alone."""
    if directory in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        return False
    file: str | None = getattr(sys.modules[source.partition(":")[0].partition(".")[0]], "__file__", None)
    if file is None:
        return False
    above = os.path.dirname(os.path.abspath(file))
    return (os.path.dirname(above) if os.path.basename(file) == "__init__.py" else above) == directory


async def delete(session: Session, name: Name, dry_run: DryRun = False) -> int:
    """Forget a flavor that you registered; its code and the stores in it stay.

    --json: name, source, origin.
    """
    flavor = await to_thread.run_sync(delete_flavor, name, Home.of_this_user(rehearses=dry_run))
    value = {"name": flavor.name, "source": flavor.source, "origin": flavor.origin}
    session.done(f"deleted {flavor.name} ({flavor.source})", value, dry_run=dry_run)
    return DONE


# ---- what is shown --------------------------------------------------------------------------------------


def _schemes(schemes: tuple[str, ...]) -> str:
    return ", ".join(f"{one}://" if one else "paths" for one in schemes) or "-"


def _row_value(row: FlavorRow) -> dict[str, Any]:
    value: dict[str, Any] = {
        "name": row.name,
        "schemes": [f"{one}://" if one else "" for one in row.schemes],
        "source": row.source,
        "origin": row.origin,
        "installed": row.installed,
    }
    return {**value, "hint": row.hint} if row.hint else value


def _options(kind: type[BaseArtifactStore]) -> list[dict[str, Any]]:
    """The keys of a flavor's configuration, in the order of its class."""
    fields = getattr(kind.CONFIG, "model_fields", None)
    if fields is not None:
        return [_option(name, one.annotation, one.is_required(), one.default) for name, one in fields.items()]
    hints = get_type_hints(kind.CONFIG)
    return [
        _option(one.name, hints[one.name], one.default is one.default_factory is dataclasses.MISSING, one.default)
        for one in dataclasses.fields(kind.CONFIG)
    ]


def _option(name: str, annotation: object, required: bool, default: object) -> dict[str, Any]:
    kind = _type_text(annotation)
    option: dict[str, Any] = {"name": name, "type": kind, "required": required, "secret": "secret" in kind}
    if not required:
        plain = default is None or isinstance(default, (bool, int, float, str))
        option["default"] = default if plain else str(default)
    return option


def _type_text(annotation: object) -> str:
    """`str`, `int`, `auto|path|virtual`, `secret`: what a value must be; that a key may be left out is told apart."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type_text(one) for one in get_args(annotation) if one is not NoneType)
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) is Annotated:
        return _type_text(get_args(annotation)[0])
    if isinstance(annotation, type) and not get_args(annotation):
        return "secret" if annotation.__name__.startswith("Secret") else annotation.__name__
    return str(annotation).replace("typing.", "")


def _default(option: dict[str, Any]) -> str:
    default = option["default"]
    return "-" if default is None else str(default)
