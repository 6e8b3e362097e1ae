"""A server of this process on a free port of loopback: a thread of its own, with a loop of its own, and connections.

So it serves blocking and async tests alike, and a loop that is busy, blocked or gone does not hold it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

_HOST: Final = "127.0.0.1"
HEAD_MOST_BYTES: Final = 256 * 1024
"""Of a request's or reply's head, and what is read ahead of a slow reader."""
_START_TIMEOUT_S: Final = 30.0


class LoopbackServer(ABC):
    """A context manager: it listens from `start` to `stop`. A subclass talks to one connection at a time."""

    def __init__(self) -> None:
        self._port = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """`http://127.0.0.1:PORT`, once it is started."""
        if not self._port:
            raise RuntimeError(f"{type(self).__name__} is not started: use it as a context manager")
        return f"http://{_HOST}:{self._port}"

    @abstractmethod
    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end. It is closed afterwards; errors of connections may pass."""

    # ---- its life ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen. Blocks for some milliseconds. Raises: RuntimeError where it was started before."""
        if self._thread is not None:
            raise RuntimeError(f"{type(self).__name__} can be started once")
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT_S):
            raise RuntimeError(f"{type(self).__name__} did not start in {_START_TIMEOUT_S:g} s")
        if self._failure is not None:
            raise RuntimeError(f"{type(self).__name__} did not start") from self._failure
        return self

    def stop(self) -> None:
        """Drop every connection, and wait for the thread's end; harmless twice.

        Raises: what a conversation failed with, other than for a connection's sake: a defect of the server's.
        """
        if self._thread is None or self._loop is None:
            return
        stopping = self._stopping
        if stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(stopping.set)
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise RuntimeError(f"{type(self).__name__} failed while it served") from failure

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ---- in its thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # told to whoever started or stops it
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, _HOST, 0, limit=HEAD_MOST_BYTES)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        try:
            await self._stopping.wait()
        finally:
            server.close()
            for task in tuple(self._conversations):
                task.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except (OSError, EOFError):
            pass  # the peer left: nobody is there to be told
        except Exception as error:  # noqa: BLE001  # a defect: told by `stop`
            self._failure = self._failure or error
        finally:
            await close(writer)


async def flushed(writer: asyncio.StreamWriter) -> None:
    """Wait until all that was written has left this process."""
    writer.transport.set_write_buffer_limits(0)
    await writer.drain()


async def close(writer: asyncio.StreamWriter) -> None:
    """End a connection and wait until it has ended; what cannot be sent any more is dropped."""
    writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the peer reads ECONNRESET. What it has not read by then it may never read."""
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None and not writer.transport.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
