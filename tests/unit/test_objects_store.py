"""The store over flat keys: what each call asks for, servers that differ, and failures half way."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from entrepot.errors import (
    AlreadyExists,
    ChecksumMismatch,
    Conflict,
    ContainerNotFound,
    InvalidPath,
    IsADirectory,
    NotFound,
    PartialFailure,
    PermissionDenied,
    PreconditionFailed,
    ServiceError,
    SourceChanged,
    UnsupportedOperation,
)
from entrepot.flavors.memory import MemoryArtifactStore
from entrepot.models import MIB, Capabilities, CopyItem, DeleteFailure, FileData, FileStat, Limits, WriteOptions
from scripted import Script, ScriptedClient, ScriptedStore, failing, store_over

pytestmark = pytest.mark.anyio


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient()


@pytest.fixture
def store(client: ScriptedClient) -> ScriptedStore:
    return store_over(client)


async def fill(client: ScriptedClient, *paths: str) -> None:
    for path in paths:
        await client.put(f"root/{path}", b"" if path.endswith("/") else path.encode())
    client.calls.clear()
    client.arguments.clear()


def below(client: ScriptedClient) -> list[str]:
    return [key.removeprefix("root/") for key in client.all_keys()]


async def scan(store: ScriptedStore, path: str = "") -> dict[str, FileStat]:
    return {entry.uri[len(store.path) + 1 :]: entry async for entry in store.scan(path)}


# ---- what a call costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "requests"),
    [
        (lambda store: store.read_bytes("dir/f"), ["get"]),
        (lambda store: store.read_range("dir/f", 1, 2), ["get"]),
        (lambda store: store.write_bytes("dir/f", b"x"), ["put"]),
        (lambda store: store.stat("dir/f"), ["head"]),
        (lambda store: store.stat("dir"), ["head", "list_page"]),
        (lambda store: store.stat(""), []),
        (lambda store: store.exists("dir/f"), ["head"]),
        (lambda store: store.exists("no"), ["head", "list_page"]),
        (lambda store: store.exists(""), []),
        (lambda store: store.isdir("dir"), ["list_page"]),
        (lambda store: store.isdir(""), []),
        (lambda store: store.listdir("dir"), ["list_page"]),
        (lambda store: store.size("dir/f"), ["head"]),
        (lambda store: store.remove("dir/f"), ["head", "delete"]),
        (lambda store: store.copyfile("dir/f", "new"), ["copy"]),
        (lambda store: store.copyfile("dir/f", "dir/g", overwrite=True), ["copy"]),
        (lambda store: store.makedirs("dir"), ["list_page"]),
        (lambda store: store.makedirs("new/dir"), ["list_page", "head", "head", "put"]),
        (lambda store: store.rename("dir/f", "new", overwrite=True), ["head", "copy", "head", "delete"]),
        (lambda store: store.rmtree("dir"), ["list_page", "delete_many", "list_page"]),
    ],
)
async def test_calls_ask_for_no_more_than_they_say(
    client: ScriptedClient, store: ScriptedStore, call: Any, requests: list[str]
) -> None:
    await fill(client, "dir/f", "dir/g")
    await call(store)
    assert client.calls == requests


async def test_a_missing_container_is_said_at_once(client: ScriptedClient, store: ScriptedStore) -> None:
    async def gone(real: Script, *arguments: Any, **named: Any) -> Any:
        raise ContainerNotFound("no such bucket", uri=client.uri(""))

    for name in ("head", "get", "put", "list_page"):
        client.scripts[name] = gone
    for attempt in (store.read_bytes("f"), store.stat("f"), store.listdir(), store.write_bytes("f", b"")):
        with pytest.raises(ContainerNotFound):
            await attempt
    assert not await store.exists("f")
    assert not await store.isdir("f")


# ---- directories on servers that differ --------------------------------------------------------------------


class SlashStripper(ScriptedClient):
    """Takes a marker `dir/` for a file `dir`, as `rclone serve s3` does."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, empty_directories=None)

        async def strip(real: Script, key: str, *arguments: Any) -> Any:
            return await real(key.removesuffix("/"), *arguments)

        self.scripts["put"] = strip


