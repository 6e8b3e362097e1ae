"""What an Azure store is configured with; checked before any request."""

from __future__ import annotations

import os
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from entrepot.auth.azure import ConnectionString, azure_environment
from entrepot.errors import ConfigurationError, StoreError
from entrepot.flavors.azure.account import Account, Given, find_account
from entrepot.flavors.azure.address import AzureRoot, Place, account_fault, container_fault, is_of_azure, unkept


class AzureConfig(BaseModel):
    """The configuration of flavor `azure`. What is not given is looked for in `AZURE_STORAGE_*` variables, then signed
    in for by azure-identity's default chain.

    path: `az://CONTAINER` or `az://CONTAINER/PREFIX`; `abfs://` and `abfss://` are the same, and may name the account
    as the Hadoop world does: `abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX`. It is always https.
    account_name: the storage account. One way to be known there:
    account_key: the account's key. sas_token: the query of a shared access signature. connection_string: as the portal
    shows it; it names the account too. client_id, client_secret, tenant_id: a service principal. anonymous: requests
    are not signed, for public containers.
    endpoint_url: the account's blob endpoint where it is not Azure's own (Azurite, Azure Stack): https, unless it is
    this machine. endpoint_suffix: of a sovereign cloud, such as core.chinacloudapi.cn.
    client: `wire`, our own requests, or `sdk`, azure-storage-blob. ca_bundle: a file of trusted certificates.
    allow_http, allow_link_local: lift the refusals of plain http to another machine and of metadata addresses.
    max_attempts: of one request that fails for a passing reason; throttling is counted by time alone.
    concurrency: how many requests are in flight; without it, as many as the service takes without asking for fewer.
    requests_per_second: a bound on requests of all kinds together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: str
    account_name: str | None = None
    account_key: SecretStr | None = Field(default=None, min_length=1)
    sas_token: SecretStr | None = Field(default=None, min_length=1)
    connection_string: SecretStr | None = Field(default=None, min_length=1)
    client_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,100}$")
    client_secret: SecretStr | None = Field(default=None, min_length=1)
    tenant_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]{1,255}$")
    anonymous: bool = False
    endpoint_url: str | None = None
    endpoint_suffix: str | None = Field(default=None, pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")
    client: Literal["wire", "sdk"] = "wire"
    ca_bundle: str | None = Field(default=None, min_length=1)
    allow_http: bool = False
    allow_link_local: bool = False
    max_attempts: int = Field(default=6, ge=1, le=100)
    concurrency: int | None = Field(default=None, ge=1, le=512)
    requests_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            fault = self._credentials_fault() or self._address_fault()
            if fault is None:
                self.account()
        except StoreError as error:
            fault = error.message
        if fault is None and self.ca_bundle is not None and not os.path.isfile(self.ca_bundle):
            fault = "ca_bundle must name a file of certificates"
        if fault is not None:
            raise PydanticCustomError("azure_configuration", "{fault}", {"fault": fault})
        return self

    @property
    def root(self) -> AzureRoot:
        """Container and prefix of `path`."""
        return AzureRoot.parse(self.path)

    @property
    def place(self) -> Place:
        """What the address of `path` names."""
        root = self.root
        return Place.parse(root.scheme, root.container)

    def account(self) -> Account:
        """The account, where it is, and who asks it. No I/O.

        Raises: ConfigurationError where it is not known or the environment contradicts the configuration.
        """
        place = self.place
        text = _plain(self.connection_string)
        told = ConnectionString.parse(text) if text is not None else None
        self._require_known_host(place, told)
        given = Given(
            account_name=place.account_name or self.account_name,
            account_key=_plain(self.account_key),
            sas_token=_plain(self.sas_token),
            connection=told,
            client_id=self.client_id,
            client_secret=_plain(self.client_secret),
            tenant_id=self.tenant_id,
            anonymous=self.anonymous,
            endpoint_url=self.endpoint_url,
            endpoint_suffix=place.endpoint_suffix or self.endpoint_suffix,
            allow_http=self.allow_http,
            allow_link_local=self.allow_link_local,
        )
        return find_account(given, azure_environment())

    def _require_known_host(self, place: Place, told: ConnectionString | None) -> None:
        """An address may come from anywhere, and the credentials of the environment go where it says."""
        suffix = place.endpoint_suffix
        if suffix is None or is_of_azure(suffix) or self.endpoint_url or self.endpoint_suffix:
            return
        if told is None or not (told.endpoint_url or told.endpoint_suffix == suffix):
            raise ConfigurationError("path names a host that is not Azure's; set endpoint_suffix too if that is meant")

    def _address_fault(self) -> str | None:
        place, root = self.place, self.root
        for name in (self.account_name, place.account_name):
            if name is not None and (fault := account_fault(name)) is not None:
                return fault
        if None not in (self.account_name, place.account_name) and self.account_name != place.account_name:
            return "account_name is another account than that of path; give one of them"
        if None not in (self.endpoint_suffix, place.endpoint_suffix) and self.endpoint_suffix != place.endpoint_suffix:
            return "endpoint_suffix is another than that of path; give one of them"
        return container_fault(place.container) or unkept(f"{root.prefix}/")

    def _credentials_fault(self) -> str | None:
        principal = (self.client_id, self.client_secret, self.tenant_id)
        if None in principal and principal != (None, None, None):
            return "client_id, client_secret and tenant_id are given together, or none of them"
        ways = {
            "account_key": self.account_key,
            "sas_token": self.sas_token,
            "connection_string": self.connection_string,
            "client_secret": self.client_secret,
            "anonymous": self.anonymous or None,
        }
        chosen = [name for name, value in ways.items() if value is not None]
        if len(chosen) > 1:
            return f"give one way to be known: {', '.join(chosen[:-1])} or {chosen[-1]}"
        if self.connection_string is not None and (self.endpoint_url or self.endpoint_suffix):
            return "connection_string tells the endpoint; give either it or endpoint_url, endpoint_suffix"
        if self.endpoint_url is not None and self.endpoint_suffix is not None:
            return "give either endpoint_url or endpoint_suffix"
        return None


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
