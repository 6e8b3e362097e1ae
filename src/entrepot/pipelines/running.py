"""Pipelines run on this machine: steps that do not wait for each other at once, each result kept before it is read."""

from __future__ import annotations

import functools
import inspect
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, overload

import anyio
from anyio import to_thread

from entrepot.blocking import SyncArtifactStore
from entrepot.bridge import BRIDGE
from entrepot.components import LocalOrchestrator, StackComponentType
from entrepot.contract import BaseArtifactStore
from entrepot.errors import BadResponse, ConfigurationError, NotFound, StoreError
from entrepot.pipelines.artifacts import ABORT_S, Artifact, now, read_artifact, save
from entrepot.pipelines.runs import RENEWED_EVERY_S, RunRecord, StepRecord, new_run_id, write_run
from entrepot.pipelines.steps import BUILDING, Graph, Node, Output, outputs_in, replaced, require_name
from entrepot.registry import entries
from entrepot.registry.stacks import active_stack
from entrepot.stores import make_store

CACHE: Final = "cache"
Store: TypeAlias = BaseArtifactStore | SyncArtifactStore | str


class StepFailed(RuntimeError):
    """A step has raised; its error is the cause. step: its name. run: the run's id."""

    def __init__(self, step: str, run: str, error: BaseException) -> None:
        super().__init__(f"step {step!r} failed ({type(error).__name__}: {error}); run {run}")
        self.step, self.run = step, run


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended well. artifacts: step to output to artifact."""

    id: str
    record: RunRecord
    store: BaseArtifactStore
    artifacts: Mapping[str, Mapping[str, Artifact]]

    def artifact(self, step: str, output: str | None = None) -> Artifact:
        """An output of a step; its only one, where no name is given. Raises: ConfigurationError."""
        outputs = self.artifacts.get(step)
        if outputs is None:
            raise ConfigurationError(f"no step {step!r} was run; there are: {', '.join(self.artifacts)}")
        if output is None and len(outputs) == 1:
            return next(iter(outputs.values()))
        if output is None or output not in outputs:
            raise ConfigurationError(f"step {step!r} has the outputs {', '.join(outputs) or 'none'}; name one")
        return outputs[output]

    async def read(self, step: str, output: str | None = None, *, allow_pickle: bool = False) -> Any:
        """The value, read from the store and verified. A value of files lies in a new temporary folder."""
        folder = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "entrepot-read-"))
        artifact = self.artifact(step, output)
        try:
            return await artifact.load(self.store, folder, allow_pickle=allow_pickle)
        finally:
            if artifact.materializer not in ("file", "directory"):
                await to_thread.run_sync(shutil.rmtree, folder, True)

    def load(self, step: str, output: str | None = None, *, allow_pickle: bool = False) -> Any:
        """As `read`, for blocking code."""
        return BRIDGE.run(lambda: self.read(step, output, allow_pickle=allow_pickle))


class Pipeline:
    """A function that puts steps together. Calling it runs them; `run` is the same, to be awaited."""

    def __init__(self, function: Callable[..., Any], *, name: str | None) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name = function, name or function.__name__
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"pipeline {self.name!r}: write it as `def`; its steps may be `async def`")
        require_name(self.name)

    def __call__(self, *args: Any, store: Store | None = None, **kwargs: Any) -> Run:
        """Run it, and return when it has ended. store: in place of that of the active stack.

        Raises: StepFailed; ConfigurationError for a pipeline that cannot be put together; errors of the store.
        """
        return BRIDGE.run(lambda: self.run(*args, store=store, **kwargs))

    async def run(self, *args: Any, store: Store | None = None, **kwargs: Any) -> Run:
        """As a call.

        Requests beside those of the artifacts: 1 a step, and 2; with the cache 1 or 2 more, and 1 an output found.
        """
        graph = self._built(args, kwargs)
        target, concurrency = await to_thread.run_sync(_where, store)
        async with target:
            return await _Running(self.name, graph, target, concurrency).run()

    def _built(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph:
        graph = Graph()
        token = BUILDING.set(graph)
        try:
            self.function(*args, **kwargs)
        finally:
            BUILDING.reset(token)
        if not graph.nodes:
            raise ConfigurationError(f"pipeline {self.name!r} has no step")
        return graph


@overload
def pipeline(function: Callable[..., Any], /) -> Pipeline: ...
@overload
def pipeline(*, name: str | None = None) -> Callable[[Callable[..., Any]], Pipeline]: ...
def pipeline(function: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Make a function a pipeline: it calls steps, and gives what one returns to others. It runs when it is called."""

    def make(function: Callable[..., Any]) -> Pipeline:
        return Pipeline(function, name=name)

    return make if function is None else make(function)


