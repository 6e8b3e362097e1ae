"""A ZenML pipeline on one stack, in a process of its own: `zenml_run STACK ARRAY_MIB FILES` prints one JSON line.

It has steps and materializers of every kind: a dict, a list, arrays, a DataFrame, an array of that size, a folder of
so many files of 4 KiB, and an async step. The line tells what was loaded back, and the time spent in the
store: the length of each call of a store, and of each read, write and close of a file that it opened.
"""

from __future__ import annotations

import functools
import hashlib
import json
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from zenml import pipeline, step
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.io import fileio
from zenml.stack import Flavor

from entrepot.integrations.zenml import DirectoryMaterializer, directories

METHODS = [
    "open",
    "copyfile",
    "exists",
    "glob",
    "isdir",
    "listdir",
    "makedirs",
    "mkdir",
    "remove",
    "rename",
    "rmtree",
    "stat",
    "size",
    "walk",
    "cleanup",
]


# ---- the pipeline ---------------------------------------------------------------------------------------


@step
def prepare() -> tuple[
    Annotated[dict[str, Any], "settings"],
    Annotated[list[int], "numbers"],
    Annotated[np.ndarray, "small"],
    Annotated[pd.DataFrame, "table"],
]:
    print("preparing small things")
    return {"rate": 0.5, "layers": [1, 2]}, [3, 1, 2], np.arange(12).reshape(3, 4), pd.DataFrame({"x": [1, 2, 3]})


@step
def grow(size_mib: int) -> Annotated[np.ndarray, "large"]:
    print(f"growing {size_mib} MiB")
    return np.random.default_rng(7).integers(0, 255, size_mib * 1024**2, dtype=np.uint8)


@step(output_materializers=DirectoryMaterializer)
def unpack(files: int) -> Annotated[Path, "folder"]:
    folder = Path(tempfile.mkdtemp(prefix="unpacked-"))
    for number in range(files):
        part = folder / f"part-{number % 8}"
        part.mkdir(exist_ok=True)
        (part / f"{number}.bin").write_bytes(number.to_bytes(4, "big") * 1024)
    return folder


@step
async def summarise(
    settings: dict[str, Any], numbers: list[int], small: np.ndarray, table: pd.DataFrame, large: np.ndarray
) -> Annotated[dict[str, Any], "summary"]:
    print("summing up")
    note = f"{Client().active_stack.artifact_store.path}/notes/{large.size}.txt"
    with fileio.open(note, "w") as file:  # inside the loop that ZenML runs this step in
        file.write("noted")
    with fileio.open(note) as file:
        noted = file.read()
    return {
        "rate": settings["rate"],
        "numbers": sorted(numbers),
        "small": int(small.sum()),
        "table": int(table["x"].sum()),
        "large": hashlib.sha256(large.tobytes()).hexdigest(),
        "noted": noted,
    }


@step
def count(folder: Path) -> Annotated[str, "digest"]:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.bin")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


@pipeline(enable_cache=False)
def everything(size_mib: int, files: int) -> None:
    settings, numbers, small, table = prepare()
    summarise(settings, numbers, small, table, grow(size_mib))
    if files:
        count(unpack(files))


# ---- the clock ------------------------------------------------------------------------------------------


class StoreClock:
    """How long calls of a store take, each of the outermost ones once; calls of several threads add up."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._thread = threading.local()

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        if getattr(self._thread, "inside", False):
            yield
            return
        self._thread.inside, began = True, time.perf_counter()
        try:
            yield
        finally:
            self._thread.inside = False
            with self._lock:
                self.seconds[name] += time.perf_counter() - began
                self.calls[name] += 1

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.running(name):
                result = function(*args, **kwargs)
            return TimedFile(self, result) if name == "open" else result

        return call

    def watch(self, store: type[Any]) -> None:
        for name in METHODS:
            setattr(store, name, self.timed(name, getattr(store, name)))
        directories.copy_dir = self.timed("copy_dir", directories.copy_dir)


class TimedFile:
    """A file whose every method is timed, as its store is."""

    def __init__(self, clock: StoreClock, file: Any) -> None:
        self._clock, self._file = clock, file

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        return self._clock.timed(name, found) if callable(found) else found

    def __enter__(self) -> TimedFile:
        self._file.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        with self._clock.running("close"):
            self._file.__exit__(*raised)

    def __iter__(self) -> TimedFile:
        return self

    def __next__(self) -> Any:
        with self._clock.running("read"):
            return next(self._file)


def loaded(run: Any) -> dict[str, Any]:
    """Every artifact of the run, read back by ZenML, as JSON can hold it."""
    values: dict[str, Any] = {}
    for name, taken in run.steps.items():
        for output, versions in taken.outputs.items():
            value = versions[0].load()
            if isinstance(value, Path):
                value = sorted(path.name for path in value.rglob("*.bin"))
            elif isinstance(value, np.ndarray):
                value = [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
            elif isinstance(value, pd.DataFrame):
                value = value.to_dict("list")
            values[f"{name}.{output}"] = value
    return values


def run_on(stack: str, size_mib: int, files: int) -> dict[str, Any]:
    client, clock = Client(), StoreClock()
    client.activate_stack(stack)
    component = client.active_stack_model.components[StackComponentType.ARTIFACT_STORE][0]
    clock.watch(Flavor.from_model(component.flavor).implementation_class)  # before ZenML makes one
    before = resource.getrusage(resource.RUSAGE_SELF)
    run = client.get_pipeline_run(everything(size_mib, files).id)
    values = loaded(run)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "status": str(run.status),
        "store_s": sum(clock.seconds.values()),
        "seconds": dict(clock.seconds),
        "calls": dict(clock.calls),
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "rss_mib": after.ru_maxrss / 1024,
        "values": values,
        "run": str(run.id),
        "uris": [version.uri for taken in run.steps.values() for each in taken.outputs.values() for version in each],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as tempfile.tempdir:  # ZenML leaves what is loaded outside of a step
        print(json.dumps(run_on(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), flush=True)
