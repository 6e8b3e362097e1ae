"""From a configuration to a client. No I/O, and no SDK unless the configuration asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entrepot.auth.google import token_source
from entrepot.errors import ConfigurationError
from entrepot.flavors.gcp.attempts import GOOGLE_CAPABILITIES, OTHER_CAPABILITIES
from entrepot.flavors.gcp.endpoint import GOOGLE
from entrepot.flavors.gcp.requests import Requests, Settings
from entrepot.http.pace import Pace
from entrepot.http.retry import RetryPolicy
from entrepot.http.wire_transport import WireTransport

if TYPE_CHECKING:
    from pydantic import SecretStr

    from entrepot.flavors.gcp.client import GcpClient
    from entrepot.flavors.gcp.config import GcpConfig
    from entrepot.http.transport import Transport


def make_client(
    config: GcpConfig, *, transport: Transport | None = None, policy: RetryPolicy | None = None
) -> GcpClient:
    """The client that a configuration describes.

    transport: in place of the pools of connections that are made. policy: of retries, in place of the configuration's.
    Raises: ConfigurationError, where the environment contradicts it or the SDK is missing.
    """
    bucket, endpoint, anonymous = config.root.container, config.endpoint(), config.is_anonymous
    settings = Settings(
        project=config.project,
        user_project=config.user_project,
        location=config.location,
        storage_class=config.storage_class,
        kms_key_name=config.kms_key_name,
        predefined_acl=config.predefined_acl,
    )
    token, access_token = _plain(config.token), _plain(config.access_token)

    def new_transport() -> Transport:
        return transport or WireTransport(ca_file=config.ca_bundle)

    policy = policy or RetryPolicy(max_attempts=config.max_attempts)
    rules: dict[str, Any] = {
        "account": (endpoint, token, access_token, anonymous),
        "capabilities": GOOGLE_CAPABILITIES if endpoint == GOOGLE else OTHER_CAPABILITIES,
        "settings": settings,
        "policy": policy,
        "pace": Pace(
            concurrency=config.concurrency,
            requests_per_second=config.requests_per_second,
            clock=policy.clock,
            sleep=policy.sleep,
        ),
        "endpoint": endpoint,
        "requests": Requests(endpoint, bucket, settings),
        "credentials": token_source(
            token=token, access_token=access_token, anonymous=anonymous, transport=new_transport
        ),
        "composes": config.parallel_uploads,
        "anonymous": anonymous,
    }
    if config.client == "sdk":
        try:
            from entrepot.flavors.gcp.sdk import GcpSdkClient
        except ModuleNotFoundError as error:
            raise ConfigurationError("client='sdk' needs gcloud-aio-storage: pip install 'entrepot[gcp]'") from error
        return GcpSdkClient(bucket, ca_file=config.ca_bundle, **rules)
    from entrepot.flavors.gcp.wire import GcpWireClient

    return GcpWireClient(bucket, transport=new_transport(), **rules)


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
