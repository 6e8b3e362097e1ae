"""What Azure Blob replies say: heads and XML bodies into values. No I/O.

Source: Azure Storage REST API Reference, "Blob service".
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Final

from entrepot.flavors.azure.listings import read_page
from entrepot.flavors.azure.metadata import CRC32C, FOLDER, crc32c_of, given
from entrepot.models import MIB, ListPage, ObjectStat
from entrepot.services.faults import ErrorInside, ErrorReply, Unreadable
from entrepot.services.headers import bare_etag, etag_of, http_time
from entrepot.services.xml import error_told, parse_xml

LIST_MAX_BYTES: Final = 64 * MIB
"""Of a page: 5,000 blobs of the longest names, each with the most metadata that a blob can have, are 50 MiB."""

_BLOCK_LIST_NODES_MAX: Final = 500_000
"""A blob may have 50,000 blocks and 100,000 that are not committed; each is three elements."""

_META: Final = "x-ms-meta-"
_META_CRC32C: Final = _META + CRC32C
_META_FOLDER: Final = _META + FOLDER
_BEYOND: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")  # how characters beyond U+FFFF begin
_NOTHING: Final[Mapping[str, str]] = {}


# ---- heads --------------------------------------------------------------------------------------------


def is_directory(headers: Mapping[str, str]) -> bool:
    """Whether a blob's head is of a directory: a real one of a hierarchical account, or a blob that marks one."""
    kind = headers.get("x-ms-resource-type")
    return kind == "directory" if kind is not None else headers.get(_META_FOLDER, "").lower() == "true"


def stat_of(key: str, headers: Mapping[str, str], size_bytes: int | None = None) -> ObjectStat:
    """What a reply's head tells of a blob; size_bytes: the whole blob's, else Content-Length is.

    Raises: Unreadable where there is no size.
    """
    if size_bytes is None:
        length = headers.get("content-length", "")
        if not length.isdecimal():
            raise Unreadable("a reply without the blob's size")
        size_bytes = int(length)
    modified = headers.get("last-modified")
    pairs: list[tuple[str, str]] = []
    if _META in "\n".join(headers):  # most have none, and this is the cheapest look
        pairs = [(name[10:], value) for name, value in headers.items() if name.startswith(_META)]
    return ObjectStat(
        key,
        size_bytes,
        http_time(modified) if modified else None,
        etag_of(headers),
        headers.get("x-ms-version-id"),
        headers.get("content-type"),
        given(pairs) if pairs else _NOTHING,
        checksums_of(headers, size_bytes),
    )


def directory_stat(key: str, headers: Mapping[str, str]) -> ObjectStat:
    """A directory, as its marker. key: with its slash."""
    modified = headers.get("last-modified")
    return ObjectStat(key, 0, http_time(modified) if modified else None, etag_of(headers))


def checksums_of(headers: Mapping[str, str], size_bytes: int) -> Mapping[str, str]:
    """Those of the whole blob, in hex. Content-MD5 of a partial reply would be that part's."""
    md5 = headers.get("x-ms-blob-content-md5") or (
        headers.get("content-md5") if "content-range" not in headers else None
    )
    return checksums(md5, headers.get(_META_CRC32C), size_bytes)


def checksums(md5: str | None, crc32c: str | None, size_bytes: int) -> Mapping[str, str]:
    """In hex. md5: in base64. crc32c: as entrepot keeps it in metadata."""
    if md5 is None and crc32c is None:
        return _NOTHING
    found: dict[str, str] = {}
    digest = md5_of(md5) if md5 else None
    if digest is not None:
        found["md5"] = digest
    kept = crc32c_of(crc32c, size_bytes)
    if kept is not None:
        found["crc32c"] = kept
    return found


def md5_of(text: str) -> str | None:
    """Hex of what Content-MD5 says in base64; None where it is no MD5."""
    try:
        digest = binascii.a2b_base64(text)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if len(digest) == 16 else None