async def test_a_server_that_strips_the_slash_is_found_at_the_first_marker() -> None:
    client = SlashStripper()
    store = store_over(client)
    assert store.capabilities.empty_directories is None
    await store.makedirs("a/b")
    assert client.all_keys() == []
    assert store.capabilities.empty_directories is False
    client.calls.clear()
    await store.makedirs("c")
    await store.mkdir("d")
    await store.mkdir(
        "d/below",
    )
    assert "put" not in client.calls
    await store.write_bytes("d/file", b"x")
    with pytest.raises(AlreadyExists):
        await store.mkdir("d/file")
    assert client.all_keys() == ["root/d/file"]


async def test_a_server_that_keeps_markers_is_asked_once() -> None:
    client = ScriptedClient()
    client.capabilities = replace(client.capabilities, empty_directories=None)
    store = store_over(client)
    await store.mkdir("a")
    assert client.calls[-2:] == ["put", "head"]
    assert store.capabilities.empty_directories is True
    await store.mkdir("a/b")
    assert client.calls[-1] == "put"
    assert client.all_keys() == ["root/a/", "root/a/b/"]
    assert await store.listdir("a") == ["b"]
    with pytest.raises(AlreadyExists):
        await store.mkdir("a")


@pytest.mark.parametrize("known", [None, True])
async def test_a_conflict_at_a_marker_means_that_the_directory_is_there(known: bool | None) -> None:
    client = ScriptedClient()
    client.capabilities = replace(client.capabilities, empty_directories=known)
    store = store_over(client)

    async def conflict(real: Script, key: str, *arguments: Any) -> Any:
        # Another client was faster: the directory is there, and this server refuses its marker now.
        await real(key + "by-another", *arguments)
        raise Conflict("409", uri=client.uri(key))

    client.scripts["put"] = conflict
    await store.makedirs("dir")
    assert await store.isdir("dir")


async def test_a_marker_that_fails_for_another_reason_is_an_error(client: ScriptedClient, store: ScriptedStore) -> None:
    client.scripts["put"] = failing(PermissionDenied("scripted"))
    with pytest.raises(PermissionDenied):
        await store.makedirs("dir")


async def test_a_server_with_real_directories_is_emptied_from_below() -> None:
    client = ScriptedClient(Limits(list_page=2, delete_batch=2, part_min_bytes=1))
    store = store_over(client)

    async def only_empty(real: Script, keys: Sequence[str]) -> list[DeleteFailure]:
        failed = []
        for key in keys:
            if key.endswith("/") and any(other.startswith(key) and other != key for other in client.all_keys()):
                failed.append(DeleteFailure(key, "DirectoryNotEmpty"))
            else:
                await real([key])
        return failed

    client.scripts["delete_many"] = only_empty
    await fill(client, "d/", "d/a/", "d/a/1", "d/a/b/", "d/a/b/c/", "d/a/b/c/2", "d/x", "e/x")
    await store.rmtree("d")
    assert below(client) == ["e/x"]


async def test_markers_that_a_batch_keeps_are_removed_one_by_one(client: ScriptedClient, store: ScriptedStore) -> None:
    async def keep_markers(real: Script, keys: Sequence[str], **named: Any) -> list[DeleteFailure]:
        await real([key for key in keys if not key.endswith("/")], **named)
        return []  # as the JuiceFS gateway, which says that all went well

    client.scripts["delete_many"] = keep_markers
    await fill(client, "d/", "d/a/", "d/a/1", "d/empty/", "e/x")
    await store.rmtree("d")
    assert below(client) == ["e/x"]
    await fill(client, "d/a/", "d/a/1", "d/empty/")
    await store.rename("d", "new")
    assert below(client) == ["e/x", "new/a/", "new/a/1", "new/empty/"]


async def test_what_is_listed_after_it_was_removed_is_an_error(client: ScriptedClient, store: ScriptedStore) -> None:
    async def lie(real: Script, keys: Sequence[str]) -> list[DeleteFailure]:
        return []

    client.scripts["delete_many"] = lie
    await fill(client, "d/a", "d/b")
    with pytest.raises(PartialFailure, match="lists it still"):
        await store.rmtree("d")
    assert client.count("list_page") < 10


