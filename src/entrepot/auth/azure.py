"""Who asks Azure Storage: a shared key, a shared access signature (SAS), a sign-in, or nobody; and where it is found.

Source: Azure Storage REST API Reference, "Authorize requests to Azure Storage" and the pages below it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote

from entrepot.errors import ConfigurationError
from entrepot.http.transport import Headers
from entrepot.paths import printable

API_VERSION: Final = "2023-11-03"
"""Of the REST API that is spoken; a service that is older than it refuses, a newer one keeps it."""

_VERSION: Final = ("x-ms-version", API_VERSION)

DEFAULT_SUFFIX: Final = "core.windows.net"

WAYS: Final = (
    "give account_key, sas_token, connection_string, or client_id, client_secret and tenant_id; set "
    "AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY; sign in with `az login`; "
    "or say anonymous=True"
)
# Azurite's own, the same on every machine (Microsoft Learn, "Use the Azurite emulator", "Well-known storage account").
_DEVELOPMENT: Final = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6"
    "IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1"
)


# ---- what was given, and what the environment gives -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AzureEnvironment:
    """The `AZURE_STORAGE_*` variables that entrepot itself heeds, as they are now; unset and empty are both None.

    account_name: AZURE_STORAGE_ACCOUNT_NAME over AZURE_STORAGE_ACCOUNT. account_key: AZURE_STORAGE_ACCOUNT_KEY over
    AZURE_STORAGE_KEY over AZURE_STORAGE_ACCESS_KEY. What signs in (AZURE_CLIENT_ID …) is azure-identity's to read.
    """

    connection_string: str | None = field(default=None, repr=False)
    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)


def azure_environment() -> AzureEnvironment:
    """The one reader of `AZURE_STORAGE_*` variables."""

    def first(*names: str) -> str | None:
        return next((os.environ[name] for name in names if os.environ.get(name)), None)

    return AzureEnvironment(
        connection_string=first("AZURE_STORAGE_CONNECTION_STRING"),
        account_name=first("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
        account_key=first("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY"),
        sas_token=first("AZURE_STORAGE_SAS_TOKEN"),
    )


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """What a connection string says of the blob service. endpoint_url: None where it is Azure's own for the name."""

    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    endpoint_suffix: str | None = None

    @classmethod
    def parse(cls, text: str) -> ConnectionString:
        """Raises: ConfigurationError, without the text, which holds a secret.

        Source: Microsoft Learn, "Configure Azure Storage connection strings".
        """
        values: dict[str, str] = {}
        for pair in text.strip().strip(";").split(";"):
            name, equals, value = pair.partition("=")
            if not equals or not name.strip():
                raise ConfigurationError("a connection string is made of NAME=VALUE pairs with ; between them")
            values[name.strip().lower()] = value.strip()
        if values.get("usedevelopmentstorage", "").lower() == "true":
            return cls.parse(_DEVELOPMENT)
        account, endpoint = values.get("accountname"), values.get("blobendpoint")
        if not account and not endpoint:
            raise ConfigurationError("the connection string names neither AccountName nor BlobEndpoint")
        suffix = values.get("endpointsuffix")
        if endpoint is None and values.get("defaultendpointsprotocol", "https").lower() == "http":
            endpoint = f"http://{account}.blob.{suffix or DEFAULT_SUFFIX}"
        key, sas = values.get("accountkey"), values.get("sharedaccesssignature")
        return cls(account or None, key or None, sas or None, endpoint or None, suffix or None)


# ---- signing --------------------------------------------------------------------------------------------------


class Credential(ABC):
    """Turns a request into one that the service knows the sender of; may be shared by event loops and threads."""

    @abstractmethod
    async def signed(
        self, method: str, target: str, headers: Headers, size_bytes: int, now: float, *, versioned: bool = True
    ) -> tuple[str, list[tuple[str, str]]]:
        """Target and headers as sent, the API's version among them.

        headers: names in lower case, without `Host` and `Content-Length`. now: seconds since 1970. versioned: False for
        a part of a batch, which is of the version of the whole.
        Raises: CredentialsMissing, CredentialsExpired, ConnectionFailed where a sign-in fails.
        """

    @abstractmethod
    async def identity(self) -> str:
        """Who asks, in a few words without a secret. Requests: a sign-in's. Raises: as `signed`."""

    async def refresh(self, refused: str | None = None) -> bool:
        """Whether the next request may be signed by something newer than what the service has just refused.

        refused: its `Authorization`, where known: what another request has replaced meanwhile is not replaced again.
        """
        return False

    def expired(self, now: float) -> str | None:
        """What has expired by its own words, and how to replace it; None where nothing has, or nothing tells."""
        return None


