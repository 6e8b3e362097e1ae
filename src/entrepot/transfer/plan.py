"""What is to be done, decided before anything is done: pure, from what a scan saw and what the services allow."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from entrepot.errors import ConfigurationError, InvalidPath, StoreError
from entrepot.models import MIB, FileStat, Limits
from entrepot.paths import printable, refusal

Links: TypeAlias = Literal["skip", "follow", "preserve"]
Durability: TypeAlias = Literal["full", "batch", "none"]

BATCH_BYTES: Final = 1 * MIB
"""A batch of small files is no larger than this, or is one file: beyond it, a thread hop or a request weighs little."""


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How to copy.

    recursive: needed for a directory. overwrite: False leaves existing targets as they are and counts them as skipped.
    concurrency: requests in flight; None is what each service takes without asking for fewer. memory_bytes: bound of
    the content held at once. bandwidth_bytes_s: of content, each byte counted once though it is read and written; a
    part is written as fast as the connection takes it. requests_per_second: of all kinds, at both ends together.
    dry_run: scan and plan, and change nothing. verify: compare checksums where there are some; sizes always are.
    durability: of files written to a disk. links: what becomes of symbolic links in a source that has
    them: `skip` leaves them out, `follow` copies what they lead to, wherever that is, `preserve` makes the same links,
    on a local disk.
    delete_source: each source file is removed once its copy is durable (at least `batch`) and verified.
    part_size_bytes: files above this size move in parts, at most 64 MiB; None is the services' own choice (8 MiB).
    How large the parts are is decided by the target.
    """

    recursive: bool = False
    overwrite: bool = True
    concurrency: int | None = None
    memory_bytes: int = 128 * MIB
    bandwidth_bytes_s: int | None = None
    requests_per_second: float | None = None
    dry_run: bool = False
    verify: bool = True
    durability: Durability | None = "none"
    links: Links = "skip"
    delete_source: bool = False
    part_size_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, words in (("links", get_args(Links)), ("durability", (*get_args(Durability), None))):
            if getattr(self, name) not in words:
                raise ConfigurationError(f"{name}: choose {', '.join(map(str, words))}")
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigurationError("concurrency is the number of requests in flight: at least 1")
        for name in ("memory_bytes", "bandwidth_bytes_s"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigurationError(f"{name} must be at least 1")
        if self.requests_per_second is not None and not 0 < self.requests_per_second < math.inf:
            raise ConfigurationError("requests_per_second must be more than 0")
        if self.part_size_bytes is not None and not 0 < self.part_size_bytes <= 64 * MIB:
            raise ConfigurationError("part_size_bytes must be between 1 and 64 MiB")


# ---- steps ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file and where it goes. source: as the scan saw it. target: a path in the target store."""

    source: FileStat
    target: str

    def to_json(self) -> dict[str, Any]:
        """`source` (a full address), `target` (a path in the target store), `size_bytes`."""
        return {"source": self.source.uri, "target": self.target, "size_bytes": self.source.size_bytes}


@dataclass(frozen=True, slots=True)
class MoveWhole:
    """Small files: each is read whole and written whole."""

    files: tuple[PlannedFile, ...]
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """`step` is `whole`; `files` and `size_bytes`."""
        return {"step": "whole", "files": [file.to_json() for file in self.files], "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True)
class MoveInParts:
    """One large file, by concurrent ranged reads into concurrent part writes."""

    file: PlannedFile
    part_size_bytes: int
    parts: int

    def to_json(self) -> dict[str, Any]:
        """`step` is `parts`; `file`, `part_size_bytes`, `parts`, as expected before the target has opened."""
        return {
            "step": "parts",
            "file": self.file.to_json(),
            "part_size_bytes": self.part_size_bytes,
            "parts": self.parts,
        }


@dataclass(frozen=True, slots=True)
class CopyNatively:
    """Files that the target copies by itself: on the service's side, or in the kernel."""

    files: tuple[PlannedFile, ...]
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """`step` is `native`; `files` and `size_bytes`."""
        return {"step": "native", "files": [file.to_json() for file in self.files], "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True)
class MakeDirectories:
    """Empty directories. paths: in the target store."""

    paths: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """`step` is `directories`; `paths`."""
        return {"step": "directories", "paths": list(self.paths)}


@dataclass(frozen=True, slots=True)
class MakeLink:
    """A symbolic link, to be made with the same text. file: the link as the scan saw it."""

    file: PlannedFile

    def to_json(self) -> dict[str, Any]:
        """`step` is `link`; `source`, `target`, and `link`, its text."""
        file = self.file
        return {"step": "link", "source": file.source.uri, "target": file.target, "link": file.source.link_target}


Step: TypeAlias = MoveWhole | MoveInParts | CopyNatively | MakeDirectories | MakeLink


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be copied anywhere. source: its address, escaped. target: where it would go in the
    target store, escaped; empty where that cannot be told. error: why, for this item only.
    """

    source: str
    target: str
    error: StoreError


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A file whose target exists and is not to be overwritten."""

    file: PlannedFile


# ---- planning -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """What the planner needs to know.

    source_root: the address that entries lie below. separator: what stands between the names in its addresses.
    target_root: the path in the target store they go to.
    source_in_target: the source's own path in the target store, where the source lies in the target's tree.
    batch_items: small files a step. native: the target copies from this source by itself.
    existing: paths in the target store that are to be left alone.
    """

    source_root: str
    target_root: str
    limits: Limits
    batch_items: int
    native: bool = False
    source_in_target: str | None = None
    part_threshold_bytes: int | None = None
    existing: Container[str] | None = None
    separator: str = "/"

    def moves_whole(self, size_bytes: int) -> bool:
        """Whether a file of this size moves in one piece."""
        threshold = self.part_threshold_bytes
        return size_bytes <= (self.limits.part_size_bytes(size_bytes) if threshold is None else threshold)


class Planner:
    """Entries of a scan, one by one, into steps; it holds one open batch and the directories not yet known as full.

    `add` gives at most one step back. `rest` gives what is open, any time; `empty_directories` at the end.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.target_root = rules.target_root
        self._separator = rules.separator
        self._prefix = rules.source_root.removesuffix(rules.separator) + rules.separator
        self._below = rules.target_root + "/" if rules.target_root else ""
        self._forbidden = f"{rules.source_in_target}/" if rules.source_in_target is not None else None
        self._batch: list[PlannedFile] = []
        self._batch_bytes = 0
        self._directories: dict[str, None] = {}
        self._last_parent = ""
        self._whole_bytes = rules.limits.part_size_bytes(0) if rules.part_threshold_bytes is None else 0
        self._holds_any = False
        self.files = 0
        self.size_bytes = 0

    def add(self, entry: FileStat, address: str | None = None) -> Step | Refused | LeftAlone | None:
        """Take one more entry. address: by which it was reached, where a link led to it."""
        self._holds_any = True
        uri = entry.uri if address is None else address
        if not uri.startswith(self._prefix):
            return self._refused(uri, "", "the listing named something outside the tree that it lists")
        relative = uri[len(self._prefix) :]
        if self._separator != "/":
            relative = relative.replace(self._separator, "/")
        target = self._below + relative
        reason = refusal(target)
        if reason is None and self._forbidden is not None and target.startswith(self._forbidden):
            reason = "it would be written into the source tree itself; choose another target"
        if reason is not None:
            return self._refused(uri, target, reason)
        self._note_parent(relative)
        if entry.is_dir:
            self._directories[relative] = None
            return None
        file = PlannedFile(entry, target)
        if entry.link_target is None:
            return self.add_file(file)
        existing = self._rules.existing
        return LeftAlone(file) if existing is not None and target in existing else MakeLink(file)

    def add_file(self, file: PlannedFile) -> Step | LeftAlone | None:
        """Take one file whose target is known."""
        existing = self._rules.existing
        if existing is not None and file.target in existing:
            return LeftAlone(file)
        size = file.source.size_bytes
        self.files += 1
        self.size_bytes += size
        rules = self._rules
        if not rules.native and size > self._whole_bytes and not rules.moves_whole(size):
            part = rules.limits.part_size_bytes(size)
            return MoveInParts(file, part, -(-size // part))
        done: Step | None = None
        if self._batch and self._batch_bytes + size > BATCH_BYTES:
            done = self.rest()
        self._batch.append(file)
        self._batch_bytes += size
        if done is None and (len(self._batch) >= rules.batch_items or self._batch_bytes >= BATCH_BYTES):
            done = self.rest()
        return done

    def rest(self) -> Step | None:
        """The open batch as a step, None where there is none."""
        if not self._batch:
            return None
        files, size = tuple(self._batch), self._batch_bytes
        self._batch, self._batch_bytes = [], 0
        return CopyNatively(files, size) if self._rules.native else MoveWhole(files, size)

    def empty_directories(self) -> Iterator[str]:
        """The paths, in the target store, of directories below which nothing was seen; the root for a tree without
        any entry. They are kept until here, so a tree of nothing but empty directories is held in memory.
        """
        if not self._holds_any and not self._directories and self._rules.target_root:
            yield self._rules.target_root
        for relative in self._directories:
            yield self._below + relative

    def _note_parent(self, relative: str) -> None:
        """Whatever lies above an entry is not empty. Entries of one directory come together: one look each suffices."""
        parent = relative[: max(0, relative.rfind("/"))]
        if parent == self._last_parent:
            return
        self._last_parent = parent
        while parent and self._directories:
            self._directories.pop(parent, None)
            parent = parent[: max(0, parent.rfind("/"))]

    def _refused(self, address: str, target: str, reason: str) -> Refused:
        # An escaped address: what a listing names may hold anything.
        source = printable(address)
        return Refused(source, printable(target), InvalidPath(reason, operation="copy", uri=source))
