"""The replies that a fault makes, and the ones it makes of a server's: error documents, ranges, tokens. No I/O."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from entrepot.testing.faults.operations import Service
from entrepot.testing.messages import Head, made_head, status_line

_USUAL: Final[dict[Service, dict[int, str]]] = {
    "s3": {
        400: "InvalidRequest", 401: "AccessDenied", 403: "AccessDenied", 404: "NoSuchKey", 408: "RequestTimeout",
        409: "OperationAborted", 412: "PreconditionFailed", 429: "TooManyRequests", 500: "InternalError",
        501: "NotImplemented", 503: "SlowDown",
    },
    "azure": {
        400: "InvalidInput", 401: "NoAuthenticationInformation", 403: "AuthenticationFailed", 404: "BlobNotFound",
        409: "BlobAlreadyExists", 412: "ConditionNotMet", 429: "TooManyRequests", 500: "InternalError",
        501: "NotImplemented", 503: "ServerBusy",
    },
    "gcs": {
        400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound", 408: "requestTimeout",
        409: "conflict", 412: "conditionNotMet", 429: "rateLimitExceeded", 500: "internalError", 501: "notImplemented",
        503: "backendError",
    },
}  # fmt: skip
_OTHERWISE: Final[dict[Service, str]] = {"s3": "InternalError", "azure": "InternalError", "gcs": "internalError"}
_SAYS: Final = "a fault that a test injected"

_ERRORS_IN_200: Final = 500
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def error_document(service: Service, status: int, error: str | None) -> tuple[list[tuple[str, str]], bytes]:
    """The fields and the body by which a service tells an error. error: its code, None for the status's usual one.

    A status of 200 has the code of a 500.
    """
    told = _ERRORS_IN_200 if status < 300 else status
    code = error or _USUAL[service].get(told, _OTHERWISE[service])
    if service == "gcs":
        document = {"error": {"code": told, "message": _SAYS, "errors": [{"reason": code, "message": _SAYS}]}}
        return [("Content-Type", "application/json; charset=UTF-8")], json.dumps(document).encode()
    text = f"<Error><Code>{escape(code)}</Code><Message>{_SAYS}</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    named = [("x-ms-error-code", code)] if service == "azure" and status >= 300 else []
    return [("Content-Type", "application/xml"), *named], body


def made_reply(status: int, fields: list[tuple[str, str]], body: bytes, *, closes: bool = False) -> tuple[Head, bytes]:
    """A whole reply of one's own. closes: it is the connection's last."""
    ends = [("Connection", "close")] if closes else []
    return made_head(status_line(status), [*fields, ("Content-Length", str(len(body))), *ends]), body


def range_told(head: Head) -> tuple[int, int, int] | None:
    """First and last byte, and the object's size, by a reply's `Content-Range`."""
    found = _RANGE.fullmatch(head.get("content-range"))
    return (int(found[1]), int(found[2]), int(found[3])) if found is not None else None


# ---- listings that lead back to themselves ------------------------------------------------------------

# What a page is asked for with, and the element that tells what to ask for next.
_S3_TOKENS: Final = (
    ("continuation-token", "NextContinuationToken"),
    ("marker", "NextMarker"),
    ("part-number-marker", "NextPartNumberMarker"),
    ("key-marker", "NextKeyMarker"),
    ("upload-id-marker", "NextUploadIdMarker"),
    ("version-id-marker", "NextVersionIdMarker"),
)


def repeated_page(service: Service, query: str, body: bytes) -> bytes | None:
    """The page with the token it was asked for with as the next one; None where it is a first page, or no page."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    if service == "gcs":
        token = given.get("pageToken")
        return _repeated_json(token, body) if token else None
    if service == "azure":
        token = given.get("marker")
        return _with_element(body, "NextMarker", token, b"</EnumerationResults>") if token else None
    end = re.search(rb"</(?:\w+:)?\w+>\s*\Z", body)
    tokens = [(element, given[name]) for name, element in _S3_TOKENS if given.get(name)]
    if end is None or not tokens:
        return None
    changed = _with_element(body, "IsTruncated", "true", end[0])
    for element, token in tokens:
        changed = _with_element(changed, element, token, end[0])
    return changed


def _repeated_json(token: str, body: bytes) -> bytes | None:
    try:
        page = json.loads(body)
    except ValueError:
        return None
    return json.dumps({**page, "nextPageToken": token}).encode() if isinstance(page, dict) else None


def _with_element(body: bytes, name: str, text: str, end: bytes) -> bytes:
    """The document with that text in that element, which is put before its end where there is none."""
    element = f"<{name}>{escape(text)}</{name}>".encode()
    pattern = rb"<%(name)s\s*/>|<%(name)s>[^<]*</%(name)s>" % {b"name": name.encode()}
    changed, found = re.subn(pattern, lambda _: element, body, count=1)
    if found:
        return changed
    head, _, tail = body.rpartition(end)
    return head + element + end + tail
