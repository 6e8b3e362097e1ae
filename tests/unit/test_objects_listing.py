"""Listings, walks and globs over flat keys: order, what is asked for and when, and hostile services."""

from __future__ import annotations

import os
import random
import re
import tracemalloc
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from entrepot.errors import BadResponse, NotFound, PermissionDenied, ServiceError, StoreError
from entrepot.models import Limits, ListPage, ObjectStat
from entrepot.objects.listing import shown
from entrepot.patterns import translate
from scripted import Script, ScriptedClient, ScriptedStore, failing, store_over

pytestmark = pytest.mark.anyio


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient(Limits(list_page=3, part_min_bytes=1))


@pytest.fixture
def store(client: ScriptedClient) -> ScriptedStore:
    return store_over(client)


async def fill(client: ScriptedClient, paths: list[str]) -> None:
    for path in paths:
        await client.put(f"root/{path}", path.encode())
    client.calls.clear()
    client.arguments.clear()


def below(store: ScriptedStore, uri: str) -> str:
    return uri[len(store.path) + 1 :]


async def globbed(store: ScriptedStore, pattern: str) -> list[str]:
    async with aclosing(store.glob(pattern)) as found:
        return [below(store, uri) async for uri in found]


async def scanned(store: ScriptedStore, path: str = "", recursive: bool = True) -> list[str]:
    async with aclosing(store.scan(path, recursive)) as found:
        return [below(store, entry.uri) + "/" * entry.is_dir async for entry in found]


async def walked(store: ScriptedStore, top: str = "", **how: Any) -> list[tuple[str, list[str], list[str]]]:
    async with aclosing(store.walk(top, **how)) as levels:
        return [(below(store, uri), list(dirs), list(files)) async for uri, dirs, files in levels]


def random_paths(rng: random.Random) -> list[str]:
    names = ["a", "b", "ab", "a.b", "a-b", "a0", "é", "x y", "b*"]
    return sorted({"/".join(rng.choices(names, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 30))})


# ---- a service that answers wrongly ------------------------------------------------------------------------


@pytest.mark.holds("repeated-token")
@pytest.mark.parametrize("period", [1, 2, 5])
async def test_a_repeated_token_ends_in_an_error(client: ScriptedClient, store: ScriptedStore, period: int) -> None:
    pages = 0

    async def circle(real: Script, prefix: str, **named: Any) -> ListPage:
        nonlocal pages
        pages += 1
        assert pages < 100, "a loop"
        return ListPage((ObjectStat(f"{prefix}{pages % 7}", 1),), (), f"token {pages % period}")

    client.scripts["list_page"] = circle
    for attempt in (scanned(store), store.listdir(), globbed(store, "*"), globbed(store, "**"), store.size("")):
        pages = 0
        with pytest.raises(BadResponse, match="repeats"):
            await attempt
    pages = 0
    told: list[StoreError] = []
    assert await walked(store, onerror=told.append) == []
    assert [type(error) for error in told] == [BadResponse]


