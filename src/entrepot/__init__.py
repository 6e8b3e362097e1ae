"""entrepot: an asyncio-native artifact store.

    async with entrepot.open_store("s3://bucket/artifacts") as store:
        await store.write_bytes("runs/1/model.bin", model)

    report = entrepot.copy_sync("models/", "s3://bucket/models")

Names resolve when they are first used: importing the package imports neither asyncio, pydantic nor any SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from entrepot.blocking import SyncArtifactStore
    from entrepot.components import StackComponent
    from entrepot.contract import BaseArtifactStore
    from entrepot.copies import (
        check,
        check_sync,
        copy,
        copy_sync,
        mirror,
        mirror_sync,
        move,
        move_sync,
        plan_copy,
        plan_copy_sync,
    )
    from entrepot.errors import NotFound, StoreError
    from entrepot.filesystem import FileSystemArtifactStore
    from entrepot.flavors.azure.store import AzureArtifactStore
    from entrepot.flavors.gcp.store import GcpArtifactStore
    from entrepot.flavors.local import LocalArtifactStore
    from entrepot.flavors.memory import MemoryArtifactStore
    from entrepot.flavors.s3.store import S3ArtifactStore
    from entrepot.models import Capabilities, FileStat, Limits, WriteOptions
    from entrepot.stores import open_store, open_store_sync
    from entrepot.transfer.engine import CopyReport
    from entrepot.transfer.filters import Filters

_HOMES = {
    "AzureArtifactStore": "entrepot.flavors.azure.store",
    "BaseArtifactStore": "entrepot.contract",
    "Capabilities": "entrepot.models",
    "CopyReport": "entrepot.transfer.engine",
    "FileStat": "entrepot.models",
    "FileSystemArtifactStore": "entrepot.filesystem",
    "Filters": "entrepot.transfer.filters",
    "GcpArtifactStore": "entrepot.flavors.gcp.store",
    "Limits": "entrepot.models",
    "LocalArtifactStore": "entrepot.flavors.local",
    "MemoryArtifactStore": "entrepot.flavors.memory",
    "NotFound": "entrepot.errors",
    "S3ArtifactStore": "entrepot.flavors.s3.store",
    "StackComponent": "entrepot.components",
    "StoreError": "entrepot.errors",
    "SyncArtifactStore": "entrepot.blocking",
    "WriteOptions": "entrepot.models",
    "check": "entrepot.copies",
    "check_sync": "entrepot.copies",
    "copy": "entrepot.copies",
    "copy_sync": "entrepot.copies",
    "mirror": "entrepot.copies",
    "mirror_sync": "entrepot.copies",
    "move": "entrepot.copies",
    "move_sync": "entrepot.copies",
    "open_store": "entrepot.stores",
    "open_store_sync": "entrepot.stores",
    "plan_copy": "entrepot.copies",
    "plan_copy_sync": "entrepot.copies",
}

__all__ = [
    "AzureArtifactStore",
    "BaseArtifactStore",
    "Capabilities",
    "CopyReport",
    "FileStat",
    "FileSystemArtifactStore",
    "Filters",
    "GcpArtifactStore",
    "Limits",
    "LocalArtifactStore",
    "MemoryArtifactStore",
    "NotFound",
    "S3ArtifactStore",
    "StackComponent",
    "StoreError",
    "SyncArtifactStore",
    "WriteOptions",
    "__version__",
    "check",
    "check_sync",
    "copy",
    "copy_sync",
    "mirror",
    "mirror_sync",
    "move",
    "move_sync",
    "open_store",
    "open_store_sync",
    "plan_copy",
    "plan_copy_sync",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
