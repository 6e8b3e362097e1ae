"""What each flavor is configured with in ZenML: its own keys there, and ours as `options`."""

from typing import Any, ClassVar, Self, get_args

from pydantic import ConfigDict, Field, SecretStr, model_validator
from zenml.artifact_stores import BaseArtifactStoreConfig
from zenml.stack.authentication_mixin import AuthenticationConfigMixin
from zenml.utils.secret_utils import SecretField

from entrepot.contract import BaseArtifactStore
from entrepot.errors import ConfigurationError
from entrepot.flavors.azure.address import AzureRoot
from entrepot.flavors.azure.store import AzureArtifactStore
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.integrations.zenml.botocore_options import store_options


class Configuration(BaseArtifactStoreConfig):
    """The keys that every flavor has; one that is not known is refused.

    A value may be a reference to a secret of ZenML's, so nothing here reads a credential: that is for the store.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    STORE: ClassVar[type[BaseArtifactStore]]

    options: dict[str, Any] | None = Field(
        default=None,
        description="Further keys of entrepot's own flavor, as JSON, such as {'concurrency': 64}. No credentials.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        options = self.options or {}
        self.STORE.check_keys(options)
        for key in options:
            if key in type(self).model_fields:
                raise ConfigurationError(f"{key!r} is a key of its own here, and none of the `options`")
            if _is_secret(self.STORE, key):
                raise ConfigurationError(f"{key!r} is a secret, and `options` are shown: use an authentication_secret")
        self._check_values()
        return self

    def _check_values(self) -> None:
        """As far as it goes without credentials."""
        self.STORE.configure(self.store_configuration())

    def store_configuration(self) -> dict[str, Any]:
        """What our flavor is given, without credentials. Raises: ConfigurationError."""
        return {"path": self.path, **(self.options or {})}


def _is_secret(store: type[BaseArtifactStore], key: str) -> bool:
    """Whether our flavor keeps the value of that key from being shown."""
    field = getattr(store.CONFIG, "model_fields", {}).get(key)
    return field is not None and SecretStr in (field.annotation, *get_args(field.annotation))


class LocalConfiguration(Configuration):
    """The configuration of `entrepot_local`. path: a folder; without one, a folder of ZenML's own for this store."""

    STORE: ClassVar[type[BaseArtifactStore]] = LocalArtifactStore
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {""}

    path: str = ""

    @property
    def is_local(self) -> bool:
        """True: ZenML does not combine it with components that run elsewhere."""
        return True

    def _check_values(self) -> None:
        if "://" in self.path:
            raise ConfigurationError("path is a folder on this machine, without a scheme", uri=self.path)
        if self.path:
            super()._check_values()


class CloudConfiguration(Configuration, AuthenticationConfigMixin):
    """What the flavors over a service share: `authentication_secret`, the name of a secret of ZenML's."""

    model_config = Configuration.model_config  # pydantic would take that of the last base

    # Log entries become files of their own, which ZenML reads in order: no object can be appended to.
    IS_IMMUTABLE_FILESYSTEM: ClassVar[bool] = True


class S3Configuration(CloudConfiguration):
    """The configuration of `entrepot_s3`: the keys of ZenML's own S3 flavor, and `options`."""

    STORE: ClassVar[type[BaseArtifactStore]] = S3ArtifactStore
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"s3://"}

    key: str | None = SecretField(
        default=None, repr=False, description="Access key id; without it, the standard AWS chain."
    )
    secret: str | None = SecretField(default=None, repr=False, description="Secret access key.")
    token: str | None = SecretField(default=None, repr=False, description="Session token of temporary credentials.")
    client_kwargs: dict[str, Any] | None = Field(
        default=None, description="Of botocore's client: endpoint_url, region_name, verify (a file of certificates)."
    )
    config_kwargs: dict[str, Any] | None = Field(
        default=None,
        description="Of botocore's Config: region_name, s3.addressing_style, signature_version, max_pool_connections.",
    )
    s3_additional_kwargs: dict[str, Any] | None = Field(
        default=None,
        description="Of what is written: ACL, ServerSideEncryption, SSEKMSKeyId, StorageClass, RequestPayer.",
    )

    def store_configuration(self) -> dict[str, Any]:
        """What our flavor is given, without credentials. Raises: ConfigurationError."""
        groups = ("client_kwargs", "config_kwargs", "s3_additional_kwargs")
        translated = store_options({name: getattr(self, name) for name in groups})
        given = super().store_configuration()
        for key in translated.keys() & given.keys():
            raise ConfigurationError(f"{key!r} is given in `options` and in botocore's words; give it once")
        return {**translated, **given}


class GcpConfiguration(CloudConfiguration):
    """The configuration of `entrepot_gcp`: the keys of ZenML's own GCP flavor, and `options`."""

    STORE: ClassVar[type[BaseArtifactStore]] = GcpArtifactStore
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"gs://"}


class AzureConfiguration(CloudConfiguration):
    """The configuration of `entrepot_azure`: the keys of ZenML's own Azure flavor, and `options`."""

    STORE: ClassVar[type[BaseArtifactStore]] = AzureArtifactStore
    # ZenML takes an address with a scheme for one, and not for a local path, only if it knows it: not `abfss`.
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"az://", "abfs://"}

    def _check_values(self) -> None:
        # The account is often named by the secret alone, and without one nothing can be checked but the address.
        AzureRoot.parse(self.path)
