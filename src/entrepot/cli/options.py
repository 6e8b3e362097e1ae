"""The options that commands share, as groups, and the values that they stand for.

Every option is text, a list of texts, or a flag; its meaning is checked here, so that every complaint is one line of
our own, and so that no validation library is imported to parse a command line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from entrepot.cli.failures import WrongUse

CONNECTION_PANEL: Final = "S3 (the standard AWS_* variables work by themselves)"
OUTPUT_PANEL: Final = "Output"

# Arguments are told by the usage line and the command's description; a list of them would only repeat their types.
Addresses = Annotated[list[str], typer.Argument(metavar="ADDRESS", hidden=True)]


@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes."""

    as_json: Annotated[
        bool, typer.Option("--json", help="Results as JSON, one object a line.", rich_help_panel=OUTPUT_PANEL)
    ] = False
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and log every attempt.", rich_help_panel=OUTPUT_PANEL)
    ] = False


@dataclass(frozen=True, slots=True)
class Connection:
    """How s3:// addresses are reached."""

    endpoint_url: Annotated[
        str | None,
        typer.Option(
            "--endpoint-url",
            metavar="URL",
            help="Another service than AWS, such as MinIO; or AWS_ENDPOINT_URL.",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = None
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="NAME", help="The bucket's region.", rich_help_panel=CONNECTION_PANEL),
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
            help="Where the bucket's name goes in a request.",
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
            help="Our own requests (the default), or the AWS SDK's.",
            rich_help_panel=CONNECTION_PANEL,
        ),
    ] = None

    def configuration(self) -> dict[str, Any]:
        """The keys of the s3 flavor that were given."""
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
        return {key: value for key, value in given.items() if value is not None}


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


def parsed_count(option: str, text: str | None, *, least: int = 1, most: int | None = None) -> int | None:
    """A whole number within bounds. Raises WrongUse."""
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if number < least or (most is not None and number > most):
        bounds = f"from {least:,} to {most:,}" if most is not None else f"of at least {least:,}"
        raise WrongUse(f"{option} {text}: give a whole number {bounds}")
    return number
