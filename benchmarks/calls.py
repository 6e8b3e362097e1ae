"""One contender's calls in a process of its own: `calls CLIENT OPERATION BUCKET COUNT` prints one JSON line.

Only the loop around the calls is measured: the client's own CPU (user and system), after a warm-up.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable

CONCURRENCY = 32
PAYLOAD = bytes(range(256)) * 16  # 4 KiB
KEYS = 200


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def key_of(number: int) -> str:
    return f"calls/object-{number % KEYS:03}"


async def measured(call: Callable[[int], Awaitable[object]], count: int) -> tuple[float, float]:
    """Wall and CPU seconds of `count` calls, CONCURRENCY at a time, after a warm-up of a tenth."""

    async def run(calls: int) -> None:
        numbers = iter(range(calls))

        async def worker() -> None:
            for number in numbers:
                await call(number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONCURRENCY):
                tasks.create_task(worker())

    await run(max(CONCURRENCY, count // 10))
    wall, cpu = time.perf_counter(), cpu_s()
    await run(count)
    return time.perf_counter() - wall, cpu_s() - cpu


async def with_entrepot(operation: str, bucket: str, count: int, *, client: str) -> tuple[float, float, str]:
    import entrepot

    async with entrepot.open_store(f"s3://{bucket}", client=client) as store:
        if operation == "list":
            names = hashlib.sha256()
            wall, cpu = time.perf_counter(), cpu_s()
            async for entry in store.scan("listing"):
                names.update(entry.uri.partition("listing/")[2].encode())
            return time.perf_counter() - wall, cpu_s() - cpu, names.hexdigest()
        calls: dict[str, Callable[[int], Awaitable[object]]] = {
            "get": lambda number: store.read_bytes(key_of(number)),
            "put": lambda number: store.write_bytes(key_of(number), PAYLOAD),
            "head": lambda number: store.stat(key_of(number)),
        }
        wall_s, used_s = await measured(calls[operation], count)
        return wall_s, used_s, hashlib.sha256(await store.read_bytes(key_of(0))).hexdigest()


async def with_obstore(operation: str, bucket: str, count: int) -> tuple[float, float, str]:
    from obstore.store import S3Store

    store = S3Store(bucket, client_options={"allow_http": True})
    if operation == "list":
        names = hashlib.sha256()
        wall, cpu = time.perf_counter(), cpu_s()
        async for page in store.list("listing/"):
            for entry in page:
                names.update(entry["path"].removeprefix("listing/").encode())
        return time.perf_counter() - wall, cpu_s() - cpu, names.hexdigest()

    async def get(number: int) -> object:
        return bytes(await (await store.get_async(key_of(number))).bytes_async())

    calls: dict[str, Callable[[int], Awaitable[object]]] = {
        "get": get,
        "put": lambda number: store.put_async(key_of(number), PAYLOAD),
        "head": lambda number: store.head_async(key_of(number)),
    }
    wall_s, used_s = await measured(calls[operation], count)
    return wall_s, used_s, hashlib.sha256(await get(0)).hexdigest()  # type: ignore[arg-type]


async def with_aiobotocore(operation: str, bucket: str, count: int) -> tuple[float, float, str]:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(max_pool_connections=CONCURRENCY * 2, s3={"addressing_style": "path"})
    async with get_session().create_client("s3", config=config) as s3:
        if operation == "list":
            names = hashlib.sha256()
            wall, cpu = time.perf_counter(), cpu_s()
            async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="listing/"):
                for entry in page.get("Contents", ()):
                    names.update(entry["Key"].removeprefix("listing/").encode())
            return time.perf_counter() - wall, cpu_s() - cpu, names.hexdigest()

        async def get(number: int) -> bytes:
            reply = await s3.get_object(Bucket=bucket, Key=key_of(number))
            async with reply["Body"] as body:
                return await body.read()

        calls: dict[str, Callable[[int], Awaitable[object]]] = {
            "get": get,
            "put": lambda number: s3.put_object(Bucket=bucket, Key=key_of(number), Body=PAYLOAD),
            "head": lambda number: s3.head_object(Bucket=bucket, Key=key_of(number)),
        }
        wall_s, used_s = await measured(calls[operation], count)
        return wall_s, used_s, hashlib.sha256(await get(0)).hexdigest()


async def with_s3fs(operation: str, bucket: str, count: int) -> tuple[float, float, str]:
    from s3fs import S3FileSystem

    files = S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"], asynchronous=True, use_listings_cache=False)
    session = await files.set_session()
    try:
        if operation == "list":
            names = hashlib.sha256()
            wall, cpu = time.perf_counter(), cpu_s()
            for path in await files._find(f"{bucket}/listing"):  # the async face of fsspec is underscored
                names.update(path.partition("listing/")[2].encode())
            return time.perf_counter() - wall, cpu_s() - cpu, names.hexdigest()
        calls: dict[str, Callable[[int], Awaitable[object]]] = {
            "get": lambda number: files._cat_file(f"{bucket}/{key_of(number)}"),
            "put": lambda number: files._pipe_file(f"{bucket}/{key_of(number)}", PAYLOAD),
            "head": lambda number: files._info(f"{bucket}/{key_of(number)}"),
        }
        wall_s, used_s = await measured(calls[operation], count)
        return wall_s, used_s, hashlib.sha256(await files._cat_file(f"{bucket}/{key_of(0)}")).hexdigest()
    finally:
        await session.close()


CLIENTS: dict[str, Callable[[str, str, int], Awaitable[tuple[float, float, str]]]] = {
    "entrepot": lambda operation, bucket, count: with_entrepot(operation, bucket, count, client="wire"),
    "entrepot-sdk": lambda operation, bucket, count: with_entrepot(operation, bucket, count, client="sdk"),
    "obstore": with_obstore,
    "aiobotocore": with_aiobotocore,
    "s3fs": with_s3fs,
}


def run_contender(run: Callable[[str, str, str, int], Awaitable[tuple[float, float, str]]]) -> None:
    """Run what the command line names, tell its figures, and end."""
    client, operation, container, count = sys.argv[1:]

    async def work() -> tuple[float, float, str]:
        return await run(client, operation, container, int(count))

    wall_s, used_s, digest = asyncio.run(work())
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"wall_s": wall_s, "cpu_s": used_s, "rss_mib": peak_kib / 1024, "digest": digest}), flush=True)
    os._exit(0)  # all is measured; the runtime of obstore sometimes aborts while the interpreter finalises


if __name__ == "__main__":
    run_contender(lambda client, operation, bucket, count: CLIENTS[client](operation, bucket, count))
