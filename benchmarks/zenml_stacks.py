"""Two stacks of ZenML's over one bucket: `entrepot` on our store, `zenml-s3` on ZenML's own.

`python -m benchmarks.zenml_stacks` reads `path` and the keys of `S3Access.s3_options` as JSON.
"""

from __future__ import annotations

import json
import sys

from zenml.client import Client
from zenml.enums import StackComponentType

FLAVORS = {"entrepot": "entrepot_s3", "zenml-s3": "s3"}


def main() -> None:
    place, client = json.load(sys.stdin), Client()
    client.create_flavor("entrepot.integrations.zenml.S3Flavor", StackComponentType.ARTIFACT_STORE)
    for name, flavor in FLAVORS.items():
        configuration = {
            "path": f"{place['path']}/{name}",
            "key": place["key"],
            "secret": place["secret"],
            "client_kwargs": {"endpoint_url": place["endpoint_url"], "region_name": place["region"]},
        }
        client.create_stack_component(name, flavor, StackComponentType.ARTIFACT_STORE, configuration)
        client.create_stack(name, {StackComponentType.ORCHESTRATOR: "default", StackComponentType.ARTIFACT_STORE: name})


if __name__ == "__main__":
    main()
