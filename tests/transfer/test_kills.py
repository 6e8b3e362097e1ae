"""Killed without a word, at named moments and at random ones: readers see old or new, and a second run finishes.

The moments are those of requests: a proxy holds one back, before the server has it or before the program knows of the
reply, and there the program is killed. After each kill nothing partial is visible; after the second run the trees are
equal, no upload and no temporary is left, and hardly more was sent again than was in flight.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from benchmarks.trees import tree_hashes

from cli.programs import program, server_settings, started
from cli.test_program import wait_until
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.testing.faults import DropReply, Fault, FaultProxy, Rule, Stall
from entrepot.testing.gcs import GcsServer
from entrepot.testing.servers import Server

MIB = 1 << 20
SMALL, LARGE_BYTES, CONCURRENCY = 40, 41 * MIB, 3
IN_FLIGHT_BYTES = CONCURRENCY * 8 * MIB
"""What may be sent twice: the parts under way, and one for what was written down too late."""

_BEFORE, _AFTER = Stall(at_byte=0, direction="request"), Stall(at_byte=0)
# A reply without a body cannot be held back: it is lost, and the program killed before it asks again.
MOMENTS: dict[str, tuple[str, Fault, int]] = {
    "before an upload is begun": ("create_upload", _BEFORE, 1),
    "after an upload is begun": ("create_upload", _AFTER, 1),
    "before the first part": ("put_part", _BEFORE, 1),
    "after the third part": ("put_part", DropReply(), 3),
    "before it is completed": ("complete", _BEFORE, 1),
    "after it is completed": ("complete", _AFTER, 1),
    "before a small file": ("put", _BEFORE, 9),
    "after a small file": ("put", DropReply(), 9),
}


@dataclass(frozen=True, slots=True)
class Place:
    """One end. proxy: all requests to it go through."""

    address: str
    settings: dict[str, str]
    proxy: FaultProxy
    uploads: Callable[[], list[Any]]


@pytest.fixture
def s3(rclone_server: Server) -> Iterator[Place]:
    bucket = rclone_server.create_bucket()
    with FaultProxy(rclone_server.endpoint_url) as proxy:
        settings = {**server_settings(rclone_server), "AWS_ENDPOINT_URL": proxy.url}
        raw = rclone_server.bucket(bucket)
        yield Place(f"s3://{bucket}/t", settings, proxy, raw.uploads)


@pytest.fixture
def gcs(gcs_server: GcsServer) -> Iterator[Place]:
    bucket = gcs_server.create_bucket()
    with FaultProxy(gcs_server.endpoint_url, service="gcs") as proxy:
        settings = {"STORAGE_EMULATOR_HOST": proxy.url}
        yield Place(f"gs://{bucket}/t", settings, proxy, list)


def make(top: Path) -> Path:
    generator = random.Random(5)
    for number in range(SMALL):
        path = top / f"d{number % 4}" / f"{number:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generator.randbytes(3000 + number))
    (top / "large").write_bytes(generator.randbytes(LARGE_BYTES))
    return top


def _kill(process: subprocess.Popen[bytes]) -> bool:
    """Whether it was still running."""
    running = process.poll() is None
    process.kill()
    process.wait(30)
    return running


def require_nothing_partial(found: dict[str, str], expected: dict[str, str]) -> None:
    wrong = {name for name, value in found.items() if expected.get(name) != value}
    assert not wrong, f"{wrong}: visible, and neither old nor new"


def hashes_at(place: Place, folder: Path) -> dict[str, str]:
    """What a reader sees at a service, by way of a copy of our own without the proxy's faults."""
    place.proxy.clear()
    listed = program("ls", place.address, settings=place.settings)
    if listed.code:
        return {}
    done = program("cp", "-r", place.address, folder, "--no-resume", settings=place.settings)
    assert done.code == 0, done
    return tree_hashes(folder)


def sent(proxy: FaultProxy) -> int:
    return sum(one.request_bytes for one in proxy.requests if one.operation in ("put", "put_part"))


_BY_DAY = ("after the third part",)


@pytest.mark.holds("kill")
@pytest.mark.parametrize(
    "moment", [pytest.param(one, marks=[] if one in _BY_DAY else [pytest.mark.nightly]) for one in MOMENTS]
)
def test_an_upload_killed_at_a_named_moment_is_finished_by_a_second_run(s3: Place, tmp_path: Path, moment: str) -> None:
    operation, fault, nth = MOMENTS[moment]
    tree = make(tmp_path / "tree")
    expected = tree_hashes(tree)
    rule = Rule(operation, fault, nth=nth)
    s3.proxy.add(rule)
    words = ("cp", "-r", tree, s3.address, "--concurrency", str(CONCURRENCY))
    with started(*words, settings=s3.settings) as process:
        wait_until(lambda: s3.proxy.fired(rule) > 0, process)
        if isinstance(fault, Stall):
            time.sleep(0.3)  # what else is under way goes on meanwhile
        assert _kill(process)
    once = sent(s3.proxy)
    require_nothing_partial(hashes_at(s3, tmp_path / "seen"), expected)
    s3.proxy.clear()
    done = program(*words, settings=s3.settings)
    assert (done.code, done.stderr) == (0, "")
    total = once + sent(s3.proxy)
    assert hashes_at(s3, tmp_path / "back") == expected
    assert s3.uploads() == []
    # Of an object's parts this service's etags tell nothing, so that a completion nobody heard of is not known as one.
    slack = LARGE_BYTES if moment == "after it is completed" else IN_FLIGHT_BYTES
    assert total <= sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) + slack + SMALL * 4096


