"""Where requests go: endpoints checked before any of them, keys as they stand in a path. No I/O."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from entrepot.errors import ConfigurationError
from entrepot.http.transport import Origin

_METADATA_HOSTS: Final = frozenset({"metadata.google.internal", "metadata", "instance-data"})


def keeps_path(key: str) -> str:
    """A key as it stands in a request's path: every byte but RFC 3986's unreserved ones and `/` as %XX."""
    # A listing gives names that are not UTF-8 as surrogates; they go back as the bytes they were.
    return quote(key, safe="-_.~/", errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked address of a service, without bucket. base: its path, if any, without a slash at the end."""

    origin: Origin
    base: str = ""

    @property
    def url(self) -> str:
        """As an SDK takes it."""
        return self.origin.url + self.base

    @classmethod
    def parse(cls, url: str, *, allow_http: bool = False, allow_link_local: bool = False) -> Endpoint:
        """The endpoint that a URL names.

        Raises ConfigurationError, without the URL where it might hold a secret: for userinfo, a query or fragment;
        for link-local and metadata addresses, unless allowed; for http to anything but this machine, unless allowed.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigurationError("endpoint_url is not a URL, such as https://storage.example.com:9000") from error
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError("endpoint_url must not hold a user or password; credentials are given apart")
        if parts.query or parts.fragment:
            raise ConfigurationError("endpoint_url must have no query and no fragment")
        if parts.scheme not in {"http", "https"} or not host:
            raise ConfigurationError(
                "endpoint_url must be http:// or https:// and a host, such as https://storage.example.com"
            )
        if not allow_link_local and _is_link_local(host):
            raise ConfigurationError(
                "endpoint_url is a link-local or metadata address, where credentials must not go; "
                "set allow_link_local=True if that is meant"
            )
        if parts.scheme == "http" and not allow_http and not is_loopback(host):
            raise ConfigurationError(
                "endpoint_url is plain http to another machine; use https, or set allow_http=True if that is meant"
            )
        return cls(Origin(parts.scheme, host, port or (443 if parts.scheme == "https" else 80)), parts.path.rstrip("/"))


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its very name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _ip(host)
    return address is not None and address.is_loopback


def _is_link_local(host: str) -> bool:
    address = _ip(host)
    if address is None:
        return host.rstrip(".") in _METADATA_HOSTS
    # fd00:ec2::254 is the metadata service of EC2 over IPv6: unique-local, not link-local.
    return address.is_link_local or address == ipaddress.ip_address("fd00:ec2::254")


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
