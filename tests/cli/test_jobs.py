"""`jobs list|show|forget`: what people and machines see of copies that were begun."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.programs import TIMEOUT_S, Run, environment, program
from cli.test_program import ESCAPES, terminal
from entrepot.cli.continuing import jobs_of_user
from entrepot.registry import state_dir
from entrepot.transfer.journal import FailureRecord, ItemRecord, JobSpec, UploadRecord

SPEC = JobSpec.of(
    "/data/runs",
    "s3://bucket/runs",
    is_secret=lambda _: False,
    options={"delete": True, "filters": ["- *.tmp"]},
    configuration={"region": "eu-central-1"},
)
OTHER = JobSpec.of("/data/other\x1b[2J", "/back", is_secret=lambda _: False)
UPLOAD = UploadRecord("w1", "runs/large.bin", "f", 9 << 20, 8 << 20, "open", "t0k3n")


def left(spec: JobSpec, state: Any = "interrupted", *, uploads: bool = False, failures: int = 0) -> str:
    """A job that was run once, in the test's own state directory."""

    async def run() -> None:
        journal = await jobs_of_user().open(spec)
        journal.note_found(5_008, 5_000_000)
        journal.note_done([ItemRecord(f"runs/{n}", "f", 1_024) for n in range(1_500)])
        journal.note_failures(
            [FailureRecord(f"/data/runs/{n:03}", f"runs/{n:03}", "NotFound", "gone") for n in range(failures)]
        )
        if uploads:
            await journal.intend(UPLOAD)
        await journal.close(state)

    asyncio.run(run())
    return spec.id


def test_the_state_directory_is_the_platforms_or_named_by_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert state_dir().startswith(str(tmp_path))
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "mine"))
    assert state_dir() == str(tmp_path / "mine")
    left(SPEC)
    assert (tmp_path / "mine" / "jobs" / SPEC.id / "journal.db").exists()


# ---- list -----------------------------------------------------------------------------------------------


def test_without_jobs_the_list_is_empty_and_nothing_is_made(run: Run) -> None:
    assert run("jobs", "list").lines == ["ID  STATE  UPDATED  FILES  SIZE  FAILED  SOURCE  TARGET"]
    assert run("jobs", "list", "--json").stdout == ""
    assert not Path(state_dir()).exists()


def test_the_list_is_columns_in_a_pipe_and_objects_for_machines(run: Run) -> None:
    left(SPEC, uploads=True, failures=1)
    left(OTHER, "done")
    listed = run("jobs", "list")
    assert (listed.code, listed.stderr) == (0, "")
    done, interrupted = (line.split("  ") for line in listed.lines[1:])
    assert [one.strip() for one in interrupted if one][:2] == [SPEC.id, "interrupted"]
    assert [one.strip() for one in interrupted if one][3:] == [
        "1,500 of 5,008", "1.5 MiB of 4.8 MiB", "1", "/data/runs", "s3://bucket/runs",
    ]  # fmt: skip
    assert [one.strip() for one in done if one][:2] == [OTHER.id, "done"]
    assert "\x1b" not in listed.stdout
    value = run("jobs", "list", "--json").values[1]
    assert value.pop("created") <= value.pop("updated")
    assert value.pop("process").isdecimal()
    assert value == {
        "id": SPEC.id, "state": "interrupted", "source": "/data/runs", "target": "s3://bucket/runs",
        "copied_files": 1_500, "copied_bytes": 1_536_000, "found_files": 5_008, "found_bytes": 5_000_000,
        "failed": 1, "uploads_open": 1,
    }  # fmt: skip


def test_the_list_is_drawn_on_a_terminal() -> None:
    left(SPEC)
    with terminal("jobs", "list") as (process, read):
        drawn = read()
    assert process.returncode == 0
    assert "─" in drawn
    assert SPEC.id[:4] in ESCAPES.sub("", drawn)


def test_the_list_in_a_pipe_imports_neither_pydantic_nor_rich_nor_an_sdk() -> None:
    left(SPEC)
    code = (
        "import sys; from entrepot.cli import main; code = main(['jobs', 'list']);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True, env=environment()
    )
    assert not set(done.stderr.split()) & {"pydantic", "rich", "aiohttp", "aiobotocore", "botocore", "tomlkit"}


# ---- show -----------------------------------------------------------------------------------------------


def test_a_job_is_shown_by_the_beginning_of_its_id(run: Run) -> None:
    left(SPEC, uploads=True, failures=102)
    shown = run("jobs", "show", SPEC.id[:5])
    assert (shown.code, shown.stderr) == (0, "")
    above, below = shown.lines[: shown.lines.index("")], shown.lines[shown.lines.index("") + 1 :]
    told = {title: text.strip() for title, _, text in (line.partition(":") for line in above)}
    assert told.pop("begun") <= told.pop("updated")
    assert told == {
        "job": SPEC.id,
        "state": "interrupted",
        "source": "/data/runs",
        "target": "s3://bucket/runs",
        "copied": "1,500 of 5,008 files, 1.5 MiB of 4.8 MiB",
        "failed": "102",
        "option delete": "True",
        "option filters": "['- *.tmp']",
        "configuration region": "eu-central-1",
        "under way": "runs/large.bin (9.0 MiB, open)",
    }
    assert below == [*(f"/data/runs/{n:03}: gone" for n in range(100)), "and 2 more"]
    assert "t0k3n" not in shown.stdout


