"""Fixtures for every test: the event loop of async tests, and real servers, each started once a session."""

from __future__ import annotations

import gc
import json
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from entrepot.testing.azure_server import AzuriteServer, azurite
from entrepot.testing.gcs import GcsServer, fake_gcs
from entrepot.testing.servers import Server, juicefs_gateway, moto_s3, rclone_s3
from entrepot.testing.strict import StrictS3, strict_s3
from google_signin import SignIn, sign_in
from reliability import Recorder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reliability-table", type=Path, metavar="PATH", help="write there what the tests marked `holds` did"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C means what it means to a user, also where the tests run in the background.

    A shell has its background jobs ignore it, which programs started from them inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    page = config.getoption("--reliability-table")
    if page is not None:
        config.pluginmanager.register(Recorder(page))


def pytest_collection_finish() -> None:
    """The collector leaves alone what lives to the end anyway, the modules and the tests themselves.

    Looking through it takes a third of a second, and many tests ask for a whole collection.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def state_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that runs here reads or leaves a job, a store or a stack of the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ENTREPOT_STATE", "ENTREPOT_CONFIG"):
            patch.delenv(name, raising=False)
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):  # servers are kept in the user's cache
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


# ---- servers --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`rclone serve s3`: fast; no conditions, no empty directories."""
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def juicefs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The JuiceFS gateway (MinIO's server code) with etags, metadata and tags kept."""
    with juicefs_gateway(tmp_path_factory.mktemp("juicefs")) as server:
        yield server


@pytest.fixture(scope="session")
def juicefs_plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same gateway as it starts by default: no etag on multipart objects, metadata dropped."""
    with juicefs_gateway(tmp_path_factory.mktemp("juicefs-plain"), keep=False) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """moto: slow; keeps preconditions and the minimum size of a part."""
    with moto_s3(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def strict_server() -> Iterator[StrictS3]:
    """Strict: refuses whatever Amazon S3 refuses."""
    with strict_s3() as server:
        yield server


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteServer]:
    """Azurite: Microsoft's emulator of Azure Blob Storage."""
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """fake-gcs-server, in memory: conditions on writes in one request only."""
    with fake_gcs(tmp_path_factory.mktemp("fake-gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def google_sign_in() -> Iterator[SignIn]:
    """A sign-in service of Google's kind, which gives tokens for one service account."""
    with sign_in(rsa.generate_private_key(65537, 2048)) as service:
        yield service


@pytest.fixture(scope="session")
def gcs_options(gcs_server: GcsServer, google_sign_in: SignIn) -> dict[str, Any]:
    """As a service account; the server itself would take requests without."""
    options = {name: value for name, value in gcs_server.options.items() if name != "anonymous"}
    return {**options, "token": json.dumps(google_sign_in.account())}


# ---- places in them that no other test uses -------------------------------------------------------------


@pytest.fixture(scope="session")
def rclone_bucket(rclone_server: Server) -> str:
    return rclone_server.create_bucket()


@pytest.fixture(scope="session")
def juicefs_bucket(juicefs_server: Server) -> str:
    return juicefs_server.create_bucket()


@pytest.fixture(scope="session")
def juicefs_plain_bucket(juicefs_plain_server: Server) -> str:
    return juicefs_plain_server.create_bucket()


@pytest.fixture(scope="session")
def moto_bucket(moto_server: Server) -> str:
    return moto_server.create_bucket()


@pytest.fixture(scope="session")
def strict_bucket(strict_server: StrictS3) -> str:
    return strict_server.create_bucket()


@pytest.fixture(scope="session")
def azurite_container(azurite_server: AzuriteServer) -> str:
    return azurite_server.create_container()


@pytest.fixture(scope="session")
def gcs_bucket(gcs_server: GcsServer) -> str:
    return gcs_server.create_bucket()


@pytest.fixture
def unique_prefix() -> str:
    """A prefix that no other test writes below, without slashes."""
    return f"t-{secrets.token_hex(6)}"


@pytest.fixture
def fresh_bucket() -> Callable[[Server], str]:
    """Makes an empty bucket on the server given; its name is returned."""
    return lambda server: server.create_bucket()


@pytest.fixture
def rclone_uri(rclone_bucket: str, unique_prefix: str) -> str:
    return f"s3://{rclone_bucket}/{unique_prefix}"


@pytest.fixture
def juicefs_uri(juicefs_bucket: str, unique_prefix: str) -> str:
    return f"s3://{juicefs_bucket}/{unique_prefix}"


@pytest.fixture
def juicefs_plain_uri(juicefs_plain_bucket: str, unique_prefix: str) -> str:
    return f"s3://{juicefs_plain_bucket}/{unique_prefix}"


@pytest.fixture
def azurite_uri(azurite_container: str, unique_prefix: str) -> str:
    return f"az://{azurite_container}/{unique_prefix}"


@pytest.fixture
def moto_uri(moto_bucket: str, unique_prefix: str) -> str:
    return f"s3://{moto_bucket}/{unique_prefix}"


@pytest.fixture
def strict_uri(strict_bucket: str, unique_prefix: str) -> str:
    return f"s3://{strict_bucket}/{unique_prefix}"


@pytest.fixture
def gcs_uri(gcs_bucket: str, unique_prefix: str) -> str:
    return f"gs://{gcs_bucket}/{unique_prefix}"
