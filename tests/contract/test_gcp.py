"""The store contract on Google Cloud Storage, by our own requests, on its emulator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.testing.contract import ArtifactStoreContract
from entrepot.testing.gcs import GcsServer
from entrepot.testing.hooks import GcsHooks
from entrepot.testing.resuming import ResumingRules
from entrepot.testing.sharing import SharingRules
from google_signin import SignIn


class _OnFakeGcs(GcsHooks):
    CLIENT: ClassVar[str] = "wire"
    checks_presigned = False  # the emulator does not look at signatures
    key_file: Path

    @pytest.fixture
    async def store(
        self, gcs_server: GcsServer, gcs_uri: str, gcs_options: dict[str, Any], google_sign_in: SignIn, tmp_path: Path
    ) -> AsyncIterator[GcpArtifactStore]:
        self.look_into(gcs_server, gcs_uri)
        account = google_sign_in.account()
        self.secret_texts = [account["private_key"], account["private_key"].splitlines()[3], "canary-token"]
        self.key_file = tmp_path / "key.json"
        self.key_file.write_text(json.dumps(account))
        async with GcpArtifactStore(path=gcs_uri, client=self.CLIENT, max_attempts=2, **gcs_options) as store:
            store.client.limits = replace(store.limits, list_page=20)
            yield store

    def give_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(self.key_file))


class TestGcpOnFakeGcs(_OnFakeGcs, ArtifactStoreContract):
    many_files = 65  # some pages of 20: a thousand writes take the emulator a quarter of a minute
    foreign_names = ("a//b", "..", "./z", "//")


class TestResumingOnFakeGcsBySdk(_OnFakeGcs, ResumingRules):
    CLIENT = "sdk"


class TestVersionsOnFakeGcs(_OnFakeGcs, SharingRules):
    """A bucket that keeps versions."""

    keeps_versions = True

    @pytest.fixture
    def gcs_uri(self, gcs_server: GcsServer) -> str:
        return f"gs://{gcs_server.create_bucket(versions=True)}/versions"