# ---- capabilities that are not known ------------------------------------------------------------------------


class Undeclared(ScriptedClient):
    """Declares nothing; keeps what `keeps` names, and ignores the rest in silence, as servers do."""

    def __init__(self, *keeps: str) -> None:
        super().__init__()
        self.capabilities = Capabilities(
            empty_directories=None,
            exclusive_create=None,
            exclusive_copy=None,
            conditional_write=None,
            metadata=None,
            content_type=None,
            etags=None,
        )

        def heard(options: WriteOptions | None, exclusive: str) -> WriteOptions:
            given = options or WriteOptions()
            return replace(
                given,
                if_none_match=given.if_none_match and exclusive in keeps,
                if_match=given.if_match if "conditional_write" in keeps else None,
                metadata=given.metadata if "metadata" in keeps else {},
                content_type=given.content_type if "content_type" in keeps else "binary/octet-stream",
            )

        async def put(real: Script, key: str, data: bytes, options: WriteOptions | None = None) -> Any:
            if key.endswith("/") and "empty_directories" not in keeps:
                key = key.removesuffix("/")
            return await real(key, data, heard(options, "exclusive_create"))

        async def copy(real: Script, source: Any, source_key: str, key: str, options: Any = None, **named: Any) -> Any:
            return await real(source, source_key, key, heard(options, "exclusive_copy"), **named)

        async def head(real: Script, key: str) -> Any:
            found = await real(key)
            return found if "etags" in keeps else replace(found, etag=None)

        self.scripts.update(put=put, copy=copy, head=head)


UNKNOWN = [
    "empty_directories", "exclusive_create", "exclusive_copy", "conditional_write", "metadata", "content_type",
    "etags",
]  # fmt: skip


@pytest.mark.parametrize("keeps", [(), UNKNOWN, *[(name,) for name in UNKNOWN]], ids=str)
async def test_every_unknown_is_settled_by_asking(keeps: tuple[str, ...]) -> None:
    client = Undeclared(*keeps)
    store = store_over(client)
    found = await store.probe_capabilities()
    assert {name for name in UNKNOWN if getattr(found, name)} == set(keeps)
    assert [name for name in UNKNOWN if getattr(found, name) is None] == []
    assert store.capabilities == found
    assert client.all_keys() == [], "the probes' own objects are removed"
    client.calls.clear()
    await store.probe_capabilities()
    assert client.calls == []


async def test_a_condition_that_a_server_ignores_is_never_believed() -> None:
    client = Undeclared()
    store = store_over(client)
    await store.write_bytes("f", b"old")
    for attempt in (
        store.write_bytes("f", b"new", WriteOptions(if_none_match=True)),
        store.open("f", "x"),
        store.write_bytes("f", b"new", WriteOptions(if_match="any")),
    ):
        with pytest.raises(UnsupportedOperation):
            await attempt
    with pytest.raises(UnsupportedOperation):
        async with store.open_parts("f", 3, WriteOptions(if_none_match=True)):
            pytest.fail("the body must not run")
    assert client.content("root/f") == b"old"
    asked = client.count("put")
    with suppress(UnsupportedOperation):
        await store.open("f", "x")
    assert client.count("put") == asked


async def test_a_condition_that_a_server_keeps_is_asked_for_once() -> None:
    client = Undeclared("exclusive_create")
    store = store_over(client)
    await store.write_bytes("f", b"mine", WriteOptions(if_none_match=True))
    assert client.count("put") == 3
    with pytest.raises(AlreadyExists):
        await store.write_bytes("f", b"other", WriteOptions(if_none_match=True))
    assert client.count("put") == 4
    assert client.all_keys() == ["root/f"]


async def test_an_option_that_a_service_drops_is_refused() -> None:
    client = Undeclared()
    store = store_over(client)
    for options in (WriteOptions(metadata={"color": "blue"}), WriteOptions(content_type="text/csv")):
        for attempt in (store.write_bytes("f", b"x", options), store.open("f", "wb", options=options)):
            with pytest.raises(UnsupportedOperation, match="does not keep"):
                await attempt
    await store.write_bytes("f", b"x", WriteOptions(mtime_s=1.5))  # kept where it can be
    assert client.all_keys() == ["root/f"]


