"""What the safeguards of a copy cost: with a journal and verification, and without either."""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.copies import BUCKET, start_server
from benchmarks.measure import US, Sample, interleave, publish
from benchmarks.trees import make_small_files

FILES = 5_000


def safeguards(folder: Path, options: argparse.Namespace) -> None:
    """5,000 × 4 KiB up, in one process: as it is, and in turn without the journal, and without both."""
    import entrepot

    tree, journals = folder / "tree", folder / "journals"
    make_small_files(tree, files=FILES)
    with start_server(options.server, folder) as server:
        server.create_bucket(BUCKET)

        def contender(*, journal: bool, verify: str) -> Callable[[int], Sample]:
            def run(number: int) -> Sample:
                shutil.rmtree(journals, ignore_errors=True)
                target = f"s3://{BUCKET}/{number}-{journal}-{verify}"
                config = dict(server.s3_options)
                usage, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
                report = asyncio.run(
                    entrepot.copy(
                        tree, target, dst_config=config, verify=verify, journal=journals if journal else False
                    )
                )
                wall_s = time.perf_counter() - began
                after = resource.getrusage(resource.RUSAGE_SELF)
                assert report.ok
                assert report.files == FILES
                cpu_s = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
                return Sample(wall_s, cpu_s, after.ru_maxrss / 1024, FILES, report.bytes)

            return run

        contenders = {
            US: contender(journal=True, verify="checksum"),
            "no journal": contender(journal=False, verify="checksum"),
            "neither": contender(journal=False, verify="size"),
        }
        figures = {"up": interleave(contenders, options.rounds)}
    publish("safeguards", figures, server=options.server, files=FILES)