def error_reply(status: int, headers: Mapping[str, str], body: bytes = b"") -> ErrorReply:
    """What a failed reply says, whatever its body is; a head tells the code too."""
    code = headers.get("x-ms-error-code", "")[:100]
    told = error_told(body, status, headers)
    if told is None:
        return ErrorReply(status, code, headers=headers)
    # Behind the first line come the ids of the request, which change.
    return ErrorReply(status, code or told.code, told.message.partition("\n")[0], headers=headers)


# ---- bodies -------------------------------------------------------------------------------------------


def is_folder(metadata: list[tuple[str, str]]) -> bool:
    """Whether a blob's metadata marks a directory; names in lower case."""
    return any(name == FOLDER and value.lower() == "true" for name, value in metadata)


def _listed(fields: Mapping[str, str], metadata: list[tuple[str, str]]) -> ObjectStat:
    told = fields.get
    key, etag, modified, crc32c = fields["Name"], told("Etag"), told("Last-Modified"), None
    size_bytes = int(told("Content-Length") or "0")
    kind = told("ResourceType")
    if metadata:
        crc32c = next((value for name, value in metadata if name == CRC32C), None)
    if (kind == "directory" or (kind is None and is_folder(metadata))) and not key.endswith("/"):
        key += "/"
    return ObjectStat(
        key,
        size_bytes,
        http_time(modified) if modified else None,
        bare_etag(etag) if etag else None,
        told("VersionId"),
        told("Content-Type"),
        given(metadata) if metadata else _NOTHING,
        checksums(told("Content-MD5"), crc32c, size_bytes),
    )


def parse_list(body: bytes, *, prefix: str, token: str | None) -> ListPage:
    """One page of List Blobs, in UTF-8 order; a blob that marks a directory `d` is the marker `d/`.

    Raises: ErrorInside, Unreadable; the latter too for names that do not begin with the prefix, and for a page that
    leads nowhere or back to itself.
    """
    try:
        page = read_page(body)
        objects, prefixes = [_listed(fields, metadata) for fields, metadata in page.blobs], page.prefixes
    except (KeyError, ValueError) as error:
        raise Unreadable("a listing with a blob that has no name or size") from error
    if page.root == "Error":
        raise ErrorInside(ErrorReply(200, page.told.get("Code", ""), page.told.get("Message", "")))
    if page.root != "EnumerationResults":
        raise Unreadable(f"XML of another kind: {page.root[:40]}")
    if prefix and not all(one.key.startswith(prefix) for one in objects):
        raise Unreadable("a listing with names that were not asked for")
    if prefix and not all(one.startswith(prefix) for one in prefixes):
        raise Unreadable("a listing with prefixes that were not asked for")
    following = page.told.get("NextMarker") or None
    if following is not None and following == token:
        raise Unreadable("a listing that does not go on")
    return ListPage(tuple(ordered(objects, body)), tuple(prefixes), following)


def ordered(objects: list[ObjectStat], body: bytes | None = None) -> list[ObjectStat]:
    """By the bytes of UTF-8. body: of the reply, where it is at hand.

    The service compares UTF-16: a character beyond U+FFFF comes before those from U+E000 on. Directories were sorted
    without their slash. Either is rare, so that it is looked for first.
    """
    if body is None or any(lead in body for lead in _BEYOND) or any(one.key.endswith("/") for one in objects):
        # Surrogates stand for bytes that are no UTF-8: they sort as these do.
        objects.sort(key=lambda one: one.key.encode(errors="surrogateescape"))
    return objects


def parse_block_list(body: bytes) -> list[tuple[str, int]]:
    """Ids and sizes of blocks, those committed in their order."""
    root = parse_xml(body, "BlockList", nodes_max=_BLOCK_LIST_NODES_MAX)
    try:
        return [
            (block.get("Name"), int(block.get("Size")))
            for name in ("CommittedBlocks", "UncommittedBlocks")
            for blocks in root.all(name)
            for block in blocks.all("Block")
        ]
    except ValueError as error:
        raise Unreadable("a block without a size") from error
