"""`stack …`: which orchestrator and artifact store go together, and which stack is active."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from anyio import to_thread

from entrepot.cli.failures import DONE, WrongUse
from entrepot.cli.options import DryRun
from entrepot.cli.session import Session
from entrepot.components import StackComponentType
from entrepot.registry import stacks as registry
from entrepot.registry.entries import DEFAULT, entries
from entrepot.registry.home import Home
from entrepot.registry.stacks import Stack


def _names(incomplete: str) -> list[str]:
    """For the shell."""
    return [name for name in registry.stacks() if name.startswith(incomplete)]


def _of(kind: StackComponentType) -> Callable[[str], list[str]]:
    """For the shell: the components of a kind."""

    def names(incomplete: str) -> list[str]:
        return [name for name in entries(kind) if name.startswith(incomplete)]

    return names


Name = Annotated[str, typer.Argument(metavar="NAME", hidden=True, autocompletion=_names)]
NewName = Annotated[str, typer.Argument(metavar="NEW_NAME", hidden=True)]
ActiveName = Annotated[str | None, typer.Argument(metavar="[NAME]", hidden=True, autocompletion=_names)]
Orchestrator = Annotated[
    str | None,
    typer.Option(
        "--orchestrator",
        "-o",
        metavar="NAME",
        help="What runs the steps.",
        autocompletion=_of(StackComponentType.ORCHESTRATOR),
    ),
]
ArtifactStore = Annotated[
    str | None,
    typer.Option(
        "--artifact-store",
        "-a",
        metavar="NAME",
        help="Where artifacts are kept.",
        autocompletion=_of(StackComponentType.ARTIFACT_STORE),
    ),
]
StepOperator = Annotated[
    str | None,
    typer.Option(
        "--step-operator",
        "-s",
        metavar="NAME",
        help="What runs single steps elsewhere.",
        autocompletion=_of(StackComponentType.STEP_OPERATOR),
    ),
]


async def list_stacks(session: Session) -> int:
    """List the stacks; the active one is marked.

    --json: per stack name, active, artifact_store, orchestrator, step_operator where there is one, id.
    """
    found, (active, origin) = await to_thread.run_sync(lambda: (registry.stacks(), registry.active_name()))
    if active not in found:
        session.output.note(f"{session.command}: there is no stack {active!r}, which is to be active by {origin}")
    if session.output.as_json:
        for stack in found.values():
            session.output.value({**_value(stack), "active": stack.name == active})
        return DONE
    cells = [
        ("*" if one.name == active else "", one.name, one.artifact_store, one.orchestrator, one.step_operator or "-")
        for one in found.values()
    ]
    await session.output.table(("ACTIVE", "STACK", "ARTIFACT_STORE", "ORCHESTRATOR", "STEP_OPERATOR"), cells)
    return DONE


async def get(session: Session) -> int:
    """Show which stack is active, and what says so.

    --json: name, origin, and the stack's components.
    """
    active = await to_thread.run_sync(registry.active_stack)
    if session.output.as_json:
        session.output.value({**_value(active.stack), "origin": active.origin})
    else:
        session.output.line(f"{active.stack.name} ({active.origin})")
    return DONE


async def describe(session: Session, name: ActiveName = None) -> int:
    """Show the components of a stack; without NAME, of the active one.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    found = registry.stack_named if name is not None else lambda _: registry.active_stack().stack
    stack = await to_thread.run_sync(found, name or "")
    value = _value(stack)
    if session.output.as_json:
        session.output.value(value)
        return DONE
    for title, text in value.items():
        session.output.line(f"{title.replace('_', ' ') + ':':<16}{text or '-'}")
    return DONE


async def register(
    session: Session,
    *,
    name: Name,
    orchestrator: Orchestrator = None,
    artifact_store: ArtifactStore = None,
    step_operator: StepOperator = None,
    activate: Annotated[bool, typer.Option("--set", help="Make it the active stack.")] = False,
    dry_run: DryRun = False,
) -> int:
    """Put components together, under a name. What is not given is `default`.

    A store on this machine does not go with what runs elsewhere.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    stack = Stack(name, orchestrator or DEFAULT, artifact_store or DEFAULT, step_operator or "")
    home = Home.of_this_user(rehearses=dry_run)
    done = await to_thread.run_sync(partial(registry.register, stack, home, activate=activate))
    _tell(session, done, "registered and activated" if activate else "registered", home)
    return DONE


async def set_stack(
    session: Session,
    name: Name,
    project: Annotated[
        bool, typer.Option("--project", help="For work in this directory and below alone (.entrepot/config.toml).")
    ] = False,
    dry_run: DryRun = False,
) -> int:
    """Make a stack the active one.

    The variable ENTREPOT_STACK, or --stack before a command, goes before that; a project's own goes before the user's.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    home = Home.of_this_user(rehearses=dry_run)
    change = partial(registry.set_active, name, home, project=os.getcwd() if project else None)
    _tell(session, await to_thread.run_sync(change), "activated", home)
    active, origin = await to_thread.run_sync(registry.active_name)
    if active != name and not dry_run:
        session.output.note(f"{session.command}: {active} stays active here, by {origin}")
    return DONE


