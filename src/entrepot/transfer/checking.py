"""Two trees compared, and nothing copied: what is equal, what differs, what only one of them has."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final

import anyio

from entrepot.errors import FATAL, IsADirectory, NotADirectory, StoreError
from entrepot.models import MIB, FileStat
from entrepot.paths import join
from entrepot.transfer.budget import Gate, Share, process_budget
from entrepot.transfer.compare import Comparison, Reason, decide
from entrepot.transfer.examining import Examiner
from entrepot.transfer.filters import NO_FILTERS, Filters
from entrepot.transfer.pairing import Pair, Tree, side_by_side
from entrepot.transfer.parts import Route
from entrepot.transfer.plan import PlannedFile
from entrepot.transfer.ports import Sink, Source
from entrepot.transfer.schedule import Examine, crew
from entrepot.transfer.verify import Verify

DIFFERENCES_NAMED: Final = 1_000
"""How many differences are named in a report; the others are counted, and told as they are found."""


class Finding(StrEnum):
    """What was found of one file."""

    EQUAL = "equal"
    DIFFERS = "differs"
    MISSING_AT_TARGET = "missing at the target"
    MISSING_AT_SOURCE = "missing at the source"
    UNDECIDED = "sizes are equal, and no checksum is in common"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One file that is not equal, or not known to be. path: below both trees. reason: in words."""

    path: str
    finding: Finding
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """`path`, `finding`, `reason`."""
        return {"path": self.path, "finding": str(self.finding), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How to compare. size_only: by sizes alone. download: where no checksum is in common, both files are read.

    one_way: what only the target has is no difference. filters: of files on either side.
    """

    size_only: bool = False
    download: bool = False
    one_way: bool = False
    filters: Filters = NO_FILTERS
    concurrency: int = 32
    memory_bytes: int = 128 * MIB


@dataclass(frozen=True, slots=True)
class CheckReport:
    """How many files were found how. differences: the first of them by path, without those that are equal."""

    equal: int = 0
    differing: int = 0
    missing_at_target: int = 0
    missing_at_source: int = 0
    undecided: int = 0
    failed: int = 0
    bytes: int = 0
    differences: tuple[Difference, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether both are known to be equal. What is undecided is not known: read it, or be content with sizes."""
        counts = (self.differing, self.missing_at_target, self.missing_at_source, self.undecided, self.failed)
        return not any(counts)

    def to_json(self) -> dict[str, Any]:
        """The fields above as JSON values, and `ok`."""
        return {
            "ok": self.ok,
            "equal": self.equal,
            "differing": self.differing,
            "missing_at_target": self.missing_at_target,
            "missing_at_source": self.missing_at_source,
            "undecided": self.undecided,
            "failed": self.failed,
            "bytes": self.bytes,
            "differences": [one.to_json() for one in self.differences],
            "seconds": round(self.seconds, 6),
        }


@dataclass(slots=True)
class _Tally:
    counts: dict[Finding, int] = field(default_factory=lambda: dict.fromkeys(Finding, 0))
    size_bytes: int = 0
    differences: list[Difference] = field(default_factory=list)


async def check_between(
    source: Source,
    source_path: str,
    sink: Sink,
    sink_path: str,
    *,
    options: CheckOptions,
    on_difference: Callable[[Difference], None] | None = None,
) -> CheckReport:
    """Compare the files below two directories, or two files: by size, then by the checksums that both sides tell.

    Where they tell none in common, a file on this machine is read and hashed; between two services `download` reads
    both. on_difference: is called with each, as it is found, in the loop of the check.

    Requests: both listings; a look at each end of a file of which the listings tell no checksum in common.
    Raises: NotFound for a source or target that is not there; IsADirectory, NotADirectory for a file beside a
    directory; errors of the listings, and those that every further file would meet.
    """
    began = time.monotonic()
    found, there = await source.stat(source_path), await sink.stat(sink_path)
    if found.is_dir != there.is_dir:
        kind = IsADirectory if there.is_dir else NotADirectory
        raise kind("a file cannot be compared with a directory", operation="check", uri=there.uri)
    with process_budget().share(options.memory_bytes) as memory:
        check = _Check(source, sink, options, memory, on_difference)
        await check.run(found, source_path, there, sink_path)
    tally = check.tally
    counts = tally.counts
    return CheckReport(
        equal=counts[Finding.EQUAL],
        differing=counts[Finding.DIFFERS],
        missing_at_target=counts[Finding.MISSING_AT_TARGET],
        missing_at_source=counts[Finding.MISSING_AT_SOURCE],
        undecided=counts[Finding.UNDECIDED],
        failed=counts[Finding.FAILED],
        bytes=tally.size_bytes,
        differences=tuple(sorted(tally.differences, key=lambda one: one.path)),
        seconds=time.monotonic() - began,
    )


class _Check:
    """One check under way: a listing of pairs, and workers that look closer where the listings do not suffice."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        options: CheckOptions,
        memory: Share,
        on_difference: Callable[[Difference], None] | None,
    ) -> None:
        self._source, self._sink, self._options = source, sink, options
        self._on_difference = on_difference
        requests = Gate(options.concurrency)
        route = Route(
            source=source,
            sink=sink,
            reads=requests,
            writes=requests,
            memory=memory,
            acquire=memory.acquire,
            part_bytes=Gate(1),
            verify=Verify.CHECKSUM,
        )
        self._examiner = Examiner(route, Comparison.CHECKSUM, time_travels=False)
        self.tally = _Tally()

    async def run(self, found: FileStat, source_path: str, there: FileStat, sink_path: str) -> None:
        send, receive = anyio.create_memory_object_stream[tuple[str, Examine]](max_buffer_size=0)
        with receive:
            async with crew(partial(self._work, receive), max(1, self._options.concurrency)), send:
                if not found.is_dir:
                    await self._take("", found, there, sink_path, send)
                    return
                here, beside = Tree(self._source, source_path, found.uri), Tree(self._sink, sink_path, there.uri)
                async with aclosing(side_by_side(here, beside)) as pairs:
                    async for pair in pairs:
                        await self._compare(pair, sink_path.removesuffix("/"), send)

    async def _compare(self, pair: Pair, sink_path: str, send: Any) -> None:
        source = pair.source.stat if pair.source is not None else None
        target = pair.target.stat if pair.target is not None else None
        one = source or target
        if one is None or one.is_dir or one.link_target is not None or one.special:
            return
        if not self._options.filters.chooses(pair.path, one):
            return
        if source is None:
            if not self._options.one_way:
                self._tell(pair.path, Finding.MISSING_AT_SOURCE)
        elif target is None:
            self._tell(pair.path, Finding.MISSING_AT_TARGET)
        else:
            path = join(sink_path, pair.path)
            await self._take(pair.path, source, target, path, send)

    async def _take(self, path: str, source: FileStat, target: FileStat, target_path: str, send: Any) -> None:
        self.tally.size_bytes += source.size_bytes
        comparison = Comparison.SIZE if self._options.size_only else Comparison.CHECKSUM
        if comparison is Comparison.CHECKSUM and self._examiner.is_needed(source, target):
            await send.send((path, Examine(PlannedFile(source, target_path), target)))
            return
        self._enter(path, decide(source, target, comparison).reason)

    async def _work(self, receive: Any) -> None:
        async with receive.clone() as jobs:
            async for path, job in jobs:
                try:
                    _, decision = await self._examiner.decide(job)
                    reason = decision.reason
                    if reason is Reason.NO_CHECKSUM and self._options.download:
                        equal = await self._examiner.are_equal(job)
                        reason = Reason.CHECKSUM_EQUAL if equal else Reason.CHECKSUM_DIFFERS
                except FATAL:
                    raise
                except StoreError as error:
                    self._tell(path, Finding.FAILED, error.message)
                else:
                    self._enter(path, reason)

    def _enter(self, path: str, reason: Reason) -> None:
        if reason in (Reason.CHECKSUM_EQUAL, Reason.SIZE_EQUAL):
            self.tally.counts[Finding.EQUAL] += 1
        elif reason is Reason.NO_CHECKSUM:
            self._tell(path, Finding.UNDECIDED)
        elif reason is Reason.MISSING:
            self._tell(path, Finding.MISSING_AT_TARGET)
        else:
            self._tell(path, Finding.DIFFERS, reason)

    def _tell(self, path: str, finding: Finding, reason: str = "") -> None:
        tally = self.tally
        tally.counts[finding] += 1
        one = Difference(path, finding, reason)
        if len(tally.differences) < DIFFERENCES_NAMED:
            tally.differences.append(one)
        if self._on_difference is not None:
            self._on_difference(one)
