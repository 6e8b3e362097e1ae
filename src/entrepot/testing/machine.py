"""Random sequences of operations on a store and on its model, which must answer alike.

    class TestMyModel(MyHooks, StoreModelContract):
        @pytest.fixture
        def make_store(self):
            return lambda: MyArtifactStore(path=f"mine://{self.look_into_a_new_place()}")

The sequences are the same in every run (`derandomize`), and a failing one is shortened by hypothesis and printed.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from pathlib import PurePosixPath
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from entrepot.blocking import SyncArtifactStore
from entrepot.contract import BaseArtifactStore
from entrepot.errors import InvalidPath, StoreError
from entrepot.models import Capabilities
from entrepot.paths import StrPath
from entrepot.testing.model import ModelTree, Refused, Unspecified, parents
from entrepot.testing.names import REFUSED_PATHS
from entrepot.testing.parity import AwaitedStore
from entrepot.testing.rules import StoreRules

T = TypeVar("T")

PATHS: Final = ("a", "a/b", "a/b/c", "a/b.c", "ab", "a b", "b", "b/a", "b/\u00e9 %41+#?", "a/b/c/d")
"""Few, and in each other's way: prefixes, parents, and what is sorted between a name and its slash."""

PATTERNS: Final = ("**", "*", "a/*", "**/b", "**/c", "a*", "*/*", "a/**", "?/b*", "b/a", "a/b/**/d")

TREES: Final = ((), ("a", "b/a"), ("a/b", "ab", "b"), ("a/b/c", "a/b.c", "b/a"))
"""What is there at the beginning, written behind the store's back."""


ANYWHERE = st.sampled_from((*PATHS, ""))
# Half of the paths are of what is there, or few operations would do anything.
FILES = st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.model.files) or PATHS)) | ANYWHERE
DIRECTORIES = (
    st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.model.directories()) or PATHS)) | ANYWHERE
)
ENTRIES = FILES | DIRECTORIES
DATA = st.sampled_from((b"", b"x", b"some bytes", b"\r\n\xff\x00"))
OVERWRITE = st.booleans()
SPELLINGS = st.sampled_from(("path", "uri", "slash", "bytes", "object"))


class Interrupted(Exception):
    """What ends a write before its end."""


