"""Server programs on this machine's loopback: started on a free port, waited for, and stopped by their own handle.

Nothing is left running: not when pytest is interrupted (`atexit`), nor when this process is killed (a watcher holds a
pipe from it and stops the server when the pipe closes).
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

START_TIMEOUT_S: Final = 60.0
"""How long a server may take to answer; the slowest needs about three seconds on a quiet machine."""

_STOP_TIMEOUT_S: Final = 5.0
_START_ATTEMPTS: Final = 3
# Settings of this user's shell must not reach a server under test.
_FOREIGN_SETTINGS: Final = (
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "STORAGE_EMULATOR_",
    "RCLONE_",
    "MINIO_",
    "JFS_",
    "JUICEFS_",
    "MOTO_",
)
# Stops the process of $1 when the pipe on its standard input closes: at the latest with the death of its parent.
_WATCHER: Final = 'read -r _; kill -TERM "$1" 2>/dev/null; sleep 5; kill -KILL "$1" 2>/dev/null'


@dataclass(kw_only=True)
class RunningServer:
    """One running server. endpoint_url: without a trailing slash. log_path: what it printed.

    It is a context manager that stops it.
    """

    name: str
    endpoint_url: str
    log_path: Path
    _process: subprocess.Popen[bytes] = field(repr=False)
    _watcher: subprocess.Popen[bytes] = field(repr=False)

    @property
    def process_id(self) -> int:
        """The server's process id."""
        return self._process.pid

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


S = TypeVar("S", bound=RunningServer)


def find_program(program: str, package: str) -> str:
    """The program beside the running Python, else on the path."""
    found = shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)
    if found is None:
        raise RuntimeError(f"{program} is not installed: pip install {package}")
    return found


def server_environment(settings: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what servers and SDKs heed, and the settings given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_SETTINGS)}
    return {**kept, **(settings or {})}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(
    kind: Callable[..., S],
    name: str,
    command: Callable[[int], Sequence[str]],
    directory: Path,
    settings: dict[str, str] | None = None,
    **own: object,
) -> S:
    """Start a server on a free port, and wait until it answers HTTP.

    kind: of `RunningServer`; own: what it has beside. command: the program and its arguments, for a port. settings:
    of its environment. Raises: RuntimeError with the end of its log where it does not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _START_ATTEMPTS + 1):
        port = _free_port()
        log_path = directory / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                env=server_environment(settings), start_new_session=True,
            )  # fmt: skip
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "sh", str(process.pid)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        endpoint = f"http://127.0.0.1:{port}"
        server = kind(name=name, endpoint_url=endpoint, log_path=log_path, _process=process, _watcher=watcher, **own)
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
