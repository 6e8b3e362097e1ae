"""The main job at full size, as a user runs it: whole programs, real servers, equal hashes, bounded memory."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.measure import run_process
from benchmarks.trees import check_equal, make_large_files, make_small_files, tree_hashes

from cli.programs import PROGRAM, make_tree, program, server_settings, started
from entrepot.testing.servers import Server

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

PEAK_RSS_MIB = 220
KEYS = 100_000


@pytest.fixture(params=["rclone", "juicefs"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small`: 5,000 × 4 KiB in 50 folders, and odd names. `large`: 8 × 64 MiB. Both with an empty directory."""
    root = tmp_path_factory.mktemp("trees")
    make_small_files(root / "small")
    make_tree(root / "small" / "odd")
    make_large_files(root / "large")
    for name in ("small", "large"):
        (root / name / "empty" / "below").mkdir(parents=True)
    return root


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_tree_there_and_back_is_equal_within_the_memory(
    server: Server, trees: Path, tmp_path: Path, name: str
) -> None:
    settings = {**server_settings(server), "AWS_EC2_METADATA_DISABLED": "true"}
    uri = f"s3://{server.create_bucket()}/there"
    expected = tree_hashes(trees / name)
    for source, target in ((trees / name, uri), (uri, tmp_path / "back")):
        command = [*PROGRAM, "cp", "-r", "--json", str(source), str(target)]
        sample = run_process(command, env=settings, operations=len(expected), size_bytes=0)
        assert sample.rss_mib < PEAK_RSS_MIB, command
    check_equal(expected, tree_hashes(tmp_path / "back"), who="entrepot")
    kept = (tmp_path / "back" / "empty" / "below").is_dir()
    assert kept == (server.name != "rclone")
    if not kept:
        told = program("cp", "-r", "--json", trees / name, f"{uri}-again", settings=settings)
        assert json.loads(told.stdout)["empty_directories_skipped"] == 1


@pytest.mark.parametrize("direction", ["up", "down"])
def test_killed_at_random_moments_nothing_partial_is_visible(server: Server, tmp_path: Path, direction: str) -> None:
    settings = server_settings(server)
    bucket = server.create_bucket()
    tree = make_tree(tmp_path / "tree", files=300, large_bytes=64 << 20)
    expected = tree_hashes(tree)
    assert program("cp", "-r", tree, f"s3://{bucket}/whole", settings=settings).code == 0
    rng = random.Random(7)
    for attempt in range(8):
        local, remote = tmp_path / f"seen-{attempt}", f"s3://{bucket}/killed-{attempt}"
        words = (tree, remote) if direction == "up" else (f"s3://{bucket}/whole", local)
        process = started("cp", "-r", *words, settings=settings)
        with process as running, contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(rng.uniform(0.2, 3.0))  # leaving the context kills it
        if direction == "up":
            program("cp", "-r", remote, local, settings=settings)
        seen = {name: digest for name, digest in tree_hashes(local).items() if ".~entrepot-" not in name}
        assert seen.items() <= expected.items()


SCAN = """
import asyncio, json, resource, sys
import entrepot

async def main():
    async with entrepot.open_store(sys.argv[1]) as store:
        count, first = 0, 0
        async for entry in store.scan():
            count += 1
            if count == 5_000:
                first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([count, first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))

asyncio.run(main())
"""


def test_a_hundred_thousand_keys_are_scanned_in_flat_memory(rclone_server: Server) -> None:
    bucket = rclone_server.create_bucket()
    folder = rclone_server.log_path.parent / "buckets" / bucket
    for start in range(0, KEYS, 1_000):
        below = folder / f"folder-{start // 1_000:03}"
        below.mkdir(parents=True)
        for number in range(start, start + 1_000):
            (below / f"key-{number:06}").touch()
    scanned = subprocess.run(
        [sys.executable, "-c", SCAN, f"s3://{bucket}"],
        env=server_settings(rclone_server), capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    count, first_kib, last_kib = json.loads(scanned.stdout)
    assert count == KEYS
    assert last_kib - first_kib < 10 * 1024  # a list of the other 95,000 would take five times that
