"""Google's access tokens and where they come from: given, a service account, or application-default credentials.

gcloud-aio-auth makes the token requests (service accounts, users, workload identity, impersonation, the metadata
server); they go over our own transport, so that its rules hold for them: redirects off, proxies, authorities, forks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final
from weakref import WeakKeyDictionary

import anyio

from entrepot.auth.google_accounts import Account, IamSigner, KeySigner, Signer, TokenRequests
from entrepot.errors import CredentialsMissing, StoreError
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Transport

_log = logging.getLogger(__name__)

STORAGE_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.full_control"
_IAM_SCOPE: Final = "https://www.googleapis.com/auth/iam"

_EARLY_S: Final = 300.0  # before its end a token is replaced, as long as the old one still works
_ASK_AGAIN_S: Final = 60.0  # the metadata server gives its old token until shortly before that ends


@dataclass(frozen=True, slots=True)
class GoogleToken:
    """One access token. expires_at: seconds since 1970; None where that is not known. header: as a request has it."""

    value: str = field(repr=False)
    expires_at: float | None = None
    header: tuple[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", ("authorization", f"Bearer {self.value}"))


@dataclass(frozen=True, slots=True)
class GoogleEnvironment:
    """The variables that entrepot heeds, as they are now; unset and empty are both None.

    credentials_file: GOOGLE_APPLICATION_CREDENTIALS. user_file: where `gcloud auth application-default login` keeps
    its own. emulator_host: STORAGE_EMULATOR_HOST. project: GOOGLE_CLOUD_PROJECT over GCLOUD_PROJECT.
    metadata_host: GCE_METADATA_HOST, or the one of every Google machine.
    """

    credentials_file: str | None
    user_file: str
    emulator_host: str | None
    project: str | None
    metadata_host: str


def google_environment() -> GoogleEnvironment:
    """The one reader of these variables."""

    def first(*names: str) -> str | None:
        return next((os.environ[name] for name in names if os.environ.get(name)), None)

    home = first("CLOUDSDK_CONFIG") or os.path.join(
        first("APPDATA") or "" if os.name == "nt" else os.path.expanduser("~/.config"), "gcloud"
    )
    return GoogleEnvironment(
        credentials_file=first("GOOGLE_APPLICATION_CREDENTIALS"),
        user_file=os.path.join(home, "application_default_credentials.json"),
        emulator_host=first("STORAGE_EMULATOR_HOST"),
        project=first("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"),
        metadata_host=first("GCE_METADATA_HOST", "GCE_METADATA_ROOT") or "metadata.google.internal",
    )


class TokenSource(ABC):
    """Gives the token to send; may be shared by event loops and threads."""

    is_anonymous: ClassVar[bool] = False

    @abstractmethod
    async def current(self) -> GoogleToken | None:
        """The token to send now; None sends none (anonymous). No request as long as what is known is valid.

        Raises: CredentialsMissing, ConfigurationError, ConnectionFailed.
        """

    @abstractmethod
    async def refresh(self, rejected: GoogleToken | None = None) -> GoogleToken | None:
        """The token to send after the service refused one; equal to the old where nothing newer exists.

        rejected: what was refused; where another task has already replaced it, nothing is asked again.
        """

    async def identity(self) -> str:
        """Who asks, in a few words without a secret. Requests: those of `current`, which it calls."""
        return "a token" if await self.current() is not None else "nobody (anonymous)"

    async def project(self) -> str | None:
        """The project that the environment or the account names."""
        return google_environment().project

    async def signer(self) -> Signer | None:
        """What signs URLs; None where nothing has to. Raises: CredentialsMissing without a service account."""
        raise CredentialsMissing(
            "a URL is signed by a service account, and there is none here; give token, its key as JSON or a file"
        )

    async def close(self) -> None:
        """Drop the running loop's connections."""


class Static(TokenSource):
    """A token that was given, and that nothing replaces."""

    def __init__(self, value: str) -> None:
        self._token = GoogleToken(value)

    async def current(self) -> GoogleToken:
        return self._token

    async def refresh(self, rejected: GoogleToken | None = None) -> GoogleToken:
        return self._token

    async def identity(self) -> str:
        return "an access token that was given"


