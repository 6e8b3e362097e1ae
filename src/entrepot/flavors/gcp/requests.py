"""The requests of Cloud Storage's primitives: built from values, without token and I/O.

Objects are read through the XML API, whose heads tell all of an object; everything else goes through the JSON API.
Each function's reply is read by its namesake in `replies`.
Source: Cloud Storage, "JSON API reference: Objects", "XML API reference: GET Object".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from entrepot.errors import ConfigurationError
from entrepot.models import Buffer, WriteOptions
from entrepot.objects.client import metadata_name, user_metadata
from entrepot.services.checksums import crc32c_base64
from entrepot.services.endpoint import Endpoint, keeps_path
from entrepot.services.exchange import Call, HeaderList
from entrepot.services.metadata import header_value

DEFAULT_TYPE: Final = "application/octet-stream"
WRITE_ID: Final = "entrepot-write"
"""The user metadata that tells which conditional write made an object; no method of a store shows it."""

_JSON: Final = ("content-type", "application/json; charset=UTF-8")
_OBJECT_FIELDS: Final = "name,size,updated,generation,crc32c,md5Hash,contentType,metadata"
_ROW_FIELDS: Final = "name,size,updated,generation,crc32c,md5Hash"
_UNDISTURBED: Final = (("accept-encoding", "gzip"),)
"""So that objects kept as gzip come as they are kept. Source: Cloud Storage, "Transcoding of gzip-compressed files"."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a configuration adds to requests. project: for new buckets only, as location."""

    project: str | None = None
    user_project: str | None = None
    location: str | None = None
    storage_class: str | None = None
    kms_key_name: str | None = None
    predefined_acl: str | None = None


class Source(NamedTuple):
    """What a copy reads. generation: pins it."""

    bucket: str
    key: str
    generation: str | None = None


class Doomed(NamedTuple):
    """An object to be deleted. generation: it goes only while it is that one; None for whichever is there.

    for_good: that generation goes, whether or not it is the newest, and a bucket that keeps versions keeps none of it.
    Source: Cloud Storage, "JSON API reference: Objects: delete", Optional query parameters.
    """

    key: str
    generation: str | None = None
    for_good: bool = False


class Piece(NamedTuple):
    """One object that a composition is made of. crc32c: None where it is not known."""

    key: str
    generation: str
    size_bytes: int
    crc32c: int | None


