"""The example flavor of docs/custom-flavor.md keeps the whole contract, on a real SFTP server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterator

import pytest

from contract.sftp_server import PASSWORD, SftpServer, sftp_server
from entrepot.blocking import SyncArtifactStore
from entrepot.paths import split_uri
from entrepot.testing import ArtifactStoreContract, BlockingStoreContract, FolderHooks
from sftp_store import SftpArtifactStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp_server(tmp_path_factory.mktemp("sftp")) as running:
        yield running


class OnServer(FolderHooks):
    """Looks into the server's folder: an address ends with the path on this machine."""

    tells_etags = False  # SFTP 3 tells times in whole seconds, which cannot tell two contents of one size apart
    secret_texts = (PASSWORD,)
    server: SftpServer

    def made(self, server: SftpServer) -> SftpArtifactStore:
        self.server, self.folder = server, server.folder / secrets.token_hex(6)
        return SftpArtifactStore(
            server.uri(self.folder.name),
            private_key=server.private_key,
            known_hosts=server.known_hosts,
            password=PASSWORD,
        )

    async def raw_read(self, uri: str) -> bytes:
        return await super().raw_read(f"/{split_uri(uri)[2]}")

    async def raw_write(self, uri: str, data: bytes) -> None:
        await super().raw_write(f"/{split_uri(uri)[2]}", data)

    async def raw_exists(self, uri: str) -> bool:
        return await super().raw_exists(f"/{split_uri(uri)[2]}")

    async def raw_list(self) -> list[str]:
        return [f"sftp://{self.server.host}{path}" for path in await super().raw_list()]


class TestSftp(OnServer, ArtifactStoreContract):
    @pytest.fixture
    async def store(self, server: SftpServer) -> AsyncGenerator[SftpArtifactStore, None]:
        async with self.made(server) as store:
            yield store


class TestBlockingSftp(OnServer, BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self, server: SftpServer) -> Iterator[SyncArtifactStore]:
        with SyncArtifactStore(self.made(server)) as store:
            yield store
