"""AWS credentials and where they come from: given, the environment, or the SDK's chain."""

from __future__ import annotations

import asyncio
import configparser
import importlib
import logging
import os
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

import anyio.to_thread

from entrepot.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsMissing,
    PermissionDenied,
    StoreError,
)

_log = logging.getLogger(__name__)

DEFAULT_REGION: Final = "us-east-1"

_EARLY_S: Final = 300.0  # before their end credentials are replaced, as long as the old ones still work
_ASK_AGAIN_S: Final = 60.0  # how long an answer of the SDK is used without asking it: it keeps the expiry to itself
_CONFIG_FILE: Final = "~/.aws/config"
_CREDENTIALS_FILE: Final = "~/.aws/credentials"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_WAYS: Final = (
    "give key and secret, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or say anonymous=True"
)


_KEY_SHOWN_FROM: Final = 12
"""Characters. AWS's own keys have 20; others may be words, of which four characters tell too much."""


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """One set of keys. expires_at: seconds since 1970; None where they do not expire, or the SDK keeps the time."""

    key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: float | None = None

    @property
    def shown(self) -> str:
        """`access key …WXYZ`: enough to tell which one it is; of a short one nothing is shown."""
        end = self.key[-4:] if len(self.key) >= _KEY_SHOWN_FROM else ""
        return f"access key …{end}{', temporary' if self.token else ''}"


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
    config_file: str = _CONFIG_FILE
    credentials_file: str = _CREDENTIALS_FILE


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """Who signs, as a store's configuration says it; whatever is None is looked for in the environment.

    sts_endpoint_url: where `role_arn` is assumed; None is AWS's own for the region, or AWS_ENDPOINT_URL_STS.
    role_session_name: None is made of the process id. external_id: what the role's owner asks of third parties.
    """

    key: str | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    profile: str | None = None
    role_arn: str | None = None
    anonymous: bool = False
    region: str | None = None
    sts_endpoint_url: str | None = None
    role_session_name: str | None = None
    external_id: str | None = None


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


class Static(CredentialSource):
    """Credentials that were given, and that nothing replaces."""

    def __init__(self, credentials: AwsCredentials) -> None:
        self._credentials = credentials

    async def current(self) -> AwsCredentials:
        return self._credentials

    async def refresh(self, rejected: AwsCredentials | None = None) -> AwsCredentials:
        return self._credentials


class Anonymous(CredentialSource):
    """Nobody: requests are not signed."""

    async def current(self) -> None:
        return None

    async def refresh(self, rejected: AwsCredentials | None = None) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Known:
    """Credentials and until when they are used without asking, in seconds since 1970."""

    credentials: AwsCredentials
    good_until: float


class _OfLoop:
    """What may not leave one event loop: its lock, and the SDK's credentials, which hold a lock of their own."""

    def __init__(self) -> None:
        # No locks of asyncio: one that was waited for has its loop in it, and would keep its own key alive for ever.
        self.lock = anyio.Lock()
        self.sdk_credentials: Any = None


