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

from typing import TYPE_CHECKING, ClassVar

import pytest

from entrepot.errors import (
    AlreadyExists,
    ConfigurationError,
    ContainerNotFound,
    NotFound,
    PreconditionFailed,
    StoreError,
    UnsupportedOperation,
)
from entrepot.models import ByteRange, WriteOptions
from entrepot.objects.client import CHANGED
from entrepot.testing.client_rules import TEXT, ClientRules
from entrepot.testing.names import ODD_NAMES, UNKEPT_OPTIONS
from entrepot.testing.uploads import ClientLifecycle, MultipartUploads

if TYPE_CHECKING:
    from entrepot.objects.client import ObjectClient

RANGES = [(0, None), (0, 10), (0, 1), (3, 7), (9, 10), (4, None), (5, 100), (10, None), (10, 12), (50, 60), (4, 4)]


class ReadingObjects(ClientRules):
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


class WritingObjects(ClientRules):
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

    @pytest.mark.parametrize("options", UNKEPT_OPTIONS, ids=repr)
    async def test_options_that_nothing_can_keep_are_refused(
        self, client: ObjectClient, prefix: str, options: WriteOptions
    ) -> None:
        await client.put(prefix + "one", TEXT)
        for attempt in (
            client.put(prefix + "two", TEXT, options),
            client.create_upload(prefix + "two", options),
            client.copy(client, prefix + "one", prefix + "two", options),
        ):
            with pytest.raises(ConfigurationError) as caught:
                await attempt
            assert caught.value.uri == client.uri(prefix + "two")
        assert await self.keys_below(client, prefix) == [prefix + "one"]

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


class ListingObjects(ClientRules):
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
        prefixes = [one for page in pages for one in page.prefixes]
        assert (list(dict.fromkeys(prefixes)) if self.repeats_prefixes else prefixes) == [
            prefix + "dir/",
            prefix + "dir2/",
        ]

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


class DeletingAndCopyingObjects(ClientRules):
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

    async def test_a_delete_pinned_to_an_etag_removes_that_object_only(self, client: ObjectClient, prefix: str) -> None:
        """Or it is declared that the service keeps no such condition, and then it is refused."""
        old = (await client.put(prefix + "one", TEXT)).etag
        new = (await client.put(prefix + "one", b"newer")).etag
        if not client.capabilities.conditional_delete:
            with pytest.raises(UnsupportedOperation):
                await client.delete(prefix + "one", if_match=new)
            assert await self.keys_below(client, prefix) == [prefix + "one"]
            return
        with pytest.raises(PreconditionFailed) as caught:
            await client.delete(prefix + "one", if_match=old)
        assert caught.value.uri == client.uri(prefix + "one")
        assert bytes((await client.get(prefix + "one")).data) == b"newer"
        for _ in range(2):  # what is gone is no error
            await client.delete(prefix + "one", if_match=new)
            assert await self.keys_below(client, prefix) == []

    async def test_many_deletes_pinned_to_etags_tell_what_is_another_by_now(
        self, client: ObjectClient, prefix: str
    ) -> None:
        keys = [f"{prefix}{n}&é" for n in range(4)]
        etags = {key: (await client.put(key, TEXT)).etag or "" for key in keys[:3]}
        if not client.capabilities.conditional_delete:
            with pytest.raises(UnsupportedOperation):
                await client.delete_many(keys, etags=etags)
            return
        await client.put(keys[1], b"newer")
        await client.delete(keys[2])
        await client.put(keys[3], TEXT)
        failures = await client.delete_many(keys, etags=etags)
        assert [(one.key, one.code) for one in failures] == [(keys[1], CHANGED)]
        assert await self.keys_below(client, prefix) == [keys[1]]

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

    async def test_copy_keeps_the_metadata_unless_other_is_given(self, client: ObjectClient, prefix: str) -> None:
        await client.put(prefix + "one", TEXT, WriteOptions(content_type="text/csv", metadata={"color": "blue"}))
        await client.copy(client, prefix + "one", prefix + "two", WriteOptions())
        found = await client.head(prefix + "two")
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


class ObjectClientContract(
    ReadingObjects, WritingObjects, ListingObjects, DeletingAndCopyingObjects, MultipartUploads, ClientLifecycle
):
    """Every rule that the object layer relies on."""
