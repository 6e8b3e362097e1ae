"""Which stores are open in a context: what a task, and the threads and tasks that it starts, reach by address."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

_OPENED: Final[ContextVar[tuple[Any, ...]]] = ContextVar("entrepot_opened", default=())


def opened() -> tuple[Any, ...]:
    """The stores, in the order in which they were opened."""
    return _OPENED.get()


def entered(store: object) -> None:
    """A `with` of the store has begun."""
    _OPENED.set((*_OPENED.get(), store))


def left(store: object) -> None:
    """One has ended; in a context that does not know of it, nothing happens."""
    stores = list(_OPENED.get())
    for index in reversed(range(len(stores))):
        if stores[index] is store:
            del stores[index]
            _OPENED.set(tuple(stores))
            return
