"""From a configuration to a client. No I/O, and no SDK unless the configuration asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entrepot.auth.aws import AwsSettings, CredentialSource, aws_environment, credential_source, resolve_region
from entrepot.errors import ConfigurationError
from entrepot.flavors.s3.attempts import AWS_CAPABILITIES, OTHER_CAPABILITIES
from entrepot.flavors.s3.endpoint import locate
from entrepot.flavors.s3.requests import Settings
from entrepot.http.pace import Pace
from entrepot.http.retry import RetryPolicy
from entrepot.http.wire_transport import WireTransport

if TYPE_CHECKING:
    from pydantic import SecretStr

    from entrepot.flavors.s3.client import S3Client
    from entrepot.flavors.s3.config import S3Config
    from entrepot.http.transport import Transport

_DIRECTORY_BUCKET = "--x-s3"


def make_client(config: S3Config, *, transport: Transport | None = None, policy: RetryPolicy | None = None) -> S3Client:
    """The client that a configuration describes.

    transport: in place of the pool of connections that `wire` makes. policy: of retries, in place of the
    configuration's. Raises: ConfigurationError, where the environment contradicts it or the SDK is missing.
    """
    bucket, endpoint = config.root.container, config.endpoint()
    tells_checksums = endpoint is None if config.tells_checksums is None else config.tells_checksums
    settings = Settings.of(
        sse=config.sse,
        sse_kms_key_id=config.sse_kms_key_id,
        customer_key=_plain(config.sse_customer_key),
        acl=config.acl,
        storage_class=config.storage_class,
        requester_pays=config.requester_pays,
        tells_checksums=tells_checksums,
    )
    ca_file = config.ca_bundle or aws_environment().ca_bundle

    async def region() -> str:
        return config.region or await resolve_region(config.profile)

    policy = policy or RetryPolicy(max_attempts=config.max_attempts)
    rules: dict[str, Any] = {
        "account": (endpoint, config.key, config.profile, config.role_arn, config.anonymous),
        "capabilities": AWS_CAPABILITIES if endpoint is None else OTHER_CAPABILITIES,
        "settings": settings,
        "policy": policy,
        "pace": Pace(
            concurrency=config.concurrency,
            requests_per_second=config.requests_per_second,
            clock=policy.clock,
            sleep=policy.sleep,
        ),
        "signs_bodies": endpoint is not None and endpoint.origin.scheme == "http",
        # The etags of directory buckets are no MD5; elsewhere AWS documents when they are.
        "etags_are_md5": not bucket.endswith(_DIRECTORY_BUCKET) if endpoint is None else None,
        "credentials": _credentials(config),
        "region": region,
    }
    if config.client == "sdk":
        try:
            from entrepot.flavors.s3.sdk import S3SdkClient
        except ModuleNotFoundError as error:
            raise ConfigurationError("client='sdk' needs aiobotocore: pip install 'entrepot[s3]'") from error
        url = endpoint.url if endpoint is not None else None
        return S3SdkClient(bucket, config=config, endpoint_url=url, ca_file=ca_file, **rules)
    from entrepot.flavors.s3.wire import S3WireClient

    return S3WireClient(
        bucket,
        transport=transport or WireTransport(ca_file=ca_file),
        locate=lambda region: locate(bucket, region, endpoint, config.addressing_style),
        **rules,
    )


def _credentials(config: S3Config) -> CredentialSource:
    return credential_source(
        AwsSettings(
            key=config.key,
            secret=_plain(config.secret),
            token=_plain(config.token),
            profile=config.profile,
            role_arn=config.role_arn,
            anonymous=config.anonymous,
            region=config.region,
            role_session_name=config.role_session_name,
            external_id=config.external_id,
        )
    )


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
