"""What a forked child of a process with a running loop makes of what it inherited."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Coroutine
from typing import Any


def status_of_child(work: Callable[[], Coroutine[Any, Any, object]]) -> int:
    """The exit status of a forked child that runs the work on a loop of its own: 0 when it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork in a process with threads: the point of the test
        child = os.fork()
    if not child:
        status = 1
        try:
            asyncio.events._set_running_loop(None)
            asyncio.new_event_loop().run_until_complete(work())
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
