"""Which store ZenML's `fileio` reaches for a path.

ZenML keeps one file system a scheme, and the store that was made last takes it: with two stores of one scheme, paths
of the first fail, and a local store of a plugin would take every path of the machine. Ours share a file system that
goes by the root, the longest that matches; what lies below none of them stays with what served the scheme before.
"""

import os
import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from zenml.io.filesystem import BaseFilesystem
from zenml.io.filesystem_registry import default_filesystem_registry as registry
from zenml.utils.io_utils import sanitize_remote_path

from entrepot.errors import PathOutsideStore
from entrepot.paths import path_text, printable

if TYPE_CHECKING:
    from entrepot.integrations.zenml.stores import EntrepotArtifactStore

_CHUNK_BYTES: Final = 8 * 1024**2
_REGISTERING: Final = threading.Lock()


def register(store: "EntrepotArtifactStore") -> None:
    """Have `fileio` reach this store below its root, in place of an older one of that root."""
    for scheme in store.config.SUPPORTED_SCHEMES:
        with _REGISTERING:
            found = _registered(scheme)
            if found is None or not issubclass(found, RoutedFilesystem):
                parts = {"SUPPORTED_SCHEMES": {scheme}, "stores": {}, "others": found}
                found = type("RoutedFilesystem", (RoutedFilesystem,), parts)
                registry.register(found)
            found.stores[store.path] = store


def store_of(path: str) -> "EntrepotArtifactStore | None":
    """The store of ours that `fileio` reaches for a path, None where it is another file system."""
    try:
        found = registry.get_filesystem_for_path(path)
    except ValueError:
        return None
    return found.nearest(path) if issubclass(found, RoutedFilesystem) else None


def _registered(scheme: str) -> Any:
    try:
        return registry.get_filesystem_for_scheme(scheme)
    except ValueError:
        return None


def _routed(name: str) -> Any:
    """The method of whatever serves the path."""

    def call(cls: "type[RoutedFilesystem]", path: bytes | str, *args: Any, **kwargs: Any) -> Any:
        method: Callable[..., Any] = getattr(cls.serving(path), name)
        return method(path, *args, **kwargs)

    call.__name__ = name
    return classmethod(call)


class RoutedFilesystem(BaseFilesystem):
    """The file system of one scheme, as `fileio` calls it.

    stores: by root. others: what served the scheme before, for all other paths.
    """

    stores: ClassVar["dict[str, EntrepotArtifactStore]"]
    others: ClassVar[Any]

    @classmethod
    def nearest(cls, path: bytes | str) -> "EntrepotArtifactStore | None":
        """The store with the longest root that the path is at or below, by whole names."""
        text, separator = sanitize_remote_path(path_text(path)), "/"
        if "" in cls.SUPPORTED_SCHEMES:
            text, separator = os.path.abspath(text), os.sep
        roots = [root for root in cls.stores if text == root or text.startswith(root + separator)]
        return cls.stores[max(roots, key=len)] if roots else None

    @classmethod
    def serving(cls, path: bytes | str) -> Any:
        """The store, or the file system that served such paths before. Raises: PathOutsideStore where none did."""
        found = cls.nearest(path) or cls.others
        if found is None:
            raise PathOutsideStore("no artifact store of the stack is there", uri=printable(path_text(path)))
        return found

    open = _routed("open")
    exists = _routed("exists")
    glob = _routed("glob")
    isdir = _routed("isdir")
    listdir = _routed("listdir")
    makedirs = _routed("makedirs")
    mkdir = _routed("mkdir")
    remove = _routed("remove")
    rmtree = _routed("rmtree")
    size = _routed("size")
    stat = _routed("stat")
    walk = _routed("walk")

    @classmethod
    def copyfile(cls, src: bytes | str, dst: bytes | str, overwrite: bool = False) -> None:
        """Copy inside a store by that store, between two of them a piece at a time."""
        source, target = cls.serving(src), cls.serving(dst)
        if source is target:
            source.copyfile(src, dst, overwrite=overwrite)
            return
        if not overwrite and target.exists(dst):
            raise FileExistsError(f"{path_text(dst)!r} exists already; pass overwrite=True to copy over it")
        with source.open(src, "rb") as read, target.open(dst, "wb") as written:
            shutil.copyfileobj(read, written, _CHUNK_BYTES)

    @classmethod
    def rename(cls, src: bytes | str, dst: bytes | str, overwrite: bool = False) -> None:
        """Move inside a store. Raises: NotImplementedError between two, as ZenML's `fileio` does."""
        source = cls.serving(src)
        if source is not cls.serving(dst):
            raise NotImplementedError(f"{path_text(src)!r} and {path_text(dst)!r} are in two stores: copy, then remove")
        source.rename(src, dst, overwrite=overwrite)