class Anonymous(Credential):
    """Nobody: for containers with public access."""

    async def signed(
        self, method: str, target: str, headers: Headers, size_bytes: int, now: float, *, versioned: bool = True
    ) -> tuple[str, list[tuple[str, str]]]:
        return target, [*headers, _VERSION] if versioned else list(headers)

    async def identity(self) -> str:
        return "nobody (anonymous)"


class Sas(Credential):
    """A shared access signature, which goes with each request's query."""

    def __init__(self, token: str) -> None:
        self._token = token.strip().lstrip("?")
        self.fields = dict(parse_qsl(self._token))
        if "sig" not in self.fields:
            raise ConfigurationError("sas_token is the query of a SAS URL, such as sv=…&sp=…&se=…&sig=…")

    def __repr__(self) -> str:
        return "Sas(***)"

    async def identity(self) -> str:
        ends = self.fields.get("se")
        return f"a shared access signature{f', until {printable(ends)}' if ends else ''}"

    def appended(self, target: str) -> str:
        """The target with the signature; never to be shown."""
        return f"{target}{'&' if '?' in target else '?'}{self._token}"

    async def signed(
        self, method: str, target: str, headers: Headers, size_bytes: int, now: float, *, versioned: bool = True
    ) -> tuple[str, list[tuple[str, str]]]:
        return self.appended(target), [*headers, _VERSION] if versioned else list(headers)

    def expired(self, now: float) -> str | None:
        ends = self.fields.get("se", "")
        try:
            moment = datetime.fromisoformat(ends)
        except ValueError:
            return None
        if moment.tzinfo is not None and moment.timestamp() < now:
            return f"the SAS token ended at {ends}; make a new one and set sas_token"
        return None


class SharedKey(Credential):
    """An account's key. Source: REST API Reference, "Authorize with Shared Key"."""

    def __init__(self, account: str, key: str) -> None:
        self.account, self.key = account, key
        self._key = decoded_key(key)
        self._date = (0, "")

    async def identity(self) -> str:
        return f"account {self.account}, by its key"

    def __repr__(self) -> str:
        return f"SharedKey({self.account!r})"

    async def signed(
        self, method: str, target: str, headers: Headers, size_bytes: int, now: float, *, versioned: bool = True
    ) -> tuple[str, list[tuple[str, str]]]:
        date = self._dated(int(now))
        stamps = [("x-ms-date", date), _VERSION] if versioned else [("x-ms-date", date)]
        own = [header for header in headers if header[0].startswith("x-ms-")]
        if own or not versioned:
            canonical = canonical_headers([*own, *stamps])
        else:
            canonical = f"x-ms-date:{date}\nx-ms-version:{API_VERSION}\n"
        sent = [*headers, *stamps]
        known = dict(headers).get
        text = (
            f"{method}\n\n\n{size_bytes or ''}\n{known('content-md5', '')}\n{known('content-type', '')}\n\n\n"
            f"{known('if-match', '')}\n{known('if-none-match', '')}\n\n{known('range', '')}\n"
            f"{canonical}/{self.account}{canonical_resource(target)}"
        )
        digest = hmac.digest(self._key, text.encode(), "sha256")
        signature = binascii.b2a_base64(digest, newline=False).decode()
        sent.append(("authorization", f"SharedKey {self.account}:{signature}"))
        return target, sent

    def _dated(self, second: int) -> str:
        kept = self._date
        if kept[0] != second:
            kept = self._date = (second, formatdate(second, usegmt=True))
        return kept[1]


def decoded_key(key: str) -> bytes:
    """An account key's bytes. Raises: ConfigurationError, without the key."""
    try:
        return base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError("account_key is not the base64 text that the portal shows; copy it whole") from error


def canonical_headers(own: Iterable[tuple[str, str]]) -> str:
    """The `x-ms-` headers as they are signed, in the order of the service."""
    return "".join(f"{name}:{value}\n" for name, value in sorted(own, key=_rank))


def _rank(header: tuple[str, str]) -> str:
    return _weight(header[0])


@lru_cache(maxsize=1024)
def _weight(name: str) -> str:
    """The service compares names as words: hyphens do not count, and `_` comes before digits and letters."""
    return name.replace("-", "").replace("_", " ")


def canonical_resource(target: str) -> str:
    """Path and query as they are signed: the path as sent, each parameter decoded, by name, on a line of its own."""
    path, _, query = target.partition("?")
    if not query:
        return path
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return path + "".join(f"\n{name.lower()}:{unquote(value)}" for name, value in pairs)
