"""Azure on Azurite: copies to and from disk, directories of every kind, ways to be known, signed URLs."""

from __future__ import annotations

import logging
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

import entrepot
from entrepot.errors import (
    AlreadyExists,
    Conflict,
    ContainerNotFound,
    CredentialsExpired,
    IsADirectory,
    NotADirectory,
    PermissionDenied,
)
from entrepot.flavors.azure.config import AzureConfig
from entrepot.flavors.azure.connection import make_client
from entrepot.flavors.azure.store import AzureArtifactStore
from entrepot.flavors.local import LocalArtifactStore
from entrepot.http.retry import RetryPolicy
from entrepot.models import MIB, WriteOptions
from entrepot.testing.azure_server import AzuriteServer
from entrepot.testing.raw_azure import RawAzure
from entrepot.transfer.engine import CopyOptions, copy_between
from trees import NAMES, hashes

pytestmark = pytest.mark.anyio

TREE = CopyOptions(recursive=True)


@pytest.fixture
def container(azurite_server: AzuriteServer) -> str:
    return azurite_server.create_container()


@pytest.fixture
def raw(azurite_server: AzuriteServer, container: str) -> RawAzure:
    return azurite_server.container(container)


@pytest.fixture
async def store(azurite_server: AzuriteServer, container: str) -> AsyncIterator[AzureArtifactStore]:
    async with AzureArtifactStore(f"az://{container}", **azurite_server.azure_options) as store:
        yield store


def fetched(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data, headers, method=method)  # of this machine
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


# ---- copies ------------------------------------------------------------------------------------------------


async def test_a_tree_there_and_back_is_the_same_and_verified(
    store: AzureArtifactStore, disk: LocalArtifactStore, tmp_path: Path
) -> None:
    up = await copy_between(disk, "src", store, "up", options=TREE)
    down = await copy_between(store, "up", disk, "back", options=TREE)
    assert (up.ok, down.ok) == (True, True)
    assert hashes(tmp_path / "back") == hashes(tmp_path / "src")
    assert (up.unverified_files, down.unverified_files) == (0, 0)
    for name in NAMES:
        assert (tmp_path / "back" / name).stat().st_mtime == (tmp_path / "src" / name).stat().st_mtime


async def test_a_large_file_keeps_its_crc32c_and_is_verified_by_it(store: AzureArtifactStore, raw: RawAzure) -> None:
    data = os.urandom(17 * MIB + 3)
    async with store.open("large", "wb") as file:
        await file.write(data)
    (found,) = [one async for one in store.scan("")]
    assert list(found.checksums) == ["crc32c"]
    assert (await store.stat("large")).checksums == found.checksums
    assert raw.head("large")["x-ms-meta-crc32c"] == f"{found.checksums['crc32c']}-{len(data)}"
    assert (await store.stat("large")).metadata == {}
    assert await store.read_bytes("large") == data


async def test_within_a_service_type_metadata_and_time_are_kept(store: AzureArtifactStore) -> None:
    given = WriteOptions(content_type="text/csv", metadata={"run-id": "blü"}, mtime_s=12.5)
    await store.write_bytes("from/small", b"text", given)
    report = await copy_between(store, "from", store, "to", options=TREE)
    assert report.ok
    found = await store.stat("to/small")
    assert (found.content_type, dict(found.metadata)) == ("text/csv", {"run-id": "blü", "mtime": "12.5"})
    await store.client.copy(store.client, "from/small", "typed", WriteOptions("text/plain", {"a": "1"}))
    found = await store.stat("typed")
    assert (found.content_type, dict(found.metadata), found.size_bytes) == ("text/plain", {"a": "1"}, 4)
    assert "md5" in found.checksums, "what is known of the bytes stays when their description changes"


