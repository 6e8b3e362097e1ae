"""The S3 primitives on aiobotocore: the oracle of `wire`, and the choice for what only the SDK knows.

Its retries are off, so that the policy of `S3Client` is the only one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from entrepot.auth.aws import CredentialSource, hide_sdk_debug_logs
from entrepot.errors import (
    BadResponse,
    ChecksumMismatch,
    ConfigurationError,
    ConnectionFailed,
    StoreError,
    TimedOut,
    TlsFailed,
    Unreachable,
)
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.faults import EXPIRED, fault
from entrepot.flavors.s3.requests import CopySource, Digests, metadata
from entrepot.models import (
    MIB,
    NO_OPTIONS,
    Buffer,
    ByteRange,
    DeleteFailure,
    ListPage,
    ObjectData,
    ObjectStat,
    Part,
    PresignMethod,
    Upload,
)
from entrepot.models import WriteOptions as Options
from entrepot.services.download import Download
from entrepot.services.faults import ErrorReply, RangeOutside, Unreadable
from entrepot.services.headers import bare_etag
from entrepot.services.loops import PerLoop

_FAILURES: Final = (BotoCoreError, aiohttp.ClientError, asyncio.TimeoutError, OSError)
_CHUNK_BYTES: Final = 1 * MIB


class S3SdkClient(S3Client):
    """One bucket through aiobotocore, one of its clients per event loop."""

    def __init__(
        self,
        bucket: str,
        *,
        config: S3Config,
        endpoint_url: str | None,
        ca_file: str | None,
        credentials: CredentialSource,
        region: Callable[[], Awaitable[str]],
        **rules: Any,
    ) -> None:
        super().__init__(bucket, **rules)
        self._endpoint_url, self._ca_file, self._style = endpoint_url, ca_file, config.addressing_style
        self._credentials, self._region, self._profile = credentials, region, config.profile
        self._clients = PerLoop(self._made)
        payer = {"RequestPayer": "requester"} if config.requester_pays else {}
        sealed: dict[str, Any] = {}
        if config.sse_customer_key is not None:
            raw = base64.b64decode(config.sse_customer_key.get_secret_value())
            sealed = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": raw}
        created = {
            "ServerSideEncryption": config.sse,
            "SSEKMSKeyId": config.sse_kms_key_id,
            "ACL": config.acl,
            "StorageClass": config.storage_class,
        }
        self._every = {"Bucket": bucket, **payer}
        self._bytes = {**self._every, **sealed}
        self._reading = {**self._bytes, **({"ChecksumMode": "ENABLED"} if rules["settings"].read else {})}
        self._write = {**self._bytes, **{name: value for name, value in created.items() if value is not None}}

    async def close(self) -> None:
        await self._clients.close()

    # ---- one call ---------------------------------------------------------------------------------

    async def _call(self, method: str, key: str, parameters: Mapping[str, Any], *, creates: bool = False) -> Any:
        """One attempt; credentials that have expired are replaced once."""
        for last in (False, True):
            credentials = await self._credentials.current()
            try:
                client = await self._clients.get()
                return await getattr(client, method)(**parameters)
            except ClientError as error:
                reply = _error_reply(error)
                expired = reply.code in EXPIRED or reply.status == 401
                if not last and expired and await self._credentials.refresh(credentials) != credentials:
                    continue
                if reply.status == 416 and method == "get_object":
                    raise RangeOutside from None
                raise fault(reply, operation=method, uri=self.uri(key), creates=creates) from error
            except StoreError:
                raise
            except _FAILURES as error:
                raise _failure(error, method, self.uri(key)) from error
        raise AssertionError("the loop returns or raises")

    async def _made(self, stack: AsyncExitStack) -> Any:
        signature = UNSIGNED if await self._credentials.current() is None else "s3v4"
        context = _Session(self._credentials, self._profile).create_client(
            "s3",
            region_name=await self._region(),
            endpoint_url=self._endpoint_url,
            verify=self._ca_file,
            config=AioConfig(
                retries={"total_max_attempts": 1},
                connect_timeout=10,
                read_timeout=30,
                max_pool_connections=1024,
                s3={"addressing_style": self._addressing()},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                signature_version=signature,
            ),
        )
        client = await stack.enter_async_context(context)
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
        return client

    def _addressing(self) -> str:
        if self._style == "auto" and self._endpoint_url is not None:
            return "path"
        return self._style

    # ---- objects ----------------------------------------------------------------------------------

    async def _head(self, key: str, version: str | None) -> Mapping[str, str]:
        asked = {"VersionId": version} if version is not None else {}
        return _headers(await self._call("head_object", key, {"Key": key, **asked, **self._reading}))

    async def _get(self, download: Download) -> ObjectData | None:
        etag = download.etag and f'"{download.etag}"'
        asked = {"Range": download.span, "IfMatch": etag, "VersionId": download.version}
        given = {name: value for name, value in asked.items() if value is not None}
        reply = await self._call("get_object", download.key, {"Key": download.key, **given, **self._reading})
        try:
            async with reply["Body"] as body:
                into = download.accept(reply["ResponseMetadata"]["HTTPStatusCode"], _headers(reply))
                if into is None:
                    return download.fill(await body.read())
                return await self._receive(download, body, into)
        except Unreadable as error:
            raise BadResponse(str(error), operation="get_object", uri=self.uri(download.key)) from error
        except StoreError:
            raise
        except _FAILURES as error:
            raise _failure(error, "get_object", self.uri(download.key)) from error

    @staticmethod
    async def _receive(download: Download, body: Any, into: memoryview) -> ObjectData | None:
        at = 0
        try:
            while piece := await body.read(_CHUNK_BYTES):
                into[at : at + len(piece)] = piece
                at += len(piece)
        except _FAILURES:
            if download.interrupted(at):
                return None
            raise
        return download.finish(at)

    async def _put(self, key: str, data: Buffer, options: Options, digests: Digests) -> Mapping[str, str]:
        given = {**_described(options), **_conditions(options), "ContentMD5": digests.content_md5}
        wanted = {"Key": key, "Body": bytes(data), **given, **self._write}
        return _headers(await self._call("put_object", key, wanted, creates=options.if_none_match))

    async def _delete(self, key: str, if_match: str | None = None) -> None:
        pinned = {"IfMatch": f'"{if_match}"'} if if_match is not None else {}
        await self._call("delete_object", key, {"Key": key, **pinned, **self._every})

    async def _delete_many(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[DeleteFailure]:
        rows = [{"Key": key, **({"ETag": f'"{etags[key]}"'} if key in etags else {})} for key in keys]
        wanted = {"Objects": rows, "Quiet": True}
        reply = await self._call("delete_objects", "", {"Delete": wanted, **self._every})
        rows = reply.get("Errors", ())
        failures = [DeleteFailure(row["Key"], row.get("Code", ""), row.get("Message", "")) for row in rows]
        return [one for one in failures if one.code != "NoSuchKey"]

    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage:
        asked = {"Prefix": prefix, "Delimiter": delimiter, "ContinuationToken": token}
        if token is None:
            asked["StartAfter"] = start_after
        given = {name: value for name, value in asked.items() if value}
        reply = await self._call("list_objects_v2", prefix, {"MaxKeys": limit, **given, **self._every})
        following = reply.get("NextContinuationToken") if reply.get("IsTruncated") else None
        if reply.get("IsTruncated") and (not following or following == token):
            raise BadResponse("a listing that does not go on", operation="list_objects_v2", uri=self.uri(prefix))
        objects = tuple(map(_listed, reply.get("Contents", ())))
        return ListPage(objects, tuple(row["Prefix"] for row in reply.get("CommonPrefixes", ())), following)

    async def _copy(self, source: CopySource, key: str, options: Options | None) -> tuple[str, datetime | None]:
        given = options or NO_OPTIONS
        described = {"MetadataDirective": "REPLACE" if given.describes else "COPY", **_described(given)}
        wanted = {"Key": key, **_source(source), **described, **_conditions(given), **self._write}
        reply = await self._call("copy_object", key, wanted, creates=given.if_none_match)
        result = reply.get("CopyObjectResult") or {}
        return bare_etag(result.get("ETag", "")), result.get("LastModified")

    # ---- uploads in parts -------------------------------------------------------------------------

    async def _create_upload(self, key: str, options: Options) -> str:
        reply = await self._call("create_multipart_upload", key, {"Key": key, **_described(options), **self._write})
        return str(reply["UploadId"])

    async def _put_part(self, upload: Upload, number: int, data: Buffer, digests: Digests) -> Mapping[str, str]:
        part = {"PartNumber": number, "Body": bytes(data), "ContentMD5": digests.content_md5}
        return _headers(await self._call("upload_part", upload.key, {**part, **_of(upload), **self._bytes}))

    async def _copy_part(self, upload: Upload, number: int, source: CopySource, byte_range: ByteRange) -> str:
        part = {"PartNumber": number, "CopySourceRange": byte_range.header, **_source(source)}
        reply = await self._call("upload_part_copy", upload.key, {**part, **_of(upload), **self._bytes})
        return bare_etag((reply.get("CopyPartResult") or {}).get("ETag", ""))

    async def _complete(self, upload: Upload, parts: Sequence[Part]) -> str:
        rows = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        given = {"MultipartUpload": {"Parts": rows}, **_conditions(upload.options)}
        wanted = {**given, **_of(upload), **self._bytes}
        creates = upload.options.if_none_match
        reply = await self._call("complete_multipart_upload", upload.key, wanted, creates=creates)
        return bare_etag(reply.get("ETag", ""))

    async def _abort(self, upload: Upload) -> None:
        await self._call("abort_multipart_upload", upload.key, {**_of(upload), **self._every})

    async def _list_parts(self, upload: Upload, marker: str | None) -> tuple[list[Part], str | None]:
        given = {"PartNumberMarker": int(marker)} if marker else {}
        reply = await self._call("list_parts", upload.key, {**given, **_of(upload), **self._bytes})
        parts = [Part(row["PartNumber"], row["Size"], bare_etag(row.get("ETag", ""))) for row in reply.get("Parts", ())]
        return parts, str(reply.get("NextPartNumberMarker", "")) if reply.get("IsTruncated") else None

    async def _list_uploads(
        self, prefix: str, marker: tuple[str, str] | None
    ) -> tuple[list[Upload], tuple[str, str] | None]:
        given = {"KeyMarker": marker[0], "UploadIdMarker": marker[1]} if marker else {}
        reply = await self._call("list_multipart_uploads", prefix, {"Prefix": prefix, **given, **self._every})
        uploads = [
            Upload(row["Key"], row["UploadId"], initiated=row["Initiated"].astimezone(UTC))
            for row in reply.get("Uploads", ())
        ]
        if not reply.get("IsTruncated"):
            return uploads, None
        return uploads, (reply.get("NextKeyMarker", ""), reply.get("NextUploadIdMarker", ""))

    async def _list_versions(
        self, key: str, marker: tuple[str, str] | None
    ) -> tuple[list[ObjectStat], tuple[str, str] | None]:
        given = {"KeyMarker": marker[0], "VersionIdMarker": marker[1]} if marker else {}
        reply = await self._call("list_object_versions", key, {"Prefix": key, **given, **self._every})
        found = [replace(_listed(row), version=row.get("VersionId")) for row in reply.get("Versions", ())]
        if not reply.get("IsTruncated"):
            return found, None
        return found, (reply.get("NextKeyMarker", ""), reply.get("NextVersionIdMarker", ""))

    async def _presigned(self, key: str, method: PresignMethod, expires_s: int) -> str:
        return str(
            await (await self._clients.get()).generate_presigned_url(
                f"{method.lower()}_object",
                Params={"Key": key, **self._every},
                ExpiresIn=expires_s,
                HttpMethod=method,
            )
        )

    async def _create_bucket(self) -> None:
        region = await self._region()
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        await self._call("create_bucket", "", {"Bucket": self.container, **where})


class _Session(AioSession):
    """A session that signs with our credentials, asked for at every request, so that replaced ones count at once."""

    def __init__(self, source: CredentialSource, profile: str | None) -> None:
        super().__init__(profile=profile)
        hide_sdk_debug_logs()
        self._ours = _Credentials(source)

    async def get_credentials(self) -> Any:  # type: ignore[override]  # as AioSession does
        return self._ours


class _Credentials(AioCredentials):
    def __init__(self, source: CredentialSource) -> None:
        super().__init__("", "", method="entrepot")
        self._source = source

    async def get_frozen_credentials(self) -> Any:  # type: ignore[override]  # as AioCredentials does
        credentials = await self._source.current()
        assert credentials is not None, "anonymous requests are not signed"
        return ReadOnlyCredentials(credentials.key, credentials.secret, credentials.token, None)


def _add_md5(request: Any, **_: object) -> None:
    """The SDK sends CRC32 with a batched delete; servers of an older form ask for Content-MD5."""
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def _headers(reply: Mapping[str, Any]) -> Mapping[str, str]:
    headers: Mapping[str, str] = reply["ResponseMetadata"]["HTTPHeaders"]
    return headers


def _listed(row: Mapping[str, Any]) -> ObjectStat:
    etag = bare_etag(row.get("ETag", "")) or None
    return ObjectStat(row["Key"], row["Size"], row["LastModified"].astimezone(UTC), etag)


def _described(options: Options) -> dict[str, Any]:
    kind = {"ContentType": options.content_type} if options.content_type is not None else {}
    return {**kind, "Metadata": dict(metadata(options))}


def _conditions(options: Options) -> dict[str, Any]:
    if options.if_none_match:
        return {"IfNoneMatch": "*"}
    return {"IfMatch": f'"{options.if_match}"'} if options.if_match is not None else {}


def _of(upload: Upload) -> dict[str, Any]:
    return {"Key": upload.key, "UploadId": upload.upload_id}


def _source(source: CopySource) -> dict[str, Any]:
    named: dict[str, Any] = {"CopySource": {"Bucket": source.bucket, "Key": source.key}}
    if source.etag is not None:
        named["CopySourceIfMatch"] = f'"{source.etag}"'
    sealed = dict(source.sealed)
    if sealed:
        prefix = "x-amz-copy-source-server-side-encryption-customer-"
        named["CopySourceSSECustomerAlgorithm"] = sealed[prefix + "algorithm"]
        named["CopySourceSSECustomerKey"] = base64.b64decode(sealed[prefix + "key"])
    return named


def _error_reply(error: ClientError) -> ErrorReply:
    told: Mapping[str, Any] = error.response
    detail, about = told.get("Error", {}), told.get("ResponseMetadata", {})
    code = str(detail.get("Code", ""))
    return ErrorReply(
        int(about.get("HTTPStatusCode", 0)),
        "" if code.isdecimal() else code,  # of a HEAD the SDK tells the status as a code
        str(detail.get("Message", "")),
        detail.get("Region"),
        str(detail.get("Condition", "")),
        about.get("HTTPHeaders", {}),
    )


def _failure(error: BaseException, operation: str, uri: str) -> StoreError:
    """The family's member for what broke below HTTP."""
    kind, text = _meaning(error)
    return kind(text, operation=operation, uri=uri)


def _meaning(error: BaseException) -> tuple[type[StoreError], str]:
    for errors, kind, text in _MEANINGS:
        if isinstance(error, errors):
            return kind, text
    return ConnectionFailed, f"the connection broke ({type(error).__name__})"


_MEANINGS: Final[tuple[tuple[tuple[type[BaseException], ...], type[StoreError], str], ...]] = (
    (
        (ParamValidationError, UnicodeError),
        ConfigurationError,
        "the SDK refuses this request's parameters; check bucket and options",
    ),
    (
        (FlexibleChecksumError,),
        ChecksumMismatch,
        "the bytes do not match the object's checksum; it is damaged, or the network is",
    ),
    (
        (EndpointConnectionError,),
        Unreachable,
        "the endpoint cannot be reached; is the server running? check endpoint_url",
    ),
    ((SSLError,), TlsFailed, "no trusted TLS connection; check endpoint_url, or name its authority with ca_bundle"),
    ((ConnectTimeoutError, ReadTimeoutError, asyncio.TimeoutError), TimedOut, "the endpoint did not answer in time"),
    ((ResponseParserError,), BadResponse, "a reply that the SDK cannot read"),
)
"""Errors of the SDK, the narrower ones first, and what each means."""
