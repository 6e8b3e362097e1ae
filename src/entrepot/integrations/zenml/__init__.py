"""ZenML's artifact stores, on ours; see `docs/zenml.md`.

    zenml artifact-store flavor register entrepot.integrations.zenml.S3Flavor
    zenml artifact-store register artifacts --flavor=entrepot_s3 --path=s3://bucket/artifacts

Needs `entrepot[zenml]` beside the extra of the service. Names resolve when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entrepot.integrations.zenml.directories import DirectoryMaterializer, copy_dir
    from entrepot.integrations.zenml.flavors import AzureFlavor, GcpFlavor, LocalFlavor, S3Flavor

__all__ = ["AzureFlavor", "DirectoryMaterializer", "GcpFlavor", "LocalFlavor", "S3Flavor", "copy_dir"]

_HOMES = {
    "AzureFlavor": "flavors",
    "DirectoryMaterializer": "directories",
    "GcpFlavor": "flavors",
    "LocalFlavor": "flavors",
    "S3Flavor": "flavors",
    "copy_dir": "directories",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
