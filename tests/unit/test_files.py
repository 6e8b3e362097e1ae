"""The text layers and line reading, with the builtin files as the oracle."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.errors import StoreClosed, UnsupportedOperation
from entrepot.files import BinaryReader, BinaryWriter, Opening, TextReader, TextWriter
from entrepot.models import Buffer

pytestmark = pytest.mark.anyio

NEWLINES: tuple[Literal["", "\n", "\r", "\r\n"] | None, ...] = (None, "", "\n", "\r", "\r\n")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")

# Mostly line ends, and characters of one to four bytes that every encoding here but latin-1 knows.
TEXTS = st.text(st.sampled_from([*"\r\n\r\nab \x85\u2028\x0cé日😀"]), max_size=60)
LATIN_TEXTS = st.text(st.sampled_from(list("\r\n\r\nab é\x85\x0c")), max_size=60)
ENCODED = st.sampled_from(ENCODINGS).flatmap(
    lambda encoding: st.tuples(st.just(encoding), st.lists(LATIN_TEXTS if encoding == "latin-1" else TEXTS, max_size=5))
)


class Bytes(BinaryReader):
    """A reader of bytes in memory that gives at most `most` at once, as a network would."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        self.name, self._file, self._most = "memory://test/f", io.BytesIO(data), most

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size if size < 0 else min(size, self._most))

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    async def close(self) -> None:
        self.closed = True


class Kept(BinaryWriter):
    """A writer that remembers what was done with it."""

    def __init__(self, failing: bool = False) -> None:
        self.name, self.data, self.ended, self._failing = "memory://test/f", b"", "", failing

    async def write(self, data: Buffer) -> int:
        if self._failing:
            raise OSError("disk full")
        self.data += bytes(data)
        return len(data)

    async def close(self) -> None:
        if not self.closed:
            self.closed, self.ended = True, "published"

    async def abort(self) -> None:
        if not self.closed:
            self.closed, self.ended = True, "dropped"

    def tell(self) -> int:
        return len(self.data)

    def abandon(self) -> None:
        self.closed, self.ended = True, "abandoned"


@dataclass(frozen=True)
class Step:
    """One call on a text file. size: characters for `read`, None for all."""

    kind: Literal["read", "readline", "rewind"]
    size: int | None = None


STEPS = st.lists(
    st.one_of(
        st.builds(Step, st.just("read"), st.one_of(st.none(), st.integers(0, 20))),
        st.just(Step("readline")),
        st.just(Step("rewind")),
    ),
    max_size=12,
)


def builtin_reader(data: bytes, encoding: str, newline: Any, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline=newline, errors=errors)


# ---- reading text ---------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, newline=st.sampled_from(NEWLINES), most=st.integers(1, 9), steps=STEPS)
async def test_text_reads_as_from_the_builtin_file(text: str, newline: Any, most: int, steps: list[Step]) -> None:
    data = text.encode()
    model, file = builtin_reader(data, "utf-8", newline), TextReader(Bytes(data, most), newline=newline)
    for step in steps:
        if step.kind == "read":
            expected, found = model.read(step.size), await file.read(-1 if step.size is None else step.size)
        elif step.kind == "readline":
            expected, found = model.readline(), await file.readline()
        else:
            model.seek(0)
            expected, found = "", str(await file.seek(0)).strip("0")
        assert found == expected, step
    assert await file.read() == model.read()
    assert await file.read() == ""


@settings(max_examples=300, deadline=None)
@given(encoded=ENCODED, newline=st.sampled_from(NEWLINES), most=st.integers(1, 9))
async def test_lines_are_those_of_the_builtin_file(encoded: tuple[str, list[str]], newline: Any, most: int) -> None:
    encoding, pieces = encoded
    content = "".join(pieces).encode(encoding)
    file = TextReader(Bytes(content, most), encoding=encoding, newline=newline)
    assert [line async for line in file] == list(builtin_reader(content, encoding, newline))


@pytest.mark.parametrize("newline", NEWLINES)
async def test_lines_longer_than_a_chunk_are_whole(newline: Any) -> None:
    text = "".join(f"{'x' * length}{end}" for length in (65_535, 65_536, 200_000) for end in ("\r\n", "\n", "\r"))
    file = TextReader(Bytes(text.encode()), newline=newline)
    assert [line async for line in file] == list(builtin_reader(text.encode(), "utf-8", newline))


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=40), errors=st.sampled_from(["strict", "replace", "ignore", "surrogateescape"]))
async def test_undecodable_bytes_are_treated_as_asked(content: bytes, errors: str) -> None:
    file = TextReader(Bytes(content, 3), errors=errors)
    try:
        expected = builtin_reader(content, "utf-8", None, errors).read()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            await file.read()
        return
    assert await file.read() == expected


