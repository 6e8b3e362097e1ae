"""Runs in a store: one record each, written anew as the run goes on, so that it can be read at any time.

    runs/RUN.json

A record that says `running` and was not renewed for two minutes is of a process that was killed: `interrupted`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from entrepot.contract import BaseArtifactStore
from entrepot.errors import BadResponse, NotFound

ROOT: Final = "runs"
RENEWED_EVERY_S: Final = 30.0
_GONE_AFTER_S: Final = 120.0


@dataclass(slots=True)
class StepRecord:
    """One step of a run. status: waiting, running, completed, cached, failed, cancelled. outputs: name to path."""

    name: str
    status: str = "waiting"
    started: str = ""
    ended: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(slots=True)
class RunRecord:
    """One run of a pipeline. status: running, completed, failed, cancelled; `interrupted` is what a reader says."""

    id: str
    pipeline: str
    status: str = "running"
    started: str = ""
    ended: str = ""
    updated: str = ""
    steps: dict[str, StepRecord] = field(default_factory=dict)
    version: int = 1

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values; its steps a list."""
        told = asdict(self)
        told["steps"] = list(told["steps"].values())
        return told

    @property
    def shown_status(self) -> str:
        """As a reader says it."""
        if self.status != "running" or not self.updated:
            return self.status
        age_s = (datetime.now(UTC) - datetime.fromisoformat(self.updated)).total_seconds()
        return "interrupted" if age_s > _GONE_AFTER_S else "running"


def new_run_id() -> str:
    """Sorted as the runs were begun: the time in UTC to the microsecond, and four characters by chance."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"


async def write_run(store: BaseArtifactStore, record: RunRecord) -> None:
    """Requests: 1."""
    await store.write_bytes(f"{ROOT}/{record.id}.json", json.dumps(record.to_json(), indent=1).encode())


async def read_run(store: BaseArtifactStore, id_: str) -> RunRecord:
    """Requests: 1. Raises: NotFound; BadResponse for what is no record."""
    path = f"{ROOT}/{id_}.json"
    try:
        told = json.loads(await store.read_bytes(path))
        steps = {one["name"]: StepRecord(**one) for one in told.pop("steps")}
        return RunRecord(**told, steps=steps)
    except NotFound as error:
        raise NotFound(f"no run {id_} is here", operation="show", uri=error.uri) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadResponse("it is no record of a run", operation="show", uri=f"{store.path}/{path}") from error


async def run_ids(store: BaseArtifactStore) -> list[str]:
    """The latest first. Requests: a listing."""
    try:
        names = await store.listdir(ROOT)
    except NotFound:
        return []
    return sorted((name.removesuffix(".json") for name in names if name.endswith(".json")), reverse=True)
