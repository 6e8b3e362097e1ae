"""XML of replies as values, through expat with documents' own declarations refused: nothing is expanded or fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from xml.parsers import expat

from entrepot.models import MIB
from entrepot.services.faults import ErrorInside, ErrorReply, Unreadable

XML_MAX_BYTES: Final = 16 * MIB
"""More than any reply has: a listing of 1,000 keys of 1,024 bytes, each byte as %XX, is 4 MiB."""

DEPTH_MAX: Final = 12
_NODES_MAX: Final = 100_000  # a page of 1,000 rows has some ten thousand; each costs 25 times its bytes in memory


class Node:
    """One element: its name without prefix, its text, its children."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name, self.text = name, ""
        self.children: list[Node] = []

    def get(self, name: str, default: str = "") -> str:
        """The text of the first child of that name."""
        for child in self.children:
            if child.name == name:
                return child.text
        return default

    def all(self, name: str) -> list[Node]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]


def parse_xml(body: bytes, *roots: str, nodes_max: int = _NODES_MAX) -> Node:
    """The document, if its root has one of these names. nodes_max: of how many elements it may be.

    Raises: ErrorInside where it is an `<Error>`; Unreadable for an empty body, no XML, a document type, another root.
    """
    top = Node("")
    stack = [top]
    left = nodes_max

    def start(name: str, _attributes: dict[str, str]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unreadable("XML of too many elements")
        node = Node(name.rpartition(":")[2])
        stack[-1].children.append(node)
        stack.append(node)
        if len(stack) > DEPTH_MAX:
            raise Unreadable("XML nested too deep")

    def end(_name: str) -> None:
        stack.pop()

    def text(piece: str) -> None:
        stack[-1].text += piece

    parser = parser_of(start, end, text)
    feed(parser, body)
    root = top.children[0]
    if root.name == "Error" and "Error" not in roots:
        raise ErrorInside(error_of(root, 200, {}))
    if root.name not in roots:
        raise Unreadable(f"XML of another kind: {root.name[:40]}")
    return root


def parser_of(start: Any, end: Any, text: Any) -> Any:
    """A parser that calls back for each element's start and end, and for text."""
    parser = expat.ParserCreate("utf-8")  # whatever the document says of itself
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def feed(parser: Any, body: bytes) -> None:
    """Parse the whole document. Raises: Unreadable for an empty body, and for no XML."""
    if not body.strip():
        raise Unreadable("an empty body")
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise Unreadable("a body that is not XML") from error


def _refuse_doctype(*_arguments: object) -> None:
    raise Unreadable("XML with a document type")


def error_told(body: bytes, status: int, headers: Mapping[str, str]) -> ErrorReply | None:
    """What a body says of an error; None where it is a proxy's page, or nothing, so that the head speaks alone."""
    try:
        return error_of(parse_xml(body, "Error"), status, headers)
    except Unreadable:
        return None


def error_of(root: Node, status: int, headers: Mapping[str, str]) -> ErrorReply:
    """What an `<Error>` says, as S3 and Azure write it."""
    return ErrorReply(
        status,
        root.get("Code")[:100],
        root.get("Message")[:1000],
        root.get("Region") or None,
        root.get("Condition")[:100],
        headers,
    )
