"""The values that layers pass to each other: frozen, slotted, without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What a body can be: bytes in memory, at most one part long."""

PresignMethod: TypeAlias = Literal["GET", "PUT", "HEAD", "DELETE"]
"""What a presigned URL is for."""

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3


class _Nothing(Mapping[str, str]):
    """The mapping without entries: shared, read-only, and, unlike a mappingproxy, the same value in other processes."""

    __slots__ = ()

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "_NOTHING"


_NOTHING: Final[Mapping[str, str]] = _Nothing()


@dataclass(frozen=True, slots=True)
class FileStat:
    """What every flavor tells of a file or a directory.

    uri: full address (`local`: absolute path), a directory without a trailing slash.
    size_bytes: 0 for a directory. modified: UTC, None where the service keeps no time (implied directories).
    etag: changes whenever the content does; `local`: made of device, inode, size and times.
    metadata: the user's own, keys in lower case; a listing does not fetch it (then empty).
    checksums: whole-object checksums the service vouches for, algorithm → lower-case hex (`md5`, `crc32c`).
    mode: POSIX permission bits where there are some.
    link_target, special: only in a listing that asked for links: where a symbolic link points, as written in it; true
    for a FIFO, a socket or a device. Neither is a file or a directory of the store.
    """

    uri: str
    size_bytes: int
    modified: datetime | None = None
    is_dir: bool = False
    etag: str | None = None
    version: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    checksums: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    mode: int | None = None
    link_target: str | None = None
    special: bool = False


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """One object of a flat service; as `FileStat`, with a `key` in place of the address."""

    key: str
    size_bytes: int
    modified: datetime | None = None
    etag: str | None = None
    version: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    checksums: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to, and without, `stop`; `stop` None means to the end."""

    start: int
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop < self.start):
            raise ValueError(f"not a byte range: {self.start}..{self.stop}")

    @property
    def header(self) -> str:
        """The value of an HTTP `Range` header (RFC 9110, 14.1.2); an empty range has none."""
        if self.stop is None:
            return f"bytes={self.start}-"
        if self.stop == self.start:
            raise ValueError("an empty range cannot be asked for over HTTP")
        return f"bytes={self.start}-{self.stop - 1}"


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a listing: objects and, with a delimiter, the common prefixes (each ends in `/`).

    next_token: opaque; None after the last page.
    """

    objects: tuple[ObjectStat, ...]
    prefixes: tuple[str, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class ObjectData:
    """The answer to one read: the bytes asked for, and what the reply told of the object (its whole size)."""

    data: Buffer
    stat: ObjectStat


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What a write may carry beside its bytes.

    metadata: keys in lower case, ASCII. mtime_s: seconds since 1970, kept as user metadata `mtime` (as rclone does)
    or as the file's own time. mode: POSIX permission bits, kept where files have some.
    if_none_match: create only, decided by the server. if_match: replace only this etag.
    durability: for a store on disk; None is the store's own setting.
    """

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    mtime_s: float | None = None
    mode: int | None = None
    if_none_match: bool = False
    if_match: str | None = None
    durability: Literal["full", "batch", "none"] | None = None

    @property
    def describes(self) -> bool:
        """Whether it carries a type, metadata or a time: a copy without them keeps its source's."""
        return bool(self.metadata) or self.content_type is not None or self.mtime_s is not None


NO_OPTIONS: Final = WriteOptions()
"""A plain write."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload under way. size_bytes: the whole, where it is known at the start.

    in_order: its parts must come one after another; else in any order, and several at once.
    initiated: when it began by the service's clock, in UTC, where a listing of uploads tells that.
    """

    key: str
    upload_id: str
    options: WriteOptions = NO_OPTIONS
    size_bytes: int | None = None
    in_order: bool = False
    initiated: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Reached:
    """What a service's answer tells whoever asks. endpoint: scheme, host and port. time: its clock, to the second, in
    UTC; None where it tells none.
    """

    endpoint: str
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part that the service holds. number: 1-based. md5: lower-case hex of the bytes sent, crc32c: their CRC32C,
    each where computed.
    """

    number: int
    size_bytes: int
    etag: str = ""
    md5: str | None = None
    crc32c: int | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """What a large file is gone on with by `open_parts`.

    token: the `resume_token` of the writer that was left. parts: what its `put_part` returned, as far as it was
    written down; fields that were not may be missing. A service is asked which parts it holds, and these tell the
    checksums that it does not; of a file on disk they are all that is known.
    """

    token: str = field(repr=False)
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteFailure:
    """One key that a batched delete left in place, with the service's own code and message."""

    key: str
    code: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service allows in one request; the planner and the writers obey it."""

    part_min_bytes: int = 5 * MIB
    part_max_bytes: int = 5 * GIB
    max_parts: int = 10_000
    put_max_bytes: int = 5 * GIB
    copy_max_bytes: int = 5 * GIB
    delete_batch: int = 1_000
    list_page: int = 1_000
    key_max_bytes: int = 1_024

    def part_size_bytes(self, size_bytes: int | None) -> int:
        """The part size for an object of this size: 8 MiB until 9,900 parts are reached, then whole MiB more."""
        least = max(8 * MIB, self.part_min_bytes)
        if size_bytes is None:
            return least
        needed = -(-size_bytes // min(9_900, self.max_parts))
        return min(self.part_max_bytes, max(least, -(-needed // MIB) * MIB))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the methods; None means not known until `probe_capabilities` has asked.

    append: `open(…, "a")`. atomic_rename: a rename happens whole or not at all.
    directories: `real`, or `implied` by the keys below them. empty_directories: an empty one is kept.
    exclusive_create: `open(…, "x")` and `if_none_match` are decided by the server.
    exclusive_copy: `copyfile(overwrite=False)` is, too; else a look comes before the copy.
    conditional_write: `if_match` on writes. metadata, content_type: kept and told by `stat`.
    conditional_delete: a move by copies removes only what it copied, decided by the server; else a look comes before.
    multipart: parts of one object can be written in any order and at once.
    etags: `stat` and `scan` tell an etag of every file; without, a file that is replaced by one of its size may go
    unnoticed by a reader and by a copy.
    presign: `presign` gives URLs. versions: `list_versions` and `read_version`, of a container that keeps versions.
    continued_parts: another process can go on with a large file (`open_parts(resume=…)`), where the writer's
    `resume_token` is not None.
    links: `scan(path, links=True)` also tells of symbolic links and of special files; `resolve` and `disk` follow
    them, `copy_link` makes them.
    """

    append: bool = False
    atomic_rename: bool = False
    directories: Literal["real", "implied"] = "implied"
    empty_directories: bool | None = True
    exclusive_create: bool | None = True
    exclusive_copy: bool | None = True
    conditional_write: bool | None = False
    conditional_delete: bool = False
    metadata: bool | None = True
    content_type: bool | None = True
    multipart: bool = True
    etags: bool | None = True
    presign: bool = False
    versions: bool | None = False
    continued_parts: bool = False
    links: bool = False


@dataclass(frozen=True, slots=True)
class WriteItem:
    """One small file of a batch to write. path: as for `write_bytes`."""

    path: str
    data: Buffer
    options: WriteOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class CopyItem:
    """One file of a batch to copy natively. source: as the scan saw it. path: where it goes, in the target store."""

    source: FileStat
    path: str
    options: WriteOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class FileData:
    """One small file as read whole. stat.checksums: what the reply vouched for and `data` was compared with; where
    that cannot be computed here (`entrepot.crcs.missing_library`), what the reply vouched for.
    """

    data: Buffer
    stat: FileStat
