"""Copies that are killed or interrupted, and gone on with: nothing partial is seen, no part is put twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from benchmarks.trees import tree_hashes

from cli.programs import Result, make_tree, parts_put, program, server_settings, started
from cli.test_program import wait_until
from entrepot.testing.raw_s3 import RawS3
from entrepot.testing.servers import Server

MIB = 1 << 20


def jobs(settings: dict[str, str]) -> list[dict[str, object]]:
    return program("jobs", "list", "--json", settings=settings).values


def temporaries(top: Path) -> list[str]:
    return [path.name for path in top.rglob("*") if path.name.startswith(".~entrepot-")]


_BY_NIGHT = pytest.mark.nightly


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=_BY_NIGHT), signal.SIGINT])
def test_an_upload_goes_on_at_its_next_missing_part(
    rclone_server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    bucket = rclone_server.create_bucket()
    raw = rclone_server.bucket(bucket)
    settings = server_settings(rclone_server)
    tree = make_tree(tmp_path / "tree", files=3, large_bytes=200 * MIB)
    with started("cp", "-r", tree, f"s3://{bucket}/t", "--concurrency", "2", settings=settings) as process:
        wait_until(lambda: bool(raw.uploads()) and parts_put(raw) >= 3, process)
        process.send_signal(number)
        process.wait(60)
        _, errors = process.communicate(timeout=60)
    assert not raw.exists("t/large.bin"), "nothing is visible"
    assert len(raw.uploads()) == 1, "and what was put is kept"
    (job,) = jobs(settings)
    assert job["state"] == "interrupted"
    if number is signal.SIGINT:
        assert f"entrepot jobs forget {job['id']}" in errors.decode()
    done = program("cp", "-r", tree, f"s3://{bucket}/t", "--json", settings=settings)
    assert (done.code, done.stderr) == (0, "")
    assert raw.uploads() == []
    assert (jobs(settings)[0]["state"], done.value["failed"]) == ("done", [])
    assert program("cp", "-r", f"s3://{bucket}/t", tmp_path / "back", settings=settings).code == 0
    assert tree_hashes(tmp_path / "back") == tree_hashes(tree)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=_BY_NIGHT)])
def test_a_download_goes_on_in_the_same_temporary(
    rclone_server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    bucket = rclone_server.create_bucket()
    content = os.urandom(160 * MIB)
    rclone_server.bucket(bucket).put("large.bin", content)
    target = tmp_path / "target"
    target.mkdir()
    settings = server_settings(rclone_server)
    words = ("cp", f"s3://{bucket}/large.bin", target / "large.bin")
    with started(*words, "--concurrency", "2", settings=settings) as process:
        wait_until(lambda: _blocks(target) > 40 * MIB, process)
        process.send_signal(number)
        process.wait(60)
    assert not (target / "large.bin").exists()
    kept = temporaries(target)
    assert len(kept) == 1
    began = time.time()
    done = program(*words, "--json", settings=settings)
    assert (done.code, done.stderr) == (0, ""), began
    assert (target / "large.bin").read_bytes() == content
    assert temporaries(target) == []


def _blocks(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def test_small_files_are_not_copied_again(rclone_server: Server, tmp_path: Path) -> None:
    bucket = rclone_server.create_bucket()
    raw = rclone_server.bucket(bucket)
    settings = server_settings(rclone_server)
    tree = tmp_path / "tree"
    for folder in range(30):
        (tree / f"{folder:02}").mkdir(parents=True)
        for number in range(100):
            (tree / f"{folder:02}" / f"{number:02}").write_bytes(b"x" * (folder + number))
    with started("cp", "-r", tree, f"s3://{bucket}/t", "--concurrency", "4", settings=settings) as process:
        wait_until(lambda: bool(jobs(settings)), process)
        time.sleep(0.5)
        process.kill()
        process.wait(60)
    done = program("cp", "-r", tree, f"s3://{bucket}/t", "--json", settings=settings)
    assert done.code == 0, done
    assert done.value["resumed"] >= 500
    assert done.value["resumed"] + done.value["files"] == 3_000
    assert program("check", tree, f"s3://{bucket}/t", "--size-only", settings=settings).code == 0
    assert raw.uploads() == []
    again = program("cp", "-r", tree, f"s3://{bucket}/t", "--json", settings=settings)
    assert (again.value["resumed"], again.value["files"]) == (0, 3_000), "what is done is done: this is a new copy"


@_BY_NIGHT
def test_a_changed_source_begins_anew(rclone_server: Server, tmp_path: Path) -> None:
    bucket = rclone_server.create_bucket()
    raw = rclone_server.bucket(bucket)
    settings = server_settings(rclone_server)
    source = tmp_path / "large.bin"
    source.write_bytes(os.urandom(120 * MIB))
    interrupted(source, bucket, raw, settings)
    (old,) = raw.uploads()
    content = os.urandom(100 * MIB)
    source.write_bytes(content)
    done = program("cp", source, f"s3://{bucket}/large.bin", "--resume", settings=settings)
    assert (done.code, done.stderr) == (0, "")
    assert raw.uploads() == [], f"{old} was dropped"
    assert raw.get("large.bin") == content


def interrupted(source: Path, bucket: str, raw: RawS3, settings: dict[str, str]) -> None:
    with started("cp", source, f"s3://{bucket}/large.bin", "--concurrency", "1", settings=settings) as process:
        wait_until(lambda: bool(raw.uploads()) and parts_put(raw) >= 1, process)
        process.kill()
        process.wait(60)


def test_a_job_is_resumed_by_its_id_or_forgotten_with_its_upload(rclone_server: Server, tmp_path: Path) -> None:
    bucket = rclone_server.create_bucket()
    raw = rclone_server.bucket(bucket)
    settings = server_settings(rclone_server)
    source = tmp_path / "large.bin"
    source.write_bytes(os.urandom(120 * MIB))
    interrupted(source, bucket, raw, settings)
    (job,) = jobs(settings)
    resumed: Result = program("jobs", "resume", str(job["id"]), settings=settings)
    assert (resumed.code, resumed.stderr) == (0, "")
    assert raw.get("large.bin") == source.read_bytes()
    assert raw.uploads() == []
    interrupted(source, bucket, raw, settings)
    assert len(raw.uploads()) == 1
    forgotten = program("jobs", "forget", str(job["id"]), settings=settings)
    assert (forgotten.code, forgotten.stderr) == (0, "")
    assert raw.uploads() == []
    assert jobs(settings) == []
    interrupted(source, bucket, raw, settings)
    anew = program("cp", source, f"s3://{bucket}/large.bin", "--no-resume", settings=settings)
    assert (anew.code, raw.uploads()) == (0, [])
