"""What the plain clients have in common: one exchange over HTTP by the standard library, on a connection of its own."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


class RawError(Exception):
    """The server refused. status: of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


@dataclass(frozen=True, slots=True)
class RawReply:
    """A whole reply. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def tells_presence(self, name: str) -> bool:
        """Whether something is there, by the reply to a question for it. Raises: RawError for any other status."""
        if self.status in (200, 404):
            return self.status == 200
        raise RawError(self.status, name)


def exchanged(endpoint_url: str, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> RawReply:
    """Send one request and read its reply, of any status. target: path and query."""
    connection = http.client.HTTPConnection(urlsplit(endpoint_url).netloc, timeout=60)
    try:
        connection.request(method, target, body=body, headers=headers)
        reply = connection.getresponse()
        return RawReply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()
