"""The store contract, kept by the local flavor."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.flavors.local import LocalArtifactStore
from entrepot.testing import ArtifactStoreContract
from entrepot.testing.hooks import FolderHooks


class TestLocal(FolderHooks, ArtifactStoreContract):
    cancellation_points = None

    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalArtifactStore:
        self.folder = tmp_path / "root"
        return LocalArtifactStore(self.folder)
