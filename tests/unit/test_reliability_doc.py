"""docs/reliability.md has every row of what must hold, with the tests that carry its mark, and each passed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reliability import BEGIN, ROWS, Outcome, proofs, tables

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")


def table_of(text: str) -> list[tuple[str, str, str]]:
    """What must hold, the test, its cases; of each line of the tables."""
    lines = re.findall(r"^\| (.*) \| `(\S+)` \| ([^|]+) \| [^|]*\|$", text, re.MULTILINE)
    told, held = [], ""
    for text, name, cases in lines:
        held = text or held
        told.append((held, name, cases))
    return told


def test_every_row_has_a_test() -> None:
    rows = [row for rows in ROWS.values() for row in rows]
    assert list(dict.fromkeys(proof.row for proof in proofs())) == rows


def test_the_page_has_every_row_and_the_tests_that_carry_its_mark() -> None:
    texts = {row: text for rows in ROWS.values() for row, text in rows.items()}
    told = table_of(PAGE[PAGE.index(BEGIN) :])
    assert [(text, name) for text, name, _ in told] == [(texts[proof.row], proof.name) for proof in proofs()]
    for proof, (_, _, cases) in zip(proofs(), told, strict=True):
        assert re.fullmatch(r"by night|[\d,]+( by night)?|[\d,]+ and [\d,]+ by night", cases)
        assert proof.is_nightly == (re.match(r"[\d,]+(?! by night)", cases) is None)


def test_a_table_is_not_made_of_tests_that_did_not_pass() -> None:
    outcomes = {proof.name: Outcome(by_day=1) for proof in proofs()}
    assert table_of(tables(outcomes))
    without = next(proof.name for proof in proofs() if not proof.is_nightly)
    del outcomes[without]
    with pytest.raises(ValueError, match=re.escape(without)):
        tables(outcomes)
