"""A transport that answers from a list, and keeps what was asked: S3's clients without a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from entrepot.auth.aws import AwsCredentials, CredentialSource
from entrepot.errors import BadResponse, ConnectionFailed
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.connection import make_client
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Request, Response, Transport

KEYS = {"key": "AKIDEXAMPLE", "secret": "a-secret-that-nobody-sees"}
AT_ONCE = RetryPolicy(max_attempts=3, base_s=0, throttle_base_s=0, deadline_s=5)


@dataclass
class Reply:
    """cut: the connection breaks after so many bytes of the body. lost: it breaks before any of the reply."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    lost: bool = False


class _Canned(Response):
    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = {"content-length": str(len(reply.body)), **reply.headers}
        self._reply = reply
        self.received = 0

    async def read(self, limit: int | None = None) -> bytes:
        body = self._taken()
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
            yield _Canned(reply)

        return exchange()

    async def close(self) -> None:
        pass


class Sequenced(CredentialSource):
    """Credentials that a refresh replaces by the next ones."""

    def __init__(self, *credentials: AwsCredentials) -> None:
        self.left = list(credentials)

    async def current(self) -> AwsCredentials:
        return self.left[0]

    async def refresh(self, rejected: AwsCredentials | None = None) -> AwsCredentials:
        if len(self.left) > 1:
            self.left.pop(0)
        return self.left[0]


def client_of(*replies: Reply | Callable[[Request], Reply], **options: Any) -> tuple[S3Client, CannedTransport]:
    """A client and what it talks to; `endpoint_url` None is AWS."""
    transport = CannedTransport(*replies)
    given = {"path": "s3://bucket", "endpoint_url": "https://s3.example.com", "region": "eu-west-1", **KEYS, **options}
    return make_client(S3Config(**given), transport=transport, policy=AT_ONCE), transport


def as_text(request: Request) -> str:
    """The request as it would be read on the wire, with date and signature masked."""
    lines = [f"{request.method} {request.target}", f"host: {request.origin.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    text = "\n".join(lines)
    text = re.sub(r"\d{8}T\d{6}Z", "DATE", text)
    text = re.sub(r"/\d{8}/", "/DAY/", text)
    text = re.sub(r"Signature=[0-9a-f]{64}", "Signature=SIGNATURE", text)
    body = bytes(request.body)
    return text + (f"\n\n{body.decode()}" if body else "")


def xml(root: str, inner: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><{root}>{inner}</{root}>'.encode()


def error(status: int, code: str, inner: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, headers or {}, xml("Error", f"<Code>{code}</Code><Message>m</Message>{inner}"))


def names(request: Request) -> Sequence[str]:
    return [name for name, _ in request.headers]
