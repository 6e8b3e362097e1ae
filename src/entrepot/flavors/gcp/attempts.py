"""What differs between the two ways to speak to Cloud Storage: single requests, each one attempt.

`GcpClient` has the rules that hold for both; `wire` and `sdk` make the requests.
"""

from __future__ import annotations

import logging
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from entrepot.errors import (
    AlreadyExists,
    ContainerNotFound,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
    StoreError,
)
from entrepot.flavors.gcp.faults import did_nothing
from entrepot.flavors.gcp.replies import Rewritten
from entrepot.flavors.gcp.requests import DEFAULT_TYPE, WRITE_ID, Doomed, Piece, Settings, Source
from entrepot.flavors.gcp.resumable import Chunk
from entrepot.models import GIB, KIB, MIB, Buffer, Capabilities, Limits, ObjectStat, WriteOptions
from entrepot.objects.client import user_metadata
from entrepot.services.client import ServiceClient, Unsure
from entrepot.services.faults import ErrorReply

T = TypeVar("T")
_log = logging.getLogger(__name__)

LIMITS: Final = Limits(
    part_min_bytes=256 * KIB,
    part_max_bytes=1024 * MIB,
    put_max_bytes=5 * GIB,
    copy_max_bytes=5 * 1024**4,
    delete_batch=100,
)
"""put_max_bytes: the service takes 5 TiB, in one request that nothing can resume.

Source: Cloud Storage, "Quotas and limits": objects of 5 TiB, batches of 100.
"""

GOOGLE_CAPABILITIES: Final = Capabilities(
    conditional_write=True, conditional_delete=True, presign=True, versions=True, continued_parts=True
)
"""What Cloud Storage documents: conditions on writes, deletes, copies and compositions, markers, versions."""

OTHER_CAPABILITIES: Final = Capabilities(
    exclusive_create=None, exclusive_copy=False, conditional_write=None, empty_directories=None,
    metadata=None, content_type=None, etags=None, presign=True, versions=True,
    continued_parts=True,
)  # fmt: skip
"""An emulator: what it keeps is asked for, and conditions on copies and on uploads in parts are not relied on."""

NO_OBJECT: Final = "0"
"""The generation of what is not there."""


class Overtaken(ServiceUnavailable):
    """Between two attempts of one write another writer's object came; the next attempt looks again."""


