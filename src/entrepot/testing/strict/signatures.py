"""Who asks: Signature Version 4 of headers and of URLs, verified; temporary credentials, and their end.

Written from the service's side of its documents, and shares nothing with the package's own signer.
Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)", "Error responses".
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from entrepot.testing.strict.exchange import Refusal, Request

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SKEW_MOST_S: Final = 900
_EXPIRES_MOST_S: Final = 604_800

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)
_STAMP: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Session:
    """One pair of keys. token: of temporary ones. is_expired: set by the test."""

    key: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    is_expired: bool = False


@dataclass(slots=True)
class Keyring:
    """All keys that the service knows."""

    region: str
    sessions: dict[str, Session] = field(default_factory=dict)

    def add(self, *, temporary: bool) -> Session:
        """New keys; they are worth nothing elsewhere."""
        kind = "ASIA" if temporary else "AKIA"
        token = secrets.token_urlsafe(48) if temporary else None
        session = Session(f"{kind}{secrets.token_hex(8).upper()}", secrets.token_hex(20), token)
        self.sessions[session.key] = session
        return session


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature. payload: what it says of its body."""

    credential: str
    signed: tuple[str, ...]
    signature: str
    stamp: str
    token: str | None
    payload: str
    in_query: bool


def authenticate(request: Request, keyring: Keyring, now_s: float) -> str:
    """Verify who asks, and return what the signature says of the body: a hash, or that it says nothing.

    now_s: the service's clock. Raises: Refusal.
    """
    claim = _claim(request)
    session, scope = _known(claim, keyring)
    moment = _moment(claim.stamp)
    if claim.in_query:
        _in_time(request, moment, now_s)
    elif abs(now_s - moment) > SKEW_MOST_S:
        raise Refusal(
            403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
            RequestTime=claim.stamp, ServerTime=_iso(now_s), MaxAllowedSkewMilliseconds=str(SKEW_MOST_S * 1000),
        )  # fmt: skip
    _covers_enough(request, claim)
    canonical = canonical_request(request, claim)
    to_sign = f"{ALGORITHM}\n{claim.stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    expected = _signature(session.secret, scope, to_sign)
    if not hmac.compare_digest(expected, claim.signature):
        raise Refusal(
            403, "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
            StringToSign=to_sign, CanonicalRequest=canonical,
        )  # fmt: skip
    if session.is_expired:
        raise Refusal(400, "ExpiredToken", "The provided token has expired.")
    return claim.payload


# ---- what the request says ----------------------------------------------------------------------------


def _claim(request: Request) -> Claim:
    authorization, in_query = request.header("authorization"), request.asks("X-Amz-Signature")
    if authorization is not None and in_query:
        raise Refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
    if authorization is not None:
        return _header_claim(request, authorization)
    if in_query:
        return _query_claim(request)
    raise Refusal(403, "AccessDenied", "Access Denied")


