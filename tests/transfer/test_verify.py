"""What is said of a file's way from its source to its target."""

from __future__ import annotations

import pytest

from entrepot.errors import ChecksumMismatch
from entrepot.transfer.verify import Verdict, chain, require_equal


@pytest.mark.parametrize(
    ("read", "written", "from_disk", "to_disk", "method"),
    [
        ("md5", "crc32c", False, False, "crc32c"),
        ("md5", "md5", False, False, "md5"),
        (None, "crc32c", True, False, "crc32c"),
        ("part-md5", None, False, True, "part-md5"),
        (None, None, True, True, "size"),
        (None, "crc32c", False, False, None),
        ("crc32c", None, False, False, None),
        (None, None, False, False, None),
        (None, None, True, False, None),
    ],
)
def test_each_leg_over_a_network_needs_a_checksum(
    read: str | None, written: str | None, from_disk: bool, to_disk: bool, method: str | None
) -> None:
    verdict = chain(read, written, read_locally=from_disk, written_locally=to_disk)
    assert verdict.method == method
    assert bool(verdict.why) == (method is None)


def test_the_leg_that_nothing_vouches_for_is_named() -> None:
    assert "its source vouches" in chain(None, "crc32c", read_locally=False, written_locally=False).why
    assert "its target vouches" in chain("crc32c", None, read_locally=False, written_locally=False).why
    assert chain("crc32c", "crc32c", read_locally=False, written_locally=False) == Verdict("crc32c")


def test_a_checksum_in_common_must_be_equal() -> None:
    require_equal({"crc32c": "1", "md5": "2"}, {"crc32c": "1", "sha256": "3"}, uri="u")
    with pytest.raises(ChecksumMismatch, match="crc32c"):
        require_equal({"crc32c": "1"}, {"crc32c": "2"}, uri="u")
