"""From address to address: `copy`, `move`, `mirror`, `check`; each in an async and a blocking form."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from anyio import to_thread

from entrepot.blocking import SyncArtifactStore, blocking_function
from entrepot.components import HIDDEN
from entrepot.contract import BaseArtifactStore
from entrepot.errors import ConfigurationError
from entrepot.paths import StrPath, join, path_text, printable, scheme_of, split_uri
from entrepot.registry import state_dir
from entrepot.stores import Address, address_text, configured, locate

if TYPE_CHECKING:
    from entrepot.transfer.checking import CheckReport, Difference
    from entrepot.transfer.engine import CopyOptions, CopyReport
    from entrepot.transfer.events import Event
    from entrepot.transfer.filters import Filters
    from entrepot.transfer.jobs import Jobs
    from entrepot.transfer.plan import Durability, Links
    from entrepot.transfer.plans import CopyPlan
    from entrepot.transfer.recording import Job

Verification: TypeAlias = Literal["size", "checksum", "download", "full"]
Compare: TypeAlias = Literal["always", "skip-existing", "newer", "size", "checksum", "different", "error"]


class CopySettings(TypedDict, total=False):
    """What every copy takes by keyword; each may be left out.

    recursive: False refuses a directory (True).
    compare: when a file whose target exists is copied over it. `always` spends no request to look (the default of
    `copy` and `move`); `skip-existing` leaves it; `newer`, `size`, `checksum` go by what their name says, `different`
    by all that is told of both sides without reading them (the default of `mirror`); `error` fails the file. The truth
    table is in `docs/copy.md`.
    filters: which files of a directory are copied; all others are as if they were not there, on either side.
    concurrency: requests in flight; None is what each service takes without asking for fewer. memory_bytes: bound of
    the content held at once (128 MiB). bandwidth_bytes_s, requests_per_second: upper bounds, of both ends together.
    dry_run: plan and report, change nothing (False). verify: `checksum`, the default, compares checksums where there
    are some, and the report names the files of which there are none; `download` reads both ends of those once more,
    `full` of every file; `size` compares sizes alone.
    durability: of what is written to a disk: `none` is safe against a killed process, `batch` and `full` against a
    power cut as well; None is the store's own. links: what becomes of symbolic links in a local source: `skip` counts
    them, `follow` copies what they lead to, `preserve` makes the same links (local targets only).
    journal: True writes down how far the copy is, so that the same call goes on after a crash (see `docs/copy.md`); a
    path is the folder of the journals, in place of the user's own. False, the default, writes nothing.
    on_event: is called with what happens (`entrepot.transfer.events`), in the loop of the copy; it must not block.
    src_config, dst_config: keys of the flavors, as for `open_store`; two addresses in one container with equal keys
    share their connections. Stores that are given open stay open.
    """

    recursive: bool
    compare: Compare
    filters: Filters
    concurrency: int | None
    memory_bytes: int
    bandwidth_bytes_s: int | None
    requests_per_second: float | None
    dry_run: bool
    verify: Verification
    durability: Durability | None
    links: Links
    journal: bool | StrPath
    on_event: Callable[[Event], None] | None
    src_config: Mapping[str, Any] | None
    dst_config: Mapping[str, Any] | None


async def copy(
    src: Address | Sequence[Address] | CopyPlan,
    dst: Address | None = None,
    *,
    into: Address | None = None,
    **settings: Unpack[CopySettings],
) -> CopyReport:
    """Copy a file or a tree, from any store to any store.

        report = await copy("models/", "s3://bucket/models")
        report = await copy(["a.txt", "s3://bucket/logs"], into="backup", compare="newer")

    What lands where: the contents of a directory land below `dst` (`src/x` → `dst/x`); a file's copy is `dst` itself.
    Trailing slashes, and what exists at `dst`, change nothing. `into` is a directory: sources land below it by their
    names; several sources need it, and so does a file whose target has no name of its own (a bucket).
    settings: see `CopySettings`. A plan (`plan_copy`) has source and target in it, and is given alone; of the settings
    it takes those that say how much a run may use, who listens, and the configurations.

    Failures of single items are in the report, which is not `ok` then, and the copy goes on. Nothing of a failed or
    cancelled item is visible or left at the target. Several sources are copied one after another.
    Requests: a look at the source, its listing, and one read and one write a small file, or a part of a large one;
    with a comparison, a listing of the target.
    Raises: NotFound; IsADirectory; InvalidPath (a target inside its own source); ConfigurationError; and what every
    further item would meet, too: missing credentials, a missing bucket, an unreachable endpoint, a full disk.
    """
    from entrepot.transfer.plans import CopyPlan

    if isinstance(src, CopyPlan):
        return await _run_plan(src, settings)
    return await _run(src, dst, into, settings)


async def move(
    src: Address | Sequence[Address],
    dst: Address | None = None,
    *,
    into: Address | None = None,
    **settings: Unpack[CopySettings],
) -> CopyReport:
    """As `copy`, and each source file is removed once its copy is durable (at least `batch`) and verified.

    What no checksum vouches for on its way over a network is copied, kept, and reported as failed, unless `verify` is
    `download` or `full`, by which both ends are read once more, or `size`. A source that changed meanwhile is kept.
    Directories go when nothing is left in them; the root of a store stays.
    Requests: as `copy`, and a look and a removal a file.
    """
    return await _run(src, dst, into, settings, delete_source=True)


async def mirror(
    src: Address,
    dst: Address,
    *,
    delete: bool = False,
    max_delete: int | None = None,
    backup_dir: str | None = None,
    **settings: Unpack[CopySettings],
) -> CopyReport:
    """Make a directory like another one: copy what is different, and with `delete` remove what only the target has.

        report = await mirror("data", "s3://bucket/data", delete=True, max_delete=1_000)

    Nothing is deleted before everything was copied, nor when anything failed, a listing among it. max_delete: where
    more files would go, none does, and DeletionRefused is raised; without a number a source that has no file at all
    does not empty its target. backup_dir: a path in the target's store, below which files that would be deleted or
    written over are kept. Files that the filters leave out are as if they were not there, on either side: they stay.

    Requests: the listings of both sides, held to one page each in memory, a look at a file where times are kept in
    metadata that listings do not tell, and those of the copies. Memory: the paths that are to be deleted.
    Raises: as `copy`; DeletionRefused; NotADirectory for a source that is a file.
    """
    from entrepot.transfer.plan import Mirror

    settings.setdefault("compare", "different")
    return await _run(src, dst, None, settings, mirror=Mirror(delete=delete, most=max_delete, backup=backup_dir))


async def check(
    src: Address,
    dst: Address,
    *,
    size_only: bool = False,
    download: bool = False,
    one_way: bool = False,
    filters: Filters | None = None,
    concurrency: int = 32,
    on_difference: Callable[[Difference], None] | None = None,
    src_config: Mapping[str, Any] | None = None,
    dst_config: Mapping[str, Any] | None = None,
) -> CheckReport:
    """Compare two directories, or two files, and copy nothing.

        report = await check("models", "s3://bucket/models")
        assert report.ok, report.differences

    By size, then by the checksums that both sides tell. Where they tell none in common a file on this machine is read
    and hashed; between two services `download` reads both, else such files are counted as undecided. one_way: what
    only `dst` has is no difference. filters: which files are compared. on_difference: is called with each as it is
    found. Requests, errors: see `entrepot.transfer.checking.check_between`.
    """
    from entrepot.transfer.checking import CheckOptions, check_between
    from entrepot.transfer.filters import NO_FILTERS

    options = CheckOptions(size_only, download, one_way, filters or NO_FILTERS, concurrency)
    async with AsyncExitStack() as stack:
        opened = Opened(stack)
        store, path = await opened.locate(src, src_config or {})
        sink, sink_path = await opened.locate(dst, dst_config or {})
        return await check_between(store, path, sink, sink_path, options=options, on_difference=on_difference)


check_sync = blocking_function(check, name="check_sync")


async def plan_copy(
    src: Address,
    dst: Address,
    *,
    mirrors: bool = False,
    max_delete: int | None = None,
    **settings: Unpack[CopySettings],
) -> CopyPlan:
    """What a copy would do, as a value: printed, written to a file, split into shards, run by `copy(plan)`.

        plan = await plan_copy("s3://bucket/data", "/data", compare="different")
        print(plan.totals)
        report = await copy(plan)

    mirrors: also delete what only the target has, as `mirror(delete=True)` does. src, dst: addresses as text, so that
    the plan can be run elsewhere. Nothing is changed. Requests: the listings, and looks that a comparison needs.
    Raises: as `copy`; ConfigurationError for an address that is an open store.
    """
    from entrepot.transfer.engine import plan_between
    from entrepot.transfer.plan import Mirror

    if isinstance(src, tuple) or isinstance(dst, tuple):
        raise ConfigurationError("a plan names its places: give addresses, not open stores", operation="plan")
    if mirrors:
        settings.setdefault("compare", "different")
    options = copy_options(settings, mirror=Mirror(most=max_delete) if mirrors else None)
    async with AsyncExitStack() as stack:
        opened = Opened(stack)
        store, path = await opened.locate(src, settings.get("src_config") or {})
        sink, sink_path = await opened.locate(dst, settings.get("dst_config") or {})
        named = (absolute(src), absolute(dst))
        return await plan_between(store, path, sink, sink_path, addresses=named, options=options)


async def _run_plan(plan: CopyPlan, settings: CopySettings) -> CopyReport:
    from entrepot.transfer.engine import copy_between

    given = set(settings) - {*_OF_A_RUN, *_OF_STORES}
    if given:
        raise ConfigurationError(f"the plan has decided already: {', '.join(sorted(given))}", operation="copy")
    effort: dict[str, Any] = {name: value for name, value in settings.items() if name in _OF_A_RUN}
    options = replace(plan.options, **effort)
    if plan.shard is not None:
        options = replace(options, mirror=None)
    async with AsyncExitStack() as stack:
        opened = Opened(stack)
        store, path = await opened.locate(plan.source, settings.get("src_config") or {})
        sink, sink_path = await opened.locate(plan.target, settings.get("dst_config") or {})
        return await copy_between(
            store, path, sink, sink_path, options=options, plan=plan, on_event=settings.get("on_event")
        )


def jobs_of_user(folder: StrPath | None = None) -> Jobs:
    """The jobs in a folder; None is this user's, below the state directory of the platform (`ENTREPOT_STATE`)."""
    from entrepot.transfer.jobs import Jobs

    return Jobs(os.fsdecode(folder) if folder is not None else os.path.join(state_dir(), "jobs"))


