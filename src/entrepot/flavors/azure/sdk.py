"""The Azure primitives on azure-storage-blob: the oracle of `wire`, and the choice for what only the SDK knows.

Its retries are off, so that the policy of `AzureClient` is the only one, but for one in its `download_blob`, which asks
again up to three times where a body breaks off; it keeps nothing of what came before.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC
from typing import Any, Final, TypeVar

from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob.aio import BlobPrefix, ContainerClient

from entrepot.auth.azure import Sas
from entrepot.auth.entra import SignIn
from entrepot.errors import BadResponse, CredentialsExpired, CredentialsMissing, UnsupportedOperation
from entrepot.flavors.azure.address import Location
from entrepot.flavors.azure.administration import sdk_credential, sdk_options
from entrepot.flavors.azure.attempts import CopySource
from entrepot.flavors.azure.batch import SubReply
from entrepot.flavors.azure.client import AzureClient
from entrepot.flavors.azure.metadata import CRC32C, NOTHING, given, kept
from entrepot.flavors.azure.replies import checksums, is_folder, ordered
from entrepot.flavors.azure.requests import BlockKind
from entrepot.flavors.azure.sdk_faults import FAILURES, failure
from entrepot.models import GIB, Buffer, ByteRange, DeleteFailure, ListPage, ObjectData, ObjectStat, Upload
from entrepot.models import WriteOptions as Options
from entrepot.services.download import Download
from entrepot.services.faults import RangeOutside, Unreadable
from entrepot.services.headers import content_range, quoted_etag
from entrepot.services.loops import PerLoop

T = TypeVar("T")

_ALL_AT_ONCE_BYTES: Final = 1024 * GIB  # what is read or written is one request; parts are the store's to make


class AzureSdkClient(AzureClient):
    """One container through azure-storage-blob, one of its clients per event loop."""

    def __init__(self, location: Location, *, ca_file: str | None, **rules: Any) -> None:
        super().__init__(location, **rules)
        self._ca_file = ca_file
        self._clients = PerLoop(self._made)

    async def close(self) -> None:
        await self._clients.close()

    async def _made(self, stack: AsyncExitStack) -> ContainerClient:
        client = ContainerClient(
            self._location.endpoint.url,
            self._location.container,
            credential=sdk_credential(self._credential),
            max_single_get_size=_ALL_AT_ONCE_BYTES,
            max_single_put_size=_ALL_AT_ONCE_BYTES,
            **sdk_options(self._ca_file),
        )
        return await stack.enter_async_context(client)

    # ---- one call ---------------------------------------------------------------------------------

    async def _call(self, operation: str, key: str, call: Callable[[Any], Awaitable[T]], *, creates: bool = False) -> T:
        """One attempt; a token that was refused is replaced once. call: gets the container's client."""
        for last in (False, True):
            try:
                return await call(await self._clients.get())
            except FAILURES as error:
                if operation == "get" and getattr(error, "status_code", None) == 416:
                    raise RangeOutside from None
                found = failure(error, operation, self.uri(key), creates=creates)
                refused = isinstance(found, (CredentialsExpired, CredentialsMissing)) and not last
                if refused and isinstance(self._credential, SignIn) and await self._credential.refresh():
                    continue
                raise self._explained_by_credential(found, time.time()) from error
        raise AssertionError("the loop returns or raises")

    async def _blob(
        self, operation: str, key: str, method: str, *given: Any, creates: bool = False, **options: Any
    ) -> Mapping[str, str]:
        """One call of one blob's client; the headers of its reply."""
        told: dict[str, str] = {}

        def note(response: Any) -> None:
            told.clear()
            told.update((name.lower(), value) for name, value in response.http_response.headers.items())

        async def call(container: Any) -> Mapping[str, str]:
            blob = container.get_blob_client(key)
            await getattr(blob, method)(*given, raw_response_hook=note, **options)
            return told

        return await self._call(operation, key, call, creates=creates)

    # ---- blobs ------------------------------------------------------------------------------------

    async def _head(self, key: str, version: str | None = None) -> Mapping[str, str]:
        return await self._blob("head", key, "get_blob_properties", **_version(version))

    async def _get(self, download: Download) -> ObjectData | None:
        key, span = download.key, download.span
        start, _, stop = (span or "bytes=0-").removeprefix("bytes=").partition("-")
        offset = int(start)
        length = int(stop) + 1 - offset if stop else None
        asked: dict[str, Any] = {"offset": offset, "length": length} if span is not None else {}
        asked |= {**_version(download.version), **_pinned(download.etag)}
        told: list[tuple[int, Mapping[str, str]]] = []

        def note(response: Any) -> None:
            reply = response.http_response
            told.append((reply.status_code, {name.lower(): value for name, value in reply.headers.items()}))

        async def call(container: Any) -> bytes:
            stream = await container.download_blob(
                key, max_concurrency=1, raw_response_hook=note, decompress=False, **asked
            )
            data: bytes = await stream.readall()
            return data

        try:
            data = await self._call("get", key, call)
            into = download.accept(*_as_asked(*told[-1], whole=span is None))
            if into is None:
                return download.fill(data)
            return _filled(download, into, data)
        except Unreadable as error:
            raise BadResponse(f"the service answered with {error}", operation="get", uri=self.uri(key)) from error

    async def _put(
        self, key: str, data: Buffer, options: Options, md5: str, own: Mapping[str, str] = NOTHING
    ) -> Mapping[str, str]:
        # The SDK makes Content-MD5 of the same bytes by itself.
        return await self._blob(
            "put",
            key,
            "upload_blob",
            bytes(data),
            creates=options.if_none_match,
            length=len(data),
            overwrite=not options.if_none_match,
            validate_content=True,
            **_described(options, own),
            **_pinned(options.if_match),
        )

    async def _delete(self, key: str, if_match: str | None = None) -> None:
        await self._blob("delete", key, "delete_blob", delete_snapshots="include", **_pinned(if_match))

    async def _delete_batch(self, keys: Sequence[str], etags: Mapping[str, str]) -> list[DeleteFailure]:
        blobs = [{"name": key, **_pinned(etags.get(key))} for key in keys]

        async def call(container: Any) -> list[Any]:
            parts = await container.delete_blobs(*blobs, delete_snapshots="include", raise_on_any_failure=False)
            return [part async for part in parts]

        parts = await self._call("delete_many", "", call)
        answers = [SubReply(part.status_code, part.headers.get("x-ms-error-code", "")) for part in parts]
        if len(answers) == 1 and answers[0].status == 400:
            # So Azurite says that it cannot read the batch: the SDK's boundary is no plain one.
            raise UnsupportedOperation(f"no batches ({answers[0].code})", operation="delete_many", uri=self.uri(""))
        if len(answers) != len(keys):
            raise BadResponse("not one answer for each part of a batch", operation="delete_many", uri=self.uri(""))
        return [
            DeleteFailure(key, one.code or f"HTTP {one.status}")
            for key, one in zip(keys, answers, strict=True)
            if not one.deleted
        ]

    async def _list_blobs(
        self, prefix: str, delimiter: str, token: str | None, limit: int | None, include: str
    ) -> ListPage:
        asked: dict[str, Any] = {"name_starts_with": prefix or None, "include": include.split(",")}
        if limit is not None:
            asked["results_per_page"] = limit

        async def call(container: Any) -> tuple[list[Any], str | None]:
            method = container.walk_blobs if delimiter else container.list_blobs
            pages = method(**asked, **({"delimiter": delimiter} if delimiter else {})).by_page(token)
            rows = [row async for row in await anext(pages)]
            return rows, pages.continuation_token or None

        rows, following = await self._call("list", prefix, call)
        if following is not None and following == token:
            raise BadResponse("a listing that does not go on", operation="list", uri=self.uri(prefix))
        prefixes = tuple(row.name for row in rows if isinstance(row, BlobPrefix))
        objects = [_listed(row) for row in rows if not isinstance(row, BlobPrefix)]
        return ListPage(tuple(ordered(objects)), prefixes, following)

    # ---- copies -----------------------------------------------------------------------------------

    async def _copy(self, source: CopySource, key: str, options: Options, own: Mapping[str, str]) -> Mapping[str, str]:
        url = self._credential.appended(source.url) if isinstance(self._credential, Sas) else source.url
        return await self._blob(
            "copy",
            key,
            "start_copy_from_url",
            url,
            creates=options.if_none_match,
            metadata=kept(options, own) or None,
            **_source_pinned(source.etag),
            **_conditions(options),
        )

    async def _abort_copy(self, key: str, copy_id: str) -> None:
        await self._blob("copy", key, "abort_copy", copy_id)

    async def _set_properties(
        self, key: str, told: Mapping[str, str], content_type: str, if_match: str | None
    ) -> Mapping[str, str]:
        md5 = told.get("content-md5")
        settings = ContentSettings(
            content_type=content_type,
            content_encoding=told.get("content-encoding"),
            content_language=told.get("content-language"),
            content_disposition=told.get("content-disposition"),
            cache_control=told.get("cache-control"),
            content_md5=bytearray(base64.b64decode(md5)) if md5 else None,
        )
        return await self._blob("copy", key, "set_http_headers", settings, **_pinned(if_match))

    async def _set_metadata(
        self, key: str, options: Options, own: Mapping[str, str], if_match: str | None
    ) -> Mapping[str, str]:
        return await self._blob("copy", key, "set_blob_metadata", kept(options, own), **_pinned(if_match))

    # ---- blocks -----------------------------------------------------------------------------------

    async def _put_block(self, key: str, block_id: str, data: Buffer, md5: str) -> None:
        # aiohttp warns of a body of bytes from 1 MiB on, as it would send it in one piece.
        body = io.BytesIO(data)
        await self._blob(
            "put_part", key, "stage_block", _decoded(block_id), body, length=len(data), validate_content=True
        )

    async def _copy_block(self, key: str, block_id: str, source: CopySource, byte_range: ByteRange) -> None:
        assert byte_range.stop is not None
        url = await self._administration.readable(source.location, source.key)
        authorization: dict[str, Any] = {}
        if isinstance(self._credential, SignIn):
            authorization = {"source_authorization": f"Bearer {(await self._credential.token()).text}"}
        await self._blob(
            "copy_part",
            key,
            "stage_block_from_url",
            _decoded(block_id),
            url,
            source_offset=byte_range.start,
            source_length=byte_range.stop - byte_range.start,
            **_source_pinned(source.etag),
            **authorization,
        )

    async def _put_block_list(
        self, upload: Upload, block_ids: Sequence[str], own: Mapping[str, str]
    ) -> Mapping[str, str]:
        options = upload.options
        blocks = [BlobBlock(_decoded(one)) for one in block_ids]
        return await self._blob(
            "complete_upload",
            upload.key,
            "commit_block_list",
            blocks,
            creates=options.if_none_match,
            validate_content=True,
            **_described(options, own),
            **_conditions(options),
        )

    async def _block_list(self, key: str, kind: BlockKind) -> list[tuple[str, int]]:
        async def call(container: Any) -> list[Any]:
            committed, uncommitted = await container.get_blob_client(key).get_block_list(kind)
            return [*committed, *uncommitted]

        blocks = await self._call("list_parts", key, call)
        return [(base64.b64encode(block.id.encode()).decode(), block.size) for block in blocks]


