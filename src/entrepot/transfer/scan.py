"""The first half of a copy: what the listings tell, decided entry by entry, becomes steps for the workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from entrepot.errors import AlreadyExists, IsADirectory, StoreError
from entrepot.models import FileStat
from entrepot.paths import join, printable
from entrepot.transfer.account import Account
from entrepot.transfer.compare import Decision, Reason
from entrepot.transfer.events import Event, Planned, StepPlanned
from entrepot.transfer.examining import Examiner
from entrepot.transfer.intake import UNSEEN, Broken, Candidate, Extra, Intake
from entrepot.transfer.mirror import Mirrored
from entrepot.transfer.plan import (
    CopyOptions,
    MakeDirectories,
    MakeLink,
    MoveInParts,
    PlannedFile,
    Planner,
    Refused,
    RemoveFiles,
    Step,
)
from entrepot.transfer.plans import CopyPlan
from entrepot.transfer.ports import Sink
from entrepot.transfer.recording import Recorder
from entrepot.transfer.schedule import Backlog, Examine

_PLANNED_EVERY: Final = 1_000
_DIRECTORIES_A_STEP: Final = 16


class Scan:
    """What is to be done by one copy, found out and queued as it is found; a dry run only tells of it."""

    def __init__(
        self,
        sink: Sink,
        options: CopyOptions,
        *,
        planner: Planner,
        backlog: Backlog,
        examiner: Examiner,
        account: Account,
        mirrored: Mirrored | None,
        recorder: Recorder,
        emit: Callable[[Event], None],
    ) -> None:
        self._sink, self._options, self._emit = sink, options, emit
        self._planner, self._backlog, self._examiner = planner, backlog, examiner
        self._account, self._mirrored, self._recorder = account, mirrored, recorder
        self._ledger = account.ledger
        self._told_files = 0

    async def read(self, intake: Intake) -> None:
        """Decide about all that the listings tell. Raises: their errors."""
        planner, tree = self._planner, intake.found.is_dir
        async with aclosing(intake.taken()) as taken:
            async for one in taken:
                if isinstance(one, Candidate):
                    # Filters choose from trees; who names a file means it.
                    await (self._take(one) if tree else self._decide(self._named(one), one.target))
                elif isinstance(one, Extra):
                    self._take_extra(one)
                else:
                    self._take_broken(one)
        await self._admit(planner.rest())
        if tree:
            await self._make_directories(list(planner.empty_directories()))
        self._emit(Planned(planner.files, planner.size_bytes, complete=True))
        self._recorder.found(planner.files, planner.size_bytes)

    async def follow(self, plan: CopyPlan) -> None:
        """What was decided before, in place of listings."""
        planner, directories = self._planner, list[str]()
        for entry in plan.entries(planner.target_root):
            if entry.file is not None:
                if self._mirrored is not None:
                    self._mirrored.source_files += 1
                await self._go_on(planner.add(entry.file))
            elif entry.directory is not None:
                directories.append(entry.directory)
            elif entry.deletion is not None and self._mirrored is not None:
                self._mirrored.add_file(entry.deletion)
        await self._admit(planner.rest())
        await self._make_directories(directories)
        self._emit(Planned(planner.files, planner.size_bytes, complete=True))

    def examined(self, file: PlannedFile, decision: Decision) -> None:
        """Go on with a file of which the listings did not tell enough: it is a step of its own now, or none."""
        if self.is_settled(file, decision):
            return
        step = self._planner.step_of(file)
        if self._options.dry_run:
            self._pretend(step)
        else:
            self._backlog.push(step)

    def is_settled(self, file: PlannedFile, decision: Decision) -> bool:
        """Whether the decision is not to copy; then what becomes of the file is entered."""
        if decision.action == "skip":
            self._account.skipped(file, decision.reason)
        elif decision.action == "fail":
            self._account.failed(file, self._refusal(file, decision.reason), "write")
        return decision.action != "copy"

    # ---- what the listings tell ---------------------------------------------------------------------

    def _named(self, one: Candidate) -> PlannedFile:
        return PlannedFile(one.entry, self._planner.target_root)

    async def _take(self, one: Candidate) -> None:
        """One entry of a tree."""
        entry = one.entry
        if entry.link_target is not None and self._options.links != "preserve":
            self._ledger.links_skipped += 1
            return
        if entry.special:
            self._ledger.special_skipped += 1
            return
        address = entry.uri if one.address is None else one.address
        relative = self._planner.relative(address)
        if relative is not None and not self._options.filters.chooses(relative, entry):
            self._planner.pass_by(relative)
            self._ledger.excluded += not entry.is_dir
            if self._mirrored is not None:
                self._mirrored.keep(relative)
            return
        if self._mirrored is not None and relative is not None:
            self._mirrored.keep(f"{relative}/" if entry.is_dir else relative)
        file = self._planner.place(entry, address)
        if isinstance(file, PlannedFile):
            if self._mirrored is not None:
                self._mirrored.source_files += 1
            await self._decide(file, one.target)
        elif isinstance(file, Refused):
            self._refuse(file)
        elif self._backlog.starving:
            await self._admit(self._planner.rest())

    def _take_extra(self, extra: Extra) -> None:
        mirrored = self._mirrored
        if mirrored is None:
            return
        if self._options.filters.chooses(extra.path, extra.entry) and not mirrored.is_kept_aside(extra.path):
            mirrored.add(extra.path, extra.entry)
        else:
            mirrored.keep(extra.path)

    def _take_broken(self, one: Broken) -> None:
        self._account.record(printable(one.address), "", one.error)

    async def _decide(self, file: PlannedFile, target: FileStat | None) -> None:
        """Copy, leave or refuse a file by what is at its target; where that is not enough to know, look first."""
        if target is UNSEEN:
            await self._go_on(self._planner.add(file))
            return
        # The source of a move that was cut off may still be there: it is copied once more, and goes then.
        if not self._options.delete_source and self._recorder.is_done(file, target):
            self._account.resumed(file)
            return
        if target is not None and self._examiner.is_needed(file.source, target):
            await self._backlog.put(Examine(replace(file, replaces=True), target))
            return
        decision = self._examiner.by_listings(file.source, target)
        if self.is_settled(file, decision):
            return
        await self._go_on(self._planner.add(replace(file, replaces=True) if target is not None else file))

    def _refusal(self, file: PlannedFile, reason: Reason) -> StoreError:
        uri = join(self._sink.path, file.target)
        if reason is Reason.DIRECTORY:
            return IsADirectory("a directory is at the target", operation="copy", uri=uri)
        if reason is Reason.EXISTS:
            return AlreadyExists("a file is at the target", operation="copy", uri=uri)
        return StoreError(f"not copied: {reason}", operation="copy", uri=uri)

    def _refuse(self, refused: Refused) -> None:
        target = join(self._sink.path, refused.target) if refused.target else ""
        self._account.record(refused.source, target, refused.error)

    # ---- what is to be done ---------------------------------------------------------------------------

    async def _go_on(self, step: Step | None) -> None:
        if step is None and self._backlog.starving:
            step = self._planner.rest()
        await self._admit(step)

    async def _admit(self, step: Step | None) -> None:
        if step is None:
            return
        if self._options.dry_run:
            self._pretend(step)
        else:
            await self._backlog.put(step)
        if self._planner.files >= self._told_files + _PLANNED_EVERY:
            self._told_files = self._planner.files
            self._emit(Planned(self._planner.files, self._planner.size_bytes, complete=False))

    async def _make_directories(self, empty: list[str]) -> None:
        if not empty:
            return
        if not (await self._sink.probe_capabilities()).empty_directories:
            self._ledger.empty_directories_skipped += len(empty)
            return
        for start in range(0, len(empty), _DIRECTORIES_A_STEP):
            await self._admit(MakeDirectories(tuple(empty[start : start + _DIRECTORIES_A_STEP])))

    def _pretend(self, step: Step) -> None:
        ledger = self._ledger
        if isinstance(step, MakeDirectories):
            ledger.directories += len(step.paths)
        elif isinstance(step, MakeLink):
            ledger.links += 1
        elif isinstance(step, RemoveFiles):
            ledger.deleted += len(step.paths)
        elif isinstance(step, MoveInParts):
            ledger.files += 1
            ledger.size_bytes += step.file.source.size_bytes
        else:
            ledger.files += len(step.files)
            ledger.size_bytes += step.size_bytes
        self._emit(StepPlanned(step))
