"""The contract over flat keys, once for every object service; a flavor gives the client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from entrepot import batches
from entrepot.contract import WriteMode
from entrepot.errors import (
    AlreadyExists,
    ChecksumMismatch,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    PreconditionFailed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.files import PartChecksum, PartWriter
from entrepot.models import (
    NO_OPTIONS,
    Buffer,
    CopyItem,
    FileData,
    FileStat,
    ObjectStat,
    Resume,
    WriteItem,
    WriteOptions,
)
from entrepot.objects import bulk
from entrepot.objects.client import changed
from entrepot.objects.listing import file_stat
from entrepot.objects.probes import keeps_marker
from entrepot.objects.reading import ReadableObjectStore
from entrepot.objects.streams import ObjectWriter
from entrepot.objects.trees import copy_object, delete_keys, move_tree, remove_markers, remove_tree
from entrepot.objects.uploads import drop_lost_uploads
from entrepot.objects.waves import wave
from entrepot.paths import StrPath
from entrepot.rates import Rate

_ONLY_NEW = WriteOptions(if_none_match=True)
_WHAT = {
    "exclusive_create": "create-only writes",
    "conditional_write": "writes pinned to an etag",
    "metadata": "user metadata",
    "content_type": "content types",
}


class ObjectArtifactStore(ReadableObjectStore):
    """An artifact store over an `ObjectClient`, which a subclass makes in `_make_client`.

    A directory exists while a key or its marker, the zero-byte object `dir/`, lies below it. A write is one request
    and looks for nothing.
    """

    # The bulk copy has many calls under way: a batch would wait for its slowest request, and cost a task an item.
    batch_items: ClassVar[int] = 1
    scans_in_order: ClassVar[bool] = True

    # ---- writing --------------------------------------------------------------------------------------

    async def _require_kept(self, options: WriteOptions, operation: str, relative: str) -> None:
        """Refuse what no request can carry, and what the service would ignore. Requests: none once that is known.

        Raises: ConfigurationError, UnsupportedOperation.
        """
        self.client.check_options(self._root.key(relative), options, operation)
        names = tuple(
            name
            for name, is_wanted in (
                ("exclusive_create", options.if_none_match),
                ("conditional_write", options.if_match is not None),
                ("metadata", bool(options.metadata)),
                ("content_type", options.content_type is not None),
            )
            if is_wanted
        )
        if not names:
            return
        known = await self._probes.settle(self.client, self._root, names)
        for name in names:
            if not getattr(known, name):
                raise UnsupportedOperation(
                    f"this service does not keep {_WHAT[name]} (capability {name})",
                    operation=operation,
                    uri=self._uri(relative),
                )

    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> ObjectWriter:
        relative, key = self._file(path, "open")
        if mode == "a":
            raise UnsupportedOperation(
                "object services cannot append: read the file and write it anew",
                operation="open",
                uri=self._uri(relative),
            )
        if mode == "x":
            options = replace(options, if_none_match=True)
        if options is not NO_OPTIONS:
            await self._require_kept(options, "open", relative)
        if self._abandoned:
            await self._abandoned.settle()
        return ObjectWriter(self.client, key, self._uri(relative), options, on_abandon=self._abandoned.add)

    async def write_bytes(self, path: StrPath, data: Buffer, options: WriteOptions | None = None) -> FileStat:
        relative, key = self._file(path, "write_bytes")
        client = self.client
        wanted = options or NO_OPTIONS
        if wanted is not NO_OPTIONS:
            await self._require_kept(wanted, "write_bytes", relative)
        if self._abandoned:
            await self._abandoned.settle()
        if len(data) > client.limits.put_max_bytes or not isinstance(data, bytes | bytearray):
            return await self._write_view(relative, key, memoryview(data).cast("B"), wanted)
        return file_stat(await client.put(key, data, wanted), self._uri(relative))

    async def _write_view(self, relative: str, key: str, view: memoryview, options: WriteOptions) -> FileStat:
        uri = self._uri(relative)
        if len(view) <= self.client.limits.put_max_bytes:
            return file_stat(await self.client.put(key, view, options), uri)
        async with ObjectWriter(self.client, key, uri, options, on_abandon=self._abandoned.add) as writer:
            await writer.write(view)
        assert writer.result is not None
        return file_stat(writer.result, uri)

    # ---- directories ----------------------------------------------------------------------------------

    async def mkdir(self, path: StrPath) -> None:
        relative = self._path(path, "mkdir")
        uri = self._uri(relative)
        if not relative or await self.exists(relative):
            raise AlreadyExists("something is there already", operation="mkdir", uri=uri)
        parent = relative.rpartition("/")[0]
        # Where empty directories are not kept, one that was made before may have left no trace.
        kept = self.capabilities.empty_directories is not False
        if parent and kept and not await self.isdir(parent):
            if await self._head(parent) is not None:
                raise NotADirectory("the parent is a file", operation="mkdir", uri=uri)
            raise NotFound("the parent directory does not exist; makedirs makes it, too", operation="mkdir", uri=uri)
        await self._write_marker(relative)

    async def makedirs(self, path: StrPath) -> None:
        relative = self._path(path, "makedirs")
        if not relative or await self.isdir(relative):
            return
        names = relative.split("/")
        above = ["/".join(names[:count]) for count in range(1, len(names) + 1)]
        for one, found in zip(above, await wave([partial(self._head, one) for one in above]), strict=True):
            if found is not None:
                raise AlreadyExists("a file is in the way", operation="makedirs", uri=self._uri(one))
        await self._write_marker(relative)

    async def _write_marker(self, relative: str) -> None:
        """Make the directory's marker, where the service keeps markers; the first one finds that out."""
        known = self.capabilities.empty_directories
        if known is False:
            return
        if known is None:
            self._probes.answer("empty_directories", await keeps_marker(self.client, self._root.key(relative)))
            return
        try:
            await self.client.put(f"{self._root.key(relative)}/", b"")
        except StoreError as error:
            # Services with real directories refuse the marker of one that is there.
            if not isinstance(error, FileExistsError) and not await self.isdir(relative):
                raise

    # ---- removing, copying, moving --------------------------------------------------------------------

    async def remove(self, path: StrPath) -> None:
        relative, key = self._file(path, "remove")
        try:
            await self.client.head(key)
        except NotFound as error:
            await self._raise_miss(relative, "remove", error)
        await self.client.delete(key)

    @property
    def directories_may_outlive_files(self) -> bool:
        return self.client.directories_may_outlive_files

    async def remove_batch(self, paths: Sequence[str]) -> list[StoreError]:
        """As the contract's. Requests: 1 for each `limits.delete_batch` files."""
        return await delete_keys(self.client, [self._file(path, "remove_batch")[1] for path in paths])

    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        relative = self._path(path, "rmtree")
        if not relative and not allow_root:
            raise InvalidPath(
                "this is the whole store; pass allow_root=True to empty it", operation="rmtree", uri=self.path
            )
        if self._abandoned:
            await self._abandoned.settle()
        if not await remove_tree(self._listed(), relative, "rmtree") and relative:
            raise await self._listed().absence(relative, "rmtree")

    async def remove_empty_directories(self, path: StrPath) -> None:
        """Remove the markers of directories, and no file. Requests: a listing, and one for each marker."""
        listing = self._listed()
        await remove_markers(listing, listing.prefix_of(self._path(path, "remove_empty_directories")))

    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        source, source_key = self._file(src, "copyfile")
        target, key = self._file(dst, "copyfile")
        if source == target:
            if await self._head(source) is None:
                await self._raise_miss(source, "copyfile", NotFound())
            if not overwrite:
                raise AlreadyExists("source and target are one file", operation="copyfile", uri=self._uri(target))
            return
        try:
            await self._copy(source_key, target, key, overwrite=overwrite, operation="copyfile")
        except NotFound as error:
            await self._raise_miss(source, "copyfile", error)

    async def _copy(
        self,
        source_key: str,
        target: str,
        key: str,
        *,
        overwrite: bool,
        operation: str,
        seen: ObjectStat | None = None,
    ) -> None:
        client = self.client
        if overwrite:
            options = None
        elif self.capabilities.exclusive_copy:
            options = _ONLY_NEW
        else:
            options = None
            await bulk.require_absent(client, key, self._uri(target), operation)
        try:
            await copy_object(client, key, client, source_key, options=options, seen=seen)
        except AlreadyExists as error:
            raise AlreadyExists(
                "a file is there already; pass overwrite=True to replace it", operation=operation, uri=self._uri(target)
            ) from error

    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        source, target = self._path(src, "rename"), self._path(dst, "rename")
        if not source or not target:
            raise IsADirectory("the store's root can be neither moved nor replaced", operation="rename", uri=self.path)
        found = await self._head(source)
        if found is None and not (await self._listed().first_below(source))[0]:
            raise NotFound("no such file or directory", operation="rename", uri=self._uri(source))
        if source == target and overwrite:
            return
        if found is None:
            await self._rename_tree(source, target, overwrite=overwrite)
        elif not overwrite and await self.exists(target):
            raise AlreadyExists(
                "something is there already; pass overwrite=True to replace it",
                operation="rename",
                uri=self._uri(target),
            )
        else:
            await self._rename_file(found, target, overwrite=overwrite)

    async def _rename_file(self, found: ObjectStat, target: str, *, overwrite: bool) -> None:
        client, key = self.client, self._root.key(target)
        await self._copy(found.key, target, key, overwrite=overwrite, operation="rename", seen=found)
        if (await client.head(key)).size_bytes != found.size_bytes:
            raise ChecksumMismatch(
                "the copy has another size; the source is kept", operation="rename", uri=self._uri(target)
            )
        try:
            if client.capabilities.conditional_delete:
                await client.delete(found.key, if_match=found.etag)
            else:
                await self._require_same(found)  # another writer may still come between
                await client.delete(found.key)
        except PreconditionFailed as error:
            raise PreconditionFailed(
                "another writer replaced the source after it was copied, so it is kept; the target has what it was",
                operation="rename",
                uri=client.uri(found.key),
            ) from error

    async def _require_same(self, seen: ObjectStat) -> None:
        """Raise PreconditionFailed where another object is by now, as far as etags tell. Requests: 1."""
        if seen.etag is None:
            return
        try:
            now = await self.client.head(seen.key)
        except NotFound:
            return  # the delete will say what is missing
        if now.etag not in (None, seen.etag):
            raise changed("rename", self.client.uri(seen.key))

    async def _rename_tree(self, source: str, target: str, *, overwrite: bool) -> None:
        if target.startswith(f"{source}/"):
            raise InvalidPath("a directory cannot move into itself", operation="rename", uri=self._uri(target))
        listing = self._listed()
        there = await listing.first_keys(target, 2)
        kept = there and (not overwrite or there != [listing.prefix_of(target)])
        if kept or await self._head(target) is not None:
            raise AlreadyExists(
                "something is there already, and a directory replaces nothing but an empty one",
                operation="rename",
                uri=self._uri(target),
            )
        await move_tree(listing, source, target, fresh=not there)

    # ---- ports of the bulk copy -----------------------------------------------------------------------

    def _key_of(self, file: FileStat, operation: str) -> str:
        return self._root.key(self._root.relative(file.uri, operation=operation))

    async def read_batch(self, files: Sequence[FileStat]) -> list[FileData | StoreError]:
        client = self.client

        async def read(file: FileStat) -> FileData:
            return await bulk.read_whole(client, self._key_of(file, "read_batch"), file)

        return await batches.each(files, read)

    async def read_part(self, file: FileStat, start: int, into: memoryview) -> None:
        await bulk.read_part(self.client, self._key_of(file, "read_part"), file, start, into)

    def paced(self, *, concurrency: int | None = None, rate: Rate | None = None) -> AbstractContextManager[None]:
        return self.client.paced(concurrency=concurrency, rate=rate)

    def part_checksum(self, file: FileStat, part_size_bytes: int) -> PartChecksum | None:
        return self.client.part_checksum(file, part_size_bytes)

    async def _kept_of(self, options: WriteOptions) -> WriteOptions:
        """The options without metadata and type where the service drops them: a bulk copy leaves those behind."""
        names = ["metadata"] if options.metadata else []
        if options.content_type is not None:
            names.append("content_type")
        if not names:
            return options
        known = await self._probes.settle(self.client, self._root, tuple(names))
        return replace(
            options,
            metadata=options.metadata if known.metadata else NO_OPTIONS.metadata,
            content_type=options.content_type if known.content_type else None,
        )

    async def write_batch(self, items: Sequence[WriteItem]) -> list[FileStat | StoreError]:
        async def write(item: WriteItem) -> FileStat:
            return await self.write_bytes(item.path, item.data, await self._kept_of(item.options))

        return await batches.each(items, write)

    def open_parts(
        self, path: StrPath, size_bytes: int, options: WriteOptions, *, resume: Resume | None = None
    ) -> AbstractAsyncContextManager[PartWriter]:
        relative, key = self._file(path, "open_parts")
        known = self.capabilities
        if not known.multipart or (resume is not None and not known.continued_parts):
            return super().open_parts(path, size_bytes, options, resume=resume)

        @asynccontextmanager
        async def parts() -> AsyncGenerator[PartWriter, None]:
            kept = await self._kept_of(options)
            await self._require_kept(kept, "open_parts", relative)
            uri = self._uri(relative)
            async with bulk.open_parts(self.client, key, uri, size_bytes, kept, resume=resume) as writer:
                yield writer

        return parts()

    async def drop_parts(self, path: StrPath, token: str) -> None:
        relative, key = self._file(path, "drop_parts")
        if not self.capabilities.continued_parts:
            await super().drop_parts(path, token)
        await bulk.drop_parts(self.client, key, self._uri(relative), token)

    async def find_completed(self, path: StrPath, resume: Resume) -> FileStat | None:
        relative, key = self._file(path, "open_parts")
        return await bulk.find_completed(self.client, key, self._uri(relative), resume)

    async def drop_lost_parts(self, path: StrPath, since: datetime) -> None:
        """As the contract's. Requests: 1, and 2 for each that is found."""
        await drop_lost_uploads(self.client, self._file(path, "drop_lost_parts")[1], since=since)

    def copies_natively_from(self, source: object) -> bool:
        return isinstance(source, ObjectArtifactStore) and self.client.copies_from(source.client)

    async def copy_batch(self, source: Any, items: Sequence[CopyItem]) -> list[FileStat | StoreError]:
        if not self.copies_natively_from(source):
            return await super().copy_batch(source, items)
        client = self.client
        exclusive = bool(self.capabilities.exclusive_copy)

        async def copy(item: CopyItem) -> FileStat:
            _, key = self._file(item.path, "copy_batch")
            source_key = source._key_of(item.source, "copy_batch")
            return await bulk.copy_item(client, key, source.client, source_key, item, exclusive=exclusive)

        return await batches.each(items, copy)
