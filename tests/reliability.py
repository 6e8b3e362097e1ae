"""What must hold of stores and copies, row by row; the tests that prove each; and the table of them, made from a run.

    pytest tests -m holds --reliability-table docs/reliability.md

writes the tables of that page: which tests prove a row, how many cases of each passed, and how often each fault took
effect, as the fault proxies of the tests counted it. Nothing is written where one of them failed.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from entrepot.testing.faults import FaultProxy

TESTS: Final = Path(__file__).parent
ROWS: Final[dict[str, dict[str, str]]] = {
    "Network": {
        "lost-reply": "The reply is lost after the commit: the state is as if it was applied once",
        "cut-body": "A body is cut at byte 0, 1, in the middle, at the last: the same bytes after the read went on",
        "stalled-part": "One part stalls: the others go on, and it is sent again",
        "wrong-range": "`Range` is ignored, or `Content-Range` is wrong: an error, never wrong bytes",
        "flipped-bits": "Bits flip either way: none undetected where there is a checksum",
        "bad-minute": "30 % are answered 503 for a minute: everything is copied, with at most 1.6 times the requests",
        "every-pair": "Any fault, between any two of local, S3, GCS and Azure: equal bytes, or a failure that is named",
    },
    "Server": {
        "false-success": "`200` with an error in it, or with nothing, is no success of a copy, a completion, a part's "
        "copy, a delete or a listing",
        "repeated-token": "A token of a listing that comes again ends in an error, not in a loop",
        "failed-listing": "A listing that fails deletes nothing",
        "delete-errors": "What could not be deleted is told key by key",
        "zero-bytes": "Objects of zero bytes are copied in every pair",
        "gzip": "Content stored as gzip is not decoded",
        "expired-credentials": "Credentials that expire at part 5 are asked for once more, and the copy goes on",
    },
    "Crash and cancel": {
        "kill": "Killed anywhere: readers see old or new. A second run ends with equal trees, no upload and no "
        "temporary left, and sends again at most what was in flight",
        "cancel": "Cancelled at any await, or Ctrl-C: no task or temporary stays, and no upload but what a job goes on "
        "with, which it says",
        "changed-source": "A source that changes or ends early is `SourceChanged`, and no object",
        "failed-overwrite": "An overwrite that fails keeps the old object",
    },
    "Local": {
        "full-disk": "The disk is full, or a sync fails: the write fails, the old content stays, the temporary goes",
        "descriptors": "A thousand files are copied with 64 descriptors",
        "links": "Links in circles and out of the root are refused",
        "special-files": "FIFOs, sockets and devices are told, and never waited for",
        "file-and-directory": "`a` beside `a/b`, from an object store: a typed conflict",
    },
    "Load": {
        "million-keys": "1,000,000 keys: at most 300 MB, and no list of them in memory",
        "slow-sink": "A fast source and a slow sink: what is held stays within the budget",
        "flat": "10,000 operations leave neither descriptors nor tasks",
        "nested-limiters": "Limits within limits, of one each, come to an end",
    },
    "Concurrency": {
        "two-writers": "Two writers never mix",
        "racers": "Of 50 that create one name exclusively, one wins",
        "one-journal": "Of two processes on one journal, the second is refused",
    },
}


# ---- the tests that prove them --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proof:
    """A test that carries `pytest.mark.holds`. name: as pytest's node ids begin, below `tests`."""

    row: str
    name: str
    is_nightly: bool


def proofs() -> list[Proof]:
    """All of them, as the sources say; nothing is imported."""
    found = [proof for path in sorted(TESTS.rglob("test_*.py")) for proof in _in_module(path)]
    order = [row for rows in ROWS.values() for row in rows]
    return sorted(found, key=lambda proof: (order.index(proof.row), proof.name))