class Chain(CredentialSource):
    """The SDK's chain: environment, profile, SSO, web identity, container, instance; then `role_arn`, where given.

    What was found is shared by all event loops; each loop asks at most once at a time. A role is assumed again five
    minutes before its credentials end; the SDK replaces those that it found by the same kind of rule.
    clock: seconds since 1970.
    """

    def __init__(self, settings: AwsSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._known: _Known | None = None
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()

    async def current(self) -> AwsCredentials:
        known = self._known
        if known is not None and self._clock() < known.good_until:
            return known.credentials
        return await self._replace(known, anew=False)

    async def refresh(self, rejected: AwsCredentials | None = None) -> AwsCredentials:
        known = self._known
        if rejected is not None and known is not None and known.credentials != rejected:
            return known.credentials
        return await self._replace(known, anew=True)

    async def _replace(self, before: _Known | None, *, anew: bool) -> AwsCredentials:
        """Ask, unless another task did while this one waited. anew: also the SDK begins with nothing kept."""
        own = self._loops.setdefault(asyncio.get_running_loop(), _OfLoop())
        async with own.lock:
            known = self._known
            if known is not None and known is not before:
                return known.credentials
            if anew:
                own.sdk_credentials = None
            try:
                self._known = known = await self._ask(own)
            except StoreError as error:
                expires_at = known.credentials.expires_at if known is not None else None
                if anew or known is None or expires_at is None or self._clock() >= expires_at:
                    raise
                _log.warning("AWS credentials could not be replaced, the old ones are used (%s)", type(error).__name__)
                self._known = known = _Known(known.credentials, self._clock() + _ASK_AGAIN_S)
            return known.credentials

    async def _ask(self, own: _OfLoop) -> _Known:
        sdk = await anyio.to_thread.run_sync(_import_sdk)
        try:
            if self._settings.role_arn:
                credentials = await self._assume_role(sdk, self._settings.role_arn)
                return _Known(credentials, self._good_until(credentials))
            if own.sdk_credentials is None:
                own.sdk_credentials = await sdk.session.AioSession(profile=self._settings.profile).get_credentials()
            if own.sdk_credentials is None:
                raise CredentialsMissing(f"no AWS credentials were found; {_WAYS}")
            frozen = await own.sdk_credentials.get_frozen_credentials()
        except (sdk.exceptions.BotoCoreError, sdk.exceptions.ClientError) as error:
            raise _sdk_error(sdk, error, self._settings) from error
        credentials = AwsCredentials(frozen.access_key, frozen.secret_key, frozen.token or None)
        fixed = not isinstance(own.sdk_credentials, sdk.credentials.RefreshableCredentials)
        return _Known(credentials, float("inf") if fixed else self._clock() + _ASK_AGAIN_S)

    def _good_until(self, credentials: AwsCredentials) -> float:
        """Five minutes before the end, yet never so soon that each request asks."""
        if credentials.expires_at is None:
            return float("inf")
        return max(credentials.expires_at - _EARLY_S, min(credentials.expires_at, self._clock() + _ASK_AGAIN_S))

    async def _assume_role(self, sdk: Any, role_arn: str) -> AwsCredentials:
        """One AssumeRole, signed by the keys given, else by what the chain finds.

        Source: AWS Security Token Service API Reference, AssumeRole.
        """
        given, environment = self._settings, aws_environment()
        async with sdk.session.AioSession(profile=given.profile).create_client(
            "sts",
            region_name=given.region or await resolve_region(given.profile),
            endpoint_url=given.sts_endpoint_url or environment.sts_endpoint_url,
            aws_access_key_id=given.key,
            aws_secret_access_key=given.secret,
            aws_session_token=given.token,
            config=sdk.config.AioConfig(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 3}),
        ) as client:
            reply = await client.assume_role(
                RoleArn=role_arn,
                RoleSessionName=given.role_session_name or f"entrepot-{os.getpid()}",
                **({"ExternalId": given.external_id} if given.external_id else {}),
            )
        got = reply["Credentials"]
        return AwsCredentials(
            got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"], got["Expiration"].timestamp()
        )


def credential_source(settings: AwsSettings) -> CredentialSource:
    """The source that the settings name, else the environment's keys, else the SDK's chain. No I/O, no SDK imported.

    Raises: ConfigurationError where the settings contradict each other or are not whole.
    """
    if bool(settings.key) != bool(settings.secret) or (settings.token and not settings.key):
        raise ConfigurationError("key and secret go together, and token only with them; give both or none")
    if settings.anonymous:
        if settings.key or settings.profile or settings.role_arn:
            raise ConfigurationError("anonymous=True goes with neither key, profile nor role_arn; give one of them")
        return Anonymous()
    if settings.key and settings.profile:
        raise ConfigurationError("key and profile name two identities; give one of them")
    if settings.role_arn or settings.profile:
        return Chain(settings)
    if settings.key and settings.secret:
        return Static(AwsCredentials(settings.key, settings.secret, settings.token or None))
    environment = aws_environment()
    if environment.key and environment.secret:
        return Static(AwsCredentials(environment.key, environment.secret, environment.token))
    if environment.key or environment.secret:
        raise CredentialsMissing("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; set both or none")
    return Chain(settings)


