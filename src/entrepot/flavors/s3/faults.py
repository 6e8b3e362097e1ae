"""What an S3 service's errors mean: one table from status and code to the family of `StoreError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from entrepot.errors import (
    AlreadyExists,
    BadResponse,
    ChecksumMismatch,
    ConfigurationError,
    Conflict,
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
    UnsupportedOperation,
)
from entrepot.services.faults import ErrorReply, Faults


class BucketIsOurs(AlreadyExists):
    """The bucket to be made is the caller's already."""


EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
PASSING: Final = frozenset(
    {
        "ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable",
        "SlowDown",
    }
)  # fmt: skip
"""Codes of single keys in a batched delete that are worth another try."""

_CREATE_BUCKET = "create the bucket, or check its name and region"
_CHECK_KEYS = "check key and secret, and that they are of this endpoint"
# Code → class, and what to do next (empty: the service's own message says enough).
_BY_CODE: Final[Mapping[str, tuple[type[StoreError], str]]] = {
    "NoSuchKey": (NotFound, "no such object"),
    "NoSuchVersion": (NotFound, "no such version of the object"),
    "NoSuchBucket": (ContainerNotFound, f"no such bucket; {_CREATE_BUCKET}"),
    "NoSuchUpload": (NotFound, "the multipart upload is gone, aborted or completed by another; write again"),
    "AccessDenied": (PermissionDenied, "the credentials may not do this; check the policies of user and bucket"),
    "AllAccessDisabled": (PermissionDenied, "access is disabled"),
    "AccountProblem": (PermissionDenied, "the account has a problem; see its provider"),
    "InvalidObjectState": (PermissionDenied, "the object is archived; restore it first"),
    "SignatureDoesNotMatch": (CredentialsMissing, f"the signature was refused; {_CHECK_KEYS}"),
    "InvalidAccessKeyId": (CredentialsMissing, f"the access key is not known; {_CHECK_KEYS}"),
    "InvalidToken": (CredentialsMissing, "the session token is not valid; sign in again"),
    "ExpiredToken": (CredentialsExpired, "the session token has expired; sign in again"),
    "ExpiredTokenException": (CredentialsExpired, "the session token has expired; sign in again"),
    "TokenRefreshRequired": (CredentialsExpired, "the session token must be renewed; sign in again"),
    "RequestTimeTooSkewed": (PermissionDenied, "the clocks differ by too much; set this machine's clock"),
    "RequestExpired": (PermissionDenied, "the request came too late; set this machine's clock"),
    "PreconditionFailed": (PreconditionFailed, "the object is not what the condition named"),
    "BucketAlreadyExists": (AlreadyExists, "the bucket's name is taken by another account; choose another"),
    "BucketAlreadyOwnedByYou": (BucketIsOurs, "the bucket is yours already"),
    # Two conditional writes met: the loser is to try again, and then sees the winner's object.
    "ConditionalRequestConflict": (ServiceUnavailable, "another conditional write was under way"),
    "OperationAborted": (ServiceUnavailable, "another operation on the bucket was under way"),
    "InternalError": (ServiceUnavailable, "the service failed"),
    "ServiceUnavailable": (Throttled, "the service is busy; try later, or with less concurrency"),
    "SlowDown": (Throttled, "the service asks for fewer requests; try later, or with less concurrency"),
    "SlowDownRead": (Throttled, "the service asks for fewer requests; try later, or with less concurrency"),
    "SlowDownWrite": (Throttled, "the service asks for fewer requests; try later, or with less concurrency"),
    "TooManyRequests": (Throttled, "the service asks for fewer requests; try later, or with less concurrency"),
    "RequestLimitExceeded": (Throttled, "the service asks for fewer requests; try later, or with less concurrency"),
    "Throttling": (Throttled, "the service asks for fewer requests; try later, or with less concurrency"),
    "RequestTimeout": (TimedOut, "the service waited too long for the request's bytes"),
    "IncompleteBody": (BadResponse, "the service received fewer bytes than were sent"),
    "BadDigest": (ChecksumMismatch, "the bytes changed on their way to the service"),
    "XAmzContentSHA256Mismatch": (ChecksumMismatch, "the bytes changed on their way to the service"),
    "XAmzContentChecksumMismatch": (ChecksumMismatch, "the bytes changed on their way to the service"),
    "InvalidRange": (ServiceError, "the range lies outside the object"),
    "EntityTooSmall": (ServiceError, "a part that is not the last is below the service's minimum (5 MiB)"),
    "EntityTooLarge": (ServiceError, "too large for one request; write it in parts"),
    "InvalidPart": (ServiceError, "a part is missing, or was written again meanwhile; write again"),
    "InvalidPartOrder": (ServiceError, "the parts are not in order; write again"),
    "KeyTooLongError": (InvalidPath, "the key is longer than the service keeps"),
    "XMinioInvalidObjectName": (InvalidPath, "the service does not keep such a name"),
    "XMinioObjectExistsAsDirectory": (Conflict, "a directory of this name is there"),
    "XMinioParentIsObject": (Conflict, "a file is where a directory of this path should be"),
    "InvalidBucketName": (ConfigurationError, "the service does not keep a bucket of such a name"),
    "AuthorizationHeaderMalformed": (ConfigurationError, "the request was signed for another region; set region"),
    "IllegalLocationConstraintException": (ConfigurationError, "the endpoint is of another region; set region"),
    "PermanentRedirect": (ConfigurationError, "the bucket is at another endpoint; set region or endpoint_url"),
    "TemporaryRedirect": (ServiceUnavailable, "the bucket is moving between endpoints"),
    "InvalidStorageClass": (ConfigurationError, "the service has no such storage class; check storage_class"),
    "AccessControlListNotSupported": (ConfigurationError, "the bucket keeps no ACLs; leave acl out"),
    "NotImplemented": (UnsupportedOperation, "the service does not offer this"),
    "MethodNotAllowed": (UnsupportedOperation, "the service does not offer this here"),
    "XMinioStorageFull": (NoSpace, "the service's storage is full"),
    "QuotaExceeded": (NoSpace, "the quota is used up"),
}
_BY_STATUS: Final[Mapping[int, tuple[type[StoreError], str]]] = {
    301: (ConfigurationError, "the service redirects elsewhere; set region or endpoint_url"),
    302: (ConfigurationError, "the service redirects elsewhere; set region or endpoint_url"),
    307: (ServiceUnavailable, "the service redirects elsewhere for now"),
    308: (ConfigurationError, "the service redirects elsewhere; set region or endpoint_url"),
    401: (CredentialsMissing, f"the service does not know who asks; {_CHECK_KEYS}"),
    403: (PermissionDenied, "the credentials may not do this, or are not valid here"),
    404: (NotFound, "no such object"),
}


_FAULTS: Final = Faults(_BY_CODE, _BY_STATUS)


def fault(reply: ErrorReply, *, operation: str, uri: str, creates: bool = False) -> StoreError:
    """The error to raise for a reply; `retryable` where the same request may succeed later.

    creates: the request was to create only, so that a failed condition means that something is there.
    """
    kind, advice = _FAULTS.meaning(reply)
    if kind is PreconditionFailed and creates and "source" not in reply.condition.lower():
        kind, advice = AlreadyExists, "something is there already"
    return _FAULTS.error(kind, advice, reply, operation=operation, uri=uri)
