"""The transport on aiohttp: one pool of connections per event loop."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from entrepot.http.transport import Request, Response, Timeouts, Transport


class AiohttpTransport(Transport):
    """Connections are kept per event loop and dropped when it ends; a forked child begins with none.

    connections: an upper bound for each loop, far above what callers run at once: they bound themselves.
    ca_file: PEM file of trusted certificate authorities in place of the system's.
    """

    def __init__(
        self, *, timeouts: Timeouts | None = None, connections: int = 1024, ca_file: str | None = None
    ) -> None:
        raise NotImplementedError

    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
