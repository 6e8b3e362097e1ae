"""What is to be done, decided before anything is done: pure, from what a scan saw and what the services allow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, TypeAlias, get_args

from entrepot.errors import ConfigurationError, InvalidPath, StoreError
from entrepot.models import MIB, FileStat, Limits
from entrepot.paths import printable, refusal
from entrepot.transfer.compare import Comparison
from entrepot.transfer.filters import NO_FILTERS, Filters
from entrepot.transfer.verify import Verify

Links: TypeAlias = Literal["skip", "follow", "preserve"]
Durability: TypeAlias = Literal["full", "batch", "none"]

BATCH_BYTES: Final = 1 * MIB
"""A batch of small files is no larger than this, or is one file: beyond it, a thread hop or a request weighs little."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """What becomes of files that only the target has, once all is copied and nothing failed.

    delete: they go. most: if they are more, none goes. backup: a path in the target store below which what would go,
    or be written over, is kept by its own path; it is no part of what is mirrored.
    """

    delete: bool = True
    most: int | None = None
    backup: str | None = None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 0:
            raise ConfigurationError("the most deletions is a number, at least 0")
        if self.backup is not None and (reason := refusal(self.backup.removesuffix("/"))) is not None:
            raise InvalidPath(reason, operation="sync", uri=printable(self.backup))


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How to copy.

    recursive: needed for a directory. compare: when a file whose target exists is copied over it (see
    `entrepot.transfer.compare.decide`). filters: which files are copied; all others are as if they were not there, on
    either side. mirror: what becomes of what only the target has; None leaves it.
    concurrency: requests in flight; None is what each service takes without asking for fewer. memory_bytes: bound of
    the content held at once. bandwidth_bytes_s: of content, each byte counted once though it is read and written; a
    part is written as fast as the connection takes it. requests_per_second: of all kinds, at both ends together.
    dry_run: scan and plan, and change nothing. verify: how a copy is held against its source (`Verify` has the table).
    durability: of files written to a disk. links: what becomes of symbolic links in a source that has
    them: `skip` leaves them out, `follow` copies what they lead to, wherever that is, `preserve` makes the same links,
    on a local disk.
    delete_source: each source file is removed once its copy is durable (at least `batch`) and verified.
    part_size_bytes: files above this size move in parts, at most 64 MiB; None is the services' own choice (8 MiB).
    How large the parts are is decided by the target.
    """

    recursive: bool = False
    compare: Comparison = Comparison.ALWAYS
    filters: Filters = NO_FILTERS
    mirror: Mirror | None = None
    concurrency: int | None = None
    memory_bytes: int = 128 * MIB
    bandwidth_bytes_s: int | None = None
    requests_per_second: float | None = None
    dry_run: bool = False
    verify: Verify = Verify.CHECKSUM
    durability: Durability | None = "none"
    links: Links = "skip"
    delete_source: bool = False
    part_size_bytes: int | None = None

    @property
    def overwrites(self) -> bool:
        """Whether anything that is at a target may be replaced."""
        return self.compare not in (Comparison.SKIP_EXISTING, Comparison.ERROR)

    def __post_init__(self) -> None:
        for name, words in (("links", get_args(Links)), ("durability", (*get_args(Durability), None))):
            if getattr(self, name) not in words:
                raise ConfigurationError(f"{name}: choose {', '.join(map(str, words))}")
        try:
            object.__setattr__(self, "compare", Comparison(self.compare))
        except ValueError:
            raise ConfigurationError(f"compare: choose {', '.join(Comparison)}") from None
        try:
            object.__setattr__(self, "verify", Verify(self.verify))
        except ValueError:
            raise ConfigurationError(f"verify: choose {', '.join(Verify)}") from None
        if self.mirror is not None and self.delete_source:
            raise ConfigurationError("a move leaves no source that the target could mirror")
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


_NOT_TOLD: Final = frozenset(
    {"dry_run", "filters", "memory_bytes", "concurrency", "bandwidth_bytes_s", "requests_per_second"}
)
"""How much a run may use is its own affair; filters are told apart, where they are needed."""


def told_options(options: CopyOptions) -> dict[str, Any]:
    """What changes the result of a copy, as JSON values; filters are not among it."""
    told = {one.name: getattr(options, one.name) for one in fields(options) if one.name not in _NOT_TOLD}
    if options.mirror is not None:
        told["mirror"] = asdict(options.mirror)
    return told


