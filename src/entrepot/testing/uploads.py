"""The rules of `ObjectClient`: multipart uploads, and the client's own lifecycle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from entrepot.errors import NotFound, StoreError, UnsupportedOperation
from entrepot.models import ByteRange, ObjectStat, Part, Upload, WriteOptions
from entrepot.testing.client_rules import TEXT, ClientRules

if TYPE_CHECKING:
    from entrepot.objects.client import ObjectClient


class MultipartUploads(ClientRules):
    """`create_upload`, the parts, `complete_upload`, `abort_upload`, the listings."""

    @staticmethod
    async def parts_of(client: ObjectClient, upload: Upload, bodies: dict[int, bytes]) -> list[Part]:
        parts = [await client.put_part(upload, number, body) for number, body in bodies.items()]
        return sorted(parts, key=lambda part: part.number)

    async def test_parts_in_any_order_make_one_object(self, client: ObjectClient, prefix: str) -> None:
        first, last = b"a" * client.limits.part_min_bytes, b"end"
        upload = await client.create_upload(
            prefix + "big", WriteOptions(content_type="text/csv", metadata={"color": "blue"})
        )
        assert upload.in_order == self.writes_parts_in_order
        bodies = {2: last, 1: first}
        if upload.in_order:
            with pytest.raises(UnsupportedOperation):
                await client.put_part(upload, 2, last)
            bodies = {1: first, 2: last}
        parts = await self.parts_of(client, upload, bodies)
        with pytest.raises(NotFound):
            await client.head(prefix + "big")
        told = await client.complete_upload(upload, parts)
        assert (told.key, told.size_bytes) == (prefix + "big", len(first) + len(last))
        assert bytes((await client.get(prefix + "big")).data) == first + last
        found = await client.head(prefix + "big")
        if self.tells_multipart_etag:
            assert found.etag
        if self.multipart_etag_stays:
            assert told.etag in (None, found.etag)
        if self.keeps_metadata:
            assert found.metadata["color"] == "blue"
        if self.keeps_content_type:
            assert found.content_type == "text/csv"

    async def test_one_part_is_enough(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        await client.complete_upload(upload, await self.parts_of(client, upload, {1: TEXT}))
        assert bytes((await client.get(prefix + "one")).data) == TEXT

    async def test_the_last_write_of_a_part_wins(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        await client.put_part(upload, 1, b"first try")
        if not self.replaces_parts:
            with pytest.raises(StoreError):
                await client.put_part(upload, 1, b"second")
            await client.abort_upload(upload)
            return
        part = await client.put_part(upload, 1, b"second")
        await client.complete_upload(upload, [part])
        assert bytes((await client.get(prefix + "one")).data) == b"second"

    async def test_the_parts_held_are_listed(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        second = 2 if upload.in_order else 3
        parts = await self.parts_of(client, upload, {1: b"aaa", second: b"c"})
        held = await client.list_parts(upload)
        assert [(part.number, part.size_bytes) for part in held] == [(1, 3), (second, 1)]
        assert [part.etag.strip('"') for part in held] == [part.etag.strip('"') for part in parts]
        await client.abort_upload(upload)

    async def test_uploads_under_way_are_listed_and_gone_once_aborted(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        await client.put_part(upload, 1, TEXT)
        found = await client.list_uploads(prefix)
        assert [(one.key, one.upload_id) for one in found] == [(upload.key, upload.upload_id)]
        assert all(one.initiated is None or one.initiated.tzinfo is UTC for one in found)
        await client.abort_upload(upload)
        assert await client.list_uploads(prefix) == []
        with pytest.raises(NotFound):
            await client.head(prefix + "one")

    async def test_aborting_twice_is_no_error(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        await client.abort_upload(upload)
        await client.abort_upload(upload)

    async def test_a_part_after_the_abort_is_not_found(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        await client.abort_upload(upload)
        with pytest.raises(NotFound):
            await client.put_part(upload, 1, TEXT)

    async def test_an_abort_leaves_the_object_that_was_there(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", b"old")
        upload = await client.create_upload(prefix + "one")
        await client.put_part(upload, 1, TEXT)
        await client.abort_upload(upload)
        assert bytes((await client.get(prefix + "one")).data) == b"old"

    async def test_parts_can_be_copied_from_ranges_of_an_object(self, client: ObjectClient, prefix: str) -> None:
        least = client.limits.part_min_bytes
        data = b"s" * least + b"tail of the source"
        await client.put(prefix + "source +%41é", data)
        upload = await client.create_upload(prefix + "copy")
        if not self.copies_parts:
            with pytest.raises(UnsupportedOperation):
                await client.copy_part(upload, 1, client, prefix + "source +%41é", ByteRange(0, least))
            await client.abort_upload(upload)
            return
        parts = [
            await client.copy_part(upload, 1, client, prefix + "source +%41é", ByteRange(0, least)),
            await client.copy_part(upload, 2, client, prefix + "source +%41é", ByteRange(least, len(data))),
        ]
        assert [part.size_bytes for part in parts] == [least, len(data) - least]
        await client.complete_upload(upload, parts)
        assert bytes((await client.get(prefix + "copy")).data) == data


class ClientLifecycle(ClientRules):
    """Containers, loops, addresses, secrets."""

    async def test_making_a_container_that_is_ours_is_no_error(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT)
        await client.create_container()
        assert bytes((await client.get(prefix + "one")).data) == TEXT

    async def test_close_can_be_called_twice_and_the_client_stays_usable(
        self, client: ObjectClient, prefix: str
    ) -> None:
        await client.put(prefix + "one", TEXT)
        await client.close()
        await client.close()
        assert bytes((await client.get(prefix + "one")).data) == TEXT

    async def test_one_client_serves_two_event_loops(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT)

        async def in_another_loop() -> bytes:
            try:
                return bytes((await client.get(prefix + "one")).data)
            finally:
                await client.close()

        assert await anyio.to_thread.run_sync(anyio.run, in_another_loop) == TEXT
        assert bytes((await client.get(prefix + "one")).data) == TEXT

    async def test_many_operations_at_once(self, client: ObjectClient, prefix: str) -> None:
        wrong: list[int] = []

        async def write_and_read(number: int) -> None:
            key, data = f"{prefix}{number}", b"%d" % number
            await client.put(key, data)
            if bytes((await client.get(key)).data) != data:
                wrong.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(write_and_read, number)
        assert wrong == []

    async def test_the_address_of_a_key_is_literal(self, client: ObjectClient) -> None:
        assert client.uri("a b/%41").endswith("/a b/%41")

    async def test_no_secret_is_seen_in_repr_or_errors(self, client: ObjectClient, prefix: str) -> None:
        with pytest.raises(NotFound) as caught:
            await client.head(prefix + "missing")
        for secret in self.secret_texts:
            assert secret not in repr(client)
            assert secret not in f"{caught.value!s} {caught.value!r} {caught.value.__dict__}"

    async def test_a_cancelled_operation_leaves_the_client_usable(self, client: ObjectClient, prefix: str) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: client.put(prefix + "one", b"x" * 1_000_000),
            lambda: client.list_page(prefix),
            lambda: client.head(prefix + "missing"),
        ]
        for call in calls:
            for turns in (1, 3, 10):
                async with anyio.create_task_group() as tasks:

                    async def run(call: Callable[[], Awaitable[object]] = call) -> None:
                        with suppress(NotFound):
                            await call()

                    tasks.start_soon(run)
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
        await client.put(prefix + "two", TEXT)
        found: ObjectStat = (await client.get(prefix + "two")).stat
        assert found.size_bytes == 10
