"""What changes the tree itself: copy, move, make and remove. Functions block, and take keys."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from entrepot.errors import (
    AlreadyExists,
    InvalidPath,
    NotADirectory,
    NotFound,
    PartialFailure,
    StoreError,
    UnsupportedOperation,
)
from entrepot.flavors.local.copying import copy_into
from entrepot.flavors.local.directories import Directory, Tree, join_key, split_key
from entrepot.flavors.local.faults import LinkRefused, failure, telling, typed_from
from entrepot.flavors.local.hops import Check
from entrepot.flavors.local.records import shown
from entrepot.flavors.local.writes import move_exclusively, open_draft
from entrepot.models import WriteOptions

_SHOWN_FAILURES: Final = 1_000
"""How many failures of one removal are kept; a read-only tree of millions needs no error for each."""


def copy_file(tree: Tree, src: str, dst: str, *, overwrite: bool, durable: bool, check: Check) -> None:
    """Copy one file with its permission bits; the time is now, as with any file that is written."""
    parent, name = split_key(src)
    with telling("copyfile", tree.path(src), reading=True):
        if not name:
            raise failure(errno.EISDIR)
        with tree.open(parent) as directory:
            descriptor, before = directory.open_file(name)
    try:
        with telling("copyfile", tree.path(dst)):
            if src == dst:
                if not overwrite:
                    raise failure(errno.EEXIST)
                return
            options = WriteOptions(mode=before.st_mode)
            draft = open_draft(tree, dst, options, durability="full" if durable else "none", exclusive=not overwrite)
            try:
                copy_into(draft, descriptor, before, uri=tree.path(src), check=check)
                draft.commit(check)
            except BaseException:
                draft.discard()
                raise
    finally:
        os.close(descriptor)


def rename(tree: Tree, src: str, dst: str, *, overwrite: bool, durable: bool) -> None:
    """Move a file or a tree.

    Without overwrite the new name is taken exclusively: a file by a second link, whose first is then removed (a crash
    between leaves both); a directory by an empty one that it then replaces. With overwrite a file replaces a file in
    one step, and a tree only an empty directory.
    """
    with telling("rename", tree.path(src), reading=True):
        parent, name = split_key(src)
        if not name:
            raise InvalidPath("the root cannot be moved", operation="rename", uri=tree.root)
        origin = tree.open(parent)
    with origin:
        with telling("rename", tree.path(src), reading=True):
            found = origin.look(name)
            if found is None:
                raise failure(errno.ENOENT)
        with telling("rename", tree.path(dst)):
            if src == dst:
                if not overwrite:
                    raise failure(errno.EEXIST)
                return
            if f"{dst}/".startswith(f"{src}/"):
                raise InvalidPath("a directory cannot move into itself", operation="rename", uri=tree.path(dst))
            new_parent, new_name = split_key(dst)
            if not new_name:
                raise failure(errno.EEXIST if not overwrite else errno.EISDIR)
            target, _ = tree.make(new_parent, durable=durable)
            with target:
                _move(origin, name, target, new_name, is_dir=stat.S_ISDIR(found.st_mode), overwrite=overwrite)
                if durable:
                    target.sync()
                    origin.sync()


def _move(origin: Directory, name: str, target: Directory, new: str, *, is_dir: bool, overwrite: bool) -> None:
    try:
        if overwrite:
            there = target.look(new)
            if there is not None and stat.S_ISDIR(there.st_mode) != is_dir:
                raise failure(errno.EEXIST if is_dir else errno.EISDIR)
            if there is not None and is_dir and os.name == "nt":
                target.remove_empty(new)  # there a rename takes no directory's place, not even an empty one's
            origin.replace(name, target, new)
        elif is_dir:
            _move_directory_exclusively(origin, name, target, new)
        else:
            move_exclusively(origin, name, target, new)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise UnsupportedOperation(
                "another file system is mounted there; copy, then remove", operation="rename"
            ) from error
        raise


def _move_directory_exclusively(origin: Directory, name: str, target: Directory, new: str) -> None:
    if os.name == "nt":  # there a rename onto anything that exists fails by itself, even onto our own empty directory
        origin.replace(name, target, new)
        return
    target.make(new)
    try:
        origin.replace(name, target, new)
    except OSError:
        target.remove_empty(new)
        raise


def make_directory(tree: Tree, key: str, *, durable: bool) -> None:
    """Make one directory below one that exists."""
    parent, name = split_key(key)
    with telling("mkdir", tree.path(key)):
        if not name:
            raise failure(errno.EEXIST)
        directory = tree.open(parent) if parent else tree.make("", durable=durable)[0]
        with directory:
            directory.make(name)
            if durable:
                directory.sync()


def make_directories(tree: Tree, key: str, *, durable: bool) -> None:
    """Make a directory and its parents."""
    with telling("makedirs", tree.path(key)):
        try:
            directory, _ = tree.make(key, durable=durable)
        except NotADirectoryError as error:
            raise AlreadyExists(
                "a file is there, or at a parent", operation="makedirs", uri=shown(tree.path(key))
            ) from error
        directory.close()


def remove_file(tree: Tree, key: str) -> None:
    """Remove a file, or whatever else is no directory: a link itself, never what it points to."""
    parent, name = split_key(key)
    with telling("remove", tree.path(key), reading=True):
        if not name:
            raise failure(errno.EISDIR)
        with tree.open(parent) as directory:
            if stat.S_ISDIR(directory.status(name).st_mode):
                raise failure(errno.EISDIR)
            directory.unlink(name)


def remove_files(tree: Tree, keys: Sequence[str]) -> list[StoreError]:
    """As `remove_file`, each; the errors of those that stayed. What is not there is removed."""
    failures: list[StoreError] = []
    for key in keys:
        try:
            remove_file(tree, key)
        except NotFound:
            continue
        except StoreError as error:
            failures.append(error)
    return failures


def remove_tree(tree: Tree, key: str, *, check: Check) -> None:
    """Remove a directory and all below it; the root itself stays, empty.

    What cannot be removed is reported at the end, and the rest is gone. Links are removed, never followed. Depth
    costs neither stack nor descriptors.
    """
    parent, name = split_key(key)
    with telling("rmtree", tree.path(key), reading=True):
        if not name:
            if not os.path.lexists(tree.root):
                return
        else:
            with tree.open(parent) as directory:
                found = directory.look(name)
                if found is None:
                    raise failure(errno.ENOENT)
                if not stat.S_ISDIR(found.st_mode):
                    raise NotADirectory("a file is there; use remove", operation="rmtree", uri=tree.path(key))
        removal = _Removal(tree, check)
        removal.run(key)
    if removal.failed:
        shown_failures = removal.failures
        raise PartialFailure(
            f"{removal.failed:,} entries could not be removed; the first: {shown_failures[0]}",
            operation="rmtree",
            uri=tree.path(key),
            failures=shown_failures,
        )


def remove_empty_directories(tree: Tree, key: str, *, check: Check) -> None:
    """Remove a directory and those below it, each only if it is empty: the system decides, at that very moment.

    Links, and files that listings leave out, keep their directories.
    """
    pending: list[tuple[str, bool]] = [(key, False)]
    while pending:
        check()
        here, emptied = pending.pop()
        parent, name = split_key(here)
        with telling("remove_empty_directories", tree.path(here)):
            try:
                if not emptied:
                    with tree.open(here) as directory:
                        below = [entry.name for entry in directory.entries() if entry.is_dir(follow_symlinks=False)]
                    pending.append((here, True))
                    pending.extend((join_key(here, one), False) for one in below)
                elif name:
                    with tree.open(parent) as directory:
                        directory.remove_empty(name)
            except (FileNotFoundError, NotADirectoryError, LinkRefused):
                continue  # it went, or something else took its place
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


class _Removal:
    """The removal of one tree: files as each directory is seen, directories once what is below them is gone."""

    def __init__(self, tree: Tree, check: Check) -> None:
        self._tree, self._check = tree, check
        self.failures: list[StoreError] = []
        self.failed = 0
        self._kept: set[str] = set()

    def run(self, key: str) -> None:
        pending: list[tuple[str, bool]] = [(key, False)]
        while pending:
            self._check()
            here, emptied = pending.pop()
            if emptied:
                self._remove_directory(here, is_top=here == key)
                continue
            pending.append((here, True))
            pending.extend((below, False) for below in self._remove_files(here))

    def _remove_files(self, key: str) -> list[str]:
        """Remove all but directories; the keys of those."""
        below = []
        try:
            with self._tree.open(key) as directory:
                # What an entry is may have to be asked for, which works only while its directory is being listed.
                entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in directory.entries()]
                for name, is_dir in entries:
                    path = join_key(key, name)
                    if is_dir:
                        below.append(path)
                        continue
                    try:
                        directory.unlink(name)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        self._fail(path, error)
        except (FileNotFoundError, NotADirectoryError, LinkRefused):
            return below
        except OSError as error:
            self._kept.add(key)
            self._fail(key, error)
        return below

    def _remove_directory(self, key: str, *, is_top: bool) -> None:
        parent, name = split_key(key)
        if key in self._kept:
            self._keep_parents(key)
            return
        if not name:
            return
        try:
            with self._tree.open(parent) as directory:
                directory.remove_empty(name)
        except FileNotFoundError:
            return
        except OSError as error:
            self._fail(key, error)

    def _fail(self, key: str, error: OSError) -> None:
        self.failed += 1
        if len(self.failures) < _SHOWN_FAILURES:
            self.failures.append(typed_from(error, operation="rmtree", uri=self._tree.path(shown(key))))
        self._keep_parents(key)

    def _keep_parents(self, key: str) -> None:
        """A directory that holds what stayed is no failure of its own."""
        parent, _ = split_key(key)
        self._kept.add(parent)
