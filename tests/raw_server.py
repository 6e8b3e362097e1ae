"""Raw HTTP servers for the tests of the transports: they answer with the bytes they are given, also with wrong ones."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from entrepot.http.transport import Origin


class Server:
    """A raw server: what it was sent, and how many connections it has seen and has open."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.accepted = 0
        self.open = 0
        self.changed = asyncio.Condition()
        self.port = 0

    @property
    def origin(self) -> Origin:
        return Origin("http", "127.0.0.1", self.port)

    async def receive(self, reader: asyncio.StreamReader) -> bytes:
        """One request, its body by Content-Length; its head is returned."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        self.bodies.append(await reader.readexactly(int(fields.get(b"content-length", b"0"))))
        return head

    async def until_open(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.open == count)


Handler: TypeAlias = Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(
    handler: Handler,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    server = Server()
    # The loop itself holds no connection whose reading is paused: without this the collector takes it away.
    under_way: set[asyncio.Task[None]] = set()

    async def count(change: int) -> None:
        async with server.changed:
            server.open += change
            server.changed.notify_all()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        await count(1)
        try:
            await handler(server, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            under_way.discard(task)
            await count(-1)

    listener = await asyncio.start_server(connection, "127.0.0.1", 0, limit=2**20, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def answering(*replies: bytes) -> Handler:
    """Answers each request with the next reply, the last one for ever; the connection stays open."""

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.receive(reader)
            writer.write(replies[min(len(server.heads), len(replies)) - 1])
            await writer.drain()

    return handler


def then_closing(reply: bytes, *, reset: bool = False) -> Handler:
    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.receive(reader)
        writer.write(reply)
        await writer.drain()
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    return handler


def reply(body: bytes = b"", *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Thread:
    """A server in a loop of its own thread, for clients in other loops, threads and processes."""

    def __init__(self, answer: bytes = b"hello", tls: ssl.SSLContext | None = None) -> None:
        self.answer, self.tls = answer, tls

    def __enter__(self) -> Thread:
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()))
        self.thread.start()
        assert self.ready.wait(10)
        return self

    async def main(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with serving(answering(reply(self.answer)), self.tls) as self.server:
            self.ready.set()
            await self.stop.wait()

    def __exit__(self, *exception: object) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)

    @property
    def origin(self) -> Origin:
        return self.server.origin

    @property
    def port(self) -> int:
        return self.server.port

    def wait_open(self, count: int) -> None:
        asyncio.run_coroutine_threadsafe(self.server.until_open(count), self.loop).result(10)


def certified(folder: Path) -> Path:
    """A self-signed certificate of localhost, not of 127.0.0.1, with its key."""
    pem, key = folder / "cert.pem", folder / "key.pem"
    names = "subjectAltName=DNS:localhost"
    request = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext {names}"
    subprocess.run(
        [*request.split(), "-keyout", str(key), "-out", str(pem)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return pem


def tls_server(certificate: Path, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """How a server speaks TLS, also an old one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