def _header_claim(request: Request, authorization: str) -> Claim:
    found = _AUTHORIZATION.fullmatch(authorization)
    if found is None:
        raise Refusal(400, "AuthorizationHeaderMalformed", "The authorization header is malformed.")
    payload = request.header("x-amz-content-sha256")
    if payload is None:
        raise Refusal(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    if payload.startswith("STREAMING-AWS4-"):
        raise Refusal(501, "NotImplemented", "Signed chunks are not implemented here.", Header="x-amz-content-sha256")
    if payload not in (UNSIGNED, UNSIGNED_TRAILER) and not _SHA256.fullmatch(payload):
        raise Refusal(
            400, "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.",
            ArgumentName="x-amz-content-sha256", ArgumentValue=payload,
        )  # fmt: skip
    stamp = request.header("x-amz-date")
    if stamp is None:
        raise Refusal(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    token = request.header("x-amz-security-token")
    return Claim(found[1], tuple(found[2].split(";")), found[3], stamp, token, payload, in_query=False)


def _query_claim(request: Request) -> Claim:
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date")
    algorithm, credential, signed, signature, stamp = (request.parameter(name) or "" for name in names)
    if algorithm != ALGORITHM or not (credential and signed and stamp and request.asks("X-Amz-Expires")):
        raise Refusal(
            400, "AuthorizationQueryParametersError",
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        )  # fmt: skip
    payload = request.header("x-amz-content-sha256") or UNSIGNED
    token = request.parameter("X-Amz-Security-Token")
    return Claim(credential, tuple(signed.split(";")), signature, stamp, token, payload, in_query=True)


def _known(claim: Claim, keyring: Keyring) -> tuple[Session, str]:
    malformed = "AuthorizationQueryParametersError" if claim.in_query else "AuthorizationHeaderMalformed"
    key, _, scope = claim.credential.partition("/")
    words = scope.split("/")
    if len(words) != 4 or words[2:] != ["s3", "aws4_request"]:
        raise Refusal(400, malformed, "The credential is mal-formed; expecting KEY/DATE/REGION/s3/aws4_request.")
    session = keyring.sessions.get(key)
    if session is None:
        message = "The AWS Access Key Id you provided does not exist in our records."
        raise Refusal(403, "InvalidAccessKeyId", message, AWSAccessKeyId=key)
    if claim.token is not None and claim.token != session.token:
        raise Refusal(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    if claim.token is None and session.token is not None:
        message = "The AWS Access Key Id you provided does not exist in our records."
        raise Refusal(403, "InvalidAccessKeyId", message, AWSAccessKeyId=key)
    if words[1] != keyring.region:
        message = f"The region '{words[1]}' is wrong; expecting '{keyring.region}'"
        raise Refusal(400, malformed, message, Region=keyring.region)
    if not claim.stamp.startswith(words[0]):
        raise Refusal(400, malformed, "Invalid credential date; it must be the day of the request's date.")
    return session, scope


def _moment(stamp: str) -> float:
    refusal = Refusal(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    if not _STAMP.fullmatch(stamp):
        raise refusal
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise refusal from error


def _in_time(request: Request, moment: float, now_s: float) -> None:
    text = request.parameter("X-Amz-Expires") or ""
    if not text.isdecimal() or not 1 <= int(text) <= _EXPIRES_MOST_S:
        message = "X-Amz-Expires must be a number of seconds, from 1 to 604800"
        raise Refusal(400, "AuthorizationQueryParametersError", message)
    if now_s < moment - SKEW_MOST_S:
        raise Refusal(403, "AccessDenied", "Request is not yet valid")
    if now_s >= moment + int(text):
        expires = _iso(moment + int(text))
        raise Refusal(403, "AccessDenied", "Request has expired", Expires=expires, ServerTime=_iso(now_s))


def _covers_enough(request: Request, claim: Claim) -> None:
    """The signature must cover the host and all headers of the service's own."""
    signed = frozenset(claim.signed)
    needed = {name for name, _ in request.fields if name.startswith("x-amz-")} | {"host"}
    if request.header("content-md5") is not None and not claim.in_query:
        needed.add("content-md5")
    unsigned = sorted(needed - signed)
    if unsigned or list(claim.signed) != sorted(signed):
        raise Refusal(
            403, "AccessDenied", "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(unsigned),
        )  # fmt: skip


# ---- the signature ------------------------------------------------------------------------------------


def canonical_request(request: Request, claim: Claim) -> str:
    """The text that is signed for: names and values encoded anew from what they decode to, in order."""
    path = _encoded(unquote_to_bytes(request.path), safe="/")
    pairs = [(_encoded(n), _encoded(v)) for n, v in request.query if not (claim.in_query and n == "X-Amz-Signature")]
    query = "&".join(f"{name}={value}" for name, value in sorted(pairs))
    lines = []
    for name in claim.signed:
        value = request.header(name)
        if value is None:
            raise Refusal(403, "SignatureDoesNotMatch", f"A signed header is missing: {name}")
        lines.append(f"{name}:{re.sub(' +', ' ', value.strip())}\n")
    names = ";".join(claim.signed)
    return f"{request.method}\n{path}\n{query}\n{''.join(lines)}\n{names}\n{claim.payload}"


def _encoded(text: str | bytes, safe: str = "") -> str:
    return quote(text, safe=safe + "-_.~")


def _signature(secret: str, scope: str, to_sign: str) -> str:
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
