"""One contender's calls to GCS or Azure in a process of its own: `cloud_calls CLIENT OPERATION CONTAINER COUNT`.

As `benchmarks.calls`, and what it prints. A client's name begins with its service: `gcp/obstore`, `azure/sdk`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.calls import PAYLOAD, cpu_s, key_of, measured, run_contender

LISTED = "listing/"
Call = Callable[[int], Awaitable[Any]]


class Contender:
    """get, put, head: one call each, of the key of a number. names: every key below `LISTED`."""

    def __init__(self, get: Call, put: Call | None, head: Call, names: Callable[[], AsyncIterable[str]]) -> None:
        self.get, self.put, self.head, self.names = get, put, head, names


@asynccontextmanager
async def entrepot_at(uri: str, client: str) -> AsyncGenerator[Contender]:
    import entrepot

    options = {"anonymous": True} if uri.startswith("gs:") else {}
    async with entrepot.open_store(uri, client=client, **options) as store:

        async def names() -> AsyncGenerator[str]:
            async for entry in store.scan(LISTED):
                yield entry.uri.partition(LISTED)[2]

        yield Contender(
            lambda number: store.read_bytes(key_of(number)),
            lambda number: store.write_bytes(key_of(number), PAYLOAD),
            lambda number: store.stat(key_of(number)),
            names,
        )


def obstore_of(store: Any, *, writes: bool) -> Contender:
    async def get(number: int) -> bytes:
        return bytes(await (await store.get_async(key_of(number))).bytes_async())

    async def names() -> AsyncGenerator[str]:
        async for page in store.list(LISTED):
            for entry in page:
                yield entry["path"].removeprefix(LISTED)

    put = (lambda number: store.put_async(key_of(number), PAYLOAD)) if writes else None
    return Contender(get, put, lambda number: store.head_async(key_of(number)), names)


def fsspec_of(files: Any, container: str) -> Contender:
    async def names() -> AsyncGenerator[str]:
        for path in await files._find(f"{container}/{LISTED}"):  # the async face of fsspec is underscored
            yield path.partition(LISTED)[2]

    def path(number: int) -> str:
        return f"{container}/{key_of(number)}"

    return Contender(
        lambda number: files._cat_file(path(number)),
        lambda number: files._pipe_file(path(number), PAYLOAD),
        lambda number: files._info(path(number)),
        names,
    )


# ---- Google Cloud Storage -------------------------------------------------------------------------------


@asynccontextmanager
async def gcp_obstore(container: str) -> AsyncGenerator[Contender]:
    from obstore.store import GCSStore

    # Its service account may name another address, and signs nothing then; the emulator has no XML to write by.
    account = f'{{"gcs_base_url": "{os.environ["STORAGE_EMULATOR_HOST"]}", "disable_oauth": true, "client_email": "", '
    account += '"private_key": "", "private_key_id": ""}'
    store = GCSStore(container, service_account_key=account, client_options={"allow_http": True})
    yield obstore_of(store, writes=False)


@asynccontextmanager
async def gcp_gcsfs(container: str) -> AsyncGenerator[Contender]:
    from gcsfs import GCSFileSystem

    files = GCSFileSystem(token="anon", asynchronous=True, use_listings_cache=False)
    session = await files._set_session()
    try:
        yield fsspec_of(files, container)
    finally:
        await session.close()


@asynccontextmanager
async def gcp_sdk(container: str) -> AsyncGenerator[Contender]:
    from gcloud.aio.storage import Storage

    async with Storage() as storage:

        async def names() -> AsyncGenerator[str]:
            params = {"prefix": LISTED}
            while True:
                page = await storage.list_objects(container, params=params)
                for item in page.get("items", ()):
                    yield item["name"].removeprefix(LISTED)
                if not page.get("nextPageToken"):
                    return
                params["pageToken"] = page["nextPageToken"]

        yield Contender(
            lambda number: storage.download(container, key_of(number)),
            lambda number: storage.upload(container, key_of(number), PAYLOAD),
            lambda number: storage.download_metadata(container, key_of(number)),
            names,
        )


# ---- Azure Blob Storage ---------------------------------------------------------------------------------


@asynccontextmanager
async def azure_obstore(container: str) -> AsyncGenerator[Contender]:
    from obstore.store import AzureStore

    store = AzureStore(
        container,
        account_name=os.environ["AZURE_STORAGE_ACCOUNT_NAME"],
        account_key=os.environ["AZURE_STORAGE_ACCOUNT_KEY"],
        endpoint=os.environ["AZURE_STORAGE_ENDPOINT"],
        client_options={"allow_http": True},
    )
    yield obstore_of(store, writes=True)


@asynccontextmanager
async def azure_adlfs(container: str) -> AsyncGenerator[Contender]:
    from adlfs import AzureBlobFileSystem

    files = AzureBlobFileSystem(
        connection_string=os.environ["AZURE_STORAGE_CONNECTION_STRING"], asynchronous=True, use_listings_cache=False
    )
    try:
        yield fsspec_of(files, container)
    finally:
        await files.service_client.close()


@asynccontextmanager
async def azure_sdk(container: str) -> AsyncGenerator[Contender]:
    from azure.storage.blob.aio import ContainerClient

    given = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    async with ContainerClient.from_connection_string(given, container) as client:

        async def get(number: int) -> bytes:
            return await (await client.download_blob(key_of(number))).readall()

        async def names() -> AsyncGenerator[str]:
            # With what our `scan` tells of each blob: size, time, etag, type; `list_blob_names` tells names only.
            async for blob in client.list_blobs(name_starts_with=LISTED):
                yield blob.name.removeprefix(LISTED)

        yield Contender(
            get,
            lambda number: client.upload_blob(key_of(number), PAYLOAD, overwrite=True),
            lambda number: client.get_blob_client(key_of(number)).get_blob_properties(),
            names,
        )


CLIENTS: dict[str, Callable[[str], Any]] = {
    "gcp/entrepot": lambda container: entrepot_at(f"gs://{container}", "wire"),
    "gcp/entrepot-sdk": lambda container: entrepot_at(f"gs://{container}", "sdk"),
    "gcp/obstore": gcp_obstore,
    "gcp/gcsfs": gcp_gcsfs,
    "gcp/sdk": gcp_sdk,
    "azure/entrepot": lambda container: entrepot_at(f"az://{container}", "wire"),
    "azure/entrepot-sdk": lambda container: entrepot_at(f"az://{container}", "sdk"),
    "azure/obstore": azure_obstore,
    "azure/adlfs": azure_adlfs,
    "azure/sdk": azure_sdk,
}


async def run(client: str, operation: str, container: str, count: int) -> tuple[float, float, str]:
    """Wall and CPU seconds, and a digest of what was seen."""
    async with CLIENTS[client](container) as contender:
        if operation == "list":
            wall, cpu = time.perf_counter(), cpu_s()
            seen = [name async for name in contender.names()]
            wall_s, used_s = time.perf_counter() - wall, cpu_s() - cpu
            return wall_s, used_s, hashlib.sha256("\n".join(sorted(seen)).encode()).hexdigest()
        wall_s, used_s = await measured(getattr(contender, operation), count)
        return wall_s, used_s, hashlib.sha256(bytes(await contender.get(0))).hexdigest()


if __name__ == "__main__":
    run_contender(run)
