"""From a configuration to a client. No I/O, and no SDK unless the configuration asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entrepot.errors import ConfigurationError
from entrepot.flavors.azure.address import Location, is_of_azure
from entrepot.flavors.azure.administration import Administration
from entrepot.flavors.azure.attempts import AZURE_CAPABILITIES, OTHER_CAPABILITIES
from entrepot.http.pace import Pace
from entrepot.http.retry import RetryPolicy
from entrepot.http.wire_transport import WireTransport

if TYPE_CHECKING:
    from entrepot.auth.azure import Credential
    from entrepot.flavors.azure.client import AzureClient
    from entrepot.flavors.azure.config import AzureConfig
    from entrepot.http.transport import Transport


def make_client(
    config: AzureConfig,
    *,
    transport: Transport | None = None,
    policy: RetryPolicy | None = None,
    credential: Credential | None = None,
) -> AzureClient:
    """The client that a configuration describes.

    transport: in place of the pool of connections that `wire` makes. policy: of retries, in place of the
    configuration's. credential: in place of what the configuration and the environment name.
    Raises: ConfigurationError, where the environment contradicts the configuration or the SDK is missing.
    """
    account, root = config.account(), config.root
    credential = credential or account.credential
    location = Location(account.endpoint, config.place.container)
    host = account.endpoint.origin.host
    policy = policy or RetryPolicy(max_attempts=config.max_attempts)
    rules: dict[str, Any] = {
        "shown": f"{root.scheme}://{root.container}",
        "credential": credential,
        "administration": Administration(account.name, credential, ca_file=config.ca_bundle),
        "account": account.identity,
        "capabilities": AZURE_CAPABILITIES if is_of_azure(host) else OTHER_CAPABILITIES,
        "policy": policy,
        "pace": Pace(
            concurrency=config.concurrency,
            requests_per_second=config.requests_per_second,
            clock=policy.clock,
            sleep=policy.sleep,
        ),
    }
    if config.client == "sdk":
        try:
            from entrepot.flavors.azure.sdk import AzureSdkClient
        except ModuleNotFoundError as error:
            raise ConfigurationError("client='sdk' needs azure-storage-blob: pip install 'entrepot[azure]'") from error
        return AzureSdkClient(location, ca_file=config.ca_bundle, **rules)
    from entrepot.flavors.azure.wire import AzureWireClient

    return AzureWireClient(location, transport=transport or WireTransport(ca_file=config.ca_bundle), **rules)
