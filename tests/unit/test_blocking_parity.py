"""Name for name, the blocking face has the contract's methods: parameters, types and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_overloads

import pytest

from entrepot.blocking import SyncArtifactStore
from entrepot.contract import BaseArtifactStore

OF_THE_ASYNC_FACE = {
    "batch_items": "a port of the bulk copy",
    "read_batch": "a port of the bulk copy",
    "part_checksum": "a port of the bulk copy",
    "read_part": "a port of the bulk copy",
    "write_batch": "a port of the bulk copy",
    "open_parts": "a port of the bulk copy",
    "directories_may_outlive_files": "a port of the bulk copy",
    "drop_lost_parts": "a port of the bulk copy",
    "find_completed": "a port of the bulk copy",
    "drop_parts": "a port of the bulk copy",
    "remove_batch": "a port of the bulk copy",
    "scans_in_order": "a port of the bulk copy",
    "copies_natively_from": "a port of the bulk copy",
    "copy_batch": "a port of the bulk copy",
    "paced": "a port of the bulk copy",
    "remove_empty_directories": "a port of the bulk copy",
    "open_reader": "what a flavor implements; users call `open`",
    "open_writer": "what a flavor implements; users call `open`",
    "check_keys": "of the class of a flavor",
    "configuration_keys": "of the class of a flavor",
    "configure": "of the class of a flavor",
}
PUBLIC = sorted(name for name in dir(BaseArtifactStore) if not name.startswith("_") and not name.isupper())
SHARED = [name for name in PUBLIC if name not in OF_THE_ASYNC_FACE]
METHODS = [name for name in SHARED if inspect.isfunction(getattr(BaseArtifactStore, name))]
DERIVED = [name for name in METHODS if name not in {"open", "close", "describe"}]


def unwrapped(annotation: str) -> str:
    """What a blocking call returns, in place of what is awaited or iterated."""
    found = re.fullmatch(r"AsyncGenerator\[(.*), None\]", annotation)
    return f"Generator[{found[1]}, None, None]" if found else annotation


def signature(owner: type, name: str) -> inspect.Signature:
    return inspect.signature(getattr(owner, name))


def test_every_public_name_is_shared_or_said_not_to_be() -> None:
    assert [name for name in SHARED if not hasattr(SyncArtifactStore, name)] == []
    assert [name for name in OF_THE_ASYNC_FACE if hasattr(SyncArtifactStore, name)] == []
    assert set(OF_THE_ASYNC_FACE) <= set(PUBLIC)
    assert len(DERIVED) >= 18


@pytest.mark.parametrize("name", DERIVED)
def test_a_method_has_the_same_parameters_and_types(name: str) -> None:
    awaited, blocking = signature(BaseArtifactStore, name), signature(SyncArtifactStore, name)
    assert list(blocking.parameters.values()) == list(awaited.parameters.values())
    assert blocking.return_annotation == unwrapped(awaited.return_annotation)
    method: Callable[..., Any] = getattr(SyncArtifactStore, name)
    assert method.__annotations__["return"] == blocking.return_annotation
    assert not inspect.iscoroutinefunction(method)
    assert not inspect.isasyncgenfunction(method)


@pytest.mark.parametrize("name", DERIVED)
def test_a_method_has_the_same_name_and_docstring(name: str) -> None:
    awaited, blocking = getattr(BaseArtifactStore, name), getattr(SyncArtifactStore, name)
    assert blocking.__doc__
    assert blocking.__doc__ == awaited.__doc__
    assert blocking.__name__ == name


@pytest.mark.parametrize("name", [name for name in SHARED if name not in METHODS])
def test_a_property_has_the_same_type_and_docstring(name: str) -> None:
    awaited, blocking = getattr(BaseArtifactStore, name), getattr(SyncArtifactStore, name)
    assert blocking.__doc__ == awaited.__doc__
    assert inspect.signature(blocking.fget) == inspect.signature(awaited.fget)


def test_open_takes_what_the_async_one_takes_and_a_buffer_size() -> None:
    awaited, blocking = signature(BaseArtifactStore, "open").parameters, signature(SyncArtifactStore, "open").parameters
    assert {name: one for name, one in blocking.items() if name != "buffering"} == dict(awaited)
    assert blocking["buffering"].default == -1
    assert len(get_overloads(SyncArtifactStore.open)) == len(get_overloads(BaseArtifactStore.open))
