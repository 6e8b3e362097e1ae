"""Progress for logs: one line, or one object, every so many seconds, on standard error."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from entrepot.cli.failures import WrongUse
from entrepot.cli.render import Output, counted, human_size
from entrepot.transfer.meter import Meter, Snapshot

_MOST_S: Final = 86_400.0

StatsInterval = Annotated[
    str | None,
    typer.Option(
        "--stats-interval",
        metavar="SECONDS",
        help="A line about the progress on standard error so often, where none is drawn.",
        rich_help_panel="Output",
    ),
]


def parsed_interval(text: str | None) -> float | None:
    """A number of seconds, `0.5` or `30`. Raises WrongUse."""
    if text is None:
        return None
    seconds = float(text) if re.fullmatch(r"\d{1,5}(\.\d{1,3})?", text.strip(), re.ASCII) else 0.0
    if not 0.1 <= seconds <= _MOST_S:
        raise WrongUse(f"--stats-interval {text}: give seconds, from 0.1 to {_MOST_S:,.0f}, such as 30")
    return seconds


@contextmanager
def told(command: str, output: Output, meter: Meter, interval_s: float) -> Iterator[None]:
    """Tell where the meter stands every so often, while the block lasts. To be entered in the loop of the command."""

    def tell() -> None:
        snapshot = meter.snapshot()
        if output.as_json:
            output.note_value({"event": "progress", "command": command, **snapshot.to_json()})
        else:
            output.note(f"{command}: {stats_line(snapshot)}")

    with _every(interval_s, tell):
        yield


@contextmanager
def _every(interval_s: float, call: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handle: asyncio.TimerHandle

    def tick() -> None:
        nonlocal handle
        call()  # where it fails, nobody reads any more, and there is no next time
        handle = loop.call_later(interval_s, tick)

    handle = loop.call_later(interval_s, tick)
    try:
        yield
    finally:
        handle.cancel()


def stats_line(snapshot: Snapshot) -> str:
    """`1,234 of 5,000+ files, 12.3 MiB of 40.0+ MiB, 5.1 MiB/s, at least 0:00:05 left, 2 failed`; `+`: or more."""
    more = "" if snapshot.complete else "+"
    amount, unit = human_size(snapshot.known_bytes).split()
    parts = [
        f"{snapshot.files:,} of {snapshot.known_files:,}{more} {'file' if snapshot.known_files == 1 else 'files'}",
        f"{human_size(snapshot.size_bytes)} of {amount}{more} {unit}",
        f"{human_size(snapshot.rate_bytes_s)}/s",
    ]
    if snapshot.left_s is not None:
        parts.append(f"{'' if snapshot.complete else 'at least '}{told_left(snapshot.left_s)} left")
    if snapshot.errors:
        parts.append(f"{counted(snapshot.errors, 'item')} failed")
    return ", ".join(parts)


def told_left(seconds: float) -> str:
    """`1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
