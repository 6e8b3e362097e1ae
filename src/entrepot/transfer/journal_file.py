"""The SQLite file of a journal: its tables, what goes into them, what is read back, and its errors as ours.

Everything here blocks, and belongs to one thread: the journal's own, or that of a reader.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from entrepot.disks import sync_directory
from entrepot.errors import JournalUnusable, NoSpace, StoreError
from entrepot.paths import printable
from entrepot.transfer.marks import Marks, mark_of, removal_of
from entrepot.transfer.records import (
    FailureRecord,
    ItemRecord,
    JobSpec,
    JobState,
    JobSummary,
    PartRecord,
    UploadRecord,
)

APPLICATION_ID: Final = 0x656E7472
"""`entr`, in the file's header (SQLite, pragma application_id)."""

FORMAT: Final = 1
"""The version of the tables; a file with a higher one is left alone."""

# Items are a log in the order they were done, and not a table by target: where a scan is not sorted, a table writes a
# page an item (measured with 300,000 items: 3.2 GB in 53 s, the log 0.13 GB in 17 s). Marks are what finds them.
_TABLES: Final = (
    """CREATE TABLE job (
        id TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
        pid INTEGER NOT NULL, host TEXT NOT NULL,
        copied_files INTEGER NOT NULL DEFAULT 0, copied_bytes INTEGER NOT NULL DEFAULT 0,
        found_files INTEGER NOT NULL DEFAULT 0, found_bytes INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE items (
        number INTEGER PRIMARY KEY, mark BLOB NOT NULL, target TEXT NOT NULL, size INTEGER, etag TEXT)""",
    """CREATE TABLE uploads (
        number INTEGER PRIMARY KEY, write_id TEXT NOT NULL UNIQUE, target TEXT NOT NULL, fingerprint TEXT NOT NULL,
        size INTEGER NOT NULL, part_size INTEGER NOT NULL, state TEXT NOT NULL, token TEXT NOT NULL)""",
    """CREATE TABLE parts (
        upload INTEGER NOT NULL REFERENCES uploads ON DELETE CASCADE, number INTEGER NOT NULL, size INTEGER NOT NULL,
        crc32c INTEGER, md5 TEXT, PRIMARY KEY (upload, number)) WITHOUT ROWID""",
    "CREATE TABLE directories (target TEXT PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE failures (
        source TEXT PRIMARY KEY, target TEXT NOT NULL, error TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX failures_by_target ON failures (target)",
)
_SUMMARY: Final = """
    SELECT id, spec, state, created, updated, pid, host, copied_files, copied_bytes, found_files, found_bytes,
        (SELECT count(*) FROM failures), (SELECT count(*) FROM uploads) FROM job"""
_UPLOADS: Final = "SELECT write_id, target, fingerprint, size, part_size, state, token FROM uploads ORDER BY number"
_READER_WAIT_S: Final = 5.0


