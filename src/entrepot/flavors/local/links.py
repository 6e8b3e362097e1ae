"""Symbolic links, where somebody asks for them: followed to their end, or made anew with the same text."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from entrepot.errors import NotFound, PathOutsideStore
from entrepot.flavors.local.directories import Directory, Tree, split_key
from entrepot.flavors.local.faults import failure, telling
from entrepot.flavors.local.records import record, shown
from entrepot.models import FileStat
from entrepot.paths import TEMPORARY_PREFIX, printable


def resolve(path: str) -> FileStat:
    """What a path leads to once every link was followed; its uri is the real path. Cost: one hop."""
    try:
        real = os.path.realpath(path, strict=True)
        return record(shown(real), os.stat(real, follow_symlinks=False))
    except FileNotFoundError as error:
        raise NotFound("it leads to nothing", operation="resolve", uri=printable(path)) from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PathOutsideStore("it leads to itself", operation="resolve", uri=printable(path)) from error


def copy_link(source: Tree, src: str, tree: Tree, dst: str, *, overwrite: bool) -> None:
    """Make a link with the text of another, in place of a file or a link. Cost: one hop."""
    parent, name = split_key(src)
    with telling("copy_link", source.path(src), reading=True), source.open(parent) as directory:
        text = directory.link_target(name)
    to_directory = os.path.isdir(source.path(src))  # Windows has two kinds of links
    parent, name = split_key(dst)
    with telling("copy_link", tree.path(dst)):
        if not name:
            raise failure(errno.EISDIR)
        directory, _ = tree.make(parent, durable=False)
        with directory:
            try:
                directory.make_link(text, name, to_directory=to_directory)
            except FileExistsError:
                if not overwrite:
                    raise
                _replace(directory, text, name, to_directory=to_directory)


def _replace(directory: Directory, text: str, name: str, *, to_directory: bool) -> None:
    if stat.S_ISDIR(directory.status(name).st_mode):
        raise failure(errno.EISDIR)
    temporary = TEMPORARY_PREFIX + os.urandom(8).hex()
    directory.make_link(text, temporary, to_directory=to_directory)
    try:
        directory.replace(temporary, directory, name)
    except BaseException:
        with suppress(FileNotFoundError):
            directory.unlink(temporary)
        raise
