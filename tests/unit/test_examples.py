"""The examples run as a user runs them: on a folder, and on a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.programs import environment, server_settings
from entrepot.testing.servers import Server

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, address: str, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), address],
        capture_output=True, text=True, timeout=120, check=False, env=environment(**settings),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", ["async_pipeline.py", "blocking_steps.py"])
def test_it_says_the_same_on_a_folder_and_on_a_server(name: str, rclone_server: Server, tmp_path: Path) -> None:
    bucket = rclone_server.create_bucket()
    here = run(name, str(tmp_path / "runs"))
    there = run(name, f"s3://{bucket}/runs", **server_settings(rclone_server))
    assert here.splitlines()[-1] == there.splitlines()[-1]
    assert len(rclone_server.bucket(bucket).keys("runs/")) == sum(path.is_file() for path in tmp_path.rglob("*"))


def test_a_pipeline_keeps_the_same_in_a_folder_and_on_a_server(rclone_server: Server, tmp_path: Path) -> None:
    bucket = rclone_server.create_bucket()
    here = run("pipeline.py", str(tmp_path / "runs"))
    assert here == "slope 3.0000, off by 0.1015 at most\n"
    assert run("pipeline.py", f"s3://{bucket}/runs", **server_settings(rclone_server)) == here
    # Beside the artifacts, the record of the run and the entries of the cache.
    assert len(rclone_server.bucket(bucket).keys("runs/")) == sum(path.is_file() for path in tmp_path.rglob("*"))
