"""What a copy tells while it runs: typed values, given to the caller's `on_event` in the loop of the copy.

Small files come in batches, one event a batch. A callback must return fast; what it raises ends the copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from entrepot.errors import StoreError
from entrepot.transfer.plan import PlannedFile, Step
from entrepot.transfer.report import CopyReport, FailedItem


@dataclass(frozen=True, slots=True)
class Planned:
    """What the scan has found so far, in total. complete: the scan has ended, these are the final numbers."""

    files: int
    size_bytes: int
    complete: bool


@dataclass(frozen=True, slots=True)
class StepPlanned:
    """One step that a dry run would have done."""

    step: Step


@dataclass(frozen=True, slots=True)
class Started:
    """A large file is under way; small ones only tell that they were copied."""

    file: PlannedFile


@dataclass(frozen=True, slots=True)
class Progress:
    """One more part of a large file was written. size_bytes: of this part."""

    file: PlannedFile
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Copied:
    """Files that are at their target now. size_bytes: all of them together.

    told_bytes: how many of these bytes `Progress` had told before (all of a large file's, none of small files').
    """

    files: tuple[PlannedFile, ...]
    size_bytes: int
    told_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file whose target is left as it is. reason: in words."""

    file: PlannedFile
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """One item that could not be copied; the copy goes on. told_bytes: as in `Copied`, now of no worth."""

    item: FailedItem
    told_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The copy ends early, by an error that every further item would meet too. report: what was done until then."""

    error: StoreError
    report: CopyReport


Event: TypeAlias = Planned | StepPlanned | Started | Progress | Copied | Skipped | Failed | Stopped
