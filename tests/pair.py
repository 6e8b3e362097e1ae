"""A program: copy a tree to a place, from there to another, and back to a disk; told as one JSON line.

    python tests/pair.py TREE SOURCE TARGET BACK

SOURCE and TARGET are addresses; the environment says how to reach them. A source that is a plain path is TREE itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import entrepot


def peak_rss_mib() -> float:
    """This process's own peak: `ru_maxrss` of a child begins with what its parent had when it was forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def carry(tree: str, source: str, target: str, back: str) -> dict[str, object]:
    """The report of the copy from SOURCE to TARGET, and this process's peak memory in MiB."""
    reports = []
    if "://" in source:
        reports.append(await entrepot.copy(tree, source))
    else:
        source = tree
    between = await entrepot.copy(source, target)
    reports.append(between)
    if "://" in target:
        reports.append(await entrepot.copy(target, back))
    failed = [item.to_json() for report in reports for item in report.failed]
    skipped = [report.empty_directories_skipped for report in reports]
    return {**between.to_json(), "failed": failed, "rss_mib": peak_rss_mib(), "skipped_on_the_way": skipped}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(carry(*sys.argv[1:]))))
