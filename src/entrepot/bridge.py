"""The bridge from blocking code to coroutines: a loop of the calling thread, or one loop in the background.

One-shot calls from a plain thread run in place, on a private loop of that thread (about 10 µs, 20 in the main thread).
What has a state between two calls (open files, iterators), calls from inside a running loop, and stores on this machine
run on the one background loop of the process (about 40 to 100 µs a hop). Both cancel the operation on Ctrl-C and raise
KeyboardInterrupt once it has ended.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import selectors
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

from entrepot.errors import StoreClosed
from entrepot.interrupts import Interrupt, set_aside_handler_of_asyncio

logger = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K")
Make: TypeAlias = Callable[[], Coroutine[Any, Any, T]]

GRACE_S: Final = 5.0
"""How long the end of a thread or of the process waits for connections to close and for aborts."""

_FINALISER_WAIT_S: Final = 1.0
# A finaliser may run in the middle of anything, even under a lock that the loop's thread wants: its wait must end.


class Closable(Protocol):
    """A store, as far as the bridge is concerned: `close` drops the connections of the running loop."""

    @property
    def is_local(self) -> bool: ...
    def close(self) -> Coroutine[Any, Any, None]: ...


class OpenFile(Protocol):
    """An open file: `forsake` ends it without publishing, in a bounded time."""

    def forsake(self) -> None: ...


class _Known(Generic[K]):
    """What there is to wind up at the end, held weakly; threads may add to it while it is told."""

    def __init__(self) -> None:
        self._held: WeakSet[K] = WeakSet()
        self._lock = threading.RLock()  # a finaliser may come back to it in the middle

    def add(self, one: K) -> None:
        if one not in self._held:
            with self._lock:
                self._held.add(one)

    def remove(self, one: K) -> bool:
        """Forget it; whether it was known."""
        with self._lock:
            known = one in self._held
            self._held.discard(one)
            return known

    def told(self) -> list[K]:
        """All that there is now."""
        with self._lock:
            return list(self._held)


class _Loop(asyncio.SelectorEventLoop):
    """A loop that a forked child can let go of: both share the kernel's side of it (epoll, the wake-up pipe).

    serves_blocked_loops: callers inside other loops wait for what runs here, and block their loops meanwhile. So it
    must not wait for what only they could give: it has a request of its own at each store (`entrepot.http.lines`).
    """

    serves_blocked_loops = False

    def __init__(self) -> None:
        self.process = os.getpid()
        self._selector_of_its_own = selectors.DefaultSelector()
        super().__init__(self._selector_of_its_own)

    @property
    def inherited(self) -> bool:
        """True in a forked child of the process that made it."""
        return self.process != os.getpid()

    def let_go(self) -> None:
        """In a forked child: close this side's descriptor only; `close` would unregister the parent's, too."""
        self._selector_of_its_own.close()

    def __del__(self) -> None:
        if not self.inherited and not self.is_closed() and not self.is_running():
            self.close()


class _Place:
    """The private loop of one thread; nothing runs on it between two calls."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self.stores: _Known[Closable] = _Known()

    def run(self, make: Make[T]) -> T:
        interrupt = Interrupt.installed(self.loop)
        if interrupt is None:
            return self._complete(self.loop.create_task(make()))
        try:
            try:
                task = self.loop.create_task(make())
                interrupt.watch(task)
                result = self._complete(task, interrupt)
            finally:
                interrupt.remove()
        except BaseException as error:
            if interrupt.received and not isinstance(error, KeyboardInterrupt):
                cause = None if isinstance(error, asyncio.CancelledError) else error
                raise KeyboardInterrupt from cause
            raise
        if interrupt.received:  # it ended well all the same, but the program is asked to stop
            raise KeyboardInterrupt
        return result

    def _complete(self, task: asyncio.Task[T], interrupt: Interrupt | None = None) -> T:
        try:
            return self.loop.run_until_complete(task)
        except BaseException:
            # Not done: a signal handler raised through the loop, whose state is unknown then.
            if not task.done():
                impatient = interrupt is not None and interrupt.received > 1
                self._give_up(task, 0.0 if impatient else GRACE_S)
            raise

    def _give_up(self, task: asyncio.Task[Any], wait_s: float) -> None:
        task.cancel()
        self.loop.run_until_complete(asyncio.wait({task}, timeout=wait_s))
        if not task.done():
            self.loop.close()

    def close(self) -> None:
        """Close the connections that were opened here, and the loop; harmless twice, nothing in a forked child."""
        if self.loop.inherited or self.loop.is_closed() or self.loop.is_running():
            return
        if asyncio._get_running_loop() is None:
            self._end()
            return
        # An exception that passed through here may keep this alive beyond its thread, until it is dropped where another
        # loop runs; two cannot run in one thread.
        thread = threading.Thread(target=self._end, name="entrepot-winding-up", daemon=True)
        thread.start()
        thread.join(_FINALISER_WAIT_S)

    def _end(self) -> None:
        try:
            self.loop.run_until_complete(_wind_up(self.stores.told()))
        finally:
            self.loop.close()

    def __del__(self) -> None:
        # The thread's own variables are dropped when it ends, in that thread.
        if not sys.is_finalizing():
            self.close()


