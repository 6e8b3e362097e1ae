"""Copies through a network and services that fail in every way: equal bytes, or a failure that is named; no litter.

Each pair of ends, each fault, several seeds; whether the fault took effect is counted. A few of all combinations run by
default, all of them with `nightly`.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from entrepot import copy
from entrepot.contract import BaseArtifactStore
from entrepot.copies import Compare
from entrepot.errors import StoreError
from entrepot.flavors.azure.store import AzureArtifactStore
from entrepot.flavors.gcp.store import GcpArtifactStore
from entrepot.flavors.local import LocalArtifactStore
from entrepot.flavors.s3.store import S3ArtifactStore
from entrepot.http import pools
from entrepot.http.retry import RetryPolicy
from entrepot.http.transport import Timeouts
from entrepot.models import MIB
from entrepot.paths import TEMPORARY_PREFIX
from entrepot.testing.faults import (
    Close,
    Delay,
    Drip,
    DropReply,
    EmptyOk,
    ErrorBody,
    Fault,
    FaultProxy,
    FlipBits,
    NoLength,
    Reset,
    Rule,
    Stall,
    Status,
    WrongRange,
)
from entrepot.transfer.report import CopyReport

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ENDS = ("local", "s3", "gcs", "azure")
PAIRS = tuple(itertools.permutations(ENDS, 2))
WRITES = ("put", "create_upload", "put_part", "complete")
SMALL, LARGE_BYTES = 12, 20 * MIB + 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault, and of what requests: those that read at the source, or those that write at the target.

    Where the end that it is for is a disk, the other one has it: a read is of a listing of the target then, which a
    copy that compares asks for, or of the reply to a write where that has a body.
    """

    fault: Fault
    reading: bool
    times: int = 2


FAULTS: dict[str, Trouble] = {
    "delay": Trouble(Delay(0.1), reading=False, times=5),
    "stall": Trouble(Stall(), reading=True),
    "drip": Trouble(Drip(200), reading=True, times=1),
    "request reset": Trouble(Reset(at_byte=None, direction="request"), reading=False),
    "reply reset": Trouble(Reset(at_byte=None), reading=True),
    "reply closed": Trouble(Close(at_byte=None), reading=True),
    "reply lost": Trouble(DropReply(), reading=False),
    "bits of requests flipped": Trouble(FlipBits(direction="request"), reading=False),
    "bits of replies flipped": Trouble(FlipBits(), reading=True),
    "busy": Trouble(Status(503), reading=False, times=6),
    "failed after the work": Trouble(Status(500, applied=True), reading=False),
    "error in a 200": Trouble(ErrorBody(), reading=False),
    "empty 200": Trouble(EmptyOk(applied=True), reading=False),
    "wrong range": Trouble(WrongRange(), reading=True),
    "no length": Trouble(NoLength(), reading=True),
}


def chosen() -> Iterator[Any]:
    """Every fault once, on pair after pair; the whole matrix, five seeds each, is for the night."""
    pairs = itertools.cycle(PAIRS)
    for number, name in enumerate(FAULTS):
        pair = next(pair for pair in pairs if can_strike(name, pair))
        yield pytest.param(pair, name, number, id=f"{'-'.join(pair)}-{name}")
    for pair, name, seed in itertools.product(PAIRS, FAULTS, range(100, 105)):
        if can_strike(name, pair):
            yield pytest.param(pair, name, seed, id=f"{'-'.join(pair)}-{name}-{seed}", marks=pytest.mark.nightly)


def can_strike(name: str, pair: tuple[str, str]) -> bool:
    """Whether there is anything to strike. Of a disk no range is asked for, what goes to one is read whole up to
    64 MiB, and the S3 server here answers ranges with 200.
    """
    return name != "wrong range" or not (pair[0] == "s3" or "local" in pair)


def rule_for(name: str, pair: tuple[str, str], seed: int) -> Rule:
    """The fault, for requests that this copy makes, which is often enough for any seed's `nth`."""
    trouble = FAULTS[name]
    fault, nth = trouble.fault, 1 + seed % 3
    if is_at_source(trouble, pair):
        if getattr(fault, "direction", "") == "request":
            fault = type(fault)(direction="reply")  # type: ignore[call-arg]
        ranged = isinstance(fault, WrongRange)  # the large file alone is read in ranges
        return Rule("get", fault, key="*large" if ranged else "*", nth=nth, times=trouble.times)
    if not trouble.reading:
        return Rule(WRITES, fault, nth=nth, times=trouble.times)
    if pair[1] == "azure" or name in ("drip", "no length"):
        # No reply to a write has a body on Azure, and elsewhere none that is long: the one listing is struck.
        return Rule("list", fault, times=trouble.times)
    return Rule((*WRITES, "list"), fault, nth=nth, times=trouble.times)


