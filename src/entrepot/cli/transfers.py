"""`cp` and `mv`: files and trees, between any two stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Final, cast

import typer

from entrepot.cli.failures import DONE, FAILED, WRONG_USE, WrongUse, failure_of
from entrepot.cli.files import DryRun, stream_out
from entrepot.cli.options import chosen, parsed_bytes, parsed_count, parsed_number
from entrepot.cli.renames import renamed
from entrepot.cli.render import read_standard_input, standard_input_is_terminal
from entrepot.cli.session import STREAM, Place, Session, joined
from entrepot.cli.summary import combined, summary_line
from entrepot.errors import IsADirectory, StoreError
from entrepot.models import KIB, MIB, WriteOptions
from entrepot.paths import scheme_of
from entrepot.rates import Rate
from entrepot.stores import landing_name
from entrepot.transfer.engine import copy_between
from entrepot.transfer.events import Event, Failed, StepPlanned, Stopped
from entrepot.transfer.plan import CopyOptions, Durability, Links, MakeDirectories, MakeLink, MoveInParts
from entrepot.transfer.report import CopyReport

TRANSFER_PANEL: Final = "How to copy"
_CHUNK_BYTES: Final = MIB
_DURABILITIES: Final = ("full", "batch", "none")

Sources = Annotated[list[str] | None, typer.Argument(metavar="SRC", hidden=True)]
Target = Annotated[str, typer.Argument(metavar="DST", hidden=True)]
Into = Annotated[
    str | None,
    typer.Option("--into", metavar="DIR", help="Put each source below DIR by its name; every argument is a source."),
]
NoOverwrite = Annotated[
    bool, typer.Option("--no-overwrite", help="Leave targets that exist as they are.", rich_help_panel=TRANSFER_PANEL)
]

NoVerify = Annotated[
    bool, typer.Option("--no-verify", help="Compare sizes, not checksums.", rich_help_panel=TRANSFER_PANEL)
]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a copy may use at once."""

    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            help="Requests in flight, in place of as many as the service takes.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", metavar="SIZE", help="Content held at once (128MiB by default).", rich_help_panel=TRANSFER_PANEL
        ),
    ] = None
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth",
            metavar="SIZE",
            help="Content moved a second at most, such as 10M.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None
    requests_per_second: Annotated[
        str | None,
        typer.Option(
            "--requests-per-second",
            metavar="N",
            help="Requests a second at most, to both ends together.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None

    def over(self, options: CopyOptions) -> CopyOptions:
        """The options with what was given."""
        concurrency = parsed_count("--concurrency", self.concurrency, most=512)
        memory = parsed_bytes("--memory", self.memory)
        if memory is not None and memory < MIB:
            raise WrongUse(f"--memory {self.memory}: give at least 1MiB")
        bandwidth = parsed_bytes("--bandwidth", self.bandwidth)
        if bandwidth is not None and bandwidth < KIB:
            raise WrongUse(f"--bandwidth {self.bandwidth}: give at least 1KiB")
        return replace(
            options,
            concurrency=concurrency or options.concurrency,
            memory_bytes=memory or options.memory_bytes,
            bandwidth_bytes_s=bandwidth,
            requests_per_second=parsed_number("--requests-per-second", self.requests_per_second),
        )


async def cp(
    session: Session,
    *,
    sources: Sources = None,
    target: Target,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Copy directories with all below.")] = False,
    into: Into = None,
    dry_run: DryRun = False,
    no_overwrite: NoOverwrite = False,
    links: Annotated[
        str,
        typer.Option(
            "--links",
            metavar="skip|follow|preserve",
            help="Leave symbolic links out, copy what they lead to, or make the same links (local targets only).",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = "skip",
    durability: Annotated[
        str,
        typer.Option(
            "--durability",
            metavar="full|batch|none",
            help="What is flushed to the target's disk before a copy counts as done.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = "none",
    no_verify: NoVerify = False,
    effort: Effort,
) -> int:
    r"""Copy files, and directories with -r, between any two places.

    \b
    What lands where:
      cp FILE DST              FILE's copy is DST itself
      cp -r DIR DST            what is in DIR lands below DST: DIR/x is copied to DST/x
      cp [-r] SRC... --into D  each SRC lands below D by its name: D/SRC, D/SRC/x
      cp - DST                 standard input becomes DST, once it has ended cleanly
      cp FILE -                FILE to standard output

    Trailing slashes, and what exists at DST, change nothing. Existing targets are overwritten, without a request to
    look; nothing is ever partly visible.

    --json: one object: ok, files, bytes, skipped, failed (source, target, error, reason), directories,
    empty_directories_skipped, links, links_skipped, special_skipped, removed, verified (by what: how many files),
    unverified, unverified_files, seconds, dry_run, sources, target.
    """
    chosen("--links", links, ("skip", "follow", "preserve"))
    chosen("--durability", durability, _DURABILITIES)
    options = effort.over(
        CopyOptions(
            recursive=recursive,
            overwrite=not no_overwrite,
            dry_run=dry_run,
            verify=not no_verify,
            durability=cast("Durability", durability),
            links=cast("Links", links),
        )
    )
    sources, target = _sources_and_target([*(sources or []), target], into)
    await session.expect_connection([*sources, target])
    if STREAM in sources or target == STREAM:
        return await _stream(session, sources, target, into=into, options=options)
    return await _Transfer(session, options, "copy", "copied").run(sources, target, into=into)


async def mv(
    session: Session,
    *,
    sources: Sources = None,
    target: Target,
    into: Into = None,
    dry_run: DryRun = False,
    no_overwrite: NoOverwrite = False,
    no_verify: NoVerify = False,
    effort: Effort,
) -> int:
    """Move files and directories between any two places.

    Each source is removed once its copy is durable and verified; what no checksum vouches for is copied, kept, and
    reported, unless --no-verify says that equal sizes are enough. Within one disk a file or a directory is renamed.
    What lands where is as for `cp`: what is in a directory lands below DST. Symbolic links stay where they are; those
    in a directory that is renamed go with it.

    --json: as `cp`; removed counts the sources that are gone.
    """
    options = effort.over(
        CopyOptions(
            recursive=True,
            overwrite=not no_overwrite,
            dry_run=dry_run,
            verify=not no_verify,
            durability="batch",
            delete_source=True,
        )
    )
    sources, target = _sources_and_target([*(sources or []), target], into)
    await session.expect_connection([*sources, target])
    if STREAM in (*sources, target):
        raise WrongUse("a stream cannot be moved; use cp")
    return await _Transfer(session, options, "move", "moved").run(sources, target, into=into)


def _sources_and_target(places: Sequence[str], into: str | None) -> tuple[list[str], str]:
    if into is not None:
        return [*places], into
    *sources, target = places
    if not sources:
        raise WrongUse("a target is missing; give SRC DST, or --into DIR", target)
    if len(sources) > 1:
        raise WrongUse("several sources need a directory to land in; write --into DIR in place of the last", target)
    return sources, target


class _Transfer:
    """The copies of one command line, one source after another, with one progress and one report."""

    def __init__(self, session: Session, options: CopyOptions, verb: str, done: str) -> None:
        self._session, self._options = session, options
        self._verb, self._done = verb, done
        self._reports: list[CopyReport] = []
        self._draw: Callable[[Event], None] | None = None

    async def run(self, sources: Sequence[str], target: str, *, into: str | None) -> int:
        session = self._session
        pairs = [(source, _below(target, source) if into is not None else target) for source in sources]
        _refuse_twins(pairs)
        with self._progress() as next_copy:
            for at, (source, its_target) in enumerate(pairs, 1):
                next_copy()
                try:
                    await self._copy(source, its_target)
                except (StoreError, WrongUse) as error:
                    session.report(error, source if scheme_of(source) else its_target)
                    if session.give_up(error, pairs[at:]):
                        break
                await session.output.drain()
        total = combined(self._reports)
        total["ok"] = total["ok"] and not session.failures
        if session.output.as_json:
            session.output.value({**total, "sources": [*sources], "target": target})
        elif not session.failures or total["files"] or total["skipped"] or total["failed"]:
            session.output.line(summary_line(total, self._verb, self._done))
        if any(failure.exit_code == WRONG_USE for failure in session.failures):
            return WRONG_USE
        return DONE if total["ok"] else FAILED

    async def _copy(self, source: str, target: str) -> None:
        session = self._session
        here, there = await session.place(source, in_parent=self._options.delete_source), await session.place(target)
        if self._options.delete_source and (report := await renamed(here, there, self._options)) is not None:
            self._reports.append(report)
            return
        try:
            report = await copy_between(
                here.store,
                here.path,
                there.store,
                there.path,
                options=self._options,
                on_event=self._on_event(here, there),
            )
        except IsADirectory as error:
            if error.uri == here.uri:
                raise WrongUse(f"this is a directory; add -r to {self._verb} what is in it", source) from error
            raise WrongUse("a file needs a name in this place; add one, or put --into before it", target) from error
        self._reports.append(report)

    def _on_event(self, here: Place, there: Place) -> Callable[[Event], None]:
        def note(event: Event) -> None:
            if isinstance(event, Failed):
                self._item_failed(event)
            elif isinstance(event, Stopped):
                self._reports.append(event.report)
            elif isinstance(event, StepPlanned):
                self._show_step(event, here, there)
            if self._draw is not None:
                self._draw(event)

        return note

    def _item_failed(self, event: Failed) -> None:
        item = event.item
        failure = replace(failure_of(item.error), address=item.source)
        if isinstance(item.error, IsADirectory):
            message = f"a directory is at the target {item.target}; --into puts a file below it by its name"
            failure = replace(failure, message=message)
        self._session.output.failure(failure, self._session.command)

    def _show_step(self, event: StepPlanned, here: Place, there: Place) -> None:
        """What a dry run would do, one line a file or directory."""
        output, step = self._session.output, event.step
        if isinstance(step, MakeDirectories):
            for path in step.paths:
                uri = _uri(there, path)
                if output.as_json:
                    output.value({"directory": uri})
                else:
                    output.line(f"would make {_shown(there, uri)}/")
            return
        if isinstance(step, MakeLink):
            link, uri = step.file.source, _uri(there, step.file.target)
            if output.as_json:
                output.value({"source": link.uri, "target": uri, "link": link.link_target})
            else:
                output.line(f"would link {_shown(there, uri)} -> {link.link_target}")
            return
        for file in (step.file,) if isinstance(step, MoveInParts) else step.files:
            uri = _uri(there, file.target)
            if output.as_json:
                output.value({"source": file.source.uri, "target": uri, "size_bytes": file.source.size_bytes})
            else:
                shown = f"{_shown(here, file.source.uri)} -> {_shown(there, uri)}"
                output.line(f"would {self._verb} {shown}")

    @contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Draw on a terminal while the block lasts; what it gives is called before each copy."""
        if not self._session.output.draws_progress or self._options.dry_run:
            yield lambda: None
            return
        from entrepot.cli.bars import drawn

        with drawn(self._verb, self._session.output) as bars:
            self._draw = bars.on_event
            yield bars.next_copy


def _uri(place: Place, path: str) -> str:
    """The full address of a path of the place's store."""
    return f"{place.store.path.rstrip('/')}/{path}" if path else place.store.path


def _shown(place: Place, uri: str) -> str:
    """An address below the place, in the form that was typed; what a link led to outside of it, as it is."""
    if not uri.startswith(place.uri):
        return uri
    relative = place.relative(uri)
    return place.child(relative) if relative else place.shown


def _below(directory: str, source: str) -> str:
    """Where a source lands with `--into`: below the directory, by its own name. Raises WrongUse where it has none."""
    name = landing_name(source)
    if not name:
        raise WrongUse("a whole store has no name to land by; give a target in place of --into", source)
    return joined(directory, name)


def _refuse_twins(pairs: Iterable[tuple[str, str]]) -> None:
    """Two sources of one name would overwrite each other."""
    seen: dict[str, str] = {}
    for source, target in pairs:
        if target in seen:
            raise WrongUse(f"it would land where {seen[target]} lands, at {target}; copy them one by one", source)
        seen[target] = source


async def _stream(
    session: Session, sources: Sequence[str], target: str, *, into: str | None, options: CopyOptions
) -> int:
    """`cp - DST` and `cp FILE -`."""
    if len(sources) != 1 or into is not None or sources == [target]:
        raise WrongUse("a stream is copied alone: cp - DST, or cp FILE -")
    if sources[0] != STREAM:
        if options.dry_run:
            raise WrongUse("--dry-run: writing to standard output changes nothing; leave it out")
        place = await session.place(sources[0])
        with _paced(place, options):
            await stream_out(session, place, _flow(options))
        return DONE
    place = await session.place(target)
    if not place.path or (place.store.is_local and await place.store.isdir(place.path)):
        raise WrongUse("a stream needs a name in this place; add one", target)
    if options.dry_run:
        session.output.line(f"would copy standard input -> {target}")
        return DONE
    if standard_input_is_terminal():
        session.output.note(f"cp: reading from the terminal until Ctrl-D, into {target}")
    began = time.monotonic()
    with _paced(place, options):
        size_bytes = await _store_standard_input(place, options)
    report = CopyReport(files=1, bytes=size_bytes, unverified_files=0, seconds=time.monotonic() - began)
    total = combined([report])
    if session.output.as_json:
        session.output.value({**total, "sources": [STREAM], "target": target})
    else:
        session.output.line(summary_line(total, "copy", "copied"))
    return DONE


async def _store_standard_input(place: Place, options: CopyOptions) -> int:
    """Stream it into one file, which is published only when the input has ended; returns its size."""
    size_bytes, flow = 0, _flow(options)
    durability = options.durability
    async with place.store.open(
        place.path, "wb" if options.overwrite else "xb", options=WriteOptions(durability=durability)
    ) as file:
        while chunk := await read_standard_input(_CHUNK_BYTES):
            if flow is not None:
                await flow.take(len(chunk))
            size_bytes += await file.write(chunk)
    return size_bytes


def _paced(place: Place, options: CopyOptions) -> AbstractContextManager[None]:
    per_second = options.requests_per_second
    rate = Rate(per_second) if per_second is not None else None
    return place.store.paced(concurrency=options.concurrency, rate=rate)


def _flow(options: CopyOptions) -> Rate | None:
    return Rate(options.bandwidth_bytes_s) if options.bandwidth_bytes_s is not None else None
