"""Commands on local directories and the default store: what they do, print, and return."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from benchmarks.trees import tree_hashes

from cli.programs import Run, make_tree
from entrepot.cli import runner
from entrepot.cli.failures import Interrupted

# ---- cp -------------------------------------------------------------------------------------------------


def test_a_tree_into_the_default_store_and_back_is_the_same(run: Run, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", files=60, large_bytes=20 << 20)
    (tree / "empty directory").mkdir()
    there = run("cp", "-r", tree, "default:first")
    assert (there.code, there.stderr) == (0, "")
    assert there.stdout.startswith("copied 73 files and 1 empty directory, 20.0 MiB")
    assert run("cp", "-r", "default:first", tmp_path / "back").code == 0
    assert tree_hashes(tmp_path / "back") == tree_hashes(tree)
    assert (tmp_path / "back" / "empty directory").is_dir()
    assert run("ls", "default:").lines == ["first/"]


def test_contents_land_below_the_target_whatever_is_there(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "src", files=3)
    expected = tree_hashes(own_directories / "src")
    for source, target in (("src", "a"), ("src/", "a"), ("src", "a/"), ("./src/", "./a/")):
        assert run("cp", "-r", source, target).code == 0
        assert tree_hashes(own_directories / "a") == expected


def test_a_file_is_copied_to_the_target_itself(run: Run, own_directories: Path) -> None:
    (own_directories / "one.txt").write_text("1")
    assert run("cp", "one.txt", "deep/er/two.txt").code == 0
    assert (own_directories / "deep/er/two.txt").read_text() == "1"
    onto_directory = run("cp", "one.txt", "deep")
    assert onto_directory.code == 2
    assert "--into" in onto_directory.stderr
    assert tree_hashes(own_directories / "deep") == {"er/two.txt": tree_hashes(own_directories)["one.txt"]}


def test_into_puts_sources_below_a_directory_by_their_names(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=3)
    (own_directories / "one.txt").write_text("1")
    assert run("cp", "-r", "tree/", "one.txt", "--into", "all").code == 0
    assert sorted(os.listdir("all")) == ["one.txt", "tree"]
    assert tree_hashes(own_directories / "all" / "tree") == tree_hashes(own_directories / "tree")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cp", "a"], "--into DIR"),
        (["cp", "a", "b", "c"], "--into DIR"),
        (["cp", "x/a", "y/a", "--into", "d"], "copy them one by one"),
        (["cp", "-r", "s3://bucket", "--into", "d"], "no name to land by"),
        (["cp", "-", "--into", "d"], "copied alone"),
        (["cp", "-", "-"], "copied alone"),
        (["cp", "a", "b", "--links", "folow"], "did you mean follow"),
        (["cp", "a", "b", "--concurrency", "none"], "whole number"),
        (["cp", "a", "b", "--memory", "lots"], "256MiB"),
        (["cp", "a", "b", "--endpoint-url", "http://127.0.0.1:1"], "--endpoint-url is for none of these addresses"),
        (["cp", "a", "b", "--sorted"], "No such option"),
        (["cp"], "Missing argument 'DST'"),
        (["cpp", "a", "b"], "Did you mean 'cp'"),
        (["cp", "a", "ftp://host/x"], "ftp"),
        (["cp", "a", "no-such-store:x"], "no-such-store"),
        (["cp", "a", ""], "empty"),
        (["ls", "s3://"], "s3://"),
        (["ls", "s3://bucket/../c"], "'..'"),
        (["ls", "s3://bucket//c"], "empty segment"),
        (["mv", "-", "b"], "cannot be moved"),
        (["cat", "-"], "standard input"),
        (["tree", "--depth", "0"], "whole number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_exit_code_2(
    run: Run, arguments: list[str], says: str, own_directories: Path
) -> None:
    (own_directories / "a").write_text("a")
    result = run(*arguments)
    assert result.code == 2, result
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("entrepot: ")
    assert says in result.stderr
    assert tree_hashes(own_directories).keys() == {"a"}


def test_a_directory_needs_r(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=1)
    for command in (["cp", "tree", "copy"], ["rm", "tree"]):
        result = run(*command)
        assert (result.code, result.stdout) == (2, "")
        assert "add -r" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (own_directories / "copy").exists()


@pytest.mark.parametrize("target", ["tree", "tree/below", "tree/d0/x"])
def test_a_target_inside_its_own_source_is_refused(run: Run, own_directories: Path, target: str) -> None:
    tree = make_tree(own_directories / "tree", files=3)
    before = tree_hashes(tree)
    for verb in (["cp", "-r"], ["mv"]):
        result = run(*verb, "tree", target)
        assert result.code == 2
        assert "choose another target" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert tree_hashes(tree) == before


def test_a_missing_source_is_one_line(run: Run, own_directories: Path) -> None:
    result = run("cp", "nowhere", "target")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"entrepot: cp {own_directories}/nowhere: ")
    assert "; " in result.stderr
    assert not (own_directories / "target").exists()


def test_the_other_sources_are_copied_when_one_is_missing(run: Run, own_directories: Path) -> None:
    (own_directories / "there").write_text("x")
    result = run("cp", "nowhere", "there", "--into", "all")
    assert result.code == 1
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir("all") == ["there"]


def test_no_overwrite_leaves_what_is_there(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=2)
    (own_directories / "copy").mkdir()
    (own_directories / "copy" / "empty.bin").write_text("mine")
    result = run("cp", "-r", "--no-overwrite", "tree", "copy")
    assert result.code == 0
    assert "1 skipped" in result.stdout
    assert (own_directories / "copy" / "empty.bin").read_text() == "mine"
    assert run("cp", "-r", "tree", "copy").code == 0
    assert (own_directories / "copy" / "empty.bin").read_text() == ""


def test_a_dry_run_changes_nothing(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=2)
    before = tree_hashes(own_directories)
    copied = run("cp", "-r", "--dry-run", "tree", "copy")
    assert copied.code == 0
    assert "would copy tree/empty.bin -> copy/empty.bin" in copied.lines
    assert copied.lines[-1].startswith("would copy 14 files")
    assert "would move tree/empty.bin -> copy/empty.bin" in run("mv", "-n", "tree", "copy").lines
    assert "would remove tree/empty.bin" in run("rm", "-r", "-n", "tree").lines
    assert run("mkdir", "-n", "new").lines == ["would make new"]
    assert tree_hashes(own_directories) == before
    assert os.listdir(own_directories) == ["tree"]


def test_json_has_the_documented_fields(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=2)
    value = run("cp", "-r", "--json", "tree", "copy").value
    assert value.keys() == {
        "ok", "files", "bytes", "skipped", "failed", "directories", "empty_directories_skipped", "links",
        "links_skipped", "special_skipped", "excluded", "deleted", "not_deleted", "resumed", "resumed_bytes",
        "removed", "verified", "unverified", "unverified_files", "unverified_reasons", "seconds",
        "dry_run", "sources", "target",
    }  # fmt: skip
    assert (value["ok"], value["files"], value["sources"], value["target"]) == (True, 14, ["tree"], "copy")
    failed = run("cp", "--json", "nowhere", "copy2")
    assert failed.code == 1
    assert failed.values[0]["error"]["kind"] == "NotFound"
    assert failed.values[-1]["ok"] is False


def test_links_are_skipped_or_followed(run: Run, own_directories: Path) -> None:
    tree = own_directories / "tree"
    tree.mkdir()
    (tree / "file").write_text("x")
    (tree / "link").symlink_to("file")
    result = run("cp", "-r", "tree", "copy")
    assert result.code == 0
    assert "1 symbolic link skipped" in result.stdout
    assert os.listdir("copy") == ["file"]


def test_links_are_followed_or_preserved_when_asked(run: Run, own_directories: Path) -> None:
    tree = own_directories / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "file").write_text("x")
    (tree / "link").symlink_to("d")
    (tree / "loop").symlink_to("..")
    (tree / "nothing").symlink_to("nowhere")
    followed = run("cp", "-r", "--links", "follow", "tree", "copy")
    assert (followed.code, len(followed.stderr.splitlines())) == (1, 2), followed
    assert tree_hashes(own_directories / "copy").keys() == {"d/file", "link/file"}
    dry = run("cp", "-r", "-n", "--links", "preserve", "tree", "kept")
    assert "would link kept/link -> d" in dry.lines
    kept = run("cp", "-r", "--links", "preserve", "--json", "tree", "kept")
    assert (kept.code, kept.value["files"], kept.value["links"], kept.value["links_skipped"]) == (0, 1, 3, 0)
    assert os.readlink(own_directories / "kept" / "loop") == ".."
    assert "and 3 symbolic links" in run("cp", "-r", "--links", "preserve", "tree", "kept").stdout


def test_a_target_that_keeps_no_links_says_what_else_can_be_done(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=1)
    result = run("cp", "-r", "--links", "preserve", "tree", "memory://x/y")
    assert result.code == 1
    assert "--links preserve is not possible" in result.stderr
    assert "--links follow" in result.stderr


def test_a_store_in_memory_lasts_as_long_as_its_command(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=4)
    copied = run("cp", "-r", "tree", "memory://scratch/x")
    assert (copied.code, copied.stderr) == (0, "")
    assert copied.stdout.startswith("copied 16 files")


def test_mode_and_time_are_kept(run: Run, own_directories: Path) -> None:
    source = own_directories / "script"
    source.write_text("x")
    source.chmod(0o755)
    os.utime(source, (1_600_000_000, 1_600_000_000))
    assert run("cp", "script", "copy").code == 0
    kept = (own_directories / "copy").stat()
    assert (kept.st_mode & 0o777, kept.st_mtime) == (0o755, 1_600_000_000)


# ---- mv -------------------------------------------------------------------------------------------------


def test_mv_moves_files_and_directories(run: Run, own_directories: Path) -> None:
    tree = make_tree(own_directories / "tree", files=5)
    expected = tree_hashes(tree)
    result = run("mv", "tree", "moved/tree")
    assert (result.code, result.stderr) == (0, "")
    assert not tree.exists()
    assert tree_hashes(own_directories / "moved" / "tree") == expected
    assert run("mv", "moved/tree/empty.bin", "e").code == 0
    assert (own_directories / "e").is_file()
    assert not (own_directories / "moved/tree/empty.bin").exists()


def test_mv_merges_into_what_is_there(run: Run, own_directories: Path) -> None:
    tree = make_tree(own_directories / "tree", files=5)
    expected = tree_hashes(tree)
    (own_directories / "there").mkdir()
    (own_directories / "there" / "mine").write_text("x")
    assert run("mv", "tree", "there").code == 0
    assert not tree.exists()
    assert tree_hashes(own_directories / "there").items() >= expected.items()
    assert (own_directories / "there" / "mine").read_text() == "x"


def test_mv_without_overwrite_keeps_both(run: Run, own_directories: Path) -> None:
    (own_directories / "a").write_text("a")
    (own_directories / "b").write_text("b")
    result = run("mv", "--no-overwrite", "a", "b")
    assert result.code == 0
    assert "1 skipped" in result.stdout
    assert (own_directories / "a").read_text() == "a"
    assert (own_directories / "b").read_text() == "b"


def test_a_failed_move_keeps_the_source(run: Run, own_directories: Path) -> None:
    (own_directories / "a").write_text("a")
    (own_directories / "file").write_text("f")
    result = run("mv", "a", "file/below")
    assert result.code == 1
    assert (own_directories / "a").read_text() == "a"


# ---- rm, mkdir ------------------------------------------------------------------------------------------


def test_rm_removes_and_counts(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=2)
    (own_directories / "tree2").write_text("stays")
    (own_directories / "one").write_text("x")
    assert run("rm", "one").lines == ["removed 1 file, 1 B"]
    assert run("rm", "-r", "tree").lines[0].startswith("removed 14 files")
    assert os.listdir(own_directories) == ["tree2"]
    missing = run("rm", "one")
    assert (missing.code, missing.stdout) == (1, "")


@pytest.mark.parametrize("address", ["default:", "/", "~", "s3://bucket", "s3://bucket/", "memory://m"])
def test_a_whole_store_is_not_removed_without_being_asked(run: Run, address: str) -> None:
    address = os.path.expanduser(address)
    result = run("rm", "-r", "--dry-run", address)
    assert result.code == 2
    assert "--all" in result.stderr


def test_with_all_a_whole_store_is_emptied(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=2)
    assert run("cp", "-r", "tree", "default:x").code == 0
    assert run("rm", "-r", "--all", "default:").code == 0
    assert run("ls", "default:").lines == []


def test_mkdir_is_strict_unless_asked(run: Run, own_directories: Path) -> None:
    assert run("mkdir", "a/b").code == 1
    assert run("mkdir", "a", "a/b").code == 0
    assert run("mkdir", "a/b").code == 1
    assert run("mkdir", "-p", "a/b", "c/d/e").code == 0
    assert (own_directories / "c/d/e").is_dir()


# ---- looks ----------------------------------------------------------------------------------------------


def test_ls_lists_names_sorted_with_directories_marked(run: Run, own_directories: Path) -> None:
    for name in ("b", "a.txt", "Z"):
        (own_directories / name).write_text("12345")
    (own_directories / "a").mkdir()
    (own_directories / "a" / "x").write_text("x")
    assert run("ls").lines == ["Z", "a.txt", "a/", "b"]
    assert run("ls", "-r").lines == ["Z", "a.txt", "a/", "a/x", "b"]
    assert run("ls", "a/x").lines == ["x"]
    size, time, name = run("ls", "-l", "b").lines[0].split()
    assert (size, name) == ("5", "b")
    assert time.endswith("Z")
    values = run("ls", "--json").values
    assert [value["name"] for value in values] == ["Z", "a.txt", "a", "b"]
    assert [value["type"] for value in values] == ["file", "file", "directory", "file"]
    assert values[0]["uri"] == str(own_directories / "Z")
    assert values[0]["size_bytes"] == 5


def test_ls_of_nothing_is_one_line(run: Run) -> None:
    result = run("ls", "nowhere")
    assert (result.code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1


def test_tree_draws(run: Run, own_directories: Path) -> None:
    for name in ("a/x", "a/b/y", "c"):
        path = own_directories / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert run("tree").lines == [
        ".", "├── a/", "│   ├── b/", "│   │   └── y", "│   └── x", "└── c", "", "2 directories, 3 files",
    ]  # fmt: skip
    assert run("tree", "--depth", "1").lines == [".", "├── a/", "└── c", "", "1 directory, 1 file"]
    assert [(value["name"], value["level"]) for value in run("tree", "--json").values] == [
        ("a", 1), ("b", 2), ("y", 3), ("x", 2), ("c", 1),
    ]  # fmt: skip


def test_du_adds_up(run: Run, own_directories: Path) -> None:
    for name, size in (("a/x", 1000), ("a/b/y", 24), ("c", 3000)):
        path = own_directories / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert [line.split() for line in run("du").lines] == [["1024", "a/"], ["3000", "c"], ["4024", "."]]
    assert run("du", "-s", "-h", "a").lines == ["   1.0 KiB  a"]
    assert run("du", "-s", "--json", "a", "c").values == [
        {"name": "a", "uri": str(own_directories / "a"), "size_bytes": 1024, "files": 2, "total": True},
        {"name": "c", "uri": str(own_directories / "c"), "size_bytes": 3000, "files": 1, "total": True},
    ]


def test_glob_prints_addresses_in_the_form_of_the_pattern(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=4)
    assert run("glob", "tree/d0/*/f*.bin").lines == ["tree/d0/sub 0/f000.bin", "tree/d0/sub 1/f003.bin"]
    assert run("glob", f"{own_directories}/tree/**/f001.bin").lines == [f"{own_directories}/tree/d1/sub 1/f001.bin"]
    assert run("cp", "-r", "tree", "default:t").code == 0
    assert run("glob", "default:t/*.bin").lines == ["default:t/empty.bin"]
    assert run("glob", "default:*").lines == ["default:t"]
    nothing = run("glob", "*.none")
    assert (nothing.code, nothing.stdout) == (1, "")


def test_stat_tells_what_is_known(run: Run, own_directories: Path) -> None:
    (own_directories / "a").write_text("12345")
    assert run("stat", "a").lines[:3] == [f"uri:      {own_directories}/a", "type:     file", "size:     5 bytes"]
    value = run("stat", "--json", "a").value
    assert (value["type"], value["size_bytes"]) == ("file", 5)
    both = run("stat", "a", "nowhere")
    assert both.code == 1
    assert len(both.stderr.splitlines()) == 1


def test_cat_is_binary_safe(run: Run, own_directories: Path) -> None:
    (own_directories / "a").write_bytes(b"a\r\n")
    (own_directories / "b").write_bytes(b"b\0")
    assert run("cat", "a", "b").stdout == "a\r\nb\0"


def test_control_characters_never_reach_the_terminal(run: Run, own_directories: Path) -> None:
    (own_directories / "evil\x1b[31m\nname").write_text("x")
    listed = run("ls")
    assert listed.lines == ["evil\\x1b[31m\\nname"]
    refused = run("cat", "evil\x1b[31m\nname")
    assert refused.code in {1, 2}
    assert len(refused.stderr.splitlines()) == 1
    assert "\x1b" not in refused.stderr


def test_version(run: Run) -> None:
    from entrepot import __version__

    assert run("version").stdout.startswith(f"entrepot {__version__} ")
    assert run("version", "--json").value["entrepot"] == __version__
    assert run("--version").lines == [__version__]


@pytest.mark.parametrize("command", ["cp", "mv", "rm", "ls", "tree", "du", "glob", "cat", "stat", "mkdir", "version"])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    shown = run(command, "--help")
    assert shown.code == 0
    assert shown.stdout.startswith(f"Usage: entrepot {command} ")
    assert "--json" in shown.stdout
    assert all(len(line) <= 110 for line in shown.lines)
    assert command in run("--help").stdout


def test_help_states_what_lands_where_and_the_exit_codes(run: Run) -> None:
    shown = run("cp", "--help").stdout
    assert "what is in DIR lands below DST: DIR/x is copied to DST/x" in shown
    assert "Exit codes: 0 all done" in run("--help").stdout
    assert run().code == 2


# ---- symbolic links named on the command line ------------------------------------------------------------


def test_rm_of_a_link_removes_the_link(run: Run, own_directories: Path) -> None:
    make_tree(own_directories / "tree", files=2)
    (own_directories / "file").write_text("stays")
    for name, target in (("to-file", "file"), ("to-tree", "tree"), ("to-nothing", "nowhere"), ("deep", "to-file")):
        (own_directories / name).symlink_to(target)
    assert run("rm", "--dry-run", "to-file").lines[0] == "would remove to-file"
    for arguments in (["to-file"], ["-r", "to-tree"], ["to-nothing"], ["-r", "deep"]):
        result = run("rm", *arguments)
        assert (result.code, result.stderr) == (0, ""), result
        assert not os.path.lexists(own_directories / arguments[-1])
    assert sorted(os.listdir()) == ["file", "tree"]
    assert (own_directories / "file").read_text() == "stays"
    assert len(tree_hashes(own_directories / "tree")) == 13 + 1


def test_mv_of_a_link_moves_neither_it_nor_what_it_names(run: Run, own_directories: Path) -> None:
    (own_directories / "file").write_text("stays")
    (own_directories / "link").symlink_to("file")
    result = run("mv", "link", "moved")
    assert result.code == 2
    assert "symbolic link" in result.stderr
    assert sorted(os.listdir()) == ["file", "link"]
    assert (own_directories / "file").read_text() == "stays"


# ---- errors that every further item would meet -----------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["cp", *"abcdef", "--into", "s3://none/x"], ["rm", *(f"s3://none/{c}" for c in "abc")]]
)
def test_what_every_further_address_would_meet_is_told_once(
    run: Run, own_directories: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    for name in "abcdef":
        (own_directories / name).write_text(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    result = run(*command, "--endpoint-url", "http://127.0.0.1:9")
    assert result.code == 1
    assert len(result.stderr.splitlines()) == 2, result.stderr
    assert "more were not tried" in result.stderr


@pytest.mark.parametrize("command", [["cat", "tree"], ["cp", "tree", "-"]])
def test_a_directory_has_no_content(run: Run, own_directories: Path, command: list[str]) -> None:
    make_tree(own_directories / "tree", files=1)
    result = run(*command)
    assert result.code in {1, 2}
    assert "add -r" not in result.stderr
    assert "name a file" in result.stderr


@pytest.mark.parametrize("target", ["tree", "memory://x"])
def test_a_stream_needs_a_name(run: Run, own_directories: Path, target: str) -> None:
    make_tree(own_directories / "tree", files=1)
    result = run("cp", "-", target)
    assert result.code == 2
    assert "needs a name" in result.stderr


# ---- other systems ---------------------------------------------------------------------------------------


def test_a_move_between_drives_copies(run: Run, own_directories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def different_drives(paths: object) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr("entrepot.cli.renames.os.path.commonpath", different_drives)
    (own_directories / "a").write_text("a")
    assert run("mv", "a", "b").code == 0
    assert os.listdir() == ["b"]


def test_ctrl_c_is_told_where_the_loop_takes_no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted() -> int:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)
        return 0

    monkeypatch.setattr(runner, "_handle", lambda loop, stop: [])
    with pytest.raises(Interrupted):
        runner.run_until_done(interrupted)
