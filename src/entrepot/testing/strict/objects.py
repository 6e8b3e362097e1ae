"""Operations on single objects, and on many at once: put, get, head, delete, copy.

Source: Amazon S3 API Reference, "Actions".
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from email.utils import formatdate
from typing import Final
from urllib.parse import unquote_to_bytes

from entrepot.testing.strict import documents
from entrepot.testing.strict.checksums import Checksum, algorithm_named
from entrepot.testing.strict.conditions import check_read, check_source, check_write, failed, names, span_of
from entrepot.testing.strict.exchange import Refusal, Reply, Request
from entrepot.testing.strict.state import Bucket, Described, Object, State, md5

_META: Final = "x-amz-meta-"
_META_MOST_BYTES: Final = 2048
# What is kept of an object's own headers; a read may ask for others in their place.
_KEPT: Final = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
_STORAGE_CLASSES: Final = frozenset(
    {
        "STANDARD", "STANDARD_IA", "ONEZONE_IA", "REDUCED_REDUNDANCY", "INTELLIGENT_TIERING", "GLACIER", "GLACIER_IR",
        "DEEP_ARCHIVE",
    }
)  # fmt: skip
_DELETE_MOST: Final = 1000


def put(state: State, request: Request, checksum: Checksum | None) -> Reply:
    """PutObject."""
    bucket = state.bucket(request.bucket)
    if request.header("content-length") is None:
        raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    described = described_by(request)
    check_write(request, request.key, bucket.objects.get(request.key))
    made = Object(request.body, md5(request.body), state.now(), described, checksum)
    bucket.objects[request.key] = made
    return Reply(200, {"etag": f'"{made.etag}"', **_checksum_fields(made.checksum)})


def get(state: State, request: Request) -> Reply:
    """GetObject and HeadObject; the body of a HEAD is not sent."""
    _current_version(request)
    found = state.bucket(request.bucket).object(request.key)
    check_read(request, found)
    span = span_of(request.header("range"), len(found.data))
    headers = {
        "etag": f'"{found.etag}"',
        "last-modified": formatdate(int(found.modified_s), usegmt=True),
        "accept-ranges": "bytes",
        "content-type": "binary/octet-stream",
        **dict(found.described.headers),
        **_overridden(request),
    }
    if found.described.storage_class != "STANDARD":
        headers["x-amz-storage-class"] = found.described.storage_class
    if (request.header("x-amz-checksum-mode") or "").upper() == "ENABLED" and span is None:
        headers |= _checksum_fields(found.checksum)
    if span is None:
        return Reply(200, headers, found.data)
    headers["content-range"] = f"bytes {span[0]}-{span[1] - 1}/{len(found.data)}"
    return Reply(206, headers, found.data[span[0] : span[1]])


def delete(state: State, request: Request) -> Reply:
    """DeleteObject: what is not there is gone, unless it had to be of some etag."""
    _current_version(request)
    bucket = state.bucket(request.bucket)
    if request.header("if-match") is not None:
        check_write(request, request.key, bucket.objects.get(request.key))
    bucket.objects.pop(request.key, None)
    return Reply(204)


def delete_many(state: State, request: Request, checksum: Checksum | None) -> Reply:
    """DeleteObjects: the request must vouch for its own body."""
    bucket = state.bucket(request.bucket)
    if checksum is None and request.header("content-md5") is None:
        raise Refusal(
            400, "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        )
    root = documents.parsed(request.body, "Delete")
    documents.known(root, ("Object", "Quiet"))
    rows = root.findall("Object")
    if not 1 <= len(rows) <= _DELETE_MOST:
        raise documents.malformed()
    content = "".join(_deleted(bucket, row, quiet=root.findtext("Quiet") == "true") for row in rows)
    return documents.document("DeleteResult", content)


def _deleted(bucket: Bucket, row: ET.Element, *, quiet: bool) -> str:
    documents.known(row, ("Key", "VersionId", "ETag"))
    key, etag, version = row.findtext("Key"), row.findtext("ETag"), row.findtext("VersionId")
    if not key:
        raise documents.malformed()
    found = bucket.objects.get(key)
    refusal: Refusal | None = None
    if version not in (None, "null"):
        refusal = _no_such_version(version or "")
    elif etag is not None and found is None:
        refusal = Refusal(404, "NoSuchKey", "The specified key does not exist.")
    elif etag is not None and found is not None and not names(etag, found.etag):
        refusal = failed("If-Match")
    if refusal is not None:
        told = documents.leaves(Key=key, Code=refusal.code, Message=refusal.message)
        return documents.element("Error", told)
    bucket.objects.pop(key, None)
    return "" if quiet else documents.element("Deleted", documents.leaf("Key", key))


def copy(state: State, request: Request) -> Reply:
    """CopyObject."""
    bucket = state.bucket(request.bucket)
    source_bucket, source_key, source = source_of(state, request)
    check_source(request, source)
    check_write(request, request.key, bucket.objects.get(request.key))
    directive = request.header("x-amz-metadata-directive") or "COPY"
    if directive not in ("COPY", "REPLACE"):
        raise Refusal(400, "InvalidArgument", "Unknown metadata directive.")
    described = described_by(request)
    if directive == "COPY":
        if (source_bucket, source_key) == (request.bucket, request.key) and described.storage_class == "STANDARD":
            message = (
                "This copy request is illegal because it is trying to copy an object to itself without changing it"
            )
            raise Refusal(400, "InvalidRequest", message)
        described = Described(source.described.headers, described.storage_class)
    asked = request.header("x-amz-checksum-algorithm")
    checksum = Checksum.of(algorithm_named(asked), source.data) if asked is not None else source.checksum
    made = Object(source.data, md5(source.data), state.now(), described, checksum)
    bucket.objects[request.key] = made
    told = documents.leaves(ETag=f'"{made.etag}"', LastModified=documents.iso(made.modified_s))
    return documents.document("CopyObjectResult", told + checksum_leaf(checksum))


def source_of(state: State, request: Request) -> tuple[str, str, Object]:
    """Bucket, key and object that a copy reads. Raises: Refusal."""
    text = request.header("x-amz-copy-source") or ""
    path, _, query = text.partition("?")
    try:
        bucket, _, key = unquote_to_bytes(path).decode().removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key:
        message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        raise Refusal(400, "InvalidArgument", message, ArgumentName="x-amz-copy-source", ArgumentValue=text)
    if query and query != "versionId=null":
        raise _no_such_version(query.removeprefix("versionId="))
    return bucket, key, state.bucket(bucket).object(key)


def described_by(request: Request) -> Described:
    """What a write says of its object. Raises: Refusal."""
    headers = {name: value for name, value in request.fields if name in _KEPT or name.startswith(_META)}
    if headers.get("content-encoding", "").startswith("aws-chunked"):
        headers["content-encoding"] = headers["content-encoding"].removeprefix("aws-chunked").lstrip(", ")
    size = sum(len(name) - len(_META) + len(value) for name, value in headers.items() if name.startswith(_META))
    if size > _META_MOST_BYTES:
        raise Refusal(
            400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
            Size=str(size), MaxSizeAllowed=str(_META_MOST_BYTES),
        )  # fmt: skip
    storage_class = request.header("x-amz-storage-class") or "STANDARD"
    if storage_class not in _STORAGE_CLASSES:
        raise Refusal(400, "InvalidStorageClass", "The storage class you specified is not valid")
    return Described(tuple((name, value) for name, value in headers.items() if value), storage_class)


def checksum_leaf(checksum: Checksum | None) -> str:
    """As documents tell it, with its kind; nothing where there is none."""
    if checksum is None:
        return ""
    return documents.leaf(checksum.element, checksum.value) + documents.leaf("ChecksumType", checksum.kind)


def _checksum_fields(checksum: Checksum | None) -> dict[str, str]:
    if checksum is None:
        return {}
    return {f"x-amz-checksum-{checksum.algorithm}": checksum.value, "x-amz-checksum-type": checksum.kind}


def _overridden(request: Request) -> dict[str, str]:
    values = {name: request.parameter(f"response-{name}") for name in _KEPT}
    return {name: value for name, value in values.items() if value is not None}


def _current_version(request: Request) -> None:
    """Buckets keep no versions here: what is there is called `null`."""
    version = request.parameter("versionId")
    if version is not None and version != "null":
        raise _no_such_version(version)


def _no_such_version(version: str) -> Refusal:
    return Refusal(404, "NoSuchVersion", "The specified version does not exist.", VersionId=version)
