"""What a request says of its body, held against the body: Content-MD5, the payload's hash, `x-amz-checksum-*`.

Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3"; API Reference, "Error responses".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from entrepot.testing.strict.exchange import Refusal, Request
from entrepot.testing.strict.signatures import UNSIGNED, UNSIGNED_TRAILER

PREFIX: Final = "x-amz-checksum-"
_NO_VALUES: Final = frozenset({"algorithm", "type", "mode"})
"""Headers that begin as a checksum's do, and are none."""


def _crc32c(data: bytes) -> bytes:
    try:
        import google_crc32c
    except ModuleNotFoundError:
        return _reflected_crc(data, 0x82F63B78, 32).to_bytes(4, "big")
    return int(google_crc32c.value(data)).to_bytes(4, "big")


def _reflected_crc(data: bytes, polynomial: int, bits: int) -> int:
    """A table-driven CRC, about a second for 5 MB: for the small bodies of tests."""
    table, ones = _table(polynomial), (1 << bits) - 1
    value = ones
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ ones


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


DIGESTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": _crc32c,
    "crc64nvme": lambda data: _reflected_crc(data, 0x9A6C9329AC4BC9B5, 64).to_bytes(8, "big"),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}
"""By the names that headers have."""

_TYPES: Final = {
    "crc32": ("COMPOSITE", "FULL_OBJECT"),
    "crc32c": ("COMPOSITE", "FULL_OBJECT"),
    "crc64nvme": ("FULL_OBJECT",),
    "sha1": ("COMPOSITE",),
    "sha256": ("COMPOSITE",),
}


@dataclass(frozen=True, slots=True)
class Checksum:
    """algorithm: as headers name it. value: base64; with `-N` where it is made of N parts' checksums."""

    algorithm: str
    value: str
    kind: str = "FULL_OBJECT"

    @property
    def element(self) -> str:
        """As documents name it: `ChecksumCRC32C`."""
        return f"Checksum{self.algorithm.upper()}"

    @classmethod
    def of(cls, algorithm: str, data: bytes) -> Checksum:
        """Of these bytes."""
        return cls(algorithm, base64.b64encode(DIGESTS[algorithm](data)).decode())


def algorithm_named(text: str) -> str:
    """An algorithm as `x-amz-checksum-algorithm` names it. Raises: Refusal."""
    if text.lower() not in DIGESTS:
        raise Refusal(400, "InvalidRequest", "Checksum algorithm provided is unsupported.")
    return text.lower()


def kind_of(algorithm: str, asked: str | None) -> str:
    """COMPOSITE or FULL_OBJECT, for an upload in parts. Raises: Refusal for a pair that there is not."""
    kinds = _TYPES[algorithm]
    if asked is None:
        return kinds[0]
    if asked not in kinds:
        message = f"The {asked} checksum type cannot be used with the {algorithm} checksum algorithm."
        raise Refusal(400, "InvalidRequest", message)
    return asked


def check_body(request: Request, payload: str) -> Checksum | None:
    """Hold all that the request says of its body against it; the checksum it gives, if any. Raises: Refusal.

    payload: what the signature says of it.
    """
    if payload == UNSIGNED_TRAILER:
        _unwrap(request)
    elif payload != UNSIGNED and hashlib.sha256(request.body).hexdigest() != payload:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise Refusal(400, "XAmzContentSHA256Mismatch", message, ClientComputedContentSHA256=payload)
    given = request.header("content-md5")
    if given is not None:
        digest = _decoded(given, 16)
        if digest is None:
            raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if digest != hashlib.md5(request.body, usedforsecurity=False).digest():
            raise Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    return _check_flexible(request)


def checksum_given(request: Request) -> Checksum | None:
    """The checksum that the headers tell, whatever it is of. Raises: Refusal for several, or for what is none."""
    found = [
        (name.removeprefix(PREFIX), value)
        for name, value in request.fields
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _NO_VALUES
    ]
    if not found:
        return None
    if len(found) > 1:
        raise Refusal(400, "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple were provided.")
    algorithm, value = algorithm_named(found[0][0]), found[0][1]
    if _decoded(value.partition("-")[0], len(DIGESTS[algorithm](b""))) is None:
        raise Refusal(400, "InvalidRequest", f"Value for {PREFIX}{algorithm} header is invalid.")
    return Checksum(algorithm, value)


def _check_flexible(request: Request) -> Checksum | None:
    given = checksum_given(request)
    named = request.header("x-amz-sdk-checksum-algorithm")
    if named is not None and (given is None or algorithm_named(named) != given.algorithm):
        message = "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* header was found."
        raise Refusal(400, "InvalidRequest", message)
    of_the_whole = request.method == "POST" and request.asks("uploadId")  # a completion's is the object's, not its own
    if given is not None and not of_the_whole:
        match_bytes(given, request.body)
    return given


def match_bytes(given: Checksum, data: bytes) -> None:
    """Raises: Refusal where the checksum is not of these bytes."""
    if Checksum.of(given.algorithm, data).value != given.value:
        name = given.algorithm.upper()
        message = f"The {name} you specified did not match the calculated checksum."
        raise Refusal(400, "BadDigest", message)


def _decoded(text: str, size: int) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == size else None


def _unwrap(request: Request) -> None:
    """Take `aws-chunked` apart: the content becomes the body, the trailer a header.

    Source: Amazon S3 API Reference, "Signature calculations ... with trailing headers".
    """
    content, rest = bytearray(), request.body
    torn = Refusal(400, "IncompleteBody", "The request body terminated unexpectedly")
    while True:
        line, _, rest = rest.partition(b"\r\n")
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", line):
            raise torn
        size = int(line, 16)
        if not size:
            break
        content += rest[:size]
        if rest[size : size + 2] != b"\r\n":
            raise torn
        rest = rest[size + 2 :]
    trailers = [line.partition(b":") for line in rest.split(b"\r\n") if line]
    fields = [(name.decode("latin-1").strip().lower(), value.decode("latin-1").strip()) for name, _, value in trailers]
    wanted = (request.header("x-amz-trailer") or "").lower()
    if [name for name, _ in fields] != ([wanted] if wanted else []):
        raise Refusal(400, "MalformedTrailerError", "The request contained trailing data that was not well-formed.")
    if str(len(content)) != request.header("x-amz-decoded-content-length"):
        raise Refusal(400, "IncompleteBody", "You did not provide the number of bytes specified.")
    request.body = bytes(content)
    request.fields.extend(fields)
