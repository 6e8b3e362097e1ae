"""Pages of List Blobs: what the compiled pattern reads is what the XML parser reads."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.errors import StoreError
from entrepot.flavors.azure import listings
from entrepot.services.faults import Unreadable

ROW = (
    "<Blob><Name>{name}</Name>{version}<Properties><Creation-Time>Wed, 25 Nov 2026 03:00:00 GMT</Creation-Time>"
    "<Last-Modified>Wed, 25 Nov 2026 03:00:00 GMT</Last-Modified><Etag>0x8DB5C1C1C1C1C10</Etag>"
    "<Content-Length>{size}</Content-Length><Content-Type>{kind}</Content-Type><Content-Encoding />"
    "<Content-MD5>1B2M2Y8AsgTpgAmY7PhCfg==</Content-MD5><Cache-Control/><BlobType>BlockBlob</BlobType></Properties>"
    "{metadata}</Blob>"
)


def page_of(rows: list[str], *, prefixes: list[str] = [], marker: str = "", head: str = "") -> bytes:  # noqa: B006
    told = "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in prefixes)
    following = f"<NextMarker>{escape(marker)}</NextMarker>" if marker else "<NextMarker />"
    return (
        f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://a/" ContainerName="c">'
        f"{head}<Blobs>{''.join(rows)}{told}</Blobs>{following}</EnumerationResults>"
    ).encode(errors="surrogatepass")


def row(name: str, size: int = 1, kind: str = "text/plain", metadata: str = "", version: str = "") -> str:
    return ROW.format(name=escape(name), size=size, kind=escape(kind), metadata=metadata, version=version)


def values(page: listings.Page) -> tuple[Any, ...]:
    return page.root, page.told.get("NextMarker", ""), page.prefixes, page.blobs


def test_a_page_as_the_services_write_it_needs_no_parser() -> None:
    body = page_of(
        [
            row("a/b é \U0001f600", version="<VersionId>v1</VersionId><IsCurrentVersion>true</IsCurrentVersion>"),
            row("c", metadata="<Metadata><Mtime>1.5</Mtime><empty></empty></Metadata><OrMetadata />"),
            row("d", metadata="<Metadata />"),
        ],
        prefixes=["p/", "q/"],
        marker="next!",
        head="<Prefix>a</Prefix><Marker /><MaxResults>5000</MaxResults><Delimiter>/</Delimiter>",
    )
    plain = listings._plain_page(body)
    assert plain is not None
    assert values(plain) == values(listings._parsed_page(body))
    assert plain.blobs[0][0]["VersionId"] == "v1"
    assert plain.blobs[1][1] == [("mtime", "1.5"), ("empty", "")]


def test_what_needs_a_parser_gets_one() -> None:
    for name in ("a&b", "a\rb", "a\nb"):
        body = page_of([row(name)])
        assert listings._plain_page(body) is None
    encoded = page_of([row("x")]).replace(b"<Name>x<", b'<Name Encoded="true">a%20b%0A<')
    assert listings._plain_page(encoded) is None
    assert listings.read_page(encoded).blobs[0][0]["Name"] == "a b\n"
    assert listings.read_page(page_of([row("a&b<")])).blobs[0][0]["Name"] == "a&b<"


_TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8)
_METADATA = st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), _TEXT, max_size=2)


def _metadata(pairs: dict[str, str]) -> str:
    return "<Metadata>" + "".join(f"<{name}>{escape(value)}</{name}>" for name, value in pairs.items()) + "</Metadata>"


_ROWS = st.lists(
    st.builds(
        lambda name, size, kind, pairs: row(name, size, kind, _metadata(pairs) if pairs else ""),
        st.text(alphabet="ab/&<é\U0001f600 \t", min_size=1, max_size=6),
        st.integers(0, 2**40),
        _TEXT,
        _METADATA,
    ),
    max_size=4,
)


@given(_ROWS, st.lists(st.text(alphabet="pq&/", min_size=1), max_size=2), st.sampled_from(["", "m!", "a&b"]))
@settings(max_examples=150, deadline=None)
def test_both_ways_of_reading_tell_the_same(rows: list[str], prefixes: list[str], marker: str) -> None:
    body = page_of(rows, prefixes=prefixes, marker=marker)
    plain = listings._plain_page(body)
    if b"&" not in body and b"\t" not in body:
        assert plain is not None
    if plain is not None:
        assert values(plain) == values(listings._parsed_page(body))


@given(_ROWS, st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_page_is_never_read_otherwise_than_by_the_parser(rows: list[str], data: st.DataObject) -> None:
    body = bytearray(page_of([row("a/x", metadata="<Metadata><m>1</m></Metadata>"), *rows]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "double"]))
        if kind == "change":
            body[at] = data.draw(st.sampled_from(list(b"<>/&abN \x00\xff")))
        elif kind == "cut":
            del body[at : at + data.draw(st.integers(1, 30))]
        else:
            body[at:at] = body[at : at + data.draw(st.integers(1, 30))]
        if not body:
            return
    plain = listings._plain_page(bytes(body))
    if plain is None:
        return
    try:
        parsed = listings._parsed_page(bytes(body))
    except (Unreadable, StoreError, KeyError):
        raise AssertionError("read without a parser, which refuses it") from None
    assert values(plain) == values(parsed)
