"""Uploads in parts by composition: each part is an object of its own, several at once, and the service joins them.

The parts of `dir/name` are temporaries below `dir/.~entrepot-ID/name/`, which listings hide; they are removed when
the object is there, or when the upload is aborted. Source: Cloud Storage, "Composite objects".
"""

from __future__ import annotations

import logging
import re
import secrets
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from entrepot.errors import ChecksumMismatch, NotFound, PreconditionFailed, ServiceError, StoreError
from entrepot.flavors.gcp.attempts import LIMITS, NO_OBJECT, GcpAttempts, condition_of, is_written, recognised
from entrepot.flavors.gcp.removals import Removals
from entrepot.flavors.gcp.requests import Doomed, Piece
from entrepot.models import NO_OPTIONS, Buffer, ObjectStat, Part, Upload, WriteOptions
from entrepot.objects.uploads import LATE_S
from entrepot.objects.waves import REQUESTS, wave
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.services.checksums import combine_crc32c, crc32c_aside, crc32c_hex
from entrepot.services.client import Hashed

_log = logging.getLogger(__name__)

COMPOSED: Final = "compose-"
"""How the ids of these uploads begin."""

_AT_ONCE: Final = 32
"""How many objects one composition joins."""

_LONGER_BYTES: Final = len(f"{TEMPORARY_PREFIX}{'0' * 16}//00000-{'0' * 8}")
_ENDED_KEPT: Final = 1_000
_UNKNOWN: Final = LIMITS.max_parts * 1_000_000
_ID: Final = re.compile(rf"{re.escape(COMPOSED)}[0-9a-f]{{16}}", re.ASCII)
_PART = re.compile(
    rf"(?P<directory>(?:.*/)?){re.escape(TEMPORARY_PREFIX)}(?P<id>[0-9a-f]{{16}})/(?P<name>.+)/"
    r"(?P<number>\d{5}|x)-(?P<write>[0-9a-f]{8})",
    re.DOTALL,
)


def is_composed(upload_id: str) -> bool:
    """Whether that is the id of such an upload."""
    return _ID.fullmatch(upload_id) is not None


def fits(key: str) -> bool:
    """Whether the names of a key's parts are not too long."""
    return bool(key) and not key.endswith("/") and len(key.encode()) + _LONGER_BYTES <= LIMITS.key_max_bytes


