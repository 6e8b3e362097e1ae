"""An async pipeline: stores are awaited, steps that do not wait for each other run at once.

    python examples/async_pipeline.py s3://bucket/runs

Three steps: numbers are made and written, summed up part by part side by side, and a report is written. Whatever the
store is — a folder, S3, Google Cloud Storage, Azure — the code is the same.
"""

from __future__ import annotations

import asyncio
import json
import sys

from entrepot import BaseArtifactStore, open_store


async def make_numbers(store: BaseArtifactStore, parts: int) -> list[str]:
    """Write the parts at once; each is there as a whole or not at all."""

    async def make(number: int) -> str:
        values = [value * value % 997 for value in range(number, number + 10_000)]
        path = f"numbers/{number:02}.json"
        await store.write_bytes(path, json.dumps(values).encode())
        return path

    return await asyncio.gather(*(make(number) for number in range(parts)))


async def add_up(store: BaseArtifactStore, path: str) -> int:
    """The sum of one part."""
    async with store.open(path, "r") as file:
        return sum(json.loads(await file.read()))


async def pipeline(address: str) -> int:
    """All of it; the sum."""
    async with open_store(address) as store:
        paths = await make_numbers(store, parts=8)
        total = sum(await asyncio.gather(*(add_up(store, path) for path in paths)))
        async with store.open("report.txt", "w") as report:
            await report.write(f"{len(paths)} parts, {total} in all\n")
        return total


if __name__ == "__main__":
    print(asyncio.run(pipeline(sys.argv[1] if len(sys.argv) > 1 else "default")))