def options_of(told: Mapping[str, Any], filters: Filters = NO_FILTERS) -> CopyOptions:
    """What `told_options` told. Raises: ConfigurationError for anything else."""
    mirror = told.get("mirror")
    known = {one.name for one in fields(CopyOptions)}
    try:
        values = {name: value for name, value in told.items() if name in known}
        return CopyOptions(**{**values, "mirror": Mirror(**mirror) if mirror else None, "filters": filters})
    except TypeError as error:
        raise ConfigurationError("these are no options of a copy that were written down") from error


# ---- steps ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file and where it goes. source: as the scan saw it. target: a path in the target store.

    replaces: something is known to be there.
    """

    source: FileStat
    target: str
    replaces: bool = False

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


@dataclass(frozen=True, slots=True)
class RemoveFiles:
    """Files that only the target has. paths: in the target store."""

    paths: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """`step` is `remove`; `paths`."""
        return {"step": "remove", "paths": list(self.paths)}


Step: TypeAlias = MoveWhole | MoveInParts | CopyNatively | MakeDirectories | MakeLink | RemoveFiles


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be copied anywhere. source: its address, escaped. target: where it would go in the
    target store, escaped; empty where that cannot be told. error: why, for this item only.
    """

    source: str
    target: str
    error: StoreError


# ---- planning -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """What the planner needs to know.

    source_root: the address that entries lie below. separator: what stands between the names in its addresses.
    target_root: the path in the target store they go to.
    source_in_target: the source's own path in the target store, where the source lies in the target's tree.
    batch_items: small files a step. native: the target copies from this source by itself.
    """

    source_root: str
    target_root: str
    limits: Limits
    batch_items: int
    native: bool = False
    source_in_target: str | None = None
    part_threshold_bytes: int | None = None
    separator: str = "/"

    def moves_whole(self, size_bytes: int) -> bool:
        """Whether a file of this size moves in one piece."""
        threshold = self.part_threshold_bytes
        return size_bytes <= (self.limits.part_size_bytes(size_bytes) if threshold is None else threshold)


class Planner:
    """Entries of a scan, one by one, into steps; it holds one open batch and the directories not yet known as full.

    `place` tells where an entry goes; `add` takes it and gives at most one step back. `rest` gives what is open, any
    time; `empty_directories` at the end.
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

    def relative(self, uri: str) -> str | None:
        """The path of an address below the source's root, with `/` between names; None where it lies elsewhere."""
        if not uri.startswith(self._prefix):
            return None
        relative = uri[len(self._prefix) :]
        return relative if self._separator == "/" else relative.replace(self._separator, "/")

    def place(self, entry: FileStat, uri: str) -> PlannedFile | Refused | None:
        """Where an entry goes; None for a directory, which is taken note of. uri: by which it was reached."""
        self._holds_any = True
        relative = self.relative(uri)
        if relative is None:
            return self._refused(uri, "", "the listing named something outside the tree that it lists")
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
        return PlannedFile(entry, target)

    def pass_by(self, relative: str) -> None:
        """Take note of an entry that is left out: what it lies in is not empty."""
        self._holds_any = True
        self._note_parent(relative)

    def add(self, file: PlannedFile) -> Step | None:
        """Take one file or link that is to be copied."""
        if file.source.link_target is not None:
            return MakeLink(file)
        size = file.source.size_bytes
        self.files += 1
        self.size_bytes += size
        done: Step | None = None
        if self._moves_alone(size):
            return self._alone(file)
        if self._batch and self._batch_bytes + size > BATCH_BYTES:
            done = self.rest()
        self._batch.append(file)
        self._batch_bytes += size
        if done is None and (len(self._batch) >= self._rules.batch_items or self._batch_bytes >= BATCH_BYTES):
            done = self.rest()
        return done

    def step_of(self, file: PlannedFile) -> Step:
        """One file as a step of its own, whatever is open."""
        size = file.source.size_bytes
        self.files += 1
        self.size_bytes += size
        if self._moves_alone(size):
            return self._alone(file)
        return CopyNatively((file,), size) if self._rules.native else MoveWhole((file,), size)

    def _moves_alone(self, size: int) -> bool:
        return not self._rules.native and size > self._whole_bytes and not self._rules.moves_whole(size)

    def _alone(self, file: PlannedFile) -> MoveInParts:
        size = file.source.size_bytes
        part = self._rules.limits.part_size_bytes(size)
        return MoveInParts(file, part, -(-size // part))

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
