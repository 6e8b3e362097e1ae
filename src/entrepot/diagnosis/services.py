"""What only a service has: a connection, a clock, credentials, a container, uploads that nobody completed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from entrepot.diagnosis.findings import Finding, Record, counted, failed, judged, named_items
from entrepot.errors import (
    ContainerNotFound,
    CredentialsExpired,
    CredentialsMissing,
    PermissionDenied,
    StoreError,
    UnsupportedOperation,
)
from entrepot.models import Upload
from entrepot.objects.client import ObjectClient
from entrepot.objects.store import ObjectArtifactStore
from entrepot.objects.uploads import OpenUpload
from entrepot.objects.waves import REQUESTS, wave

SKEW_WARNS_S: Final = 5.0
SKEW_FAILS_S: Final = 15 * 60.0
"""From so much on services refuse requests as too old or too early (Amazon S3: 15 minutes)."""

_CLOCK_ADVICE: Final = "set this machine's clock, by NTP for one"


class ServiceChecks:
    """The checks of one object store. clock: seconds since 1970."""

    def __init__(self, store: ObjectArtifactStore, record: Record, clock: Callable[[], float]) -> None:
        self._store, self._record, self._clock = store, record, clock
        self._client: ObjectClient = store.client
        self._ahead_s = 0.0

    # ---- who answers, and whom ----------------------------------------------------------------------

    async def connection(self) -> bool:
        """The checks `reachable` and `clock`; whether the service answers. Requests: 2, which are not signed."""
        answers = True

        async def reach() -> str | Finding:
            nonlocal answers
            reached = await self._client.reach()
            answers = reached is not None
            if reached is None:
                return Finding("reachable", "skipped", "this client makes no request without credentials; see list")
            return f"{reached.endpoint} answers"

        if not await self._record.tried("reachable", reach):
            await self._record.skip(["clock"], "nothing answers")
            return False
        if answers:
            await self._record.tried("clock", self._skew)
        else:
            await self._record.skip(["clock"], "this client does not tell the service's clock")
        return True

    async def _skew(self) -> str | Finding:
        before = self._clock()
        reached = await self._client.reach()
        after = self._clock()
        if reached is None or reached.time is None:
            return Finding("clock", "skipped", "the service does not tell its clock")
        # The service's time is cut to the second.
        self._ahead_s = (before + after) / 2 - (reached.time.timestamp() + 0.5)
        skew_s = abs(self._ahead_s)
        if skew_s <= SKEW_WARNS_S:
            return f"within {SKEW_WARNS_S:.0f} s of the service's"
        told = (
            f"this machine's clock is {told_span(skew_s)} {'ahead of' if self._ahead_s > 0 else 'behind'} the service's"
        )
        return Finding("clock", "failed" if skew_s > SKEW_FAILS_S else "warning", told, _CLOCK_ADVICE)

    async def admission(self) -> bool:
        """The checks `credentials`, `container` and `list`; whether anything more makes sense. Requests: 1."""
        try:
            who = await self._client.identity()
        except StoreError as missing:
            await self._record.add(failed("credentials", missing))
            await self._record.skip(["container", "list"], "there are no credentials to ask with")
            return False

        async def first_page() -> str:
            page = await self._client.list_page(self._store.key_prefix, limit=1)
            return f"allowed, {'something' if page.objects or page.prefixes else 'nothing'} is there"

        listing, error = await judged("list", first_page)
        return await self._admitted(who, listing, error)

    async def _admitted(self, who: str, listing: Finding, error: StoreError | OSError | None) -> bool:
        record = self._record
        if isinstance(error, (CredentialsMissing, CredentialsExpired)):
            found = failed("credentials", error)
            message = f"{who}: {found.message}" if who else found.message
            await record.add(Finding("credentials", "failed", message, found.advice))
            await record.skip(["container", "list"], "the service does not accept who asks")
            return False
        known = listing.state == "ok" or isinstance(error, PermissionDenied | ContainerNotFound)
        if not who:
            await record.skip(["credentials"], "nobody has to be known here")
        elif known:
            await record.add(Finding("credentials", "ok", who))
        else:
            await record.add(Finding("credentials", "ok", f"{who}; the service has not confirmed it"))
        if isinstance(error, ContainerNotFound):
            await record.add(failed("container", error))
            await record.skip(["list"], "there is nothing to list")
            return False
        if listing.state == "ok":
            await record.add(Finding("container", "ok", f"{self._client.uri('').removesuffix('/')} is there"))
        else:
            await record.skip(["container"], "only a listing would tell")
        await record.add(listing)
        # Credentials may write without being allowed to list.
        return listing.state == "ok" or isinstance(error, PermissionDenied)

    # ---- uploads in parts -----------------------------------------------------------------------------

    async def multipart(self, path: str) -> None:
        """The check `multipart`: whether an upload can be begun and dropped. Requests: 2."""
        client = self._client
        if not client.capabilities.multipart:
            await self._record.skip(["multipart"], "this store has no uploads in parts")
            return
        if client.uploads_expire:
            await self._record.skip(["multipart"], "the service has no request that begins or ends an upload in parts")
            return

        async def begin_and_end() -> str:
            opened = OpenUpload(client, self._store.key_prefix + path)
            await opened.create()
            try:
                if opened.upload is not None:
                    await client.abort_upload(opened.upload)
                    opened.upload = None
            finally:
                await opened.abort()
            return "an upload in parts can be begun and dropped"

        await self._record.tried("multipart", begin_and_end)

    async def uploads(self, older_than_s: float, *, abort: bool) -> None:
        """The check `uploads`, and `abort` where that is asked for and there are some.

        Requests: a listing, and 1 for each that is dropped.
        """
        old: list[Upload] = []

        async def look() -> str | Finding:
            try:
                found = await self._client.list_uploads(self._store.key_prefix)
            except (UnsupportedOperation, PermissionDenied) as error:
                why = "lists no" if isinstance(error, UnsupportedOperation) else "does not let us list"
                return Finding("uploads", "skipped", f"the service {why} uploads under way ({_code(error)})")
            now = datetime.fromtimestamp(self._clock() - self._ahead_s, UTC)
            limit = timedelta(seconds=older_than_s)
            old.extend(one for one in found if one.initiated is not None and now - one.initiated >= limit)
            return self._told(found, old, older_than_s, now)

        await self._record.tried("uploads", look)
        if abort and old and not self._client.uploads_expire:
            await self._abort(old)

    def _told(
        self, found: Sequence[Upload], old: Sequence[Upload], older_than_s: float, now: datetime
    ) -> str | Finding:
        if not found:
            return "none is under way"
        ageless = sum(one.initiated is None for one in found)
        unknown = f", of {ageless:,} the age is not told" if ageless else ""
        if not old:
            return f"{len(found):,} under way, none older than {told_span(older_than_s)}{unknown}"
        message = f"{len(old):,} unfinished and older than {told_span(older_than_s)}{unknown}"
        by_age = sorted((one.initiated, one.key) for one in old if one.initiated is not None)
        items = named_items(
            [f"{self._client.uri(key)} (for {told_span((now - at).total_seconds())})" for at, key in by_age]
        )
        if self._client.uploads_expire:
            return Finding("uploads", "ok", f"{message}; the service drops them by itself", items=items)
        advice = "their parts are billed: drop them with abort_orphans=True, unless somebody still writes them"
        return Finding("uploads", "warning", message, advice, items)

    async def _abort(self, old: Sequence[Upload]) -> None:
        failures: list[StoreError] = []

        async def end(upload: Upload) -> None:
            try:
                await self._client.abort_upload(upload)
            except StoreError as error:
                failures.append(error)

        for start in range(0, len(old), REQUESTS):
            await wave([partial(end, upload) for upload in old[start : start + REQUESTS]])
        if not failures:
            await self._record.add(Finding("abort", "ok", f"{counted(len(old), 'unfinished upload')} dropped"))
            return
        why = failed("abort", failures[0])
        message = f"{len(failures):,} of {counted(len(old), 'upload')} could not be dropped: {why.message}"
        await self._record.add(Finding("abort", "failed", message, why.advice))


def _code(error: StoreError) -> str:
    return error.message.partition("; ")[0] or type(error).__name__


def told_span(seconds: float) -> str:
    """`20 min`, `3 days`: in the largest unit of which there is one at least."""
    for unit, length in (("day", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= length:
            number = round(seconds / length)
            return f"{number:,} {unit}{'s' if unit == 'day' and number != 1 else ''}"
    return f"{seconds:.0f} s"
