"""Progress on a terminal: one line for the whole, one for each large file under way. This and `tables` use rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from entrepot.cli.render import Output, human_size
from entrepot.cli.stats import told_left
from entrepot.paths import printable
from entrepot.transfer.events import Copied, Event, Failed, Skipped, Started
from entrepot.transfer.events import Progress as PartDone
from entrepot.transfer.meter import SETTLED_S, WINDOW_S, Meter

_LARGE_SHOWN: Final = 4
_NAME_WIDTH: Final = 32


class Bars:
    """Draws events; `on_event` is given to a copy, several copies one after another add up."""

    def __init__(self, verb: str, *, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=20),
            _Amounts(table_column=Column(no_wrap=True)),
            _Rate(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            speed_estimate_period=WINDOW_S,
        )
        self._verb = verb
        self._meter = Meter()
        self._whole = self.progress.add_task(verb, total=None, whole=True)
        self._large: dict[str, TaskID] = {}

    def next_copy(self) -> None:
        """Numbers of the next plan are added to those of the copies before."""
        self._meter.next_copy()

    def on_event(self, event: Event) -> None:
        """Take one event of a copy."""
        self._meter.take(event)
        match event:
            case Started():
                self._begin(event.file.source.uri, event.file.source.size_bytes)
            case PartDone():
                if event.file.source.uri in self._large:
                    self.progress.advance(self._large[event.file.source.uri], event.size_bytes)
            case Copied():
                for file in event.files if self._large else ():
                    self._end(file.source.uri)
            case Skipped():
                self._end(event.file.source.uri)
            case Failed():
                self._end(event.item.source)
            case _:
                pass
        self._show()

    def _show(self) -> None:
        """`copy 12 of 48+ files`: more may come while the scan goes on."""
        meter = self._meter
        found = f"{meter.known_files:,}{'' if meter.complete else '+'}"
        self.progress.update(
            self._whole,
            description=f"{self._verb} {meter.files:,} of {found} files",
            completed=meter.size_bytes,
            total=meter.known_bytes if meter.complete else None,
        )

    def _begin(self, uri: str, size_bytes: int) -> None:
        if len(self._large) < _LARGE_SHOWN:
            name = shortened(printable(uri.rstrip("/").rsplit("/", 1)[-1]), _NAME_WIDTH)
            self._large[uri] = self.progress.add_task(f"  {name}", total=size_bytes, whole=False)

    def _end(self, uri: str) -> None:
        task = self._large.pop(uri, None)
        if task is not None:
            self.progress.remove_task(task)


def shortened(name: str, width: int) -> str:
    """The name's beginning and end; names of one directory mostly differ in either."""
    if len(name) <= width:
        return name
    end = width // 2
    return f"{name[: width - end - 1]}…{name[-end:]}"


class _Amounts(ProgressColumn):
    """`1.2 GiB of 4.0 GiB`."""

    def render(self, task: Task) -> Text:
        done = human_size(max(0, task.completed))
        return Text(f"{done} of {human_size(task.total)}" if task.total is not None else done, "progress.download")


class _Rate(ProgressColumn):
    """`85.0 MiB/s, 0:00:12 left`."""

    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        shown, left = f"{human_size(task.speed)}/s", task.time_remaining
        if task.fields["whole"] and left is not None and (task.elapsed or 0) >= SETTLED_S:
            shown += f", {told_left(left)} left"
        return Text(shown, "progress.data.speed")


@contextmanager
def drawn(verb: str, output: Output) -> Iterator[Bars]:
    """Bars on standard error for as long as the block lasts; they leave nothing behind."""
    console = Console(stderr=True, highlight=False, emoji=False)
    bars = Bars(verb, console=console)

    def above(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with bars.progress, output.lines_through(above):
        yield bars
