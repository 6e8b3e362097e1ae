"""Readers by ranges and writers that commit on close, over a client that fails where a test wants it to."""

from __future__ import annotations

import asyncio
import gc
import io
import random
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from entrepot.errors import AlreadyExists, NotFound, ServiceError, SourceChanged, StoreClosed, UnsupportedOperation
from entrepot.models import KIB, MIB, Limits, WriteOptions
from entrepot.objects.streams import FIRST_WINDOW_BYTES, ObjectWriter
from scripted import Script, ScriptedClient, ScriptedStore, failing, store_over

pytestmark = pytest.mark.anyio

PART = 8 * MIB
BIG = bytes(range(256)) * (40 * MIB // 256) + b"tail"


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient()


@pytest.fixture
def store(client: ScriptedClient) -> ScriptedStore:
    return store_over(client)


# ---- reading ----------------------------------------------------------------------------------------------


async def test_a_small_object_is_one_request(client: ScriptedClient, store: ScriptedStore) -> None:
    await client.put("root/f", b"x" * FIRST_WINDOW_BYTES)
    client.calls.clear()
    async with store.open("f", "rb") as file:
        assert len(await file.read()) == FIRST_WINDOW_BYTES
        await file.seek(10)
        assert await file.read(5) == b"xxxxx"
    assert client.calls == ["get"]


async def test_reading_in_order_asks_for_more_and_more(client: ScriptedClient, store: ScriptedStore) -> None:
    await client.put("root/f", BIG)
    client.calls.clear()
    read = 0
    async with store.open("f", "rb") as file:
        while piece := await file.read(64 * KIB):
            read += len(piece)
    assert read == len(BIG)
    assert client.calls == ["get"] * 10  # 0.25, 0.5, 1, 2, 4, then 8 MiB each


async def test_a_jump_asks_for_little(client: ScriptedClient, store: ScriptedStore) -> None:
    await client.put("root/f", BIG)
    async with store.open("f", "rb") as file:
        await file.seek(-100, io.SEEK_END)
        assert await file.read() == BIG[-100:]
        await file.seek(20 * MIB)
        assert await file.read(4) == BIG[20 * MIB : 20 * MIB + 4]
    spans = [named["byte_range"] for name, _, named in client.arguments if name == "get"]
    assert [span.stop - span.start for span in spans] == [FIRST_WINDOW_BYTES, 100, 64 * KIB]


async def test_a_reader_is_as_a_file_in_memory(client: ScriptedClient, store: ScriptedStore) -> None:
    rng = random.Random(7)
    data = b"".join(rng.choice([b"line\n", b"\n", b"longer text ", b"x" * 3000]) for _ in range(2000))
    await client.put("root/f", data)
    model = io.BytesIO(data)
    async with store.open("f", "rb") as file:
        for _ in range(400):
            action = rng.randrange(3)
            if action == 0:
                at = rng.randrange(len(data) + 100)
                assert await file.seek(at) == model.seek(at)
            elif action == 1:
                size = rng.choice([0, 1, 100, 10_000, 400_000])
                assert await file.read(size) == model.read(size)
            else:
                assert await file.readline() == model.readline()
            assert file.tell() == model.tell()


@pytest.mark.parametrize("how", ["replaced", "removed", "truncated"])
async def test_an_object_that_changes_is_never_mixed(client: ScriptedClient, store: ScriptedStore, how: str) -> None:
    await client.put("root/f", BIG)
    async with store.open("f", "rb") as file:
        await file.read(10)
        if how == "removed":
            await client.delete("root/f")
        else:
            await client.put("root/f", BIG[::-1] if how == "replaced" else BIG[:1000])
        with pytest.raises(SourceChanged) as caught:
            await file.read()
    assert caught.value.uri == store.path + "/f"


@pytest.mark.parametrize("size", [40 * MIB, 65 * MIB])
async def test_without_an_etag_two_objects_are_not_mixed_either(
    client: ScriptedClient, store: ScriptedStore, size: int
) -> None:
    async def without(real: Script, *arguments: Any, **named: Any) -> Any:
        found = await real(*arguments, **named)
        return replace(found, stat=replace(found.stat, etag=None))

    client.scripts["get"] = without
    old, new = b"o" * size, b"n" * size
    await client.put("root/f", old)
    async with store.open("f", "rb") as file:
        assert await file.read(10) == old[:10]
        await file.seek(-10, io.SEEK_END)
        assert await file.read() == old[-10:]
        await file.seek(MIB)
        assert await file.read(MIB) == old[:MIB]
    async with store.open("f", "rb") as file:
        await file.read(10)
        await client.put("root/f", new)
        with pytest.raises(SourceChanged):
            await file.read()


async def test_an_empty_object_reads_as_nothing(client: ScriptedClient, store: ScriptedStore) -> None:
    await store.write_bytes("f", b"")
    async with store.open("f", "rb") as file:
        assert await file.read() == b""
        assert await file.seek(0, io.SEEK_END) == 0
        assert await file.readline() == b""


# ---- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PART])
async def test_up_to_a_part_is_one_request(client: ScriptedClient, store: ScriptedStore, size: int) -> None:
    async with store.open("f", "wb") as file:
        await file.write(BIG[:size])
        assert client.calls == []
    assert client.calls == ["put"]
    assert client.content("root/f") == BIG[:size]


@pytest.mark.parametrize("chunk", [MIB + 7, 3 * PART, len(BIG)])
async def test_more_is_sent_in_parts_several_at_once(client: ScriptedClient, store: ScriptedStore, chunk: int) -> None:
    together = most = 0

    async def slow(real: Script, *arguments: Any) -> Any:
        nonlocal together, most
        together += 1
        most = max(most, together)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        together -= 1
        return await real(*arguments)

    client.scripts["put_part"] = slow
    async with store.open("f", "wb") as file:
        for start in range(0, len(BIG), chunk):
            await file.write(BIG[start : start + chunk])
        assert "complete_upload" not in client.calls
    assert client.content("root/f") == BIG
    assert client.count("put_part") == 6
    assert most == 4
    assert client.uploads() == []


async def test_the_callers_memory_may_change_after_write(client: ScriptedClient, store: ScriptedStore) -> None:
    memory = bytearray(b"a" * PART)
    async with store.open("f", "wb") as file:
        for letter in b"abcdefg":
            memory[:] = bytes([letter]) * PART
            await file.write(memory)
        memory[:] = b"!" * PART
    assert client.content("root/f") == b"".join(bytes([letter]) * PART for letter in b"abcdefg")


async def test_views_of_other_items_than_bytes_are_written(client: ScriptedClient, store: ScriptedStore) -> None:
    import array

    numbers = array.array("d", [1.5, 2.5])
    async with store.open("f", "wb") as file:
        assert await file.write(memoryview(numbers)) == 16
    assert client.content("root/f") == numbers.tobytes()
    await store.write_bytes("g", memoryview(numbers))
    assert client.content("root/g") == numbers.tobytes()


async def test_parts_grow_for_an_object_of_unknown_length(client: ScriptedClient, store: ScriptedStore) -> None:
    writer = await store.open_writer("f", "w", WriteOptions())
    assert [writer._part_bytes(number) // MIB for number in (1, 1000, 1001, 2000, 2001, 10_000)] == [
        8, 8, 16, 16, 32, 4096,
    ]  # fmt: skip
    assert sum(writer._part_bytes(number) for number in range(1, 10_001)) > 5 * 1024**4
    await writer.abort()


async def test_more_parts_than_the_service_takes_are_refused() -> None:
    client = ScriptedClient(Limits(max_parts=3, part_min_bytes=1))
    with pytest.raises(UnsupportedOperation):
        async with store_over(client).open("f", "wb") as file:
            await file.write(BIG)
    assert (client.all_keys(), client.uploads()) == ([], [])


@pytest.mark.parametrize("primitive", ["create_upload", "put_part", "complete_upload"])
async def test_a_failure_leaves_neither_object_nor_upload(
    client: ScriptedClient, store: ScriptedStore, primitive: str
) -> None:
    await client.put("root/f", b"old")
    client.scripts[primitive] = failing(ServiceError("scripted"), at=3 if primitive == "put_part" else 1)
    with pytest.raises(ServiceError, match="scripted"):
        async with store.open("f", "wb") as file:
            await file.write(BIG + BIG)
    assert client.content("root/f") == b"old"
    assert client.uploads() == []


async def test_a_failure_that_was_passed_over_is_not_forgotten_by_close(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    client.scripts["put_part"] = failing(ServiceError("scripted"))
    file = await store.open("f", "wb")
    with pytest.raises(ServiceError):
        await file.write(BIG)
    with pytest.raises(StoreClosed):
        await file.write(b"more")
    with pytest.raises(StoreClosed, match="nothing was published"):
        await file.close()
    assert (client.all_keys(), client.uploads()) == ([], [])


async def test_a_failed_abort_does_not_hide_the_reason(
    client: ScriptedClient, store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    client.scripts["put_part"] = failing(ServiceError("the reason"))
    client.scripts["abort_upload"] = failing(ServiceError("abort failed"))
    with pytest.raises(ServiceError, match="the reason"):
        async with store.open("f", "wb") as file:
            await file.write(BIG)
    assert "unfinished upload stays" in caplog.text


@pytest.mark.holds("cancel")
@pytest.mark.parametrize("primitive", ["create_upload", "put_part", "complete_upload"])
async def test_a_cancellation_anywhere_leaves_no_upload(
    client: ScriptedClient, store: ScriptedStore, primitive: str
) -> None:
    with anyio.CancelScope() as scope:

        async def cancelled(real: Script, *arguments: Any) -> Any:
            scope.cancel()
            for _ in range(3):  # the service is at work meanwhile
                await asyncio.sleep(0)
            return await real(*arguments)

        client.scripts[primitive] = cancelled
        async with store.open("f", "wb") as file:
            await file.write(BIG)
    assert scope.cancelled_caught
    assert (client.all_keys(), client.uploads()) == ([], [])


async def test_a_cancelled_task_leaves_no_upload(client: ScriptedClient, store: ScriptedStore) -> None:
    at_work = asyncio.Event()

    async def stuck(real: Script, *arguments: Any) -> Any:
        at_work.set()
        await asyncio.Event().wait()

    client.scripts["put_part"] = stuck

    async def write() -> None:
        async with store.open("f", "wb") as file:
            await file.write(BIG)

    task = asyncio.create_task(write())
    await at_work.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (client.all_keys(), client.uploads()) == ([], [])


async def test_an_abort_drops_the_parts(client: ScriptedClient, store: ScriptedStore) -> None:
    file = await store.open("f", "wb")
    await file.write(BIG)
    assert client.uploads() == ["root/f"]
    await file.abort()
    await file.abort()
    await file.close()
    assert (client.all_keys(), client.uploads()) == ([], [])


async def test_a_dropped_writer_has_its_upload_aborted(client: ScriptedClient, store: ScriptedStore) -> None:
    file = await store.open("f", "wb")
    await file.write(BIG)
    del file
    gc.collect()
    await store.close()
    assert (client.all_keys(), client.uploads()) == ([], [])


async def test_a_dropped_writer_is_aborted_without_any_further_call(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    aborted = asyncio.Event()

    async def told(real: Script, *arguments: Any) -> None:
        await real(*arguments)
        aborted.set()

    client.scripts["abort_upload"] = told
    file = await store.open("f", "wb")
    await file.write(BIG)
    del file
    gc.collect()
    with anyio.fail_after(10):
        await aborted.wait()
    assert client.uploads() == []


async def test_a_writer_dropped_after_its_loop_ended_is_aborted_by_the_next_call(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    kept: list[ObjectWriter] = []

    async def write() -> None:
        kept.append(await store.open_writer("f", "w", WriteOptions()))
        await kept[0].write(BIG)

    await anyio.to_thread.run_sync(asyncio.run, write())
    assert client.uploads() == ["root/f"]
    kept.clear()
    gc.collect()
    await store.write_bytes("g", b"x")
    assert client.uploads() == []


async def test_an_exclusive_write_in_parts_is_refused_at_the_end(client: ScriptedClient, store: ScriptedStore) -> None:
    await client.put("root/f", b"old")
    with pytest.raises(AlreadyExists):
        async with store.open("f", "xb") as file:
            await file.write(BIG)
    assert client.content("root/f") == b"old"
    assert client.uploads() == []


async def test_without_parts_an_object_is_one_request(client: ScriptedClient, store: ScriptedStore) -> None:
    client.capabilities = replace(client.capabilities, multipart=False)
    async with store.open("f", "wb") as file:
        await file.write(BIG)
    assert client.calls == ["put"]
    async with store.open_parts("g", len(BIG), WriteOptions()) as parts:
        assert parts.in_order
        for number, start in enumerate(range(0, len(BIG), parts.part_size_bytes), 1):
            await parts.put_part(number, BIG[start : start + parts.part_size_bytes])
    assert client.content("root/g") == BIG
    assert "create_upload" not in client.calls


async def test_opening_a_missing_file_says_so_at_once(client: ScriptedClient, store: ScriptedStore) -> None:
    with pytest.raises(NotFound):
        await store.open("missing", "rb")
    assert client.calls == ["get", "list_page"]
