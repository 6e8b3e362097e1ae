"""Paths of the local store: the root, and what lies below it."""

from __future__ import annotations

import os
import re
from typing import Final

from entrepot.errors import InvalidPath, PathOutsideStore
from entrepot.paths import StrPath, checked_key, path_text, printable, scheme_of

_FILE_SCHEME: Final = "file://"
_REFUSED_ON_WINDOWS: Final = re.compile(r'[\\:<>"|?*]')
_DEVICES_OF_WINDOWS: Final = frozenset(
    {
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³"),
    }
)


def plain_path(address: str) -> str:
    """The path that an address names; `file://` is taken off, and nothing is decoded.

    Raises InvalidPath for a `file://` address with a host, or a relative one.
    """
    if scheme_of(address) != "file":
        return address
    path = address[len(_FILE_SCHEME) :]
    if os.name == "nt" and re.match(r"/[A-Za-z]:", path):
        path = path[1:]
    if not os.path.isabs(path):
        raise InvalidPath("a file:// address is file:// and an absolute path: file:///a/b", uri=printable(address))
    return path


def absolute_root(address: str) -> str:
    """The root that a configured path names, absolute. Raises InvalidPath."""
    path = plain_path(address)
    if not path or "\x00" in path:
        raise InvalidPath("name the directory that the artifacts are kept in", uri=printable(address))
    return os.path.abspath(path)


def key_below(root: str, path: StrPath, *, operation: str = "") -> str:
    """The key that a relative path, an absolute one below the root, or its `file://` address names.

    Raises InvalidPath, PathOutsideStore. Cost: no I/O.
    """
    if type(path) is str and os.sep == "/" and path.startswith(root) and path.startswith("/", len(root)):
        return checked_key(path[len(root) + 1 :], operation=operation, uri=path)  # the common case, for bulk work
    text = path_text(path)
    scheme = scheme_of(text)
    plain = plain_path(text)
    below = _below(root, plain) if os.path.isabs(plain) else plain
    if below is None or scheme not in (None, "file"):
        raise PathOutsideStore(
            f"not below this store's root {printable(root)}; open a store there",
            operation=operation,
            uri=printable(text),
        )
    key = checked_key(below, operation=operation, uri=text)
    if os.name == "nt" and (reason := windows_refusal(key)):
        raise InvalidPath(reason, operation=operation, uri=printable(text))
    return key


def _below(root: str, path: str) -> str | None:
    """The rest of an absolute path below the root, with `/` between names; None where it is not below."""
    prefix = os.path.join(root, "")
    if os.path.normcase(path) == os.path.normcase(root):
        return ""
    if not os.path.normcase(path).startswith(os.path.normcase(prefix)):
        return None
    rest = path[len(prefix) :]
    return rest.replace(os.sep, "/") if os.sep != "/" else rest


def windows_refusal(key: str) -> str | None:
    """Why Windows would not keep this key as it is, or None if it would."""
    for segment in key.split("/") if key else ():
        if found := _REFUSED_ON_WINDOWS.search(segment):
            return f"Windows allows no {found[0]!r} in a name"
        if segment.endswith((".", " ")):
            return "Windows drops dots and spaces at the end of a name"
        if segment.partition(".")[0].rstrip(" ").lower() in _DEVICES_OF_WINDOWS:
            return f"Windows reserves the name {segment!r} for a device"
    return None
