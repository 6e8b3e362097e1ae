"""What Cloud Storage's replies say: heads, JSON and batches into values. No I/O.

Source: Cloud Storage, "JSON API reference: Objects", "XML API reference: HTTP headers", "HTTP status and error codes".
"""

from __future__ import annotations

import json
import re
from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from entrepot.flavors.gcp.requests import WRITE_ID
from entrepot.models import ListPage, ObjectStat
from entrepot.services.faults import ErrorInside, ErrorReply, Unreadable
from entrepot.services.headers import http_time, iso_time
from entrepot.services.metadata import header_text
from entrepot.services.xml import error_told

_META: Final = "x-goog-meta-"
_ACKNOWLEDGED = re.compile(r"(?:bytes=)?0-(\d{1,19})", re.ASCII)
_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.ASCII | re.IGNORECASE)
_PART_NUMBER = re.compile(rb"^content-id:\s*<?(?:response-)?(\d{1,4})>?\s*$", re.MULTILINE | re.IGNORECASE)
_PART_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})\b[^\r\n]*\r?\n")


class Rewritten(NamedTuple):
    """One step of a copy. stat: of the copy, once it is done; else token and how far it came lead on."""

    stat: ObjectStat | None
    token: str | None
    rewritten_bytes: int


# ---- heads --------------------------------------------------------------------------------------------


def generation_of(headers: Mapping[str, str]) -> str | None:
    """By what reads and writes are pinned: the object's generation; None where a reply tells none."""
    return headers.get("x-goog-generation") or None


def stat_of(key: str, headers: Mapping[str, str], size_bytes: int) -> ObjectStat:
    """What the head of a read tells. Nothing in it has been compared with the bytes yet."""
    modified = headers.get("last-modified")
    generation = generation_of(headers)
    return ObjectStat(
        key,
        size_bytes,
        http_time(modified) if modified else None,
        generation,
        generation,
        headers.get("content-type"),
        {
            name[len(_META) :]: header_text(value)
            for name, value in headers.items()
            if name.startswith(_META) and name[len(_META) :] != WRITE_ID
        },
    )


def crc32c_of(headers: Mapping[str, str]) -> str | None:
    """The CRC32C of a reply's `x-goog-hash`, in hex: of the whole object, whatever was asked for."""
    for one in headers.get("x-goog-hash", "").split(","):
        name, _, value = one.strip().partition("=")
        if name == "crc32c":
            return _hex(value, 4)
    return None


def refuse_decoded(headers: Mapping[str, str]) -> None:
    """Raise Unreadable where an object kept as gzip comes decompressed: its size and checksums would not hold."""
    if headers.get("x-goog-stored-content-encoding") == "gzip" and headers.get("content-encoding") != "gzip":
        raise Unreadable("a decompressed body, where the object's own bytes were asked for")


def acknowledged(headers: Mapping[str, str]) -> int:
    """How many bytes of a session the service holds: a 308 without `Range` means none. Raises: Unreadable.

    Source: Cloud Storage, "Perform resumable uploads", Check the status of a resumable upload.
    """
    text = headers.get("range")
    if text is None:
        return 0
    found = _ACKNOWLEDGED.fullmatch(text)
    if found is None:
        raise Unreadable("a range of acknowledged bytes that does not begin at the first")
    return int(found[1]) + 1


def session_of(headers: Mapping[str, str]) -> str:
    """The address of a new resumable session."""
    location = headers.get("location")
    if not location:
        raise Unreadable("a new upload without an address")
    return location


# ---- JSON ---------------------------------------------------------------------------------------------


def document(body: bytes) -> dict[str, Any]:
    """The JSON object of a success. Raises: Unreadable for anything else; ErrorInside for an error."""
    found = _json(body)
    if "error" in found:
        raise ErrorInside(_json_error(200, {}, found))
    return found


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("a body that is not JSON" if body.strip() else "an empty body") from error
    if not isinstance(found, dict):
        raise Unreadable("JSON of another kind")
    return found


def parse_object(body: bytes, key: str) -> ObjectStat:
    """An object's description. metadata: all of it, the id of a conditional write too."""
    return described(document(body), key)


def described(row: Any, key: str) -> ObjectStat:
    """The description of that object, of a document. Raises: Unreadable."""
    stat = _stat(row)
    if stat.key != key:
        raise Unreadable("the description of another object")
    return stat


def _stat(row: Any) -> ObjectStat:
    try:
        key, generation, modified = row["name"], row["generation"], row.get("updated")
        if not isinstance(key, str) or not generation.isdecimal():
            raise Unreadable("an object's description whose name or generation is none")
        size, moment = int(row["size"]), iso_time(modified) if modified else None
        checksums, kind = _checksums(row), row.get("contentType")
        if "metadata" not in row:  # as in listings, where one more dictionary for each key would be felt
            return ObjectStat(key, size, moment, generation, generation, kind, checksums=checksums)
        return ObjectStat(key, size, moment, generation, generation, kind, metadata_of(row), checksums)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unreadable("an object's description without name, size or generation") from error


