"""Uploads in parts by one resumable session each: parts in order, nothing visible before the last byte is in."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from typing import Final

from entrepot.errors import BadResponse, NotFound, PreconditionFailed, ServiceError, StoreError, UnsupportedOperation
from entrepot.flavors.gcp.attempts import GcpAttempts, condition_of, is_written
from entrepot.flavors.gcp.requests import Doomed
from entrepot.flavors.gcp.resumable import Chunk, OddReply, Progress
from entrepot.models import Buffer, ObjectStat, Part, Upload, WriteOptions
from entrepot.services.checksums import crc32c_aside, crc32c_hex

_log = logging.getLogger(__name__)

SESSION: Final = "session-"
"""How the ids of these uploads begin. The service's own address of a session is a secret, and stays in here."""


@dataclass(slots=True)
class _Session:
    """One upload under way, known to this client only: the service lists no sessions. target: where its bytes go."""

    upload: Upload
    target: str = field(repr=False)
    progress: Progress = field(default_factory=Progress)
    parts: list[Part] = field(default_factory=list)
    fault: str = ""


class SessionUploads:
    """The uploads of one client. What the service was sent and has acknowledged is kept here until their end.

    Memory: less than 256 KiB an upload between two parts, and one part meanwhile.
    """

    def __init__(self, client: GcpAttempts) -> None:
        self._client = client
        self._open: dict[str, _Session] = {}

    async def create(self, key: str, options: WriteOptions, size_bytes: int | None) -> Upload:
        """Begin an upload. Requests: 1."""
        client = self._client
        condition = condition_of(options, client.uri(key))
        target = await client._retried(lambda: client._create_session(key, options, condition))
        upload = Upload(key, SESSION + secrets.token_hex(16), options, size_bytes, in_order=True)
        self._open[upload.upload_id] = _Session(upload, target)
        return upload

    def _opened(self, upload: Upload, operation: str) -> _Session:
        session = self._open.get(upload.upload_id)
        where = {"operation": operation, "uri": self._client.uri(upload.key)}
        if session is None:
            raise NotFound("the upload is gone: ended, or begun by another client; write again", **where)
        if session.fault:
            raise ServiceError(f"{session.fault}; write again", **where)
        return session

    async def put_part(self, upload: Upload, number: int, data: Buffer) -> Part:
        """Send one part, the next one. Requests: 1, and for each reply that is lost or acknowledges less, 1 or 2.

        Raises: UnsupportedOperation for a part that is not the next; NotFound where the session is gone; ServiceError
        where the service contradicts what was sent. After any error, and a cancellation, the upload cannot go on.
        """
        crc32c = await crc32c_aside(data)
        session = self._opened(upload, "put_part")
        if number != len(session.parts) + 1:
            raise UnsupportedOperation(
                f"the parts of this upload come in order: part {len(session.parts) + 1} is next, not {number}",
                operation="put_part",
                uri=self._client.uri(upload.key),
            )
        # Its bytes are given once: neither a second call meanwhile nor one after a cancellation may give them again.
        session.fault = f"part {number} was not put to its end"
        session.progress.give(data, crc32c)
        await self._push(session, last=False)
        session.progress.keep()
        session.fault = ""
        part = Part(number, len(data), crc32c_hex(crc32c), crc32c=crc32c)
        session.parts.append(part)
        return part

    async def complete(self, upload: Upload, parts: list[Part]) -> ObjectStat:
        """Send what is left, and with it the CRC32C of the whole, which the service compares before it publishes.

        Requests: 1. A lost reply is settled by asking the session.
        """
        session = self._opened(upload, "complete_upload")
        if parts != session.parts:
            raise ServiceError(
                "the parts are not those that were written; write again",
                operation="complete_upload",
                uri=self._client.uri(upload.key),
            )
        try:
            stat = await self._push(session, last=True)
        except NotFound:
            # Once it has published, a service may forget the session before its reply is heard.
            progress = session.progress
            seen = await self._client._retried(lambda: self._client.look(upload.key)) if progress.unsure else None
            if seen is None or not is_written(seen, progress.size_bytes, f"{progress.crc32c:08x}", upload.options):
                raise
            _log.warning("the reply to the completion of %s was lost; the object is ours", self._client.uri(upload.key))
            stat = seen
        assert stat is not None
        del self._open[upload.upload_id]
        return stat

    async def _push(self, session: _Session, *, last: bool) -> ObjectStat | None:
        """Send until less than a chunk is left, or with `last` until the object is there."""
        while True:
            chunk = session.progress.next_chunk(last=last)
            if chunk is None:
                return None
            try:
                stat = await self._client._retried(lambda chunk=chunk: self._step(session, chunk))  # type: ignore[misc]
            except OddReply as odd:
                await self._give_up(session, str(odd))
                raise ServiceError(
                    f"{odd}; nothing was published, write again",
                    operation="complete_upload" if last else "put_part",
                    uri=self._client.uri(session.upload.key),
                ) from odd
            except StoreError as error:
                session.fault = f"an earlier part failed ({type(error).__name__})"
                if last and error.retryable:
                    session.fault = ""  # completing may be tried again: the session knows what it has
                raise
            if stat is not None:
                return stat

    async def _step(self, session: _Session, chunk: Chunk) -> ObjectStat | None:
        """One attempt to bring the session forward; the object, once it is there. Raises: OddReply."""
        progress, upload, client = session.progress, session.upload, self._client
        if progress.unsure:
            told = await client._send_chunk(upload.key, session.target, None, upload.options, None)
            progress.unsure = False
            if isinstance(told, ObjectStat) or progress.acknowledge(told):
                return await self._ended(session, told, last=chunk.is_last)
        progress.unsure = True
        whole = progress.crc32c if chunk.is_last else None
        try:
            told = await client._send_chunk(upload.key, session.target, chunk, upload.options, whole)
        except StoreError as error:
            progress.unsure = error.retryable or isinstance(error, NotFound)
            raise
        progress.unsure = False
        if isinstance(told, ObjectStat) or progress.acknowledge(told):
            return await self._ended(session, told, last=chunk.is_last)
        raise BadResponse(
            "the service acknowledges none of the bytes sent", operation="put_part", uri=client.uri(upload.key)
        )

    async def _ended(self, session: _Session, told: int | ObjectStat, *, last: bool) -> ObjectStat | None:
        """The object, if that is what was told, and if it can be what was sent."""
        if not isinstance(told, ObjectStat):
            return None
        try:
            session.progress.published(told.size_bytes, told.checksums.get("crc32c"), last=last)
        except OddReply:
            await self._withdraw(session.upload.key, told)
            raise
        return told

    async def _withdraw(self, key: str, stat: ObjectStat) -> None:
        """Remove what the service published and should not have, unless another object is there by now."""
        client = self._client
        try:
            await client._retried(lambda: client._delete_if(Doomed(key, stat.etag)))
        except (NotFound, PreconditionFailed):
            return
        except StoreError as error:
            _log.warning("a damaged object stays at %s: %s", client.uri(key), error)

    async def _give_up(self, session: _Session, why: str) -> None:
        session.fault = why
        try:
            await self._client._cancel_session(session.upload.key, session.target)
        except StoreError as error:
            _log.debug("a session could not be cancelled (%s); the service drops it after a week", type(error).__name__)

    async def abort(self, upload: Upload) -> None:
        """Drop the upload; one that is unknown here is gone. Requests: 1."""
        session = self._open.pop(upload.upload_id, None)
        if session is not None:
            client = self._client
            await client._retried(lambda: client._cancel_session(upload.key, session.target))

    async def parts(self, upload: Upload) -> list[Part]:
        """The parts that were taken. Raises: NotFound."""
        return list(self._opened(upload, "list_parts").parts)

    def uploads(self, prefix: str) -> list[Upload]:
        """The uploads under way in this client."""
        return [one.upload for one in list(self._open.values()) if one.upload.key.startswith(prefix)]
