"""One event loop for one command: signals become a cancellation, and the command cleans up before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from entrepot.cli.failures import SIGNAL_BASE, Interrupted

P = ParamSpec("P")
T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_S: Final = 2.0
"""A signal so long after the first one is a person who does not want to wait; sooner, it is the same key press that
came twice (a terminal signals the whole process group, and wrappers pass it on once more)."""


def run_until_done(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run the command's coroutine to its end; returns its exit code.

    Raises Interrupted once SIGINT or SIGTERM was received and the cancelled command has cleaned up. A second signal
    ends the process at once.
    """
    try:
        with asyncio.Runner() as runner:
            return runner.run(_guarded(command))
    except KeyboardInterrupt:  # asyncio's own way to tell, where it takes no handlers for signals (Windows)
        raise Interrupted(signal.SIGINT) from None


async def _guarded(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    received: list[tuple[int, float]] = []

    def stop(number: int) -> None:
        if not received:
            received.append((number, loop.time()))
            task.cancel()
        elif loop.time() - received[0][1] > _PATIENCE_S:
            os._exit(SIGNAL_BASE + number)

    handled = _handle(loop, stop)
    try:
        return await command()
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0][0]) from None
        raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _handle(loop: asyncio.AbstractEventLoop, stop: Callable[[int], None]) -> list[int]:
    """Install the handlers; returns the signals that have one.

    Outside the main thread, and on Windows, there are none: asyncio's own handling of Ctrl-C is what remains.
    """
    handled: list[int] = []
    for number in _SIGNALS:
        try:
            loop.add_signal_handler(number, stop, number)
        except (NotImplementedError, RuntimeError, ValueError):
            break
        handled.append(number)
    return handled


async def in_own_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what may block for ever, such as a read of a terminal or a write to a full pipe.

    A cancellation leaves it behind. Its thread is a daemon, and not one of a pool: the process can end without it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # a T, since there is no error

    def work() -> None:
        result, error = None, None
        try:
            result = function(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001  # it is raised again where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="entrepot-stdio", daemon=True).start()
    return await done
