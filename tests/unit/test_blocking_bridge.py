"""The bridge: where calls run, from threads, running loops and forked children; Ctrl-C; what is closed when."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.blocking import SyncArtifactStore
from entrepot.bridge import BRIDGE
from entrepot.contract import BaseArtifactStore
from entrepot.errors import NotFound, StoreClosed
from plain_store import PlainStore, failing, no_fault

TESTS = Path(__file__).parents[1]


@pytest.fixture
def plain() -> PlainStore:
    return PlainStore()


@pytest.fixture
def store(plain: PlainStore) -> Iterator[SyncArtifactStore]:
    with SyncArtifactStore(plain) as store:
        yield store


def background_loop() -> asyncio.AbstractEventLoop:
    return BRIDGE.background().loop


# ---- one line a method -----------------------------------------------------------------------------------


METHODS = [
    "copyfile",
    "exists",
    "glob",
    "isdir",
    "listdir",
    "makedirs",
    "mkdir",
    "probe_capabilities",
    "read_bytes",
    "read_range",
    "remove",
    "rename",
    "rmtree",
    "scan",
    "size",
    "stat",
    "walk",
    "write_bytes",
]


@pytest.mark.parametrize("name", METHODS)
def test_methods_have_the_signature_and_docstring_of_the_async_ones(name: str) -> None:
    ours, theirs = getattr(SyncArtifactStore, name), getattr(BaseArtifactStore, name)
    assert ours.__doc__ == theirs.__doc__
    assert ours.__name__ == name
    mine, its = inspect.signature(ours), inspect.signature(theirs)
    assert list(mine.parameters.values()) == list(its.parameters.values())
    assert not inspect.iscoroutinefunction(ours)
    if inspect.isasyncgenfunction(theirs) or name in ("glob", "walk"):
        assert mine.return_annotation.startswith("Generator[")
    else:
        assert mine.return_annotation == its.return_annotation


def test_nothing_public_is_missing() -> None:
    ports = {
        "batch_items",
        "check_keys",
        "configuration_keys",
        "configure",
        "copies_natively_from",
        "copy_batch",
        "directories_may_outlive_files",
        "drop_lost_parts",
        "find_completed",
        "drop_parts",
        "paced",
        "open_parts",
        "open_reader",
        "open_writer",
        "part_checksum",
        "read_batch",
        "read_part",
        "remove_batch",
        "remove_empty_directories",
        "scans_in_order",
        "write_batch",
    }
    public = {name for name in dir(BaseArtifactStore) if not name.startswith("_") and not name.isupper()}
    assert public - ports <= set(dir(SyncArtifactStore))


def test_methods_give_what_the_store_gives(store: SyncArtifactStore) -> None:
    assert store.write_bytes("a/b", b"data").size_bytes == 4
    assert store.read_bytes("a/b") == b"data"
    assert store.read_range("a/b", 1, 3) == b"at"
    assert store.exists("a/b")
    assert store.isdir("a")
    assert store.listdir("a") == ["b"]
    assert store.size("a") == 4
    store.copyfile("a/b", "a/c")
    store.rename("a/c", "d")
    assert list(store.glob("*")) == ["plain://here/a", "plain://here/d"]
    assert list(store.glob("*/*")) == ["plain://here/a/b"]
    assert [entry.uri for entry in store.scan("")] == ["plain://here/a", "plain://here/d", "plain://here/a/b"]
    assert list(store.walk()) == [("plain://here", ["a"], ["d"]), ("plain://here/a", [], ["b"])]
    store.remove("d")
    store.rmtree("a")
    assert not store.exists("d")
    with pytest.raises(NotFound):
        store.stat("d")
    with pytest.raises(TypeError):
        store.stat("d", nonsense=1)  # type: ignore[call-arg]
    assert store.path == "plain://here"
    assert store.describe() == {"path": "plain://here"}
    assert "plain://here" in repr(store)
    assert pickle.loads(pickle.dumps(store)).path == "plain://here"


# ---- iterators -------------------------------------------------------------------------------------------


def test_walk_is_a_generator_and_prunes(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.files = {"a/x": b"", "b/y": b"", "b/c/z": b""}
    levels = store.walk()
    assert inspect.isgenerator(levels)
    seen = []
    for directory, directories, _ in levels:
        seen.append(directory)
        if directory.endswith("here"):
            directories.remove("a")
    assert seen == ["plain://here", "plain://here/b", "plain://here/b/c"]


def test_many_items_come_in_few_hops_and_the_first_alone(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.files = {f"{number:05}": b"" for number in range(3_000)}
    items = store.glob("*")
    assert next(items) == "plain://here/00000"
    assert plain.log.count(("glob", "00001")) == 0
    assert len(list(items)) == 2_999


def test_a_generator_left_early_is_closed(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.files = {"a/x": b"", "b/y": b""}
    for _ in store.walk():
        break
    assert ("walk-ended", "") in plain.log
    plain.log.clear()
    levels = store.walk()
    next(levels)
    levels.close()
    assert ("walk-ended", "") in plain.log
    plain.log.clear()
    levels = store.walk()
    next(levels)
    cycle: list[object] = [levels]
    cycle.append(cycle)
    del levels, cycle
    gc.collect()
    assert ("walk-ended", "") in plain.log


def test_an_error_comes_after_the_items_before_it(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.files = dict.fromkeys("abcdef", b"")
    seen = []
    with pytest.raises(NotFound):  # noqa: PT012
        for uri in store.glob("*"):
            seen.append(uri[-1])
            if uri.endswith("b"):
                plain.fault = failing("glob", NotFound("as the test wants it"))
    # At "b" two more had been asked for at most.
    assert seen[:2] == ["a", "b"]


# ---- where it runs ---------------------------------------------------------------------------------------


def test_a_plain_thread_runs_in_place_and_keeps_its_loop(store: SyncArtifactStore, plain: PlainStore) -> None:
    store.exists("a")
    store.exists("a")
    assert plain.loops[0] is plain.loops[1]
    assert plain.loops[0] is not background_loop()
    store.open("a", "wb").close()
    assert plain.loops[-1] is background_loop()


def test_a_store_on_this_machine_shares_the_background_loop_and_its_threads(plain: PlainStore) -> None:
    class Local(PlainStore):
        is_local = True  # type: ignore[assignment]

    local = Local()
    SyncArtifactStore(local).exists("a")
    assert local.loops == [background_loop()]


def test_context_variables_are_seen(plain: PlainStore) -> None:
    variable = contextvars.ContextVar("variable", default="")
    seen = []

    class Telling(PlainStore):
        async def exists(self, path: object) -> bool:
            seen.append(variable.get())
            return True

    store = SyncArtifactStore(Telling())
    variable.set("here")
    store.exists("a")

    async def inside() -> None:
        variable.set("inside")
        store.exists("a")

    asyncio.run(inside())
    assert seen == ["here", "inside"]


def test_inside_a_running_loop(store: SyncArtifactStore, plain: PlainStore) -> None:
    async def step() -> list[str]:
        store.write_bytes("a", b"1")
        with store.open("b", "w") as file:
            file.write("2")
        assert [uri async for uri in plain.glob("*")] == list(store.glob("*"))
        return store.listdir()

    assert asyncio.run(step()) == ["a", "b"]
    assert asyncio.run(step()) == ["a", "b"]


def test_many_threads_at_once(store: SyncArtifactStore) -> None:
    def work(number: int) -> bytes:
        store.write_bytes(f"{number}/a", bytes([number]))
        with store.open(f"{number}/b", "wb") as file:
            file.write(store.read_bytes(f"{number}/a"))
        with store.open(f"{number}/b", "rb") as file:
            data = file.read()
        assert store.listdir(f"{number}") == ["a", "b"]
        assert len(list(store.scan(f"{number}"))) == 2
        return data

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(200))) == [bytes([number]) for number in range(200)]


def test_a_call_from_the_background_loop_itself_is_refused(store: SyncArtifactStore, plain: PlainStore) -> None:
    errors: list[object] = []

    def onerror(error: object) -> None:
        with pytest.raises(RuntimeError, match="own loop"):
            store.exists("a")
        errors.append(error)

    assert list(store.walk("missing", onerror=onerror)) == []
    assert len(errors) == 1


def test_a_thread_that_ends_closes_its_loop_and_connections(plain: PlainStore) -> None:
    store = SyncArtifactStore(plain)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=store.exists, args=("a",))
        thread.start()
        thread.join()
        [loop] = plain.loops
        gc.collect()
    assert loop.is_closed()
    assert plain.closed_on == [loop]
    assert not caught


def test_close_closes_on_both_loops_and_the_store_stays_usable(plain: PlainStore) -> None:
    store = SyncArtifactStore(plain)
    store.close()
    assert plain.closed_on == []
    store.exists("a")
    store.open("a", "wb").close()
    store.close()
    assert set(plain.closed_on) == set(plain.loops)
    assert len(plain.closed_on) == 2
    store.close()
    assert len(plain.closed_on) == 2
    assert store.exists("a")


def test_tasks_left_behind_end_with_the_thread(plain: PlainStore) -> None:
    ended = threading.Event()

    class Leaving(PlainStore):
        async def exists(self, path: object) -> bool:
            async def linger() -> None:
                try:
                    await asyncio.sleep(3600)
                finally:
                    ended.set()

            self.task = asyncio.get_running_loop().create_task(linger())
            await asyncio.sleep(0)
            return True

    thread = threading.Thread(target=SyncArtifactStore(Leaving()).exists, args=("a",))
    thread.start()
    thread.join()
    assert ended.is_set()


# ---- Ctrl-C ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["exists", "publish", "read"])
def test_an_interrupt_cancels_and_raises(store: SyncArtifactStore, plain: PlainStore, operation: str) -> None:
    """In the main thread: in place for `exists`, on the background loop for the others."""
    plain.files["old"] = b"old"
    plain.hang_in(operation)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while (operation, "old") not in plain.log:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        if operation == "exists":
            store.exists("old")
        elif operation == "read":
            with store.open("old", "rb") as file:
                file.read()
        else:
            with store.open("old", "wb") as file:
                file.write(b"new")
    thread.join()
    assert (f"cancelled-{operation}", "old") in plain.log
    assert plain.files == {"old": b"old"}
    assert not plain.drafts
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    plain.fault = no_fault
    assert store.exists("old")


def test_an_interrupt_is_not_lost_where_the_operation_ends_well(plain: PlainStore) -> None:
    class Stubborn(PlainStore):
        async def exists(self, path: object) -> bool:
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return True
            return False

    with pytest.raises(KeyboardInterrupt):
        SyncArtifactStore(Stubborn()).exists("a")


def test_an_interrupt_before_a_call_reaches_the_loop_ends_it(
    store: SyncArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    background = BRIDGE.background()
    post = background._post
    posted: list[object] = []

    def interrupted(callback: Callable[[], object]) -> None:
        posted.append(callback)
        if len(posted) == 1:
            raise KeyboardInterrupt
        post(callback)

    monkeypatch.setattr(background, "_post", interrupted)
    ended = threading.Event()

    def call() -> None:
        with pytest.raises(KeyboardInterrupt):
            next(store.scan())
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    assert ended.wait(20)


def test_a_handler_of_the_program_that_raises_is_respected(store: SyncArtifactStore, plain: PlainStore) -> None:
    class Stop(Exception):
        pass

    def handler(_number: int, _frame: object) -> None:
        raise Stop

    plain.hang_in("exists")
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while ("exists", "a") not in plain.log:
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Stop):
            store.exists("a")
    finally:
        signal.signal(signal.SIGUSR1, previous)
    thread.join()
    assert ("cancelled-exists", "a") in plain.log


# ---- processes -------------------------------------------------------------------------------------------


def in_child(work: object) -> int:
    """The exit status of a forked child that calls `work`: 0 when it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork in a process with threads: the point of the test
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()  # type: ignore[operator]
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_uses_the_store_and_leaves_the_parent_alone(store: SyncArtifactStore, plain: PlainStore) -> None:
    plain.files["a"] = b"abc"
    file = store.open("a", "rb", buffering=0)
    writer = store.open("w", "wb", buffering=0)
    levels = store.walk()
    next(levels)
    store.exists("a")
    parents = [*plain.loops]

    def child() -> None:
        nonlocal file, writer
        assert store.read_bytes("a") == b"abc"
        with store.open("b", "w") as text:
            text.write("from the child")
        with store.open("b") as text:
            assert text.read() == "from the child"
        assert list(store.glob("*"))
        assert not set(plain.loops[len(parents) :]) & set(parents)
        with pytest.raises(StoreClosed, match="forked"):
            file.read(1)
        log = len(plain.log)
        del file, writer
        gc.collect()
        assert not {"abort", "publish", "close-reader"} & {operation for operation, _ in plain.log[log:]}
        BRIDGE.stop()

    assert in_child(child) == 0
    assert file.read(2) == b"ab"
    writer.write(b"parent")
    writer.close()
    assert plain.files["w"] == b"parent"
    assert store.exists("a")
    assert len(list(levels)) == 0
    file.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_while_another_thread_is_inside_the_bridge(store: SyncArtifactStore) -> None:
    with BRIDGE._lock:
        assert in_child(lambda: store.open("a", "wb").close()) == 0


