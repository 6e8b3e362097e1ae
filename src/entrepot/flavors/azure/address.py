"""Where Azure's containers are: names checked, addresses of both forms read, targets and URLs of keys. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from entrepot.auth.azure import DEFAULT_SUFFIX
from entrepot.errors import ConfigurationError, InvalidPath
from entrepot.http.transport import Origin
from entrepot.paths import Root, StrPath, path_text, scheme_of, split_uri
from entrepot.services.endpoint import Endpoint, keeps_path

SCHEMES: Final = frozenset({"az", "abfs", "abfss"})

_AZURE_SUFFIXES = (DEFAULT_SUFFIX, "core.chinacloudapi.cn", "core.usgovcloudapi.net", "storage.azure.net")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
_SPECIAL_CONTAINERS = frozenset({"$root", "$web", "$logs", "$blobchangefeed"})
_IP_OR_BARE = re.compile(r"\d+\.\d+\.\d+\.\d+|[^.]*:.*|[^.]+")


@dataclass(frozen=True, slots=True)
class Place:
    """What an address names: a container, and its account where that is written (`container@account.dfs.…`)."""

    container: str
    account_name: str | None = None
    endpoint_suffix: str | None = None

    @classmethod
    def parse(cls, scheme: str, text: str) -> Place:
        """text: what is between `://` and the first `/`. Raises: InvalidPath."""
        container, at, host = text.partition("@")
        if not at:
            return cls(container)
        account, _, rest = host.partition(".")
        service, _, suffix = rest.partition(".")
        if scheme == "az" or service not in {"dfs", "blob"} or not suffix:
            raise InvalidPath(
                "an address with an account has the form abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH",
                uri=f"{scheme}://{text}",
            )
        return cls(container, account, suffix)


class AzureRoot(Root):
    """A root whose addresses may also be given in the other forms, as long as they name the same container."""

    __slots__ = ()

    def relative(self, path: StrPath, *, operation: str = "") -> str:
        text = path_text(path)
        if "://" in text and scheme_of(text) in SCHEMES:
            scheme, place, key = split_uri(text)
            mine, asked = Place.parse(self.scheme, self.container), Place.parse(scheme, place)
            if asked.container == mine.container and asked.account_name in {None, mine.account_name}:
                text = f"{self.scheme}://{self.container}/{key}"
        return super().relative(text, operation=operation)


def is_of_azure(host: str) -> bool:
    """Whether a host, or the suffix of endpoints, is one of Azure's own clouds."""
    return f".{host}".endswith(tuple(f".{suffix}" for suffix in _AZURE_SUFFIXES))


def account_fault(name: str) -> str | None:
    """Why this cannot be a storage account's name, or None if it can."""
    return None if _ACCOUNT.fullmatch(name) else "a storage account's name is 3 to 24 lower-case letters and digits"


def container_fault(name: str) -> str | None:
    """Why this cannot be a container's name, or None if it can.

    Source: Microsoft Learn, "Naming and referencing containers, blobs, and metadata".
    """
    if name in _SPECIAL_CONTAINERS or _CONTAINER.fullmatch(name):
        return None
    return (
        "a container's name is 3 to 63 lower-case letters, digits and single hyphens, "
        "with a letter or digit at both ends"
    )


def unkept(key: str) -> str | None:
    """Why Azure would not keep this key as it is, or None if it does.

    The service takes a backslash for a slash and drops dots from the end of a segment, and says nothing: what was
    written as `a.` would be `a`. Source: as above ("avoid blob names that end with a dot …"); AzureStorageExplorer
    issue 1133; azure-sdk-for-java issue 36674.
    """
    if "\\" in key:
        return "Azure takes a backslash for a slash; rename it"
    if "./" in key or key.endswith("."):
        return "Azure drops a dot from the end of a name; rename it"
    return None


def account_endpoint(
    account_name: str | None,
    endpoint_url: str | None,
    endpoint_suffix: str | None,
    *,
    allow_http: bool = False,
    allow_link_local: bool = False,
) -> Endpoint:
    """Where the account's blob service is.

    endpoint_url: the account's address, as `BlobEndpoint` in a connection string; one of an IP address or a bare host
    gets the account as its path, if it has none. Raises: ConfigurationError.
    """
    if endpoint_url is None:
        if account_name is None:
            raise ConfigurationError(
                "name the storage account: set account_name (or AZURE_STORAGE_ACCOUNT), "
                "or write abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"
            )
        return Endpoint(Origin("https", f"{account_name}.blob.{endpoint_suffix or DEFAULT_SUFFIX}", 443))
    endpoint = Endpoint.parse(endpoint_url, allow_http=allow_http, allow_link_local=allow_link_local)
    if not endpoint.base and account_name is not None and _IP_OR_BARE.fullmatch(endpoint.origin.host):
        return Endpoint(endpoint.origin, f"/{account_name}")
    return endpoint


def account_of(endpoint: Endpoint) -> str | None:
    """The account that an endpoint tells: in its path where it has one, else the first label of its host."""
    if endpoint.base:
        return endpoint.base.rpartition("/")[2]
    label, dot, rest = endpoint.origin.host.partition(".")
    return label if dot and rest.startswith("blob.") else None


@dataclass(frozen=True, slots=True)
class Location:
    """One container's place at a service."""

    endpoint: Endpoint
    container: str

    @property
    def path(self) -> str:
        """Of the container itself."""
        return f"{self.endpoint.base}/{self.container}"

    def target(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}/{keeps_path(key)}"

    def url(self, key: str) -> str:
        """As a copy names its source: without any signature."""
        return f"{self.endpoint.origin.url}{self.target(key)}"
