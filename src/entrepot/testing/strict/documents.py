"""The XML documents of S3: written plainly, read strictly. No I/O."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from entrepot.testing.strict.exchange import Refusal, Reply

_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
# A parser would turn a bare carriage return into a line feed; other control characters S3 writes as references too,
# which XML 1.0 forbids: who lists such keys asks for encoding-type=url.
_REFERENCES: Final = {chr(code): f"&#x{code:x};" for code in (*range(9), *range(11, 32))}


def element(name: str, content: str) -> str:
    """One element around what is XML already."""
    return f"<{name}>{content}</{name}>"


def leaf(name: str, value: object) -> str:
    """One element with a text."""
    return element(name, escape(str(value), _REFERENCES))


def leaves(**values: object) -> str:
    """Elements with texts; those without a value are left out."""
    return "".join(leaf(name, value) for name, value in values.items() if value is not None)


def document(name: str, content: str, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A reply with one document."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{_NAMESPACE}">{content}</{name}>'
    return Reply(status, {"content-type": "application/xml", **(headers or {})}, text.encode())


def error_document(refusal: Refusal, resource: str, request_id: str) -> Reply:
    """What a refusal is told by."""
    about = {"Code": refusal.code, "Message": refusal.message, **refusal.told}
    content = leaves(**about, Resource=resource, RequestId=request_id)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{content}</Error>'
    return Reply(refusal.status, {"content-type": "application/xml", **refusal.headers}, text.encode())


def url_name(text: str) -> str:
    """A name as `encoding-type=url` writes it: slashes stay, a space is a plus."""
    return quote_plus(text, safe="/-_.*")


def source_path(text: str) -> str:
    """A path as it can be sent."""
    return quote(text, safe="/-_.~")


def iso(moment_s: float) -> str:
    """As documents tell times: whole seconds, written with milliseconds."""
    return datetime.fromtimestamp(int(moment_s), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def parsed(body: bytes, *names: str) -> ET.Element:
    """A document with one of these roots, without namespaces. Raises: Refusal."""
    try:
        root = ET.fromstring(body)  # noqa: S314  # from a test
    except ET.ParseError as error:
        raise malformed() from error
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
    if root.tag not in names:
        raise malformed()
    return root


def malformed() -> Refusal:
    """The refusal of a document."""
    message = "The XML you provided was not well-formed or did not validate against our published schema"
    return Refusal(400, "MalformedXML", message)


def known(root: ET.Element, names: Iterable[str]) -> None:
    """Raises: Refusal where there are elements of other names."""
    if {child.tag for child in root} - frozenset(names):
        raise malformed()
