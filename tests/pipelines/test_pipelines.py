"""Steps and pipelines: what runs at once, what is kept, what is used again, and what a failure or a kill leaves."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel, Field, SecretStr

from cli.programs import environment, program, server_settings
from cli.test_program import terminal, wait_until
from entrepot import LocalArtifactStore, SyncArtifactStore, fileio, open_store_sync
from entrepot.errors import ChecksumMismatch, ConfigurationError, NotFound, ServiceUnavailable
from entrepot.opened import opened
from entrepot.pipelines import (
    Materializer,
    Pipeline,
    StepFailed,
    pipeline,
    read_artifact,
    register_materializer,
    step,
)
from entrepot.pipelines.runs import RunRecord
from entrepot.testing.servers import Server


@pytest.fixture(autouse=True)
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("ENTREPOT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "store")


def of(*steps: Any, **settings: Any) -> Pipeline:
    """A pipeline of steps that take nothing."""

    @pipeline(name=settings.get("name", "of_these"))
    def these() -> None:
        for one in steps:
            one()

    return these


class Secretive(BaseModel):
    token: SecretStr


@dataclass
class Wrapped:
    inner: Any


def statuses(record: RunRecord) -> dict[str, str]:
    return {name: one.status for name, one in record.steps.items()}


# ---- how they run ---------------------------------------------------------------------------------------


def test_blocking_and_async_steps_give_each_other_what_they_make(store: LocalArtifactStore) -> None:
    @step
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @step
    async def total(values: list[int], *, start: int = 0) -> Annotated[int, "sum"]:
        await anyio.lowlevel.checkpoint()
        return sum(values, start)

    @step
    def split(values: list[int]) -> tuple[Annotated[list[int], "low"], Annotated[list[int], "high"]]:
        return values[:5], values[5:]

    @step
    def join(parts: list[list[int]]) -> list[int]:
        return [one for part in parts for one in part]

    @step
    def nothing(value: int) -> None:
        assert value == 145

    @pipeline
    def adding(count: int) -> None:
        values = numbers(count)
        nothing(total(values, start=100))
        low, high = split(values)
        numbers(2)
        join([high, low])

    run = adding(10, store=store)
    assert run.load("total") == 145
    assert (run.load("split", "low"), run.load("split", "high")) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
    assert run.load("join") == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert run.load("numbers_2") == [0, 1]
    assert statuses(run.record) == dict.fromkeys(
        ["numbers", "total", "nothing", "split", "numbers_2", "join"], "completed"
    )
    assert run.record.steps["nothing"].outputs == {}
    with pytest.raises(ConfigurationError, match="low, high"):
        run.load("split")
    with pytest.raises(ConfigurationError, match="no step 'nope'"):
        run.load("nope")
    assert numbers(3) == [0, 1, 2], "a step by itself is its function"


def test_what_steps_gave_is_taken_from_within_lists_and_dictionaries(store: LocalArtifactStore) -> None:
    @step
    def one() -> int:
        return 1

    @step
    def use(value: dict[str, Any], **more: Any) -> list[Any]:
        return [value, more]

    @pipeline
    def nested() -> None:
        given = one()
        use({"a": [given, [given, 2]], "b": "as it is"}, c=given)

    assert nested(store=store).load("use") == [{"a": [1, [1, 2]], "b": "as it is"}, {"c": 1}]


@pytest.mark.anyio
async def test_a_pipeline_is_awaited(store: LocalArtifactStore) -> None:
    @step
    async def hello(name: str) -> str:
        return f"hello {name}"

    @pipeline
    def greeting(name: str) -> None:
        hello(name)

    run = await greeting.run("you", store=store)
    assert await run.read("hello") == "hello you"


def test_steps_that_do_not_wait_for_each_other_run_at_once(store: LocalArtifactStore) -> None:
    """Each waits until all have begun: one after another, none would end."""
    threads, tasks = threading.Barrier(2, timeout=30), asyncio.Event()
    begun: list[str] = []

    def blocking(name: str) -> Any:
        @step(name=name, enable_cache=False)
        def body() -> None:
            threads.wait()

        return body

    def awaited(name: str) -> Any:
        @step(name=name, enable_cache=False)
        async def body() -> None:
            begun.append(name)
            if len(begun) == 2:
                tasks.set()
            await asyncio.wait_for(tasks.wait(), 30)

        return body

    run = of(blocking("a"), blocking("b"), awaited("c"), awaited("d"))(store=store)
    assert set(statuses(run.record).values()) == {"completed"}


def test_blocking_steps_leave_the_store_its_threads(store: LocalArtifactStore) -> None:
    """More of them than a loop has threads, and each waits for the last one, which is told by an async step."""
    assert program("orchestrator", "register", "wide", "--flavor=local", "--concurrency=50").code == 0
    assert program("stack", "register", "wide", "-o", "wide", "--set").code == 0
    together, told = threading.Barrier(45, timeout=60), threading.Event()

    def blocking(number: int) -> Any:
        @step(name=f"s{number}", enable_cache=False)
        def body() -> None:
            together.wait()
            assert told.wait(60)

        return body

    @step(enable_cache=False)
    async def first() -> int:
        return 1

    @step(enable_cache=False)
    def second(value: int) -> None:
        told.set()

    @pipeline
    def crowded() -> None:
        for number in range(45):
            blocking(number)()
        second(first())

    assert set(statuses(crowded(store=store).record).values()) == {"completed"}


def test_no_more_run_at_once_than_the_orchestrator_says(store: LocalArtifactStore) -> None:
    assert program("orchestrator", "register", "narrow", "--flavor=local", "--concurrency=1").code == 0
    assert program("stack", "register", "narrow", "-o", "narrow", "--set").code == 0
    running, most = [0], [0]

    def one(name: str) -> Any:
        @step(name=name, enable_cache=False)
        async def body() -> None:
            running[0] += 1
            most[0] = max(most[0], running[0])
            await anyio.sleep(0.01)
            running[0] -= 1

        return body

    of(*map(one, "abcd"))(store=store)
    assert most == [1]


def test_a_failure_names_its_step_and_leaves_no_half_artifact(store: LocalArtifactStore, tmp_path: Path) -> None:
    started = threading.Event()

    @step(enable_cache=False)
    def bad() -> dict[str, int]:
        assert started.wait(30)
        raise ZeroDivisionError("by design")

    @step(enable_cache=False)
    async def endless() -> int:
        started.set()
        await anyio.sleep_forever()
        return 1

    @step
    def after(value: Any) -> int:
        return 1

    @pipeline
    def failing() -> None:
        after(bad())
        endless()

    with pytest.raises(StepFailed, match=r"step 'bad' failed \(ZeroDivisionError: by design\)") as told:
        failing(store=store)
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    shown = program("runs", "show", "latest", "--store", str(tmp_path / "store"), "--json").value
    assert shown["status"] == "failed"
    assert [(one["name"], one["status"]) for one in shown["steps"]] == [
        ("bad", "failed"), ("after", "cancelled"), ("endless", "cancelled"),
    ]  # fmt: skip
    assert program("artifacts", "list", "--store", str(tmp_path / "store")).lines[1:] == []


class Breaking(LocalArtifactStore):
    """Writes to it fail from some moment on, but for a path that ends as given."""

    broken_but: str | None = None

    async def write_bytes(self, path: Any, *args: Any, **settings: Any) -> Any:
        if self.broken_but is not None and not str(path).endswith(self.broken_but):
            raise ServiceUnavailable("by design", operation="write", uri=str(path))
        return await super().write_bytes(path, *args, **settings)


@pytest.mark.parametrize("makes", ["a value", "nothing", "an error"])
def test_a_store_that_fails_does_not_hide_the_step(tmp_path: Path, makes: str) -> None:
    failing = Breaking(tmp_path / "store")

    def body() -> Any:
        failing.broken_but = "no path"
        if makes == "an error":
            raise ZeroDivisionError("its own")
        return 1

    body.__annotations__["return"] = None if makes == "nothing" else int
    with pytest.raises(StepFailed, match="step 'body' failed") as told:
        of(step(enable_cache=False)(body))(store=failing)
    assert isinstance(told.value.__cause__, ZeroDivisionError if makes == "an error" else ServiceUnavailable)


def test_an_artifact_without_its_manifest_is_removed(tmp_path: Path) -> None:
    failing = Breaking(tmp_path / "store")

    @step(enable_cache=False)
    def make() -> str:
        failing.broken_but = "runs"
        return "kept, but for its manifest"

    with pytest.raises(StepFailed, match="ServiceUnavailable"):
        of(make)(store=failing)
    assert not [path for path in (tmp_path / "store").rglob("*") if "artifacts" in path.parts and path.is_file()]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (object(), "nothing is known that keeps a object"),
        ({1: "a key that is no text"}, "another value"),
        ([(1, 2)], "another value"),
        ({"x": object()}, "not all JSON"),
        (Secretive(token="t"), "do not come back"),  # type: ignore[arg-type]
        (Wrapped((1, 2)), "do not come back"),
    ],
)
def test_what_nothing_keeps_is_refused_with_what_to_do(store: LocalArtifactStore, result: object, told: str) -> None:
    @step
    def odd() -> Any:
        return result

    with pytest.raises(StepFailed, match=f"(?s){told}.*register a materializer.*allow_pickle=True"):
        of(odd)(store=store)


def test_pipelines_that_make_no_sense_are_refused(store: LocalArtifactStore) -> None:
    @step
    def two() -> tuple[int, int]:
        return 1, 2, 3  # type: ignore[return-value]

    with pytest.raises(ConfigurationError, match="no step"):
        of()(store=store)
    with pytest.raises(StepFailed, match="3 values, and its annotation says 2"):
        of(two)(store=store)
    with pytest.raises(ConfigurationError, match="step 'two'"):
        of(lambda: two(5))(store=store)
    with pytest.raises(ConfigurationError, match="no name"):
        step(name="a/b")(lambda: None)
    with pytest.raises(ConfigurationError, match="write it as `def`"):
        pipeline(anyio.sleep)


def test_files_by_address_reach_the_runs_store_within_a_step(rclone_server: Server) -> None:
    bucket = rclone_server.create_bucket()

    @step(enable_cache=False)
    def write() -> str:
        assert {store.path for store in opened()} == {f"s3://{bucket}/runs"}
        with fileio.open(f"s3://{bucket}/runs/extra.txt", "w") as file:
            file.write("x")
        return "done"

    with open_store_sync(f"s3://{bucket}/runs", **rclone_server.s3_options) as remote:
        assert of(write)(store=remote).load("write") == "done"
    assert rclone_server.bucket(bucket).get("runs/extra.txt") == b"x"


# ---- what is used again ---------------------------------------------------------------------------------


def counted(calls: list[int]) -> Pipeline:
    @step
    def base(number: int) -> int:
        calls.append(number)
        return number % 10

    @step
    def doubled(value: int) -> int:
        calls.append(value)
        return 2 * value

    @step(enable_cache=False)
    def always() -> None:
        calls.append(-1)

    @pipeline
    def counting(number: int) -> None:
        doubled(base(number))
        always()

    return counting


def test_what_the_same_code_made_of_the_same_inputs_is_used_again(store: LocalArtifactStore, tmp_path: Path) -> None:
    calls: list[int] = []
    counting = counted(calls)
    first = counting(3, store=store)
    again = counting(3, store=store)
    assert sorted(calls) == [-1, -1, 3, 3]
    assert statuses(again.record) == {"base": "cached", "doubled": "cached", "always": "completed"}
    assert again.artifact("doubled") == first.artifact("doubled")
    calls.clear()
    other = counting(13, store=store)  # another number, and the same one for the second step
    assert statuses(other.record) == {"base": "completed", "doubled": "cached", "always": "completed"}
    calls.clear()
    with SyncArtifactStore(store) as plain:
        plain.remove(f"{first.artifact('doubled').path}/artifact.json")
    assert statuses(counting(3, store=store).record)["doubled"] == "completed"
    assert program("runs", "list", "--store", str(tmp_path / "store"), "--json").values[0]["cached"] == 1
    (tmp_path / "store" / first.artifact("base").path / "artifact.json").write_text("{")
    assert statuses(counting(3, store=store).record)["base"] == "completed", "a damaged one is made again"


def test_the_cache_tells_parameters_apart_that_json_does_not(store: LocalArtifactStore) -> None:
    @step
    def kind(value: Any) -> str:
        return repr(value)

    @pipeline
    def telling(value: Any) -> None:
        kind(value)

    for value in ((1,), [1], {1: 2}, {"1": 2}, [["dict", []]], {}):
        assert telling(value, store=store).load("kind") == repr(value)
        assert statuses(telling(value, store=store).record) == {"kind": "cached"}


def test_steps_of_one_factory_do_not_share_what_they_made(store: LocalArtifactStore) -> None:
    def adding(amount: int) -> Any:
        @step
        def add() -> int:
            return amount

        return add

    assert [of(adding(amount))(store=store).load("add") for amount in (1, 2, 1)] == [1, 2, 1]


# ---- what is kept ---------------------------------------------------------------------------------------


class Model(BaseModel):
    name: str
    weights: list[float]


class Aliased(BaseModel):
    name: str = Field(alias="Name")


@dataclass(frozen=True)
class Point:
    x: float
    y: float


def _pandas() -> Any:
    import pandas as pd

    return pd.DataFrame({"a": [1, 2], "b": ["x", None]})


def _numpy() -> Any:
    import numpy as np

    return np.arange(12.0).reshape(3, 4)


def _arrow() -> Any:
    import pyarrow as pa

    return pa.table({"a": [1, 2]})


def _image() -> Any:
    from PIL import Image

    return Image.new("RGB", (3, 2), "red")


def _scalar() -> Any:
    import numpy as np

    return np.float64(0.5)


def _series() -> Any:
    import pandas as pd

    return pd.Series([1.0, 2.0], name="s")


def _unnamed() -> Any:
    import pandas as pd

    return pd.Series([1.0, 2.0])


VALUES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"\0\xff",
    "text": lambda: "é\r\n\n",
    "json": lambda: {"a": [1, 2.5, None, True], "ü": {}},
    "number": lambda: 7,
    "nothing": lambda: None,
    "model": lambda: Model(name="m", weights=[0.5]),
    "aliased model": lambda: Aliased(Name="n"),
    "dataclass": lambda: Point(1.0, 2.0),
    "numpy": _numpy,
    "numpy scalar": _scalar,
    "pandas": _pandas,
    "series": _series,
    "unnamed series": _unnamed,
    "arrow": _arrow,
    "image": _image,
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_it_was(store: LocalArtifactStore, name: str) -> None:
    value = VALUES[name]()

    @step(enable_cache=False)
    def make() -> Any:
        return value

    found = of(make)(store=store).load("make")
    assert type(found) is type(value) or name == "image"
    if name == "image":
        assert found.tobytes() == value.tobytes()
    elif name in ("series", "unnamed series"):
        assert (found.tolist(), found.name) == (value.tolist(), value.name)
    elif name == "numpy":
        assert found.tolist() == value.tolist()
    elif name in ("pandas", "arrow"):
        assert found.equals(value)
    else:
        assert found == value


def test_a_manifest_tells_a_tables_columns_and_not_their_content(store: LocalArtifactStore) -> None:
    @step
    def make() -> Any:
        return _arrow()

    assert of(make)(store=store).artifact("make").about == {"rows": 2, "columns": ["a"]}


def test_tensors_come_back(store: LocalArtifactStore) -> None:
    torch = pytest.importorskip("torch")

    @step
    def make() -> Any:
        return torch.ones(2, 3)

    assert of(make)(store=store).load("make").tolist() == [[1.0] * 3] * 2


def test_files_and_directories_are_copied_in_bulk(store: LocalArtifactStore, tmp_path: Path) -> None:
    @step
    def folder() -> Path:
        for number in range(30):
            path = tmp_path / "made" / f"d{number % 3}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(number))
        return tmp_path / "made"

    @step
    def count(made: Path) -> int:
        return sum(int(path.read_text()) for path in made.rglob("*.txt"))

    @step
    def single() -> Path:
        (tmp_path / "one.html").write_text("<p>one</p>")
        return tmp_path / "one.html"

    @pipeline
    def files() -> None:
        count(folder())
        single()

    run = files(store=store)
    assert run.load("count") == sum(range(30))
    found = run.load("single")
    assert (found.name, found.read_text()) == ("one.html", "<p>one</p>")


def test_a_directory_of_any_names_comes_back_as_it_was(store: LocalArtifactStore, tmp_path: Path) -> None:
    names = ["artifact.json", "data/artifact.json", "file/a.txt", "file/b.txt"]

    def written(folder: Path, chosen: list[str]) -> Path:
        for name in chosen:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        return folder

    @step
    def all_names() -> Path:
        return written(tmp_path / "all", names)

    @step
    def file_alone() -> Path:
        return written(tmp_path / "alone", names[2:])

    run = of(all_names, file_alone)(store=store)
    for made, chosen in (("all_names", names), ("file_alone", names[2:])):
        found = run.load(made)
        assert sorted(path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()) == chosen
    listed = program("artifacts", "list", "--store", store.path, "--json").values
    assert [one["id"].split("/")[1] for one in listed] == ["all_names", "file_alone"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.parametrize("target", ["a.txt", "below", "nowhere"])
def test_a_directory_with_a_link_is_refused(store: LocalArtifactStore, tmp_path: Path, target: str) -> None:
    (tmp_path / "made" / "below").mkdir(parents=True)
    (tmp_path / "made" / "a.txt").write_text("a")
    (tmp_path / "made" / "link").symlink_to(target)

    @step
    def make() -> Path:
        return tmp_path / "made"

    with pytest.raises(StepFailed, match="symbolic link"):
        of(make)(store=store)


class Odd:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


def test_pickle_is_for_those_who_ask_for_it(store: LocalArtifactStore) -> None:
    @step(allow_pickle=True)
    def make() -> Odd:
        return Odd(5)

    @step
    def use(odd: Odd) -> int:
        return odd.value

    @pipeline
    def pickled() -> None:
        use(make())

    with pytest.raises(StepFailed, match=r"step 'use' failed .*allow_pickle=True loads it"):
        pickled(store=store)
    run = of(make)(store=store)
    with pytest.raises(ConfigurationError, match="may run any code"):
        run.load("make")
    assert run.load("make", allow_pickle=True) == Odd(5)


def test_a_materializer_of_ones_own_goes_first(store: LocalArtifactStore) -> None:
    @register_materializer
    class OddMaterializer(Materializer):
        NAME = "odd"
        TYPES = (f"{Odd.__module__.partition('.')[0]}.Odd",)

        def save(self, value: Any, folder: Path) -> Path:
            (folder / "odd.txt").write_text(str(value.value))
            return folder

        def load(self, folder: Path, kind: type[Any] | None) -> Any:
            return Odd(int((folder / "odd.txt").read_text()))

    @step
    def make() -> Odd:
        return Odd(7)

    run = of(make)(store=store)
    assert (run.artifact("make").materializer, run.load("make")) == ("odd", Odd(7))
    with pytest.raises(ConfigurationError, match="is taken"):
        register_materializer(type("Other", (OddMaterializer,), {}))


def test_a_reader_finds_what_was_changed(store: LocalArtifactStore, tmp_path: Path) -> None:
    @step
    def make() -> str:
        return "as it was"

    run = of(make)(store=store)
    path = tmp_path / "store" / run.artifact("make").path / "data" / "text.txt"
    path.write_text("as it is!")
    with pytest.raises(ChecksumMismatch):
        run.load("make")
    path.unlink()
    with pytest.raises(NotFound):
        run.load("make")


def test_a_manifest_makes_nothing_be_imported(
    store: LocalArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @step
    def make() -> int:
        return 1

    run = of(make)(store=store)
    (tmp_path / "named_by_a_manifest.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    manifest = tmp_path / "store" / run.artifact("make").path / "artifact.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "type": "named_by_a_manifest:Any"}))

    async def load() -> Any:
        found = await read_artifact(store, run.artifact("make").path)
        (tmp_path / "loaded").mkdir()
        return await found.load(store, tmp_path / "loaded")

    assert anyio.run(load) == 1
    assert "named_by_a_manifest" not in sys.modules


# ---- killed ---------------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from entrepot.pipelines import pipeline, step

@step
def folder() -> Path:
    target = Path(sys.argv[2])
    for number in range(400):
        (target / f"{number}.bin").write_bytes(bytes(100_000))
    return target

@step
def small() -> int:
    return 1

@pipeline
def killed() -> None:
    small()
    folder()

killed(store=sys.argv[1])
"""


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_step_killed_in_the_middle_leaves_no_artifact_that_a_reader_accepts(
    place: str, rclone_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(KILLED)
    (tmp_path / "made").mkdir()
    bucket = rclone_server.create_bucket()
    address = str(tmp_path / "store") if place == "local" else f"s3://{bucket}/store"
    settings = server_settings(rclone_server)

    def keys() -> list[str]:
        if place == "s3":
            return rclone_server.bucket(bucket).keys("store/artifacts/killed/folder")
        return [str(path) for path in (tmp_path / "store").rglob("folder/output/*/data/*.bin")]

    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), address, str(tmp_path / "made")], env=environment(**settings)
    )
    try:
        wait_until(lambda: len(keys()) > 3, process)
    finally:
        process.kill()
        process.wait(30)
    assert 0 < len(keys()) < 400, "it was killed while it wrote"
    listed = program("artifacts", "list", "--store", address, "--json", settings=settings).values
    assert [one["id"].rsplit("/", 1)[0] for one in listed] in ([], ["killed/small/output"])
    gone = program("artifacts", "show", "killed/folder/output", "--store", address, settings=settings)
    assert (gone.code, "no artifact" in gone.stderr) == (1, True)
    (run,) = program("runs", "list", "--store", address, "--json", settings=settings).values
    assert run["status"] == "running"  # and "interrupted" once it was not renewed for two minutes


