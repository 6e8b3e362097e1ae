"""Which account, where it is, and who asks it: from what was given and what the environment has. No I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from entrepot.auth.azure import (
    DEFAULT_SUFFIX,
    Anonymous,
    AzureEnvironment,
    ConnectionString,
    Credential,
    Sas,
    SharedKey,
    decoded_key,
)
from entrepot.auth.entra import Principal, SignIn, sign_in
from entrepot.errors import ConfigurationError
from entrepot.flavors.azure.address import account_endpoint, account_of
from entrepot.services.endpoint import Endpoint, is_loopback


@dataclass(frozen=True, slots=True)
class Given:
    """What a configuration says. account_name: the address's own, else the key's."""

    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    connection: ConnectionString | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    tenant_id: str | None = None
    anonymous: bool = False
    endpoint_url: str | None = None
    endpoint_suffix: str | None = None
    allow_http: bool = False
    allow_link_local: bool = False

    @property
    def names_a_way(self) -> bool:
        """Whether it says by itself who asks."""
        return self.anonymous or any((self.account_key, self.sas_token, self.connection, self.client_secret))


@dataclass(frozen=True, slots=True)
class Account:
    """name: None where only an endpoint is known, which is enough for a SAS. identity: what tells it from others."""

    name: str | None
    endpoint: Endpoint
    credential: Credential
    identity: tuple[object, ...] = field(repr=False)


def find_account(given: Given, environment: AzureEnvironment) -> Account:
    """What is given goes first, then a connection string of the environment, its key, its SAS, then a sign-in.

    The environment's secrets are not heeded where it names another account; its SAS only where it names this one, as
    whoever is sent a SAS has it.
    Raises: ConfigurationError.
    """
    string = given.connection
    # `az login` and the tools of Azure read the same variables, so that they may be of another account than is meant.
    if string is None and not given.names_a_way and environment.connection_string is not None:
        told = ConnectionString.parse(environment.connection_string)
        if given.account_name in {None, told.account_name} and given.endpoint_url is None:
            string = told
    named = {given.account_name, string.account_name if string else None} - {None}
    if len(named) > 1:
        raise ConfigurationError("the connection string is of another account than was named; give one of them")
    name = given.account_name or (string.account_name if string else None)
    url = given.endpoint_url or (string.endpoint_url if string else None)
    suffix = given.endpoint_suffix or (string.endpoint_suffix if string else None)
    if name is None and url is None:
        name = environment.account_name
    endpoint = account_endpoint(name, url, suffix, allow_http=given.allow_http, allow_link_local=given.allow_link_local)
    name = name or account_of(endpoint)
    credential, who = _credential(given, string, environment, name, suffix or DEFAULT_SUFFIX)
    origin = endpoint.origin
    if isinstance(credential, SignIn) and origin.scheme == "http" and not is_loopback(origin.host):
        raise ConfigurationError("a sign-in's token goes with each request: endpoint_url must be https")
    return Account(name, endpoint, credential, (endpoint, name, who))


def _credential(
    given: Given, string: ConnectionString | None, environment: AzureEnvironment, name: str | None, suffix: str
) -> tuple[Credential, str]:
    """The credential, and a text that is the same for the same one and tells nothing of it."""
    if given.anonymous:
        return Anonymous(), "anonymous"
    key, sas = given.account_key, given.sas_token
    if string is not None:
        key, sas = string.account_key, string.sas_token
        if key is None and sas is None and given.connection is not None:
            raise ConfigurationError("the connection string has neither AccountKey nor SharedAccessSignature")
    elif not given.names_a_way and environment.account_name in {None, name}:
        key = environment.account_key
        if key is None and environment.account_name == name:
            sas = environment.sas_token
    if key is not None:
        if name is None:
            raise ConfigurationError("a key is of an account: set account_name (or AZURE_STORAGE_ACCOUNT)")
        decoded_key(key)
        return SharedKey(name, key), "key"
    if sas is not None:
        return Sas(sas), f"sas {hashlib.sha256(sas.encode()).hexdigest()}"
    if given.client_id and given.client_secret and given.tenant_id:
        principal = Principal(given.client_id, given.client_secret, given.tenant_id)
        return sign_in(principal, suffix), f"principal {given.tenant_id} {given.client_id}"
    return sign_in(None, suffix), "default"
