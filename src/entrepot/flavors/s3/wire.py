"""The S3 primitives as lean signed requests over the shared transport: the default."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

from entrepot.auth.aws import AwsCredentials, CredentialSource
from entrepot.auth.sigv4 import EMPTY_SHA256, Signer
from entrepot.errors import StoreError
from entrepot.flavors.s3 import replies
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.endpoint import Address
from entrepot.flavors.s3.faults import EXPIRED, SKEWED, fault
from entrepot.flavors.s3.requests import CopySource, Digests, Requests
from entrepot.http.transport import Request, Response, Transport
from entrepot.models import (
    Buffer,
    ByteRange,
    DeleteFailure,
    ListPage,
    ObjectData,
    ObjectStat,
    Part,
    PresignMethod,
    Upload,
    WriteOptions,
)
from entrepot.services.download import Download
from entrepot.services.exchange import (
    Call,
    Exchange,
    Take,
    take_document,
    take_headers,
    take_nothing,
    take_size,
    take_written,
)
from entrepot.services.faults import ErrorInside, ErrorReply
from entrepot.services.headers import http_time
from entrepot.services.xml import XML_MAX_BYTES

T = TypeVar("T")
_Made: TypeAlias = "tuple[Address, AwsCredentials | None]"
"""Where a request went, and by whose credentials."""

_REDIRECTS: Final = frozenset({301, 302, 307, 308, 400, 403})
"""With these a service names the bucket's region; HEAD has no more than the status and a header to do so."""

_HOME_REGION: Final = "us-east-1"


