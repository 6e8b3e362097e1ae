"""`artifact-store`, `orchestrator`, `step-operator`: what stacks are made of, configured by name."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from anyio import to_thread

from entrepot.cli.failures import DONE, WrongUse
from entrepot.cli.options import DryRun
from entrepot.cli.session import Session
from entrepot.components import HIDDEN, StackComponentType
from entrepot.errors import ConfigurationError
from entrepot.registry import entries as registry
from entrepot.registry.entries import ComponentEntry, secret_keys, shown
from entrepot.registry.home import Home
from entrepot.registry.references import is_reference
from entrepot.registry.stacks import active_stack


def _names(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the components of the kind that the command is of."""
    assert ctx.parent is not None
    kind = StackComponentType(str(ctx.parent.info_name).replace("-", "_"))
    return [name for name in registry.entries(kind) if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(metavar="NAME", hidden=True, autocompletion=_names)]
NewName = Annotated[str, typer.Argument(metavar="NEW_NAME", hidden=True)]
ActiveName = Annotated[str | None, typer.Argument(metavar="[NAME]", hidden=True, autocompletion=_names)]


def _type(session: Session) -> StackComponentType:
    """The kind of component that a command is of: its first word."""
    return StackComponentType(session.command.partition(" ")[0].replace("-", "_"))


async def list_components(session: Session) -> int:
    """List what is configured; that of the active stack is marked.

    --json: per component name, flavor, active, options (secrets as ***), id.
    """
    kind = _type(session)
    found, active = await to_thread.run_sync(lambda: (registry.entries(kind), active_stack().stack))
    used = active.components().get(kind)
    rows = [(entry, entry.name == used) for entry in found.values()]
    if session.output.as_json:
        for entry, is_active in rows:
            session.output.value({**_value(entry), "active": is_active})
        return DONE
    cells = [("*" if is_active else "", entry.name, entry.flavor, _summary(entry)) for entry, is_active in rows]
    await session.output.table(("ACTIVE", "NAME", "FLAVOR", "OPTIONS"), cells)
    return DONE


async def describe(session: Session, name: ActiveName = None) -> int:
    """Show a component's options; without NAME, of the one in the active stack.

    --json: name, flavor, options (secrets as ***, references as they are), id.
    """
    kind = _type(session)
    if name is None:
        name = (await to_thread.run_sync(active_stack)).stack.components().get(kind)
        if name is None:
            raise WrongUse(f"the active stack has no {shown(kind)}; give a NAME")
    entry = await to_thread.run_sync(registry.entry_named, kind, name)
    await _show(session, entry)
    return DONE


async def register(
    session: Session,
    *,
    ctx: typer.Context,
    name: Name,
    flavor: Annotated[str, typer.Option("--flavor", "-f", metavar="FLAVOR", help="What kind of it this is.")],
    dry_run: DryRun = False,
) -> int:
    """Configure a component, by a flavor and its keys: --KEY=VALUE each, such as --path=s3://bucket/artifacts.

    A local artifact store without --path gets a folder of its own. Secrets are best given as references, which are
    looked up when the component is used: '${env:NAME}', '${file:PATH}', '${keyring:SERVICE/NAME}'.
    `entrepot artifact-store flavor describe FLAVOR` tells the keys.

    --json: name, flavor, options, id.
    """
    kind, options = _type(session), _given(ctx.args)
    home = Home.of_this_user(rehearses=dry_run)
    entry = await to_thread.run_sync(registry.register, kind, name, flavor, options, home)
    await to_thread.run_sync(_warn_of_secrets, session, entry, options)
    await _done(session, entry, "registered", home)
    return DONE


async def update(session: Session, *, ctx: typer.Context, name: Name, dry_run: DryRun = False) -> int:
    """Give a component's keys other values: --KEY=VALUE each.

    --json: name, flavor, options, id.
    """
    options = _given(ctx.args)
    if not options:
        raise WrongUse("nothing to change; give --KEY=VALUE", name)
    home = Home.of_this_user(rehearses=dry_run)
    change = partial(registry.update, _type(session), name, options, home=home)
    entry = await to_thread.run_sync(change)
    await to_thread.run_sync(_warn_of_secrets, session, entry, options)
    await _done(session, entry, "updated", home)
    return DONE


async def remove_attribute(session: Session, *, ctx: typer.Context, name: Name, dry_run: DryRun = False) -> int:
    """Take keys away from a component: --KEY each. What it falls back to is the flavor's default.

    --json: name, flavor, options, id.
    """
    keys = [one.lstrip("-").replace("-", "_") for one in ctx.args]
    if not keys or not all(one.startswith("--") and "=" not in one for one in ctx.args):
        raise WrongUse("give the keys to remove, --KEY each", name)
    home = Home.of_this_user(rehearses=dry_run)
    change = partial(registry.update, _type(session), name, {}, remove=keys, home=home)
    await _done(session, await to_thread.run_sync(change), "updated", home)
    return DONE


async def rename(session: Session, name: Name, new_name: NewName, dry_run: DryRun = False) -> int:
    """Give a component another name; stacks with it go on.

    --json: name, flavor, options, id.
    """
    home = Home.of_this_user(rehearses=dry_run)
    entry = await to_thread.run_sync(registry.rename, _type(session), name, new_name, home)
    await _done(session, entry, "renamed", home)
    return DONE


