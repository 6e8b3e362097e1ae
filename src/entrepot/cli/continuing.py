"""Copies that can be gone on with: which job a copy is, how one is resumed, and how what it left is dropped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from entrepot.cli.failures import WrongUse
from entrepot.cli.session import Place, Session
from entrepot.copies import job_between, jobs_of_user
from entrepot.paths import join
from entrepot.stores import make_store
from entrepot.transfer.filters import Filters
from entrepot.transfer.plan import CopyOptions, options_of
from entrepot.transfer.recording import Job
from entrepot.transfer.records import JobSpec, UploadRecord

__all__ = ["connection_of_job", "drop_upload", "job_of", "jobs_of_user", "options_of_job"]


def job_of(
    session: Session, here: Place, there: Place, options: CopyOptions, *, command: str, anew: bool = False
) -> Job | None:
    """Which job a copy on the command line is; None for what cannot be gone on with."""
    configuration = {"command": command, "connection": session.connection}
    return job_between(
        (here.store, here.path), (there.store, there.path), options, configuration=configuration, anew=anew
    )


def options_of_job(spec: JobSpec) -> CopyOptions:
    """The options with which a job was begun. Ages among its filters are counted from now. Raises: WrongUse."""
    filters = Filters.from_canonical(json.dumps(spec.options.get("filters", {})), datetime.now(UTC))
    return options_of(spec.options, filters)


def connection_of_job(spec: JobSpec) -> dict[str, Any]:
    """The keys of configuration that were given when a job was begun; secrets come from the environment again."""
    return dict(spec.configuration.get("connection", {}))


async def drop_upload(session: Session, spec: JobSpec, upload: UploadRecord) -> None:
    """Drop what a service, or a disk, holds of a large file. Raises: StoreError."""
    if not upload.token:
        return  # nothing is known to be there
    root = str(spec.configuration.get("target_store", ""))
    if not root:
        raise WrongUse(
            "a large file is half uploaded, and the journal does not tell in which store it is; "
            "--leave-uploads leaves it there",
            spec.id,
        )
    async with make_store(root, **session.given(root, connection_of_job(spec))) as store:
        target = join(spec.target.removeprefix(root).strip("/"), upload.target)
        await store.drop_parts(target, upload.token)
