"""The program: its commands, its help, and how a command line that cannot be parsed is answered."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from entrepot import __version__
from entrepot.cli.command import command
from entrepot.cli.failures import DONE, EXIT_CODES, WRONG_USE, Failure
from entrepot.cli.render import Output

_HOMES: Final = {
    "cp": "transfers",
    "mv": "transfers",
    "rm": "files",
    "ls": "listings",
    "tree": "listings",
    "du": "listings",
    "glob": "listings",
    "cat": "files",
    "stat": "files",
    "presign": "sharing",
    "versions": "sharing",
    "mkdir": "files",
    "version": "about",
}
"""Where each command lives; a command line that names one imports only that module."""

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


class _Command(_WithoutCoercion, TyperCommand):
    """One command."""


class _Program(_WithoutCoercion, TyperGroup):
    """The program before its command."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    words = [*arguments] or ["--help"]
    name = words[0] if words[0] in _HOMES else ""
    # Rich draws help for a person only: to a pipe it is plain text, and rich is not even imported.
    drawn = "--help" in words and sys.stdout.isatty()
    program: Any = typer.main.get_command(_app([name] if name else _HOMES, drawn=drawn))
    try:
        code = program.main(args=words, prog_name="entrepot", standalone_mode=False)
    except _UsageFault as fault:
        told = " ".join(fault.format_message().split()).removesuffix(".")  # type: ignore[attr-defined]  # ClickException's
        see = f"see `entrepot {name} --help`" if name else "see `entrepot --help`"
        Output().failure(Failure("WrongUse", f"{told}; {see}", "", WRONG_USE), name)
        return WRONG_USE
    except SystemExit as ended:  # how shell completion ends
        return ended.code if isinstance(ended.code, int) else DONE
    if not arguments:
        return WRONG_USE
    return code if isinstance(code, int) else DONE


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
    ) -> None:
        """What comes before a command."""

    for name in names:
        body = getattr(import_module(f"entrepot.cli.{_HOMES[name]}"), name)
        app.command(name, cls=_Command, context_settings={"max_content_width": 110})(
            command(body, connects=name != "version")
        )
    return app


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit
