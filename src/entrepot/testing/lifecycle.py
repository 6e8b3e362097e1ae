"""The store contract, lifecycle: closing, event loops, pickling, what is shown, what a configuration takes."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from entrepot.components import StackComponentType
from entrepot.errors import ConfigurationError, NotFound, StoreError
from entrepot.paths import scheme_of
from entrepot.testing.rules import LARGE, StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore


class UseRules(StoreRules):
    """What holds of a store beside its files, through both faces."""

    async def test_a_store_can_be_closed_twice_and_used_after(self, store: BaseArtifactStore) -> None:
        await store.write_bytes("f", b"one")
        await store.close()
        await store.close()
        assert await store.read_bytes("f") == b"one"
        async with store as entered:
            assert entered is store
            await store.write_bytes("g", b"two")
        assert await store.read_bytes("g") == b"two"
        await store.close()

    async def test_many_operations_at_once(self, store: BaseArtifactStore) -> None:
        wrong: list[int] = []

        async def write_and_read(number: int) -> None:
            data = b"%d" % number
            await store.write_bytes(f"many/{number}", data)
            if await store.read_bytes(f"many/{number}") != data:
                wrong.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(write_and_read, number)
        assert wrong == []
        assert len(await store.listdir("many")) == 100

    async def test_no_secret_is_shown(self, store: BaseArtifactStore) -> None:
        with pytest.raises(NotFound) as caught:
            await store.read_bytes("missing")
        shown = [repr(store), str(store), json.dumps(store.describe(), default=str), str(caught.value)]
        shown += [repr(caught.value), repr(vars(caught.value)), repr(store.config), str(store.config)]
        for secret in self.secret_texts:
            assert [text for text in shown if secret in text] == []
        assert store.path in repr(store)

    async def test_errors_survive_pickling(self, store: BaseArtifactStore) -> None:
        with pytest.raises(NotFound) as caught:
            await store.stat("missing")
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # packed here
        assert type(again) is type(caught.value)
        assert (str(again), again.uri, again.errno) == (str(caught.value), caught.value.uri, caught.value.errno)


class LifecycleRules(UseRules):
    """What a store is beside its files."""

    # ---- closing and loops ---------------------------------------------------------------------------------

    async def test_two_loops_in_two_threads_share_one_store(self, store: BaseArtifactStore) -> None:
        async def work(name: str) -> list[bytes]:
            found = []
            for number in range(5):
                await store.write_bytes(f"{name}/{number}", f"{name} {number}".encode())
                async with store.open(f"{name}/{number}", "rb") as file:
                    found.append(await file.read())
            await store.close()
            return found

        def in_a_loop_of_its_own(name: str) -> list[bytes]:
            return asyncio.run(work(name))

        def in_two_threads() -> dict[str, list[bytes]]:
            with ThreadPoolExecutor(2) as threads:
                names = ["left", "right"]
                return dict(zip(names, threads.map(in_a_loop_of_its_own, names), strict=True))

        found = await anyio.to_thread.run_sync(in_two_threads)
        assert found == {name: [f"{name} {number}".encode() for number in range(5)] for name in ("left", "right")}
        assert sorted(await work("here")) == [f"here {number}".encode() for number in range(5)]

    async def test_a_store_outlives_a_loop_that_ended_without_closing_it(self, store: BaseArtifactStore) -> None:
        async def use() -> None:
            await store.write_bytes("f", b"content")

        for _ in range(3):
            await anyio.to_thread.run_sync(asyncio.run, use())
        assert await store.read_bytes("f") == b"content"

    async def test_no_task_stays_behind(self, store: BaseArtifactStore) -> None:
        before = asyncio.all_tasks()
        await store.write_bytes("dir/f", LARGE)
        assert await store.read_bytes("dir/f") == LARGE
        await self.scanned(store)
        await self.walked(store)
        await store.rmtree("dir")
        await store.close()
        await anyio.lowlevel.checkpoint()
        assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()

    @pytest.mark.parametrize("turns", [1, 3, 10])
    async def test_a_cancelled_operation_leaves_the_store_usable(self, store: BaseArtifactStore, turns: int) -> None:
        await self.fill(store, ["dir/a", "dir/b"])
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.read_bytes("dir/a"),
            lambda: store.write_bytes("dir/c", LARGE),
            lambda: store.listdir("dir"),
            lambda: store.stat("missing"),
            lambda: self.scanned(store),
            lambda: self.walked(store),
            lambda: store.copyfile("dir/a", "dir/d", overwrite=True),
        ]
        for call in calls:
            async with anyio.create_task_group() as tasks:

                async def run(call: Callable[[], Awaitable[object]] = call) -> None:
                    with suppress(NotFound):
                        await call()

                tasks.start_soon(run)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        assert await store.read_bytes("dir/b") == b"dir/b"
        await self.no_litter_stays()

    # ---- pickling and secrets ------------------------------------------------------------------------------

    async def test_a_pickled_store_is_the_same_place_and_carries_no_secret(
        self, store: BaseArtifactStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.write_bytes("f", b"content")
        packed = pickle.dumps(store)
        for secret in self.secret_texts:
            assert secret.encode() not in packed
        self.give_credentials(monkeypatch)
        again = pickle.loads(packed)  # noqa: S301  # packed above
        assert type(again) is type(store)
        assert again.path == store.path
        try:
            assert await again.read_bytes("f") == b"content"
        finally:
            await again.close()

    # ---- configuration -------------------------------------------------------------------------------------

    async def test_a_flavor_says_what_it_is(self, store: BaseArtifactStore) -> None:
        assert store.TYPE is StackComponentType.ARTIFACT_STORE
        assert store.FLAVOR
        scheme = scheme_of(store.path)
        assert (f"{scheme}://" if scheme else "") in store.SUPPORTED_SCHEMES
        assert not store.path.endswith("/")
        assert "path" in type(store).configuration_keys()

    async def test_an_unknown_option_names_the_nearest(self, store: BaseArtifactStore) -> None:
        for known in type(store).configuration_keys():
            with pytest.raises(ConfigurationError) as caught:
                type(store)(store.path, **{known + "x": "value-not-shown"})
            assert known in str(caught.value)
            assert "value-not-shown" not in str(caught.value)

    async def test_an_unsupported_scheme_names_the_supported(self, store: BaseArtifactStore) -> None:
        with pytest.raises(ConfigurationError) as caught:
            type(store)("nosuch://place/path")
        for scheme in store.SUPPORTED_SCHEMES:
            assert (scheme or "plain path") in str(caught.value)

    @pytest.mark.parametrize("below", ["a//b", "a/../b", "a\nb"])
    async def test_a_root_that_cannot_be_kept_is_refused(self, store: BaseArtifactStore, below: str) -> None:
        if scheme_of(store.path) is None:
            return  # a folder's path is the system's own: relative ones are taken, and `..` means what it means there
        with pytest.raises(StoreError):
            type(store)(f"{store.path}/{below}", **self._options(store))

    async def test_a_root_with_a_trailing_slash_is_the_same_place(
        self, store: BaseArtifactStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.give_credentials(monkeypatch)
        same = type(store)(store.path + "/", **self._options(store))
        assert same.path == store.path

    @staticmethod
    def _options(store: BaseArtifactStore) -> dict[str, object]:
        public = {**store._public_configuration()}
        public.pop("path", None)
        return public
