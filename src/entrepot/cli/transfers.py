"""`cp`, `mv` and `sync`: files and trees, between any two stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, cast

import typer

from entrepot.cli.failures import WrongUse
from entrepot.cli.filtering import Filtering, filters_of
from entrepot.cli.options import DryRun, chosen, parsed_bytes, parsed_count, parsed_number
from entrepot.cli.plans import write_plan
from entrepot.cli.session import STREAM, Session
from entrepot.cli.stats import StatsInterval, parsed_interval
from entrepot.cli.streams import copy_stream
from entrepot.cli.transferring import Transfer
from entrepot.models import KIB, MIB
from entrepot.transfer.compare import Comparison
from entrepot.transfer.plan import CopyOptions, Durability, Links, Mirror
from entrepot.transfer.verify import Verify

TRANSFER_PANEL: Final = "How to copy"
_DURABILITIES: Final = ("full", "batch", "none")

Sources = Annotated[list[str] | None, typer.Argument(metavar="SRC", hidden=True)]
Target = Annotated[str, typer.Argument(metavar="DST", hidden=True)]
Into = Annotated[
    str | None,
    typer.Option("--into", metavar="DIR", help="Put each source below DIR by its name; every argument is a source."),
]
NoOverwrite = Annotated[
    bool,
    typer.Option(
        "--no-overwrite",
        help="Leave targets that exist as they are: --compare skip-existing.",
        rich_help_panel=TRANSFER_PANEL,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Go on with what an interrupted run of the same has left; or drop it, and begin anew.",
        rich_help_panel=TRANSFER_PANEL,
    ),
]
PlanOut = Annotated[
    str | None,
    typer.Option(
        "--plan-out",
        metavar="FILE",
        help="Copy nothing, and write what would be done, for `entrepot plan run`.",
        rich_help_panel=TRANSFER_PANEL,
    ),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="|".join(Comparison),
        help="When a file whose target exists is copied over it (docs/copy.md has the table).",
        rich_help_panel=TRANSFER_PANEL,
    ),
]

Verification = Annotated[
    str | None,
    typer.Option(
        "--verify",
        metavar="|".join(Verify),
        help="Compare sizes; checksums too, where there are some; or read again what none vouches for, or everything.",
        rich_help_panel=TRANSFER_PANEL,
    ),
]
NoVerify = Annotated[
    bool,
    typer.Option("--no-verify", help="Compare sizes, not checksums: --verify size.", rich_help_panel=TRANSFER_PANEL),
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
    ctx: typer.Context,
    sources: Sources = None,
    target: Target,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Copy directories with all below.")] = False,
    into: Into = None,
    dry_run: DryRun = False,
    plan_out: PlanOut = None,
    compare: Compare = None,
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
    verify: Verification = None,
    no_verify: NoVerify = False,
    resume: Resume = True,
    stats_interval: StatsInterval = None,
    effort: Effort,
    filtering: Filtering,
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
    empty_directories_skipped, links, links_skipped, special_skipped, removed, excluded, deleted, not_deleted, resumed,
    resumed_bytes, verified (by what: how many files), unverified, unverified_files, seconds, dry_run, sources, target.
    """
    chosen("--links", links, ("skip", "follow", "preserve"))
    chosen("--durability", durability, _DURABILITIES)
    interval_s = parsed_interval(stats_interval)
    options = effort.over(
        CopyOptions(
            recursive=recursive,
            compare=_comparison(compare, no_overwrite=no_overwrite),
            filters=await filters_of(filtering, ctx),
            dry_run=dry_run,
            verify=_verification(verify, no_verify=no_verify),
            durability=cast("Durability", durability),
            links=cast("Links", links),
        )
    )
    sources, target = _sources_and_target([*(sources or []), target], into)
    await session.expect_connection([*sources, target])
    if STREAM in sources or target == STREAM:
        return await copy_stream(session, sources, target, into=into, options=options)
    if plan_out is not None:
        if len(sources) != 1 or into is not None:
            raise WrongUse("--plan-out: a plan is of one source and one target")
        return await write_plan(session, sources[0], target, plan_out, options)
    return await Transfer(session, options, "copy", "copied", interval_s, anew=not resume).run(
        sources, target, into=into
    )