def is_at_source(trouble: Trouble, pair: tuple[str, str]) -> bool:
    return pair[0] != "local" and (trouble.reading or pair[1] == "local")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits half a minute for a stalled reply, nor between attempts."""
    monkeypatch.setattr(pools, "Timeouts", partial(Timeouts, idle_s=0.5, send_s=2.0, progress_s=1.0))
    monkeypatch.setattr(RetryPolicy, "delay_s", lambda self, failures, error: 0.01)


@dataclass
class End:
    """One end of a copy: a store through a proxy, and the same without it, which is looked at afterwards."""

    store: BaseArtifactStore
    bare: BaseArtifactStore
    proxy: FaultProxy | None = None


@pytest.fixture
def end_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str, int], End]]:
    with ExitStack() as stack:

        def make(kind: str, seed: int) -> End:
            if kind == "local":
                folder = tmp_path / secrets.token_hex(4)
                return End(LocalArtifactStore(folder), LocalArtifactStore(folder))
            if kind == "s3":
                server = request.getfixturevalue("rclone_server")
                bucket = server.create_bucket()
                proxy = stack.enter_context(FaultProxy(server.endpoint_url, seed=seed))
                options = {**server.s3_options, "endpoint_url": proxy.url}
                bare = S3ArtifactStore(f"s3://{bucket}", **server.s3_options)
                return End(S3ArtifactStore(f"s3://{bucket}", **options), bare, proxy)
            if kind == "gcs":
                server = request.getfixturevalue("gcs_server")
                bucket = server.create_bucket()
                proxy = stack.enter_context(FaultProxy(server.endpoint_url, service="gcs", seed=seed))
                options = {**server.options, "endpoint_url": proxy.url}
                bare = GcpArtifactStore(f"gs://{bucket}", **server.options)
                return End(GcpArtifactStore(f"gs://{bucket}", **options), bare, proxy)
            server = request.getfixturevalue("azurite_server")
            container = server.create_container()
            proxy = stack.enter_context(FaultProxy(server.endpoint_url, service="azure", seed=seed))
            options = {**server.azure_options, "endpoint_url": proxy.url}
            bare = AzureArtifactStore(f"az://{container}", **server.azure_options)
            return End(AzureArtifactStore(f"az://{container}", **options), bare, proxy)

        yield make


def content() -> dict[str, bytes]:
    files = {f"d{number % 3}/{number:02}": secrets.token_bytes(4096 + number) for number in range(SMALL)}
    return {**files, "empty": b"", "large": secrets.token_bytes(LARGE_BYTES)}


async def fill(store: BaseArtifactStore, files: dict[str, bytes], top: str = "src") -> None:
    for path, data in files.items():
        if store.is_local:
            await store.makedirs(f"{top}/{path}".rpartition("/")[0])
        await store.write_bytes(f"{top}/{path}", data)


async def hashes(store: BaseArtifactStore, top: str) -> dict[str, str]:
    found = {}
    async for entry in store.scan(top):
        if not entry.is_dir:
            relative = entry.uri.removeprefix(f"{store.path.rstrip('/')}/{top}/")
            found[relative] = hashlib.sha256(await store.read_bytes(entry.uri)).hexdigest()
    return found


async def require_no_litter(store: BaseArtifactStore) -> None:
    if isinstance(store, LocalArtifactStore):
        assert not temporaries(store.path)
    elif isinstance(store, S3ArtifactStore):
        assert await store.client.list_uploads() == []


def temporaries(top: str) -> list[Path]:
    return list(Path(top).rglob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.holds("every-pair")
@pytest.mark.parametrize(("pair", "name", "seed"), list(chosen()))
async def test_a_copy_through_trouble_is_equal_or_says_what_is_not(
    pair: tuple[str, str], name: str, seed: int, end_of: Callable[[str, int], End]
) -> None:
    source, sink = end_of(pair[0], seed), end_of(pair[1], seed)
    files = content()
    await fill(source.bare, files)
    trouble = FAULTS[name]
    proxy = source.proxy if is_at_source(trouble, pair) else sink.proxy
    assert proxy is not None
    rule = rule_for(name, pair, seed)
    compares = trouble.reading and pair[0] == "local"
    if compares:  # by size, so that what is there is of another one: a listing with much in it, of old files
        await fill(sink.bare, {path: b"old" for path in files if path != "large"}, top="dst")
    proxy.add(rule)
    report: CopyReport | None = None
    try:
        async with source.store, sink.store:
            compare: Compare = "size" if compares else "always"
            report = await copy((source.store, "src"), (sink.store, "dst"), compare=compare)
    except StoreError as error:
        report = None
        failure = error
    finally:
        proxy.clear()
    expected = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    async with sink.bare:
        found = await hashes(sink.bare, "dst") if await sink.bare.isdir("dst") else {}
        await require_no_litter(sink.bare)
    if report is None:
        assert failure.uri, failure
    else:
        named = {item.target.rpartition("/dst/")[2] for item in report.failed}
        doubted = {file.uri.rpartition("/src/")[2] for file in report.unverified}
        assert set(expected) - set(found) <= named, report.failed
        wrong = {path for path in found if found[path] != expected[path]}
        assert wrong <= named | doubted, f"{wrong}: wrong bytes, and nobody says so"
    assert proxy.hits[type(rule.fault).__name__] >= 1, f"{name} never happened"
