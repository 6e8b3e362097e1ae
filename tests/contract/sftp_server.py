"""A real SFTP server on loopback, in a process of its own: asyncssh's, with generated keys of host and user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh

USER = "someone"
PASSWORD = "correct horse battery staple"  # of a server that lives as long as the tests


@dataclass(frozen=True, slots=True)
class SftpServer:
    """Where it listens. folder: what it serves, by the paths that the machine itself knows.

    private_key: a file with a key that it accepts. known_hosts: a file with its own key.
    """

    port: int
    folder: Path
    private_key: str
    known_hosts: str

    @property
    def host(self) -> str:
        """The server's part of an address."""
        return f"{USER}@127.0.0.1:{self.port}"

    def uri(self, path: str) -> str:
        """The address of a path below the folder."""
        return f"sftp://{self.host}{self.folder / path}"


class _Users(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


async def serve(keys: Path) -> None:
    """Serve until standard input ends; the port is the first line of standard output."""
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Users,
        server_host_keys=[str(keys / "host")],
        authorized_client_keys=str(keys / "user.pub"),
        sftp_factory=True,
    )
    print(server.get_port(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


@contextlib.contextmanager
def sftp_server(folder: Path) -> Iterator[SftpServer]:
    """The server, for as long as the block lasts. folder: for keys, and for what it serves."""
    keys, served = folder / "keys", folder / "served"
    keys.mkdir()
    served.mkdir()
    host, user = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    host.write_private_key(keys / "host")
    user.write_private_key(keys / "user")
    user.write_public_key(keys / "user.pub")
    os.chmod(keys / "user", 0o600)
    with subprocess.Popen(
        [sys.executable, __file__, str(keys)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            known_hosts = keys / "known_hosts"
            known_hosts.write_text(f"[127.0.0.1]:{port} {host.export_public_key().decode()}")
            yield SftpServer(port, served, str(keys / "user"), str(known_hosts))
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