class StoreMachine(RuleBasedStateMachine):
    """One store and its model; every rule does the same to both."""

    def __init__(self, rules: StoreModelContract, store: BaseArtifactStore, capabilities: Capabilities) -> None:
        super().__init__()
        self.hooks, self.store = rules, store
        self.model = ModelTree(capabilities, beside=rules.keeps_file_beside_directory)
        self._changed = False

    @initialize(files=st.sampled_from(TREES))
    def begin(self, files: tuple[str, ...]) -> None:
        self.run(self.hooks.fill(self.store, files))
        for path in files:
            self.model.write(path, path.encode())

    # ---- one step ------------------------------------------------------------------------------------------

    def run(self, awaited: Awaitable[T]) -> T:
        async def one() -> T:
            return await awaited

        return self.hooks.loop.run(one())

    def same(self, expected: Callable[[], T], actual: Callable[[], Awaitable[T]]) -> bool:
        """Do it to the model, then to the store; whether it was done and not refused."""
        try:
            wanted = expected()
        except Unspecified:
            return False
        except Refused as refusal:
            self._refuses(refusal, actual)
            return False
        found = self.run(actual())
        assert found == wanted
        return True

    def _refuses(self, refusal: Refused, actual: Callable[[], Awaitable[object]]) -> None:
        try:
            self.run(actual())
        except StoreError as error:
            assert isinstance(error, refusal.kinds), f"not {refusal}, but {type(error).__name__}: {error}"  # noqa: PT017
            return
        assert refusal.may_pass, f"done, where it should have been refused: {refusal}"

    def change(self, expected: Callable[[], None], actual: Callable[[], Awaitable[object]], *paths: str) -> None:
        """A step that changes the tree. paths: what it takes away."""
        before = self.model.directories()
        self._changed = True

        async def done() -> None:
            await actual()

        if self.same(expected, done) and not (self.model.real or self.hooks.markers_stay):
            self._ask_which_ended(before, paths)

    def _ask_which_ended(self, before: set[str], paths: Iterable[str]) -> None:
        above = {parent for path in paths for parent in parents(path)} & before
        for directory in sorted(above, reverse=True):
            if not self.model.holds_a_file(directory):
                self.model.made.discard(directory)
                if self.run(self.store.isdir(directory)):
                    self.model.made.add(directory)

    def spelled(self, path: str, how: str) -> StrPath:
        """One of the ways to write a path."""
        uri = StoreRules.uri(self.store, path)
        ways: dict[str, StrPath] = {"path": path, "uri": uri, "bytes": path.encode(), "slash": path and f"{path}/"}
        return PurePosixPath(path) if how == "object" and path else ways.get(how, path)

    # ---- looking -------------------------------------------------------------------------------------------

    @rule(path=ENTRIES, how=SPELLINGS)
    def look(self, path: str, how: str) -> None:
        spelled, store, model = self.spelled(path, how), self.store, self.model

        async def stat() -> tuple[bool, int]:
            found = await store.stat(spelled)
            assert found.uri == StoreRules.uri(store, path)
            return found.is_dir, found.size_bytes

        self.same(lambda: model.exists(path), lambda: store.exists(spelled))
        self.same(lambda: model.is_dir(path), lambda: store.isdir(spelled))
        self.same(lambda: model.stat(path), stat)
        self.same(lambda: model.size(path), lambda: store.size(spelled))
        self.same(lambda: model.listdir(path), lambda: store.listdir(spelled))
        self.same(lambda: model.read_bytes(path), lambda: store.read_bytes(spelled))

    @rule(path=FILES, start=st.integers(0, 12), length=st.none() | st.integers(0, 12))
    def read(self, path: str, start: int, length: int | None) -> None:
        stop = None if length is None else start + length

        async def read_through_a_file() -> bytes:
            async with self.store.open(path, "rb") as file:
                return await file.read(3) + await file.read()

        self.same(lambda: self.model.read_bytes(path), read_through_a_file)
        self.same(lambda: self.model.read_range(path, start, stop), lambda: self.store.read_range(path, start, stop))

    @rule(top=DIRECTORIES, topdown=st.booleans(), pattern=st.sampled_from(PATTERNS))
    def list_what_is_there(self, top: str, topdown: bool, pattern: str) -> None:
        self.same(
            lambda: self.model.walk(top, topdown=topdown), lambda: StoreRules.walked(self.store, top, topdown=topdown)
        )
        self.same(lambda: self.model.glob(pattern), lambda: StoreRules.globbed(self.store, pattern))
        self.same(lambda: self.model.scan(top, recursive=False), lambda: self.scanned(top, recursive=False))
        self.same_scan(top)

    async def scanned(self, path: str, *, recursive: bool) -> list[tuple[str, bool]]:
        """What `scan` tells, as the model does."""
        start = len(self.store.path) + 1
        async with aclosing(self.store.scan(path, recursive)) as entries:
            found = [entry async for entry in entries]
        for entry in found:
            size = 0 if entry.is_dir else len(self.model.files[entry.uri[start:]])
            assert entry.size_bytes == size
        return sorted(((entry.uri[start:], entry.is_dir) for entry in found), key=_order)

    def same_scan(self, path: str) -> None:
        if self.model.real or self.hooks.markers_stay:
            self.same(lambda: self.model.scan(path, recursive=True), lambda: self.scanned(path, recursive=True))
            return
        # Where the place has directories of its own, it may tell of any; of empty ones it must, or a copy loses them.
        try:
            told = self.model.scan(path, recursive=True)
        except Refused as refusal:
            self._refuses(refusal, lambda: self.scanned(path, recursive=True))
            return
        found = self.run(self.scanned(path, recursive=True))
        assert [one for one in found if not one[1]] == [one for one in told if not one[1]]
        told_directories = {one for one, is_dir in found if is_dir}
        empty = {one for one, is_dir in told if is_dir and not any(self.model.children(one))}
        assert empty <= told_directories <= self.model.directories()

    # ---- writing -------------------------------------------------------------------------------------------

    @rule(path=FILES, data=DATA, how=SPELLINGS)
    def write_bytes(self, path: str, data: bytes, how: str) -> None:
        self.change(lambda: self.model.write(path, data), lambda: self.store.write_bytes(self.spelled(path, how), data))

    @rule(path=ENTRIES, data=DATA, mode=st.sampled_from("wxa"))
    def open_to_write(self, path: str, data: bytes, mode: str) -> None:
        async def write() -> None:
            async with self.store.open(path, f"{mode}b") as file:
                await file.write(data)

        self.change(lambda: self.model.write(path, data, mode), write)

    @rule(path=FILES, data=DATA, mode=st.sampled_from("wxa"), end=st.sampled_from(("raise", "abort", "drop")))
    def give_up_a_write(self, path: str, data: bytes, mode: str, end: str) -> None:
        def expected() -> None:
            try:
                self.model.can_open(path, mode)
            except Refused as refusal:
                # Whether something is in the way may be looked at only when the file is published.
                raise Refused(*refusal.kinds, may_pass=True) from None

        async def write() -> None:
            if end == "raise":
                with suppress(Interrupted):
                    async with self.store.open(path, f"{mode}b") as file:
                        await file.write(data)
                        raise Interrupted
                return
            file = await self.store.open(path, f"{mode}b")
            await file.write(data)
            if end == "abort":
                await file.abort()
                return
            del file
            gc.collect()
            await self.store.exists(path)

        self.change(expected, write, path)
        if self.model.real:
            # Its parents may have been made when it was opened; taking them away could take them from somebody else.
            for parent in parents(path):
                if not self.model.exists(parent) and self.run(self.store.isdir(parent)):
                    self.model.made.add(parent)

    @rule(path=DIRECTORIES, how=SPELLINGS)
    def mkdir(self, path: str, how: str) -> None:
        self.change(lambda: self.model.mkdir(path), lambda: self.store.mkdir(self.spelled(path, how)))

    @rule(path=DIRECTORIES, how=SPELLINGS)
    def makedirs(self, path: str, how: str) -> None:
        self.change(lambda: self.model.makedirs(path), lambda: self.store.makedirs(self.spelled(path, how)))

    # ---- removing, copying, moving -------------------------------------------------------------------------

    @rule(path=ENTRIES, how=SPELLINGS)
    def remove(self, path: str, how: str) -> None:
        self.change(lambda: self.model.remove(path), lambda: self.store.remove(self.spelled(path, how)), path)

    @rule(path=ENTRIES, allow_root=st.booleans())
    def rmtree(self, path: str, allow_root: bool) -> None:
        self.change(
            lambda: self.model.rmtree(path, allow_root=allow_root),
            lambda: self.store.rmtree(path, allow_root=allow_root),
            path,
        )

    @rule(src=FILES, dst=ANYWHERE, overwrite=OVERWRITE)
    def copyfile(self, src: str, dst: str, overwrite: bool) -> None:
        self.change(
            lambda: self.model.copyfile(src, dst, overwrite=overwrite),
            lambda: self.store.copyfile(src, dst, overwrite=overwrite),
        )

    @rule(src=ENTRIES, dst=ANYWHERE, overwrite=OVERWRITE)
    def rename(self, src: str, dst: str, overwrite: bool) -> None:
        self.change(
            lambda: self.model.rename(src, dst, overwrite=overwrite),
            lambda: self.store.rename(src, dst, overwrite=overwrite),
            src,
        )

    # ---- bad paths -----------------------------------------------------------------------------------------

    @rule(path=st.sampled_from(REFUSED_PATHS))
    def refuse_a_bad_path(self, path: str) -> None:
        store = self.store
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.exists(path),
            lambda: store.listdir(path),
            lambda: store.write_bytes(path, b"x"),
            lambda: store.makedirs(path),
            lambda: store.rename("a", path),
            lambda: store.rmtree(path),
        ]
        for call in calls:
            self._refuses(Refused(InvalidPath), call)

    # ---- the whole tree ------------------------------------------------------------------------------------

    @invariant()
    def the_trees_are_equal(self) -> None:
        if self._changed and self.hooks.compares_after_every_step:
            self._changed = False
            self.compare()

    def compare(self) -> None:
        """The whole tree: behind the store's back, and by each way to list it."""
        assert self.run(self.hooks.files_of(self.store)) == self.model.files
        self.same_scan("")
        self.same(lambda: self.model.walk(""), lambda: StoreRules.walked(self.store))
        self.same(lambda: self.model.glob("**"), lambda: StoreRules.globbed(self.store, "**"))

    def teardown(self) -> None:
        self.compare()
        self.run(self.hooks.no_litter_stays())
        self.run(self.store.close())
        if isinstance(self.store, AwaitedStore):
            self.store.end()


