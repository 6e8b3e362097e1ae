"""The program: its commands, its help, and how a command line that cannot be parsed is answered."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from entrepot import __version__
from entrepot.cli.command import command
from entrepot.cli.failures import DONE, EXIT_CODES, WRONG_USE, Failure
from entrepot.cli.options import KeepsOrder
from entrepot.cli.render import Output
from entrepot.registry.home import STACK_VARIABLE

_HOMES: Final = {
    "cp": "transfers:cp",
    "mv": "transfers:mv",
    "sync": "transfers:sync",
    "check": "checks:check",
    "plan show": "plans:show",
    "plan run": "plans:run",
    "rm": "files:rm",
    "ls": "listings:ls",
    "tree": "listings:tree",
    "du": "listings:du",
    "glob": "listings:glob",
    "cat": "files:cat",
    "stat": "files:stat",
    "presign": "sharing:presign",
    "versions": "sharing:versions",
    "mkdir": "files:mkdir",
    "doctor": "doctor:doctor",
    "jobs list": "jobs:list_jobs",
    "jobs show": "jobs:show",
    "jobs resume": "jobs:resume",
    "jobs forget": "jobs:forget",
    "artifact-store register": "components:register",
    "artifact-store list": "components:list_components",
    "artifact-store describe": "components:describe",
    "artifact-store update": "components:update",
    "artifact-store remove-attribute": "components:remove_attribute",
    "artifact-store rename": "components:rename",
    "artifact-store copy": "components:copy",
    "artifact-store delete": "components:delete",
    "artifact-store explain": "components:explain",
    "orchestrator register": "components:register",
    "orchestrator list": "components:list_components",
    "orchestrator describe": "components:describe",
    "orchestrator update": "components:update",
    "orchestrator remove-attribute": "components:remove_attribute",
    "orchestrator rename": "components:rename",
    "orchestrator copy": "components:copy",
    "orchestrator delete": "components:delete",
    "orchestrator explain": "components:explain",
    "step-operator register": "components:register",
    "step-operator list": "components:list_components",
    "step-operator describe": "components:describe",
    "step-operator update": "components:update",
    "step-operator remove-attribute": "components:remove_attribute",
    "step-operator rename": "components:rename",
    "step-operator copy": "components:copy",
    "step-operator delete": "components:delete",
    "step-operator explain": "components:explain",
    "runs list": "runs:list_runs",
    "runs show": "runs:show",
    "artifacts list": "artifacts:list_artifacts",
    "artifacts show": "artifacts:show",
    "artifacts get": "artifacts:get",
    "stack register": "stacks:register",
    "stack list": "stacks:list_stacks",
    "stack get": "stacks:get",
    "stack set": "stacks:set_stack",
    "stack describe": "stacks:describe",
    "stack update": "stacks:update",
    "stack rename": "stacks:rename",
    "stack copy": "stacks:copy",
    "stack export": "stacks:export",
    "stack import": "stacks:import_stack",
    "stack delete": "stacks:delete",
    "artifact-store flavor list": "flavors:list_flavors",
    "artifact-store flavor describe": "flavors:describe",
    "artifact-store flavor register": "flavors:register",
    "artifact-store flavor delete": "flavors:delete",
    "version": "about:version",
}
"""Where each command lives, by its words; a command line that names one imports only that module."""

_GROUPS: Final = {
    "plan": "Copies that were planned before: `cp --plan-out` and `sync --plan-out` write plans.",
    "jobs": "Bulk copies that were begun, and how far each is.",
    "runs": "Runs of pipelines, as their store tells of them.",
    "artifacts": "What steps of pipelines have made.",
    "stack": "Stacks: an orchestrator and an artifact store under one name; one of them is active.",
    "artifact-store": "Artifact stores, and the flavors that there are of them.",
    "orchestrator": "Orchestrators: what runs the steps of pipelines.",
    "step-operator": "Step operators: what runs single steps elsewhere.",
    "artifact-store flavor": "The kinds of artifact store: those that come with entrepot, and your own.",
}
"""The groups of commands, outer ones first."""

_UNCONNECTED: Final = (
    "version",
    "jobs list",
    "jobs show",
    "artifact-store ",
    "orchestrator ",
    "step-operator ",
    "stack ",
)
"""How commands begin that take no addresses."""

_TAKES_KEYS: Final = frozenset({"components:register", "components:update", "components:remove_attribute"})
"""Commands that take options of whatever name: the keys of a flavor."""

_HELP: Final = """Copy, list and look after artifacts on local disk, S3, Google Cloud Storage, Azure, and more.