async def copy(session: Session, name: Name, new_name: NewName, dry_run: DryRun = False) -> int:
    """Configure a second component with the same keys.

    --json: name, flavor, options, id.
    """
    home = Home.of_this_user(rehearses=dry_run)
    entry = await to_thread.run_sync(registry.copy, _type(session), name, new_name, home)
    await _done(session, entry, "copied to", home)
    return DONE


async def delete(session: Session, name: Name, dry_run: DryRun = False) -> int:
    """Forget a component that no stack uses; what it keeps stays where it is.

    --json: name, flavor, options, id.
    """
    home = Home.of_this_user(rehearses=dry_run)
    entry = await to_thread.run_sync(registry.delete, _type(session), name, home)
    await _done(session, entry, "deleted", home)
    return DONE


async def explain(session: Session) -> int:
    """Tell what this kind of component is for.

    --json: type, explanation.
    """
    kind = _type(session)
    text = _EXPLANATIONS[kind]
    if session.output.as_json:
        session.output.value({"type": str(kind), "explanation": inspect.cleandoc(text)})
        return DONE
    for line in inspect.cleandoc(text).splitlines():
        session.output.line(line)
    return DONE


_EXPLANATIONS = {
    StackComponentType.ARTIFACT_STORE: """
        An artifact store keeps what steps and people make: files, data sets, models, logs. It is a folder on this
        machine, or a bucket or container of a service; whatever it is, its files are opened, listed and copied alike.
        The store of the active stack is where pipelines put their artifacts; NAME:path names a file of any store.
        `entrepot artifact-store flavor list` shows the kinds, `register` configures one.""",
    StackComponentType.ORCHESTRATOR: """
        An orchestrator runs the steps of a pipeline in their order. `local` runs them in one process on this machine,
        those that do not wait for each other at once. One that runs elsewhere needs an artifact store that is
        reached from there.""",
    StackComponentType.STEP_OPERATOR: """
        A step operator runs single steps elsewhere than the orchestrator does, on other hardware. A stack that has one
        needs an artifact store that is reached from there.""",
}


# ---- values ---------------------------------------------------------------------------------------------


def _given(words: Sequence[str]) -> dict[str, Any]:
    """`--key=value` and `--key value` as a mapping. Raises WrongUse."""
    options: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        key, separator, value = word.partition("=")
        if not key.startswith("--") or len(key) < 3:
            told = f"{key!r}: " if separator else ""  # without the value: it may be a secret
            raise WrongUse(f"{told}give the flavor's keys as --KEY=VALUE, what has spaces in quotes")
        if not separator:
            if not left or left[0].startswith("--"):
                raise WrongUse(f"{key}: give {key}=VALUE")
            value = left.pop(0)
        name = key[2:].replace("-", "_")
        if name in options:
            raise WrongUse(f"{key}: it is given already")
        options[name] = value
    return options


def _warn_of_secrets(session: Session, entry: ComponentEntry, given: Mapping[str, Any]) -> None:
    for key in sorted(secret_keys(entry.kind()) & {*given}):
        if not is_reference(given[key]):
            variable = f"{entry.name}_{key}".upper().replace("-", "_").replace(".", "_")
            session.output.note(
                f"{session.command}: {key} is written down as it is, and stays in the shell's history; better "
                f"--{key}='${{env:{variable}}}', or ${{file:…}}, ${{keyring:…}}"
            )


def _options(entry: ComponentEntry) -> dict[str, Any]:
    """As they are shown: a secret as ***, a reference to one as it is."""
    if not any(isinstance(value, str) for value in entry.options.values()):
        return dict(entry.options)
    try:
        secret: Collection[str] = secret_keys(entry.kind())
    except ConfigurationError:  # a flavor that is not there does not tell which of them are secrets
        secret = {*entry.options} - {"path"}
    hidden = {key for key in secret if not is_reference(entry.options.get(key))}
    return {key: HIDDEN if key in hidden else value for key, value in entry.options.items()}


def _value(entry: ComponentEntry) -> dict[str, Any]:
    return {"name": entry.name, "flavor": entry.flavor, "options": _options(entry), "id": entry.id}


def _summary(entry: ComponentEntry) -> str:
    return " ".join(f"{key}={value}" for key, value in _options(entry).items()) or "-"


async def _show(session: Session, entry: ComponentEntry) -> None:
    value = await to_thread.run_sync(_value, entry)
    if session.output.as_json:
        session.output.value(value)
        return
    lines = {"name": entry.name, "type": shown(entry.component_type), "flavor": entry.flavor, "id": entry.id or "-"}
    lines |= {key: str(one) for key, one in value["options"].items()}
    width = max(map(len, lines)) + 2
    for title, text in lines.items():
        session.output.line(f"{title + ':':<{width}}{text}")


async def _done(session: Session, entry: ComponentEntry, done: str, home: Home) -> None:
    value = await to_thread.run_sync(_value, entry)
    session.done(f"{done} {entry.name} ({shown(entry.component_type)}, {entry.flavor})", value, dry_run=home.rehearses)
