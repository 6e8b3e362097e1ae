"""Accounts of Google's credential files, the token requests that gcloud-aio-auth makes for them, and who signs.

Source: Google Cloud, "How Application Default Credentials works"; IAM, "REST: signBlob".
"""

from __future__ import annotations

import base64
import importlib
import io
import ipaddress
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import anyio.to_thread

from entrepot.errors import (
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    CredentialsMissing,
    PermissionDenied,
    ServiceUnavailable,
    StoreError,
    Throttled,
    TimedOut,
)
from entrepot.http.retry import RetryPolicy, retry_after_s, retrying
from entrepot.http.transport import Origin, Request, Transport
from entrepot.models import KIB

T = TypeVar("T")

WAYS: Final = (
    "give token (a service account's key, as JSON or a file) or access_token, set GOOGLE_APPLICATION_CREDENTIALS, "
    "run `gcloud auth application-default login`, or say anonymous=True"
)
_REPLY_MAX_BYTES: Final = 256 * KIB
_METADATA_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default"
_TRANSIENT: Final = frozenset({500, 502, 503, 504})

# What a credentials file must have, by its type; further types (of legacy clients) have no tokens for us.
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "service_account": ("client_email", "private_key"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url", "credential_source"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}
_SECRET_GOES_TO: Final = ("token_uri", "token_url", "service_account_impersonation_url")


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks for tokens. data: of a credentials file; empty means the metadata server at `metadata_host`.

    where: what to name in messages.
    """

    where: str
    data: Mapping[str, Any] = field(repr=False)
    metadata_host: str

    @classmethod
    async def find(cls, given: str | None, named: str | None, user_file: str, metadata_host: str) -> Account:
        """The account given (JSON, or a file's path), else of the file that the environment names, else of the user's
        own file, else of this machine. Raises: CredentialsMissing that says what is wrong with a file.
        """
        if given is not None and given.lstrip().startswith("{"):
            return cls("token", account_data(given, "token"), metadata_host)
        for path, where in ((given, "token"), (named, "GOOGLE_APPLICATION_CREDENTIALS")):
            if path is not None:
                text = await anyio.to_thread.run_sync(_read, path, where)
                return cls(f"{where} ({path})", account_data(text, f"{where} ({path})"), metadata_host)
        try:
            text = await anyio.to_thread.run_sync(_read, user_file, "application-default credentials")
        except CredentialsMissing as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            return cls("the metadata server", {}, metadata_host)
        return cls(user_file, account_data(text, user_file), metadata_host)

    @property
    def kind(self) -> str:
        """`type` of the file, or `metadata_server`."""
        return str(self.data.get("type", "metadata_server"))

    @property
    def private_key(self) -> str | None:
        """PEM of a service account's own key."""
        return self.data.get("private_key") if self.kind == "service_account" else None

    @property
    def email(self) -> str | None:
        """Of the service account that signs, where the file tells it."""
        if self.kind == "service_account":
            return str(self.data["client_email"])
        url = str(self.data.get("service_account_impersonation_url", ""))
        _, found, rest = url.partition("/serviceAccounts/")
        return rest.partition(":")[0] or None if found else None

    @property
    def project(self) -> str | None:
        """Of the account, where the file tells it."""
        found = self.data.get("project_id") or self.data.get("quota_project_id")
        return found if isinstance(found, str) else None


def _read(path: str, where: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_REPLY_MAX_BYTES)
    except FileNotFoundError as error:
        raise CredentialsMissing(
            f"{where} names no file ({path}); give the JSON of a service account, or the path of its key file"
        ) from error
    except UnicodeDecodeError as error:
        raise CredentialsMissing(f"{where}: {path} is no JSON of Google's credentials") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise CredentialsMissing(f"{where}: the file cannot be read ({reason}); check its path and mode") from error


def account_data(text: str, where: str) -> dict[str, Any]:
    """The checked content of a credentials file. Raises: CredentialsMissing, which shows nothing of the content."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise CredentialsMissing(f"{where} is not JSON; download the key of the service account anew") from None
    kind = data.get("type") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _REQUIRED:
        raise CredentialsMissing(
            f"{where} is no credentials file of a known type ({', '.join(_REQUIRED)}); "
            "download the key of the service account anew"
        )
    missing = [name for name in _REQUIRED[kind] if not data.get(name)]
    if missing:
        raise CredentialsMissing(f"{where} has no {missing[0]}; download the key of the service account anew")
    if kind == "impersonated_service_account" and (
        not isinstance(data["source_credentials"], dict)
        or data["source_credentials"].get("type", "authorized_user") != "authorized_user"
    ):
        raise CredentialsMissing(f"{where}: a service account can be impersonated by a user's credentials only")
    for name in _SECRET_GOES_TO:
        if name in data:
            _origin_of(str(data[name]), f"{where}: {name}")
    return dict(data)


def _origin_of(url: str, what: str) -> tuple[Origin, str]:
    """Where a secret may be sent: https, or this machine; origin and target. Raises: CredentialsMissing."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, host, port = urlsplit(""), "", 0
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(host)):
        raise CredentialsMissing(f"{what} must be an https address; download the credentials file anew")
    return Origin(parts.scheme, host, port), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# ---- token requests -----------------------------------------------------------------------------------------


class _Refused(Exception):
    """A reply that is no success. code, text: as Google's sign-in services tell them."""

    def __init__(self, status: int, code: str, text: str, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status, self.code, self.text, self.headers = status, code, text, headers


@dataclass(frozen=True, slots=True)
class _Reply:
    """A whole reply, as gcloud-aio-auth reads one."""

    body: bytes = field(repr=False)

    async def text(self) -> str:
        return self.body.decode()

    async def json(self, content_type: str | None = None) -> Any:
        return json.loads(self.body)


class _Session:
    """What gcloud-aio-auth sends its requests through: our own transport. One attempt each, redirects off.

    metadata_host: plain http goes there and to this machine only, and such a server must say that it is Google's.
    """

    def __init__(self, transport: Transport, metadata_host: str) -> None:
        self._transport = transport
        self._metadata_host = metadata_host

    async def get(self, url: str, headers: Mapping[str, str] | None = None, timeout: float = 0, **_: Any) -> _Reply:
        return await self._ask("GET", url, headers or {}, b"")

    async def post(
        self, url: str, headers: Mapping[str, str], data: str | bytes | None = None, timeout: float = 0, **_: Any
    ) -> _Reply:
        return await self._ask("POST", url, headers, data.encode() if isinstance(data, str) else data or b"")

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> _Reply:
        parts = urlsplit(url)
        is_metadata = parts.scheme == "http" and parts.netloc == self._metadata_host
        if is_metadata or self._names_a_token(url, method):
            origin = Origin(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        else:
            origin, target = _origin_of(url, "an address of the credentials")
        named = [(name.lower(), value) for name, value in headers.items() if name.lower() != "content-length"]
        async with self._transport.send(Request(method, origin, target, named, body)) as response:
            answer = await response.read(_REPLY_MAX_BYTES)
            if not 200 <= response.status < 300:
                raise _Refused(response.status, *_told(answer), response.headers)
            if is_metadata and response.headers.get("metadata-flavor") != "Google":
                raise CredentialsMissing(f"no Google credentials were found; {WAYS}")
            return _Reply(answer)

    @staticmethod
    def _names_a_token(url: str, method: str) -> bool:
        """Whether it is where workload identity reads its subject token: link-local addresses speak plain http."""
        try:
            address = ipaddress.ip_address(urlsplit(url).hostname or "")
        except ValueError:
            return False
        return method == "GET" and address.is_link_local


def _told(body: bytes) -> tuple[str, str]:
    """Code and text of an error, in the form of OAuth or in that of Google's APIs; empty where it has neither."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(error, dict):
        return str(error.get("status", ""))[:60], str(error.get("message", ""))[:200]
    return str(error or "")[:60], str(told.get("error_description", ""))[:200] if isinstance(told, dict) else ""


class TokenRequests:
    """The requests of one account, through gcloud-aio-auth; each is tried by our own policy."""

    def __init__(self, account: Account, transport: Transport, policy: RetryPolicy) -> None:
        self.account = account
        self._session = _Session(transport, account.metadata_host)
        self._policy = policy

    async def token(self, scope: str) -> tuple[str, float]:
        """A new access token, and its lifetime in seconds. Requests: 1 to 3.

        Raises: CredentialsMissing, PermissionDenied, and what passes after the last attempt.
        """
        made = await self._library_token(scope)
        return made.access_token, made.access_token_duration

    async def _library_token(self, scope: str) -> Any:
        """gcloud-aio-auth's own token, refreshed: its `refresh` is one attempt, the rest of it repeats all errors."""
        library = await anyio.to_thread.run_sync(_import_library)

        async def attempt() -> Any:
            try:
                token = library.Token(service_file=io.StringIO(json.dumps(dict(self.account.data))), scopes=[scope])
                token.session = self._session
                if not self.account.data:
                    token.token_uri = f"http://{self.account.metadata_host}{_METADATA_PATH}/token"
                got = await token.refresh(timeout=30)
            except StoreError:
                raise
            except _Refused as refused:
                raise self._refusal(refused) from None
            except Exception as error:  # noqa: BLE001  # its errors are of many kinds, and their texts may show a key
                raise CredentialsMissing(
                    f"{self.account.where}: no token can be asked for with it ({type(error).__name__}); "
                    "download the key of the service account anew"
                ) from None
            token.access_token, token.access_token_duration = got.value, got.expires_in
            token.access_token_preempt_after = token.access_token_refresh_after = 1 << 40
            return token

        return await self._reached(attempt)

    async def _reached(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Retried: where a machine has just started, so has its metadata server. One that does not answer at all means
        that the machine is none of Google's, and is no fault of the network. Raises: CredentialsMissing.
        """

        async def once() -> T:
            try:
                return await attempt()
            except TimedOut as error:
                if self.account.data:
                    raise
                raise self._nowhere() from error

        try:
            return await retrying(self._policy, lambda _number: once())
        except ConnectionFailed as error:
            if self.account.data:
                raise
            raise self._nowhere() from error

    @staticmethod
    def _nowhere() -> CredentialsMissing:
        return CredentialsMissing(f"no Google credentials were found; {WAYS}")

    def _refusal(self, refused: _Refused) -> StoreError:  # noqa: PLR0911 (one a row)
        where, said = self.account.where, refused.code or f"HTTP {refused.status}"
        if refused.status == 429:
            wait_s = retry_after_s(refused.headers.get("retry-after"), time.time())
            return Throttled("Google's sign-in asks for fewer requests", retry_after_s=wait_s)
        if refused.status in _TRANSIENT:
            return ServiceUnavailable(f"Google's sign-in failed ({said})")
        if not self.account.data:
            return CredentialsMissing(f"this machine has no service account ({said}); attach one, or {WAYS}")
        if refused.status == 403 or refused.code == "PERMISSION_DENIED":
            return PermissionDenied(
                f"{where}: the account may not be impersonated ({said}); "
                "grant the caller the role Service Account Token Creator"
            )
        if "reasonable timeframe" in refused.text:
            return CredentialsMissing(f"{where}: the clocks differ by too much ({said}); set this machine's clock")
        if self.account.kind == "authorized_user":
            return CredentialsMissing(
                f"{where}: the sign-in has ended ({said}); run `gcloud auth application-default login`"
            )
        return CredentialsMissing(
            f"{where}: Google refuses the account ({said}): its key was removed, or is another's; "
            "make a new key of the service account"
        )

    async def email(self) -> str:
        """The service account that signs. Requests: 1 at the metadata server, else none. Raises: CredentialsMissing."""
        found = self.account.email
        if found is None and not self.account.data:
            url = f"http://{self.account.metadata_host}{_METADATA_PATH}/email"

            async def attempt() -> str:
                try:
                    reply = await self._session.get(url, {"metadata-flavor": "Google"})
                except _Refused as refused:
                    raise self._refusal(refused) from None
                return (await reply.text()).strip()

            found = await self._reached(attempt)
        if not found:
            raise CredentialsMissing(
                f"{self.account.where}: a user cannot sign a URL; give token, the key of a service account"
            )
        return found

    async def sign_blob(self, email: str, text: bytes, scope: str) -> bytes:
        """A signature by IAM. Requests: 2. Raises: PermissionDenied, CredentialsMissing, and what passes after the last
        attempt.
        """
        library = await anyio.to_thread.run_sync(_import_library)
        token = await self._library_token(scope)

        async def attempt() -> bytes:
            try:
                iam = library.IamClient(token=token)
                iam.session = self._session
                reply = await iam.sign_blob(text, service_account_email=email)
                return base64.b64decode(reply["signedBlob"], validate=True)
            except _Refused as refused:
                if refused.status == 429 or refused.status in _TRANSIENT:
                    raise self._refusal(refused) from None
                raise PermissionDenied(
                    f"IAM does not sign for {email} ({refused.code or refused.status}); "
                    "grant the caller the role Service Account Token Creator on it"
                ) from None
            except (KeyError, ValueError, TypeError) as error:
                raise BadResponse("IAM answered with no signature") from error

        return await retrying(self._policy, lambda _number: attempt())


def _import_library() -> Any:
    """Half a second, once a process: to be called in a worker thread. Raises: ConfigurationError."""
    try:
        return importlib.import_module("gcloud.aio.auth")
    except ModuleNotFoundError as error:
        raise ConfigurationError("Google's credentials need gcloud-aio-auth: pip install 'entrepot[gcp]'") from error


# ---- who signs ----------------------------------------------------------------------------------------------


class Signer(ABC):
    """Signs bytes for one service account, with RSASSA-PKCS1-v1_5 and SHA-256."""

    email: str

    @abstractmethod
    async def sign(self, text: bytes) -> bytes:
        """The signature. Raises: CredentialsMissing, PermissionDenied."""


class KeySigner(Signer):
    """By the account's own private key."""

    def __init__(self, account: Account) -> None:
        assert account.email is not None
        assert account.private_key is not None
        self.email = account.email
        self._pem, self._where = account.private_key, account.where

    async def sign(self, text: bytes) -> bytes:
        return await anyio.to_thread.run_sync(self._sign, text)

    def _sign(self, text: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa

        try:
            key = serialization.load_pem_private_key(self._pem.encode(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise CredentialsMissing(f"{self._where}: private_key is damaged; download the key anew")
        return key.sign(text, padding.PKCS1v15(), hashes.SHA256())


class IamSigner(Signer):
    """By IAM, for credentials without a private key: workload identity, impersonation, Google's machines."""

    def __init__(self, requests: TokenRequests, email: str, scope: str) -> None:
        self.email = email
        self._requests, self._scope = requests, scope

    async def sign(self, text: bytes) -> bytes:
        return await self._requests.sign_blob(self.email, text, self._scope)
