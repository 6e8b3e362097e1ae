"""The program itself: streams, pipes, signals, the cost of its start, and what it draws on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benchmarks.trees import tree_hashes

from cli.programs import PROGRAM, TIMEOUT_S, Run, environment, make_tree, program, started

TEMPORARY = ".~entrepot-"


def temporaries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(TEMPORARY)]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Look until it holds; a program that ended before it did is a failure."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- the cost of a start --------------------------------------------------------------------------------


def test_a_piped_ls_imports_neither_pydantic_nor_rich_nor_aiohttp(own_directories: Path) -> None:
    (own_directories / "file").write_text("x")
    code = (
        "import sys; from entrepot.cli import main; code = main(['ls', '.']);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True, env=environment()
    )
    assert done.stdout == "file\n"
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not loaded & {"pydantic", "pydantic_core", "rich", "aiohttp", "aiobotocore", "botocore", "aiofiles"}


def test_the_collector_rests_for_the_imports_of_the_program_alone(own_directories: Path) -> None:
    told = "print(gc.isenabled(), gc.get_freeze_count() > 0)"
    code = (
        f"import gc, sys; from entrepot.cli import main; main(['ls', '.']); {told}; sys.argv[1:] = ['ls', '.']; "
        f"main(); {told}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True, env=environment()
    )
    assert done.stdout.splitlines() == ["True False", "True True"]


def test_shell_completion_knows_the_commands() -> None:
    settings = {"_ENTREPOT_COMPLETE": "complete_bash", "COMP_WORDS": "entrepot m", "COMP_CWORD": "1"}
    code = "import sys; from entrepot.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=TIMEOUT_S, check=False, env=environment(**settings)
    )
    assert done.stdout.split() == [b"mv", b"mkdir"]


def test_debug_shows_where_an_error_came_from() -> None:
    plain, debug = program("ls", "nowhere"), program("ls", "nowhere", "--debug")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert debug.stderr.splitlines()[-1] == plain.stderr.strip()


# ---- streams --------------------------------------------------------------------------------------------


def test_standard_input_becomes_a_file_and_a_file_standard_output(own_directories: Path) -> None:
    content = os.urandom(3_000_001)
    stored = program("cp", "-", "default:in/put.bin", stdin=content)
    assert (stored.code, stored.stderr) == (0, "")
    assert stored.stdout.startswith("copied 1 file, 2.9 MiB")
    shown = program("cp", "default:in/put.bin", "-")
    assert (shown.code, shown.stderr) == (0, "")
    assert shown.raw == content
    assert program("cat", "default:in/put.bin", "default:in/put.bin").raw == content * 2


def test_no_input_is_an_empty_file(own_directories: Path) -> None:
    assert program("cp", "-", "empty").code == 0
    assert (own_directories / "empty").read_bytes() == b""


def test_input_that_is_not_ended_publishes_nothing(own_directories: Path) -> None:
    with started("cp", "-", "target", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(4 << 20))
        process.stdin.flush()
        wait_until(lambda: bool(temporaries(own_directories)), process)
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)  # with its input still open
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert errors.decode().startswith("entrepot: cp: interrupted")
    assert os.listdir(own_directories) == []


def test_a_reader_that_leaves_ends_the_program_silently(own_directories: Path) -> None:
    (own_directories / "large").write_bytes(bytes(8 << 20))
    for command in (["cat", "large"], ["cp", "large", "-"]):
        with started(*command) as process:
            assert process.stdout is not None
            assert process.stdout.read(10) == bytes(10)
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(TIMEOUT_S) == 141


def test_a_full_output_is_an_error() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with open("/dev/full", "wb") as full, started("version", stdout=full) as process:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert errors.decode().startswith("entrepot: version: No space left on device")
    assert len(errors.splitlines()) == 1


# ---- ends before the end --------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_standard_output_is_stuck_ends_the_program(
    own_directories: Path, number: signal.Signals, code: int
) -> None:
    (own_directories / "large").write_bytes(bytes(8 << 20))
    with started("cat", "large") as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"\0"  # it is writing, and nobody reads on
        process.send_signal(number)
        process.wait(TIMEOUT_S)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code
    assert len(errors.splitlines()) == 1


def test_killed_at_any_moment_no_partial_file_is_visible(run: Run, own_directories: Path, tmp_path: Path) -> None:
    tree = make_tree(own_directories / "tree", files=100, large_bytes=16 << 20)
    expected = tree_hashes(tree)
    began = time.monotonic()
    assert program("cp", "-r", "tree", tmp_path / "whole").code == 0
    usual_s = time.monotonic() - began
    for attempt in range(4):
        target = tmp_path / f"killed-{attempt}"
        with started("cp", "-r", "tree", target) as process, contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(usual_s * (attempt + 3) / 7)
        seen = {name: value for name, value in tree_hashes(target).items() if TEMPORARY not in name}
        assert seen.items() <= expected.items()
        target.mkdir(exist_ok=True)
        assert sorted(name for name in run("ls", "-r", target).lines if not name.endswith("/")) == sorted(seen)
        assert run("cp", "-r", "tree", target).code == 0
        assert {name: value for name, value in tree_hashes(target).items() if TEMPORARY not in name} == expected


# ---- a terminal -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Run the program on a pseudo terminal; the function reads all that it drew, to its end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(TERM="xterm-256color", COLUMNS="120", LINES="30"), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)

    def read() -> str:
        drawn = bytearray()
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and select.select([ours], [], [], TIMEOUT_S)[0]:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other side is closed: the program has ended
                break
            if not chunk:
                break
            drawn += chunk
        process.wait(TIMEOUT_S)
        return drawn.decode("utf-8", "replace")

    try:
        yield process, read
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(TIMEOUT_S)
        os.close(ours)


ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_progress_is_drawn_on_a_terminal_and_leaves_one_summary_line(own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=50, large_bytes=16 << 20)
    with terminal("cp", "-r", "tree", "copy") as (process, read):
        drawn = read()
    assert process.returncode == 0, drawn
    assert "\x1b[?25l" in drawn  # the cursor was hidden, so bars were drawn
    assert "\x1b[?25h" in drawn  # and shown again
    text = ESCAPES.sub("", drawn)
    assert "files" in text
    assert text.rstrip().splitlines()[-1].lstrip("\r").startswith("copied 63 files, 16.0 MiB")
    assert tree_hashes(own_directories / "copy") == tree_hashes(own_directories / "tree")


def test_help_and_sizes_are_for_people_on_a_terminal(own_directories: Path) -> None:
    (own_directories / "file").write_bytes(bytes(1536))
    with terminal("ls", "-l") as (_, read):
        assert "1.5 KiB" in read()
    with terminal("cp", "--help") as (process, read):
        assert "What lands where" in ESCAPES.sub("", read())
    assert process.returncode == 0