@pytest.mark.parametrize("when", ["before", "after", "late"])
@pytest.mark.parametrize("how", ["open x", "makedirs", "probe"])
async def test_a_probe_that_is_cancelled_leaves_nothing(how: str, when: str) -> None:
    """Also where the service had the bytes, and writes them behind the back of whoever cleans up."""
    client = Undeclared()
    store = store_over(client)
    real_put = client.scripts["put"]
    late: list[asyncio.Task[Any]] = []

    async def cancelled(real: Script, *arguments: Any) -> Any:
        scope.cancel()
        if when == "after":
            await real_put(real, *arguments)
        try:
            await anyio.sleep_forever()
        finally:
            if when == "late":
                late.append(asyncio.create_task(arriving(real, *arguments)))

    async def arriving(real: Script, *arguments: Any) -> None:
        await asyncio.sleep(0.05)
        await real_put(real, *arguments)

    client.scripts["put"] = cancelled
    with anyio.CancelScope() as scope:
        if how == "open x":
            await store.open("f", "x")
        elif how == "makedirs":
            await store.makedirs("dir")
        else:
            await store.probe_capabilities()
    assert scope.cancelled_caught
    await asyncio.gather(*late)
    assert client.all_keys() == []


async def test_temporaries_of_a_probe_that_may_not_be_deleted_do_not_take_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Undeclared("exclusive_create")
    store = store_over(client)

    async def denied(_real: Script, *_arguments: Any) -> Any:
        raise PermissionDenied("scripted", operation="delete", uri=client.uri("x"))

    client.scripts["delete"] = denied
    await store.write_bytes("f", b"mine", WriteOptions(if_none_match=True))
    assert client.content("root/f") == b"mine"
    assert "a temporary of a probe may stay" in caplog.text
    with anyio.CancelScope() as scope:

        async def cancelled(_real: Script, *_arguments: Any) -> Any:
            scope.cancel()
            await anyio.sleep_forever()

        client.scripts["put"] = cancelled
        await store.probe_capabilities()
    assert scope.cancelled_caught


async def test_a_probe_that_fails_is_asked_again() -> None:
    client = Undeclared("exclusive_create")
    real_put = client.scripts["put"]
    client.scripts["put"] = failing(ServiceError("scripted"))
    store = store_over(client)
    with pytest.raises(ServiceError):
        await store.open("f", "x")
    client.scripts["put"] = real_put
    async with store.open("f", "x") as file:
        await file.write("mine")


# ---- copying ------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow() -> ScriptedClient:
    """A service that copies 10 bytes at once, and 4 a part."""
    client = ScriptedClient(Limits(copy_max_bytes=10, part_max_bytes=4, part_min_bytes=1))

    async def copy(real: Script, source: Any, source_key: str, *arguments: Any, **named: Any) -> Any:
        if len(source._held.objects[source_key].data) > 10:
            raise ServiceError("InvalidRequest: the source is too large")
        return await real(source, source_key, *arguments, **named)

    client.scripts["copy"] = copy
    return client


async def test_a_large_object_is_copied_in_parts_with_what_belongs_to_it(narrow: ScriptedClient) -> None:
    store = store_over(narrow)
    options = WriteOptions(content_type="text/csv", metadata={"color": "blue"}, mtime_s=12.5)
    await store.write_bytes("big", b"0123456789abcdef", options)
    await store.copyfile("big", "copy")
    assert narrow.count("copy_part") == 4
    found = await store.stat("copy")
    assert narrow.content("root/copy") == b"0123456789abcdef"
    assert (found.content_type, dict(found.metadata)) == ("text/csv", {"color": "blue", "mtime": "12.5"})
    with pytest.raises(AlreadyExists):
        await store.copyfile("big", "copy")
    await store.rename("big", "moved")
    assert below(narrow) == ["copy", "moved"]
    assert narrow.uploads() == []


