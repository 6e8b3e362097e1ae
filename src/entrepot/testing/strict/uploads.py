"""Uploads in parts: made, filled, listed, completed, dropped.

Source: Amazon S3 API Reference, "CreateMultipartUpload" and its namesakes; User Guide, "Multipart upload limits",
"Checking object integrity for multipart uploads".
"""

from __future__ import annotations

import base64
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Final

from entrepot.testing.strict import documents
from entrepot.testing.strict.checksums import DIGESTS, Checksum, algorithm_named, checksum_given, kind_of, match_bytes
from entrepot.testing.strict.conditions import check_source, check_write, copied_span
from entrepot.testing.strict.exchange import Refusal, Reply, Request
from entrepot.testing.strict.objects import checksum_leaf, described_by, source_of
from entrepot.testing.strict.state import Object, Part, State, Upload, in_order, md5

_PARTS_MOST: Final = 10_000
_PAGE_MOST: Final = 1000


def create(state: State, request: Request) -> Reply:
    """CreateMultipartUpload."""
    bucket = state.bucket(request.bucket)
    asked = request.header("x-amz-checksum-algorithm")
    algorithm = algorithm_named(asked) if asked is not None else None
    kind = request.header("x-amz-checksum-type")
    if algorithm is None and kind is not None:
        raise Refusal(400, "InvalidRequest", "x-amz-checksum-type needs x-amz-checksum-algorithm")
    upload = Upload(request.key, secrets.token_urlsafe(24), state.now(), described_by(request), algorithm)
    if algorithm is not None:
        upload.kind = kind_of(algorithm, kind)
    bucket.uploads[upload.upload_id] = upload
    told = documents.leaves(Bucket=bucket.name, Key=upload.key, UploadId=upload.upload_id)
    named = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": upload.kind} if algorithm else {}
    return documents.document("InitiateMultipartUploadResult", told, headers=named)


def put_part(state: State, request: Request, checksum: Checksum | None) -> Reply:
    """UploadPart: the last write of a number wins."""
    number, upload = _part_number(request), _upload(state, request)
    if request.header("content-length") is None:
        raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    part = Part(request.body, md5(request.body), state.now(), _part_checksum(upload, request.body, checksum))
    upload.parts[number] = part
    headers = {"etag": f'"{part.etag}"'}
    if part.checksum is not None:
        headers[f"x-amz-checksum-{part.checksum.algorithm}"] = part.checksum.value
    return Reply(200, headers)


def copy_part(state: State, request: Request) -> Reply:
    """UploadPartCopy."""
    number, upload = _part_number(request), _upload(state, request)
    _, _, source = source_of(state, request)
    check_source(request, source)
    start, stop = copied_span(request.header("x-amz-copy-source-range"), len(source.data))
    data = source.data[start:stop]
    part = Part(data, md5(data), state.now(), _part_checksum(upload, data, None))
    upload.parts[number] = part
    told = documents.leaves(ETag=f'"{part.etag}"', LastModified=documents.iso(part.modified_s))
    if part.checksum is not None:
        told += documents.leaf(part.checksum.element, part.checksum.value)
    return documents.document("CopyPartResult", told)


def abort(state: State, request: Request) -> Reply:
    """AbortMultipartUpload."""
    upload = _upload(state, request)
    del state.bucket(request.bucket).uploads[upload.upload_id]
    return Reply(204)


# ---- completion ---------------------------------------------------------------------------------------


