"""For authors of flavors: the contract as tests, and real servers to run them on.

    from entrepot.testing import ArtifactStoreContract, FolderHooks, ObjectClientContract, S3Hooks

A proxy that has chosen requests go wrong (`FaultProxy`), and an S3 that is strict (`strict_s3`): docs/testing.md.

It needs `entrepot[testing]`, and each server its own package (see `entrepot.testing.servers`).
Names resolve when they are first used, so that the servers can be had without pytest.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entrepot.testing.azure_server import AzuriteServer, azurite
    from entrepot.testing.cancelling import CancellationContract
    from entrepot.testing.clients import ObjectClientContract
    from entrepot.testing.contract import ArtifactStoreContract
    from entrepot.testing.faults import FaultProxy, Rule, burst
    from entrepot.testing.forking import ProcessContract
    from entrepot.testing.gcs import GcsServer, fake_gcs
    from entrepot.testing.hooks import AzureHooks, FolderHooks, GcsHooks, S3Hooks
    from entrepot.testing.machine import StoreModelContract
    from entrepot.testing.parity import BlockingStoreContract
    from entrepot.testing.raw_azure import RawAzure
    from entrepot.testing.raw_gcs import RawGcs
    from entrepot.testing.raw_s3 import RawS3
    from entrepot.testing.servers import S3Access, Server, juicefs_gateway, moto_s3, rclone_s3
    from entrepot.testing.strict import StrictS3, strict_s3

_HOMES = {
    "ArtifactStoreContract": "contract",
    "AzureHooks": "hooks",
    "AzuriteServer": "azure_server",
    "BlockingStoreContract": "parity",
    "CancellationContract": "cancelling",
    "FaultProxy": "faults",
    "FolderHooks": "hooks",
    "GcsHooks": "hooks",
    "GcsServer": "gcs",
    "ObjectClientContract": "clients",
    "ProcessContract": "forking",
    "RawAzure": "raw_azure",
    "RawGcs": "raw_gcs",
    "RawS3": "raw_s3",
    "Rule": "faults",
    "S3Access": "servers",
    "S3Hooks": "hooks",
    "Server": "servers",
    "StoreModelContract": "machine",
    "StrictS3": "strict",
    "azurite": "azure_server",
    "burst": "faults",
    "fake_gcs": "gcs",
    "juicefs_gateway": "servers",
    "moto_s3": "servers",
    "rclone_s3": "servers",
    "strict_s3": "strict",
}

__all__ = [
    "ArtifactStoreContract",
    "AzureHooks",
    "AzuriteServer",
    "BlockingStoreContract",
    "CancellationContract",
    "FaultProxy",
    "FolderHooks",
    "GcsHooks",
    "GcsServer",
    "ObjectClientContract",
    "ProcessContract",
    "RawAzure",
    "RawGcs",
    "RawS3",
    "Rule",
    "S3Access",
    "S3Hooks",
    "Server",
    "StoreModelContract",
    "StrictS3",
    "azurite",
    "burst",
    "fake_gcs",
    "juicefs_gateway",
    "moto_s3",
    "rclone_s3",
    "strict_s3",
]

_RULES = (
    "bulk",
    "cancelling",
    "client_rules",
    "clients",
    "committing",
    "declaring",
    "lifecycle",
    "listing",
    "machine",
    "moving",
    "naming",
    "parity",
    "forking",
    "reading",
    "removing",
    "resuming",
    "rules",
    "sharing",
    "uploads",
    "writing",
)

if "pytest" in sys.modules:
    import pytest

    # Pytest shows the values of a failed assertion only in modules that it was told of before their import.
    pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _RULES))


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
