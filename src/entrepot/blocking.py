"""The blocking face: every store, called plainly.

    with SyncArtifactStore(store) as artifacts:
        with artifacts.open("runs/1/model.pkl", "wb") as file:
            pickle.dump(model, file)

Each method is the async one, run by the bridge: same name, signature, types, rules and errors.
"""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Concatenate, Final, Literal, ParamSpec, Self, TypeVar, overload

from entrepot.bridge import BRIDGE
from entrepot.contract import (
    BaseArtifactStore,
    ReadBinaryMode,
    ReadTextMode,
    WriteBinaryMode,
    WriteTextMode,
    parse_mode,
)
from entrepot.files import BinaryReader, BinaryWriter, check_text_options
from entrepot.models import Capabilities, Limits, WriteOptions
from entrepot.opened import entered, left
from entrepot.paths import StrPath
from entrepot.syncfiles import (
    BUFFER_BYTES,
    MarkedTextWriter,
    RawReader,
    RawWriter,
    StoreTextWriter,
    StoreWriter,
    begins_with_mark,
)

P = ParamSpec("P")
T = TypeVar("T")

_AHEAD: Final = 1_000
"""Items that an iterator takes in one go at most: a page of a listing."""


def blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncArtifactStore, P], T]:
    """The method as blocking code calls it."""
    name = method.__name__

    @functools.wraps(method)
    def call(self: SyncArtifactStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        store = self._store
        result: T = self._bridge.run(lambda: getattr(store, name)(*args, **kwargs), store)
        return result

    return call


def blocking_iterator(
    method: Callable[Concatenate[Any, P], AsyncGenerator[T, None]], *, ahead: int = _AHEAD
) -> Callable[Concatenate[SyncArtifactStore, P], Generator[T, None, None]]:
    """The async iterator as a plain generator.

    ahead: how many items may be taken before they are asked for; 1 where the caller's doing decides what comes next.
    """
    name = method.__name__

    @functools.wraps(method)
    def call(self: SyncArtifactStore, /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        items: AsyncGenerator[T, None] = getattr(self._store, name)(*args, **kwargs)
        return self._bridge.iterate(items, ahead, self._store)

    signature = inspect.signature(method)
    result = (
        str(signature.return_annotation).replace("AsyncGenerator[", "Generator[").replace(", None]", ", None, None]")
    )
    call.__annotations__ = {**method.__annotations__, "return": result}
    call.__signature__ = signature.replace(return_annotation=result)  # type: ignore[attr-defined]
    return call


def blocking_function(function: Callable[P, Coroutine[Any, Any, T]], *, name: str) -> Callable[P, T]:
    """The function as blocking code calls it, under a name of its own."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return BRIDGE.run(lambda: function(*args, **kwargs))

    call.__name__ = call.__qualname__ = name
    return call


class SyncArtifactStore:
    """A store for blocking code; `store` is the async one behind it.

    Works from many threads at once, from inside a running event loop, after fork and spawn. Ctrl-C cancels the
    operation under way and raises KeyboardInterrupt once it has ended; a cancelled operation never returns.

    Cost: 10 to 20 µs a call over the async store in a plain thread, on a loop of that thread with connections of its
    own; 40 to 100 µs where a call must reach the background loop (open files, iterators, stores on this machine,
    inside a running loop).
    """

    def __init__(self, store: BaseArtifactStore) -> None:
        self._store = store
        self._bridge = BRIDGE

    def __repr__(self) -> str:
        return f"SyncArtifactStore({self._store!r})"

    def __reduce__(self) -> tuple[type[SyncArtifactStore], tuple[BaseArtifactStore]]:
        return SyncArtifactStore, (self._store,)

    # ---- identity ---------------------------------------------------------------------------------

    @property
    def store(self) -> BaseArtifactStore:
        """The async store."""
        return self._store

    @property
    def path(self) -> str:
        """The root's address, without a trailing slash."""
        return self._store.path

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do, as far as known without asking the service; None marks what is not known yet."""
        return self._store.capabilities

    @property
    def limits(self) -> Limits:
        """What the service takes in one request."""
        return self._store.limits

    @property
    def is_local(self) -> bool:
        """True where only this machine sees the artifacts."""
        return self._store.is_local

    def describe(self) -> dict[str, Any]:
        """The configuration as shown to people: secrets as `***`, unset keys left out."""
        return self._store.describe()

    def close(self) -> None:
        """Drop the connections that this thread's calls and the background loop opened; the store stays usable.

        Those of another thread's calls are closed when that thread ends.
        """
        self._bridge.close(self._store)

    def __enter__(self) -> Self:
        """Until the `with` ends, `entrepot.fileio` reaches the store from this context."""
        entered(self._store)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left(self._store)
        self.close()

    # ---- files ------------------------------------------------------------------------------------

    @overload
    def open(  # type: ignore[overload-overlap]  # 0 is an int, and matched first
        self,
        path: StrPath,
        mode: ReadBinaryMode | WriteBinaryMode,
        *,
        buffering: Literal[0],
        options: WriteOptions | None = None,
    ) -> io.RawIOBase: ...
    @overload
    def open(
        self, path: StrPath, mode: ReadBinaryMode, *, buffering: int = -1, options: None = None
    ) -> io.BufferedReader: ...
    @overload
    def open(
        self, path: StrPath, mode: WriteBinaryMode, *, buffering: int = -1, options: WriteOptions | None = None
    ) -> io.BufferedWriter: ...
    @overload
    def open(
        self,
        path: StrPath,
        mode: ReadTextMode | WriteTextMode = "r",
        *,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        options: WriteOptions | None = None,
    ) -> io.TextIOWrapper: ...
    @overload
    def open(
        self,
        path: StrPath,
        mode: str,
        *,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        options: WriteOptions | None = None,
    ) -> Any: ...
    def open(
        self,
        path: StrPath,
        mode: str = "r",
        *,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        options: WriteOptions | None = None,
    ) -> io.IOBase:
        """Open a file as an `io` object, for whatever reads or writes files: pickle, csv, zipfile, pandas, torch.

        mode: `r`, `w`, `x` (create only, decided by the service) or `a`, with `t` (default; UTF-8) or `b`. Reading is
        seekable, by ranged reads. buffering: the size of the buffer in bytes (1 MiB by default), 0 for none (binary
        only), 1 for a flush a line (text only; what is flushed is sent on, not published).

        What is written becomes visible in one step, only by `close()` or a clean exit of `with`. Leaving the `with`
        by an exception, dropping the file, also in a wrapper (`io.TextIOWrapper`, zipfile), and the end of the
        process leave what was there before; `abort()` does so on purpose. (A wrapper in a `contextlib.ExitStack` is
        the exception: whatever happened, it closes as for a clean exit; give it a `with` of its own.)
        Requests and errors: as the async `open`.
        """
        kind, binary = parse_mode(mode)
        if binary and (encoding, errors, newline) != (None, None, None):
            raise ValueError("binary mode takes no encoding, errors or newline")
        if buffering == 0 and not binary:
            raise ValueError("text is always buffered; buffering=0 is for binary modes")
        if not binary:
            check_text_options(encoding or "utf-8", errors or "strict", newline)
        raw = self._open_raw(path, f"{kind or 'r'}b", options)
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else BUFFER_BYTES
        buffered = io.BufferedReader(raw, size) if isinstance(raw, RawReader) else StoreWriter(raw, size)
        if binary:
            return buffered
        text: io.TextIOWrapper
        if isinstance(buffered, StoreWriter):
            # As in the async face, "\n" stays "\n" on every system: artifacts move between machines.
            layer = MarkedTextWriter if begins_with_mark(encoding or "utf-8") else StoreTextWriter
            text = layer(buffered, encoding or "utf-8", errors, newline or "\n", line_buffering=buffering == 1)
        else:
            text = io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)
        text.mode = mode  # type: ignore[misc]  # as the builtin `open` sets it
        return text

    def _open_raw(self, path: StrPath, mode: str, options: WriteOptions | None) -> RawReader | RawWriter:
        store, background = self._store, self._bridge.background()

        async def opened() -> BinaryReader | BinaryWriter:
            file: BinaryReader | BinaryWriter = await store.open(path, mode, options=options)
            return file

        file = background.run(opened, store)
        return RawReader(background, file) if isinstance(file, BinaryReader) else RawWriter(background, file, mode)

    # ---- the contract's methods, one line each ----------------------------------------------------

    copyfile = blocking(BaseArtifactStore.copyfile)
    exists = blocking(BaseArtifactStore.exists)
    glob = blocking_iterator(BaseArtifactStore.glob)
    isdir = blocking(BaseArtifactStore.isdir)
    listdir = blocking(BaseArtifactStore.listdir)
    list_versions = blocking(BaseArtifactStore.list_versions)
    makedirs = blocking(BaseArtifactStore.makedirs)
    mkdir = blocking(BaseArtifactStore.mkdir)
    presign = blocking(BaseArtifactStore.presign)
    probe_capabilities = blocking(BaseArtifactStore.probe_capabilities)
    read_bytes = blocking(BaseArtifactStore.read_bytes)
    read_range = blocking(BaseArtifactStore.read_range)
    read_version = blocking(BaseArtifactStore.read_version)
    remove = blocking(BaseArtifactStore.remove)
    rename = blocking(BaseArtifactStore.rename)
    rmtree = blocking(BaseArtifactStore.rmtree)
    scan = blocking_iterator(BaseArtifactStore.scan)
    size = blocking(BaseArtifactStore.size)
    stat = blocking(BaseArtifactStore.stat)
    # The caller's edits of the directory names decide what comes next.
    walk = blocking_iterator(BaseArtifactStore.walk, ahead=1)
    write_bytes = blocking(BaseArtifactStore.write_bytes)
