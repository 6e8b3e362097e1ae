"""Addresses and paths: split, checked, and joined, without I/O.

URIs are literal: no percent-decoding, no query, no fragment. Nothing is normalised; what a store would not keep
unchanged is refused. The one validator of paths is here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Self, TypeAlias

from entrepot.errors import InvalidPath, PathOutsideStore

StrPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
"""What a user may pass as a path."""

TEMPORARY_PREFIX = ".~entrepot-"
"""How names of our own temporaries begin; hidden from every listing, refused as a key."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPECIAL_SEGMENTS = frozenset({"", ".", ".."})
MAX_KEY_BYTES = 1_024


def path_text(path: StrPath) -> str:
    """The path as text; bytes are UTF-8. Raises InvalidPath for other bytes."""
    text = os.fspath(path)
    if isinstance(text, bytes):
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise InvalidPath("a path given as bytes must be UTF-8", uri=repr(text)) from error
    return text


def scheme_of(address: str) -> str | None:
    """The scheme in lower case (`s3`), or None for a plain path."""
    found = _SCHEME.match(address)
    return found[1].lower() if found else None


def split_uri(uri: str) -> tuple[str, str, str]:
    """`s3://bucket/a/b` → (`s3`, `bucket`, `a/b`); the key is as written, not yet checked."""
    found = _SCHEME.match(uri)
    if not found:
        raise InvalidPath("an address needs a scheme, such as s3://bucket/key", uri=uri)
    container, _, key = uri[found.end() :].partition("/")
    return found[1].lower(), container, key


def join(root: str, path: str) -> str:
    """A path below a root: of a store's address, or of a directory in one; either may be empty."""
    if not root or not path:
        return root or path
    return f"{root}{path}" if root.endswith("/") else f"{root}/{path}"


def refusal(key: str) -> str | None:
    """Why no store may write this key, or None if it may; `key` has no leading or trailing slash of its own."""
    if _CONTROL.search(key):
        return "control characters are not allowed in a path"
    for segment in key.split("/"):
        if segment in _SPECIAL_SEGMENTS:
            what = f"a segment {segment!r}" if segment else "an empty segment (//, or a leading /)"
            return f"{what} is not allowed in a path; nothing is normalised, so write the path out"
        if segment.startswith(TEMPORARY_PREFIX):
            return f"names that begin with {TEMPORARY_PREFIX} are kept for temporaries"
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return "a path must be encodable as UTF-8"
    if len(encoded) > MAX_KEY_BYTES:
        return f"a key is at most {MAX_KEY_BYTES:,} bytes of UTF-8, this one has {len(encoded):,}"
    return None


def checked_key(path: str, *, operation: str = "", uri: str = "") -> str:
    """The path without its one optional trailing slash, if every store may keep it; `` is the root.

    Raises InvalidPath with the reason. Cost: no I/O.
    """
    key = path.removesuffix("/")
    if not key and not path:
        return ""
    reason = refusal(key)
    if reason is not None:
        raise InvalidPath(reason, operation=operation, uri=printable(uri or path))
    return key


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control, bidirectional and surrogate characters escaped, for terminals and messages."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


@dataclass(frozen=True, slots=True)
class Root:
    """Where an object store is rooted. prefix: the key of the root, without slashes at its ends, or empty."""

    scheme: str
    container: str
    prefix: str = ""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """The root that `s3://bucket/some/prefix` names; one trailing slash is ignored."""
        scheme, container, key = split_uri(uri)
        if not container:
            raise InvalidPath(f"name the container: {scheme}://CONTAINER/path", uri=uri)
        if _CONTROL.search(container):
            raise InvalidPath("control characters are not allowed in a container's name", uri=printable(uri))
        return cls(scheme, container, checked_key(key, uri=uri))

    @property
    def uri(self) -> str:
        """The address of the root, without a trailing slash."""
        return f"{self.scheme}://{self.container}/{self.prefix}" if self.prefix else f"{self.scheme}://{self.container}"

    def relative(self, path: StrPath, *, operation: str = "") -> str:
        """The path below the root that a relative path or a full URI names; `` is the root itself.

        Raises InvalidPath, PathOutsideStore. Cost: no I/O.
        """
        text = path_text(path)
        found = _SCHEME.match(text)
        if not found:
            return checked_key(text, operation=operation, uri=f"{self.uri}/{text}")
        scheme, container, key = split_uri(text)
        key = checked_key(key, operation=operation, uri=text)
        if scheme == self.scheme and container == self.container:
            if not self.prefix or key == self.prefix:
                return key[len(self.prefix) :]
            if key.startswith(self.prefix + "/"):
                return key[len(self.prefix) + 1 :]
        raise PathOutsideStore(
            f"not below this store's root {self.uri}; open a store there", operation=operation, uri=printable(text)
        )

    def key(self, relative: str) -> str:
        """The flat key of a path below the root; the root's own key is its prefix."""
        if not relative:
            return self.prefix
        return f"{self.prefix}/{relative}" if self.prefix else relative

    def uri_of_key(self, key: str) -> str:
        """The full address of a flat key of this container."""
        return f"{self.scheme}://{self.container}/{key}" if key else f"{self.scheme}://{self.container}"
