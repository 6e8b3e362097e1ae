"""The time that a ZenML pipeline spends in its artifact store: ours, and ZenML's own, on one S3 server."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.copies import BUCKET, start_server
from benchmarks.measure import US, Sample, interleave, publish

ARRAY_MIB, FILES = 64, 200
STACKS = {US: "entrepot", "zenml s3": "zenml-s3"}


def zenml_pipeline(folder: Path, options: argparse.Namespace) -> None:
    """Steps of every kind with a large array, and in a part of its own a folder of many files.

    Wall time is that of the calls of the store alone, one after another as ZenML makes them; CPU is that of the whole
    run, ZenML's own work included. One operation is one call.
    """
    settings = {"ZENML_CONFIG_PATH": str(folder / "zenml"), "ZENML_ANALYTICS_OPT_IN": "false"}

    def program(name: str, *arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *arguments],
            env={**os.environ, **settings},
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    with start_server(options.server, folder) as server:
        server.create_bucket(BUCKET)
        program("zenml_stacks", text=json.dumps({"path": f"s3://{BUCKET}", **server.s3_options}))
        figures = {
            f"array of {ARRAY_MIB} MiB and small things": _rounds(program, str(ARRAY_MIB), "0", options.rounds),
            f"the same, 1 MiB, and a folder of {FILES} files": _rounds(program, "1", str(FILES), options.rounds),
        }
    publish("zenml-pipeline", figures, server=options.server, array_mib=ARRAY_MIB, files=FILES)


def _rounds(program: Callable[..., str], array_mib: str, files: str, rounds: int) -> dict[str, list[Sample]]:
    expected: list[dict[str, Any]] = []

    def contender(stack: str) -> Callable[[int], Sample]:
        def run(_number: int) -> Sample:
            told = program("zenml_run", stack, array_mib, files)
            result = json.loads([line for line in told.splitlines() if line.startswith("{")][-1])
            expected.append(result["values"])
            assert result["values"] == expected[0], "not the same artifacts"
            return Sample(result["store_s"], result["cpu_s"], result["rss_mib"], sum(result["calls"].values()))

        return run

    return interleave({name: contender(stack) for name, stack in STACKS.items()}, rounds)
