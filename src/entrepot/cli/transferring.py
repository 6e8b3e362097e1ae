"""The copies of one command line: one after another, with one progress and one report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from entrepot.cli.continuing import job_of
from entrepot.cli.failures import DONE, FAILED, WRONG_USE, WrongUse, failure_of
from entrepot.cli.rehearsal import show_step
from entrepot.cli.renames import renamed
from entrepot.cli.session import Place, Session, joined
from entrepot.cli.stats import told
from entrepot.cli.summary import combined, summary_line, unverified_lines
from entrepot.copies import landing_name
from entrepot.errors import IsADirectory, StoreError
from entrepot.paths import scheme_of
from entrepot.transfer.engine import copy_between
from entrepot.transfer.events import Event, Failed, StepPlanned, Stopped
from entrepot.transfer.meter import Meter
from entrepot.transfer.plan import CopyOptions
from entrepot.transfer.plans import CopyPlan
from entrepot.transfer.report import CopyReport


class Transfer:
    """The copies of one command line, one source after another, with one progress and one report."""

    def __init__(
        self,
        session: Session,
        options: CopyOptions,
        verb: str,
        done: str,
        interval_s: float | None,
        *,
        plan: CopyPlan | None = None,
        anew: bool = False,
    ) -> None:
        self._session, self._options, self._interval_s = session, options, interval_s
        self._verb, self._done = verb, done
        self._plan, self._anew = plan, anew
        self._reports: list[CopyReport] = []
        self._draw: Callable[[Event], None] | None = None

    async def run(self, sources: Sequence[str], target: str, *, into: str | None) -> int:
        session = self._session
        pairs = [(source, _below(target, source) if into is not None else target) for source in sources]
        _refuse_twins(pairs)
        with self._progress() as next_copy:
            for at, (source, its_target) in enumerate(pairs, 1):
                next_copy()
                try:
                    await self._copy(source, its_target)
                except (StoreError, WrongUse) as error:
                    session.report(error, source if scheme_of(source) else its_target)
                    if session.give_up(error, pairs[at:]):
                        break
                await session.output.drain()
        total = combined(self._reports)
        total["ok"] = total["ok"] and not session.failures
        if session.output.as_json:
            session.output.value({**total, "sources": [*sources], "target": target})
        elif not session.failures or total["files"] or total["skipped"] or total["failed"]:
            session.output.line(summary_line(total, self._verb, self._done))
            for line in unverified_lines(total):
                session.output.line(line)
        if any(failure.exit_code == WRONG_USE for failure in session.failures):
            return WRONG_USE
        return DONE if total["ok"] else FAILED

    async def _copy(self, source: str, target: str) -> None:
        session = self._session
        here, there = await session.place(source, in_parent=self._options.delete_source), await session.place(target)
        if self._options.delete_source and (report := await renamed(here, there, self._options)) is not None:
            self._reports.append(report)
            return
        job = None
        if self._plan is None:
            job = job_of(session, here, there, self._options, command=session.command, anew=self._anew)
        try:
            report = await copy_between(
                here.store,
                here.path,
                there.store,
                there.path,
                options=self._options,
                plan=self._plan,
                job=job,
                on_event=self._on_event(here, there),
            )
        except IsADirectory as error:
            if error.uri == here.uri:
                raise WrongUse(f"this is a directory; add -r to {self._verb} what is in it", source) from error
            raise WrongUse("a file needs a name in this place; add one, or put --into before it", target) from error
        except asyncio.CancelledError:
            if job is not None and job.jobs.ids(job.spec.id):
                session.kept_jobs.append(job.spec.id)
            raise
        self._reports.append(report)

    def _on_event(self, here: Place, there: Place) -> Callable[[Event], None]:
        def note(event: Event) -> None:
            if isinstance(event, Failed):
                self._item_failed(event)
            elif isinstance(event, Stopped):
                self._reports.append(event.report)
            elif isinstance(event, StepPlanned):
                show_step(self._session.output, event.step, here, there, self._verb)
            if self._draw is not None:
                self._draw(event)

        return note

    def _item_failed(self, event: Failed) -> None:
        item = event.item
        failure = replace(failure_of(item.error), address=item.source)
        if isinstance(item.error, IsADirectory):
            message = f"a directory is at the target {item.target}; --into puts a file below it by its name"
            failure = replace(failure, message=message)
        self._session.output.failure(failure, self._session.command)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Draw on a terminal, or tell now and then, while the block lasts; what it gives is called before each copy."""
        drawn_here = self._session.output.draws_progress
        if self._options.dry_run or (not drawn_here and self._interval_s is None):
            yield lambda: None
            return
        if not drawn_here and self._interval_s is not None:
            meter = Meter()
            self._draw = meter.take
            with told(self._session.command, self._session.output, meter, self._interval_s):
                yield meter.next_copy
            return
        from entrepot.cli.bars import drawn

        with drawn(self._verb, self._session.output) as bars:
            self._draw = bars.on_event
            yield bars.next_copy


def _below(directory: str, source: str) -> str:
    """Where a source lands with `--into`: below the directory, by its own name. Raises WrongUse where it has none."""
    name = landing_name(source)
    if not name:
        raise WrongUse("a whole store has no name to land by; give a target in place of --into", source)
    return joined(directory, name)


def _refuse_twins(pairs: Iterable[tuple[str, str]]) -> None:
    """Two sources of one name would overwrite each other."""
    seen: dict[str, str] = {}
    for source, target in pairs:
        if target in seen:
            raise WrongUse(f"it would land where {seen[target]} lands, at {target}; copy them one by one", source)
        seen[target] = source
