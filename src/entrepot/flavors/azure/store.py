"""The artifact store on Azure Blob Storage, flat or with a hierarchical namespace."""

from __future__ import annotations

from typing import Any, ClassVar

from entrepot.flavors.azure.address import AzureRoot
from entrepot.flavors.azure.client import AzureClient
from entrepot.flavors.azure.config import AzureConfig
from entrepot.flavors.azure.connection import make_client
from entrepot.objects.store import ObjectArtifactStore


class AzureArtifactStore(ObjectArtifactStore):
    """Artifacts in a container; `AzureConfig` tells the configuration's keys.

    A pickle carries the account's name and endpoint, and no key, SAS, connection string or service principal: the
    unpickled store finds its credentials in `AZURE_STORAGE_*` variables or by azure-identity's default chain.

    Names that Azure would take for others are refused: those with a backslash, or a dot at the end of a segment.
    """

    FLAVOR: ClassVar[str] = "azure"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"az://", "abfs://", "abfss://"})
    CONFIG: ClassVar[type[Any]] = AzureConfig

    @classmethod
    def _parse_root(cls, path: str) -> AzureRoot:
        return AzureRoot.parse(path)

    def _make_client(self) -> AzureClient:
        return make_client(self.config)

    async def create_container(self) -> None:
        """Make the container; one that is there already is no error. Requests: 1."""
        await self.client.create_container()

    def _public_configuration(self) -> dict[str, Any]:
        # Half a service principal would be refused, and is of no use.
        dropped = {"client_id", "tenant_id"}
        public = {key: value for key, value in super()._public_configuration().items() if key not in dropped}
        if self.config.connection_string is not None:
            account = self.config.account()
            public["endpoint_url"] = account.endpoint.url
            if account.name is not None and self.config.place.account_name is None:
                public["account_name"] = account.name
        return public
