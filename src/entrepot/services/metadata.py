"""User metadata in headers: values that these would not keep become encoded words (RFC 2047), which reading undoes."""

from __future__ import annotations

import base64
import re
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final

# Values that arrive as they were sent: single spaces inside, none outside, and nothing that reads as an encoded word.
_PLAIN: Final = re.compile(r"(?!.*=\?)[!-~]+(?: [!-~]+)*", re.ASCII)


def header_value(text: str) -> str:
    """The text as a header keeps it: literal where that comes back as it is, else one encoded word of UTF-8."""
    if not text or _PLAIN.fullmatch(text):
        return text
    return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="


def header_text(value: str) -> str:
    """What `header_value` was given; encoded words of other charsets are read too."""
    if "=?" not in value:
        return value
    try:
        return "".join(
            text.decode(charset or "ascii", "replace") if isinstance(text, bytes) else text
            for text, charset in decode_header(value)
        )
    except (HeaderParseError, LookupError, ValueError):
        return value
