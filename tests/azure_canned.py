"""Azure's clients without a network; `canned` answers them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from canned import AT_ONCE, CannedTransport, Reply
from entrepot.auth.azure import Credential
from entrepot.flavors.azure.client import AzureClient
from entrepot.flavors.azure.config import AzureConfig
from entrepot.flavors.azure.connection import make_client
from entrepot.http.transport import Request

KEY = "c2VjcmV0LW9mLW5vYm9keQ=="
ACCOUNT = {"account_name": "acct", "account_key": KEY}
WAYS = ("account_key", "sas_token", "connection_string", "client_id", "anonymous")


def client_of(
    *replies: Reply | Callable[[Request], Reply], credential: Credential | None = None, **options: Any
) -> tuple[AzureClient, CannedTransport]:
    """A client and what it talks to; a shared key, unless options name another way."""
    transport = CannedTransport(*replies)
    account = {} if any(way in options for way in WAYS) else ACCOUNT
    given = {"path": "az://box", "account_name": "acct", **account, **options}
    if "connection_string" in options or "@" in str(given["path"]):
        del given["account_name"]
    config = AzureConfig(**given)
    return make_client(config, transport=transport, policy=AT_ONCE, credential=credential), transport


def as_text(request: Request) -> str:
    """The request as it would be read on the wire, with date, signature and random names masked."""
    lines = [f"{request.method} {request.target}", f"host: {request.origin.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    text = "\n".join(lines)
    text = re.sub(r"x-ms-date: .*", "x-ms-date: DATE", text)
    text = re.sub(r"SharedKey acct:[A-Za-z0-9+/]{43}=", "SharedKey acct:SIGNATURE", text)
    text = re.sub(r"entrepot_write: [0-9a-f]{16}", "entrepot_write: RANDOM", text)
    body = bytes(request.body)
    return text + (f"\n\n{body.decode()}" if body else "")


def xml(root: str, inner: str = "") -> bytes:
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?><{root}>{inner}</{root}>'.encode()


def listing(*rows: str, marker: str = "") -> bytes:
    return xml("EnumerationResults", f"<Blobs>{''.join(rows)}</Blobs><NextMarker>{marker}</NextMarker>")


def row(name: str, size: int = 0, *, properties: str = "", metadata: Mapping[str, str] | None = None) -> str:
    pairs = "".join(f"<{key}>{value}</{key}>" for key, value in (metadata or {}).items())
    return (
        f"<Blob><Name>{name}</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:00 GMT</Last-Modified>"
        f"<Etag>0x1</Etag><Content-Length>{size}</Content-Length>{properties}</Properties>"
        f"<Metadata>{pairs}</Metadata></Blob>"
    )


def refused(status: int, code: str, headers: Mapping[str, str] | None = None) -> Reply:
    body = xml("Error", f"<Code>{code}</Code><Message>said.\nRequestId:1\nTime:2</Message>")
    return Reply(status, {"x-ms-error-code": code, **(headers or {})}, body)


def header(request: Request, name: str) -> str | None:
    return dict(request.headers).get(name)


def methods(transport: CannedTransport) -> Sequence[str]:
    """Method and target of each request, without the account's part."""
    return [f"{one.method} {one.target}" for one in transport.requests]
