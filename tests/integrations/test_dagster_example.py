"""The Dagster example, as it is told to be run: its assets are kept in a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cli.programs import environment, server_settings
from entrepot.testing.servers import Server

EXAMPLE = Path(__file__).parents[2] / "examples" / "dagster_assets.py"


def test_assets_are_kept_in_a_bucket(rclone_server: Server, rclone_uri: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), rclone_uri],
        cwd=tmp_path,
        env=environment(DAGSTER_DISABLE_TELEMETRY="1", **server_settings(rclone_server)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mean 20.333333333333332" in done.stdout
    _, _, place = rclone_uri.partition("://")
    bucket, _, prefix = place.partition("/")
    raw = rclone_server.bucket(bucket)
    assert json.loads(raw.get(f"{prefix}/readings.json")) == [20.5, 21.0, 19.5]
