"""What there is and what is in it: heads, reads that are verified, listings, and what is a directory.

A directory is a key with a slash at its end, of no bytes. Azure has three kinds of it: a blob of that very name; a
blob of the name without the slash, marked in its metadata, as Hadoop's tools write it; and, in accounts with a
hierarchical namespace, a real one, told by a header. The two last are never read as files.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from entrepot.errors import (
    BadResponse,
    ChecksumMismatch,
    ContainerNotFound,
    InvalidPath,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
)
from entrepot.files import PartChecksum
from entrepot.flavors.azure.address import unkept
from entrepot.flavors.azure.attempts import AzureAttempts
from entrepot.flavors.azure.replies import directory_stat, is_directory, stat_of
from entrepot.models import MIB, ByteRange, FileStat, ListPage, ObjectData, ObjectStat
from entrepot.paths import printable
from entrepot.services.checksums import PartCrc, WholeMd5, crc32c_aside, crc32c_hex, md5_aside, md5_hex
from entrepot.services.download import Download
from entrepot.services.faults import RangeOutside
from entrepot.services.headers import etag_of

_log = logging.getLogger(__name__)


class _AzureDownload(Download):
    __slots__ = ()
    etag_of = staticmethod(etag_of)
    stat_of = staticmethod(stat_of)

    def accept(self, status: int, headers: Mapping[str, str]) -> memoryview | None:
        if is_directory(headers):
            raise NotFound("a directory is there, and no blob")
        if status == 206 and headers.get("content-length") == "0":
            raise RangeOutside  # so Azurite answers for a blob of no bytes, with a range that cannot be read
        return super().accept(status, headers)


class AzureReading(AzureAttempts):
    """`head`, `get`, `list_page`, `list_versions`."""

    def _keepable(self, key: str, operation: str) -> None:
        """Raises: InvalidPath for a key that Azure would take for another, so that it must not be asked for."""
        if "." in key or "\\" in key:
            reason = unkept(key)
            if reason is not None:
                raise InvalidPath(reason, operation=operation, uri=printable(self.uri(key)))

    # ---- heads and directories --------------------------------------------------------------------

    async def head(self, key: str, *, version: str | None = None) -> ObjectStat:
        """As `ObjectClient.head`. Requests: 1, and 1 more for a directory's key that is not there by that name."""
        self._keepable(key, "head")
        if not key.endswith("/"):
            headers = await self._retried(lambda: self._head(key, version))
            if is_directory(headers):
                raise NotFound("a directory is there, and no blob", operation="head", uri=self.uri(key))
            return stat_of(key, headers)
        found = await self._marker(key)
        if found is None:
            raise NotFound("no such directory", operation="head", uri=self.uri(key))
        return found

    async def _marker(self, key: str) -> ObjectStat | None:
        """A directory, of whichever kind. key: with its slash. Requests: 1 or 2."""
        found = await self._head_or_none(key)
        # A hierarchical account may answer for the path without its slash, and that may be a file.
        if found is not None and found.get("x-ms-resource-type") != "file":
            return directory_stat(key, found) if is_directory(found) else stat_of(key, found)
        return await self._directory(key)

    async def _directory(self, key: str) -> ObjectStat | None:
        """A directory of one of the two kinds whose blob has no slash. Requests: 1."""
        if unkept(key):
            return None
        found = await self._head_or_none(key[:-1])
        return directory_stat(key, found) if found is not None and is_directory(found) else None

    async def _head_or_none(self, key: str, version: str | None = None) -> Mapping[str, str] | None:
        try:
            return await self._retried(lambda: self._head(key, version))
        except ContainerNotFound:
            raise
        except NotFound:
            return None

    # ---- bytes ------------------------------------------------------------------------------------

    def _download(
        self, key: str, byte_range: ByteRange | None, if_match: str | None, into: memoryview | None, version: str | None
    ) -> Download:
        self._keepable(key, "get")
        return _AzureDownload(key, byte_range, if_match, into, version)

    async def get(
        self,
        key: str,
        *,
        byte_range: ByteRange | None = None,
        if_match: str | None = None,
        into: memoryview | None = None,
        version: str | None = None,
    ) -> ObjectData:
        """As `ObjectClient.get`. Requests: 1, and a HEAD where an etag does not match: the blob may be gone."""
        try:
            return await super().get(key, byte_range=byte_range, if_match=if_match, into=into, version=version)
        except PreconditionFailed:
            if await self._head_or_none(key, version) is None:
                raise NotFound("no such blob", operation="get", uri=self.uri(key)) from None
            raise

    async def _verified(self, found: ObjectData, download: Download) -> ObjectData:
        """A blob read whole, compared with its Content-MD5, else with the CRC32C that entrepot keeps; read once more
        where it does not match.
        """
        if not download.whole or not found.stat.checksums:
            return found
        matched = await _matching(found)
        if matched is None:
            download.restart()
            second = await self._downloaded(download)
            assert second is not None
            found, matched = second, await _matching(second)
            if matched is None:
                raise ChecksumMismatch(
                    "the bytes do not match the blob's checksum, read twice; it is damaged, or its Content-MD5 was set "
                    "to another value",
                    operation="get",
                    uri=self.uri(download.key),
                )
        stat = found.stat
        if len(matched) == len(stat.checksums):
            return found
        return ObjectData(found.data, replace(stat, checksums=matched))

    def part_checksum(self, file: FileStat, part_size_bytes: int) -> PartChecksum | None:
        if part_size_bytes <= 0:
            return None
        parts = max(1, -(-file.size_bytes // part_size_bytes))
        crc32c = file.checksums.get("crc32c")
        if crc32c is not None:
            return PartCrc("crc32c", crc32c, parts)
        md5 = file.checksums.get("md5")
        return WholeMd5(md5, parts, proves=True) if md5 is not None else None

    # ---- listings ---------------------------------------------------------------------------------

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        token: str | None = None,
        start_after: str = "",
        limit: int | None = None,
    ) -> ListPage:
        """As `ObjectClient.list_page`.

        Requests: 1; another for each page that the service leaves empty. start_after: the service knows no such thing,
        so that pages up to it are read and dropped. What is in a directory that holds nothing, or only directories,
        costs a HEAD more: its own blob may have no slash.
        """
        page = await super().list_page(prefix, delimiter=delimiter, token=token, limit=limit)
        seen = {token}
        while page.next_token is not None and (not (page.objects or page.prefixes) or _before(page, start_after)):
            if page.next_token in seen:
                raise BadResponse("the service repeats a page of the listing", operation="list", uri=self.uri(prefix))
            seen.add(page.next_token)
            page = await super().list_page(prefix, delimiter=delimiter, token=page.next_token, limit=limit)
        if token is None and prefix.endswith("/") and not start_after and _may_lack_its_own(page, prefix):
            page = await self._with_its_own(page, prefix)
        if delimiter == "/":
            page = _folded(page, prefix)
        return _after(page, start_after) if start_after and token is None else page

    async def _with_its_own(self, page: ListPage, prefix: str) -> ListPage:
        try:
            own = await self._directory(prefix)
        except PermissionDenied:
            _log.debug("%s may be listed and not looked at", self.uri(prefix))
            return page
        return page if own is None else replace(page, objects=(own, *page.objects))

    async def list_versions(self, key: str) -> list[ObjectStat]:
        """As `ObjectClient.list_versions`; of a container without versions, what it has."""
        self._keepable(key, "list_versions")

        async def fetch(marker: str | None) -> tuple[list[ObjectStat], str | None]:
            page = await self._list_blobs(key, "", marker, None, "metadata,versions")
            # The name itself is listed before all that it begins.
            beyond = any(one.key not in {key, f"{key}/"} for one in page.objects)
            return [one for one in page.objects if one.key == key], None if beyond else page.next_token

        found: list[ObjectStat] = await self._all_pages(partial(fetch), key)
        # Their names are times: the newest is the largest.
        return sorted(found, key=lambda one: one.version or "", reverse=True)


async def _matching(found: ObjectData) -> Mapping[str, str] | None:
    """The one checksum that was compared and matches; None where it does not."""
    checksums = found.stat.checksums
    md5 = checksums.get("md5")
    if md5 is not None:
        # Small ones without a further hop: this is on the way of every read.
        small = len(found.data) < MIB
        return {"md5": md5} if (md5_hex(found.data) if small else await md5_aside(found.data)) == md5 else None
    kept = checksums["crc32c"]
    return {"crc32c": kept} if crc32c_hex(await crc32c_aside(found.data)) == kept else None


def _may_lack_its_own(page: ListPage, prefix: str) -> bool:
    """Whether the directory that is listed may have a blob of its own that the listing does not tell."""
    objects = page.objects
    if objects and objects[0].key == prefix:
        return False
    return all(one.key.endswith("/") for one in objects)


def _folded(page: ListPage, prefix: str) -> ListPage:
    """A page by a delimiter: directories that are blobs of their own are prefixes, each named once, in order."""
    directories = {one.key for one in page.objects if one.key.endswith("/") and one.key != prefix}
    if not directories:
        return page
    files = tuple(one for one in page.objects if one.key not in directories)
    prefixes = sorted(directories.union(page.prefixes), key=lambda one: one.encode(errors="surrogateescape"))
    return ListPage(files, tuple(prefixes), page.next_token)


def _before(page: ListPage, start_after: str) -> bool:
    if not start_after:
        return False
    names = [one.key for one in page.objects] + list(page.prefixes)
    return bool(names) and max(map(_order, names)) <= _order(start_after)


def _after(page: ListPage, start_after: str) -> ListPage:
    bound = _order(start_after)
    return ListPage(
        tuple(one for one in page.objects if _order(one.key) > bound),
        tuple(one for one in page.prefixes if _order(one) > bound),
        page.next_token,
    )


def _order(name: str) -> bytes:
    return name.encode(errors="surrogateescape")
