"""Classic steps, blocking and one after another: `fileio` opens files by address, wherever they are.

    python examples/blocking_steps.py s3://bucket/runs

The steps know addresses only. The store is opened once around them; a store of the active stack needs not even that.
"""

from __future__ import annotations

import csv
import json
import sys

from entrepot import fileio, open_store_sync


def load_data(target: str) -> str:
    """Write a table, and give its address on."""
    address = f"{target}/table.csv"
    with fileio.open(address, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["x", "y"])
        table.writerows([x, 3 * x + (-1) ** x / 10] for x in range(100))
    return address


def train(table: str, target: str) -> str:
    """Fit a slope through the origin."""
    with fileio.open(table, newline="") as file:
        rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    slope = sum(x * y for x, y in rows) / sum(x * x for x, _ in rows)
    address = f"{target}/model.json"
    with fileio.open(address, "w") as file:
        json.dump({"slope": slope}, file)
    return address


def evaluate(model: str) -> float:
    """How far the slope is from the true one."""
    with fileio.open(model) as file:
        return abs(float(json.load(file)["slope"]) - 3)


def main(address: str) -> float:
    """The steps in their order."""
    with open_store_sync(address) as store:
        table = load_data(f"{store.path}/data")
        model = train(table, f"{store.path}/models")
        print("\n".join(fileio.glob(f"{store.path}/**/*.*")))
        return evaluate(model)


if __name__ == "__main__":
    print(f"off by {main(sys.argv[1] if len(sys.argv) > 1 else 'default'):.6f}")
