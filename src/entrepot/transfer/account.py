"""What becomes of each item of a copy: entered in the ledger, told to who listens, and judged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from entrepot.errors import FATAL, AlreadyExists, PermissionDenied, StoreError
from entrepot.paths import join, printable
from entrepot.transfer.events import Copied, Event, Failed, Skipped
from entrepot.transfer.plan import PlannedFile
from entrepot.transfer.ports import Located
from entrepot.transfer.report import FailedItem, Ledger
from entrepot.transfer.verify import Verdict

_log = logging.getLogger(__name__)

_ERRORS_IN_A_ROW: Final = 64
"""So many errors of a service that is failing, throttling or refusing, one after another, with no success between: it
will not get better."""

_COPIED_AN_EVENT: Final = 64
_TELL_EVERY_S: Final = 0.05
"""Files that were copied are told together: so many, or those of so long."""

Stage: TypeAlias = Literal["read", "write", "remove"]
"""In which stage of its way an item failed."""


class Account:
    """The outcomes of one copy. skips_existing: an exclusive write that finds its target there is no failure.

    note_failure: is given source, target and error of each failure.
    """

    def __init__(
        self,
        source: Located,
        sink: Located,
        ledger: Ledger,
        emit: Callable[[Event], None],
        *,
        skips_existing: bool,
        note_failure: Callable[[str, str, StoreError], None],
    ) -> None:
        self.ledger, self.emit, self._note_failure = ledger, emit, note_failure
        self._source, self._sink, self._skips_existing = source, sink, skips_existing
        self._errors_in_a_row = 0
        self._copied: list[PlannedFile] = []
        self._copied_told_bytes = 0
        self._tell_at_s = 0.0

    def copied(self, file: PlannedFile, verdict: Verdict, told_bytes: int = 0) -> None:
        """One file is at its target. told_bytes: of it that `Progress` has told."""
        self._errors_in_a_row = 0
        self.ledger.copied(file.source.size_bytes, verdict, file.source.uri)
        self._copied.append(file)
        self._copied_told_bytes += told_bytes
        now = time.monotonic()
        if told_bytes or len(self._copied) >= _COPIED_AN_EVENT or now >= self._tell_at_s:
            self._tell_at_s = now + _TELL_EVERY_S
            self.tell_copied()

    def tell_copied(self) -> None:
        """Tell now of the files that were copied."""
        if self._copied:
            files, told_bytes = tuple(self._copied), self._copied_told_bytes
            self._copied, self._copied_told_bytes = [], 0
            self.emit(Copied(files, sum(file.source.size_bytes for file in files), told_bytes))

    def skipped(self, file: PlannedFile, reason: str) -> None:
        """One file is left as it is at its target."""
        self.ledger.skipped += 1
        self.emit(Skipped(file, reason))

    def resumed(self, file: PlannedFile) -> None:
        """One file was copied by an earlier run."""
        self.ledger.resumed += 1
        self.ledger.resumed_bytes += file.source.size_bytes
        self.emit(Skipped(file, "copied by an earlier run"))

    def failed(self, file: PlannedFile, error: StoreError, stage: Stage, *, told_bytes: int = 0) -> None:
        """One file could not be copied. Raises the error where every further item would meet it too."""
        if self._skips_existing and isinstance(error, AlreadyExists):
            self.skipped(file, "exists at the target")
            return
        self.judge(error, stage)
        target = printable(join(self._sink.path, file.target))
        self.record(printable(file.source.uri), target, error, told_bytes)

    def record(self, source: str, target: str, error: StoreError, told_bytes: int = 0) -> None:
        """Enter a failure. source, target: addresses, escaped."""
        _log.debug("%s", error)
        item = FailedItem(source, target, error.message, _bare(error))
        self.ledger.failed.append(item)
        self._note_failure(source, target, error)
        self.emit(Failed(item, told_bytes))

    def judge(self, error: StoreError, stage: Stage) -> None:
        """Raise the error where every further item would meet it too."""
        ledger = self.ledger
        at_a_service = not (self._sink if stage == "write" else self._source).is_local
        refused = isinstance(error, PermissionDenied) and at_a_service
        if error.retryable or refused:
            self._errors_in_a_row += 1
        # Who was refused its first write, or its first removal, is refused the others as well.
        none_yet = not ledger.files if stage == "write" else stage == "remove" and not ledger.removed
        if isinstance(error, FATAL) or (refused and none_yet) or self._errors_in_a_row >= _ERRORS_IN_A_ROW:
            raise error


def _bare(error: StoreError) -> StoreError:
    """The error without tracebacks, its causes' too: their frames hold the content that was under way."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