async def test_a_copy_above_the_limit_goes_through_this_process_where_the_service_reads_no_addresses(
    store: AzureArtifactStore,
) -> None:
    store.client.limits = replace(store.limits, copy_max_bytes=MIB)
    data = os.urandom(17 * MIB + 3)
    await store.write_bytes("from/large", data)
    await store.copyfile("from/large", "one")
    await copy_between(store, "from", store, "to", options=TREE)
    assert await store.read_bytes("one") == data
    assert await store.read_bytes("to/large") == data


@pytest.mark.holds("racers")
@pytest.mark.parametrize("client", ["wire", "sdk"])
async def test_fifty_racers_on_an_exclusive_create_have_one_winner(
    azurite_server: AzuriteServer, container: str, client: Literal["wire", "sdk"]
) -> None:
    won: list[int] = []
    async with AzureArtifactStore(f"az://{container}", client=client, **azurite_server.azure_options) as store:

        async def race(number: int) -> None:
            try:
                async with store.open("lock", "xb") as file:
                    await file.write(b"the same bytes")
                won.append(number)
            except AlreadyExists:
                pass

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(race, number)
    assert len(won) == 1


async def test_of_two_uploads_of_one_blob_the_second_to_end_is_told_so(store: AzureArtifactStore) -> None:
    first, second = await store.client.create_upload("f"), await store.client.create_upload("f")
    mine = [await store.client.put_part(first, 1, b"first")]
    theirs = [await store.client.put_part(second, 1, b"second")]
    await store.client.complete_upload(second, theirs)
    with pytest.raises(Conflict, match="write again"):
        await store.client.complete_upload(first, mine)
    assert await store.read_bytes("f") == b"second"


async def test_an_upload_that_was_given_up_does_not_stand_in_the_way(store: AzureArtifactStore) -> None:
    for name, data in (("f", b"content"), ("empty", b"")):
        upload = await store.client.create_upload(name)
        await store.client.put_part(upload, 1, b"never committed")
        await store.client.abort_upload(upload)
        assert not await store.exists(name)
        async with store.open(name, "xb") as file:
            await file.write(data)
        assert await store.read_bytes(name) == data
        with pytest.raises(AlreadyExists):
            await store.write_bytes(name, b"other", WriteOptions(if_none_match=True))


# ---- directories of other tools ----------------------------------------------------------------------------


async def test_a_directory_that_another_tool_marked_is_a_directory(store: AzureArtifactStore, raw: RawAzure) -> None:
    raw.make_directory("empty")
    raw.make_directory("full")
    raw.make_directory("full/inner")
    raw.put("full/file", b"content")
    raw.put("full-not", b"beside")
    assert await store.listdir("") == ["empty", "full", "full-not"]
    assert await store.listdir("empty") == []
    assert await store.listdir("full") == ["file", "inner"]
    for path in ("empty", "full", "full/inner"):
        assert await store.exists(path)
        assert await store.isdir(path)
        assert (await store.stat(path)).is_dir
        with pytest.raises(IsADirectory):
            await store.read_bytes(path)
        with pytest.raises(IsADirectory):
            await store.remove(path)
    with pytest.raises(IsADirectory):
        await store.copyfile("empty", "full/file", overwrite=True)
    assert await store.read_bytes("full/file") == b"content"
    with pytest.raises(NotADirectory):
        await store.listdir("full-not")
    levels = [(top[len(store.path) :], sorted(names), files) async for top, names, files in store.walk("")]
    assert levels == [
        ("", ["empty", "full"], ["full-not"]),
        ("/empty", [], []),
        ("/full", ["inner"], ["file"]),
        ("/full/inner", [], []),
    ]
    assert await store.size("") == len(b"content" + b"beside")


async def test_such_a_directory_is_removed_and_moved_whole(store: AzureArtifactStore, raw: RawAzure) -> None:
    raw.make_directory("a")
    raw.make_directory("a/inner")
    raw.put("a/file", b"content")
    raw.put("ab", b"beside")
    await store.rename("a", "b")
    assert await store.listdir("b") == ["file", "inner"]
    assert not await store.exists("a")
    assert await store.isdir("b/inner")
    await store.rmtree("b")
    assert raw.keys() == ["ab"]


