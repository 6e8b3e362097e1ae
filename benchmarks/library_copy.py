"""A tree copied with a peer library as its documentation suggests: `LIBRARY up|down LOCAL BUCKET PREFIX`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

CONCURRENCY = 32
PART_BYTES = 8 * 1024**2


def local_files(root: Path) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(root) for name in names]


async def each(items: list, work) -> None:  # type: ignore[no-untyped-def,type-arg]
    """At most CONCURRENCY at once."""
    pending = iter(items)

    async def worker() -> None:
        for item in pending:
            await work(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONCURRENCY):
            tasks.create_task(worker())


async def with_obstore(direction: str, local: Path, bucket: str, prefix: str) -> None:
    from obstore.store import S3Store

    store = S3Store(bucket, prefix=prefix, client_options={"allow_http": True})
    if direction == "up":

        async def send(path: Path) -> None:
            await store.put_async(path.relative_to(local).as_posix(), path)

        await each(local_files(local), send)
        return
    keys = [entry["path"] for page in store.list() for entry in page]

    async def fetch(key: str) -> None:
        target = local / key
        target.parent.mkdir(parents=True, exist_ok=True)
        reply = await store.get_async(key)
        with target.open("wb") as file:
            async for chunk in reply.stream(min_chunk_size=PART_BYTES):
                file.write(chunk)

    await each(keys, fetch)


async def with_aiobotocore(direction: str, local: Path, bucket: str, prefix: str) -> None:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(max_pool_connections=CONCURRENCY * 2, s3={"addressing_style": "path"})
    async with get_session().create_client("s3", config=config) as s3:
        if direction == "up":

            async def send(path: Path) -> None:
                key = f"{prefix}/{path.relative_to(local).as_posix()}"
                if path.stat().st_size <= PART_BYTES:
                    await s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
                    return
                upload = await s3.create_multipart_upload(Bucket=bucket, Key=key)
                parts = []
                with path.open("rb") as file:
                    while body := file.read(PART_BYTES):
                        number = len(parts) + 1
                        reply = await s3.upload_part(
                            Bucket=bucket, Key=key, UploadId=upload["UploadId"], PartNumber=number, Body=body
                        )
                        parts.append({"PartNumber": number, "ETag": reply["ETag"]})
                await s3.complete_multipart_upload(
                    Bucket=bucket, Key=key, UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}
                )

            await each(local_files(local), send)
            return
        keys = []
        async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            keys += [entry["Key"] for entry in page.get("Contents", ())]

        async def fetch(key: str) -> None:
            target = local / key.removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            reply = await s3.get_object(Bucket=bucket, Key=key)
            async with reply["Body"] as body:
                with target.open("wb") as file:
                    while chunk := await body.read(PART_BYTES):
                        file.write(chunk)

        await each(keys, fetch)


def with_s3fs(direction: str, local: Path, bucket: str, prefix: str) -> None:
    from s3fs import S3FileSystem

    files = S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    if direction == "up":
        files.put(f"{local}/", f"{bucket}/{prefix}/", recursive=True, batch_size=CONCURRENCY)
    else:
        files.get(f"{bucket}/{prefix}/", f"{local}/", recursive=True, batch_size=CONCURRENCY)


def main() -> None:
    library, direction, folder, bucket, prefix = sys.argv[1:]
    local = Path(folder)
    if library == "obstore":
        asyncio.run(with_obstore(direction, local, bucket, prefix))
        os._exit(0)  # its runtime sometimes aborts the process while the interpreter finalises; the copy is done
    elif library == "aiobotocore":
        asyncio.run(with_aiobotocore(direction, local, bucket, prefix))
    else:
        with_s3fs(direction, local, bucket, prefix)


if __name__ == "__main__":
    main()
