"""Many deletes in one request: a body of requests, and a reply of replies. No I/O.

Source: Azure Storage REST API Reference, "Blob Batch".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from entrepot.http.transport import Headers
from entrepot.services.faults import ErrorInside, ErrorReply, Unreadable

_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_STATUS: Final = re.compile(r"HTTP/1\.\d (\d{3})(?: |\Z)", re.ASCII)


def build_batch(parts: Sequence[tuple[str, Headers]], boundary: str) -> bytes:
    """The body. parts: target and headers of each delete, signed."""
    pieces: list[str] = []
    for number, (target, headers) in enumerate(parts):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        pieces.append(
            f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: {number}\r\n\r\nDELETE {target} HTTP/1.1\r\n{lines}Content-Length: 0\r\n\r\n"
        )
    return f"{''.join(pieces)}--{boundary}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class SubReply:
    """The answer to one part of a batch. code: as the service names the error; empty for a success."""

    status: int
    code: str
    message: str = ""

    @property
    def deleted(self) -> bool:
        """Whether nothing is there any more; that nothing was is no failure."""
        return 200 <= self.status < 300 or (self.status == 404 and self.code in {"BlobNotFound", "PathNotFound", ""})


def parse_batch(content_type: str, body: bytes, count: int) -> list[SubReply]:
    """The answers in the order of the parts.

    Raises: ErrorInside where the batch as a whole was refused; Unreadable unless there is one answer for each part.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/mixed") or found is None:
        raise Unreadable("a reply to a batch that is not multipart/mixed")
    text = body.decode("utf-8", "replace")
    answers: dict[int, SubReply] = {}
    for piece in text.split(f"--{found[1].strip()}")[1:-1]:
        head, _, reply = piece.partition("\r\n\r\n")
        lines, _, rest = reply.partition("\r\n\r\n")
        status_line, *header_lines = lines.split("\r\n")
        status = _STATUS.match(status_line)
        if status is None:
            raise Unreadable("a part of a batch's reply without a status")
        headers = _headers(header_lines)
        answer = SubReply(int(status[1]), headers.get("x-ms-error-code", ""), rest.strip()[:200])
        number = _headers(head.split("\r\n")).get("content-id", "")
        if not number:
            # So a service says that it could not read the batch.
            raise ErrorInside(ErrorReply(answer.status, answer.code, headers=headers))
        if not number.isdecimal() or int(number) >= count or int(number) in answers:
            raise Unreadable("a reply to a part that was not in the batch")
        answers[int(number)] = answer
    if len(answers) != count:
        raise Unreadable(f"{len(answers)} replies to a batch of {count}")
    return [answers[number] for number in range(count)]


def _headers(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
