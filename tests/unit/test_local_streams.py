"""The local store's async files beside aiofiles', on the same bytes: every read, seek and line is the same."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import aiofiles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot import LocalArtifactStore

CONTENT = b"".join(b"line %d \xc3\xa9\r\n" % number for number in range(60_000))  # a few times the read-ahead

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.one_of(st.just(-1), st.integers(0, 700_000))),
        st.tuples(st.just("readline"), st.just(0)),
        st.tuples(st.just("seek"), st.integers(0, len(CONTENT) + 10)),
        st.tuples(st.just("seek_end"), st.integers(-len(CONTENT), 10)),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("streams")
    (made / "content").write_bytes(CONTENT)
    return made


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_reads_as_aiofiles_does(folder: Path, steps: list[tuple[str, int]]) -> None:
    async def compare() -> None:
        store = LocalArtifactStore(folder)
        async with aiofiles.open(folder / "content", "rb") as theirs, store.open("content", "rb") as ours:
            for name, number in steps:
                if name == "read":
                    assert await ours.read(number) == await theirs.read(number)
                elif name == "readline":
                    assert await ours.readline() == await theirs.readline()
                else:
                    whence = io.SEEK_END if name == "seek_end" else io.SEEK_SET
                    assert await ours.seek(number, whence) == await theirs.seek(number, whence)
                assert ours.tell() == await theirs.tell()

    asyncio.run(compare())


@pytest.mark.parametrize("name", ["text", "deeper/text"])
def test_streams_copy_into_each_other(tmp_path: Path, name: str) -> None:
    async def there_and_back() -> None:
        store = LocalArtifactStore(tmp_path / "store")
        (tmp_path / "source").write_bytes(CONTENT)
        async with aiofiles.open(tmp_path / "source", "rb") as source, store.open(name, "wb") as target:
            while chunk := await source.read(100_000):
                await target.write(chunk)
        async with store.open(name, "rb") as source, aiofiles.open(tmp_path / "back", "wb") as target:
            while chunk := await source.read(100_000):
                await target.write(chunk)

    asyncio.run(there_and_back())
    assert (tmp_path / "back").read_bytes() == CONTENT
