"""Buckets, and what is listed of them. Source: Amazon S3 API Reference, "Actions"."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from entrepot.testing.strict import documents
from entrepot.testing.strict.exchange import Refusal, Reply, Request
from entrepot.testing.strict.state import Bucket, Object, State, in_order

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PAGE_MOST: Final = 1000
_OWNER: Final = documents.element("Owner", documents.leaf("ID", "0" * 64))


def create(state: State, request: Request) -> Reply:
    """CreateBucket: again is no error in the region that AWS began with, and one elsewhere."""
    if not _NAME.fullmatch(request.bucket) or ".." in request.bucket:
        raise Refusal(400, "InvalidBucketName", "The specified bucket is not valid.", BucketName=request.bucket)
    asked = None
    if request.body:
        asked = documents.parsed(request.body, "CreateBucketConfiguration").findtext("LocationConstraint")
    first = state.region == "us-east-1"
    if (asked or "us-east-1") != state.region or (first and asked is not None):
        message = "The specified location-constraint is not valid for the endpoint this request was sent to."
        code = "InvalidLocationConstraint" if first else "IllegalLocationConstraintException"
        raise Refusal(400, code, message)
    if request.bucket in state.buckets and not first:
        message = "Your previous request to create the named bucket succeeded and you already own it."
        raise Refusal(409, "BucketAlreadyOwnedByYou", message, BucketName=request.bucket)
    state.buckets.setdefault(request.bucket, Bucket(request.bucket, state.now()))
    return Reply(200, {"location": f"/{request.bucket}"})


def head(state: State, request: Request) -> Reply:
    """HeadBucket."""
    state.bucket(request.bucket)
    return Reply(200, {"x-amz-bucket-region": state.region})


def location(state: State, request: Request) -> Reply:
    """GetBucketLocation: the first region has no name."""
    state.bucket(request.bucket)
    return documents.document("LocationConstraint", "" if state.region == "us-east-1" else state.region)


def delete(state: State, request: Request) -> Reply:
    """DeleteBucket."""
    if state.bucket(request.bucket).objects:
        raise Refusal(409, "BucketNotEmpty", "The bucket you tried to delete is not empty", BucketName=request.bucket)
    del state.buckets[request.bucket]
    return Reply(204)


def list_all(state: State) -> Reply:
    """ListBuckets."""
    rows = (
        documents.leaves(Name=one.name, CreationDate=documents.iso(one.created_s))
        for one in sorted(state.buckets.values(), key=lambda one: one.name)
    )
    content = "".join(documents.element("Bucket", row) for row in rows)
    return documents.document("ListAllMyBucketsResult", _OWNER + documents.element("Buckets", content))


# ---- listings -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """What a listing is asked for. after: the name that the page begins behind."""

    prefix: str
    delimiter: str
    after: str
    most: int
    name: Callable[[str], str]


class _Row(NamedTuple):
    """A key, or a prefix that many keys were rolled up into."""

    name: str
    is_prefix: bool


def list_objects(state: State, request: Request) -> Reply:
    """ListObjectsV2 and its elder."""
    bucket = state.bucket(request.bucket)
    version = request.parameter("list-type")
    if version not in (None, "2"):
        raise Refusal(400, "InvalidArgument", "Invalid List Type specified in Query")
    return _second(bucket, request) if version else _first(bucket, request)


def _second(bucket: Bucket, request: Request) -> Reply:
    token, start = request.parameter("continuation-token"), request.parameter("start-after") or ""
    asked = _question(request, _after(token) if token is not None else start)
    page, more = _page(bucket, asked)
    told = documents.leaves(
        Name=bucket.name, Prefix=asked.name(asked.prefix), Delimiter=asked.name(asked.delimiter) or None,
        StartAfter=asked.name(start) or None, MaxKeys=asked.most, KeyCount=len(page), ContinuationToken=token,
        NextContinuationToken=_token(page[-1].name) if more else None, EncodingType=request.parameter("encoding-type"),
        IsTruncated="true" if more else "false",
    )  # fmt: skip
    owner = _OWNER if request.parameter("fetch-owner") == "true" else ""
    return documents.document("ListBucketResult", told + _rows(bucket, page, asked, "Contents", owner))


def _first(bucket: Bucket, request: Request) -> Reply:
    marker = request.parameter("marker") or ""
    asked = _question(request, marker)
    page, more = _page(bucket, asked)
    told = documents.leaves(
        Name=bucket.name, Prefix=asked.name(asked.prefix), Delimiter=asked.name(asked.delimiter) or None,
        Marker=asked.name(marker), MaxKeys=asked.most, EncodingType=request.parameter("encoding-type"),
        NextMarker=asked.name(page[-1].name) if more and asked.delimiter else None,
        IsTruncated="true" if more else "false",
    )  # fmt: skip
    return documents.document("ListBucketResult", told + _rows(bucket, page, asked, "Contents", _OWNER))


def list_versions(state: State, request: Request) -> Reply:
    """ListObjectVersions of a bucket that keeps none: each object is the only version of itself."""
    bucket = state.bucket(request.bucket)
    marker = request.parameter("key-marker") or ""
    asked = _question(request, marker)
    page, more = _page(bucket, asked)
    told = documents.leaves(
        Name=bucket.name, Prefix=asked.name(asked.prefix), KeyMarker=asked.name(marker), MaxKeys=asked.most,
        NextKeyMarker=asked.name(page[-1].name) if more else None, NextVersionIdMarker="null" if more else None,
        EncodingType=request.parameter("encoding-type"), IsTruncated="true" if more else "false",
    )  # fmt: skip
    version = documents.leaves(VersionId="null", IsLatest="true")
    return documents.document("ListVersionsResult", told + _rows(bucket, page, asked, "Version", version))


def _question(request: Request, after: str) -> _Question:
    encoding = request.parameter("encoding-type")
    if encoding not in (None, "url"):
        raise Refusal(400, "InvalidArgument", "Invalid Encoding Method specified in Request")
    return _Question(
        request.parameter("prefix") or "",
        request.parameter("delimiter") or "",
        after,
        min(request.number("max-keys", _PAGE_MOST, 0, 2**31 - 1), _PAGE_MOST),
        documents.url_name if encoding else str,
    )


def _page(bucket: Bucket, asked: _Question) -> tuple[list[_Row], bool]:
    """Keys and rolled-up prefixes in order, and whether there are more."""
    rows = _all_rows(bucket, asked)
    page = list(islice(rows, asked.most))
    return page, bool(page) and next(rows, None) is not None


def _all_rows(bucket: Bucket, asked: _Question) -> Iterator[_Row]:
    last = None
    after = in_order(asked.after)
    for key in sorted((key for key in bucket.objects if key.startswith(asked.prefix)), key=in_order):
        if in_order(key) <= after:
            continue
        head, found, _ = key[len(asked.prefix) :].partition(asked.delimiter) if asked.delimiter else ("", "", "")
        row = _Row(asked.prefix + head + found, is_prefix=True) if found else _Row(key, is_prefix=False)
        # A prefix that a page ended with is behind, with all the keys that it stands for.
        if row != last and not (row.is_prefix and row.name == asked.after):
            last = row
            yield row


def _rows(bucket: Bucket, page: list[_Row], asked: _Question, element: str, about: str = "") -> str:
    """Each object in an element of this name, with what is said about all of them."""
    return "".join(
        documents.element("CommonPrefixes", documents.leaf("Prefix", asked.name(row.name)))
        if row.is_prefix
        else documents.element(element, _about(row.name, bucket.objects[row.name], asked) + about)
        for row in page
    )


def _about(name: str, found: Object, asked: _Question) -> str:
    return documents.leaves(
        Key=asked.name(name), LastModified=documents.iso(found.modified_s), ETag=f'"{found.etag}"',
        Size=len(found.data), StorageClass=found.described.storage_class,
    )  # fmt: skip


def _token(name: str) -> str:
    """Opaque: only this service reads it."""
    return base64.b64encode(b"1/" + name.encode()).decode()


def _after(token: str) -> str:
    try:
        version, slash, name = base64.b64decode(token, validate=True).decode().partition("/")
    except (binascii.Error, ValueError):
        version = slash = name = ""
    if (version, slash) != ("1", "/"):
        message = "The continuation token provided is incorrect"
        raise Refusal(400, "InvalidArgument", message, ArgumentName="continuation-token")
    return name
