"""AWS credentials and where they come from: given, the environment, or the SDK's chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """One set of keys. expires_at: seconds since 1970; None where they do not expire, or the SDK keeps the time."""

    key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class AwsEnvironment:
    """The `AWS_*` variables that entrepot itself heeds, as they are now; unset and empty are both None.

    region: AWS_REGION over AWS_DEFAULT_REGION. endpoint_url: AWS_ENDPOINT_URL_S3 over AWS_ENDPOINT_URL, and None where
    AWS_IGNORE_CONFIGURED_ENDPOINT_URLS is true; so is sts_endpoint_url (AWS_ENDPOINT_URL_STS over AWS_ENDPOINT_URL).
    """

    key: str | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    sts_endpoint_url: str | None = None
    ca_bundle: str | None = None


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """Who signs, as a store's configuration says it; whatever is None is looked for in the environment.

    sts_endpoint_url: where `role_arn` is assumed; None is AWS's own for the region, or AWS_ENDPOINT_URL_STS.
    """

    key: str | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    profile: str | None = None
    role_arn: str | None = None
    anonymous: bool = False
    region: str | None = None
    sts_endpoint_url: str | None = None


class CredentialSource(ABC):
    """Gives the credentials to sign with; may be shared by event loops and threads."""

    @abstractmethod
    async def current(self) -> AwsCredentials | None:
        """What to sign with now; None signs nothing (anonymous). No request as long as what is known is valid.

        Raises: CredentialsMissing, ConfigurationError.
        """

    @abstractmethod
    async def refresh(self, rejected: AwsCredentials | None = None) -> AwsCredentials | None:
        """What to sign with after the service called credentials expired; equal to the old where nothing newer exists.

        rejected: what was refused; where another task has already replaced it, nothing is asked again.
        """


def credential_source(settings: AwsSettings) -> CredentialSource:
    """The source that the settings name, else the environment's keys, else the SDK's chain. No I/O, no SDK imported.

    Raises: ConfigurationError where the settings contradict each other.
    """
    raise NotImplementedError


def aws_environment() -> AwsEnvironment:
    """The one reader of `AWS_*` variables."""
    raise NotImplementedError


async def resolve_region(profile: str | None = None) -> str:
    """AWS_REGION, AWS_DEFAULT_REGION, the profile's region in the shared configuration file, else `us-east-1`."""
    raise NotImplementedError