async def test_a_part_that_cannot_be_copied_leaves_nothing(narrow: ScriptedClient) -> None:
    store = store_over(narrow)
    await store.write_bytes("big", b"0123456789abcdef")
    narrow.scripts["copy_part"] = failing(ServiceError("scripted"), at=3)
    with pytest.raises(ServiceError, match="scripted"):
        await store.copyfile("big", "copy")
    assert below(narrow) == ["big"]
    assert narrow.uploads() == []


def without_copied_parts(client: ScriptedClient) -> None:
    async def copy_part(*_: Any, **__: Any) -> Any:
        raise UnsupportedOperation("scripted")

    client.scripts["copy_part"] = copy_part


async def test_where_parts_cannot_be_copied_the_bytes_come_through_here(narrow: ScriptedClient) -> None:
    store = store_over(narrow)
    without_copied_parts(narrow)
    options = WriteOptions(content_type="text/csv", metadata={"color": "blue"})
    await store.write_bytes("big", b"0123456789abcdef", options)
    await store.copyfile("big", "copy")
    (file,) = [one for path, one in (await scan(store)).items() if path == "big"]
    (told,) = await store.copy_batch(store, [CopyItem(file, "copied")])
    assert isinstance(told, FileStat)
    for path in ("copy", "copied"):
        found = await store.stat(path)
        assert narrow.content(f"root/{path}") == b"0123456789abcdef"
        assert (found.content_type, dict(found.metadata)) == ("text/csv", {"color": "blue"})
    assert narrow.uploads() == []


async def test_a_source_that_changes_while_its_bytes_come_through_here(narrow: ScriptedClient) -> None:
    store = store_over(narrow)
    without_copied_parts(narrow)
    await store.write_bytes("big", b"0123456789abcdef")

    async def replaced(real: Script, *arguments: Any, **named: Any) -> Any:
        if named["byte_range"].start:
            await store.write_bytes("big", b"fedcba9876543210")
        return await real(*arguments, **named)

    narrow.scripts["get"] = replaced
    (file,) = (await scan(store)).values()
    (told,) = await store.copy_batch(store, [CopyItem(file, "copy")])
    assert isinstance(told, SourceChanged)
    assert below(narrow) == ["big"]
    assert narrow.uploads() == []