class JournalFile:
    """A journal that is open for writing. The caller holds the job's lock, and begins and ends transactions."""

    def __init__(self, path: str, spec: JobSpec, now: float) -> None:
        """Open the file, or make it where there is none. Raises JournalUnusable, NoSpace."""
        self.path, self._spec = path, spec
        with naming(path, spec.id):
            if not is_begun(path):
                _make(path, spec, now)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=_READER_WAIT_S)
        try:
            with naming(path, spec.id):
                _require_format(self._connection, spec.id, path)
                _configure(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._failing = False
        self._copied = (0, 0)

    def begin(self) -> None:
        """Begin a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self, now: float | None) -> None:
        """End the transaction; what was written is on the disk then. now: when, None where nothing was written."""
        if now is not None:
            self._connection.execute(
                "UPDATE job SET updated = ?, copied_files = ?, copied_bytes = ?", (now, *self._copied)
            )
        self._connection.execute("COMMIT")

    def roll_back(self) -> None:
        """End the transaction as if it had never been."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def told(self, error: Exception) -> StoreError:
        """The error as ours, with what to do next."""
        return told(error, self.path, self._spec.id)

    def close(self) -> None:
        """Fold the log of writes into the file, and close it."""
        self._connection.close()

    # ---- the job ----------------------------------------------------------------------------------

    def start(self) -> Marks:
        """Note that this process runs the job; what is done already.

        Raises JournalUnusable where the file belongs to another job.
        """
        run = self._connection.execute
        found = run("SELECT id, copied_files, copied_bytes FROM job").fetchone()
        if found is None or found[0] != self._spec.id:
            raise _damaged("it belongs to another job", self._spec.id, self.path)
        self._copied = found[1], found[2]
        # The configuration is this run's: it may reach the same places by other means.
        run(
            "UPDATE job SET state = 'running', spec = ?, pid = ?, host = ?",
            (self._spec.to_text(), os.getpid(), socket.gethostname()),
        )
        self._failing = run("SELECT EXISTS (SELECT 1 FROM failures)").fetchone()[0] == 1
        marks = Marks()
        for (mark,) in run("SELECT mark FROM items ORDER BY number"):
            marks.add(mark)
        return marks

    def end(self, state: JobState) -> None:
        """Note how the job was left."""
        self._connection.execute("UPDATE job SET state = ?", (state,))

    def put_found(self, files: int, size_bytes: int) -> None:
        """Note what the scan has found."""
        self._connection.execute("UPDATE job SET found_files = ?, found_bytes = ?", (files, size_bytes))

    # ---- items ------------------------------------------------------------------------------------

    def add_items(self, items: Sequence[ItemRecord]) -> None:
        """Items that are done; an error that one had before is forgotten."""
        self._connection.executemany(
            "INSERT INTO items (mark, target, size, etag) VALUES (?, ?, ?, ?)",
            [(mark_of(one.target, one.fingerprint), one.target, one.size_bytes, one.etag) for one in items],
        )
        files, size_bytes = self._copied
        self._copied = files + len(items), size_bytes + sum(one.size_bytes for one in items)
        if self._failing:
            targets = [(printable(one.target),) for one in items]
            self._connection.executemany("DELETE FROM failures WHERE target = ?", targets)

    def remove_items(self, targets: Sequence[str]) -> None:
        """Items that are at their target no more."""
        self._connection.executemany(
            "INSERT INTO items (mark, target) VALUES (?, ?)", [(removal_of(target), target) for target in targets]
        )

    def add_directories(self, targets: Sequence[str]) -> None:
        """Directories that were made."""
        self._connection.executemany("INSERT OR IGNORE INTO directories VALUES (?)", [(one,) for one in targets])

    def put_failures(self, failures: Sequence[FailureRecord]) -> None:
        """The last error of each item."""
        self._failing = True
        self._connection.executemany(
            "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)",
            [(one.source, one.target, one.error, one.reason) for one in failures],
        )

    # ---- uploads ----------------------------------------------------------------------------------

    def put_upload(self, upload: UploadRecord) -> None:
        """An upload as it is now; the parts of one that is known stay."""
        self._connection.execute(
            """INSERT INTO uploads (write_id, target, fingerprint, size, part_size, state, token)
            VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (write_id) DO UPDATE SET target = excluded.target,
            fingerprint = excluded.fingerprint, size = excluded.size, part_size = excluded.part_size,
            state = excluded.state, token = excluded.token""",
            (
                upload.write_id,
                upload.target,
                upload.fingerprint,
                upload.size_bytes,
                upload.part_size_bytes,
                upload.state,
                upload.token,
            ),
        )

    def put_part(self, write_id: str, part: PartRecord) -> None:
        """A part that was written; nothing, where its upload is gone by now."""
        self._connection.execute(
            "INSERT OR REPLACE INTO parts SELECT number, ?, ?, ?, ? FROM uploads WHERE write_id = ?",
            (part.number, part.size_bytes, part.crc32c, part.md5, write_id),
        )

    def remove_upload(self, write_id: str) -> None:
        """An upload, with its parts, that is under way no more."""
        self._connection.execute("DELETE FROM uploads WHERE write_id = ?", (write_id,))

    def finish_upload(self, write_id: str, item: ItemRecord) -> None:
        """An upload that has become its item."""
        self.remove_upload(write_id)
        self.add_items([item])

    def uploads(self) -> tuple[UploadRecord, ...]:
        """The uploads under way, oldest first."""
        return _uploads(self._connection)

    def parts(self, write_id: str) -> tuple[PartRecord, ...]:
        """The parts of an upload, by number."""
        rows = self._connection.execute(
            "SELECT parts.number, parts.size, crc32c, md5 FROM parts JOIN uploads ON upload = uploads.number "
            "WHERE write_id = ? ORDER BY parts.number",
            (write_id,),
        )
        return tuple(PartRecord(*row) for row in rows)

    # ---- reading ----------------------------------------------------------------------------------

    def items(self, after: int, limit: int) -> list[tuple[int, str, int | None, str | None]]:
        """A page of the log: number, target, size (None: removed), etag."""
        return self._connection.execute(
            "SELECT number, target, size, etag FROM items WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
        ).fetchall()

    def directories(self) -> frozenset[str]:
        """The directories that were made."""
        return frozenset(target for (target,) in self._connection.execute("SELECT target FROM directories"))


class JournalReader:
    """A journal that is only looked at, by whoever may have it open for writing meanwhile."""

    def __init__(self, path: str, id_: str) -> None:
        """Raises JournalUnusable where there is none that can be read."""
        self._path, self._id = path, id_
        with naming(path, id_):
            # Not read-only to SQLite: what a killed process left in the log of writes may have to be taken in first.
            self._connection = sqlite3.connect(
                f"{Path(path).as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=_READER_WAIT_S
            )
        try:
            with naming(path, id_):
                _require_format(self._connection, id_, path)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def spec(self) -> JobSpec:
        """What the job does."""
        return self._spec(self._row(_SUMMARY)[1])

    def process(self) -> tuple[int, str]:
        """The id and the host of the process that runs the job, or ran it last."""
        row = self._row("SELECT pid, host FROM job")
        return row[0], row[1]

    def summary(self, *, running: bool) -> JobSummary:
        """How far the job is. running: whether a process holds its lock; one that was killed did not say its end."""
        row = self._row(_SUMMARY)
        spec = self._spec(row[1])
        state: JobState = "running" if running else "done" if row[2] == "done" else "interrupted"
        pid, host = row[5], row[6]
        return JobSummary(
            id=row[0],
            state=state,
            source=spec.source,
            target=spec.target,
            created=datetime.fromtimestamp(row[3], UTC),
            updated=datetime.fromtimestamp(row[4], UTC),
            process=process_text(pid, host),
            copied_files=row[7],
            copied_bytes=row[8],
            found_files=row[9],
            found_bytes=row[10],
            failures=row[11],
            uploads=row[12],
        )

    def uploads(self) -> tuple[UploadRecord, ...]:
        """The uploads under way, oldest first."""
        with naming(self._path, self._id):
            return _uploads(self._connection)

    def failures(self, limit: int) -> tuple[FailureRecord, ...]:
        """The first failures, by source."""
        with naming(self._path, self._id):
            rows = self._connection.execute("SELECT * FROM failures ORDER BY source LIMIT ?", (limit,))
            return tuple(FailureRecord(*row) for row in rows)

    def _row(self, query: str) -> Any:
        with naming(self._path, self._id):
            row = self._connection.execute(query).fetchone()
        if row is None:
            raise _damaged("it names no job", self._id, self._path)
        return row

    def _spec(self, text: str) -> JobSpec:
        try:
            return JobSpec.from_text(self._id, text)
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged("what the job does cannot be read", self._id, self._path) from error


def process_text(pid: int, host: str) -> str:
    """`123`, or `123 on HOST` where that is another machine; empty before any process has told."""
    if not pid:
        return ""
    return str(pid) if host == socket.gethostname() else f"{pid} on {host}"


def is_begun(path: str) -> bool:
    """Whether there is a journal."""
    return os.path.exists(path)


def _make(path: str, spec: JobSpec, now: float) -> None:
    """Make a journal under another name, and give it its own when it is whole and on the disk."""
    temporary = f"{path}.new"
    for suffix in ("", "-wal", "-shm"):  # of a process that was killed here
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary + suffix)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite would go by the umask
    connection = sqlite3.connect(temporary, isolation_level=None)
    try:
        _configure(connection)
        connection.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute(
            "INSERT INTO job (id, spec, state, created, updated, pid, host) VALUES (?, ?, 'interrupted', ?, ?, 0, '')",
            (spec.id, spec.to_text(), now, now),
        )
        connection.execute("COMMIT")
    finally:
        connection.close()
    os.replace(temporary, path)
    sync_directory(os.path.dirname(path))


