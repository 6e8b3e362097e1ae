"""The plainest client of Cloud Storage there is: the standard library, the JSON API, one connection a request.

It shares no code with the flavor, so that it can look behind a store's back: what is really in the bucket?
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from entrepot.testing.raw import RawError, RawReply, exchanged


@dataclass(frozen=True, slots=True)
class RawGcs:
    """One bucket of an emulator, which wants no token; every method blocks and makes one request a page or object."""

    endpoint_url: str
    bucket: str

    def create(self, *, versions: bool = False) -> None:
        """Make the bucket. versions: it keeps them."""
        wanted = {"name": self.bucket, "versioning": {"enabled": versions}}
        self._ask("POST", "/storage/v1/b", {"project": "test"}, json.dumps(wanted).encode())

    def put(self, key: str, data: bytes) -> None:
        """Write one object."""
        self._ask("POST", f"/upload/storage/v1/b/{self.bucket}/o", {"uploadType": "media", "name": key}, data)

    def get(self, key: str) -> bytes:
        """Read one object."""
        return self._ask("GET", self._object(key), {"alt": "media"}).body

    def described(self, key: str) -> dict[str, Any]:
        """What the service tells of an object."""
        told: dict[str, Any] = json.loads(self._ask("GET", self._object(key)).body)
        return told

    def exists(self, key: str) -> bool:
        """Whether an object has this key."""
        return self.request("GET", self._object(key)).tells_presence(key)

    def delete(self, key: str) -> None:
        """Delete one object."""
        self._ask("DELETE", self._object(key))

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with the prefix, sorted by their UTF-8 bytes."""
        found: list[str] = []
        query = {"prefix": prefix}
        while True:
            page = json.loads(self._ask("GET", f"/storage/v1/b/{self.bucket}/o", query).body)
            found += [row["name"] for row in page.get("items", ())]
            token = page.get("nextPageToken")
            if not token:
                return sorted(found, key=str.encode)
            query["pageToken"] = token

    def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"") -> RawReply:
        """One request, of any status."""
        headers = {"content-type": "application/octet-stream"} if body else {}
        return exchanged(self.endpoint_url, method, f"{path}?{urlencode(query)}" if query else path, body, headers)

    def _object(self, key: str) -> str:
        return f"/storage/v1/b/{self.bucket}/o/{quote(key, safe='')}"

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"") -> RawReply:
        reply = self.request(method, path, query, body)
        if reply.status >= 300:
            raise RawError(reply.status, f"{method} {path} {reply.body.decode(errors='replace')}")
        return reply