class ComposedUploads:
    """The uploads of one client. All that is known of them is in the bucket, so that another process can go on."""

    def __init__(self, client: GcpAttempts, removals: Removals) -> None:
        self._client, self._removals = client, removals
        self._ended: deque[str] = deque(maxlen=_ENDED_KEPT)
        self._given_up: set[str] = set()
        self._begun: dict[str, int] = {}
        """How many temporaries were begun for its parts; where more than it is made of, some lie beside them."""

    @staticmethod
    def create(key: str, options: WriteOptions, size_bytes: int | None) -> Upload:
        """Begin an upload. Requests: none."""
        return Upload(key, COMPOSED + secrets.token_hex(8), options, size_bytes)

    @staticmethod
    def _base(upload: Upload) -> str:
        """What the keys of its temporaries begin with."""
        directory, slash, name = upload.key.rpartition("/")
        return f"{directory}{slash}{TEMPORARY_PREFIX}{upload.upload_id.removeprefix(COMPOSED)}/{name}/"

    def adopt(self, upload: Upload) -> None:
        """Take over an upload that was begun before, by whomever: what lies beside its parts is not known."""
        self._begun[upload.upload_id] = _UNKNOWN

    def _require_open(self, upload: Upload, operation: str) -> None:
        if upload.upload_id in self._ended:
            raise NotFound("the upload has ended; write again", operation=operation, uri=self._client.uri(upload.key))

    async def put_part(self, upload: Upload, number: int, data: Buffer) -> Part:
        """Write one part, under a name of its own, so that the last write of a number wins. Requests: 1."""
        self._require_open(upload, "put_part")
        write = secrets.token_hex(4)
        self._begun[upload.upload_id] = self._begun.get(upload.upload_id, 0) + 1
        hashed = Hashed(await crc32c_aside(data), lambda: crc32c_aside(data))
        try:
            stat = await self._temporary(f"{self._base(upload)}{number:05d}-{write}", data, hashed)
        except BaseException:
            self._given_up.add(upload.upload_id)
            raise
        return Part(number, len(data), f"{write}-{stat.etag}", crc32c=hashed.value)

    async def _temporary(self, key: str, data: Buffer, hashed: Hashed[int]) -> ObjectStat:
        client = self._client

        async def write(generation: str | None) -> ObjectStat:
            return await hashed.sent(
                lambda crc32c: client._put(key, data, NO_OPTIONS, crc32c, generation, temporary=True)
            )

        async def recognise(seen: ObjectStat) -> ObjectStat | None:
            # Nobody else writes at this key: whatever is there is ours.
            return seen if is_written(seen, len(data), crc32c_hex(hashed.value), NO_OPTIONS) else None

        return await client.settled(key, write, recognise, NO_OBJECT)

    async def complete(self, upload: Upload, parts: Sequence[Part]) -> ObjectStat:
        """Join the parts, 32 at a time; the last composition publishes, by the conditions of the upload.

        The CRC32C of the composed object is compared with that of its parts. Requests: 1 for each 32 parts, and a
        batch for each 100 temporaries; a listing where parts were written more than once, or by another process.
        """
        self._require_open(upload, "complete_upload")
        client, base = self._client, self._base(upload)
        pieces = [self._piece(base, part) for part in sorted(parts, key=lambda one: one.number)]
        if not pieces:
            raise NotFound("the upload has no parts", operation="complete_upload", uri=client.uri(upload.key))
        made = list(pieces)
        only = self._begun.get(upload.upload_id) == len(pieces)
        self._begun.pop(upload.upload_id, None)  # a second try joins anew, beside what the first has joined
        while len(pieces) > _AT_ONCE:
            groups = [pieces[at : at + _AT_ONCE] for at in range(0, len(pieces), _AT_ONCE)]
            pieces = []
            for at in range(0, len(groups), REQUESTS):
                pieces += await wave([partial(self._joined, base, group) for group in groups[at : at + REQUESTS]])
            made += pieces
        stat = await self._published(upload, pieces)
        self._ended.append(upload.upload_id)
        self._given_up.discard(upload.upload_id)
        await self._tidy(upload, list(dict.fromkeys(made)) if only else None)  # one alone is its own intermediate
        return stat

    @staticmethod
    def _piece(base: str, part: Part) -> Piece:
        write, _, generation = part.etag.partition("-")
        return Piece(f"{base}{part.number:05d}-{write}", generation, part.size_bytes, part.crc32c)

    async def _joined(self, base: str, pieces: list[Piece]) -> Piece:
        """An intermediate of up to 32 pieces."""
        if len(pieces) == 1:
            return pieces[0]
        key = f"{base}x-{secrets.token_hex(4)}"
        stat = await self._composition(key, pieces, NO_OPTIONS, NO_OBJECT, temporary=True)
        assert stat.etag is not None
        return Piece(key, stat.etag, stat.size_bytes, _combined(pieces))

    async def _published(self, upload: Upload, pieces: list[Piece]) -> ObjectStat:
        return await self._composition(
            upload.key, pieces, upload.options, condition_of(upload.options, self._client.uri(upload.key))
        )

    async def _composition(
        self, key: str, pieces: list[Piece], options: WriteOptions, condition: str | None, *, temporary: bool = False
    ) -> ObjectStat:
        client, size, crc32c = self._client, sum(piece.size_bytes for piece in pieces), _combined(pieces)
        wanted = crc32c_hex(crc32c) if crc32c is not None else None

        async def write(generation: str | None) -> ObjectStat:
            return await client._compose(key, pieces, options, generation, temporary=temporary)

        stat = await client.settled(key, write, recognised(size, wanted, options), condition)
        if stat.size_bytes != size or (wanted is not None and stat.checksums.get("crc32c", wanted) != wanted):
            await self._withdraw(key, stat)
            raise ChecksumMismatch(
                "the service joined the parts to something else; write it again",
                operation="complete_upload",
                uri=client.uri(key),
            )
        return stat

    async def _withdraw(self, key: str, stat: ObjectStat) -> None:
        """Remove a composition that is wrong, unless another object is there by now."""
        try:
            await self._client._retried(lambda: self._client._delete_if(Doomed(key, stat.etag)))
        except (NotFound, PreconditionFailed):
            return
        except StoreError as error:
            _log.warning("a damaged object stays at %s: %s", self._client.uri(key), error)

    async def _tidy(self, upload: Upload, made: Sequence[Piece] | None) -> None:
        """Remove temporaries, those that are found where None are named; the object is there, so that failing to is no
        failure of the upload.
        """
        try:
            if made is None:
                await self._remove_all(upload)
            else:
                await self._remove([Doomed(piece.key, piece.generation, for_good=True) for piece in made])
        except StoreError as error:
            _log.warning("temporaries stay beside %s: %s", self._client.uri(upload.key), error)

    async def _remove(self, doomed: Sequence[Doomed]) -> None:
        """Remove temporaries, several batches at once, for good: a bucket that keeps versions would charge for them.

        Raises: StoreError where one stays, after all batches.
        """
        for failed in await self._removals.all(doomed):
            raise ServiceError(failed.message, operation="delete", uri=self._client.uri(failed.key))

    async def abort(self, upload: Upload) -> None:
        """Remove all that was written for the upload; where a part was given up, once more half a second later.

        Requests: a listing, and a batch for each 100 temporaries.
        """
        self._ended.append(upload.upload_id)
        self._begun.pop(upload.upload_id, None)
        await self._remove_all(upload)
        if upload.upload_id in self._given_up:
            await anyio.sleep(LATE_S)
            await self._remove_all(upload)
            self._given_up.discard(upload.upload_id)

    async def _remove_all(self, upload: Upload) -> None:
        while True:
            page = await self._client.list_page(self._base(upload))
            await self._remove([Doomed(found.key, found.etag, for_good=True) for found in page.objects])
            if page.next_token is None:
                return

    async def parts(self, upload: Upload) -> list[Part]:
        """The parts that are in the bucket; of those written twice the newest. Requests: 1 for each 1,000."""
        self._require_open(upload, "list_parts")
        found: dict[int, tuple[int, Part]] = {}
        for stat, name in await self._temporaries(self._base(upload)):
            if name["number"] == "x" or stat.etag is None:
                continue
            number, age = int(name["number"]), int(stat.etag)
            crc32c = stat.checksums.get("crc32c")
            part = Part(
                number, stat.size_bytes, f"{name['write']}-{stat.etag}", crc32c=int(crc32c, 16) if crc32c else None
            )
            if number not in found or found[number][0] < age:
                found[number] = (age, part)
        return [found[number][1] for number in sorted(found)]

    async def uploads(self, prefix: str) -> list[Upload]:
        """The uploads of any process that have a part in the bucket, as old as the oldest that is there.

        Requests: a listing of all below the prefix.
        """
        directory, slash, _ = prefix.rpartition("/")
        found: dict[str, Upload] = {}
        for stat, name in await self._temporaries(directory + slash):
            key = name["directory"] + name["name"]
            if key.startswith(prefix):
                known = found.get(name["id"])
                begun = [stat.modified, known.initiated if known is not None else None]
                oldest = min((moment for moment in begun if moment is not None), default=None)
                found[name["id"]] = Upload(key, COMPOSED + name["id"], initiated=oldest)
        return list(found.values())

    async def _temporaries(self, prefix: str) -> list[tuple[ObjectStat, re.Match[str]]]:
        async def page(token: str | None) -> tuple[list[tuple[ObjectStat, re.Match[str]]], str | None]:
            listed = await self._client._list(prefix, "", token, "", LIMITS.list_page)
            matched = ((one, _PART.fullmatch(one.key)) for one in listed.objects)
            return [(one, name) for one, name in matched if name is not None], listed.next_token

        return await self._client._all_pages(page, prefix)


def _combined(pieces: Sequence[Piece]) -> int | None:
    """The CRC32C of the whole; None where one of the pieces' is not known."""
    if any(piece.crc32c is None for piece in pieces):
        return None
    return combine_crc32c((piece.crc32c or 0, piece.size_bytes) for piece in pieces)