async def test_such_a_tree_is_copied_to_disk(store: AzureArtifactStore, raw: RawAzure, tmp_path: Path) -> None:
    raw.make_directory("t")
    raw.make_directory("t/empty")
    raw.put("t/d/file", b"content")
    report = await copy_between(store, "t", LocalArtifactStore(tmp_path), "t", options=TREE)
    assert report.ok
    assert hashes(tmp_path / "t").keys() == {"empty", "d", "d/file"}


async def test_directories_of_entrepots_are_marked_for_other_tools(store: AzureArtifactStore, raw: RawAzure) -> None:
    await store.mkdir("d")
    assert raw.head("d/")["x-ms-meta-hdi_isfolder"] == "true"
    assert (await store.stat("d")).is_dir


# ---- addresses and ways to be known ------------------------------------------------------------------------


async def test_an_address_that_names_the_account_is_kept_as_it_was_given(
    azurite_server: AzuriteServer, container: str
) -> None:
    options = azurite_server.azure_options
    del options["account_name"]
    root = f"abfs://{container}@{azurite_server.account_name}.dfs.core.windows.net"
    async with AzureArtifactStore(f"{root}/some", **options) as store:
        told = await store.write_bytes("a b", b"content")
        assert told.uri == f"{root}/some/a b"
        assert await store.read_bytes(told.uri) == b"content"
        assert await store.read_bytes(f"az://{container}/some/a b") == b"content"
        assert [one.uri async for one in store.scan(f"{root}/some")] == [told.uri]
    async with entrepot.open_store(root, **options) as store:
        assert await store.exists("some/a b")


def account_sas(server: AzuriteServer, *, lives_s: int = 3600, rights: str = "rwdlac") -> str:
    return generate_account_sas(
        server.account_name,
        server.account_key,
        ResourceTypes(container=True, object=True),
        AccountSasPermissions.from_string(rights),
        datetime.now(UTC) + timedelta(seconds=lives_s),
        protocol="https,http",
    )


