"""Connections kept per event loop: closed when it ends, dropped without a word in a forked child."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet, finalize

from entrepot.http.routes import Route, tls_context
from entrepot.http.transport import Origin, Request, Response, Timeouts, Transport


class Connections(ABC):
    """One loop's open connections. Nothing in it, nor what the loop holds of it, leads back to its `Pool`.

    sockets: every one that was opened, for a child that is forked and for a loop that was only closed.
    """

    closed: bool = False

    def __init__(self) -> None:
        self.sockets = WeakSet[socket.socket]()

    @abstractmethod
    async def close(self) -> None:
        """Close them, within a moment; harmless twice."""

    def abandon(self) -> None:
        """After the sockets of a loop that is closed were closed: forget what was made with them."""


C = TypeVar("C", bound=Connections)


class Pool(Generic[C]):
    """What a transport holds of one loop's connections, so that a transport which is dropped is noticed."""

    def __init__(self, connections: C) -> None:
        self.connections = connections
        self._keeper = _close_at_end(connections)
        # Held until then by the registry of finalisers, connections outlive garbage that the pool may be part of.
        self._dropped = finalize(self, _let_go, asyncio.get_running_loop(), connections, self._keeper)
        self._dropped.atexit = False

    async def keep(self) -> None:
        """Have the loop close this pool when it shuts its asynchronous generators down, as every runner does."""
        await anext(self._keeper)

    async def close(self) -> None:
        self._dropped.detach()
        await self._keeper.aclose()


async def _close_at_end(connections: Connections) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await connections.close()


def _let_go(loop: asyncio.AbstractEventLoop, connections: Connections, _keeper: object) -> None:
    """After a pool that nobody closed. A living loop runs the keeper's end by itself, once this reference is gone;
    for a loop that was only closed, the sockets are.
    """
    if loop.is_closed():
        for sock in list(connections.sockets):
            sock.close()
        connections.abandon()


class PooledTransport(Transport, Generic[C]):
    """A transport with one pool of connections for each event loop.

    connections: an upper bound for each loop, far above what callers run at once: they bound themselves.
    ca_file: PEM file of trusted certificate authorities in place of the system's.
    Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY` …), read when an origin is first used.
    """

    def __init__(
        self, *, timeouts: Timeouts | None = None, connections: int = 1024, ca_file: str | None = None
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self._most_connections = connections
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._pid = os.getpid()
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pool[C]] = WeakKeyDictionary()
        self._inherited: list[object] = []
        self._routes: dict[Origin, Route] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.timeouts!r})"

    @abstractmethod
    def send(self, request: Request) -> AbstractAsyncContextManager[Response]: ...

    @abstractmethod
    def _open(self) -> C:
        """Connections for the running loop, none of them made yet."""

    async def close(self) -> None:
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None and self._pid == os.getpid():
            await pool.close()

    def kept(self) -> C | None:
        """The running loop's connections, if there are any yet."""
        if self._pid != os.getpid():
            self._drop_inherited()
        pool = self._pools.get(asyncio.get_running_loop())
        return pool.connections if pool is not None and not pool.connections.closed else None

    async def opened(self) -> C:
        """The running loop's first connections, or those after a `close`."""
        self._drop_ended()
        pool = self._pools[asyncio.get_running_loop()] = Pool(self._open())
        await pool.keep()
        return pool.connections

    def route(self, origin: Origin) -> Route:
        """What every request to an origin has in common."""
        route = self._routes.get(origin)
        if route is None:
            if origin.scheme == "https" and self._tls is None:
                self._tls = tls_context(self._ca_file)
            tls = self._tls if origin.scheme == "https" else None
            route = self._routes[origin] = Route(origin, tls, self.timeouts)
        return route

    def _drop_inherited(self) -> None:
        """In a forked child: the parent goes on using these connections, so nothing may be said on them.

        Closing a transport would speak TLS and change the parent's epoll set; closing the descriptors does neither.
        The objects around them are kept, unused, so that no finaliser touches what is shared.
        """
        self._pid = os.getpid()
        for pool in list(self._pools.values()):
            for sock in list(pool.connections.sockets):
                descriptor = sock.detach()
                if descriptor >= 0:
                    os.close(descriptor)
            self._inherited.append(pool)
        self._inherited.extend(self._pools.keys())
        self._pools = WeakKeyDictionary()

    def _drop_ended(self) -> None:
        """Loops close their pools as they end (`Pool.keep`); this is for loops that were only closed."""
        for reference in self._pools.keyrefs():  # a list made in one step: other threads' loops come and go
            loop = reference()
            if loop is not None and loop.is_closed():
                self._pools.pop(loop, None)
