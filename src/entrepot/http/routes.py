"""How one origin is reached: its proxy, its TLS, and what each failure on the way means."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, TransferEncodingError
from yarl import URL

from entrepot.errors import (
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    StoreError,
    TimedOut,
    TlsFailed,
    Unreachable,
)
from entrepot.http.transport import Origin, Timeouts

FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.TimeoutError)
"""What aiohttp and the system raise, and `Route.error` translates."""

_CHECK: Final = "check endpoint_url"


class Route:
    """What every request to one origin has in common. answered: it has sent a reply at least once."""

    __slots__ = ("answered", "authority", "proxy", "scheme", "tls", "where")

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self.authority = origin.authority
        self.scheme = origin.scheme
        self.tls: ssl.SSLContext | bool = tls or True
        self.proxy = environment_proxy(origin)
        self.answered = False
        address = f"{origin.scheme}://[{origin.host}]" if ":" in origin.host else f"{origin.scheme}://{origin.host}"
        self.where = f"{address}:{origin.port}"
        if self.proxy is not None:
            self.where += f" through the proxy {self.proxy.origin()}"

    def error(self, error: BaseException, timeouts: Timeouts) -> StoreError:  # noqa: PLR0911 (one a row of the table)
        """The family's member for one of FAILURES; never with a path or a query in its text."""
        match error:
            case aiohttp.ClientSSLError():
                return self._tls_error(error)
            case aiohttp.ConnectionTimeoutError():
                text = f"no connection to {self.where} within {timeouts.connect_s:g} s"
                return TimedOut(text) if self.answered else Unreachable(f"{text}; {_CHECK}")
            case aiohttp.ClientConnectorError():
                return self._no_connection(error)
            case aiohttp.SocketTimeoutError():
                return TimedOut(f"{self.where} sent nothing for {timeouts.idle_s:g} s")
            case asyncio.TimeoutError():
                return TimedOut(f"{self.where} took too little of the body within {timeouts.send_s:g} s")
            case aiohttp.ClientPayloadError() if not _is_malformed(error):
                return ConnectionFailed(f"{self.where} ended the connection before the whole body had come")
            case aiohttp.ClientHttpProxyError():
                return ConnectionFailed(f"{self.where}: the proxy answered {error.status}", not_sent=True)
            case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError() | HttpProcessingError():
                return BadResponse(f"{self.where} did not answer in HTTP; {_CHECK}, its scheme and its port")
            case aiohttp.InvalidURL():
                return ConfigurationError(f"not an address: {self.where}; {_CHECK}")
            case _:
                return ConnectionFailed(f"the connection to {self.where} broke before a reply was complete")

    def _no_connection(self, error: aiohttp.ClientConnectorError) -> StoreError:
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            text = f"no address is known for the host of {self.where}; {_CHECK} and the network"
        else:
            reason = error.os_error.strerror or type(error.os_error).__name__
            text = f"cannot connect to {self.where} ({reason}); is the server running? {_CHECK}"
        return ConnectionFailed(text, not_sent=True) if self.answered else Unreachable(text)

    def _tls_error(self, error: aiohttp.ClientSSLError) -> StoreError:
        cause = error.os_error
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({cause.verify_message}); name its authority with ca_file"
        elif isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return ConnectionFailed(f"{self.where} ended the connection during the TLS handshake", not_sent=True)
        else:
            reason = cause.reason if isinstance(cause, ssl.SSLError) else type(cause).__name__
            why = f"no TLS connection ({reason}); does it speak https? {_CHECK}, its scheme and its port"
        return TlsFailed(f"{self.where}: {why}")


def cause(error: BaseException) -> BaseException | None:
    """The part of a failure that may be shown as the cause: an error of the system, whose text has no URL."""
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS 1.2 or later, certificates and host names verified. Raises: ConfigurationError for an unusable file."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(f"cannot read certificate authorities from {ca_file}: {error.strerror}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def environment_proxy(origin: Origin) -> URL | None:
    """The proxy that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name for an origin."""
    proxies = getproxies()
    proxy = proxies.get(origin.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return URL(proxy if "://" in proxy else f"http://{proxy}")


def _is_malformed(error: aiohttp.ClientPayloadError) -> bool:
    """Whether a body is not HTTP, rather than cut short: both are told as a payload error."""
    return not isinstance(error.__cause__, (ContentLengthError, TransferEncodingError, OSError, type(None)))
