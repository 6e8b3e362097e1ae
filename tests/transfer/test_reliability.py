"""What must hold of copies where servers, networks and other writers are in the way; each fault is counted.

The rows of `tests/reliability.py` that no other test has already; `docs/reliability.md` tells which test has which.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from benchmarks.trees import tree_hashes

from entrepot import copy, mirror
from entrepot.errors import IsADirectory, NotADirectory, PartialFailure, StoreError
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.http import pools
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Timeouts
from entrepot.models import MIB
from entrepot.testing.faults import (
    Close,
    Delay,
    DropReply,
    EmptyOk,
    ErrorBody,
    Fault,
    FaultProxy,
    Reset,
    Rule,
    Stall,
    Status,
)
from entrepot.testing.raw_s3 import RawS3
from entrepot.testing.servers import Server
from entrepot.testing.strict import StrictS3, strict_s3
from entrepot.transfer import budget as budgets

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between attempts."""
    monkeypatch.setattr(RetryPolicy, "delay_s", lambda self, failures, error: 0.01)


@pytest.fixture
def raw(strict_server: StrictS3) -> RawS3:
    return strict_server.bucket(strict_server.create_bucket())


@pytest.fixture
def proxy(strict_server: StrictS3) -> Iterator[FaultProxy]:
    with FaultProxy(strict_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def store(strict_server: StrictS3, proxy: FaultProxy, raw: RawS3) -> S3ArtifactStore:
    return S3ArtifactStore(f"s3://{raw.bucket}", **strict_server.at(proxy.url).s3_options)


def tree_of(folder: Path, files: dict[str, bytes]) -> LocalArtifactStore:
    for name, data in files.items():
        path = folder / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return LocalArtifactStore(folder)


# ---- the network ----------------------------------------------------------------------------------------


@pytest.mark.holds("stalled-part")
async def test_while_one_part_stalls_the_others_are_sent_and_then_it_is_sent_again(
    strict_server: StrictS3, raw: RawS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurry: None
) -> None:
    monkeypatch.setattr(pools, "Timeouts", partial(Timeouts, idle_s=2.0, send_s=2.0))
    data = os.urandom(4 * 8 * MIB)
    done_before_the_retry: list[int] = []

    async def look(_seconds: float) -> None:
        parts = [one for one in proxy.requests if one.operation == "put_part"]
        done_before_the_retry.append(sum(one.status == 200 for one in parts))

    stalled = Rule("put_part", Stall(direction="request"), nth=2)
    again = Rule("put_part", Delay(1), nth=5)  # the retry, as there are four; `look` takes no time
    with FaultProxy(strict_server.endpoint_url, stalled, again, sleep=look) as proxy:
        async with S3ArtifactStore(f"s3://{raw.bucket}", **strict_server.at(proxy.url).s3_options) as store:
            report = await copy((tree_of(tmp_path, {"large": data}), "src"), (store, "dst"))
        assert (proxy.fired(stalled), proxy.fired(again), proxy.count("put_part")) == (1, 1, 5)
    assert report.ok
    assert done_before_the_retry == [3]
    assert raw.get("dst/large") == data


# ---- the server -----------------------------------------------------------------------------------------

NO_LISTING: list[Fault] = [Status(500), ErrorBody(), EmptyOk(), Close(-1)]


@pytest.mark.holds("failed-listing")
@pytest.mark.parametrize("fault", NO_LISTING, ids=repr)
@pytest.mark.parametrize("lists", ["source", "target"])
async def test_a_listing_that_fails_deletes_nothing(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, tmp_path: Path, hurry: None, lists: str, fault: Fault
) -> None:
    kept = {"a": b"1", "extra": b"x", "more/extra": b"y"}
    disk = tree_of(tmp_path, {"a": b"1"} if lists == "target" else kept)
    for name, data in ({"a": b"1"} if lists == "source" else kept).items():
        raw.put(f"src/{name}", data)
    rule = Rule("list", fault, times=None)
    proxy.add(rule)
    source, target = (store, disk) if lists == "source" else (disk, store)
    async with store:
        with pytest.raises(StoreError):
            await mirror((source, "src"), (target, "src"), delete=True)
    assert proxy.fired(rule) >= 1
    if lists == "target":
        assert raw.keys() == [f"src/{name}" for name in sorted(kept)]
    else:
        assert tree_hashes(tmp_path / "src").keys() == set(kept)


@pytest.mark.holds("delete-errors")
async def test_what_could_not_be_deleted_is_told_key_by_key(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3
) -> None:
    for name in ("one", "two", "three"):
        raw.put(f"tree/{name}", b"1")
    refused = "".join(
        f"<Error><Key>tree/{name}</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        for name in ("two", "three")
    )
    told = f"<DeleteResult><Deleted><Key>tree/one</Key></Deleted>{refused}</DeleteResult>"
    rule = Rule("delete_many", Status(200, body=told.encode()), times=None)
    proxy.add(rule)
    async with store:
        with pytest.raises(PartialFailure) as caught:
            await store.rmtree("tree")
    assert {error.uri for error in caught.value.failures} == {f"{store.path}/tree/two", f"{store.path}/tree/three"}
    assert proxy.fired(rule) >= 1


@contextmanager
def given_by_a_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], Path]]:
    """Credentials of AWS's `credential_process`; what is returned has a line for each time they were asked for."""
    runs, answer = folder / "runs", folder / "answer.json"
    script = folder / "give.py"
    script.write_text(
        f"import pathlib\nwith open({str(runs)!r}, 'a') as file: file.write('run\\n')\n"
        f"print(pathlib.Path({str(answer)!r}).read_text())\n"
    )
    (folder / "config").write_text(f"[profile p]\ncredential_process = {sys.executable} {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))

    def give(session: dict[str, str]) -> Path:
        told = {"AccessKeyId": session["key"], "SecretAccessKey": session["secret"], "SessionToken": session["token"]}
        answer.write_text(json.dumps({"Version": 1, "Expiration": "2099-01-01T00:00:00Z", **told}))
        return runs

    yield give


@pytest.mark.holds("expired-credentials")
async def test_credentials_that_expire_at_the_fifth_part_are_asked_for_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurry: None
) -> None:
    data = os.urandom(6 * 8 * MIB)
    with strict_s3() as server, given_by_a_program(tmp_path, monkeypatch) as give:
        bucket = server.create_bucket()
        session = server.issue_session()
        runs = give(session)

        async def expire(_seconds: float) -> None:
            give(server.issue_session())
            server.expire_session(session["key"])

        fifth = Rule("put_part", Delay(1), nth=5)
        with FaultProxy(server.endpoint_url, fifth, sleep=expire) as proxy:
            options = {"endpoint_url": proxy.url, "region": server.region, "profile": "p"}
            async with S3ArtifactStore(f"s3://{bucket}", **options) as store:
                report = await copy((tree_of(tmp_path, {"large": data}), "src"), (store, "dst"))
            assert proxy.fired(fifth) == 1
        assert report.ok
        assert server.refusals["ExpiredToken"] >= 1
        assert runs.read_text() == "run\n" * 2
        assert server.bucket(bucket).get("dst/large") == data
        assert server.bucket(bucket).uploads() == []