def test_a_job_is_shown_to_machines(run: Run) -> None:
    left(SPEC, uploads=True, failures=1)
    told = run("jobs", "show", SPEC.id, "--json")
    value = told.value
    assert value["options"] == {"delete": True, "filters": ["- *.tmp"]}
    assert value["configuration"] == {"region": "eu-central-1"}
    assert (value["failed"], value["uploads_open"]) == (1, 1)
    assert value["failures"] == [
        {"source": "/data/runs/000", "target": "runs/000", "error": "NotFound", "reason": "gone"}
    ]
    assert value["uploads"] == [
        {"target": "runs/large.bin", "state": "open", "size_bytes": 9 << 20, "part_size_bytes": 8 << 20}
    ]
    assert "t0k3n" not in told.stdout


_RUN = """
import asyncio, sys
from entrepot.cli.continuing import jobs_of_user
from entrepot.transfer.journal import JobSpec

async def main():
    spec = JobSpec.of("/data/running", "/back", is_secret=lambda _: False)
    async with await jobs_of_user().open(spec):
        print(spec.id, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def test_a_job_that_runs_elsewhere_is_shown_with_its_process_and_not_forgotten(run: Run) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as other:
        try:
            assert other.stdout is not None
            id_ = other.stdout.readline().decode().strip()
            assert f"running by process {other.pid}" in run("jobs", "show", id_).stdout
            refused = run("jobs", "forget", id_)
            assert refused.code == 1
            assert f"process {other.pid} runs this job; wait for it" in refused.stderr
            assert run("jobs", "list", "--json").value["state"] == "running"
        finally:
            other.kill()
    assert run("jobs", "show", id_, "--json").value["state"] == "interrupted"


# ---- forget ---------------------------------------------------------------------------------------------


def test_jobs_are_forgotten(run: Run) -> None:
    left(SPEC)
    left(OTHER, "done")
    done = run("jobs", "forget", SPEC.id, OTHER.id[:8])
    assert (done.code, done.stderr) == (0, "")
    assert done.lines == [
        f"forgot {SPEC.id} (/data/runs -> s3://bucket/runs)",
        f"forgot {OTHER.id} (/data/other\\x1b[2J -> /back)",
    ]
    assert run("jobs", "list", "--json").stdout == ""


def test_a_job_with_uploads_under_way_is_kept_until_it_is_agreed_that_they_stay(run: Run) -> None:
    left(SPEC, uploads=True)
    refused = run("jobs", "forget", SPEC.id)
    assert (refused.code, refused.stdout) == (2, "")
    assert "the journal does not tell in which store it is; --leave-uploads leaves it there" in refused.stderr
    assert run("jobs", "list", "--json").value["id"] == SPEC.id
    agreed = run("jobs", "forget", SPEC.id, "--leave-uploads", "--json")
    assert agreed.value == {"id": SPEC.id, "source": "/data/runs", "target": "s3://bucket/runs", "uploads_left": 1}
    assert agreed.stderr == f"entrepot: jobs forget {SPEC.id}: what is there of runs/large.bin stays there\n"


def test_a_damaged_job_is_listed_and_can_be_forgotten(run: Run) -> None:
    left(SPEC, uploads=True)
    Path(state_dir(), "jobs", SPEC.id, "journal.db").write_bytes(b"no database" * 999)
    listed = run("jobs", "list")
    assert f"`entrepot jobs forget {SPEC.id}` removes it" in listed.lines[1]
    value = run("jobs", "list", "--json").value
    assert (value["id"], value["state"]) == (SPEC.id, "unreadable")
    assert "is damaged" in value["problem"]
    shown = run("jobs", "show", SPEC.id)
    assert (shown.code, shown.stdout) == (1, "")
    assert f"`entrepot jobs forget {SPEC.id}` removes it" in shown.stderr
    done = run("jobs", "forget", SPEC.id)
    assert (done.code, done.stdout) == (0, f"forgot {SPEC.id}\n")
    assert "what it had under way is not known" in done.stderr
    assert run("jobs", "list", "--json").stdout == ""


def test_one_that_cannot_be_forgotten_does_not_keep_the_others(run: Run) -> None:
    left(SPEC)
    done = run("jobs", "forget", "nothing", SPEC.id)
    assert done.code == 2
    assert done.stdout.startswith(f"forgot {SPEC.id}")
    assert "no job 'nothing'; `entrepot jobs list` shows those there are" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("show", "zz"), "no job 'zz'; `entrepot jobs list` shows those there are"),
        (("show",), "Missing argument"),
        (("forget",), "Missing argument"),
        (("shwo", "x"), "No such command 'shwo'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run: Run, words: tuple[str, ...], complaint: str) -> None:
    told = run("jobs", *words)
    assert (told.code, told.stdout) == (2, "")
    assert complaint in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert told.stderr.startswith("entrepot: jobs")


@pytest.mark.parametrize("command", ["show", "forget"])
def test_the_shell_completes_ids(command: str) -> None:
    ids = {left(SPEC), left(OTHER)}
    offered = []
    for typed in ("", SPEC.id[:4]):
        settings = {
            "_ENTREPOT_COMPLETE": "complete_bash", "COMP_WORDS": f"entrepot jobs {command} {typed}", "COMP_CWORD": "3",
        }  # fmt: skip
        code = "import sys; from entrepot.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env=environment(**settings),
        )
        offered.append({*done.stdout.split()})
    assert offered == [ids, {SPEC.id}]


def test_the_program_runs_it() -> None:
    left(SPEC)
    assert program("jobs", "list", "--json").value["id"] == SPEC.id