def test_a_run_that_is_not_renewed_was_interrupted() -> None:
    record = RunRecord("1", "p", updated="2026-01-01T00:00:00.000Z")
    assert record.shown_status == "interrupted"
    record.status = "failed"
    assert record.shown_status == "failed"


# ---- the command line -----------------------------------------------------------------------------------


def test_runs_and_artifacts_are_told_by_the_active_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @step
    def table() -> Any:
        return _pandas()

    @step
    def report() -> Path:
        (tmp_path / "report.html").write_text("<h1>done</h1>")
        return tmp_path / "report.html"

    @step
    def words() -> str:
        return "first line\nsecond line\n"

    run = of(table, report, words, name="telling")()
    (listed,) = program("runs", "list", "--json").values
    assert (listed["id"], listed["status"], listed["steps"]) == (run.id, "completed", 3)
    assert program("runs", "show", run.id).lines[2] == "status:   completed"
    assert program("runs", "show", "nope").code == 1
    names = [one["id"] for one in program("artifacts", "list", "--json").values]
    assert names == [f"telling/{name}/output/{run.id}" for name in ("report", "table", "words")]
    assert program("artifacts", "list", "telling/words").lines[1].startswith("telling/words/output/")
    shown = program("artifacts", "show", "telling/table/output").stdout
    assert "pandas" in shown
    assert shown.rstrip().splitlines()[-2:] == ["1  x", "2  None"]
    assert program("artifacts", "show", f"telling/words/output/{run.id}").lines[-2:] == ["first line", "second line"]
    told = program("artifacts", "show", "telling/words/output", "--json").value
    assert (told["materializer"], told["files"][0]["size_bytes"]) == ("text", 23)
    assert program("artifacts", "show", "telling/words").code == 2
    got = program("artifacts", "get", "telling/report/output", "got", "--json").value
    assert (got["files"], (tmp_path / "got" / "report.html").read_text()) == (1, "<h1>done</h1>")
    assert program("artifacts", "get", "telling/report/output", "got").code == 2
    monkeypatch.setenv("BROWSER", f"{sys.executable} -c 'import sys; print(sys.argv)' %s")
    opened_there = program("artifacts", "show", "telling/report/output", "--open", "--json")
    address = json.loads(opened_there.lines[-1])["opened"]
    assert address.startswith("file://")
    assert address.endswith("report.html")
    refused = program("artifacts", "show", "telling/table/output", "--open")
    assert (refused.code, "artifacts get" in refused.stderr) == (2, True)