# ---- what was there -------------------------------------------------------------------------------------

BROKEN: list[tuple[str, Fault]] = [
    *itertools.product(
        ["put", "create_upload", "put_part"], [Reset(0, "request"), Status(500), ErrorBody(), EmptyOk()]
    ),
    ("put_part", DropReply()),
]


@pytest.mark.holds("failed-overwrite")
@pytest.mark.parametrize(("operation", "fault"), BROKEN, ids=repr)
async def test_an_overwrite_that_fails_keeps_what_was_there(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, tmp_path: Path, hurry: None, operation: str, fault: Fault
) -> None:
    name = "small" if operation == "put" else "large"
    raw.put(f"dst/{name}", b"old")
    disk = tree_of(tmp_path, {name: os.urandom(1000 if name == "small" else 17 * MIB)})
    rule = Rule(operation, fault, times=None)
    proxy.add(rule)
    async with store:
        with suppress(StoreError):  # which every further item would meet, too
            report = await copy((disk, "src"), (store, "dst"))
            # A 200 without an etag is what some servers give to a small file: it is doubted, not failed.
            doubted = [file.uri for file in report.unverified]
            assert [item.source for item in report.failed] + doubted == [f"{tmp_path}/src/{name}"]
    assert proxy.fired(rule) >= 1
    assert raw.get(f"dst/{name}") == b"old"
    assert raw.uploads() == []