def _where(store: Store | None) -> tuple[BaseArtifactStore, int | None]:
    """The store of a run, and how many steps run at once. Raises: ConfigurationError for an orchestrator not ours."""
    stack = active_stack().stack
    orchestrator = entries.entry_named(StackComponentType.ORCHESTRATOR, stack.orchestrator).make()
    if not isinstance(orchestrator, LocalOrchestrator):
        raise ConfigurationError(
            f"the active stack's orchestrator {stack.orchestrator!r} is run by its own tools; entrepot runs pipelines "
            "by a local one: `entrepot stack set default`"
        )
    concurrency: int | None = orchestrator.config.concurrency
    if isinstance(store, SyncArtifactStore):
        return store.store, concurrency
    if isinstance(store, BaseArtifactStore):
        return store, concurrency
    return make_store(store if store is not None else stack.artifact_store), concurrency


@dataclass(slots=True)
class _Running:
    """One run under way."""

    pipeline: str
    graph: Graph
    store: BaseArtifactStore
    concurrency: int | None
    artifacts: dict[str, dict[str, Artifact]] = field(default_factory=dict)
    record: RunRecord = field(init=False)
    _done: dict[str, anyio.Event] = field(default_factory=dict)
    _writing: anyio.Lock = field(default_factory=anyio.Lock)
    _failed: tuple[str, BaseException] | None = None

    async def run(self) -> Run:
        nodes = self.graph.nodes
        self.record = RunRecord(
            new_run_id(), self.pipeline, started=now(), steps={one.name: StepRecord(one.name) for one in nodes}
        )
        self._done = {one.name: anyio.Event() for one in nodes}
        limiter = anyio.CapacityLimiter(self.concurrency or to_thread.current_default_thread_limiter().total_tokens)
        await self._write()
        folder = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "entrepot-run-"))
        try:
            async with anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as steps:
                    tasks.start_soon(self._renew)
                    for node in nodes:
                        steps.start_soon(self._step, node, limiter, folder, steps.cancel_scope)
                tasks.cancel_scope.cancel()
        except BaseException:
            with anyio.move_on_after(ABORT_S, shield=True), suppress(StoreError):
                await self._end("cancelled")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(shutil.rmtree, folder, True)
        if self._failed is not None:
            with suppress(StoreError):  # where the store itself has failed, the step says so
                await self._end("failed")
            name, error = self._failed
            raise StepFailed(name, self.record.id, error) from error
        await self._end("completed")
        return Run(self.record.id, self.record, self.store, self.artifacts)

    async def _step(self, node: Node, limiter: anyio.CapacityLimiter, folder: Path, scope: anyio.CancelScope) -> None:
        record = self.record.steps[node.name]
        for other in node.needs():
            await self._done[other.name].wait()
        try:
            async with limiter:
                record.status, record.started = "running", now()
                await self._carry_out(node, record, folder)
            record.ended = now()
            await self._write()
        except Exception as error:  # noqa: BLE001  # of the step's own code: whatever it is, it is told with the step's name
            record.status, record.error, record.ended = "failed", f"{type(error).__name__}: {error}", now()
            if self._failed is None:
                self._failed = (node.name, error)
            scope.cancel()
            return
        self._done[node.name].set()

    async def _carry_out(self, node: Node, record: StepRecord, folder: Path) -> None:
        step = node.step
        key = step.cache_key(self._told(node)) if step.enable_cache else None
        found = await self._cached(step.name, key) if key is not None else None
        if found is not None:
            self.artifacts[node.name], record.status = found, "cached"
        else:
            arguments = await self._loaded(node, folder)
            call = functools.partial(_called, step.function, step.signature, arguments)
            # A thread of its own: how many steps run is bounded already, and the store needs the loop's threads.
            result = await call() if step.is_async else await to_thread.run_sync(call, limiter=anyio.CapacityLimiter(1))
            self.artifacts[node.name] = await self._kept(node, result)
            record.status = "completed"
            if key is not None:
                paths = {name: one.path for name, one in self.artifacts[node.name].items()}
                await self.store.write_bytes(f"{CACHE}/{step.name}/{key}.json", json.dumps(paths).encode())
        record.outputs = {name: one.path for name, one in self.artifacts[node.name].items()}

    def _told(self, node: Node) -> dict[str, Any]:
        """The arguments as a cache key has them: JSON keeps no tuple, and no key that is not text."""

        def told(value: Any) -> Any:
            if isinstance(value, Output):
                return ["artifact", self.artifacts[value.node.name][value.name].digest]
            if isinstance(value, (list, tuple)):
                return [type(value).__name__, [told(one) for one in value]]
            if isinstance(value, dict):
                return ["dict", [[told(key), told(one)] for key, one in value.items()]]
            return value

        return {name: told(value) for name, value in node.arguments.items()}

    async def _cached(self, step: str, key: str) -> dict[str, Artifact] | None:
        """What the cache has, if all of it is still there whole."""
        try:
            paths = json.loads(await self.store.read_bytes(f"{CACHE}/{step}/{key}.json"))
            return {name: await read_artifact(self.store, path) for name, path in paths.items()}
        except (NotFound, BadResponse, ValueError, AttributeError):
            return None

    async def _loaded(self, node: Node, folder: Path) -> dict[str, Any]:
        """The arguments of a call, with what other steps gave."""
        values: dict[Output, Any] = {}
        for output in outputs_in(node.arguments):
            if output not in values:
                artifact = self.artifacts[output.node.name][output.name]
                target = Path(await to_thread.run_sync(tempfile.mkdtemp, None, f"{node.name}-", str(folder)))
                values[output] = await artifact.load(self.store, target, allow_pickle=node.step.allow_pickle)
        return {name: replaced(value, values) for name, value in node.arguments.items()}

    async def _kept(self, node: Node, result: Any) -> dict[str, Artifact]:
        names = node.step.outputs
        values = (
            (result,) if len(names) == 1 else result if isinstance(result, tuple) else () if not names else (result,)
        )
        if len(values) != len(names):
            raise ConfigurationError(f"it returned {len(values)} values, and its annotation says {len(names)}")
        made: dict[str, Artifact] = {}
        for name, value in zip(names, values, strict=True):
            made[name] = await save(
                self.store,
                value,
                pipeline=self.pipeline,
                step=node.name,
                output=name,
                run=self.record.id,
                allow_pickle=node.step.allow_pickle,
            )
        return made

    async def _end(self, status: str) -> None:
        self.record.status, self.record.ended = status, now()
        for one in self.record.steps.values():
            if one.status in ("waiting", "running"):
                one.status = "cancelled"
        await self._write()

    async def _write(self) -> None:
        async with self._writing:  # of two at once the older could be the one that stays
            self.record.updated = now()
            await write_run(self.store, self.record)

    async def _renew(self) -> None:
        while True:
            await anyio.sleep(RENEWED_EVERY_S)
            with suppress(StoreError):  # the next one may come through; a step that cannot write says so itself
                await self._write()


def _called(function: Callable[..., Any], signature: inspect.Signature, arguments: Mapping[str, Any]) -> Any:
    bound = inspect.BoundArguments(signature, dict(arguments))
    return function(*bound.args, **bound.kwargs)
