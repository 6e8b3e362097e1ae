"""Signing in to Azure with Microsoft Entra, by azure-identity: a service principal, or the default chain."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import anyio.to_thread

from entrepot.auth.azure import API_VERSION, WAYS, Credential
from entrepot.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsExpired,
    CredentialsMissing,
    PermissionDenied,
    StoreError,
)
from entrepot.http.transport import Headers

_log = logging.getLogger(__name__)

SCOPE: Final = "https://storage.azure.com/.default"

_EARLY_S: Final = 300.0  # before its end a token is replaced, as long as the old one still works
_ASK_AGAIN_S: Final = 60.0  # not sooner, where the new one could not be had or is short-lived too
_CODE: Final = re.compile(r"AADSTS(\d+)")
_CHECK: Final = "check client_id, client_secret and tenant_id"
# Source: Microsoft Learn, "Microsoft Entra authentication and authorization error codes".
_MEANINGS: Final[dict[str, tuple[type[StoreError], str]]] = {
    "7000215": (CredentialsMissing, "the client secret is wrong; set client_secret to the secret's value, not its id"),
    "7000222": (CredentialsExpired, "the client secret has expired; make a new one and set client_secret"),
    "700016": (CredentialsMissing, "the tenant does not know this client; check client_id and tenant_id"),
    "90002": (CredentialsMissing, "there is no such tenant; check tenant_id"),
    "900023": (CredentialsMissing, "there is no such tenant; check tenant_id"),
    "900384": (CredentialsMissing, "the tenant's form is wrong; check tenant_id"),
    "7000112": (PermissionDenied, "the application is disabled; enable it in Microsoft Entra"),
    "7000229": (CredentialsMissing, "the client has no service principal in the tenant; add it, or check tenant_id"),
    "53003": (PermissionDenied, "conditional access forbids this sign-in; ask the tenant's administrator"),
    "50173": (CredentialsExpired, "the sign-in has ended; run `az login`"),
    "700082": (CredentialsExpired, "the sign-in has ended; run `az login`"),
}
# The Microsoft Entra that knows the accounts of a sovereign cloud, by the suffix of their endpoints.
_AUTHORITIES: Final = {
    "core.chinacloudapi.cn": "login.chinacloudapi.cn",
    "core.usgovcloudapi.net": "login.microsoftonline.us",
}


class Token(NamedTuple):
    """expires_at: seconds since 1970."""

    text: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Principal:
    """A service principal; None in its place is the default chain of azure-identity."""

    client_id: str
    client_secret: str = field(repr=False)
    tenant_id: str


TokenMaker: TypeAlias = "Callable[[], AbstractAsyncContextManager[Any]]"
"""Makes a credential of azure-identity's asynchronous kind; called in a worker thread, as it may import the SDK."""


class SignIn(Credential):
    """A token of Microsoft Entra, had when it is first needed and replaced five minutes before its end.

    What was had is shared by all event loops; each loop asks at most once at a time. clock: seconds since 1970.
    """

    def __init__(self, make: TokenMaker, *, clock: Callable[[], float] = time.time) -> None:
        self._make = make
        self._clock = clock
        self._known: Token | None = None
        self._good_until = 0.0
        # No locks of asyncio: one that was waited for has its loop in it, and would keep its own key alive for ever.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.Lock] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return "SignIn(***)"

    async def identity(self) -> str:
        await self.token()
        return "a sign-in by Microsoft Entra"

    async def signed(
        self, method: str, target: str, headers: Headers, size_bytes: int, now: float, *, versioned: bool = True
    ) -> tuple[str, list[tuple[str, str]]]:
        token = await self.token()
        version = (("x-ms-version", API_VERSION),) if versioned else ()
        return target, [*headers, *version, ("authorization", f"Bearer {token.text}")]

    async def token(self) -> Token:
        """What to ask with now; no request as long as the one known is good."""
        known = self._known
        if known is not None and self._clock() < self._good_until:
            return known
        return await self._replace(known, anew=False)

    async def refresh(self, refused: str | None = None) -> bool:
        before = self._known
        if refused is not None and before is not None and refused != f"Bearer {before.text}":
            return True
        return await self._replace(before, anew=True) != before

    async def _replace(self, before: Token | None, *, anew: bool) -> Token:
        """Ask, unless another task did while this one waited. anew: the old one was refused, so it is no way out."""
        lock = self._locks.setdefault(asyncio.get_running_loop(), anyio.Lock())
        async with lock:
            known = self._known
            if known is not None and known is not before:
                return known
            try:
                self._known = known = await self._ask()
            except StoreError as error:
                if anew or known is None or self._clock() >= known.expires_at:
                    raise
                _log.warning("the token could not be replaced, the old one is used (%s)", type(error).__name__)
                self._good_until = self._clock() + _ASK_AGAIN_S
                return known
            now = self._clock()
            self._good_until = max(known.expires_at - _EARLY_S, min(known.expires_at, now + _ASK_AGAIN_S))
            return known

    async def _ask(self) -> Token:
        # A credential a token: nothing of it outlives this call, so that it belongs to no event loop.
        sdk = await anyio.to_thread.run_sync(_import_sdk)
        try:
            async with await anyio.to_thread.run_sync(self._make) as credential:
                got = await credential.get_token(SCOPE)
        except (sdk.errors.AzureError, ValueError) as error:
            raise sign_in_error(error) from error
        return Token(got.token, float(got.expires_on))


def sign_in(principal: Principal | None, endpoint_suffix: str) -> SignIn:
    """endpoint_suffix: of the account's endpoint; that of a sovereign cloud names the Microsoft Entra to ask.

    No I/O, and no SDK imported before a token is needed. AZURE_AUTHORITY_HOST is azure-identity's to read.
    """
    authority = {"authority": _AUTHORITIES[endpoint_suffix]} if endpoint_suffix in _AUTHORITIES else {}

    def make() -> Any:
        identity = importlib.import_module("azure.identity.aio")
        if principal is None:
            return identity.DefaultAzureCredential(**authority)
        return identity.ClientSecretCredential(
            tenant_id=principal.tenant_id,
            client_id=principal.client_id,
            client_secret=principal.client_secret,
            **authority,
        )

    return SignIn(make)


class _Sdk(NamedTuple):
    errors: Any
    identity: Any


def _import_sdk() -> _Sdk:
    """Most of a second, once a process. Raises: ConfigurationError where it is missing."""
    try:
        sdk = _Sdk(importlib.import_module("azure.core.exceptions"), importlib.import_module("azure.identity"))
    except ModuleNotFoundError as error:
        raise ConfigurationError("signing in to Azure needs azure-identity: pip install 'entrepot[azure]'") from error
    return sdk


def sign_in_error(error: Exception) -> StoreError:
    """The family's member for an error of azure-identity: one line that says what to set."""
    sdk = _import_sdk()
    found = _CODE.search(str(error))
    if found is not None:
        kind, advice = _MEANINGS.get(found[1], (CredentialsMissing, f"Microsoft Entra refused the sign-in; {_CHECK}"))
        return kind(f"{advice} ({found[0]})")
    if isinstance(error, (sdk.identity.CredentialUnavailableError, sdk.errors.ClientAuthenticationError)):
        return CredentialsMissing(f"no Azure credentials were found; {WAYS}")
    if isinstance(error, ValueError):
        return ConfigurationError(f"azure-identity refuses this configuration; {_CHECK}")
    return ConnectionFailed(f"Microsoft Entra could not be reached ({type(error).__name__})")
