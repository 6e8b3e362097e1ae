"""Where configuration is kept, and how it is read and changed: one TOML file, replaced in one step under a lock."""

from __future__ import annotations

import contextlib
import os
import secrets
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from entrepot.disks import sync_descriptor, sync_directory
from entrepot.errors import ConfigurationError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

T = TypeVar("T")

STACK_VARIABLE: Final = "ENTREPOT_STACK"
"""Names the stack that is active for a process."""

_LOCK_WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Home:
    """Where this user's configuration file and data are. rehearses: changes are tried, and nothing is written."""

    config_file: str
    data_dir: str
    rehearses: bool = False

    @classmethod
    def of_this_user(cls, *, rehearses: bool = False) -> Home:
        """By the environment (`ENTREPOT_CONFIG`, `ENTREPOT_DATA_DIR`), else where the platform keeps such things."""
        config, data = os.environ.get("ENTREPOT_CONFIG"), os.environ.get("ENTREPOT_DATA_DIR")
        if not config or not data:
            import platformdirs

            config = config or os.path.join(platformdirs.user_config_dir("entrepot", appauthor=False), "config.toml")
            data = data or platformdirs.user_data_dir("entrepot", appauthor=False)
        return cls(os.path.abspath(config), os.path.abspath(data), rehearses)

    def local_store(self, identity: str) -> str:
        """The folder of a local store without a path of its own."""
        return os.path.join(self.data_dir, "local_stores", identity)

    def read(self) -> dict[str, Any]:
        """What the file has, nothing where there is none. Raises ConfigurationError that names the file."""
        return _parsed(self.config_file, _text(self.config_file))

    def tables(self, kind: str, document: Mapping[str, Any] | None = None) -> Mapping[str, Mapping[str, Any]]:
        """The tables `[kind.NAME]` by name. document: of `read`. Raises ConfigurationError for anything else there."""
        tables = (self.read() if document is None else document).get(kind, {})
        if not isinstance(tables, dict):
            raise ConfigurationError(f"{kind} must be a table of tables by name", uri=self.config_file)
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise ConfigurationError(f"{kind}.{name} must be a table", uri=self.config_file)
        return tables

    def change(self, purpose: str, change: Callable[[TOMLDocument], T]) -> T:
        """Read the file, change it, and write it again if it is another then; comments stay.

        change: is called under a lock that other processes respect. purpose: what cannot be done, for the errors.
        Raises ConfigurationError where the file cannot be written.
        """
        from filelock import FileLock, Timeout

        # The file may be a link, as dotfiles often are: what it leads to is replaced, and the link stays.
        path = os.path.realpath(self.config_file)
        if self.rehearses:
            document, _ = _document(path)
            result = change(document)
            _require_equal(path, document.as_string(), document)
            return result
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with FileLock(f"{path}.lock", timeout=_LOCK_WAIT_S, mode=0o600):
                document, before = _document(path)
                result = change(document)
                if document.unwrap() != before:
                    changed = document.as_string()
                    _require_equal(path, changed, document)
                    _replace(path, changed)
                return result
        except Timeout as error:
            raise ConfigurationError(
                f"another process has held the lock for {_LOCK_WAIT_S:.0f} s; try again", uri=f"{path}.lock"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"{purpose}: {error.strerror or error}; ENTREPOT_CONFIG may name another file", uri=path
            ) from error


def state_dir() -> str:
    """Where this user's jobs are kept: by the environment (`ENTREPOT_STATE`), else where the platform keeps state."""
    named = os.environ.get("ENTREPOT_STATE")
    if not named:
        import platformdirs

        named = platformdirs.user_state_dir("entrepot", appauthor=False)
    return os.path.abspath(named)


def put_table(document: TOMLDocument, kind: str, name: str, values: Mapping[str, Any]) -> None:
    """Add `[kind.name]` at the file's end, or give the one that is there other values."""
    import tomlkit
    from tomlkit.items import InlineTable, Table

    tables: Any = document.get(kind)
    if tables is None:
        tables = document[kind] = tomlkit.table(is_super_table=True)
    table: Any = tables.get(name)
    if table is None:
        table = tomlkit.inline_table() if isinstance(tables, InlineTable) else tomlkit.table()
        if isinstance(tables, Table) and len(tables) and not tables.as_string().endswith("\n\n"):
            table.trivia.indent = "\n"  # a blank line before its header
        tables[name] = table
    for key, value in values.items():
        table[key] = value


def _require_equal(path: str, text: str, document: TOMLDocument) -> None:
    """Refuse to write a text that says something else than was meant."""
    try:
        same = tomllib.loads(text) == document.unwrap()
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ConfigurationError("this form cannot be added to; write plain tables, [KIND.NAME]", uri=path)


def _document(path: str) -> tuple[TOMLDocument, dict[str, Any]]:
    """The file to be changed, and its values as they are before."""
    import tomlkit

    text = _text(path)
    before = _parsed(path, text)
    return tomlkit.parse(text if not text or text.endswith("\n") else f"{text}\n"), before


def _text(path: str) -> str:
    """The text of the file, empty where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ConfigurationError("not UTF-8; mend the file, or move it away", uri=path) from error
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror or error}; ENTREPOT_CONFIG may name another file", uri=path
        ) from error


def _parsed(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not valid TOML: {error}; mend the file, or move it away", uri=path) from error


def _replace(path: str, text: str) -> None:
    """Write the file in one step, for this user's eyes only, durably."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("what is to be written is not UTF-8", uri=path) from error
    temporary = f"{path}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            sync_descriptor(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))