def _configure(connection: sqlite3.Connection) -> None:
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")


@contextmanager
def naming(path: str, id_: str) -> Iterator[None]:
    """Errors of SQLite and of the disk in the block become ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise told(error, path, id_) from error


def told(error: Exception, path: str, id_: str) -> StoreError:
    """An error met at a journal as ours, with what to do next."""
    if isinstance(error, StoreError):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        ours: StoreError = NoSpace("no room for the journal; free some space and repeat the command", uri=path)
    elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH):
        ours = _damaged(str(error), id_, path)
    elif isinstance(error, (sqlite3.OperationalError, OSError)):
        reason = getattr(error, "strerror", None) or error
        ours = JournalUnusable(f"cannot be used: {reason}; ENTREPOT_STATE may name another directory", uri=path)
    else:
        what = f"{type(error).__name__}: {error}"
        ours = JournalUnusable(f"a record cannot be kept: {what}; this is a defect, please report it", uri=path)
    ours.__cause__ = error
    return ours


def _damaged(what: str, id_: str, path: str) -> JournalUnusable:
    return JournalUnusable(
        f"the journal is damaged ({what}); `entrepot jobs forget {id_}` removes it, and the next copy begins anew",
        uri=path,
    )


def _require_format(connection: sqlite3.Connection, id_: str, path: str) -> None:
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application != APPLICATION_ID:
        raise _damaged("it is not one of entrepot's", id_, path)
    if version > FORMAT:
        raise JournalUnusable(
            f"a newer entrepot wrote this journal (format {version}, this one knows {FORMAT}); update entrepot, or "
            f"`entrepot jobs forget {id_}`",
            uri=path,
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _uploads(connection: sqlite3.Connection) -> tuple[UploadRecord, ...]:
    rows: Iterable[Any] = connection.execute(_UPLOADS)
    return tuple(UploadRecord(*row) for row in rows)