class Requests:
    """The requests of one bucket. Keys are literal; generations are decimal text, `0` means no object."""

    def __init__(self, endpoint: Endpoint, bucket: str, settings: Settings) -> None:
        base, name = endpoint.base, keeps_path(bucket)
        self._bucket = name
        self._buckets = f"{base}/storage/v1/b"
        self._list = f"{self._buckets}/{name}/o"
        self._object = f"{self._list}/"
        self._upload = f"{base}/upload/storage/v1/b/{name}/o"
        self._media = f"{base}/{name}/"
        self._batch = f"{base}/batch/storage/v1"
        self._settings = settings
        self._head = "?" + _query({"fields": _OBJECT_FIELDS, "userProject": settings.user_project})
        self._get: HeaderList = _UNDISTURBED
        if settings.user_project is not None:
            self._get += (("x-goog-user-project", settings.user_project),)
        written = {"fields": _OBJECT_FIELDS, "kmsKeyName": settings.kms_key_name, "userProject": settings.user_project}
        self._temporary = "&" + _query(written)
        self._written = "&" + _query({**written, "predefinedAcl": settings.predefined_acl})

    # ---- one object -------------------------------------------------------------------------------

    def head(self, key: str, version: str | None = None) -> Call:
        target = self._object + _whole(key) + self._head
        return Call("GET", f"{target}&generation={_quoted(version)}" if version is not None else target)

    def get(self, key: str, span: str | None = None, generation: str | None = None, version: str | None = None) -> Call:
        """span: the value of `Range`. generation: what the object must be."""
        headers, target = self._get, self._media + keeps_path(key)
        if span is not None:
            headers += (("range", span),)
        if generation is not None:
            headers += (("x-goog-if-generation-match", generation),)
        return Call("GET", f"{target}?generation={_quoted(version)}" if version is not None else target, headers)

    def put(
        self, key: str, data: Buffer, options: WriteOptions, crc32c: int, generation: str | None, *, temporary: bool
    ) -> Call:
        """One request with description and bytes. temporary: a part of an object to be, for nobody else's eyes."""
        described = description(options, self._settings, temporary=temporary)
        described["name"], described["crc32c"] = key, crc32c_base64(crc32c)
        boundary = os.urandom(16).hex()
        before = (
            f"--{boundary}\r\n{_JSON[0]}: {_JSON[1]}\r\n\r\n{json.dumps(described)}\r\n"
            f"--{boundary}\r\ncontent-type: {described['contentType']}\r\n\r\n"
        )
        after = f"\r\n--{boundary}--\r\n"
        target = self._upload + "?uploadType=multipart" + (self._temporary if temporary else self._written)
        headers = (("content-type", f"multipart/related; boundary={boundary}"),)
        target = _if_generation(target, generation)
        return Call("POST", target, headers, data, before=before.encode(), after=after.encode())

    def delete(self, doomed: Doomed) -> Call:
        query = _query({**deletion(doomed), "userProject": self._settings.user_project})
        target = self._object + _whole(doomed.key)
        return Call("DELETE", f"{target}?{query}" if query else target)

    def rewrite(
        self, source: Source, key: str, described: Mapping[str, Any] | None, generation: str | None, token: str | None
    ) -> Call:
        """One step of a copy. described: None keeps what the source has; else it replaces all of it."""
        settings = self._settings
        query = {
            "destinationKmsKeyName": settings.kms_key_name,
            "destinationPredefinedAcl": settings.predefined_acl,
            "fields": f"done,totalBytesRewritten,rewriteToken,resource({_OBJECT_FIELDS})",
            "ifGenerationMatch": generation,
            "ifSourceGenerationMatch": source.generation,
            "rewriteToken": token,
            "userProject": settings.user_project,
        }
        target = (
            f"{self._buckets}/{keeps_path(source.bucket)}/o/{_whole(source.key)}/rewriteTo/b/{self._bucket}"
            f"/o/{_whole(key)}?{_query(query)}"
        )
        if described is None:
            return Call("POST", target)
        return _document("POST", target, described)

    def source_description(self, source: Source) -> Call:
        """All that a copy would keep of its source, for a copy that changes one thing of it; and its generation."""
        fields = (
            "generation,contentType,metadata,cacheControl,contentDisposition,contentEncoding,contentLanguage,customTime"
        )
        query = _query(
            {"fields": fields, "ifGenerationMatch": source.generation, "userProject": self._settings.user_project}
        )
        return Call("GET", f"{self._buckets}/{keeps_path(source.bucket)}/o/{_whole(source.key)}?{query}")

    def compose(
        self, key: str, pieces: Sequence[Piece], options: WriteOptions, generation: str | None, *, temporary: bool
    ) -> Call:
        """One object out of 1 to 32 others, each of exactly that generation."""
        settings = self._settings
        query = {
            "destinationPredefinedAcl": None if temporary else settings.predefined_acl,
            "fields": _OBJECT_FIELDS,
            "ifGenerationMatch": generation,
            "kmsKeyName": settings.kms_key_name,
            "userProject": settings.user_project,
        }
        sources = [
            {
                "name": piece.key,
                "generation": piece.generation,
                "objectPreconditions": {"ifGenerationMatch": piece.generation},
            }
            for piece in pieces
        ]
        wanted = {"sourceObjects": sources, "destination": description(options, settings, temporary=temporary)}
        return _document("POST", f"{self._object}{_whole(key)}/compose?{_query(query)}", wanted)

    # ---- a resumable session ----------------------------------------------------------------------

    def create_session(self, key: str, options: WriteOptions, generation: str | None) -> Call:
        described = {**description(options, self._settings), "name": key}
        call = _document(
            "POST", _if_generation(self._upload + "?uploadType=resumable" + self._written, generation), described
        )
        return call._replace(headers=(*call.headers, ("x-upload-content-type", described["contentType"])))

    @staticmethod
    def chunk(target: str, content_range: str, data: Buffer, options: WriteOptions, crc32c: int | None) -> Call:
        """Bytes for a session, or none to ask how it stands. crc32c: of the whole, with its last bytes."""
        headers: HeaderList = (
            ("content-range", content_range),
            ("content-type", options.content_type or DEFAULT_TYPE),
        )
        if crc32c is not None:
            headers += (("x-goog-hash", f"crc32c={crc32c_base64(crc32c)}"),)
        return Call("PUT", target, headers, data, accepts=frozenset({308}))

    @staticmethod
    def cancel(target: str) -> Call:
        # Source: Cloud Storage, "Perform resumable uploads", Cancel an upload: 499 is its success.
        return Call("DELETE", target, accepts=frozenset({404, 410, 499}))

    # ---- the bucket -------------------------------------------------------------------------------

    def list_page(self, prefix: str, *, delimiter: str, token: str | None, start: str, limit: int) -> Call:
        """start: the first name that is listed, where it is there."""
        query = {
            "delimiter": delimiter or None,
            "fields": f"items({_ROW_FIELDS}),prefixes,nextPageToken",
            "maxResults": str(limit),
            "pageToken": token,
            "prefix": prefix or None,
            "startOffset": start or None,
            "userProject": self._settings.user_project,
        }
        return Call("GET", f"{self._list}?{_query(query)}")

    def list_versions(self, key: str, token: str | None) -> Call:
        query = {
            "endOffset": f"{key} ",  # after the key itself, before any longer name that can be one
            "fields": f"items({_OBJECT_FIELDS}),nextPageToken",
            "pageToken": token,
            "prefix": key,
            "userProject": self._settings.user_project,
            "versions": "true",
        }
        return Call("GET", f"{self._list}?{_query(query)}")

    def delete_many(self, doomed: Sequence[Doomed]) -> Call:
        """Up to 100 deletes in one request. Source: Cloud Storage, "Send batch requests"."""
        boundary = os.urandom(16).hex()
        parts = [
            f"--{boundary}\r\ncontent-type: application/http\r\ncontent-id: <{number}>\r\n\r\n"
            f"DELETE {self.delete(one).target} HTTP/1.1\r\n\r\n\r\n"
            for number, one in enumerate(doomed)
        ]
        body = f"{''.join(parts)}--{boundary}--\r\n".encode()
        return Call("POST", self._batch, (("content-type", f"multipart/mixed; boundary={boundary}"),), body)

    def create_bucket(self, name: str, project: str) -> Call:
        settings = self._settings
        wanted = {"name": name, "location": settings.location, "storageClass": settings.storage_class}
        described = {key: value for key, value in wanted.items() if value is not None}
        return _document("POST", f"{self._buckets}?{_query({'project': project})}", described)


