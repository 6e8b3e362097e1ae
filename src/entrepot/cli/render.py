"""Everything a command shows: lines and objects on standard output, errors and notes on standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, TypeAlias, get_args

from entrepot.cli.failures import Failure, OutputClosed
from entrepot.cli.runner import in_own_thread
from entrepot.models import Buffer, FileStat
from entrepot.paths import printable

Form: TypeAlias = Literal["json", "yaml", "csv"]
FORMS: Final = get_args(Form)
_FLUSH_BYTES: Final = 64 * 1024
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE_WIDTH: Final = {True: 10, False: 14}
_NO_TIME: Final = "-" + " " * 19


class Output:
    """The two streams of one command. form: how results are told; None is lines for people.

    `json` is an object a line, `yaml` a list of them; `csv` holds all until the end, when its columns are known.

    Lines are collected and written by a worker thread: a reader that has stopped reading (`less`) must not keep a
    signal from being heard. Raises OutputClosed once the reader has left.
    """

    def __init__(self, *, form: Form | None = None, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.as_json = form is not None
        self._form = form
        self._rows: list[Mapping[str, Any]] = []
        self._stdout, self._stderr = stdout or sys.stdout, stderr or sys.stderr
        self._waiting = bytearray()
        self._above: Callable[[str], None] | None = None

    @property
    def to_terminal(self) -> bool:
        """Whether a person reads the results as they come."""
        return self._stdout.isatty()

    @property
    def draws_progress(self) -> bool:
        """Whether a person watches standard error, in a terminal that can move its cursor."""
        return self._stderr.isatty() and os.environ.get("TERM", "") != "dumb"

    # ---- results ----------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """One line of result, control characters escaped."""
        self._waiting += printable(text).encode("utf-8", "backslashreplace") + b"\n"

    def value(self, value: Mapping[str, Any]) -> None:
        """One object of result."""
        if self._form == "csv":
            self._rows.append(value)
            return
        # A lone surrogate (a name that is not UTF-8) comes out as \udcXX, which is JSON's own way to write it.
        text = json.dumps(value, ensure_ascii=False, default=_jsonable)
        if self._form == "yaml":
            import yaml

            text = yaml.safe_dump([json.loads(text)], sort_keys=False, allow_unicode=True).removesuffix("\n")
        self._waiting += text.encode("utf-8", "backslashreplace") + b"\n"

    def end_values(self) -> None:
        """All objects of result were told."""
        if not self._rows:
            return
        import csv

        told = io.StringIO()
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.DictWriter(told, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in self._rows)
        self._rows = []
        self._waiting += told.getvalue().encode("utf-8", "backslashreplace")

    async def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table: drawn on a terminal; for a pipe, one line a row, its columns padded by two spaces or more."""
        if self.to_terminal:
            from entrepot.cli.tables import drawn_table

            await self.drain(wholly=True)
            await self.write(drawn_table(titles, rows).encode("utf-8", "backslashreplace"))
            return
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        for row in (titles, *rows):
            self.line("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())

    async def drain(self, *, wholly: bool = False) -> None:
        """Write what waits, if it is much, or `wholly`; a terminal gets it at once."""
        if self._waiting and (wholly or len(self._waiting) >= _FLUSH_BYTES or self.to_terminal):
            waiting, self._waiting = self._waiting, bytearray()
            await self.write(waiting)

    def finish(self) -> None:
        """Write what waits, from where nothing can be awaited any more."""
        waiting, self._waiting = self._waiting, bytearray()
        _write_all(self._stdout, waiting)

    async def write(self, data: Buffer) -> None:
        """Bytes of result, as they are."""
        self._stdout.flush()
        await in_own_thread(_write_all, self._stdout, data)

    # ---- everything else --------------------------------------------------------------------------

    def failure(self, failure: Failure, command: str) -> None:
        """One line about what failed."""
        self._say(failure.line(command))

    def note(self, text: str) -> None:
        """One line that is not a result."""
        self._say(text)

    def note_value(self, value: Mapping[str, Any]) -> None:
        """One object that is not a result, as one line of JSON on standard error."""
        self._stderr.write(json.dumps(value, default=_jsonable) + "\n")
        self._stderr.flush()

    def traceback(self, error: BaseException) -> None:
        """The whole story, for `--debug`."""
        import traceback

        self._stderr.writelines(traceback.format_exception(error))

    @contextmanager
    def lines_through(self, above: Callable[[str], None]) -> Iterator[None]:
        """Lines on standard error go through this for a while: above the progress that is drawn there."""
        self._above = above
        try:
            yield
        finally:
            self._above = None

    def _say(self, text: str) -> None:
        if self._above is not None:
            self._above(f"entrepot: {printable(text)}")
            return
        line = f"entrepot: {printable(text)}\n"
        encoding = self._stderr.encoding or "utf-8"
        self._stderr.write(line.encode(encoding, "backslashreplace").decode(encoding))
        self._stderr.flush()


def _write_all(stream: TextIO, data: Buffer) -> None:
    try:
        descriptor = stream.fileno()
    except (io.UnsupportedOperation, ValueError):
        stream.write(bytes(data).decode("utf-8", "backslashreplace"))  # a test's stream
        return
    rest = memoryview(data).cast("B")
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BrokenPipeError as error:
        raise OutputClosed from error


async def read_standard_input(size: int) -> bytes:
    """Up to `size` bytes of standard input, empty at its end; a cancellation does not wait for the next byte."""
    return await in_own_thread(os.read, sys.stdin.fileno(), size)


def standard_input_is_terminal() -> bool:
    """Whether a person would have to type the input."""
    return sys.stdin is not None and sys.stdin.isatty()


# ---- words ------------------------------------------------------------------------------------------------


def human_size(size_bytes: float) -> str:
    """`1,536` as `1.5 KiB`."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    amount = float(size_bytes)
    for unit in _UNITS:
        # 1,023.95 KiB would be shown as 1,024.0 KiB
        if round(amount, 1) < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{amount:.1f} {unit}"


def shown_size(size_bytes: int, *, human: bool) -> str:
    """A size, right-aligned for a column."""
    return f"{human_size(size_bytes) if human else size_bytes:>{_SIZE_WIDTH[human]}}"


def shown_time(moment: datetime | None) -> str:
    """A time in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment is not None else _NO_TIME


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 file`, `1,234 files`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def long_line(stat: FileStat, name: str, *, human: bool) -> str:
    """One line of `ls -l`: size, time, name."""
    size = " " * (_SIZE_WIDTH[human] - 1) + "-" if stat.is_dir else shown_size(stat.size_bytes, human=human)
    return f"{size}  {shown_time(stat.modified)}  {name}"


def stat_value(stat: FileStat, **more: Any) -> dict[str, Any]:
    """The JSON fields of one file or directory; fields that are not known are left out."""
    value: dict[str, Any] = {
        **more,
        "uri": stat.uri,
        "type": "directory" if stat.is_dir else "file",
        "size_bytes": None if stat.is_dir else stat.size_bytes,
        "modified": stat.modified,
        "etag": stat.etag,
        "version": stat.version,
        "content_type": stat.content_type,
        "metadata": dict(stat.metadata) or None,
        "checksums": dict(stat.checksums) or None,
        "mode": f"{stat.mode:04o}" if stat.mode is not None else None,
    }
    return {name: field for name, field in value.items() if field is not None}


def stat_lines(stat: FileStat) -> list[str]:
    """`stat` for people: one `name: value` a line."""
    rows: list[tuple[str, str]] = []
    for name, field in stat_value(stat).items():
        if name == "size_bytes":
            rows.append(("size", f"{field} bytes ({human_size(field)})" if field >= 1024 else f"{field} bytes"))
        elif name == "modified":
            rows.append((name, shown_time(field)))
        elif isinstance(field, dict):
            rows.extend((f"{name}.{key}", str(one)) for key, one in sorted(field.items()))
        else:
            rows.append((name.replace("_", " "), str(field)))
    width = max(len(name) for name, _ in rows)
    return [f"{name + ':':<{width + 1}} {text}" for name, text in rows]


def version_line(stat: FileStat, shown: str) -> str:
    """One version for people: its id, size, time, and the file as typed."""
    return f"{stat.version or '-'}  {stat.size_bytes:>12}  {shown_time(stat.modified)}  {shown}"


def _cell(value: object) -> object:
    """A value in a table for programs: what is no text or number as JSON."""
    if value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool)):
        return value
    return _jsonable(value) if isinstance(value, datetime) else json.dumps(value, ensure_ascii=False, default=_jsonable)


def _jsonable(value: object) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"no JSON form: {type(value).__name__}")
