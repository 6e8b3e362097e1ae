"""A program: copy a tree to a place and back, with few file descriptors; told as one JSON line.

    python tests/few_descriptors.py LIMIT TREE THERE BACK OPTIONS

OPTIONS: JSON of `config`, for THERE where it is a URI, and `concurrency`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

import entrepot


async def carry(tree: str, there: str, back: str, options: dict[str, Any]) -> dict[str, object]:
    """Of each way the number of files, and what failed."""
    config = options["config"] if "://" in there else {}
    up = await entrepot.copy(tree, there, dst_config=config, concurrency=options["concurrency"])
    down = await entrepot.copy(there, back, src_config=config, concurrency=options["concurrency"])
    return {name: [one.files, [str(item) for item in one.failed]] for name, one in (("up", up), ("down", down))}


if __name__ == "__main__":
    limit, *places, given = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    print(json.dumps(asyncio.run(carry(*places, json.loads(given)))))