def _in_module(path: Path) -> Iterator[Proof]:
    text = path.read_text(encoding="utf-8")
    if "mark.holds" not in text:
        return
    module = ast.parse(text)
    marks = [
        _name_of(mark)
        for one in module.body
        if isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == "pytestmark"
        for mark in getattr(one.value, "elts", [one.value])
    ]
    for one in module.body:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = [*marks, *(_name_of(mark) for mark in one.decorator_list)]
            name = f"{path.relative_to(TESTS).as_posix()}::{one.name}"
            for mark in one.decorator_list:
                if _name_of(mark) == "holds":
                    assert isinstance(mark, ast.Call)
                    yield from (Proof(ast.literal_eval(row), name, "nightly" in own) for row in mark.args)


def _name_of(mark: ast.expr) -> str:
    called = mark.func if isinstance(mark, ast.Call) else mark
    return called.attr if isinstance(called, ast.Attribute) else ""


# ---- a run of them --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """What became of a test's cases in a run."""

    by_day: int = 0
    by_night: int = 0
    fired: Counter[str] = field(default_factory=Counter)


class Recorder:
    """A plugin of pytest that notes what the tests of the rows did, and writes the tables at the end."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._outcomes: dict[str, Outcome] = {}
        self._passed: set[str] = set()
        self._failed: set[str] = set()
        self._proxies: list[FaultProxy] = []
        self._fired_before: Counter[str] = Counter()
        self._told = f"{page} was written"

    def pytest_sessionstart(self) -> None:
        begin, proxies = FaultProxy.__init__, self._proxies

        def noted(proxy: FaultProxy, *arguments: Any, **named: Any) -> None:
            begin(proxy, *arguments, **named)
            proxies.append(proxy)

        FaultProxy.__init__ = noted  # type: ignore[method-assign]

    def _fired(self) -> Counter[str]:
        return sum((proxy.hits for proxy in self._proxies), Counter())

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._fired_before = self._fired()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.when == "teardown" and item.get_closest_marker("holds") is not None:
            fired = dict(self._fired() - self._fired_before)
            item.user_properties.append(("holds", [item.get_closest_marker("nightly") is not None, fired]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        told = dict(report.user_properties).get("holds")
        if report.when == "teardown" and told is not None and report.nodeid in self._passed - self._failed:
            name = re.sub(r"^tests/|\[.*", "", report.nodeid)
            outcome = self._outcomes.setdefault(name, Outcome())
            is_nightly, fired = told  # type: ignore[misc]
            outcome.by_night += is_nightly
            outcome.by_day += not is_nightly
            outcome.fired.update(fired)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        if self._failed:
            self._told = f"{self._page} was not written: {len(self._failed)} failed"
            return
        text = self._page.read_text(encoding="utf-8")
        try:
            self._page.write_text(text[: text.index(BEGIN)] + tables(self._outcomes), encoding="utf-8")
        except ValueError as error:
            self._told = f"{self._page} was not written: {error}"
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(self._told)


# ---- the tables -----------------------------------------------------------------------------------------

BEGIN: Final = "<!-- from here on written by `pytest tests -m holds --reliability-table docs/reliability.md` -->\n"


def tables(outcomes: Mapping[str, Outcome]) -> str:
    """A table an area. Raises: ValueError for a test that is not for the night and of which no case passed."""
    missing = [proof.name for proof in proofs() if not proof.is_nightly and proof.name not in outcomes]
    if missing:
        raise ValueError(f"no case passed of {', '.join(missing)}")
    lines = [BEGIN]
    for area, rows in ROWS.items():
        lines += [f"### {area}", "| what must hold | test | cases | faults that took effect |", "|---|---|---|---|"]
        for row, text in rows.items():
            for number, proof in enumerate(one for one in proofs() if one.row == row):
                cases, fired = _told(outcomes.get(proof.name, Outcome()))
                lines.append(f"| {text if not number else ''} | `{proof.name}` | {cases} | {fired} |")
        lines.append("")
    return "\n".join(lines)


def _told(outcome: Outcome) -> tuple[str, str]:
    by_night = f"{outcome.by_night:,} by night" if outcome.by_night else ""
    by_day = f"{outcome.by_day:,}" if outcome.by_day else ""
    cases = " and ".join(filter(None, (by_day, by_night))) or "by night"
    return cases, ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.fired.items()))
