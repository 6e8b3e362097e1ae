"""A copy that is planned now and run later, elsewhere, or in shards: a value of a few numbers over a file of lines.

    {"entrepot_plan": 1, "source": "s3://bucket/data", "target": "/data", "tree": true, "options": {…}}
    {"file": "a/b.csv", "size": 1200, "etag": "…", "modified": "2026-01-31T12:00:00+00:00"}
    {"directory": "empty"} {"link": "l", "to": "a/b.csv"} {"delete": "old.csv"}
    {"end": true, "files": 1, …}

One entry a line, as it was decided when the trees were listed: memory does not grow with it. Paths are below source and
target; a file whose source has another path names it (`from`). What is written holds no secret: no configuration, and
addresses without what a service would read as credentials.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final
from weakref import finalize

from entrepot.errors import ConfigurationError
from entrepot.models import FileStat
from entrepot.paths import join
from entrepot.transfer.events import Event, StepPlanned
from entrepot.transfer.plan import (
    CopyNatively,
    CopyOptions,
    MakeDirectories,
    MakeLink,
    MoveInParts,
    PlannedFile,
    RemoveFiles,
    Step,
    options_of,
    told_options,
)

VERSION: Final = 1
_LINE_MOST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """What a plan comes to. requests: an estimate of those that running it takes, retries not counted."""

    files: int = 0
    size_bytes: int = 0
    steps: int = 0
    requests: int = 0
    directories: int = 0
    links: int = 0
    deletions: int = 0
    skipped: int = 0
    excluded: int = 0


@dataclass(frozen=True, slots=True)
class Planned:
    """One entry of a plan. Exactly one of them is given; paths are in the target store."""

    file: PlannedFile | None = None
    directory: str | None = None
    deletion: str | None = None


@dataclass(frozen=True)
class CopyPlan:
    """What a copy would do. Made by `plan_copy`, run by `copy(plan)`.

    source, target: addresses. path: of the file that holds the entries. shard: which part of how many this is.
    A plan that was never written to a file of its own goes with its last reference.
    """

    source: str
    target: str
    tree: bool
    options: CopyOptions
    totals: PlanTotals
    path: Path
    source_root: str = ""
    target_root: str = ""
    shard: tuple[int, int] | None = None
    _kept: object = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._kept is not None:
            raise ConfigurationError("this plan is in a temporary file; give it one of its own first (plan.write)")
        return _read_shard, (self.path, self.shard)

    def write(self, path: str | os.PathLike[str]) -> CopyPlan:
        """The same plan in a file of its own, which may be given to other processes. Blocks."""
        with self.path.open("rb") as ours, _new_file(Path(path)) as theirs:
            while piece := ours.read(1 << 20):
                theirs.write(piece)
        return replace(self, path=Path(path).absolute(), _kept=None)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CopyPlan:
        """A plan from its file. Blocks. Raises: ConfigurationError for what is no plan, or not all of one."""
        place = Path(path).absolute()
        try:
            with place.open("rb") as file:
                head = _object(file.readline(_LINE_MOST), place)
                end = _object(_last_line(file), place)
        except OSError as error:
            raise ConfigurationError(f"cannot read the plan {place}: {error.strerror}") from error
        if head.get("entrepot_plan") != VERSION:
            raise ConfigurationError(f"{place} is no plan of this version of entrepot")
        if not end.get("end"):
            raise ConfigurationError(f"{place} ends before the plan does; make it anew")
        names = {one.name for one in fields(PlanTotals)}
        totals = PlanTotals(**{name: value for name, value in end.items() if name in names})
        return cls(
            head["source"], head["target"], head["tree"], options_of(head["options"]), totals, place,
            head["source_root"], head["target_root"],
        )  # fmt: skip

    def entries(self, target_root: str | None = None) -> Iterator[Planned]:
        """What is to be done, in the order of the listing; of a shard only its own part, and no deletion. Blocks.

        target_root: the path of the target in its store, where that is another than when the plan was made: a local
        directory that is there by now is a store of its own.
        """
        root = self.target_root if target_root is None else target_root
        chosen = _Choice(self.shard)
        with self.path.open("rb") as file:
            file.readline(_LINE_MOST)
            for line in file:
                value = _object(line, self.path)
                if "end" in value:
                    return
                if not chosen.takes(value):
                    continue
                if "file" in value or "link" in value:
                    yield Planned(file=self._file_of(value, root))
                elif "directory" in value:
                    yield Planned(directory=join(root, value["directory"]))
                else:
                    yield Planned(deletion=join(root, value["delete"]))

    def shards(self, count: int) -> list[CopyPlan]:
        """The plan in parts of about as many bytes and files each, to be run in any order and place.

        What only the target has is not deleted by a shard: run the whole plan once more for that, or `sync`.
        Raises: ConfigurationError for a plan that is in no file of its own.
        """
        if count < 1:
            raise ConfigurationError("a plan has at least one shard")
        if self._kept is not None:
            raise ConfigurationError("give the plan a file of its own first (plan.write)")
        return [replace(self, shard=(number, count)) for number in range(count)]

    def _file_of(self, value: dict[str, Any], root: str) -> PlannedFile:
        relative = value["file"] if "file" in value else value["link"]
        separator = "/" if "://" in self.source_root else os.sep
        if "from" in value:
            uri = value["from"]
        elif self.tree:
            uri = self.source_root.removesuffix(separator) + separator + relative.replace("/", separator)
        else:
            uri = self.source_root
        modified = value.get("modified")
        stat = FileStat(
            uri,
            value.get("size", 0),
            datetime.fromisoformat(modified) if modified else None,
            etag=value.get("etag"),
            version=value.get("version"),
            checksums=value.get("checksums", {}),
            mode=value.get("mode"),
            link_target=value.get("to"),
        )
        return PlannedFile(stat, join(root, relative), value.get("replaces", False))


class _Choice:
    """Which entries a shard takes: each goes to the one that has the least to do so far, the same in every process."""

    def __init__(self, shard: tuple[int, int] | None) -> None:
        self._shard = shard
        self._loads = [0] * (shard[1] if shard is not None else 1)

    def takes(self, value: dict[str, Any]) -> bool:
        if self._shard is None:
            return True
        if "delete" in value:
            return False
        lightest = self._loads.index(min(self._loads))
        self._loads[lightest] += value.get("size", 0) + _FILE_COSTS_BYTES
        return lightest == self._shard[0]


_FILE_COSTS_BYTES: Final = 256 * 1024
"""About what one file costs beside its bytes, in bytes."""


class PlanWriter:
    """Writes a plan from the events of a dry run."""

    def __init__(
        self, source: str, target: str, source_root: str, target_root: str, *, tree: bool, options: CopyOptions
    ) -> None:
        self._head = (source, target, tree, replace(options, dry_run=False))
        self._roots = (source_root, target_root)
        self._kept = _Temporary()
        self._file_written = self._kept.open()
        self._native = self._parts = 0
        self._separator = "/" if "://" in source_root else os.sep
        self._prefix = source_root.removesuffix(self._separator) + self._separator
        self._below = f"{target_root}/" if target_root else ""
        self._totals = dict.fromkeys((one.name for one in fields(PlanTotals)), 0)
        told = {
            "entrepot_plan": VERSION,
            "source": source,
            "target": target,
            "tree": tree,
            "source_root": source_root,
            "target_root": target_root,
            "options": told_options(options),
        }
        self._write(told)

    def take(self, event: Event) -> None:
        """Take note of a step."""
        if isinstance(event, StepPlanned):
            self._totals["steps"] += 1
            self._step(event.step)

    def finish(self, *, skipped: int, excluded: int, local: tuple[bool, bool]) -> CopyPlan:
        """The plan. local: whether source and target are on this machine."""
        self._totals.update(skipped=skipped, excluded=excluded)
        totals, remote = self._totals, [not one for one in local]
        if any(remote):
            # A read and a write each, of what has such an end; a native copy is one, and parts are begun and ended.
            totals["requests"] = (totals["files"] - self._native) * sum(remote) + self._native
            totals["requests"] += self._parts * sum(remote) + totals["directories"] * remote[1]
            totals["requests"] += -(-totals["deletions"] // 1_000) * remote[1]
        self._write({"end": True, **totals})
        self._file_written.close()
        source, target, tree, options = self._head
        return CopyPlan(
            source, target, tree, options, PlanTotals(**totals), self._kept.path, *self._roots, _kept=self._kept
        )

    def _step(self, step: Step) -> None:
        totals = self._totals
        if isinstance(step, MakeDirectories):
            for path in step.paths:
                totals["directories"] += 1
                self._write({"directory": path.removeprefix(self._below)})
        elif isinstance(step, RemoveFiles):
            for path in step.paths:
                totals["deletions"] += 1
                self._write({"delete": path.removeprefix(self._below)})
        elif isinstance(step, MakeLink):
            totals["links"] += 1
            self._write({"link": step.file.target.removeprefix(self._below), "to": step.file.source.link_target})
        else:
            self._parts += step.parts if isinstance(step, MoveInParts) else 0
            self._native += len(step.files) if isinstance(step, CopyNatively) else 0
            for file in (step.file,) if isinstance(step, MoveInParts) else step.files:
                totals["files"] += 1
                totals["size_bytes"] += file.source.size_bytes
                self._write(self._file(file))

    def _file(self, file: PlannedFile) -> dict[str, Any]:
        stat = file.source
        tree = self._head[2]
        told: dict[str, Any] = {
            "file": file.target.removeprefix(self._below) if tree else "", "size": stat.size_bytes
        }  # fmt: skip
        relative = stat.uri.removeprefix(self._prefix)
        if self._separator != "/":
            relative = relative.replace(self._separator, "/")
        if tree and relative != told["file"]:
            told["from"] = stat.uri
        more = {
            "etag": stat.etag,
            "version": stat.version,
            "modified": stat.modified.isoformat() if stat.modified is not None else None,
            "mode": stat.mode,
            "checksums": dict(stat.checksums) or None,
            "replaces": file.replaces or None,
        }
        told.update((name, value) for name, value in more.items() if value is not None)
        return told

    def _write(self, value: dict[str, Any]) -> None:
        self._file_written.write(json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")


class _Temporary:
    """A file that goes with the last reference to it."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="entrepot-plan-")
        os.close(descriptor)
        self.path = Path(name)
        finalize(self, _remove, name)

    def open(self) -> IO[bytes]:
        return self.path.open("wb")


def _remove(name: str) -> None:
    with suppress(OSError):
        os.unlink(name)


def _read_shard(path: Path, shard: tuple[int, int] | None) -> CopyPlan:
    return replace(CopyPlan.read(path), shard=shard)


def _object(line: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"{path} is no plan, or is damaged") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} is no plan, or is damaged")
    return value


def _last_line(file: IO[bytes]) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LINE_MOST))
    return file.read().rstrip(b"\n").rpartition(b"\n")[2]


def _new_file(path: Path) -> IO[bytes]:
    """For the owner's eyes: names of files may be nobody else's business."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
