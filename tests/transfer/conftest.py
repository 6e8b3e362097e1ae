"""Fixtures of the copies between places."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.flavors.local import LocalArtifactStore
from trees import NAMES, disk_with


@pytest.fixture
def disk(tmp_path: Path) -> LocalArtifactStore:
    """A tree `src` of files by the names in `trees.NAMES`, a large one and an empty directory."""
    return disk_with(tmp_path, NAMES)
