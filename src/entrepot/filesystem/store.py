"""`FileSystemArtifactStore`: the contract over a file system's primitives; this half changes things."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import anyio

from entrepot.batches import each
from entrepot.contract import WriteMode
from entrepot.errors import (
    AlreadyExists,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    PartialFailure,
    PermissionDenied,
    StoreError,
    UnsupportedOperation,
)
from entrepot.filesystem.listing import go_down, join_key
from entrepot.filesystem.primitives import Entry, WritableFile
from entrepot.filesystem.reading import ReadableFileSystemStore
from entrepot.filesystem.streams import CHUNK_BYTES, CLEANUP_S, AbandonedDrafts, Draft, FileWriter
from entrepot.models import Buffer, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX, StrPath

_log = logging.getLogger(__name__)
_REMOVED_AT_ONCE: Final = 16


class FileSystemArtifactStore(ReadableFileSystemStore):
    """Artifacts as files of a file system on a server: real directories, and an atomic rename.

    A flavor implements the primitives (`FileSystemPrimitives`), sets `FLAVOR`, `SUPPORTED_SCHEMES`, `CONFIG`, and
    `CAPABILITIES` where they are others, and closes its connections in `close`. Addresses are
    `scheme://server/path`; the root need not exist, the first write makes it. Writes are atomic: they go to a hidden
    file beside the target, which a rename publishes; what a crash leaves is never in sight, and `rmtree` takes it
    along. A reader that has opened a file reads that file, whatever takes its name.
    """

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self._abandoned, self._pid = AbandonedDrafts(self._drop), os.getpid()

    async def _settle(self) -> None:
        if self._pid != os.getpid():  # a forked child: drafts are the parent's
            self._abandoned, self._pid = AbandonedDrafts(self._drop), os.getpid()
        if self._abandoned:
            await self._abandoned.settle()

    async def close(self) -> None:
        await self._settle()

    # ---- writing ----------------------------------------------------------------------------------

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> FileWriter:
        """Requests: 2 here, more where parents are missing; then what the writer's methods say.

        Raises: UnsupportedOperation for what the capabilities exclude; IsADirectory; AlreadyExists.
        """
        key = self._key(path, "open")
        exclusive = mode == "x" or options.if_none_match
        self._check_options(key, mode, options, exclusive=exclusive)
        await self._check_target(key, "open", replace=not exclusive)
        draft = await self._open_draft(key, "open", exclusive=exclusive)
        draft.mtime_s, draft.mode = options.mtime_s, options.mode
        return FileWriter(
            self._uri(key),
            draft,
            write=self._write_to,
            publish=partial(self._publish, operation="close"),
            drop=self._drop,
            on_abandon=self._abandoned.add,
        )

    def _check_options(self, key: str, mode: WriteMode, options: WriteOptions, *, exclusive: bool) -> None:
        can = self.capabilities
        refused = {
            "append to a file": mode == "a",
            "create a file only where none is": exclusive and not can.exclusive_create,
            "replace only a certain version (if_match)": options.if_match is not None,
            "keep metadata": bool(options.metadata),
            "keep a content type": options.content_type is not None,
        }
        for what, asked in refused.items():
            if asked:
                raise UnsupportedOperation(
                    f"flavor {self.FLAVOR!r} cannot {what}; see its capabilities", operation="open", uri=self._uri(key)
                )

    async def _check_target(self, key: str, operation: str, *, replace: bool) -> None:
        """Raise where no file can be published. Requests: 1. Raises: IsADirectory, AlreadyExists."""
        entry = Entry("", "directory") if self._is_root(key) else await self._look(key, operation)
        if entry is None:
            return
        if entry.kind == "directory":
            raise IsADirectory("a directory is there", operation=operation, uri=self._uri(key))
        if not replace:
            raise AlreadyExists(
                "a file is there already; pass overwrite=True, or mode 'w', to replace it",
                operation=operation,
                uri=self._uri(key),
            )

    async def _open_draft(self, target: str, operation: str, *, exclusive: bool) -> Draft:
        """A new hidden file beside the target, whose parents are made where they are missing."""
        parent = target.rpartition("/")[0]
        draft = Draft(join_key(parent, f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"), target, exclusive)
        try:
            try:
                draft.file = await self._new_file(draft.key, operation, target)
            except StoreError as error:
                if error.retryable or isinstance(error, PermissionDenied):
                    raise
                await self._make_all(parent, operation)
                draft.file = await self._new_file(draft.key, operation, target)
        except BaseException as error:
            if not isinstance(error, StoreError):  # cancelled: the server may have made it all the same
                await self._drop(draft)
            raise
        return draft

    async def _new_file(self, key: str, operation: str, target: str) -> WritableFile:
        with self._telling(operation, target):
            return await self._open_write(key)

    async def _write_to(self, draft: Draft, data: Buffer) -> None:
        assert draft.file is not None
        with self._telling("write", draft.target):
            await draft.file.write(data)

    async def _publish(self, draft: Draft, operation: str) -> None:
        """Make the draft the file at its target. Requests: 2, and 1 for a time or a mode."""
        with self._telling(operation, draft.target):
            if draft.file is not None:
                await draft.file.close()
                draft.file = None
            if draft.mtime_s is not None or draft.mode is not None:
                await self._set_attributes(draft.key, mtime_s=draft.mtime_s, mode=draft.mode)
        await self._move(draft.key, draft.target, operation, replace=not draft.exclusive)

    async def _move(self, source: str, target: str, operation: str, *, replace: bool) -> None:
        """The primitive; where it fails, what is in the way is said. Requests: 1."""
        try:
            with self._telling(operation, target):
                await self._rename(source, target, replace=replace)
        except StoreError as error:
            if error.retryable or isinstance(error, PermissionDenied):
                raise
            await self._check_target(target, operation, replace=replace)
            raise

    async def _drop(self, draft: Draft) -> None:
        """Remove a draft, whatever is still cancelled meanwhile. Requests: 2."""
        file, draft.file = draft.file, None
        with anyio.move_on_after(CLEANUP_S, shield=True):
            try:
                with self._telling("abort", draft.key):
                    if file is not None:
                        await file.close()
            except StoreError as error:
                _log.debug("closing the unpublished %s: %s", draft.key, error)
            try:
                with self._telling("abort", draft.key):
                    await self._remove_file(draft.key)
            except NotFound:
                return
            except StoreError as error:
                _log.warning("an unpublished file stays behind, hidden: %s", error)

    # ---- directories ------------------------------------------------------------------------------

    async def _make_all(self, key: str, operation: str) -> None:
        """Make a directory and what is missing above it. Requests: 1 a missing directory, and 1 a look each.

        Raises: AlreadyExists where a file is in the way.
        """
        missing: list[str] = []
        while key:
            entry = await self._look(key, operation)
            if entry is None:
                missing.append(key)
                key = key.rpartition("/")[0]
                continue
            self._check_directory(key, entry, operation)
            break
        for one in reversed(missing):
            try:
                with self._telling(operation, one):
                    await self._make_directory(one)
            except StoreError as error:
                entry = await self._look(one, operation)
                if entry is None:
                    raise
                self._check_directory(one, entry, operation, error)  # made by somebody else meanwhile

    def _check_directory(self, key: str, entry: Entry, operation: str, cause: StoreError | None = None) -> None:
        if entry.kind != "directory":
            raise AlreadyExists("a file is in the way", operation=operation, uri=self._uri(key)) from cause

    async def makedirs(self, path: StrPath) -> None:
        """As the contract's. Requests: 1 where it is there, else 2 for each that is missing, and 1."""
        await self._make_all(self._key(path, "makedirs"), "makedirs")

    async def mkdir(self, path: StrPath) -> None:
        """As the contract's. Requests: 1, and up to 2 more to say why it failed."""
        key = self._key(path, "mkdir")
        await self._settle()
        if self._is_root(key):
            raise AlreadyExists("the store's root always is there", operation="mkdir", uri=self.path)
        try:
            await self._make_one(key)
        except StoreError as error:
            if error.retryable or isinstance(error, PermissionDenied):
                raise
            if await self._look(key, "mkdir") is not None:
                raise AlreadyExists("something is there", operation="mkdir", uri=self._uri(key)) from error
            parent = key.rpartition("/")[0]
            if self._is_root(parent):
                await self._make_all(parent, "mkdir")  # a root that was not made yet
                await self._make_one(key)
                return
            above = await self._look(parent, "mkdir")
            if above is None:
                raise NotFound("the parent is missing", operation="mkdir", uri=self._uri(key)) from error
            if above.kind != "directory":
                raise NotADirectory("the parent is a file", operation="mkdir", uri=self._uri(key)) from error
            raise

    async def _make_one(self, key: str) -> None:
        with self._telling("mkdir", key):
            await self._make_directory(key)

    # ---- copying and moving -----------------------------------------------------------------------

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        """As the contract's. Requests: 5, and where the server cannot copy, 2 for each 4 MiB, through this process."""
        source, target = self._key(src, "copyfile"), self._key(dst, "copyfile")
        await self._file(source, "copyfile")
        await self._check_target(target, "copyfile", replace=overwrite)
        if source == target:
            return
        draft = await self._open_draft(target, "copyfile", exclusive=not overwrite and self._exclusive_copy)
        try:
            if not await self._copied_there(source, draft):
                await self._copy_through(source, draft)
            await self._publish(draft, "copyfile")
        except BaseException:
            await self._drop(draft)
            raise

    @property
    def _exclusive_copy(self) -> bool:
        return bool(self.capabilities.exclusive_copy)

    async def _copied_there(self, source: str, draft: Draft) -> bool:
        with self._telling("copyfile", source):
            return await self._copy_content(source, draft.key)

    async def _copy_through(self, source: str, draft: Draft) -> None:
        async with self._opened(source, "copyfile") as (file, entry):
            size = entry.size_bytes
            for start in range(0, size, CHUNK_BYTES):
                await self._write_to(draft, await self._read_at(file, source, start, min(CHUNK_BYTES, size - start)))

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        """As the contract's; atomic. Requests: 3 for a file or a tree, more where parents are missing."""
        source, target = self._key(src, "rename"), self._key(dst, "rename")
        if self._is_root(source) or self._is_root(target):
            raise IsADirectory("the store's root can be neither moved nor replaced", operation="rename", uri=self.path)
        entry = await self._look(source, "rename")
        if entry is None:
            raise NotFound("no such file or directory", operation="rename", uri=self._uri(source))
        if source == target and overwrite:
            return
        if entry.kind == "directory":
            await self._check_tree_target(source, target, overwrite=overwrite)
        else:
            await self._check_target(target, "rename", replace=overwrite)
        await self._make_all(target.rpartition("/")[0], "rename")
        exclusive = entry.kind == "directory" or (not overwrite and self._exclusive_copy)
        await self._move(source, target, "rename", replace=not exclusive)

    async def _check_tree_target(self, source: str, target: str, *, overwrite: bool) -> None:
        """Raise where a tree cannot go; an empty directory is taken away for it, if that was asked for."""
        if target.startswith(f"{source}/"):
            raise InvalidPath("a directory cannot move into itself", operation="rename", uri=self._uri(target))
        there = await self._look(target, "rename")
        if there is None:
            return
        if overwrite and there.kind == "directory" and not await self._everything_in(target, "rename"):
            with self._telling("rename", target):
                await self._remove_directory(target)
            return
        raise AlreadyExists(
            "something is there already, and a directory replaces nothing but an empty one",
            operation="rename",
            uri=self._uri(target),
        )

    # ---- removing ---------------------------------------------------------------------------------

    async def remove(self, path: StrPath) -> None:
        """Remove one file, or a link itself. Requests: 2. Raises: NotFound, IsADirectory."""
        key = self._key(path, "remove")
        entry = Entry("", "directory") if self._is_root(key) else await self._look(key, "remove")
        if entry is None:
            raise NotFound("no such file", operation="remove", uri=self._uri(key))
        if entry.kind == "directory":
            raise IsADirectory("a directory is there; rmtree removes it", operation="remove", uri=self._uri(key))
        with self._telling("remove", key):
            await self._remove_file(key)

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        """As the contract's. Requests: 2 a directory and 1 a file, up to 16 at once; memory: one branch's listings."""
        key = self._key(path, "rmtree")
        await self._settle()
        if self._is_root(key) and not allow_root:
            raise InvalidPath(
                "this is the whole store; pass allow_root=True to empty it", operation="rmtree", uri=self.path
            )
        failures = await self._remove_below(key)
        if failures:
            raise PartialFailure(
                f"{len(failures):,} could not be removed; the first: {failures[0].message}",
                operation="rmtree",
                uri=self._uri(key),
                failures=failures,
            )

    async def _remove_below(self, top: str) -> list[StoreError]:
        """Remove a tree from its leaves up; the root itself stays."""
        failures: list[StoreError] = []
        # A directory comes twice: first to be listed, then, once what is below it has gone, to be removed.
        waiting: list[tuple[str, bool]] = [(top, False)]
        while waiting:
            key, is_emptied = waiting.pop()
            if is_emptied:
                if not self._is_root(key):
                    failures += await self._remove_each([Entry(key, "directory")], "")
                continue
            try:
                entries = await self._everything_in(key, "rmtree")
            except StoreError as error:
                if key == top:
                    raise
                if not isinstance(error, NotFound):
                    failures.append(error)
                continue
            waiting.append((key, True))
            failures += await self._remove_each([one for one in entries if one.kind != "directory"], key)
            waiting.extend((join_key(key, one.name), False) for one in entries if one.kind == "directory")
        return failures

    async def _remove_each(self, entries: Sequence[Entry], parent: str) -> list[StoreError]:
        """Remove files and empty directories; what has gone meanwhile is fine. Requests: 1 each."""

        async def remove(entry: Entry) -> None:
            key = join_key(parent, entry.name)
            with self._telling("rmtree", key):
                await (self._remove_directory(key) if entry.kind == "directory" else self._remove_file(key))

        failures: list[StoreError] = []
        for start in range(0, len(entries), _REMOVED_AT_ONCE):
            results = await each(entries[start : start + _REMOVED_AT_ONCE], remove)
            failures += [one for one in results if isinstance(one, StoreError) and not isinstance(one, NotFound)]
        return failures

    async def remove_empty_directories(self, path: StrPath) -> None:
        """As the contract's: each is removed only while it is empty. Requests: 2 a directory."""
        top = self._key(path, "remove_empty_directories")
        directories = [top]
        try:
            async with aclosing(
                go_down(self._listings("remove_empty_directories"), top, enters=lambda _depth, _name: True)
            ) as found:
                async for key, entry in found:
                    if entry.kind != "directory":
                        return
                    directories.append(key)
        except NotFound:
            return
        for key in reversed(directories):
            if self._is_root(key):
                return
            try:
                with self._telling("remove_empty_directories", key):
                    await self._remove_directory(key)
            except StoreError as error:
                _log.debug("a directory that is no longer empty stays: %s", error)
                return
