"""Whether what arrived is what was sent, by the checksums that both ends vouch for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from entrepot.errors import ChecksumMismatch, SourceChanged
from entrepot.models import FileStat

STRENGTH: Final = ("sha512", "sha256", "md5", "part-md5", "crc64nvme", "crc32c", "crc32", "sha1")
"""Names of checksums, the one preferred in a report first; others come after, in alphabetical order."""

SIZE: Final = "size"
"""Files that never left this machine: the system vouches for their bytes, the sizes are compared."""

SERVER_SIDE: Final = "server-side"
"""The service copied by itself and told no checksum: the sizes are compared."""


def strongest(checksums: Mapping[str, str]) -> str | None:
    """The name of the checksum to report, None where there is none."""
    if not checksums:
        return None
    return min(checksums, key=_rank)


def _rank(name: str) -> tuple[int, str]:
    return (STRENGTH.index(name) if name in STRENGTH else len(STRENGTH), name)


class Verify(StrEnum):
    """How a copy is held against its source.

    | | sizes | checksums, where both legs of the way have one | where one has none |
    |---|---|---|---|
    | `size` | compared | not compared | - |
    | `checksum` | compared | compared | the file is named in the report, with the reason |
    | `download` | compared | compared | both ends are read once more, and compared |
    """

    SIZE = "size"
    CHECKSUM = "checksum"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a file was verified from its source to its target. method: a checksum's name, `size` on one machine,
    `server-side`; None where on some leg of its way only sizes were compared, and `why` says on which.
    """

    method: str | None
    why: str = ""

    @property
    def is_of_bytes(self) -> bool:
        """Whether more than sizes was compared wherever a network lay between."""
        return self.method not in (None, SERVER_SIDE)


def chain(read: str | None, written: str | None, *, read_locally: bool, written_locally: bool) -> Verdict:
    """The verdict on a file whose bytes passed through this process.

    read, written: the checksum that was compared on each leg. A leg without a network needs none; where both legs
    have one, the weaker name is told.
    """
    if read and written:
        return Verdict(max(read, written, key=_rank))
    if written:
        why = f"its source vouches for no checksum; what was read is what was written, by {written}"
        return Verdict(written) if read_locally else Verdict(None, why)
    if read:
        why = f"its target vouches for no checksum; what was read is what the source has, by {read}"
        return Verdict(read) if written_locally else Verdict(None, why)
    if read_locally and written_locally:
        return Verdict(SIZE)
    return Verdict(None, "no service vouches for a checksum of it; the sizes are equal")


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