class _Call(Generic[T]):
    """One coroutine handed to the background loop, and the lock on which its caller waits."""

    __slots__ = ("_done", "_error", "_make", "_task", "finished")

    def __init__(self, make: Make[T]) -> None:
        self._make = make
        self._task: asyncio.Task[T] | None = None
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()
        self.finished = False

    # -- on the loop's thread

    def start(self) -> None:
        try:
            self._task = asyncio.get_running_loop().create_task(self._make())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread by `outcome`
            self._error = error
            self._finish(None)
            return
        self._task.add_done_callback(self._finish)

    def _finish(self, _task: asyncio.Task[T] | None) -> None:
        self.finished = True
        self._done.release()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif not self.finished:  # callbacks come in order: the interrupt was faster, and it was never posted
            self._finish(None)

    # -- on the caller's

    def wait(self, timeout_s: float = -1) -> None:
        # `finished` is set before the lock is released: an exception out of `acquire` cannot make us wait for ever.
        if not self.finished:
            self._done.acquire(timeout=timeout_s)

    def outcome(self) -> T:
        try:
            if self._error is not None:
                raise self._error
            assert self._task is not None
            return self._task.result()
        finally:
            self._task = self._error = None  # the error's traceback holds this frame: no reference cycle


class Background:
    """The one loop that runs in a thread of its own; made by `Bridge.background`."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self.loop.serves_blocked_loops = True
        self.stores: _Known[Closable] = _Known()
        self.files: _Known[OpenFile] = _Known()
        self._stopping = asyncio.Event()
        self._cleaning: set[asyncio.Task[Any]] = set()
        self.thread = threading.Thread(target=self._serve, name="entrepot-loop", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            self.loop.run_until_complete(self._until_stopped())
        finally:
            self.loop.close()

    async def _until_stopped(self) -> None:
        await self._stopping.wait()
        if self._cleaning:
            await asyncio.wait(self._cleaning, timeout=GRACE_S)
        await _wind_up(self.stores.told())

    def run(self, make: Make[T], store: Closable | None = None) -> T:
        """Run a coroutine there, and wait. Raises RuntimeError on the loop's own thread, where waiting never ends."""
        if self.loop.inherited:
            raise StoreClosed("it was opened before this process was forked; open it again here")
        if threading.get_ident() == self.thread.ident:
            raise RuntimeError(
                "blocking store calls cannot be made from the blocking face's own loop (a callback of one of its "
                "calls): use the async store there, or make the call from another thread"
            )
        if store is not None:
            self.stores.add(store)
        call = _Call(make)
        set_aside = set_aside_handler_of_asyncio()
        try:
            self._post(call.start)
            call.wait()
        except BaseException:
            # KeyboardInterrupt, or what another signal handler raised; a second one ends this wait, too.
            if not self.loop.is_closed():
                self._post(call.cancel)
                call.wait()
            raise
        finally:
            if set_aside is not None:
                signal.signal(signal.SIGINT, set_aside)
        return call.outcome()

    def _post(self, callback: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError as error:
            raise StoreClosed("the process is ending: its stores and files are closed") from error

    def release(self, make: Make[Any]) -> bool:
        """Start a coroutine that ends something, from a finaliser; waits a moment for it, and raises nothing.

        Returns whether it was started: it is not in a forked child, nor once the loop has ended.
        """
        if self.loop.inherited or self.loop.is_closed() or sys.is_finalizing():
            return False
        call = _Call(partial(self._clean, make))
        try:
            self.loop.call_soon_threadsafe(call.start)
        except RuntimeError:  # closed by now
            return False
        if threading.get_ident() != self.thread.ident:
            call.wait(_FINALISER_WAIT_S)
        return True

    async def _clean(self, make: Make[Any]) -> None:
        task = asyncio.ensure_future(make())
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)
        await asyncio.wait({task})
        _log_failure(task)

    def stop(self) -> None:
        """Drop open files, close connections and end the thread; waits a bounded time."""
        if self.loop.inherited or self.loop.is_closed():
            return
        for file in self.files.told():
            file.forsake()
        self.loop.call_soon_threadsafe(self._stopping.set)
        self.thread.join(3 * GRACE_S)


