"""What an S3 store is configured with; checked before any request."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from entrepot.auth.aws import aws_environment
from entrepot.errors import ConfigurationError, StoreError
from entrepot.flavors.s3.endpoint import AddressingStyle, bucket_fault
from entrepot.paths import Root
from entrepot.services.endpoint import Endpoint, is_loopback


class S3Config(BaseModel):
    """The configuration of flavor `s3`. What is not given is looked for in the standard AWS chain.

    path: `s3://BUCKET` or `s3://BUCKET/PREFIX`.
    key, secret, token: an access key; token for temporary ones.
    profile: of the shared AWS configuration files. role_arn: assumed with the credentials found, refreshed as it
    expires. role_session_name, external_id: sent with it. anonymous: requests are not signed.
    endpoint_url: a service other than AWS (or AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL); https, unless it is this machine.
    region: the bucket's; found by a redirect where AWS knows better.
    addressing_style: `path` (endpoint/bucket/key), `virtual` (bucket.endpoint/key), `auto`: virtual on AWS, else path.
    sse: server-side encryption of what is written; sse_kms_key_id for the two of KMS. sse_customer_key: base64 of
    32 bytes, kept by the caller and sent with each request (SSE-C).
    acl, storage_class: of what is written. requester_pays: the caller pays for requests and transfer.
    tells_checksums: ask for the checksum that an object was written with (CRC64NVME and others), to verify what is
    read; without it AWS is asked, and no other service.
    client: `wire`, our own requests, or `sdk`, aiobotocore, for what only the SDK knows (access points by ARN, FIPS,
    isolated regions). ca_bundle: a file of trusted certificates (or AWS_CA_BUNDLE).
    allow_http, allow_link_local: lift the refusals of plain http to another machine and of metadata addresses.
    max_attempts: of one request that fails for a passing reason; throttling is counted by time alone.
    concurrency: how many requests are in flight; without it, as many as the service takes without asking for fewer.
    requests_per_second: a bound on requests of all kinds together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: str
    key: str | None = Field(default=None, min_length=1)
    secret: SecretStr | None = Field(default=None, min_length=1)
    token: SecretStr | None = Field(default=None, min_length=1)
    profile: str | None = Field(default=None, min_length=1)
    role_arn: str | None = Field(default=None, pattern=r"^arn:[a-z0-9-]+:iam::\d+:role/\S+$")
    role_session_name: str | None = Field(default=None, pattern=r"^[\w+=,.@-]{2,64}$")
    external_id: str | None = Field(default=None, min_length=2, max_length=1224)
    anonymous: bool = False
    endpoint_url: str | None = None
    region: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")
    addressing_style: AddressingStyle = "auto"
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    sse_kms_key_id: str | None = Field(default=None, pattern=r"^[!-~]+$")
    sse_customer_key: SecretStr | None = None
    acl: str | None = Field(default=None, pattern=r"^[a-z-]+$")
    storage_class: str | None = Field(default=None, pattern=r"^[A-Z0-9_-]+$")
    requester_pays: bool = False
    tells_checksums: bool | None = None
    client: Literal["wire", "sdk"] = "wire"
    ca_bundle: str | None = Field(default=None, min_length=1)
    allow_http: bool = False
    allow_link_local: bool = False
    max_attempts: int = Field(default=6, ge=1, le=100)
    concurrency: int | None = Field(default=None, ge=1, le=512)
    requests_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        fault = self._address_fault() or self._credentials_fault() or self._encryption_fault()
        if fault is None and self.ca_bundle is not None and not os.path.isfile(self.ca_bundle):
            fault = "ca_bundle must name a file of certificates"
        if fault is not None:
            raise PydanticCustomError("s3_configuration", "{fault}", {"fault": fault})
        return self

    @property
    def root(self) -> Root:
        """Bucket and prefix of `path`."""
        return Root.parse(self.path)

    def endpoint(self) -> Endpoint | None:
        """The service to talk to: configured, or the environment's; None is AWS.

        Raises: ConfigurationError where it may not be used.
        """
        url = self.endpoint_url or aws_environment().endpoint_url
        if url is None:
            return None
        endpoint = Endpoint.parse(url, allow_http=self.allow_http, allow_link_local=self.allow_link_local)
        plain = endpoint.origin.scheme == "http" and not is_loopback(endpoint.origin.host)
        if plain and self.sse_customer_key is not None:
            raise ConfigurationError("sse_customer_key is sent with each request: endpoint_url must be https")
        return endpoint

    def _address_fault(self) -> str | None:
        try:
            root, endpoint = self.root, self.endpoint()
        except StoreError as error:
            return error.message
        return bucket_fault(root.container, on_aws=endpoint is None, by_sdk=self.client == "sdk")

    def _credentials_fault(self) -> str | None:
        if (self.key is None) != (self.secret is None):
            return "key and secret are given together, or neither"
        if self.token is not None and self.key is None:
            return "token is given with key and secret"
        if self.key is not None and self.profile is not None:
            return "give either key and secret, or profile"
        if self.anonymous and (self.key or self.profile or self.role_arn):
            return "anonymous takes no key, profile or role_arn"
        if self.role_arn is None and (self.role_session_name or self.external_id):
            return "role_session_name and external_id are given with role_arn"
        return None

    def _encryption_fault(self) -> str | None:
        if self.sse_kms_key_id is not None and self.sse not in {"aws:kms", "aws:kms:dsse"}:
            return "sse_kms_key_id is given with sse='aws:kms' or 'aws:kms:dsse'"
        if self.sse_customer_key is None:
            return None
        if self.sse is not None:
            return "give either sse or sse_customer_key"
        try:
            size = len(base64.b64decode(self.sse_customer_key.get_secret_value(), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        return None if size == 32 else "sse_customer_key must be the base64 text of 32 bytes"
