"""What goes through azure-storage-blob whatever the client: containers made, shared access signatures.

Its modules are imported when they are first needed, in a worker thread, as that takes most of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from entrepot.auth.azure import API_VERSION, Anonymous, Credential, Sas, SharedKey
from entrepot.auth.entra import SignIn
from entrepot.errors import ConfigurationError, StoreError, UnsupportedOperation
from entrepot.models import PresignMethod

if TYPE_CHECKING:
    from entrepot.flavors.azure.address import Location

_PERMISSIONS: Final[Mapping[PresignMethod, str]] = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}
_DAY_S: Final = 86_400
_KEY_S: Final = 3_600
_DELEGATED_MOST_S: Final = 7 * _DAY_S
_SKEW_S: Final = 300  # a signature begins before now, as the service's clock may be behind


@dataclass(slots=True)
class _Delegated:
    """A key that the service gave for signing, and until when signatures by it hold, in seconds since 1970."""

    key: Any
    until: float


class Administration:
    """One account's. clock: seconds since 1970."""

    def __init__(
        self,
        account_name: str | None,
        credential: Credential,
        *,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._account_name = account_name
        self._credential = credential
        self._ca_file = ca_file
        self._clock = clock
        self._delegated: _Delegated | None = None
        self._read_sas: dict[str, tuple[str, float]] = {}

    async def create_container(self, location: Location, uri: str) -> None:
        """Make the container; one that is there is ours, as the account is. Requests: 1."""
        sdk = await anyio.to_thread.run_sync(_import_sdk)
        try:
            async with self._service(sdk, location) as service:
                await service.create_container(location.container)
        except sdk.faults.FAILURES as error:
            failure: StoreError = sdk.faults.failure(error, "create_container", uri)
            if not isinstance(failure, FileExistsError):
                raise failure from error

    async def presigned(self, location: Location, key: str, method: PresignMethod, expires_s: int, uri: str) -> str:
        """The URL of a key with a SAS that allows one method."""
        if expires_s <= 0:
            raise ConfigurationError("a URL must hold for at least a second", operation="presign", uri=uri)
        token = await self._sas(location, key, _PERMISSIONS[method], expires_s, uri)
        return f"{location.url(key)}?{token}"

    async def readable(self, location: Location, key: str) -> str:
        """The URL of a copy's source, with what proves to the service that it may be read; never to be shown.

        A sign-in's token goes in a header instead, so that its URL is plain. Requests: none.
        """
        url = location.url(key)
        if isinstance(self._credential, Sas):
            return self._credential.appended(url)
        if not isinstance(self._credential, SharedKey):
            return url
        kept = self._read_sas.get(location.container)
        if kept is None or kept[1] - self._clock() < _KEY_S / 2:
            token = await self._sas(location, None, "r", _KEY_S, url)
            kept = self._read_sas[location.container] = (token, self._clock() + _KEY_S)
        return f"{url}?{kept[0]}"

    async def _sas(self, location: Location, key: str | None, permissions: str, expires_s: int, uri: str) -> str:
        """key: None signs for all of the container."""
        who: dict[str, Any]
        if isinstance(self._credential, SharedKey):
            who = {"account_key": self._credential.key}
            account = self._credential.account
        elif isinstance(self._credential, SignIn) and self._account_name is not None:
            who = {"user_delegation_key": await self._delegation_key(location, expires_s, uri)}
            account = self._account_name
        else:
            raise UnsupportedOperation(
                "only an account key or a sign-in can sign URLs; give one of them", operation="presign", uri=uri
            )
        now = datetime.fromtimestamp(self._clock(), UTC)
        given = {
            "account_name": account,
            "container_name": location.container,
            "permission": permissions,
            "start": now - timedelta(seconds=_SKEW_S),
            "expiry": now + timedelta(seconds=expires_s),
            "protocol": "https" if location.endpoint.origin.scheme == "https" else "https,http",
            **who,
        }

        def sign() -> str:
            blob = _import_sdk().blob
            token: str = (
                blob.generate_container_sas(**given) if key is None else blob.generate_blob_sas(blob_name=key, **given)
            )
            return token

        return await anyio.to_thread.run_sync(sign)

    async def _delegation_key(self, location: Location, expires_s: int, uri: str) -> Any:
        if expires_s > _DELEGATED_MOST_S:
            raise ConfigurationError("with a sign-in a URL holds for 7 days at most", operation="presign", uri=uri)
        kept, now = self._delegated, self._clock()
        if kept is not None and kept.until >= now + expires_s:
            return kept.key
        until = now + min(_DELEGATED_MOST_S, expires_s + _KEY_S)
        sdk = await anyio.to_thread.run_sync(_import_sdk)
        try:
            async with self._service(sdk, location) as service:
                key = await service.get_user_delegation_key(
                    datetime.fromtimestamp(now - _SKEW_S, UTC), datetime.fromtimestamp(until, UTC)
                )
        except sdk.faults.FAILURES as error:
            raise sdk.faults.failure(error, "presign", uri) from error
        self._delegated = _Delegated(key, until)
        return key

    def _service(self, sdk: _Sdk, location: Location) -> Any:
        return sdk.aio.BlobServiceClient(
            location.endpoint.url,
            credential=sdk_credential(self._credential),
            **sdk_options(self._ca_file),
        )


@dataclass(frozen=True, slots=True)
class _Sdk:
    aio: Any
    blob: Any
    faults: Any


def _import_sdk() -> _Sdk:
    """Raises: ConfigurationError where it is missing."""
    try:
        import azure.storage.blob
        import azure.storage.blob.aio

        from entrepot.flavors.azure import sdk_faults
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "containers and signed URLs of Azure need azure-storage-blob: pip install 'entrepot[azure]'"
        ) from error
    return _Sdk(azure.storage.blob.aio, azure.storage.blob, sdk_faults)


def sdk_options(ca_file: str | None) -> dict[str, Any]:
    """How every client of the SDK is made: no retries and no redirects of its own, the API's version that we speak."""
    verified = {"connection_verify": ca_file} if ca_file is not None else {}
    return {
        "api_version": API_VERSION,
        "retry_total": 0,
        "redirect_max": 0,
        "permit_redirects": False,
        "connection_timeout": 10,
        "read_timeout": 30,
        **verified,
    }


def sdk_credential(credential: Credential) -> Any:
    """The same credential in the SDK's form."""
    if isinstance(credential, SharedKey):
        from azure.core.credentials import AzureNamedKeyCredential

        return AzureNamedKeyCredential(credential.account, credential.key)
    if isinstance(credential, Sas):
        from azure.core.credentials import AzureSasCredential

        return AzureSasCredential(credential.appended("").lstrip("?"))
    if isinstance(credential, SignIn):
        return _SdkToken(credential)
    assert isinstance(credential, Anonymous)
    return None


class _SdkToken:
    """A token of ours as azure-core asks for one: the cache and the refresh are ours."""

    def __init__(self, source: SignIn) -> None:
        self._source = source

    async def get_token(self, *_scopes: str, **_options: object) -> Any:
        from azure.core.credentials import AccessToken

        token = await self._source.token()
        return AccessToken(token.text, int(token.expires_at))

    async def close(self) -> None:
        """Nothing is kept."""

    async def __aenter__(self) -> _SdkToken:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