class GcpAttempts(ServiceClient):
    """One bucket. Each method with an underscore makes one attempt, and raises members of `StoreError`.

    In them `generation` is what must be there now: `0` for nothing, None for whatever is.
    """

    SCHEME = "gs"

    def __init__(self, bucket: str, *, settings: Settings, **service: Any) -> None:
        super().__init__(bucket, limits=LIMITS, **service)
        self._settings = settings

    @property
    def keeps_conditions(self) -> bool:
        """Whether the service is known to keep conditions on every request, not only on writes in one request."""
        return self.capabilities.exclusive_copy is True

    # ---- one request, one attempt -----------------------------------------------------------------

    @abstractmethod
    async def _head(self, key: str, version: str | None) -> ObjectStat: ...
    @abstractmethod
    async def _put(
        self,
        key: str,
        data: Buffer,
        options: WriteOptions,
        crc32c: int,
        generation: str | None,
        *,
        temporary: bool = False,
    ) -> ObjectStat: ...
    @abstractmethod
    async def _delete_if(self, doomed: Doomed) -> None: ...
    @abstractmethod
    async def _delete_many(self, doomed: Sequence[Doomed]) -> dict[int, ErrorReply]:
        """What each of them came to, by its place; a status below 300 is a success."""

    @abstractmethod
    async def _rewrite(
        self, source: Source, key: str, described: Mapping[str, Any] | None, generation: str | None, token: str | None
    ) -> Rewritten: ...
    @abstractmethod
    async def _source_description(self, source: Source) -> dict[str, Any]: ...
    @abstractmethod
    async def _compose(
        self,
        key: str,
        pieces: Sequence[Piece],
        options: WriteOptions,
        generation: str | None,
        *,
        temporary: bool = False,
    ) -> ObjectStat: ...
    @abstractmethod
    async def _create_session(self, key: str, options: WriteOptions, generation: str | None) -> str:
        """A new resumable upload: path and query to send its bytes to."""

    @abstractmethod
    async def _send_chunk(
        self, key: str, session: str, chunk: Chunk | None, options: WriteOptions, crc32c: int | None
    ) -> int | ObjectStat:
        """Send bytes, or ask how the session stands: how much the service holds, or the object that it has become."""

    @abstractmethod
    async def _cancel_session(self, key: str, session: str) -> None: ...
    @abstractmethod
    async def _list_versions(self, key: str, token: str | None) -> tuple[list[ObjectStat], str | None]: ...
    @abstractmethod
    async def _create_bucket(self, project: str) -> None: ...

    async def _delete(self, key: str, if_match: str | None = None) -> None:
        await self._delete_if(Doomed(key, if_match))

    # ---- what a lost reply means ------------------------------------------------------------------

    async def look(self, key: str) -> ObjectStat | None:
        """What is at a key, the id of its conditional write included; None where nothing is. One attempt."""
        try:
            return await self._head(key, None)
        except ContainerNotFound:
            raise
        except NotFound:
            return None

    async def settled(
        self,
        key: str,
        write: Callable[[str | None], Awaitable[T]],
        recognise: Callable[[ObjectStat], Awaitable[T | None]],
        condition: str | None = None,
    ) -> T:
        """One write, with its retries and with what a lost reply means.

        write: one attempt, of a condition. recognise: what the write would have told, if the object seen is its own.
        condition: the caller's own, which every attempt carries. Without one the first attempt has none; after an
        attempt whose reply was lost the object is looked at: one that is ours is success, else the next attempt
        carries the generation that was seen, so that it never replaces what another writer wrote since.
        """
        unsure = Unsure()

        async def attempt() -> T:
            expected = condition
            if unsure.lost:
                seen = await self.look(key)
                known = await recognise(seen) if seen is not None else None
                if known is not None:
                    return known
                if condition is None:
                    expected = seen.etag if seen is not None else NO_OBJECT
            try:
                return await write(expected)
            except StoreError as error:
                # Looking each time would be a request more to a service that asks for fewer.
                if condition is not None or not did_nothing(error):
                    unsure.note(error)
                if condition is None and expected is not None and isinstance(error, AlreadyExists | PreconditionFailed):
                    raise Overtaken(
                        "another writer's object came between two attempts; write again",
                        operation=error.operation,
                        uri=self.uri(key),
                    ) from error
                raise

        try:
            return await self._retried(attempt)
        except StoreError as error:
            if not unsure.settles(error):
                raise
            seen = await self._retried(lambda: self.look(key))
            known = await recognise(seen) if seen is not None else None
            if known is None:
                raise
            _log.warning("the reply to a write of %s was lost; the object is ours", self.uri(key))
            return known


def is_generation(etag: str) -> bool:
    """Whether an object of this service can have that etag: `0` would be no object, and ask for what a new one asks."""
    return etag.isascii() and etag.isdecimal() and not etag.startswith("0")


def condition_of(options: WriteOptions, uri: str) -> str | None:
    """The generation that a write asks for. Raises: PreconditionFailed for what no object of this service can be."""
    if options.if_none_match:
        return NO_OBJECT
    if options.if_match is not None and not is_generation(options.if_match):
        raise PreconditionFailed(
            "if_match is no generation, so no object here is that; take the etag that stat tells",
            operation="put",
            uri=uri,
        )
    return options.if_match


def with_write_id(options: WriteOptions) -> WriteOptions:
    """The options of a conditional write, with an id by which its object is known as ours.

    Equal bytes would not do: two writers of one lock file write the same.
    """
    return replace(options, metadata={**options.metadata, WRITE_ID: secrets.token_hex(8)})


def without_write_id(stat: ObjectStat) -> ObjectStat:
    """As it is shown."""
    if WRITE_ID not in stat.metadata:
        return stat
    return replace(stat, metadata={name: value for name, value in stat.metadata.items() if name != WRITE_ID})


def is_written(stat: ObjectStat, size_bytes: int, crc32c: str | None, options: WriteOptions) -> bool:
    """Whether an object is what a write of these bytes and options leaves, and so a lost reply a success."""
    wanted = {name.lower(): value for name, value in user_metadata(options).items()}
    return (
        stat.size_bytes == size_bytes
        and (crc32c is None or stat.checksums.get("crc32c") == crc32c)
        and dict(stat.metadata) == wanted
        and (stat.content_type or DEFAULT_TYPE) == (options.content_type or DEFAULT_TYPE)
    )


def recognised(
    size_bytes: int, crc32c: str | None, options: WriteOptions
) -> Callable[[ObjectStat], Awaitable[ObjectStat | None]]:
    """What `GcpAttempts.settled` recognises the object of such a write by."""

    async def recognise(seen: ObjectStat) -> ObjectStat | None:
        return seen if is_written(seen, size_bytes, crc32c, options) else None

    return recognise