def aws_environment() -> AwsEnvironment:
    """The one reader of `AWS_*` variables."""

    def first(*names: str) -> str | None:
        return next((os.environ[name] for name in names if os.environ.get(name)), None)

    heeded = (first("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or "").lower() not in _TRUE
    return AwsEnvironment(
        key=first("AWS_ACCESS_KEY_ID"),
        secret=first("AWS_SECRET_ACCESS_KEY"),
        token=first("AWS_SESSION_TOKEN"),
        profile=first("AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
        region=first("AWS_REGION", "AWS_DEFAULT_REGION"),
        endpoint_url=first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if heeded else None,
        sts_endpoint_url=first("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL") if heeded else None,
        ca_bundle=first("AWS_CA_BUNDLE"),
        config_file=first("AWS_CONFIG_FILE") or _CONFIG_FILE,
        credentials_file=first("AWS_SHARED_CREDENTIALS_FILE") or _CREDENTIALS_FILE,
    )


async def resolve_region(profile: str | None = None) -> str:
    """AWS_REGION, AWS_DEFAULT_REGION, the profile's region in the shared files, else `us-east-1`.

    profile: None is AWS_PROFILE, else `default`. Imports no SDK. Raises: ConfigurationError for an unreadable file.
    """
    environment = aws_environment()
    if environment.region:
        return environment.region
    name = profile or environment.profile or "default"
    files = (environment.credentials_file, environment.config_file)
    return await anyio.to_thread.run_sync(_region_in_files, files, name) or DEFAULT_REGION


def _region_in_files(files: tuple[str, ...], profile: str) -> str | None:
    """Source: AWS SDKs and Tools Reference Guide, "Using shared config and credentials files"."""
    for file in files:
        parser = configparser.RawConfigParser(default_section="", strict=False)
        try:
            parser.read(os.path.expanduser(file), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            raise ConfigurationError(f"cannot read {file}: {type(error).__name__}") from error
        for section in parser.sections():
            if _profile_of(section) == profile and parser.has_option(section, "region"):
                return parser.get(section, "region").strip() or None
    return None


def _profile_of(section: str) -> str:
    """`[profile NAME]` in the configuration file, `[NAME]` in the credentials file."""
    words = shlex.split(section) if section.startswith("profile") else []
    return words[1] if len(words) == 2 and words[0] == "profile" else section


# ---- the SDK ------------------------------------------------------------------------------------------------


class _NoDebug(logging.Filter):
    """At DEBUG the SDK logs requests to sign and replies of sign-in services, secrets included."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG


_NO_DEBUG: Final = _NoDebug()
_TELLING: Final = (
    "botocore.auth",
    "botocore.endpoint",
    "botocore.hooks",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.retryhandler",
    "botocore.utils",
    "aiobotocore.utils",
)


@dataclass(frozen=True, slots=True)
class _Sdk:
    """The SDK's modules that are needed here."""

    config: Any
    credentials: Any
    exceptions: Any
    session: Any


def _import_sdk() -> _Sdk:
    """A second, once a process: to be called in a worker thread. Raises: ConfigurationError where it is missing."""
    try:
        sdk = _Sdk(
            config=importlib.import_module("aiobotocore.config"),
            credentials=importlib.import_module("botocore.credentials"),
            exceptions=importlib.import_module("botocore.exceptions"),
            session=importlib.import_module("aiobotocore.session"),
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "AWS profiles, roles and instance credentials need aiobotocore: pip install 'entrepot[s3]'"
        ) from error
    hide_sdk_debug_logs()
    return sdk


def hide_sdk_debug_logs() -> None:
    """Drop those DEBUG records of the SDK that tell secrets; to be called where the SDK is first used."""
    for name in _TELLING:
        logging.getLogger(name).addFilter(_NO_DEBUG)


def _sdk_error(sdk: Any, error: Exception, settings: AwsSettings) -> StoreError:  # noqa: PLR0911 (one a row)
    """The family's member for an error of the SDK while credentials were looked for."""
    known = sdk.exceptions
    what = f"the role {settings.role_arn}" if settings.role_arn else "AWS credentials"
    if isinstance(error, known.ProfileNotFound):
        return ConfigurationError(f"{error}; check ~/.aws/config and the profile's name")
    if isinstance(error, known.ClientError):
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in {"AccessDenied", "AccessDeniedException"}:
            return PermissionDenied(f"{what}: the service refused ({code}); check the role's trust policy")
        return CredentialsMissing(f"{what}: the service refused ({code}); check the keys that ask for it")
    if isinstance(error, (known.SSOError, known.TokenRetrievalError)):
        profile = f" --profile {settings.profile}" if settings.profile else ""
        return CredentialsMissing(f"{what}: the sign-in has ended; run `aws sso login{profile}`")
    if isinstance(error, (known.HTTPClientError, known.ConnectionError)):
        return ConnectionFailed(f"{what}: the sign-in service could not be reached ({type(error).__name__})")
    if isinstance(error, known.NoCredentialsError):
        return CredentialsMissing(f"{what}: no credentials to ask with were found; {_WAYS}")
    return CredentialsMissing(f"{what} could not be had ({type(error).__name__}); {_WAYS}")
