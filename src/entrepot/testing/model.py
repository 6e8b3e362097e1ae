"""What a store should hold and answer, as two dictionaries: the model that the state machine compares a store with.

It takes both kinds of directories. Real ones are a set, to which every parent belongs. Implied ones exist while a file
or a marker lies below them, so the model keeps the markers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from entrepot.errors import (
    AlreadyExists,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    StoreError,
    UnsupportedOperation,
)
from entrepot.models import Capabilities


class Refused(Exception):
    """The operation fails with one of these errors, and changes nothing.

    may_pass: doing nothing at all is as good an answer.
    """

    def __init__(self, *kinds: type[StoreError], may_pass: bool = False) -> None:
        super().__init__(", ".join(kind.__name__ for kind in kinds))
        self.kinds, self.may_pass = kinds, may_pass


class Unspecified(Exception):
    """The contract promises nothing here, or this place cannot keep it: no such step is made."""


class _Faults:
    """Every reason to refuse one operation: which of them a store meets first is its own affair."""

    def __init__(self) -> None:
        self._kinds: list[type[StoreError]] = []

    def add(self, *kinds: type[StoreError], when: object = True) -> None:
        if when:
            self._kinds += kinds

    def check(self) -> None:
        if self._kinds:
            raise Refused(*self._kinds)


@dataclass
class ModelTree:
    """The files and directories of one store. Paths are relative and valid; the root is empty.

    beside: where directories are implied, `a` and `a/b` can both be files. made: real directories, or the markers.
    """

    capabilities: Capabilities
    beside: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    @property
    def real(self) -> bool:
        """Whether directories exist by themselves."""
        return self.capabilities.directories == "real"

    # ---- what is there -------------------------------------------------------------------------------------

    def directories(self) -> set[str]:
        """All directories but the root."""
        found = set(self.made)
        for path in (*self.files, *self.made):
            found.update(parents(path))
        return found

    def is_dir(self, path: str) -> bool:
        return not path or path in self.directories()

    def exists(self, path: str) -> bool:
        return path in self.files or self.is_dir(path)

    def holds_a_file(self, path: str) -> bool:
        return any(is_below(file, path) for file in self.files)

    def _file_above(self, path: str) -> bool:
        return any(parent in self.files for parent in parents(path))

    def _read(self, path: str) -> bytes:
        if path in self.files:
            return self.files[path]
        raise Refused(IsADirectory if self.is_dir(path) else NotFound)

    def _directory(self, path: str) -> None:
        if not self.is_dir(path):
            raise Refused(NotADirectory if path in self.files else NotFound)

    def read_bytes(self, path: str) -> bytes:
        return self._read(path)

    def read_range(self, path: str, start: int, stop: int | None) -> bytes:
        return self._read(path)[start:stop]

    def stat(self, path: str) -> tuple[bool, int]:
        """(Is a directory, size in bytes)."""
        if path in self.files:
            return False, len(self.files[path])
        self._directory(path)
        return True, 0

    def size(self, path: str) -> int:
        if path in self.files:
            return len(self.files[path])
        self._directory(path)
        return sum(len(data) for file, data in self.files.items() if is_below(file, path))

    def children(self, path: str) -> tuple[list[str], list[str]]:
        """The sorted names of the directories and of the files in a directory."""
        directories = {name_of(one) for one in self.directories() if parent_of(one) == path}
        return sorted(directories), sorted(name_of(one) for one in self.files if parent_of(one) == path)

    def listdir(self, path: str) -> list[str]:
        self._directory(path)
        directories, files = self.children(path)
        return sorted({*directories, *files})

    def walk(self, top: str, *, topdown: bool = True) -> list[tuple[str, list[str], list[str]]]:
        if not self.is_dir(top):
            return []
        directories, files = self.children(top)
        here = [(top, directories, files)]
        below = [level for name in directories for level in self.walk(joined(top, name), topdown=topdown)]
        return here + below if topdown else below + here

    def scan(self, path: str, *, recursive: bool) -> list[tuple[str, bool]]:
        """(Path, is a directory), in the order of keys; where directories are implied, only those that were made."""
        self._directory(path)
        told = [(file, False) for file in self.files if is_below(file, path)]
        known = self.made if recursive and not self.real else self.directories()
        told += [(one, True) for one in known if is_below(one, path)]
        if not recursive:
            told = [(one, is_dir) for one, is_dir in told if parent_of(one) == path]
        return sorted(told, key=key_order)

    def glob(self, pattern: str) -> list[str]:
        """What matches, in the order of keys; a file and a directory of one name once."""
        everything = [(one, False) for one in self.files] + [(one, True) for one in self.directories()]
        expression = glob_expression(pattern)
        found = [entry for entry in everything if expression.fullmatch(entry[0])]
        return list(dict.fromkeys(path for path, _ in sorted(found, key=key_order)))

    # ---- what changes it -----------------------------------------------------------------------------------

    def _check_place(self, path: str, faults: _Faults, *, replaces: bool = True) -> None:
        """What stands in the way of a file at this path."""
        if not path:
            faults.add(IsADirectory)
        elif self.real:
            faults.add(IsADirectory, when=self.is_dir(path))
            faults.add(AlreadyExists, when=self.is_dir(path) and not replaces)
            faults.add(AlreadyExists, NotADirectory, when=self._file_above(path))
        elif not self.beside and (self.is_dir(path) or self._file_above(path)):
            raise Unspecified
        faults.add(AlreadyExists, when=path in self.files and not replaces)

    def _put(self, path: str, data: bytes) -> None:
        self.files[path] = data
        self._keep_parents(path)

    def _keep_parents(self, path: str) -> None:
        if self.real:
            self.made.update(parents(path))

    def can_open(self, path: str, mode: str) -> None:
        """Refuses what cannot be opened for writing, at once or at the latest when it is published."""
        faults = _Faults()
        faults.add(UnsupportedOperation, when=mode == "a" and not self.capabilities.append)
        faults.add(UnsupportedOperation, when=mode == "x" and not self.capabilities.exclusive_create)
        self._check_place(path, faults, replaces=mode != "x")
        faults.check()

    def write(self, path: str, data: bytes, mode: str = "w") -> None:
        self.can_open(path, mode)
        self._put(path, self.files.get(path, b"") + data if mode == "a" else data)

    def mkdir(self, path: str) -> None:
        if self.exists(path):
            raise Refused(AlreadyExists)
        parent = parent_of(path)
        if not self.is_dir(parent):
            kept = bool(self.capabilities.empty_directories)
            # Where empty directories are not kept, the parent may have been made before.
            raise Refused(*((NotFound, NotADirectory) if self._file_above(path) else (NotFound,)), may_pass=not kept)
        self._make(path)

    def makedirs(self, path: str) -> None:
        if self.is_dir(path):
            return
        if path in self.files or self._file_above(path):
            raise Refused(AlreadyExists)
        self._make(path)

    def _make(self, path: str) -> None:
        if self.capabilities.empty_directories:
            self.made.add(path)
            self._keep_parents(path)

    def remove(self, path: str) -> None:
        self._read(path)
        del self.files[path]

    def rmtree(self, path: str, *, allow_root: bool = False) -> None:
        if not path and not allow_root:
            raise Refused(InvalidPath)
        self._directory(path)
        self.files = {file: data for file, data in self.files.items() if not is_below(file, path)}
        self.made = {one for one in self.made if one != path and not is_below(one, path)}

    def copyfile(self, source: str, target: str, *, overwrite: bool) -> None:
        faults = _Faults()
        faults.add(IsADirectory if self.is_dir(source) else NotFound, when=source not in self.files)
        if source == target and source in self.files:
            raise Refused(StoreError if overwrite else AlreadyExists, may_pass=overwrite)
        self._check_place(target, faults, replaces=overwrite)
        faults.check()
        self._put(target, self.files[source])

    def rename(self, source: str, target: str, *, overwrite: bool) -> None:
        if not source or not target:
            raise Refused(StoreError)
        if not self.exists(source):
            raise Refused(NotFound, *((AlreadyExists,) if self.exists(target) and not overwrite else ()))
        if source == target:
            raise Refused(StoreError, may_pass=True)
        if source in self.files:
            self._rename_file(source, target, overwrite=overwrite)
        else:
            self._rename_tree(source, target, overwrite=overwrite)

    def _rename_file(self, source: str, target: str, *, overwrite: bool) -> None:
        if not self.real and overwrite and self.is_dir(target):
            raise Unspecified  # it lands beside the directory, or is refused
        faults = _Faults()
        self._check_place(target, faults, replaces=overwrite)
        faults.add(AlreadyExists, when=self.is_dir(target) and not overwrite)
        faults.add(InvalidPath, when=self.real and is_below(target, source))
        faults.check()
        self._put(target, self.files.pop(source))

    def _rename_tree(self, source: str, target: str, *, overwrite: bool) -> None:
        faults = _Faults()
        faults.add(InvalidPath, when=is_below(target, source))
        faults.add(AlreadyExists, when=target in self.files)
        if self.is_dir(target):
            faults.add(AlreadyExists, when=not overwrite or any(self.children(target)))
        if self._file_above(target):
            faults.add(AlreadyExists, NotADirectory, when=self.real)
            if not self.real and not self.beside:
                raise Unspecified
        faults.check()
        moved = {file: data for file, data in self.files.items() if is_below(file, source)}
        made = {one for one in self.made if one == source or is_below(one, source)}
        self.files = {file: data for file, data in self.files.items() if file not in moved}
        self.made -= made
        self.files.update({target + file[len(source) :]: data for file, data in moved.items()})
        self.made.update(target + one[len(source) :] for one in made)
        self._keep_parents(target)


# ---- paths as text, written anew: the model must not lean on what it tests ----------------------------------


def parents(path: str) -> list[str]:
    """`a/b/c` → `a`, `a/b`."""
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def parent_of(path: str) -> str:
    """The directory that holds the path; empty for the root."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """The last name of a path."""
    return path.rpartition("/")[2]


def joined(directory: str, name: str) -> str:
    """The path of a name in a directory."""
    return f"{directory}/{name}" if directory else name


def is_below(path: str, directory: str) -> bool:
    """Whether the path lies in the directory or deeper."""
    return path.startswith(f"{directory}/") if directory else path != ""


def key_order(entry: tuple[str, bool]) -> bytes:
    """A directory is sorted as its name and a slash."""
    path, is_dir = entry
    return (f"{path}/" if is_dir else path).encode()


_WILD: Final[dict[str, str]] = {"*": "[^/]*", "?": "[^/]"}


def glob_expression(pattern: str) -> re.Pattern[str]:
    """`*` and `?` within a name, `**` over any number of them; no character sets."""
    parts = []
    names = pattern.split("/")
    for number, name in enumerate(names, start=1):
        last = number == len(names)
        if name == "**":
            parts.append(".+" if last else "(?:[^/]+/)*")
        else:
            text = "[^/]+" if name == "*" else "".join(_WILD.get(one, re.escape(one)) for one in name)
            parts.append(text if last else f"{text}/")
    return re.compile("".join(parts), re.DOTALL)
