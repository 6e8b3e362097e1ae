"""One connection a loop: made once, ended with it, made again when it broke, and never shared with a child."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from entrepot.filesystem import LoopConnections
from forking import status_of_child


@dataclass
class Connection:
    loop: asyncio.AbstractEventLoop
    ours: socket.socket
    is_open: bool = True


@dataclass
class Server:
    """Counts what is made and ended. theirs: its side of each connection."""

    made: list[Connection] = field(default_factory=list)
    ended: list[Connection] = field(default_factory=list)
    theirs: list[socket.socket] = field(default_factory=list)

    def connections(self) -> LoopConnections[Connection]:
        ended = self.ended

        async def connect() -> Connection:
            await asyncio.sleep(0)
            ours, theirs = socket.socketpair()
            self.theirs.append(theirs)
            self.made.append(Connection(asyncio.get_running_loop(), ours))
            return self.made[-1]

        async def disconnect(connection: Connection) -> None:
            connection.ours.close()
            await asyncio.sleep(0)
            connection.is_open = False
            ended.append(connection)

        return LoopConnections(
            connect, disconnect, is_open=lambda one: one.is_open, descriptor=lambda one: one.ours.fileno()
        )


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for side in [*server.theirs, *(one.ours for one in server.made)]:
        side.close()


def test_a_loop_has_one_connection_which_ends_with_it(server: Server) -> None:
    connections = server.connections()

    async def use() -> None:
        found = await asyncio.gather(*(connections.get() for _ in range(20)))
        assert len({id(one) for one in found}) == 1

    for count in (1, 2):
        asyncio.run(use())
        assert (len(server.made), len(server.ended)) == (count, count)


def test_closing_twice_is_harmless_and_the_next_use_connects_again(server: Server) -> None:
    connections = server.connections()

    async def use() -> None:
        before = asyncio.all_tasks()
        await connections.close()
        first = await connections.get()
        await connections.close()
        await connections.close()
        assert server.ended == [first]
        assert asyncio.all_tasks() == before
        assert await connections.get() is not first

    asyncio.run(use())
    assert len(server.ended) == 2


def test_a_broken_connection_is_made_again(server: Server) -> None:
    connections = server.connections()

    async def use() -> None:
        first = await connections.get()
        first.is_open = False
        assert await connections.get() is not first
        assert server.ended == [first]

    asyncio.run(use())


def test_who_waits_is_not_cancelled_with_who_connects(server: Server) -> None:
    connections = server.connections()

    async def use() -> None:
        first, second = asyncio.ensure_future(connections.get()), asyncio.ensure_future(connections.get())
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).is_open
        assert first.cancelled()

    asyncio.run(use())
    assert len(server.ended) == 1


def test_a_dropped_owner_ends_its_connection(server: Server) -> None:
    async def use() -> None:
        await server.connections().get()
        gc.collect()
        while not server.ended:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(use(), 10))


def test_an_owner_dropped_while_its_loop_is_idle_ends_its_connection_with_the_loop(server: Server) -> None:
    with asyncio.Runner() as runner:
        connections = server.connections()
        runner.run(connections.get())
        del connections
        gc.collect()
        assert server.ended == []
    assert server.ended == server.made


def test_loops_of_two_threads_have_two_connections(server: Server) -> None:
    connections = server.connections()
    both = threading.Barrier(2)

    async def use() -> None:
        await connections.get()
        await asyncio.to_thread(both.wait, 10)

    threads = [threading.Thread(target=asyncio.run, args=[use()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({id(one.loop) for one in server.made}) == len(server.ended) == 2


def test_a_forked_child_says_nothing_on_the_connection_of_its_parent(server: Server) -> None:
    connections = server.connections()

    async def in_child() -> None:
        inherited = server.made[0].ours
        mine = await connections.get()
        with pytest.raises(OSError, match="non-socket"):  # it leads nowhere now
            inherited.send(b"from the child")
        await connections.close()
        assert mine is not server.made[0]
        assert server.ended == [mine]

    async def use() -> None:
        first = await connections.get()
        assert status_of_child(in_child) == 0
        first.ours.send(b"from the parent")
        server.theirs[0].settimeout(10)
        assert server.theirs[0].recv(100) == b"from the parent"
        assert await connections.get() is first

    asyncio.run(use())