def complete(state: State, request: Request) -> Reply:
    """CompleteMultipartUpload: every part named must be the one that is held, in order, and large enough."""
    bucket, upload = state.bucket(request.bucket), _upload(state, request)
    parts = _parts_named(state, request, upload)
    data = b"".join(part.data for part in parts)
    told_size = request.header("x-amz-mp-object-size")
    if told_size is not None and told_size != str(len(data)):
        message = f"The provided 'x-amz-mp-object-size' header value {told_size} does not match what was computed"
        raise Refusal(400, "InvalidRequest", message)
    checksum = _whole_checksum(request, upload, parts, data)
    check_write(request, upload.key, bucket.objects.get(upload.key))
    etag = f"{md5(b''.join(bytes.fromhex(part.etag) for part in parts))}-{len(parts)}"
    bucket.objects[upload.key] = Object(data, etag, state.now(), upload.described, checksum)
    del bucket.uploads[upload.upload_id]
    place = documents.source_path(f"/{bucket.name}/{upload.key}")
    told = documents.leaves(Location=place, Bucket=bucket.name, Key=upload.key, ETag=f'"{etag}"')
    return documents.document("CompleteMultipartUploadResult", told + checksum_leaf(checksum))


def _parts_named(state: State, request: Request, upload: Upload) -> list[Part]:
    rows = documents.parsed(request.body, "CompleteMultipartUpload").findall("Part")
    if not rows:
        raise documents.malformed()
    numbers = [_number_in(row) for row in rows]
    if sorted(set(numbers)) != numbers:
        message = "The list of parts was not in ascending order. Parts must be ordered by part number."
        raise Refusal(400, "InvalidPartOrder", message)
    parts = [_held(upload, number, row) for number, row in zip(numbers, rows, strict=True)]
    for number, part in zip(numbers[:-1], parts[:-1], strict=True):
        if len(part.data) < state.part_least_bytes:
            raise Refusal(
                400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
                ProposedSize=str(len(part.data)), MinSizeAllowed=str(state.part_least_bytes), PartNumber=str(number),
            )  # fmt: skip
    return parts


def _number_in(row: ET.Element) -> int:
    text = row.findtext("PartNumber") or ""
    if not text.isdecimal() or row.findtext("ETag") is None:
        raise documents.malformed()
    return int(text)


def _held(upload: Upload, number: int, row: ET.Element) -> Part:
    part, etag = upload.parts.get(number), (row.findtext("ETag") or "").strip('"')
    message = (
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag."
    )
    missing = Refusal(400, "InvalidPart", message, PartNumber=str(number), ETag=etag)
    if part is None or part.etag != etag:
        raise missing
    named = part.checksum and row.findtext(part.checksum.element)
    if part.checksum is not None and named is not None and named != part.checksum.value:
        raise missing
    if part.checksum is not None and named is None and upload.kind == "COMPOSITE":
        message = (
            f"The upload was created using a {part.checksum.algorithm} checksum. The complete request must include "
        )
        raise Refusal(400, "InvalidRequest", message + f"the checksum for each part. It was missing for part {number}.")
    return part


def _whole_checksum(request: Request, upload: Upload, parts: Sequence[Part], data: bytes) -> Checksum | None:
    given = checksum_given(request)
    asked = request.header("x-amz-checksum-type")
    if upload.algorithm is None:
        return None
    if (given is not None and given.algorithm != upload.algorithm) or asked not in (None, upload.kind):
        message = f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm}, {upload.kind}"
        raise Refusal(400, "InvalidRequest", message)
    if upload.kind == "FULL_OBJECT":
        if given is not None:
            match_bytes(given, data)
        return Checksum.of(upload.algorithm, data)
    raw = b"".join(base64.b64decode(part.checksum.value) for part in parts if part.checksum is not None)
    joined = base64.b64encode(DIGESTS[upload.algorithm](raw)).decode()
    if given is not None and given.value.partition("-")[0] != joined:
        message = f"The {upload.algorithm.upper()} you specified did not match the calculated checksum."
        raise Refusal(400, "BadDigest", message)
    return Checksum(upload.algorithm, f"{joined}-{len(parts)}", "COMPOSITE")


# ---- what is held -------------------------------------------------------------------------------------


