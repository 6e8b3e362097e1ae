"""What a copy has done: one frozen report, and the ledger that it is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from entrepot.errors import StoreError
from entrepot.transfer.verify import Verdict

UNVERIFIED_NAMED: Final = 100
"""How many files without a checksum are named in a report; the others are counted."""


@dataclass(frozen=True, slots=True)
class FailedItem:
    """One item that could not be copied. source, target: full addresses. reason: one line."""

    source: str
    target: str
    reason: str
    error: StoreError

    def to_json(self) -> dict[str, Any]:
        """`source`, `target`, `reason`, and `error`, the name of the error's class."""
        return {
            "source": self.source,
            "target": self.target,
            "error": type(self.error).__name__,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class UnverifiedFile:
    """A file whose sizes are equal, but that no checksum vouches for on all of its way. uri: of the source."""

    uri: str
    why: str


_NONE: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What one copy did.

    files, bytes: what is at the target now (in a dry run: what would be). skipped: targets that existed and were not
    to be overwritten. failed: one item each. directories: empty ones that were made at the target;
    empty_directories_skipped: those it cannot keep. links: symbolic links that were made; links_skipped,
    special_skipped: links, and FIFOs, sockets and devices, that were left out. removed: sources deleted after their
    copy. excluded: files of the source that the filters leave out. deleted: files that only the target had and that
    went, or were kept aside; not_deleted: that stayed, because something failed before.
    resumed, resumed_bytes: files that an earlier run of the same job has copied, and that were left as they are.
    verified: how files were verified → how many: a checksum's name (`md5`, `part-md5`), `server-side` where the
    service copied by itself, or `size` where no network lay between or nothing else was asked for. unverified: the
    first of the files whose sizes alone were compared, unverified_files their number, unverified_reasons: why → how
    many of them.
    seconds: wall time.
    """

    files: int = 0
    bytes: int = 0
    skipped: int = 0
    failed: tuple[FailedItem, ...] = ()
    directories: int = 0
    empty_directories_skipped: int = 0
    links: int = 0
    links_skipped: int = 0
    special_skipped: int = 0
    removed: int = 0
    excluded: int = 0
    deleted: int = 0
    not_deleted: int = 0
    resumed: int = 0
    resumed_bytes: int = 0
    verified: Mapping[str, int] = field(default_factory=lambda: _NONE)
    unverified: tuple[UnverifiedFile, ...] = ()
    unverified_files: int = 0
    unverified_reasons: Mapping[str, int] = field(default_factory=lambda: _NONE)
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        """The fields above as JSON values, and `ok`."""
        return {
            "ok": self.ok,
            "files": self.files,
            "bytes": self.bytes,
            "skipped": self.skipped,
            "failed": [item.to_json() for item in self.failed],
            "directories": self.directories,
            "empty_directories_skipped": self.empty_directories_skipped,
            "links": self.links,
            "links_skipped": self.links_skipped,
            "special_skipped": self.special_skipped,
            "removed": self.removed,
            "excluded": self.excluded,
            "deleted": self.deleted,
            "not_deleted": self.not_deleted,
            "resumed": self.resumed,
            "resumed_bytes": self.resumed_bytes,
            "verified": dict(self.verified),
            "unverified": [{"uri": file.uri, "why": file.why} for file in self.unverified],
            "unverified_files": self.unverified_files,
            "unverified_reasons": dict(self.unverified_reasons),
            "seconds": round(self.seconds, 6),
            "dry_run": self.dry_run,
        }


@dataclass(slots=True)
class Ledger:
    """The running totals of one copy."""

    files: int = 0
    size_bytes: int = 0
    skipped: int = 0
    directories: int = 0
    empty_directories_skipped: int = 0
    links: int = 0
    links_skipped: int = 0
    special_skipped: int = 0
    removed: int = 0
    excluded: int = 0
    deleted: int = 0
    not_deleted: int = 0
    resumed: int = 0
    resumed_bytes: int = 0
    failed: list[FailedItem] = field(default_factory=list)
    verified: Counter[str] = field(default_factory=Counter)
    unverified: list[UnverifiedFile] = field(default_factory=list)
    unverified_files: int = 0
    unverified_reasons: Counter[str] = field(default_factory=Counter)

    def copied(self, size_bytes: int, verdict: Verdict, uri: str) -> None:
        """One more file, and how it was verified."""
        self.files += 1
        self.size_bytes += size_bytes
        if verdict.method is not None:
            self.verified[verdict.method] += 1
            return
        self.unverified_files += 1
        self.unverified_reasons[verdict.why] += 1
        if len(self.unverified) < UNVERIFIED_NAMED:
            self.unverified.append(UnverifiedFile(uri, verdict.why))

    def report(self, seconds: float, *, dry_run: bool = False) -> CopyReport:
        """The totals as they are now."""
        return CopyReport(
            files=self.files,
            bytes=self.size_bytes,
            skipped=self.skipped,
            failed=tuple(self.failed),
            directories=self.directories,
            empty_directories_skipped=self.empty_directories_skipped,
            links=self.links,
            links_skipped=self.links_skipped,
            special_skipped=self.special_skipped,
            removed=self.removed,
            excluded=self.excluded,
            deleted=self.deleted,
            not_deleted=self.not_deleted,
            resumed=self.resumed,
            resumed_bytes=self.resumed_bytes,
            verified=MappingProxyType(dict(self.verified)),
            unverified=tuple(self.unverified),
            unverified_files=self.unverified_files,
            unverified_reasons=MappingProxyType(dict(self.unverified_reasons)),
            seconds=seconds,
            dry_run=dry_run,
        )
