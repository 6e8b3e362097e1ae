"""Deletes: one by one, and many in a batch; what a lost reply to one means, and which object it may remove.

Source: Cloud Storage, "JSON API reference: Objects: delete", "Send batch requests".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from entrepot.errors import (
    FATAL,
    ContainerNotFound,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    StoreError,
    Throttled,
    UnsupportedOperation,
)
from entrepot.flavors.gcp.attempts import GcpAttempts, Overtaken, is_generation
from entrepot.flavors.gcp.faults import did_nothing, fault
from entrepot.flavors.gcp.requests import Doomed
from entrepot.models import DeleteFailure
from entrepot.objects.client import CHANGED, changed
from entrepot.objects.waves import REQUESTS, wave
from entrepot.services.client import Unsure
from entrepot.services.faults import ErrorReply

_log = logging.getLogger(__name__)


class Removals:
    """The deletes of one client. anonymous: as of the client, for what a refusal says."""

    def __init__(self, client: GcpAttempts, *, anonymous: bool) -> None:
        self._client = client
        self._anonymous = anonymous
        self._batches = True

    # ---- one ----------------------------------------------------------------------------------------

    async def one(self, key: str, if_match: str | None = None) -> None:
        """As `ObjectClient.delete`. Requests: 1.

        Without `if_match`, after a lost reply the object is looked at, and only what was seen is deleted; with it,
        where the object is not that one, a look tells whether it is gone or another.
        """
        if if_match is not None and not is_generation(if_match):
            raise changed("delete", self._client.uri(key))
        await self._removed(Doomed(key, if_match), Unsure())

    async def _removed(self, doomed: Doomed, unsure: Unsure) -> None:
        """unsure: of a request before, which may have deleted the object, so that what is there may be another's."""
        try:
            await (self._removed_pinned(doomed) if doomed.generation is not None else self._removed_any(doomed, unsure))
        except ContainerNotFound:
            raise
        except NotFound:
            _log.debug("%s was gone already", self._client.uri(doomed.key))

    async def _removed_pinned(self, doomed: Doomed) -> None:
        client = self._client
        try:
            await client._retried(lambda: client._delete_if(doomed))
        except PreconditionFailed as error:
            if await client._retried(lambda: client.look(doomed.key)) is None:
                return
            raise changed("delete", client.uri(doomed.key)) from error

    async def _removed_any(self, doomed: Doomed, unsure: Unsure) -> None:
        client = self._client

        async def attempt() -> None:
            seen = doomed
            if unsure.lost:
                found = await client.look(doomed.key)
                if found is None:
                    return
                seen = Doomed(doomed.key, found.etag)
            try:
                await client._delete_if(seen)
            except PreconditionFailed as error:
                raise Overtaken(
                    "another writer's object came while this one was deleted",
                    operation="delete",
                    uri=client.uri(doomed.key),
                ) from error
            except StoreError as error:
                if not did_nothing(error):
                    unsure.note(error)
                raise

        await client._retried(attempt)

    # ---- many ---------------------------------------------------------------------------------------

    async def many(self, doomed: Sequence[Doomed]) -> list[DeleteFailure]:
        """As `ObjectClient.delete_many`, in one batch, and again in one what the service is too busy for.

        Where the reply to a batch is lost, each key is looked at and deleted singly; so is what fails in it for
        another reason that may pass. Without a look all go singly where the service knows no batches.
        """
        if not doomed:
            return []
        if not self._batches:
            return await self._singly(doomed, Unsure())
        batch = _Batch(self._client, doomed, anonymous=self._anonymous)
        broken = await self._client._retried(batch.attempt)
        if broken is None:
            return batch.failures + await self._singly(batch.doubtful, Unsure(lost=True))
        self._batches = not isinstance(broken, UnsupportedOperation | NotFound)
        if self._batches and not broken.retryable:
            raise broken
        lost = Unsure()
        lost.note(broken)
        singly = await self._singly(batch.pending, lost)
        return batch.failures + singly + await self._singly(batch.doubtful, Unsure(lost=True))

    async def all(self, doomed: Sequence[Doomed]) -> list[DeleteFailure]:
        """As `many`, of any number: several batches at once."""
        size = self._client.limits.delete_batch
        batches = [doomed[at : at + size] for at in range(0, len(doomed), size)]
        failures: list[DeleteFailure] = []
        for at in range(0, len(batches), REQUESTS):
            for failed in await wave([partial(self.many, batch) for batch in batches[at : at + REQUESTS]]):
                failures += failed
        return failures

    async def _singly(self, doomed: Sequence[Doomed], unsure: Unsure) -> list[DeleteFailure]:
        """One request a key, and a look before it where `unsure`; what failed for good, by key."""

        async def delete(one: Doomed) -> DeleteFailure | None:
            try:
                await self._removed(one, Unsure(lost=unsure.lost))
            except FATAL:
                raise
            except StoreError as error:
                return _failure(one.key, error, type(error).__name__)
            return None

        failures: list[DeleteFailure] = []
        for at in range(0, len(doomed), REQUESTS):
            done = await wave([partial(delete, one) for one in doomed[at : at + REQUESTS]])
            failures += [one for one in done if one is not None]
        return failures


class _Batch:
    """Deletes sent together. pending: not answered yet, or the service was too busy for. failures: for good.

    doubtful: what may have been done or not, or is to be looked at.
    """

    def __init__(self, client: GcpAttempts, doomed: Sequence[Doomed], *, anonymous: bool) -> None:
        self.pending = list(doomed)
        self.failures: list[DeleteFailure] = []
        self.doubtful: list[Doomed] = []
        self._client, self._anonymous = client, anonymous

    async def attempt(self) -> StoreError | None:
        """Send what is pending; what broke the batch as a whole. Raises: Throttled to be repeated; FATAL errors."""
        try:
            outcomes = await self._client._delete_many(self.pending)
        except StoreError as error:
            if did_nothing(error):
                raise  # a request for each key would be a hundred more
            return error
        busy: Throttled | None = None
        sent, self.pending = self.pending, []
        for number, one in enumerate(sent):
            reply = outcomes.get(number)
            if reply is None:
                self.doubtful.append(one)
            elif reply.status >= 300:
                busy = self._sort(one, reply) or busy
        if busy is not None:
            raise busy
        return None

    def _sort(self, one: Doomed, reply: ErrorReply) -> Throttled | None:
        refused = fault(reply, operation="delete", uri=self._client.uri(one.key), anonymous=self._anonymous)
        if isinstance(refused, Throttled):
            self.pending.append(one)
            return refused
        # Singly a token that is refused is replaced, and what is not that generation any more is looked at.
        if refused.retryable or reply.status == 401 or isinstance(refused, PreconditionFailed):
            self.doubtful.append(one)
        elif isinstance(refused, FATAL):
            raise refused
        elif not isinstance(refused, NotFound):
            self.failures.append(_failure(one.key, refused, reply.code))
        return None


def _failure(key: str, error: StoreError, code: str) -> DeleteFailure:
    # The layer above knows a denial, and what is another by now, by S3's names for them.
    if isinstance(error, PermissionDenied):
        return DeleteFailure(key, "AccessDenied", error.message)
    return DeleteFailure(key, CHANGED if isinstance(error, PreconditionFailed) else code, error.message)
