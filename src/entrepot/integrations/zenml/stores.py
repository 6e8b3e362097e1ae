"""ZenML's artifact stores: its fourteen methods, each done by our store through the blocking face."""

# ZenML looks for parameters that are annotated with exactly this union, and keeps local files from its server by it:
# annotations that are texts would switch that off, without a word.
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, cast

from zenml.artifact_stores import BaseArtifactStore
from zenml.config.global_config import GlobalConfiguration
from zenml.stack.authentication_mixin import AuthenticationMixin

from entrepot import __version__
from entrepot.blocking import SyncArtifactStore
from entrepot.bridge import BRIDGE
from entrepot.integrations.zenml import credentials, filesystems
from entrepot.integrations.zenml.configurations import Configuration
from entrepot.models import FileStat
from entrepot.paths import path_text


class EntrepotArtifactStore(BaseArtifactStore):
    """A store of ours as a component of ZenML's.

    Paths are bounded by whole names: `s3://bucket/art` does not admit `s3://bucket/artEVIL`, nor `..`. It works from
    ZenML's worker threads and async steps, and after `cleanup`. Errors are the builtins that ZenML looks for.
    """

    EXTRA = ""
    """What of entrepot a container needs that runs steps with this store."""

    _artifacts: SyncArtifactStore | None = None

    @property
    def config(self) -> Configuration:
        """The configuration."""
        return cast("Configuration", self._config)

    @property
    def path(self) -> str:
        """The root's address, without a trailing slash."""
        configured: str = self.config.path
        return configured.removesuffix("/")

    def __repr__(self) -> str:
        # ZenML's shows the values of its configuration, secrets too.
        return f"{type(self).__name__}({self.name!r}, {self.path!r})"

    @property
    def requirements(self) -> set[str]:
        """What ZenML installs into the images that it builds."""
        return {f"entrepot{self.EXTRA}=={__version__}"}

    @property
    def artifacts(self) -> SyncArtifactStore:
        """Our store, made when it is first needed, and made anew when a connector's credentials have expired."""
        found = self._artifacts
        if found is not None and not self._has_expired():
            return found
        with self._filesystem_lock:
            if self._artifacts is None or self._has_expired():
                given = {**self.config.store_configuration(), "path": self.path, **self._credentials()}
                self._artifacts = SyncArtifactStore(self.config.STORE(**given))
            return self._artifacts

    def _has_expired(self) -> bool:
        return bool(self.connector_has_expired())

    @abstractmethod
    def _credentials(self) -> dict[str, Any]:
        """Keys of our flavor, from what ZenML knows; empty where our own chain is to look."""

    def _register(self) -> None:
        # What ZenML still has of logs goes through the store when the process ends.
        BRIDGE.end_with_the_process()
        filesystems.register(self)

    def cleanup(self) -> None:
        """Drop the connections; the store stays usable. Harmless twice."""
        if self._artifacts is not None:
            self._artifacts.close()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_artifacts": None, "_connector_instance": None}

    def _located(self, path: bytes | str) -> bytes | str:
        """The path as our store is to read it."""
        return path

    # ---- ZenML's methods --------------------------------------------------------------------------

    def open(self, path: bytes | str, mode: str = "r") -> Any:
        """Open a file; what is written appears in one step, with a clean end, and only then."""
        return self.artifacts.open(self._located(path), mode)

    def copyfile(self, src: bytes | str, dst: bytes | str, overwrite: bool = False) -> None:
        """Copy one file, on the service's side where it can."""
        self.artifacts.copyfile(self._located(src), self._located(dst), overwrite)

    def exists(self, path: bytes | str) -> bool:
        """Whether a file or a directory is there."""
        return self.artifacts.exists(self._located(path))

    def glob(self, pattern: bytes | str) -> list[bytes | str]:
        """The full addresses that match."""
        return list(self.artifacts.glob(self._located(pattern)))

    def isdir(self, path: bytes | str) -> bool:
        """Whether a directory is there."""
        return self.artifacts.isdir(self._located(path))

    def listdir(self, path: bytes | str) -> list[bytes | str]:
        """The names in a directory."""
        return list(self.artifacts.listdir(self._located(path)))

    def makedirs(self, path: bytes | str) -> None:
        """Make a directory and its parents."""
        self.artifacts.makedirs(self._located(path))

    def mkdir(self, path: bytes | str) -> None:
        """Make one directory, in one that is there."""
        self.artifacts.mkdir(self._located(path))

    def remove(self, path: bytes | str) -> None:
        """Remove one file."""
        self.artifacts.remove(self._located(path))

    def rename(self, src: bytes | str, dst: bytes | str, overwrite: bool = False) -> None:
        """Move a file or a tree inside the store."""
        self.artifacts.rename(self._located(src), self._located(dst), overwrite)

    def rmtree(self, path: bytes | str) -> None:
        """Remove a directory and all below it, in batches."""
        self.artifacts.rmtree(self._located(path))

    def stat(self, path: bytes | str) -> FileStat:
        """What is known of a file or directory: one form for all flavors."""
        return self.artifacts.stat(self._located(path))

    def size(self, path: bytes | str) -> int:
        """The size of a file in bytes, or of all below a directory."""
        return self.artifacts.size(self._located(path))

    def walk(
        self, top: bytes | str, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[bytes | str, list[bytes | str], list[bytes | str]]]:
        """As `os.walk`, with full addresses."""
        return self.artifacts.walk(self._located(top), topdown, onerror)  # type: ignore[return-value]  # texts only


class LocalStore(EntrepotArtifactStore):
    """`entrepot_local`."""

    _root: str | None = None

    @property
    def path(self) -> str:
        """The folder, with its links resolved, as ZenML compares it with resolved paths."""
        if self._root is None:
            own = os.path.join(GlobalConfiguration().local_stores_path, str(self.id))
            self._root = os.path.realpath(self.config.path or own)
        return self._root

    @property
    def local_path(self) -> str:
        """The folder, which ZenML mounts into containers that it starts on this machine."""
        return self.path

    @property
    def custom_cache_key(self) -> bytes:
        """Steps are not taken from the cache of another machine, whose files are not here."""
        return cast("bytes", GlobalConfiguration().user_id.bytes)

    def _located(self, path: bytes | str) -> str:
        # As ZenML's own local store reads them, relative paths begin at the current directory.
        return os.path.join(os.getcwd(), path_text(path))

    def _credentials(self) -> dict[str, Any]:
        return {}


class S3Store(EntrepotArtifactStore, AuthenticationMixin):
    """`entrepot_s3`."""

    EXTRA = "[s3]"

    def _credentials(self) -> dict[str, Any]:
        return credentials.of_aws(self)


class GcpStore(EntrepotArtifactStore, AuthenticationMixin):
    """`entrepot_gcp`."""

    EXTRA = "[gcp]"

    _token: credentials.GoogleToken | None = None

    def _has_expired(self) -> bool:
        # A connector's own end is that of its configuration; its tokens live for an hour.
        return super()._has_expired() or (self._token is not None and self._token.has_expired())

    def _credentials(self) -> dict[str, Any]:
        given, self._token = credentials.of_google(self)
        return given

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_token": None}


class AzureStore(EntrepotArtifactStore, AuthenticationMixin):
    """`entrepot_azure`."""

    EXTRA = "[azure]"

    def _credentials(self) -> dict[str, Any]:
        return credentials.of_azure(self)
