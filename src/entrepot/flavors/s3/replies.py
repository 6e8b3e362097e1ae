"""What S3 replies say: heads and XML bodies into values. No I/O.

Source: Amazon S3 API Reference, "Actions" and "Error responses".
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import unquote

from entrepot.models import DeleteFailure, ListPage, ObjectStat, Part, Upload
from entrepot.services.faults import ErrorInside, ErrorReply, Unreadable
from entrepot.services.headers import bare_etag, etag_of, http_time, iso_time
from entrepot.services.metadata import header_text
from entrepot.services.xml import DEPTH_MAX, error_told, feed, parse_xml, parser_of

CHECKSUMS = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")
"""What the service can keep beside its etag, the one first that costs the least."""

_META = "x-amz-meta-"
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


def checksums_told(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums of the whole object, in hex, by their names; not those that are made of its parts' checksums.

    Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3".
    """
    if headers.get("x-amz-checksum-type") == "COMPOSITE":
        return {}
    told = {name: headers[f"x-amz-checksum-{name}"] for name in CHECKSUMS if f"x-amz-checksum-{name}" in headers}
    found: dict[str, str] = {}
    for name, value in told.items():
        with contextlib.suppress(ValueError):  # `-N` at its end: of N parts
            found[name] = base64.b64decode(value, validate=True).hex()
    return found


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The user's own metadata, keys in lower case, RFC 2047 words decoded (see `requests.metadata`)."""
    return {name[len(_META) :]: header_text(value) for name, value in headers.items() if name.startswith(_META)}


def etag_may_be_md5(headers: Mapping[str, str]) -> bool:
    """False where the reply tells that the etag is none: encryption by KMS or by the caller's key.

    Source: Amazon S3 API Reference, "Object": ETag.
    """
    encryption = headers.get("x-amz-server-side-encryption")
    if encryption is not None and encryption != "AES256":
        return False
    return "x-amz-server-side-encryption-customer-algorithm" not in headers


def composite_count(etag: str | None) -> int | None:
    """N of an etag `MD5-N`, as objects written in N parts have; None for any other."""
    found = _COMPOSITE.fullmatch(etag) if etag is not None else None
    return int(found[1]) if found else None


# ---- bodies -------------------------------------------------------------------------------------------


def error_reply(status: int, headers: Mapping[str, str], body: bytes = b"") -> ErrorReply:
    """What a failed reply says, whatever its body is."""
    region = headers.get("x-amz-bucket-region")
    told = error_told(body, status, headers) or ErrorReply(status, headers=headers)
    return replace(told, region=region) if region and not told.region else told


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
        elif depth > DEPTH_MAX:
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
        feed(parser_of(start, end, pieces.append), body)
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


def parse_versions(body: bytes) -> tuple[list[ObjectStat], tuple[str, str] | None]:
    """One page of ListObjectVersions, newest first for each key, without the markers of deletions."""
    root = parse_xml(body, "ListVersionsResult")
    decode = _name if root.get("EncodingType") == "url" else str
    try:
        found = [
            ObjectStat(
                decode(row.get("Key")),
                int(row.get("Size")),
                iso_time(row.get("LastModified")),
                bare_etag(row.get("ETag")) or None,
                row.get("VersionId"),
            )
            for row in root.all("Version")
        ]
    except ValueError as error:
        raise Unreadable("a version without a size") from error
    if root.get("IsTruncated") != "true":
        return found, None
    return found, (decode(root.get("NextKeyMarker")), root.get("NextVersionIdMarker"))


def parse_uploads(body: bytes) -> tuple[list[Upload], tuple[str, str] | None]:
    """One page of ListMultipartUploads, and the markers (key, id) of the next; None after the last."""
    root = parse_xml(body, "ListMultipartUploadsResult")
    decode = _name if root.get("EncodingType") == "url" else str
    uploads = [
        Upload(decode(row.get("Key")), row.get("UploadId"), initiated=iso_time(row.get("Initiated")))
        for row in root.all("Upload")
    ]
    if root.get("IsTruncated") != "true":
        return uploads, None
    return uploads, (decode(root.get("NextKeyMarker")), root.get("NextUploadIdMarker"))
