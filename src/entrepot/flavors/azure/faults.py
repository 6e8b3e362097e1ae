"""What Azure's errors mean: one table from status and code to the family of `StoreError`.

Source: Azure Storage REST API Reference, "Blob service error codes" and "Common REST API error codes".
"""

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
from entrepot.services.faults import ErrorReply, Faults, Meaning


class ContainerIsThere(AlreadyExists):
    """The container to be made exists in the account, so that it is the caller's."""


PASSING: Final = frozenset({"InternalError", "ServerBusy", "OperationTimedOut"})
"""Codes of single blobs in a batched delete that are worth another try."""

_NO_CONTAINER: Final = (
    "no such container; create it (`create_container()`, or `az storage container create`), "
    "or check its name and account_name"
)
_CHECK_KEY: Final = "check account_key, and that it is of this account"
_ROLE: Final = "give the identity the role Storage Blob Data Contributor on the account or container"
_OR_ROLE: Final = f"check them, or {_ROLE}"
_BUSY: Final = "the service is busy; try later, or with less concurrency"
_TAKEN: Final = "another writer's blocks went before; write again"
_BY_CODE: Final[Mapping[str, Meaning]] = {
    "BlobNotFound": (NotFound, "no such blob"),
    "PathNotFound": (NotFound, "no such blob"),
    "ContainerNotFound": (ContainerNotFound, _NO_CONTAINER),
    "FilesystemNotFound": (ContainerNotFound, _NO_CONTAINER),
    "ContainerDisabled": (PermissionDenied, "the container is disabled"),
    "ContainerBeingDeleted": (ServiceUnavailable, "a container of this name is being deleted; it takes half a minute"),
    "ContainerBeingDisabled": (ServiceUnavailable, "the container is being disabled"),
    "ContainerAlreadyExists": (ContainerIsThere, "the container exists already"),
    "FilesystemAlreadyExists": (ContainerIsThere, "the container exists already"),
    "BlobAlreadyExists": (AlreadyExists, "something is there already"),
    "PathAlreadyExists": (AlreadyExists, "something is there already"),
    "ConditionNotMet": (PreconditionFailed, "the blob is not what the condition named"),
    "TargetConditionNotMet": (PreconditionFailed, "the blob is not what the condition named"),
    "SourceConditionNotMet": (PreconditionFailed, "the source is another by now; look at it again"),
    "LeaseIdMissing": (PermissionDenied, "the blob is leased by another; wait for it, or break the lease"),
    "LeaseAlreadyPresent": (PermissionDenied, "the blob is leased by another; wait for it, or break the lease"),
    "BlobImmutableDueToPolicy": (PermissionDenied, "an immutability policy or legal hold keeps the blob as it is"),
    "BlobOverwritten": (ServiceUnavailable, "the blob was replaced while it was read"),
    "BlobArchived": (PermissionDenied, "the blob is archived; rehydrate it first"),
    "BlobBeingRehydrated": (PermissionDenied, "the blob is being rehydrated; try later"),
    "SnapshotsPresent": (PermissionDenied, "the blob has snapshots, and this identity may not delete them"),
    "InvalidBlobType": (Conflict, "an append blob or page blob is there; delete it first"),
    "InvalidBlockList": (Conflict, f"the blocks are gone: {_TAKEN}"),
    "InvalidBlobOrBlock": (Conflict, "another program has unfinished blocks of other ids there; they go in a week"),
    "BlockListTooLong": (ServiceError, "too many blocks; write larger parts"),
    "BlockCountExceedsLimit": (ServiceError, "too many unfinished blocks of this blob; they go in a week"),
    "ResourceTypeMismatch": (Conflict, "a file is where a directory should be, or the reverse"),
    "PathConflict": (Conflict, "a file is where a directory of this path should be"),
    "DirectoryIsNotEmpty": (Conflict, "the directory is not empty"),
    "DirectoryNotEmpty": (Conflict, "the directory is not empty"),
    "AuthenticationFailed": (CredentialsMissing, f"the signature was refused; {_CHECK_KEY}, or make a new SAS token"),
    "InvalidAuthenticationInfo": (CredentialsExpired, "the token was refused, also a fresh one; sign in again"),
    "NoAuthenticationInformation": (CredentialsMissing, "the container is not public; give credentials"),
    "PublicAccessNotPermitted": (CredentialsMissing, "the account is not public; give credentials"),
    "AuthorizationFailure": (
        PermissionDenied,
        f"the credentials may not do this, or not from this network; {_OR_ROLE}",
    ),
    "AuthorizationPermissionMismatch": (PermissionDenied, f"the credentials may not do this; {_ROLE}"),
    "AuthorizationResourceTypeMismatch": (PermissionDenied, "the SAS token is not for this kind of resource (srt, sr)"),
    "AuthorizationServiceMismatch": (PermissionDenied, "the SAS token is not for the blob service (ss)"),
    "AuthorizationProtocolMismatch": (PermissionDenied, "the SAS token is for https only (spr)"),
    "AuthorizationSourceIPMismatch": (PermissionDenied, "the SAS token is not for this machine's address (sip)"),
    "InsufficientAccountPermissions": (PermissionDenied, f"the credentials may not do this; {_ROLE}"),
    "UnauthorizedBlobOverwrite": (PermissionDenied, "the credentials may create blobs and not replace them"),
    "KeyBasedAuthenticationNotPermitted": (PermissionDenied, "the account takes no keys; sign in instead"),
    "AccountIsDisabled": (PermissionDenied, "the account is disabled"),
    "CannotVerifyCopySource": (PermissionDenied, "the service may not read the copy's source"),
    "PendingCopyOperation": (ServiceUnavailable, "a copy to this blob is under way"),
    "ServerBusy": (Throttled, _BUSY),
    "InternalError": (ServiceUnavailable, "the service failed"),
    "OperationTimedOut": (TimedOut, "the service took too long"),
    "Md5Mismatch": (ChecksumMismatch, "the bytes changed on their way to the service"),
    "Crc64Mismatch": (ChecksumMismatch, "the bytes changed on their way to the service"),
    "RequestBodyTooLarge": (ServiceError, "too large for one request; write it in parts"),
    "InvalidRange": (ServiceError, "the range lies outside the blob"),
    "InvalidResourceName": (InvalidPath, "the service does not keep such a name"),
    "InvalidUri": (InvalidPath, "the service does not keep such a name"),
    "MetadataTooLarge": (ConfigurationError, "metadata is more than the 8 KiB that Azure keeps"),
    "InvalidMetadata": (ConfigurationError, "the service does not keep such a name of metadata"),
    "EmptyMetadataKey": (ConfigurationError, "a name of metadata is empty"),
    "APINotImplemented": (UnsupportedOperation, "the service does not offer this"),
    "BlobOperationNotSupported": (UnsupportedOperation, "this kind of account does not offer this"),
    "FeatureVersionMismatch": (UnsupportedOperation, "the blob was made by a feature that this API version lacks"),
    "UnsupportedHttpVerb": (UnsupportedOperation, "the service does not offer this here"),
    "FeatureNotSupportedForAccount": (UnsupportedOperation, "this kind of account does not offer this"),
}
_BY_STATUS: Final[Mapping[int, Meaning]] = {
    301: (ConfigurationError, "the service redirects elsewhere; check account_name and endpoint_url"),
    302: (ConfigurationError, "the service redirects elsewhere; check account_name and endpoint_url"),
    307: (ConfigurationError, "the service redirects elsewhere; check account_name and endpoint_url"),
    304: (BadResponse, "an answer that does not fit the request"),
    401: (CredentialsMissing, "the service does not know who asks; give credentials"),
    403: (PermissionDenied, f"the credentials may not do this, or are not valid here; {_ROLE}"),
    404: (NotFound, "no such blob"),
}


FAULTS: Final = Faults(_BY_CODE, _BY_STATUS)


def fault(reply: ErrorReply, *, operation: str, uri: str, creates: bool = False) -> StoreError:
    """The error to raise for a reply; `retryable` where the same request may succeed later.

    creates: the request was to create only, so that a failed condition means that something is there.
    """
    kind, advice = FAULTS.meaning(reply)
    if kind is PreconditionFailed and creates and reply.code != "SourceConditionNotMet":
        kind, advice = AlreadyExists, "something is there already"
    return FAULTS.error(kind, advice, reply, operation=operation, uri=uri)
