"""Every pair of flavors copies a mixed tree; each as a program of its own, by nothing but addresses and environment."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.trees import tree_hashes

from cli.programs import ODD_NAMES, environment, server_settings
from entrepot.models import MIB

PROGRAM = Path(__file__).parents[1] / "pair.py"
FLAVORS = ("local", "memory", "s3", "gcp", "azure")
PEAK_RSS_MIB = 220
TIMEOUT_S = 600


def make_tree(top: Path, *, small: int, large_bytes: int) -> Path:
    """0 bytes, small files of 4 KiB, one large file, odd names, an empty directory."""
    for number in range(small):
        path = top / f"folder-{number % 7}" / f"{number:04}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(4, "big") * 1024)
    for name in ODD_NAMES:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode())
    (top / "nothing").write_bytes(b"")
    (top / "large").write_bytes(os.urandom(MIB) * (large_bytes // MIB) + b"and an odd end")
    (top / "empty" / "below").mkdir(parents=True)
    return top


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("mixed") / "tree", small=24, large_bytes=20 * MIB)


@pytest.fixture(scope="module")
def mixed_in_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("mixed") / "tree", small=500, large_bytes=80 * MIB)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], tuple[str, dict[str, str]]]:
    """A new place of a flavor, and the environment that leads to its server."""

    def make(flavor: str) -> tuple[str, dict[str, str]]:
        name = f"place-{secrets.token_hex(4)}"
        if flavor == "local":
            return str(tmp_path / name), {}
        if flavor == "memory":
            return f"memory://{name}/below", {}
        if flavor == "s3":
            server = request.getfixturevalue("rclone_server")
            return f"s3://{request.getfixturevalue('rclone_bucket')}/{name}", server_settings(server)
        if flavor == "gcp":
            server = request.getfixturevalue("gcs_server")
            return f"gs://{request.getfixturevalue('gcs_bucket')}/{name}", {
                "STORAGE_EMULATOR_HOST": server.endpoint_url
            }
        server = request.getfixturevalue("azurite_server")
        container = request.getfixturevalue("azurite_container")
        return f"az://{container}/{name}", {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string}

    return make


def carried(
    tree: Path, tmp_path: Path, place: Callable[[str], tuple[str, dict[str, str]]], source: str, target: str
) -> dict[str, Any]:
    """Carry the tree, and compare what came back."""
    (from_there, settings), (to_there, more) = place(source), place(target)
    back = to_there if target == "local" else str(tmp_path / "back")
    done = subprocess.run(
        [sys.executable, PROGRAM, tree, from_there, to_there, back],
        env=environment(**{**settings, **more}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["failed"] == []
    expected = tree_hashes(tree)
    assert tree_hashes(Path(back)) == expected
    assert told["files"] == len(expected)
    kept = (Path(back) / "empty" / "below").is_dir()
    assert kept == ("s3" not in (source, target)), "rclone keeps no empty directories, all the others do"
    assert kept == (sum(told["skipped_on_the_way"]) == 0), "what was not kept is reported"
    assert sum(told["verified"].values()) + told["unverified_files"] == told["files"]
    for one in told["unverified"]:
        assert one["why"]
    return told


@pytest.mark.holds("zero-bytes")
@pytest.mark.parametrize(("source", "target"), list(itertools.product(FLAVORS, FLAVORS)))
def test_every_pair_copies_a_mixed_tree(
    mixed: Path, tmp_path: Path, place: Callable[[str], tuple[str, dict[str, str]]], source: str, target: str
) -> None:
    told = carried(mixed, tmp_path, place, source, target)
    if "memory" not in (source, target):  # whose parts nobody but this process could vouch for
        assert told["unverified_files"] == 0


@pytest.mark.nightly
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(("source", "target"), list(itertools.product(FLAVORS, FLAVORS)))
def test_every_pair_copies_the_tree_in_full_within_the_memory(
    mixed_in_full: Path, tmp_path: Path, place: Callable[[str], tuple[str, dict[str, str]]], source: str, target: str
) -> None:
    told = carried(mixed_in_full, tmp_path, place, source, target)
    # What is kept in memory is this process's own; a large file is there twice while its parts are joined.
    held_mib = (told["bytes"] / MIB + 80) * [source, target].count("memory")
    assert told["rss_mib"] < PEAK_RSS_MIB + held_mib
