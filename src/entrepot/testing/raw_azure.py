"""The plainest Azure Blob client there is: the standard library, shared-key requests, one connection a request.

It shares no code with the flavors, so that it can look behind a store's back: what is really in the container?
"""

from __future__ import annotations

import base64
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import quote, unquote, urlsplit

from entrepot.testing.raw import RawError, RawReply, exchanged

_UNRESERVED = "-_.~"
_SIGNED = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RawAzure:
    """One container; every method blocks and makes one request a page or blob. endpoint_url: the account's own."""

    endpoint_url: str
    account: str
    key: str = field(repr=False)
    container: str

    def create(self) -> None:
        """Make the container."""
        self._ask("PUT", "", query={"restype": "container"})

    def put(self, name: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Write one block blob."""
        self._ask("PUT", name, body=data, headers={"x-ms-blob-type": "BlockBlob", **(headers or {})})

    def make_directory(self, name: str) -> None:
        """What Hadoop's tools leave for a directory: an empty blob of its name, marked in its metadata."""
        self.put(name, b"", {"x-ms-meta-hdi_isfolder": "true"})

    def get(self, name: str) -> bytes:
        """Read one blob."""
        return self._ask("GET", name).body

    def head(self, name: str) -> Mapping[str, str]:
        """The headers of one blob."""
        return self._ask("HEAD", name).headers

    def exists(self, name: str) -> bool:
        """Whether a blob has this name."""
        return self.request("HEAD", name).tells_presence(name)

    def delete(self, name: str) -> None:
        """Delete one blob."""
        self._ask("DELETE", name)

    def keys(self, prefix: str = "") -> list[str]:
        """The names that begin with the prefix, sorted by their UTF-8 bytes."""
        return sorted((blob.findtext("Name") or "" for blob in self._blobs(prefix)), key=str.encode)

    def uncommitted(self, prefix: str = "") -> list[str]:
        """The names of blobs that have blocks and no content yet."""
        shown = set(self.keys(prefix))
        held = {blob.findtext("Name") or "" for blob in self._blobs(prefix, include="uncommittedblobs")}
        return sorted(held - shown, key=str.encode)

    def _blobs(self, prefix: str, include: str = "") -> list[ET.Element]:
        found: list[ET.Element] = []
        query = {"restype": "container", "comp": "list", "prefix": prefix, **({"include": include} if include else {})}
        while True:
            root = ET.fromstring(self._ask("GET", "", query=query).body)  # noqa: S314  # from a server of our own
            found += root.iter("Blob")
            marker = root.findtext("NextMarker")
            if not marker:
                return found
            query["marker"] = marker

    def request(
        self,
        method: str,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> RawReply:
        """One signed request, of any status. Source: Azure Storage, "Authorize with Shared Key"."""
        place = f"{urlsplit(self.endpoint_url).path}/{self.container}" + (f"/{name}" if name else "")
        path = quote(place, safe="/" + _UNRESERVED)
        text = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted((query or {}).items()))
        signed = self._signed(method, path, query or {}, body, headers or {})
        return exchanged(self.endpoint_url, method, f"{path}?{text}" if text else path, body, signed)

    def _signed(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, extra: Mapping[str, str]
    ) -> dict[str, str]:
        headers = {name.lower(): value for name, value in extra.items()}
        headers |= {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
        known = {**headers, "content-length": str(len(body)) if body else ""}
        own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        asked = "".join(f"\n{name}:{query[name]}" for name in sorted(query))
        to_sign = "\n".join([method, *(known.get(name, "") for name in _SIGNED), f"{own}/{self.account}{path}{asked}"])
        signature = base64.b64encode(hmac.digest(base64.b64decode(self.key), to_sign.encode(), "sha256")).decode()
        length = {"content-length": str(len(body))} if method == "PUT" else {}
        return {**headers, **length, "authorization": f"SharedKey {self.account}:{signature}"}

    def _ask(
        self,
        method: str,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> RawReply:
        reply = self.request(method, name, query=query, body=body, headers=headers)
        if reply.status >= 300:
            code = reply.headers.get("x-ms-error-code", "")
            raise RawError(reply.status, f"{method} /{self.container}/{unquote(name)} {code} {reply.body[:500]!r}")
        return reply
