"""What a temporary file shows: whether it can be written, read, replaced, described and removed."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import fields
from typing import Final

import anyio

from entrepot.contract import BaseArtifactStore
from entrepot.diagnosis.findings import Finding, Record
from entrepot.errors import AlreadyExists, NotFound, StoreError
from entrepot.models import Capabilities, WriteOptions
from entrepot.objects.store import ObjectArtifactStore

_log = logging.getLogger(__name__)

AFTER_WRITE: Final = ("read", "stat", "overwrite", "delete", "capabilities", "exclusive create", "metadata")
"""The checks that need a file that was written, in their order."""

_AFTER_DELETE: Final = AFTER_WRITE[AFTER_WRITE.index("delete") + 1 :]

CLEAN_UP_S: Final = 10.0
"""How long the removal of a temporary file may take when the examination was cancelled or has failed."""

_FIRST: Final = b"entrepot doctor: this file may be removed\n" * 24
_SECOND: Final = b"entrepot doctor: the same file, written again\n"
_METADATA: Final = {"entrepot": "doctor"}


@asynccontextmanager
async def temporary_file(store: BaseArtifactStore) -> AsyncGenerator[str]:
    """The path of a file directly below the root that nobody else writes; removed in the end, whatever happens."""
    path = f"entrepot-doctor-{secrets.token_hex(8)}"
    settled = False
    try:
        yield path
        await _removed(store, path)  # a cancellation that comes now is followed by the removal below
        settled = True
    finally:
        if not settled:
            with anyio.move_on_after(CLEAN_UP_S, shield=True) as scope:
                await _removed(store, path)
            if scope.cancelled_caught:
                _log.warning("%s/%s may be left behind: it was not removed in time", store.path, path)


async def _removed(store: BaseArtifactStore, path: str) -> None:
    try:
        if isinstance(store, ObjectArtifactStore):
            # Without the look that `remove` takes first: who may write and delete need not be allowed to read.
            await store.client.delete(store.key_prefix + path)
        else:
            await store.remove(path)
    except NotFound:
        return
    except (StoreError, OSError) as error:
        _log.debug("%s/%s may be left behind: %s", store.path, path, error)


async def list_root(store: BaseArtifactStore, record: Record) -> bool:
    """The check `list` of a store that is no service: whether its root can be listed."""

    async def first() -> str:
        async with aclosing(store.scan("")) as entries:
            async for _ in entries:
                return "allowed, something is there"
        return "allowed, nothing is there"

    return await record.tried("list", first)


async def try_files(store: BaseArtifactStore, record: Record) -> None:
    """The checks from `write` to `metadata`, on one temporary file. Requests: about ten, and those of the probes."""
    async with temporary_file(store) as path:
        trial = _Trial(store, path)
        if not await record.tried("write", trial.write):
            await record.skip(AFTER_WRITE, "nothing could be written")
            return
        await record.tried("read", trial.read)
        await record.tried("stat", trial.stat)
        await record.tried("overwrite", trial.overwrite)
        if not await record.tried("delete", trial.delete):
            # Each probe of a capability would leave an object behind.
            await record.skip(_AFTER_DELETE, "what is written for it could not be removed")
            return
        await record.tried("capabilities", trial.capabilities)
        await record.tried("exclusive create", trial.create_exclusively)
        await record.tried("metadata", trial.keep_metadata)


class _Trial:
    """One temporary file, and what the store is to do with it."""

    def __init__(self, store: BaseArtifactStore, path: str) -> None:
        self._store, self._path = store, path
        self._known = store.capabilities

    async def write(self) -> str:
        await self._store.write_bytes(self._path, _FIRST)
        return f"{len(_FIRST):,} bytes written to a temporary file"

    async def _require(self, check: str, expected: bytes) -> Finding | None:
        found = await self._store.read_bytes(self._path)
        if found == expected:
            return None
        return Finding(
            check, "failed", f"{len(expected):,} bytes were written, {len(found):,} others were read",
            "do not rely on this store before that is explained",
        )  # fmt: skip

    async def read(self) -> str | Finding:
        return await self._require("read", _FIRST) or "the bytes read are those written"

    async def stat(self) -> str | Finding:
        found = await self._store.stat(self._path)
        if found.is_dir or found.size_bytes != len(_FIRST):
            return Finding("stat", "failed", f"a size of {found.size_bytes:,} bytes is told for {len(_FIRST):,}")
        told = [name for name in ("modified", "etag") if getattr(found, name) is not None]
        return f"the size is told{''.join(f', {name}' for name in (*told, *found.checksums))}"

    async def overwrite(self) -> str | Finding:
        await self._store.write_bytes(self._path, _SECOND)
        return await self._require("overwrite", _SECOND) or "the new bytes take the place of the old"

    async def capabilities(self) -> str:
        self._known = await self._store.probe_capabilities()
        return told_capabilities(self._known)

    async def create_exclusively(self) -> str | Finding:
        check = "exclusive create"
        if not self._known.exclusive_create:
            return Finding(check, "skipped", "the service keeps no conditions on writes, so open(…, 'x') is refused")
        only_new = WriteOptions(if_none_match=True)
        await self._store.write_bytes(self._path, _SECOND, only_new)
        try:
            await self._store.write_bytes(self._path, _FIRST, only_new)
        except AlreadyExists:
            return await self._require(check, _SECOND) or "a file that exists is refused, and stays as it is"
        return Finding(check, "failed", "a file that existed was replaced", "do not use open(…, 'x') as a lock here")

    async def keep_metadata(self) -> str | Finding:
        if not self._known.metadata:
            return Finding("metadata", "skipped", "this store keeps no user metadata")
        await self._store.write_bytes(self._path, _SECOND, WriteOptions(metadata=_METADATA))
        told = (await self._store.stat(self._path)).metadata
        if told.get("entrepot") != _METADATA["entrepot"]:
            return Finding("metadata", "failed", "user metadata that was written is not told")
        return "user metadata is kept and told"

    async def delete(self) -> str | Finding:
        where = f"{self._store.path}/{self._path}"
        try:
            await self._store.remove(self._path)
        except (StoreError, OSError) as error:
            kept = getattr(error, "message", "") or str(error)
            return Finding("delete", "failed", kept.partition("; ")[0], f"allow deletes, and see that {where} is gone")
        if await self._store.exists(self._path):
            return Finding("delete", "failed", "the file is there after its removal", f"remove {where}")
        return "the temporary file is gone"


def told_capabilities(known: Capabilities) -> str:
    """`yes: …; no: …` and what is not known; by the names of the fields."""
    answers: dict[str, list[str]] = {"yes": [], "no": [], "not known": []}
    for one in fields(known):
        value = getattr(known, one.name)
        if isinstance(value, str):
            continue
        answers["not known" if value is None else "yes" if value else "no"].append(one.name)
    return " – ".join(f"{answer}: {', '.join(names)}" for answer, names in answers.items() if names)