async def update(
    session: Session,
    *,
    name: Name,
    orchestrator: Orchestrator = None,
    artifact_store: ArtifactStore = None,
    step_operator: StepOperator = None,
    dry_run: DryRun = False,
) -> int:
    """Give a stack other components.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    given = {
        StackComponentType.ORCHESTRATOR: orchestrator,
        StackComponentType.ARTIFACT_STORE: artifact_store,
        StackComponentType.STEP_OPERATOR: step_operator,
    }
    components = {kind: one for kind, one in given.items() if one is not None}
    if not components:
        raise WrongUse("nothing to change; give -o, -a or -s", name)
    home = Home.of_this_user(rehearses=dry_run)
    _tell(session, await to_thread.run_sync(registry.update, name, components, home), "updated", home)
    return DONE


async def rename(session: Session, name: Name, new_name: NewName, dry_run: DryRun = False) -> int:
    """Give a stack another name; if it is active, it stays so.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    home = Home.of_this_user(rehearses=dry_run)
    _tell(session, await to_thread.run_sync(registry.rename, name, new_name, home), "renamed", home)
    return DONE


async def copy(session: Session, name: Name, new_name: NewName, dry_run: DryRun = False) -> int:
    """Make a second stack of the same components.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    home = Home.of_this_user(rehearses=dry_run)
    _tell(session, await to_thread.run_sync(registry.copy, name, new_name, home), "copied to", home)
    return DONE


async def delete(session: Session, name: Name, dry_run: DryRun = False) -> int:
    """Forget a stack; its components stay. The active one is not deleted.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    home = Home.of_this_user(rehearses=dry_run)
    _tell(session, await to_thread.run_sync(registry.delete, name, home), "deleted", home)
    return DONE


async def export(
    session: Session,
    name: Name,
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", hidden=True)] = None,
) -> int:
    """Write a stack with its components as JSON, to FILE or to standard output, for `stack import` elsewhere.

    Secrets are in it as references only; one that was given as such refuses the export.

    --json: the stack and its components.
    """
    told = await to_thread.run_sync(registry.exported, name)
    text = json.dumps(told, indent=2)
    if file is None:
        await session.output.write(f"{text}\n".encode())
        return DONE
    await to_thread.run_sync(_write, file, text)
    if session.output.as_json:
        session.output.value(told)
    else:
        session.output.line(f"exported {name} to {file}")
    return DONE


async def import_stack(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", hidden=True)],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Another name for the stack.")] = None,
    dry_run: DryRun = False,
) -> int:
    """Register a stack and its components from a file that `stack export` wrote.

    --json: name, artifact_store, orchestrator, step_operator where there is one, id.
    """
    told = await to_thread.run_sync(_read, file)
    home = Home.of_this_user(rehearses=dry_run)
    stack = await to_thread.run_sync(partial(registry.import_stack, told, home, name=name))
    _tell(session, stack, "imported", home)
    return DONE


# ---- values ---------------------------------------------------------------------------------------------


def _value(stack: Stack) -> dict[str, Any]:
    named = {kind.value: name for kind, name in stack.components().items()}
    return {"name": stack.name, **named, "id": stack.id}


def _tell(session: Session, stack: Stack, done: str, home: Home) -> None:
    line = f"{done} {stack.name} (store {stack.artifact_store}, orchestrator {stack.orchestrator})"
    session.done(line, _value(stack), dry_run=home.rehearses)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise WrongUse(f"cannot be written: {error.strerror}", path) from error


def _read(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise WrongUse(f"cannot be read: {error.strerror}", path) from error
    except ValueError as error:
        raise WrongUse("it is no JSON; `stack export` writes such a file", path) from error
