"""CRCs of a whole from its parts, against the C libraries."""

from __future__ import annotations

import sys

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot import crcs
from entrepot.crcs import combined, crc_hex, extender, missing_library
from entrepot.errors import ChecksumMismatch
from entrepot.services.checksums import PartCrc, combine_crc32c, crc, crc32c, crc32c_hex


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
    digest = PartCrc("crc32c", crc32c_hex(crc32c(b"onetwo")), 2)
    digest.update(2, b"two")
    assert digest.verified() is None
    digest.update(1, b"one")
    assert digest.verified() == "crc32c"


CHECKS = {"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888"}
"""Of `123456789`. Source: the catalogue of parametrised CRC algorithms."""


@pytest.mark.parametrize("name", CHECKS)
@given(parts=st.lists(st.binary(max_size=300), max_size=8))
@settings(deadline=None)  # the first example loads the library
def test_every_crc_is_the_published_one_and_parts_combine(name: str, parts: list[bytes]) -> None:
    extend = extender(name)
    assert extend is not None
    assert crc_hex(name, extend(extend(0, b"12345"), memoryview(bytearray(b"6789")))) == CHECKS[name]
    assert combined(name, ((extend(0, part), len(part)) for part in parts)) == extend(0, b"".join(parts))


def test_what_cannot_be_computed_is_named_with_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awscrt.checksums", None)
    crcs._crc64nvme_extender.cache_clear()
    assert extender("crc64nvme") is None
    assert missing_library("crc64nvme") == "awscrt (entrepot[s3])"
    assert missing_library("crc32") is None
    assert extender("sha256") is None
    with pytest.raises(ModuleNotFoundError, match="crc64nvme needs awscrt"):
        crc("crc64nvme", b"")


def test_either_library_computes_crc32c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    crcs._crc32c_extender.cache_clear()
    try:
        extend = extender("crc32c")
        assert extend is not None
        assert extend(extend(0, b"12345"), memoryview(bytearray(b"6789"))) == 0xE3069283
        assert missing_library("crc32c") is None
    finally:
        crcs._crc32c_extender.cache_clear()


def test_other_bytes_are_a_mismatch() -> None:
    digest = PartCrc("crc32c", "00000001", 1)
    digest.update(1, b"one")
    with pytest.raises(ChecksumMismatch):
        digest.verified()
