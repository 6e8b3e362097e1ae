"""How far copies are, how fast, and how long they will take: events in, a snapshot out. No I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from entrepot.transfer.events import Copied, Event, Failed, Planned, Progress, Skipped

WINDOW_S: Final = 10.0
"""A rate is the average of so long."""

SETTLED_S: Final = 2.0
"""Earlier than that a rate is no ground for a forecast."""

_SAMPLES: Final = 40


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the copies stand.

    files, size_bytes: that are settled: copied, skipped, and of files also failed. known_files, known_bytes: that the
    scan has found; more may come until `complete`. errors: items that failed.
    rate_bytes_s: what was moved, averaged over the last ten seconds. left_s: at that rate, or at that of files where
    only empty ones are left; None where there is no rate yet. Before `complete` it is the least that is left.
    """

    files: int
    size_bytes: int
    known_files: int
    known_bytes: int
    complete: bool
    skipped: int
    errors: int
    rate_bytes_s: float
    left_s: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, in seconds to the millisecond and whole bytes a second."""
        return {
            "files": self.files,
            "bytes": self.size_bytes,
            "known_files": self.known_files,
            "known_bytes": self.known_bytes,
            "complete": self.complete,
            "skipped": self.skipped,
            "errors": self.errors,
            "bytes_per_second": round(self.rate_bytes_s),
            "seconds_left": round(self.left_s, 3) if self.left_s is not None else None,
            "seconds": round(self.seconds, 3),
        }


class Meter:
    """Adds up the events of copies, one after another; `take` is given to a copy as `on_event`, or called by it.

    clock: seconds, never going back. Memory: some forty samples, whatever the copy is.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self.files = self.size_bytes = self.skipped = self.errors = 0
        self.known_files = self.known_bytes = 0
        self.complete = False
        self._moved_bytes = 0
        self._earlier = (0, 0)
        self._samples: deque[tuple[float, int, int]] = deque([(self._began, 0, 0)])

    def next_copy(self) -> None:
        """Numbers of the next plan are added to those of the copies before."""
        self._earlier = (self.known_files, self.known_bytes)
        self.complete = False

    def take(self, event: Event) -> None:
        """One event of a copy."""
        match event:
            case Planned():
                self.known_files = self._earlier[0] + event.files
                self.known_bytes = self._earlier[1] + event.size_bytes
                self.complete = event.complete
            case Progress():
                self._move(event.size_bytes)
            case Copied():
                self.files += len(event.files)
                self._move(event.size_bytes - event.told_bytes)
            case Skipped():
                self.files += 1
                self.skipped += 1
                self.size_bytes += event.file.source.size_bytes
            case Failed():
                self.files += 1
                self.errors += 1
                self.size_bytes -= event.told_bytes  # it moved, but is of no worth
            case _:
                return
        self._sample()

    def _move(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self._moved_bytes += size_bytes

    def _sample(self) -> None:
        now = self._clock()
        if now - self._samples[-1][0] >= WINDOW_S / _SAMPLES:
            self._samples.append((now, self._moved_bytes, self.files))
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop samples from before the window, but for the last of them, from which it is measured."""
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW_S:
            self._samples.popleft()

    def snapshot(self) -> Snapshot:
        """Where it stands now."""
        now = self._clock()
        self._forget(now)
        since, moved_before, files_before = self._samples[0]
        span_s = now - since
        rate = (self._moved_bytes - moved_before) / span_s if span_s > 0 else 0.0
        files_rate = (self.files - files_before) / span_s if span_s > 0 else 0.0
        seconds = now - self._began
        return Snapshot(
            files=self.files,
            size_bytes=max(0, self.size_bytes),
            known_files=max(self.known_files, self.files),
            known_bytes=max(self.known_bytes, self.size_bytes),
            complete=self.complete,
            skipped=self.skipped,
            errors=self.errors,
            rate_bytes_s=rate,
            left_s=self._left_s(rate, files_rate) if seconds >= SETTLED_S else None,
            seconds=seconds,
        )

    def _left_s(self, rate: float, files_rate: float) -> float | None:
        files = self.known_files - self.files
        if files <= 0:  # what a failed file would have weighed is not told, so that bytes may stay open
            return 0.0
        left_bytes = self.known_bytes - self.size_bytes
        if left_bytes > 0:
            return left_bytes / rate if rate > 0 else None
        return files / files_rate if files_rate > 0 else None