async def test_prefixes_that_are_told_again_on_each_page_are_told_once(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    async def repeating(real: Script, prefix: str, *, delimiter: str = "", token: str | None = None) -> ListPage:
        number = int(token or 0)
        file = ObjectStat(f"{prefix}f{number}", 1)
        prefixes = (f"{prefix}a/", f"{prefix}z/") if delimiter and prefix == "root/" else ()
        return ListPage((file,), prefixes, str(number + 1) if number < 3 else None)

    client.scripts["list_page"] = repeating
    assert await store.listdir() == ["a", "f0", "f1", "f2", "f3", "z"]
    assert sorted(await scanned(store, recursive=False)) == ["a/", "f0", "f1", "f2", "f3", "z/"]
    assert (await walked(store))[0][1] == ["a", "z"]
    assert [path for path in await globbed(store, "*") if path in "az"] == ["a", "z"]


async def test_a_page_may_be_empty_and_not_the_last(client: ScriptedClient, store: ScriptedStore) -> None:
    async def sparse(real: Script, prefix: str, *, delimiter: str = "", token: str | None = None) -> ListPage:
        number = int(token or 0)
        objects = (ObjectStat(f"{prefix}f", 1),) if number == 4 else ()
        return ListPage(objects, (), str(number + 1) if number < 6 else None)

    client.scripts["list_page"] = sparse
    assert await store.listdir("dir") == ["f"]
    assert await scanned(store, "dir") == ["dir/f"]


async def test_a_listing_that_fails_later_is_an_error_not_a_short_answer(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    await fill(client, [f"{number}" for number in range(9)])
    for attempt in (store.listdir, lambda: scanned(store), lambda: globbed(store, "*"), lambda: store.size("")):
        client.scripts["list_page"] = failing(ServiceError("scripted"), at=3)
        with pytest.raises(ServiceError, match="scripted"):
            await attempt()


# ---- foreign keys -----------------------------------------------------------------------------------------

FOREIGN = ["a//b", "a/\x01c", "a/../up", "a/./here", "/lead", "a/line\nbreak", "a//", "..", "\x7f/in"]


async def test_foreign_keys_are_listed_escaped_and_break_nothing(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, [*FOREIGN, "a/plain", ".~entrepot-probe-1", "a/.~entrepot-0/x"])
    found = await scanned(store)
    assert sorted(found) == sorted([
        "a/\\x2f/b", "a/\\x01c", "a/\\x2e\\x2e/up", "a/\\x2e/here", "\\x2f/lead", "a/line\\nbreak", "a/\\x2f/",
        "\\x2e\\x2e", "\\x7f/in", "a/plain",
    ])  # fmt: skip
    assert await store.listdir("a") == ["\\x01c", "\\x2e", "\\x2e\\x2e", "\\x2f", "line\\nbreak", "plain"]
    levels = {directory: (dirs, files) for directory, dirs, files in await walked(store)}
    assert levels[""] == (["\\x2f", "\\x7f", "a"], ["\\x2e\\x2e"])
    assert levels["a/\\x2e\\x2e"] == ([], ["up"])
    assert levels["a/\\x2f"] == ([], ["b"])
    assert "a/\\x2f/b" in await globbed(store, "a/**")
    assert "a/\\x2f/b" in await globbed(store, "a/*/b")
    for entry in found:
        assert entry.isprintable()
    await store.rmtree("a")
    assert [key for key in client.all_keys() if key.startswith("root/a/")] == []
    await store.rmtree("", allow_root=True)
    assert client.all_keys() == []


async def test_a_copy_of_a_foreign_key_fails_for_that_key_only(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, ["a/../up", "a/plain"])
    async with aclosing(store.scan()) as entries:
        files = [entry async for entry in entries]
    results = await store.read_batch(files)
    assert sorted(isinstance(result, NotFound) for result in results) == [False, True]


def test_names_that_we_write_are_shown_as_they_are() -> None:
    for name in ("..a", "a..", ".a", "...", "back\\slash", "\u2028", "\x80", "a b", "x.~entrepot-"):
        assert shown(f"d/{name}/f") == f"d/{name}/f"


# ---- walk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
async def test_a_walk_is_that_of_os_walk(
    client: ScriptedClient, store: ScriptedStore, tmp_path: Path, seed: int
) -> None:
    paths = random_paths(random.Random(seed))
    paths = [path for path in paths if not any(other.startswith(path + "/") for other in paths)]
    await fill(client, paths)
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    for topdown in (True, False):
        expected = []
        for top, dirs, files in os.walk(tmp_path, topdown=topdown):
            dirs.sort()
            expected.append((str(Path(top).relative_to(tmp_path)).removeprefix("."), sorted(dirs), sorted(files)))
        found = await walked(store, topdown=topdown)
        if topdown:
            assert found == expected
        else:  # os.walk reads a directory before it can be sorted
            assert sorted(found) == sorted(expected)
            order = [directory for directory, _, _ in found]
            for directory in order:
                parent = directory.rpartition("/")[0]
                assert not directory or order.index(parent) > order.index(directory)


async def test_nothing_is_listed_below_a_directory_that_was_not_yielded(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    await fill(client, [f"{a}/{b}/{c}" for a in "abc" for b in "xyz" for c in "12"])
    yielded: set[str] = set()
    async with aclosing(store.walk()) as levels:
        async for uri, dirs, _ in levels:
            for name, arguments, _named in client.arguments:
                assert name == "list_page"
                listed = arguments[0].removeprefix("root/").removesuffix("/")
                assert not listed or listed.rpartition("/")[0] in yielded
            yielded.add(below(store, uri))
            if below(store, uri) == "b":
                dirs.clear()
    assert yielded == {"", "a", "a/x", "a/y", "a/z", "b", "c", "c/x", "c/y", "c/z"}
    assert not [arguments for _, arguments, _ in client.arguments if arguments[0].startswith("root/b/x")]


async def test_siblings_are_listed_at_once(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, [f"{number:03}/f" for number in range(40)])
    together = most = 0

    async def counted(real: Script, *arguments: Any, **named: Any) -> Any:
        nonlocal together, most
        together += 1
        most = max(most, together)
        page = await real(*arguments, **named)
        together -= 1
        return page

    client.scripts["list_page"] = counted
    assert len(await walked(store)) == 41
    assert most == 16


async def test_a_directory_that_cannot_be_listed_is_told_and_passed_over(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    await fill(client, ["a/1", "b/2", "c/3"])

    async def refused(real: Script, prefix: str, **named: Any) -> Any:
        if prefix == "root/b/":
            raise PermissionDenied("scripted")
        return await real(prefix, **named)

    client.scripts["list_page"] = refused
    told: list[StoreError] = []
    assert [directory for directory, _, _ in await walked(store, onerror=told.append)] == ["", "a", "c"]
    assert [str(error) for error in told] == ["scripted"]
    assert [directory for directory, _, _ in await walked(store)] == ["", "a", "c"]


async def test_directories_added_to_the_list_are_walked_too(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, ["a/1", "b/2"])
    seen = []
    told: list[StoreError] = []
    async with aclosing(store.walk(onerror=told.append)) as levels:
        async for uri, dirs, _ in levels:
            seen.append(below(store, uri))
            if not seen[-1]:
                dirs[:] = ["b", "missing"]
    assert seen == ["", "b"]
    assert [type(error) for error in told] == [NotFound]


async def test_a_broad_and_deep_tree_is_walked_without_holding_it(client: ScriptedClient, store: ScriptedStore) -> None:
    depth = 300
    await fill(client, ["/".join(["d"] * depth) + "/f"])
    assert len(await walked(store)) == depth + 1
    assert len(await walked(store, topdown=False)) == depth + 1


# ---- glob -------------------------------------------------------------------------------------------------

PATTERNS = [
    "*", "*/*", "**", "**/", "*/", "a*", "a*/b*", "**/a", "a/**", "*/a/*", "?", "[!a]", "a[!b]b", "**/*b", "a/*/",
    "*/**/*", "a.b", "a/b", "é/*", "*y", "[ab]/*/[!x]*", "**/a/**/b",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
async def test_glob_is_the_pattern_applied_to_everything_in_key_order(
    client: ScriptedClient, store: ScriptedStore, seed: int
) -> None:
    paths = random_paths(random.Random(seed))
    await fill(client, paths)
    directories = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, len(path.split("/")))}
    everything = [(path, False) for path in paths] + [(path, True) for path in directories - set(paths)]
    # A file and a directory of one name are one address, in the file's place.
    both = directories & set(paths)
    everything.sort(key=lambda entry: (entry[0] + "/" * entry[1]).encode())
    for pattern in PATTERNS:
        expression = re.compile(translate(pattern))
        if pattern.endswith("/"):
            expected = [path for path in directories if expression.match(path + "/")]
            expected.sort(key=lambda path: (path + "/").encode())
        else:
            expected = [path for path, is_dir in everything if expression.match(path)]
        found = await globbed(store, pattern)
        assert found == expected, (pattern, both)


async def test_glob_lists_only_below_the_literal_prefix(client: ScriptedClient, store: ScriptedStore) -> None:
    await fill(client, ["runs/1/model.bin", "runs/1/log", "runs/2/model.bin", "runs2/3/model.bin", "other/x"])
    assert await globbed(store, "runs/*/model.bin") == ["runs/1/model.bin", "runs/2/model.bin"]
    assert [arguments[0] for _, arguments, _ in client.arguments] == [
        "root/runs/", "root/runs/1/model.bin", "root/runs/2/model.bin",
    ]  # fmt: skip
    client.arguments.clear()
    assert await globbed(store, "runs/1/**") == ["runs/1/log", "runs/1/model.bin"]
    assert [arguments[0] for _, arguments, _ in client.arguments] == ["root/runs/1/"]


async def test_the_root_prefix_may_have_wildcards_in_it() -> None:
    client = ScriptedClient()
    store = store_over(client, "odd [root]*")
    await client.put("odd [root]*/a/x", b"")
    assert await globbed(store, "a/*") == ["a/x"]
    assert await globbed(store, f"{store.path}/**") == ["a", "a/x"]


async def test_no_pattern_finds_the_root(store: ScriptedStore) -> None:
    await store.write_bytes("a", b"")
    for pattern in ("", store.path, "**/"):
        assert await globbed(store, pattern) == []


# ---- many -------------------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.holds("million-keys")
async def test_a_hundred_thousand_keys_are_scanned_in_the_memory_of_a_page(
    client: ScriptedClient, store: ScriptedStore
) -> None:
    async def page(real: Script, prefix: str, *, delimiter: str = "", token: str | None = None) -> ListPage:
        number = int(token or 0)
        objects = tuple(ObjectStat(f"{prefix}{number:03}/{at:03}", 1) for at in range(1000))
        client.calls.clear()
        client.arguments.clear()
        return ListPage(objects, (), str(number + 1) if number < 99 else None)

    client.scripts["list_page"] = page
    tracemalloc.start()
    try:
        assert await store.size("") == 100_000
        async with aclosing(store.glob("**/999")) as found:
            assert len([uri async for uri in found]) == 100
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
