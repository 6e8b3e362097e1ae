"""The way in: from an address to a store, and from two addresses to a copy.

An address is a local path, a URI (`s3://bucket/key`, `memory://name`, `file:///path`), or `NAME:path` in a configured
store, `default:` being the local one that is always there. `./a:b` is a local path, and so is anything that is a
`pathlib.Path`; `~` is left as it is. A pair `(store, path)` is an address, too, in a store that is open already.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import fields
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from anyio import to_thread

from entrepot.blocking import SyncArtifactStore, blocking_function
from entrepot.contract import BaseArtifactStore
from entrepot.errors import ConfigurationError
from entrepot.models import MIB
from entrepot.paths import StrPath, checked_key, path_text, printable, scheme_of, split_uri
from entrepot.registry import DEFAULT_STORE, StoreEntry, find_store, flavor_of_scheme, named_store

if TYPE_CHECKING:
    from entrepot.transfer.engine import CopyReport
    from entrepot.transfer.events import Event
    from entrepot.transfer.plan import Durability, Links

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
    text = _address_text(uri_or_name)
    if isinstance(uri_or_name, os.PathLike):
        return _rooted(text, config)
    if (configured := _configured(text)) is not None:
        entry, below = configured
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
    text = _address_text(address)
    if not isinstance(address, os.PathLike):
        if (configured := _configured(text)) is not None:
            entry, path = configured
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


def _address_text(address: StrPath) -> str:
    text = path_text(address)
    if not text:
        raise ConfigurationError("an address is empty; give a path, a URI, or NAME:path")
    return text


def _configured(text: str) -> tuple[StoreEntry, str] | None:
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


# ---- copies ---------------------------------------------------------------------------------------------


async def copy(
    src: Address | Sequence[Address],
    dst: Address | None = None,
    *,
    into: Address | None = None,
    recursive: bool = True,
    overwrite: bool = True,
    concurrency: int | None = None,
    memory_bytes: int = 128 * MIB,
    bandwidth_bytes_s: int | None = None,
    requests_per_second: float | None = None,
    dry_run: bool = False,
    verify: bool = True,
    durability: Durability | None = "none",
    links: Links = "skip",
    on_event: Callable[[Event], None] | None = None,
    src_config: Mapping[str, Any] | None = None,
    dst_config: Mapping[str, Any] | None = None,
) -> CopyReport:
    """Copy a file or a tree, from any store to any store.

        report = await copy("models/", "s3://bucket/models")
        report = await copy(["a.txt", "s3://bucket/logs"], into="backup")

    What lands where: the contents of a directory land below `dst` (`src/x` → `dst/x`); a file's copy is `dst` itself.
    Trailing slashes, and what exists at `dst`, change nothing. `into` is a directory: sources land below it by their
    names; several sources need it, and so does a file whose target has no name of its own (a bucket).
    Targets are overwritten, without a request to look; overwrite=False leaves those that exist and counts them.

    recursive: False refuses a directory. concurrency: requests in flight; None is as many as a service takes without
    asking for fewer. memory_bytes: bound of the content held at once. bandwidth_bytes_s: of content, counted once
    though it is read and written. requests_per_second: of all kinds, at both ends together.
    dry_run: plan and report, change nothing. verify: compare checksums where there are some; sizes always are.
    durability: of what is written to a disk: `none` is safe against a killed process, `batch` and `full` against a
    power cut as well; None is the store's own. links: what becomes of symbolic links in a local
    source: `skip` counts them, `follow` copies what they lead to, `preserve` makes the same links (local targets only).
    on_event: is called with what happens (`entrepot.transfer.events`), in the loop of the copy; it must not block.
    src_config, dst_config: keys of the flavors, as for `open_store`; two addresses in one container with equal keys
    share their connections. Stores that are given open stay open.

    Failures of single items are in the report, which is not `ok` then, and the copy goes on. Nothing of a failed or
    cancelled item is visible or left at the target. Several sources are copied one after another.
    Requests: a look at the source, its listing, and one read and one write a small file, or a part of a large one.
    Raises: NotFound; IsADirectory; InvalidPath (a target inside its own source); ConfigurationError; and what every
    further item would meet, too: missing credentials, a missing bucket, an unreachable endpoint, a full disk.
    """
    from entrepot.transfer.engine import CopyOptions, copy_between

    options = CopyOptions(
        recursive=recursive,
        overwrite=overwrite,
        concurrency=concurrency,
        memory_bytes=memory_bytes,
        bandwidth_bytes_s=bandwidth_bytes_s,
        requests_per_second=requests_per_second,
        dry_run=dry_run,
        verify=verify,
        durability=durability,
        links=links,
    )
    sources, target = _sources(src), _target(src, dst, into)
    names = await to_thread.run_sync(_names_below, sources) if into is not None else [""]
    reports = []
    async with AsyncExitStack() as stack:
        opened = _Opened(stack)
        for source, name in zip(sources, names, strict=True):
            store, path = await opened.locate(source, src_config or {})
            sink, sink_path = await opened.locate(target, dst_config or {}, as_directory=into is not None)
            if name:
                sink_path = f"{sink_path.rstrip('/')}/{name}" if sink_path else name
            reports.append(await copy_between(store, path, sink, sink_path, options=options, on_event=on_event))
    return reports[0] if len(reports) == 1 else _combined(reports)


copy_sync = blocking_function(copy, name="copy_sync")


def _sources(src: Address | Sequence[Address]) -> list[Address]:
    if isinstance(src, (str, bytes, os.PathLike)) or _is_in_a_store(src):
        return [src]  # type: ignore[list-item]  # narrowed by the function
    return list(src)  # type: ignore[arg-type]


def _is_in_a_store(address: object) -> bool:
    return isinstance(address, tuple) and isinstance(address[0], (BaseArtifactStore, SyncArtifactStore))


def _target(src: Address | Sequence[Address], dst: Address | None, into: Address | None) -> Address:
    if (dst is None) == (into is None):
        raise ConfigurationError("a copy needs one target: dst, or into for a directory to land in", operation="copy")
    if dst is None:
        assert into is not None
        return into
    if len(_sources(src)) != 1:
        raise ConfigurationError("several sources need a directory to land in: into=DIR", operation="copy")
    return dst


def _names_below(sources: Sequence[Address]) -> list[str]:
    """By which name each source lands in a directory. Raises ConfigurationError for none, or the same one twice."""
    seen: dict[str, str] = {}
    for source in sources:
        shown, name = _shown(source), landing_name(source)
        if not name:
            raise ConfigurationError(
                "a whole store has no name to land by; give dst in place of into", operation="copy", uri=shown
            )
        if name in seen:
            raise ConfigurationError(
                f"it would land where {seen[name]} lands, as {name}; copy them one by one", operation="copy", uri=shown
            )
        seen[name] = shown
    return list(seen)


def landing_name(address: Address) -> str:
    """By which name an address lands in a directory (`into`): its last one; empty for the root of a store."""
    if isinstance(address, tuple):
        key = path_text(address[1])
    else:
        text = _address_text(address)
        local = isinstance(address, os.PathLike) or scheme_of(text) == "file"
        if local or (scheme_of(text) is None and _configured(text) is None):
            return os.path.basename(os.path.abspath(text.removeprefix("file://")))
        key = split_uri(text)[2] if scheme_of(text) else text.partition(":")[2]
    return key.rstrip("/").rpartition("/")[2]


def _shown(address: Address) -> str:
    if isinstance(address, tuple):
        return printable(f"{address[0].path}/{path_text(address[1])}")
    return printable(path_text(address))


class _Opened:
    """The stores of one copy: closed with it, and shared by addresses in one place."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._stores: list[tuple[BaseArtifactStore, Mapping[str, Any]]] = []

    async def locate(
        self, address: Address, config: Mapping[str, Any], *, as_directory: bool = False
    ) -> tuple[BaseArtifactStore, str]:
        if isinstance(address, tuple):
            return locate(address, as_directory=as_directory, **config)
        store, path = await to_thread.run_sync(partial(locate, address, as_directory=as_directory, **config))
        for other, its_config in self._stores:
            if (type(other), other.path, its_config) == (type(store), store.path, config) and not store.is_local:
                return other, path
        self._stores.append((store, config))
        await self._stack.enter_async_context(store)
        return store, path


def _combined(reports: Sequence[CopyReport]) -> CopyReport:
    """One report of several copies: numbers are added, lists joined."""
    from entrepot.transfer.report import CopyReport

    total: dict[str, Any] = {}
    for one in fields(CopyReport):
        values = [getattr(report, one.name) for report in reports]
        if isinstance(values[0], bool):
            total[one.name] = any(values)
        elif isinstance(values[0], Mapping):
            total[one.name] = MappingProxyType(dict(sum((Counter(value) for value in values), Counter())))
        elif isinstance(values[0], tuple):
            total[one.name] = tuple(item for value in values for item in value)
        else:
            total[one.name] = sum(values)
    return CopyReport(**total)
