"""The contract: what every artifact store can do.

A user replaces the local store by any other flavor and changes no code. A rule holds for every flavor, or it is a
declared capability. `entrepot.testing` has the same rules as tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, nullcontext
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeAlias, overload

from entrepot import batches
from entrepot.components import StackComponent, StackComponentType
from entrepot.errors import ConfigurationError, NotFound, PreconditionFailed, StoreError, UnsupportedOperation
from entrepot.files import (
    BinaryReader,
    BinaryWriter,
    Opening,
    PartChecksum,
    PartWriter,
    TextReader,
    TextWriter,
    check_text_options,
)
from entrepot.models import (
    NO_OPTIONS,
    Buffer,
    Capabilities,
    CopyItem,
    FileData,
    FileStat,
    Limits,
    PresignMethod,
    Resume,
    WriteItem,
    WriteOptions,
)
from entrepot.opened import entered, left
from entrepot.paths import StrPath, join, path_text, scheme_of
from entrepot.rates import Rate

ReadTextMode: TypeAlias = Literal["r", "rt", "tr"]
WriteTextMode: TypeAlias = Literal["w", "wt", "tw", "x", "xt", "tx", "a", "at", "ta"]
ReadBinaryMode: TypeAlias = Literal["rb", "br"]
WriteBinaryMode: TypeAlias = Literal["wb", "bw", "xb", "bx", "ab", "ba"]
WriteMode: TypeAlias = Literal["w", "x", "a"]


class BaseArtifactStore(StackComponent, ABC):
    """An artifact store: thirteen methods, the same for every flavor, and faster forms of some of them.

    path: relative to the store's root, or a full URI below it. Methods raise InvalidPath or PathOutsideStore before
    any I/O where a path is not acceptable, PermissionDenied where the service refuses, and members of `StoreError`
    otherwise, each also the builtin that a Python user expects.

    A store holds no connection until it is used, works from several event loops and threads, and survives fork and
    pickling (secrets are not pickled). `close()` drops the connections of the running loop; it can be called twice,
    and the store stays usable.
    """

    TYPE: ClassVar[StackComponentType] = StackComponentType.ARTIFACT_STORE
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]]

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        text = path_text(path)
        scheme = scheme_of(text)
        accepted = self.SUPPORTED_SCHEMES
        if (f"{scheme}://" if scheme else "") not in accepted:
            shown = ", ".join(sorted(one or "a plain path" for one in accepted))
            raise ConfigurationError(f"flavor {self.FLAVOR!r} keeps artifacts at {shown}", uri=text)
        super().__init__(path=text, **configuration)

    # ---- identity ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def path(self) -> str:
        """The root's address, without a trailing slash."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store can do, as far as known without asking the service; None marks what is not known yet."""

    @property
    def limits(self) -> Limits:
        """What the service takes in one request."""
        return Limits()

    @property
    def is_local(self) -> bool:
        """True where only this machine sees the artifacts."""
        return False

    async def probe_capabilities(self) -> Capabilities:
        """The capabilities with every unknown settled. Requests: none for known services, else a few."""
        return self.capabilities

    async def close(self) -> None:
        """Drop the connections of the running event loop; harmless twice, the store stays usable."""

    async def __aenter__(self) -> Self:
        """Until the `async with` ends, `entrepot.fileio` reaches the store from this context."""
        entered(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left(self)
        await self.close()

    # ---- the thirteen methods ---------------------------------------------------------------------

    @overload
    def open(self, path: StrPath, mode: ReadBinaryMode, *, options: None = None) -> Opening[BinaryReader]: ...
    @overload
    def open(
        self, path: StrPath, mode: WriteBinaryMode, *, options: WriteOptions | None = None
    ) -> Opening[BinaryWriter]: ...
    @overload
    def open(
        self,
        path: StrPath,
        mode: ReadTextMode = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        options: None = None,
    ) -> Opening[TextReader]: ...
    @overload
    def open(
        self,
        path: StrPath,
        mode: WriteTextMode,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        options: WriteOptions | None = None,
    ) -> Opening[TextWriter]: ...
    @overload
    def open(
        self,
        path: StrPath,
        mode: str,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        options: WriteOptions | None = None,
    ) -> Opening[Any]: ...
    def open(
        self,
        path: StrPath,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        options: WriteOptions | None = None,
    ) -> Opening[Any]:
        """Open a file: `async with store.open(path) as f`, or `f = await store.open(path)`.

        mode: `r`, `w`, `x` (create only, decided by the service) or `a`, with `t` (default; UTF-8) or `b`. Reading is
        seekable, by ranged reads. Writing creates missing parents and becomes visible in one step, only by `close()`
        or a clean exit: an exception, a cancellation or a dropped writer leave what was there before.
        Requests: 1 to open for reading; 1 to write up to a part (8 MiB), else a multipart upload.
        Raises: NotFound, AlreadyExists (`x`), IsADirectory, UnsupportedOperation for `+` and for `a` where the
        service cannot append.
        """
        kind, binary = parse_mode(mode)
        uri = path_text(path)
        if binary and (encoding, errors, newline) != (None, None, None):
            raise ValueError("binary mode takes no encoding, errors or newline")
        if kind is None and options is not None:
            raise ValueError("options are for writing")
        if not binary:
            check_text_options(encoding or "utf-8", errors or "strict", newline)

        async def make() -> Any:
            if kind is None:
                reader = await self.open_reader(uri)
                if binary:
                    return reader
                return TextReader(reader, encoding=encoding or "utf-8", errors=errors or "strict", newline=newline)
            writer = await self.open_writer(uri, kind, options or NO_OPTIONS)
            if binary:
                return writer
            return TextWriter(writer, encoding=encoding or "utf-8", errors=errors or "strict", newline=newline)

        return Opening(make)

    @abstractmethod
    async def open_reader(self, path: StrPath) -> BinaryReader:
        """What `open` reads through; a flavor implements it, users call `open`."""

    @abstractmethod
    async def open_writer(self, path: StrPath, mode: WriteMode, options: WriteOptions) -> BinaryWriter:
        """What `open` writes through; a flavor implements it, users call `open`."""

    @abstractmethod
    async def copyfile(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        """Copy one file inside the store, on the service's side where it can.

        Requests: 1, or a HEAD more where `Capabilities.exclusive_copy` is False and overwrite is False (then a race
        with another writer is possible); multipart above the service's limit for one copy.
        Raises: NotFound, AlreadyExists, IsADirectory.
        """

    @abstractmethod
    async def exists(self, path: StrPath) -> bool:
        """Whether a file or a directory is there. Requests: 1 for a file, 2 otherwise."""

    @abstractmethod
    def glob(self, pattern: StrPath) -> AsyncGenerator[str, None]:
        """The full URIs that match, in UTF-8 key order, a directory sorted as its name and `/`.

        pattern: as Python 3.13's `glob.translate(pattern, recursive=True, include_hidden=True)`: `*` and `?` within a
        name, `**` over any number of directories. Lists only below the pattern's literal prefix.
        """

    @abstractmethod
    async def isdir(self, path: StrPath) -> bool:
        """Whether a directory is there: a real one, a marker, or any key below. The root always is one."""

    @abstractmethod
    async def listdir(self, path: StrPath = "") -> list[str]:
        """The names in a directory, files and directories, sorted. Requests: 1 a 1,000 names.

        Raises: NotFound, NotADirectory.
        """

    @abstractmethod
    async def makedirs(self, path: StrPath) -> None:
        """Make a directory and its parents; an existing directory is fine.

        Raises: AlreadyExists where a file is in the way.
        """

    @abstractmethod
    async def mkdir(self, path: StrPath) -> None:
        """Make one directory. Raises: AlreadyExists; NotFound where the parent is missing."""

    @abstractmethod
    async def remove(self, path: StrPath) -> None:
        """Remove one file. Requests: 2. Raises: NotFound, IsADirectory."""

    @abstractmethod
    async def rename(self, src: StrPath, dst: StrPath, overwrite: bool = False) -> None:
        """Move a file or a tree inside the store; atomic where `Capabilities.atomic_rename`, else copy, verify, delete.

        overwrite: a file may replace a file, and a tree an empty directory; a tree replaces nothing else.
        A failure keeps the source, and so does another writer who replaces it meanwhile, of a tree the file replaced
        (`Capabilities.conditional_delete`; without, a race stays). Raises: NotFound, AlreadyExists, IsADirectory;
        InvalidPath for a tree that would move into itself; PreconditionFailed, of a tree in a PartialFailure, where the
        source was replaced.
        """

    @abstractmethod
    async def rmtree(self, path: StrPath, *, allow_root: bool = False) -> None:
        """Remove a directory and all below it, in batches; siblings with the same prefix stay.

        allow_root: needed to empty the whole store. Raises: NotFound, NotADirectory; PartialFailure with one error
        a key that stayed.
        """

    @abstractmethod
    async def stat(self, path: StrPath) -> FileStat:
        """What is known of a file or directory. Requests: 1 for a file, 2 for a directory. Raises: NotFound."""

    @abstractmethod
    def walk(
        self, top: StrPath = "", topdown: bool = True, onerror: Callable[[StoreError], object] | None = None
    ) -> AsyncGenerator[tuple[str, list[str], list[str]], None]:
        """As `os.walk`: (directory URI, directory names, file names), names sorted.

        With topdown, edits of the directory names prune. Siblings are listed several at a time, never below a parent
        that was not yet yielded. Errors of a listing go to `onerror`, else they are passed over, as `os.walk` does.
        """

    # ---- faster forms, each with a default over the thirteen --------------------------------------

    async def scan(self, path: StrPath = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        """Everything in a directory, a page at a time, memory bounded.

        recursive: all files below, and the directories that exist by themselves (real ones, markers); else the
        direct children, files and directories. Never the directory itself. Requests: 1 a 1,000 keys on object stores.
        Raises: NotFound, NotADirectory.
        """
        if not recursive:
            base = path_text(path).rstrip("/")
            for name in await self.listdir(path):
                yield await self.stat(join(base, name))
            return
        await self.listdir(path)
        async with aclosing(self.walk(path, onerror=_fail)) as levels:
            async for directory, directories, files in levels:
                for name in (*directories, *files):
                    yield await self.stat(f"{directory}/{name}")

    async def size(self, path: StrPath) -> int:
        """The size of a file in bytes, or of all files below a directory. Raises: NotFound."""
        found = await self.stat(path)
        if not found.is_dir:
            return found.size_bytes
        total = 0
        async with aclosing(self.scan(path)) as entries:
            async for entry in entries:
                total += entry.size_bytes
        return total

    async def read_bytes(self, path: StrPath) -> bytes:
        """The whole content of a file. Requests: 1. Raises: NotFound, IsADirectory."""
        async with self.open(path, "rb") as file:
            return await file.read()

    async def write_bytes(self, path: StrPath, data: Buffer, options: WriteOptions | None = None) -> FileStat:
        """Write a whole file in one step; what the reply told of it is returned.

        Requests: 1 up to the service's limit for one PUT. Raises: AlreadyExists (`if_none_match`), PreconditionFailed.
        """
        wanted = options or NO_OPTIONS
        mode: WriteMode = "x" if wanted.if_none_match else "w"
        writer = await self.open_writer(path, mode, wanted)
        async with writer:
            await writer.write(data)
        return FileStat(uri=writer.name, size_bytes=len(memoryview(data).cast("B")))

    async def read_range(
        self, path: StrPath, start: int, stop: int | None = None, *, if_match: str | None = None
    ) -> bytes:
        """The bytes from `start` up to, without, `stop` (the end when None); fewer where the file ends before.

        if_match: an etag; PreconditionFailed where the file is another by now. Requests: 1.
        Raises: NotFound, IsADirectory; a range that begins after the end is empty.
        """
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"not a byte range: {start}..{stop}")
        async with self.open(path, "rb") as file:
            await file.seek(start)
            data = await file.read(-1 if stop is None else stop - start)
        # Looked at after the read: bytes of a newer file cannot pass for those of the one named.
        if if_match is not None and (await self.stat(path)).etag != if_match:
            raise PreconditionFailed(
                "the file is another by now; read it again", operation="read_range", uri=path_text(path)
            )
        return data

    # ---- where the service has them ---------------------------------------------------------------

    async def presign(self, path: StrPath, method: PresignMethod = "GET", expires_s: int = 3_600) -> str:
        """A URL by which anyone who has it can do that to one file, without credentials, until it expires.

        method: `PUT` writes whatever is sent, under this path. expires_s: from 1 to 604,800 (seven days), and never
        longer than the credentials live that sign it. The URL is a secret: it is logged nowhere.
        Requests: none, unless the service must sign. Raises: UnsupportedOperation without `Capabilities.presign`;
        CredentialsMissing where nothing can sign.
        """
        raise UnsupportedOperation("this store has no presigned URLs", operation="presign")

    async def list_versions(self, path: StrPath) -> list[FileStat]:
        """What the service has kept of one file, newest first, each with its `version`; empty where it kept none.

        A file that was removed has the versions before. Requests: 1 a 1,000 versions.
        Raises: UnsupportedOperation without `Capabilities.versions`.
        """
        raise UnsupportedOperation("this store keeps no versions", operation="list_versions")

    async def read_version(self, path: StrPath, version: str) -> bytes:
        """The whole content of an older version of a file. Requests: 1.

        version: as `list_versions` tells it. Raises: NotFound; UnsupportedOperation without `Capabilities.versions`.
        """
        raise UnsupportedOperation("this store keeps no versions", operation="read_version")

    # ---- ports of the bulk copy (see `entrepot.transfer.ports`) -----------------------------------

    batch_items: ClassVar[int] = 1
    """How many small files one `read_batch`, `write_batch` or `copy_batch` should be given: more than one only where a
    batch costs less than its files one by one, as a hop to a worker thread does. Many calls are under way at once.
    """

    async def read_batch(self, files: Sequence[FileStat]) -> list[FileData | StoreError]:
        """The whole content of several small files, or the error of each, in the order asked for.

        Each file is the one that the scan saw: another etag is SourceChanged. Cost: one thread hop locally, one
        request a file on object stores, all at once.
        """
        return await batches.read_each(self, files)

    scans_in_order: ClassVar[bool] = False
    """Whether `scan` tells entries in UTF-8 key order, a directory as its name and `/`. Two such trees are compared
    while both are listed; of another one, all that `scan` tells is held and sorted first.
    """

    @property
    def directories_may_outlive_files(self) -> bool:
        """Whether a directory may still be there, or be listed, when the last file in it was removed."""
        return self.capabilities.directories == "real"

    def part_checksum(self, file: FileStat, part_size_bytes: int) -> PartChecksum | None:
        """What can verify the file from the parts read, in parts of that size; None where nothing can."""
        return None

    async def read_part(self, file: FileStat, start: int, into: memoryview) -> None:
        """Fill `into` with the file's bytes from `start`; raises SourceChanged where that is no longer the file's."""
        await batches.read_part(self, file, start, into)

    async def remove_batch(self, paths: Sequence[str]) -> list[StoreError]:
        """Remove several files; one error for each that stayed, its `uri` says which. A missing one is no error.

        Cost: as `remove`, each; in batches without a look at each on object stores (1 request for 1,000).
        """
        return await batches.remove_each(self, paths)

    async def write_batch(self, items: Sequence[WriteItem]) -> list[FileStat | StoreError]:
        """Write several small files whole; what the reply told of each, or its error, in the order given."""
        return await batches.write_each(self, items)

    def open_parts(
        self, path: StrPath, size_bytes: int, options: WriteOptions, *, resume: Resume | None = None
    ) -> AbstractAsyncContextManager[PartWriter]:
        """One large file, written in parts; published by a clean exit, dropped without trace by an exception.

        resume: go on with what a writer left that was asked to `keep`; `held_parts` tells what need not be put again.
        Its options are those of this call, but for what the service fixed when the upload began: on S3 metadata (with
        the time) and content type. Where it is not opened, what was kept is as it was.
        Requests: as the flavor tells, and to resume a listing of the parts.
        Raises: UnsupportedOperation for `resume` without `Capabilities.continued_parts`; before any part is put
        UploadGone where it was completed, dropped or forgotten, or is of another path, size or part size: then write
        anew; UploadBusy where another process has it (files on disk only: a service does not tell).
        """
        if resume is not None:
            raise UnsupportedOperation(
                "this store cannot go on with a file that was written in part", operation="open_parts"
            )
        mode: WriteMode = "x" if options.if_none_match else "w"
        return batches.parts_through_a_writer(lambda: self.open_writer(path, mode, options), size_bytes)

    async def drop_parts(self, path: StrPath, token: str) -> None:
        """Drop what a writer left that was asked to `keep`; what is gone already is no error. Idempotent.

        token: its `resume_token`. Requests: 1, and where parts are objects of their own, those that remove them.
        Raises: UnsupportedOperation without `Capabilities.continued_parts`; UploadGone for a token of another path;
        UploadBusy.
        """
        raise UnsupportedOperation("this store keeps no file that was written in part", operation="drop_parts")

    async def find_completed(self, path: StrPath, resume: Resume) -> FileStat | None:
        """The file that a completion has made of which nobody heard, where its parts prove that it is the one.

        resume: of an upload that is gone, with all its parts as `put_part` returned them. None where nothing proves
        it: then write it anew. This default knows of no proof. Requests: 1 or 2.
        """
        return None

    async def drop_lost_parts(self, path: StrPath, since: datetime) -> None:
        """Drop what a process left that was killed after the service began a large file, and before it knew its name.

        That is: what was begun of this very file since then, and has no part. This default knows of nothing.
        """

    def paced(self, *, concurrency: int | None = None, rate: Rate | None = None) -> AbstractContextManager[None]:
        """For the length of a `with`: so many requests in flight, in place of an adaptive number, and no more a second.

        A store that makes no requests of its own, as on a disk, has nothing to bound.
        """
        return nullcontext()

    async def remove_empty_directories(self, path: StrPath) -> None:
        """Remove a directory, with those below it, where none of them holds a file; what is not there is fine.

        A move ends with it, so files that others write meanwhile should survive it. This default looks, then removes:
        a flavor that can remove a directory only while it is empty does that instead. Requests: a listing and `rmtree`.
        """
        try:
            async with aclosing(self.scan(path)) as entries:
                async for entry in entries:
                    if not entry.is_dir:
                        return
            await self.rmtree(path)
        except NotFound:
            return

    def copies_natively_from(self, source: object) -> bool:
        """Whether `copy_batch` can copy from that store without the bytes passing through this process."""
        return False

    async def copy_batch(self, source: Any, items: Sequence[CopyItem]) -> list[FileStat | StoreError]:
        """Copy several files of `source` natively (server-side, or in the kernel), of any size."""
        raise UnsupportedOperation("this store has no native copy", operation="copy_batch", uri=self.path)


def parse_mode(mode: str) -> tuple[WriteMode | None, bool]:
    """`open`'s mode → (None to read, else w, x or a; whether binary).

    Raises ValueError, and UnsupportedOperation for `+`.
    """
    if "+" in mode:
        raise UnsupportedOperation(f"mode {mode!r}: a store's file is read or written, not both", operation="open")
    letters = set(mode)
    kinds = letters & set("rwxa")
    if len(letters) != len(mode) or letters - set("rwxabt") or len(kinds) != 1 or {"b", "t"} <= letters:
        raise ValueError(f"invalid mode: {mode!r}")
    kind = kinds.pop()
    return (None if kind == "r" else kind), "b" in letters  # type: ignore[return-value]  # one of w, x, a by the check


def _fail(error: StoreError) -> None:
    """A listing that was not whole is an error for who counts on it; a directory that went meanwhile is not."""
    if not isinstance(error, NotFound):
        raise error
