"""What a copy promises, on a store of nothing but the contract's methods."""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio
import pytest

from entrepot.errors import (
    AlreadyExists,
    ConnectionFailed,
    ContainerNotFound,
    CredentialsMissing,
    InvalidPath,
    IsADirectory,
    NoSpace,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    SourceChanged,
    StoreError,
    UnsupportedOperation,
)
from entrepot.models import KIB, MIB, FileStat
from entrepot.paths import StrPath
from entrepot.transfer import events
from entrepot.transfer.engine import CopyOptions, CopyReport, copy_between
from entrepot.transfer.verify import Verify
from plain_store import PlainStore, failing, no_fault

pytestmark = pytest.mark.anyio

TREE = CopyOptions(recursive=True)
NAMES = ["a", "dir/b c", "dir/%41+#?", "dir/deep/é", "dir/deep/日本", "empty"]


@pytest.fixture
def source() -> PlainStore:
    return PlainStore("plain://source/root")


@pytest.fixture
def sink() -> PlainStore:
    return PlainStore("plain://sink/root")


def fill(store: PlainStore, below: str, count: int = 40) -> dict[str, bytes]:
    content = {f"{below}/{number // 10}/{number:04}": b"%d" % number * (number % 7) for number in range(count)}
    for path, data in content.items():
        store.put(path, data)
    return content


