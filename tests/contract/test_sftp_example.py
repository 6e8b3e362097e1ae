"""The example flavor of docs/custom-flavor.md keeps the whole contract, on a real SFTP server."""

from __future__ import annotations

import asyncio
import pickle
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import asyncssh
import pytest

import entrepot
from contract.sftp_server import PASSWORD, SftpServer, sftp_server
from entrepot.blocking import SyncArtifactStore
from entrepot.errors import ConnectionFailed, CredentialsMissing, StoreError, TimedOut, TlsFailed, Unreachable
from entrepot.paths import split_uri
from entrepot.testing import ArtifactStoreContract, BlockingStoreContract, FolderHooks
from forking import status_of_child
from sftp_store import SftpArtifactStore

# By day its base is held to the contract on a folder, and the example is used on the command line.
pytestmark = pytest.mark.nightly


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
            # The tasks of asyncssh's connection live as long as that: no operation of a test is the first to have them.
            assert not await store.exists("anything")
            yield store


@pytest.mark.nightly
class TestBlockingSftp(OnServer, BlockingStoreContract):
    @pytest.fixture
    def blocking_store(self, server: SftpServer) -> Iterator[SyncArtifactStore]:
        with SyncArtifactStore(self.made(server)) as store:
            yield store


# ---- what is the flavor's own ----------------------------------------------------------------------------


@pytest.fixture
def uri(server: SftpServer) -> str:
    return server.uri(secrets.token_hex(6))


async def refused(kind: type[StoreError], uri: str, **configuration: str | float) -> StoreError:
    """The error that the first use ends with: one line that shows no password."""
    async with SftpArtifactStore(uri, **configuration) as store:
        with pytest.raises(kind) as caught:
            await store.write_bytes("f", b"x")
    assert type(caught.value) is kind
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither an agent nor keys of the user who runs the tests."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.anyio
@pytest.mark.usefixtures("no_keys")
async def test_a_host_that_is_not_known_is_not_trusted(server: SftpServer, uri: str, tmp_path: Path) -> None:
    # Neither what the user trusts elsewhere, nor a setting that trusts everybody, stands in for a file that is named.
    (tmp_path / ".ssh").mkdir()
    shutil.copy(server.known_hosts, tmp_path / ".ssh")
    (tmp_path / ".ssh" / "config").write_text("UserKnownHostsFile none\n")
    for known in (tmp_path / "missing", tmp_path / "other"):
        error = await refused(TlsFailed, uri, known_hosts=str(known), private_key=server.private_key)
        assert "known_hosts" in str(error)
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        (tmp_path / "other").write_text(f"[127.0.0.1]:{server.port} {other}")


@pytest.mark.anyio
@pytest.mark.usefixtures("no_keys")
async def test_credentials_that_do_not_work_say_what_to_give(server: SftpServer, uri: str, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("no key")
    for given in ({}, {"password": "wrong"}, {"private_key": "~/nowhere"}, {"private_key": "~/broken"}):
        error = await refused(CredentialsMissing, uri, known_hosts=server.known_hosts, **given)
        assert "give private_key or password" in str(error)
        assert "wrong" not in str(error)


@pytest.mark.anyio
@pytest.mark.usefixtures("no_keys")
async def test_a_pickle_has_no_password_and_says_what_it_needs(server: SftpServer, uri: str) -> None:
    async with SftpArtifactStore(uri, password=PASSWORD, known_hosts=server.known_hosts) as store:
        await store.write_bytes("f", b"x")
        packed = pickle.dumps(store)
    assert PASSWORD.encode() not in packed
    async with pickle.loads(packed) as again:
        with pytest.raises(CredentialsMissing, match="give private_key or password"):
            await again.read_bytes("f")


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_unreachable(server: SftpServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await refused(Unreachable, f"sftp://someone@127.0.0.1:{taken.getsockname()[1]}/x")
        taken.listen()  # and never answers
        await refused(TimedOut, f"sftp://someone@127.0.0.1:{taken.getsockname()[1]}/x", connect_timeout_s=0.2)


@pytest.mark.anyio
async def test_a_server_that_goes_away_is_told(tmp_path: Path) -> None:
    with sftp_server(tmp_path) as first:
        store = SftpArtifactStore(first.uri("f"), private_key=first.private_key, known_hosts=first.known_hosts)
        await store.write_bytes("a", b"x")
        reader = await store.open("a", "rb")
        writer = await store.open("b", "wb")
    with pytest.raises(ConnectionFailed):
        await store.read_bytes("a")
    with pytest.raises(StoreError):
        await writer.close()
    await reader.close()
    await store.close()


@pytest.mark.parametrize(
    "address", ["sftp://user:password@host/x", "sftp://host:port/x", "sftp://@host/x", "sftp://a@b@c/x", "sftp:///x"]
)
def test_an_address_of_another_form_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        SftpArtifactStore(address)
    assert "password@" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("sftp://host/x", (None, "host", 22)),
        ("sftp://me@host:2222/x", ("me", "host", 2222)),
        ("sftp://me@[::1]:2222/x", ("me", "::1", 2222)),
    ],
)
def test_addresses_name_user_host_and_port(address: str, place: tuple[str | None, str, int]) -> None:
    store = SftpArtifactStore(address)
    assert (store._user, store._host, store._port) == place
    assert store.path == address


def test_a_forked_child_has_a_connection_of_its_own(server: SftpServer, uri: str) -> None:
    async def use() -> None:
        async with SftpArtifactStore(uri, private_key=server.private_key, known_hosts=server.known_hosts) as store:
            await store.write_bytes("parent", b"1")
            assert status_of_child(lambda: store.write_bytes("child", b"2")) == 0
            assert await store.listdir() == ["child", "parent"]

    asyncio.run(use())


def test_the_example_is_short_and_touches_nothing() -> None:
    text = Path(sys.modules["sftp_store"].__file__ or "").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    source = Path(entrepot.__file__).parent
    assert [path for path in source.rglob("*.py") if "asyncssh" in path.read_text(encoding="utf-8")] == []
