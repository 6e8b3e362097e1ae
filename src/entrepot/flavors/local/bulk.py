"""Several small files in one hop to a worker thread: read, written, or copied, each with its result or its error.

At most one directory and one file a side are open at a time, so a batch works with few descriptors.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from entrepot.errors import InvalidPath, SourceChanged, StoreError
from entrepot.flavors.local.copying import copy_into
from entrepot.flavors.local.directories import Cursor, Directory, Tree, join_key, split_key
from entrepot.flavors.local.faults import failure, typed_from
from entrepot.flavors.local.hops import Check
from entrepot.flavors.local.records import require_listed, require_unchanged, shown
from entrepot.flavors.local.temporaries import sweep
from entrepot.flavors.local.writes import Temporary, look_before_writing, plan_publication
from entrepot.models import CopyItem, FileData, FileStat, WriteItem, WriteOptions
from entrepot.paths import MAX_KEY_BYTES, TEMPORARY_PREFIX, refusal

T = TypeVar("T")
R = TypeVar("R")

KeyOf = Callable[[str], str]
"""A path or URI → its key; raises InvalidPath or PathOutsideStore."""


class _Places:
    """Where the files of one batch are: path or URI → key of the directory, and name.

    Files of one directory come together, so of most only the name has to be checked.
    """

    def __init__(self, key_of: KeyOf) -> None:
        self._key_of = key_of
        self._directory, self._parent = "", ""

    def split(self, path: str) -> tuple[str, str]:
        """Raises InvalidPath, PathOutsideStore."""
        directory = self._directory
        if directory and path.startswith(directory) and len(path) < MAX_KEY_BYTES // 4:
            name = path[len(directory) :]
            if "/" not in name and refusal(name) is None:
                return self._parent, name
        parent, name = split_key(self._key_of(path))
        if os.sep == "/" and path.endswith("/" + name):
            self._directory, self._parent = path[: -len(name)], parent
        return parent, name


class Swept:
    """Which directories were freed of dead temporaries already: a bulk write looks once, not once a batch."""

    _MOST = 10_000

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._lock = threading.Lock()

    def first_time(self, key: str) -> bool:
        """Whether this is the first call for this directory."""
        with self._lock:
            if key in self._keys:
                return False
            if len(self._keys) >= self._MOST:
                self._keys.clear()
            self._keys.add(key)
            return True


def _each(
    items: Sequence[T], work: Callable[[T], R], path_of: Callable[[T], str], operation: str
) -> list[R | StoreError]:
    results: list[R | StoreError] = []
    for item in items:
        try:
            results.append(work(item))
        except StoreError as error:
            results.append(error)
        except OSError as error:
            results.append(typed_from(error, operation=operation, uri=path_of(item)))
    return results


def read_many(tree: Tree, key_of: KeyOf, files: Sequence[FileStat]) -> list[FileData | StoreError]:
    """The content of each file, whole and as it was listed."""
    places = _Places(key_of)
    with Cursor(tree) as cursor:

        def read(file: FileStat) -> FileData:
            descriptor, before = open_listed(cursor, places.split(file.uri), file, operation="read_batch")
            try:
                data = read_exactly(descriptor, before.st_size)
                require_unchanged(before, os.fstat(descriptor), operation="read_batch", uri=file.uri)
            finally:
                os.close(descriptor)
            if len(data) != file.size_bytes:
                raise SourceChanged("the file ends before its size", operation="read_batch", uri=file.uri)
            return FileData(data, file)

        return _each(files, read, lambda file: file.uri, "read_batch")


def open_listed(
    cursor: Cursor, place: tuple[str, str], file: FileStat, *, operation: str
) -> tuple[int, os.stat_result]:
    """A file that a listing told of, open; raises SourceChanged where it is another by now.

    place: the key of its directory, and its name.
    """
    parent, name = place
    if not name:
        raise failure(errno.EISDIR)
    directory = cursor.open(parent)
    try:
        descriptor, found = directory.open_file(name)
    except FileNotFoundError:
        if "\\" in name:
            _refuse_escaped(directory, name, file.uri, operation)
        raise
    try:
        require_listed(file, found, operation=operation)
    except SourceChanged:
        os.close(descriptor)
        raise
    return descriptor, found


def _refuse_escaped(directory: Directory, name: str, uri: str, operation: str) -> None:
    """Listings escape names that no store may keep; such a name is found again only to say what is wrong."""
    for entry in directory.entries():
        if entry.name != name and not entry.name.startswith(TEMPORARY_PREFIX) and shown(entry.name) == name:
            raise InvalidPath(
                "the file's name is not UTF-8 or has control characters; rename it", operation=operation, uri=uri
            )


def read_exactly(descriptor: int, size_bytes: int) -> bytes:
    """Up to `size_bytes` from the position; fewer only at the end of the file."""
    data = os.read(descriptor, size_bytes)
    if len(data) == size_bytes or not data:
        return data
    parts = [data]
    missing = size_bytes - len(data)
    while missing and (more := os.read(descriptor, missing)):
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)


def read_part(tree: Tree, key: str, file: FileStat, start: int, into: memoryview) -> None:
    """Fill `into` with a file's bytes from `start`; the file is looked at before and after."""
    with Cursor(tree) as cursor:
        descriptor, before = open_listed(cursor, split_key(key), file, operation="read_part")
    with io.FileIO(descriptor, "rb") as raw:
        raw.seek(start)
        filled = 0
        while filled < len(into) and (count := raw.readinto(into[filled:])):
            filled += count
        require_unchanged(before, os.fstat(descriptor), operation="read_part", uri=file.uri)
    if filled != len(into):
        raise SourceChanged("the file ends before its size", operation="read_part", uri=file.uri)


