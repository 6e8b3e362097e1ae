"""Dagster assets whose values are kept in any of our stores, by an I/O manager of twenty lines.

    pip install 'entrepot[s3]' dagster
    python examples/dagster_assets.py s3://bucket/assets        # or gs://…, az://…, a folder

An asset is one JSON file, which appears in one step: a run that is killed leaves the old value or the new one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import dagster

import entrepot


class StoreIOManager(dagster.ConfigurableIOManager):
    """Keeps each asset, and each partition of one, below `address`.

    address: whatever `entrepot.open_store` takes. Credentials come from the standard variables of its service.
    """

    address: str

    def handle_output(self, context: dagster.OutputContext, obj: Any) -> None:
        """Write the value whole."""
        with entrepot.open_store_sync(self.address) as store, store.open(_path(context), "w") as file:
            json.dump(obj, file)
            context.add_output_metadata({"uri": f"{store.path}/{_path(context)}"})

    def load_input(self, context: dagster.InputContext) -> Any:
        """Read the value that an asset upstream has written."""
        with entrepot.open_store_sync(self.address) as store, store.open(_path(context)) as file:
            return json.load(file)


def _path(context: dagster.InputContext | dagster.OutputContext) -> str:
    return "/".join(context.get_asset_identifier()) + ".json"


@dagster.asset
def readings() -> list[float]:
    """What was measured."""
    return [20.5, 21.0, 19.5]


@dagster.asset
def mean(readings: list[float]) -> float:
    """What is made of it, from the store."""
    return sum(readings) / len(readings)


if __name__ == "__main__":
    manager = StoreIOManager(address=sys.argv[1])
    result = dagster.materialize([readings, mean], resources={"io_manager": manager})
    print("mean", result.output_for_node("mean"))
