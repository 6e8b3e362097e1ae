"""Two listings merged: every path once, in order, and an error where order fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.errors import NotFound, ServiceError
from entrepot.models import FileStat
from entrepot.transfer.pairing import Entry, Tree, entries_of, paired

pytestmark = pytest.mark.anyio


def file(path: str) -> Entry:
    return Entry(path, FileStat(f"memory://box/{path}", 1))


def directory(path: str) -> Entry:
    return Entry(path, FileStat(f"memory://box/{path}", 0, is_dir=True))


async def told(entries: Sequence[Entry]) -> AsyncIterator[Entry]:
    for entry in entries:
        yield entry


async def pairs(sources: Sequence[Entry], targets: Sequence[Entry]) -> list[tuple[str, bool, bool]]:
    merged = paired(told(sources), told(targets))
    return [(pair.path, pair.source is not None, pair.target is not None) async for pair in merged]


async def test_both_one_and_the_other() -> None:
    assert await pairs([file("a"), file("b"), file("d")], [file("b"), file("c"), file("d"), file("e")]) == [
        ("a", True, False),
        ("b", True, True),
        ("c", False, True),
        ("d", True, True),
        ("e", False, True),
    ]


async def test_a_file_and_a_directory_of_one_name_are_two() -> None:
    assert await pairs([file("a"), file("a-b")], [directory("a"), file("a/x")]) == [
        ("a", True, False),
        ("a-b", True, False),
        ("a", False, True),
        ("a/x", False, True),
    ]


@pytest.mark.parametrize("entries", [[file("b"), file("a")], [file("a"), file("a")], [directory("a"), file("a-b")]])
async def test_a_listing_out_of_order_is_an_error_on_either_side(entries: list[Entry]) -> None:
    with pytest.raises(ServiceError, match="not in the order of keys"):
        await pairs(entries, [file("z")])
    with pytest.raises(ServiceError, match="not in the order of keys"):
        await pairs([file("z")], entries)


async def test_what_lies_outside_of_the_tree_is_told_of_the_source_only() -> None:
    outside = Entry("memory://other/x", FileStat("memory://other/x", 1), outside=True)
    assert await pairs([file("a"), outside, file("b")], [outside, file("b")]) == [
        ("a", True, False),
        ("memory://other/x", True, False),
        ("b", True, True),
    ]


_NAMES = st.text(alphabet="ab-/.\u00e9\U0001f600", min_size=1, max_size=4).filter(lambda name: "//" not in f"/{name}/")


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@given(st.sets(_NAMES), st.sets(_NAMES))
@settings(max_examples=200, deadline=None)
def test_the_merge_is_the_union_of_both(sources: set[str], targets: set[str]) -> None:
    import asyncio

    found = asyncio.run(pairs([file(name) for name in sorted(sources)], [file(name) for name in sorted(targets)]))
    assert found == [(name, name in sources, name in targets) for name in sorted(sources | targets)]


class Listed:
    """A store that lists what it is told to, then fails if it is to."""

    def __init__(self, uris: Sequence[str], *, in_order: bool, error: Exception | None = None) -> None:
        self.path, self.scans_in_order, self._uris, self._error = "memory://box", in_order, uris, error
        self.capabilities = type("Capabilities", (), {"links": False})()

    async def scan(self, path: str = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        for uri in self._uris:
            yield FileStat(uri, 1)
        if self._error is not None:
            raise self._error


async def listed(store: Listed, *, may_be_missing: bool = True) -> list[str]:
    found = entries_of(Tree(store, "top", "memory://box/top", may_be_missing))  # type: ignore[arg-type]
    return [entry.path async for entry in found]


async def test_a_listing_without_order_is_sorted() -> None:
    uris = ["memory://box/top/b", "memory://box/top/a"]
    assert await listed(Listed(uris, in_order=False)) == ["a", "b"]
    assert await listed(Listed(uris, in_order=True)) == ["b", "a"]


async def test_a_missing_directory_is_empty_where_it_may_be() -> None:
    missing = Listed([], in_order=True, error=NotFound())
    assert await listed(missing) == []
    with pytest.raises(NotFound):
        await listed(missing, may_be_missing=False)


async def test_a_directory_that_goes_while_it_is_listed_is_an_error() -> None:
    with pytest.raises(NotFound):
        await listed(Listed(["memory://box/top/a"], in_order=True, error=NotFound()))
