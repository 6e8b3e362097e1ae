"""What Cloud Storage's errors mean: one table from reason and status to the family of `StoreError`.

Source: Cloud Storage, "HTTP status and error codes for JSON", the same for XML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    ConfigurationError,
    ContainerNotFound,
    CredentialsExpired,
    CredentialsMissing,
    InvalidPath,
    NoSpace,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ServiceError,
    ServiceUnavailable,
    StoreError,
    Throttled,
    TimedOut,
)
from entrepot.services.faults import ErrorReply, Faults, Meaning


class Busy(Throttled):
    """A 503 without the service's own reason: of a gateway, which may have passed the request on before it gave up."""


def did_nothing(error: StoreError) -> bool:
    """Whether the service asked for fewer requests by its own word, so that nothing came of this one."""
    return isinstance(error, Throttled) and not isinstance(error, Busy)


_NO_BUCKET: Final = (
    ContainerNotFound,
    "no such bucket; create it (create_container, with project set), or check its name and project",
)
_FEWER: Final = (Throttled, "the service asks for fewer requests; try later, or with less concurrency")
_DENIED: Final = (
    PermissionDenied,
    "the credentials may not do this (or see whether it exists); check the roles of the account on the bucket",
)
_ANONYMOUS: Final = (
    CredentialsMissing,
    "the bucket is not public: give token or access_token, in place of anonymous",
)
_EXPIRED: Final = (
    CredentialsExpired,
    "the access token has expired or is not valid; give a new one, or credentials that refresh themselves (token)",
)
_PAYER: Final = (ConfigurationError, "the bucket lets the requester pay; set user_project to the project that pays")
_CONDITION: Final = (PreconditionFailed, "the object is not what the condition named")
_ELSEWHERE: Final = (ConfigurationError, "the service redirects elsewhere; check endpoint_url")

_BY_CODE: Final[Mapping[str, Meaning]] = {
    # Reasons of the JSON API.
    "conditionNotMet": _CONDITION,
    "rateLimitExceeded": _FEWER,
    "userRateLimitExceeded": _FEWER,
    "quotaExceeded": (NoSpace, "the quota is used up"),
    "backendError": (ServiceUnavailable, "the service failed"),
    "internalError": (ServiceUnavailable, "the service failed"),
    "userProjectMissing": _PAYER,
    "userProjectInconsistent": (ConfigurationError, "user_project is not the project of the request; check it"),
    "userProjectAccessDenied": (PermissionDenied, "the account may not let user_project pay; check its roles there"),
    "insufficientPermissions": (PermissionDenied, "the token's scopes do not allow this; make one for Cloud Storage"),
    "accountDisabled": (PermissionDenied, "the project's account is disabled; see its billing"),
    "billingNotEnabled": (PermissionDenied, "the project has no billing account"),
    "retentionPolicyNotMet": (PermissionDenied, "a retention policy keeps the object for now"),
    "objectUnderActiveHold": (PermissionDenied, "a hold keeps the object for now"),
    "uploadTooLarge": (ServiceError, "too large for one request; write it in parts"),
    "wrongUrlForUpload": _ELSEWHERE,
    # Codes of the XML API.
    "NoSuchKey": (NotFound, "no such object"),
    "NoSuchBucket": _NO_BUCKET,
    "AccessDenied": _DENIED,
    "PreconditionFailed": _CONDITION,
    "UserProjectMissing": _PAYER,
    "SlowDown": _FEWER,
    "InternalError": (ServiceUnavailable, "the service failed"),
    "ServiceUnavailable": (Throttled, "the service is busy; try later, or with less concurrency"),
    "RequestTimeout": (TimedOut, "the service waited too long for the request's bytes"),
    "InvalidRange": (ServiceError, "the range lies outside the object"),
    "KeyTooLong": (InvalidPath, "the key is longer than the service keeps"),
    "AccountProblem": (PermissionDenied, "the account has a problem; see its billing"),
}
_BY_STATUS: Final[Mapping[int, Meaning]] = {
    301: _ELSEWHERE,
    302: _ELSEWHERE,
    303: _ELSEWHERE,
    307: _ELSEWHERE,
    308: _ELSEWHERE,
    401: _EXPIRED,
    403: _DENIED,
    404: (NotFound, "no such object"),
    410: (NotFound, "it is gone"),
    409: (AlreadyExists, "it is there already, or its name is taken"),
    411: (BadResponse, "something on the way dropped the length of the request"),
    413: (ServiceError, "too large for one request; write it in parts"),
    503: (Busy, "the service is busy; try later, or with less concurrency"),
    499: (ServiceUnavailable, "the service was told that the request was given up"),
}
_FAULTS: Final = Faults(_BY_CODE, _BY_STATUS)

_OF_THE_BUCKET: Final = frozenset({"put", "list", "list_versions", "create_upload"})
"""Operations for which nothing but the bucket can be missing."""

_OF_A_SESSION: Final = frozenset({"put_part", "complete_upload"})
_NO_SESSION: Final = (NotFound, "the upload is gone, ended or expired; write again")
_MISSING_BUCKET: Final = "The specified bucket does not exist"
_WRONG_SUM: Final = "match calculated"


def fault(reply: ErrorReply, *, operation: str, uri: str, creates: bool = False, anonymous: bool = False) -> StoreError:
    """The error to raise for a reply; `retryable` where the same request may succeed later.

    creates: the request was to create only, so that a failed condition means that something is there.
    """
    kind, advice = _meaning(reply, operation, anonymous=anonymous)
    if kind is PreconditionFailed and creates:
        kind, advice = AlreadyExists, "something is there already"
    return _FAULTS.error(kind, advice, reply, operation=operation, uri=uri)


def _meaning(reply: ErrorReply, operation: str, *, anonymous: bool) -> Meaning:
    if reply.status in {404, 410} and operation in _OF_A_SESSION:
        return _NO_SESSION
    # The JSON API has one reason, notFound, for objects and for buckets: only its text tells which.
    if reply.status == 404 and (operation in _OF_THE_BUCKET or reply.message.startswith(_MISSING_BUCKET)):
        return _NO_BUCKET
    # So it has one, invalid, for whatever is wrong with a request, wrong checksums too.
    if reply.status == 400 and _WRONG_SUM in reply.message:
        return ChecksumMismatch, "the bytes changed on their way to the service"
    # So is any other change of an object that is under way, which passes; a bucket's name that is taken does not.
    if reply.status == 409 and operation != "create_container":
        return ServiceUnavailable, "another change was under way"
    if reply.status == 401 and anonymous:
        return _ANONYMOUS
    return _FAULTS.meaning(reply)