@pytest.mark.holds("file-and-directory")
async def test_a_key_beside_others_below_it_is_a_typed_conflict_on_a_disk(raw: RawS3, tmp_path: Path) -> None:
    for key in ("src/a", "src/a/b", "src/c"):
        raw.put(key, key.encode())
    options = {"endpoint_url": raw.endpoint_url, "key": raw.key, "secret": raw.secret, "region": raw.region}
    async with S3ArtifactStore(f"s3://{raw.bucket}", **options) as store:
        report = await copy((store, "src"), (LocalArtifactStore(tmp_path), "dst"))
    (conflict,) = report.failed
    assert isinstance(conflict.error, (IsADirectory, NotADirectory))
    assert (tmp_path / "dst" / "c").read_bytes() == b"src/c"
    assert report.files == 2


# ---- load -----------------------------------------------------------------------------------------------


@pytest.mark.holds("slow-sink")
async def test_a_slow_sink_bounds_what_a_fast_source_is_read_ahead(
    rclone_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 20 * MIB
    budget = budgets.ByteBudget(limit)
    monkeypatch.setattr("entrepot.transfer.engine.process_budget", lambda: budget)
    disk = tree_of(tmp_path, {"large": bytes(25 * MIB), **{f"{number:02}": bytes(MIB) for number in range(40)}})
    bucket = rclone_server.create_bucket()
    slow = Rule(("put", "put_part"), Delay(0.05), times=None)
    with FaultProxy(rclone_server.endpoint_url, slow) as proxy:
        options = {**rclone_server.s3_options, "endpoint_url": proxy.url}
        async with S3ArtifactStore(f"s3://{bucket}", **options) as store:
            report = await copy((disk, "src"), (store, "dst"), memory_bytes=limit)
        assert proxy.fired(slow) == proxy.count("put") + proxy.count("put_part")
    assert (report.ok, report.files) == (True, 41)
    assert limit // 2 < budget.peak_bytes <= limit
    assert budget.held_bytes == 0


@pytest.mark.holds("flat")
@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
@pytest.mark.parametrize("operations", [1_000, pytest.param(10_000, marks=pytest.mark.nightly)])
async def test_operations_leave_neither_descriptors_nor_tasks(rclone_server: Server, operations: int) -> None:
    bucket, held = rclone_server.create_bucket(), []
    async with S3ArtifactStore(f"s3://{bucket}", concurrency=8, **rclone_server.s3_options) as store:

        async def use(number: int) -> None:
            path = f"d{number % 10}/{number}"
            await store.write_bytes(path, b"%d" % number)
            assert await store.read_bytes(path) == b"%d" % number
            assert await store.size(path) == len(str(number))
            await store.remove(path)

        for start in range(0, operations // 4, 50):
            async with anyio.create_task_group() as tasks:
                for number in range(start, start + 50):
                    tasks.start_soon(use, number)
            held.append((len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())))
    (first_fds, first_tasks), (last_fds, last_tasks) = held[0], held[-1]
    assert last_tasks == first_tasks
    assert last_fds <= first_fds


# ---- two at once ----------------------------------------------------------------------------------------


@pytest.mark.holds("two-writers")
async def test_of_two_copies_to_one_place_every_file_is_of_one(
    store: S3ArtifactStore, proxy: FaultProxy, raw: RawS3, tmp_path: Path
) -> None:
    names = [*(f"{number:02}" for number in range(20)), "large"]
    trees = [
        {name: mark * (17 * MIB + 1 if name == "large" else 3000 + int(name)) for name in names}
        for mark in (b"1", b"2")
    ]
    slow = Rule("*", Delay(0.05), times=None, probability=0.5)
    proxy.add(slow)
    async with store, anyio.create_task_group() as tasks:
        for number, files in enumerate(trees):
            tasks.start_soon(partial(copy, (tree_of(tmp_path / f"{number}", files), "src"), (store, "dst")))
    assert proxy.fired(slow) >= 1
    wanted = {name: {hashlib.sha256(files[name]).digest() for files in trees} for name in names}
    for name in names:
        assert hashlib.sha256(raw.get(f"dst/{name}")).digest() in wanted[name]
    assert raw.uploads() == []
