"""What every theme of the store contract builds on: the hooks of a flavor's test, and what it declares."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar, Final

import anyio
import pytest

from entrepot.models import MIB, Capabilities, FileStat, WriteOptions

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore

LARGE: Final = bytes(range(256)) * (18 * MIB // 256) + b"and an odd end"
"""More than two parts of every service."""

_SETTLING_TIME_S: Final = 10.0


class StoreRules:
    """Hooks and declarations; a flavor's test overrides them, the themes use them.

    The raw hooks look at the place itself and must not use the store under test.
    """

    pytestmark = pytest.mark.anyio

    # ---- what a place cannot do, although the contract would let it; each override links its reason ----

    keeps_file_beside_directory: ClassVar[bool] = True
    """Where directories are implied: `a` and `a/b` can both be files. If not, writing the second is a StoreError."""
    survives_a_conflict: ClassVar[bool] = True
    """False where the place loses sight of a directory once a file of its name was refused."""
    tells_etags: ClassVar[bool] = True
    """`stat` tells an etag of every file; without it, a file that is replaced by one of its size is not noticed."""
    drops_aborted_parts: ClassVar[bool] = True
    """An upload that is given up leaves no parts. If not, the service drops them by itself, later, and nothing of them
    is seen meanwhile.
    """
    proves_completions: ClassVar[bool] = True
    """What a file is made of can be told from its parts; if not, a completion that nobody heard of is not known."""
    uploads_side_by_side: ClassVar[bool] = True
    """Uploads of one key do not disturb each other. If not, one is a Conflict where another write ended before it."""
    unkept_names: ClassVar[frozenset[str]] = frozenset()
    """Those of `names.ODD_NAMES` that the place refuses; writing them is a StoreError."""
    continued_from_bytes: ClassVar[int] = len(LARGE)
    """How large a file is at least that another process can go on with, where `Capabilities.continued_parts`."""
    folds_names: ClassVar[bool] = False
    """True where the place takes names that differ in case or in Unicode's normal form for one."""
    foreign_names: ClassVar[Sequence[str]] = ()
    """Names that the contract refuses, and that `raw_write` can make all the same (`a//b`)."""
    many_files: ClassVar[int] = 1_030
    """How many files a test of several pages makes: more than one page holds."""
    secret_texts: Sequence[str] = ()
    """What must never be shown; the `store` fixture may set it on the instance."""

    # ---- hooks --------------------------------------------------------------------------------------------

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def store(self) -> BaseArtifactStore:
        """An empty store that no other test uses; the fixture may be async, and closes it."""
        raise NotImplementedError("give a fixture `store`")

    async def raw_read(self, uri: str) -> bytes:
        """The content of the file at this address."""
        raise NotImplementedError

    async def raw_write(self, uri: str, data: bytes) -> None:
        """Make a file, and its parents where they are real."""
        raise NotImplementedError

    async def raw_exists(self, uri: str) -> bool:
        """Whether a file is at this address."""
        raise NotImplementedError

    async def raw_list(self) -> list[str]:
        """The addresses of all files of the store, without directories and markers, sorted."""
        raise NotImplementedError

    async def raw_uploads(self) -> list[str]:
        """What is left of unfinished multipart uploads."""
        return []

    async def raw_temporaries(self) -> list[str]:
        """What is left of unfinished writes of other kinds."""
        return []

    def give_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the credentials where an unpickled store looks for them; nothing where none are needed."""

    # ---- what the themes share -----------------------------------------------------------------------------

    @pytest.fixture
    async def capabilities(self, store: BaseArtifactStore) -> Capabilities:
        """What the store can do, nothing unknown."""
        return await store.probe_capabilities()

    @staticmethod
    def uri(store: BaseArtifactStore, path: str) -> str:
        """The full address of a path below the root."""
        return f"{store.path}/{path}" if path else store.path

    @staticmethod
    def kept_options(capabilities: Capabilities) -> WriteOptions:
        """Metadata and a content type, as far as the store keeps them."""
        return WriteOptions(
            metadata={"color": "blue", "run-id": "7 a/b"} if capabilities.metadata else {},
            content_type="text/csv" if capabilities.content_type else None,
        )

    @staticmethod
    def says_what_was_kept(found: FileStat, options: WriteOptions) -> bool:
        """Whether `stat` tells the metadata and the type of these options."""
        kept = {name: found.metadata.get(name) for name in options.metadata}
        return kept == dict(options.metadata) and options.content_type in (None, found.content_type)

    async def fill(self, store: BaseArtifactStore, paths: Iterable[str]) -> None:
        """Make files behind the store's back; the content of each is its path."""
        for path in paths:
            await self.raw_write(self.uri(store, path), path.encode())

    async def files_of(self, store: BaseArtifactStore) -> dict[str, bytes]:
        """All files as they really are: path below the root → content."""
        start = len(store.path) + 1
        return {uri[start:]: await self.raw_read(uri) for uri in await self.raw_list()}

    @staticmethod
    async def scanned(store: BaseArtifactStore, path: str = "", *, recursive: bool = True) -> dict[str, FileStat]:
        """What `scan` tells: path below the root → FileStat; the same address twice is an error."""
        found: dict[str, FileStat] = {}
        async with aclosing(store.scan(path, recursive)) as entries:
            async for entry in entries:
                assert entry.uri.startswith(store.path + "/")
                assert entry.uri not in found
                found[entry.uri[len(store.path) + 1 :]] = entry
        return found

    @staticmethod
    async def globbed(store: BaseArtifactStore, pattern: str) -> list[str]:
        """What `glob` finds, as paths below the root."""
        async with aclosing(store.glob(pattern)) as found:
            uris = [uri async for uri in found]
        assert all(uri.startswith(store.path + "/") for uri in uris)
        return [uri[len(store.path) + 1 :] for uri in uris]

    @staticmethod
    async def walked(
        store: BaseArtifactStore, top: str = "", *, topdown: bool = True
    ) -> list[tuple[str, list[str], list[str]]]:
        """What `walk` yields, with paths below the root, and a copy of each list as it was."""
        async with aclosing(store.walk(top, topdown)) as levels:
            return [
                (directory[len(store.path) + 1 :], list(directories), list(files))
                async for directory, directories, files in levels
            ]

    async def nothing_was_lost(self, store: BaseArtifactStore, paths: set[str]) -> None:
        """The files made by `fill` are there and read as before, and nothing is beside them."""
        if self.survives_a_conflict:
            assert await self.files_of(store) == {path: path.encode() for path in paths}
        await self.no_litter_stays()

    async def no_litter_stays(self) -> None:
        """What a dropped write left behind is gone; where it cannot be awaited, within seconds."""
        deadline = time.monotonic() + _SETTLING_TIME_S
        while True:
            uploads = await self.raw_uploads() if self.drops_aborted_parts else []
            left = [*uploads, *await self.raw_temporaries()]
            if not left or time.monotonic() > deadline:
                break
            await anyio.sleep(0.05)
        assert left == []
