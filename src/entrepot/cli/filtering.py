"""The options that choose files, and the filters that they stand for, in the order of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from entrepot.cli.failures import WrongUse
from entrepot.cli.options import order_of
from entrepot.cli.render import read_standard_input
from entrepot.cli.session import STREAM
from entrepot.errors import ConfigurationError
from entrepot.models import MIB
from entrepot.transfer.bounds import Bounds, Moment, parse_moment, parse_size
from entrepot.transfer.filters import Filters, Option, ignore_lines_of, lines_of

FILTER_PANEL: Final = "What to copy"
_RULES: Final = ("include", "exclude", "filter", "filter_from")


def _several(name: str, metavar: str, help_text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=help_text, rich_help_panel=FILTER_PANEL)


@dataclass(frozen=True, slots=True)
class Filtering:
    """Which files are chosen. Rules are tried in the order in which they are typed; the first that matches decides."""

    include: Annotated[
        list[str] | None, _several("--include", "PATTERN", "Copy what matches, and nothing that no rule chooses.")
    ] = None
    exclude: Annotated[list[str] | None, _several("--exclude", "PATTERN", "Leave out what matches.")] = None
    filter: Annotated[
        list[str] | None,
        _several("--filter", "RULE", "A rule with its sign: '+ *.csv', '- /tmp/', or '!' to start anew."),
    ] = None
    filter_from: Annotated[
        list[str] | None, _several("--filter-from", "FILE", "Rules from a file, one a line (- is standard input).")
    ] = None
    ignore_file: Annotated[
        list[str] | None, _several("--ignore-file", "FILE", "Leave out what a file in gitignore's grammar names.")
    ] = None
    files_from: Annotated[
        list[str] | None, _several("--files-from", "FILE", "Copy the files that a list names (- is standard input).")
    ] = None
    min_size: Annotated[str | None, _several("--min-size", "SIZE", "Leave out smaller files (10M, 1.5G, 100B).")] = None
    max_size: Annotated[str | None, _several("--max-size", "SIZE", "Leave out larger files.")] = None
    newer: Annotated[
        str | None, _several("--newer", "TIME", "Only files changed since: an age (7d, 2h30m) or a date (2025-01-31).")
    ] = None
    older: Annotated[str | None, _several("--older", "TIME", "Only files not changed since.")] = None


async def filters_of(filtering: Filtering, context: typer.Context, now: datetime | None = None) -> Filters:
    """The filters that the options ask for on this command line.

    context: of a command whose class has `KeepsOrder`. now: what ages are counted from, with a time zone. Reads the
    files that are named, and standard input to its end. Raises: WrongUse, naming the option.
    """
    given, reading = {one.name: getattr(filtering, one.name) for one in fields(filtering)}, _Reading()
    rules: list[tuple[str, tuple[Option, str]]] = []
    for name, text in _in_order(given, context):
        if name == "filter_from":
            lines = lines_of(await reading.content(name, text))
            rules += ((f"--filter-from {text}", ("filter", line)) for line in lines)
        else:
            rules.append((f"--{name} {text}", (cast("Option", name), text)))
    listed: list[str] | None = [] if given["files_from"] else None
    for text in given["files_from"] or ():
        listed = [*(listed or ()), *lines_of(await reading.content("files_from", text))]
    ignore: list[str] = []
    for text in given["ignore_file"] or ():
        ignore += ignore_lines_of(await reading.content("ignore_file", text))
    bounds = _bounds(given, now or datetime.now(UTC))
    try:
        return Filters.parse([rule for _, rule in rules], bounds=bounds, files_from=listed, ignore=ignore)
    except ConfigurationError as error:
        for option, rule in rules:
            _require_meaning(option, rule)
        raise WrongUse(error.message) from error


def _require_meaning(option: str, rule: tuple[Option, str]) -> None:
    """Raise WrongUse, naming the option, for a rule that is wrong by itself."""
    try:
        Filters.parse([rule])
    except ConfigurationError as error:
        raise WrongUse(f"{option}: {error.message}") from error


def _in_order(given: dict[str, Any], context: typer.Context) -> Iterator[tuple[str, str]]:
    """The options that give rules, each with its text, as they were typed."""
    values = {name: iter(given[name] or ()) for name in _RULES}
    for name in order_of(context):
        if name in values:
            yield name, next(values[name])


def _bounds(given: dict[str, Any], now: datetime) -> Bounds:
    def moment(text: str) -> Moment:
        return parse_moment(text, now)

    read: dict[str, Callable[[str], Any]] = {
        "min_size": parse_size, "max_size": parse_size, "newer": moment, "older": moment
    }  # fmt: skip
    values: dict[str, Any] = {}
    for name, parse in read.items():
        try:
            values[name] = parse(given[name]) if given[name] is not None else None
        except ConfigurationError as error:
            raise WrongUse(f"--{name.replace('_', '-')}: {error.message}") from error
    try:
        return Bounds(values["min_size"], values["max_size"], values["newer"], values["older"])
    except ConfigurationError as error:
        raise WrongUse(error.message) from error


class _Reading:
    """The files of one command line; standard input can be one of them, once."""

    def __init__(self) -> None:
        self._of_input = ""

    async def content(self, name: str, path: str) -> bytes:
        option = f"--{name.replace('_', '-')}"
        if path != STREAM:
            return _content_of(option, path)
        if self._of_input:
            raise WrongUse(f"{option} -: standard input is read by {self._of_input} already")
        self._of_input = option
        pieces: list[bytes] = []
        while piece := await read_standard_input(MIB):
            pieces.append(piece)
        return b"".join(pieces)


def _content_of(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise WrongUse(f"{option} {path}: {error.strerror}") from error
