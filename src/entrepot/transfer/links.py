"""Symbolic links of a source, followed to what they lead to: deliberately, and never in a circle."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from entrepot.errors import StoreError, UnsupportedOperation
from entrepot.models import FileStat
from entrepot.transfer.ports import LinkedSource


@dataclass(frozen=True, slots=True)
class _Branch:
    """A directory to list. address: how the copy came to it. real: its path without links.

    way: the directories between the top and here, as pairs (where a listing began, where in it a link was).
    """

    address: str
    real: str
    way: tuple[tuple[str, str], ...] = ()

    def passed(self, directory: str, link_in: str) -> bool:
        """Whether the way to a link in `link_in` came through the directory: then following it would never end."""
        return any(
            _lies_in(directory, began) and _lies_in(left, directory)
            for began, left in (*self.way, (self.real, link_in))
        )


async def follow(
    disk: LinkedSource, top: FileStat, *, target: str | None
) -> AsyncGenerator[tuple[str, FileStat | StoreError], None]:
    """Everything below a directory, links followed: the address by which it was reached, and the file or directory.

    disk: reads everything by its real path. target: the real path that is copied to, where that is on this machine. A
    link is in its place what it leads to, wherever that is; one that leads to nothing, back to where it was reached
    from, or to the target of the copy, comes with the error that is its alone. A directory that several links lead to
    is told for each of them. Memory: the links to directories that were not listed yet.
    """
    pending = [_Branch(top.uri, (await disk.resolve(top.uri)).uri)]
    while pending:
        branch = pending.pop()
        async with aclosing(disk.scan(branch.real, links=True)) as entries:
            async for entry in entries:
                address = branch.address + entry.uri[len(branch.real.rstrip(os.sep)) :]
                if entry.link_target is None:
                    yield address, entry
                    continue
                found: FileStat | StoreError
                try:
                    found = await disk.resolve(entry.uri)
                    if found.is_dir:
                        pending.append(_beyond(branch, entry.uri, found.uri, address, target))
                except StoreError as error:
                    found = error
                yield address, found


def _beyond(branch: _Branch, link: str, directory: str, address: str, target: str | None) -> _Branch:
    """The directory that a link leads to. Raises UnsupportedOperation where the copy would never end."""
    link_in = os.path.dirname(link)
    if branch.passed(directory, link_in):
        reason = "the link leads back to a directory on the way to it, so it is not followed"
    elif target is not None and (_lies_in(target, directory) or _lies_in(directory, target)):
        reason = "the link leads to where the copy is written, so it is not followed"
    else:
        return _Branch(address, directory, (*branch.way, (branch.real, link_in)))
    raise UnsupportedOperation(reason, operation="copy", uri=link)


def _lies_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)