def list_parts(state: State, request: Request) -> Reply:
    """ListParts, in pages."""
    upload = _upload(state, request)
    most = request.number("max-parts", _PAGE_MOST, 0, 2**31 - 1)
    after = request.number("part-number-marker", 0, 0, 2**31 - 1)
    numbers = sorted(number for number in upload.parts if number > after)
    page = numbers[: min(most, _PAGE_MOST)]
    more = len(page) < len(numbers) and bool(page)
    told = documents.leaves(
        Bucket=request.bucket, Key=upload.key, UploadId=upload.upload_id, PartNumberMarker=after,
        NextPartNumberMarker=page[-1] if page else None, MaxParts=most, IsTruncated="true" if more else "false",
        StorageClass=upload.described.storage_class,
    )  # fmt: skip
    return documents.document("ListPartsResult", told + "".join(_row(n, upload.parts[n]) for n in page))


def _row(number: int, part: Part) -> str:
    told = documents.leaves(
        PartNumber=number, LastModified=documents.iso(part.modified_s), ETag=f'"{part.etag}"', Size=len(part.data)
    )
    if part.checksum is not None:
        told += documents.leaf(part.checksum.element, part.checksum.value)
    return documents.element("Part", told)


def list_uploads(state: State, request: Request) -> Reply:
    """ListMultipartUploads, in pages, by key and then by age."""
    if request.asks("delimiter"):
        raise Refusal(501, "NotImplemented", "A delimiter is not implemented for uploads.")
    bucket = state.bucket(request.bucket)
    prefix, key_marker = request.parameter("prefix") or "", request.parameter("key-marker") or ""
    id_marker = request.parameter("upload-id-marker") or ""
    most = min(request.number("max-uploads", _PAGE_MOST, 1, 2**31 - 1), _PAGE_MOST)
    name = documents.url_name if request.parameter("encoding-type") == "url" else str
    found = [one for one in bucket.uploads.values() if one.key.startswith(prefix)]
    found.sort(key=lambda one: (in_order(one.key), one.initiated_s, one.upload_id))
    found = _behind(found, key_marker, id_marker)
    page = found[:most]
    more = len(page) < len(found)
    told = documents.leaves(
        Bucket=bucket.name, KeyMarker=name(key_marker), UploadIdMarker=id_marker, Prefix=name(prefix), MaxUploads=most,
        NextKeyMarker=name(page[-1].key) if more else None, NextUploadIdMarker=page[-1].upload_id if more else None,
        EncodingType=request.parameter("encoding-type"), IsTruncated="true" if more else "false",
    )  # fmt: skip
    rows = (
        documents.leaves(Key=name(one.key), UploadId=one.upload_id, Initiated=documents.iso(one.initiated_s))
        for one in page
    )
    content = told + "".join(documents.element("Upload", row) for row in rows)
    return documents.document("ListMultipartUploadsResult", content)


def _behind(found: list[Upload], key: str, upload_id: str) -> list[Upload]:
    """Those after the markers. An upload's id counts only beside its key, and only while it is there."""
    if not key:
        return found
    at = next((n for n, one in enumerate(found) if (one.key, one.upload_id) == (key, upload_id)), None)
    if at is not None:
        return found[at + 1 :]
    return [one for one in found if in_order(one.key) > in_order(key)]


def _upload(state: State, request: Request) -> Upload:
    return state.bucket(request.bucket).upload(request.key, request.parameter("uploadId"))


def _part_number(request: Request) -> int:
    if request.parameter("partNumber") is None:
        raise Refusal(400, "InvalidArgument", "This operation does not accept a request without partNumber.")
    return request.number("partNumber", 0, 1, _PARTS_MOST)


def _part_checksum(upload: Upload, data: bytes, given: Checksum | None) -> Checksum | None:
    """What is kept of a part's checksum: of the upload's algorithm. Raises: Refusal where another was sent."""
    if given is not None and upload.algorithm is not None and given.algorithm != upload.algorithm:
        expected, actual = upload.algorithm, given.algorithm
        message = f"Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {actual}"
        raise Refusal(400, "InvalidRequest", message)
    if upload.algorithm is None:
        return None
    return given or Checksum.of(upload.algorithm, data)
