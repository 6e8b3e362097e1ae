"""The plainest S3 client there is: the standard library, signed requests, one connection a request.

It shares no code with the flavors, so that it can look behind a store's back: what is really in the bucket?
"""

from __future__ import annotations

import hashlib
import hmac
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from entrepot.testing.raw import RawError, RawReply, exchanged

_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class RawS3:
    """One bucket, path-style; every method blocks and makes one request a page or object."""

    endpoint_url: str
    bucket: str
    key: str
    secret: str = field(repr=False)
    region: str = "us-east-1"

    def create(self) -> None:
        """Make the bucket."""
        self._ask("PUT", "")

    def keep_versions(self) -> None:
        """Have the bucket keep the versions of its objects from now on."""
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        self._ask("PUT", "", query={"versioning": ""}, body=body)

    def put(self, key: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Write one object."""
        self._ask("PUT", key, body=data, headers=headers)

    def get(self, key: str) -> bytes:
        """Read one object."""
        return self._ask("GET", key).body

    def exists(self, key: str) -> bool:
        """Whether an object has this key."""
        return self.request("HEAD", key).tells_presence(key)

    def delete(self, key: str) -> None:
        """Delete one object."""
        self._ask("DELETE", key)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with the prefix, sorted by their UTF-8 bytes."""
        found: list[str] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            root = self._parsed(self._ask("GET", "", query=query).body)
            found += [key.text or "" for key in root.iter("Key")]
            token = root.findtext("NextContinuationToken")
            if root.findtext("IsTruncated") != "true" or not token:
                return sorted(found, key=str.encode)
            query["continuation-token"] = token

    def uploads(self, prefix: str = "") -> list[tuple[str, str]]:
        """Unfinished multipart uploads below the prefix, as (key, upload id)."""
        reply = self.request("GET", "", query={"uploads": "", "prefix": prefix})
        if reply.status == 404:
            return []  # how rclone says that there are none
        if reply.status >= 300:
            raise RawError(reply.status, reply.body.decode(errors="replace"))
        root = self._parsed(reply.body)
        found = ((one.findtext("Key") or "", one.findtext("UploadId") or "") for one in root.iter("Upload"))
        # A server may ignore the prefix, so it is applied here as well.
        return [(key, upload) for key, upload in found if key.startswith(prefix)]

    def request(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> RawReply:
        """One signed request, of any status. Source: Signature Version 4, "Create a signed AWS API request"."""
        path = quote(f"/{self.bucket}/{key}" if key else f"/{self.bucket}", safe="/" + _UNRESERVED)
        text = "&".join(
            f"{quote(k, safe=_UNRESERVED)}={quote(v, safe=_UNRESERVED)}" for k, v in sorted((query or {}).items())
        )
        signed = self._signed(method, urlsplit(self.endpoint_url).netloc, path, text, body, headers or {})
        return exchanged(self.endpoint_url, method, f"{path}?{text}" if text else path, body, signed)

    def _signed(
        self, method: str, host: str, path: str, query: str, body: bytes, extra: Mapping[str, str]
    ) -> dict[str, str]:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {name.lower(): value for name, value in extra.items()}
        headers |= {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(sorted(headers))
        listed = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
        canonical = "\n".join((method, path, query, listed, names, digest))
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(("AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        signing_key = b"AWS4" + self.secret.encode()
        for step in scope.split("/"):
            signing_key = hmac.digest(signing_key, step.encode(), "sha256")
        signature = hmac.digest(signing_key, to_sign.encode(), "sha256").hex()
        authorization = f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "authorization": authorization}

    def _ask(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> RawReply:
        reply = self.request(method, key, query=query, body=body, headers=headers)
        if reply.status >= 300:
            raise RawError(reply.status, f"{method} /{self.bucket}/{key} {reply.body.decode(errors='replace')}")
        return reply

    @staticmethod
    def _parsed(body: bytes) -> ET.Element:
        root = ET.fromstring(body)  # noqa: S314  # from a server that this process started
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root
