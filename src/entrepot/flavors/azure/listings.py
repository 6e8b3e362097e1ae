"""A page of List Blobs: by one compiled pattern where it is written as the services write it, else by expat. No I/O.

A page has up to 5,000 blobs of some thirty elements each. The pattern must account for every byte of the page; where
it does not (an entity, an attribute, an element that is not expected), the page goes to the parser whole, which knows
all of XML. Both read the same values.

Source: Azure Storage REST API Reference, "List Blobs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from entrepot.services.faults import Unreadable
from entrepot.services.xml import DEPTH_MAX, feed, parser_of

# Quantifiers are possessive: nothing is tried twice, so that a page which does not fit costs no more than another.
# An element without attributes or children whose text has no entities, line ends that XML would change, or controls:
_TEXT: Final = rb"[^<&\x00-\x1f\x7f]*+"
_NAME: Final = rb"[A-Za-z_][\w.-]*+"
_ITEMS: Final = rb"(?:<(" + _NAME + rb")>" + _TEXT + rb"</\%d>|<" + _NAME + rb" ?/>)*+"
_BLOB: Final = re.compile(
    rb"<Blob><Name>(" + _TEXT + rb")</Name>"
    rb"(?:<VersionId>(" + _TEXT + rb")</VersionId>)?+(?:<IsCurrentVersion>\w*+</IsCurrentVersion>)?+"
    rb"<Properties>(" + _ITEMS % 4 + rb")</Properties>"
    rb"(?:<Metadata ?/>|<Metadata>(" + _ITEMS % 6 + rb")</Metadata>)?+(?:<OrMetadata ?/>)?+</Blob>"
)
_PREFIX: Final = re.compile(rb"<BlobPrefix><Name>(" + _TEXT + rb")</Name></BlobPrefix>")
_ITEM: Final = re.compile(rb"<(" + _NAME + rb")>(" + _TEXT + rb")</")
# What is rare in an attribute, or must not be there, is the parser's to judge.
_HEAD: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?<\?xml version=[\"']1\.0[\"'] encoding=[\"'](?:utf-8|UTF-8)[\"']"
    rb"(?: standalone=[\"']yes[\"'])? ?\?>[ \t\r\n]*"
    rb"<EnumerationResults(?: ServiceEndpoint=\"[ !#-%'-;=?-~]*\")?(?: ContainerName=\"[ !#-%'-;=?-~]*\")?>[ \t\r\n]*"
    rb"(?:<(Prefix|Marker|MaxResults|Delimiter)>" + _TEXT + rb"</\1>|<(?:Prefix|Marker|Delimiter) ?/>)*<Blobs>"
)
_TAIL: Final = re.compile(
    rb"</Blobs>(?:<NextMarker ?/>|<NextMarker>(" + _TEXT + rb")</NextMarker>)?</EnumerationResults>[ \t\r\n]*"
)
_TOLD: Final = frozenset({"Content-Length", "Content-MD5", "Content-Type", "Etag", "Last-Modified", "ResourceType"})
_BESIDE: Final = frozenset({"Name", "VersionId"})
_TAGS: Final = tuple((name, f"<{name}>") for name in sorted(_TOLD))


class Page:
    """One `<EnumerationResults>`: of each blob its properties (and `Name`, `VersionId`) and its metadata, names in
    lower case; the prefixes; and what stands beside them, as `NextMarker`. root: the name of the outermost element.
    """

    __slots__ = ("blobs", "prefixes", "root", "told")

    def __init__(self) -> None:
        self.root = ""
        self.told: dict[str, str] = {}
        self.blobs: list[tuple[Mapping[str, str], list[tuple[str, str]]]] = []
        self.prefixes: list[str] = []


def read_page(body: bytes) -> Page:
    """The page. Raises: Unreadable; KeyError for an entry without a name."""
    return _plain_page(body) or _parsed_page(body)


def _plain_page(body: bytes) -> Page | None:
    """By the patterns, None where they do not account for all of it."""
    head = _HEAD.match(body)
    if head is None:
        return None
    page = Page()
    page.root = "EnumerationResults"
    at, blob, prefix = head.end(), _BLOB.match, _PREFIX.match
    try:
        while True:
            if (found := blob(body, at)) is not None:
                name, version, properties, _, metadata, _ = found.groups()
                fields = _told_of(properties.decode())
                fields["Name"] = name.decode()
                if version:
                    fields["VersionId"] = version.decode()
                pairs = [(key.decode().lower(), value.decode()) for key, value in _ITEM.findall(metadata or b"")]
                page.blobs.append((fields, pairs))
            elif (found := prefix(body, at)) is not None:
                page.prefixes.append(found[1].decode())
            else:
                break
            at = found.end()
        tail = _TAIL.fullmatch(body, at)
        if tail is None:
            return None
        page.told["NextMarker"] = (tail[1] or b"").decode()
    except UnicodeDecodeError:
        return None  # expat says what is wrong with it
    return page


def _told_of(properties: str) -> dict[str, str]:
    """The properties that are asked for, from text that is known to be well formed."""
    fields: dict[str, str] = {}
    for name, tag in _TAGS:
        start = properties.find(tag)
        if start >= 0:
            start += len(tag)
            fields[name] = properties[start : properties.index("<", start)]
    return fields


def _parsed_page(body: bytes) -> Page:
    page = Page()
    feed(parser_of(*_reader(page)), body)
    return page


def _reader(page: Page) -> tuple[Callable[[str, dict[str, str]], None], Callable[[str], None], Callable[[str], None]]:
    """What a parser calls for a start, an end and text. Closures: a page has 250,000 of these events."""
    pieces: list[str] = []
    fields: dict[str, str] = {}
    metadata: list[tuple[str, str]] = []
    depth = 0
    section = ""
    escaped = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, section, escaped, metadata, fields
        depth += 1
        if depth == 5:  # a property, as nearly all
            pieces.clear()
            return
        if depth == 4:
            section = name
            if attributes:
                escaped = attributes.get("Encoded") == "true"
        elif depth == 3:
            fields = {}
            metadata = []
        elif depth == 1:
            page.root = name
        elif depth > DEPTH_MAX:
            raise Unreadable("XML nested too deep")
        pieces.clear()

    def end(name: str) -> None:
        nonlocal depth, escaped
        depth -= 1
        if depth == 4:
            if section == "Metadata":
                metadata.append((name.lower(), "".join(pieces)))
            elif name in _TOLD and section == "Properties":
                fields[name] = "".join(pieces)
        elif depth == 3:
            if name in _BESIDE:
                fields[name] = "".join(pieces)
            if escaped:  # a name that XML could not hold
                fields[name], escaped = unquote(fields[name], errors="surrogateescape"), False
        elif depth == 2:
            if name == "Blob":
                page.blobs.append((fields, metadata))
            elif name == "BlobPrefix":
                page.prefixes.append(fields["Name"])
        elif depth == 1:
            page.told[name] = "".join(pieces)

    return start, end, pieces.append