class S3WireClient(Exchange, S3Client):
    """One bucket over a transport, which this client owns and closes.

    locate: region → address of the bucket there. region: to begin with; what a redirect names is remembered.
    clock: seconds since 1970; a service whose clock differs is followed.
    """

    def __init__(
        self,
        bucket: str,
        *,
        transport: Transport,
        credentials: CredentialSource,
        locate: Callable[[str], Address],
        region: Callable[[], Awaitable[str]],
        clock: Callable[[], float] = time.time,
        **rules: Any,
    ) -> None:
        super().__init__(bucket, **rules)
        self._transport = transport
        self._credentials = credentials
        self._signer = Signer("s3")
        self._locate = locate
        self._region = region
        self._clock = clock
        self._ahead_s = 0.0
        self._address: Address | None = None
        # Paths do not depend on the region, so that requests are built before it is known.
        self._requests = Requests(locate(_HOME_REGION), self._settings)

    # ---- one exchange -----------------------------------------------------------------------------

    async def _signed(self, call: Call) -> tuple[Request, _Made]:
        address = self._address or await self._find()
        credentials = await self._credentials.current()
        headers: Sequence[tuple[str, str]] = call.headers
        if credentials is not None:
            headers = self._signer.sign(
                method=call.method,
                authority=address.origin.authority,
                target=call.target,
                headers=headers,
                payload_sha256=call.payload or EMPTY_SHA256,
                credentials=credentials,
                region=address.region,
                now=self._clock() + self._ahead_s,
            )
        return Request(call.method, address.origin, call.target, headers, call.body), (address, credentials)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorReply:
        return replies.error_reply(status, headers, body)

    def _fault(self, reply: ErrorReply, *, operation: str, uri: str, creates: bool) -> StoreError:
        return fault(reply, operation=operation, uri=uri, creates=creates)

    async def _explained(self, call: Call, reply: ErrorReply) -> ErrorReply:
        """As `Exchange._explained`: asked as a GET of the first byte. Requests: 1."""
        question = call._replace(method="GET", headers=(*call.headers, ("range", "bytes=0-0")))
        request, _ = await self._signed(question)
        try:
            await self._exchange(request, question, take_nothing)
        except ErrorInside as refused:
            if refused.reply.status in {400, 403}:
                return refused.reply
        return reply

    async def _correct(self, reply: ErrorReply, made: _Made, corrected: set[str]) -> bool:
        address, credentials = made
        if (reply.code in EXPIRED or reply.status == 401) and "token" not in corrected:
            corrected.add("token")
            return await self._credentials.refresh(credentials) != credentials
        if reply.code in SKEWED and "clock" not in corrected:
            corrected.add("clock")
            there = reply.headers.get("date")
            moment = http_time(there) if there else None
            if moment is not None:
                self._ahead_s = moment.timestamp() - self._clock()
            return moment is not None
        if reply.region and reply.status in _REDIRECTS and "region" not in corrected:
            corrected.add("region")
            if self._address is address:
                self._address = self._locate(reply.region)
            return self._address != address
        return False

    async def _front(self) -> Request:
        address = self._address or await self._find()
        return Request("HEAD", address.origin, address.bucket_target)

    async def _find(self) -> Address:
        self._address = self._locate(await self._region())
        return self._address

    @property
    def _take_written(self) -> Take[Mapping[str, str]]:
        return take_written if self.capabilities.etags else take_headers

    # ---- objects ----------------------------------------------------------------------------------

    async def _head(self, key: str, version: str | None) -> Mapping[str, str]:
        return await self._ask("head", key, self._requests.head(key, version), take_size)

    async def _get(self, download: Download) -> ObjectData | None:
        asked = self._requests.get(download.key, download.span, download.etag, download.version)
        return await self._received(download, asked)

    async def _put(self, key: str, data: Buffer, options: WriteOptions, digests: Digests) -> Mapping[str, str]:
        call = self._requests.put(key, data, options, digests)
        return await self._ask("put", key, call, self._take_written, creates=options.if_none_match)

    async def _delete(self, key: str, if_match: str | None = None) -> None:
        await self._ask("delete", key, self._requests.delete(key, if_match), take_nothing)

    async def _delete_many(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[DeleteFailure]:
        call = self._requests.delete_many(keys, etags)
        return await self._ask("delete_many", "", call, _document(replies.parse_delete))

    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage:
        async def take(response: Response) -> ListPage:
            return replies.parse_list(await response.read(XML_MAX_BYTES), prefix=prefix, token=token)

        call = self._requests.list_page(prefix, delimiter=delimiter, token=token, start_after=start_after, limit=limit)
        return await self._ask("list", prefix, call, take)

    async def _copy(self, source: CopySource, key: str, options: WriteOptions | None) -> tuple[str, datetime | None]:
        creates = options is not None and options.if_none_match
        call = self._requests.copy(source, key, options)
        return await self._ask("copy", key, call, _document(replies.parse_copy), creates=creates)

    # ---- uploads in parts -------------------------------------------------------------------------

    async def _create_upload(self, key: str, options: WriteOptions) -> str:
        call = self._requests.create_upload(key, options)
        return await self._ask("create_upload", key, call, _document(replies.parse_created_upload))

    async def _put_part(self, upload: Upload, number: int, data: Buffer, digests: Digests) -> Mapping[str, str]:
        call = self._requests.put_part(upload, number, data, digests)
        return await self._ask("put_part", upload.key, call, self._take_written)

    async def _copy_part(self, upload: Upload, number: int, source: CopySource, byte_range: ByteRange) -> str:
        call = self._requests.copy_part(upload, number, source, byte_range)
        return await self._ask("copy_part", upload.key, call, _document(replies.parse_copied_part))

    async def _complete(self, upload: Upload, parts: Sequence[Part]) -> str:
        call = self._requests.complete_upload(upload, parts)
        take = _document(replies.parse_completed)
        return await self._ask("complete_upload", upload.key, call, take, creates=upload.options.if_none_match)

    async def _abort(self, upload: Upload) -> None:
        await self._ask("abort_upload", upload.key, self._requests.abort_upload(upload), take_nothing)

    async def _list_parts(self, upload: Upload, marker: str | None) -> tuple[list[Part], str | None]:
        call = self._requests.list_parts(upload, marker)
        return await self._ask("list_parts", upload.key, call, _document(replies.parse_parts))

    async def _list_uploads(
        self, prefix: str, marker: tuple[str, str] | None
    ) -> tuple[list[Upload], tuple[str, str] | None]:
        call = self._requests.list_uploads(prefix, marker)
        return await self._ask("list_uploads", prefix, call, _document(replies.parse_uploads))

    async def _list_versions(
        self, key: str, marker: tuple[str, str] | None
    ) -> tuple[list[ObjectStat], tuple[str, str] | None]:
        call = self._requests.list_versions(key, marker)
        return await self._ask("list_versions", key, call, _document(replies.parse_versions))

    async def _presigned(self, key: str, method: PresignMethod, expires_s: int) -> str:
        address = self._address or await self._find()
        credentials = await self._credentials.current()
        target = self._requests.presigned(key)
        if credentials is not None:  # what anyone may do needs no signature
            target = self._signer.presign(
                method=method,
                authority=address.origin.authority,
                target=target,
                credentials=credentials,
                region=address.region,
                now=self._clock() + self._ahead_s,
                expires_s=expires_s,
            )
        return address.origin.url + target

    async def _create_bucket(self) -> None:
        address = self._address or await self._find()
        location = address.region if address.region != _HOME_REGION else None
        await self._ask("create_container", "", self._requests.create_bucket(location), take_nothing)


def _document(parse: Callable[[bytes], T]) -> Take[T]:
    return take_document(parse, XML_MAX_BYTES)
