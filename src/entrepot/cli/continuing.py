"""Copies that can be gone on with: which job a copy is, how one is resumed, and how what it left is dropped."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any, Final

from entrepot.cli.failures import WrongUse
from entrepot.cli.session import Place, Session
from entrepot.contract import BaseArtifactStore
from entrepot.paths import scheme_of
from entrepot.registry import state_dir
from entrepot.stores import make_store
from entrepot.transfer.filters import Filters
from entrepot.transfer.jobs import Jobs
from entrepot.transfer.plan import CopyOptions, options_of, told_options
from entrepot.transfer.recording import Job
from entrepot.transfer.records import JobSpec, UploadRecord

_GONE_WITH_THE_PROCESS: Final = frozenset({"memory"})


def jobs_of_user() -> Jobs:
    """This user's jobs."""
    return Jobs(os.path.join(state_dir(), "jobs"))


def job_of(
    session: Session, here: Place, there: Place, options: CopyOptions, *, command: str, anew: bool = False
) -> Job | None:
    """Which job a copy is: the same for the same places, services and options that change its result.

    None for what cannot be gone on with: nothing of a dry run is, and memory ends with the process.
    """
    if options.dry_run or {scheme_of(place.store.path) for place in (here, there)} & _GONE_WITH_THE_PROCESS:
        return None
    told = {
        **told_options(options),
        "filters": json.loads(options.filters.canonical()),
        "source_endpoint": _endpoint(here.store),
        "target_endpoint": _endpoint(there.store),
    }
    configuration = {
        "command": command,
        "connection": session.connection,
        "target_store": there.store.path,
    }
    secret = {*_secret_keys(here.store), *_secret_keys(there.store)}
    spec = JobSpec.of(
        here.uri,
        there.uri,
        is_secret=lambda key: key in secret,
        options={name: value for name, value in told.items() if value is not None},
        configuration=configuration,
    )
    return Job(jobs_of_user(), spec, anew)


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
        raise WrongUse("the journal does not tell in which store it is", spec.id)
    async with make_store(root, **session.given(root, connection_of_job(spec))) as store:
        await store.drop_parts(upload.target, upload.token)


def _endpoint(store: BaseArtifactStore) -> str | None:
    value = store.describe().get("endpoint_url")
    return str(value) if value else None


def _secret_keys(store: BaseArtifactStore) -> set[str]:
    return {key for key in store.configuration_keys() if store.describe().get(key) == "***"}
