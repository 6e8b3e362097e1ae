"""The registry of components and stacks: two processes at once, secrets by reference, what an import costs."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entrepot import open_store_sync
from entrepot.components import StackComponentType
from entrepot.errors import ConfigurationError
from entrepot.registry import Home, entries, stacks
from entrepot.registry.stores import named_store

STORE, ORCHESTRATOR = StackComponentType.ARTIFACT_STORE, StackComponentType.ORCHESTRATOR


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("ENTREPOT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return Home.of_this_user()


CHANGES = """
import sys
from entrepot.components import StackComponentType
from entrepot.registry import entries, stacks
who, store = sys.argv[1], StackComponentType.ARTIFACT_STORE
input()
for number in range(25):
    name = f"{who}-{number}"
    entries.register(store, name, "memory", {"path": f"memory://{name}"})
    entries.update(store, name, {"path": f"memory://{name}/new"})
    stacks.register(stacks.Stack(name, artifact_store=name))
    stacks.set_active(name)
"""


def test_two_processes_change_the_registry_200_times_and_lose_nothing(home: Home) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", CHANGES, who], stdin=subprocess.PIPE, text=True) for who in ("aa", "bb")
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.close()
    while any(racer.poll() is None for racer in racers):
        if Path(home.config_file).exists():
            tomllib.loads(Path(home.config_file).read_text())  # it is whole whenever somebody looks
        time.sleep(0.02)
    for racer in racers:
        assert racer.wait(60) == 0
    names = {f"{who}-{number}" for who in ("aa", "bb") for number in range(25)}
    assert set(stacks.stacks()) == names | {"default"}
    found = entries.entries(STORE)
    assert {name for name in found if name != "default"} == names
    assert all(found[name].options["path"] == f"memory://{name}/new" for name in names)
    assert stacks.active_stack().stack.name in ("aa-24", "bb-24")


class Overtaken(Home):
    """Another process changes the file between the look at it and the change of it."""

    other: Callable[[], Any]

    def change(self, purpose: str, change: Callable[..., Any]) -> Any:
        other, type(self).other = type(self).other, lambda: None
        other()
        return super().change(purpose, change)


def overtaken(home: Home, other: Callable[[], Any]) -> Home:
    Overtaken.other = other
    return Overtaken(home.config_file, home.data_dir)


def test_two_changes_of_one_stack_are_both_kept(home: Home) -> None:
    entries.register(STORE, "far", "memory", {"path": "memory://far"})
    entries.register(ORCHESTRATOR, "slow", "local", {"concurrency": "1"})
    stacks.register(stacks.Stack("team"))
    slow = overtaken(home, lambda: stacks.update("team", {ORCHESTRATOR: "slow"}))
    stacks.update("team", {STORE: "far"}, slow)
    team = stacks.stack_named("team")
    assert (team.orchestrator, team.artifact_store) == ("slow", "far")


def test_a_stack_is_made_only_of_what_is_still_there(home: Home) -> None:
    entries.register(STORE, "far", "memory", {"path": "memory://far"})
    slow = overtaken(home, lambda: entries.delete(STORE, "far"))
    with pytest.raises(ConfigurationError, match="no artifact store is called 'far'"):
        stacks.register(stacks.Stack("team", artifact_store="far"), slow)
    stacks.register(stacks.Stack("team"))
    slow = overtaken(home, lambda: stacks.delete("team"))
    with pytest.raises(ConfigurationError, match="no stack is called 'team'"):
        stacks.set_active("team", slow)
    assert stacks.active_stack().stack.name == "default"


def test_an_import_registers_all_or_nothing(home: Home) -> None:
    entries.register(STORE, "far", "memory", {"path": "memory://far"})
    stacks.register(stacks.Stack("team", artifact_store="far"))
    told = stacks.exported("team")
    told["artifact_store"]["name"] = told["stack"]["artifact_store"] = "new"
    with pytest.raises(ConfigurationError, match="'team' is taken"):
        stacks.import_stack(told)
    assert "new" not in entries.entries(STORE)
    assert stacks.import_stack(told, name="crew").artifact_store == "new"
    assert entries.entries(STORE)["new"].options == {"path": "memory://far"}


def test_a_local_path_leads_to_the_same_place_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries.register(STORE, "near", "local", {"path": "artifacts"})
    monkeypatch.chdir(tmp_path.parent)
    assert named_store("near").make().path == str(tmp_path / "artifacts")


@pytest.mark.parametrize("path", ["${env:PLACE}", "work/${env:PLACE}"])
def test_a_path_is_no_reference(home: Home, path: str) -> None:
    with pytest.raises(ConfigurationError, match="references are for secrets"):
        entries.register(STORE, "near", "local", {"path": path})
    Path(home.config_file).write_text(f"[artifact_stores.near]\nflavor = 'local'\npath = '{path}'\n")
    with pytest.raises(ConfigurationError, match="references are for secrets"):
        named_store("near").make()


def test_comments_of_the_user_stay(home: Home) -> None:
    Path(home.config_file).write_text(
        "# mine\n[artifact_stores.team] # ours\nflavor = 'memory'\npath = 'memory://x' # here\n"
    )
    entries.update(STORE, "team", {"path": "memory://y"})
    stacks.register(stacks.Stack("team", artifact_store="team"), activate=True)
    text = Path(home.config_file).read_text()
    assert all(comment in text for comment in ("# mine", "# ours", "# here"))


def test_references_are_resolved_when_the_store_is_made_and_never_written(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("from-a-file\n")
    options = {"path": "s3://bucket", "key": "${env:TEAM_KEY}", "secret": "${file:secret.txt}"}
    entries.register(STORE, "team", "s3", options)
    with pytest.raises(ConfigurationError, match="key: the variable TEAM_KEY is not set"):
        named_store("team").make()
    monkeypatch.setenv("TEAM_KEY", "from-the-environment")
    config = named_store("team").make().config
    assert (config.key, config.secret.get_secret_value()) == ("from-the-environment", "from-a-file")
    assert "from-" not in Path(home.config_file).read_text()
    entries.update(STORE, "team", {"secret": "${keyring:team/s3}"})
    with pytest.raises(ConfigurationError, match="secret: "):
        named_store("team").make()


def test_the_active_store_is_that_of_the_active_stack() -> None:
    assert stacks.active_artifact_store().name == "default"
    entries.register(STORE, "team", "local", {})
    stacks.register(stacks.Stack("team", artifact_store="team"), activate=True)
    entry = stacks.active_artifact_store()
    assert (entry.name, entry.path.endswith(entry.id)) == ("team", True)
    with open_store_sync("team") as store:
        assert store.path == entry.path


@pytest.mark.parametrize(
    "text", ["[active]\nstack = 1", "active = 'x'", "[stacks.team]\nstore = 'x'", "[orchestrators.x]\nid = 'y'"]
)
def test_a_file_that_says_something_else_is_named(home: Home, text: str) -> None:
    Path(home.config_file).write_text(text)

    def read() -> None:
        stacks.active_stack()
        entries.entries(ORCHESTRATOR)

    with pytest.raises(ConfigurationError) as told:
        read()
    assert told.value.uri == home.config_file


def test_listing_stacks_imports_nothing_that_is_not_needed() -> None:
    code = (
        "import sys; from entrepot.cli import main; sys.argv[1:] = ['stack', 'list']; main()\n"
        "print({'pydantic', 'rich', 'tomlkit', 'filelock', 'aiohttp', 'yaml', 'sqlite3', 'csv'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