def _filled(download: Download, into: memoryview, data: bytes) -> ObjectData:
    if len(data) > len(into):
        raise Unreadable("more bytes than were announced")
    into[: len(data)] = data
    return download.finish(len(data))


def _as_asked(status: int, headers: Mapping[str, str], *, whole: bool) -> tuple[int, Mapping[str, str]]:
    """The SDK asks for a whole blob by a range: its reply, as one to a request for all of it."""
    if not whole or status != 206:
        return status, headers
    told = {name: value for name, value in headers.items() if name != "content-range"}
    if headers.get("content-length") != "0":
        start, stop, size = content_range(headers)
        if (start, stop) != (0, size):
            raise Unreadable("a part of the blob where all of it was asked for")
    return 200, told


def _listed(row: Any) -> ObjectStat:
    metadata = [(name.lower(), value) for name, value in (row.metadata or {}).items()]
    settings = row.content_settings
    md5 = base64.b64encode(settings.content_md5).decode() if settings.content_md5 else None
    key = row.name if row.name.endswith("/") or not is_folder(metadata) else f"{row.name}/"
    return ObjectStat(
        key,
        row.size or 0,
        row.last_modified.astimezone(UTC) if row.last_modified is not None else None,
        row.etag or None,
        row.version_id,
        settings.content_type,
        given(metadata),
        checksums(md5, dict(metadata).get(CRC32C), row.size or 0),
    )


def _decoded(block_id: str) -> str:
    """The SDK encodes ids itself."""
    return base64.b64decode(block_id).decode()


def _described(options: Options, own: Mapping[str, str]) -> dict[str, Any]:
    kind = {"content_settings": ContentSettings(content_type=options.content_type)} if options.content_type else {}
    return {**kind, "metadata": kept(options, own) or None}


def _pinned(if_match: str | None) -> dict[str, Any]:
    if if_match is None:
        return {}
    return {"etag": quoted_etag(if_match), "match_condition": MatchConditions.IfNotModified}


def _conditions(options: Options) -> dict[str, Any]:
    return {"match_condition": MatchConditions.IfMissing} if options.if_none_match else _pinned(options.if_match)


def _source_pinned(etag: str | None) -> dict[str, Any]:
    if etag is None:
        return {}
    return {"source_etag": quoted_etag(etag), "source_match_condition": MatchConditions.IfNotModified}


def _version(version: str | None) -> dict[str, Any]:
    return {"version_id": version} if version is not None else {}
