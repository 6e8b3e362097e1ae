"""Artifacts in a store: files, and a manifest that is written last, so that each is there whole or not at all.

    artifacts/PIPELINE/STEP/OUTPUT/RUN/data/…
    artifacts/PIPELINE/STEP/OUTPUT/RUN/artifact.json

A reader goes by the manifest alone: files without one are of a step that did not end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread

from entrepot.contract import BaseArtifactStore
from entrepot.copies import copy
from entrepot.errors import BadResponse, ChecksumMismatch, ConfigurationError, NotFound, StoreError
from entrepot.pipelines.materializers import materializer_named, materializer_of, type_name, type_named

if TYPE_CHECKING:
    from entrepot.transfer.engine import CopyReport

ROOT: Final = "artifacts"
MANIFEST: Final = "artifact.json"
DATA: Final = "data"
VERSION: Final = 1
_MANIFEST_DEPTH: Final = 6  # artifacts, pipeline, step, output, run, manifest
ABORT_S: Final = 10.0
"""How long what a failure or a cancellation leaves to do may take."""


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file. path: below the artifact's data. sha256: in hex."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """What one output of one step has left, as its manifest says it.

    path: in the store. type: `module:Class`. created: ISO 8601, UTC. about: what a list shows of the value.
    """

    path: str
    pipeline: str
    step: str
    output: str
    run: str
    type: str
    materializer: str
    files: tuple[ArtifactFile, ...]
    created: str
    about: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def id(self) -> str:
        """By which it is asked for: `PIPELINE/STEP/OUTPUT/RUN`."""
        return f"{self.pipeline}/{self.step}/{self.output}/{self.run}"

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(one.size_bytes for one in self.files)

    @property
    def digest(self) -> str:
        """Equal for equal content: SHA-256 over type, materializer and files, in hex."""
        told = [self.type, self.materializer, *(f"{one.path}\0{one.size_bytes}\0{one.sha256}" for one in self.files)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        told = asdict(self)
        del told["path"]
        return told

    async def load(self, store: BaseArtifactStore, folder: Path, *, allow_pickle: bool = False) -> Any:
        """The value, verified. folder: an empty one, which a value of files goes on to lie in.

        Raises: ChecksumMismatch where a file is not what was written; NotFound where one is gone; ConfigurationError
        where nothing is known that loads it.
        """
        found = materializer_named(self.materializer, allow_pickle=allow_pickle)
        await fetch(store, self, folder)
        return await to_thread.run_sync(found.load, folder, type_named(self.type))


async def save(
    store: BaseArtifactStore, value: Any, *, pipeline: str, step: str, output: str, run: str, allow_pickle: bool
) -> Artifact:
    """Keep one output of a step. Requests: those of a bulk copy of its files, and 1 for the manifest.

    Raises: ConfigurationError for a value that nothing keeps; errors of the copy. Then no reader sees anything, and
    what was written is removed, as far as the store lets us.
    """
    path = f"{ROOT}/{pipeline}/{step}/{output}/{run}"
    how = materializer_of(value, allow_pickle=allow_pickle)
    temporary = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "entrepot-artifact-"))
    try:
        folder = await to_thread.run_sync(how.save, value, temporary)
        files = await to_thread.run_sync(_files_of, folder)
        artifact = Artifact(
            path, pipeline, step, output, run, type_name(value), how.NAME, files, now(), how.describe(value)
        )
        try:
            if files:
                # Durable before the manifest is: a power cut must not leave a manifest alone.
                _require_whole(await copy(folder, (store, f"{path}/{DATA}"), durability="batch"))
            await store.write_bytes(f"{path}/{MANIFEST}", json.dumps(artifact.to_json(), indent=1).encode())
        except BaseException:
            with anyio.move_on_after(ABORT_S, shield=True), suppress(StoreError):
                await store.rmtree(path)
            raise
        return artifact
    finally:
        await to_thread.run_sync(shutil.rmtree, temporary, True)


def now() -> str:
    """The time, as manifests and records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _files_of(folder: Path) -> tuple[ArtifactFile, ...]:
    found = []
    for directory, below, names in os.walk(folder):
        for name in (*below, *names):
            path = Path(directory, name)
            if path.is_symlink():
                raise ConfigurationError(f"{path} is a symbolic link, which is not kept; put there what it leads to")
        for name in names:
            path = Path(directory, name)
            found.append(ArtifactFile(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path)))
    return tuple(sorted(found, key=lambda one: one.path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def fetch(store: BaseArtifactStore, artifact: Artifact, folder: Path) -> None:
    """Copy an artifact's files into a folder, and hold each against the manifest. Raises: as `Artifact.load`."""
    if artifact.files:
        _require_whole(await copy((store, f"{artifact.path}/{DATA}"), folder))
    await to_thread.run_sync(_require_equal, artifact, folder, store.path)


def _require_whole(report: CopyReport) -> None:
    if report.failed:
        raise report.failed[0].error


def _require_equal(artifact: Artifact, folder: Path, root: str) -> None:
    for one in artifact.files:
        path, uri = folder / one.path, f"{root}/{artifact.path}/{DATA}/{one.path}"
        if not path.is_file():
            raise NotFound("a file of the artifact is gone", operation="load", uri=uri)
        if path.stat().st_size != one.size_bytes or _sha256(path) != one.sha256:
            raise ChecksumMismatch("it is not what the step has written", operation="load", uri=uri)


async def read_artifact(store: BaseArtifactStore, path: str) -> Artifact:
    """The manifest of the artifact at a path. Requests: 1. Raises: NotFound where none is whole there; BadResponse."""
    data = await store.read_bytes(f"{path}/{MANIFEST}")
    uri = f"{store.path}/{path}/{MANIFEST}"
    try:
        told = json.loads(data)
        version = told["version"]
        if not isinstance(version, int) or version > VERSION:
            raise BadResponse(f"it is of a newer entrepot (version {version}); update yours", operation="load", uri=uri)
        files = tuple(ArtifactFile(**one) for one in told.pop("files"))
        artifact = Artifact(path=path, files=files, **told)
    except (ValueError, KeyError, TypeError) as error:
        raise BadResponse("it is no manifest of an artifact", operation="load", uri=uri) from error
    for one in artifact.files:
        if PurePosixPath(one.path).is_absolute() or ".." in PurePosixPath(one.path).parts:
            raise BadResponse("a file of it would lie elsewhere", operation="load", uri=uri)
    return artifact


async def artifact_paths(store: BaseArtifactStore, below: str = "") -> AsyncGenerator[str, None]:
    """The paths of all whole artifacts. below: `PIPELINE/STEP/…`. Requests: a listing."""
    top = f"{ROOT}/{below}".rstrip("/")
    try:
        async with aclosing(store.scan(top)) as found:
            async for one in found:
                path = one.uri.removeprefix(store.path).lstrip("/\\").replace("\\", "/")
                names = path.split("/")
                if len(names) == _MANIFEST_DEPTH and names[-1] == MANIFEST:  # deeper ones are files of a value
                    yield path.removesuffix(f"/{MANIFEST}")
    except NotFound:
        return
