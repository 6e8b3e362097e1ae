"""`ls`, `tree`, `du`, `glob`: looks at what is there."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

import typer

from entrepot.cli.failures import DONE, FAILED
from entrepot.cli.options import parsed_count
from entrepot.cli.render import counted, long_line, shown_size, stat_value
from entrepot.cli.session import Place, Session, is_named
from entrepot.errors import StoreError
from entrepot.models import FileStat

Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Everything below, too.")]
Human = Annotated[bool, typer.Option("--human", "-h", help="Sizes such as 1.5 MiB (as on a terminal).")]
Exact = Annotated[bool, typer.Option("--bytes", "-b", help="Sizes in bytes (as in a pipe).")]
Level: TypeAlias = tuple[str, list[str], list[str]]
Levels: TypeAlias = AsyncGenerator[Level, None]
_MAGIC: Final = re.compile(r"[*?\[]")


async def ls(
    session: Session,
    *,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", hidden=True)] = ".",
    long: Annotated[bool, typer.Option("--long", "-l", help="Size, time in UTC, and name.")] = False,
    recursive: Recursive = False,
    human: Human = False,
    exact: Exact = False,
) -> int:
    """List the names in a directory, sorted.

    ADDRESS is a directory (the current one by default) or a file. Directories end in /. With -r, everything below it,
    by paths relative to ADDRESS. --json: per entry name, uri, type (file or
    directory), and where known size_bytes, modified, etag, content_type, checksums, mode.
    """
    await session.expect_connection([address])
    output = session.output
    human = _shows_human(session, human=human, exact=exact)
    place = await session.place(address)
    found = await place.store.stat(place.path)
    if not found.is_dir:
        _show_entry(session, found, place.uri.rsplit("/", 1)[-1], long=long, human=human)
        return DONE
    async with aclosing(place.store.scan(place.path, recursive=recursive)) as entries:
        async for entry in entries:
            _show_entry(session, entry, place.relative(entry.uri), long=long, human=human)
            await output.drain()
    return DONE


def _show_entry(session: Session, entry: FileStat, name: str, *, long: bool, human: bool) -> None:
    shown = f"{name}/" if entry.is_dir else name
    if session.output.as_json:
        session.output.value(stat_value(entry, name=name))
    elif long:
        session.output.line(long_line(entry, shown, human=human))
    else:
        session.output.line(shown)


async def tree(
    session: Session,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", hidden=True)] = ".",
    depth: Annotated[
        str | None, typer.Option("--depth", "-d", metavar="N", help="Directories deeper than N levels stay closed.")
    ] = None,
) -> int:
    """Draw a directory and what is below it as a tree.

    ADDRESS is the current directory by default.

    --json: per entry name, uri, type and level (1 for what is directly in ADDRESS).
    """
    await session.expect_connection([address])
    deepest = parsed_count("--depth", depth)
    place = await session.place(address)
    await place.store.listdir(place.path)  # walk passes over a directory that cannot be listed, the first one too
    if not session.output.as_json:
        session.output.line(address)

    def unreadable(error: StoreError) -> None:
        session.report(error, place.shown)

    async with aclosing(place.store.walk(place.path, onerror=unreadable)) as levels:
        drawing = _Tree(session, levels, deepest)
        await drawing.draw(await drawing.next_level(), "", 1)
    if not session.output.as_json:
        counts = f"{counted(drawing.directories, 'directory', 'directories')}, {counted(drawing.files, 'file')}"
        session.output.line("")
        session.output.line(counts)
    return FAILED if session.failures else DONE


class _Tree:
    """Draws levels as `walk` yields them, parents before children: only the levels of one branch are in memory."""

    def __init__(self, session: Session, levels: Levels, deepest: int | None) -> None:
        self._output = session.output
        self._levels, self._deepest = levels, deepest
        self._ahead: Level | None = None
        self.directories = self.files = 0

    async def next_level(self) -> Level | None:
        self._ahead = await anext(self._levels, None)
        return self._ahead

    async def draw(self, level: Level | None, indent: str, depth: int) -> None:
        if level is None:
            return
        uri, directories, files = level
        entries = sorted([(name, True) for name in directories] + [(name, False) for name in files])
        if depth == self._deepest:
            directories.clear()  # which tells `walk` not to list them
        await self.next_level()
        for at, (name, is_directory) in enumerate(entries, 1):
            last = at == len(entries)
            self._show(f"{uri}/{name}", name, is_directory, f"{indent}{'└── ' if last else '├── '}", depth)
            await self._output.drain()
            if is_directory and self._ahead is not None and self._ahead[0] == f"{uri}/{name}":
                await self.draw(self._ahead, f"{indent}{'    ' if last else '│   '}", depth + 1)

    def _show(self, uri: str, name: str, is_directory: bool, lead: str, depth: int) -> None:
        self.directories += is_directory
        self.files += not is_directory
        if self._output.as_json:
            kind = "directory" if is_directory else "file"
            self._output.value({"name": name, "uri": uri, "type": kind, "level": depth})
        else:
            self._output.line(f"{lead}{name}{'/' if is_directory else ''}")


@dataclass(slots=True)
class _Usage:
    size_bytes: int = 0
    files: int = 0

    def add(self, entry: FileStat) -> None:
        if not entry.is_dir:
            self.size_bytes += entry.size_bytes
            self.files += 1


async def du(
    session: Session,
    addresses: Annotated[list[str] | None, typer.Argument(metavar="ADDRESS", hidden=True)] = None,
    summarize: Annotated[bool, typer.Option("--summarize", "-s", help="Only the total of each address.")] = False,
    human: Human = False,
    exact: Exact = False,
) -> int:
    """Add up the sizes of files.

    Of each name in a directory (the current one by default), and in total.

    --json: per line name, uri, size_bytes, files and total (true for the sum of an address).
    """
    wanted = addresses or ["."]
    await session.expect_connection(wanted)
    human = _shows_human(session, human=human, exact=exact)
    for address in wanted:
        try:
            await _add_up(session, await session.place(address), summarize=summarize, human=human)
        except StoreError as error:
            if len(wanted) == 1:
                raise
            session.report(error, address)
    return FAILED if session.failures else DONE


async def _add_up(session: Session, place: Place, *, summarize: bool, human: bool) -> None:
    total, children = _Usage(), dict[str, _Usage]()
    found = await place.store.stat(place.path)
    total.add(found)
    if found.is_dir:
        async with aclosing(place.store.scan(place.path)) as entries:
            async for entry in entries:
                total.add(entry)
                name, slash, _ = place.relative(entry.uri).partition("/")
                if not summarize:
                    shown = f"{name}/" if slash or entry.is_dir else name
                    children.setdefault(shown, _Usage()).add(entry)
    rows = [(name, place.child(name), usage, False) for name, usage in sorted(children.items())]
    for name, shown, usage, is_total in [*rows, (place.shown, place.shown, total, True)]:
        if session.output.as_json:
            uri = place.uri if is_total else f"{place.uri}/{name.rstrip('/')}"
            fields = {"size_bytes": usage.size_bytes, "files": usage.files, "total": is_total}
            session.output.value({"name": name.rstrip("/") if not is_total else place.shown, "uri": uri, **fields})
        else:
            session.output.line(f"{shown_size(usage.size_bytes, human=human)}  {shown}")
    await session.output.drain()


async def glob(
    session: Session,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", hidden=True)],
) -> int:
    """Print the addresses that match a pattern.

    * and ? match within a name, as does [abc]; ** any number of directories. Quote PATTERN, or the shell expands it.

    What is found has the form of PATTERN, so that it can be given to other commands. Nothing found is exit code 1.
    --json: address and uri.
    """
    await session.expect_connection([pattern])
    magic = _MAGIC.search(pattern, pattern.find("://") + 1)
    base = pattern[: magic.start()] if magic else pattern
    # The literal part ends at a whole segment: `s3://bucket/runs/` of `s3://bucket/runs/1*`, `name:` of `name:*`.
    base = base[: max(base.rfind("/"), base.find(":") if is_named(base) else -1) + 1]
    place = await session.place(base or ".", as_directory=True)
    rest = pattern[len(base) :]
    wanted = f"{place.path}/{rest}" if place.path else rest
    output, matches = session.output, 0
    async with aclosing(place.store.glob(wanted)) as found:
        async for uri in found:
            matches += 1
            shown = f"{base}{place.relative(uri)}"
            if output.as_json:
                output.value({"address": shown, "uri": uri})
            else:
                output.line(shown)
            await output.drain()
    if not matches:
        output.note(f"glob {pattern}: nothing matches")
    return DONE if matches else FAILED


def _shows_human(session: Session, *, human: bool, exact: bool) -> bool:
    return human or (session.output.to_terminal and not exact)
