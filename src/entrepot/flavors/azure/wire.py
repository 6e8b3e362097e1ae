"""The Azure primitives as lean signed requests over the shared transport: the default."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from entrepot.auth.azure import Sas, SharedKey
from entrepot.auth.entra import SignIn
from entrepot.errors import StoreError
from entrepot.flavors.azure import replies
from entrepot.flavors.azure.address import Location
from entrepot.flavors.azure.attempts import CopySource
from entrepot.flavors.azure.batch import SubReply, build_batch, parse_batch
from entrepot.flavors.azure.client import AzureClient
from entrepot.flavors.azure.faults import fault
from entrepot.flavors.azure.metadata import NOTHING
from entrepot.flavors.azure.requests import BlockKind, Requests
from entrepot.http.transport import Request, Response, Transport
from entrepot.models import Buffer, ByteRange, DeleteFailure, ListPage, ObjectData, Upload, WriteOptions
from entrepot.services.download import Download
from entrepot.services.exchange import (
    Call,
    Exchange,
    HeaderList,
    take_document,
    take_headers,
    take_nothing,
    take_size,
    take_written,
)
from entrepot.services.faults import ErrorReply
from entrepot.services.headers import http_time
from entrepot.services.xml import XML_MAX_BYTES

_CLOCK_DIFFERS_S: Final = 60.0


class AzureWireClient(Exchange, AzureClient):
    """One container over a transport, which this client owns and closes.

    clock: seconds since 1970; a service whose clock differs is followed.
    """

    def __init__(
        self, location: Location, *, transport: Transport, clock: Callable[[], float] = time.time, **rules: Any
    ) -> None:
        super().__init__(location, **rules)
        self._transport = transport
        self._clock = clock
        self._ahead_s = 0.0
        self._origin = location.endpoint.origin
        self._requests = Requests(location)

    # ---- one exchange -----------------------------------------------------------------------------

    async def _front(self) -> Request:
        return Request("HEAD", self._origin, f"{self._location.endpoint.base}/")

    async def _signed(self, call: Call) -> tuple[Request, str]:
        target, headers = await self._credential.signed(
            call.method, call.target, call.headers, len(call.body), self._clock() + self._ahead_s
        )
        authorization = headers[-1][1] if headers and headers[-1][0] == "authorization" else ""
        return Request(call.method, self._origin, target, headers, call.body), authorization

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorReply:
        return replies.error_reply(status, headers, body)

    def _fault(self, reply: ErrorReply, *, operation: str, uri: str, creates: bool) -> StoreError:
        error = fault(reply, operation=operation, uri=uri, creates=creates)
        return self._explained_by_credential(error, self._clock() + self._ahead_s)

    async def _correct(self, reply: ErrorReply, made: str, corrected: set[str]) -> bool:
        if reply.status == 401 and "token" not in corrected:
            corrected.add("token")
            return await self._credential.refresh(made or None)
        if reply.code == "AuthenticationFailed" and "clock" not in corrected:
            corrected.add("clock")
            there = reply.headers.get("date")
            moment = http_time(there) if there and isinstance(self._credential, SharedKey) else None
            ahead_s = moment.timestamp() - self._clock() if moment is not None else self._ahead_s
            if abs(ahead_s - self._ahead_s) > _CLOCK_DIFFERS_S:
                self._ahead_s = ahead_s
                return True
        return False

    # ---- blobs ------------------------------------------------------------------------------------

    async def _head(self, key: str, version: str | None = None) -> Mapping[str, str]:
        return await self._ask("head", key, self._requests.head(key, version), take_size)

    async def _get(self, download: Download) -> ObjectData | None:
        asked = self._requests.get(download.key, download.span, download.etag, download.version)
        return await self._received(download, asked)

    async def _put(
        self, key: str, data: Buffer, options: WriteOptions, md5: str, own: Mapping[str, str] = NOTHING
    ) -> Mapping[str, str]:
        call = self._requests.put(key, data, options, md5, own)
        return await self._ask("put", key, call, take_written, creates=options.if_none_match)

    async def _delete(self, key: str, if_match: str | None = None) -> None:
        await self._ask("delete", key, self._requests.delete(key, if_match), take_nothing)

    async def _delete_batch(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[DeleteFailure]:
        answers = await self._batched(keys, etags)
        if any(one.status == 401 or one.code == "AuthenticationFailed" for one in answers):
            # What was put right for the whole did not reach its parts, which were signed before.
            answers = await self._batched(keys, etags)
        return [
            DeleteFailure(key, one.code or f"HTTP {one.status}", one.message)
            for key, one in zip(keys, answers, strict=True)
            if not one.deleted
        ]

    async def _batched(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[SubReply]:
        parts: list[tuple[str, HeaderList]] = []
        for key in keys:
            call = self._requests.delete(key, etags.get(key))
            target, headers = await self._credential.signed(
                call.method, call.target, call.headers, 0, self._clock() + self._ahead_s, versioned=False
            )
            parts.append((target, tuple(headers)))
        boundary = f"batch_{secrets.token_hex(16)}"

        async def take(response: Response) -> list[SubReply]:
            body = await response.read(XML_MAX_BYTES)
            return parse_batch(response.headers.get("content-type", ""), body, len(parts))

        call = self._requests.batch(build_batch(parts, boundary), boundary)
        return await self._ask("delete_many", "", call, take)

    async def _list_blobs(
        self, prefix: str, delimiter: str, token: str | None, limit: int | None, include: str
    ) -> ListPage:
        async def take(response: Response) -> ListPage:
            return replies.parse_list(await response.read(replies.LIST_MAX_BYTES), prefix=prefix, token=token)

        call = self._requests.list_page(prefix, delimiter=delimiter, token=token, limit=limit, include=include)
        return await self._ask("list", prefix, call, take)

    # ---- copies -----------------------------------------------------------------------------------

    async def _copy(
        self, source: CopySource, key: str, options: WriteOptions, own: Mapping[str, str]
    ) -> Mapping[str, str]:
        # Of its own account the service reads what the credentials of the request may; a SAS has to be in the address.
        url = self._credential.appended(source.url) if isinstance(self._credential, Sas) else source.url
        call = self._requests.copy(url, key, options, own, source.etag)
        return await self._ask("copy", key, call, take_written, creates=options.if_none_match)

    async def _abort_copy(self, key: str, copy_id: str) -> None:
        await self._ask("copy", key, self._requests.abort_copy(key, copy_id), take_nothing)

    async def _set_properties(
        self, key: str, told: Mapping[str, str], content_type: str, if_match: str | None
    ) -> Mapping[str, str]:
        call = self._requests.set_properties(key, told, content_type, if_match)
        return await self._ask("copy", key, call, take_headers)

    async def _set_metadata(
        self, key: str, options: WriteOptions, own: Mapping[str, str], if_match: str | None
    ) -> Mapping[str, str]:
        call = self._requests.set_metadata(key, options, own, if_match)
        return await self._ask("copy", key, call, take_headers)

    # ---- blocks -----------------------------------------------------------------------------------

    async def _put_block(self, key: str, block_id: str, data: Buffer, md5: str) -> None:
        await self._ask("put_part", key, self._requests.put_block(key, block_id, data, md5), take_nothing)

    async def _copy_block(self, key: str, block_id: str, source: CopySource, byte_range: ByteRange) -> None:
        named = await self._readable(source)
        call = self._requests.copy_block(key, block_id, named, byte_range, source.etag)
        await self._ask("copy_part", key, call, take_nothing)

    async def _readable(self, source: CopySource) -> HeaderList:
        """The headers that name a source and prove that it may be read; what signs the request does not."""
        named = (("x-ms-copy-source", await self._administration.readable(source.location, source.key)),)
        if isinstance(self._credential, SignIn):
            token = await self._credential.token()
            return (*named, ("x-ms-copy-source-authorization", f"Bearer {token.text}"))
        return named

    async def _put_block_list(
        self, upload: Upload, block_ids: Sequence[str], own: Mapping[str, str]
    ) -> Mapping[str, str]:
        call = self._requests.put_block_list(upload.key, block_ids, upload.options, own)
        return await self._ask("complete_upload", upload.key, call, take_written, creates=upload.options.if_none_match)

    async def _block_list(self, key: str, kind: BlockKind) -> list[tuple[str, int]]:
        call = self._requests.block_list(key, kind)
        return await self._ask("list_parts", key, call, take_document(replies.parse_block_list, XML_MAX_BYTES))
