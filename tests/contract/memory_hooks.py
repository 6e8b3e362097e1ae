"""Looks into the memory flavor behind the store's back."""

from __future__ import annotations

from entrepot.flavors.memory import MemoryClient
from entrepot.paths import split_uri
from entrepot.testing.rules import StoreRules


class MemoryHooks(StoreRules):
    """raw: a client of the same container. root: the key of the store's root. The fixture of the store sets both."""

    raw: MemoryClient
    root: str

    async def raw_read(self, uri: str) -> bytes:
        return bytes((await self.raw.get(split_uri(uri)[2])).data)

    async def raw_write(self, uri: str, data: bytes) -> None:
        await self.raw.put(split_uri(uri)[2], data)

    async def raw_exists(self, uri: str) -> bool:
        return uri in await self.raw_list()

    async def raw_list(self) -> list[str]:
        found: list[str] = []
        token: str | None = ""
        while token is not None:
            page = await self.raw.list_page(f"{self.root}/", token=token)
            found += [self.raw.uri(one.key) for one in page.objects if not one.key.endswith("/")]
            token = page.next_token
        return found

    async def raw_uploads(self) -> list[str]:
        return [one.key for one in await self.raw.list_uploads()]
