"""`--stats-interval`: progress for logs, while a copy runs and nothing is drawn."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cli.programs import Run, program, server_settings
from entrepot.cli.render import Output
from entrepot.cli.stats import parsed_interval, stats_line, told
from entrepot.testing.servers import Server
from entrepot.transfer.events import Planned
from entrepot.transfer.meter import Meter, Snapshot

STATE = {
    "files": 1_234, "size_bytes": 12 << 20, "known_files": 5_000, "known_bytes": 40 << 20, "complete": True,
    "skipped": 0, "errors": 0, "rate_bytes_s": 5 << 20, "left_s": 5.6, "seconds": 3.0,
}  # fmt: skip


def line(**changed: Any) -> str:
    return stats_line(Snapshot(**{**STATE, **changed}))


def test_lines() -> None:
    assert line() == "1,234 of 5,000 files, 12.0 MiB of 40.0 MiB, 5.0 MiB/s, 0:00:05 left"
    assert line(complete=False, errors=2) == (
        "1,234 of 5,000+ files, 12.0 MiB of 40.0+ MiB, 5.0 MiB/s, at least 0:00:05 left, 2 items failed"
    )
    assert line(files=0, known_files=1, left_s=None, rate_bytes_s=0.0) == ("0 of 1 file, 12.0 MiB of 40.0 MiB, 0 B/s")
    assert line(left_s=3_723.0).endswith("1:02:03 left")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1e3", "0.05", "100000", ""])
def test_intervals_that_are_none(run: Run, text: str, tmp_path: Path) -> None:
    result = run("cp", "-r", tmp_path, "there", "--stats-interval", text)
    assert result.code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not Path("there").exists()


def test_intervals() -> None:
    assert [parsed_interval(text) for text in (None, "30", "0.5", "86400")] == [None, 30, 0.5, 86_400]


# ---- while something is under way -----------------------------------------------------------------------


class Log(io.StringIO):
    """A stream that tells when it has so many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._wanted = lines
        self.full = asyncio.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") >= self._wanted:
            self.full.set()
        return written


async def told_lines(output: Output, log: Log, meter: Meter) -> list[str]:
    """What is told until the log is full, and nothing after the end."""
    with told("cp", output, meter, 0.1):
        await log.full.wait()
    lines = log.getvalue().splitlines()
    await asyncio.sleep(0.3)
    assert log.getvalue().splitlines() == lines
    return lines


def test_lines_come_while_it_lasts_and_no_longer() -> None:
    meter, log = Meter(), Log(3)
    meter.take(Planned(3, 300, complete=False))
    lines = asyncio.run(told_lines(Output(stderr=log), log, meter))
    assert {one[:60] for one in lines} == {"entrepot: cp: 0 of 3+ files, 0 B of 300+ B, 0 B/s"}


def test_objects_come_for_machines() -> None:
    meter, log, results = Meter(), Log(2), io.StringIO()
    output = Output(form="json", stdout=results, stderr=log)
    values = [json.loads(one) for one in asyncio.run(told_lines(output, log, meter))]
    assert [(one["event"], one["command"], one["files"]) for one in values] == [("progress", "cp", 0)] * 2
    assert results.getvalue() == ""


class Closed(io.StringIO):
    """A stream whose reader has left."""

    tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise BrokenPipeError


def test_a_reader_that_has_left_is_written_to_once() -> None:
    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with told("cp", Output(stderr=stream), Meter(), 0.1):
            await asyncio.sleep(0.5)

    stream = Closed()
    asyncio.run(run())
    assert stream.tries <= 1


# ---- a whole command ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_a_copy_to_a_server(verb: str, rclone_server: Server, tmp_path: Path) -> None:
    """So many requests take longer than the interval on any machine."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(1_500):
        (tree / f"{number}").write_bytes(b"x" * 100)
    target = f"s3://{rclone_server.create_bucket()}/{verb}"
    recursive = ["-r"] if verb == "cp" else []
    done = program(
        verb, *recursive, "--json", "--stats-interval", "0.1", tree, target, settings=server_settings(rclone_server)
    )
    assert done.code == 0, done
    assert done.value["files"] == 1_500
    values = [json.loads(one) for one in done.stderr.splitlines()]
    assert values, done
    assert all((one["event"], one["command"]) == ("progress", verb) for one in values)
    assert [one["files"] for one in values] == sorted(one["files"] for one in values)
    assert all(one["files"] <= one["known_files"] <= 1_500 and one["bytes"] <= one["known_bytes"] for one in values)


def test_without_the_option_nothing_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert run("cp", tmp_path / "a", tmp_path / "b").stderr == ""