async def _wind_up(stores: Iterable[Closable]) -> None:
    """Close the connections of the running loop and end what still runs on it, in a bounded time."""
    loop = asyncio.get_running_loop()
    closing = {loop.create_task(store.close()) for store in stores}
    if closing:
        await asyncio.wait(closing, timeout=GRACE_S)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=GRACE_S)
    for task in closing:
        _log_failure(task)
    await loop.shutdown_asyncgens()


def _log_failure(task: asyncio.Future[Any]) -> None:
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("cleaning up failed: %s", error, exc_info=error)


class Bridge:
    """Where coroutines of blocking callers run; one a process (`BRIDGE`), made anew in a forked child."""

    def __init__(self) -> None:
        self._begin()
        self._inherited: list[object] = []
        self._ends_with_the_process = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._background: Background | None = None
        self._thread = threading.local()

    def _after_fork(self) -> None:
        # Another thread may have held the lock; its loops have no thread here, and share the parent's descriptors.
        background, place = self._background, getattr(self._thread, "place", None)
        self._inherited += [self._thread, background]
        for loop in (one.loop for one in (background, place) if one is not None):
            loop.let_go()
        self._begin()

    def background(self) -> Background:
        """The background loop, started at first use."""
        found = self._background
        if found is None or found.loop.is_closed():
            with self._lock:
                found = self._background
                if found is None or found.loop.is_closed():
                    self.end_with_the_process()
                    found = self._background = Background()
        return found

    def _place(self) -> _Place:
        found: _Place | None = getattr(self._thread, "place", None)
        if found is None or found.loop.is_closed():
            self.end_with_the_process()
            found = self._thread.place = _Place()
        return found

    def end_with_the_process(self) -> None:
        """Have the loops ended at the interpreter's exit, after all that is registered with `atexit` from now on.

        The first call does it by itself; what is to make calls at exit must be registered after this.
        """
        if not self._ends_with_the_process:
            self._ends_with_the_process = True
            atexit.register(self.stop)

    def run(self, make: Make[T], store: Closable | None = None) -> T:
        """Run a coroutine and wait for it: in place, or on the background loop.

        store: whose connections are to be closed with the loop.
        """
        # A local store works in threads, which anyio keeps for as long as a loop's outermost task lives: in place
        # each call would start one (300 µs, not 150).
        if asyncio._get_running_loop() is not None or (store is not None and store.is_local):
            return self.background().run(make, store)
        place = self._place()
        if store is not None:
            place.stores.add(store)
        return place.run(make)

    def iterate(
        self, items: AsyncGenerator[T, None], ahead: int, store: Closable | None = None
    ) -> Generator[T, None, None]:
        """The items, taken on the background loop in batches of up to `ahead`; closes the generator at the end.

        The first batch has one item and each next one twice as many, so that the first comes at once and many come
        at little cost.
        """
        background, wanted = self.background(), 1
        try:
            while True:
                batch, end = background.run(partial(_take, items, wanted), store)
                yield from batch
                if end is not None:
                    break
                wanted = min(ahead, 2 * wanted)
            if not isinstance(end, StopAsyncIteration):
                raise end
        finally:
            background.release(items.aclose)

    def close(self, store: Closable) -> None:
        """Close the connections that this thread and the background loop opened for a store.

        A loop that has ended, with the process or by `stop`, has closed its own.
        """
        place: _Place | None = getattr(self._thread, "place", None)
        usable = place is not None and not place.loop.is_closed() and asyncio._get_running_loop() is None
        if place is not None and usable and place.stores.remove(store):
            place.run(store.close)
        background = self._background
        if background is not None and not background.loop.is_closed() and background.stores.remove(store):
            background.run(store.close)

    def stop(self) -> None:
        """End the loops of this thread and of the background, in a bounded time; the next call makes new ones."""
        background, place = self._background, getattr(self._thread, "place", None)
        try:
            if place is not None:
                place.close()
        finally:
            if background is not None:
                background.stop()


async def _take(items: AsyncGenerator[T, None], count: int) -> tuple[list[T], Exception | None]:
    """Up to `count` items, and what ended them: an error must not cost the items before it."""
    batch: list[T] = []
    try:
        while len(batch) < count:
            batch.append(await anext(items))
    except Exception as error:  # noqa: BLE001 - raised by the caller once the batch is used up
        return batch, error
    return batch, None


BRIDGE: Final = Bridge()
"""The bridge of this process."""
