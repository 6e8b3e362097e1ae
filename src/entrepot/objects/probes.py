"""What a service does with conditions, metadata and markers, found out by asking it once."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import anyio

from entrepot.errors import AlreadyExists, Conflict, NotFound, PreconditionFailed, StoreError, UnsupportedOperation
from entrepot.models import Capabilities, WriteOptions
from entrepot.objects.client import ObjectClient
from entrepot.objects.uploads import ABORT_S, LATE_S
from entrepot.paths import TEMPORARY_PREFIX, Root

_log = logging.getLogger(__name__)

_REFUSALS = (AlreadyExists, PreconditionFailed, Conflict)
_CONTENT = b"entrepot"
_ONLY_NEW = WriteOptions(if_none_match=True)


class Probes:
    """Answers of one service, kept as long as its store; each is asked for when it is first needed.

    Two callers that need an answer at the same time may both ask: every probe has a key of its own, which it removes.
    """

    def __init__(self) -> None:
        self._answers: dict[str, bool] = {}
        self._merged: tuple[Capabilities, int, Capabilities] | None = None

    def merged(self, declared: Capabilities) -> Capabilities:
        """What the client declares, with the answers in place of what it does not know."""
        kept = self._merged
        if kept is not None and kept[0] is declared and kept[1] == len(self._answers):
            return kept[2]
        answers: dict[str, Any] = dict(self._answers)
        found = replace(declared, **answers) if answers else declared
        self._merged = (declared, len(self._answers), found)
        return found

    def answer(self, name: str, holds: bool) -> None:
        """Keep what was found."""
        self._answers[name] = holds

    async def settle(self, client: ObjectClient, root: Root, names: tuple[str, ...] | None = None) -> Capabilities:
        """The capabilities with the named unknowns settled, or all of them. Requests: none if nothing is unknown,
        else 3 to 5 for each, and the probe's own objects are removed again.
        """
        known = self.merged(client.capabilities)
        asked: dict[str, Callable[[_Trial], Awaitable[bool]]] = {
            "exclusive_create": _Trial.creates_exclusively,
            "conditional_write": _Trial.writes_conditionally,
            "exclusive_copy": _Trial.copies_exclusively,
            "metadata": _Trial.keeps_metadata,
            "content_type": _Trial.keeps_content_type,
            "empty_directories": _Trial.keeps_markers,
            "etags": _Trial.tells_etags,
            "versions": _Trial.lists_versions,
        }
        unknown = [one.name for one in fields(known) if getattr(known, one.name) is None]
        for name in unknown:
            if names is None or name in names:
                async with _Trial(client, root) as trial:
                    self.answer(name, await asked[name](trial))
        return self.merged(client.capabilities)


class _Trial:
    """One question: temporary keys, removed at the end whatever happens, as far as the service lets them be."""

    def __init__(self, client: ObjectClient, root: Root) -> None:
        self._client = client
        self._key = root.key(f"{TEMPORARY_PREFIX}probe-{secrets.token_hex(8)}")

    async def __aenter__(self) -> _Trial:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with anyio.move_on_after(ABORT_S, shield=True) as scope:
            await self._remove()
            if error is not None and not isinstance(error, StoreError):
                await anyio.sleep(LATE_S)
                await self._remove()
        if scope.cancelled_caught:
            _log.warning("temporaries of a probe may stay at %s", self._client.uri(self._key))

    async def _remove(self) -> None:
        """Never raises a StoreError: it would take the place of an answer, or of what ended the probe."""
        for suffix in ("", "-copy", "/"):
            try:
                await self._client.delete(self._key + suffix)
            except StoreError as error:
                _log.warning("a temporary of a probe may stay: %s", error)

    async def _refuses(self, attempt: Awaitable[object]) -> bool:
        try:
            await attempt
        except _REFUSALS:
            return True
        except UnsupportedOperation:
            return False
        return False

    async def creates_exclusively(self) -> bool:
        client = self._client
        if await self._refuses(client.put(self._key, _CONTENT, _ONLY_NEW)):
            return False  # a new key was refused: no condition that can be used
        return await self._refuses(client.put(self._key, _CONTENT, _ONLY_NEW))

    async def writes_conditionally(self) -> bool:
        await self._client.put(self._key, _CONTENT)
        return await self._refuses(self._client.put(self._key, b"", WriteOptions(if_match="0" * 32)))

    async def copies_exclusively(self) -> bool:
        client, other = self._client, self._key + "-copy"
        await client.put(self._key, _CONTENT)
        await client.put(other, b"")
        return await self._refuses(client.copy(client, self._key, other, _ONLY_NEW))

    async def keeps_metadata(self) -> bool:
        await self._client.put(self._key, _CONTENT, WriteOptions(metadata={"probe": "kept"}))
        return (await self._client.head(self._key)).metadata.get("probe") == "kept"

    async def keeps_content_type(self) -> bool:
        await self._client.put(self._key, _CONTENT, WriteOptions(content_type="text/x-probe"))
        return (await self._client.head(self._key)).content_type == "text/x-probe"

    async def tells_etags(self) -> bool:
        await self._client.put(self._key, _CONTENT)
        return (await self._client.head(self._key)).etag is not None

    async def lists_versions(self) -> bool:
        try:
            await self._client.list_versions(self._key)
        except UnsupportedOperation:
            return False
        return True

    async def keeps_markers(self) -> bool:
        return await keeps_marker(self._client, self._key)


async def keeps_marker(client: ObjectClient, directory: str) -> bool:
    """Write the marker of a directory; False where the service dropped its slash, and the stray object is removed.

    directory: a key without a trailing slash, at which nothing is. Requests: 2, and 1 to remove a stray object.
    """
    try:
        await client.put(f"{directory}/", b"")
        return not await _removed_stray(client, directory)
    except (Conflict, AlreadyExists):
        return True  # a directory is there already, so this service has them
    except StoreError:
        raise
    except BaseException:
        # A marker that was begun may stay, and a file in its place may not.
        with anyio.move_on_after(ABORT_S, shield=True), suppress(StoreError):
            await anyio.sleep(LATE_S)
            await _removed_stray(client, directory)
        raise


async def _removed_stray(client: ObjectClient, directory: str) -> bool:
    """Whether an empty object was in the place of a marker, and is removed."""
    try:
        stray = await client.head(directory)
    except NotFound:
        return False
    if stray.size_bytes:
        raise StoreError(
            "a file was written here while the directory was made", operation="mkdir", uri=client.uri(directory)
        )
    await client.delete(directory)
    return True
