"""Signed URLs of Cloud Storage, version 4, by RSA: what is signed, and the URL that comes of it. No I/O.

Source: Cloud Storage, "V4 signing process with your own program" and "Canonical requests".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from entrepot.http.transport import Origin

MAX_EXPIRES_S: Final = 7 * 24 * 3600
ALGORITHM: Final = "GOOG4-RSA-SHA256"


@dataclass(frozen=True, slots=True)
class UrlToSign:
    """One URL before its signature. path: percent-encoded. email: of the account that signs. now: in UTC."""

    method: str
    origin: Origin
    path: str
    email: str
    expires_s: int
    user_project: str | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def _time(self) -> str:
        return self.now.strftime("%Y%m%dT%H%M%SZ")

    @property
    def _scope(self) -> str:
        return f"{self._time[:8]}/auto/storage/goog4_request"

    @property
    def query(self) -> str:
        """All parameters but the signature, in the order of their names."""
        parameters = {
            "X-Goog-Algorithm": ALGORITHM,
            "X-Goog-Credential": f"{self.email}/{self._scope}",
            "X-Goog-Date": self._time,
            "X-Goog-Expires": str(self.expires_s),
            "X-Goog-SignedHeaders": "host",
        }
        if self.user_project is not None:
            parameters["userProject"] = self.user_project
        return "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(parameters.items()))

    @property
    def canonical(self) -> str:
        """The canonical request."""
        return "\n".join(
            (self.method, self.path, self.query, f"host:{self.origin.authority}", "", "host", "UNSIGNED-PAYLOAD")
        )

    @property
    def text(self) -> bytes:
        """What is signed, with RSASSA-PKCS1-v1_5 and SHA-256."""
        digest = hashlib.sha256(self.canonical.encode()).hexdigest()
        return "\n".join((ALGORITHM, self._time, self._scope, digest)).encode()

    def signed(self, signature: bytes) -> str:
        """The URL."""
        return f"{self.origin.url}{self.path}?{self.query}&X-Goog-Signature={signature.hex()}"
