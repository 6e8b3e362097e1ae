"""A memory client that records its calls and does what a test scripts instead, and a store over it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import anyio.lowlevel

from entrepot.errors import StoreError
from entrepot.flavors.memory import MemoryClient, MemoryConfig
from entrepot.models import Limits
from entrepot.objects.client import ObjectClient
from entrepot.objects.store import ObjectArtifactStore

Script = Callable[..., Awaitable[Any]]

PRIMITIVES = (
    "head", "get", "put", "list_page", "delete", "delete_many", "copy", "create_upload", "put_part", "copy_part",
    "complete_upload", "abort_upload",
)  # fmt: skip


class ScriptedClient(MemoryClient):
    """`scripts[name](real, *arguments)` stands in for a primitive; `real` is the primitive itself."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(secrets.token_hex(8), limits=limits)
        self.calls: list[str] = []
        self.arguments: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.scripts: dict[str, Script] = {}

    def count(self, name: str) -> int:
        return self.calls.count(name)

    def all_keys(self) -> list[str]:
        return sorted(self._held.objects)

    def uploads(self) -> list[str]:
        return [one.upload.key for one in self._held.uploads.values()]

    def content(self, key: str) -> bytes:
        return self._held.objects[key].data


def _recorded(name: str) -> Any:
    async def call(self: ScriptedClient, *arguments: Any, **named: Any) -> Any:
        self.calls.append(name)
        self.arguments.append((name, arguments, named))
        await anyio.lowlevel.checkpoint()
        real = getattr(super(ScriptedClient, self), name)
        script = self.scripts.get(name)
        return await (script(real, *arguments, **named) if script else real(*arguments, **named))

    return call


for _name in PRIMITIVES:
    setattr(ScriptedClient, _name, _recorded(_name))


class ScriptedStore(ObjectArtifactStore):
    FLAVOR: ClassVar[str] = "scripted"
    CONFIG: ClassVar[type[MemoryConfig]] = MemoryConfig
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"memory://"})

    client_given: ScriptedClient

    def _make_client(self) -> ObjectClient:
        return self.client_given


def store_over(client: ScriptedClient, prefix: str = "root") -> ScriptedStore:
    store = ScriptedStore(f"memory://{client.container}/{prefix}")
    store.client_given = client
    return store


def failing(error: StoreError, *, at: int = 1) -> Script:
    """A script that raises at the call of that number, counted from 1, and is real otherwise."""
    calls = 0

    async def script(real: Script, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error
        return await real(*arguments, **named)

    return script
