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
from entrepot.paths import printable
from entrepot.transfer.events import Copied, Event, Failed, Planned, Skipped, Started
from entrepot.transfer.events import Progress as PartDone

_LARGE_SHOWN: Final = 4
_NAME_WIDTH: Final = 32
_RATE_WINDOW_S: Final = 10.0
_SETTLED_S: Final = 2.0
"""Earlier than that a rate is no ground for a forecast."""


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
            speed_estimate_period=_RATE_WINDOW_S,
        )
        self._verb = verb
        self._whole = self.progress.add_task(verb, total=None, whole=True)
        self._large: dict[str, TaskID] = {}
        self._files = self._all_files = self._all_bytes = 0
        self._all_known = False
        self._earlier = (0, 0)

    def next_copy(self) -> None:
        """Numbers of the next plan are added to those of the copies before."""
        self._earlier = (self._all_files, self._all_bytes)

    def on_event(self, event: Event) -> None:
        """Take one event of a copy."""
        match event:
            case Planned():
                self._all_files = self._earlier[0] + event.files
                self._all_bytes = self._earlier[1] + event.size_bytes
                self._all_known = event.complete
                self.progress.update(self._whole, total=self._all_bytes if event.complete else None)
                self._count(0)
            case Started():
                self._begin(event.file.source.uri, event.file.source.size_bytes)
            case PartDone():
                self.progress.advance(self._whole, event.size_bytes)
                if event.file.source.uri in self._large:
                    self.progress.advance(self._large[event.file.source.uri], event.size_bytes)
            case Copied():
                self._count(len(event.files))
                self.progress.advance(self._whole, event.size_bytes - event.told_bytes)
                for file in event.files if self._large else ():
                    self._end(file.source.uri)
            case Skipped():
                self._count(1)
                self.progress.advance(self._whole, event.file.source.size_bytes)
                self._end(event.file.source.uri)
            case Failed():
                self._count(1)
                self.progress.advance(self._whole, -event.told_bytes)
                self._end(event.item.source)
            case _:
                pass

    def _count(self, files: int) -> None:
        """`copy 12 of 48+ files`: more may come while the scan goes on."""
        self._files += files
        found = f"{self._all_files:,}{'' if self._all_known else '+'}"
        self.progress.update(self._whole, description=f"{self._verb} {self._files:,} of {found} files")

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
        if task.fields["whole"] and left is not None and (task.elapsed or 0) >= _SETTLED_S:
            minutes, seconds = divmod(int(left), 60)
            hours, minutes = divmod(minutes, 60)
            shown += f", {hours}:{minutes:02}:{seconds:02} left"
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
