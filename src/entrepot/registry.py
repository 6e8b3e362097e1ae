"""What there is by name: the flavors, and the stores that this user has configured.

Stores are kept in one TOML file (`config.toml` in the user's configuration directory), a table each:

    [artifact_stores.team]
    id = "3f0c…"
    flavor = "s3"
    path = "s3://bucket/artifacts"
    region = "eu-central-1"

The local store `default` needs no set-up: its first use writes its table, with a new UUID and a folder of that name.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import secrets
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from entrepot.errors import ConfigurationError

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

DEFAULT_STORE: Final = "default"
"""The name of the local store that exists without any set-up."""

_LOCK_WAIT_S: Final = 30.0
_TABLE: Final = "artifact_stores"


# ---- flavors --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of store. source: `module:Class`, imported when it is first used. schemes: of its addresses, `` is a
    plain path. extra: what to install for it, where it needs more than the core.
    """

    name: str
    source: str
    schemes: tuple[str, ...]
    extra: str | None = None

    def load(self) -> type[BaseArtifactStore]:
        """Its class. Raises ConfigurationError that says what to install."""
        module, _, name = self.source.partition(":")
        try:
            found: type[BaseArtifactStore] = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if self.extra is None or (error.name or "").partition(".")[0] == "entrepot":
                raise
            raise ConfigurationError(
                f"flavor {self.name!r} needs entrepot[{self.extra}]: pip install 'entrepot[{self.extra}]'"
            ) from error
        return found


_BUILT_IN: Final = (
    Flavor("local", "entrepot.flavors.local:LocalArtifactStore", ("", "file")),
    Flavor("memory", "entrepot.flavors.memory:MemoryArtifactStore", ("memory",)),
    Flavor("s3", "entrepot.flavors.s3.store:S3ArtifactStore", ("s3",), extra="s3"),
    Flavor("azure", "entrepot.flavors.azure.store:AzureArtifactStore", ("az", "abfs", "abfss"), extra="azure"),
)


def flavors() -> Mapping[str, Flavor]:
    """The flavors by name."""
    return MappingProxyType({flavor.name: flavor for flavor in _BUILT_IN})


def flavor_named(name: str) -> Flavor:
    """The flavor of that name. Raises ConfigurationError that names the nearest, and all."""
    known = flavors()
    if name not in known:
        raise ConfigurationError(f"unknown flavor {name!r}; {_instead(name, known)}")
    return known[name]


def flavor_of_scheme(scheme: str) -> Flavor:
    """The flavor for addresses with a scheme (in lower case, `` for a plain path).

    Raises ConfigurationError that names the nearest scheme, and all.
    """
    by_scheme = {one: flavor for flavor in flavors().values() for one in flavor.schemes}
    if scheme not in by_scheme:
        shown = [f"{one}://" for one in by_scheme if one]
        raise ConfigurationError(f"unknown scheme {scheme}://; {_instead(f'{scheme}://', shown)}, and plain paths")
    return by_scheme[scheme]


def _instead(name: str, known: Mapping[str, object] | list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}supported: {', '.join(known)}"


# ---- where configuration is kept ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Home:
    """Where this user's configuration file and data are."""

    config_file: str
    data_dir: str

    @classmethod
    def of_this_user(cls) -> Home:
        """By the environment (`ENTREPOT_CONFIG`, `ENTREPOT_DATA_DIR`), else where the platform keeps such things."""
        config, data = os.environ.get("ENTREPOT_CONFIG"), os.environ.get("ENTREPOT_DATA_DIR")
        if not config or not data:
            import platformdirs

            config = config or os.path.join(platformdirs.user_config_dir("entrepot", appauthor=False), "config.toml")
            data = data or platformdirs.user_data_dir("entrepot", appauthor=False)
        return cls(os.path.abspath(config), os.path.abspath(data))


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One configured store. id: a UUID, empty where the file gives none. options: the flavor's own keys."""

    name: str
    flavor: str
    path: str
    id: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def make(self, *, below: str = "", **options: Any) -> BaseArtifactStore:
        """A store made of the entry. below: a path in it to be the root. options: in place of configured ones."""
        path = f"{self.path.rstrip('/')}/{below}" if below else self.path
        return flavor_named(self.flavor).load()(path, **{**self.options, **options})


