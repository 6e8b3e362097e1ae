"""`jobs …`: the bulk copies that have a journal; how far they are, and how to be rid of one."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Final

import typer

from entrepot.cli.continuing import connection_of_job, drop_upload, jobs_of_user, options_of_job
from entrepot.cli.failures import DONE, WrongUse
from entrepot.cli.render import human_size, shown_time
from entrepot.cli.session import Session
from entrepot.cli.stats import StatsInterval, parsed_interval
from entrepot.cli.transferring import Transfer
from entrepot.cli.transfers import Effort
from entrepot.errors import StoreError
from entrepot.transfer.jobs import Forgotten, JobDetails
from entrepot.transfer.records import JobSummary, UploadRecord

_FAILURES_SHOWN: Final = 100


def _ids(incomplete: str) -> list[str]:
    """The ids that a shell offers."""
    return jobs_of_user().ids(incomplete)


Id = Annotated[str, typer.Argument(metavar="ID", hidden=True, autocompletion=_ids)]
Ids = Annotated[list[str], typer.Argument(metavar="ID", hidden=True, autocompletion=_ids)]


async def list_jobs(session: Session) -> int:
    """List the jobs, the one that did something last comes first.

    A job runs, was interrupted and can go on, is done (and is listed for 7 days more), or is unreadable.

    --json: per job id, state, source, target, created, updated, process (who runs it, or ran it last), copied_files,
    copied_bytes (in all runs), found_files, found_bytes (what the last scan had found), failed, uploads_open (large
    files under way); of one that is unreadable id, state, problem.
    """
    found = await jobs_of_user().list()
    if session.output.as_json:
        for job in found:
            session.output.value(_value(job))
        return DONE
    rows = [(job.id, job.state, *_columns(job)) for job in found]
    await session.output.table(("ID", "STATE", "UPDATED", "FILES", "SIZE", "FAILED", "SOURCE", "TARGET"), rows)
    return DONE


async def show(session: Session, id_: Id) -> int:
    """Show a job: what it copies, how far it is, the large files under way, and what failed.

    ID is what `entrepot jobs list` shows, or a beginning of it that no other has. Of what failed, the first hundred
    files are shown.

    --json: as for list, with options, configuration, uploads (a list of target, state, size_bytes, part_size_bytes)
    and failures (a list of source, target, error, reason).
    """
    job = await jobs_of_user().show(id_, failures=_FAILURES_SHOWN)
    output = session.output
    if output.as_json:
        output.value(_details_value(job))
        return DONE
    lines = _lines(job)
    width = max(len(title) for title, _ in lines) + 2
    for title, text in lines:
        output.line(f"{title + ':':<{width}}{text}")
    if job.failures:
        output.line("")
        for failure in job.failures:
            output.line(f"{failure.source}: {failure.reason}")
    if job.summary.failures > len(job.failures):
        output.line(f"and {job.summary.failures - len(job.failures):,} more")
    return DONE


async def resume(
    session: Session,
    *,
    id_: Id,
    stats_interval: StatsInterval = None,
    effort: Effort,
) -> int:
    """Go on with a job that was interrupted: as its command line would, with the same options.

    What was copied, and is still at its target, is not copied again; a large file goes on at its next missing part.
    Secrets are not written down: they come from the environment, as the first time, or from --config.

    --json: as `cp`; resumed counts the files that earlier runs had copied.
    """
    interval_s = parsed_interval(stats_interval)
    job = await jobs_of_user().show(id_, failures=0)
    if job.summary.state == "done":
        raise WrongUse("it is done; the command itself copies anew", job.summary.id)
    session.remember(connection_of_job(job.spec))
    options = effort.over(options_of_job(job.spec))
    verb, done = ("move", "moved") if options.delete_source else ("copy", "copied")
    return await Transfer(session, options, verb, done, interval_s).run([job.spec.source], job.spec.target, into=None)


async def forget(
    session: Session,
    ids: Ids,
    leave_uploads: Annotated[
        bool,
        typer.Option("--leave-uploads", help="Leave large files that are half uploaded where they are."),
    ] = False,
) -> int:
    """Forget jobs: the next copy of the same begins anew. What was copied stays.

    What a service holds of large files that are half uploaded is invisible, and is paid for until it is removed: it
    is dropped first. A job whose service cannot be reached is kept, unless --leave-uploads says that they may stay.

    --json: per job id, source, target, uploads_left (their number).
    """
    jobs = jobs_of_user()
    for id_ in ids:
        try:
            async with jobs.forget(id_) as job:
                left = job.uploads
                if job.spec is not None and not leave_uploads:
                    for upload in job.uploads:
                        await drop_upload(session, job.spec, upload)
                    left = ()
        except (StoreError, WrongUse) as error:
            session.report(error, id_)
            continue
        _tell_forgotten(session, job, left)
    return max((failure.exit_code for failure in session.failures), default=DONE)


def _tell_forgotten(session: Session, job: Forgotten, left: tuple[UploadRecord, ...]) -> None:
    output, summary = session.output, job.summary
    if output.as_json:
        named = {"source": summary.source, "target": summary.target} if job.spec is not None else {}
        output.value({"id": summary.id, **named, "uploads_left": len(left)})
    elif job.spec is not None:
        output.line(f"forgot {summary.id} ({summary.source} -> {summary.target})")
    else:
        output.line(f"forgot {summary.id}")
    if job.spec is None:
        output.note(f"{session.command} {summary.id}: what it had under way is not known, for {summary.problem}")
    for upload in left:
        output.note(f"{session.command} {summary.id}: what is there of {upload.target} stays there")


# ---- what is shown --------------------------------------------------------------------------------------


def _columns(job: JobSummary) -> tuple[str, ...]:
    if job.state == "unreadable":
        return ("-",) * 4 + (job.problem, "-")
    return (
        shown_time(job.updated),
        _part(f"{job.copied_files:,}", f"{job.found_files:,}" if job.found_files else ""),
        _part(human_size(job.copied_bytes), human_size(job.found_bytes) if job.found_files else ""),
        f"{job.failures:,}",
        job.source,
        job.target,
    )


def _part(amount: str, whole: str) -> str:
    return f"{amount} of {whole}" if whole else amount


def _lines(job: JobDetails) -> list[tuple[str, str]]:
    summary = job.summary
    updated, files, size, failed, source, target = _columns(summary)
    process = f" by process {summary.process}" if summary.state == "running" else ""
    lines = [
        ("job", summary.id),
        ("state", f"{summary.state}{process}"),
        ("source", source),
        ("target", target),
        ("begun", shown_time(summary.created)),
        ("updated", updated),
        ("copied", f"{files} files, {size}"),
        ("failed", failed),
    ]
    lines += [(f"option {name}", str(value)) for name, value in sorted(job.spec.options.items())]
    lines += [(f"configuration {name}", str(value)) for name, value in sorted(job.spec.configuration.items())]
    return lines + [("under way", f"{one.target} ({human_size(one.size_bytes)}, {one.state})") for one in job.uploads]


def _value(job: JobSummary) -> dict[str, Any]:
    """The JSON fields of a job; those that are not known are left out."""
    if job.state == "unreadable":
        return {"id": job.id, "state": job.state, "problem": job.problem}
    value = {field.name: getattr(job, field.name) for field in fields(job)}
    del value["problem"]
    value["failed"], value["uploads_open"] = value.pop("failures"), value.pop("uploads")
    return {name: one for name, one in value.items() if one is not None}


def _details_value(job: JobDetails) -> dict[str, Any]:
    uploads = [
        {
            "target": one.target,
            "state": one.state,
            "size_bytes": one.size_bytes,
            "part_size_bytes": one.part_size_bytes,
        }
        for one in job.uploads
    ]
    failures = [
        {"source": one.source, "target": one.target, "error": one.error, "reason": one.reason} for one in job.failures
    ]
    return {
        **_value(job.summary),
        "options": dict(job.spec.options),
        "configuration": dict(job.spec.configuration),
        "uploads": uploads,
        "failures": failures,
    }
