"""`artifact-store flavor …`: the list, registering, describing, deleting; and a registered flavor in other commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.programs import TIMEOUT_S, Run, environment, program
from cli.test_program import ESCAPES, terminal
from contract.sftp_server import PASSWORD, SftpServer, sftp_server

EXAMPLE = Path(__file__).parents[2] / "examples" / "sftp_store.py"
FLAVOR = ("artifact-store", "flavor")
STORE = """
from dataclasses import dataclass
from entrepot.flavors.memory import MemoryArtifactStore

@dataclass(frozen=True)
class Config:
    path: str
    depth: int = 3

class Store(MemoryArtifactStore):
    FLAVOR = "{name}"
    SUPPORTED_SCHEMES = frozenset({{"{name}://"}})
    CONFIG = Config
"""


@pytest.fixture(autouse=True)
def no_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command adds to the path and imports does not outlive its test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if name.startswith("mine_"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp_server(tmp_path_factory.mktemp("sftp")) as running:
        yield running


# ---- list -----------------------------------------------------------------------------------------------


def test_the_list_is_columns_in_a_pipe_and_objects_for_machines(run: Run, own_directories: Path) -> None:
    (own_directories / "mine_list.py").write_text(STORE.format(name="mine"))
    assert run(*FLAVOR, "register", "mine_list.Store").code == 0
    listed = run(*FLAVOR, "list")
    assert (listed.code, listed.stderr) == (0, "")
    assert listed.lines[0].split() == ["FLAVOR", "ADDRESSES", "FROM", "INSTALLED"]
    rows = {line.split("  ")[0].strip(): line for line in listed.lines[1:]}
    assert rows["local"].split() == ["local", "paths,", "file://", "built-in", "yes"]
    assert rows["mine"].split() == ["mine", "mine://", "registered", "yes"]
    values = {value["name"]: value for value in run(*FLAVOR, "list", "--json").values}
    assert values["s3"] == {
        "name": "s3",
        "schemes": ["s3://"],
        "source": "entrepot.flavors.s3.store:S3ArtifactStore",
        "origin": "built-in",
        "installed": True,
    }
    assert values["local"]["schemes"] == ["", "file://"]


def test_a_flavor_that_cannot_be_used_says_why(run: Run, own_directories: Path) -> None:
    source = own_directories / "mine_gone.py"
    source.write_text(STORE.format(name="mine"))
    run(*FLAVOR, "register", "mine_gone:Store")
    source.unlink()
    shutil.rmtree(own_directories / "__pycache__", ignore_errors=True)
    listed = program(*FLAVOR, "list")
    assert [line for line in listed.lines if line.endswith("no: no module mine_gone; put it on the path")]
    used = program("ls", "mine://x")
    assert used.code == 2
    assert "no module mine_gone on the path; install it, or add its directory to PYTHONPATH" in used.stderr
    assert len(used.stderr.splitlines()) == 1


def test_the_list_is_drawn_on_a_terminal() -> None:
    with terminal(*FLAVOR, "list") as (process, read):
        drawn = read()
    assert process.returncode == 0
    assert "─" in drawn
    assert "s3://" in ESCAPES.sub("", drawn)


def test_the_list_in_a_pipe_imports_neither_pydantic_nor_rich_nor_an_sdk() -> None:
    code = (
        "import sys; from entrepot.cli import main; code = main(['artifact-store', 'flavor', 'list']);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True, env=environment()
    )
    assert not set(done.stderr.split()) & {"pydantic", "rich", "aiohttp", "aiobotocore", "botocore", "tomlkit"}


# ---- describe, register, delete -------------------------------------------------------------------------


def test_a_flavor_is_described_with_its_keys(run: Run) -> None:
    shown = run(*FLAVOR, "describe", "s3")
    assert shown.lines[:5] == [
        "flavor:    s3",
        "addresses: s3://",
        "from:      built-in",
        "source:    entrepot.flavors.s3.store:S3ArtifactStore",
        "installed: yes",
    ]
    rows = {line.split()[0]: line.split()[1:] for line in shown.lines[shown.lines.index("") :] if line}
    assert rows["path"] == ["str", "required"]
    assert rows["secret"] == ["secret", "-"]
    assert rows["addressing_style"] == ["auto|path|virtual", "auto"]
    options = {one["name"]: one for one in run(*FLAVOR, "describe", "s3", "--json").value["options"]}
    assert options["path"] == {"name": "path", "type": "str", "required": True, "secret": False}
    assert options["token"] == {"name": "token", "type": "secret", "required": False, "secret": True, "default": None}
    local = run(*FLAVOR, "describe", "local", "--json").value
    assert local["options"][1]["type"] == "full|batch|none"
    assert "durability" in local["description"]


def test_an_unknown_flavor_names_the_nearest(run: Run) -> None:
    told = run(*FLAVOR, "describe", "locla")
    assert told.code == 2
    assert told.stderr.startswith(
        "entrepot: artifact-store flavor describe: unknown flavor 'locla'; did you mean local?"
    )


def test_a_flavor_is_registered_from_the_current_directory_and_deleted(run: Run, own_directories: Path) -> None:
    (own_directories / "mine_here.py").write_text(STORE.format(name="mine"))
    done = run(*FLAVOR, "register", "mine_here.Store")
    assert (done.code, done.stdout) == (0, "registered mine (mine_here:Store) for mine://\n")
    assert f"add {own_directories} to PYTHONPATH" in done.stderr
    again = run(*FLAVOR, "register", "mine_here:Store", "--json")
    assert again.value == {
        "name": "mine", "schemes": ["mine://"], "source": "mine_here:Store", "origin": "registered",
    }  # fmt: skip
    assert run(*FLAVOR, "describe", "mine", "--json").value["options"][1]["default"] == 3
    assert run(*FLAVOR, "delete", "mine").stdout == "deleted mine (mine_here:Store)\n"
    refused = run(*FLAVOR, "delete", "mine")
    assert (refused.code, refused.stdout) == (2, "")
    assert "no flavor 'mine' is registered" in refused.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("register", "no path"), "'no path' is no source path; write my_package.module:MyStore"),
        (("register", "mine_nowhere:Store"), "no module mine_nowhere on the path"),
        (("delete", "s3"), "'s3' was not registered by you"),
        (("register",), "Missing argument"),
        (("regster", "x"), "No such command 'regster'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run: Run, words: tuple[str, ...], complaint: str) -> None:
    told = run(*FLAVOR, *words)
    assert (told.code, told.stdout) == (2, "")
    assert complaint in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert told.stderr.startswith("entrepot: artifact-store flavor")


@pytest.mark.parametrize("words", [("artifact-store",), FLAVOR])
def test_a_group_alone_shows_what_there_is_in_it(run: Run, words: tuple[str, ...]) -> None:
    shown, asked = run(*words), run(*words, "--help")
    assert (shown.code, asked.code) == (2, 0)
    assert shown.stdout == asked.stdout
    assert f"Usage: entrepot {' '.join(words)}" in shown.stdout
    assert "register" in shown.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("artifact-store f", [b"flavor"]),
        ("artifact-store flavor d", [b"describe", b"delete"]),
        ("artif", [b"artifact-store", b"artifacts"]),
        ("stack set d", [b"default"]),
        ("stack register two -a d", [b"default"]),
        ("stack register two -o d", [b"default"]),
        ("artifact-store describe d", [b"default"]),
        ("step-operator describe d", []),
    ],
)
def test_shell_completion_knows_the_groups(typed: str, offered: list[bytes]) -> None:
    at = str(typed.count(" ") + 1)
    settings = {"_ENTREPOT_COMPLETE": "complete_bash", "COMP_WORDS": f"entrepot {typed}", "COMP_CWORD": at}
    code = "import sys; from entrepot.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=TIMEOUT_S, check=False, env=environment(**settings)
    )
    assert done.stdout.split() == offered


# ---- a registered flavor in other commands --------------------------------------------------------------


def test_the_example_is_registered_and_files_are_copied_there_and_back(
    own_directories: Path, server: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(EXAMPLE, own_directories)
    shutil.copytree(Path(server.private_key).parent, own_directories.parent / "home" / ".ssh")
    os.rename(
        own_directories.parent / "home" / ".ssh" / "user", own_directories.parent / "home" / ".ssh" / "id_ed25519"
    )
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    unknown = program("ls", server.uri("copied"))
    assert unknown.code == 2
    assert "unknown scheme sftp://" in unknown.stderr
    assert program(*FLAVOR, "register", "sftp_store.SftpArtifactStore").code == 0
    content = os.urandom(9_000_001)
    tree = own_directories / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "large.bin").write_bytes(content)
    (tree / "sub" / "é 100%.txt").write_text("small")
    up = program("cp", "-r", "tree", server.uri("copied"))
    assert (up.code, up.stderr) == (0, "")
    assert (server.folder / "copied" / "large.bin").read_bytes() == content
    assert program("ls", "-r", server.uri("copied")).lines == ["large.bin", "sub/", "sub/é 100%.txt"]
    down = program("cp", "-r", server.uri("copied"), "back")
    assert (down.code, down.stderr) == (0, "")
    assert (own_directories / "back" / "large.bin").read_bytes() == content
    assert (own_directories / "back" / "sub" / "é 100%.txt").read_text() == "small"
    configured = ("--config", f"known_hosts={server.known_hosts}")
    assert program("ls", *configured, server.uri("copied")).lines == ["large.bin", "sub/"]
    untrusted = program("ls", "--config", "known_hosts=/nowhere", server.uri("copied"))
    assert untrusted.code == 1
    assert "add it to known_hosts" in untrusted.stderr
    assert program("rm", "-r", server.uri("copied")).code == 0
    assert os.listdir(server.folder) == []


def test_a_configured_store_of_a_registered_flavor(
    own_directories: Path, server: SftpServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(EXAMPLE, own_directories)
    config = tmp_path / "config.toml"
    monkeypatch.setenv("ENTREPOT_CONFIG", str(config))
    config.write_text(
        f'[artifact_stores.lab]  # ours\nflavor = "sftp"\npath = "{server.uri("lab")}"\n'
        f'password = "{PASSWORD}"\nknown_hosts = "{server.known_hosts}"\n'
    )
    unregistered = program("ls", "lab:")
    assert unregistered.code == 2
    assert "unknown flavor 'sftp'" in unregistered.stderr
    assert program(*FLAVOR, "register", "sftp_store.SftpArtifactStore").code == 0
    assert "# ours" in config.read_text()
    (own_directories / "file").write_text("x")
    assert program("cp", "file", "lab:a/file").code == 0
    assert program("cat", "lab:a/file").raw == b"x"
    assert (server.folder / "lab" / "a" / "file").read_text() == "x"