An ADDRESS is a local path, a URI (s3://bucket/key, gs://, az://, memory://, file://), or NAME:path for a configured
store; default: is the local store that is always there. Write ./a:b for a local file with such a name."""

# ClickException: it lives in click or in typer, as typer's version has it, and typer exports it by its subclass only.
_UsageFault: Final[type[Exception]] = typer.BadParameter.__mro__[2]


class _AsGiven:
    """Values as the command line's parser gives them: text, lists of text, and flags are all that we declare."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        return () if value is None and (param.multiple or param.nargs == -1) else value


class _WithoutCoercion:
    """Spares typer its own coercion, which imports pydantic (typer 0.29) and doubles the time to start.

    A typer whose parameters have no such attribute is left alone: the values are the same.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the command that this is mixed into
        for param in params:
            if hasattr(param, "_runtime_param"):
                param._runtime_param = _AsGiven()
        return params


class _Command(KeepsOrder, _WithoutCoercion, TyperCommand):
    """One command."""


class _Program(_WithoutCoercion, TyperGroup):
    """The program before its command."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    words = _with_stack([*arguments]) or ["--help"]
    name = _longest(words, _HOMES)
    group = "" if name else _longest(words, _GROUPS)
    # A group alone asks what there is in it, as the program alone does.
    incomplete = not arguments or words == group.split()
    if words == group.split():
        words.append("--help")
    # Rich draws help for a person only: to a pipe it is plain text, and rich is not even imported.
    drawn = "--help" in words and sys.stdout.isatty()
    names = [name] if name else [one for one in _HOMES if f"{one} ".startswith(f"{group} ".lstrip())]
    program: Any = typer.main.get_command(_app(names, drawn=drawn))
    try:
        code = program.main(args=words, prog_name="entrepot", standalone_mode=False)
    except _UsageFault as fault:
        told = " ".join(fault.format_message().split()).removesuffix(".")  # type: ignore[attr-defined]  # ClickException's
        see = f"see `entrepot {name or group} --help`" if name or group else "see `entrepot --help`"
        Output().failure(Failure("WrongUse", f"{told}; {see}", "", WRONG_USE), name or group)
        return WRONG_USE
    except SystemExit as ended:  # how shell completion ends
        return ended.code if isinstance(ended.code, int) else DONE
    if incomplete:
        return WRONG_USE
    return code if isinstance(code, int) else DONE


def _with_stack(words: list[str]) -> list[str]:
    """What follows `--stack NAME`, by which a stack is active for this command alone."""
    if words and words[0].startswith("--stack="):
        os.environ[STACK_VARIABLE] = words[0].partition("=")[2]
        return words[1:]
    if words[:1] == ["--stack"] and len(words) > 1:
        os.environ[STACK_VARIABLE] = words[1]
        return words[2:]
    return words


def _longest(words: Sequence[str], names: Iterable[str]) -> str:
    """The longest of the names that the words begin with, or none."""
    return max((name for name in names if [*words[: name.count(" ") + 1]] == name.split()), key=len, default="")


def _app(names: Iterable[str], *, drawn: bool) -> typer.Typer:
    app = typer.Typer(
        name="entrepot",
        cls=_Program,
        help=_HELP,
        epilog=EXIT_CODES,
        rich_markup_mode="rich" if drawn else None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": 110},
    )

    @app.callback()
    def program(
        version: Annotated[
            bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
        ] = False,
        stack: Annotated[
            str | None, typer.Option("--stack", metavar="NAME", help="Which stack is active for this command.")
        ] = None,
    ) -> None:
        """What comes before a command; `--stack` is taken from the words before they are parsed."""

    groups = {"": app}
    for name in names:
        module, _, function = _HOMES[name].partition(":")
        body = getattr(import_module(f"entrepot.cli.{module}"), function)
        group, _, last = name.rpartition(" ")
        settings: dict[str, Any] = {"max_content_width": 110}
        if _HOMES[name] in _TAKES_KEYS:
            settings |= {"ignore_unknown_options": True, "allow_extra_args": True}
        _group(group, groups).command(last, cls=_Command, context_settings=settings)(
            command(body, name=name, connects=not name.startswith(_UNCONNECTED))
        )
    return app


def _group(name: str, groups: dict[str, typer.Typer]) -> typer.Typer:
    """The group of that name, made with those around it when its first command comes."""
    if name not in groups:
        outer, _, last = name.rpartition(" ")
        settings = {"max_content_width": 110}
        groups[name] = typer.Typer(
            cls=_Program, help=_GROUPS[name], rich_markup_mode=None, context_settings=settings, epilog=EXIT_CODES
        )
        _group(outer, groups).add_typer(groups[name], name=last)
    return groups[name]


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit
