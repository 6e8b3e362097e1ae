"""Progress on a terminal: one line for the whole, one for each large file under way. The only user of rich."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from entrepot.cli.render import Output, human_size
from entrepot.paths import printable
from entrepot.transfer.events import Copied, Event, Failed, Planned, Skipped, Started
from entrepot.transfer.events import Progress as PartDone

_LARGE_SHOWN: Final = 4
_NAME_WIDTH: Final = 32
_RATE_WINDOW_S: Final = 10.0


class Bars:
    """Draws events; `on_event` is given to a copy, several copies one after another add up."""

    def __init__(self, verb: str, *, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Amounts(),
            _Rate(),
            console=console,
            transient=True,
            speed_estimate_period=_RATE_WINDOW_S,
        )
        self._verb = verb
        self._whole = self.progress.add_task(verb, total=None, files=0, all_files=0, complete=False)
        self._large: OrderedDict[str, TaskID] = OrderedDict()
        self._waiting: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._files = self._all_files = self._all_bytes = 0
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
                total = self._all_bytes if event.complete else None
                self.progress.update(self._whole, total=total, all_files=self._all_files, complete=event.complete)
            case Started():
                self._begin(event.file.source.uri, event.file.source.size_bytes)
            case PartDone():
                self.progress.advance(self._whole, event.size_bytes)
                if event.file.source.uri in self._large:
                    self.progress.advance(self._large[event.file.source.uri], event.size_bytes)
            case Copied():
                self._count(len(event.files))
                self.progress.advance(self._whole, event.size_bytes - event.told_bytes)
                for file in event.files if self._large or self._waiting else ():
                    self._end(file.source.uri)
            case Skipped():
                self._count(1)
                self.progress.advance(self._whole, event.file.source.size_bytes)
            case Failed():
                self._count(1)
                self.progress.advance(self._whole, -event.told_bytes)
                self._end(event.item.source)
            case _:
                pass

    def _count(self, files: int) -> None:
        self._files += files
        self.progress.update(self._whole, files=self._files)

    def _begin(self, uri: str, size_bytes: int) -> None:
        name = printable(uri.rstrip("/").rsplit("/", 1)[-1])
        shown = name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"
        if len(self._large) < _LARGE_SHOWN:
            self._large[uri] = self.progress.add_task(f"  {shown}", total=size_bytes)
        else:
            self._waiting[uri] = (shown, size_bytes)

    def _end(self, uri: str) -> None:
        task = self._large.pop(uri, None)
        self._waiting.pop(uri, None)
        if task is not None:
            self.progress.remove_task(task)


class _Amounts(ProgressColumn):
    """`1.2/4.0 GiB · 12/48 files`; the second number of each is what the scan has found so far."""

    def render(self, task: Task) -> Text:
        fields = task.fields
        done, total = human_size(max(0, task.completed)), task.total
        amount = f"{done} of {human_size(total)}" if total is not None else done
        if "files" in fields:
            found = f"{fields['all_files']:,}" + ("" if fields["complete"] else "+")
            amount += f" · {fields['files']:,} of {found} files"
        return Text(amount, style="progress.download")


class _Rate(ProgressColumn):
    """`85.0 MiB/s · 0:00:12 left`."""

    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        rate = f"{human_size(task.speed)}/s"
        left = task.time_remaining
        if left is None or task.total is None or "files" not in task.fields:
            return Text(rate, style="progress.data.speed")
        minutes, seconds = divmod(int(left), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{rate} · {hours}:{minutes:02}:{seconds:02} left", style="progress.data.speed")


@contextmanager
def drawn(verb: str, output: Output) -> Iterator[Bars]:
    """Bars on standard error for as long as the block lasts; they leave nothing behind."""
    console = Console(stderr=True, highlight=False)
    bars = Bars(verb, console=console)

    def above(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with bars.progress, output.lines_through(above):
        yield bars
