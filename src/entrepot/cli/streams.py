"""`cp` from standard input and to standard output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

from entrepot.cli.failures import DONE, WrongUse
from entrepot.cli.files import stream_out
from entrepot.cli.render import read_standard_input, standard_input_is_terminal
from entrepot.cli.session import STREAM, Place, Session
from entrepot.cli.summary import combined, summary_line
from entrepot.models import MIB, WriteOptions
from entrepot.rates import Rate
from entrepot.transfer.plan import CopyOptions
from entrepot.transfer.report import CopyReport

_CHUNK_BYTES: Final = MIB


async def copy_stream(
    session: Session, sources: Sequence[str], target: str, *, into: str | None, options: CopyOptions
) -> int:
    """`cp - DST` and `cp FILE -`."""
    if len(sources) != 1 or into is not None or sources == [target]:
        raise WrongUse("a stream is copied alone: cp - DST, or cp FILE -")
    if sources[0] != STREAM:
        if options.dry_run:
            raise WrongUse("--dry-run: writing to standard output changes nothing; leave it out")
        place = await session.place(sources[0])
        with _paced(place, options):
            await stream_out(session, place, _flow(options))
        return DONE
    place = await session.place(target)
    if not place.path or (place.store.is_local and await place.store.isdir(place.path)):
        raise WrongUse("a stream needs a name in this place; add one", target)
    if options.dry_run:
        session.output.line(f"would copy standard input -> {target}")
        return DONE
    if standard_input_is_terminal():
        session.output.note(f"cp: reading from the terminal until Ctrl-D, into {target}")
    began = time.monotonic()
    with _paced(place, options):
        size_bytes = await _store_standard_input(place, options)
    report = CopyReport(files=1, bytes=size_bytes, unverified_files=0, seconds=time.monotonic() - began)
    total = combined([report])
    if session.output.as_json:
        session.output.value({**total, "sources": [STREAM], "target": target})
    else:
        session.output.line(summary_line(total, "copy", "copied"))
    return DONE


async def _store_standard_input(place: Place, options: CopyOptions) -> int:
    """Stream it into one file, which is published only when the input has ended; returns its size."""
    size_bytes, flow = 0, _flow(options)
    durability = options.durability
    async with place.store.open(
        place.path, "wb" if options.overwrites else "xb", options=WriteOptions(durability=durability)
    ) as file:
        while chunk := await read_standard_input(_CHUNK_BYTES):
            if flow is not None:
                await flow.take(len(chunk))
            size_bytes += await file.write(chunk)
    return size_bytes


def _paced(place: Place, options: CopyOptions) -> AbstractContextManager[None]:
    per_second = options.requests_per_second
    rate = Rate(per_second) if per_second is not None else None
    return place.store.paced(concurrency=options.concurrency, rate=rate)


def _flow(options: CopyOptions) -> Rate | None:
    return Rate(options.bandwidth_bytes_s) if options.bandwidth_bytes_s is not None else None
