"""The Cloud Storage primitives on gcloud-aio-storage: the oracle of `wire`, in safe forms only.

Described, listed, written and deleted by the SDK's own methods. What has no safe form there goes as one request of ours
through the SDK's session, with the same token: reads (its downloads know no generation), copies (its loop trusts every
token), compositions (they name no generations), resumable uploads (they retry a refusal, and can call a lost race a
success), batches, versions, buckets. Its retries and redirects are off, its timeouts of ten seconds in all as well.
"""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp
from gcloud.aio.storage import Storage
from yarl import URL

from entrepot.auth.google import TokenSource
from entrepot.errors import BadResponse, ConfigurationError, StoreError
from entrepot.flavors.gcp import replies
from entrepot.flavors.gcp.requests import Doomed, Requests, deletion, description
from entrepot.flavors.gcp.wire import GcpWireClient
from entrepot.http.aiohttp_transport import FAILURES, cause, translated
from entrepot.http.routes import Route, environment_proxy, tls_context
from entrepot.http.transport import Request, Response, Timeouts, Transport
from entrepot.models import Buffer, ListPage, ObjectStat, WriteOptions
from entrepot.services.checksums import crc32c_base64
from entrepot.services.endpoint import Endpoint
from entrepot.services.faults import Unreadable
from entrepot.services.loops import PerLoop

T = TypeVar("T")

_TIMEOUTS: Final = Timeouts()
_NO_TOTAL: Any = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUTS.connect_s, sock_read=_TIMEOUTS.idle_s)
_CHUNK_BYTES: Final = 1024 * 1024


class GcpSdkClient(GcpWireClient):
    """One bucket through gcloud-aio-storage, one of its clients per event loop."""

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: Endpoint,
        requests: Requests,
        credentials: TokenSource,
        ca_file: str | None,
        **rules: Any,
    ) -> None:
        self._sdk = _Sdk(endpoint, credentials, ca_file)
        super().__init__(
            bucket, transport=self._sdk, requests=requests, endpoint=endpoint, credentials=credentials, **rules
        )

    async def _call(
        self, operation: str, key: str, call: Callable[[Storage], Awaitable[T]], *, creates: bool = False
    ) -> T:
        """One method of the SDK, one attempt; a token that is refused is replaced once."""
        uri = self.uri(key)
        for last in (False, True):
            token = await self._credentials.current()
            try:
                return await call(await self._sdk.storage())
            except aiohttp.ClientResponseError as error:
                # Never chained: it shows the request's headers, the token among them.
                body = error.message.partition(": ")[2].encode()
                reply = replies.error_reply(
                    error.status, {k.lower(): v for k, v in (error.headers or {}).items()}, body
                )
            except Unreadable as error:
                raise BadResponse(f"the service answered with {error}", operation=operation, uri=uri) from error
            except StoreError:
                raise
            except FAILURES as error:
                found = self._sdk.error(error)
                found.operation, found.uri = operation, uri
                raise found from cause(error)
            if last or reply.status != 401 or await self._credentials.refresh(token) == token:
                break
        raise self._fault(reply, operation=operation, uri=uri, creates=creates)

    # ---- what the SDK does in a safe form ---------------------------------------------------------

    async def _head(self, key: str, version: str | None) -> ObjectStat:
        if version is not None or self._settings.user_project is not None:  # for which its method has no parameter
            return await super()._head(key, version)
        told = await self._call(
            "head", key, lambda storage: storage.download_metadata(self.container, key, timeout=_NO_TOTAL)
        )
        return self._described(told, "head", key)

    async def _list(self, prefix: str, delimiter: str, token: str | None, start_after: str, limit: int) -> ListPage:
        query = {
            "delimiter": delimiter,
            "maxResults": str(limit),
            "pageToken": token,
            "prefix": prefix,
            "startOffset": start_after,
            "userProject": self._settings.user_project,
        }
        given = {name: value for name, value in query.items() if value}

        async def call(storage: Storage) -> ListPage:
            told = await storage.list_objects(self.container, params=given, timeout=_NO_TOTAL)
            return replies.page_of(told, prefix=prefix, delimiter=delimiter, token=token, after=start_after)

        return await self._call("list", prefix, call)

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
        settings = self._settings
        described = description(options, settings, temporary=temporary)
        # It takes the names of headers, and makes those of the API of them.
        metadata = {
            "content-type": described["contentType"],
            "crc32c": crc32c_base64(crc32c),
            "metadata": described.get("metadata"),
            "storage-class": described.get("storageClass"),
        }
        query = {
            "ifGenerationMatch": generation,
            "kmsKeyName": settings.kms_key_name,
            "predefinedAcl": None if temporary else settings.predefined_acl,
            "userProject": settings.user_project,
        }

        async def call(storage: Storage) -> Any:
            return await storage.upload(
                self.container,
                key,
                bytes(data),
                content_type=described["contentType"],
                parameters={name: value for name, value in query.items() if value is not None},
                metadata={name: value for name, value in metadata.items() if value is not None},
                force_resumable_upload=False,
                timeout=_NO_TOTAL,
            )

        told = await self._call("put", key, call, creates=options.if_none_match)
        return self._described(told, "put", key)

    async def _delete_if(self, doomed: Doomed) -> None:
        query = {**deletion(doomed), "userProject": self._settings.user_project}
        given = {name: value for name, value in query.items() if value is not None}
        key = doomed.key
        await self._call(
            "delete", key, lambda storage: storage.delete(self.container, key, params=given, timeout=_NO_TOTAL)
        )

    def _described(self, told: Any, operation: str, key: str) -> ObjectStat:
        try:
            return replies.described(told, key)
        except Unreadable as error:
            raise BadResponse(f"the service answered with {error}", operation=operation, uri=self.uri(key)) from error


