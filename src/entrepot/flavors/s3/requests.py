"""The requests of S3's primitives: built from values, unsigned, without I/O.

Each function's reply is read by its namesake in `replies`. Source: Amazon S3 API Reference, "Actions".
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape

from entrepot.flavors.s3.endpoint import Address
from entrepot.models import NO_OPTIONS, Buffer, ByteRange, Part, Upload, WriteOptions
from entrepot.objects.client import metadata_name, user_metadata
from entrepot.services.endpoint import keeps_path
from entrepot.services.exchange import Call, HeaderList
from entrepot.services.headers import quoted_etag
from entrepot.services.metadata import header_value

_CUSTOMER = "server-side-encryption-customer-"
# What no XML document can hold, escaped or not (XML 1.0, 2.2 "Characters").
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Digests(NamedTuple):
    """md5: hex of a body. payload: what the signature says of the body (SHA-256 in hex, or UNSIGNED-PAYLOAD)."""

    md5: str
    payload: str

    @property
    def content_md5(self) -> str:
        """As the header wants it."""
        return base64.b64encode(bytes.fromhex(self.md5)).decode()


@dataclass(frozen=True, slots=True)
class Settings:
    """Headers that a configuration adds, by what they are added to."""

    every: HeaderList = ()
    """Requests of every kind: who pays."""
    sealed: HeaderList = ()
    """Requests that read or write an object's bytes: the caller's key (SSE-C)."""
    read: HeaderList = ()
    """Requests that read an object, or its head: that its checksum is told."""
    sealed_source: HeaderList = ()
    """Copies from objects of this configuration: the same key, as the source's."""
    created: HeaderList = ()
    """Requests that make an object: encryption, ACL, storage class."""

    @classmethod
    def of(
        cls,
        *,
        sse: str | None = None,
        sse_kms_key_id: str | None = None,
        customer_key: str | None = None,
        acl: str | None = None,
        storage_class: str | None = None,
        requester_pays: bool = False,
        tells_checksums: bool = False,
    ) -> Settings:
        """customer_key: base64 of 32 bytes. Source: Amazon S3 User Guide, "Server-side encryption with SSE-C".

        tells_checksums: ask for the checksum that an object was written with; API Reference, "GetObject".
        """
        sealed: HeaderList = ()
        if customer_key is not None:
            digest = hashlib.md5(base64.b64decode(customer_key), usedforsecurity=False).digest()
            sealed = (("algorithm", "AES256"), ("key", customer_key), ("key-md5", base64.b64encode(digest).decode()))
        created = {
            "x-amz-server-side-encryption": sse,
            "x-amz-server-side-encryption-aws-kms-key-id": sse_kms_key_id,
            "x-amz-acl": acl,
            "x-amz-storage-class": storage_class,
        }
        return cls(
            (("x-amz-request-payer", "requester"),) if requester_pays else (),
            tuple((f"x-amz-{_CUSTOMER}{name}", value) for name, value in sealed),
            (("x-amz-checksum-mode", "ENABLED"),) if tells_checksums else (),
            tuple((f"x-amz-copy-source-{_CUSTOMER}{name}", value) for name, value in sealed),
            tuple((name, value) for name, value in created.items() if value is not None),
        )