async def mv(
    session: Session,
    *,
    ctx: typer.Context,
    sources: Sources = None,
    target: Target,
    into: Into = None,
    dry_run: DryRun = False,
    compare: Compare = None,
    no_overwrite: NoOverwrite = False,
    verify: Verification = None,
    no_verify: NoVerify = False,
    resume: Resume = True,
    stats_interval: StatsInterval = None,
    effort: Effort,
    filtering: Filtering,
) -> int:
    """Move files and directories between any two places.

    Each source is removed once its copy is durable and verified; what no checksum vouches for is copied, kept, and
    reported, unless --verify download reads it again, or --verify size says that equal sizes are enough. Within one
    disk a file or a directory is renamed.
    What lands where is as for `cp`: what is in a directory lands below DST. Symbolic links stay where they are; those
    in a directory that is renamed go with it.

    --json: as `cp`; removed counts the sources that are gone.
    """
    interval_s = parsed_interval(stats_interval)
    options = effort.over(
        CopyOptions(
            recursive=True,
            compare=_comparison(compare, no_overwrite=no_overwrite),
            filters=await filters_of(filtering, ctx),
            dry_run=dry_run,
            verify=_verification(verify, no_verify=no_verify),
            durability="batch",
            delete_source=True,
        )
    )
    sources, target = _sources_and_target([*(sources or []), target], into)
    await session.expect_connection([*sources, target])
    if STREAM in (*sources, target):
        raise WrongUse("a stream cannot be moved; use cp")
    return await Transfer(session, options, "move", "moved", interval_s, anew=not resume).run(
        sources, target, into=into
    )


async def sync(
    session: Session,
    *,
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", hidden=True)],
    target: Target,
    delete: Annotated[
        bool,
        typer.Option("--delete", help="Then delete what only DST has.", rich_help_panel=TRANSFER_PANEL),
    ] = False,
    max_delete: Annotated[
        str | None,
        typer.Option(
            "--max-delete",
            metavar="N",
            help="Delete nothing where more than N files would go.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    backup_dir: Annotated[
        str | None,
        typer.Option(
            "--backup-dir",
            metavar="DIR",
            help="Keep what is deleted or written over below DIR, in the store of DST.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    dry_run: DryRun = False,
    plan_out: PlanOut = None,
    compare: Compare = None,
    verify: Verification = None,
    no_verify: NoVerify = False,
    resume: Resume = True,
    stats_interval: StatsInterval = None,
    effort: Effort,
    filtering: Filtering,
) -> int:
    r"""Make the directory DST like the directory SRC: copy what is different, and with --delete remove what is more.

    \b
    Different is what has another size, another checksum where both sides tell one, or another time where both keep
    the file's own; see docs/copy.md for the table, and --compare for other ways.

    Nothing is deleted before everything was copied, nor when anything failed. Files that the filters leave out are as
    if they were not there, on either side. A source without any file empties its target only with --max-delete.

    --json: as `cp`; deleted counts what only the target had, not_deleted what stayed because something failed.
    """
    interval_s = parsed_interval(stats_interval)
    most = parsed_count("--max-delete", max_delete, least=0)
    if not delete and (most is not None or backup_dir is not None):
        raise WrongUse("--max-delete and --backup-dir go with --delete")
    await session.expect_connection([source, target])
    if STREAM in (source, target):
        raise WrongUse("a stream is no directory; use cp")
    options = effort.over(
        CopyOptions(
            recursive=True,
            compare=_comparison(compare, otherwise=Comparison.DIFFERENT),
            filters=await filters_of(filtering, ctx),
            mirror=Mirror(delete, most, await _backup_path(session, target, backup_dir)),
            dry_run=dry_run,
            verify=_verification(verify, no_verify=no_verify),
        )
    )
    if plan_out is not None:
        return await write_plan(session, source, target, plan_out, options)
    return await Transfer(session, options, "copy", "copied", interval_s, anew=not resume).run(
        [source], target, into=None
    )


async def _backup_path(session: Session, target: str, backup_dir: str | None) -> str | None:
    """The path of the backup directory in the target's store. Raises WrongUse for one elsewhere."""
    if backup_dir is None:
        return None
    there, kept = await session.place(target), await session.place(backup_dir)
    root = there.store.path.rstrip("/") + "/"
    if not f"{kept.uri}/".startswith(root) or kept.uri == there.uri:
        raise WrongUse(f"--backup-dir {backup_dir}: give a directory in the store of the target", target)
    return kept.uri[len(root) :]


def _comparison(
    given: str | None, *, no_overwrite: bool = False, otherwise: Comparison = Comparison.ALWAYS
) -> Comparison:
    if given is not None and no_overwrite:
        raise WrongUse("--no-overwrite is a comparison, too; give one of both")
    if no_overwrite:
        return Comparison.SKIP_EXISTING
    name = chosen("--compare", given, list(Comparison))
    return Comparison(name) if name is not None else otherwise


def _verification(given: str | None, *, no_verify: bool) -> Verify:
    if given is not None and no_verify:
        raise WrongUse("--no-verify is --verify size; give one of both")
    name = chosen("--verify", given, list(Verify))
    return Verify.SIZE if no_verify else Verify(name or Verify.CHECKSUM)


def _sources_and_target(places: Sequence[str], into: str | None) -> tuple[list[str], str]:
    if into is not None:
        return [*places], into
    *sources, target = places
    if not sources:
        raise WrongUse("a target is missing; give SRC DST, or --into DIR", target)
    if len(sources) > 1:
        raise WrongUse("several sources need a directory to land in; write --into DIR in place of the last", target)
    return sources, target
