"""The flavors that ZenML registers, by the paths of these classes. What they are made of is imported when asked for."""

from typing import TYPE_CHECKING, Any

from zenml.artifact_stores import BaseArtifactStoreFlavor
from zenml.models import ServiceConnectorRequirements

from entrepot.integrations.zenml import configurations

if TYPE_CHECKING:
    from entrepot.integrations.zenml import stores


class LocalFlavor(BaseArtifactStoreFlavor):
    """Artifacts in a folder of this machine: every file atomic and durable."""

    @property
    def name(self) -> str:
        """The name that a store is registered with."""
        return "entrepot_local"

    @property
    def config_class(self) -> type[configurations.LocalConfiguration]:
        """What a store of this flavor is configured with."""
        return configurations.LocalConfiguration

    @property
    def implementation_class(self) -> "type[stores.LocalStore]":
        """The store."""
        from entrepot.integrations.zenml.stores import LocalStore

        return LocalStore


class S3Flavor(BaseArtifactStoreFlavor):
    """Artifacts in a bucket of S3, MinIO, or whatever else speaks it."""

    @property
    def name(self) -> str:
        """The name that a store is registered with."""
        return "entrepot_s3"

    @property
    def display_name(self) -> str:
        """The name that people see."""
        return "Entrepot S3"

    @property
    def config_class(self) -> type[configurations.S3Configuration]:
        """What a store of this flavor is configured with."""
        return configurations.S3Configuration

    @property
    def implementation_class(self) -> "type[stores.S3Store]":
        """The store."""
        from entrepot.integrations.zenml.stores import S3Store

        return S3Store

    @property
    def service_connector_requirements(self) -> Any:
        """The connectors that can sign for it."""
        return ServiceConnectorRequirements(resource_type="s3-bucket", resource_id_attr="path")


class GcpFlavor(BaseArtifactStoreFlavor):
    """Artifacts in a bucket of Google Cloud Storage."""

    @property
    def name(self) -> str:
        """The name that a store is registered with."""
        return "entrepot_gcp"

    @property
    def display_name(self) -> str:
        """The name that people see."""
        return "Entrepot GCP"

    @property
    def config_class(self) -> type[configurations.GcpConfiguration]:
        """What a store of this flavor is configured with."""
        return configurations.GcpConfiguration

    @property
    def implementation_class(self) -> "type[stores.GcpStore]":
        """The store."""
        from entrepot.integrations.zenml.stores import GcpStore

        return GcpStore

    @property
    def service_connector_requirements(self) -> Any:
        """The connectors that can sign for it."""
        return ServiceConnectorRequirements(resource_type="gcs-bucket", resource_id_attr="path")


class AzureFlavor(BaseArtifactStoreFlavor):
    """Artifacts in a container of Azure Blob Storage."""

    @property
    def name(self) -> str:
        """The name that a store is registered with."""
        return "entrepot_azure"

    @property
    def config_class(self) -> type[configurations.AzureConfiguration]:
        """What a store of this flavor is configured with."""
        return configurations.AzureConfiguration

    @property
    def implementation_class(self) -> "type[stores.AzureStore]":
        """The store."""
        from entrepot.integrations.zenml.stores import AzureStore

        return AzureStore

    @property
    def service_connector_requirements(self) -> Any:
        """The connectors that can sign for it."""
        return ServiceConnectorRequirements(
            connector_type="azure", resource_type="blob-container", resource_id_attr="path"
        )
