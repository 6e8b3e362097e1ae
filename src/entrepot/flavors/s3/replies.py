"""What S3 replies say: heads and XML bodies into values. No I/O.

XML goes through expat with documents' own declarations refused, so nothing is expanded and nothing is fetched.
Source: Amazon S3 API Reference, "Actions" and "Error responses".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Any, Final
from urllib.parse import unquote
from xml.parsers import expat

from entrepot.flavors.s3.faults import ErrorInside, ErrorReply, Unreadable
from entrepot.models import MIB, DeleteFailure, ListPage, ObjectStat, Part, Upload

XML_MAX_BYTES: Final = 16 * MIB
"""More than any reply has: a listing of 1,000 keys of 1,024 bytes, each byte as %XX, is 4 MiB."""

_DEPTH_MAX: Final = 12
_NODES_MAX: Final = 100_000  # a page of 1,000 rows has some ten thousand; each costs 25 times its bytes in memory
_META = "x-amz-meta-"
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII | re.IGNORECASE)
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_COMPOSITE = re.compile(r"[0-9a-f]{32}-(\d{1,5})", re.ASCII)


# ---- heads --------------------------------------------------------------------------------------------


def stat_of(key: str, headers: Mapping[str, str], size_bytes: int | None = None) -> ObjectStat:
    """What a reply's head tells of an object; size_bytes: the whole object's, else Content-Length is.

    Raises: Unreadable where there is no size.
    """
    if size_bytes is None:
        length = headers.get("content-length", "")
        if not length.isdecimal():
            raise Unreadable("a reply without the object's size")
        size_bytes = int(length)
    version = headers.get("x-amz-version-id")
    modified = headers.get("last-modified")
    return ObjectStat(
        key,
        size_bytes,
        http_time(modified) if modified else None,
        etag_of(headers),
        None if version == "null" else version,
        headers.get("content-type"),
        metadata_of(headers),
    )


def etag_of(headers: Mapping[str, str]) -> str | None:
    """The etag without its quotes; None where there is none."""
    return bare_etag(headers.get("etag", "")) or None


def bare_etag(text: str) -> str:
    """`"abc"` → `abc`; a weak one stays as it is."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def quoted_etag(etag: str) -> str:
    """As a condition wants it."""
    return etag if etag.startswith(('"', "W/")) else f'"{etag}"'


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The user's own metadata, keys in lower case, RFC 2047 words decoded (see `requests.metadata`)."""
    return {
        name[len(_META) :]: _decoded(value) if "=?" in value else value
        for name, value in headers.items()
        if name.startswith(_META)
    }