def test_names_of_our_layout_are_names_like_others(store: LocalArtifactStore) -> None:
    @step
    def data() -> tuple[Annotated[int, "data"], Annotated[int, "artifacts"]]:
        return 1, 2

    run = of(data, name="data")(store=store)
    listed = program("artifacts", "list", "--store", store.path, "--json").values
    assert [one["id"] for one in listed] == [f"data/data/{output}/{run.id}" for output in ("artifacts", "data")]
    assert program("artifacts", "show", "data/data/data", "--store", store.path).code == 0


def test_what_is_damaged_is_told_and_the_rest_is_listed(store: LocalArtifactStore, tmp_path: Path) -> None:
    @step
    def good() -> str:
        return "good"

    @step
    def bad() -> str:
        return "bad"

    run = of(good, bad)(store=store)
    at = ("--store", store.path)
    (tmp_path / "store" / run.artifact("bad").path / "artifact.json").write_text("{")
    (tmp_path / "store" / "runs" / "20260101-000000.json").write_text("{")
    artifacts, runs = program("artifacts", "list", *at), program("runs", "list", *at)
    assert (artifacts.code, "of_these/bad" in artifacts.stderr, len(artifacts.lines)) == (1, True, 2)
    assert (runs.code, "20260101-000000" in runs.stderr, len(runs.lines)) == (1, True, 2)
    (tmp_path / "store" / run.artifact("good").path / "data" / "text.txt").write_text("evil")
    assert program("artifacts", "get", "of_these/good/output", "got", *at).code == 1
    assert not (tmp_path / "got").exists(), "what was not verified is not left to be used"


def test_an_image_is_drawn_in_a_terminal() -> None:
    @step
    def picture() -> Any:
        return _image()

    of(picture, name="drawing")()
    assert "width: " in program("artifacts", "show", "drawing/picture/output").stdout
    with terminal("artifacts", "show", "drawing/picture/output") as (process, read):
        drawn = read()
        assert process.wait(30) == 0
    assert drawn.count("\x1b[38;2;255;0;0;48;2;255;0;0m\u2580") == 3


def test_importing_it_imports_no_framework() -> None:
    heavy = {"pandas", "numpy", "PIL", "torch", "pyarrow", "rich"}
    code = f"import entrepot.pipelines, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
