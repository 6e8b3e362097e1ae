"""The requests of the Azure Blob primitives: built from values, unsigned, without I/O.

Each function's reply is read by its namesake in `replies`. Source: Azure Storage REST API Reference, "Blob service".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final, Literal
from urllib.parse import quote
from xml.sax.saxutils import escape

from entrepot.flavors.azure.address import Location
from entrepot.flavors.azure.metadata import NOTHING, kept
from entrepot.models import NO_OPTIONS, Buffer, ByteRange, WriteOptions
from entrepot.services.checksums import md5_hex
from entrepot.services.exchange import Call, HeaderList
from entrepot.services.headers import quoted_etag

BlockKind = Literal["committed", "uncommitted"]

_BLOCK_BLOB: Final = ("x-ms-blob-type", "BlockBlob")
_WITH_SNAPSHOTS: Final = ("x-ms-delete-snapshots", "include")
_KEPT_PROPERTIES: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
)


class Requests:
    """The requests of one container. Keys are literal; an etag is bare; an MD5 is hex."""

    def __init__(self, location: Location) -> None:
        self._target = location.target
        self._container = f"{location.path}?restype=container"

    # ---- one blob ---------------------------------------------------------------------------------

    def head(self, key: str, version: str | None = None) -> Call:
        return Call("HEAD", self._versioned(key, version))

    def get(self, key: str, span: str | None = None, if_match: str | None = None, version: str | None = None) -> Call:
        """span: the value of `Range`."""
        headers: HeaderList = ()
        if span is not None:
            headers = (("range", span),)
        if if_match is not None:
            headers += (("if-match", quoted_etag(if_match)),)
        return Call("GET", self._versioned(key, version), headers)

    def _versioned(self, key: str, version: str | None) -> str:
        target = self._target(key)
        return f"{target}?versionid={_quoted(version)}" if version is not None else target

    def put(self, key: str, data: Buffer, options: WriteOptions, md5: str, own: Mapping[str, str] = NOTHING) -> Call:
        """own: metadata of entrepot's own, beside the caller's."""
        headers: HeaderList = (_BLOCK_BLOB, ("content-md5", content_md5(md5)))
        if options is not NO_OPTIONS or own:
            kind: HeaderList = (("content-type", options.content_type),) if options.content_type is not None else ()
            headers = (*headers, *kind, *described(options, own), *conditions(options))
        return Call("PUT", self._target(key), headers, data)

    def delete(self, key: str, if_match: str | None = None) -> Call:
        pinned: HeaderList = (("if-match", quoted_etag(if_match)),) if if_match is not None else ()
        return Call("DELETE", self._target(key), (_WITH_SNAPSHOTS, *pinned))

    def copy(
        self,
        source_url: str,
        key: str,
        options: WriteOptions,
        own: Mapping[str, str] = NOTHING,
        source_etag: str | None = None,
    ) -> Call:
        """Copy Blob. Metadata replaces the source's where there is any; a content type cannot be given."""
        headers: HeaderList = (("x-ms-copy-source", source_url), *described(options, own), *conditions(options))
        if source_etag is not None:
            headers += (("x-ms-source-if-match", quoted_etag(source_etag)),)
        return Call("PUT", self._target(key), headers)

    def abort_copy(self, key: str, copy_id: str) -> Call:
        target = f"{self._target(key)}?comp=copy&copyid={_quoted(copy_id)}"
        return Call("PUT", target, (("x-ms-copy-action", "abort"),))

    def set_properties(self, key: str, told: Mapping[str, str], content_type: str, if_match: str | None) -> Call:
        """told: the headers of the blob; what is not sent again would be cleared."""
        named = tuple((f"x-ms-blob-{name}", told[name]) for name in _KEPT_PROPERTIES if told.get(name))
        headers = (("x-ms-blob-content-type", content_type), *named, *_pinned(if_match))
        return Call("PUT", f"{self._target(key)}?comp=properties", headers)

    def set_metadata(self, key: str, options: WriteOptions, own: Mapping[str, str], if_match: str | None) -> Call:
        """All of the blob's metadata, in place of what it has."""
        return Call("PUT", f"{self._target(key)}?comp=metadata", (*described(options, own), *_pinned(if_match)))

    # ---- the container ----------------------------------------------------------------------------

    def list_page(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int | None = None, include: str
    ) -> Call:
        query = {
            "comp": "list",
            "delimiter": delimiter or None,
            "include": include,
            "marker": token,
            "maxresults": str(limit) if limit is not None else None,
            "prefix": prefix or None,
        }
        given = [f"&{name}={_quoted(value)}" for name, value in query.items() if value is not None]
        return Call("GET", self._container + "".join(given))

    def batch(self, body: bytes, boundary: str) -> Call:
        headers = (("content-type", f"multipart/mixed; boundary={boundary}"),)
        return Call("POST", f"{self._container}&comp=batch", headers, body)

    # ---- blocks -----------------------------------------------------------------------------------

    def put_block(self, key: str, block_id: str, data: Buffer, md5: str) -> Call:
        return Call("PUT", self._block(key, block_id), (("content-md5", content_md5(md5)),), data)

    def copy_block(
        self, key: str, block_id: str, source: HeaderList, byte_range: ByteRange, source_etag: str | None = None
    ) -> Call:
        """source: the headers that name it and prove that it may be read."""
        headers = (*source, ("x-ms-source-range", byte_range.header))
        if source_etag is not None:
            headers += (("x-ms-source-if-match", quoted_etag(source_etag)),)
        return Call("PUT", self._block(key, block_id), headers)

    def put_block_list(
        self, key: str, block_ids: Sequence[str], options: WriteOptions, own: Mapping[str, str] = NOTHING
    ) -> Call:
        # `Latest`: once a commit's reply is lost, the blocks are no longer uncommitted, and are found all the same.
        rows = "".join(f"<Latest>{escape(one)}</Latest>" for one in block_ids)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{rows}</BlockList>'.encode()
        kind: HeaderList = (
            (("x-ms-blob-content-type", options.content_type),) if options.content_type is not None else ()
        )
        headers = (
            ("content-type", "application/xml"),
            ("content-md5", content_md5(md5_hex(body))),
            *kind,
            *described(options, own),
            *conditions(options),
        )
        return Call("PUT", f"{self._target(key)}?comp=blocklist", headers, body)

    def block_list(self, key: str, kind: BlockKind) -> Call:
        return Call("GET", f"{self._target(key)}?comp=blocklist&blocklisttype={kind}")

    def _block(self, key: str, block_id: str) -> str:
        return f"{self._target(key)}?comp=block&blockid={_quoted(block_id)}"


def content_md5(md5: str) -> str:
    """As the header wants it."""
    return base64.b64encode(bytes.fromhex(md5)).decode()


def described(options: WriteOptions, own: Mapping[str, str] = NOTHING) -> HeaderList:
    """Metadata as headers."""
    return tuple((f"x-ms-meta-{name}", value) for name, value in kept(options, own).items())


def conditions(options: WriteOptions) -> HeaderList:
    """What must hold for a write."""
    if options.if_none_match:
        return (("if-none-match", "*"),)
    return _pinned(options.if_match)


def _pinned(if_match: str | None) -> HeaderList:
    return (("if-match", quoted_etag(if_match)),) if if_match is not None else ()


def block_id(upload_id: str, number: int) -> str:
    """A block's name: the same length for every block of a blob, and no other upload's.

    Source: REST API Reference, "Put Block", URI parameters: blockid.
    """
    return base64.b64encode(f"{upload_id}-{number:05}".encode()).decode()


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")