async def test_only_the_start_can_be_sought_in_text() -> None:
    file = TextReader(Bytes(b"a\nb\n"))
    await file.readline()
    assert await file.seek(0) == 0
    assert await file.readline() == "a\n"
    for offset, whence in ((1, 0), (0, 1), (0, 2)):
        with pytest.raises(UnsupportedOperation, match="'b'"):
            await file.seek(offset, whence)


# ---- reading bytes by line ------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=50) | st.text(st.sampled_from("a\n\r"), max_size=50).map(str.encode),
    most=st.integers(1, 9),
    limits=st.lists(st.integers(-1, 12), max_size=10),
)
async def test_lines_of_bytes_are_those_of_the_builtin_file(content: bytes, most: int, limits: list[int]) -> None:
    model, file = io.BytesIO(content), Bytes(content, most)
    for limit in limits:
        assert await file.readline(limit) == model.readline(limit)
        assert file.tell() == model.tell()
    assert [line async for line in file] == list(model)


async def test_a_line_of_bytes_may_be_longer_than_a_chunk() -> None:
    content = b"x" * 100_000 + b"\n" + b"y" * 8192 + b"\n"
    assert [line async for line in Bytes(content)] == list(io.BytesIO(content))


# ---- writing text ---------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(encoded=ENCODED, newline=st.sampled_from(NEWLINES))
async def test_text_is_written_as_to_the_builtin_file(encoded: tuple[str, list[str]], newline: Any) -> None:
    encoding, pieces = encoded
    raw = io.BytesIO()
    # The builtin's None means this system's line end; ours means "\n" on every system.
    model = io.TextIOWrapper(raw, encoding=encoding, newline="\n" if newline is None else newline)
    kept = Kept()
    async with TextWriter(kept, encoding=encoding, newline=newline) as file:
        for piece in pieces:
            assert await file.write(piece) == model.write(piece)
    model.flush()
    assert kept.data == raw.getvalue()
    assert kept.ended == "published"


@pytest.mark.parametrize("newline", ["x", "\n\n", " "])
async def test_an_illegal_newline_is_a_value_error(newline: str) -> None:
    kept = Kept()
    with pytest.raises(ValueError, match="newline"):
        TextWriter(kept, newline=newline)
    with pytest.raises(ValueError, match="newline"):
        TextReader(Bytes(b""), newline=newline)
    await kept.abort()


@pytest.mark.parametrize("layer", [lambda kept: kept, TextWriter], ids=["binary", "text"])
async def test_a_clean_exit_publishes_and_an_exception_drops_in_every_layer(layer: Callable[[Kept], Any]) -> None:
    clean = Kept()
    async with layer(clean):
        pass
    assert clean.ended == "published"
    broken = Kept()
    with pytest.raises(KeyError):
        async with layer(broken):
            raise KeyError
    assert broken.ended == "dropped"


async def test_a_writer_that_is_dropped_is_abandoned() -> None:
    ended: list[str] = []

    class Told(Kept):
        def abandon(self) -> None:
            super().abandon()
            ended.append(self.ended)

    file = TextWriter(Told())
    await file.write("text")
    del file
    gc.collect()
    assert ended == ["abandoned"]


async def test_what_the_encoder_still_holds_is_written_by_close() -> None:
    kept = Kept()
    file = TextWriter(kept, encoding="iso2022_jp")
    await file.write("日本")
    await file.close()
    assert kept.data == "日本".encode("iso2022_jp")
    assert (kept.ended, file.closed) == ("published", True)
    await file.close()
    assert kept.data == "日本".encode("iso2022_jp")


async def test_a_failing_last_write_publishes_nothing() -> None:
    kept = Kept()
    file = TextWriter(kept, encoding="iso2022_jp")
    await file.write("日本")
    kept._failing = True
    with pytest.raises(OSError, match="disk full"):
        async with file:
            pass
    assert kept.ended != "published"
    await kept.abort()


async def test_a_closed_text_file_takes_no_more() -> None:
    file = TextWriter(Kept())
    await file.close()
    with pytest.raises(StoreClosed):
        await file.write("more")


# ---- opening --------------------------------------------------------------------------------------------


async def test_an_opening_is_awaited_or_entered_and_opens_once_each_time() -> None:
    opened: list[Bytes] = []

    async def make() -> Bytes:
        opened.append(Bytes(b"content"))
        return opened[-1]

    file = await Opening(make)
    assert file is opened[0]
    assert not file.closed
    async with Opening(make) as entered:
        assert entered is opened[1]
    assert entered.closed
    assert len(opened) == 2


async def test_an_opening_that_fails_raises_where_it_is_used() -> None:
    async def make() -> Bytes:
        raise FileNotFoundError("missing")

    with pytest.raises(FileNotFoundError):
        await Opening(make)
    with pytest.raises(FileNotFoundError):
        async with Opening(make):
            pytest.fail("the body must not run")
