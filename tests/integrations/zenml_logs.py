"""What ZenML's log store shows of runs that have ended: `zenml_logs STACK=RUN …` prints one JSON object."""

from __future__ import annotations

import json
import sys

from zenml.client import Client
from zenml.stack import Stack


def main() -> None:
    client, shown = Client(), {}
    for one in sys.argv[1:]:
        stack, _, run = one.partition("=")
        log_store = Stack.from_model(client.get_stack(stack)).log_store
        shown[stack] = {
            name: [entry.message for logs in step.log_collection or () for entry in log_store.fetch(logs).items]
            for name, step in client.get_pipeline_run(run).steps.items()
        }
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
