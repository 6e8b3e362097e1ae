"""S3's clients without a network, and S3's documents for the replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from canned import AT_ONCE, CannedTransport, Reply, names
from entrepot.auth.aws import AwsCredentials, CredentialSource
from entrepot.flavors.s3.client import S3Client
from entrepot.flavors.s3.config import S3Config
from entrepot.flavors.s3.connection import make_client
from entrepot.http.transport import Request

__all__ = ["AT_ONCE", "KEYS", "CannedTransport", "Reply", "Sequenced", "as_text", "client_of", "error", "names", "xml"]

KEYS = {"key": "AKIDEXAMPLE", "secret": "a-secret-that-nobody-sees"}


class Sequenced(CredentialSource):
    """Credentials that a refresh replaces by the next ones."""

    def __init__(self, *credentials: AwsCredentials) -> None:
        self.left = list(credentials)

    async def current(self) -> AwsCredentials:
        return self.left[0]

    async def refresh(self, rejected: AwsCredentials | None = None) -> AwsCredentials:
        if len(self.left) > 1:
            self.left.pop(0)
        return self.left[0]


def client_of(*replies: Reply | Callable[[Request], Reply], **options: Any) -> tuple[S3Client, CannedTransport]:
    """A client and what it talks to; `endpoint_url` None is AWS."""
    transport = CannedTransport(*replies)
    given = {"path": "s3://bucket", "endpoint_url": "https://s3.example.com", "region": "eu-west-1", **KEYS, **options}
    return make_client(S3Config(**given), transport=transport, policy=AT_ONCE), transport


def as_text(request: Request) -> str:
    """The request as it would be read on the wire, with date and signature masked."""
    lines = [f"{request.method} {request.target}", f"host: {request.origin.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    text = "\n".join(lines)
    text = re.sub(r"\d{8}T\d{6}Z", "DATE", text)
    text = re.sub(r"/\d{8}/", "/DAY/", text)
    text = re.sub(r"Signature=[0-9a-f]{64}", "Signature=SIGNATURE", text)
    body = bytes(request.body)
    return text + (f"\n\n{body.decode()}" if body else "")


def xml(root: str, inner: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><{root}>{inner}</{root}>'.encode()


def error(status: int, code: str, inner: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, headers or {}, xml("Error", f"<Code>{code}</Code><Message>m</Message>{inner}"))
