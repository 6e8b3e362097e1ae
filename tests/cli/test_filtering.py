"""The options that choose files: their order, their files, and what is said of wrong ones."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand
from typer.testing import CliRunner

from entrepot.cli.app import _Command
from entrepot.cli.command import command
from entrepot.cli.filtering import Filtering, filters_of
from entrepot.cli.options import KeepsOrder
from entrepot.cli.session import Session

NOW = datetime(2025, 6, 15, 12, tzinfo=UTC)
Run = Callable[..., tuple[int, str]]


async def show(
    session: Session, *, ctx: typer.Context, places: list[str] | None = None, quiet: bool = False, filtering: Filtering
) -> int:
    """Show the filters that a command line asks for."""
    filters = await filters_of(filtering, ctx, NOW)
    session.output.line(filters.canonical())
    return 0


class Ordered(KeepsOrder, TyperCommand):
    """A command of any typer application."""


@pytest.fixture(params=[Ordered, _Command])
def run(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Run:
    """Parses a command line as typer does; its exit code and what it printed."""
    app = typer.Typer()
    app.command("show", cls=request.param)(command(show))

    def call(*words: str) -> tuple[int, str]:
        program = typer.main.get_command(app)
        code = program.main(args=list(words), prog_name="show", standalone_mode=False)
        told = capfd.readouterr()
        return code, told.out + told.err

    return call


def rules(told: str) -> list[str]:
    found: list[str] = json.loads(told)["rules"]
    return found


def test_rules_stand_in_the_order_in_which_they_are_typed(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "rules"
    lines.write_text("# of a file\n- c\n\n  + d\n")
    code, told = run(
        "--include", "a", "--exclude", "b", "--filter-from", str(lines), "--filter", "- e", "--include=f",
        "--exclude", "g", "--filter=+ h", "--include", "i",
    )  # fmt: skip
    assert code == 0
    assert rules(told) == ["+ a", "- b", "- c", "+ d", "- e", "+ f", "- g", "+ h", "+ i", "- /**"]


def test_other_words_between_them_change_nothing(run: Run) -> None:
    _, told = run("--exclude", "b", "--quiet", "--region", "eu", "--places", "x", "--filter", "+ a", "--exclude", "c")
    assert rules(told) == ["- b", "+ a", "- c"]


def test_no_option_is_no_filter(run: Run) -> None:
    assert run()[1] == '{"rules": []}\n'


def test_bounds_lists_and_gitignore(run: Run, tmp_path: Path) -> None:
    for name, text in (("one", "*.log\n# no\n"), ("two", "!a.log\r\n"), ("list", "a\n/b\n"), ("more", "; no\nc\n")):
        (tmp_path / name).write_text(text)
    one, two, listed, more = (str(tmp_path / name) for name in ("one", "two", "list", "more"))
    _, told = run("--min-size", "1K", "--max-size", "1M", "--newer", "7d", "--older", "2025-06-14T00:00:00Z")
    assert json.loads(told) == {
        "rules": [],
        "min_size_bytes": 1024,
        "max_size_bytes": 1 << 20,
        "newer": "604800s",
        "older": "2025-06-14T00:00:00+00:00",
    }
    assert json.loads(run("--ignore-file", one, "--ignore-file", two)[1])["ignore"] == ["*.log", "!a.log"]
    assert json.loads(run("--files-from", listed, "--files-from", more)[1])["files_from"] == ["a", "b", "c"]


@contextmanager
def piped(content: bytes) -> Iterator[None]:
    """This process's standard input is a pipe with that in it."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stdin, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        yield


def test_standard_input_is_one_of_the_files_once(run: Run) -> None:
    with piped(b"- a\n+ b\n"):
        assert rules(run("--filter-from", "-", "--exclude", "c")[1]) == ["- a", "+ b", "- c"]
    with piped(b"a\nb\n"):
        assert json.loads(run("--files-from", "-")[1])["files_from"] == ["a", "b"]
    with piped(b""):
        code, told = run("--filter-from", "-", "--filter-from", "-")
    assert code == 2
    assert "--filter-from -: standard input is read by --filter-from already" in told


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--exclude", "a]"], "--exclude a]: 'a]' is no pattern of a path: a `]` has no `[`"),
        (["--include", "a", "--filter", "b"], "--filter b: 'b' is no rule"),
        (["--filter-from", "{rules}"], "--filter-from {rules}: '[' is no pattern of a path: a `[` is not closed"),
        (["--filter-from", "no/such"], "--filter-from no/such: No such file or directory"),
        (["--ignore-file", "no/such"], "--ignore-file no/such: No such file or directory"),
        (["--min-size", "100"], "--min-size: '100' has no unit; give 100B for bytes or 100K for KiB"),
        (["--newer", "soon"], "--newer: 'soon' is no time"),
        (["--newer", "1d", "--older", "7d"], "nothing is newer"),
        (["--files-from", "{rules}", "--exclude", "a"], "a list of files is a choice by itself"),
    ],
)
def test_wrong_words_are_answered_in_one_line(run: Run, tmp_path: Path, words: list[str], why: str) -> None:
    rules_file = tmp_path / "rules"
    rules_file.write_text("- [\n")
    code, told = run(*(word.replace("{rules}", str(rules_file)) for word in words))
    assert code == 2
    assert why.replace("{rules}", str(rules_file)) in told
    assert told.count("\n") == 1


def test_the_help_tells_the_options() -> None:
    app = typer.Typer()
    app.command("show", cls=Ordered)(command(show))
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for field in dataclasses.fields(Filtering):
        assert f"--{field.name.replace('_', '-')} " in told
