"""`cat`, `stat`, `mkdir`, `rm`: single files and directories."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Final

import typer

from entrepot.cli.failures import DONE, FAILED, WRONG_USE, WrongUse, item_failures
from entrepot.cli.options import Addresses, DryRun
from entrepot.cli.render import counted, human_size, stat_lines, stat_value
from entrepot.cli.session import STREAM, Place, Session, is_named
from entrepot.errors import AlreadyExists, NotFound, StoreError
from entrepot.models import MIB
from entrepot.rates import Rate

_CHUNK_BYTES: Final = MIB


async def cat(
    session: Session,
    addresses: Addresses,
    version: Annotated[
        str | None, typer.Option("--version", metavar="ID", help="An older version, as `versions` lists it.")
    ] = None,
) -> int:
    """Write files to standard output, byte for byte."""
    if version is not None and len(addresses) != 1:
        raise WrongUse("--version is of one file; give one address")
    await session.expect_connection(addresses)

    async def show(place: Place) -> None:
        if version is not None:
            await session.output.write(await place.store.read_version(place.path, version))
        else:
            await stream_out(session, place)

    return await for_each(session, addresses, show)


async def stream_out(session: Session, place: Place, flow: Rate | None = None) -> int:
    """One file to standard output, a mebibyte at a time; returns its size in bytes. flow: of its bytes, if bounded."""
    size_bytes = 0
    async with place.store.open(place.path, "rb") as file:
        while chunk := await file.read(_CHUNK_BYTES):
            if flow is not None:
                await flow.take(len(chunk))
            size_bytes += len(chunk)
            await session.output.write(chunk)
    return size_bytes


async def stat(session: Session, addresses: Addresses) -> int:
    """Show what is known of files and directories.

    --json: uri, type, and where known size_bytes, modified, etag, version, content_type, metadata, checksums, mode.
    """
    await session.expect_connection(addresses)
    shown = 0

    async def show(place: Place) -> None:
        nonlocal shown
        found = await place.store.stat(place.path)
        if session.output.as_json:
            session.output.value(stat_value(found))
        else:
            for line in [""] * (shown > 0) + stat_lines(found):
                session.output.line(line)
        shown += 1

    return await for_each(session, addresses, show)


async def mkdir(
    session: Session,
    addresses: Addresses,
    parents: Annotated[
        bool, typer.Option("--parents", "-p", help="Make parents too; what exists already is fine.")
    ] = False,
    dry_run: DryRun = False,
) -> int:
    """Make directories.

    A service without empty directories keeps nothing until a file is written below. --json: uri and made, false
    where nothing was to be done or --dry-run was given.
    """
    await session.expect_connection(addresses)

    async def make(place: Place) -> None:
        exists = await place.store.isdir(place.path)
        if exists and not parents:
            raise AlreadyExists("a directory is there already; add -p if that is fine", uri=place.uri)
        if not parents:
            _check_parent(place)
        if not dry_run:
            await (place.store.makedirs(place.path) if parents else place.store.mkdir(place.path))
        if session.output.as_json:
            session.output.value({"uri": place.uri, "made": not exists and not dry_run})
        elif dry_run and not exists:
            session.output.line(f"would make {place.shown}")
        if not dry_run and not exists and place.store.capabilities.empty_directories is False:
            session.output.note(f"mkdir {place.shown}: this service keeps no empty directories; nothing was written")

    return await for_each(session, addresses, make)


def _check_parent(place: Place) -> None:
    """A local path is a store of its own, whose root is made as needed: strictness has to look itself."""
    if place.store.is_local and not is_named(place.shown) and not os.path.isdir(place.store.path):
        raise NotFound("the parent is not there; add -p to make it, too", uri=place.uri)


async def rm(
    session: Session,
    addresses: Addresses,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Remove directories with all that is below them.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Agree to empty a whole store or bucket (with -r).")
    ] = False,
    dry_run: DryRun = False,
) -> int:
    """Remove files, and directories with -r. There is no way back.

    Of a symbolic link, the link itself is removed, never what it leads to.

    --json: one object an address: address, files, size_bytes, dry_run; with --dry-run also one object a file (uri).
    """
    await session.expect_connection(addresses)
    removed = removed_bytes = 0

    async def remove(place: Place) -> None:
        nonlocal removed, removed_bytes
        files, size_bytes = await _remove(session, place, recursive=recursive, everything=everything, dry_run=dry_run)
        removed, removed_bytes = removed + files, removed_bytes + size_bytes
        if session.output.as_json:
            fields = {"files": files, "size_bytes": size_bytes, "dry_run": dry_run}
            session.output.value({"address": place.shown, **fields})

    code = await for_each(session, addresses, remove, in_parent=True)
    if not session.output.as_json and (removed or code == DONE):
        verb = "would remove" if dry_run else "removed"
        session.output.line(f"{verb} {counted(removed, 'file')}, {human_size(removed_bytes)}")
    return code


async def _remove(
    session: Session, place: Place, *, recursive: bool, everything: bool, dry_run: bool
) -> tuple[int, int]:
    """Remove one file or tree; returns how many files it had, and their bytes."""
    if os.path.basename(place.shown.rstrip("/")) in {".", ".."}:
        raise WrongUse("this is a directory that somebody works in; name it to remove it", place.shown)
    if _is_link(place):
        if dry_run:
            _show_removal(session, place, place.uri)
        else:
            await place.store.remove(place.path)
        return 1, 0
    if recursive and not everything and is_whole_store(place):
        raise WrongUse("this is a whole store or bucket; add --all to empty it", place.shown)
    found = await place.store.stat(place.path)
    if not found.is_dir:
        if dry_run:
            _show_removal(session, place, found.uri)
        else:
            await place.store.remove(place.path)
        return 1, found.size_bytes
    if not recursive:
        raise WrongUse("this is a directory; add -r to remove it with all that is below", place.shown)
    files = size_bytes = 0
    async with aclosing(place.store.scan(place.path)) as entries:
        async for entry in entries:
            files += not entry.is_dir
            size_bytes += entry.size_bytes
            if dry_run:
                _show_removal(session, place, entry.uri + "/" * entry.is_dir)
                await session.output.drain()
    if not dry_run:
        await place.store.rmtree(place.path, allow_root=everything)
    return files, size_bytes


def _is_link(place: Place) -> bool:
    return place.store.is_local and bool(place.path) and os.path.islink(place.uri)


def is_whole_store(place: Place) -> bool:
    """Whether removing this place would empty a bucket, a configured store, the disk, or the user's home."""
    if place.store.is_local and not is_named(place.shown):
        path = os.path.realpath(place.uri)
        return path in {os.path.realpath(os.path.expanduser("~")), os.path.dirname(path)}
    return not place.path.strip("/")


def _show_removal(session: Session, place: Place, uri: str) -> None:
    if session.output.as_json:
        session.output.value({"uri": uri})
    else:
        relative = place.relative(uri)
        session.output.line(f"would remove {place.child(relative) if relative else place.shown}")


async def for_each(
    session: Session, addresses: list[str], work: Callable[[Place], Awaitable[None]], *, in_parent: bool = False
) -> int:
    """The work on each address in turn; one that fails does not keep the others from being done."""
    if STREAM in addresses:
        raise WrongUse("standard input is read by `entrepot cp - TARGET` only")
    for at, address in enumerate(addresses, 1):
        try:
            await work(await session.place(address, in_parent=in_parent))
        except (StoreError, WrongUse) as error:
            for one in item_failures(error):
                session.report(one, address)
            session.report(error, address)
            if session.give_up(error, [(one,) for one in addresses[at:]]):
                break
        await session.output.drain()
    codes = {failure.exit_code for failure in session.failures}
    return WRONG_USE if WRONG_USE in codes else FAILED if codes else DONE