def job_between(
    source: tuple[BaseArtifactStore, str],
    target: tuple[BaseArtifactStore, str],
    options: CopyOptions,
    *,
    configuration: Mapping[str, Any] | None = None,
    folder: StrPath | None = None,
    anew: bool = False,
) -> Job | None:
    """Which job a copy is: the same for the same places, services and options that change its result.

    None for what cannot be gone on with: nothing of a dry run is, and memory ends with the process.
    configuration: what a later run needs to reach the same places; secrets in it are not kept.
    """
    from entrepot.transfer.plan import told_options
    from entrepot.transfer.recording import Job
    from entrepot.transfer.records import JobSpec

    ends = (source, target)
    if options.dry_run or any(scheme_of(store.path) == "memory" for store, _ in ends):
        return None
    told = {
        **told_options(options),
        "filters": json.loads(options.filters.canonical()),
        **{f"{name}_endpoint": _endpoint(store) for name, (store, _) in zip(("source", "target"), ends, strict=True)},
    }
    secret = {key for store, _ in ends for key, value in store.describe().items() if value == HIDDEN}
    addresses = [join(store.path, path) for store, path in ends]
    spec = JobSpec.of(
        *addresses,
        is_secret=lambda key: key in secret,
        options={name: value for name, value in told.items() if value is not None},
        configuration={**(configuration or {}), "target_store": target[0].path},
    )
    return Job(jobs_of_user(folder), spec, anew)