@pytest.fixture
def minio(juicefs_server: Server) -> Iterator[Place]:
    """A service whose etags tell of which parts an object is made."""
    bucket = juicefs_server.create_bucket()
    with FaultProxy(juicefs_server.endpoint_url) as proxy:
        settings = {**server_settings(juicefs_server), "AWS_ENDPOINT_URL": proxy.url}
        yield Place(f"s3://{bucket}/t", settings, proxy, juicefs_server.bucket(bucket).uploads)


def test_a_completion_that_nobody_heard_of_is_not_sent_again(minio: Place, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(random.Random(5).randbytes(20 * MIB))
    rule = Rule("complete", Stall(at_byte=0))
    minio.proxy.add(rule)
    words = ("cp", source, f"{minio.address}/large", "--json")
    with started(*words, settings=minio.settings) as process:
        wait_until(lambda: minio.proxy.fired(rule) > 0, process)
        time.sleep(1.0)  # the service completes it meanwhile
        assert _kill(process)
    once = sent(minio.proxy)
    minio.proxy.clear()
    done = program(*words, settings=minio.settings)
    assert (done.code, done.stderr) == (0, "")
    assert done.value["files"] == 1
    assert once >= 20 * MIB
    assert sent(minio.proxy) == 0
    assert hashes_at(minio, tmp_path / "back") == {"large": tree_hashes(tmp_path)["large"]}
    assert minio.uploads() == []


@pytest.fixture
def download(s3: Place, tmp_path: Path) -> tuple[str | Path, ...]:
    """The command of a download that was killed when a large file was there in part."""
    tree, target = make(tmp_path / "tree"), tmp_path / "target"
    assert program("cp", "-r", tree, s3.address, settings=s3.settings).code == 0
    rule = Rule("get", Stall(at_byte=0), key="*large", nth=4)
    s3.proxy.add(rule)
    words = ("cp", "-r", s3.address, target, "--concurrency", str(CONCURRENCY), "--json")
    with started(*words, settings=s3.settings) as process:
        wait_until(lambda: s3.proxy.fired(rule) > 0, process)
        time.sleep(1.0)  # what was put meanwhile is written down
        assert _kill(process)
    s3.proxy.clear()
    assert [name for name in hashes_below(target) if TEMPORARY_PREFIX in name]
    return words


def test_a_download_that_was_killed_is_finished_by_a_second_run(
    s3: Place, download: tuple[str | Path, ...], tmp_path: Path
) -> None:
    """The target's directory was not there when the first run began, and what it kept there is known all the same."""
    done = program(*download, settings=s3.settings)
    assert (done.code, done.stderr) == (0, "")
    assert done.value["resumed"] > 0
    assert hashes_below(tmp_path / "target") == tree_hashes(tmp_path / "tree")


def test_a_download_that_was_killed_is_forgotten_with_what_it_left(
    s3: Place, download: tuple[str | Path, ...], tmp_path: Path
) -> None:
    target = str(download[3])
    (job,) = (one for one in program("jobs", "list", "--json").values if one["target"] == target)
    assert program("jobs", "forget", job["id"], settings=s3.settings).code == 0
    assert not [name for name in hashes_below(tmp_path / "target") if TEMPORARY_PREFIX in name]


def random_kills() -> list[Any]:
    every = [(route, seed) for route in ("up", "down", "across") for seed in range(67)]
    by_day = {("up", 0)}
    return [
        pytest.param(*one, id=f"{one[0]}-{one[1]}", marks=[] if one in by_day else [pytest.mark.nightly])
        for one in every
    ]


@pytest.mark.holds("kill")
@pytest.mark.parametrize(("route", "seed"), random_kills())
def test_killed_at_a_random_moment_a_second_run_finishes(
    s3: Place, gcs: Place, tmp_path: Path, route: str, seed: int
) -> None:
    tree = make(tmp_path / "tree")
    expected = tree_hashes(tree)
    settings = {**s3.settings, **gcs.settings}
    target = tmp_path / "target"
    if route != "up":
        assert program("cp", "-r", tree, s3.address, settings=settings).code == 0
    source, goal = {
        "up": (tree, s3.address),
        "down": (s3.address, target),
        "across": (s3.address, gcs.address),
    }[route]
    words = ("cp", "-r", source, goal, "--concurrency", str(CONCURRENCY))
    with started(*words, settings=settings) as process:
        time.sleep(random.Random(f"{route}{seed}").uniform(0.2, 1.6))
        _kill(process)
    if route == "down":
        seen = {name: value for name, value in hashes_below(target).items() if TEMPORARY_PREFIX not in name}
    else:
        seen = hashes_at(s3 if route == "up" else gcs, tmp_path / "seen")
    require_nothing_partial(seen, expected)
    done = program(*words, settings=settings)
    assert (done.code, done.stderr) == (0, "")
    if route == "down":
        assert hashes_below(target) == expected
    else:
        assert hashes_at(s3 if route == "up" else gcs, tmp_path / "back") == expected
    assert s3.uploads() == []


def hashes_below(top: Path) -> dict[str, str]:
    return tree_hashes(top) if os.path.isdir(top) else {}
