"""Whether what arrived is what was sent, by the checksums that both ends vouch for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from entrepot.crcs import missing_library
from entrepot.errors import ChecksumMismatch, SourceChanged
from entrepot.models import FileStat

STRENGTH: Final = ("sha512", "sha256", "md5", "part-md5", "crc64nvme", "crc32c", "crc32", "sha1")
"""Names of checksums, the one preferred in a report first; others come after, in alphabetical order."""

SIZE: Final = "size"
"""Files that never left this machine, whose bytes the system vouches for, or `Verify.SIZE`: the sizes are compared."""

SERVER_SIDE: Final = "server-side"
"""The service copied by itself and told no checksum: the sizes are compared."""


def strongest(checksums: Mapping[str, str]) -> str | None:
    """The name of the checksum to report, None where there is none."""
    if not checksums:
        return None
    return min(checksums, key=_rank)


def compared(told: Mapping[str, str]) -> tuple[str | None, str]:
    """The checksum to report of those that came with the bytes; where none of them can be computed here, why."""
    name = strongest({one: value for one, value in told.items() if missing_library(one) is None})
    if name is not None or not told:
        return name, ""
    return None, uncomputed(told)


def uncomputed(told: Mapping[str, str]) -> str:
    """Which library is missing to compare what a service tells of a file; empty where that is not the reason."""
    name = strongest(told)
    library = missing_library(name) if name is not None else None
    return f"to compare its {name.upper()}, install {library}" if name is not None and library is not None else ""


def _rank(name: str) -> tuple[int, str]:
    return (STRENGTH.index(name) if name in STRENGTH else len(STRENGTH), name)


class Verify(StrEnum):
    """How a copy is held against its source.

    | | sizes | checksums, where both legs of the way have one | where one has none |
    |---|---|---|---|
    | `size` | compared | not compared | - |
    | `checksum` | compared | compared | the file is named in the report, with the reason |
    | `download` | compared | compared | both ends are read once more, and compared |
    | `full` | compared | compared, and both ends are read once more, and compared | the same |

    `full` does so on one machine, too, and for what a service copied by itself.
    """

    SIZE = "size"
    CHECKSUM = "checksum"
    DOWNLOAD = "download"
    FULL = "full"

    @property
    def may_read_again(self) -> bool:
        """Whether any file is read once more after its copy."""
        return self in (Verify.DOWNLOAD, Verify.FULL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a file was verified from its source to its target.

    method: a checksum's name, `size` on one machine and by `Verify.SIZE`, `server-side`; None where on some leg of its
    way only sizes were compared, and `why` says on which.
    """

    method: str | None
    why: str = ""

    @property
    def is_of_bytes(self) -> bool:
        """Whether more than sizes was compared wherever a network lay between."""
        return self.method not in (None, SERVER_SIDE)


def chain(
    read: str | None, written: str | None, *, read_locally: bool, written_locally: bool, unread: str = ""
) -> Verdict:
    """The verdict on a file whose bytes passed through this process.

    read, written: the checksum that was compared on each leg. A leg without a network needs none; where both legs
    have one, the weaker name is told. unread: why none was compared on the way from the source, where it has one.
    """
    if read and written:
        return Verdict(max(read, written, key=_rank))
    if written:
        reason = unread or "its source vouches for no checksum of the whole"
        why = f"{reason}; what was read is what was written, by {written}"
        return Verdict(written) if read_locally else Verdict(None, why)
    if read:
        why = f"its target vouches for no checksum; what was read is what the source has, by {read}"
        return Verdict(read) if written_locally else Verdict(None, why)
    if read_locally and written_locally:
        return Verdict(SIZE)
    reason = unread or "no service vouches for a checksum of the whole"
    return Verdict(None, f"{reason}; the sizes are equal")


def require_equal(read: Mapping[str, str], written: Mapping[str, str], *, uri: str) -> None:
    """Raise ChecksumMismatch where both ends name the same checksum of the whole and another value."""
    for name, value in read.items():
        other = written.get(name)
        if other is not None and other != value and name != "part-md5":
            raise ChecksumMismatch(f"the {name} at the target is not the source's", operation="copy", uri=uri)


def require_size(expected: FileStat, found_bytes: int) -> None:
    """Raise SourceChanged where the bytes read are not as many as the scan told."""
    if found_bytes != expected.size_bytes:
        raise SourceChanged(
            f"it has {found_bytes:,} bytes now and had {expected.size_bytes:,} when it was listed; copy it again",
            operation="copy",
            uri=expected.uri,
        )


def require_written(expected: FileStat, written: FileStat) -> None:
    """Raise ChecksumMismatch where the target tells another size than was sent."""
    if written.size_bytes != expected.size_bytes:
        raise ChecksumMismatch(
            f"the target has {written.size_bytes:,} bytes of {expected.size_bytes:,}; copy it again",
            operation="copy",
            uri=written.uri,
        )
