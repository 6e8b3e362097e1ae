"""The store contract in other threads, loops and processes; and what a log of all of it shows."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import pickle
import signal
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import pytest

from entrepot.blocking import SyncArtifactStore
from entrepot.errors import StoreError
from entrepot.models import WriteOptions
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

THREADS: Final = 16
CHILD_TIMEOUT_S: Final = 60.0

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


async def _write_and_read(store: BaseArtifactStore, name: str) -> None:
    """What a process does with a store: several requests, one of them large, at once."""
    data = f"written by {name}".encode()
    await store.write_bytes(f"{name}/f", data)
    assert await store.read_bytes(f"{name}/f") == data
    async with store.open(f"{name}/large", "wb") as file:
        await file.write(LARGE)
    sizes = await asyncio.gather(store.size(f"{name}/large"), store.size(f"{name}/f"))
    assert tuple(sizes) == (len(LARGE), len(data))
    assert await store.listdir(name) == ["f", "large"]


async def _use_and_close(store: BaseArtifactStore, name: str) -> None:
    try:
        await _write_and_read(store, name)
    finally:
        await store.close()


def _use_in_a_loop(store: BaseArtifactStore, name: str) -> None:
    asyncio.run(_use_and_close(store, name))


def _in_a_spawned_process(packed: bytes, name: str) -> str:
    store: BaseArtifactStore = pickle.loads(packed)  # noqa: S301  # packed by the test
    _use_in_a_loop(store, name)
    return repr(store)


def _blocking_in_a_spawned_process(store: SyncArtifactStore, name: str) -> bytes:
    with store:
        store.write_bytes(f"{name}/g", b"blocking")
        return store.read_bytes(f"{name}/g")


def exit_of_forked(work: Callable[[], object]) -> str:
    """Run `work` in a forked child; what it failed with, or an empty text."""
    told, telling = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: to keep that safe is the point of these rules.
        warnings.filterwarnings("ignore", message=r".*fork\(\)", category=DeprecationWarning)
        child = os.fork()
    if child == 0:
        # Nothing of the parent may run here: neither pytest nor what is registered for the end of the process.
        os.close(told)
        try:
            work()
        except BaseException:  # noqa: BLE001  # told to the parent
            os.write(telling, traceback.format_exc().encode()[-4_000:])
            os._exit(1)
        os._exit(0)
    os.close(telling)
    with closing(os.fdopen(told, "rb")) as report:
        status = _awaited_exit(child)
        return report.read().decode() or (f"the child ended with {status}" if status else "")


def _awaited_exit(child: int) -> int:
    deadline = time.monotonic() + CHILD_TIMEOUT_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"the forked child did not end within {CHILD_TIMEOUT_S:.0f} s")


async def _failure_of(attempt: Callable[[], Awaitable[object]]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await attempt()
    return caught.value


class ProcessContract(StoreRules):
    """One store used by forked and spawned processes, by several loops, by many threads; and no secret in any log."""

    shares_files_between_processes: ClassVar[bool] = True
    """False where each process has files of its own (memory)."""

    def _written_elsewhere(self, store: BaseArtifactStore, name: str, loop: asyncio.Runner) -> None:
        """Another process wrote that, and it is here where files are shared."""
        found = loop.run(store.exists(f"{name}/large"))
        assert found == self.shares_files_between_processes
        if found:
            assert loop.run(store.read_bytes(f"{name}/large")) == LARGE

    # ---- fork and spawn ------------------------------------------------------------------------------------

    @needs_fork
    def test_a_forked_child_and_its_parent_go_on_using_the_store(
        self, anyio_backend: str, store: BaseArtifactStore
    ) -> None:
        with asyncio.Runner() as loop:
            loop.run(_write_and_read(store, "before"))  # leaves connections open
            for name in ("first child", "second child"):
                assert exit_of_forked(partial(_use_in_a_loop, store, name)) == ""
                self._written_elsewhere(store, name, loop)
            loop.run(_use_and_close(store, "parent"))

    @needs_fork
    def test_a_child_forked_inside_a_running_loop_uses_the_store(
        self, anyio_backend: str, store: BaseArtifactStore
    ) -> None:
        def in_child() -> None:
            # The child has the parent's running loop on its stack, so its own one runs in a thread.
            with ThreadPoolExecutor(1) as threads:
                threads.submit(_use_in_a_loop, store, "child").result(CHILD_TIMEOUT_S)

        async def fork() -> str:
            await _write_and_read(store, "before")
            failure = exit_of_forked(in_child)
            await _use_and_close(store, "parent")
            return failure

        assert asyncio.run(fork()) == ""

    @needs_fork
    def test_a_forked_child_uses_the_blocking_face(self, anyio_backend: str, store: BaseArtifactStore) -> None:
        def use(name: str) -> None:
            blocking.write_bytes(f"{name}/f", name.encode())
            with blocking.open(f"{name}/g", "wb") as file:
                file.write(b"of " + name.encode())
            assert blocking.read_bytes(f"{name}/g") == b"of " + name.encode()
            assert list(blocking.glob(f"{name}/*")) == [self.uri(store, f"{name}/{one}") for one in "fg"]

        with SyncArtifactStore(store) as blocking:
            use("before")
            assert exit_of_forked(lambda: use("child")) == ""
            assert blocking.exists("child/g") == self.shares_files_between_processes
            use("parent")

    def test_a_pickled_store_works_in_a_spawned_process(
        self, anyio_backend: str, store: BaseArtifactStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.give_credentials(monkeypatch)
        blocking = SyncArtifactStore(store)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
            shown = processes.submit(_in_a_spawned_process, pickle.dumps(store), "spawned").result(CHILD_TIMEOUT_S)
            told = processes.submit(_blocking_in_a_spawned_process, blocking, "spawned").result(CHILD_TIMEOUT_S)
        assert told == b"blocking"
        assert store.path in shown
        for secret in self.secret_texts:
            assert secret not in shown
        with asyncio.Runner() as loop:
            self._written_elsewhere(store, "spawned", loop)
            loop.run(store.close())

    # ---- loops and threads ---------------------------------------------------------------------------------

    def test_two_loops_take_turns_in_one_thread(self, anyio_backend: str, store: BaseArtifactStore) -> None:
        async def opened(name: str) -> Callable[[], Awaitable[bytes]]:
            await store.write_bytes(name, LARGE)
            file = await store.open(name, "rb")
            assert await file.read(10) == LARGE[:10]

            async def rest() -> bytes:
                async with file:
                    return await file.read()

            return rest

        async def read(rest: Callable[[], Awaitable[bytes]]) -> bool:
            return await rest() == LARGE[10:]

        with asyncio.Runner() as one, asyncio.Runner() as other:
            first, second = one.run(opened("one")), other.run(opened("other"))
            assert one.run(read(first))
            one.run(store.close())
            assert other.run(read(second))
            one.run(_use_and_close(store, "again"))
            other.run(store.close())

    def test_many_threads_use_one_blocking_store(self, anyio_backend: str, store: BaseArtifactStore) -> None:
        def work(number: int) -> int:
            mine = f"thread-{number}"
            for turn in range(3):
                data = f"{mine} {turn} ".encode() * 1_000
                with blocking.open(f"{mine}/{turn}", "wb") as file:
                    file.write(data)
                assert blocking.read_bytes(f"{mine}/{turn}") == data
                assert blocking.read_bytes("shared") == b"for all"
                blocking.rename(f"{mine}/{turn}", f"{mine}/moved-{turn}")
                assert len(blocking.listdir(mine)) == turn + 1
            assert sorted(blocking.walk(mine)) == [(self.uri(store, mine), [], ["moved-0", "moved-1", "moved-2"])]
            blocking.rmtree(mine)
            return number

        with SyncArtifactStore(store) as blocking:
            blocking.write_bytes("shared", b"for all")
            with ThreadPoolExecutor(THREADS) as threads:
                assert list(threads.map(work, range(THREADS))) == list(range(THREADS))
            assert blocking.listdir("") == ["shared"]

    # ---- what is shown -------------------------------------------------------------------------------------

    async def test_no_secret_is_logged_or_told_whatever_happens(
        self, store: BaseArtifactStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
        for logger in (one for one in known if one.level):  # what an SDK or an application has quieted
            caplog.set_level(logging.DEBUG, logger.name)
        await store.probe_capabilities()
        await _write_and_read(store, "dir")
        await store.copyfile("dir/f", "dir/copy")
        await store.rename("dir/copy", "moved")
        async with store.open("dir/given up", "wb") as file:
            await file.write(LARGE)
            await file.abort()
        shown = [repr(store), str(store), repr(SyncArtifactStore(store)), repr(store.config)]
        for attempt in self._failing(store):
            failure = await _failure_of(attempt)
            shown += [str(failure), repr(failure), repr(vars(failure)), "".join(traceback.format_exception(failure))]
        await store.rmtree("", allow_root=True)
        await store.close()
        formatter = logging.Formatter("%(name)s %(message)s")
        shown += [f"{formatter.format(record)} {vars(record)!r}" for record in caplog.records]
        for secret in self.secret_texts:
            assert [text for text in shown if secret in text] == []

    @staticmethod
    def _failing(store: BaseArtifactStore) -> list[Callable[[], Awaitable[object]]]:
        return [
            lambda: store.read_bytes("missing"),
            lambda: store.stat("missing"),
            lambda: store.listdir("moved"),
            lambda: store.remove("dir"),
            lambda: store.copyfile("moved", "dir/f"),
            lambda: store.rename("missing", "dir/f"),
            lambda: store.rmtree("missing"),
            lambda: store.read_range("moved", 0, 3, if_match="another"),
            lambda: store.write_bytes("moved", b"x", WriteOptions(if_match="another")),
            lambda: store.write_bytes("moved", b"x", WriteOptions(if_none_match=True)),
            lambda: store.write_bytes("../out", b"x"),
            lambda: store.read_bytes("other://place/with?a=query"),
        ]
