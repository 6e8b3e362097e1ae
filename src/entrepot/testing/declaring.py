"""The store contract, declared gaps: what `Capabilities` says is missing is refused, before anything is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import pytest

from entrepot.errors import NotFound, UnsupportedOperation
from entrepot.models import Capabilities, WriteOptions
from entrepot.testing.rules import StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore


@dataclass(frozen=True)
class Asked:
    """One way to ask for a capability, at the path `f`."""

    capability: str
    how: str
    call: Callable[[BaseArtifactStore], Awaitable[object]]


async def _open(store: BaseArtifactStore, mode: str, options: WriteOptions | None = None) -> None:
    async with store.open("f", mode, options=options) as file:
        await file.write(b"new")


async def _open_parts(store: BaseArtifactStore, options: WriteOptions) -> None:
    async with store.open_parts("f", 3, options) as sink:
        await sink.put_part(1, b"new")


_ONLY_NEW: Final = WriteOptions(if_none_match=True)
_PINNED: Final = WriteOptions(if_match="0123456789abcdef0123456789abcdef")
_METADATA: Final = WriteOptions(metadata={"color": "blue"})
_TYPE: Final = WriteOptions(content_type="text/csv")

ASKED: Final = (
    Asked("append", "open a", lambda store: _open(store, "ab")),
    Asked("exclusive_create", "open x", lambda store: _open(store, "xb")),
    Asked("exclusive_create", "write_bytes", lambda store: store.write_bytes("f", b"new", _ONLY_NEW)),
    Asked("conditional_write", "open w", lambda store: _open(store, "wb", _PINNED)),
    Asked("conditional_write", "write_bytes", lambda store: store.write_bytes("f", b"new", _PINNED)),
    Asked("metadata", "open w", lambda store: _open(store, "wb", _METADATA)),
    Asked("metadata", "write_bytes", lambda store: store.write_bytes("f", b"new", _METADATA)),
    Asked("content_type", "open w", lambda store: _open(store, "wb", _TYPE)),
    Asked("content_type", "write_bytes", lambda store: store.write_bytes("f", b"new", _TYPE)),
    Asked("presign", "presign GET", lambda store: store.presign("f")),
    Asked("presign", "presign PUT", lambda store: store.presign("f", "PUT")),
    Asked("versions", "list_versions", lambda store: store.list_versions("f")),
    Asked("versions", "read_version", lambda store: store.read_version("f", "1")),
)

ASKED_OF_PORTS: Final = (
    Asked("exclusive_create", "open_parts", lambda store: _open_parts(store, _ONLY_NEW)),
    Asked("conditional_write", "open_parts", lambda store: _open_parts(store, _PINNED)),
)

TOLD_BY_OTHER_RULES: Final = {
    "atomic_rename": "a rename is made all the same, by copies",
    "conditional_delete": "a rename is made all the same, after a look at its source",
    "directories": "`test_an_implied_directory_is_told_by_its_files_alone`",
    "empty_directories": "`test_an_empty_directory_that_is_not_kept_is_made_in_silence`",
    "exclusive_copy": "the copy is made all the same, after a look",
    "multipart": "parts are taken all the same, one after another",
    "etags": "`test_without_etags_nothing_can_be_pinned`",
    "continued_parts": "`test_where_nothing_can_be_gone_on_with_asking_for_it_is_refused`",
    "links": "`test_links_are_not_asked_for_where_there_are_none`",
}
"""Capabilities whose absence changes how something is done, and refuses nothing."""


class DeclarationRules(StoreRules):
    """Every field of `Capabilities`: what is False there cannot be had by any way of asking."""

    def test_every_capability_has_its_rule(self) -> None:
        known = {one.name for one in fields(Capabilities)}
        assert {asked.capability for asked in ASKED} | TOLD_BY_OTHER_RULES.keys() == known

    async def test_no_capability_stays_unknown(self, capabilities: Capabilities) -> None:
        assert [one.name for one in fields(capabilities) if getattr(capabilities, one.name) is None] == []

    @pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked.capability}-{asked.how}")
    @pytest.mark.parametrize("old", [None, b"old"], ids=["over nothing", "over a file"])
    async def test_what_is_declared_missing_is_refused_and_writes_nothing(
        self, store: BaseArtifactStore, capabilities: Capabilities, asked: Asked, old: bytes | None
    ) -> None:
        await self.is_refused(store, capabilities, asked, old)

    async def is_refused(
        self, store: BaseArtifactStore, capabilities: Capabilities, asked: Asked, old: bytes | None
    ) -> None:
        """Asking for what is missing is UnsupportedOperation, and leaves the place as it was."""
        if getattr(capabilities, asked.capability):
            return  # the rules of writing say what holds then
        before = {} if old is None else {"f": old}
        for path, data in before.items():
            await self.raw_write(self.uri(store, path), data)
        with pytest.raises(UnsupportedOperation) as caught:
            await asked.call(store)
        assert caught.value.uri in ("", self.uri(store, "f"))
        assert await self.files_of(store) == before
        await self.no_litter_stays()

    async def test_an_implied_directory_is_told_by_its_files_alone(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        if capabilities.directories == "real":
            return  # the rules of directories say what holds then
        await self.fill(store, ["dir/sub/f"])
        assert await store.isdir("dir/sub")
        assert [path for path, entry in (await self.scanned(store)).items() if entry.is_dir] == []

    async def test_an_empty_directory_that_is_not_kept_is_made_in_silence(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        if capabilities.empty_directories:
            return  # the rules of directories say what holds then
        await store.makedirs("made/below")
        await store.mkdir("made too")
        assert await self.raw_list() == []
        assert not await store.exists("made")

    async def test_without_etags_nothing_can_be_pinned(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        if capabilities.etags:
            return  # the rules of reading say what holds then
        await self.fill(store, ["f"])
        assert (await store.stat("f")).etag is None
        assert {entry.etag for entry in (await self.scanned(store)).values()} == {None}


class PortDeclarationRules(DeclarationRules):
    """The same of what only the async face has: the ports of the bulk copy, and links."""

    @pytest.mark.parametrize("asked", ASKED_OF_PORTS, ids=lambda asked: f"{asked.capability}-{asked.how}")
    @pytest.mark.parametrize("old", [None, b"old"], ids=["over nothing", "over a file"])
    async def test_what_is_declared_missing_is_refused_by_the_ports(
        self, store: BaseArtifactStore, capabilities: Capabilities, asked: Asked, old: bytes | None
    ) -> None:
        await self.is_refused(store, capabilities, asked, old)

    async def test_links_are_not_asked_for_where_there_are_none(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        for name in ("resolve", "disk", "copy_link"):
            assert hasattr(store, name) == capabilities.links
        if capabilities.links:
            with pytest.raises(NotFound):
                await store.resolve("missing")  # type: ignore[attr-defined]  # of stores with links
