"""A million files planned, mirrored and checked in bounded memory, against listings made up as they are read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

PROGRAM = """
import asyncio, json, resource, sys, time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.models import FileStat
from entrepot.transfer.checking import CheckOptions, check_between
from entrepot.transfer.compare import Comparison
from entrepot.transfer.engine import copy_between, plan_between
from entrepot.transfer.plan import CopyOptions, Mirror

WORK, COUNT = sys.argv[1], int(sys.argv[2])
THEN = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Made(MemoryArtifactStore):
    '''A service whose listing is made up: every file, or every file but each hundredth, which another one has.'''

    def __init__(self, name, skips):
        super().__init__(f"memory://{name}")
        self._skips = skips

    async def scan(self, path="", recursive=True):
        for number in range(COUNT):
            if number % 100 == self._skips:
                continue
            uri = f"{self.path}/data/{number // 1000:06}/{number:09}.bin"
            yield FileStat(uri, number % 5000, THEN, etag=f"{number:032x}", checksums={"md5": f"{number:032x}"})
            if not number % 1000:
                await asyncio.sleep(0)

    async def stat(self, path):
        assert path == "data", "listings that tell checksums leave nothing to look at"
        return FileStat(f"{self.path}/data", 0, is_dir=True)

    def copies_natively_from(self, source):
        return False


async def main():
    one, other = Made("one", 7), Made("other", 8)
    if WORK == "plan":
        plan = await plan_between(one, "data", other, "data", addresses=("a", "b"), options=CopyOptions(recursive=True))
        shards = plan.write(sys.argv[3]).shards(4)
        counts = [sum(1 for _ in shard.entries()) for shard in shards]
        told = {"files": plan.totals.files, "in shards": sum(counts), "spread": max(counts) - min(counts)}
    elif WORK == "mirror":
        report = await copy_between(
            one, "data", other, "data", options=CopyOptions(
                recursive=True, compare=Comparison.DIFFERENT, mirror=Mirror(most=10**9), dry_run=True)
        )
        told = {"files": report.files, "skipped": report.skipped, "deleted": report.deleted}
    else:
        report = await check_between(one, "data", other, "data", options=CheckOptions())
        told = {"equal": report.equal, "at target": report.missing_at_target, "at source": report.missing_at_source}
    return told


began = time.process_time()
told = asyncio.run(main())
told["cpu_s"] = time.process_time() - began
told["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(told))
"""


def run(work: str, count: int, folder: Path) -> dict[str, float]:
    # By way of a small process: a child's peak memory begins with that of who starts it.
    starter = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    arguments = [sys.executable, "-c", PROGRAM, work, str(count), str(folder / f"plan-{count}")]
    done = subprocess.run(
        [sys.executable, "-S", "-c", starter, *arguments], check=True, capture_output=True, text=True, timeout=1000
    )
    told: dict[str, float] = json.loads(done.stdout)
    print(f"{work} of {count:,}: {told}")
    return told


@pytest.mark.holds("million-keys")
@pytest.mark.parametrize("work", ["plan", "mirror", "check"])
def test_a_million_files_take_little_memory(work: str, tmp_path: Path) -> None:
    few, many = run(work, 100_000, tmp_path), run(work, 1_000_000, tmp_path)
    for told, count in ((few, 100_000), (many, 1_000_000)):
        apart = count // 100
        if work == "plan":
            assert told["files"] == told["in shards"] == count - apart
            assert told["spread"] < count / 100
        elif work == "mirror":
            assert (told["files"], told["skipped"], told["deleted"]) == (apart, count - 2 * apart, apart)
        else:
            assert (told["equal"], told["at target"], told["at source"]) == (count - 2 * apart, apart, apart)
    assert many["rss_mib"] <= 300
    print(f"{work}: ten times the files took {many['cpu_s'] / few['cpu_s']:.1f} times the CPU")