def _endpoint(store: BaseArtifactStore) -> str | None:
    value = store.describe().get("endpoint_url")
    return str(value) if value else None


def absolute(address: Address) -> str:
    """An address that says the same in another directory."""
    assert not isinstance(address, tuple)
    text = address_text(address)
    if isinstance(address, os.PathLike) or (scheme_of(text) is None and configured(text) is None):
        return os.path.abspath(text)
    return text


plan_copy_sync = blocking_function(plan_copy, name="plan_copy_sync")
copy_sync = blocking_function(copy, name="copy_sync")
move_sync = blocking_function(move, name="move_sync")
mirror_sync = blocking_function(mirror, name="mirror_sync")


_OF_STORES = ("journal", "on_event", "src_config", "dst_config")
_OF_A_RUN = ("concurrency", "memory_bytes", "bandwidth_bytes_s", "requests_per_second")


def copy_options(settings: CopySettings, **more: Any) -> CopyOptions:
    """The engine's options for what a caller gave. Raises: ConfigurationError for a name that is none of them."""
    from entrepot.transfer.engine import CopyOptions

    unknown = set(settings) - CopySettings.__annotations__.keys()
    if unknown:
        raise ConfigurationError(f"no setting of a copy: {', '.join(sorted(unknown))}", operation="copy")
    given: dict[str, Any] = {name: value for name, value in settings.items() if name not in _OF_STORES}
    return CopyOptions(**{"recursive": True, **given, **more})