def _decoded(value: str) -> str:
    try:
        return "".join(
            text.decode(charset or "ascii", "replace") if isinstance(text, bytes) else text
            for text, charset in decode_header(value)
        )
    except (HeaderParseError, LookupError, ValueError):
        return value


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int | None]:
    """Content-Range as (start, stop, whole size or None). Raises: Unreadable."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if not found:
        raise Unreadable("a partial reply that does not tell its range")
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


def etag_may_be_md5(headers: Mapping[str, str]) -> bool:
    """False where the reply tells that the etag is none: encryption by KMS or by the caller's key.

    Source: Amazon S3 API Reference, "Object": ETag.
    """
    encryption = headers.get("x-amz-server-side-encryption")
    if encryption is not None and encryption != "AES256":
        return False
    return "x-amz-server-side-encryption-customer-algorithm" not in headers


def is_md5(etag: str | None) -> bool:
    """Whether the etag has the form of an MD5."""
    return etag is not None and _MD5.fullmatch(etag) is not None


def composite_count(etag: str | None) -> int | None:
    """N of an etag `MD5-N`, as objects written in N parts have; None for any other."""
    found = _COMPOSITE.fullmatch(etag) if etag is not None else None
    return int(found[1]) if found else None


def http_time(text: str) -> datetime | None:
    """`Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110, 5.6.7) in UTC; None where it is not one."""
    try:
        return datetime(
            int(text[12:16]),
            _MONTHS[text[8:11]],
            int(text[5:7]),
            int(text[17:19]),
            int(text[20:22]),
            int(text[23:25]),
            tzinfo=UTC,
        )
    except (KeyError, ValueError):
        return None


def iso_time(text: str) -> datetime | None:
    """`2015-10-21T07:28:00.000Z` in UTC; None where it is not one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    zone = moment.tzinfo
    if zone is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if zone is None else moment.astimezone(UTC)


# ---- bodies -------------------------------------------------------------------------------------------


class Node:
    """One element: its name without prefix, its text, its children."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name, self.text = name, ""
        self.children: list[Node] = []

    def get(self, name: str, default: str = "") -> str:
        """The text of the first child of that name."""
        for child in self.children:
            if child.name == name:
                return child.text
        return default

    def all(self, name: str) -> list[Node]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]


def parse_xml(body: bytes, *roots: str) -> Node:
    """The document, if its root has one of these names.

    Raises: ErrorInside where it is an `<Error>`; Unreadable for an empty body, no XML, a document type, another root.
    """
    top = Node("")
    stack = [top]
    left = _NODES_MAX

    def start(name: str, _attributes: dict[str, str]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unreadable("XML of too many elements")
        node = Node(name.rpartition(":")[2])
        stack[-1].children.append(node)
        stack.append(node)
        if len(stack) > _DEPTH_MAX:
            raise Unreadable("XML nested too deep")

    def end(_name: str) -> None:
        stack.pop()

    def text(piece: str) -> None:
        stack[-1].text += piece

    parser = _parser(start, end, text)
    _feed(parser, body)
    root = top.children[0]
    if root.name == "Error" and "Error" not in roots:
        raise ErrorInside(_error_reply(root, 200, {}))
    if root.name not in roots:
        raise Unreadable(f"XML of another kind: {root.name[:40]}")
    return root


def _parser(start: Any, end: Any, text: Any) -> Any:
    parser = expat.ParserCreate("utf-8")  # whatever the document says of itself
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _feed(parser: Any, body: bytes) -> None:
    if not body.strip():
        raise Unreadable("an empty body")
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise Unreadable("a body that is not XML") from error


def _refuse_doctype(*_arguments: object) -> None:
    raise Unreadable("XML with a document type")


def error_reply(status: int, headers: Mapping[str, str], body: bytes = b"") -> ErrorReply:
    """What a failed reply says, whatever its body is."""
    if body:
        try:
            return _error_reply(parse_xml(body, "Error"), status, headers)
        except Unreadable:
            pass  # a proxy's page, or nothing: the status alone speaks
    return ErrorReply(status, region=headers.get("x-amz-bucket-region"), headers=headers)


def _error_reply(root: Node, status: int, headers: Mapping[str, str]) -> ErrorReply:
    return ErrorReply(
        status,
        root.get("Code")[:100],
        root.get("Message")[:1000],
        root.get("Region") or headers.get("x-amz-bucket-region"),
        root.get("Condition")[:100],
        headers,
    )


def parse_list(body: bytes, *, prefix: str, token: str | None) -> ListPage:
    """One page of ListObjectsV2.

    Raises: ErrorInside, Unreadable; the latter too for keys that do not begin with the prefix, and for a page that
    leads nowhere or back to itself.
    """
    fields: dict[str, str] = {}  # of the element under way: an object's, a prefix's
    page: dict[str, str] = {}
    objects: list[tuple[str, str, str, str]] = []
    prefixes: list[str] = []
    current = ""
    pieces: list[str] = []
    depth = 0

    def start(name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth, current
        depth += 1
        if depth == 1:
            current = name.rpartition(":")[2]
        elif depth == 2:
            fields.clear()
        elif depth > _DEPTH_MAX:
            raise Unreadable("XML nested too deep")
        pieces.clear()

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        if depth == 2:
            fields[name] = "".join(pieces)
        elif depth == 1:
            if name == "Contents":
                objects.append((fields["Key"], fields["Size"], fields.get("LastModified", ""), fields.get("ETag", "")))
            elif name == "CommonPrefixes":
                prefixes.append(fields["Prefix"])
            else:
                page[name] = "".join(pieces)
        pieces.clear()

    try:
        _feed(_parser(start, end, pieces.append), body)
        if current == "Error":
            raise ErrorInside(ErrorReply(200, page.get("Code", ""), page.get("Message", "")))
        if current != "ListBucketResult":
            raise Unreadable(f"XML of another kind: {current[:40]}")
        plain = page.get("EncodingType") != "url"
        found = tuple(
            ObjectStat(key if plain else _name(key), int(size), iso_time(modified), bare_etag(etag) or None)
            for key, size, modified, etag in objects
        )
    except (KeyError, ValueError) as error:
        raise Unreadable("a listing with an object that has no key or size") from error
    directories = tuple(prefixes if plain else map(_name, prefixes))
    if prefix and not all(one.key.startswith(prefix) for one in found):
        raise Unreadable("a listing with keys that were not asked for")
    if prefix and not all(one.startswith(prefix) for one in directories):
        raise Unreadable("a listing with prefixes that were not asked for")
    following = page.get("NextContinuationToken") if page.get("IsTruncated") == "true" else None
    if page.get("IsTruncated") == "true" and (not following or following == token):
        raise Unreadable("a listing that does not go on")
    return ListPage(found, directories, following)


def _name(text: str) -> str:
    """A name of a reply with encoding-type=url; bytes that are not UTF-8 stay as surrogates."""
    if "+" in text:
        text = text.replace("+", " ")
    return unquote(text, errors="surrogateescape") if "%" in text else text


def parse_delete(body: bytes) -> list[DeleteFailure]:
    """What a batched delete left in place; a key that was not there is no failure."""
    root = parse_xml(body, "DeleteResult")
    return [
        DeleteFailure(row.get("Key"), row.get("Code"), row.get("Message"))
        for row in root.all("Error")
        if row.get("Code") != "NoSuchKey"
    ]


def parse_copy(body: bytes) -> tuple[str, datetime | None]:
    """Etag (may be empty) and time of a copied object or part."""
    root = parse_xml(body, "CopyObjectResult", "CopyPartResult")
    return bare_etag(root.get("ETag")), iso_time(root.get("LastModified"))


def parse_copied_part(body: bytes) -> str:
    """Etag of a copied part; empty where the body is, which is for the caller to look into."""
    return parse_copy(body)[0] if body.strip() else ""


def parse_created_upload(body: bytes) -> str:
    """The id of a new multipart upload."""
    # Some servers leave the name's last word out.
    upload_id = parse_xml(body, "InitiateMultipartUploadResult", "InitiateMultipartUpload").get("UploadId")
    if not upload_id:
        raise Unreadable("a new upload without an id")
    return upload_id


def parse_completed(body: bytes) -> str:
    """The etag of a completed upload; may be empty."""
    return bare_etag(parse_xml(body, "CompleteMultipartUploadResult").get("ETag"))


def parse_parts(body: bytes) -> tuple[list[Part], str | None]:
    """One page of ListParts, and the marker of the next; None after the last."""
    root = parse_xml(body, "ListPartsResult", "ListPartsResponse")
    try:
        parts = [
            Part(int(row.get("PartNumber")), int(row.get("Size")), bare_etag(row.get("ETag")))
            for row in root.all("Part")
        ]
    except ValueError as error:
        raise Unreadable("a part without number or size") from error
    return parts, root.get("NextPartNumberMarker") if root.get("IsTruncated") == "true" else None


def parse_uploads(body: bytes) -> tuple[list[Upload], tuple[str, str] | None]:
    """One page of ListMultipartUploads, and the markers (key, id) of the next; None after the last."""
    root = parse_xml(body, "ListMultipartUploadsResult")
    decode = _name if root.get("EncodingType") == "url" else str
    uploads = [Upload(decode(row.get("Key")), row.get("UploadId")) for row in root.all("Upload")]
    if root.get("IsTruncated") != "true":
        return uploads, None
    return uploads, (decode(root.get("NextKeyMarker")), root.get("NextUploadIdMarker"))