def deletion(doomed: Doomed) -> Mapping[str, str | None]:
    """Which object a delete means, as parameters of its query."""
    return {"generation" if doomed.for_good else "ifGenerationMatch": doomed.generation}


def description(options: WriteOptions, settings: Settings, *, temporary: bool = False) -> dict[str, Any]:
    """What is kept of an object beside its bytes. Raises: ConfigurationError for what cannot be kept."""
    kind = options.content_type or DEFAULT_TYPE
    if not kind.isascii() or not kind.isprintable():
        raise ConfigurationError("content_type is printable ASCII, such as text/csv")
    described: dict[str, Any] = {"contentType": kind}
    kept = metadata(options)
    if kept:
        described["metadata"] = kept
    # Temporaries live for minutes: the cold classes would charge them for months.
    wanted = "STANDARD" if temporary else settings.storage_class
    if wanted is not None:
        described["storageClass"] = wanted
    return described


def metadata(options: WriteOptions) -> Mapping[str, str]:
    """The user's metadata and `mtime` as they are kept: readable from heads too, which hold ASCII only.

    Raises: ConfigurationError for a name that cannot be a header's.
    """
    return {metadata_name(name): header_value(value) for name, value in user_metadata(options).items()}


def _whole(key: str) -> str:
    """A key as one segment of a path."""
    return quote(key, safe="-_.~", errors="surrogateescape")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _query(parameters: Mapping[str, str | None]) -> str:
    return "&".join(f"{name}={_quoted(value)}" for name, value in parameters.items() if value is not None)


def _if_generation(target: str, generation: str | None) -> str:
    return target if generation is None else f"{target}&ifGenerationMatch={generation}"


def _document(method: str, target: str, document: Mapping[str, Any]) -> Call:
    return Call(method, target, (_JSON,), json.dumps(document).encode())
