"""Moves within one disk: a rename, where a rename means the same as copy and delete."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from entrepot.cli.session import Place
from entrepot.errors import UnsupportedOperation
from entrepot.stores import make_store
from entrepot.transfer.compare import Comparison
from entrepot.transfer.plan import CopyOptions
from entrepot.transfer.report import CopyReport


@dataclass(frozen=True, slots=True)
class _Rename:
    source: str
    target: str
    common: str
    is_directory: bool
    size_bytes: int


async def renamed(here: Place, there: Place, options: CopyOptions) -> CopyReport | None:
    """What was renamed; None where files have to be copied: to another disk, or into a directory that exists.

    A directory counts as one, whatever is in it. Raises what the store's `rename` does; the source is kept then.
    """
    looks = options.compare not in (Comparison.ALWAYS, Comparison.SKIP_EXISTING) or not options.filters.admits_all
    if looks or options.dry_run or not (here.store.is_local and there.store.is_local):
        return None
    if not here.path or not there.path:
        return None  # the root of a store stays where it is, and what is in it moves
    began = time.monotonic()
    one = await to_thread.run_sync(_rename_of, here.uri, there.uri, options.overwrites)
    if one is None:
        return None
    try:
        async with make_store(Path(one.common)) as store:
            await store.rename(one.source, one.target, overwrite=options.overwrites)
    except UnsupportedOperation:
        return None  # another file system is mounted there
    seconds = time.monotonic() - began
    if one.is_directory:
        return CopyReport(directories=1, removed=1, seconds=seconds)
    return CopyReport(files=1, bytes=one.size_bytes, removed=1, verified={"rename": 1}, seconds=seconds)


def _rename_of(source_uri: str, target_uri: str, overwrite: bool) -> _Rename | None:
    """The rename that a move comes to. None where it is none, and for what the copy explains better."""
    source, target = _real(source_uri), _real(target_uri)
    if f"{target}/".startswith(f"{source}/") or os.path.islink(source) or not os.path.exists(source):
        return None
    is_directory = os.path.isdir(source)
    if os.path.lexists(target) and (is_directory or not overwrite or not os.path.isfile(target)):
        return None
    try:
        common = os.path.commonpath([os.path.dirname(source), os.path.dirname(target)])
    except ValueError:
        return None  # two drives of Windows have nothing in common
    return _Rename(source, target, common, is_directory, 0 if is_directory else os.stat(source).st_size)


def _real(uri: str) -> str:
    """The path with links resolved, but for its last name: a link is moved itself, if at all."""
    return os.path.join(os.path.realpath(os.path.dirname(uri)), os.path.basename(uri))
