"""The Cloud Storage primitives as lean requests over the shared transport: the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from entrepot.auth.google import GoogleToken
from entrepot.errors import ServiceError, StoreError
from entrepot.flavors.gcp import replies
from entrepot.flavors.gcp.client import GcpClient
from entrepot.flavors.gcp.endpoint import session_target
from entrepot.flavors.gcp.faults import fault
from entrepot.flavors.gcp.replies import Rewritten
from entrepot.flavors.gcp.requests import Doomed, Piece, Requests, Source
from entrepot.flavors.gcp.resumable import STATUS, Chunk
from entrepot.http.transport import Request, Response, Transport
from entrepot.models import MIB, Buffer, ListPage, ObjectData, ObjectStat, WriteOptions
from entrepot.services.download import Download
from entrepot.services.exchange import Call, Exchange, take_document, take_headers, take_nothing
from entrepot.services.faults import ErrorReply, Unreadable

JSON_MAX_BYTES: Final = 32 * MIB
"""More than any reply has: a listing of 1,000 keys of 1,024 bytes, each escaped in three links, is 12 MiB."""


class GcpWireClient(Exchange, GcpClient):
    """One bucket over a transport, which this client owns and closes."""

    def __init__(self, bucket: str, *, transport: Transport, requests: Requests, **rules: Any) -> None:
        super().__init__(bucket, **rules)
        self._transport = transport
        self._requests = requests
        self._origin = self._endpoint.origin

    async def close(self) -> None:
        await super().close()
        await self._credentials.close()

    # ---- one exchange -----------------------------------------------------------------------------

    async def _front(self) -> Request:
        return Request("HEAD", self._origin, f"{self._endpoint.base}/")

    async def _signed(self, call: Call) -> tuple[Request, GoogleToken | None]:
        token = await self._credentials.current()
        headers = call.headers if token is None else (token.header, *call.headers)
        return Request(call.method, self._origin, call.target, headers, call.body, call.before, call.after), token

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorReply:
        return replies.error_reply(status, headers, body)

    def _fault(self, reply: ErrorReply, *, operation: str, uri: str, creates: bool) -> StoreError:
        return fault(reply, operation=operation, uri=uri, creates=creates, anonymous=self._anonymous)

    async def _correct(self, reply: ErrorReply, made: GoogleToken | None, corrected: set[str]) -> bool:
        if reply.status != 401 or made is None or "token" in corrected:
            return False
        corrected.add("token")
        return await self._credentials.refresh(made) != made

    # ---- objects ----------------------------------------------------------------------------------

    async def _head(self, key: str, version: str | None) -> ObjectStat:
        return await self._ask("head", key, self._requests.head(key, version), _object(key))

    async def _get(self, download: Download) -> ObjectData | None:
        asked = self._requests.get(download.key, download.span, download.etag, download.version)
        return await self._received(download, asked)

    async def _put(
        self,
        key: str,
        data: Buffer,
        options: WriteOptions,
        crc32c: int,
        generation: str | None,
        *,
        temporary: bool = False,
    ) -> ObjectStat:
        call = self._requests.put(key, data, options, crc32c, generation, temporary=temporary)
        return await self._ask("put", key, call, _object(key), creates=options.if_none_match)

    async def _delete_if(self, doomed: Doomed) -> None:
        await self._ask("delete", doomed.key, self._requests.delete(doomed), take_nothing)

    async def _delete_many(self, doomed: Sequence[Doomed]) -> dict[int, ErrorReply]:
        async def take(response: Response) -> dict[int, ErrorReply]:
            kind = response.headers.get("content-type", "")
            return replies.parse_batch(await response.read(JSON_MAX_BYTES), kind, len(doomed))

        return await self._ask("delete_many", "", self._requests.delete_many(doomed), take)

    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage:
        async def take(response: Response) -> ListPage:
            body = await response.read(JSON_MAX_BYTES)
            return replies.parse_list(body, prefix=prefix, delimiter=delimiter, token=token, after=start_after)

        call = self._requests.list_page(prefix, delimiter=delimiter, token=token, start=start_after, limit=limit)
        return await self._ask("list", prefix, call, take)

    async def _list_versions(self, key: str, token: str | None) -> tuple[list[ObjectStat], str | None]:
        parse = partial(replies.parse_versions, key=key, token=token)
        call = self._requests.list_versions(key, token)
        return await self._ask("list_versions", key, call, take_document(parse, JSON_MAX_BYTES))

    # ---- copies and compositions ------------------------------------------------------------------

    async def _rewrite(
        self, source: Source, key: str, described: Mapping[str, Any] | None, generation: str | None, token: str | None
    ) -> Rewritten:
        call = self._requests.rewrite(source, key, described, generation, token)
        take = take_document(partial(replies.parse_rewrite, key=key), JSON_MAX_BYTES)
        return await self._ask("copy", key, call, take, creates=generation == "0")

    async def _source_description(self, source: Source) -> dict[str, Any]:
        call = self._requests.source_description(source)
        return await self._ask("copy", source.key, call, take_document(replies.document, JSON_MAX_BYTES))

    async def _compose(
        self,
        key: str,
        pieces: Sequence[Piece],
        options: WriteOptions,
        generation: str | None,
        *,
        temporary: bool = False,
    ) -> ObjectStat:
        call = self._requests.compose(key, pieces, options, generation, temporary=temporary)
        return await self._ask("complete_upload", key, call, _object(key), creates=options.if_none_match)

    # ---- resumable sessions -----------------------------------------------------------------------

    async def _create_session(self, key: str, options: WriteOptions, generation: str | None) -> str:
        call = self._requests.create_session(key, options, generation)
        headers = await self._ask("create_upload", key, call, take_headers, creates=options.if_none_match)
        try:
            return session_target(replies.session_of(headers), self._endpoint)
        except (Unreadable, StoreError) as error:
            raise ServiceError(str(error), operation="create_upload", uri=self.uri(key)) from None

    async def _send_chunk(
        self, key: str, session: str, chunk: Chunk | None, options: WriteOptions, crc32c: int | None
    ) -> int | ObjectStat:
        async def take(response: Response) -> int | ObjectStat:
            body = await response.read(JSON_MAX_BYTES)
            if response.status == 308:
                return replies.acknowledged(response.headers)
            return replies.parse_object(body, key)

        place, data = (chunk.content_range, chunk.data) if chunk is not None else (STATUS, b"")
        call = self._requests.chunk(session, place, data, options, crc32c)
        operation = "complete_upload" if crc32c is not None else "put_part"
        return await self._ask(operation, key, call, take, creates=options.if_none_match)

    async def _cancel_session(self, key: str, session: str) -> None:
        await self._ask("abort_upload", key, self._requests.cancel(session), take_nothing)

    # ---- the bucket -------------------------------------------------------------------------------

    async def _create_bucket(self, project: str) -> None:
        call = self._requests.create_bucket(self.container, project)
        await self._ask("create_container", "", call, take_nothing)


def _object(key: str) -> Any:
    return take_document(partial(replies.parse_object, key=key), JSON_MAX_BYTES)
