"""Copying and moving objects on the service's side, and removing whole trees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import anyio

from entrepot.errors import (
    AlreadyExists,
    ChecksumMismatch,
    Conflict,
    NotFound,
    PartialFailure,
    PermissionDenied,
    PreconditionFailed,
    ServiceError,
    StoreError,
)
from entrepot.models import DeleteFailure, ListPage, ObjectStat, WriteOptions
from entrepot.objects.client import CHANGED, NO_ETAGS, ObjectClient
from entrepot.objects.listing import Listing
from entrepot.objects.uploads import ABORT_S, copy_in_parts
from entrepot.objects.waves import REQUESTS, wave
from entrepot.paths import printable

_KINDS: Final[Mapping[str, type[StoreError]]] = {"AccessDenied": PermissionDenied, CHANGED: PreconditionFailed}
_MAX_PASSES: Final = 10
"""How often a tree is listed and deleted, while others may be writing to it."""


async def copy_object(
    client: ObjectClient,
    key: str,
    source: ObjectClient,
    source_key: str,
    *,
    options: WriteOptions | None = None,
    seen: ObjectStat | None = None,
) -> ObjectStat:
    """Copy one object of any size on the service's side.

    options: None keeps the source's metadata and type; neither in them, too. seen: what a listing told of the
    source, to which the copy is pinned. Requests: those of `client.copy`, or a HEAD and parts above its limit.
    """
    etag = seen.etag if seen is not None else None
    if seen is None or seen.size_bytes <= client.limits.copy_max_bytes:
        try:
            return await client.copy(source, source_key, key, options, source_etag=etag)
        except (NotFound, AlreadyExists, PreconditionFailed, PermissionDenied):
            raise
        except StoreError:
            # Without a look before, the size may be what was wrong.
            if seen is not None or (await source.head(source_key)).size_bytes <= client.limits.copy_max_bytes:
                raise
    found = await source.head(source_key)
    if etag is not None and found.etag is not None and found.etag != etag:
        raise PreconditionFailed("the source changed", operation="copy", uri=source.uri(source_key))
    kept = options or WriteOptions()
    if not kept.describes:
        kept = replace(kept, metadata=found.metadata, content_type=found.content_type)
    return await copy_in_parts(client, key, source, found, kept)


async def delete_keys(
    client: ObjectClient, keys: Sequence[str], etags: Mapping[str, str] = NO_ETAGS
) -> list[StoreError]:
    """Delete in batches, several at once; one error a key that stayed. etags: as for `ObjectClient.delete_many`."""
    size = client.limits.delete_batch
    batches = [keys[start : start + size] for start in range(0, len(keys), size)]
    calls: list[Callable[[], Awaitable[list[DeleteFailure]]]] = [
        partial(client.delete_many, batch, etags={key: etags[key] for key in batch if key in etags})
        if etags
        else partial(client.delete_many, batch)
        for batch in batches
    ]
    failures: list[StoreError] = []
    for at in range(0, len(calls), REQUESTS):
        for failed in await wave(calls[at : at + REQUESTS]):
            failures += [_failure(client, one) for one in failed]
    return failures


def _failure(client: ObjectClient, failed: DeleteFailure) -> StoreError:
    kind = _KINDS.get(failed.code, ServiceError)
    message = f"{failed.code}: {failed.message}" if failed.message else failed.code
    return kind(printable(message), operation="delete", uri=printable(client.uri(failed.key)))


async def remove_tree(listing: Listing, path: str, operation: str) -> bool:
    """Delete every key in a directory; False where there was none. Raises PartialFailure for keys that stayed.

    Requests: for 1,000 keys a listing, which runs beside the deletes of the page before, and a batch of deletes; one
    listing more at the end, because services with real directories keep those that were not empty at first.
    """
    prefix = listing.prefix_of(path)
    before = _Removal()
    for number in range(_MAX_PASSES):
        done = await _removal_pass(listing, prefix, markers_singly=number > 0)
        if not done.listed:
            if number > 0 and listing.client.directories_may_outlive_files:
                await _remove_hollow(listing, prefix)
            return number > 0
        # What was listed twice alike after deletes that were answered well is kept by the service.
        if len(done.failures) == done.listed or (number > 1 and done.same_keys(before)):
            before = done
            break
        before = done
    failures = before.failures or [
        ServiceError("the service answers that it is removed, and lists it still", operation="delete", uri=uri)
        for uri in (printable(listing.client.uri(before.first)), printable(listing.client.uri(before.last)))
    ]
    raise PartialFailure(
        f"{before.listed:,} of the keys could not be removed; the first: {failures[0].message}",
        operation=operation,
        uri=printable(listing.uri_of(path)),
        failures=failures,
    )


@dataclass(slots=True)
class _Removal:
    """What one pass over a tree listed, and what of it stayed."""

    listed: int = 0
    first: str = ""
    last: str = ""
    failures: list[StoreError] = field(default_factory=list)

    def same_keys(self, other: _Removal) -> bool:
        return (self.listed, self.first, self.last) == (other.listed, other.first, other.last)


async def _removal_pass(listing: Listing, prefix: str, *, markers_singly: bool) -> _Removal:
    """Delete what one listing tells.

    markers_singly: some services answer well to the marker of a directory in a batch, and keep it.
    """
    done = _Removal()
    following: list[ListPage] = []
    async with aclosing(listing.pages(prefix)) as pages:

        async def fetch() -> None:
            async for page in pages:
                following.append(page)
                return

        async def delete(keys: list[str]) -> None:
            markers = [key for key in keys if key.endswith("/")] if markers_singly else []
            done.failures += await delete_keys(
                listing.client, keys if not markers else [key for key in keys if not key.endswith("/")]
            )
            # One after another: the last one in a directory may end those above it.
            for marker in markers:
                await listing.client.delete(marker)

        await fetch()
        while following:
            # In reverse order, what is in a directory goes before its marker.
            keys = [found.key for found in reversed(following.pop().objects)]
            if keys:
                done.listed += len(keys)
                done.first, done.last = done.first or keys[-1], keys[0]
            steps: list[Callable[[], Awaitable[None]]] = [fetch, partial(delete, keys)]
            await wave(steps)
    return done


async def move_tree(listing: Listing, source: str, target: str, *, fresh: bool) -> None:
    """Copy every key of a directory to one that holds nothing, verify, then delete what was copied.

    fresh: the target is not there yet; else it is an empty directory. A failure before the deletes keeps the source
    whole, and the target as it was. What another writer replaced meanwhile stays, where the service keeps conditions on
    deletes. Requests: a copy for each key, and for each 1,000 keys three listings and a batch of deletes.
    Memory: some 300 bytes a key.
    """
    client = listing.client
    from_prefix, to_prefix = listing.prefix_of(source), listing.prefix_of(target)
    copied: dict[str, int] = {}
    etags: dict[str, str] = {}
    try:
        async with aclosing(listing.pages(from_prefix)) as pages:
            async for page in pages:
                for start in range(0, len(page.objects), REQUESTS):
                    group = page.objects[start : start + REQUESTS]
                    copied.update({found.key[len(from_prefix) :]: found.size_bytes for found in group})
                    if client.capabilities.conditional_delete:  # a marker is the same, whoever wrote it
                        etags.update({one.key: one.etag for one in group if one.etag and one.key[-1:] != "/"})
                    await wave(
                        [partial(_copy_below, client, to_prefix + one.key[len(from_prefix) :], one) for one in group]
                    )
        await _verify_copies(listing, target, copied)
    except BaseException:
        with anyio.move_on_after(ABORT_S, shield=True):
            await delete_keys(client, [to_prefix + name for name in reversed(copied) if name or fresh])
        raise
    stayed = await delete_keys(client, [from_prefix + name for name in reversed(copied)], etags)
    await remove_markers(listing, from_prefix)
    if stayed:
        raise PartialFailure(
            f"the tree is copied, but {len(stayed):,} keys could not be removed; the first: {stayed[0].message}",
            operation="rename",
            uri=printable(listing.uri_of(source)),
            failures=stayed,
        )


async def _copy_below(client: ObjectClient, key: str, found: ObjectStat) -> None:
    """Copy one key of a tree. A marker is made anew: services with real directories cannot copy one."""
    if found.size_bytes or not key.endswith("/"):
        await copy_object(client, key, client, found.key, seen=found)
        return
    try:
        await client.put(key, b"")
    except (Conflict, AlreadyExists):
        return  # the directory is there already


async def remove_markers(listing: Listing, prefix: str) -> None:
    """Remove the directories that a service keeps after their files are gone; nothing else. Requests: a listing."""
    markers: list[str] = []
    async with aclosing(listing.pages(prefix)) as pages:
        async for page in pages:
            markers += [found.key for found in page.objects if found.key.endswith("/") and not found.size_bytes]
    for marker in reversed(markers):
        await listing.client.delete(marker)
    if listing.client.directories_may_outlive_files:
        await _remove_hollow(listing, prefix)


async def _remove_hollow(listing: Listing, prefix: str) -> None:
    """Remove directories that are still listed although no key is in them. Requests: 1, and 2 for each of them.

    A batch of deletes leaves them on services that have directories; a single delete of a directory's name ends it
    while it is empty, and is no error where it is not there.
    """
    client = listing.client
    found = [prefix]
    for above in found:  # grows while it is walked: what is deeper comes later
        async with aclosing(listing.pages(above, delimiter="/")) as pages:
            async for page in pages:
                if any(one.key != above for one in page.objects):
                    return  # somebody writes here again
                found += page.prefixes
    for hollow in reversed(found):
        if hollow and hollow != listing.prefix_of(""):
            await client.delete(hollow)


async def _verify_copies(listing: Listing, target: str, copied: dict[str, int]) -> None:
    """Raise ChecksumMismatch unless each copy is there with its size."""
    prefix = listing.prefix_of(target)
    matching = 0
    async with aclosing(listing.pages(prefix)) as pages:
        async for page in pages:
            for found in page.objects:
                name = found.key[len(prefix) :]
                matching += copied.get(name) == found.size_bytes and not name.endswith("/")
    # Markers hold nothing, and services with real directories do not list those of directories with files.
    files = sum(not name.endswith("/") for name in copied)
    if matching != files:
        raise ChecksumMismatch(
            f"{files - matching:,} of {files:,} copies are not what was copied; the source is kept",
            operation="rename",
            uri=printable(listing.uri_of(target)),
        )
