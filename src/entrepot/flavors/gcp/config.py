"""What a Cloud Storage store is configured with; checked before any request."""

from __future__ import annotations

import os
import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from entrepot.auth.google import google_environment
from entrepot.auth.google_accounts import account_data
from entrepot.errors import StoreError
from entrepot.flavors.gcp.endpoint import GOOGLE, bucket_fault, emulator_url
from entrepot.paths import Root
from entrepot.services.endpoint import Endpoint

PredefinedAcl = Literal[
    "authenticatedRead", "bucketOwnerFullControl", "bucketOwnerRead", "private", "projectPrivate", "publicRead"
]


_TOKEN = re.compile(r"[!-~]+", re.ASCII)


class GcpConfig(BaseModel):
    """The configuration of flavor `gcp`. Without credentials, application-default ones are looked for: the file of
    GOOGLE_APPLICATION_CREDENTIALS, the user's own sign-in, workload identity, the metadata server.

    path: `gs://BUCKET` or `gs://BUCKET/PREFIX`.
    token: a service account's key, as JSON or as the path of its file; so any credentials file of Google's
    (workload identity federation, impersonation, a user's). access_token: a plain OAuth 2.0 token, which nothing
    refreshes. anonymous: requests carry no token.
    endpoint_url: a service other than Google's own endpoint; https, unless it is this machine. Without it
    STORAGE_EMULATOR_HOST is honoured, and requests to that carry no token unless one is given here.
    project: where `create_container` makes the bucket (or GOOGLE_CLOUD_PROJECT, or the account's). location: where
    in the world. user_project: the project that pays for requests (requester pays).
    storage_class, kms_key_name, predefined_acl: of what is written.
    parallel_uploads: files of 64 MiB and more go up as temporary objects that the service joins; False where
    the credentials may not delete, or a retention policy forbids it: then all go up in order, one part after another.
    A bucket that keeps versions, or deleted objects for a while, keeps and bills those temporaries, too.
    client: `wire`, our own requests, or `sdk`, gcloud-aio-storage. ca_bundle: a file of trusted certificates.
    allow_http, allow_link_local: lift the refusals of plain http to another machine and of metadata addresses.
    max_attempts: of one request that fails for a passing reason; throttling is counted by time alone.
    concurrency: how many requests are in flight; without it, as many as the service takes without asking for fewer.
    requests_per_second: a bound on requests of all kinds together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: str
    token: SecretStr | None = Field(default=None, min_length=1)
    access_token: SecretStr | None = Field(default=None, min_length=1)
    anonymous: bool = False
    endpoint_url: str | None = None
    project: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9:.-]{1,62}$")
    location: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,32}$")
    user_project: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9:.-]{1,62}$")
    storage_class: str | None = Field(default=None, pattern=r"^[A-Z_]+$")
    kms_key_name: str | None = Field(
        default=None, pattern=r"^projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+$"
    )
    predefined_acl: PredefinedAcl | None = None
    parallel_uploads: bool = True
    client: Literal["wire", "sdk"] = "wire"
    ca_bundle: str | None = Field(default=None, min_length=1)
    allow_http: bool = False
    allow_link_local: bool = False
    max_attempts: int = Field(default=6, ge=1, le=100)
    concurrency: int | None = Field(default=None, ge=1, le=512)
    requests_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        fault = self._address_fault() or self._credentials_fault()
        if fault is None and self.ca_bundle is not None and not os.path.isfile(self.ca_bundle):
            fault = "ca_bundle must name a file of certificates"
        if fault is not None:
            raise PydanticCustomError("gcp_configuration", "{fault}", {"fault": fault})
        return self

    @property
    def root(self) -> Root:
        """Bucket and prefix of `path`."""
        return Root.parse(self.path)

    def endpoint(self) -> Endpoint:
        """The service to talk to: configured, the environment's emulator, or Google's.

        Raises: ConfigurationError where it may not be used.
        """
        url = self.endpoint_url
        if url is None:
            emulator = google_environment().emulator_host
            if emulator is None:
                return GOOGLE
            url = emulator_url(emulator)
        return Endpoint.parse(url, allow_http=self.allow_http, allow_link_local=self.allow_link_local)

    @property
    def is_anonymous(self) -> bool:
        """Whether requests carry no token: as configured, or because an emulator of the environment needs none."""
        given = self.token is not None or self.access_token is not None
        on_emulator = self.endpoint_url is None and google_environment().emulator_host is not None
        return self.anonymous or (on_emulator and not given)

    def _address_fault(self) -> str | None:
        try:
            bucket = self.root.container
            self.endpoint()
        except StoreError as error:
            return error.message
        return bucket_fault(bucket)

    def _credentials_fault(self) -> str | None:
        if self.token is not None and self.access_token is not None:
            return "give either token or access_token"
        if self.anonymous and (self.token is not None or self.access_token is not None):
            return "anonymous takes no token and no access_token"
        if self.access_token is not None and not _TOKEN.fullmatch(self.access_token.get_secret_value()):
            return "access_token has a character that no token has, such as a space or the end of a line"
        return self._token_fault(self.token.get_secret_value()) if self.token is not None else None

    @staticmethod
    def _token_fault(text: str) -> str | None:
        if text.lstrip().startswith("{"):
            try:
                account_data(text, "token")
            except StoreError as error:
                return error.message
        elif text.startswith("ya29."):
            return "token is a service account's key; a plain access token is given as access_token"
        return None
