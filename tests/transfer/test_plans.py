"""Copies that are planned first: counted, written, split, run later and elsewhere."""

from __future__ import annotations

import json
import os
import pickle
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.trees import tree_hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot import copy, mirror, plan_copy
from entrepot.errors import ConfigurationError, NotFound, SourceChanged
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.models import MIB
from entrepot.transfer.filters import Filters
from entrepot.transfer.plans import CopyPlan, PlanTotals, _Choice

pytestmark = pytest.mark.anyio


@pytest.fixture
def src(tmp_path: Path) -> Path:
    top = tmp_path / "src"
    for number, name in enumerate(["a", "with space", "é/日本", "d/deep/x", "d/y", "d.txt", "zero"]):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number * 100)
    (top / "large").write_bytes(os.urandom(17 * MIB))
    (top / "empty").mkdir()
    return top


def weight(top: Path) -> tuple[int, int]:
    """How many files, and their bytes."""
    sizes = [path.stat().st_size for path in top.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def run_elsewhere(plan: Path) -> None:
    code = "import sys, entrepot; from entrepot.transfer.plans import CopyPlan\n"
    code += "assert entrepot.copy_sync(CopyPlan.read(sys.argv[1])).ok"
    subprocess.run([sys.executable, "-c", code, plan], check=True, cwd=plan.parent.parent, timeout=60)


async def test_a_plan_is_counted_and_runs_to_the_same_tree(src: Path, tmp_path: Path) -> None:
    plan = await plan_copy(src, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()
    files, size = weight(src)
    assert (plan.totals.files, plan.totals.size_bytes, plan.totals.directories) == (files, size, 1)
    assert plan.totals.requests == 0, "between two disks there is none"
    report = await copy(plan)
    assert (report.ok, report.files, report.bytes, report.directories) == (True, files, size, 1)
    assert tree_hashes(tmp_path / "dst") == tree_hashes(src)


async def test_requests_are_estimated(src: Path) -> None:
    target = f"memory://{secrets.token_hex(8)}/up"
    plan = await plan_copy(src, target)
    small = plan.totals.files - 1
    assert plan.totals.requests == small + 1 + 3 + plan.totals.directories


async def test_a_plan_in_a_file_runs_in_another_process(src: Path, tmp_path: Path) -> None:
    plan = (await plan_copy(src, tmp_path / "dst")).write(tmp_path / "plan.jsonl")
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "plan.jsonl").stat().st_mode) == 0o600
    again = CopyPlan.read(tmp_path / "plan.jsonl")
    assert again == plan
    run_elsewhere(tmp_path / "plan.jsonl")
    assert tree_hashes(tmp_path / "dst") == tree_hashes(src)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
async def test_shards_are_the_whole_and_each_file_once(src: Path, tmp_path: Path, count: int) -> None:
    plan = (await plan_copy(src, tmp_path / "dst")).write(tmp_path / "plan")
    every = [entry.file.target for entry in plan.entries() if entry.file is not None]
    shards = plan.shards(count)
    parts = [[entry.file.target for entry in one.entries() if entry.file is not None] for one in shards]
    assert sorted(path for part in parts for path in part) == sorted(every)
    for shard in pickle.loads(pickle.dumps(shards)):
        assert (await copy(shard)).ok
    assert tree_hashes(tmp_path / "dst") == tree_hashes(src)


async def test_what_was_decided_is_decided(src: Path, tmp_path: Path) -> None:
    await copy(src, tmp_path / "dst")
    (src / "a").write_bytes(b"changed")
    (tmp_path / "dst" / "extra").write_bytes(b"1")
    filters = Filters.parse([("exclude", "/d/**")])
    plan = await plan_copy(src, tmp_path / "dst", mirrors=True, filters=filters)
    assert (plan.totals.files, plan.totals.deletions, plan.totals.excluded) == (1, 1, 2)
    report = await copy(plan)
    assert (report.files, report.deleted) == (1, 1)
    assert tree_hashes(tmp_path / "dst") == tree_hashes(src)
    assert (await mirror(src, tmp_path / "dst", delete=True)).files == 0


async def test_a_shard_deletes_nothing(src: Path, tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst" / "extra").write_bytes(b"1")
    plan = (await plan_copy(src, tmp_path / "dst", mirrors=True)).write(tmp_path / "plan")
    for shard in plan.shards(2):
        assert (await copy(shard)).deleted == 0
    assert (tmp_path / "dst" / "extra").exists()


async def test_a_source_that_is_another_one_by_then_is_a_failure(src: Path, tmp_path: Path) -> None:
    plan = await plan_copy(src, tmp_path / "dst")
    (src / "d" / "y").write_bytes(b"longer than it was, and by far: " * 100)
    (src / "with space").unlink()
    report = await copy(plan)
    errors = {item.source.rpartition("/")[2]: type(item.error) for item in report.failed}
    assert errors == {"y": SourceChanged, "with space": NotFound}
    assert report.files == plan.totals.files - 2


async def test_one_file(tmp_path: Path) -> None:
    store = MemoryArtifactStore(f"memory://{secrets.token_hex(8)}")
    await store.write_bytes("a/b", b"1")
    plan = await plan_copy(f"{store.path}/a/b", tmp_path / "x" / "y")
    assert (await copy(plan)).ok
    assert (tmp_path / "x" / "y").read_bytes() == b"1"


async def test_what_is_no_plan_is_refused(src: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the plan"):
        CopyPlan.read(tmp_path / "none")
    plan = (await plan_copy(src, tmp_path / "dst")).write(tmp_path / "plan")
    text = (tmp_path / "plan").read_bytes()
    for damaged in (b"", b"hello\n", b"[]\n", text[: len(text) // 2], text.replace(b'plan":1', b'plan":9')):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(ConfigurationError):
            CopyPlan.read(tmp_path / "damaged")
    with pytest.raises(ConfigurationError, match="has decided already"):
        await copy(plan, compare="size")
    with pytest.raises(ConfigurationError, match="not open stores"):
        await plan_copy((MemoryArtifactStore("memory://x"), "a"), tmp_path)
    with pytest.raises(ConfigurationError, match=r"plan\.write"):
        pickle.dumps(await plan_copy(src, tmp_path / "dst"))


def test_a_plan_holds_no_configuration(src: Path, tmp_path: Path) -> None:
    import asyncio

    plan = asyncio.run(
        plan_copy(src, f"memory://{secrets.token_hex(8)}/x", dst_config={}, src_config={"durability": "none"})
    )
    lines = [json.loads(line) for line in plan.path.read_bytes().splitlines()]
    assert set(lines[0]) == {"entrepot_plan", "source", "target", "tree", "source_root", "target_root", "options"}
    assert lines[-1] == {"end": True, **{name: getattr(plan.totals, name) for name in PlanTotals.__slots__}}


@given(st.lists(st.integers(0, 10**9), max_size=60), st.integers(1, 8))
@settings(deadline=None)
def test_every_entry_goes_to_one_shard_and_none_has_much_more_than_another(sizes: list[int], count: int) -> None:
    choices = [_Choice((number, count)) for number in range(count)]
    loads = [0] * count
    for size in sizes:
        takers = [number for number, choice in enumerate(choices) if choice.takes({"file": "x", "size": size})]
        assert len(takers) == 1
        loads[takers[0]] += size
    assert max(loads) - min(loads) <= max(sizes, default=0) + 256 * 1024 * len(sizes)
