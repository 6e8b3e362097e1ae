"""What a path may be, how it relates to a root, and how it is shown."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import InvalidPath, PathOutsideStore
from entrepot.paths import (
    MAX_KEY_BYTES,
    TEMPORARY_PREFIX,
    Root,
    checked_key,
    path_text,
    printable,
    refusal,
    scheme_of,
    split_uri,
)
from entrepot.testing.names import ODD_NAMES, REFUSED_PATHS, longest_key

ROOT = Root.parse("s3://bucket/art/store")

SEGMENTS = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=20)
KEYS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


# ---- text and scheme ------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_path", ["a/é", "a/é".encode(), PurePosixPath("a/é")])
def test_text_bytes_and_pathlike_are_one_path(given_path: str | bytes | PurePosixPath) -> None:
    assert path_text(given_path) == "a/é"


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(InvalidPath):
        path_text(b"\xff")


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("s3://b/k", "s3"),
        ("S3://b/k", "s3"),
        ("a+b-c.d://x", "a+b-c.d"),
        ("plain/path", None),
        ("/absolute", None),
        ("s3:/b", None),
        ("s3:b", None),
        ("1s3://b", None),
        ("é://b", None),
        ("a/s3://b", None),
        ("C:\\x", None),
        ("", None),
    ],
)
def test_a_scheme_is_what_stands_before_colon_slash_slash(address: str, scheme: str | None) -> None:
    assert scheme_of(address) == scheme


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://bucket/a/b", ("s3", "bucket", "a/b")),
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        ("s3://bucket//a", ("s3", "bucket", "/a")),
        ("s3://bucket/a?b=c#d%41", ("s3", "bucket", "a?b=c#d%41")),
        ("file:///a/b", ("file", "", "a/b")),
        ("memory://x/s3://y", ("memory", "x", "s3://y")),
    ],
)
def test_a_uri_is_split_literally(uri: str, parts: tuple[str, str, str]) -> None:
    assert split_uri(uri) == parts


def test_an_address_without_a_scheme_is_no_uri() -> None:
    with pytest.raises(InvalidPath):
        split_uri("bucket/key")


# ---- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", REFUSED_PATHS, ids=ascii)
def test_a_path_that_cannot_be_kept_is_refused_in_one_printable_line(path: str) -> None:
    with pytest.raises(InvalidPath) as caught:
        checked_key(path, operation="stat", uri=f"s3://bucket/{path}")
    assert str(caught.value).isprintable()
    with pytest.raises(InvalidPath):
        ROOT.relative(path)
    with pytest.raises(InvalidPath):
        ROOT.relative(f"{ROOT.uri}/{path}")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_other_name_is_kept_literally(name: str) -> None:
    assert checked_key(name) == name
    assert ROOT.relative(name) == name
    assert ROOT.relative(f"{ROOT.uri}/{name}/x") == f"{name}/x"


def test_a_key_is_at_most_1024_bytes() -> None:
    assert refusal("k" * MAX_KEY_BYTES) is None
    assert refusal("é" * (MAX_KEY_BYTES // 2)) is None
    assert "1,025" in str(refusal("k" * (MAX_KEY_BYTES + 1)))
    assert "1,026" in str(refusal("é" * (MAX_KEY_BYTES // 2 + 1)))


@pytest.mark.parametrize("prefix_bytes", range(40))
def test_the_longest_key_of_the_test_kit_is_as_long_as_allowed(prefix_bytes: int) -> None:
    key = longest_key(prefix_bytes)
    assert len(key) + prefix_bytes == MAX_KEY_BYTES
    assert refusal(key) is None


def test_the_prefix_of_temporaries_is_refused_in_every_segment_only_at_its_start() -> None:
    assert refusal(f"a/{TEMPORARY_PREFIX}x/b") is not None
    assert refusal(f"a{TEMPORARY_PREFIX}x") is None


@given(st.text(max_size=60))
def test_a_path_is_refused_or_unchanged(path: str) -> None:
    try:
        key = checked_key(path)
    except InvalidPath:
        return
    assert path in (key, key + "/")
    assert all(segment not in ("", ".", "..") for segment in key.split("/")) or key == ""
    assert len(key.encode()) <= MAX_KEY_BYTES


# ---- roots ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["s3://bucket/art/store", "s3://bucket/art/store/", "S3://bucket/art/store"])
def test_a_root_has_no_trailing_slash(uri: str) -> None:
    assert Root.parse(uri) == Root("s3", "bucket", "art/store")
    assert Root.parse(uri).uri == "s3://bucket/art/store"


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/"])
def test_a_root_may_be_a_whole_container(uri: str) -> None:
    root = Root.parse(uri)
    assert (root.uri, root.prefix, root.key("a/b"), root.key("")) == ("s3://bucket", "", "a/b", "")
    assert root.relative("s3://bucket/a/b") == "a/b"
    assert root.relative("s3://bucket") == ""
    assert root.relative("s3://bucket/") == ""


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///key", "bucket/key", "s3://buc\nket/x", "s3://bucket/a//b", "s3://b/.."]
)
def test_a_root_that_cannot_be_kept_is_refused(uri: str) -> None:
    with pytest.raises(InvalidPath):
        Root.parse(uri)


@pytest.mark.parametrize("path", ["", "s3://bucket/art/store", "s3://bucket/art/store/"])
def test_the_root_itself_is_the_empty_path(path: str) -> None:
    assert ROOT.relative(path) == ""
    assert ROOT.key("") == "art/store"


@pytest.mark.parametrize(
    "path",
    [
        "s3://bucket/art/storeEVIL",
        "s3://bucket/art/storeEVIL/x",
        "s3://bucket/art/stor",
        "s3://bucket/art",
        "s3://bucket",
        "s3://bucketEVIL/art/store/x",
        "s3://other/art/store/x",
        "gs://bucket/art/store/x",
        "file:///art/store/x",
    ],
)
def test_outside_the_root_is_decided_on_whole_segments_and_names_the_root(path: str) -> None:
    with pytest.raises(PathOutsideStore) as caught:
        ROOT.relative(path, operation="open")
    assert ROOT.uri in str(caught.value)
    assert caught.value.operation == "open"


@given(KEYS)
def test_a_key_comes_back_from_its_address(key: str) -> None:
    if refusal(key) is not None or scheme_of(key) is not None:
        return
    assert ROOT.relative(key) == key
    assert ROOT.relative(f"{ROOT.uri}/{key}") == key
    assert ROOT.relative(ROOT.uri_of_key(ROOT.key(key))) == key
    assert ROOT.relative(f"{key}/") == key


# ---- how it is shown --------------------------------------------------------------------------------------


@given(st.text(st.characters()))
def test_printable_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0x202A <= ord(char) <= 0x202E for char in shown)
    if text.isascii() and text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("\udcff", "\\udcff"), ("é😀", "é😀"), ("a\u202eb", "a\\u202eb")],
)
def test_what_is_escaped_is_still_readable(text: str, shown: str) -> None:
    assert printable(text) == shown
