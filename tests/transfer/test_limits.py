"""How fast a copy may be: bytes a second, requests a second, requests in flight; and few file descriptors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from clocks import Together
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.models import KIB, MIB, FileData, FileStat
from entrepot.rates import Rate
from entrepot.testing.servers import Server
from entrepot.transfer.engine import CopyOptions, copy_between
from entrepot.transfer.events import Event
from plain_store import PlainStore
from trees import hashes

pytestmark = pytest.mark.anyio

TREE = CopyOptions(recursive=True)


class Watched(PlainStore):
    """A source that notes when how many of its bytes are read."""

    def __init__(self, path: str, time: Together) -> None:
        super().__init__(path)
        self.time = time
        self.reads: list[tuple[float, int]] = []

    async def read_part(self, file: FileStat, start: int, into: memoryview) -> None:
        self.reads.append((self.time.now_s, len(into)))
        await super().read_part(file, start, into)

    async def read_batch(self, files: Sequence[FileStat]) -> list[FileData | object]:  # type: ignore[override]
        self.reads.append((self.time.now_s, sum(file.size_bytes for file in files)))
        return await super().read_batch(files)  # type: ignore[return-value]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Together:
    time = Together()
    monkeypatch.setattr("entrepot.transfer.engine.Rate", partial(Rate, clock=time.clock, sleep=time.sleep))
    return time


async def test_large_and_small_files_share_the_bandwidth_evenly(time: Together) -> None:
    source, sink = Watched("plain://source/root", time), PlainStore("plain://sink/root")
    for number in range(3):
        source.put(f"src/large-{number}", bytes(20 * MIB))
    for number in range(200):
        source.put(f"src/small-{number:03}", bytes(100 * KIB))
    rate = 4 * MIB
    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, bandwidth_bytes_s=rate))
    assert (report.ok, report.files) == (True, 203)
    total = 60 * MIB + 200 * 100 * KIB
    assert sum(size for _, size in source.reads) == total
    began, ended = source.reads[0][0], source.reads[-1][0]
    assert total / rate == pytest.approx(ended - 1000, rel=0.02)
    largest = max(size for _, size in source.reads)
    assert largest <= 1 * MIB
    # In no second more than a second's worth, a burst, and the one read that began it.
    reads = source.reads
    for first in range(len(reads)):
        start, taken = reads[first][0], 0
        for moment, size in reads[first + 1 :]:
            if moment > start + 1:
                break
            taken += size
        assert taken <= rate * 1.1 + largest
    # Small ones do not wait for the large ones to end, nor the other way round.
    smalls = [moment for moment, size in reads if size <= 200 * KIB]
    assert smalls[0] - began < (ended - began) / 4
    assert {path.removeprefix("dst"): data for path, data in sink.contents().items()} == {
        path.removeprefix("src"): data for path, data in source.contents().items()
    }


async def test_a_disk_does_not_copy_by_itself_where_the_bandwidth_is_bounded(tmp_path: Path, time: Together) -> None:
    (tmp_path / "src").mkdir()
    for number in range(8):
        (tmp_path / "src" / f"{number}").write_bytes(os.urandom(300 * KIB))
    (tmp_path / "src" / "large").write_bytes(os.urandom(20 * MIB))
    store = LocalArtifactStore(tmp_path)
    report = await copy_between(store, "src", store, "dst", options=replace(TREE, bandwidth_bytes_s=10 * MIB))
    assert report.files == 9
    assert hashes(tmp_path / "dst") == hashes(tmp_path / "src")
    assert time.now_s - 1000 == pytest.approx((20 * MIB + 8 * 300 * KIB) / (10 * MIB), abs=0.11)


async def test_both_ends_are_given_one_rate_and_the_concurrency_for_the_length_of_the_copy() -> None:
    seen: list[tuple[int | None, Rate | None]] = []
    inside = 0

    class Paced(PlainStore):
        def paced(self, *, concurrency: int | None = None, rate: Rate | None = None) -> AbstractContextManager[None]:
            @contextmanager
            def during() -> Generator[None]:
                nonlocal inside
                seen.append((concurrency, rate))
                inside += 1
                yield
                inside -= 1

            return during()

    source, sink = Paced("plain://source/root"), Paced("plain://sink/root")
    source.put("src/a", b"a")

    async def fault(operation: str, path: str) -> None:
        assert inside == 2

    source.fault = sink.fault = fault
    report = await copy_between(
        source, "src", sink, "dst", options=replace(TREE, concurrency=7, requests_per_second=1000)
    )
    assert (report.ok, inside) == (True, 0)
    assert seen[0] == seen[1]
    assert seen[0][0] == 7
    assert seen[0][1] is not None
    assert seen[0][1].per_second == 1000


async def test_a_store_of_a_service_keeps_a_fixed_number_while_it_is_copied_to(
    rclone_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    for number in range(60):
        (tmp_path / "src" / f"{number}").write_bytes(bytes(number))
    limits = []
    async with S3ArtifactStore(f"s3://{rclone_server.create_bucket()}", **rclone_server.s3_options) as store:
        pace = store.client.pace  # type: ignore[attr-defined]

        def look(_event: Event) -> None:
            limits.append(pace.limit)

        report = await copy_between(
            LocalArtifactStore(tmp_path), "src", store, "dst", options=replace(TREE, concurrency=3), on_event=look
        )
        assert report.ok
        assert set(limits) == {3}
        assert pace.limit == 16


# ---- few descriptors ------------------------------------------------------------------------------------


@pytest.mark.holds("descriptors")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds no descriptors")
@pytest.mark.parametrize("target", ["local", "s3"])
@pytest.mark.parametrize("concurrency", [pytest.param(None, marks=pytest.mark.nightly), 64])
def test_a_thousand_files_are_copied_with_64_file_descriptors(
    target: str, concurrency: int | None, rclone_server: Server, tmp_path: Path
) -> None:
    tree = tmp_path / "src"
    for number in range(1_000):
        file = tree / f"{number % 20:02}" / f"{number:04}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{number}".encode() * 20)
    (tree / "large").write_bytes(os.urandom(33 * MIB))
    there = str(tmp_path / "there") if target == "local" else f"s3://{rclone_server.create_bucket()}/there"
    back = tmp_path / "back"
    program = Path(__file__).parents[1] / "few_descriptors.py"
    given = json.dumps({"config": rclone_server.s3_options, "concurrency": concurrency})
    done = subprocess.run(
        [sys.executable, str(program), "64", str(tree), there, str(back), given],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"up": [1_001, []], "down": [1_001, []]}
    assert hashes(back) == hashes(tree)
