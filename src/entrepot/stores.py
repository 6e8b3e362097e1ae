"""The way in: from an address to a store, and from two addresses to a copy.

An address is a local path, a URI (`s3://bucket/key`, `memory://name`, `file:///path`), or `NAME:path` in a configured
store, `default:` being the local one that is always there. `./a:b` is a local path, and so is anything that is a
`pathlib.Path`; `~` is left as it is. A pair `(store, path)` is an address, too, in a store that is open already.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from anyio import to_thread

from entrepot.blocking import SyncArtifactStore
from entrepot.contract import BaseArtifactStore
from entrepot.errors import ConfigurationError
from entrepot.paths import StrPath, checked_key, path_text, scheme_of, split_uri
from entrepot.registry import DEFAULT_STORE, StoreEntry, find_store, flavor_of_scheme, named_store

if TYPE_CHECKING:
    pass

Address: TypeAlias = "StrPath | tuple[BaseArtifactStore | SyncArtifactStore, StrPath]"
"""Where something is: a path, a URI, `NAME:path`, or a path in an open store."""

# Two characters at least, so that C:\x is a path.
_NAMED: Final = re.compile(r"([A-Za-z0-9_.-]{2,}):(?!//)", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{2,}", re.ASCII)


# ---- stores ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_store(uri_or_name: StrPath, **config: Any) -> AsyncGenerator[BaseArtifactStore, None]:
    """A store for the length of an `async with`; see `make_store` for what it is given.

        async with open_store("s3://bucket/artifacts", region="eu-central-1") as store:
            await store.write_bytes("a", b"1")

    Cost: no request.
    """
    # In a thread: the first use of a flavor imports it, the first use of `default` waits for a lock.
    store = await to_thread.run_sync(partial(make_store, uri_or_name, **config))
    async with store:
        yield store


@contextmanager
def open_store_sync(uri_or_name: StrPath, **config: Any) -> Generator[SyncArtifactStore, None, None]:
    """As `open_store`, for blocking code."""
    with SyncArtifactStore(make_store(uri_or_name, **config)) as store:
        yield store


def make_store(uri_or_name: StrPath, **config: Any) -> BaseArtifactStore:
    """A store rooted at a URI or a local directory, or the configured one of that name (`default`, `NAME:below`).

    config: the flavor's own keys; they go before what is configured for a name. A directory that is called as a
    configured store is written `./NAME`.
    Cost: no request; a name reads the configuration file.
    Raises: ConfigurationError for an unknown scheme, name or key, or a flavor that is not installed; InvalidPath.
    """
    text = address_text(uri_or_name)
    if isinstance(uri_or_name, os.PathLike):
        return _rooted(text, config)
    if (named := configured(text)) is not None:
        entry, below = named
        return entry.make(below=checked_key(below, uri=text), **config)
    if _NAME.fullmatch(text) and (text == DEFAULT_STORE or not os.path.isdir(text)):
        found = find_store(text)
        if found is not None:
            return found.make(**config)
    return _rooted(text, config)


def locate(address: Address, *, as_directory: bool, **config: Any) -> tuple[BaseArtifactStore, str]:
    """The store of an address, and the path in it.

    An object store is rooted at its container, the path is the key. A local directory is a store of its own, with
    an empty path; a local file is a path in the store of its directory. A configured store is as configured.
    as_directory: whether a local path that is not there yet stands for a directory.
    config: keys of the flavor; not for an open store.

    Cost: no request, but a look at the local path. The caller closes the store.
    Raises: as `make_store`; ConfigurationError for a NAME that is not configured and no local file either.
    """
    if isinstance(address, tuple):
        if config:
            raise ConfigurationError("an open store has its configuration already")
        store, path = address
        return store.store if isinstance(store, SyncArtifactStore) else store, path_text(path)
    text = address_text(address)
    if not isinstance(address, os.PathLike):
        if (named := configured(text)) is not None:
            entry, path = named
            return entry.make(**config), path
        if scheme_of(text) not in (None, "file"):
            _, container, key = split_uri(text)
            return _rooted(text[: len(text) - len(key)] if container else text, config), key
    return _locate_locally(text, as_directory, config)


def _locate_locally(text: str, as_directory: bool, config: Mapping[str, Any]) -> tuple[BaseArtifactStore, str]:
    scheme = "file://" if scheme_of(text) == "file" else ""
    path = text[len(scheme) :]
    name = os.path.basename(path)
    if as_directory or name in ("", ".", "..") or os.path.isdir(path):
        return _rooted(text, config), ""
    if os.path.islink(path):
        # A store follows no link below its root; one that the user named is as good as what it leads to.
        path = os.path.realpath(path)
        name = os.path.basename(path)
    return _rooted(f"{scheme}{os.path.dirname(path) or os.curdir}", config), name


def _rooted(address: str, config: Mapping[str, Any]) -> BaseArtifactStore:
    return flavor_of_scheme(scheme_of(address) or "").load()(address, **config)


def address_text(address: StrPath) -> str:
    """An address as text. Raises: ConfigurationError for an empty one."""
    text = path_text(address)
    if not text:
        raise ConfigurationError("an address is empty; give a path, a URI, or NAME:path")
    return text


def configured(text: str) -> tuple[StoreEntry, str] | None:
    """The store and path that `NAME:path` names, None for anything else; a local file of that very name is a file.

    Raises ConfigurationError for a name that is not known.
    """
    found = _NAMED.match(text)
    if found is None:
        return None
    entry = find_store(found[1])
    if entry is None:
        if os.path.lexists(text):
            return None
        entry = named_store(found[1])
    return entry, text[found.end() :]
