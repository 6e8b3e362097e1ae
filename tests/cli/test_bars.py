"""What the progress shows of a copy's events."""

from __future__ import annotations

import io

import pytest

rich_console = pytest.importorskip("rich.console")

from entrepot.cli.bars import Bars, shortened  # noqa: E402
from entrepot.cli.bars import drawn as drawn_on_a_terminal  # noqa: E402
from entrepot.cli.render import Output  # noqa: E402
from entrepot.errors import NotFound  # noqa: E402
from entrepot.models import FileStat  # noqa: E402
from entrepot.transfer.events import Copied, Failed, Planned, Progress, Skipped, Started  # noqa: E402
from entrepot.transfer.plan import PlannedFile  # noqa: E402
from entrepot.transfer.report import FailedItem  # noqa: E402


def file(name: str, size_bytes: int) -> PlannedFile:
    return PlannedFile(FileStat(f"s3://b/{name}", size_bytes), name)


def drawn(bars: Bars) -> str:
    console = rich_console.Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(bars.progress.get_renderable())
    return console.file.getvalue()


def test_files_and_bytes_are_counted() -> None:
    bars = Bars("copy", console=rich_console.Console(file=io.StringIO()))
    bars.on_event(Planned(1_000, 5_000, complete=False))
    assert "copy 0 of 1,000+ files" in drawn(bars)
    bars.on_event(Planned(1_003, 3 << 20, complete=True))
    bars.on_event(Copied((file("a", 10), file("b", 10)), 20))
    bars.on_event(Skipped(file("c", 1 << 20)))
    shown = drawn(bars)
    assert "copy 3 of 1,003 files" in shown
    assert "1.0 MiB of 3.0 MiB" in shown


def test_large_files_have_a_line_while_they_move() -> None:
    bars = Bars("copy", console=rich_console.Console(file=io.StringIO()))
    large = file("large\x1b[31m.bin", 4 << 20)
    bars.on_event(Planned(1, 4 << 20, complete=True))
    bars.on_event(Started(large))
    bars.on_event(Progress(large, 1 << 20))
    shown = drawn(bars)
    assert "large\\x1b[31m.bin" in shown
    assert shown.count("1.0 MiB of 4.0 MiB") == 2
    bars.on_event(Copied((large,), 4 << 20, told_bytes=1 << 20))
    shown = drawn(bars)
    assert "large" not in shown
    assert "4.0 MiB of 4.0 MiB" in shown


def test_what_a_failed_file_had_moved_no_longer_counts() -> None:
    bars = Bars("copy", console=rich_console.Console(file=io.StringIO()))
    large = file("large.bin", 4 << 20)
    bars.on_event(Planned(1, 4 << 20, complete=True))
    bars.on_event(Started(large))
    bars.on_event(Progress(large, 1 << 20))
    bars.on_event(Failed(FailedItem(large.source.uri, "t", "gone", NotFound()), told_bytes=1 << 20))
    assert "0 B of 4.0 MiB" in drawn(bars)
    assert "large" not in drawn(bars)


def test_several_copies_add_up() -> None:
    bars = Bars("copy", console=rich_console.Console(file=io.StringIO()))
    for name in ("a", "b"):
        bars.next_copy()
        bars.on_event(Planned(1, 1 << 20, complete=True))
        bars.on_event(Copied((file(name, 1 << 20),), 1 << 20))
    assert "copy 2 of 2 files" in drawn(bars)
    assert "2.0 MiB of 2.0 MiB" in drawn(bars)


def test_long_names_keep_both_ends() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("0123456789abcdef", 9) == "0123…cdef"


def test_lines_above_the_progress_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    with drawn_on_a_terminal("copy", output):
        output.note("cp a:smile:b/[red]c")
    assert "entrepot: cp a:smile:b/[red]c" in capsys.readouterr().err


def test_a_large_file_that_is_skipped_at_its_end_leaves_no_line() -> None:
    bars = Bars("copy", console=rich_console.Console(file=io.StringIO()))
    large = file("large.bin", 4 << 20)
    bars.on_event(Started(large))
    bars.on_event(Skipped(large))
    assert "large" not in drawn(bars)
