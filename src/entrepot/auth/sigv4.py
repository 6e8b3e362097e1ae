"""AWS Signature Version 4 for S3: one request's headers, signed.

Source: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest
from typing import Final
from urllib.parse import quote

from entrepot.auth.aws import AwsCredentials

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""In place of a body's hash: the signature then covers the headers only. Fit for HTTPS."""

EMPTY_SHA256: Final = sha256(b"").hexdigest()
"""The hash of no body at all."""

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
# What a proxy may add, drop or rewrite under way is left out, as the SDKs do.
_UNSIGNED: Final = frozenset({"connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"})
_KEYS_KEPT: Final = 64


class Signer:
    """Signs requests for one service; may be shared by threads and event loops.

    The signing key, which costs four hashes, is kept per secret, region and day; the date's text per second.
    """

    def __init__(self, service: str = "s3") -> None:
        self._service = service
        self._keys: dict[tuple[str, str, str], bytes] = {}
        self._date: tuple[int, str] = (-1, "")

    def __repr__(self) -> str:
        return f"Signer({self._service!r})"

    def sign(
        self,
        *,
        method: str,
        authority: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        payload_sha256: str,
        credentials: AwsCredentials,
        region: str,
        now: float,
    ) -> list[tuple[str, str]]:
        """The complete headers to send: those given, then date, payload hash, session token and `Authorization`.

        authority: the value of `Host` as sent. target: path and query exactly as sent, already percent-encoded once
        (S3's rule: the path is not encoded again); spaces in a query are `%20`, not `+`. headers: without `Host`.
        payload_sha256: hex of the body's hash, or UNSIGNED_PAYLOAD. now: seconds since 1970, the service's clock.
        """
        stamp = self._stamp(now)
        signed = [*headers, ("x-amz-content-sha256", payload_sha256), ("x-amz-date", stamp)]
        if credentials.token:
            signed.append(("x-amz-security-token", credentials.token))
        lines, names = _canonical_headers(authority, signed)
        path, mark, query = target.partition("?")
        if mark:
            query = canonical_query(query)
        canonical = f"{method}\n{path}\n{query}\n{lines}\n\n{names}\n{payload_sha256}"
        day = stamp[:8]
        scope = f"{day}/{region}/{self._service}/aws4_request"
        to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = digest(self._key(credentials.secret, region, day), to_sign.encode(), "sha256").hex()
        signed.append(
            (
                "authorization",
                f"{_ALGORITHM} Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}",
            )
        )
        return signed

    def presign(
        self,
        *,
        method: str,
        authority: str,
        target: str,
        credentials: AwsCredentials,
        region: str,
        now: float,
        expires_s: int,
    ) -> str:
        """The target with a signature in its query, good for whoever has it until `expires_s` after `now`.

        The body is not covered, nor any header but `Host`. Arguments as for `sign`.
        Source: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
        """
        stamp = self._stamp(now)
        day = stamp[:8]
        scope = f"{day}/{region}/{self._service}/aws4_request"
        path, _, given = target.partition("?")
        parameters = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{credentials.key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": "host",
        }
        if credentials.token:
            parameters["X-Amz-Security-Token"] = credentials.token
        pairs = [f"{name}={quote(value, safe='-_.~')}" for name, value in parameters.items()]
        query = canonical_query("&".join([given, *pairs] if given else pairs))
        canonical = f"{method}\n{path}\n{query}\nhost:{authority}\n\nhost\n{UNSIGNED_PAYLOAD}"
        to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = digest(self._key(credentials.secret, region, day), to_sign.encode(), "sha256").hex()
        return f"{path}?{query}&X-Amz-Signature={signature}"

    def _stamp(self, now: float) -> str:
        second, stamp = self._date
        if second != int(now):
            second = int(now)
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._date = (second, stamp)
        return stamp

    def _key(self, secret: str, region: str, day: str) -> bytes:
        known = self._keys.get((secret, region, day))
        if known is not None:
            return known
        key = f"AWS4{secret}".encode()
        for part in (day, region, self._service, "aws4_request"):
            key = digest(key, part.encode(), "sha256")
        if len(self._keys) >= _KEYS_KEPT:  # days pass, tokens rotate: old keys are not kept for ever
            self._keys = {}
        self._keys[secret, region, day] = key
        return key


def canonical_query(query: str) -> str:
    """The query's parameters in the order of their encoded names, then values, each with its `=`."""
    if "&" not in query:
        return query if "=" in query or not query else f"{query}="
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return "&".join(f"{name}={value}" for name, value in sorted((name, value) for name, _, value in pairs))


def _canonical_headers(authority: str, headers: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The lines `name:value` in order of names, and those names; repeated names become one line."""
    pairs = [("host", authority)]
    for name, value in headers:
        lower = name.lower()
        if lower not in _UNSIGNED:
            pairs.append((lower, value if value.isalnum() else _trimmed(value)))
    pairs.sort(key=_name)  # stable: the values of a repeated name keep their order
    merged: dict[str, str] = {}
    for name, value in pairs:
        merged[name] = f"{merged[name]},{value}" if name in merged else value
    return "\n".join([f"{name}:{value}" for name, value in merged.items()]), ";".join(merged)


def _trimmed(value: str) -> str:
    """Without outer spaces, inner runs of them as one."""
    return " ".join(value.split()) if "  " in value else value.strip()


def _name(pair: tuple[str, str]) -> str:
    return pair[0]
