"""Commands on real S3 servers: there and back, bad input, and ends before the end."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.trees import tree_hashes

from cli.programs import (
    ODD_NAMES,
    PROGRAM,
    TIMEOUT_S,
    Run,
    environment,
    make_tree,
    parts_put,
    program,
    server_settings,
    started,
)
from cli.test_program import wait_until
from entrepot.testing.servers import Server

Use = Callable[[Server], None]


@pytest.fixture(params=["rclone", "juicefs"])
def server(request: pytest.FixtureRequest, use: Use) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    use(found)
    return found


@pytest.fixture
def uri(server: Server) -> str:
    """A place that no other test uses, on the server that the variables lead to."""
    bucket = server.create_bucket()
    return f"s3://{bucket}/t {secrets.token_hex(4)}"


# ---- there and back -------------------------------------------------------------------------------------


def test_a_tree_there_and_back_is_the_same(run: Run, uri: str, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", files=40, large_bytes=24 << 20)
    there = run("cp", "-r", tree, uri)
    assert (there.code, there.stderr) == (0, ""), there
    assert there.stdout.startswith("copied 53 files, 24.0 MiB")
    back = run("cp", "-r", uri, tmp_path / "back")
    assert (back.code, back.stderr) == (0, ""), back
    assert tree_hashes(tmp_path / "back") == tree_hashes(tree)
    listed = run("ls", "-r", uri).lines
    assert sorted(name for name in listed if not name.endswith("/")) == sorted(tree_hashes(tree))
    assert {f"odd names/{name}" for name in ODD_NAMES} <= set(listed)


def test_what_was_not_verified_is_named_with_the_reason(
    run: Run, use: Use, juicefs_plain_server: Server, tmp_path: Path
) -> None:
    use(juicefs_plain_server)
    bucket = juicefs_plain_server.create_bucket()
    for number in range(4):
        juicefs_plain_server.bucket(bucket).put(f"t/{number}", b"1")
    first, *more = run("cp", "-r", f"s3://{bucket}/t", tmp_path / "t").lines
    assert "4 by size alone" in first
    (line,) = more
    assert line.startswith("not verified: 4 files (s3://")
    assert line.endswith(", …): no service vouches for a checksum of the whole; the sizes are equal")
    value = run("cp", "-r", "--json", f"s3://{bucket}/t", tmp_path / "json").value
    assert value["unverified_reasons"] == {line.partition("): ")[2]: 4}
    assert len(value["unverified"]) == 4
    assert run("cp", "-r", "--verify", "download", f"s3://{bucket}/t", tmp_path / "read").lines[1:] == []
    refused = run("cp", "--verify", "donwload", f"s3://{bucket}/t/0", tmp_path / "x")
    assert refused.code == 2
    assert "did you mean download?" in refused.stderr


def test_the_other_client_does_the_same(run: Run, uri: str, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", files=5)
    assert run("cp", "-r", "--client", "sdk", tree, uri).code == 0
    assert run("cp", "-r", "--client", "sdk", uri, tmp_path / "back").code == 0
    assert tree_hashes(tmp_path / "back") == tree_hashes(tree)


def test_options_do_what_variables_do(run: Run, rclone_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = rclone_server.create_bucket()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone_server.secret)
    options = ("--endpoint-url", rclone_server.endpoint_url, "--region", rclone_server.region, "--addressing", "path")
    assert run("ls", f"s3://{bucket}", *options).code == 0


def test_within_one_service_the_service_copies(run: Run, uri: str, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", files=5)
    assert run("cp", "-r", tree, f"{uri}/a").code == 0
    value = run("cp", "-r", "--json", f"{uri}/a", f"{uri}/b").value
    assert value["ok"]
    assert value["verified"] == {"server-side": len(tree_hashes(tree))}
    assert run("cp", "-r", f"{uri}/b", tmp_path / "back").code == 0
    assert tree_hashes(tmp_path / "back") == tree_hashes(tree)


def test_mv_leaves_nothing_behind(run: Run, uri: str, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", files=5)
    expected = tree_hashes(tree)
    moved = run("mv", "--json", tree, f"{uri}/x")
    assert (moved.code, moved.stderr) == (0, ""), moved
    assert moved.value["removed"] == len(expected)
    assert not tree.exists()
    assert run("mv", f"{uri}/x", f"{uri}/y").code == 0
    assert run("ls", f"{uri}/x").code == 1
    assert run("mv", f"{uri}/y", tmp_path / "back").code == 0
    assert tree_hashes(tmp_path / "back") == expected
    assert run("du", "-s", "--json", uri.rsplit("/", 1)[0]).value["files"] == 0


def test_looks_and_single_files(run: Run, uri: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert run("cp", tmp_path / "file", f"{uri}/a/b+c.txt").code == 0
    assert run("ls", uri).lines == ["a/"]
    assert run("ls", f"{uri}/a/").lines == ["b+c.txt"]
    assert run("cat", f"{uri}/a/b+c.txt").stdout == "12345"
    assert run("stat", "--json", f"{uri}/a/b+c.txt").value["size_bytes"] == 5
    assert run("tree", uri).lines[-1] == "1 directory, 1 file"
    assert run("glob", f"{uri}/*/b*.txt").lines == [f"{uri}/a/b+c.txt"]
    assert run("rm", f"{uri}/a").code == 2
    assert run("rm", "-r", f"{uri}/a").lines == ["removed 1 file, 5 B"]
    assert run("ls", f"{uri}/a").code == 1


def test_empty_directories_are_kept_or_reported(run: Run, server: Server, uri: str, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", files=1)
    (tree / "empty" / "below").mkdir(parents=True)
    value = run("cp", "-r", "--json", tree, uri).value
    kept = server.name == "juicefs"
    assert (value["directories"], value["empty_directories_skipped"]) == ((1, 0) if kept else (0, 1))
    assert run("cp", "-r", uri, tmp_path / "back").code == 0
    assert (tmp_path / "back" / "empty" / "below").is_dir() is kept


def test_standard_input_and_output(uri: str, server: Server) -> None:
    content = os.urandom(20 << 20)
    settings = server_settings(server)
    stored = program("cp", "-", f"{uri}/in.bin", stdin=content, settings=settings)
    assert (stored.code, stored.stderr) == (0, "")
    assert program("cat", f"{uri}/in.bin", settings=settings).raw == content
    assert program("cp", f"{uri}/in.bin", "-", settings=settings).raw == content


# ---- bad input ------------------------------------------------------------------------------------------


def one_line(result_stderr: str, *parts: str) -> None:
    lines = result_stderr.splitlines()
    assert len(lines) == 1, result_stderr
    assert lines[0].startswith("entrepot: ")
    assert "; " in lines[0], "what to do next is missing"
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("client", ["wire", "sdk"])
def test_a_missing_bucket(run: Run, server: Server, tmp_path: Path, client: str) -> None:
    tree = make_tree(tmp_path / "tree", files=3)
    for arguments in (["cp", "-r", str(tree), "s3://no-such-bucket/x"], ["ls", "s3://no-such-bucket"]):
        result = run(*arguments, "--client", client)
        assert result.code == 1
        one_line(result.stderr, "no-such-bucket")
    result = run("cp", "-r", "s3://no-such-bucket/x", tmp_path / "back", "--client", client)
    assert result.code == 1
    one_line(result.stderr, "no-such-bucket")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("client", ["wire", "sdk"])
def test_wrong_credentials(
    run: Run, server: Server, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret-of-nobody")
    for arguments in (["ls", uri], ["cp", "-r", uri, str(tmp_path / "back")]):
        result = run(*arguments, "--client", client)
        assert result.code == 1
        one_line(result.stderr, uri.split("/")[2], "secret" if client == "wire" else "credentials")
        assert "canary" not in result.stderr + result.stdout
    tree = make_tree(tmp_path / "tree", files=3)
    result = run("cp", "-r", tree, uri, "--client", client)
    assert result.code == 1
    assert "canary" not in result.stderr + result.stdout
    one_line(result.stderr, uri.split("/")[2])


def test_no_credentials(run: Run, rclone_server: Server) -> None:
    bucket = rclone_server.create_bucket()
    result = run("ls", f"s3://{bucket}", "--endpoint-url", rclone_server.endpoint_url)
    assert result.code == 1
    one_line(result.stderr, "AWS_ACCESS_KEY_ID")


def test_an_unreachable_endpoint(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    (tmp_path / "file").write_text("x")
    for arguments in (["ls", "s3://bucket"], ["cp", str(tmp_path / "file"), "s3://bucket/file"]):
        result = run(*arguments, "--endpoint-url", "http://127.0.0.1:9")
        assert result.code == 1
        one_line(result.stderr, "127.0.0.1:9")


def test_a_key_that_cannot_be_a_local_file_fails_alone(run: Run, moto_server: Server, use: Use, tmp_path: Path) -> None:
    use(moto_server)
    bucket = moto_server.create_bucket()
    raw = moto_server.bucket(bucket)
    raw.put("t/a", b"file")
    raw.put("t/a/b", b"below a file")
    raw.put("t/" + "n" * 300, b"long")
    raw.put("t/c//d", b"empty segment")
    raw.put("t/../up", b"outside")
    raw.put("t/good", b"good")
    result = run("cp", "-r", f"s3://{bucket}/t", tmp_path / "back")
    assert result.code == 1
    lines = result.stderr.splitlines()
    assert all(line.startswith("entrepot: cp s3://") and ";" in line for line in lines), result.stderr
    assert len(lines) == 4
    kept = tree_hashes(tmp_path / "back").keys()
    assert "good" in kept
    assert kept & {"a", "a/b"} in ({"a"}, {"a/b"})
    assert not (tmp_path / "up").exists()
    assert "4 failed" in result.stdout


def test_a_full_disk(rclone_server: Server, tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, for a small file system of its own")
    small = tmp_path / "small"
    small.mkdir()
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)],
        capture_output=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if probe.returncode:
        pytest.skip("mounting in a namespace is not allowed here")
    bucket = rclone_server.create_bucket()
    rclone_server.bucket(bucket).put("large.bin", os.urandom(20 << 20))
    rclone_server.bucket(bucket).put("medium.bin", os.urandom(2 << 20))
    for source in (f"s3://{bucket}/large.bin", f"s3://{bucket}/medium.bin"):
        script = 'mount -t tmpfs -o size=1m tmpfs "$0" && { "$@"; code=$?; ls -A "$0"; exit $code; }'
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, str(small), *PROGRAM, "cp", source, str(small / "copy.bin")],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            env=environment(**server_settings(rclone_server)),
        )  # fmt: skip
        assert done.returncode == 1
        one_line(done.stderr, str(small), "space")
        assert "copy.bin" not in done.stdout.splitlines()
        assert ".~entrepot-" not in done.stdout


# ---- ends before the end --------------------------------------------------------------------------------


@pytest.mark.holds("cancel")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_but_what_the_job_goes_on_with(
    moto_server: Server, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    bucket = moto_server.create_bucket()
    raw = moto_server.bucket(bucket)
    tree = make_tree(tmp_path / "tree", files=1, large_bytes=256 << 20)
    with started("cp", "-r", tree, f"s3://{bucket}/t", settings=server_settings(moto_server)) as process:
        # An upload without a part may be one whose name the program does not know yet; that one is dropped at once.
        wait_until(lambda: parts_put(raw) > 0, process)
        process.send_signal(number)
        process.wait(TIMEOUT_S)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code
    assert errors.decode().startswith("entrepot: cp: interrupted")
    assert len(errors.splitlines()) == 1
    assert "entrepot jobs forget" in errors.decode()
    assert not raw.exists("t/large.bin")
    assert len(raw.uploads()) == 1
    job = program("jobs", "list", "--json", settings=server_settings(moto_server)).value
    forgotten = program("jobs", "forget", job["id"], settings=server_settings(moto_server))
    assert (forgotten.code, forgotten.stderr) == (0, "")
    assert raw.uploads() == []


@pytest.mark.holds("cancel")
def test_a_download_that_is_stopped_keeps_one_temporary_for_its_job(rclone_server: Server, tmp_path: Path) -> None:
    bucket = rclone_server.create_bucket()
    rclone_server.bucket(bucket).put("large.bin", bytes(128 << 20))
    target = tmp_path / "target"
    target.mkdir()
    settings = server_settings(rclone_server)
    with started("cp", f"s3://{bucket}/large.bin", target / "large.bin", settings=settings) as process:
        wait_until(lambda: sum(path.stat().st_blocks for path in target.iterdir()) * 512 > 10 << 20, process)
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)
    assert process.returncode == 130
    assert [name.startswith(".~entrepot-") for name in os.listdir(target)] == [True]
    job = program("jobs", "list", "--json", settings=settings).value
    assert program("jobs", "forget", job["id"], settings=settings).code == 0
    assert os.listdir(target) == []
