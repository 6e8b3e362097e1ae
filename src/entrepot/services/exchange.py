"""One attempt of one request over the transport: signed, sent, its reply taken or turned into the family's error."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from entrepot.errors import BadResponse, ConnectionFailed, StoreError, TimedOut
from entrepot.http.transport import Request, Response, Transport
from entrepot.models import KIB, Buffer, ObjectData, Reached
from entrepot.services.client import ServiceClient
from entrepot.services.download import Download
from entrepot.services.faults import ErrorInside, ErrorReply, RangeOutside, Unreadable
from entrepot.services.headers import http_time

T = TypeVar("T")
Take: TypeAlias = Callable[[Response], Awaitable[T]]
"""Reads the body of a reply that is a success. It may raise ErrorInside, Unreadable, and the transport's errors."""

HeaderList: TypeAlias = tuple[tuple[str, str], ...]

ERROR_MAX_BYTES: Final = 64 * KIB
"""More than any service writes to say why it refuses."""

_MARKUP: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
_JSON_ERROR: Final = re.compile(rb'\s*\{\s*"error"')


class Call(NamedTuple):
    """One request before it is signed. payload: what the signature says of the body, where it covers one.

    accepts: statuses beside 2xx that `take` reads itself. before, after: as of a `Request`.
    """

    method: str
    target: str
    headers: HeaderList = ()
    body: Buffer = b""
    payload: str = ""
    accepts: frozenset[int] = frozenset()
    before: bytes = b""
    after: bytes = b""


class Exchange(ServiceClient):
    """Asks a service, and asks anew at once where only who asks, when or where has to be put right.

    A flavor's `wire` client is made of it and of the flavor's rules: `class WireClient(Exchange, RulesOfTheFlavor)`.
    """

    _transport: Transport

    @abstractmethod
    async def _signed(self, call: Call) -> tuple[Request, Any]:
        """The request with its signature or token, and what `_correct` wants to know of how it was made."""

    @abstractmethod
    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorReply:
        """What a reply that is no success says, whatever its body is."""

    @abstractmethod
    def _fault(self, reply: ErrorReply, *, operation: str, uri: str, creates: bool) -> StoreError:
        """The error to raise for it."""

    async def _correct(self, reply: ErrorReply, made: Any, corrected: set[str]) -> bool:
        """Whether something was put right, so that asking again may help; `corrected` keeps what was, once each."""
        return False

    async def _explained(self, call: Call, reply: ErrorReply) -> ErrorReply:
        """Why a HEAD was refused, which has no body to tell."""
        return reply

    @abstractmethod
    async def _front(self) -> Request:
        """A HEAD for which nobody has to be known: whatever the answer is, the service is there."""

    async def close(self) -> None:
        await self._transport.close()

    async def reach(self) -> Reached:
        return await self._retried(self._reached)

    async def _reached(self) -> Reached:
        request = await self._front()
        try:
            async with self._transport.send(request) as response:
                told = (await take_headers(response)).get("date")
        except StoreError as error:
            self._address_error(error, "reach", "")
            raise
        return Reached(request.origin.url, http_time(told) if told else None)

    async def _ask(self, operation: str, key: str, call: Call, take: Take[T], *, creates: bool = False) -> T:
        """One attempt, with its corrections: expired credentials, a clock that differs, another region, each once."""
        corrected: set[str] = set()
        try:
            while True:
                request, made = await self._signed(call)
                try:
                    if self.telemetry is None:
                        return await self._exchange(request, call, take)
                    with self.telemetry.request(self.SCHEME, operation, self.container, key, request) as seen:
                        return await self._exchange(request, call, seen.noting(take))
                except ErrorInside as refused:
                    reply = refused.reply
                if call.method == "HEAD" and reply.status in {400, 403}:
                    reply = await self._explained(call, reply)
                if reply.status == 416 and operation == "get":
                    raise RangeOutside
                if not await self._correct(reply, made, corrected):
                    raise self._fault(reply, operation=operation, uri=self.uri(key), creates=creates)
        except Unreadable as error:
            raise BadResponse(f"the service answered with {error}", operation=operation, uri=self.uri(key)) from error
        except StoreError as error:
            self._address_error(error, operation, key)
            raise

    async def _exchange(self, request: Request, call: Call, take: Take[T]) -> T:
        """Send, and take the reply if it is a success. Raises: ErrorInside for any other."""
        async with self._transport.send(request) as response:
            if 200 <= response.status < 300 or response.status in call.accepts:
                return await take(response)
            body = b""
            if call.method != "HEAD":
                try:
                    body = await response.read(ERROR_MAX_BYTES)
                except (BadResponse, ConnectionFailed, TimedOut):
                    body = b""  # the status speaks alone
            raise ErrorInside(self._refusal(response.status, response.headers, body))

    def _address_error(self, error: StoreError, operation: str, key: str) -> None:
        """The transport knows neither operation nor object."""
        if error.uri:
            return
        error.operation, error.uri = operation, self.uri(key)
        if isinstance(error, OSError):
            error.filename = error.uri

    async def _received(self, download: Download, call: Call) -> ObjectData | None:
        """One attempt of a read; None where the body broke off after progress."""

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

        return await self._ask("get", download.key, call, take)


async def take_headers(response: Response) -> Mapping[str, str]:
    """The head of a reply whose body is empty; read all the same, as unread it would cost the connection."""
    await take_nothing(response)
    return response.headers


async def take_nothing(response: Response) -> None:
    """Nothing of a reply but that it is a success."""
    body = await response.read(ERROR_MAX_BYTES)
    if body and response.status < 300 and (_MARKUP.match(body) or _JSON_ERROR.match(body)):
        # An error inside it, or somebody else's page, such as a proxy's.
        raise Unreadable("a document where a success has none")


async def take_size(response: Response) -> Mapping[str, str]:
    """The head of a reply to HEAD, which tells an object's size."""
    await response.read(ERROR_MAX_BYTES)
    if not response.headers.get("content-length", "").isdecimal():
        raise Unreadable("a reply without the object's size")
    return response.headers


async def take_written(response: Response) -> Mapping[str, str]:
    """The head of the reply to a write, of a service that always tells the etag of what it has written."""
    headers = await take_headers(response)
    if not headers.get("etag"):
        raise Unreadable("no etag of what was written")
    return headers


def take_document(parse: Callable[[bytes], T], most_bytes: int) -> Take[T]:
    """The whole body, parsed."""

    async def take(response: Response) -> T:
        return parse(await response.read(most_bytes))

    return take
