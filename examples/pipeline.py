"""A pipeline of blocking and async steps; its artifacts are kept in a store, and looked at with `entrepot artifacts`.

python examples/pipeline.py s3://bucket/runs
entrepot artifacts list --store s3://bucket/runs
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import anyio
import anyio.lowlevel

from entrepot.pipelines import pipeline, step


@dataclass(frozen=True)
class Fit:
    """A line through the origin."""

    slope: float


@step
def load(rows: int) -> tuple[Annotated[list[float], "x"], Annotated[list[float], "y"]]:
    """A table of two columns."""
    x = [float(row) for row in range(1, rows + 1)]
    return x, [3 * value + (-1) ** int(value) / 10 for value in x]


@step
def fit(x: list[float], y: list[float]) -> Fit:
    """By least squares."""
    return Fit(sum(a * b for a, b in zip(x, y, strict=True)) / sum(a * a for a in x))


@step
async def residuals(x: list[float], y: list[float], model: Fit) -> list[float]:
    """What the line leaves over."""
    await anyio.lowlevel.checkpoint()  # where a service would be asked
    return [b - model.slope * a for a, b in zip(x, y, strict=True)]


@step
def report(model: Fit, left: list[float]) -> str:
    """In one line."""
    return f"slope {model.slope:.4f}, off by {max(map(abs, left)):.4f} at most"


@pipeline
def fitting(rows: int) -> None:
    """The steps, and what they give each other."""
    x, y = load(rows)
    model = fit(x, y)
    report(model, residuals(x, y, model))


if __name__ == "__main__":
    run = fitting(100, store=sys.argv[1] if len(sys.argv) > 1 else None)
    print(run.load("report"))
