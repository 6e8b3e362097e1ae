"""The S3 primitives as lean signed requests over the shared transport: the default."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from entrepot.auth.aws import AwsCredentials, CredentialSource
from entrepot.auth.sigv4 import Signer
from entrepot.errors import BadResponse, ConnectionFailed, StoreError, TimedOut
from entrepot.flavors.s3 import replies
from entrepot.flavors.s3.attempts import RangeOutside
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.download import Download
from entrepot.flavors.s3.endpoint import Address
from entrepot.flavors.s3.faults import EXPIRED, SKEWED, ErrorInside, ErrorReply, Unreadable, fault
from entrepot.flavors.s3.requests import Call, CopySource, Digests, Requests
from entrepot.http.transport import Request, Response, Transport
from entrepot.models import KIB, Buffer, ByteRange, DeleteFailure, ListPage, ObjectData, Part, Upload, WriteOptions

T = TypeVar("T")
Take = Callable[[Response], Awaitable[T]]

_ERROR_MAX_BYTES: Final = 64 * KIB
_REDIRECTS: Final = frozenset({301, 302, 307, 308, 400, 403})
"""With these a service names the bucket's region; HEAD has no more than the status and a header to do so."""

_HOME_REGION: Final = "us-east-1"


class S3WireClient(S3Client):
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

    async def close(self) -> None:
        await self._transport.close()

    # ---- one exchange -----------------------------------------------------------------------------

    async def _ask(self, operation: str, key: str, call: Call, take: Take[T], *, creates: bool = False) -> T:
        """One attempt. What only needs to be asked differently is asked again at once, each correction once.

        Those are: credentials that have expired, a clock that differs, a bucket that is in another region.
        """
        corrected: set[str] = set()
        try:
            while True:
                address = self._address or await self._find()
                credentials = await self._credentials.current()
                try:
                    return await self._exchange(call, address, credentials, take)
                except ErrorInside as refused:
                    reply = refused.reply
                if call.method == "HEAD" and reply.status in {400, 403}:
                    reply = await self._explained(call, address, credentials, reply)
                if reply.status == 416 and operation == "get":
                    raise RangeOutside
                if not await self._correct(reply, address, credentials, corrected):
                    raise fault(reply, operation=operation, uri=self.uri(key), creates=creates)
        except Unreadable as error:
            raise BadResponse(f"the service answered with {error}", operation=operation, uri=self.uri(key)) from error
        except StoreError as error:
            self._address_error(error, operation, key)
            raise

    async def _exchange(self, call: Call, address: Address, credentials: AwsCredentials | None, take: Take[T]) -> T:
        """Sign, send, and take the reply if it is a success. Raises: ErrorInside for any other."""
        headers: Sequence[tuple[str, str]] = call.headers
        if credentials is not None:
            headers = self._signer.sign(
                method=call.method,
                authority=address.origin.authority,
                target=call.target,
                headers=headers,
                payload_sha256=call.payload,
                credentials=credentials,
                region=address.region,
                now=self._clock() + self._ahead_s,
            )
        async with self._transport.send(
            Request(call.method, address.origin, call.target, headers, call.body)
        ) as response:
            if 200 <= response.status < 300:
                return await take(response)
            body = b""
            if call.method != "HEAD":
                try:
                    body = await response.read(_ERROR_MAX_BYTES)
                except (BadResponse, ConnectionFailed, TimedOut):
                    body = b""  # the status speaks alone
            raise ErrorInside(replies.error_reply(response.status, response.headers, body))

    async def _explained(
        self, call: Call, address: Address, credentials: AwsCredentials | None, reply: ErrorReply
    ) -> ErrorReply:
        """Why a HEAD was refused, which has no body to tell: asked as a GET of the first byte. Requests: 1."""
        question = call._replace(method="GET", headers=(*call.headers, ("range", "bytes=0-0")))
        try:
            await self._exchange(question, address, credentials, _ignored)
        except ErrorInside as refused:
            if refused.reply.status in {400, 403}:
                return refused.reply
        return reply

    async def _correct(
        self, reply: ErrorReply, address: Address, credentials: AwsCredentials | None, corrected: set[str]
    ) -> bool:
        """Whether something was changed, so that asking again may help."""
        if reply.code in EXPIRED and "token" not in corrected:
            corrected.add("token")
            return await self._credentials.refresh(credentials) != credentials
        if reply.code in SKEWED and "clock" not in corrected:
            corrected.add("clock")
            there = reply.headers.get("date")
            moment = replies.http_time(there) if there else None
            if moment is not None:
                self._ahead_s = moment.timestamp() - self._clock()
            return moment is not None
        if reply.region and reply.status in _REDIRECTS and "region" not in corrected:
            corrected.add("region")
            if self._address is address:
                self._address = self._locate(reply.region)
            return self._address != address
        return False

    async def _find(self) -> Address:
        self._address = self._locate(await self._region())
        return self._address

    def _address_error(self, error: StoreError, operation: str, key: str) -> None:
        """The transport knows neither operation nor object."""
        if error.uri:
            return
        error.operation, error.uri = operation, self.uri(key)
        if isinstance(error, OSError):
            error.filename = error.uri

    # ---- objects ----------------------------------------------------------------------------------

    async def _head(self, key: str) -> Mapping[str, str]:
        return await self._ask("head", key, self._requests.head(key), _headers)

    async def _get(self, download: Download) -> ObjectData | None:
        async def take(response: Response) -> ObjectData | None:
            into = download.accept(response.status, response.headers)
            if into is None:
                return download.fill(await response.read(download.most))
            try:
                count = await response.readinto(into)
            except (ConnectionFailed, TimedOut):
                if download.interrupted(response.received):
                    return None
                raise
            return download.finish(count)

        return await self._ask(
            "get", download.key, self._requests.get(download.key, download.span, download.etag), take
        )

    async def _put(self, key: str, data: Buffer, options: WriteOptions, digests: Digests) -> Mapping[str, str]:
        call = self._requests.put(key, data, options, digests)
        return await self._ask("put", key, call, _headers, creates=options.if_none_match)

    async def _delete(self, key: str) -> None:
        await self._ask("delete", key, self._requests.delete(key), _ignored)

    async def _delete_many(self, keys: Sequence[str]) -> list[DeleteFailure]:
        return await self._ask("delete_many", "", self._requests.delete_many(keys), _document(replies.parse_delete))

    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage:
        async def take(response: Response) -> ListPage:
            return replies.parse_list(await response.read(replies.XML_MAX_BYTES), prefix=prefix, token=token)

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
        return await self._ask("put_part", upload.key, call, _headers)

    async def _copy_part(self, upload: Upload, number: int, source: CopySource, byte_range: ByteRange) -> str:
        call = self._requests.copy_part(upload, number, source, byte_range)
        return await self._ask("copy_part", upload.key, call, _document(replies.parse_copied_part))

    async def _complete(self, upload: Upload, parts: Sequence[Part]) -> str:
        call = self._requests.complete_upload(upload, parts)
        take = _document(replies.parse_completed)
        return await self._ask("complete_upload", upload.key, call, take, creates=upload.options.if_none_match)

    async def _abort(self, upload: Upload) -> None:
        await self._ask("abort_upload", upload.key, self._requests.abort_upload(upload), _ignored)

    async def _list_parts(self, upload: Upload, marker: str | None) -> tuple[list[Part], str | None]:
        call = self._requests.list_parts(upload, marker)
        return await self._ask("list_parts", upload.key, call, _document(replies.parse_parts))

    async def _list_uploads(
        self, prefix: str, marker: tuple[str, str] | None
    ) -> tuple[list[Upload], tuple[str, str] | None]:
        call = self._requests.list_uploads(prefix, marker)
        return await self._ask("list_uploads", prefix, call, _document(replies.parse_uploads))

    async def _create_bucket(self) -> None:
        address = self._address or await self._find()
        location = address.region if address.region != _HOME_REGION else None
        await self._ask("create_container", "", self._requests.create_bucket(location), _ignored)


async def _headers(response: Response) -> Mapping[str, str]:
    await response.read(_ERROR_MAX_BYTES)  # nothing, mostly; a body left unread would cost the connection
    return response.headers


async def _ignored(response: Response) -> None:
    await response.read(_ERROR_MAX_BYTES)


def _document(parse: Callable[[bytes], T]) -> Take[T]:
    async def take(response: Response) -> T:
        return parse(await response.read(replies.XML_MAX_BYTES))

    return take
