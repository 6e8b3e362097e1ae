"""How one origin is reached: its proxy, its TLS, and what each failure on the way means."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from entrepot import __version__
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

USER_AGENT: Final = f"entrepot/{__version__}"

_CHECK: Final = "check endpoint_url"


class Route:
    """What every request to one origin has in common, and the family's error for what goes wrong with one: never
    with a path or a query in its text.

    answered: it has sent a reply at least once.
    """

    __slots__ = ("answered", "authority", "origin", "proxy", "scheme", "timeouts", "tls", "where")

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        self.origin = origin
        self.authority = origin.authority
        self.scheme = origin.scheme
        self.tls = tls
        self.timeouts = timeouts
        self.proxy = environment_proxy(origin)
        self.answered = False
        address = f"{origin.scheme}://[{origin.host}]" if ":" in origin.host else f"{origin.scheme}://{origin.host}"
        self.where = f"{address}:{origin.port}"
        if self.proxy is not None:
            self.where += f" through the proxy {_without_user(self.proxy)}"

    # ---- no connection ----------------------------------------------------------------------------

    def not_in_time(self) -> StoreError:
        """No connection within `connect_s`."""
        text = f"no connection to {self.where} within {self.timeouts.connect_s:g} s"
        return TimedOut(text) if self.answered else Unreachable(f"{text}; {_CHECK}")

    def not_found(self) -> StoreError:
        """The host's name has no address."""
        return self._not_reached(f"no address is known for the host of {self.where}; {_CHECK} and the network")

    def not_connected(self, error: OSError) -> StoreError:
        """The system refused, or found no way."""
        reason = error.strerror or type(error).__name__
        return self._not_reached(f"cannot connect to {self.where} ({reason}); is the server running? {_CHECK}")

    def _not_reached(self, text: str) -> StoreError:
        return ConnectionFailed(text, not_sent=True) if self.answered else Unreachable(text)

    def not_trusted(self, error: BaseException) -> StoreError:
        """The TLS handshake failed."""
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({error.verify_message}); name its authority with ca_file"
        elif isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
            return ConnectionFailed(f"{self.where} ended the connection during the TLS handshake", not_sent=True)
        else:
            reason = error.reason if isinstance(error, ssl.SSLError) else type(error).__name__
            why = f"no TLS connection ({reason}); does it speak https? {_CHECK}, its scheme and its port"
        return TlsFailed(f"{self.where}: {why}")

    # ---- no reply ---------------------------------------------------------------------------------

    def took_too_little(self) -> StoreError:
        """The network did not take the next piece of the body within `send_s`."""
        return TimedOut(f"{self.where} took too little of the body within {self.timeouts.send_s:g} s")

    def sent_nothing(self) -> StoreError:
        """Not a byte of the reply within `idle_s`."""
        return TimedOut(f"{self.where} sent nothing for {self.timeouts.idle_s:g} s")

    def sent_too_slowly(self) -> StoreError:
        """A body dripped for `progress_s`."""
        return TimedOut(f"{self.where} sent less than 1 KiB/s for {self.timeouts.progress_s:g} s")

    def broke(self) -> StoreError:
        """The connection ended before the reply's head was there."""
        return ConnectionFailed(f"the connection to {self.where} broke before a reply was complete")

    def cut_short(self) -> StoreError:
        """The connection ended before the body did."""
        return ConnectionFailed(f"{self.where} ended the connection before the whole body had come")

    # ---- a reply that is none ---------------------------------------------------------------------

    def not_http(self) -> StoreError:
        """What came does not follow the protocol."""
        return BadResponse(f"{self.where} did not answer in HTTP; {_CHECK}, its scheme and its port")

    def answered_early(self) -> StoreError:
        """A reply that is no refusal came before the request was sent."""
        return BadResponse(f"{self.where} answered before the whole request was sent")

    def announced_too_much(self, declared: int, limit: int) -> StoreError:
        """The head tells of a body longer than is wanted."""
        return BadResponse(f"{self.where} announced a body of {declared} bytes, more than {limit}")

    def sent_too_much(self, limit: int) -> StoreError:
        """The body is longer than is wanted."""
        return BadResponse(f"{self.where} sent a body of more than {limit} bytes")


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS 1.2 or later, certificates and host names verified. Raises: ConfigurationError for an unusable file."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(f"cannot read certificate authorities from {ca_file}: {error.strerror}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def environment_proxy(origin: Origin) -> str | None:
    """The URL of the proxy that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name for an origin."""
    proxies = getproxies()
    proxy = proxies.get(origin.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
