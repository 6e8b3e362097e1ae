"""What a journal keeps: a job and its identity, items done, uploads under way and their parts, failures.

None of it holds a secret: addresses lose passwords and queries, and configuration loses the keys that its owner calls
secret. A token of an upload may be one (a resumable session's address is); it is shown by no `repr`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeAlias

from entrepot.errors import ConfigurationError
from entrepot.models import FileStat
from entrepot.paths import scheme_of

JobState: TypeAlias = Literal["running", "interrupted", "done", "unreadable"]
"""`running` while a process has the journal open; `unreadable` is a journal that is damaged or of a newer version."""

UploadState: TypeAlias = Literal["creating", "open", "completing"]
"""`creating` and `completing` are intents, recorded before the call: whether it was made is not known."""

Values: TypeAlias = Mapping[str, Any]
"""Options or configuration by name; the values are what JSON has."""

_ID_DIGITS: Final = 16
_QUERY: Final = re.compile(r"\?[A-Za-z_][\w.-]*=.*", re.ASCII | re.DOTALL)
_QUERY_LEFT_OUT: Final = "?…"
_NOTHING: Final[Values] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job does, as it is kept. Made by `of`.

    id: the same for the same job (see `identity`). source, target: full addresses, as `kept_address` leaves them.
    options: those that change the result, and the endpoints of both sides. configuration: what else a later run
    needs to reach the same places.
    """

    id: str
    source: str
    target: str
    options: Values = field(default_factory=dict)
    configuration: Values = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: str,
        target: str,
        *,
        is_secret: Callable[[str], bool],
        options: Values = _NOTHING,
        configuration: Values = _NOTHING,
    ) -> Self:
        """The job of these. is_secret: whether values of this key are never to be kept, at any depth.

        Raises ConfigurationError, which names the key and not the value, for what JSON has no form of.
        """
        kept = _without_secrets(options, is_secret)
        return cls(
            id=identity(source, target, kept),
            source=kept_address(source),
            target=kept_address(target),
            options=kept,
            configuration=_without_secrets(configuration, is_secret),
        )

    def to_text(self) -> str:
        """All but the id, as JSON in ASCII: a name that is not UTF-8 survives it."""
        return json.dumps(
            {
                "source": self.source,
                "target": self.target,
                "options": dict(self.options),
                "configuration": dict(self.configuration),
            },
            sort_keys=True,
        )

    @classmethod
    def from_text(cls, id_: str, text: str) -> Self:
        """What `to_text` made. Raises ValueError, KeyError or TypeError for anything else."""
        values = json.loads(text)
        return cls(id_, values["source"], values["target"], values["options"], values["configuration"])


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """One item that is at its target, durable and verified.

    target: its path below the target of the copy, empty for the one file of a copy: the store by which a later run
    reaches the same place may have another root. fingerprint: of the source, by `fingerprint_of`. size_bytes, etag: as
    the target tells them.
    """

    target: str
    fingerprint: str
    size_bytes: int
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """One large item under way.

    write_id: names this attempt, and no other, in any job. target, fingerprint: as for an item. size_bytes: of the
    whole. part_size_bytes: 0 until it is known. token: what the store needs to continue or to drop it, empty until it
    is known.
    """

    write_id: str
    target: str
    fingerprint: str
    size_bytes: int
    part_size_bytes: int = 0
    state: UploadState = "creating"
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part that was written. number: 1-based. crc32c, md5: of its bytes, where they were computed."""

    number: int
    size_bytes: int
    crc32c: int | None = None
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """The last error of one item. source: its full address. target: as for an item, or empty.

    error: the class's name. reason: one line.
    """

    source: str
    target: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobSummary:
    """How far a job is.

    process: who runs it, or ran it last, as `PID` or `PID on HOST`. copied_files, copied_bytes: copies made in all
    runs; an item that changed and was copied again counts again. found_files, found_bytes: what the last scan had
    found, 0 before it told. failures: items that failed last time. uploads: large items under way.
    problem: why it is `unreadable`, and then nothing else but the id is known.
    """

    id: str
    state: JobState
    source: str = ""
    target: str = ""
    created: datetime | None = None
    updated: datetime | None = None
    process: str = ""
    copied_files: int = 0
    copied_bytes: int = 0
    found_files: int = 0
    found_bytes: int = 0
    failures: int = 0
    uploads: int = 0
    problem: str = ""


def fingerprint_of(file: FileStat) -> str:
    """What tells this content of a source from any other: size, and etag, version or time, the first that is known.

    A listing and a `stat` may know different things of one file: compare what the same one of them told.
    """
    if file.etag is not None or file.version is not None:
        return f"{file.size_bytes}:{file.etag if file.etag is not None else file.version}"
    return f"{file.size_bytes}:{file.modified.isoformat() if file.modified is not None else ''}"


def identity(source: str, target: str, options: Values) -> str:
    """The id of a job: 16 hexadecimal digits, the same for the same source, target and options.

    source, target: full addresses; a trailing slash and a password make no difference. options: those that change the
    result (filters, comparison, delete, links, part size), with the endpoint of each side where one was given, for
    the same address at two services is two places; not bandwidth, concurrency, memory or output.
    """
    places = [_without_password(_without_slash(place)) for place in (source, target)]
    text = json.dumps([*places, _without_secrets(options, lambda _: False)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def kept_address(address: str) -> str:
    """The address as it may be written down: no password, and no query (`?name=value…`) but a mark that one was there.

    A path of this machine has neither. The user's name stays, for it is part of where the address leads: a home
    directory, or a container of Azure (`abfs://CONTAINER@…`).
    """
    address = _without_password(_without_slash(address))
    if scheme_of(address) in (None, "file"):
        return address
    # Where a key only looks like a query, the mark makes it an address that leads nowhere, and not to another key.
    return _QUERY.sub(_QUERY_LEFT_OUT, address, count=1)


def _without_slash(address: str) -> str:
    cut = address.removesuffix("/")
    return cut if cut and not cut.endswith(("/", ":")) else address


def _without_password(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    if scheme_of(address) is None or ":" not in userinfo:
        return address
    return f"{scheme}{separator}{userinfo.partition(':')[0]}{at}{host}{slash}{path}"


def _without_secrets(values: Values, is_secret: Callable[[str], bool]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if not is_secret(key)}
    return {key: _kept_value(key, value, is_secret) for key, value in kept.items()}


def _kept_value(key: str, value: object, is_secret: Callable[[str], bool]) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return kept_address(value) if scheme_of(value) else value
    if isinstance(value, Mapping):
        return _without_secrets(value, is_secret)
    if isinstance(value, (list, tuple)):
        return [_kept_value(key, one, is_secret) for one in value]
    raise ConfigurationError(f"{key}: a {type(value).__name__} cannot be kept in a journal")
