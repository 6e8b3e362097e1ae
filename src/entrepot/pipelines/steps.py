"""Steps and pipelines as they are written: functions, and what they give each other."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import EllipsisType, NoneType
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints, overload

from entrepot.errors import ConfigurationError

OUTPUT: Final = "output"
"""The name of an output that has none of its own."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a step will give, while a pipeline is put together; another step takes it as an argument."""

    node: Node
    name: str


@dataclass(slots=True, eq=False)
class Node:
    """One call of a step in a pipeline. name: the step's own, numbered where it is called again."""

    name: str
    step: Step
    arguments: dict[str, Any]

    def needs(self) -> set[Node]:
        """The calls whose outputs it takes."""
        return {one.node for one in outputs_in(self.arguments)}


def outputs_in(value: Any) -> list[Output]:
    """What steps give that stands in an argument: itself, or anywhere in lists, tuples and dictionaries."""
    if isinstance(value, Output):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [output for part in parts for output in outputs_in(part)]


def replaced(value: Any, values: Mapping[Output, Any]) -> Any:
    """The argument, with the values of the outputs in it; one without any is itself."""
    if isinstance(value, Output):
        return values[value]
    if not outputs_in(value):
        return value
    if isinstance(value, dict):
        return {key: replaced(one, values) for key, one in value.items()}
    return type(value)([replaced(one, values) for one in value])


@dataclass(slots=True)
class Graph:
    """A pipeline that is being put together."""

    nodes: list[Node] = field(default_factory=list)

    def add(self, step: Step, arguments: dict[str, Any]) -> Node:
        """One more call."""
        number = sum(one.step is step for one in self.nodes)
        node = Node(f"{step.name}_{number + 1}" if number else step.name, step, arguments)
        if any(one.name == node.name for one in self.nodes):
            raise ConfigurationError(f"two steps are called {node.name!r}; name one: @step(name=…)")
        self.nodes.append(node)
        return node


BUILDING: Final[ContextVar[Graph | None]] = ContextVar("entrepot_building", default=None)


class Step:
    """A function that is a step; called within a pipeline it becomes part of it, elsewhere it is the function."""

    def __init__(
        self, function: Callable[..., Any], *, name: str | None, enable_cache: bool, allow_pickle: bool
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name = function, name or function.__name__
        self.enable_cache, self.allow_pickle = enable_cache, allow_pickle
        self.is_async = inspect.iscoroutinefunction(function)
        require_name(self.name)
        self.outputs = _outputs_of(function)
        self.signature = inspect.signature(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        graph = BUILDING.get()
        if graph is None:
            return self.function(*args, **kwargs)
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigurationError(f"step {self.name!r}: {error}") from error
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        node = graph.add(self, arguments)
        made = tuple(Output(node, name) for name in self.outputs)
        return None if not made else made[0] if len(made) == 1 else made

    def cache_key(self, arguments: Mapping[str, Any]) -> str | None:
        """What decides whether it was done before: its code, its options, its inputs. None where that is not told.

        arguments: JSON values; inputs by their digests.
        """
        try:
            told = json.dumps([self.name, self._code(), list(self.outputs), arguments], sort_keys=True)
        except (TypeError, ValueError):
            return None
        return hashlib.sha256(told.encode()).hexdigest()

    def _code(self) -> str:
        """Its source, and the plain values of the function around it: steps of one factory differ by them."""
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            code = self.function.__code__
            source = f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"
        around = inspect.getclosurevars(self.function).nonlocals
        plain = {name: value for name, value in around.items() if isinstance(value, (str, bytes, int, float))}
        return f"{source}{plain!r}" if plain else source


def require_name(name: str) -> None:
    """Raise ConfigurationError for what is no name of a directory."""
    if not name or not name.replace("_", "").replace("-", "").replace(".", "").isalnum() or name.startswith("."):
        raise ConfigurationError(f"{name!r} is no name: letters, digits, and -_. between them")


def _outputs_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of what it gives, by its annotation."""
    try:
        kind = get_type_hints(function, include_extras=True).get("return", Any)
    except NameError as error:
        raise ConfigurationError(f"step {function.__name__!r}: {error}; import what its annotations name") from error
    if kind in (None, NoneType):
        return ()
    parts = get_args(kind) if get_origin(kind) is tuple else ()
    if parts and not any(isinstance(one, EllipsisType) for one in parts):
        names = tuple(_name_of(one, f"{OUTPUT}_{number}") for number, one in enumerate(parts))
        if len(set(names)) < len(names):
            raise ConfigurationError(f"step {function.__name__!r}: two outputs have one name")
        return names
    return (_name_of(kind, OUTPUT),)


def _name_of(kind: Any, otherwise: str) -> str:
    if get_origin(kind) is Annotated:
        names = [one for one in get_args(kind)[1:] if isinstance(one, str)]
        if names:
            require_name(names[0])
            return names[0]
    return otherwise


@overload
def step(function: Callable[..., Any], /) -> Step: ...
@overload
def step(
    *, name: str | None = None, enable_cache: bool = True, allow_pickle: bool = False
) -> Callable[[Callable[..., Any]], Step]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    enable_cache: bool = True,
    allow_pickle: bool = False,
) -> Any:
    """Make a function a step of pipelines: `def`, run in a worker thread, or `async def`.

        @step
        def split(data: list[float]) -> tuple[Annotated[list[float], "train"], Annotated[list[float], "test"]]: ...

    Its outputs are what its annotation says: one, several of a tuple, none of `None`; `Annotated` names them.
    enable_cache: what the same code has made of the same inputs before is used again. What the function reads beside
    its arguments is not seen: switch it off for that. allow_pickle: keep and load what nothing else keeps.
    """

    def make(function: Callable[..., Any]) -> Step:
        return Step(function, name=name, enable_cache=enable_cache, allow_pickle=allow_pickle)

    return make if function is None else make(function)
