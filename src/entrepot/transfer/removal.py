"""The end of a move: sources go once their copies are durable and verified, then directories that are empty."""

from __future__ import annotations

from entrepot.errors import SourceChanged, UnsupportedOperation
from entrepot.models import FileStat
from entrepot.transfer.plan import PlannedFile
from entrepot.transfer.ports import Sink, Source
from entrepot.transfer.report import Ledger
from entrepot.transfer.verify import Verdict, require_written


async def remove_source(source: Source, sink: Sink, file: PlannedFile, verdict: Verdict, *, native: bool) -> None:
    """Remove the source of a file that was copied, if it still is what was copied.

    Requests: a look, and a removal; one look more at a copy that the service made.
    Raises: UnsupportedOperation for what nothing vouches for; SourceChanged; what both ends raise.
    """
    uri = file.source.uri
    if verdict.method is None:
        raise UnsupportedOperation(
            f"copied, but not verified, so the source was kept: {verdict.why}; "
            "`download` as the way to verify reads it again, for `size` equal sizes are enough",
            operation="move",
            uri=uri,
        )
    if native and not sink.is_local:
        # The reply to a server-side copy tells nothing of its size.
        require_written(file.source, await sink.stat(file.target))
    if not _unchanged(file.source, await source.stat(uri)):
        raise SourceChanged("it changed after it was copied, so it was kept", operation="move", uri=uri)
    await source.remove(uri)


def _unchanged(copied: FileStat, now: FileStat) -> bool:
    """Whether two looks saw one content: by the etag, else by size and time (a listing's may be the finer one)."""
    if copied.etag and now.etag:
        return copied.etag == now.etag
    times = [look.modified.replace(microsecond=0) if look.modified else None for look in (copied, now)]
    return copied.size_bytes == now.size_bytes and times[0] == times[1]


async def remove_directories(source: Source, path: str, ledger: Ledger) -> None:
    """Remove what is left of a tree whose files have all moved: its directories. The root of a store stays."""
    if ledger.failed or ledger.skipped or ledger.links_skipped or ledger.special_skipped:
        return
    if ledger.empty_directories_skipped or not path.strip("/"):
        return
    await source.remove_empty_directories(path)