def metadata_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The user metadata of a description, as it was before it was written."""
    return {name.lower(): header_text(value) for name, value in (row.get("metadata") or {}).items()}


def _checksums(row: Mapping[str, Any]) -> dict[str, str]:
    # Composed objects have no MD5.
    found = {}
    if "crc32c" in row:
        found["crc32c"] = _hex(row["crc32c"], 4)
    if "md5Hash" in row:
        found["md5"] = _hex(row["md5Hash"], 16)
    return found


def _hex(text: str, size_bytes: int) -> str:
    try:
        found = a2b_base64(text, strict_mode=True)
    except NotBase64 as error:
        raise Unreadable("a checksum that is not base64") from error
    if len(found) != size_bytes:
        raise Unreadable("a checksum of another length")
    return found.hex()


def parse_list(body: bytes, *, prefix: str, delimiter: str, token: str | None, after: str) -> ListPage:
    """One page; after: a key that comes first where it is there, and is left out.

    Raises: Unreadable, too for keys that do not begin with the prefix, and for a page that leads back to itself.
    """
    return page_of(document(body), prefix=prefix, delimiter=delimiter, token=token, after=after)


def page_of(page: Mapping[str, Any], *, prefix: str, delimiter: str, token: str | None, after: str) -> ListPage:
    """As `parse_list`, of a document."""
    rows, directories = page.get("items", ()), page.get("prefixes", ())
    if not isinstance(rows, list | tuple) or not isinstance(directories, list | tuple):
        raise Unreadable("a listing of another kind")
    found = tuple(map(_stat, rows))
    if prefix and not all(one.key.startswith(prefix) for one in found):
        raise Unreadable("a listing with keys that were not asked for")
    for one in directories:
        if not isinstance(one, str) or not one.startswith(prefix) or not delimiter or not one.endswith(delimiter):
            raise Unreadable("a listing with prefixes that were not asked for")
    if after and found and found[0].key == after:
        found = found[1:]
    return ListPage(found, tuple(directories), _next(page, token))


def parse_versions(body: bytes, key: str, token: str | None) -> tuple[list[ObjectStat], str | None]:
    """One page of an object's generations, and the token of the next; None after the last."""
    page = document(body)
    rows = page.get("items", ())
    if not isinstance(rows, list | tuple):
        raise Unreadable("a listing of another kind")
    return [one for one in map(_stat, rows) if one.key == key], _next(page, token)


def _next(page: Mapping[str, Any], token: str | None) -> str | None:
    following = page.get("nextPageToken") or None
    if following is not None and (not isinstance(following, str) or following == token):
        raise Unreadable("a listing that does not go on")
    return following


def parse_rewrite(body: bytes, key: str) -> Rewritten:
    """One step of a copy. Raises: Unreadable, too for a step that is neither the last nor leads on."""
    told = document(body)
    if told.get("done") is True:
        return Rewritten(described(told.get("resource"), key), None, 0)
    token = told.get("rewriteToken")
    try:
        so_far = int(told.get("totalBytesRewritten", 0))
    except (TypeError, ValueError) as error:
        raise Unreadable("a copy that does not tell how far it came") from error
    if told.get("done") is not False or not isinstance(token, str) or not token:
        raise Unreadable("a copy that is neither done nor goes on")
    return Rewritten(None, token, so_far)


# ---- errors -------------------------------------------------------------------------------------------


def error_reply(status: int, headers: Mapping[str, str], body: bytes = b"") -> ErrorReply:
    """What a failed reply says, whatever its body is: JSON, XML, a proxy's page, nothing."""
    if body.lstrip()[:1] == b"{":
        try:
            return _json_error(status, headers, _json(body))
        except Unreadable:
            return ErrorReply(status, headers=headers)
    return error_told(body, status, headers) or ErrorReply(status, headers=headers)


def _json_error(status: int, headers: Mapping[str, str], told: Mapping[str, Any]) -> ErrorReply:
    error = told.get("error")
    if isinstance(error, str):  # of OAuth's own endpoints
        return ErrorReply(status, error[:100], str(told.get("error_description", ""))[:1000], headers=headers)
    if not isinstance(error, dict):
        return ErrorReply(status, headers=headers)
    details = error.get("errors")
    detail = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    reason = str(detail.get("reason") or "")[:100]
    return ErrorReply(status, reason, str(error.get("message") or "")[:1000], headers=headers)


# ---- batches ------------------------------------------------------------------------------------------


def parse_batch(body: bytes, content_type: str, count: int) -> dict[int, ErrorReply]:
    """What each part of a batch came to, by its number; a status below 300 is a success.

    Raises: Unreadable where this is no reply to a batch, or names a part that was not asked for.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/mixed") or found is None:
        raise Unreadable("a batch whose parts cannot be told apart")
    outcomes: dict[int, ErrorReply] = {}
    for part in body.split(b"--" + (found[1] or found[2]).encode())[1:]:
        if part.startswith(b"--"):
            break
        envelope, _, reply = part.lstrip(b"\r\n").replace(b"\r\n", b"\n").partition(b"\n\n")
        number, status = _PART_NUMBER.search(envelope), _PART_STATUS.match(reply)
        if number is None or status is None:
            raise Unreadable("a batch with a part that has no number or status")
        if int(number[1]) >= count or int(number[1]) in outcomes:
            raise Unreadable("a batch with parts that were not asked for")
        outcomes[int(number[1])] = error_reply(int(status[1]), {}, reply.partition(b"\n\n")[2])
    return outcomes