class Requests:
    """The requests of one bucket. Keys are literal; an etag is bare."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self._address = address
        self._every = settings.every
        self._bytes = settings.every + settings.sealed
        self._read = self._bytes + settings.read
        self._write = settings.every + settings.sealed + settings.created

    # ---- one object -------------------------------------------------------------------------------

    def head(self, key: str, version: str | None = None) -> Call:
        return Call("HEAD", self._versioned(key, version), self._read)

    def get(self, key: str, span: str | None = None, if_match: str | None = None, version: str | None = None) -> Call:
        """span: the value of `Range`."""
        headers = self._read
        if span is not None:
            headers += (("range", span),)
        if if_match is not None:
            headers += (("if-match", quoted_etag(if_match)),)
        return Call("GET", self._versioned(key, version), headers)

    def _versioned(self, key: str, version: str | None) -> str:
        target = self._address.target(key)
        return f"{target}?versionId={_quoted(version)}" if version is not None else target

    def put(self, key: str, data: Buffer, options: WriteOptions, digests: Digests) -> Call:
        headers = (*self._write, ("content-md5", digests.content_md5), *described(options), *conditions(options))
        return Call("PUT", self._address.target(key), headers, data, digests.payload)

    def delete(self, key: str, if_match: str | None = None) -> Call:
        pinned: HeaderList = (("if-match", quoted_etag(if_match)),) if if_match is not None else ()
        return Call("DELETE", self._address.target(key), (*self._every, *pinned))

    def copy(self, source: CopySource, key: str, options: WriteOptions | None) -> Call:
        """The source's metadata and type are kept unless the options have others."""
        given = options or NO_OPTIONS
        directive = ("x-amz-metadata-directive", "REPLACE" if given.describes else "COPY")
        headers = (*self._write, *source.headers(), directive, *described(given), *conditions(given))
        return Call("PUT", self._address.target(key), headers)

    # ---- the bucket -------------------------------------------------------------------------------

    def list_page(self, prefix: str, *, delimiter: str, token: str | None, start_after: str, limit: int) -> Call:
        query = {
            "continuation-token": token,
            "delimiter": delimiter or None,
            "encoding-type": "url",
            "list-type": "2",
            "max-keys": str(limit),
            "prefix": prefix or None,
            "start-after": start_after if start_after and token is None else None,
        }
        return Call("GET", self._address.bucket_target + _query(query), self._every)

    def delete_many(self, keys: Sequence[str], etags: Mapping[str, str]) -> Call:
        """etags: by key, of those that go only while they have it."""
        pinned = {key: f"<ETag>{_xml(quoted_etag(etag))}</ETag>" for key, etag in etags.items()}
        rows = "".join(f"<Object><Key>{_xml(key)}</Key>{pinned.get(key, '')}</Object>" for key in keys)
        body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{rows}</Delete>'
        return self._document("POST", self._address.bucket_target + "?delete=", body)

    def create_bucket(self, location: str | None) -> Call:
        """location: the region to make it in, where it is not the endpoint's own."""
        if location is None:
            return Call("PUT", self._address.bucket_target)
        body = (
            '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<LocationConstraint>{_xml(location)}</LocationConstraint></CreateBucketConfiguration>"
        )
        return self._document("PUT", self._address.bucket_target, body)

    # ---- uploads in parts -------------------------------------------------------------------------

    def create_upload(self, key: str, options: WriteOptions) -> Call:
        return Call("POST", f"{self._address.target(key)}?uploads=", (*self._write, *described(options)))

    def put_part(self, upload: Upload, number: int, data: Buffer, digests: Digests) -> Call:
        headers = (*self._bytes, ("content-md5", digests.content_md5))
        return Call("PUT", self._part(upload, number), headers, data, digests.payload)

    def copy_part(self, upload: Upload, number: int, source: CopySource, byte_range: ByteRange) -> Call:
        headers = (*self._bytes, *source.headers(), ("x-amz-copy-source-range", byte_range.header))
        return Call("PUT", self._part(upload, number), headers)

    def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> Call:
        rows = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{_xml(quoted_etag(part.etag))}</ETag></Part>"
            for part in parts
        )
        body = (
            f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rows}</CompleteMultipartUpload>'
        )
        headers = (*self._bytes, *conditions(upload.options))
        return _with_body("POST", self._upload(upload), body, headers)

    def abort_upload(self, upload: Upload) -> Call:
        return Call("DELETE", self._upload(upload), self._every)

    def list_parts(self, upload: Upload, marker: str | None = None) -> Call:
        query = {"part-number-marker": marker, "uploadId": upload.upload_id}
        return Call("GET", self._address.target(upload.key) + _query(query), self._bytes)

    def list_uploads(self, prefix: str, marker: tuple[str, str] | None = None) -> Call:
        """marker: key and upload id that the last page ended with."""
        key, upload_id = marker or (None, None)
        query = {
            "encoding-type": "url",
            "key-marker": key,
            "prefix": prefix or None,
            "upload-id-marker": upload_id or None,
            "uploads": "",
        }
        return Call("GET", self._address.bucket_target + _query(query), self._every)

    def list_versions(self, key: str, marker: tuple[str, str] | None = None) -> Call:
        """marker: key and version that the last page ended with."""
        after, version = marker or (None, None)
        query = {
            "encoding-type": "url",
            "key-marker": after,
            "prefix": key,
            "version-id-marker": version or None,
            "versions": "",
        }
        return Call("GET", self._address.bucket_target + _query(query), self._every)

    def presigned(self, key: str) -> str:
        """The target to sign: a header cannot be asked of whoever has the URL, so what a request carries is in it."""
        return self._address.target(key) + (_query(dict(self._every)) if self._every else "")

    def _part(self, upload: Upload, number: int) -> str:
        return f"{self._address.target(upload.key)}?partNumber={number}&uploadId={_quoted(upload.upload_id)}"

    def _upload(self, upload: Upload) -> str:
        return f"{self._address.target(upload.key)}?uploadId={_quoted(upload.upload_id)}"

    def _document(self, method: str, target: str, body: str) -> Call:
        data = body.encode()
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        return _with_body(method, target, body, (*self._every, ("content-md5", digest)))


