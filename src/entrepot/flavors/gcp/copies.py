"""Copies on the service's side, step by step, pinned to their source.

Source: Cloud Storage, "JSON API reference: Objects: rewrite".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrepot.errors import AlreadyExists, BadResponse, PreconditionFailed, StoreError
from entrepot.flavors.gcp.attempts import GcpAttempts, condition_of, is_generation
from entrepot.flavors.gcp.replies import Rewritten, metadata_of
from entrepot.flavors.gcp.requests import Source, description
from entrepot.models import ObjectStat, WriteOptions


class _AnotherSource(StoreError):
    """The source of a copy is not the one that it was pinned to."""


async def copied(
    client: GcpAttempts, key: str, origin: GcpAttempts, source: Source, options: WriteOptions
) -> ObjectStat:
    """Copy one object to a key of `client`. origin: the client of the source's bucket.

    Raises: PreconditionFailed where the source is another, AlreadyExists, NotFound.
    """
    etag = source.generation
    if etag is not None and not is_generation(etag):
        raise _changed(origin, source)
    for last in (False, True):
        try:
            return await _copied_once(client, key, origin, source, options)
        except _AnotherSource as error:
            # What only this copy had pinned is copied as it is now; nothing was published where conditions are kept.
            if last or etag is not None or not client.keeps_conditions:
                raise _changed(origin, source) from error.__cause__
    raise AssertionError("the loop returns or raises")


async def _copied_once(
    client: GcpAttempts, key: str, origin: GcpAttempts, source: Source, options: WriteOptions
) -> ObjectStat:
    """Raises: _AnotherSource where the source is not, or is no longer, what the copy is pinned to."""
    told: Mapping[str, Any] | None = None
    if options.describes:
        told = description(options, client._settings)
    elif client._settings.storage_class is not None:
        source, told = await _kept(origin, source, client._settings.storage_class)
    stat = await _stepwise(client, key, origin, source, told=told, condition=condition_of(options, client.uri(key)))
    if source.generation is not None and not client.keeps_conditions and await _is_another(origin, source):
        raise _AnotherSource
    return stat


async def _kept(origin: GcpAttempts, source: Source, storage_class: str) -> tuple[Source, Mapping[str, Any]]:
    """What a copy says of itself so as to keep all of its source's but the storage class; and the source pinned to what
    that was said of. Requests: 1.
    """
    try:
        told = await origin._retried(lambda: origin._source_description(source))
    except PreconditionFailed as error:
        raise _AnotherSource from error
    generation = told.pop("generation", None)
    return source._replace(generation=generation), {**told, "storageClass": storage_class}


async def _stepwise(
    client: GcpAttempts,
    key: str,
    origin: GcpAttempts,
    source: Source,
    *,
    told: Mapping[str, Any] | None,
    condition: str | None,
) -> ObjectStat:
    """The copy; each step is retried. Raises: BadResponse where one does not lead on."""
    step = Rewritten(None, None, -1)

    async def recognise(seen: ObjectStat) -> Rewritten | None:
        original = await origin.look(source.key)
        if original is None or source.generation not in (None, original.etag):
            return None
        kept = original.metadata if told is None else metadata_of(told)
        wanted = (original.size_bytes, original.checksums, dict(kept))
        return Rewritten(seen, None, 0) if (seen.size_bytes, seen.checksums, dict(seen.metadata)) == wanted else None

    while step.stat is None:
        before = step

        async def write(generation: str | None, token: str | None = before.token) -> Rewritten:
            try:
                return await client._rewrite(source, key, told, generation, token)
            except (AlreadyExists, PreconditionFailed) as error:
                # One status for both conditions: a look tells which of them failed.
                if source.generation is not None and await _is_another(origin, source):
                    raise _AnotherSource from error
                raise

        step = await client.settled(key, write, recognise, condition)
        if step.stat is None and step.rewritten_bytes <= before.rewritten_bytes:
            raise BadResponse("the copy does not go on", operation="copy", uri=client.uri(key))
    return step.stat


async def _is_another(origin: GcpAttempts, source: Source) -> bool:
    seen = await origin._retried(lambda: origin.look(source.key))
    return seen is None or seen.etag != source.generation


def _changed(origin: GcpAttempts, source: Source) -> PreconditionFailed:
    return PreconditionFailed(
        "the source is another by now; look at it again", operation="copy", uri=origin.uri(source.key)
    )
