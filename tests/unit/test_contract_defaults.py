"""A flavor of nothing but what is abstract: the defaults of the base class make a whole store of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.contract import BaseArtifactStore
from entrepot.copies import copy
from entrepot.models import MIB
from entrepot.paths import StrPath
from entrepot.testing import ArtifactStoreContract
from plain_store import PlainStore

PLACES: dict[str, PlainStore] = {}


class SharedStore(PlainStore):
    """Stores of one root see the same files, as those of a service do."""

    def __init__(self, path: StrPath, **configuration: Any) -> None:
        super().__init__(path, **configuration)
        self.__dict__ = PLACES.setdefault(self.path, self).__dict__


class TestAFlavorOfThirteenMethods(ArtifactStoreContract):
    many_files = 100
    cancellation_points = None
    shares_files_between_processes = False

    @pytest.fixture
    def store(self, unique_prefix: str) -> Iterator[BaseArtifactStore]:
        self.place = SharedStore(f"plain://place/{unique_prefix}")
        yield self.place
        PLACES.pop(self.place.path)

    async def raw_read(self, uri: str) -> bytes:
        return self.place.files[self.place.root.relative(uri)]

    async def raw_write(self, uri: str, data: bytes) -> None:
        self.place.put(self.place.root.relative(uri), data)

    async def raw_exists(self, uri: str) -> bool:
        return self.place.root.relative(uri) in self.place.files

    async def raw_list(self) -> list[str]:
        return sorted(map(self.place.uri, self.place.files), key=str.encode)


@pytest.mark.anyio
async def test_a_flavor_of_thirteen_methods_works_in_copy(tmp_path: Path) -> None:
    sizes = {"a é": 1, "empty": 0, "deep/b": 100_000, "deep/large": 40 * MIB}
    for name, size in sizes.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(b"%d" % (size % 10) * size)
    (tmp_path / "src" / "no files").mkdir()
    store = PlainStore()
    there = await copy(tmp_path / "src", (store, "sub"))
    assert (there.files, there.bytes, there.directories, there.failed) == (4, sum(sizes.values()), 1, ())
    found = {path: len(data) for path, data in store.files.items()}
    assert found == {f"sub/{name}": size for name, size in sizes.items()}
    back = await copy((store, "sub"), tmp_path / "back")
    assert (back.files, back.bytes, back.failed) == (4, sum(sizes.values()), ())
    for name in sizes:
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "src" / name).read_bytes()
    assert (tmp_path / "back" / "no files").is_dir()
    within = await copy((store, "sub"), (store, "again"))
    assert (within.files, within.failed) == (4, ())
