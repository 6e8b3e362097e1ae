"""One command under way: its output, and the stores that its addresses name."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from anyio import to_thread

from entrepot.cli.failures import Failure, WrongUse, failure_of
from entrepot.cli.options import Connection
from entrepot.cli.render import Output
from entrepot.contract import BaseArtifactStore
from entrepot.errors import FATAL, ContainerNotFound, NoSpace, StoreError
from entrepot.paths import join, scheme_of
from entrepot.registry import flavor_of_scheme
from entrepot.stores import locate, make_store

STREAM: Final = "-"
"""Standard input or output, where a command takes it."""

_NAMED: Final = re.compile(r"[A-Za-z0-9_.-]{2,}:(?!//)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address leads. shown: as typed. path: relative to the store's root, empty for the root itself."""

    shown: str
    store: BaseArtifactStore
    path: str

    @property
    def uri(self) -> str:
        """The full address, without a trailing slash."""
        return join(self.store.path, self.path)

    def relative(self, uri: str) -> str:
        """What follows this place's own address in the address of something below it."""
        return uri[len(self.uri) :].lstrip("/") if uri.startswith(self.uri) else uri

    def child(self, relative: str) -> str:
        """The address of something below, in the form that was typed."""
        return joined(self.shown, relative)


def joined(address: str, relative: str) -> str:
    """The address of something below another, as it is typed; `name:` and `.` need no slash and no dot."""
    if address == ".":
        return relative
    gap = "" if address.endswith("/") or (address.endswith(":") and is_named(address)) else "/"
    return f"{address}{gap}{relative}"


def is_named(address: str) -> bool:
    """Whether the address begins with the name of a configured store (`name:path`), as the registry reads it."""
    return _NAMED.match(address) is not None


def _link_at(address: str) -> str | None:
    """The local path that an address is, if a symbolic link is there."""
    if is_named(address) or scheme_of(address) not in (None, "file"):
        return None
    path = address.removeprefix("file://")
    return path if os.path.islink(path) else None


