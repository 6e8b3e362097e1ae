"""Names that every store keeps byte for byte, and paths that every store refuses."""

from __future__ import annotations

from typing import Final

from entrepot.models import WriteOptions
from entrepot.paths import TEMPORARY_PREFIX

ODD_NAMES: Final[tuple[str, ...]] = (
    "with space",
    " leading and trailing ",
    "100%",
    "%41%2F",
    "a+b",
    "a#b",
    "a?b=c",
    "a&b",
    "a;b=c,d",
    "a@b:c",
    "a'b\"c`d",
    "(a)[b]{c}<d>",
    "a*b!c$d|e^f~g",
    "back\\slash",
    ".hidden",
    "..two-dots",
    "...",
    "trailing.",
    "~tilde",
    "-dash",
    "caf\u00e9-composed",
    "cafe\u0301-decomposed",
    "\u65e5\u672c\u8a9e",
    "\u0645\u0631\u062d\u0628\u0627",
    "emoji-\U0001f600",
    "UPPER and lower",
    "n" * 200,
)
"""Single names; none is longer than a file system keeps."""

REFUSED_PATHS: Final[tuple[str, ...]] = (
    ".",
    "..",
    "./a",
    "../a",
    "a/..",
    "a/../b",
    "a/./b",
    "a//b",
    "/a",
    "a//",
    "//",
    "/",
    "a\nb",
    "a\x00b",
    "a\tb",
    "a\x7fb",
    "a\rb",
    f"{TEMPORARY_PREFIX}0123456789abcdef",
    f"a/{TEMPORARY_PREFIX}0123456789abcdef/b",
    "k" * 1_025,
    "\u00e9" * 513,
    "a\ud800b",
)
"""Refused before any I/O, as InvalidPath."""


UNKEPT_OPTIONS: Final[tuple[WriteOptions, ...]] = (
    WriteOptions(metadata={"a": "half \ud800"}),
    WriteOptions(metadata={"caf\u00e9": "x"}),
    WriteOptions(metadata={"two words": "x"}),
    WriteOptions(content_type="text/\ud800"),
    WriteOptions(content_type="text/plain\nx: y"),
)
"""Refused before any I/O: as ConfigurationError, or as UnsupportedOperation where neither kind is kept at all."""


def longest_key(prefix_bytes: int = 0) -> str:
    """A path of 1,024 bytes of UTF-8 with the prefix, in segments that a file system keeps."""
    text = "/".join(["d" * 200] * 5)
    return text[: 1_024 - prefix_bytes].removesuffix("/").ljust(1_024 - prefix_bytes, "z")
