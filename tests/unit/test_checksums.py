"""CRC32C of a whole from its parts, against the C library."""

from __future__ import annotations

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import ChecksumMismatch
from entrepot.services.checksums import PartCrc32c, combine_crc32c, crc32c, crc32c_hex


def test_the_checksum_is_the_published_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4, and the catalogue of CRCs
    assert crc32c_hex(crc32c(b"")) == "00000000"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_read(kind: type[bytes | bytearray | memoryview]) -> None:
    assert crc32c(kind(b"123456789")) == 0xE3069283


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_parts_combine_to_the_whole(parts: list[bytes]) -> None:
    whole = combine_crc32c((google_crc32c.value(part), len(part)) for part in parts)
    assert whole == google_crc32c.value(b"".join(parts))


def test_parts_of_megabytes_combine_too() -> None:
    parts = [b"a" * (8 << 20), b"b" * (8 << 20), b"tail"]
    assert combine_crc32c((crc32c(one), len(one)) for one in parts) == crc32c(b"".join(parts))


def test_a_download_is_verified_from_its_parts_in_any_order() -> None:
    digest = PartCrc32c(crc32c_hex(crc32c(b"onetwo")), 2)
    digest.update(2, b"two")
    assert digest.verified() is None
    digest.update(1, b"one")
    assert digest.verified() == "crc32c"


def test_other_bytes_are_a_mismatch() -> None:
    digest = PartCrc32c("00000001", 1)
    digest.update(1, b"one")
    with pytest.raises(ChecksumMismatch):
        digest.verified()
