"""The artifact store on Google Cloud Storage, and on emulators of it."""

from __future__ import annotations

from typing import Any, ClassVar

from entrepot.flavors.gcp.client import GcpClient
from entrepot.flavors.gcp.config import GcpConfig
from entrepot.flavors.gcp.connection import make_client
from entrepot.objects.store import ObjectArtifactStore


class GcpArtifactStore(ObjectArtifactStore):
    """Artifacts in a bucket; `GcpConfig` tells the configuration's keys.

    A pickle carries neither token nor access_token: the unpickled store finds application-default credentials, or
    raises CredentialsMissing.
    """

    FLAVOR: ClassVar[str] = "gcp"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"gs://"})
    CONFIG: ClassVar[type[Any]] = GcpConfig

    def _make_client(self) -> GcpClient:
        return make_client(self.config)

    async def create_container(self) -> None:
        """Make the bucket, in the configured project; one that is ours already is no error. Requests: 1 or 2."""
        await self.client.create_container()