async def _run(
    src: Address | Sequence[Address],
    dst: Address | None,
    into: Address | None,
    settings: CopySettings,
    **more: Any,
) -> CopyReport:
    from entrepot.transfer.engine import copy_between

    options = copy_options(settings, **more)
    sources, target = _sources(src), _target(src, dst, into)
    names = await to_thread.run_sync(_names_below, sources) if into is not None else [""]
    reports = []
    async with AsyncExitStack() as stack:
        opened = Opened(stack)
        for source, name in zip(sources, names, strict=True):
            store, path = await opened.locate(source, settings.get("src_config") or {})
            sink, sink_path = await opened.locate(
                target, settings.get("dst_config") or {}, as_directory=into is not None
            )
            if name:
                sink_path = join(sink_path, name)
            journal, job = settings.get("journal", False), None
            if journal:
                folder = None if journal is True else journal
                job = job_between((store, path), (sink, sink_path), options, folder=folder)
            reports.append(
                await copy_between(
                    store, path, sink, sink_path, options=options, job=job, on_event=settings.get("on_event")
                )
            )
    return reports[0] if len(reports) == 1 else _combined(reports)


def _sources(src: Address | Sequence[Address]) -> list[Address]:
    if isinstance(src, (str, bytes, os.PathLike)) or _is_in_a_store(src):
        return [src]  # type: ignore[list-item]  # narrowed by the function
    return list(src)  # type: ignore[arg-type]


def _is_in_a_store(address: object) -> bool:
    return isinstance(address, tuple) and isinstance(address[0], (BaseArtifactStore, SyncArtifactStore))


def _target(src: Address | Sequence[Address], dst: Address | None, into: Address | None) -> Address:
    if (dst is None) == (into is None):
        raise ConfigurationError("a copy needs one target: dst, or into for a directory to land in", operation="copy")
    if dst is None:
        assert into is not None
        return into
    if len(_sources(src)) != 1:
        raise ConfigurationError("several sources need a directory to land in: into=DIR", operation="copy")
    return dst


def _names_below(sources: Sequence[Address]) -> list[str]:
    """By which name each source lands in a directory. Raises ConfigurationError for none, or the same one twice."""
    seen: dict[str, str] = {}
    for source in sources:
        shown, name = _shown(source), landing_name(source)
        if not name:
            raise ConfigurationError(
                "a whole store has no name to land by; give dst in place of into", operation="copy", uri=shown
            )
        if name in seen:
            raise ConfigurationError(
                f"it would land where {seen[name]} lands, as {name}; copy them one by one", operation="copy", uri=shown
            )
        seen[name] = shown
    return list(seen)


def landing_name(address: Address) -> str:
    """By which name an address lands in a directory (`into`): its last one; empty for the root of a store."""
    if isinstance(address, tuple):
        key = path_text(address[1])
    else:
        text = address_text(address)
        local = isinstance(address, os.PathLike) or scheme_of(text) == "file"
        if local or (scheme_of(text) is None and configured(text) is None):
            return os.path.basename(os.path.abspath(text.removeprefix("file://")))
        key = split_uri(text)[2] if scheme_of(text) else text.partition(":")[2]
    return key.rstrip("/").rpartition("/")[2]


def _shown(address: Address) -> str:
    if isinstance(address, tuple):
        return printable(f"{address[0].path}/{path_text(address[1])}")
    return printable(path_text(address))


class Opened:
    """The stores of one copy: closed with it, and shared by addresses in one place."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._stores: list[tuple[BaseArtifactStore, Mapping[str, Any]]] = []

    async def locate(
        self, address: Address, config: Mapping[str, Any], *, as_directory: bool = False
    ) -> tuple[BaseArtifactStore, str]:
        if isinstance(address, tuple):
            return locate(address, as_directory=as_directory, **config)
        store, path = await to_thread.run_sync(partial(locate, address, as_directory=as_directory, **config))
        for other, its_config in self._stores:
            if (type(other), other.path, its_config) == (type(store), store.path, config) and not store.is_local:
                return other, path
        self._stores.append((store, config))
        await self._stack.enter_async_context(store)
        return store, path


def _combined(reports: Sequence[CopyReport]) -> CopyReport:
    """One report of several copies: numbers are added, lists joined."""
    from entrepot.transfer.report import CopyReport

    total: dict[str, Any] = {}
    for one in fields(CopyReport):
        values = [getattr(report, one.name) for report in reports]
        if isinstance(values[0], bool):
            total[one.name] = any(values)
        elif isinstance(values[0], Mapping):
            total[one.name] = MappingProxyType(dict(sum((Counter(value) for value in values), Counter())))
        elif isinstance(values[0], tuple):
            total[one.name] = tuple(item for value in values for item in value)
        else:
            total[one.name] = sum(values)
    return CopyReport(**total)