def script(code: str, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


PREAMBLE = """
import logging, threading, sys
logging.getLogger("asyncio").setLevel("ERROR")  # else slow steps are told on stderr
from plain_store import PlainStore
from entrepot.blocking import SyncArtifactStore
plain = PlainStore(); plain.files["a"] = b"abc"
store = SyncArtifactStore(plain)
"""


@pytest.mark.parametrize(
    "inside",
    [
        "store.exists('a')",
        "store.open('a', 'rb').read()",
        "store.write_bytes('a', b'x')",
        "copy_sync((store, 'a'), (store, 'b'))",
        "copy_sync((store, ''), 'memory://target')",
        "asyncio.run(step())",
        "asyncio.run(step_that_handles_signals())",
    ],
)
def test_an_interrupted_script_ends_quickly(inside: str) -> None:
    code = f"""{PREAMBLE}
import asyncio, signal
from entrepot.copies import copy_sync
async def step():
    store.exists("a")
async def step_that_handles_signals():
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, print, "told")
    store.exists("a")
plain.hang_in("exists", "read", "publish")
try:
    {inside}
except KeyboardInterrupt:
    print("interrupted", plain.files, plain.drafts, [name for name, _ in plain.log if name.startswith("cancelled")])
"""
    with script(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("stuck in ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert out.splitlines()[-1].startswith("interrupted {'a': b'abc'} [] ['cancelled-")
    assert err == ""
    assert process.returncode == 0


def test_the_end_of_the_process_publishes_nothing_and_does_not_hang() -> None:
    code = f"""{PREAMBLE}
import atexit, io, zipfile
class Watch:
    def __del__(self):  # as late as it gets
        print(plain.files, plain.drafts, flush=True)
watch = Watch()
atexit.register(lambda: print("at exit", plain.files, plain.drafts, flush=True))
store.exists("a")
binary = store.open("b", "wb"); binary.write(b"b")
text = store.open("c", "w"); text.write("c")
wrapped = io.TextIOWrapper(store.open("d", "wb")); wrapped.write("d")
archive = zipfile.ZipFile(store.open("e", "wb"), "w"); archive.writestr("x", b"x")
reader = store.open("a", "rb"); reader.read(1)
levels = store.walk(); next(levels)
threading.Thread(target=lambda: store.exists("a"), daemon=True).start()
"""
    with script(code) as process:
        out, err = process.communicate(timeout=30)
    assert out.splitlines()[-1] == "{'a': b'abc'} []"
    assert "at exit" in out
    assert err == ""
    assert process.returncode == 0


def test_what_is_registered_later_still_makes_calls_at_the_end_and_closing_after_it_is_harmless() -> None:
    code = f"""{PREAMBLE}
import atexit
from entrepot.bridge import BRIDGE
def late():
    with store.open("b", "w") as file:
        file.write("late")
    print(store.read_bytes("b"), flush=True)
atexit.register(lambda: print("closed", store.close(), flush=True))
BRIDGE.end_with_the_process()
atexit.register(late)
store.open("a").close()  # on the loop of the background
"""
    with script(code) as process:
        out, err = process.communicate(timeout=30)
    assert out.splitlines() == ["b'late'", "closed None"]
    assert err == ""
    assert process.returncode == 0


def test_threads_that_go_on_opening_do_not_disturb_the_end() -> None:
    known = BRIDGE.background().files
    stopped = threading.Event()

    class File:
        def forsake(self) -> None: ...

    kept = [File() for _ in range(2_000)]
    for file in kept:
        known.add(file)

    def go_on() -> None:
        while not stopped.is_set():
            more = [File() for _ in range(100)]
            for file in more:
                known.add(file)

    threads = [threading.Thread(target=go_on) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert len(known.told()) >= len(kept)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)


def test_a_daemon_thread_in_a_call_does_not_hold_up_the_end() -> None:
    code = f"""{PREAMBLE}
plain.hang_in("read")
def work():
    try:
        store.open("a", "rb").read()
    except BaseException as error:
        print(type(error).__name__, flush=True)
threading.Thread(target=work, daemon=True).start()
while ("read", "a") not in plain.log: pass
"""
    with script(code) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Error" not in err


SPAWNING = """
import multiprocessing
from plain_store import PlainStore
from entrepot.blocking import SyncArtifactStore

def work(store):
    store.write_bytes("a", b"1")
    with store.open("b", "w") as file:
        file.write("2")
    return store.listdir()

if __name__ == "__main__":
    store = SyncArtifactStore(PlainStore())
    store.write_bytes("mine", b"")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(work, (store,)))
        pool.close()
        pool.join()
"""


def test_a_spawned_child_uses_a_store_that_was_sent_to_it(tmp_path: Path) -> None:
    main = tmp_path / "main.py"  # a spawned child imports it again
    main.write_text(SPAWNING)
    done = subprocess.run(
        [sys.executable, main],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("['a', 'b']\n", "")
