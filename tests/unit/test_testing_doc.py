"""docs/testing.md: its Python runs as written, and its tables name what there is."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from entrepot.testing import faults

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=["faults", "strict", "pytest"])
def test_examples_run(code: str, tmp_path: Path) -> None:
    script = tmp_path / "test_example.py"
    script.write_text(code, encoding="utf-8")
    is_test = "@pytest.fixture" in code
    how = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"] if is_test else ["-W", "error"]
    done = subprocess.run(
        [sys.executable, *how, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("1 passed" in done.stdout) == is_test


def test_every_fault_is_told_with_its_fields() -> None:
    told = {
        name: {word.strip() for word in fields.split(",") if word.strip()}
        for name, fields in re.findall(r"`(\w+)\(([\w, ]*)\)`", GUIDE.split("### Faults")[1].split("###")[0])
    }
    kinds = get_args(faults.Fault)
    assert told == {kind.__name__: {field.name for field in dataclasses.fields(kind)} for kind in kinds}


def test_operations_and_fields_of_the_log_are_there() -> None:
    rules = GUIDE.split("### Rules")[1].split("### Faults")[0]
    named = rules.split("names of the primitives:")[1].split("and some of containers")[0]
    assert set(re.findall(r"`(\w+)`", named)) <= faults.OPERATIONS
    (line,) = re.findall(r"`proxy.requests` lists every request: (.*?)\. `proxy", GUIDE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", line)) == {field.name for field in dataclasses.fields(faults.Seen)}
    (signature,) = re.findall(r"`Rule\((.*?)\)`", GUIDE)
    assert [word.partition("=")[0].strip() for word in signature.split(",")] == [
        field.name for field in dataclasses.fields(faults.Rule)
    ]
