"""What goes in and out of the strict server: requests taken apart, replies, refusals. No I/O, nothing of storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from entrepot.testing.messages import RequestHead

_KEY_MOST_BYTES: Final = 1024


class Refusal(Exception):
    """The service says no. code: as S3 names it; told: further elements of the error document."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **told: str
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.told = status, code, message, told
        self.headers = headers or {}


@dataclass(slots=True)
class Reply:
    """What the service answers. body: of a HEAD too; its length is told and it is not sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Request:
    """One request. path: as sent, without the query. query: decoded, in the order sent. fields: names in lower case.

    bucket, key: decoded, of a path-style address. body: the content; of `aws-chunked` what is within the chunks.
    """

    method: str
    path: str
    query: list[tuple[str, str]]
    fields: list[tuple[str, str]]
    body: bytes
    bucket: str = ""
    key: str = ""

    @classmethod
    def of(cls, head: RequestHead, body: bytes) -> Request:
        """Raises: Refusal for a path or query that is not UTF-8, or for a key that is too long."""
        fields = [(name.lower(), value) for name, value in head.head.fields]
        try:
            query = [_pair(pair) for pair in head.query.split("&") if pair]
            bucket, _, key = unquote_to_bytes(head.path).decode()[1:].partition("/")
        except UnicodeDecodeError as error:
            raise Refusal(400, "InvalidURI", "Couldn't parse the specified URI.") from error
        if len(key.encode()) > _KEY_MOST_BYTES:
            raise Refusal(400, "KeyTooLongError", "Your key is too long", Size=str(len(key.encode())))
        return cls(head.method, head.path, query, fields, body, bucket, key)

    def header(self, name: str) -> str | None:
        """The values of a header, joined; None where it is missing. name: in lower case."""
        values = [value for field, value in self.fields if field == name]
        return ",".join(values) if values else None

    def asks(self, name: str) -> bool:
        """Whether the query has this parameter, be it empty."""
        return any(found == name for found, _ in self.query)

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next((value for found, value in self.query if found == name), None)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number of the query. Raises: Refusal where it is none, or out of bounds."""
        text = self.parameter(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise Refusal(
                400, "InvalidArgument", f"Argument {name} must be an integer between {least} and {most}",
                ArgumentName=name, ArgumentValue=text,
            )  # fmt: skip
        return int(text)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return _decoded(name), _decoded(value)


def _decoded(text: str) -> str:
    """As the service reads a query: a plus is a space."""
    return unquote(text.replace("+", " "), errors="strict")