class Session:
    """What a command body works with; closes the stores that it opened."""

    def __init__(self, command: str, output: Output, connection: Connection) -> None:
        self.command, self.output = command, output
        self._configuration, self._options = connection.configuration()
        self._stores = AsyncExitStack()
        self._open: list[BaseArtifactStore] = []
        self._address = ""
        self.failures: list[Failure] = []
        self.kept_jobs: list[str] = []
        """Copies that were interrupted and can be gone on with."""

    def done(self, line: str, value: Mapping[str, Any], *, dry_run: bool) -> None:
        """Tell a change of the configuration, or what a dry run would have done. line: begins with a participle."""
        if self.output.as_json:
            self.output.value({**value, "dry_run": True} if dry_run else value)
        else:
            self.output.line(f"would have {line}" if dry_run else line)

    async def __aenter__(self) -> Self:
        await self._stores.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StoreError):
            error.uri = error.uri or self._address  # credentials, for one, are looked for without an address
        await self._stores.__aexit__(kind, error, trace)

    async def place(self, address: str, *, as_directory: bool = False, in_parent: bool = False) -> Place:
        """The store and path of an address; no request is made.

        in_parent: a local directory, or a symbolic link, is a path in its parent's store, so that it can go as a
        whole; else a directory is the root of its own, and a link is as good as what it leads to.
        """
        if not address:
            raise WrongUse("an address is empty; give a path, a URI, or NAME:path")
        self._address = address
        if in_parent and (link := await to_thread.run_sync(_link_at, address)) is not None:
            # What goes is the link itself, and not what it leads to.
            directory, name = os.path.split(link)
            return Place(address, await self._opened(make_store(Path(directory or os.curdir))), name)
        # In a thread: the first use of a flavor imports it, the first use of `default:` may wait for a lock.
        store, path = await to_thread.run_sync(
            partial(self._located, address, as_directory=as_directory), abandon_on_cancel=True
        )
        if in_parent and store.is_local and not path and not is_named(address):
            directory, name = os.path.split(store.path)
            if name:
                store, path = make_store(Path(directory)), name
        return Place(address, await self._opened(store), path.removesuffix("/"))

    async def store(self, address: str) -> BaseArtifactStore:
        """The store whose root an address names, or the configured one of that name; no request is made."""
        if not address:
            raise WrongUse("an address is empty; give a path, a URI, or NAME")
        self._address = address
        make = partial(self._made, address)
        return await self._opened(await to_thread.run_sync(make, abandon_on_cancel=True))

    def _made(self, address: str) -> BaseArtifactStore:
        return make_store(address, **self._given(address))

    @property
    def connection(self) -> dict[str, Any]:
        """The keys of configuration that the command line has given, secrets too."""
        return dict(self._configuration)

    def remember(self, connection: Mapping[str, Any]) -> None:
        """Take keys of an earlier command line, where this one has not given others."""
        self._configuration = {**connection, **self._configuration}

    def given(self, address: str, connection: Mapping[str, Any]) -> dict[str, Any]:
        """Of an earlier command line's keys and this one's, those that the flavor of an address takes."""
        values = {**connection, **self._configuration}
        scheme = scheme_of(address)
        known = _keys_of({scheme}) if values and scheme not in (None, "file") else frozenset()
        return {key: value for key, value in values.items() if key in known}

    def _given(self, address: str) -> dict[str, Any]:
        """Those options of the connection that the flavor of an address takes; a configured store has its own."""
        return self.given(address, {})

    def _located(self, address: str, *, as_directory: bool) -> tuple[BaseArtifactStore, str]:
        return locate(address, as_directory=as_directory, **self._given(address))

    async def _opened(self, store: BaseArtifactStore) -> BaseArtifactStore:
        """The store, or one at the same place that is open already, so that both share their connections."""
        if not store.is_local:
            for other in self._open:
                if (type(other), other.path, other.config) == (type(store), store.path, store.config):
                    return other
        self._open.append(await self._stores.enter_async_context(store))
        return store

    async def expect_connection(self, addresses: Iterable[str]) -> None:
        """Refuse options of the connection that the flavor of no address has a use for."""
        if not self._options:
            return
        schemes = {scheme for address in addresses if (scheme := scheme_of(address)) not in (None, "file")}
        known = await to_thread.run_sync(_keys_of, schemes, abandon_on_cancel=True)
        for key, option in self._options.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]}?" if near and option.startswith("--config") else "; leave it out"
                raise WrongUse(f"{option} is for none of these addresses{hint}")

    def give_up(self, error: BaseException, remaining: Sequence[Sequence[str]]) -> bool:
        """Whether all that remains would meet the same error; then it says so. remaining: each item's addresses."""
        if not remaining or not all(_would_meet(error, addresses) for addresses in remaining):
            return False
        number = len(remaining)
        self.output.note(f"{self.command}: {number:,} more {'was' if number == 1 else 'were'} not tried")
        return True

    def report(self, error: BaseException, address: str) -> None:
        """Show the failure of one item, and remember it."""
        failure = failure_of(error, address)
        self.failures.append(failure)
        self.output.failure(failure, self.command)
        if self.output.as_json:
            self.output.value({"error": failure.to_json()})


def _keys_of(schemes: Iterable[str | None]) -> frozenset[str]:
    """The configuration's keys of the flavors for these schemes; imports them."""
    return frozenset(key for one in schemes for key in flavor_of_scheme(one or "").load().configuration_keys())


def _would_meet(error: BaseException, addresses: Sequence[str]) -> bool:
    """Whether work on these addresses would end as the error before it did."""
    if isinstance(error, NoSpace):
        return True
    if isinstance(error, ContainerNotFound):
        container = "/".join(error.uri.split("/", 3)[:3])
        return any(f"{address}/".startswith(f"{container}/") for address in addresses)
    return isinstance(error, FATAL) and any(scheme_of(address) not in (None, "file") for address in addresses)
