"""Stacks and their components on the command line, as users of the system that this one follows know them."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from pathlib import Path

import pytest
import yaml

from cli.programs import Run, environment, program


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with components of a user's own."""
    (tmp_path / "clusters.py").write_text(
        "from dataclasses import dataclass\n"
        "from entrepot.components import BaseOrchestrator, BaseStepOperator\n"
        "@dataclass(frozen=True)\n"
        "class Config:\n"
        "    namespace: str = 'default'\n"
        "class Cluster(BaseOrchestrator):\n"
        "    FLAVOR, CONFIG = 'cluster', Config\n"
        "class Graphics(BaseStepOperator):\n"
        "    FLAVOR, CONFIG = 'graphics', Config\n"
    )
    (tmp_path / "my_store.py").write_text(
        "from entrepot import LocalArtifactStore\n"
        "class MyStore(LocalArtifactStore):\n"
        "    FLAVOR = 'mine'\n"
        "    SUPPORTED_SCHEMES = frozenset({'mine://'})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_walk_through(run: Run) -> None:
    """Command for command, with `entrepot` in place of the program that users come from."""
    assert run("stack", "list").lines[1].split() == ["*", "default", "default", "default", "-"]
    described = run("artifact-store", "describe")
    assert "flavor: local" in described.lines
    assert "local_stores" in described.lines[-1]
    assert run("artifact-store", "register", "custom_local", "--flavor", "local").code == 0
    done = run("stack", "register", "custom_stack", "-o", "default", "-a", "custom_local", "--set")
    assert (done.code, "registered and activated custom_stack" in done.stdout) == (0, True)
    assert run("stack", "get").stdout.startswith("custom_stack ")
    stores = run("artifact-store", "list", "--json").values
    assert [(one["name"], one["active"]) for one in stores] == [("default", False), ("custom_local", True)]
    for one in stores:
        assert os.path.basename(one["options"]["path"]) == one["id"]
    assert {"local", "memory", "s3", "gcp", "azure"} <= {
        one["name"] for one in run("artifact-store", "flavor", "list", "--json").values
    }
    registered = run("artifact-store", "flavor", "register", "my_store.MyStore")
    assert (registered.code, registered.stdout) == (0, "registered mine (my_store:MyStore) for mine://\n")


def test_a_component_through_its_life(run: Run) -> None:
    secret = "a-very-plain-secret"
    done = run(
        "artifact-store", "register", "team", "--flavor=s3", "--path=s3://bucket/x", "--key", "k", f"--secret={secret}"
    )
    assert done.code == 0
    assert secret not in done.stdout + done.stderr
    assert "--secret='${env:TEAM_SECRET}'" in done.stderr
    told = run("artifact-store", "describe", "team", "--json").value
    assert told["options"] == {"path": "s3://bucket/x", "key": "k", "secret": "***"}
    done = run("artifact-store", "update", "team", "--secret=${env:TEAM_SECRET}", "--region=eu-west-1")
    assert (done.code, done.stderr) == (0, "")
    told = run("artifact-store", "describe", "team", "--json").value
    assert (told["options"]["secret"], told["options"]["region"]) == ("${env:TEAM_SECRET}", "eu-west-1")
    assert run("artifact-store", "remove-attribute", "team", "--region").code == 0
    assert run("artifact-store", "copy", "team", "twin").code == 0
    assert run("stack", "register", "away", "-a", "team").code == 0
    assert run("artifact-store", "rename", "team", "crew").code == 0
    assert run("stack", "describe", "away", "--json").value["artifact_store"] == "crew"
    refused = run("artifact-store", "delete", "crew")
    assert (refused.code, "in use by the stack 'away'" in refused.stderr) == (2, True)
    assert run("artifact-store", "delete", "twin").code == 0
    assert "region" not in run("artifact-store", "describe", "crew", "--json").value["options"]
    file = next(Path(os.environ["XDG_CONFIG_HOME"]).rglob("config.toml"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in file.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("artifact-store", "register", "team", "--flavor=s3", "--path=s3://bucket", "--reigon=x"), "'region'"),
        (("artifact-store", "register", "team", "--flavor=s33", "--path=s3://bucket"), "did you mean s3?"),
        (("artifact-store", "register", "team", "--flavor=s3"), "path"),
        (("artifact-store", "register", "team", "--flavor=local", "--durability=${vault:x}"), "a reference is"),
        (("artifact-store", "register", "default", "--flavor=local"), "'default' is taken"),
        (("artifact-store", "register", "x:y", "--flavor=local"), "no name"),
        (("artifact-store", "delete", "default"), "always there"),
        (("artifact-store", "describe", "defualt"), "did you mean default?"),
        (("artifact-store", "update", "default", "--id=1"), "id stays"),
        (("artifact-store", "update", "default"), "nothing to change"),
        (("artifact-store", "remove-attribute", "default", "--path=1"), "--KEY each"),
        (("orchestrator", "register", "far", "--flavor=k8s"), "source path"),
        (("orchestrator", "register", "far", "--flavor=clusters.Graphics"), "BaseOrchestrator"),
        (("artifact-store", "register", "team", "--flavor=local", "--path=${env:X}"), "references are for secrets"),
        (("stack", "set", "defualt"), "did you mean default?"),
        (("stack", "register", "team", "-a", "nope"), "no artifact store is called 'nope'"),
        (("stack", "register", "team", "--nope", "x"), "--nope"),
        (("stack", "delete", "default"), "always there"),
        (("stack", "update", "default"), "nothing to change"),
        (("stack", "import", "nowhere.json"), "cannot be read"),
        (("stack", "list", "--output", "yml"), "did you mean yaml?"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(run: Run, words: tuple[str, ...], told: str) -> None:
    refused = run(*words)
    assert refused.code == 2
    assert told in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_complaint_does_not_tell_a_secret(run: Run) -> None:
    for words in (("-secret=hush",), ("--secret", "two", "hush"), ("--secret", "--hush", "hush"), ("--sceret=hush",)):
        refused = run("artifact-store", "register", "team", "--flavor=s3", "--path=s3://bucket", *words)
        assert refused.code == 2
        assert "hush" not in refused.stderr.replace("--hush", "")


def test_a_store_whose_flavor_is_gone_is_shown_and_can_be_deleted(run: Run) -> None:
    run("artifact-store", "flavor", "register", "my_store.MyStore")
    assert run("artifact-store", "register", "old", "--flavor=mine", "--path=mine://x", "--durability=none").code == 0
    run("artifact-store", "flavor", "delete", "mine")
    told = {one["name"]: one for one in run("artifact-store", "list", "--json").values}
    assert told["old"]["options"] == {"path": "mine://x", "durability": "***"}
    assert run("artifact-store", "describe", "old").code == 0
    assert run("artifact-store", "delete", "old", "--json").code == 0


def test_an_active_stack_that_is_not_there_is_told_and_can_be_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / ".entrepot").mkdir(parents=True)
    file = tmp_path / "project" / ".entrepot" / "config.toml"
    file.write_text("[active]\nstack = 'gone'\n")
    monkeypatch.chdir(tmp_path / "project")
    refused = run("stack", "get")
    assert (refused.code, f"'gone' (named by {file})" in refused.stderr) == (2, True)
    listed = run("stack", "list")
    assert (listed.code, "*" in listed.stdout, str(file) in listed.stderr) == (0, False, True)
    done = run("stack", "set", "default")
    assert (done.code, "gone stays active here" in done.stderr) == (0, True)
    assert run("stack", "set", "default", "--project").code == 0
    assert run("stack", "get", "--json").value["name"] == "default"


def test_a_dry_run_of_a_change_changes_nothing(run: Run, tmp_path: Path) -> None:
    run("artifact-store", "register", "team", "--flavor=memory", "--path=memory://team")
    run("artifact-store", "register", "idle", "--flavor=local", "--durability=none")
    run("artifact-store", "flavor", "register", "my_store.MyStore")
    run("stack", "register", "team", "-a", "team")
    run("stack", "export", "team", "team.json")
    file = next(Path(os.environ["XDG_CONFIG_HOME"]).rglob("config.toml"))
    before = file.read_bytes()
    for words in (
        "artifact-store register new --flavor=memory --path=memory://new",
        "artifact-store update team --path=memory://other",
        "artifact-store remove-attribute idle --durability",
        "artifact-store rename team crew",
        "artifact-store copy team twin",
        "artifact-store delete idle",
        "artifact-store flavor register my_store.MyStore",
        "artifact-store flavor delete mine",
        "stack register new --set",
        "stack set team",
        "stack set team --project",
        "stack update team -a idle",
        "stack rename team crew",
        "stack copy team twin",
        "stack import team.json --name new",
        "stack delete team",
    ):
        done = run(*words.split(), "--dry-run")
        assert (done.code, done.stdout.startswith("would have ")) == (0, True), (words, done)
        assert run(*words.split(), "--dry-run", "--json").value["dry_run"] is True
        assert file.read_bytes() == before, words
    assert not Path(".entrepot").exists()
    refused = run("artifact-store", "delete", "team", "--dry-run")
    assert (refused.code, "in use" in refused.stderr) == (2, True)


def test_a_local_store_does_not_go_with_what_runs_elsewhere(run: Run) -> None:
    assert run("orchestrator", "register", "far", "--flavor", "clusters:Cluster", "--namespace=ml").code == 0
    assert run("step-operator", "register", "gpu", "--flavor", "clusters.Graphics").code == 0
    for words in (("-o", "far"), ("-s", "gpu")):
        refused = run("stack", "register", "team", *words)
        assert (refused.code, "does not run on this machine" in refused.stderr) == (2, True)
    assert run("artifact-store", "register", "bucket", "--flavor=s3", "--path=s3://bucket").code == 0
    assert run("stack", "register", "team", "-o", "far", "-s", "gpu", "-a", "bucket").code == 0
    refused = run("stack", "update", "team", "-a", "default")
    assert (refused.code, "s3://" in refused.stderr) == (2, True)
    assert run("step-operator", "list", "--json").value["name"] == "gpu"
    assert run("orchestrator", "describe", "far", "--json").value["options"] == {"namespace": "ml"}


def test_which_stack_is_active(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine", "ours", "this"):
        assert run("stack", "register", name).code == 0
    active = lambda: run("stack", "get", "--json").value  # noqa: E731
    assert active()["name"] == "default"
    assert run("stack", "set", "mine").code == 0
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    monkeypatch.chdir(below.parent)
    assert run("stack", "set", "ours", "--project").code == 0
    monkeypatch.chdir(below)
    assert active()["name"] == "ours"
    assert active()["origin"].endswith(os.path.join("project", ".entrepot", "config.toml"))
    done = run("stack", "set", "mine")
    assert "ours stays active here" in done.stderr
    monkeypatch.setenv("ENTREPOT_STACK", "this")
    assert active() == {**active(), "name": "this", "origin": "variable ENTREPOT_STACK"}
    done = program("--stack", "mine", "stack", "get", settings=environment())
    assert done.stdout.startswith("mine ")
    monkeypatch.delenv("ENTREPOT_STACK")
    monkeypatch.chdir(tmp_path)
    assert active()["name"] == "mine"
    assert run("stack", "rename", "mine", "my-own").code == 0
    assert active()["name"] == "my-own"
    assert run("stack", "delete", "my-own").code == 2
    assert run("stack", "set", "default").code == 0
    assert run("stack", "delete", "my-own").code == 0
    assert run("stack", "copy", "ours", "theirs").code == 0


def test_a_stack_goes_to_another_machine(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("artifact-store", "register", "team", "--flavor=s3", "--path=s3://bucket", "--secret=open", "--key=k")
    run("stack", "register", "away", "-a", "team")
    refused = run("stack", "export", "away", "away.json")
    assert (refused.code, "${env:SECRET}" in refused.stderr) == (2, True)
    run("artifact-store", "update", "team", "--secret=${env:SECRET}")
    assert run("stack", "export", "away", "away.json").code == 0
    assert json.loads(run("stack", "export", "away").stdout) == json.loads(Path("away.json").read_text())
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "other.toml"))
    assert run("stack", "import", "away.json").code == 0
    assert run("stack", "import", "away.json", "--name", "again").code == 0
    told = run("artifact-store", "describe", "team", "--json").value["options"]
    assert told == {"path": "s3://bucket", "secret": "${env:SECRET}", "key": "k"}
    run("artifact-store", "update", "team", "--region=eu-west-1")
    refused = run("stack", "import", "away.json", "--name", "third")
    assert (refused.code, "is another one" in refused.stderr) == (2, True)


def test_results_in_every_form(run: Run) -> None:
    run("stack", "register", "team")
    lines = run("stack", "list", "--json").values
    assert yaml.safe_load(run("stack", "list", "-o", "yaml").stdout) == lines
    rows = list(csv.DictReader(io.StringIO(run("stack", "list", "--output", "csv").stdout)))
    assert [row["name"] for row in rows] == ["default", "team"]
    assert run("stack", "list", "-o", "json").values == lines
    assert run("stack", "list", "--json", "-o", "csv").code == 2
    assert yaml.safe_load(run("artifact-store", "explain", "-o", "yaml").stdout)[0]["type"] == "artifact_store"
