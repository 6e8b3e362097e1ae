"""What every theme of the object client's rules builds on: what a subclass gives and declares."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import pytest

from entrepot.models import ListPage

if TYPE_CHECKING:
    from entrepot.objects.client import ObjectClient

TEXT = b"0123456789"


class ClientRules:
    """What a subclass gives and declares."""

    pytestmark = pytest.mark.anyio

    creates_exclusively: ClassVar[bool] = True
    """`put(if_none_match)` of an existing key is refused by the server."""
    writes_conditionally: ClassVar[bool] = True
    """`put(if_match)` of another etag is refused by the server."""
    keeps_metadata: ClassVar[bool] = True
    keeps_content_type: ClassVar[bool] = True
    tells_multipart_etag: ClassVar[bool] = True
    """HEAD tells an etag of an object that was written in parts."""
    multipart_etag_stays: ClassVar[bool] = True
    """What `complete_upload` tells as the etag is what HEAD tells later."""
    replaces_parts: ClassVar[bool] = True
    """The last write of a part wins; if not, the second is a StoreError."""
    writes_parts_in_order: ClassVar[bool] = False
    """An upload of unknown size is `in_order`; then a part out of order is UnsupportedOperation."""
    repeats_prefixes: ClassVar[bool] = False
    """Pages with a delimiter may name a prefix that an earlier page named."""
    copies_parts: ClassVar[bool] = True
    """`copy_part` works; if not, it is UnsupportedOperation."""
    pins_copy_sources: ClassVar[bool] = True
    """`copy(source_etag)` of a changed source is refused by the server."""
    unkept_names: ClassVar[frozenset[str]] = frozenset()
    """Those of `ODD_NAMES` that the server refuses to store."""
    secret_texts: Sequence[str] = ()
    """What must not be seen in a repr or an error; a fixture may set it on the instance."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def client(self) -> ObjectClient:
        """A client of a container that exists; other tests may write to it, below other prefixes."""
        raise NotImplementedError("give a fixture `client`")

    @pytest.fixture
    def client_of_nothing(self) -> ObjectClient:
        """A client of a container that does not exist."""
        pytest.skip("the subclass gives no client of a missing container")

    @pytest.fixture
    def prefix(self) -> str:
        return f"c-{secrets.token_hex(6)}/"

    @staticmethod
    async def listed(client: ObjectClient, prefix: str, **how: object) -> list[ListPage]:
        """All pages, with a bound on their number."""
        pages: list[ListPage] = []
        token = None
        for _ in range(100):
            page = await client.list_page(prefix, token=token, **how)  # type: ignore[arg-type]  # passed through
            pages.append(page)
            token = page.next_token
            if token is None:
                return pages
        raise AssertionError("the listing does not end")

    @classmethod
    async def keys_below(cls, client: ObjectClient, prefix: str) -> list[str]:
        return [found.key for page in await cls.listed(client, prefix) for found in page.objects]
