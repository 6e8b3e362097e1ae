"""The one seam to the network: a request goes out, a streamed response comes back.

Knows HTTP, nothing of storage. Redirects are off, bodies are never decoded, nothing is retried here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from entrepot.models import Buffer

Headers: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. connect: to reach the endpoint. idle: between two pieces of a reply. No total: bodies may be long.

    send: for the network to take the next 256 KiB of a body. progress: over so long, a body that comes must have made
    1 KiB a second; it is looked at where a piece comes, so that it costs no timer.
    """

    connect_s: float = 10.0
    idle_s: float = 30.0
    send_s: float = 60.0
    progress_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Origin:
    """scheme (`http`, `https`), host (no brackets), port: what a pooled connection leads to."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of `Host`: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """`scheme://authority`."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, complete but for `Host`, `Content-Length` and `Connection`, which the transport writes.

    target: path and query exactly as sent (already percent-encoded). headers: as sent; no `Host`.
    before, after: sent around the body, as where it is a part of a multipart document; so it need not be copied.
    """

    method: str
    origin: Origin
    target: str = field(repr=False)  # the address of a session or of a signed URL is a secret
    headers: Headers = field(default=(), repr=False)
    body: Buffer = field(default=b"", repr=False)
    before: bytes = field(default=b"", repr=False)
    after: bytes = field(default=b"", repr=False)

    @property
    def content_bytes(self) -> int:
        """How long the body is with what surrounds it."""
        return len(self.before) + memoryview(self.body).nbytes + len(self.after)

    @property
    def content(self) -> bytes:
        """All that is sent as the body, in one piece."""
        return b"".join((self.before, self.body, self.after))


class Response(ABC):
    """A reply whose body has not been read yet. `headers` has lower-case names; repeated ones are joined by `, `."""

    status: int
    headers: dict[str, str]

    @abstractmethod
    async def read(self, limit: int | None = None) -> bytes:
        """The whole body. Raises: BadResponse above `limit` bytes, ConnectionFailed where it ends early, TimedOut."""

    @abstractmethod
    async def readinto(self, into: memoryview) -> int:
        """The whole body into a buffer; its length. Raises: as `read`; BadResponse where it is longer.

        Where it ends early, `received` says how much is good.
        """

    received: int = 0
    """How many bytes of the body came before the last call ended or failed."""


class Transport(ABC):
    """A pool of connections, kept per event loop."""

    @abstractmethod
    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Send, and wait for the reply's head; leaving the context gives the connection back, or closes it where the
        body was not read to its end.

        Raises: ConnectionFailed (`not_sent` tells whether any byte may have left), TimedOut, with no query in the text.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the running loop's connections; harmless twice."""
