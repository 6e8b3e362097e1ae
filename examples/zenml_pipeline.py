"""A ZenML pipeline whose artifacts are kept in a bucket, by entrepot.

    pip install 'entrepot[s3,zenml]' 'zenml[local]' numpy
    python examples/zenml_pipeline.py s3://bucket/artifacts

Credentials, region and endpoint come from the standard variables and files of AWS: none is given to ZenML. The three
calls of `use_bucket` are what these commands do:

    zenml artifact-store flavor register entrepot.integrations.zenml.S3Flavor
    zenml artifact-store register bucket --flavor=entrepot_s3 --path=s3://bucket/artifacts
    zenml stack register in-a-bucket -o default -a bucket --set
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import anyio
import numpy as np
from zenml import pipeline, step
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.exceptions import EntityExistsError

from entrepot.integrations.zenml import DirectoryMaterializer


@step
def collect() -> Annotated[np.ndarray, "samples"]:
    """A large array: one multipart upload, its parts in parallel."""
    return np.random.default_rng(seed=1).normal(size=(2_000, 1_000))


@step(output_materializers=DirectoryMaterializer)
def render(samples: np.ndarray) -> Annotated[Path, "report"]:
    """A folder of many small files: copied in bulk."""
    folder = Path(mkdtemp(prefix="report-"))
    for number, row in enumerate(samples[:100]):
        (folder / f"{number:03}.txt").write_text(f"{row.mean():.6f}\n", encoding="utf-8")
    return folder


@step
async def total(report: Path) -> Annotated[float, "total"]:
    """An async step."""
    return sum([float(await path.read_text(encoding="utf-8")) async for path in anyio.Path(report).iterdir()])


@pipeline(enable_cache=False)
def reporting() -> None:
    """Three steps, each of which reads what the one before has stored."""
    total(render(collect()))


def use_bucket(path: str) -> None:
    """Register the flavor, a store there, and a stack that uses it, and make that the active one."""
    client = Client()
    with suppress(EntityExistsError):  # by an earlier run: ZenML keeps flavors
        client.create_flavor("entrepot.integrations.zenml.S3Flavor", StackComponentType.ARTIFACT_STORE)
    store = client.create_stack_component("bucket", "entrepot_s3", StackComponentType.ARTIFACT_STORE, {"path": path})
    components = {StackComponentType.ORCHESTRATOR: "default", StackComponentType.ARTIFACT_STORE: store.id}
    client.activate_stack(client.create_stack("in-a-bucket", components).id)


if __name__ == "__main__":
    use_bucket(sys.argv[1])
    run = reporting()
    for name, taken in Client().get_pipeline_run(run.id).steps.items():
        for output in taken.outputs.values():
            print(name, output[0].uri)
    print("total", Client().get_pipeline_run(run.id).steps["total"].output.load())
