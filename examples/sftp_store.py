"""Artifacts on an SFTP server: a whole flavor in one file. docs/custom-flavor.md walks through it.

pip install entrepot asyncssh
entrepot artifact-store flavor register sftp_store.SftpArtifactStore
entrepot cp -r runs/7 sftp://user@host/data/runs/7
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import asyncssh
from pydantic import BaseModel, ConfigDict, SecretStr

from entrepot.errors import (
    ConfigurationError,
    ConnectionFailed,
    CredentialsMissing,
    NoSpace,
    NotFound,
    PermissionDenied,
    ServiceError,
    StoreError,
    TimedOut,
    TlsFailed,
    Unreachable,
)
from entrepot.filesystem import Entry, FileSystemArtifactStore, LoopConnections, RandomAccessFile, WritableFile
from entrepot.models import Buffer
from entrepot.paths import StrPath


class SftpConfig(BaseModel):
    """What an SFTP store is configured by.

    path: `sftp://[user@]host[:port]/absolute/path`. password, private_key (a file): else the SSH agent and the keys
    below `~/.ssh` are tried. known_hosts: a file with the host's key, which is always checked; else
    `~/.ssh/known_hosts`. connect_timeout_s: seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    password: SecretStr | None = None
    private_key: str | None = None
    known_hosts: str | None = None
    connect_timeout_s: float = 15.0


# The first class that an error belongs to decides. SFTP 3 says `Failure` where something is in the way: the base looks.
_FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[StoreError]], ...] = (
    ((asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath), NotFound),
    ((asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect), PermissionDenied),
    ((asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded), NoSpace),
    ((asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection), ConnectionFailed),
    (asyncssh.SFTPError, ServiceError),
    ((asyncssh.PermissionDenied, asyncssh.KeyImportError, FileNotFoundError), CredentialsMissing),
    (asyncssh.HostKeyNotVerifiable, TlsFailed),
    (asyncssh.Error, ConnectionFailed),
    (TimeoutError, TimedOut),
    (OSError, Unreachable),  # nothing here touches a disk: it is the socket's
)
_ADVICE = {
    CredentialsMissing: "give private_key or password, or load a key into the SSH agent",
    TlsFailed: "compare the host's key with its owner's, then add it to known_hosts",
}


class SftpArtifactStore(FileSystemArtifactStore):
    """Artifacts as files on an SFTP server; one SSH connection for each event loop."""

    FLAVOR: ClassVar[str] = "sftp"
    SUPPORTED_SCHEMES: ClassVar[frozenset[str]] = frozenset({"sftp://"})
    CONFIG: ClassVar[type[Any]] = SftpConfig

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        server = re.fullmatch(r"(?:([^@:]+)@)?([^@:\[\]]+|\[[^\]]+\])(?::(\d+))?", self._root.container)
        if server is None:
            raise ConfigurationError("write sftp://[user@]host[:port]/path; a password is an option of its own")
        self._user, self._host, self._port = server[1], server[2].strip("[]"), int(server[3] or 22)
        self._connections = LoopConnections(
            self._connect, _disconnect, is_open=lambda one: not one[0].is_closed(), descriptor=_descriptor
        )

    def _ssh_options(self) -> dict[str, Any]:
        config, known_hosts = self.config, Path(self.config.known_hosts or "~/.ssh/known_hosts").expanduser()
        options = {
            "username": self._user,
            "password": config.password and config.password.get_secret_value(),
            "client_keys": config.private_key and [str(Path(config.private_key).expanduser())],
            "known_hosts": str(known_hosts) if known_hosts.exists() else b"\n",  # nothing known: no host is trusted
            "connect_timeout": config.connect_timeout_s,
        }
        return {name: value for name, value in options.items() if value is not None}  # else asyncssh looks for them

    async def _connect(self) -> _Connection:
        ssh = await asyncssh.connect(self._host, self._port, **self._ssh_options())
        try:
            return ssh, await ssh.start_sftp_client()
        except BaseException:
            ssh.abort()
            raise

    async def _sftp(self) -> asyncssh.SFTPClient:
        return (await self._connections.get())[1]

    async def close(self) -> None:
        await super().close()
        await self._connections.close()

    def _failure(self, error: Exception) -> StoreError | None:
        kind = next((kind for of, kind in _FAILURES if isinstance(error, of)), None)
        if kind is None:
            return super()._failure(error)
        reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
        return kind(f"{reason}; {_ADVICE[kind]}" if kind in _ADVICE else reason)

    # ---- primitives -------------------------------------------------------------------------------

    async def _stat(self, key: str) -> Entry:
        return _entry("", await (await self._sftp()).lstat(_path(key)))

    async def _list(self, key: str) -> Sequence[Entry]:
        names = await (await self._sftp()).readdir(_path(key))
        return [_entry(one.filename, one.attrs) for one in names]

    async def _make_directory(self, key: str) -> None:
        await (await self._sftp()).mkdir(_path(key))

    async def _remove_file(self, key: str) -> None:
        await (await self._sftp()).remove(_path(key))

    async def _remove_directory(self, key: str) -> None:
        await (await self._sftp()).rmdir(_path(key))

    async def _rename(self, source: str, target: str, *, replace: bool) -> None:
        sftp = await self._sftp()
        # The protocol's own rename refuses an existing target (OpenSSH makes a hard link), its extension replaces it.
        await (sftp.posix_rename if replace else sftp.rename)(_path(source), _path(target))

    async def _open_read(self, key: str, entry: Entry) -> RandomAccessFile:
        return _File(await (await self._sftp()).open(_path(key), "rb", encoding=None))

    async def _open_write(self, key: str) -> WritableFile:
        return _File(await (await self._sftp()).open(_path(key), "xb", encoding=None))

    async def _set_attributes(self, key: str, *, mtime_s: float | None, mode: int | None) -> None:
        time = None if mtime_s is None else int(mtime_s)
        await (await self._sftp()).setstat(_path(key), asyncssh.SFTPAttrs(permissions=mode, atime=time, mtime=time))


class _File(RandomAccessFile, WritableFile):
    """An open file, which is either read or written."""

    def __init__(self, file: asyncssh.SFTPClientFile) -> None:
        self._file = file

    async def stat(self) -> Entry:
        return _entry("", await self._file.stat())

    async def read_at(self, start: int, size: int) -> bytes:
        return cast("bytes", await self._file.read(size, start))

    async def write(self, data: Buffer) -> None:
        await self._file.write(bytes(data))

    async def close(self) -> None:
        await self._file.close()


_Connection = tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]


async def _disconnect(connection: _Connection) -> None:
    connection[0].close()
    await connection[0].wait_closed()


def _descriptor(connection: _Connection) -> int:
    return int(connection[0].get_extra_info("socket").fileno())


def _path(key: str) -> bytes:
    return f"/{key}".encode("utf-8", "surrogateescape")


def _entry(name: bytes | str, attrs: asyncssh.SFTPAttrs) -> Entry:
    text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
    time = None if attrs.mtime is None else datetime.fromtimestamp(attrs.mtime, UTC)
    mode = None if attrs.permissions is None else attrs.permissions & 0o7777
    if attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
        return Entry(text, "directory", modified=time, mode=mode)
    kind: Literal["file", "other"] = "file" if attrs.type == asyncssh.FILEXFER_TYPE_REGULAR else "other"
    return Entry(text, kind, attrs.size or 0, time, mode=mode)
