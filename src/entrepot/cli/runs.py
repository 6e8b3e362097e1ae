"""`runs …`: runs of pipelines, read from the store alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import typer
from anyio import to_thread

from entrepot.cli.failures import DONE, WrongUse
from entrepot.cli.options import parsed_count
from entrepot.cli.session import Session
from entrepot.contract import BaseArtifactStore
from entrepot.errors import BadResponse
from entrepot.pipelines.runs import RunRecord, StepRecord, read_run, run_ids
from entrepot.registry.stacks import active_stack

InStore = Annotated[
    str | None, typer.Option("--store", metavar="NAME|URI", help="Look there, in place of the active stack's store.")
]
_LIMIT: Final = 20


async def store_of(session: Session, store: str | None) -> BaseArtifactStore:
    """The store that is looked into."""
    if store is None:
        store = (await to_thread.run_sync(active_stack)).stack.artifact_store
    return await session.store(store)


async def list_runs(
    session: Session,
    store: InStore = None,
    limit: Annotated[str | None, typer.Option("--limit", metavar="N", help="How many at most (20).")] = None,
) -> int:
    """List runs of pipelines, the latest first.

    Cost: a listing, and a request a run. A run whose process was killed is `interrupted`.

    --json: per run id, pipeline, status, started, ended, steps (their number), cached, failed.
    """
    most = parsed_count("--limit", limit) or _LIMIT
    found = await store_of(session, store)
    records = []
    for id_ in (await run_ids(found))[:most]:
        try:
            records.append(await read_run(found, id_))
        except BadResponse as error:
            session.report(error, id_)
    if session.output.as_json:
        for record in records:
            session.output.value(_summary(record))
        return max((failure.exit_code for failure in session.failures), default=DONE)
    cells = [(one.id, one.pipeline, one.shown_status, str(len(one.steps)), one.started, _took(one)) for one in records]
    await session.output.table(("RUN", "PIPELINE", "STATUS", "STEPS", "STARTED", "TOOK"), cells)
    return max((failure.exit_code for failure in session.failures), default=DONE)


async def show(
    session: Session,
    id_: Annotated[str, typer.Argument(metavar="RUN", hidden=True)],
    store: InStore = None,
) -> int:
    """Show a run: its steps, what each made, and what failed. RUN may be `latest`.

    --json: id, pipeline, status, started, ended, updated, steps (name, status, started, ended, outputs, error).
    """
    found = await store_of(session, store)
    if id_ == "latest":
        ids = await run_ids(found)
        if not ids:
            raise WrongUse("no pipeline was run here", found.path)
        id_ = ids[0]
    record = await read_run(found, id_)
    output = session.output
    if output.as_json:
        output.value({**record.to_json(), "status": record.shown_status})
        return DONE
    for title, text in (
        ("run", record.id), ("pipeline", record.pipeline), ("status", record.shown_status), ("started", record.started),
        ("took", _took(record)),
    ):  # fmt: skip
        output.line(f"{title + ':':<10}{text}")
    output.line("")
    rows = [
        (one.name, one.status, _took(one), ", ".join(path.removeprefix("artifacts/") for path in one.outputs.values()))
        for one in record.steps.values()
    ]
    await output.table(("STEP", "STATUS", "TOOK", "ARTIFACTS"), rows)
    for one in record.steps.values():
        if one.error:
            output.line(f"{one.name}: {one.error}")
    return DONE


def _summary(record: RunRecord) -> dict[str, Any]:
    statuses = [one.status for one in record.steps.values()]
    return {
        "id": record.id,
        "pipeline": record.pipeline,
        "status": record.shown_status,
        "started": record.started,
        "ended": record.ended,
        "steps": len(statuses),
        "cached": statuses.count("cached"),
        "failed": statuses.count("failed"),
    }


def _took(one: RunRecord | StepRecord) -> str:
    if not one.started or not one.ended:
        return "-"
    return f"{(datetime.fromisoformat(one.ended) - datetime.fromisoformat(one.started)).total_seconds():.1f} s"
