"""What ZenML's S3 flavor hands to botocore, in our own words: pure, and strict.

ZenML passes `client_kwargs`, `config_kwargs` and `s3_additional_kwargs` on unread. Of botocore's many options, those
with a meaning here have their entry below; another one is refused by its name, so that none is dropped in silence.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

from entrepot.errors import ConfigurationError

Translation = Callable[[Any], dict[str, Any]]


def store_options(kwargs: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Our keys for what ZenML's hold. kwargs: by the name of ZenML's key.

    Raises: ConfigurationError for an option that has no counterpart, a value that this one does not take, and two
    that contradict each other.
    """
    found: dict[str, Any] = {}
    for group, values in kwargs.items():
        for name, value in (values or {}).items():
            for key, ours in _translation(group, name)(value).items():
                if found.setdefault(key, ours) != ours:
                    raise ConfigurationError(f"{group}.{name} contradicts what is given for {key!r} elsewhere")
    return found


def _translation(group: str, name: str) -> Translation:
    known = _KNOWN[group]
    if name in known:
        return known[name]
    if name in _CREDENTIALS:
        raise ConfigurationError(f"{group}.{name} is given as {_CREDENTIALS[name]!r}, or by an authentication_secret")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise ConfigurationError(
        f"{group}.{name} is not supported; {hint} What entrepot's s3 flavor takes by itself is given as `options`"
    )


def _as(key: str) -> Translation:
    return lambda value: {key: value}


def _just(name: str, *accepted: Any) -> Translation:
    """An option that must have the value that holds here anyway."""

    def translated(value: Any) -> dict[str, Any]:
        if value not in accepted:
            raise ConfigurationError(f"{name} can only be {' or '.join(map(repr, accepted))} here")
        return {}

    return translated


def _verify(value: Any) -> dict[str, Any]:
    if value is False:
        raise ConfigurationError(
            "client_kwargs.verify: certificates are always verified; name the file of the trusted ones instead"
        )
    return {} if value is True else {"ca_bundle": value}


def _s3(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or set(value) - {"addressing_style"}:
        raise ConfigurationError("config_kwargs.s3 takes {'addressing_style': 'auto' | 'path' | 'virtual'} here")
    return dict(value)


def _request_payer(value: Any) -> dict[str, Any]:
    if value != "requester":
        raise ConfigurationError("s3_additional_kwargs.RequestPayer can only be 'requester'")
    return {"requester_pays": True}


_CREDENTIALS: Final = {
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "aws_session_token": "token",
}
_KNOWN: Final[Mapping[str, Mapping[str, Translation]]] = {
    "client_kwargs": {
        "endpoint_url": _as("endpoint_url"),
        "region_name": _as("region"),
        "use_ssl": _just("client_kwargs.use_ssl", True),
        "verify": _verify,
    },
    "config_kwargs": {
        "max_pool_connections": _as("concurrency"),
        "region_name": _as("region"),
        "s3": _s3,
        "signature_version": _just("config_kwargs.signature_version", "s3v4", "v4"),
    },
    "s3_additional_kwargs": {
        "ACL": _as("acl"),
        "RequestPayer": _request_payer,
        "SSEKMSKeyId": _as("sse_kms_key_id"),
        "ServerSideEncryption": _as("sse"),
        "StorageClass": _as("storage_class"),
    },
}
