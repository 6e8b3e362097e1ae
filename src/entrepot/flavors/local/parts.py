"""Large files in parts: written at their offsets into one temporary, which another process may go on with.

A temporary that is kept has no record of its own: which of its parts were written is the caller's to know. What the
system held in memory for it survives the process, and not the machine, so that its token is of one start of the
machine; where that is not told, each part is synced.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Final

from anyio import CancelScope, to_thread

from entrepot.errors import SourceChanged, StoreClosed, UploadBusy, UploadGone
from entrepot.files import PartWriter
from entrepot.flavors.local.directories import Directory, Tree, split_key
from entrepot.flavors.local.faults import telling
from entrepot.flavors.local.hops import Check
from entrepot.flavors.local.records import record
from entrepot.flavors.local.temporaries import KEPT, PERMISSIONS, boot_id, remove, reopen
from entrepot.flavors.local.writes import Temporary, look_before_writing, plan_publication
from entrepot.models import Buffer, FileStat, Limits, Part, Resume, WriteOptions
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.resuming import UploadToken

_ID: Final = re.compile(r"([0-9a-f]{16})@([0-9a-f-]*)", re.ASCII)


class LocalPartWriter(PartWriter):
    """A large file, its parts written at their offsets in any order and from any number of tasks at once.

    can_outlive: another process can go on with it. resume: what it goes on with.
    """

    def __init__(
        self, name: str, size_bytes: int, draft: Temporary, limits: Limits, *, can_outlive: bool, resume: Resume | None
    ) -> None:
        self.part_size_bytes = limits.part_size_bytes(size_bytes)
        self._boot_id = boot_id()
        self._token = UploadToken(name, f"{draft.identity}@{self._boot_id}", size_bytes, self.part_size_bytes)
        if can_outlive and size_bytes:
            self.resume_token = self._token.to_text()
        self._name, self._draft = name, draft
        noted = resume.parts if resume is not None else ()
        self.held_parts = {
            part.number: part.size_bytes
            for part in noted
            if part.size_bytes == self._token.planned_bytes(part.number) > 0
        }
        self._missing = set(range(1, -(-size_bytes // self.part_size_bytes) + 1)) - self.held_parts.keys()
        self._result: FileStat | None = None

    async def put_part(self, number: int, data: Buffer) -> Part:
        """Write one part; number: 1-based. Raises SourceChanged for a part that is not as long as planned."""
        planned = self._token.planned_bytes(number)
        if memoryview(data).nbytes != planned:
            raise SourceChanged(
                f"part {number} has {memoryview(data).nbytes:,} bytes where {max(planned, 0):,} were planned",
                operation="put_part",
                uri=self._name,
            )
        with telling("put_part", self._name):
            await to_thread.run_sync(self._draft.write_at, data, (number - 1) * self.part_size_bytes)
        self._missing.discard(number)
        return Part(number, planned)

    async def keep(self) -> None:
        """As `PartWriter.keep`, over a restart of this machine not. Cost: one hop, and a rename.

        What is kept lies beside the file's place, hidden, until it is gone on with or dropped, or a week after its
        last part another bulk write to its directory removes it.
        """
        if self.resume_token is None:
            await super().keep()
        with telling("open_parts", self._name), CancelScope(shield=True):
            await to_thread.run_sync(partial(self._draft.keep, syncs_parts=not self._boot_id))

    def publish(self, check: Check) -> None:
        """Move the whole file into place; blocks. Raises SourceChanged where a part is missing."""
        if self._missing:
            raise SourceChanged(
                f"{len(self._missing):,} parts were not written; nothing was published",
                operation="open_parts",
                uri=self._name,
            )
        with telling("open_parts", self._name):
            self._result = record(self._name, self._draft.commit(check))

    def result(self) -> FileStat:
        """What is there now; only after a clean exit."""
        if self._result is None:
            raise StoreClosed("the file was not published", operation="result", uri=self._name)
        return self._result


def reopen_draft(tree: Tree, key: str, options: WriteOptions, token: UploadToken) -> Temporary:
    """The temporary that a token names, kept still; its place is looked at as by `open_draft`. Blocks.

    Raises UploadGone, and then what is left of it is removed; UploadBusy.
    """
    parent, name = split_key(key)
    where = {"operation": "open_parts", "uri": token.uri}
    temporary, boot = _named(token, "open_parts")
    plan = plan_publication(name, options, durability="none")
    try:
        directory = tree.open(parent)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UploadGone("its directory is no more; write it anew", **where) from error
    try:
        replaced = look_before_writing(directory, name, exclusive=plan.exclusive)
        if plan.mode is None and replaced is not None:
            plan = plan._replace(mode=replaced & PERMISSIONS)
        left = temporary + KEPT, _reopened(directory, temporary + KEPT, token, "open_parts")
        _require_whole(directory, left, token, boot)
        draft = Temporary(directory, plan, size_bytes=token.size_bytes, owns_directory=True, left=left)
        draft.keep(syncs_parts=not boot)
    except BaseException:
        directory.close()
        raise
    return draft


def _require_whole(directory: Directory, left: tuple[str, int], token: UploadToken, boot: str) -> None:
    """Remove what is left, and raise UploadGone, where not all that was written to it need be there."""
    if boot == boot_id() and os.fstat(left[1]).st_size == token.size_bytes:
        return
    remove(directory, *left)
    raise UploadGone(
        "this machine has started anew, and may have lost parts of it; write it anew",
        operation="open_parts",
        uri=token.uri,
    )


def _named(token: UploadToken, operation: str) -> tuple[str, str]:
    """The name of its temporary, as it is before it is kept, and the start of the machine."""
    found = _ID.fullmatch(token.upload_id)
    if found is None:
        raise UploadGone("the token is of another flavor; write it anew", operation=operation, uri=token.uri)
    return TEMPORARY_PREFIX + found[1], found[2]


def _reopened(directory: Directory, name: str, token: UploadToken, operation: str) -> int:
    where = {"operation": operation, "uri": token.uri}
    try:
        return reopen(directory, name)
    except BlockingIOError as error:
        raise UploadBusy("another process is writing it, or has not ended yet", **where) from error
    except (FileNotFoundError, PermissionError) as error:
        # One that may not be written any more was about to be published.
        raise UploadGone("it was published, dropped or swept away; write it anew", **where) from error


def drop(tree: Tree, key: str, token: UploadToken) -> None:
    """Remove the temporary that a token names, kept or left by a process that was killed; none is no error. Blocks.

    Raises UploadGone for a token of another flavor, UploadBusy.
    """
    temporary, _ = _named(token, "drop_parts")
    try:
        directory = tree.open(split_key(key)[0])
    except (FileNotFoundError, NotADirectoryError):
        return
    with directory:
        for name in (temporary + KEPT, temporary):
            try:
                descriptor = _reopened(directory, name, token, "drop_parts")
            except UploadGone:
                continue
            remove(directory, name, descriptor)
