"""The store contract, large files that are gone on with: what a writer left is continued by another store, or dropped.

The other store is what a pickle of the first becomes: it has its configuration, its credentials from where an unpickled
store finds them, and nothing that the first knows.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import anyio.lowlevel
import pytest

from entrepot.errors import (
    AlreadyExists,
    ChecksumMismatch,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    UnsupportedOperation,
    UploadGone,
)
from entrepot.models import NO_OPTIONS, FileStat, Part, Resume, WriteOptions
from entrepot.testing.cancelling import Suspensions, no_task_beyond, spread
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore
    from entrepot.files import PartWriter

_POINTS: Final = 6
_PATH: Final = "dir/large"


class Interrupted(Exception):
    """What ends a writer without being an error of a store."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a writer left. parts: those that were put, as `put_part` told them."""

    token: str
    parts: tuple[Part, ...] = ()

    @property
    def resume(self) -> Resume:
        """As a journal gives it back: etags are not written down."""
        return Resume(
            self.token, tuple(Part(one.number, one.size_bytes, "", one.md5, one.crc32c) for one in self.parts)
        )

    @property
    def sizes(self) -> dict[int, int]:
        """What `held_parts` should tell."""
        return {one.number: one.size_bytes for one in self.parts}


class ResumingRules(StoreRules):
    """`resume_token`, `keep`, `open_parts(…, resume=…)`, `held_parts`, `drop_parts`."""

    @pytest.fixture
    def other(self, store: BaseArtifactStore, monkeypatch: pytest.MonkeyPatch) -> BaseArtifactStore:
        """An equal store as another process would have it; closed by the test, where it was used."""
        self.give_credentials(monkeypatch)
        unpickled: BaseArtifactStore = pickle.loads(pickle.dumps(store))  # noqa: S301  # packed here
        return unpickled

    @property
    def content(self) -> bytes:
        """A file that can be gone on with, of more than two parts."""
        size = max(self.continued_from_bytes, len(LARGE))
        return (LARGE * -(-size // len(LARGE)))[:size]

    def piece(self, number: int, part_size_bytes: int) -> bytes:
        return self.content[(number - 1) * part_size_bytes : number * part_size_bytes]

    async def put_all(self, sink: PartWriter, numbers: Sequence[int] | None = None) -> tuple[Part, ...]:
        """Put those parts, or all that are missing, one after another."""
        count = -(-len(self.content) // sink.part_size_bytes)
        wanted = [one for one in range(1, count + 1) if one not in sink.held_parts] if numbers is None else numbers
        return tuple([await sink.put_part(one, self.piece(one, sink.part_size_bytes)) for one in wanted])

    async def leave(
        self,
        store: BaseArtifactStore,
        numbers: Sequence[int] = (3, 1),
        *,
        options: WriteOptions = NO_OPTIONS,
        resume: Resume | None = None,
        keeps: bool = True,
        error: type[BaseException] = Interrupted,
    ) -> Left:
        """A writer that puts some parts and is ended by an exception."""
        left: Left | None = None
        with pytest.raises(error):
            async with store.open_parts(_PATH, len(self.content), options, resume=resume) as sink:
                assert sink.resume_token is not None
                if keeps:
                    await sink.keep()
                left = Left(sink.resume_token, await self.put_all(sink, numbers))
                raise error()
        assert left is not None
        return left

    async def go_on(
        self, store: BaseArtifactStore, resume: Resume, *, options: WriteOptions = NO_OPTIONS
    ) -> tuple[Mapping[int, int], FileStat]:
        """Put what is missing and publish; what was held, and what was told of the file."""
        async with store, store.open_parts(_PATH, len(self.content), options, resume=resume) as sink:
            held = dict(sink.held_parts)
            await self.put_all(sink)
        return held, sink.result()

    async def is_kept(self) -> bool:
        """Whether anything unfinished lies at the place."""
        return bool([*await self.raw_uploads(), *await self.raw_temporaries()])

    async def is_gone(self, store: BaseArtifactStore, left: Left) -> None:
        """The store cannot go on with it, says so before any part is put, and nothing lies at the place."""
        with pytest.raises(UploadGone):
            async with store.open_parts(_PATH, len(self.content), NO_OPTIONS, resume=left.resume):
                pytest.fail("it went on with what is gone")
        await self.no_litter_stays()

    # ---- a store that cannot ---------------------------------------------------------------------------------

    async def test_where_nothing_can_be_gone_on_with_asking_for_it_is_refused(self, store: BaseArtifactStore) -> None:
        if store.capabilities.continued_parts:
            return  # the other rules say what holds then
        async with store.open_parts(_PATH, 1, NO_OPTIONS) as sink:
            assert (sink.resume_token, dict(sink.held_parts)) == (None, {})
            with pytest.raises(UnsupportedOperation):
                await sink.keep()
            await sink.put_part(1, b"x")
        with pytest.raises(UnsupportedOperation):
            async with store.open_parts(_PATH, 1, NO_OPTIONS, resume=Resume("{}")):
                pass
        with pytest.raises(UnsupportedOperation):
            await store.drop_parts(_PATH, "{}")
        assert await self.files_of(store) == {_PATH: b"x"}

    async def test_what_nothing_names_is_not_kept(self, store: BaseArtifactStore) -> None:
        """An empty file has no part to go on with."""
        async with store.open_parts("empty", 0, NO_OPTIONS) as sink:
            assert sink.resume_token is None
            with pytest.raises(UnsupportedOperation):
                await sink.keep()
        assert await self.files_of(store) == {"empty": b""}

    # ---- going on --------------------------------------------------------------------------------------------

    async def test_another_store_goes_on_with_what_was_kept(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        options = self.kept_options(await store.probe_capabilities())
        async with store.open_parts("whole", len(self.content), options) as sink:
            await self.put_all(sink)
        whole = sink.result()
        left = await self.leave(store, options=options)
        assert await self.files_of(store) == {"whole": self.content}
        held, told = await self.go_on(other, left.resume, options=options)
        assert held == left.sizes
        assert (told.uri, told.size_bytes) == (self.uri(store, _PATH), len(self.content))
        assert told.checksums == whole.checksums, "as if it had been written by one"
        assert await self.raw_read(self.uri(store, _PATH)) == self.content
        assert self.says_what_was_kept(await store.stat(_PATH), options)
        await self.no_litter_stays()

    async def test_what_was_not_written_down_is_not_claimed(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        """The journal may lag: a service knows its parts without it, a directory does not."""
        if not store.capabilities.continued_parts:
            return  # see above
        await self.raw_write(self.uri(store, _PATH), b"old")
        left = await self.leave(store)
        assert await self.files_of(store) == {_PATH: b"old"}
        held, told = await self.go_on(other, Resume(left.token))
        assert held in (left.sizes, {})
        assert await self.files_of(store) == {_PATH: self.content}
        found = await store.stat(_PATH)
        for name, value in told.checksums.items():
            assert found.checksums.get(name, value) == value
        await self.no_litter_stays()

    async def test_it_is_left_and_gone_on_with_many_times(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        first = await self.leave(store, [2])
        second = await self.leave(other, [1], resume=first.resume)
        assert second.token == first.token
        both = Left(first.token, first.parts + second.parts)
        held, _ = await self.go_on(other, both.resume)
        assert held == both.sizes
        assert await self.files_of(store) == {_PATH: self.content}
        await self.no_litter_stays()

    async def test_a_part_can_be_put_again(self, store: BaseArtifactStore, other: BaseArtifactStore) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        left = await self.leave(store, [1])
        async with other, other.open_parts(_PATH, len(self.content), NO_OPTIONS, resume=left.resume) as sink:
            await self.put_all(sink, [1])
            await self.put_all(sink)
        assert await self.files_of(store) == {_PATH: self.content}
        await self.no_litter_stays()

    async def test_the_token_is_text_that_holds_no_secret(self, store: BaseArtifactStore) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        left = await self.leave(store, [1])
        assert left.token.isascii()
        assert left.token.isprintable()
        assert [secret for secret in self.secret_texts if secret in left.token] == []
        await store.drop_parts(_PATH, left.token)

    # ---- what ends it ----------------------------------------------------------------------------------------

    async def test_what_was_not_kept_is_gone(self, store: BaseArtifactStore, other: BaseArtifactStore) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        left = await self.leave(store, keeps=False)
        await self.no_litter_stays()
        await self.is_gone(other if self.drops_aborted_parts else store, left)
        await other.close()

    async def test_who_goes_on_with_it_must_keep_it_again(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        left = await self.leave(store)
        async with other:
            await self.leave(other, [2], resume=left.resume, keeps=False)
            await self.is_gone(other, left)

    @pytest.mark.parametrize("grouped", [False, True])
    @pytest.mark.parametrize("error", [SourceChanged, ChecksumMismatch])
    async def test_a_source_that_changed_and_damage_drop_what_was_kept(
        self, store: BaseArtifactStore, error: type[StoreError], grouped: bool
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above

        def failure() -> BaseException:
            return BaseExceptionGroup("of tasks", [error("at its source")]) if grouped else error("at its source")

        left: Left | None = None
        with pytest.raises((error, BaseExceptionGroup)):
            async with store.open_parts(_PATH, len(self.content), NO_OPTIONS) as sink:
                await sink.keep()
                left = Left(sink.resume_token or "", await self.put_all(sink, [1]))
                raise failure()
        assert left is not None
        await self.is_gone(store, left)

    async def test_missing_parts_drop_what_was_kept(self, store: BaseArtifactStore) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        left: Left | None = None
        with pytest.raises(SourceChanged):
            async with store.open_parts(_PATH, len(self.content), NO_OPTIONS) as sink:
                await sink.keep()
                left = Left(sink.resume_token or "", await self.put_all(sink, [1]))
        assert left is not None
        assert await self.raw_list() == []
        await self.is_gone(store, left)

    async def test_a_file_that_came_meanwhile_stays_and_what_was_kept_goes(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        capabilities = await store.probe_capabilities()
        if not capabilities.continued_parts or not capabilities.exclusive_create:
            return  # see above, and the declared gaps
        only_new = WriteOptions(if_none_match=True)
        left = await self.leave(store, options=only_new)
        with pytest.raises((AlreadyExists, PreconditionFailed)):
            async with other, other.open_parts(_PATH, len(self.content), only_new, resume=left.resume) as sink:
                await sink.keep()
                await self.put_all(sink)
                await self.raw_write(self.uri(store, _PATH), b"another's")
        assert await self.files_of(store) == {_PATH: b"another's"}
        await self.no_litter_stays()

    async def test_what_was_published_is_not_gone_on_with(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        async with store.open_parts(_PATH, len(self.content), NO_OPTIONS) as sink:
            await sink.keep()
            left = Left(sink.resume_token or "", await self.put_all(sink))
        await self.no_litter_stays()
        async with other:
            await self.is_gone(other, left)
            await other.drop_parts(_PATH, left.token)
        assert await self.files_of(store) == {_PATH: self.content}

    async def test_a_completion_that_nobody_heard_of_is_found_only_by_its_own_parts(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        async with store.open_parts(_PATH, len(self.content), NO_OPTIONS) as sink:
            await sink.keep()
            token, put = sink.resume_token or "", await self.put_all(sink)
        # What a journal writes down of them.
        parts = tuple(Part(one.number, one.size_bytes, md5=one.md5, crc32c=one.crc32c) for one in put)
        async with other:
            found = await other.find_completed(_PATH, Resume(token, parts))
            assert (found is not None) == self.proves_completions
            if found is not None:
                assert (found.uri, found.size_bytes) == (self.uri(store, _PATH), len(self.content))
            assert await other.find_completed(_PATH, Resume(token, parts[:-1])) is None
            await self.raw_write(self.uri(store, _PATH), self.content[::-1])
            assert await other.find_completed(_PATH, Resume(token, parts)) is None
            await other.remove(_PATH)
            assert await other.find_completed(_PATH, Resume(token, parts)) is None

    async def test_what_is_dropped_is_gone_and_dropping_it_again_is_no_error(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        await self.raw_write(self.uri(store, _PATH), b"old")
        left = await self.leave(store)
        async with other:
            await other.drop_parts(_PATH, left.token)
            await other.drop_parts(_PATH, left.token)
            await self.is_gone(other, left)
        assert await self.files_of(store) == {_PATH: b"old"}

    async def test_what_is_of_another_file_is_refused_and_stays_kept(
        self, store: BaseArtifactStore, other: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        left = await self.leave(store)
        named = json.loads(left.token)
        size, changed = len(self.content), json.dumps({**named, "part_size_bytes": named["part_size_bytes"] * 2})
        cases: list[tuple[str, int, str]] = [
            (_PATH, size + 1, left.token),
            (_PATH, 0, left.token),
            ("dir/another", size, left.token),
            (_PATH, size, changed),
            (_PATH, size, json.dumps({**named, "v": 2})),
            (_PATH, size, json.dumps({**named, "upload_id": 7})),
            (_PATH, size, "{}"),
            (_PATH, size, "no JSON"),
        ]
        async with other:
            for path, wanted, token in cases:
                with pytest.raises(UploadGone):
                    async with other.open_parts(path, wanted, NO_OPTIONS, resume=Resume(token)):
                        pytest.fail(f"it went on with {token}")
            for path, token in (("dir/another", left.token), (_PATH, "{}"), (_PATH, "no JSON")):
                with pytest.raises(UploadGone):
                    await other.drop_parts(path, token)
            held, _ = await self.go_on(other, left.resume)
        assert held == left.sizes
        assert await self.files_of(store) == {_PATH: self.content}
        await self.no_litter_stays()

    # ---- cancellation ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("form", ["scope", "task"])
    async def test_a_cancellation_keeps_what_is_kept_and_leaves_no_task(
        self, store: BaseArtifactStore, other: BaseArtifactStore, form: Literal["scope", "task"]
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        before = asyncio.all_tasks()
        lefts: list[Left] = []
        written = anyio.Event()

        async def write() -> None:
            async with store.open_parts(_PATH, len(self.content), NO_OPTIONS) as sink:
                await sink.keep()
                lefts.append(Left(sink.resume_token or "", await self.put_all(sink, [2])))
                written.set()
                await anyio.sleep_forever()

        async def write_in_a_scope() -> None:
            with scope:
                await write()

        scope = anyio.CancelScope()
        task = asyncio.get_running_loop().create_task(write_in_a_scope() if form == "scope" else write())
        task.add_done_callback(lambda _: written.set())  # where it fails, too
        await written.wait()
        (scope if form == "scope" else task).cancel()
        await asyncio.wait({task})
        await no_task_beyond(before, store)
        assert await self.is_kept()
        held, _ = await self.go_on(other, lefts[0].resume)
        assert held == lefts[0].sizes
        assert await self.files_of(store) == {_PATH: self.content}
        await self.no_litter_stays()

    async def test_whenever_it_is_cancelled_it_is_dropped_by_its_token_or_nothing_was_kept(
        self, store: BaseArtifactStore
    ) -> None:
        if not store.capabilities.continued_parts:
            return  # see above
        whole = await self._cancelled_while_kept(store, None)
        for at in spread(whole, _POINTS):
            await self._cancelled_while_kept(store, at)
        assert await store.exists("afterwards") is False

    async def _cancelled_while_kept(self, store: BaseArtifactStore, at: int | None) -> int:
        """One run, cancelled at one of its suspensions; how many it had."""
        tokens: list[str] = []

        async def write() -> None:
            async with store.open_parts(_PATH, len(self.content), NO_OPTIONS) as sink:
                tokens.append(sink.resume_token or "")
                await sink.keep()
                async with anyio.create_task_group() as tasks:
                    for number in (1, 2):
                        tasks.start_soon(self.put_all, sink, [number])
                raise Interrupted

        async def interrupted() -> None:
            try:
                await write()
            except Interrupted:
                return

        before: set[asyncio.Task[Any]] = asyncio.all_tasks()
        suspensions = Suspensions(at)
        await suspensions.run(interrupted, "scope")
        await no_task_beyond(before, store)
        assert await self.raw_list() == []
        for token in tokens:
            await store.drop_parts(_PATH, token)
        await self.no_litter_stays()
        return suspensions.seen