def container_sas(server: AzuriteServer, container: str) -> str:
    return generate_container_sas(
        server.account_name,
        container,
        server.account_key,
        permission="rwdlac",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


@pytest.mark.parametrize("of", ["account", "container"])
@pytest.mark.parametrize("client", ["wire", "sdk"])
async def test_a_sas_is_enough(
    azurite_server: AzuriteServer, container: str, client: Literal["wire", "sdk"], of: str
) -> None:
    sas = account_sas(azurite_server) if of == "account" else container_sas(azurite_server, container)
    given = {"endpoint_url": azurite_server.endpoint_url, "sas_token": sas, "client": client, "max_attempts": 1}
    async with AzureArtifactStore(f"az://{container}", **given) as store:
        await store.write_bytes("d/f", b"content")
        await store.copyfile("d/f", "d/g")
        assert await store.read_bytes("d/g") == b"content"
        assert await store.listdir("d") == ["f", "g"]
        await store.rmtree("d")
        assert await store.listdir("") == []


@pytest.mark.parametrize("client", ["wire", "sdk"])
async def test_a_connection_string_is_enough(
    azurite_server: AzuriteServer, container: str, client: Literal["wire", "sdk"]
) -> None:
    given = {"connection_string": azurite_server.connection_string, "client": client}
    async with AzureArtifactStore(f"az://{container}", **given) as store:
        await store.write_bytes("f", b"content")
        assert await store.read_bytes("f") == b"content"


@pytest.mark.parametrize("client", ["wire", "sdk"])
async def test_what_is_wrong_with_credentials_is_said_in_one_line(
    azurite_server: AzuriteServer, container: str, client: Literal["wire", "sdk"]
) -> None:
    where = {"endpoint_url": azurite_server.endpoint_url, "client": client, "max_attempts": 1}
    wrong = {"account_name": azurite_server.account_name, "account_key": "d3Jvbmc="}
    ended = {"sas_token": account_sas(azurite_server, lives_s=-60)}
    narrow = {"sas_token": account_sas(azurite_server, rights="w")}
    cases: list[tuple[dict[str, str], type[PermissionDenied], str]] = [
        (wrong, PermissionDenied, "check them"),  # Azure's own code for it says more: see the table of faults
        (ended, CredentialsExpired, "the SAS token ended at"),
        (narrow, PermissionDenied, "give the identity the role"),
        ({"anonymous": "true"}, PermissionDenied, ""),
    ]
    for options, kind, says in cases:
        async with AzureArtifactStore(f"az://{container}", **where, **options) as store:
            with pytest.raises(kind) as caught:
                await store.read_bytes("f")
        text = str(caught.value)
        assert "\n" not in text
        assert says in text
        for secret in options.values():
            assert secret == "true" or secret not in text  # no secret


async def test_a_missing_container_is_made_through_the_sdk(azurite_server: AzuriteServer) -> None:
    name = f"made-{secrets.token_hex(4)}"
    async with AzureArtifactStore(f"az://{name}", **azurite_server.azure_options) as store:
        with pytest.raises(ContainerNotFound, match="create_container"):
            await store.write_bytes("f", b"content")
        with pytest.raises(ContainerNotFound):
            await store.listdir("")
        await store.create_container()
        await store.create_container()
        await store.write_bytes("f", b"content")
        assert await store.listdir("") == ["f"]


async def test_a_container_cannot_be_made_without_the_right_to(azurite_server: AzuriteServer) -> None:
    wrong = {**azurite_server.azure_options, "account_key": "d3Jvbmc="}
    async with AzureArtifactStore("az://never-made", max_attempts=1, **wrong) as store:
        with pytest.raises(PermissionDenied, match="check them"):
            await store.create_container()


async def test_a_signed_url_does_what_it_is_for_and_no_more(store: AzureArtifactStore) -> None:
    client = store.client
    put = await client.presign("a b/é", "PUT", 60)
    get = await client.presign("a b/é", "GET", 60)
    delete = await client.presign("a b/é", "DELETE", 60)
    run = anyio.to_thread.run_sync
    blob = {"x-ms-blob-type": "BlockBlob"}
    assert (await run(lambda: fetched(put, "PUT", b"content", **blob)))[0] == 201
    assert await run(lambda: fetched(get)) == (200, b"content")
    assert (await run(lambda: fetched(get, "HEAD")))[0] == 200
    assert (await run(lambda: fetched(get, "DELETE")))[0] == 403
    assert (await run(lambda: fetched(put)))[0] == 403
    assert await store.read_bytes("a b/é") == b"content"
    assert (await run(lambda: fetched(delete, "DELETE")))[0] == 202
    assert not await store.exists("a b/é")


@pytest.mark.parametrize("client", ["wire", "sdk"])
async def test_no_secret_is_logged_at_debug(
    azurite_server: AzuriteServer,
    container: str,
    client: Literal["wire", "sdk"],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    sas = account_sas(azurite_server)
    signature = sas.partition("sig=")[2].partition("&")[0]
    key = {"account_name": azurite_server.account_name, "account_key": azurite_server.account_key}
    for options in (key, {"sas_token": sas}):
        config = AzureConfig(
            path=f"az://{container}", endpoint_url=azurite_server.endpoint_url, client=client, **options
        )
        used = make_client(config, policy=RetryPolicy(max_attempts=1))
        await used.put("log/one", b"x")
        await used.get("log/one")
        await used.copy(used, "log/one", "log/two")
        upload = await used.create_upload("log/three")
        await used.complete_upload(upload, [await used.put_part(upload, 1, b"x")])
        await used.delete_many(["log/one", "log/two"])
        with pytest.raises(entrepot.NotFound):
            await used.get("log/one")
        await used.create_container()
        await used.close()
    assert caplog.records
    for secret in (azurite_server.account_key, signature, "SharedKey "):
        assert secret not in caplog.text
