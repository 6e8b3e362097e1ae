"""A wave: a bounded number of requests at once, begun and ended within one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import anyio

from entrepot.errors import StoreError

T = TypeVar("T")

REQUESTS: Final = 16
"""How many small requests (pages, heads, copies) one wave has at most."""


async def wave(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """All calls at once, their results in order; the first StoreError cancels the others and is raised itself."""
    if len(calls) == 1:
        return [await calls[0]()]
    results: dict[int, T] = {}
    failures: list[StoreError] = []

    async with anyio.create_task_group() as tasks:

        async def run(at: int, call: Callable[[], Awaitable[T]]) -> None:
            try:
                results[at] = await call()
            except StoreError as error:
                failures.append(error)
                tasks.cancel_scope.cancel()

        for at, call in enumerate(calls):
            tasks.start_soon(run, at, call)
    if failures:
        raise failures[0]
    return [results[at] for at in range(len(calls))]