class BulkWriter:
    """Writes the files of one batch; a directory is made, freed of dead temporaries and synced once."""

    def __init__(self, tree: Tree, swept: Swept) -> None:
        self.cursor = Cursor(tree)
        self._swept = swept
        self._unsynced: set[str] = set()

    def temporary(
        self, place: tuple[str, str], options: WriteOptions, mode: int | None, mtime_ns: int | None
    ) -> Temporary:
        """A temporary for the file in that directory, of that name. mode, mtime_ns: of the source, where the options
        say nothing.
        """
        parent, name = place
        if not name:
            raise failure(errno.EISDIR)
        durability = options.durability or "none"
        directory, is_new, moved = self.cursor.make(parent, durable=durability != "none")
        if moved and self._swept.first_time(parent) and not is_new:
            sweep(directory)
        replaced = look_before_writing(directory, name, exclusive=options.if_none_match)
        if durability == "batch":
            self._unsynced.add(parent)
        publication = plan_publication(
            name,
            options,
            durability="none",
            in_batch=True,
            mode=replaced if mode is None else mode,
            mtime_ns=mtime_ns,
        )
        return Temporary(directory, publication)

    def sync(self) -> None:
        """Make the names of `batch` writes durable."""
        for key in sorted(self._unsynced):
            self.cursor.open(key).sync()

    def close(self) -> None:
        """Release the directory that is open."""
        self.cursor.close()


def write_many(
    tree: Tree, key_of: KeyOf, swept: Swept, items: Sequence[WriteItem], check: Check
) -> list[FileStat | StoreError]:
    """Write each file whole; its parents are made. What is told of each is its address and its size."""
    writer, places = BulkWriter(tree, swept), _Places(key_of)

    def write(item: WriteItem) -> FileStat:
        check()
        place = places.split(item.path)
        draft = writer.temporary(place, item.options, None, None)
        try:
            draft.write(item.data)
            return FileStat(tree.path(join_key(*place)), draft.commit(check).st_size)
        except BaseException:
            draft.discard()
            raise

    try:
        results = _each(items, write, lambda item: tree.path(item.path), "write_batch")
        return _durable(writer, results, tree)
    finally:
        writer.close()


def _durable(writer: BulkWriter, results: list[FileStat | StoreError], tree: Tree) -> list[FileStat | StoreError]:
    """The results, once the names are durable; where they cannot be, no file counts as written."""
    try:
        writer.sync()
    except OSError as error:
        unsure = typed_from(error, operation="write_batch", uri=tree.root)
        return [result if isinstance(result, StoreError) else unsure for result in results]
    return results


def copy_many(
    tree: Tree,
    key_of: KeyOf,
    swept: Swept,
    source: tuple[Tree, KeyOf],
    items: Sequence[CopyItem],
    *,
    check: Check,
) -> list[FileStat | StoreError]:
    """Copy each file from another local tree, with its permission bits and its time."""
    source_tree, source_key_of = source
    writer, places, source_places = BulkWriter(tree, swept), _Places(key_of), _Places(source_key_of)
    with Cursor(source_tree) as reader:

        def copy(item: CopyItem) -> FileStat:
            check()
            place = places.split(item.path)
            descriptor, before = open_listed(
                reader, source_places.split(item.source.uri), item.source, operation="copy_batch"
            )
            try:
                mode, mtime_ns = stat.S_IMODE(before.st_mode), before.st_mtime_ns
                draft = writer.temporary(place, item.options, mode, mtime_ns)
                try:
                    copy_into(draft, descriptor, before, uri=item.source.uri, check=check)
                    return FileStat(tree.path(join_key(*place)), draft.commit(check).st_size)
                except BaseException:
                    draft.discard()
                    raise
            finally:
                os.close(descriptor)

        try:
            return _durable(writer, _each(items, copy, lambda item: tree.path(item.path), "copy_batch"), tree)
        finally:
            writer.close()
