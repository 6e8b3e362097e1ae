"""A transport that answers from a list, and keeps what was asked: the clients of a service without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from entrepot.errors import BadResponse, ConnectionFailed
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Request, Response, Transport

AT_ONCE = RetryPolicy(max_attempts=3, base_s=0, throttle_base_s=0, deadline_s=5)


@dataclass
class Reply:
    """cut: the connection breaks after so many bytes of the body. lost: it breaks before any of the reply."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    lost: bool = False


class CannedResponse(Response):
    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = {"content-length": str(len(reply.body)), **reply.headers}
        self._reply = reply
        self.received = 0

    async def read(self, limit: int | None = None) -> bytes:
        body = self._taken()
        self.received = len(body)
        if limit is not None and len(body) > limit:
            raise BadResponse("too long")
        return body

    async def readinto(self, into: memoryview) -> int:
        cut = self._reply.cut
        good = self._reply.body if cut is None else self._reply.body[:cut]
        if len(good) > into.nbytes:
            raise BadResponse("too long")
        into[: len(good)] = good
        self.received = len(good)
        self._taken()
        return len(good)

    def _taken(self) -> bytes:
        if self._reply.cut is not None:
            raise ConnectionFailed("the connection broke")
        return self._reply.body


class CannedTransport(Transport):
    """Answers in order; the last answer is given again and again."""

    def __init__(self, *replies: Reply | Callable[[Request], Reply]) -> None:
        self.replies = list(replies) or [Reply()]
        self.requests: list[Request] = []

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        @asynccontextmanager
        async def exchange() -> Any:
            self.requests.append(request)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            if callable(reply):
                reply = reply(request)
            if reply.lost:
                raise ConnectionFailed("the connection broke")
            yield CannedResponse(reply)

        return exchange()

    async def close(self) -> None:
        pass


def names(request: Request) -> Sequence[str]:
    return [name for name, _ in request.headers]
