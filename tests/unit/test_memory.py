"""What is particular to the memory flavor."""

from __future__ import annotations

import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from entrepot.errors import AlreadyExists, ConfigurationError, NotFound, StoreError
from entrepot.flavors.memory import MemoryArtifactStore, MemoryClient
from entrepot.models import WriteOptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def name() -> str:
    return secrets.token_hex(8)


async def test_stores_of_one_name_share_their_objects(name: str) -> None:
    one, other = MemoryArtifactStore(f"memory://{name}/a"), MemoryArtifactStore(f"memory://{name}")
    await one.write_bytes("f", b"x")
    assert await other.read_bytes("a/f") == b"x"
    assert not await MemoryArtifactStore(f"memory://{name}2").exists("a/f")


@pytest.mark.parametrize(
    ("address", "path", "uri"),
    [("memory://", "memory://", "memory:///d/f"), ("memory:///", "memory://", "memory:///d/f"),
     ("memory:///p/q/", "memory:///p/q", "memory:///p/q/d/f")],
)  # fmt: skip
async def test_a_container_needs_no_name(address: str, path: str, uri: str) -> None:
    store = MemoryArtifactStore(address)
    assert store.path == path
    told = await store.write_bytes("d/f", b"x")
    assert told.uri == uri
    assert await store.read_bytes(uri) == b"x"
    assert [entry.uri async for entry in store.scan("d")] == [uri]
    assert [found async for found in store.glob("*/f")] == [uri]
    await store.rmtree("d")
    assert not await store.exists(uri)


@pytest.mark.parametrize("path", ["memory://c/a//b", "memory://c/../b", "memory://c\n/x", "memory:///a//b"])
def test_a_root_that_cannot_be_kept_is_refused(path: str) -> None:
    with pytest.raises(StoreError):
        MemoryArtifactStore(path)


def test_it_has_no_other_option() -> None:
    with pytest.raises(ConfigurationError, match="no option"):
        MemoryArtifactStore("memory://x", size=1)


async def test_listings_follow_writes_and_deletes(name: str) -> None:
    client = MemoryClient(name)
    for number in range(3000):
        await client.put(f"{number:04}", b"")
    await client.delete_many([f"{number:04}" for number in range(0, 3000, 3)])
    for number in range(0, 300, 3):
        await client.put(f"{number:04}", b"again")
    await client.delete("0000")
    await client.put("0000", b"")
    expected = sorted({f"{number:04}" for number in range(3000) if number % 3 or number < 300})
    found: list[str] = []
    token: str | None = ""
    while token is not None:
        page = await client.list_page("", token=token, limit=700)
        found += [one.key for one in page.objects]
        token = page.next_token
    assert found == expected


async def test_one_of_many_threads_creates(name: str) -> None:
    def create(number: int) -> bool:
        async def write() -> None:
            store = MemoryArtifactStore(f"memory://{name}")
            await store.write_bytes("prize", b"%d" % number, WriteOptions(if_none_match=True))

        try:
            anyio.run(write)
        except AlreadyExists:
            return False
        return True

    def race() -> list[bool]:
        with ThreadPoolExecutor(16) as threads:
            return list(threads.map(create, range(50)))

    assert sum(await anyio.to_thread.run_sync(race)) == 1


async def test_what_is_written_is_a_copy(name: str) -> None:
    store = MemoryArtifactStore(f"memory://{name}")
    data = bytearray(b"first")
    await store.write_bytes("f", data)
    data[:] = b"other"
    assert await store.read_bytes("f") == b"first"


async def test_a_part_that_was_replaced_does_not_complete(name: str) -> None:
    client = MemoryClient(name)
    upload = await client.create_upload("f")
    stale = await client.put_part(upload, 1, b"one")
    await client.put_part(upload, 1, b"two")
    with pytest.raises(StoreError, match="part 1"):
        await client.complete_upload(upload, [stale])
    await client.abort_upload(upload)
    with pytest.raises(NotFound):
        await client.list_parts(upload)


def test_it_needs_no_pydantic_and_no_sdk() -> None:
    heavy = "'pydantic', 'aiohttp', 'botocore'"
    code = f"import sys, entrepot.flavors.memory; print([name for name in ({heavy}) if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