class Anonymous(TokenSource):
    """Nobody: requests carry no token."""

    is_anonymous = True

    async def current(self) -> None:
        return None

    async def refresh(self, rejected: GoogleToken | None = None) -> None:
        return None

    async def signer(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Known:
    """A token, and until when it is used without asking, in seconds since 1970."""

    token: GoogleToken
    good_until: float


class AccountTokens(TokenSource):
    """The tokens of an account, which is looked for when the first is needed: given, a file, or application-default.

    What was found is shared by all event loops; each loop asks at most once at a time. A token is replaced five minutes
    before its end, and once where the service refuses it. clock: seconds since 1970.
    """

    def __init__(
        self,
        given: str | None,
        transport: Transport,
        *,
        policy: RetryPolicy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._given = given
        self._transport = transport
        self._policy = policy or RetryPolicy(max_attempts=4, unreachable_attempts=2, deadline_s=60)
        self._clock = clock
        self._requests: TokenRequests | None = None
        self._known: _Known | None = None
        # No locks of asyncio: one that was waited for has its loop in it, and would keep its own key alive for ever.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.Lock] = WeakKeyDictionary()

    async def current(self) -> GoogleToken:
        known = self._known
        if known is not None and self._clock() < known.good_until:
            return known.token
        return await self._replace(known, anew=False)

    async def refresh(self, rejected: GoogleToken | None = None) -> GoogleToken:
        known = self._known
        if rejected is not None and known is not None and known.token != rejected:
            return known.token
        return await self._replace(known, anew=True)

    async def _replace(self, before: _Known | None, *, anew: bool) -> GoogleToken:
        """Ask, unless another task did while this one waited."""
        async with self._locks.setdefault(asyncio.get_running_loop(), anyio.Lock()):
            known = self._known
            if known is not None and known is not before:
                return known.token
            try:
                token = await self._ask()
            except StoreError as error:
                expires_at = known.token.expires_at if known is not None else None
                if anew or known is None or expires_at is None or self._clock() >= expires_at:
                    raise
                _log.warning("Google's token could not be replaced, the old one is used (%s)", type(error).__name__)
                token = known.token
            self._known = _Known(token, self._good_until(token))
            return token

    async def _ask(self) -> GoogleToken:
        requests = await self._asking()
        value, lifetime_s = await requests.token(STORAGE_SCOPE)
        return GoogleToken(value, self._clock() + lifetime_s)

    def _good_until(self, token: GoogleToken) -> float:
        """Five minutes before the end, yet never so soon that each request asks."""
        assert token.expires_at is not None
        return max(token.expires_at - _EARLY_S, min(token.expires_at, self._clock() + _ASK_AGAIN_S))

    async def _asking(self) -> TokenRequests:
        if self._requests is None:
            environment = google_environment()
            account = await Account.find(
                self._given, environment.credentials_file, environment.user_file, environment.metadata_host
            )
            self._requests = TokenRequests(account, self._transport, self._policy)
        return self._requests

    async def identity(self) -> str:
        await self.current()
        account = (await self._asking()).account
        return f"{account.email or account.kind}, by {account.where}"

    async def project(self) -> str | None:
        found = google_environment().project
        return found or (await self._asking()).account.project

    async def signer(self) -> Signer:
        requests = await self._asking()
        if requests.account.private_key is not None:
            return KeySigner(requests.account)
        return IamSigner(requests, await requests.email(), _IAM_SCOPE)

    async def close(self) -> None:
        await self._transport.close()


def token_source(
    *, token: str | None, access_token: str | None, anonymous: bool, transport: Callable[[], Transport]
) -> TokenSource:
    """The source that a configuration names, else application-default credentials. No I/O, no SDK imported."""
    if anonymous:
        return Anonymous()
    if access_token is not None:
        return Static(access_token)
    return AccountTokens(token, transport())