async def test_a_small_copy_of_another_size_is_a_source_that_changed(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    await fill(client, "a")
    (file,) = (await scan(store)).values()
    await store.write_bytes("a", b"longer than before")
    (told,) = await store.copy_batch(store, [CopyItem(replace(file, etag=None), "b")])
    assert isinstance(told, SourceChanged)


async def test_a_small_copy_that_fails_is_not_tried_in_parts(narrow: ScriptedClient) -> None:
    store = store_over(narrow)
    await store.write_bytes("small", b"0123")
    narrow.scripts["copy"] = failing(ServiceError("scripted"))
    with pytest.raises(ServiceError, match="scripted"):
        await store.copyfile("small", "copy")
    assert "create_upload" not in narrow.calls


async def test_without_exclusive_copies_a_look_comes_before(client: ScriptedClient, store: ScriptedStore) -> None:
    client.capabilities = replace(client.capabilities, exclusive_copy=False)
    await fill(client, "src", "dst")
    with pytest.raises(AlreadyExists):
        await store.copyfile("src", "dst")
    assert client.calls == ["head"]
    await store.copyfile("src", "new")
    assert client.calls == ["head", "head", "copy"]


# ---- moving ---------------------------------------------------------------------------------------------------


async def test_a_copy_that_arrives_otherwise_keeps_the_source(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "f", "dir/a", "dir/b")

    async def short(real: Script, source: Any, source_key: str, key: str, *arguments: Any, **named: Any) -> Any:
        return await client.put(key, b"??")

    client.scripts["copy"] = short
    with pytest.raises(ChecksumMismatch, match="source is kept"):
        await store.rename("f", "moved")
    with pytest.raises(ChecksumMismatch, match="source is kept"):
        await store.rename("dir", "moved-dir")
    assert below(client) == ["dir/a", "dir/b", "f", "moved"]


async def test_a_tree_that_fails_half_way_is_whole_at_its_source_and_nowhere_else(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    files = [f"dir/{number:02}" for number in range(40)]
    await fill(client, *files)
    client.scripts["copy"] = failing(PermissionDenied("scripted"), at=25)
    with pytest.raises(PermissionDenied, match="scripted"):
        await store.rename("dir", "new")
    assert below(client) == files
    with anyio.CancelScope() as scope:

        async def cancelled(real: Script, *arguments: Any, **named: Any) -> Any:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        client.scripts["copy"] = cancelled
        await store.rename("dir", "new")
    assert below(client) == files


@pytest.mark.parametrize("markers", [[], ["new/"]], ids=["nothing", "an empty directory"])
async def test_a_failed_move_leaves_the_target_as_it_was(
    client: ScriptedClient, store: ScriptedStore, markers: list[str]
) -> None:
    await fill(client, "dir/", "dir/a", "dir/b", *markers)
    before = below(client)
    client.scripts["copy"] = failing(PermissionDenied("scripted"), at=2)
    with pytest.raises(PermissionDenied):
        await store.rename("dir", "new", overwrite=True)
    assert below(client) == before


async def test_what_others_write_to_the_target_meanwhile_stays(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "dir/a", "dir/b")

    async def beside(real: Script, *arguments: Any, **named: Any) -> Any:
        await fill(client, "new/theirs")
        return await real(*arguments, **named)

    client.scripts["copy"] = beside
    await store.rename("dir", "new", overwrite=True)
    assert below(client) == ["new/a", "new/b", "new/theirs"]


@pytest.mark.parametrize(("source", "target"), [("a", "a/b/new"), ("a/b", "a"), ("a", "a")])
async def test_a_tree_is_moved_neither_into_itself_nor_over_its_parents(
    client: ScriptedClient, store: ScriptedStore, source: str, target: str
) -> None:
    await fill(client, "a/b/f", "a/g")
    with suppress(InvalidPath, AlreadyExists):
        await store.rename(source, target, overwrite=True)
        assert source == target
    assert below(client) == ["a/b/f", "a/g"]


async def test_keys_that_stay_after_a_move_are_told(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "dir/a", "dir/b")

    async def refuse(real: Script, keys: Sequence[str], **named: Any) -> list[DeleteFailure]:
        return [DeleteFailure(key, "AccessDenied", "no") for key in keys]

    client.scripts["delete_many"] = refuse
    with pytest.raises(PartialFailure, match="is copied") as caught:
        await store.rename("dir", "new")
    assert [type(error) for error in caught.value.failures] == [PermissionDenied, PermissionDenied]
    assert below(client) == ["dir/a", "dir/b", "new/a", "new/b"]


def overtaking(client: ScriptedClient, key: str) -> Script:
    """A script of copies during which another writer replaces a source that is copied already."""

    async def script(real: Script, *arguments: Any, **named: Any) -> Any:
        copied = await real(*arguments, **named)
        await client.put(key, b"theirs")
        return copied

    return script


async def test_a_source_that_is_replaced_after_its_copy_is_kept(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "f")
    client.scripts["copy"] = overtaking(client, "root/f")
    with pytest.raises(PreconditionFailed, match="replaced the source after it was copied, so it is kept") as caught:
        await store.rename("f", "moved")
    assert (caught.value.operation, caught.value.uri) == ("rename", f"{store.path}/f")
    assert client.content("root/f") == b"theirs"
    assert client.content("root/moved") == b"f"


async def test_a_replaced_file_of_a_tree_is_kept_and_told(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "dir/", "dir/a", "dir/b")

    async def overtaken(real: Script, prefix: str, **named: Any) -> Any:
        if prefix == "root/new/" and client.count("copy") == 2:  # the copies are being verified
            await client.put("root/dir/a", b"theirs")
        return await real(prefix, **named)

    client.scripts["list_page"] = overtaken
    with pytest.raises(PartialFailure, match=r"is copied, but 1 keys could not be removed; .*another writer") as caught:
        await store.rename("dir", "new")
    (failure,) = caught.value.failures
    assert isinstance(failure, PreconditionFailed)
    assert failure.uri == f"{store.path}/dir/a"
    assert client.content("root/dir/a") == b"theirs"
    assert below(client) == ["dir/a", "new/", "new/a", "new/b"]


async def test_without_conditional_deletes_a_look_comes_before(client: ScriptedClient, store: ScriptedStore) -> None:
    client.capabilities = replace(client.capabilities, conditional_delete=False)
    await fill(client, "f", "g")
    await store.rename("g", "gone")
    assert client.calls[-3:] == ["head", "head", "delete"]
    assert client.arguments[-1] == ("delete", ("root/g",), {})
    client.scripts["copy"] = overtaking(client, "root/f")
    with pytest.raises(PreconditionFailed, match="so it is kept"):
        await store.rename("f", "moved")
    assert client.content("root/f") == b"theirs"


# ---- removing -------------------------------------------------------------------------------------------------


async def test_keys_that_stay_are_told_one_by_one(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "dir/a", "dir/kept\x01", "dir/z", "dir2/x")

    async def refuse(real: Script, keys: Sequence[str]) -> list[DeleteFailure]:
        await real([key for key in keys if "kept" not in key])
        return [DeleteFailure(key, "InternalError", "try again") for key in keys if "kept" in key]

    client.scripts["delete_many"] = refuse
    with pytest.raises(PartialFailure) as caught:
        await store.rmtree("dir")
    (failure,) = caught.value.failures
    assert isinstance(failure, ServiceError)
    assert failure.uri == store.path + "/dir/kept\\x01"
    assert "InternalError: try again" in str(caught.value)
    assert below(client) == ["dir/kept\x01", "dir2/x"]


async def test_a_listing_that_fails_ends_the_removal(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "dir/a")
    client.scripts["list_page"] = failing(ServiceError("scripted"))
    with pytest.raises(ServiceError):
        await store.rmtree("dir")
    assert below(client) == ["dir/a"]


# ---- bulk ports ------------------------------------------------------------------------------------------------


async def test_a_batch_is_read_at_once_and_pinned_to_the_scan(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, "a", "b", "c", "d")
    files = await scan(store)
    await client.put("root/b", b"B")  # the same size, another content
    await client.delete("root/c")
    results = await store.read_batch(list(files.values()))
    first, replaced, gone, last = results
    assert isinstance(first, FileData)
    assert isinstance(last, FileData)
    assert (first.data, first.stat.uri) == (b"a", store.path + "/a")
    assert first.stat.checksums["md5"]
    assert isinstance(replaced, SourceChanged)
    assert isinstance(gone, NotFound)


async def test_a_batch_runs_all_its_items_at_once(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, *[f"{number:02}" for number in range(16)])
    together = 0
    all_there = anyio.Event()

    async def meet(real: Script, *arguments: Any, **named: Any) -> Any:
        nonlocal together
        together += 1
        if together == 16:
            all_there.set()
        await all_there.wait()
        return await real(*arguments, **named)

    client.scripts["get"] = meet
    with anyio.fail_after(10):
        results = await store.read_batch(list((await scan(store)).values()))
    assert [bytes(result.data) for result in results if isinstance(result, FileData)] == [
        b"%02d" % number for number in range(16)
    ]


async def test_parts_verified_one_by_one_verify_the_whole(client: ScriptedClient, store: ScriptedStore) -> None:
    data = bytes(range(256)) * (17 * MIB // 256)
    async with store.open_parts("big", len(data), WriteOptions()) as parts:
        for number, start in enumerate(range(0, len(data), parts.part_size_bytes), 1):
            await parts.put_part(number, data[start : start + parts.part_size_bytes])
    assert parts.result().checksums == {"part-md5": parts.result().etag}


async def test_a_part_of_the_wrong_size_is_refused(client: ScriptedClient, store: ScriptedStore) -> None:
    for number, data in ((1, b"ab"), (1, b"abcd"), (2, b"abc"), (0, b"abc")):
        with pytest.raises(ValueError, match="part"):
            async with store.open_parts("big", 3, WriteOptions()) as parts:
                await parts.put_part(number, data)
    with pytest.raises(ValueError, match="not published"):
        parts.result()
    assert (client.all_keys(), client.uploads()) == ([], [])


async def test_nothing_in_parts_is_an_empty_object(client: ScriptedClient, store: ScriptedStore) -> None:
    async with store.open_parts("empty", 0, WriteOptions()):
        assert client.all_keys() == []
    assert client.content("root/empty") == b""


async def test_native_copies_are_pinned_and_kept_exclusive(client: ScriptedClient, store: ScriptedStore) -> None:
    await client.put("root/a", b"a", WriteOptions(metadata={"color": "blue"}))
    await fill(client, "b", "there")
    files = await scan(store)
    await client.put("root/b", b"B")
    new = WriteOptions(if_none_match=True)
    other = MemoryArtifactStore("memory://another-container-of-copies/x")
    assert other.copies_natively_from(store)
    for exclusive in (True, False):
        client.capabilities = replace(client.capabilities, exclusive_copy=exclusive)
        results = await store.copy_batch(
            store,
            [
                CopyItem(files["a"], f"copy-{exclusive}", new),
                CopyItem(files["b"], "copy-b"),
                CopyItem(files["a"], "there", new),
                CopyItem(files["a"], f"typed-{exclusive}", WriteOptions(content_type="text/csv")),
            ],
        )
        copied, changed, refused, typed = results
        assert isinstance(copied, FileStat)
        assert copied.uri == f"{store.path}/copy-{exclusive}"
        assert (await store.stat(f"copy-{exclusive}")).metadata == {"color": "blue"}
        assert isinstance(changed, SourceChanged)
        assert isinstance(refused, AlreadyExists)
        assert isinstance(typed, FileStat)
        assert (await store.stat(f"typed-{exclusive}")).content_type == "text/csv"
    assert client.content("root/there") == b"there"


async def test_large_native_copies_go_in_parts(narrow: ScriptedClient) -> None:
    store = store_over(narrow)
    await store.write_bytes("big", b"0123456789abcdef", WriteOptions(metadata={"color": "blue"}))
    (file,) = (await scan(store)).values()
    (told,) = await store.copy_batch(store, [CopyItem(file, "copy")])
    assert isinstance(told, FileStat)
    assert (await store.stat("copy")).metadata == {"color": "blue"}
    await store.write_bytes("big", b"fedcba9876543210")
    (changed,) = await store.copy_batch(store, [CopyItem(file, "copy")])
    assert isinstance(changed, SourceChanged)
    assert narrow.content("root/copy") == b"0123456789abcdef"


# ---- the client under it ----------------------------------------------------------------------------------------


class Counting(ScriptedStore):
    made = 0

    def _make_client(self) -> ScriptedClient:
        type(self).made += 1
        return ScriptedClient()


async def test_many_threads_make_one_client() -> None:
    store = Counting("memory://c/p")
    assert Counting.made == 0
    start = threading.Barrier(8)
    seen: list[object] = []

    def use() -> None:
        start.wait()
        seen.append(store.client)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, seen))) == 1
    assert Counting.made == 1