@dataclass(frozen=True, slots=True)
class CopySource:
    """What a server-side copy reads. etag: pins it. sealed: the headers of its own key (SSE-C)."""

    bucket: str
    key: str
    etag: str | None = None
    sealed: HeaderList = ()

    @property
    def text(self) -> str:
        """As `x-amz-copy-source` wants it."""
        return f"/{self.bucket}/{keeps_path(self.key)}"

    def headers(self) -> HeaderList:
        """Source, its key, and the condition on its etag."""
        named: HeaderList = (("x-amz-copy-source", self.text), *self.sealed)
        return named if self.etag is None else (*named, ("x-amz-copy-source-if-match", quoted_etag(self.etag)))


def described(options: WriteOptions) -> HeaderList:
    """Content type and metadata."""
    kind: HeaderList = (("content-type", options.content_type),) if options.content_type is not None else ()
    return kind + tuple((f"x-amz-meta-{name}", value) for name, value in metadata(options).items())


def metadata(options: WriteOptions) -> Mapping[str, str]:
    """The user's metadata and `mtime` as they are sent.

    S3 keeps US-ASCII only; a value with anything else, or that would not come back as it is, becomes an encoded word
    of RFC 2047, the form in which AWS itself returns such values; reading decodes it. Raises: ConfigurationError for a
    name that cannot be a header's.
    """
    return {metadata_name(name): header_value(value) for name, value in user_metadata(options).items()}


def conditions(options: WriteOptions) -> HeaderList:
    """What must hold for a write."""
    if options.if_none_match:
        return (("if-none-match", "*"),)
    return (("if-match", quoted_etag(options.if_match)),) if options.if_match is not None else ()


def fits_xml(key: str) -> bool:
    """Whether a batched delete can name this key."""
    return _NOT_XML.search(key) is None


def _with_body(method: str, target: str, body: str, headers: HeaderList) -> Call:
    data = body.encode()
    return Call(method, target, (*headers, ("content-type", "application/xml")), data, hashlib.sha256(data).hexdigest())


def _xml(text: str) -> str:
    # A parser turns a bare carriage return into a line feed, so both are written as references.
    return escape(text, {"\r": "&#13;", "\n": "&#10;", '"': "&quot;"})


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _query(parameters: Mapping[str, str | None]) -> str:
    # Every parameter has its `=`, as the canonical form that is signed.
    given = [f"{name}={_quoted(value)}" for name, value in parameters.items() if value is not None]
    return "?" + "&".join(given)
