"""GCS and Azure: 4 KiB GET, PUT and HEAD, 32 at once, and a listing, through each client's public API."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.calls import KEYS, PAYLOAD, key_of
from benchmarks.cloud_calls import CLIENTS, LISTED
from benchmarks.copies import BUCKET, chosen
from benchmarks.measure import Sample, interleave, publish
from benchmarks.single_ops import calls

LISTED_KEYS = 10_000


def gcp_ops(folder: Path, options: argparse.Namespace) -> None:
    """On fake-gcs-server."""
    from entrepot.testing import fake_gcs

    with fake_gcs(folder / "server") as server:
        server.create_bucket(BUCKET)
        # gcsfs would ask Google over gRPC what kind of bucket it is, which no emulator answers.
        env = {"STORAGE_EMULATOR_HOST": server.endpoint_url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        compare("gcp", f"gs://{BUCKET}", env, options)


def azure_ops(folder: Path, options: argparse.Namespace) -> None:
    """On Azurite."""
    from entrepot.testing import azurite

    with azurite(folder / "server") as server:
        server.create_container(BUCKET)
        env = {
            "AZURE_STORAGE_CONNECTION_STRING": server.connection_string,
            "AZURE_STORAGE_ACCOUNT_NAME": server.account_name,
            "AZURE_STORAGE_ACCOUNT_KEY": server.account_key,
            "AZURE_STORAGE_ENDPOINT": server.endpoint_url,
        }
        compare("azure", f"az://{BUCKET}", env, options)


def compare(service: str, uri: str, env: dict[str, str], options: argparse.Namespace) -> None:
    """Every contender of a service, each operation in interleaved rounds."""
    asyncio.run(_fill(uri, env, [key_of(number) for number in range(KEYS)], PAYLOAD))
    known = [name.partition("/")[2] for name in CLIENTS if name.startswith(service)]
    names = chosen(known, options.peers)

    def contenders(operation: str, count: int) -> dict[str, Callable[[int], Sample]]:
        digests: set[str] = set()

        def one(name: str) -> Callable[[int], Sample]:
            return lambda _: calls(
                f"{service}/{name}", operation, env=env, count=count, digests=digests,
                call_bytes=0 if operation == "list" else len(PAYLOAD), module="benchmarks.cloud_calls",
            )  # fmt: skip

        # The emulator has no XML interface to write by, which is obstore's only one.
        left_out = {"obstore"} if (service, operation) == ("gcp", "put") else set()
        return {name: one(name) for name in names if name not in left_out}

    figures = {name: interleave(contenders(name, options.calls), options.rounds) for name in ("get", "put", "head")}
    # Emulators write more slowly the more they hold, so what is listed comes after what is written.
    listed = [f"{LISTED}folder-{number // 1000:02}/key-{number:06}" for number in range(LISTED_KEYS)]
    asyncio.run(_fill(uri, env, listed, b""))
    figures["list"] = interleave(contenders("list", LISTED_KEYS), options.rounds)
    publish(f"{service}-ops", figures, object_bytes=len(PAYLOAD), concurrency=32, listed_keys=LISTED_KEYS)


async def _fill(uri: str, env: dict[str, str], keys: list[str], data: bytes) -> None:
    import os

    import anyio

    import entrepot

    with ExitStack() as stack:
        for name, value in env.items():
            before = os.environ.get(name)
            os.environ[name] = value
            stack.callback(os.environ.__setitem__, name, before) if before else stack.callback(os.environ.pop, name)
        options = {"anonymous": True} if uri.startswith("gs:") else {}
        async with entrepot.open_store(uri, **options) as store:
            left = iter(keys)

            async def write() -> None:
                for key in left:
                    await store.write_bytes(key, data)

            async with anyio.create_task_group() as tasks:
                for _ in range(16):
                    tasks.start_soon(write)
