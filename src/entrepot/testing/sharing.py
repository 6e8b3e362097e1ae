"""The store contract, what only services have: presigned URLs, and versions."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

import anyio
import anyio.to_thread
import pytest

from entrepot.errors import NotFound, UnsupportedOperation
from entrepot.models import Capabilities, PresignMethod
from entrepot.testing.rules import StoreRules

if TYPE_CHECKING:
    from entrepot.contract import BaseArtifactStore


def _asked(method: str, url: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
    # A type of its own: the standard library would send another, which some servers take for a form.
    given = {"Content-Type": "application/octet-stream", **headers} if data is not None else dict(headers)
    request = urllib.request.Request(url, data=data, headers=given, method=method)  # noqa: S310  # of our own server
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class SharingRules(StoreRules):
    """`presign`, `list_versions`, `read_version`: kept, or declared missing and then refused."""

    checks_presigned: ClassVar[bool] = True
    """False where the server takes a presigned URL without a look at its signature and time."""
    presigned_put_headers: ClassVar[Mapping[str, str]] = {}
    """What the service wants from whoever writes by a URL."""
    keeps_versions: ClassVar[bool] = False
    """True where `store` is in a container that keeps the versions of its files."""

    @staticmethod
    async def ask(method: str, url: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Use a URL as anyone would, without credentials: status and body."""
        return await anyio.to_thread.run_sync(_asked, method, url, data, headers)

    # ---- presigned URLs ------------------------------------------------------------------------------------

    async def test_a_presigned_url_reads_without_credentials(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        if not capabilities.presign:
            return  # the rules of what is declared missing say what holds then
        await store.write_bytes("dir/a b+%41é", b"content")
        url = await store.presign("dir/a b+%41é")
        for secret in self.secret_texts:
            assert secret not in url
        assert await self.ask("GET", url) == (200, b"content")
        status, body = await self.ask("HEAD", await store.presign("dir/a b+%41é", "HEAD", 60))
        assert (status, body) == (200, b"")

    async def test_a_presigned_url_writes_and_deletes(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        if not capabilities.presign:
            return  # as above
        url = await store.presign("new", "PUT")
        status, _ = await self.ask("PUT", url, b"sent by anyone", **self.presigned_put_headers)
        assert status in {200, 201}
        assert await store.read_bytes("new") == b"sent by anyone"
        status, _ = await self.ask("DELETE", await store.presign("new", "DELETE"))
        assert status in {200, 202, 204}
        assert not await store.exists("new")

    async def test_a_presigned_url_is_good_for_its_method_file_and_time_alone(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        await store.write_bytes("one", b"1")
        await store.write_bytes("two", b"2")
        if not capabilities.presign:
            return  # as above
        if not self.checks_presigned:
            assert (await self.ask("GET", await store.presign("one", expires_s=1)))[0] == 200
            return
        brief, url = await store.presign("one", expires_s=1), await store.presign("one")
        assert (await self.ask("GET", url.replace("/one?", "/two?")))[0] in {400, 401, 403}
        assert (await self.ask("DELETE", url))[0] in {400, 401, 403, 405}
        await anyio.sleep(2.1)  # the time of a URL is whole seconds, and the clock is the server's
        assert (await self.ask("GET", brief))[0] in {400, 401, 403}
        assert await store.read_bytes("one") == b"1"

    async def test_a_presigned_url_that_cannot_be_is_refused_before_any_request(self, store: BaseArtifactStore) -> None:
        for method, expires_s in (("GET", 0), ("GET", -1), ("GET", 604_801), ("POST", 60), ("get", 60)):
            with pytest.raises((ValueError, UnsupportedOperation)):
                await store.presign("a", cast("PresignMethod", method), expires_s)
        with pytest.raises(ValueError):  # noqa: PT011  # InvalidPath
            await store.presign("a//b")

    # ---- versions ------------------------------------------------------------------------------------------

    async def test_versions_are_told_newest_first_and_can_be_read(
        self, store: BaseArtifactStore, capabilities: Capabilities
    ) -> None:
        for content in (b"oldest", b"older", b"now"):
            await store.write_bytes("f", content)
        await store.write_bytes("f.other", b"x")
        if not capabilities.versions:
            return  # the rules of what is declared missing say what holds then
        found = await store.list_versions("f")
        expected = [b"now", b"older", b"oldest"] if self.keeps_versions else [b"now"]
        assert {one.uri for one in found} == {self.uri(store, "f")}
        assert [one.size_bytes for one in found] == [len(content) for content in expected]
        assert [await store.read_version("f", one.version or "") for one in found] == expected
        assert await store.list_versions("missing") == []

    async def test_a_removed_file_has_its_versions(self, store: BaseArtifactStore, capabilities: Capabilities) -> None:
        await store.write_bytes("f", b"gone")
        await store.remove("f")
        if not capabilities.versions:
            return  # as above
        found = await store.list_versions("f")
        assert [await store.read_version("f", one.version or "") for one in found] == [b"gone"] * self.keeps_versions
        with pytest.raises(NotFound):
            await store.read_bytes("f")