async def test_a_forked_child_makes_a_client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Counting("memory://c/p")
    parents = store.client
    store._lock.acquire()  # held by another thread of the parent at the moment of the fork
    monkeypatch.setattr(os, "getpid", lambda: -1)
    await store.close()  # the parent's connections are not the child's to close
    childs = store.client
    assert childs is not parents
    assert store.client is childs


async def test_a_pickle_carries_the_configuration_only(store: ScriptedStore) -> None:
    other = MemoryArtifactStore("memory://pickled/p")
    await other.write_bytes("f", b"x")
    again = pickle.loads(pickle.dumps(other))
    assert again.path == other.path
    assert await again.read_bytes("f") == b"x"


async def test_a_key_too_long_with_its_prefix_is_refused_before_any_io(client: ScriptedClient) -> None:
    store = store_over(client, "p" * 100)
    with pytest.raises(InvalidPath, match="1,024"):
        await store.write_bytes("k" * 1000, b"x")
    assert client.calls == []


async def test_an_etag_pins_an_empty_range_too(client: ScriptedClient, store: ScriptedStore) -> None:
    told = await store.write_bytes("f", b"x")
    assert await store.read_range("f", 0, 0, if_match=told.etag) == b""
    with pytest.raises(PreconditionFailed):
        await store.read_range("f", 0, 0, if_match="another")
    with pytest.raises(IsADirectory):
        await store.read_range("", 0, 0)