class _Sdk(Transport):
    """The SDK's clients, one per event loop, and its sessions as a transport for requests of ours."""

    def __init__(self, endpoint: Endpoint, credentials: TokenSource, ca_file: str | None) -> None:
        self._endpoint = endpoint
        self._token = _Token(credentials)
        self._tls = tls_context(ca_file) if endpoint.origin.scheme == "https" else None
        self._route = Route(endpoint.origin, self._tls, _TIMEOUTS)
        self._storages = PerLoop(self._made)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"

    async def storage(self) -> Storage:
        """The running loop's client."""
        return await self._storages.get()

    async def _made(self, stack: AsyncExitStack) -> Storage:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1024, ssl=self._tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=environment_proxy(self._endpoint.origin),
            middlewares=(_once,),
            timeout=_NO_TOTAL,
        )
        await stack.enter_async_context(session)
        sdk: Any = Storage  # as which it calls our token its own
        # Without `api_is_dev=False` another endpoint than Google's would be spoken to without token.
        storage: Storage = sdk(
            session=session, token=self._token, api_root=self._endpoint.url, api_is_dev=not self._token.is_sent
        )
        return storage

    def error(self, error: BaseException) -> StoreError:
        """The family's member for what broke below HTTP."""
        if isinstance(error, _Redirected):
            return ConfigurationError("the service redirects elsewhere; check endpoint_url")
        return translated(error, self._route)

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        return self._sent(request)

    @asynccontextmanager
    async def _sent(self, request: Request) -> AsyncGenerator[Response]:
        headers: dict[str, str] = dict(request.headers)
        headers.setdefault("accept-encoding", "identity")  # aiohttp would ask for more, and not undo it here
        try:
            storage: Any = await self.storage()
            reply = await storage.session.request(
                request.method,
                URL(request.origin.url + request.target, encoded=True),
                headers,
                auto_raise_for_status=False,
                data=io.BytesIO(request.content) if len(request.body) or request.before else None,
                allow_redirects=False,
                auto_decompress=False,
                timeout=_NO_TOTAL,
            )
        except FAILURES as error:
            raise self.error(error) from cause(error)
        self._route.answered = True
        async with reply:
            yield _Reply(reply, self)

    async def close(self) -> None:
        await self._storages.close()


class _Token:
    """Our tokens as the SDK asks for one."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self.is_sent = not source.is_anonymous

    async def get(self) -> str | None:
        token = await self._source.current()
        return token.value if token is not None else None


class _Redirected(aiohttp.ClientError):
    """The service names another address; a token must not go there."""


class _Broken(aiohttp.ClientConnectionError):
    """The connection broke after the request was begun."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send once: aiohttp alone would follow redirects, and repeat a request whose kept connection broke."""
    try:
        reply = await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(type(error).__name__) from None
    if 300 <= reply.status < 400 and "location" in reply.headers:
        reply.close()
        raise _Redirected
    return reply


class _Reply(Response):
    """A reply of the SDK's session."""

    def __init__(self, reply: aiohttp.ClientResponse, sdk: _Sdk) -> None:
        self._reply, self._sdk = reply, sdk
        self.status = reply.status
        self.headers = {}
        for name, value in reply.headers.items():
            lower = name.lower()
            self.headers[lower] = f"{self.headers[lower]}, {value}" if lower in self.headers else value

    async def read(self, limit: int | None = None) -> bytes:
        pieces: list[bytes] = []
        self.received = 0
        try:
            async for piece in self._reply.content.iter_chunked(_CHUNK_BYTES):
                self.received += len(piece)
                if limit is not None and self.received > limit:
                    raise BadResponse(f"the service sent a body of more than {limit} bytes")
                pieces.append(piece)
        except FAILURES as error:
            raise self._sdk.error(error) from cause(error)
        return b"".join(pieces)

    async def readinto(self, into: memoryview) -> int:
        self.received = 0
        try:
            async for piece in self._reply.content.iter_chunked(_CHUNK_BYTES):
                stop = self.received + len(piece)
                if stop > into.nbytes:
                    raise BadResponse(f"the service sent a body of more than {into.nbytes} bytes")
                into[self.received : stop] = piece
                self.received = stop
        except FAILURES as error:
            raise self._sdk.error(error) from cause(error)
        return self.received
