"""User metadata as Azure keeps it: names that are C# identifiers, values in ASCII. No I/O.

A character that no identifier has is written as `_xHHHH_`, its code in hexadecimal: `run-id` is kept as
`run_x002d_id`. That is what .NET's `XmlConvert.EncodeLocalName` does, and reading undoes it. Values that headers would
not keep become encoded words (`entrepot.services.metadata`). Three names are entrepot's own, and hidden:

- `crc32c`: of an object written in parts, `HHHHHHHH-SIZE`: the CRC32C of the whole, and the size that it is of, so that
  a program which appends to the object and keeps its metadata does not make it look damaged.
- `entrepot_write`: of a conditional write, a random text by which a lost reply is told from another's write.
- `hdi_isfolder`: Azure's own mark of a directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from entrepot.models import WriteOptions
from entrepot.objects.client import metadata_name, user_metadata
from entrepot.services.checksums import crc32c_hex
from entrepot.services.metadata import header_text, header_value

CRC32C: Final = "crc32c"
WRITE_ID: Final = "entrepot_write"
FOLDER: Final = "hdi_isfolder"
_OWN: Final = frozenset({CRC32C, WRITE_ID, FOLDER})

_PLAIN_NAME: Final = re.compile(r"(?!.*_x[0-9a-f]{4}_)[a-z_][a-z0-9_]*", re.ASCII)
_UNKEPT: Final = re.compile(r"[^a-z0-9_]|^[0-9]|_(?=x[0-9a-f]{4}_)", re.ASCII)
_ESCAPE: Final = re.compile(r"_x([0-9a-f]{4})_", re.ASCII)
_CRC_AND_SIZE: Final = re.compile(r"([0-9a-f]{8})-(\d+)", re.ASCII)

NOTHING: Final[Mapping[str, str]] = {}


def kept_name(name: str) -> str:
    """The name as Azure keeps it. Raises: ConfigurationError for one that no header could have."""
    lower = metadata_name(name)
    if lower in _OWN:
        return _escaped(lower[0]) + lower[1:]
    return lower if _PLAIN_NAME.fullmatch(lower) else _UNKEPT.sub(lambda found: _escaped(found[0]), lower)


def _escaped(character: str) -> str:
    return f"_x{ord(character):04x}_"


def given_name(name: str) -> str:
    """What `kept_name` was given."""
    lower = name.lower()
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), lower) if "_x" in lower else lower


def kept(options: WriteOptions, own: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """The user's metadata and `mtime` as they are sent, and entrepot's own."""
    sent = {kept_name(name): header_value(value) for name, value in user_metadata(options).items()}
    return {**sent, **own} if own else sent


def given(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The user's metadata, from names and values as Azure tells them; names in lower case."""
    return {given_name(name): header_text(value) for name, value in pairs if name not in _OWN}


def crc32c_text(value: int, size_bytes: int) -> str:
    """As `CRC32C` keeps it."""
    return f"{crc32c_hex(value)}-{size_bytes}"


def crc32c_of(text: str | None, size_bytes: int) -> str | None:
    """The checksum that was kept, in hex, if it is of an object of that size."""
    found = _CRC_AND_SIZE.fullmatch(text) if text else None
    return found[1] if found and int(found[2]) == size_bytes else None
