"""An unmodified ZenML runs pipelines on our stores, set up by its own commands; its own S3 store runs them beside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.programs import environment, server_settings
from entrepot.testing.servers import Server

ROOT = Path(__file__).parents[2]
ARRAY_MIB, FILES = 24, 60
Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program in a home of ZenML's that these tests share; gives what it printed."""
    home = tmp_path_factory.mktemp("zenml")
    settings = {
        "ZENML_CONFIG_PATH": str(home / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "AUTO_OPEN_DASHBOARD": "false",
        "TMPDIR": str(home),
        "PYTHONPATH": str(ROOT),
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(*argv: str, settings_of: Mapping[str, str] = settings, text: str = "") -> str:
        done = subprocess.run(
            argv,
            cwd=home,  # ZenML names what lies below the current directory by its path from there
            env=environment(**{**settings, **settings_of}, PATH=path, COLUMNS="300"),
            input=text,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr  # ZenML's tables go to either

    return run


def last_line(printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads([line for line in printed.splitlines() if line.startswith("{")][-1])
    return found


def result_of(run: Run, stack: str) -> dict[str, Any]:
    return last_line(run(sys.executable, "-m", "benchmarks.zenml_run", stack, str(ARRAY_MIB), str(FILES)))


@pytest.fixture(scope="module")
def local_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def on_local(run: Run, local_root: Path) -> dict[str, Any]:
    """By ZenML's command line, command for command."""
    run("zenml", "artifact-store", "flavor", "register", "entrepot.integrations.zenml.LocalFlavor")
    assert "entrepot_local" in run("zenml", "artifact-store", "flavor", "list")
    run("zenml", "artifact-store", "register", "ours", "--flavor=entrepot_local", f"--path={local_root}")
    run("zenml", "stack", "register", "on-local", "-o", "default", "-a", "ours", "--set")
    return result_of(run, "on-local")


@pytest.fixture(scope="module")
def on_s3(run: Run, rclone_server: Server) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same pipeline on our S3 store, and on that of ZenML."""
    place = {"path": f"s3://{rclone_server.create_bucket()}/art", **rclone_server.s3_options}
    run(sys.executable, "-m", "benchmarks.zenml_stacks", text=json.dumps(place))
    return result_of(run, "entrepot"), result_of(run, "zenml-s3")


def test_it_runs_on_our_local_store(on_local: dict[str, Any], local_root: Path) -> None:
    assert on_local["status"] == "completed"
    assert all(Path(uri).is_relative_to(local_root) for uri in on_local["uris"])
    assert on_local["values"]["summarise.summary"] == {
        "rate": 0.5,
        "numbers": [1, 2, 3],
        "small": 66,
        "table": 6,
        "large": on_local["values"]["grow.large"][2],
        "noted": "noted",
    }
    assert on_local["values"]["grow.large"][:2] == ["uint8", [ARRAY_MIB * 1024**2]]
    assert len(on_local["values"]["unpack.folder"]) == FILES


def test_it_runs_on_our_s3_store_as_on_that_of_zenml(
    on_local: dict[str, Any], on_s3: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    ours, theirs = on_s3
    assert ours["status"] == theirs["status"] == "completed"
    assert ours["values"] == theirs["values"] == on_local["values"]
    assert {uri.partition("/art/")[2].partition("/")[0] for uri in ours["uris"]} == {"entrepot"}
    assert ours["calls"]["copy_dir"] == theirs["calls"]["copy_dir"]


def test_step_logs_are_stored_and_shown(
    run: Run, on_local: dict[str, Any], on_s3: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    runs = dict(zip(("on-local", "entrepot", "zenml-s3"), (on_local, *on_s3), strict=True))
    asked = [f"{stack}={result['run']}" for stack, result in runs.items()]
    shown = last_line(run(sys.executable, str(Path(__file__).with_name("zenml_logs.py")), *asked))
    for stack in runs:
        assert "preparing small things" in shown[stack]["prepare"]
        assert f"growing {ARRAY_MIB} MiB" in shown[stack]["grow"]
        assert "summing up" in shown[stack]["summarise"]


def test_the_example_keeps_its_artifacts_in_a_bucket(run: Run, rclone_server: Server, tmp_path: Path) -> None:
    place = f"s3://{rclone_server.create_bucket()}/art"
    settings = {**server_settings(rclone_server), "ZENML_CONFIG_PATH": str(tmp_path)}
    told = run(sys.executable, str(ROOT / "examples" / "zenml_pipeline.py"), place, settings_of=settings)
    for output in ("collect", "render", "total"):
        assert f"{output} {place}/{output}/" in told
    assert "\ntotal " in told
