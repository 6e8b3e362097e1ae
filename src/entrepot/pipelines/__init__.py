"""Steps and pipelines: functions whose results are artifacts, kept in the active store.

from entrepot.pipelines import pipeline, step

@step
def numbers(count: int) -> list[int]:
return list(range(count))

@step
async def total(values: list[int]) -> int:
return sum(values)

@pipeline
def adding(count: int) -> None:
total(numbers(count))

run = adding(10)                  # or: run = await adding.run(10)
print(run.load("total"))          # 45
"""

from entrepot.pipelines.artifacts import Artifact, ArtifactFile, artifact_paths, read_artifact
from entrepot.pipelines.materializers import Materializer, register_materializer
from entrepot.pipelines.running import Pipeline, Run, StepFailed, pipeline
from entrepot.pipelines.runs import RunRecord, StepRecord, read_run, run_ids
from entrepot.pipelines.steps import Step, step

__all__ = [
    "Artifact",
    "ArtifactFile",
    "Materializer",
    "Pipeline",
    "Run",
    "RunRecord",
    "Step",
    "StepFailed",
    "StepRecord",
    "artifact_paths",
    "pipeline",
    "read_artifact",
    "read_run",
    "register_materializer",
    "run_ids",
    "step",
]
