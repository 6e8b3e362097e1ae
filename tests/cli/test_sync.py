"""`sync`, `check`, and copies that choose: what they print, and return."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from benchmarks.trees import tree_hashes

from cli.programs import Run, make_tree


def test_a_directory_is_synchronised_and_checked(run: Run, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", files=20)
    first = run("sync", tree, "default:there", "--delete")
    assert (first.code, first.stderr) == (0, "")
    assert first.stdout.startswith("copied 20 files") or first.stdout.startswith("copied ")
    again = run("sync", tree, "default:there", "--delete")
    assert again.stdout.startswith("copied 0 files")
    assert "skipped (already there)" in again.stdout
    equal = run("check", tree, "default:there")
    assert (equal.code, equal.stderr) == (0, "")
    assert "equal" in equal.stdout
    (tree / "new").write_text("1")
    for path in tree.rglob("*"):
        if path.is_file() and path.name != "new":
            gone = path
            break
    gone.unlink()
    differs = run("check", tree, "default:there")
    assert differs.code == 1
    assert "+ new" in differs.lines
    assert f"- {gone.relative_to(tree)}" in differs.lines
    dry = run("sync", tree, "default:there", "--delete", "--dry-run")
    assert any(line.startswith("would delete default:there/") for line in dry.lines)
    assert run("sync", tree, "default:there", "--delete").code == 0
    assert run("cp", "-r", "default:there", tmp_path / "back").code == 0
    assert tree_hashes(tmp_path / "back") == tree_hashes(tree)


def test_what_is_deleted_is_bounded_and_kept_aside(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "src", files=2)
    make_tree(own_directories / "dst", files=6)
    refused = run("sync", "src", "dst", "--delete", "--max-delete", "1")
    assert refused.code == 1
    assert "more than the 1 that may be; nothing was deleted" in refused.stderr
    elsewhere = run("sync", "src", "dst", "--delete", "--backup-dir", "default:kept")
    assert elsewhere.code == 2
    assert "in the store of the target" in elsewhere.stderr
    before = tree_hashes(own_directories / "dst")
    assert run("sync", "src", "dst", "--delete", "--backup-dir", "dst/.kept").code == 0
    after = tree_hashes(own_directories / "dst")
    assert {name for name in after if not name.startswith(".kept/")} == set(tree_hashes(own_directories / "src"))
    assert {name: after[f".kept/{name}"] for name in before if f".kept/{name}" in after}


def test_an_empty_source_does_not_empty_its_target(run: Run, own_directories: Path) -> None:
    (own_directories / "src").mkdir()
    make_tree(own_directories / "dst", files=3)
    refused = run("sync", "src", "dst", "--delete")
    assert refused.code == 1
    assert "the source has no file" in refused.stderr
    assert len(tree_hashes(own_directories / "dst")) >= 3


def test_files_are_chosen_in_the_order_of_the_command_line(run: Run, own_directories: Path) -> None:
    for name in ("a.csv", "b.tmp", "keep/c.tmp", "keep/d.csv"):
        path = own_directories / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    told = run("cp", "-r", "src", "one", "--filter", "+ /keep/**", "--exclude", "*.tmp")
    assert sorted(tree_hashes(own_directories / "one")) == ["a.csv", "keep/c.tmp", "keep/d.csv"]
    assert "1 file left out by filters" in told.stdout
    run("cp", "-r", "src", "two", "--exclude", "*.tmp", "--filter", "+ /keep/**")
    assert sorted(tree_hashes(own_directories / "two")) == ["a.csv", "keep/d.csv"]
    (own_directories / "list").write_text("keep/d.csv\n")
    run("cp", "-r", "src", "three", "--files-from", "list")
    assert sorted(tree_hashes(own_directories / "three")) == ["keep/d.csv"]


def test_comparisons_by_name(run: Run, own_directories: Path) -> None:
    for place, text in (("src", "new"), ("dst", "old")):
        (own_directories / place).mkdir()
        (own_directories / place / "a").write_text(text)
        os.utime(own_directories / place / "a", (1_600_000_000, 1_600_000_000))
    assert "1 skipped" in run("cp", "-r", "src", "dst", "--compare", "different").stdout
    assert run("cp", "-r", "src", "dst", "--compare", "error").code == 1
    assert run("cp", "-r", "src", "dst", "--compare", "checksum").stdout.startswith("copied 1 file")
    wrong = run("cp", "-r", "src", "dst", "--compare", "sise")
    assert (wrong.code, "did you mean size?" in wrong.stderr) == (2, True)
    both = run("cp", "-r", "src", "dst", "--compare", "size", "--no-overwrite")
    assert both.code == 2


def test_a_check_as_json(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "src", files=2)
    run("cp", "-r", "src", "dst")
    (own_directories / "dst" / "more").write_text("1")
    told = run("check", "src", "dst", "--json")
    assert told.code == 1
    values = [json.loads(line) for line in told.lines]
    assert values[0] == {"path": "more", "finding": "missing at the source", "reason": ""}
    assert (values[-1]["ok"], values[-1]["missing_at_source"]) == (False, 1)
    assert run("check", "src", "dst", "--one-way").code == 0


@pytest.mark.parametrize("arguments", [("sync", "-", "dst"), ("sync", "src", "dst", "--max-delete", "3")])
def test_wrong_use_is_told(run: Run, own_directories: Path, arguments: tuple[str, ...]) -> None:
    make_tree(own_directories / "src", files=1)
    assert run(*arguments).code == 2


def test_a_copy_is_planned_shown_and_run_in_shards(run: Run, own_directories: Path) -> None:
    tree = make_tree(own_directories / "src", files=8, large_bytes=20 << 20)
    planned = run("sync", "src", "default:dst", "--delete", "--plan-out", "plan.jsonl")
    assert (planned.code, planned.stderr) == (0, "")
    assert "run it with `entrepot plan run plan.jsonl`" in planned.stdout
    assert run("ls", "default:").lines == []
    shown = run("plan", "show", "plan.jsonl", "--entries")
    assert sum(line.startswith("copy ") for line in shown.lines) == len(tree_hashes(tree))
    for part in ("1/2", "2/2"):
        assert run("plan", "run", "plan.jsonl", "--shard", part).code == 0
    assert run("check", "src", "default:dst").code == 0
    assert run("plan", "run", "plan.jsonl").code == 0
    assert run("plan", "run", "plan.jsonl", "--shard", "3/2").code == 2
    assert run("plan", "run", "none").code == 2
    assert run("cp", "-r", "src", "src", "--into", "all", "--plan-out", "x").code == 2
