"""`docs/services.md` names every key of every service's configuration, and none that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from entrepot.registry import flavor_named

TEXT = (Path(__file__).parents[2] / "docs" / "services.md").read_text(encoding="utf-8")
COMMON, *SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)


@pytest.mark.parametrize(("flavor", "section"), list(zip(("s3", "gcp", "azure"), SECTIONS, strict=True)))
def test_a_section_names_the_keys_of_its_flavor(flavor: str, section: str) -> None:
    keys = set(flavor_named(flavor).load().configuration_keys())
    prose = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    named = set(re.findall(r"`([a-z_]+)`", prose)) | set(re.findall(r"`([a-z_]+)`", COMMON))
    assert keys - named == {"path"}
    called = ast.parse("\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)))
    given = {word.arg for call in ast.walk(called) if isinstance(call, ast.Call) for word in call.keywords}
    assert given <= keys