def store_names(home: Home | None = None) -> list[str]:
    """The names of all configured stores, sorted; `default` is always there."""
    home = home or Home.of_this_user()
    return sorted({DEFAULT_STORE, *_stores(home.config_file, _read(home.config_file))})


def find_store(name: str, home: Home | None = None) -> StoreEntry | None:
    """The configured store of that name, or None; `default` is made at its first use.

    Raises ConfigurationError for a file that cannot be read, or written where `default` is new.
    """
    home = home or Home.of_this_user()
    found = _stores(home.config_file, _read(home.config_file)).get(name)
    if found is None and name == DEFAULT_STORE:
        return _make_default(home)
    return found


def named_store(name: str, home: Home | None = None) -> StoreEntry:
    """As `find_store`. Raises ConfigurationError that lists the known names."""
    found = find_store(name, home)
    if found is None:
        known = store_names(home)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}:? " if near else ""
        raise ConfigurationError(
            f"no store is called {name!r}; {hint}known: {', '.join(known)}; a local path is written ./{name}"
        )
    return found


# ---- the file -------------------------------------------------------------------------------------------


def _read(path: str) -> str:
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


def _stores(path: str, text: str) -> dict[str, StoreEntry]:
    """The stores that the file's text configures. Raises ConfigurationError that names the file."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not valid TOML: {error}; mend the file, or move it away", uri=path) from error
    tables = document.get(_TABLE, {})
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{_TABLE} must be a table of stores by name", uri=path)
    return {name: _entry(path, name, table) for name, table in tables.items()}


def _entry(path: str, name: str, table: object) -> StoreEntry:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{_TABLE}.{name} must be a table", uri=path)
    options = dict(table)
    texts = {key: options.pop(key, "") for key in ("id", "flavor", "path")}
    for key, value in texts.items():
        if not isinstance(value, str) or (key != "id" and not value):
            raise ConfigurationError(f"{_TABLE}.{name} needs a text for {key!r}", uri=path)
    return StoreEntry(name, options=MappingProxyType(options), **texts)


def _make_default(home: Home) -> StoreEntry:
    """Write the table of `default`, or return the one that another process wrote meanwhile."""
    from filelock import FileLock, Timeout

    # The file may be a link, as dotfiles often are: what it leads to is replaced, and the link stays.
    path = os.path.realpath(home.config_file)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=_LOCK_WAIT_S, mode=0o600):
            text = _read(path)
            found = _stores(path, text).get(DEFAULT_STORE)
            if found is not None:
                return found
            entry = _new_default(home)
            text = _with_table(path, text, entry)
            _replace(path, text)
            return entry
    except Timeout as error:
        raise ConfigurationError(
            f"another process has held the lock for {_LOCK_WAIT_S:.0f} s; try again", uri=f"{path}.lock"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"the store 'default' cannot be set up here: {error.strerror or error}; "
            "ENTREPOT_CONFIG may name another file",
            uri=path,
        ) from error


def _new_default(home: Home) -> StoreEntry:
    identity = str(uuid.uuid4())
    return StoreEntry(DEFAULT_STORE, "local", os.path.join(home.data_dir, "local_stores", identity), identity)


def _with_table(path: str, text: str, entry: StoreEntry) -> str:
    """The file's text with one more table; what was there stays as it is, comments too."""
    lines = [f"[{_TABLE}.{entry.name}]"]
    for key, value in (("id", entry.id), ("flavor", entry.flavor), ("path", entry.path)):
        # A JSON string is a TOML basic string, but for this one character.
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f"))
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    longer = f"{text}{gap}{chr(10).join(lines)}\n"
    try:
        written = _stores(path, longer).get(entry.name)
    except ConfigurationError:
        written = None  # an inline table, to which nothing can be added from outside
    if written != entry:
        raise ConfigurationError(f"write {_TABLE} as tables, [{_TABLE}.NAME], so that one can be added", uri=path)
    return longer


def _replace(path: str, text: str) -> None:
    """Write the file in one step, for this user's eyes only, durably."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("the path of the data directory is not UTF-8", uri=path) from error
    temporary = f"{path}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(os.path.dirname(path))


def _sync_directory(path: str) -> None:
    if os.name == "nt":  # directories cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
