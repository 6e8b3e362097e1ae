"""`python -m benchmarks SCENARIO`: start a server, run us and the peers in interleaved rounds, check, tell, write."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    bad_minute,
    cloud_ops,
    cold_start,
    copies,
    listing,
    local_tree,
    many_files,
    safeguards,
    single_ops,
    zenml_pipeline,
)

SCENARIOS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "small-files": copies.small_files,
    "large-files": copies.large_files,
    "many-files": many_files.many_files,
    "bad-minute": bad_minute.bad_minute,
    "listing": listing.listing,
    "single-ops": single_ops.single_ops,
    "gcp-ops": cloud_ops.gcp_ops,
    "azure-ops": cloud_ops.azure_ops,
    "local-tree": local_tree.local_tree,
    "safeguards": safeguards.safeguards,
    "cold-start": cold_start.cold_start,
    "zenml-pipeline": zenml_pipeline.zenml_pipeline,
}

# Peers that have an environment of their own.
ELSEWHERE = {"zenml-pipeline": "tox -e zenml"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS, "all"])
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds, after one warm-up (default: 5)")
    parser.add_argument("--server", choices=["rclone", "juicefs"], default="rclone", help="the S3 server (rclone)")
    parser.add_argument("--peers", help="only these contenders, by name, separated by commas (default: all)")
    parser.add_argument("--keys", type=int, default=100_000, help="listing: how many keys (100,000)")
    parser.add_argument(
        "--calls", type=int, default=2_000, help="single-ops, gcp-ops, azure-ops: calls a round (2,000)"
    )
    options = parser.parse_args()
    for name in SCENARIOS if options.scenario == "all" else [options.scenario]:
        if options.scenario == "all" and name in ELSEWHERE:
            continue
        with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
            SCENARIOS[name](Path(folder), options)


if __name__ == "__main__":
    main()
