"""ZenML's words for botocore, in ours; none is dropped in silence."""

from __future__ import annotations

from typing import Any

import pytest

from entrepot.errors import ConfigurationError
from entrepot.integrations.zenml.botocore_options import store_options


def test_what_has_a_meaning_here_is_translated() -> None:
    assert store_options(
        {
            "client_kwargs": {
                "endpoint_url": "https://minio.example",
                "region_name": "eu-central-1",
                "use_ssl": True,
                "verify": "/etc/ssl/ours.pem",
            },
            "config_kwargs": {
                "signature_version": "s3v4",
                "region_name": "eu-central-1",
                "s3": {"addressing_style": "path"},
                "max_pool_connections": 20,
            },
            "s3_additional_kwargs": {
                "ACL": "bucket-owner-full-control",
                "ServerSideEncryption": "aws:kms",
                "SSEKMSKeyId": "key",
                "StorageClass": "STANDARD_IA",
                "RequestPayer": "requester",
            },
        }
    ) == {
        "endpoint_url": "https://minio.example",
        "region": "eu-central-1",
        "ca_bundle": "/etc/ssl/ours.pem",
        "addressing_style": "path",
        "concurrency": 20,
        "acl": "bucket-owner-full-control",
        "sse": "aws:kms",
        "sse_kms_key_id": "key",
        "storage_class": "STANDARD_IA",
        "requester_pays": True,
    }


def test_nothing_given_is_nothing() -> None:
    assert store_options({"client_kwargs": None, "config_kwargs": {}}) == {}


@pytest.mark.parametrize(
    ("group", "name", "value", "told"),
    [
        ("client_kwargs", "endpoint", "https://minio.example", "did you mean 'endpoint_url'"),
        ("client_kwargs", "aws_secret_access_key", "s", "is given as 'secret'"),
        ("client_kwargs", "verify", False, "always verified"),
        ("client_kwargs", "use_ssl", False, r"client_kwargs\.use_ssl can only be True"),
        ("config_kwargs", "signature_version", "s3", "'s3v4' or 'v4'"),
        ("config_kwargs", "read_timeout", 5, r"config_kwargs\.read_timeout is not supported"),
        ("config_kwargs", "s3", {"use_accelerate_endpoint": True}, "addressing_style"),
        ("s3_additional_kwargs", "Tagging", "a=b", r"s3_additional_kwargs\.Tagging is not supported"),
        ("s3_additional_kwargs", "RequestPayer", "owner", "'requester'"),
    ],
)
def test_anything_else_is_refused_by_name(group: str, name: str, value: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        store_options({group: {name: value}})


def test_a_contradiction_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"config_kwargs\.region_name contradicts"):
        store_options({"client_kwargs": {"region_name": "a"}, "config_kwargs": {"region_name": "b"}})