def pattern(size: int) -> bytes:
    return bytes(range(251)) * (size // 251 + 1)


# ---- what lands where -----------------------------------------------------------------------------------


async def test_a_trees_content_lands_below_the_target(source: PlainStore, sink: PlainStore) -> None:
    for name in NAMES:
        source.put(f"src/{name}", name.encode() if name != "empty" else b"")
    report = await copy_between(source, "src", sink, "to/dst", options=TREE)
    assert sink.contents() == {f"to/dst/{name}": name.encode() if name != "empty" else b"" for name in sorted(NAMES)}
    assert (report.ok, report.files, report.bytes) == (True, 6, sum(len(n.encode()) for n in NAMES[:-1]))
    assert source.drafts == sink.drafts == []


async def test_a_whole_store_is_copied_into_a_root(source: PlainStore, sink: PlainStore) -> None:
    source.put("a/b", b"1")
    assert (await copy_between(source, "", sink, "", options=TREE)).files == 1
    assert sink.contents() == {"a/b": b"1"}


async def test_a_file_lands_at_the_target_itself(source: PlainStore, sink: PlainStore) -> None:
    source.put("a", b"1")
    report = await copy_between(source, "a", sink, "x/y", options=CopyOptions())
    assert sink.contents() == {"x/y": b"1"}
    assert report.files == 1


async def test_trailing_slashes_change_nothing(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/a", b"1")
    await copy_between(source, "src/", sink, "dst/", options=TREE)
    assert sink.contents() == {"dst/a": b"1"}


async def test_a_file_needs_a_name_at_the_target(source: PlainStore, sink: PlainStore) -> None:
    source.put("a", b"1")
    with pytest.raises(IsADirectory, match="--into"):
        await copy_between(source, "a", sink, "", options=CopyOptions())


async def test_a_directory_needs_recursive(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/a", b"1")
    with pytest.raises(IsADirectory, match="-r"):
        await copy_between(source, "src", sink, "dst", options=CopyOptions())


async def test_a_missing_source_is_not_found(source: PlainStore, sink: PlainStore) -> None:
    with pytest.raises(NotFound):
        await copy_between(source, "none", sink, "dst", options=TREE)


@pytest.mark.parametrize("target", ["src", "src/", "src/below", "src/below/deeper"])
async def test_a_target_inside_its_own_source_is_refused_before_any_write(source: PlainStore, target: str) -> None:
    source.put("src/a", b"1")
    with pytest.raises(InvalidPath, match="source"):
        await copy_between(source, "src", source, target, options=TREE)
    assert source.contents() == {"src/a": b"1"}
    assert source.count("open_writer") == 0


async def test_a_sibling_with_the_same_prefix_is_no_target_inside_the_source(source: PlainStore) -> None:
    source.put("src/a", b"1")
    await copy_between(source, "src", source, "src2", options=TREE)
    assert source.contents() == {"src/a": b"1", "src2/a": b"1"}


async def test_what_would_overwrite_the_source_while_it_is_read_fails_alone(source: PlainStore) -> None:
    source.put("top/src/a", b"1")
    source.put("top/src/src/a", b"2")
    report = await copy_between(source, "top/src", source, "top", options=TREE)
    assert source.contents() == {"top/a": b"1", "top/src/a": b"1", "top/src/src/a": b"2"}
    assert [item.target for item in report.failed] == ["plain://source/root/top/src/a"]


@pytest.mark.parametrize("target", ["../out", "a//b", "a/\x01"])
async def test_a_target_that_no_store_keeps_is_refused(source: PlainStore, sink: PlainStore, target: str) -> None:
    source.put("a", b"1")
    with pytest.raises(InvalidPath):
        await copy_between(source, "a", sink, target, options=CopyOptions())


# ---- sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB + 17])
async def test_every_size_arrives(source: PlainStore, sink: PlainStore, size: int) -> None:
    source.put("a", pattern(size)[:size])
    report = await copy_between(source, "a", sink, "b", options=CopyOptions())
    assert sink.files["b"] == source.files["a"]
    assert report.bytes == size


async def test_large_files_move_beside_small_ones(source: PlainStore, sink: PlainStore) -> None:
    content = {"src/0-large": pattern(20 * MIB)[: 20 * MIB]} | fill(source, "src", 200)
    source.put("src/0-large", content["src/0-large"])
    order: list[str] = []

    def note(event: events.Event) -> None:
        if isinstance(event, events.Started):
            order.append("start")
        if isinstance(event, events.Copied):
            order.extend(file.target for file in event.files)

    await copy_between(source, "src", sink, "dst", options=TREE, on_event=note)
    assert sink.contents() == {path.replace("src", "dst", 1): data for path, data in sorted(content.items())}
    assert order.index("dst/0-large") > order.index("start") + 1


# ---- overwrite ------------------------------------------------------------------------------------------


async def test_overwriting_is_the_default_and_looks_at_nothing(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/a", b"new")
    sink.put("dst/a", b"old")
    await copy_between(source, "src", sink, "dst", options=TREE)
    assert sink.contents() == {"dst/a": b"new"}
    assert {name for name, _ in sink.log} == {"open_writer", "write", "publish"}


@pytest.mark.parametrize("exclusive", [True, False])
async def test_existing_targets_are_skipped(source: PlainStore, sink: PlainStore, exclusive: bool) -> None:
    sink.told = replace(sink.told, exclusive_create=exclusive)
    content = fill(source, "src")
    source.put("src/large", pattern(9 * MIB))
    sink.put("dst/0/0003", b"old")
    sink.put("dst/large", b"old")
    seen: list[events.Event] = []
    options = replace(TREE, compare="skip-existing")
    report = await copy_between(source, "src", sink, "dst", options=options, on_event=seen.append)
    assert (report.ok, report.skipped, report.files) == (True, 2, len(content) - 1)
    assert sink.files["dst/0/0003"] == sink.files["dst/large"] == b"old"
    assert sum(isinstance(event, events.Skipped) for event in seen) == 2
    assert sink.count("listdir") == 0 if exclusive else sink.count("listdir") > 0
    assert sink.drafts == []


@pytest.mark.parametrize("exclusive", [True, False])
async def test_an_existing_target_of_a_file_is_skipped(source: PlainStore, sink: PlainStore, exclusive: bool) -> None:
    sink.told = replace(sink.told, exclusive_create=exclusive)
    source.put("a", b"new")
    sink.put("b", b"old")
    report = await copy_between(source, "a", sink, "b", options=CopyOptions(compare="skip-existing"))
    assert (report.skipped, report.files) == (1, 0)
    assert sink.contents() == {"b": b"old"}


@pytest.mark.parametrize("size", [1, 9 * MIB])
async def test_a_target_that_appears_meanwhile_is_skipped(source: PlainStore, sink: PlainStore, size: int) -> None:
    source.put("src/a", bytes(size))

    async def appear(name: str, path: str) -> None:
        await anyio.lowlevel.checkpoint()
        if name == "publish":
            sink.put(path, b"theirs")

    sink.fault = appear
    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, compare="skip-existing"))
    assert (report.ok, report.skipped, report.files) == (True, 1, 0)
    assert sink.contents() == {"dst/a": b"theirs"}
    assert sink.drafts == []


# ---- directories ----------------------------------------------------------------------------------------


async def test_empty_directories_are_made(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/full/a", b"1")
    source.folders |= {"src/full", "src/nothing", "src/deep", "src/deep/nothing"}
    report = await copy_between(source, "src", sink, "dst", options=TREE)
    assert sink.folders == {"dst/nothing", "dst/deep/nothing"}
    assert (report.directories, report.empty_directories_skipped) == (2, 0)


async def test_empty_directories_that_the_target_cannot_keep_are_counted(source: PlainStore, sink: PlainStore) -> None:
    sink.told = replace(sink.told, empty_directories=False)
    source.put("src/full/a", b"1")
    source.folders |= {"src/full", "src/nothing"}
    report = await copy_between(source, "src", sink, "dst", options=TREE)
    assert (report.ok, report.directories, report.empty_directories_skipped) == (True, 0, 1)
    assert sink.folders == set()


async def test_a_tree_without_anything_is_a_directory_at_the_target(source: PlainStore, sink: PlainStore) -> None:
    source.folders.add("src")
    await copy_between(source, "src", sink, "dst", options=TREE)
    assert sink.folders == {"dst"}


# ---- dry run --------------------------------------------------------------------------------------------


async def test_a_dry_run_plans_and_changes_nothing(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src")
    source.put("src/large", pattern(20 * MIB)[: 20 * MIB])
    source.folders.add("src/nothing")
    steps: list[dict[str, object]] = []

    def note(event: events.Event) -> None:
        if isinstance(event, events.StepPlanned):
            steps.append(event.step.to_json())

    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, dry_run=True), on_event=note)
    assert (report.dry_run, report.files, report.directories) == (True, 41, 1)
    assert {name for name, _ in sink.log} <= {"listdir", "stat"}
    assert {step["step"] for step in steps} == {"whole", "parts", "directories"}
    assert next(step for step in steps if step["step"] == "parts")["parts"] == 3


# ---- failures of items ----------------------------------------------------------------------------------


class OnThisMachine(PlainStore):
    """A store where a refused file says nothing of the others."""

    is_local = True


async def test_failures_are_recorded_and_the_copy_goes_on(source: PlainStore) -> None:
    sink = OnThisMachine("plain://sink/root")
    fill(source, "src", 1_000)
    sink.fault = failing("publish", PermissionDenied("no", uri="x"), lambda path: path.endswith("7"))
    seen: list[events.Event] = []
    report = await copy_between(source, "src", sink, "dst", options=TREE, on_event=seen.append)
    assert (report.files, len(report.failed), report.ok) == (900, 100, False)
    assert sum(isinstance(event, events.Failed) for event in seen) == 100
    assert {item.reason for item in report.failed} == {"no"}
    assert all(item.target.startswith("plain://sink/root/dst/") for item in report.failed)
    assert all(item.error.__traceback__ is None for item in report.failed)
    assert sink.drafts == []
    pickle.loads(pickle.dumps(report.failed))


class Hostile(PlainStore):
    """A store whose listing names what no store may keep."""

    entries: tuple[str, ...] = ()

    async def scan(self, path: StrPath = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        await self._begin("listdir", path)
        for uri in self.entries:
            yield FileStat(uri, 1)


async def test_hostile_names_fail_alone_and_write_nothing_outside(sink: PlainStore) -> None:
    source = Hostile("plain://source/root")
    source.put("src/good", b"1")
    base = "plain://source/root/src"
    source.entries = (
        f"{base}/../evil",
        f"{base}/a//b",
        f"{base}//absolute",
        f"{base}/./x",
        f"{base}/bell\x07",
        f"{base}/{'n' * 2_000}",
        f"{base}/.~entrepot-0123",
        f"{base}/sur\udcffrogate",
        "plain://source/root/srcEVIL/x",
        "plain://elsewhere/x",
        "/etc/passwd",
        base,
        f"{base}/good",
    )
    report = await copy_between(source, "src", sink, "dst", options=TREE)
    assert sink.contents() == {"dst/good": b"1"}
    assert (report.files, len(report.failed)) == (1, 12)
    for item in report.failed:
        assert item.reason
        item.source.encode()
        assert "\x07" not in item.source


@pytest.mark.holds("changed-source")
@pytest.mark.parametrize("size", [100, 9 * MIB])
@pytest.mark.parametrize("then", [b"", b"shorter", b"x" * (9 * MIB)])
async def test_a_source_that_changes_is_its_own_failure(
    source: PlainStore, sink: PlainStore, size: int, then: bytes
) -> None:
    source.put("src/a", pattern(size)[:size])
    source.put("src/b", b"1")
    sink.put("dst/a", b"before")

    async def change(name: str, path: str) -> None:
        await anyio.lowlevel.checkpoint()
        if name == "open_reader" and path == "src/a":
            source.fault = no_fault
            source.put("src/a", then)

    source.fault = change
    report = await copy_between(source, "src", sink, "dst", options=TREE)
    assert [type(item.error) for item in report.failed] == [SourceChanged]
    assert sink.contents() == {"dst/a": b"before", "dst/b": b"1"}
    assert sink.drafts == []


async def test_a_failing_part_publishes_nothing(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/large", pattern(40 * MIB))
    source.put("src/small", b"1")
    writes = 0

    async def fault(name: str, path: str) -> None:
        nonlocal writes
        await anyio.lowlevel.checkpoint()
        if name == "write" and path == "dst/large":
            writes += 1
            if writes == 3:
                raise ServiceUnavailable("503", uri=path)

    sink.fault = fault
    seen: list[events.Event] = []
    report = await copy_between(source, "src", sink, "dst", options=TREE, on_event=seen.append)
    assert [item.reason for item in report.failed] == ["503"]
    assert sink.contents() == {"dst/small": b"1"}
    assert sink.drafts == []
    failed = next(event for event in seen if isinstance(event, events.Failed))
    assert failed.told_bytes == 16 * MIB


# ---- failures of everything -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ContainerNotFound("no bucket", uri="plain://sink"),
        CredentialsMissing("none", uri="plain://sink"),
        PermissionDenied("refused", uri="plain://sink"),
        ConnectionFailed("unreachable", uri="plain://sink"),
        NoSpace("full", uri="plain://sink"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_that_every_item_would_meet_ends_the_copy(
    source: PlainStore, sink: PlainStore, error: StoreError
) -> None:
    fill(source, "src", 1_000)
    sink.fault = failing("open_writer", error)
    seen: list[events.Event] = []
    with pytest.raises(type(error)):
        await copy_between(source, "src", sink, "dst", options=TREE, on_event=seen.append)
    assert sink.count("open_writer") < 200
    assert isinstance(seen[-1], events.Stopped)
    assert seen[-1].report.files == 0
    assert sink.drafts == []


async def test_a_service_that_keeps_failing_ends_the_copy(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src", 1_000)
    sink.fault = failing("open_writer", ServiceUnavailable("503"))
    with pytest.raises(ServiceUnavailable):
        await copy_between(source, "src", sink, "dst", options=TREE)
    assert sink.count("open_writer") < 300


async def test_a_listing_that_fails_ends_the_copy(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src")
    source.fault = failing("listdir", PermissionDenied("not yours"), lambda path: path == "src/2")
    with pytest.raises(PermissionDenied, match="not yours"):
        await copy_between(source, "src", sink, "dst", options=TREE)


async def test_a_defect_of_a_store_is_raised_as_it_is(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src")

    async def fault(name: str, path: str) -> None:
        await anyio.lowlevel.checkpoint()
        if path.endswith("0031"):
            raise ZeroDivisionError

    sink.fault = fault
    with pytest.raises(ZeroDivisionError):
        await copy_between(source, "src", sink, "dst", options=TREE)
    assert sink.drafts == []


async def test_a_callback_that_raises_ends_the_copy(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src")

    def explode(event: events.Event) -> None:
        if isinstance(event, events.Copied):
            raise LookupError

    with pytest.raises(LookupError):
        await copy_between(source, "src", sink, "dst", options=TREE, on_event=explode)


@pytest.mark.parametrize("values", [{"concurrency": 0}, {"memory_bytes": 0}, {"part_size_bytes": 0}])
def test_options_are_checked(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        CopyOptions(**values)  # type: ignore[arg-type]


# ---- moving ---------------------------------------------------------------------------------------------


async def test_moving_removes_what_was_copied(source: PlainStore, sink: PlainStore) -> None:
    content = fill(source, "src")
    source.folders |= {"src", "src/nothing"}
    options = replace(TREE, delete_source=True, verify=Verify.SIZE)
    report = await copy_between(source, "src", sink, "dst", options=options)
    assert (report.ok, report.removed) == (True, len(content))
    assert len(sink.files) == len(content)
    assert source.contents() == {}
    assert source.folders == set()
    assert {how.options.durability for how in sink.written.values()} == {"batch"}


async def test_moving_keeps_what_nothing_vouches_for(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/a", b"1")
    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, delete_source=True))
    assert [type(item.error) for item in report.failed] == [UnsupportedOperation]
    assert source.contents() == {"src/a": b"1"}


async def test_moving_keeps_a_source_that_changed_after_its_copy(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/a", b"1")
    source.put("src/b", b"1")

    async def change(name: str, path: str) -> None:
        await anyio.lowlevel.checkpoint()
        if name == "publish" and path == "dst/a":
            source.put("src/a", b"2")

    sink.fault = change
    options = replace(TREE, delete_source=True, verify=Verify.SIZE)
    report = await copy_between(source, "src", sink, "dst", options=options)
    assert [type(item.error) for item in report.failed] == [SourceChanged]
    assert source.contents() == {"src/a": b"2"}


async def test_moving_keeps_what_could_not_be_copied(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src")
    sink.fault = failing("publish", IsADirectory("in the way"), lambda path: path.endswith("0007"))
    options = replace(TREE, delete_source=True, verify=Verify.SIZE)
    report = await copy_between(source, "src", sink, "dst", options=options)
    assert len(report.failed) == 1
    assert list(source.files) == ["src/0/0007"]


# ---- report ---------------------------------------------------------------------------------------------


async def test_the_report_and_its_json(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src", 150)
    sink.fault = failing("publish", AlreadyExists("odd"), lambda path: path.endswith("0140"))
    report = await copy_between(source, "src", sink, "dst", options=TREE)
    assert report.unverified_files == 149
    assert len(report.unverified) == 100
    assert report.verified == {}
    shown = report.to_json()
    assert shown["failed"] == [
        {
            "source": "plain://source/root/src/14/0140",
            "target": "plain://sink/root/dst/14/0140",
            "error": "AlreadyExists",
            "reason": "odd",
        }
    ]
    assert set(shown) == {"ok", *(field for field in CopyReport.__slots__)}


async def test_events_tell_the_whole_story(source: PlainStore, sink: PlainStore) -> None:
    content = fill(source, "src", 3_000)
    source.put("src/large", pattern(20 * MIB)[: 20 * MIB])
    seen: list[events.Event] = []
    report = await copy_between(source, "src", sink, "dst", options=TREE, on_event=seen.append)
    copied = [event for event in seen if isinstance(event, events.Copied)]
    assert sum(len(event.files) for event in copied) == report.files == len(content) + 1
    assert sum(event.size_bytes for event in copied) == report.bytes
    parts = [event for event in seen if isinstance(event, events.Progress)]
    assert sum(part.size_bytes for part in parts) == 20 * MIB == sum(event.told_bytes for event in copied)
    planned = [event for event in seen if isinstance(event, events.Planned)]
    assert [event.complete for event in planned] == [False] * (len(planned) - 1) + [True]
    assert (planned[-1].files, planned[-1].size_bytes) == (report.files, report.bytes)


class Paged(PlainStore):
    """A store whose listing comes in pages, as a service's does."""

    async def scan(self, path: StrPath = "", recursive: bool = True) -> AsyncGenerator[FileStat, None]:
        before = await self._begin("listdir", path) + "/"
        for key in sorted(self.files):
            if key.startswith(before):
                yield self.look(key)


async def test_small_files_cost_few_events(sink: PlainStore) -> None:
    source = Paged("plain://source/root")
    fill(source, "src", 2_000)
    seen: list[events.Event] = []
    await copy_between(source, "src", sink, "dst", options=TREE, on_event=seen.append)
    assert len(seen) < 300


async def test_a_large_file_that_may_not_be_read_fails_alone(source: PlainStore, sink: PlainStore) -> None:
    source.put("src/0-large", pattern(9 * MIB))
    source.put("src/small", b"1")
    refused = PermissionDenied("not yours", uri="plain://source/root/src/0-large")
    source.fault = failing("open_reader", refused, lambda path: path == "src/0-large")
    report = await copy_between(source, "src", sink, "dst", options=TREE)
    assert [item.reason for item in report.failed] == ["not yours"]
    assert sink.contents() == {"dst/small": b"1"}


@pytest.mark.parametrize("operation", ["open_reader", "publish"])
async def test_a_service_that_refuses_every_file_ends_the_copy(
    source: PlainStore, sink: PlainStore, operation: str
) -> None:
    fill(source, "src", 1_000)
    store = source if operation == "open_reader" else sink
    refused = PermissionDenied("refused", uri="plain://source/root/src")
    store.fault = failing(operation, refused)
    with pytest.raises(PermissionDenied):
        await copy_between(source, "src", sink, "dst", options=TREE)
    assert store.count(operation) < 300


async def test_a_move_whose_source_may_not_be_removed_ends(source: PlainStore, sink: PlainStore) -> None:
    fill(source, "src", 1_000)
    refused = PermissionDenied("may not delete", uri="plain://source/root/src")
    source.fault = failing("remove", refused)
    with pytest.raises(PermissionDenied, match="may not delete"):
        await copy_between(source, "src", sink, "dst", options=replace(TREE, delete_source=True, verify=Verify.SIZE))
    assert source.count("remove") < 300
    assert len(source.files) == 1_000


async def test_targets_that_are_left_alone_make_no_directory(source: PlainStore, sink: PlainStore) -> None:
    sink.told = replace(sink.told, exclusive_create=False)
    source.put("src/a", b"new")
    sink.put("dst/a", b"old")
    report = await copy_between(source, "src", sink, "dst", options=replace(TREE, compare="skip-existing"))
    assert (report.skipped, report.directories) == (1, 0)
    assert sink.folders == set()


@pytest.mark.parametrize("values", [{"links": "folow"}, {"durability": "ful"}])
def test_words_of_options_are_checked(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        CopyOptions(**values)  # type: ignore[arg-type]
