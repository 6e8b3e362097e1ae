"""Our stores as ZenML's components: configuration, credentials, bounds, `fileio`, threads and pickles."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from google.oauth2.credentials import Credentials
from pydantic import ValidationError
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.exceptions import ArtifactStoreInterfaceError, IllegalOperationError
from zenml.io import fileio
from zenml.stack import Flavor, StackComponent
from zenml.utils import io_utils

from entrepot import FileStat
from entrepot.errors import CredentialsMissing, InvalidPath, PathOutsideStore
from entrepot.integrations.zenml import AzureFlavor, DirectoryMaterializer, GcpFlavor, LocalFlavor, S3Flavor, copy_dir
from entrepot.integrations.zenml.credentials import GoogleToken, of_aws_client, of_azure_client
from entrepot.testing.azure_server import AzuriteServer
from entrepot.testing.gcs import GcsServer
from entrepot.testing.servers import Server

Make = Callable[..., Any]


def make(flavor: Flavor, **configuration: Any) -> Any:
    """The component that ZenML makes of a configuration."""
    now = datetime.now(UTC)
    return flavor.implementation_class(
        name="tested",
        id=uuid4(),
        config=flavor.config_class(**configuration),
        flavor=flavor.name,
        type=StackComponentType.ARTIFACT_STORE,
        user=None,
        created=now,
        updated=now,
        connector_requirements=flavor.service_connector_requirements,
    )


def client_kwargs(server: Server) -> dict[str, str]:
    return {"endpoint_url": server.endpoint_url, "region_name": server.region}


@pytest.fixture
def local(tmp_path: Path) -> Any:
    return make(LocalFlavor(), path=str(tmp_path / "art"))


@pytest.fixture
def on_s3(moto_server: Server, moto_uri: str) -> Any:
    return make(
        S3Flavor(),
        path=moto_uri,
        key=moto_server.key,
        secret=moto_server.secret,
        client_kwargs=json.dumps(client_kwargs(moto_server)),  # as the command line gives it
    )


@pytest.fixture(params=["local", "on_s3"])
def store(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


# ---- the fourteen methods -------------------------------------------------------------------------------


def test_the_methods_do_what_zenml_expects(store: Any) -> None:
    root = store.path
    store.makedirs(f"{root}/runs/1")
    store.mkdir(f"{root}/runs/2")
    with store.open(f"{root}/runs/1/a.txt", "w") as file:
        file.write("ä\n")
    with store.open(f"{root}/runs/1/a.txt") as file:
        assert file.read() == "ä\n"
    store.copyfile(f"{root}/runs/1/a.txt", f"{root}/runs/2/b.txt")
    with pytest.raises(FileExistsError):
        store.copyfile(f"{root}/runs/1/a.txt", f"{root}/runs/2/b.txt")
    store.rename(f"{root}/runs/2/b.txt", f"{root}/runs/2/c.txt")
    assert store.exists(f"{root}/runs/2/c.txt")
    assert not store.exists(f"{root}/runs/2/b.txt")
    assert store.isdir(f"{root}/runs")
    assert store.listdir(f"{root}/runs") == ["1", "2"]
    assert store.glob(f"{root}/runs/*/*.txt") == [f"{root}/runs/1/a.txt", f"{root}/runs/2/c.txt"]
    assert store.size(f"{root}/runs/1/a.txt") == 3
    assert isinstance(store.stat(f"{root}/runs/1/a.txt"), FileStat)
    assert list(store.walk(f"{root}/runs")) == [
        (f"{root}/runs", ["1", "2"], []),
        (f"{root}/runs/1", [], ["a.txt"]),
        (f"{root}/runs/2", [], ["c.txt"]),
    ]
    store.remove(f"{root}/runs/1/a.txt")
    with pytest.raises(FileNotFoundError):
        store.open(f"{root}/runs/1/a.txt")
    store.rmtree(f"{root}/runs")
    assert not store.exists(f"{root}/runs/2/c.txt")


def test_bytes_are_paths_too(store: Any) -> None:
    path = f"{store.path}/a".encode()
    with store.open(path, "wb") as file:
        file.write(b"1")
    assert store.size(path) == 1


def test_a_failed_write_leaves_nothing(store: Any) -> None:
    def fail() -> None:
        with store.open(f"{store.path}/half", "w") as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not store.exists(f"{store.path}/half")


# ---- bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", ["EVIL/x", "/../x"])
def test_paths_are_bounded_by_whole_names(store: Any, beside: str) -> None:
    with pytest.raises((FileNotFoundError, InvalidPath)):
        store.open(store.path + beside, "w")
    assert not store.exists(store.path + "/x")


def test_what_only_begins_like_the_root_is_outside(on_s3: Any) -> None:
    # ZenML's own check would let it pass.
    with pytest.raises(PathOutsideStore):
        on_s3.exists(f"{on_s3.path}EVIL/x")


def test_a_root_behind_a_link_works_and_links_below_it_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out").symlink_to("/etc")
    (tmp_path / "link").symlink_to("real")
    store = make(LocalFlavor(), path=str(tmp_path / "link"))
    with store.open(f"{store.path}/a", "w") as file:
        file.write("1")
    assert (tmp_path / "real" / "a").read_text() == "1"
    with pytest.raises((FileNotFoundError, InvalidPath)):
        store.open(f"{store.path}/out/passwd")


def test_a_relative_path_begins_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = make(LocalFlavor(), path="art")
    with store.open("art/runs/a", "w") as file:
        file.write("1")
    assert (tmp_path / "art" / "runs" / "a").exists()


def test_a_server_of_zenml_reads_no_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_SERVER", "true")
    store = make(LocalFlavor(), path=str(tmp_path))
    with pytest.raises(IllegalOperationError):
        store.listdir(store.path)


def test_a_root_may_end_in_a_slash(moto_server: Server, moto_uri: str) -> None:
    given = {"key": moto_server.key, "secret": moto_server.secret, "client_kwargs": client_kwargs(moto_server)}
    store = make(S3Flavor(), path=f"{moto_uri}/", **given)
    assert store.path == moto_uri
    assert fileio.isdir(moto_uri)
    fileio.makedirs(f"{moto_uri}/d")
    assert fileio.listdir(moto_uri) == ["d"]


# ---- configuration --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavor", "configuration", "told"),
    [
        (S3Flavor(), {"path": "s3://bucket", "secrets": "x"}, "secrets"),
        (S3Flavor(), {"path": "s3://bucket", "client_kwargs": {"endpoint": "x"}}, "client_kwargs.endpoint"),
        (S3Flavor(), {"path": "s3://bucket", "options": {"concurency": 4}}, "'concurrency'"),
        (S3Flavor(), {"path": "s3://bucket", "options": {"secret": "x"}}, "'secret'"),
        (S3Flavor(), {"path": "s3://bucket", "options": {"sse_customer_key": "x"}}, "'sse_customer_key'"),
        (S3Flavor(), {"path": "s3://bucket", "options": {"concurrency": 0}}, "concurrency"),
        (
            S3Flavor(),
            {"path": "s3://bucket", "options": {"region": "a"}, "client_kwargs": {"region_name": "a"}},
            "'region'",
        ),
        (S3Flavor(), {"path": "s3://bucket", "client_kwargs": {"endpoint_url": "http://example.com"}}, "allow_http"),
        (S3Flavor(), {"path": "s3://bucket/a//b"}, "empty segment"),
        (S3Flavor(), {"path": "gs://bucket"}, "not supported"),
        (GcpFlavor(), {"path": "gs://bucket", "token": "x"}, "token"),
        (GcpFlavor(), {"path": "gs://bucket", "options": {"access_token": "x"}}, "'access_token'"),
        (AzureFlavor(), {"path": "az://box", "options": {"account_key": "x"}}, "'account_key'"),
        (AzureFlavor(), {"path": "az://box/../x"}, "'..'"),
        (LocalFlavor(), {"path": "s3://bucket"}, "without a scheme"),
        (LocalFlavor(), {"path": "art", "options": {"durable": "full"}}, "'durability'"),
    ],
)
def test_what_is_not_known_is_refused_by_name(flavor: Flavor, configuration: dict[str, Any], told: str) -> None:
    with pytest.raises((ValidationError, ArtifactStoreInterfaceError), match=re.escape(told)):
        flavor.config_class(**configuration)


def test_options_reach_our_flavor(tmp_path: Path) -> None:
    store = make(LocalFlavor(), path=str(tmp_path), options={"durability": "none"})
    assert store.artifacts.store.config.durability == "none"


def test_without_a_path_a_local_store_has_a_folder_of_zenmls() -> None:
    store = make(LocalFlavor())
    assert store.path.endswith(str(store.id))
    assert store.path.startswith(os.environ["ZENML_CONFIG_PATH"])


def test_a_container_gets_what_the_store_needs(on_s3: Any) -> None:
    assert {requirement.partition("==")[0] for requirement in on_s3.requirements} == {"entrepot[s3]"}


def test_no_secret_is_shown() -> None:
    store = make(S3Flavor(), path="s3://bucket", key="AKIACANARY", secret="canary-1", token="canary-2")
    for shown in (repr(store), str(store), repr(store.config), str(store.config), repr(store.artifacts)):
        assert "canary" not in shown
    with pytest.raises(ValidationError) as caught:
        S3Flavor().config_class(path="s3://bucket", secret="canary-3", options={"concurency": 1})
    assert "canary" not in str(caught.value)


# ---- fileio ---------------------------------------------------------------------------------------------


def test_fileio_reaches_each_store_by_its_root(tmp_path: Path, on_s3: Any, moto_server: Server) -> None:
    other = make(
        S3Flavor(),
        path=f"{on_s3.path}/inner",
        key=moto_server.key,
        secret=moto_server.secret,
        client_kwargs=client_kwargs(moto_server),
    )
    make(LocalFlavor(), path=str(tmp_path / "art"))
    for place in (on_s3.path, other.path, str(tmp_path / "art"), str(tmp_path / "elsewhere")):
        fileio.makedirs(f"{place}/d")
        with fileio.open(f"{place}/d/a.txt", "w") as file:
            file.write(place)
        with fileio.open(f"{place}/d/a.txt") as file:
            assert file.read() == place
        assert fileio.listdir(f"{place}/d") == ["a.txt"]
    assert other.exists(f"{other.path}/d/a.txt")
    fileio.copy(f"{tmp_path}/elsewhere/d/a.txt", f"{tmp_path}/art/copied.txt")  # two stores of one scheme
    with pytest.raises(FileExistsError):
        fileio.copy(f"{tmp_path}/elsewhere/d/a.txt", f"{tmp_path}/art/copied.txt")
    assert (tmp_path / "art" / "copied.txt").read_text() == f"{tmp_path}/elsewhere"
    with pytest.raises(NotImplementedError):
        fileio.rename(f"{tmp_path}/elsewhere/d/a.txt", f"{tmp_path}/art/moved.txt")
    fileio.rename(f"{tmp_path}/art/copied.txt", f"{tmp_path}/art/moved.txt")
    with pytest.raises(PathOutsideStore):
        fileio.exists("s3://a-bucket-of-no-store/x")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number in range(20):
        path = tmp_path / "tree" / f"d{number % 3}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 100)
    return tmp_path / "tree"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copy_dir_does_what_that_of_zenml_does(store: Any, tree: Path, tmp_path: Path) -> None:
    copy_dir(str(tree), f"{store.path}/ours")
    io_utils.copy_dir(str(tree), f"{store.path}/theirs")
    for name in ("ours", "theirs"):
        copy_dir(f"{store.path}/{name}", str(tmp_path / name))
        assert contents(tmp_path / name) == contents(tree)
    with pytest.raises(FileExistsError):
        copy_dir(str(tree), f"{store.path}/ours")
    (tree / "d0" / "0.bin").write_bytes(b"new")
    copy_dir(str(tree), f"{store.path}/ours", overwrite=True)
    with fileio.open(f"{store.path}/ours/d0/0.bin", "rb") as file:
        assert file.read() == b"new"


def test_copy_dir_elsewhere_is_that_of_zenml(tree: Path, tmp_path: Path) -> None:
    copy_dir(str(tree), str(tmp_path / "other"))
    assert contents(tmp_path / "other") == contents(tree)


def test_a_folder_is_an_artifact_of_its_files(
    store: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what is loaded outside of a step stays there
    uri = f"{store.path}/step/output"
    store.makedirs(uri)
    materializer = DirectoryMaterializer(uri, artifact_store=store)
    materializer.save(tree)
    assert sorted(store.listdir(uri)) == ["d0", "d1", "d2"]
    assert contents(materializer.load(Path)) == contents(tree)
    with pytest.raises(NotADirectoryError):
        materializer.save(tree / "d0" / "0.bin")


# ---- loops, threads, processes --------------------------------------------------------------------------


def test_one_store_serves_threads_and_loops(store: Any) -> None:
    def write(number: int) -> None:
        with store.open(f"{store.path}/{number}", "w") as file:
            file.write(str(number))

    async def step(number: int) -> None:
        write(number)  # a blocking call inside the loop

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
        list(threads.map(lambda number: asyncio.run(step(number)), range(4, 8)))
    asyncio.run(step(8))
    assert store.listdir(store.path) == [str(number) for number in range(9)]


def test_it_is_usable_after_cleanup(store: Any) -> None:
    store.makedirs(f"{store.path}/d")
    store.cleanup()
    store.cleanup()
    assert store.isdir(f"{store.path}/d")


def test_it_pickles(store: Any) -> None:
    with store.open(f"{store.path}/a", "w") as file:
        file.write("1")
    again = pickle.loads(pickle.dumps(store))
    assert again.listdir(store.path) == ["a"]
    with again.open(f"{store.path}/b", "w") as file:
        file.write("2")
    assert store.listdir(store.path) == ["a", "b"]


# ---- credentials, by ZenML's own secrets and connectors -------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Client:
    found = Client()
    for flavor in ("S3Flavor", "GcpFlavor", "AzureFlavor"):
        found.create_flavor(f"entrepot.integrations.zenml.{flavor}", StackComponentType.ARTIFACT_STORE)
    return found


@pytest.fixture
def registered(client: Client) -> Iterator[Make]:
    """Registers a store and returns it, as a stack would have it."""
    names: list[str] = []

    def register(flavor: str, connector: Any = None, **configuration: Any) -> Any:
        names.append(f"store-{uuid4()}")
        client.create_stack_component(names[-1], flavor, StackComponentType.ARTIFACT_STORE, configuration)
        if connector is not None:
            client.update_stack_component(names[-1], StackComponentType.ARTIFACT_STORE, connector_id=connector.id)
        return StackComponent.from_model(client.get_stack_component(StackComponentType.ARTIFACT_STORE, names[-1]))

    yield register
    for name in names:
        client.delete_stack_component(name, StackComponentType.ARTIFACT_STORE)


def round_trip(store: Any) -> None:
    with store.open(f"{store.path}/d/a.txt", "w") as file:
        file.write("kept")
    with store.open(f"{store.path}/d/a.txt") as file:
        assert file.read() == "kept"
    assert store.listdir(f"{store.path}/d") == ["a.txt"]


def test_s3_by_a_secret(client: Client, registered: Make, strict_server: Any, strict_uri: str) -> None:
    values = {"aws_access_key_id": strict_server.key, "aws_secret_access_key": strict_server.secret}
    client.create_secret("of-s3", values)
    round_trip(
        registered(
            "entrepot_s3",
            path=strict_uri,
            authentication_secret="of-s3",
            client_kwargs={"endpoint_url": strict_server.endpoint_url},
            options={"region": strict_server.region},
        )
    )


def test_s3_by_references(client: Client, registered: Make, strict_server: Any, strict_uri: str) -> None:
    client.create_secret("referred", {"key": strict_server.key, "secret": strict_server.secret})
    round_trip(
        registered(
            "entrepot_s3",
            path=strict_uri,
            key="{{referred.key}}",
            secret="{{referred.secret}}",
            options={"endpoint_url": strict_server.endpoint_url, "region": strict_server.region},
        )
    )


def test_gcp_by_a_secret(
    client: Client, registered: Make, gcs_server: GcsServer, gcs_options: dict[str, Any], gcs_uri: str
) -> None:
    client.create_secret("of-gcp", {"token": gcs_options["token"]})
    options = {key: value for key, value in gcs_options.items() if key != "token"}
    round_trip(registered("entrepot_gcp", path=gcs_uri, authentication_secret="of-gcp", options=options))


def test_azure_by_a_secret(client: Client, registered: Make, azurite_server: AzuriteServer, azurite_uri: str) -> None:
    given = dict(azurite_server.azure_options)
    secret = {key: given.pop(key) for key in ("account_name", "account_key")}
    client.create_secret("of-azure", secret)
    round_trip(registered("entrepot_azure", path=azurite_uri, authentication_secret="of-azure", options=given))


def test_s3_by_a_connector_that_expires(
    client: Client, registered: Make, moto_server: Server, moto_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", moto_server.region)
    configuration = {
        "aws_access_key_id": moto_server.key,
        "aws_secret_access_key": moto_server.secret,
        "region": moto_server.region,
    }
    connector, _ = client.create_service_connector(
        "aws", "aws", resource_type="s3-bucket", auth_method="session-token", configuration=configuration
    )
    store = registered("entrepot_s3", connector, path=moto_uri)
    round_trip(store)
    first = store.artifacts
    assert first.store.config.token is not None
    assert store.artifacts is first
    store._connector_instance.expires_at = datetime.now(UTC) - timedelta(minutes=1)
    round_trip(store)
    assert store.artifacts is not first  # signed with what the connector gave anew


def test_what_a_connectors_client_of_aws_signs_with() -> None:
    session = boto3.Session("key", "secret", "token", region_name="eu-central-1")
    signing = session.client("s3")
    signing.credentials = session.get_credentials()  # as ZenML's connector sets it
    assert of_aws_client(signing) == {"key": "key", "secret": "secret", "token": "token", "region": "eu-central-1"}


def test_a_token_of_google_ends() -> None:
    lasting = Credentials("t", expiry=(datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None))
    assert GoogleToken(lasting).text() == "t"
    assert not GoogleToken(lasting).has_expired()
    assert GoogleToken(Credentials("t", expiry=datetime(2020, 1, 1))).has_expired()  # noqa: DTZ001 - as google-auth has it


def test_whom_a_connectors_client_of_azure_signs_in_as() -> None:
    url = "https://acct.blob.core.windows.net"
    principal = ClientSecretCredential("tenant", "id", "word")
    assert of_azure_client(BlobServiceClient(url, credential=principal)) == {
        "account_name": "acct",
        "client_id": "id",
        "client_secret": "word",
        "tenant_id": "tenant",
    }
    implicit = BlobServiceClient(url, credential=DefaultAzureCredential())
    assert of_azure_client(implicit) == {"account_name": "acct"}
    with pytest.raises(CredentialsMissing):
        of_azure_client(BlobServiceClient(url, credential=AzureNamedKeyCredential("acct", "a2V5")))
