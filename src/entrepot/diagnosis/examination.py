"""The examination of one store, check by check, in the order in which one thing depends on another."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from entrepot.contract import BaseArtifactStore
from entrepot.diagnosis import disk
from entrepot.diagnosis.files import AFTER_WRITE, list_root, told_capabilities, try_files
from entrepot.diagnosis.findings import Diagnosis, Finding, Record, failed
from entrepot.diagnosis.services import ServiceChecks
from entrepot.errors import ConfigurationError, StoreError
from entrepot.flavors.local.store import LocalArtifactStore
from entrepot.objects.store import ObjectArtifactStore

DAY_S: Final = 86_400.0

_WRITES: Final = ("write", *AFTER_WRITE)
_READ_ONLY: Final = "it would write, and only reading was asked for"


async def examine(
    store: BaseArtifactStore,
    *,
    read_only: bool = False,
    older_than_s: float = DAY_S,
    abort_orphans: bool = False,
    on_finding: Callable[[Finding], Awaitable[None]] | None = None,
    clock: Callable[[], float] = time.time,
) -> Diagnosis:
    """Check configuration, connection, clock, credentials, container, permissions, capabilities, unfinished uploads.

    Files are tried with one temporary file of a random name directly below the root, which is removed again, also
    when the examination fails or is cancelled. A check that cannot be made is `skipped`, and says why. Nothing is
    raised for what is wrong with the store: it is a finding.

    read_only: leave out what writes. older_than_s: from which age on an unfinished upload is called an orphan.
    abort_orphans: drop those, after the finding that names them. on_finding: is given each finding as it is made.
    clock: seconds since 1970. Requests: about 20 at a service, none of them large, and the listing of uploads.
    Raises: ConfigurationError for `abort_orphans` with `read_only`; what `on_finding` raises.
    """
    if read_only and abort_orphans:
        raise ConfigurationError("abort_orphans changes the store; leave out read_only")
    record = Record(on_finding)
    if await record.tried("configuration", partial(_configured, store)):
        if isinstance(store, ObjectArtifactStore):
            checks = ServiceChecks(store, record, clock)
            if await _service(store, checks, record, read_only=read_only):
                await checks.uploads(older_than_s, abort=abort_orphans)
        elif isinstance(store, LocalArtifactStore):
            await _directory(store, record, read_only=read_only)
        elif await list_root(store, record):
            await _files(store, record, read_only=read_only)
    return Diagnosis(store.path, tuple(record.findings))


async def _configured(store: BaseArtifactStore) -> str | Finding:
    try:
        if isinstance(store, ObjectArtifactStore):
            store.client  # noqa: B018  # what the configuration says is put together when this is first asked for
    except StoreError as error:
        return failed("configuration", error)
    return f"flavor {store.FLAVOR}, {store.path}"


async def _service(store: ObjectArtifactStore, checks: ServiceChecks, record: Record, *, read_only: bool) -> bool:
    """All but what comes last; whether that makes sense."""
    if not await checks.connection():
        await record.skip(["credentials", "container", "list", *_WRITES, "multipart", "uploads"], "nothing answers")
        return False
    if not await checks.admission():
        await record.skip([*_WRITES, "multipart", "uploads"], "there is nothing to try it on, or nobody to try it as")
        return False
    await _files(store, record, read_only=read_only)
    if read_only:
        await record.skip(["multipart"], _READ_ONLY)
    else:
        await checks.multipart(f"entrepot-doctor-{secrets.token_hex(8)}")
    return True


async def _files(store: BaseArtifactStore, record: Record, *, read_only: bool) -> None:
    if not read_only:
        await try_files(store, record)
        return
    await record.add(Finding("capabilities", "ok", told_capabilities(store.capabilities)))
    await record.skip([name for name in _WRITES if name != "capabilities"], _READ_ONLY)


async def _directory(store: LocalArtifactStore, record: Record, *, read_only: bool) -> None:
    if not await disk.look_at_directory(store, record):
        why = "there is no directory yet, and none is made for a check"
        await record.skip(["list", *_WRITES, "durability", "temporaries"], why)
        return
    await list_root(store, record)
    await _files(store, record, read_only=read_only)
    if read_only:
        await record.skip(["durability"], _READ_ONLY)
    else:
        await disk.try_durability(store, record)
    await disk.count_temporaries(store, record)
