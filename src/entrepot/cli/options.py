"""The options that commands share, as groups, and the values that they stand for.

Every option is text, a list of texts, or a flag; its meaning is checked here, so that every complaint is one line of
our own, and so that no validation library is imported to parse a command line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import typer

from entrepot.cli.failures import WrongUse
from entrepot.cli.render import FORMS, Form

CONNECTION_PANEL: Final = "Services (the standard AWS_*, GOOGLE_* and AZURE_* variables work by themselves)"
OUTPUT_PANEL: Final = "Output"

_ORDER: Final = "entrepot.order-of-options"

# Arguments are told by the usage line and the command's description; a list of them would only repeat their types.
Addresses = Annotated[list[str], typer.Argument(metavar="ADDRESS", hidden=True)]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would be done.")]


@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes."""

    as_json: Annotated[
        bool, typer.Option("--json", help="Results as JSON, one object a line.", rich_help_panel=OUTPUT_PANEL)
    ] = False
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="json|yaml|csv",
            help="Results in another form: json as --json, yaml, or csv.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and log every attempt.", rich_help_panel=OUTPUT_PANEL)
    ] = False

    def form(self) -> Form | None:
        """How results are told, None for lines. Raises WrongUse."""
        if self.as_json and self.output not in (None, "json"):
            raise WrongUse("--json and --output name two forms; give one of both")
        form = chosen("--output", self.output, FORMS)
        return cast("Form", "json" if self.as_json else form) if self.as_json or form else None


@dataclass(frozen=True, slots=True)
class Connection:
    """How addresses at a service are reached."""

    endpoint_url: Annotated[
        str | None,
        typer.Option(
            "--endpoint-url",
            metavar="URL",
            help="Another service than the cloud's own, such as MinIO or an emulator.",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = None
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="NAME", help="The bucket's region (S3).", rich_help_panel=CONNECTION_PANEL),
    ] = None
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="A profile of the AWS configuration files.",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = None
    anonymous: Annotated[
        bool,
        typer.Option("--anonymous", help="Sign nothing, for public buckets.", rich_help_panel=CONNECTION_PANEL),
    ] = False
    addressing: Annotated[
        str | None,
        typer.Option(
            "--addressing",
            metavar="auto|path|virtual",
            help="Where the bucket's name goes in a request (S3).",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = None
    allow_http: Annotated[
        bool,
        typer.Option(
            "--allow-http",
            help="Plain http to another machine, where everybody can read along.",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = False
    client: Annotated[
        str | None,
        typer.Option(
            "--client",
            metavar="wire|sdk",
            help="Our own requests (the default), or the SDK's.",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = None
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="KEY=VALUE",
            help="Any other key of a flavor's configuration; repeat it for several. Secrets belong in variables.",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = None

    def configuration(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The keys of configuration that were given, and by which option each was. Raises WrongUse."""
        chosen("--addressing", self.addressing, ("auto", "path", "virtual"))
        chosen("--client", self.client, ("wire", "sdk"))
        given = {
            "endpoint_url": self.endpoint_url,
            "region": self.region,
            "profile": self.profile,
            "anonymous": self.anonymous or None,
            "addressing_style": self.addressing,
            "allow_http": self.allow_http or None,
            "client": self.client,
        }
        values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        options = {key: f"--{'addressing' if key == 'addressing_style' else key.replace('_', '-')}" for key in values}
        for pair in self.config or ():
            key, separator, value = pair.partition("=")
            if not separator or not key:
                raise WrongUse("--config: give KEY=VALUE")
            if key == "path" or key in values:
                raise WrongUse(f"--config {key}: it is given already")
            values[key], options[key] = value, f"--config {key}"
        return values, options


class KeepsOrder:
    """A command that notes in which order its options were typed; mixed in before the class of a command.

    Of options that are given in turns (`--include a --exclude b --include c`) a command gets one list each.
    """

    def make_parser(self, ctx: Any) -> Any:
        """The command's parser, which also notes."""
        parser: Any = super().make_parser(ctx)  # type: ignore[misc]  # of the command that this is mixed into
        parse = parser.parse_args

        def parse_and_note(args: list[str]) -> Any:
            values, rest, order = parse(args)
            ctx.meta[_ORDER] = [param.name for param in order]
            return values, rest, order

        parser.parse_args = parse_and_note
        return parser


def order_of(context: typer.Context) -> list[str]:
    """The names of the parameters that were typed, one each time, in order; of a command with `KeepsOrder`."""
    order: list[str] = context.meta[_ORDER]
    return order


def chosen(option: str, value: str | None, among: Collection[str]) -> str | None:
    """The value, if it is one of those; None stays None. Raises WrongUse naming them and the nearest."""
    if value is None or value in among:
        return value
    near = difflib.get_close_matches(value, among, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose {' or '.join(among)}"
    raise WrongUse(f"{option} {value}: {hint}")


_BYTES: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", re.IGNORECASE | re.ASCII)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parsed_bytes(option: str, text: str | None) -> int | None:
    """`64MiB`, `64M` or a number of bytes; units are powers of 1,024. Raises WrongUse."""
    if text is None:
        return None
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise WrongUse(f"{option} {text}: give a size, such as 256MiB")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].upper()])


_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parsed_seconds(option: str, text: str, *, most: int) -> int:
    """`15m`, `12h`, `7d` or a number of seconds. Raises WrongUse."""
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip(), re.ASCII)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= most:
        raise WrongUse(f"{option} {text}: give a time of at most {most // 86_400} days, such as 15m, 12h or 7d")
    return seconds


def parsed_count(option: str, text: str | None, *, least: int = 1, most: int | None = None) -> int | None:
    """A whole number within bounds. Raises WrongUse."""
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if number < least or (most is not None and number > most):
        bounds = f"from {least:,} to {most:,}" if most is not None else f"of at least {least:,}"
        raise WrongUse(f"{option} {text}: give a whole number {bounds}")
    return number


_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


def parsed_number(option: str, text: str | None) -> float | None:
    """A number above 0, such as 50 or 0.5. Raises WrongUse."""
    if text is None:
        return None
    number = float(text) if _NUMBER.fullmatch(text) else 0.0
    if number <= 0:
        raise WrongUse(f"{option} {text}: give a number above 0, such as 50 or 0.5")
    return number
