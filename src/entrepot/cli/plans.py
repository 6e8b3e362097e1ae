"""`plan show` and `plan run`: copies that were planned before, whole or in shards; and how a plan is written."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

import typer
from anyio import to_thread

from entrepot.cli.failures import DONE, WrongUse
from entrepot.cli.render import counted, human_size
from entrepot.cli.session import Session
from entrepot.cli.stats import StatsInterval, parsed_interval
from entrepot.cli.transferring import Transfer
from entrepot.copies import absolute
from entrepot.errors import ConfigurationError
from entrepot.transfer.engine import plan_between
from entrepot.transfer.plan import CopyOptions
from entrepot.transfer.plans import CopyPlan

PlanFile = Annotated[str, typer.Argument(metavar="FILE", hidden=True)]


async def show(
    session: Session,
    *,
    file: PlanFile,
    entries: Annotated[bool, typer.Option("--entries", help="Also list what is copied, made and deleted.")] = False,
) -> int:
    """Show what a plan comes to.

    --json: source, target, and the totals: files, size_bytes, steps, requests (an estimate), directories, links,
    deletions, skipped, excluded. With --entries before it one object an entry: file and size_bytes, directory, or
    delete.
    """
    plan = await _read(file)
    output = session.output
    for entry in plan.entries() if entries else ():
        if entry.file is not None:
            value = {"file": entry.file.target, "size_bytes": entry.file.source.size_bytes}
            line = f"copy {entry.file.target}"
        elif entry.directory is not None:
            value, line = {"directory": entry.directory}, f"make {entry.directory}/"
        else:
            value, line = {"delete": entry.deletion}, f"delete {entry.deletion}"
        if output.as_json:
            output.value(value)
        else:
            output.line(line)
        await output.drain()
    totals = plan.totals
    told = {name: getattr(totals, name) for name in totals.__slots__}
    if output.as_json:
        output.value({"source": plan.source, "target": plan.target, **told})
    else:
        output.line(f"{plan.source} -> {plan.target}")
        output.line(_summary(plan))
    return DONE


async def run(
    session: Session,
    *,
    file: PlanFile,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only this part of N, such as 1/4; shards delete nothing."),
    ] = None,
    stats_interval: StatsInterval = None,
) -> int:
    """Run a plan that `cp --plan-out` or `sync --plan-out` has written.

    A source that is another one by now is a failure of its own. Shards may run in any order, and on any machines that
    reach both places; a plan that deletes does so when it is run whole.

    --json: as `cp`.
    """
    interval_s = parsed_interval(stats_interval)
    plan = await _read(file)
    options = plan.options
    if shard is not None:
        plan = plan.shards(_shard(shard)[1])[_shard(shard)[0] - 1]
        options = replace(options, mirror=None)
    await session.expect_connection([plan.source, plan.target])
    transfer = Transfer(session, options, "copy", "copied", interval_s, plan=plan)
    return await transfer.run([plan.source], plan.target, into=None)


async def write_plan(session: Session, source: str, target: str, file: str, options: CopyOptions) -> int:
    """Plan a copy and write the plan, in place of copying."""
    here, there = await session.place(source), await session.place(target)
    named = (await to_thread.run_sync(absolute, source), await to_thread.run_sync(absolute, target))
    plan = await plan_between(here.store, here.path, there.store, there.path, addresses=named, options=options)
    try:
        await to_thread.run_sync(plan.write, file)
    except OSError as error:
        raise WrongUse(f"--plan-out {file}: {error.strerror}") from error
    output = session.output
    if output.as_json:
        output.value({"plan": file, **{name: getattr(plan.totals, name) for name in plan.totals.__slots__}})
    else:
        output.line(f"planned {_summary(plan)}; run it with `entrepot plan run {file}`")
    return DONE


async def _read(file: str) -> CopyPlan:
    try:
        return await to_thread.run_sync(CopyPlan.read, file)
    except ConfigurationError as error:
        raise WrongUse(error.message, file) from error


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise WrongUse(f"--shard {text}: give a part and how many there are, such as 1/4")
    return int(found[1]), int(found[2])


def _summary(plan: CopyPlan) -> str:
    totals = plan.totals
    parts = [
        f"{counted(totals.files, 'file')}, {human_size(totals.size_bytes)}",
        counted(totals.directories, "empty directory", "empty directories") if totals.directories else "",
        counted(totals.links, "symbolic link") if totals.links else "",
        f"{totals.deletions:,} to delete" if totals.deletions else "",
        f"{totals.skipped:,} skipped" if totals.skipped else "",
        f"{totals.excluded:,} left out by filters" if totals.excluded else "",
        f"about {counted(totals.requests, 'request')}",
    ]
    return "; ".join(part for part in parts if part)
