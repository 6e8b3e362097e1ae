"""The end of a mirroring copy: what only the target has goes, once everything else is well; or it is kept aside."""

from __future__ import annotations

from collections.abc import Sequence

from entrepot.errors import ConfigurationError, DeletionRefused, StoreError
from entrepot.models import FileStat
from entrepot.paths import join, printable
from entrepot.transfer.account import Account
from entrepot.transfer.budget import Gate
from entrepot.transfer.events import StepPlanned
from entrepot.transfer.plan import Mirror, PlannedFile, RemoveFiles
from entrepot.transfer.ports import Sink
from entrepot.transfer.schedule import for_each

_AT_ONCE = 16
_REMOVED_A_CALL = 1_000


class Mirrored:
    """What only the target of a copy has. target: the path in the target store that is mirrored to.

    Memory: the paths of what is to go. Of directories the topmost ones are known: they go with those below.
    """

    def __init__(self, mirror: Mirror, sink: Sink, target: str, account: Account) -> None:
        self._mirror, self._sink, self._account = mirror, sink, account
        self._below = f"{target}/" if target else ""
        self._backup = mirror.backup.removesuffix("/") if mirror.backup is not None else None
        if self._backup is not None and target and f"{target}/".startswith(f"{self._backup}/"):
            raise ConfigurationError("the target lies in the backup directory; choose another", operation="sync")
        self._files: list[str] = []
        self._directories: list[str] = []
        self._emptied: set[str] = set()
        self._kept = ""
        self.source_files = 0

    def is_kept_aside(self, relative: str) -> bool:
        """Whether a path below the target belongs to the backups."""
        backup = self._backup
        return backup is not None and f"{self._below}{relative}/".startswith(f"{backup}/")

    def keep(self, relative: str) -> None:
        """Take note of a path that is there afterwards. Paths come in the order of keys, those of `add` among them."""
        self._settle(relative)
        self._kept = relative

    def add(self, relative: str, entry: FileStat) -> None:
        """Take note of what only the target has."""
        if not self._mirror.delete:
            return
        if not entry.is_dir:
            self._files.append(self._below + relative)
        self._emptied.add(relative if entry.is_dir else relative[: max(0, relative.rfind("/"))])

    def add_file(self, path: str) -> None:
        """Take note of a file that a plan deletes. path: in the target store."""
        self._files.append(path)

    def _settle(self, following: str) -> None:
        """Of the directories since the last path that is kept, those that hold neither it nor the following one."""
        for directory in self._emptied:
            names = directory.split("/")
            for depth in range(1, len(names) + 1):
                top = "/".join(names[:depth])
                inside = f"{top}/"
                if top and not self._kept.startswith(inside) and not following.startswith(inside):
                    if top not in self._directories[-1:]:
                        self._directories.append(top)
                    break
        self._emptied.clear()

    async def back_up(self, writes: Gate, files: Sequence[PlannedFile]) -> list[tuple[PlannedFile, StoreError]]:
        """Keep aside what these files are written over. Requests: 1 or 2 a file. Returns those that could not be."""
        backup = self._backup
        if backup is None:
            return []
        failed: list[tuple[PlannedFile, StoreError]] = []

        async def copy(file: PlannedFile) -> None:
            await writes.enter(1)
            try:
                await self._sink.copyfile(file.target, self._aside(backup, file.target), overwrite=True)
            except StoreError as error:
                failed.append((file, error))
            finally:
                writes.leave(1)

        await for_each([file for file in files if file.replaces], copy, at_once=_AT_ONCE)
        return failed

    async def finish(self, *, dry_run: bool) -> None:
        """Remove what is to go, if nothing failed. Raises: DeletionRefused; errors that every further one would meet.

        Requests: 1 for up to 1,000 files; with a backup, those of a rename for each.
        """
        ledger = self._account.ledger
        self._settle("")
        if not self._files and not self._directories:
            return
        if ledger.failed:
            ledger.not_deleted = len(self._files)
            return
        self._require_allowed()
        for start in range(0, len(self._files), _REMOVED_A_CALL):
            paths = self._files[start : start + _REMOVED_A_CALL]
            if dry_run:
                self._account.emit(StepPlanned(RemoveFiles(tuple(paths))))
                ledger.deleted += len(paths)
            else:
                await self._remove(paths)
        if not dry_run and not ledger.failed and self._sink.directories_may_outlive_files:
            for path in dict.fromkeys(self._directories):
                await self._sink.remove_empty_directories(self._below + path)

    def _require_allowed(self) -> None:
        count, most = len(self._files), self._mirror.most
        if most is not None and count > most:
            why = f"{count:,} files would be deleted at the target, more than the {most:,} that may be"
        elif most is None and count and not self.source_files:
            why = f"the source has no file, and all {count:,} at the target would go; allow so many explicitly"
        else:
            return
        raise DeletionRefused(f"{why}; nothing was deleted", operation="sync", uri=join(self._sink.path, self._below))

    async def _remove(self, paths: Sequence[str]) -> None:
        backup = self._backup
        if backup is None:
            failures = await self._sink.remove_batch(paths)
        else:
            failures = await self._set_aside(backup, paths)
        self._account.ledger.deleted += len(paths) - len(failures)
        for error in failures:
            self._account.judge(error, "write")
            self._account.record("", printable(error.uri), error)

    async def _set_aside(self, backup: str, paths: Sequence[str]) -> list[StoreError]:
        failures: list[StoreError] = []

        async def rename(path: str) -> None:
            try:
                await self._sink.rename(path, self._aside(backup, path), overwrite=True)
            except StoreError as error:
                failures.append(error)

        await for_each(paths, rename, at_once=_AT_ONCE)
        return failures

    def _aside(self, backup: str, path: str) -> str:
        return f"{backup}/{path.removeprefix(self._below)}"
