"""What azure-storage-blob raises, as the family's members. Imports the SDK."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

from entrepot.errors import BadResponse, ConfigurationError, ConnectionFailed, StoreError, TimedOut, TlsFailed
from entrepot.flavors.azure.faults import fault
from entrepot.services.faults import ErrorReply

_BROKEN: Final = (ServiceRequestError, ServiceResponseError, IncompleteReadError, aiohttp.ClientError, OSError)
FAILURES: Final = (AzureError, aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError)


def error_reply(error: HttpResponseError) -> ErrorReply | None:
    """What the service said; None where no whole reply came."""
    response: Any = error.response
    if error.status_code is None or response is None:
        return None
    headers = {name.lower(): value for name, value in response.headers.items()}
    code: Any = getattr(error, "error_code", None)
    text = str(getattr(code, "value", code) or headers.get("x-ms-error-code", ""))
    return ErrorReply(error.status_code, text, (error.message or "").partition("\n")[0], headers=headers)


def failure(error: BaseException, operation: str, uri: str, *, creates: bool = False) -> StoreError:
    """The family's member; a StoreError that came through the SDK stays as it is."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, HttpResponseError) and not isinstance(error, IncompleteReadError):
        reply = error_reply(error)
        if reply is not None and not 200 <= reply.status < 300:
            return fault(reply, operation=operation, uri=uri, creates=creates)
    kind, text = _meaning(error)
    return kind(text, operation=operation, uri=uri)


def _meaning(error: BaseException) -> tuple[type[StoreError], str]:
    cause = getattr(error, "inner_exception", None) or error.__cause__ or error
    if isinstance(cause, aiohttp.ClientSSLError):
        return TlsFailed, "no trusted TLS connection; check endpoint_url, or name its authority with ca_bundle"
    if isinstance(cause, aiohttp.ClientConnectorError) and isinstance(error, ServiceRequestError):
        return ConnectionFailed, "the endpoint cannot be reached; check account_name and endpoint_url"
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)) or isinstance(cause, (asyncio.TimeoutError,)):
        return TimedOut, "the endpoint did not answer in time"
    if isinstance(error, ValueError) and not isinstance(error, AzureError):
        return ConfigurationError, "the SDK refuses this request's parameters; check container and options"
    if isinstance(error, _BROKEN):
        return ConnectionFailed, f"the connection broke ({type(error).__name__})"
    return BadResponse, "a reply that the SDK cannot read"
