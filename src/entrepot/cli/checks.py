"""`check`: two trees compared, and nothing copied."""

from __future__ import annotations

from typing import Annotated

import typer

from entrepot.cli.failures import DONE, FAILED
from entrepot.cli.filtering import Filtering, filters_of
from entrepot.cli.options import parsed_count
from entrepot.cli.render import counted, human_size
from entrepot.cli.session import Session
from entrepot.transfer.checking import CheckOptions, CheckReport, Difference, Finding, check_between

_SIGNS = {
    Finding.DIFFERS: "*",
    Finding.MISSING_AT_TARGET: "+",
    Finding.MISSING_AT_SOURCE: "-",
    Finding.UNDECIDED: "?",
    Finding.FAILED: "!",
}


async def check(
    session: Session,
    *,
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", hidden=True)],
    target: Annotated[str, typer.Argument(metavar="DST", hidden=True)],
    size_only: Annotated[bool, typer.Option("--size-only", help="Compare sizes alone.")] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Read both files where their services tell no checksum in common.")
    ] = False,
    one_way: Annotated[bool, typer.Option("--one-way", help="What only DST has is no difference.")] = False,
    concurrency: Annotated[
        str | None, typer.Option("--concurrency", metavar="N", help="Requests in flight (32 by default).")
    ] = None,
    filtering: Filtering,
) -> int:
    r"""Compare two directories, or two files, and copy nothing.

    \b
    One line a file that is not known to be equal:
      * differs    + only SRC has it    - only DST has it    ? sizes are equal, no checksum in common    ! failed

    By size, then by the checksums that both sides tell; where one side is on this machine its files are read and
    hashed. The exit code is 0 only where everything is known to be equal: --download reads what cannot be decided,
    --size-only is content with sizes.

    --json: one object a difference (path, finding, reason), then one: ok, equal, differing, missing_at_target,
    missing_at_source, undecided, failed, bytes, differences, seconds.
    """
    await session.expect_connection([source, target])
    options = CheckOptions(
        size_only=size_only,
        download=download,
        one_way=one_way,
        filters=await filters_of(filtering, ctx),
        concurrency=parsed_count("--concurrency", concurrency, most=512) or 32,
    )
    here, there = await session.place(source), await session.place(target)
    output = session.output

    def tell(one: Difference) -> None:
        if output.as_json:
            output.value(one.to_json())
        else:
            reason = f" ({one.reason})" if one.reason else ""
            output.line(f"{_SIGNS[one.finding]} {one.path or target}{reason}")

    report = await check_between(here.store, here.path, there.store, there.path, options=options, on_difference=tell)
    if output.as_json:
        output.value(report.to_json())
    else:
        output.line(_summary(report))
    return DONE if report.ok else FAILED


def _summary(report: CheckReport) -> str:
    parts = [
        f"{counted(report.equal, 'file')} equal",
        f"{report.differing:,} differ" if report.differing else "",
        f"{report.missing_at_target:,} missing at the target" if report.missing_at_target else "",
        f"{report.missing_at_source:,} missing at the source" if report.missing_at_source else "",
        f"{report.undecided:,} undecided (--download reads them)" if report.undecided else "",
        f"{report.failed:,} failed" if report.failed else "",
    ]
    return f"{', '.join(part for part in parts if part)}; {human_size(report.bytes)} compared"
