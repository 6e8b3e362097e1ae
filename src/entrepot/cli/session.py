"""One command under way: its output, and the stores that its addresses name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from entrepot.cli.failures import Failure, WrongUse, failure_of
from entrepot.cli.options import Connection
from entrepot.cli.render import Output
from entrepot.contract import BaseArtifactStore
from entrepot.paths import scheme_of
from entrepot.stores import locate

STREAM = "-"
"""Standard input or output, where a command takes it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address leads. shown: as typed. path: relative to the store's root, empty for the root itself."""

    shown: str
    store: BaseArtifactStore
    path: str

    @property
    def uri(self) -> str:
        """The full address, without a trailing slash."""
        return f"{self.store.path.rstrip('/')}/{self.path}" if self.path else self.store.path

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
    name, colon, _ = address.partition(":")
    return bool(colon) and len(name) > 1 and not {"/", "\\"} & {*name} and scheme_of(address) is None


class Session:
    """What a command body works with; closes the stores that it opened."""

    def __init__(self, command: str, output: Output, connection: Connection) -> None:
        self.command, self.output = command, output
        self._configuration = connection.configuration()
        self._stores = AsyncExitStack()
        self.failures: list[Failure] = []

    async def __aenter__(self) -> Self:
        await self._stores.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stores.__aexit__(kind, error, trace)

    async def place(self, address: str, *, as_directory: bool = False) -> Place:
        """The store and path of an address; no request is made."""
        if not address:
            raise WrongUse("an address is empty; give a path, a URI, or NAME:path")
        configuration = self._configuration if scheme_of(address) == "s3" else {}
        store, path = locate(address, as_directory=as_directory, **configuration)
        await self._stores.enter_async_context(store)
        return Place(address, store, path)

    def expect_s3(self, addresses: Iterator[str] | list[str]) -> None:
        """Refuse options of the connection where no address is reached over one."""
        if self._configuration and not any(scheme_of(address) == "s3" for address in addresses):
            option = "--" + next(iter(self._configuration)).replace("_", "-")
            raise WrongUse(f"{option} is for s3:// addresses; leave it out")

    def report(self, error: BaseException, address: str) -> None:
        """Show the failure of one item, and remember it."""
        failure = failure_of(error, address)
        self.failures.append(failure)
        self.output.failure(failure, self.command)
        if self.output.as_json:
            self.output.value({"error": failure.to_json()})
