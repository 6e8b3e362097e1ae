"""The program as a user runs it, the trees that it copies, and what it gave back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrepot.testing.raw_s3 import RawS3
from entrepot.testing.servers import Server

PROGRAM = (sys.executable, "-m", "entrepot")
TIMEOUT_S = 120


@dataclass(frozen=True)
class Result:
    """What a command did. stdout: decoded; raw: its bytes."""

    code: int
    stdout: str
    stderr: str
    raw: bytes = b""

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def values(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def value(self) -> dict[str, Any]:
        assert len(self.lines) == 1, self
        return self.values[0]


Run = Callable[..., Result]


def environment(**settings: str) -> dict[str, str]:
    """This process's own, without what would reach a real account."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_"))
    }
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **settings}


def server_settings(server: Server) -> dict[str, str]:
    """The standard variables that lead to a server."""
    return {
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_REGION": server.region,
    }


def program(*arguments: str | Path, stdin: bytes = b"", settings: Mapping[str, str] | None = None) -> Result:
    """Run the program as a user does, to its end."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment(**(settings or {})),
    )
    return Result(
        done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), done.stdout
    )


@contextlib.contextmanager
def started(
    *arguments: str | Path, settings: Mapping[str, str] | None = None, **streams: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """The program, running; a test that fails before its end leaves nothing behind."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    command = [*PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, env=environment(**(settings or {})), **streams) as process:
        try:
            yield process
        finally:
            process.kill()


ODD_NAMES = (
    "a b.txt",
    "100%.txt",
    "1+1=2",
    "#hash",
    "why?",
    "grüße.txt",
    "日本語",
    "é",
    "semi;colon",
    "quote'\"",
    "[x]",
)
"""Names that a careless layer would decode, encode, or take for something else."""


def make_tree(root: Path, *, files: int = 20, large_bytes: int = 0) -> Path:
    """A small tree with odd names, empty files, nested directories, and one large file if asked for."""
    for at in range(files):
        path = root / f"d{at % 3}" / f"sub {at % 2}" / f"f{at:03}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.sha256(str(at).encode()).digest() * (at * 7 % 40))
    for name in ODD_NAMES:
        path = root / "odd names" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / "empty.bin").write_bytes(b"")
    if large_bytes:
        block = os.urandom(1 << 20)
        with (root / "large.bin").open("wb") as file:
            for _ in range(large_bytes >> 20):
                file.write(block)
    return root


def parts_put(raw: RawS3) -> int:
    """How many parts the uploads under way in a bucket have."""
    replies = [raw.request("GET", key, query={"uploadId": upload}) for key, upload in raw.uploads()]
    return sum(reply.body.count(b"<PartNumber>") for reply in replies)
