"""Where an S3 request goes: endpoints checked, buckets addressed. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from entrepot.errors import ConfigurationError
from entrepot.http.transport import Origin
from entrepot.services.endpoint import Endpoint, keeps_path

AddressingStyle: TypeAlias = Literal["auto", "path", "virtual"]

_AWS_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OTHER_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_ACCESS_POINT = re.compile(r"arn:[a-z0-9-]+:s3[a-z-]*:[a-z0-9-]*:\d{12}:[A-Za-z0-9:._-]+")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
# Partitions whose endpoints are S3's plain pattern; the isolated ones are left to the SDK, which knows them.
_SUFFIXES = (("cn-", "amazonaws.com.cn"), ("eusc-", "amazonaws.eu"))
_ISOLATED = re.compile(r"(us|eu)-iso[a-z]?-")


def bucket_fault(bucket: str, *, on_aws: bool, by_sdk: bool = False) -> str | None:
    """Why this cannot be a bucket's name, or None if it can.

    AWS's rules are strict; other servers keep capital letters and underscores too. Access points are the SDK's.
    Source: Amazon S3 User Guide, "General purpose bucket naming rules".
    """
    if bucket.startswith("arn:"):
        if not by_sdk:
            return "access points need client='sdk', or their alias as the bucket's name"
        return None if _ACCESS_POINT.fullmatch(bucket) else "not the ARN of an access point, with ':' before its name"
    pattern = _AWS_BUCKET if on_aws else _OTHER_BUCKET
    if not pattern.fullmatch(bucket):
        letters = "lower-case letters" if on_aws else "letters"
        return f"a bucket's name is 3 to 63 {letters}, digits, dots and hyphens, with a letter or digit at both ends"
    if ".." in bucket or _IPV4.fullmatch(bucket):
        return "a bucket's name has no two dots in a row, and is no IP address"
    return None


@dataclass(frozen=True, slots=True)
class Address:
    """Where one bucket's requests go. bucket_path: the path of the bucket itself, without a slash at the end."""

    origin: Origin
    bucket_path: str
    region: str

    def target(self, key: str) -> str:
        """The path of a key."""
        return f"{self.bucket_path}/{keeps_path(key)}"

    @property
    def bucket_target(self) -> str:
        """The path of the bucket itself."""
        return self.bucket_path or "/"


def locate(bucket: str, region: str, endpoint: Endpoint | None, style: AddressingStyle) -> Address:
    """The address of a bucket; `endpoint` None is AWS in that region.

    `auto`: AWS by virtual host, but for buckets with dots, which its certificates do not cover; others by path.
    Raises: ConfigurationError where the region's name cannot be one, or only an SDK knows its endpoint.
    """
    if not _REGION.fullmatch(region):
        raise ConfigurationError("region must be a name such as us-east-1")
    if endpoint is None:
        if _ISOLATED.match(region):
            raise ConfigurationError(f"the endpoint of region {region} is known to the SDK only; set client='sdk'")
        suffix = next((suffix for start, suffix in _SUFFIXES if region.startswith(start)), "amazonaws.com")
        endpoint = Endpoint(Origin("https", f"s3.{region}.{suffix}", 443))
        virtual = style == "virtual" or (style == "auto" and "." not in bucket)
    else:
        virtual = style == "virtual"
    if not virtual:
        return Address(endpoint.origin, f"{endpoint.base}/{keeps_path(bucket)}", region)
    return Address(replace(endpoint.origin, host=f"{bucket}.{endpoint.origin.host}"), endpoint.base, region)
