"""Whole directories, moved in bulk: for materializers of ZenML's users."""

import os
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.utils import io_utils

from entrepot.blocking import SyncArtifactStore
from entrepot.copies import copy_sync
from entrepot.errors import NotADirectory
from entrepot.integrations.zenml.filesystems import store_of


def copy_dir(source_dir: str, destination_dir: str, overwrite: bool = False) -> None:
    """As ZenML's `io_utils.copy_dir`, with many files in flight, each whole or not there, verified.

    Between a store of ours, registered with ZenML, and a local folder or another such store. Anywhere else it is
    ZenML's own function, which takes one file after another.
    Requests: a listing, and one read or write a small file; ZenML's takes three a file.
    Raises: the error of the first file that could not be copied, FileExistsError without `overwrite` being one.
    """
    ends = [_end(directory) for directory in (source_dir, destination_dir)]
    if None in ends or not any(isinstance(end, tuple) for end in ends):
        io_utils.copy_dir(source_dir, destination_dir, overwrite)
        return
    source, target = ends
    report = copy_sync(source, target, compare="always" if overwrite else "error")  # type: ignore[arg-type]  # no None
    if report.failed:
        raise report.failed[0].error


def _end(directory: str) -> tuple[SyncArtifactStore, str] | Path | None:
    """Where a directory is, as our copy takes it; None where neither a store of ours nor the machine has it."""
    store = store_of(directory)
    if store is None:
        return None if "://" in directory else Path(directory)
    below = directory if "://" in directory else os.path.abspath(directory)
    return store.artifacts, below[len(store.path) :].strip("/").replace(os.sep, "/")


class DirectoryMaterializer(BaseMaterializer):
    """A `pathlib.Path` of a folder as an artifact of as many files, instead of ZenML's one archive.

        @step(output_materializers=DirectoryMaterializer)
        def train() -> Path: ...

    The next step gets a folder of its own, which ZenML removes when that step has ended.
    """

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Path,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA
    # Chosen where it is wanted: importing it changes nothing for other steps.
    SKIP_REGISTRATION: ClassVar[bool] = True

    def load(self, data_type: type[Any]) -> Path:
        """The artifact in a new temporary folder."""
        with self.get_temporary_directory(delete_at_exit=False) as folder:
            copy_dir(self.uri, folder)
        return Path(folder)

    def save(self, data: Path) -> None:
        """Store what is in the folder. Raises: NotADirectory for a file."""
        if not data.is_dir():
            raise NotADirectory("a folder is stored; ZenML's own materializer takes single files", uri=str(data))
        copy_dir(str(data), self.uri)
