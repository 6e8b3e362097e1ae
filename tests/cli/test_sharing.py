"""`presign`, `versions`, `cat --version`, and options of the connection."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

from cli.programs import Run
from entrepot.testing.servers import Server


def test_a_presigned_url_reads_without_credentials(
    run: Run, use: Callable[[Server], None], rclone_server: Server
) -> None:
    use(rclone_server)
    bucket = rclone_server.create_bucket()
    rclone_server.bucket(bucket).put("a b", b"content")
    (url,) = run("presign", f"s3://{bucket}/a b").lines
    with urllib.request.urlopen(url, timeout=30) as reply:
        assert reply.read() == b"content"
    told = run("presign", f"s3://{bucket}/a b", "--json", "--expires", "15m", "-X", "put").value
    assert (told["method"], told["expires_s"]) == ("PUT", 900)
    assert rclone_server.secret not in told["url"]


def test_bad_presigning_is_wrong_use(run: Run) -> None:
    for words, told in (
        (["presign", "s3://bucket/a", "--expires", "8d"], "at most 7 days"),
        (["presign", "s3://bucket/a", "--expires", "soon"], "such as 15m"),
        (["presign", "s3://bucket/a", "-X", "POST"], "--method POST"),
    ):
        result = run(*words)
        assert result.code == 2
        assert told in result.stderr


def test_a_store_without_presigned_urls_says_so(run: Run) -> None:
    result = run("presign", "memory://x/a")
    assert result.code == 1
    assert "no presigned URLs" in result.stderr


def test_versions_are_listed_and_read(run: Run, use: Callable[[Server], None], moto_server: Server) -> None:
    use(moto_server)
    bucket = moto_server.create_bucket()
    moto_server.bucket(bucket).keep_versions()
    for content in (b"first", b"second"):
        moto_server.bucket(bucket).put("f", content)
    found = run("versions", f"s3://{bucket}/f", "--json").values
    assert [one["size_bytes"] for one in found] == [6, 5]
    assert run("cat", f"s3://{bucket}/f", "--version", found[1]["version"]).stdout == "first"
    assert [line.split()[0] for line in run("versions", f"s3://{bucket}/f").lines] == [one["version"] for one in found]
    assert run("cat", "--version", "1", "a", "b").code == 2


def test_any_key_of_a_flavor_can_be_given(run: Run, rclone_server: Server) -> None:
    server = rclone_server
    bucket = server.create_bucket()
    server.bucket(bucket).put("f", b"content")
    keys = [f"--config={key}={value}" for key, value in server.s3_options.items()]
    assert run("cat", f"s3://{bucket}/f", *keys).stdout == "content"
    for words, told in (
        (["--config", "regoin=x"], "did you mean region?"),
        (["--config", "region"], "give KEY=VALUE"),
        (["--config", "region=a", "--config", "region=b"], "given already"),
        (["--config", "path=x"], "given already"),
    ):
        result = run("cat", f"s3://{bucket}/f", *words)
        assert result.code == 2
        assert told in result.stderr
