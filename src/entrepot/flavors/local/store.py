"""`LocalArtifactStore`: the contract over a directory of this machine."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import anyio
from anyio import to_thread

from entrepot.contract import BaseArtifactStore, WriteMode
from entrepot.errors import InvalidPath, PreconditionFailed, StoreError
from entrepot.files import BinaryReader, BinaryWriter, PartWriter
from entrepot.flavors.local import bulk, links, moves
from entrepot.flavors.local.addresses import absolute_root, key_below
from entrepot.flavors.local.directories import Tree, split_key
from entrepot.flavors.local.faults import failure, telling
from entrepot.flavors.local.hops import Check, acquire, interruptible
from entrepot.flavors.local.listing import Matches, Scan, list_names
from entrepot.flavors.local.parts import LocalPartWriter, drop, reopen_draft
from entrepot.flavors.local.records import fingerprint, record
from entrepot.flavors.local.streams import LocalReader, LocalWriter
from entrepot.flavors.local.walking import Walk
from entrepot.flavors.local.writes import Appending, Draft, Durability, open_draft, plan_publication
from entrepot.models import (
    NO_OPTIONS,
    Buffer,
    Capabilities,
    CopyItem,
    FileData,
    FileStat,
    Resume,
    WriteItem,
    WriteOptions,
)
from entrepot.paths import StrPath, path_text
from entrepot.patterns import GlobPattern
from entrepot.resuming import UploadToken, is_final

_CAPABILITIES: Final = Capabilities(
    append=True,
    atomic_rename=True,
    directories="real",
    empty_directories=True,
    exclusive_create=True,
    exclusive_copy=True,
    conditional_write=False,
    metadata=False,
    content_type=False,
    continued_parts=sys.platform != "win32",  # no open file can be given another name there
    links=True,
)


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """What a local store is configured by.

    path: the root; a relative one is taken from the directory that is current now. durability: of single writes:
    `full` returns when the device has the file and its name; `batch` is the same for one file, and for the files of
    a batch syncs each directory once; `none` leaves it to the system, which keeps old or new after a crash of the
    process, but not of the machine.
    """

    path: str
    durability: Durability = "full"

    def __post_init__(self) -> None:
        if self.durability not in ("full", "batch", "none"):
            raise ValueError("durability is one of full, batch, none")
        object.__setattr__(self, "path", absolute_root(self.path))


class LocalArtifactStore(BaseArtifactStore):
    """Artifacts as files below a directory.

    The directory need not exist; the first write makes it. It may be a symbolic link; below it no link is followed:
    a path at or through one is refused with PathOutsideStore, listings leave links out, `remove` and `rmtree` remove
    the link itself. FIFOs, sockets and devices are never opened: they are left out of listings, and a path to one is
    refused with UnsupportedOperation. Writes are atomic: readers see the old file or the new one, and a crash leaves
    nothing in sight. Each call costs one hop to a worker thread, a listing one for 1,000 entries.
    """

    FLAVOR: ClassVar[str] = "local"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"", "file://"})
    CONFIG: ClassVar[type[Any]] = LocalConfig

    batch_items: ClassVar[int] = 64
    scans_in_order: ClassVar[bool] = True

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self._tree = Tree(self.config.path)
        self._durability: Durability = self.config.durability
        self._swept = bulk.Swept()

    # ---- identity ---------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The root, an absolute path."""
        return self._tree.root

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do; nothing has to be asked for."""
        return _CAPABILITIES

    @property
    def is_local(self) -> bool:
        """True: the artifacts are on this machine."""
        return True

    def _key(self, path: StrPath, operation: str = "") -> str:
        return key_below(self._tree.root, path, operation=operation)

    def _located(self, path: StrPath, operation: str) -> tuple[str, str]:
        """The key and the address of a path."""
        key = self._key(path, operation)
        return key, self._tree.path(key)

    @property
    def _durable(self) -> bool:
        return self._durability != "none"

    # ---- files ------------------------------------------------------------------------------------

    async def open_reader(self, path: StrPath) -> BinaryReader:
        key, uri = self._located(path, "open")
        with telling("open", uri, reading=True):
            descriptor, _ = await acquire(partial(self._open_file, key), lambda opened: os.close(opened[0]))
        return LocalReader(uri, descriptor)

    def _open_file(self, key: str) -> tuple[int, os.stat_result]:
        parent, name = split_key(key)
        if not name:
            raise failure(errno.EISDIR)
        with self._tree.open(parent) as directory:
            return directory.open_file(name)

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> BinaryWriter:
        key, uri = self._located(path, "open")
        with telling("open", uri):
            if mode == "a":
                return LocalWriter(uri, await acquire(partial(self._append_to, key, options), Draft.discard))
            make = partial(open_draft, self._tree, key, options, durability=self._durability, exclusive=mode == "x")
            return LocalWriter(uri, await acquire(make, Draft.discard))

    def _append_to(self, key: str, options: WriteOptions) -> Appending:
        parent, name = split_key(key)
        if not name:
            raise failure(errno.EISDIR)
        plan = plan_publication(name, options, durability=self._durability)
        directory, _ = self._tree.make(parent, durable=plan.sync_directory)
        try:
            return Appending(directory, name, sync_file=plan.sync_file, sync_directory=plan.sync_directory)
        except BaseException:
            directory.close()
            raise

    async def read_bytes(self, path: StrPath) -> bytes:
        """The whole content of a file. Cost: one hop."""
        return await self.read_range(path, 0)

    async def read_range(
        self, path: StrPath, start: int, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        """The bytes from `start` up to, without, `stop`; fewer where the file ends before. Cost: one hop.

        if_match: an etag; PreconditionFailed where the file is another by now.
        """
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"not a byte range: {start}..{stop}")
        key, uri = self._located(path, "read")

        def read() -> bytes:
            descriptor, found = self._open_file(key)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                if if_match is not None and fingerprint(found) != if_match:
                    raise PreconditionFailed("the file is another by now", operation="read_range", uri=uri)
                if start:
                    file.seek(start)
                wanted = (found.st_size if stop is None else min(stop, found.st_size)) - start
                return bulk.read_exactly(descriptor, wanted) if wanted > 0 else b""

        with telling("read", uri, reading=True):
            return await to_thread.run_sync(read)

    async def write_bytes(self, path: StrPath, data: Buffer, options: WriteOptions | None = None) -> FileStat:
        """Write a whole file in one step. Cost: one hop."""
        key, uri = self._located(path, "write_bytes")

        def write(check: Check) -> FileStat:
            draft = open_draft(self._tree, key, options or NO_OPTIONS, durability=self._durability)
            try:
                draft.write(data)
                return record(uri, draft.commit(check))
            except BaseException:
                draft.discard()
                raise

        with telling("write_bytes", uri):
            return await interruptible(write)

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        source, target = self._key(src, "copyfile"), self._key(dst, "copyfile")
        await interruptible(
            lambda check: moves.copy_file(
                self._tree, source, target, overwrite=overwrite, durable=self._durable, check=check
            )
        )

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        source, target = self._key(src, "rename"), self._key(dst, "rename")
        await to_thread.run_sync(
            partial(moves.rename, self._tree, source, target, overwrite=overwrite, durable=self._durable)
        )

    async def remove(self, path: StrPath) -> None:
        await to_thread.run_sync(moves.remove_file, self._tree, self._key(path, "remove"))

    async def remove_batch(self, paths: Sequence[str]) -> list[StoreError]:
        """As the contract's. Cost: one hop to a worker thread."""
        keys = [self._key(path, "remove_batch") for path in paths]
        return await to_thread.run_sync(moves.remove_files, self._tree, keys)

    # ---- directories ------------------------------------------------------------------------------

    async def mkdir(self, path: StrPath) -> None:
        key = self._key(path, "mkdir")
        await to_thread.run_sync(partial(moves.make_directory, self._tree, key, durable=self._durable))

    async def makedirs(self, path: StrPath) -> None:
        key = self._key(path, "makedirs")
        await to_thread.run_sync(partial(moves.make_directories, self._tree, key, durable=self._durable))

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        key, uri = self._located(path, "rmtree")
        if not key and not allow_root:
            raise InvalidPath("this is the whole store; say allow_root=True to empty it", operation="rmtree", uri=uri)
        await interruptible(lambda check: moves.remove_tree(self._tree, key, check=check))

    async def remove_empty_directories(self, path: StrPath) -> None:
        """Remove a directory and those below it, each only while it is empty. Cost: one hop."""
        key = self._key(path, "remove_empty_directories")
        await interruptible(lambda check: moves.remove_empty_directories(self._tree, key, check=check))

    async def listdir(self, path: StrPath = "") -> list[str]:
        key, uri = self._located(path, "listdir")
        with telling("listdir", uri):
            return await to_thread.run_sync(self._list_names, key)

    def _list_names(self, key: str) -> list[str]:
        try:
            return list_names(self._tree, key)
        except FileNotFoundError:
            if key:
                raise
            return []  # the root always is a directory

    # ---- what is there ----------------------------------------------------------------------------

    def _status(self, key: str) -> os.stat_result | None:
        """What is at a key; None for a root that was not made yet."""
        parent, name = split_key(key)
        if not name:
            try:
                return os.stat(self._tree.root)
            except FileNotFoundError:
                return None
        with self._tree.open(parent) as directory:
            found = directory.look(name)
        if found is None:
            raise failure(errno.ENOENT)
        return found

    async def stat(self, path: StrPath) -> FileStat:
        key, uri = self._located(path, "stat")
        with telling("stat", uri, reading=True):
            found = await to_thread.run_sync(self._status, key)
        if found is None:
            return FileStat(uri, 0, is_dir=True)
        return record(uri, found)

    async def exists(self, path: StrPath) -> bool:
        key, uri = self._located(path, "exists")
        with telling("exists", uri):
            return await to_thread.run_sync(self._is, key, None)

    async def isdir(self, path: StrPath) -> bool:
        key, uri = self._located(path, "isdir")
        with telling("isdir", uri):
            return await to_thread.run_sync(self._is, key, stat.S_ISDIR)

    def _is(self, key: str, kind: Callable[[int], bool] | None) -> bool:
        try:
            found = self._status(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return found is None or kind is None or kind(found.st_mode)

    async def scan(
        self, path: StrPath = "", recursive: bool = True, *, links: bool = False
    ) -> AsyncGenerator[FileStat, None]:
        """Everything in a directory, in the order of keys, 1,000 entries a hop; memory holds names, not records.

        links: also tell of symbolic links (`link_target`) and of FIFOs, sockets and devices (`special`), which are
        otherwise left out. Raises PermissionDenied for a directory below that may not be read.
        """
        key, uri = self._located(path, "scan")
        found = Scan(self._tree, key, recursive=recursive, links=links)
        while True:
            with telling("scan", uri):
                try:
                    page = await to_thread.run_sync(found.page)
                except FileNotFoundError:
                    if key:
                        raise
                    return
            if not page:
                return
            for entry in page:
                yield entry

    # ---- symbolic links, where a copy asks for them ------------------------------------------------

    def disk(self) -> LocalArtifactStore:
        """The store of the whole disk. What `resolve` found is read through it: a real path holds no link."""
        return LocalArtifactStore(os.path.abspath(os.sep), durability=self._durability)

    async def resolve(self, path: StrPath) -> FileStat:
        """What a path leads to with every link followed, wherever that is: its uri is the real path. Cost: one hop.

        The one way by which this store looks through links. Raises NotFound for a link that leads to nothing,
        PathOutsideStore for one that leads to itself.
        """
        _, uri = self._located(path, "resolve")
        with telling("resolve", uri, reading=True):
            return await to_thread.run_sync(links.resolve, uri)

    async def copy_link(self, source: Any, link: FileStat, path: StrPath, *, overwrite: bool) -> None:
        """Make a symbolic link with the text of another local store's, in place of a file or link. Cost: one hop.

        Where it leads is neither looked at nor changed. Raises AlreadyExists without overwrite, IsADirectory.
        """
        assert isinstance(source, LocalArtifactStore)
        origin, target = source._key(link.uri, "copy_link"), self._key(path, "copy_link")
        copy = partial(links.copy_link, source._tree, origin, self._tree, target, overwrite=overwrite)
        await to_thread.run_sync(copy)

    async def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        key = key_below(self._tree.root, pattern, operation="glob")
        slash = "/" if path_text(pattern).endswith(("/", os.sep)) else ""
        matches = Matches(self._tree, GlobPattern.parse(key + slash))
        while not matches.ended:
            with telling("glob", self._tree.root):
                page = await to_thread.run_sync(matches.page)
            for found in page:
                yield self._tree.path(found)

    async def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        walked = Walk(self._tree, self._key(top, "walk"), topdown=topdown, onerror=onerror)
        while await walked.advance():
            yield walked.found

    # ---- bulk copy --------------------------------------------------------------------------------

    async def read_batch(self, files: Sequence[FileStat]) -> list[FileData | StoreError]:
        """The whole content of several files, each as it was listed. Cost: one hop for all."""
        return await to_thread.run_sync(bulk.read_many, self._tree, self._key, files)

    async def read_part(self, file: FileStat, start: int, into: memoryview) -> None:
        """Fill `into` from `start`; SourceChanged where it is no longer the file that was listed. Cost: one hop."""
        key, uri = self._located(file.uri, "read_part")
        with telling("read_part", uri, reading=True):
            await to_thread.run_sync(bulk.read_part, self._tree, key, file, start, into)

    async def write_batch(self, items: Sequence[WriteItem]) -> list[FileStat | StoreError]:
        """Write several files whole, their parents made. Cost: one hop for all.

        Bulk writes sync nothing unless their options say so: renames keep them safe against a crash of the process.
        """
        return await interruptible(lambda check: bulk.write_many(self._tree, self._key, self._swept, items, check))

    def open_parts(
        self, path: StrPath, size_bytes: int, options: WriteOptions, *, resume: Resume | None = None
    ) -> AbstractAsyncContextManager[PartWriter]:
        """One large file, its parts written in any order; published by a clean exit, dropped by an exception.

        resume: what `Resume.parts` tells of is in it, and no other part. Its options are those of this call.
        Raises: as `BaseArtifactStore.open_parts`; a restart of this machine is UploadGone too.
        """
        if resume is not None and not _CAPABILITIES.continued_parts:
            return super().open_parts(path, size_bytes, options, resume=resume)
        return self._parts(path, size_bytes, options, resume)

    @asynccontextmanager
    async def _parts(
        self, path: StrPath, size_bytes: int, options: WriteOptions, resume: Resume | None
    ) -> AsyncGenerator[PartWriter, None]:
        key, uri = self._located(path, "open_parts")
        with telling("open_parts", uri):
            # Written in parts, a file counts as bulk work.
            if resume is None:
                make = partial(open_draft, self._tree, key, options, durability="none", size_bytes=size_bytes)
                make = partial(make, sweeping=self._swept.first_time(split_key(key)[0]))
            else:
                token = UploadToken.parse(resume.token, operation="open_parts", uri=uri)
                token.require_size(size_bytes, self.limits.part_size_bytes(size_bytes), operation="open_parts")
                make = partial(reopen_draft, self._tree, key, options, token)
            draft = await acquire(make, Draft.discard)
        draft.unkeep()
        try:
            can_outlive = _CAPABILITIES.continued_parts
            writer = LocalPartWriter(uri, size_bytes, draft, self.limits, can_outlive=can_outlive, resume=resume)
            yield writer
            await interruptible(writer.publish)
        except BaseException as error:
            if is_final(error):
                draft.unkeep()
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(draft.discard)
            raise

    async def drop_parts(self, path: StrPath, token: str) -> None:
        """As `BaseArtifactStore.drop_parts`. Cost: one hop."""
        if not _CAPABILITIES.continued_parts:
            await super().drop_parts(path, token)
        key, uri = self._located(path, "drop_parts")
        named = UploadToken.parse(token, operation="drop_parts", uri=uri)
        with telling("drop_parts", uri):
            await to_thread.run_sync(drop, self._tree, key, named)

    def copies_natively_from(self, source: object) -> bool:
        """True for another local store: the kernel copies, and the bytes never enter this process."""
        return isinstance(source, LocalArtifactStore)

    async def copy_batch(self, source: Any, items: Sequence[CopyItem]) -> list[FileStat | StoreError]:
        """Copy several files of another local store, of any size, with permission bits and times. Cost: one hop.

        Syncs nothing unless the options say so.
        """
        assert isinstance(source, LocalArtifactStore)
        return await interruptible(
            lambda check: bulk.copy_many(
                self._tree, self._key, self._swept, (source._tree, source._key), items, check=check
            )
        )
