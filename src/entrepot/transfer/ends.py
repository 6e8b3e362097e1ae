"""Before anything moves: what is at both ends, whether they lie apart, and by which rules to plan."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import cast

from entrepot.errors import InvalidPath, IsADirectory, UnsupportedOperation
from entrepot.models import FileStat
from entrepot.paths import join, printable, refusal
from entrepot.rates import Rate
from entrepot.transfer.compare import Comparison
from entrepot.transfer.plan import CopyOptions, Rules
from entrepot.transfer.ports import LinkedSource, Located, Sink, Source


def require_possible(source: Source, source_path: str, sink: Sink, options: CopyOptions) -> None:
    """Raise UnsupportedOperation for what no copy from this source to this target can do."""
    if options.links == "skip" or not source.capabilities.links:
        return
    if options.delete_source:
        raise UnsupportedOperation(
            f"links={options.links!r} is not possible: a move leaves symbolic links where they are; copy instead",
            operation="move",
            uri=join(source.path, source_path),
        )
    if options.links == "preserve" and not sink.capabilities.links:
        raise UnsupportedOperation(
            "links='preserve' is not possible: only a local directory keeps symbolic links; "
            "links='follow' copies what they lead to, links='skip' leaves them out",
            operation="copy",
            uri=sink.path,
        )


@contextmanager
def paced(source: Source, sink: Sink, options: CopyOptions) -> Generator[None]:
    """Both ends ask as fast as the options say, while the `with` lasts; the rate is of both together."""
    rate = Rate(options.requests_per_second) if options.requests_per_second is not None else None
    with (
        source.paced(concurrency=options.concurrency, rate=rate),
        sink.paced(concurrency=options.concurrency, rate=rate),
    ):
        yield


def require_kind(found: FileStat, sink: Sink, sink_path: str, options: CopyOptions) -> None:
    """Raise IsADirectory for a tree that was not asked for, and for a file without a name at its target."""
    if found.is_dir and not options.recursive:
        raise IsADirectory("it is a directory: copy it with recursive=True (-r)", operation="copy", uri=found.uri)
    if not found.is_dir and not sink_path.removesuffix("/"):
        raise IsADirectory(
            "the target of a file needs a name: add one, or put it there by its own name (--into)",
            operation="copy",
            uri=sink.path,
        )


async def rules_of(
    source: Source, sink: Sink, found: FileStat, target: str, options: CopyOptions
) -> tuple[Rules, bool]:
    """What the planner goes by, and whether the sink itself decides that a target is new. Raises InvalidPath."""
    if target and (reason := refusal(target)) is not None:
        raise InvalidPath(reason, operation="copy", uri=printable(join(sink.path, target)))
    # What a disk copies by itself moves at its own speed; on a service's side nothing goes over a line of ours.
    bounded = sink.is_local and options.bandwidth_bytes_s is not None
    native = not bounded and sink.copies_natively_from(source)
    source_in_target = _overlap(source, sink, found, target, native=native)
    exclusive = False
    if options.compare in (Comparison.SKIP_EXISTING, Comparison.ERROR):
        capabilities = await sink.probe_capabilities()
        exclusive = bool(capabilities.exclusive_copy if native else capabilities.exclusive_create)
    rules = Rules(
        source_root=found.uri,
        separator=_separator(found.uri),
        target_root=target,
        limits=sink.limits,
        batch_items=max(1, sink.batch_items if native else source.batch_items),
        native=native,
        source_in_target=source_in_target,
        part_threshold_bytes=options.part_size_bytes,
    )
    return rules, exclusive


def _overlap(source: Source, sink: Sink, found: FileStat, target: str, *, native: bool) -> str | None:
    """The source's path in the target store where it lies in the target's tree, None where the two lie apart.

    Raises InvalidPath for a target inside its own source, and for a copy onto itself.
    """
    # The same address at two services is two places; one service is known by what it can copy by itself.
    same: object = source
    if not (same is sink or native or (source.is_local and sink.is_local)):
        return None
    origin, goal, root = (_comparable(one) for one in (found.uri, join(sink.path, target), sink.path))
    if goal == origin or (found.is_dir and goal.startswith(origin.rstrip("/") + "/")):
        what = "the target is the source itself" if goal == origin else "the target lies inside its own source"
        raise InvalidPath(f"{what}; choose another target", operation="copy", uri=join(sink.path, target))
    below_root = root.rstrip("/") + "/"
    if origin.startswith(goal.rstrip("/") + "/") and origin.startswith(below_root):
        return origin[len(below_root) :]
    return None


def _separator(address: str) -> str:
    """What stands between the names of an address."""
    return "/" if "://" in address else os.sep


def real_path(address: str) -> str:
    """The address with symbolic links resolved, where it is a path of this machine."""
    return address if "://" in address else os.path.realpath(address)


def _comparable(address: str) -> str:
    """As `real_path`, with `/` between names, and in one case where the system knows no other."""
    return address if "://" in address else os.path.normcase(real_path(address)).replace(os.sep, "/")


def scan_of(source: Located, path: str) -> AsyncGenerator[FileStat, None]:
    """A scan that also tells what is to be left out, where the source knows such things."""
    if source.capabilities.links:
        return cast("LinkedSource", source).scan(path, links=True)
    return source.scan(path)