def _order(entry: tuple[str, bool]) -> bytes:
    path, is_dir = entry
    return (f"{path}/" if is_dir else path).encode()


class StoreModelContract(StoreRules):
    """Sequences of operations have the outcomes that a dictionary has; a subclass gives `make_store` and the raw hooks.

    The long form is marked `nightly`: register that marker, and deselect it with `-m "not nightly"`.
    """

    model_examples: ClassVar[int] = 60
    """How many sequences one test tries; a few for a slow server."""
    model_steps: ClassVar[int] = 30
    """How many operations a sequence has at most."""
    compares_after_every_step: ClassVar[bool] = True
    """Whether the whole tree is looked at after each change, else at the end of a sequence."""
    markers_stay: ClassVar[bool] = True
    """Where directories are implied: one that was made stays without its files, and another ends with its last one.
    If not, the place decides which of them end, and the model asks it."""

    loop: asyncio.Runner

    @pytest.fixture
    def make_store(self) -> Callable[[], BaseArtifactStore]:
        """Makes a new, empty store each time, and lets the raw hooks look into it; called once a sequence."""
        raise NotImplementedError("give a fixture `make_store`")

    def _try_sequences(self, make: Callable[[], BaseArtifactStore], *, examples: int, steps: int) -> None:
        how = settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        with asyncio.Runner() as self.loop:
            capabilities: list[Capabilities] = []

            def machine() -> StoreMachine:
                store = make()
                if not capabilities:
                    capabilities.append(self.loop.run(store.probe_capabilities()))
                return StoreMachine(self, store, capabilities[0])

            run_state_machine_as_test(machine, settings=how)  # type: ignore[arg-type]  # a factory will do

    def test_sequences_of_operations_do_what_the_model_does(self, make_store: Callable[[], BaseArtifactStore]) -> None:
        self._try_sequences(make_store, examples=self.model_examples, steps=self.model_steps)

    def test_sequences_through_the_blocking_face_do_what_the_model_does(self, make_store: Callable[[], Any]) -> None:
        def make() -> BaseArtifactStore:
            return AwaitedStore(SyncArtifactStore(make_store()))

        self._try_sequences(make, examples=max(1, self.model_examples // 4), steps=self.model_steps)

    @pytest.mark.nightly
    @pytest.mark.timeout(1800)
    def test_long_sequences_do_what_the_model_does(self, make_store: Callable[[], BaseArtifactStore]) -> None:
        self._try_sequences(make_store, examples=self.model_examples * 10, steps=2 * self.model_steps)
