"""`doctor`: what is wrong with a store, and what to set."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from entrepot.cli.failures import DONE, FAILED, WRONG_USE, WrongUse, as_typed
from entrepot.cli.options import parsed_seconds
from entrepot.cli.render import Output, counted
from entrepot.cli.session import Session
from entrepot.diagnosis import Diagnosis, Finding, examine, failed
from entrepot.errors import ConfigurationError

_STATE_WIDTH: Final = len("warning")
_CHECK_WIDTH: Final = len("exclusive create")
_YEARS_DAYS: Final = 3_650

Store = Annotated[str, typer.Argument(metavar="STORE", hidden=True)]


async def doctor(
    session: Session,
    *,
    store: Store,
    read_only: Annotated[bool, typer.Option("--read-only", help="Leave out every check that writes.")] = False,
    abort_orphans: Annotated[
        bool, typer.Option("--abort-orphans", help="Drop unfinished uploads that are old, once they were shown.")
    ] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="From which age on an upload is old: 12h, 1d, 30d.")
    ] = "1d",
) -> int:
    """Check a store: configuration, connection, clock, credentials, permissions, capabilities, unfinished uploads.

    STORE is an address or the NAME of a configured store. What may be done is tried with one temporary file of a random
    name directly below the address, which is removed again. The exit code is 0 where no check failed.

    --json: one object a check: check, state (ok, warning, failed, skipped), message, advice, items; then one object:
    uri, ok, verdict, checks (how many have which state).
    """
    if read_only and abort_orphans:
        raise WrongUse("--abort-orphans changes the store; leave out --read-only")
    older_than_s = parsed_seconds("--older-than", older_than, most=_YEARS_DAYS * 86_400)
    await session.expect_connection([store])
    shown = _Findings(session.output)
    try:
        opened = await session.store(store)
    except ConfigurationError as error:
        finding = failed("configuration", error)
        await shown.show(finding)
        await shown.conclude(Diagnosis(store, (finding,)))
        return WRONG_USE
    diagnosis = await examine(
        opened, read_only=read_only, older_than_s=older_than_s, abort_orphans=abort_orphans, on_finding=shown.show
    )
    await shown.conclude(diagnosis)
    return DONE if diagnosis.ok else FAILED


class _Findings:
    """Findings as lines or objects, each as it comes; checks that are skipped for one reason share a line."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._skipped: list[str] = []
        self._why = ""

    async def show(self, finding: Finding) -> None:
        output, line = self._output, as_typed(finding.line)
        if output.as_json:
            told = {"message": as_typed(finding.message), "advice": as_typed(finding.advice)}
            output.value({**finding.to_json(), **told})
        elif finding.state == "skipped":
            if line != self._why:
                self._flush()
            self._why = line
            self._skipped.append(finding.check)
        else:
            self._flush()
            self._line(finding.state, finding.check, line)
            for item in finding.items:
                self._line("", "", item)
        await output.drain(wholly=True)

    async def conclude(self, diagnosis: Diagnosis) -> None:
        """The last line or object."""
        self._flush()
        if self._output.as_json:
            self._output.value(diagnosis.to_json())
        else:
            self._output.line(f"{diagnosis.uri}: {diagnosis.verdict}")

    def _flush(self) -> None:
        checks, self._skipped = self._skipped, []
        if len(checks) == 1:
            self._line("skipped", checks[0], self._why)
        elif checks:
            self._line("skipped", counted(len(checks), "check"), f"{self._why} ({', '.join(checks)})")
        self._why = ""

    def _line(self, state: str, check: str, text: str) -> None:
        self._output.line(f"{state:<{_STATE_WIDTH}}  {check:<{_CHECK_WIDTH}}  {text}".rstrip())
