"""The rules of `ObjectClient` as tests: subclass `ObjectClientContract`, give it a `client`, run pytest.

    class TestSdkOnRclone(ObjectClientContract):
        creates_exclusively = False  # rclone serve s3 ignores If-None-Match

        @pytest.fixture
        async def client(self, rclone_server, rclone_bucket):
            client = SdkClient(...)
            yield client
            await client.close()

A gap of a server is a class attribute, with its reason beside it; then the kit checks the declared behaviour.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from entrepot.errors import AlreadyExists, ContainerNotFound, NotFound, PreconditionFailed, StoreError
from entrepot.models import ByteRange, ListPage, ObjectStat, Part, Upload, WriteOptions
from entrepot.testing.names import ODD_NAMES

if TYPE_CHECKING:
    from entrepot.objects.client import ObjectClient

TEXT = b"0123456789"
RANGES = [(0, None), (0, 10), (0, 1), (3, 7), (9, 10), (4, None), (5, 100), (10, None), (10, 12), (50, 60), (4, 4)]


class _Base:
    """What a subclass gives and declares."""

    pytestmark = pytest.mark.anyio

    creates_exclusively: ClassVar[bool] = True
    """`put(if_none_match)` of an existing key is refused by the server."""
    writes_conditionally: ClassVar[bool] = True
    """`put(if_match)` of another etag is refused by the server."""
    keeps_metadata: ClassVar[bool] = True
    keeps_content_type: ClassVar[bool] = True
    tells_multipart_etag: ClassVar[bool] = True
    """HEAD tells an etag of an object that was written in parts."""
    pins_copy_sources: ClassVar[bool] = True
    """`copy(source_etag)` of a changed source is refused by the server."""
    unkept_names: ClassVar[frozenset[str]] = frozenset()
    """Those of `ODD_NAMES` that the server refuses to store."""
    secret_texts: Sequence[str] = ()
    """What must not be seen in a repr or an error; a fixture may set it on the instance."""

    @pytest.fixture(scope="class")
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def client(self) -> ObjectClient:
        """A client of a container that exists; other tests may write to it, below other prefixes."""
        raise NotImplementedError("give a fixture `client`")

    @pytest.fixture
    def client_of_nothing(self) -> ObjectClient:
        """A client of a container that does not exist."""
        pytest.skip("the subclass gives no client of a missing container")

    @pytest.fixture
    def prefix(self) -> str:
        return f"c-{secrets.token_hex(6)}/"

    @staticmethod
    async def listed(client: ObjectClient, prefix: str, **how: object) -> list[ListPage]:
        """All pages, with a bound on their number."""
        pages: list[ListPage] = []
        token = None
        for _ in range(100):
            page = await client.list_page(prefix, token=token, **how)  # type: ignore[arg-type]  # passed through
            pages.append(page)
            token = page.next_token
            if token is None:
                return pages
        raise AssertionError("the listing does not end")

    @classmethod
    async def keys_below(cls, client: ObjectClient, prefix: str) -> list[str]:
        return [found.key for page in await cls.listed(client, prefix) for found in page.objects]


class ReadingObjects(_Base):
    """`head` and `get`."""

    async def test_head_tells_size_time_and_etag(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT)
        found = await client.head(prefix + "one")
        assert (found.key, found.size_bytes) == (prefix + "one", 10)
        assert found.modified is not None
        assert found.modified.tzinfo is not None
        assert found.etag

    async def test_head_of_a_missing_key_is_not_found_and_names_the_address(
        self, client: ObjectClient, prefix: str
    ) -> None:
        with pytest.raises(NotFound) as caught:
            await client.head(prefix + "missing")
        assert caught.value.uri == client.uri(prefix + "missing")

    async def test_get_of_a_missing_key_is_not_found_and_names_the_address(
        self, client: ObjectClient, prefix: str
    ) -> None:
        with pytest.raises(NotFound) as caught:
            await client.get(prefix + "missing")
        assert caught.value.uri == client.uri(prefix + "missing")
        assert not isinstance(caught.value, ContainerNotFound)

    @pytest.mark.parametrize(("start", "stop"), RANGES)
    async def test_a_range_reads_what_a_slice_would(
        self, client: ObjectClient, prefix: str, start: int, stop: int | None
    ) -> None:
        await client.put(prefix + "one", TEXT)
        found = await client.get(prefix + "one", byte_range=ByteRange(start, stop))
        assert bytes(found.data) == TEXT[start:stop]
        if found.data:
            assert found.stat.size_bytes == 10, "the size is the whole object's"

    @pytest.mark.parametrize("byte_range", [None, ByteRange(0), ByteRange(0, 5)])
    async def test_a_zero_byte_object_reads_as_nothing(
        self, client: ObjectClient, prefix: str, byte_range: ByteRange | None
    ) -> None:
        await client.put(prefix + "empty", b"")
        assert bytes((await client.get(prefix + "empty", byte_range=byte_range)).data) == b""

    async def test_get_fills_the_buffer_it_is_given(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT)
        buffer = bytearray(4)
        found = await client.get(prefix + "one", byte_range=ByteRange(2, 6), into=memoryview(buffer))
        assert bytes(buffer) == b"2345"
        assert bytes(found.data) == b"2345"

    async def test_a_buffer_larger_than_the_object_is_cut_to_what_came(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT)
        buffer = bytearray(64)
        found = await client.get(prefix + "one", into=memoryview(buffer))
        assert bytes(found.data) == TEXT
        assert bytes(buffer[:10]) == TEXT

    async def test_get_pinned_to_an_etag_reads_that_object(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT)
        etag = (await client.head(prefix + "one")).etag
        assert bytes((await client.get(prefix + "one", if_match=etag)).data) == TEXT

    async def test_get_pinned_to_another_etag_fails_whether_or_not_the_server_looks(
        self, client: ObjectClient, prefix: str
    ) -> None:
        await client.put(prefix + "one", TEXT)
        old = (await client.head(prefix + "one")).etag
        await client.put(prefix + "one", b"other bytes")
        with pytest.raises(PreconditionFailed):
            await client.get(prefix + "one", if_match=old)
        with pytest.raises(PreconditionFailed):
            await client.get(prefix + "one", byte_range=ByteRange(2, 4), if_match=old)


class WritingObjects(_Base):
    """`put`, its options and conditions."""

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_put_takes_every_kind_of_buffer(
        self, client: ObjectClient, prefix: str, kind: type[bytes | bytearray | memoryview]
    ) -> None:
        told = await client.put(prefix + "one", kind(TEXT))
        assert (told.key, told.size_bytes) == (prefix + "one", 10)
        assert bytes((await client.get(prefix + "one")).data) == TEXT

    async def test_put_tells_the_etag_that_head_tells(self, client: ObjectClient, prefix: str) -> None:
        told = await client.put(prefix + "one", TEXT)
        assert told.etag == (await client.head(prefix + "one")).etag

    async def test_put_replaces_what_was_there(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", b"a longer text that was there before")
        await client.put(prefix + "one", b"new")
        assert bytes((await client.get(prefix + "one")).data) == b"new"

    async def test_a_megabyte_of_every_byte_comes_back_unchanged(self, client: ObjectClient, prefix: str) -> None:
        data = bytes(range(256)) * 4096
        await client.put(prefix + "all", data)
        assert bytes((await client.get(prefix + "all")).data) == data

    async def test_metadata_and_content_type_are_kept_or_declared_dropped(
        self, client: ObjectClient, prefix: str
    ) -> None:
        wanted = WriteOptions(content_type="text/csv", metadata={"color": "blue", "run-id": "a b/c"})
        await client.put(prefix + "one", TEXT, wanted)
        found = await client.head(prefix + "one")
        if self.keeps_metadata:
            assert found.metadata["color"] == "blue"
            assert found.metadata["run-id"] == "a b/c"
        else:
            assert "color" not in found.metadata
        if self.keeps_content_type:
            assert found.content_type == "text/csv"

    async def test_mtime_is_kept_in_metadata(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT, WriteOptions(mtime_s=1_700_000_000.25))
        found = await client.head(prefix + "one")
        if self.keeps_metadata:
            assert float(found.metadata["mtime"]) == 1_700_000_000.25

    async def test_create_only_makes_a_new_object(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT, WriteOptions(if_none_match=True))
        assert bytes((await client.get(prefix + "one")).data) == TEXT

    async def test_create_only_of_an_existing_object_is_refused_or_declared_unkept(
        self, client: ObjectClient, prefix: str
    ) -> None:
        await client.put(prefix + "one", TEXT)
        if self.creates_exclusively:
            with pytest.raises(AlreadyExists):
                await client.put(prefix + "one", b"other", WriteOptions(if_none_match=True))
            assert bytes((await client.get(prefix + "one")).data) == TEXT
        else:
            assert client.capabilities.exclusive_create is not True

    async def test_a_write_pinned_to_the_present_etag_replaces(self, client: ObjectClient, prefix: str) -> None:
        told = await client.put(prefix + "one", TEXT)
        if self.writes_conditionally:
            await client.put(prefix + "one", b"new", WriteOptions(if_match=told.etag))
            assert bytes((await client.get(prefix + "one")).data) == b"new"
        else:
            assert client.capabilities.conditional_write is not True

    async def test_a_write_pinned_to_an_old_etag_is_refused(self, client: ObjectClient, prefix: str) -> None:
        old = (await client.put(prefix + "one", TEXT)).etag
        await client.put(prefix + "one", b"newer")
        if self.writes_conditionally:
            with pytest.raises(PreconditionFailed):
                await client.put(prefix + "one", b"mine", WriteOptions(if_match=old))
            assert bytes((await client.get(prefix + "one")).data) == b"newer"
        else:
            assert client.capabilities.conditional_write is not True

    @pytest.mark.parametrize("name", ODD_NAMES)
    async def test_every_allowed_name_is_kept_literally(self, client: ObjectClient, prefix: str, name: str) -> None:
        if name in self.unkept_names:
            with pytest.raises(StoreError):
                await client.put(prefix + name, TEXT)
            return
        await client.put(prefix + name, TEXT)
        assert bytes((await client.get(prefix + name)).data) == TEXT
        assert (await client.head(prefix + name)).size_bytes == 10
        assert await self.keys_below(client, prefix) == [prefix + name]
        assert await client.delete_many([prefix + name]) == []
        assert await self.keys_below(client, prefix) == []


class ListingObjects(_Base):
    """`list_page`."""

    NAMES: ClassVar[tuple[str, ...]] = (
        "abc", "dir/inner/deep", "dir/one", "dir/two", "dir2/x", "zzz"
    )  # fmt: skip

    async def fill(self, client: ObjectClient, prefix: str) -> None:
        for name in self.NAMES:
            await client.put(prefix + name, name.encode())

    async def test_an_empty_prefix_lists_nothing(self, client: ObjectClient, prefix: str) -> None:
        page = await client.list_page(prefix)
        assert (page.objects, page.prefixes, page.next_token) == ((), (), None)

    async def test_all_keys_below_a_prefix_are_listed_with_size_time_and_etag(
        self, client: ObjectClient, prefix: str
    ) -> None:
        await self.fill(client, prefix)
        (page,) = await self.listed(client, prefix)
        assert [found.key for found in page.objects] == [prefix + name for name in self.NAMES]
        assert [found.size_bytes for found in page.objects] == [len(name) for name in self.NAMES]
        assert all(found.modified is not None for found in page.objects)
        assert page.prefixes == ()

    async def test_a_prefix_is_a_prefix_of_keys_not_of_segments(self, client: ObjectClient, prefix: str) -> None:
        await self.fill(client, prefix)
        assert await self.keys_below(client, prefix + "dir") == [
            prefix + name for name in self.NAMES if name.startswith("dir")
        ]

    async def test_a_delimiter_folds_what_is_deeper_into_prefixes(self, client: ObjectClient, prefix: str) -> None:
        await self.fill(client, prefix)
        (page,) = await self.listed(client, prefix, delimiter="/")
        assert [found.key for found in page.objects] == [prefix + "abc", prefix + "zzz"]
        assert page.prefixes == (prefix + "dir/", prefix + "dir2/")
        (page,) = await self.listed(client, prefix + "dir/", delimiter="/")
        assert [found.key for found in page.objects] == [prefix + "dir/one", prefix + "dir/two"]
        assert page.prefixes == (prefix + "dir/inner/",)

    @pytest.mark.parametrize("limit", [1, 2, 4, 6])
    async def test_pages_together_list_every_key_once_and_in_order(
        self, client: ObjectClient, prefix: str, limit: int
    ) -> None:
        await self.fill(client, prefix)
        pages = await self.listed(client, prefix, limit=limit)
        assert all(len(page.objects) <= limit for page in pages)
        assert [found.key for page in pages for found in page.objects] == [prefix + name for name in self.NAMES]

    async def test_pages_with_a_delimiter_name_every_prefix_once(self, client: ObjectClient, prefix: str) -> None:
        await self.fill(client, prefix)
        pages = await self.listed(client, prefix, delimiter="/", limit=1)
        assert [found.key for page in pages for found in page.objects] == [prefix + "abc", prefix + "zzz"]
        assert [one for page in pages for one in page.prefixes] == [prefix + "dir/", prefix + "dir2/"]

    async def test_a_listing_can_start_after_a_key(self, client: ObjectClient, prefix: str) -> None:
        await self.fill(client, prefix)
        pages = await self.listed(client, prefix, start_after=prefix + "dir/one")
        assert [found.key for page in pages for found in page.objects] == [prefix + name for name in self.NAMES[3:]]

    async def test_keys_are_in_the_order_of_their_utf8_bytes(self, client: ObjectClient, prefix: str) -> None:
        # U+FF5E sorts before U+1F600 in UTF-8, and after it in UTF-16.
        names = ["A", "Z", "a", "a b", "a-b", "a.b", "ab", "é", "\uff5e", "\U0001f600"]
        for name in names:
            await client.put(prefix + name, b"x")
        expected = sorted((prefix + name for name in names), key=str.encode)
        assert await self.keys_below(client, prefix) == expected

    async def test_listing_a_missing_container_says_so(self, client_of_nothing: ObjectClient) -> None:
        with pytest.raises(ContainerNotFound):
            await client_of_nothing.list_page("")

    async def test_writing_to_a_missing_container_says_so(self, client_of_nothing: ObjectClient) -> None:
        with pytest.raises(ContainerNotFound):
            await client_of_nothing.put("one", TEXT)


class DeletingAndCopyingObjects(_Base):
    """`delete`, `delete_many`, `copy`."""

    async def test_delete_removes_the_object_and_only_it(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT)
        await client.put(prefix + "one-more", TEXT)
        await client.delete(prefix + "one")
        assert await self.keys_below(client, prefix) == [prefix + "one-more"]

    async def test_deleting_a_missing_key_is_no_error(self, client: ObjectClient, prefix: str) -> None:
        await client.delete(prefix + "missing")
        assert await client.delete_many([prefix + "missing", prefix + "neither"]) == []

    async def test_many_are_deleted_in_one_request(self, client: ObjectClient, prefix: str) -> None:
        keys = [f"{prefix}{n:02}&<é>'\" +%41" for n in range(20)]
        for key in keys:
            await client.put(key, TEXT)
        await client.put(prefix + "kept", TEXT)
        assert await client.delete_many([*keys, prefix + "missing"]) == []
        assert await self.keys_below(client, prefix) == [prefix + "kept"]

    async def test_deleting_no_key_is_no_error(self, client: ObjectClient) -> None:
        assert await client.delete_many([]) == []

    @pytest.mark.parametrize("name", ["plain", "a b+c%41&é😀"])
    async def test_copy_gives_the_same_bytes_and_metadata(self, client: ObjectClient, prefix: str, name: str) -> None:
        await client.put(prefix + name, TEXT, WriteOptions(content_type="text/csv", metadata={"color": "blue"}))
        assert client.copies_from(client)
        told = await client.copy(client, prefix + name, prefix + "to/" + name)
        assert told.key == prefix + "to/" + name
        assert bytes((await client.get(prefix + "to/" + name)).data) == TEXT
        found = await client.head(prefix + "to/" + name)
        if self.keeps_metadata:
            assert found.metadata["color"] == "blue"
        if self.keeps_content_type:
            assert found.content_type == "text/csv"

    async def test_copy_can_replace_the_metadata(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT, WriteOptions(metadata={"color": "blue"}))
        await client.copy(client, prefix + "one", prefix + "two", WriteOptions(metadata={"color": "red"}))
        if self.keeps_metadata:
            assert (await client.head(prefix + "two")).metadata["color"] == "red"

    async def test_copy_of_a_missing_key_is_not_found(self, client: ObjectClient, prefix: str) -> None:
        with pytest.raises(NotFound):
            await client.copy(client, prefix + "missing", prefix + "two")

    async def test_copy_pinned_to_an_old_etag_is_refused(self, client: ObjectClient, prefix: str) -> None:
        old = (await client.put(prefix + "one", TEXT)).etag
        await client.put(prefix + "one", b"newer")
        if self.pins_copy_sources:
            with pytest.raises(PreconditionFailed):
                await client.copy(client, prefix + "one", prefix + "two", source_etag=old)


class MultipartUploads(_Base):
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
        parts = await self.parts_of(client, upload, {2: last, 1: first})
        with pytest.raises(NotFound):
            await client.head(prefix + "big")
        told = await client.complete_upload(upload, parts)
        assert (told.key, told.size_bytes) == (prefix + "big", len(first) + len(last))
        assert bytes((await client.get(prefix + "big")).data) == first + last
        found = await client.head(prefix + "big")
        if self.tells_multipart_etag:
            assert found.etag
            assert told.etag == found.etag
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
        part = await client.put_part(upload, 1, b"second")
        await client.complete_upload(upload, [part])
        assert bytes((await client.get(prefix + "one")).data) == b"second"

    async def test_the_parts_held_are_listed(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        parts = await self.parts_of(client, upload, {1: b"aaa", 3: b"c"})
        held = await client.list_parts(upload)
        assert [(part.number, part.size_bytes) for part in held] == [(1, 3), (3, 1)]
        assert [part.etag.strip('"') for part in held] == [part.etag.strip('"') for part in parts]
        await client.abort_upload(upload)

    async def test_uploads_under_way_are_listed_and_gone_once_aborted(self, client: ObjectClient, prefix: str) -> None:
        upload = await client.create_upload(prefix + "one")
        await client.put_part(upload, 1, TEXT)
        found = await client.list_uploads(prefix)
        assert [(one.key, one.upload_id) for one in found] == [(upload.key, upload.upload_id)]
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
        parts = [
            await client.copy_part(upload, 1, client, prefix + "source +%41é", ByteRange(0, least)),
            await client.copy_part(upload, 2, client, prefix + "source +%41é", ByteRange(least, len(data))),
        ]
        assert [part.size_bytes for part in parts] == [least, len(data) - least]
        await client.complete_upload(upload, parts)
        assert bytes((await client.get(prefix + "copy")).data) == data


class ClientLifecycle(_Base):
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


class ObjectClientContract(
    ReadingObjects, WritingObjects, ListingObjects, DeletingAndCopyingObjects, MultipartUploads, ClientLifecycle
):
    """Every rule that the object layer relies on."""
