"""`artifacts …`: what steps of pipelines have made, read from the store alone."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import typer
from anyio import to_thread

from entrepot.cli.failures import DONE, WrongUse
from entrepot.cli.render import human_size
from entrepot.cli.runs import InStore, store_of
from entrepot.cli.session import Session
from entrepot.contract import BaseArtifactStore
from entrepot.errors import BadResponse, NotFound
from entrepot.pipelines.artifacts import ROOT, Artifact, artifact_paths, fetch, read_artifact

Id = Annotated[str, typer.Argument(metavar="ARTIFACT", hidden=True)]
_AT_ONCE: Final = 16
_PREVIEW_BYTES: Final = 4_096
_PREVIEW_ROWS: Final = 20
_SHOWN: Final = {".html", ".htm", ".svg", ".png", ".jpg", ".jpeg", ".gif", ".md", ".csv", ".txt", ".json", ".pdf"}
"""Endings of files that a browser shows."""


async def list_artifacts(
    session: Session,
    below: Annotated[str, typer.Argument(metavar="[PIPELINE[/STEP[/OUTPUT]]]", hidden=True)] = "",
    store: InStore = None,
) -> int:
    """List the artifacts of pipelines, oldest run first of each output; of one pipeline, step or output with its name.

    --json: per artifact id, type, materializer, size_bytes, files (their number), created, about.
    """
    found = await store_of(session, store)
    artifacts = await _all(session, found, below.strip("/"))
    if session.output.as_json:
        for one in artifacts:
            session.output.value(_value(one))
        return max((failure.exit_code for failure in session.failures), default=DONE)
    cells = [(one.id, one.type.partition(":")[2], human_size(one.size_bytes), one.created) for one in artifacts]
    await session.output.table(("ARTIFACT", "TYPE", "SIZE", "CREATED"), cells)
    return max((failure.exit_code for failure in session.failures), default=DONE)


async def show(
    session: Session,
    id_: Id,
    store: InStore = None,
    browser: Annotated[bool, typer.Option("--open", help="Show its files in the browser.")] = False,
) -> int:
    """Show an artifact: what it is, its files, and how it begins. ARTIFACT is PIPELINE/STEP/OUTPUT, or that and /RUN.

    Text, JSON and tables are shown in part; --open shows HTML, images, Markdown, CSV and text in the browser.

    --json: id, type, materializer, size_bytes, files (a list of path, size_bytes, sha256), created, about.
    """
    found = await store_of(session, store)
    artifact = await _named(found, id_)
    if browser:
        return await _open(session, found, artifact)
    output = session.output
    if output.as_json:
        output.value({**_value(artifact), "files": [_file(one) for one in artifact.files]})
        return DONE
    lines = {
        "artifact": artifact.id,
        "type": artifact.type.replace(":", "."),
        "kept as": artifact.materializer,
        "size": human_size(artifact.size_bytes),
        "created": artifact.created,
        **{name: str(one) for name, one in artifact.about.items()},
    }
    width = max(map(len, lines)) + 2
    for title, text in lines.items():
        output.line(f"{title + ':':<{width}}{text}")
    for one in artifact.files[:_PREVIEW_ROWS]:
        output.line(f"{'file:':<{width}}{one.path} ({human_size(one.size_bytes)})")
    if len(artifact.files) > _PREVIEW_ROWS:
        output.line(f"and {len(artifact.files) - _PREVIEW_ROWS:,} more files")
    await _preview(session, found, artifact)
    return DONE


async def get(
    session: Session,
    id_: Id,
    target: Annotated[str, typer.Argument(metavar="DIR", hidden=True)],
    store: InStore = None,
) -> int:
    """Copy an artifact's files into a new directory, each held against the checksum that its step has written down.

    --json: id, target, files (their number), size_bytes.
    """
    found = await store_of(session, store)
    folder = Path(target)
    if await to_thread.run_sync(folder.exists):
        raise WrongUse("it is there already; name a new directory", target)
    artifact = await _named(found, id_)
    await to_thread.run_sync(folder.mkdir, 0o777, True)
    try:
        await fetch(found, artifact, folder)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(shutil.rmtree, folder, True)
        raise
    if session.output.as_json:
        session.output.value(
            {"id": artifact.id, "target": target, "files": len(artifact.files), "size_bytes": artifact.size_bytes}
        )
    else:
        session.output.line(f"{artifact.id}: {len(artifact.files):,} files in {target}")
    return DONE


# ---- what there is --------------------------------------------------------------------------------------


async def _all(session: Session, store: BaseArtifactStore, below: str) -> list[Artifact]:
    """What cannot be read is told, and the rest is there. Requests: a listing, and 1 an artifact."""
    paths = [path async for path in artifact_paths(store, below)]
    found: dict[str, Artifact] = {}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def read(path: str) -> None:
        async with limiter:
            try:
                found[path] = await read_artifact(store, path)
            except NotFound:
                return  # removed since it was listed
            except BadResponse as error:
                session.report(error, path)

    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(read, path)
    return [found[path] for path in sorted(found)]


async def _named(store: BaseArtifactStore, id_: str) -> Artifact:
    """The artifact; without a run, the latest one. Raises: NotFound."""
    names = id_.strip("/").split("/")
    if len(names) == 4:
        try:
            return await read_artifact(store, f"{ROOT}/{id_.strip('/')}")
        except NotFound as error:
            raise NotFound(f"no artifact {id_} is here; `artifacts list` tells which are", uri=error.uri) from error
    if len(names) != 3:
        raise WrongUse("give PIPELINE/STEP/OUTPUT, or PIPELINE/STEP/OUTPUT/RUN", id_)
    paths = [path async for path in artifact_paths(store, id_.strip("/"))]
    if not paths:
        raise NotFound(f"no artifact {id_} is here; `artifacts list` tells which are", uri=store.path)
    return await read_artifact(store, max(paths))


def _value(artifact: Artifact) -> dict[str, Any]:
    return {
        "id": artifact.id,
        "type": artifact.type,
        "materializer": artifact.materializer,
        "size_bytes": artifact.size_bytes,
        "files": len(artifact.files),
        "created": artifact.created,
        "about": artifact.about,
    }


def _file(one: Any) -> dict[str, Any]:
    return {"path": one.path, "size_bytes": one.size_bytes, "sha256": one.sha256}


# ---- how it looks ---------------------------------------------------------------------------------------


async def _preview(session: Session, store: BaseArtifactStore, artifact: Artifact) -> None:
    output = session.output
    names = {one.path: one for one in artifact.files}
    single = next(iter(names), "")
    if artifact.materializer == "parquet":
        titles, rows = await _table(store, artifact)
        output.line("")
        await output.table(titles, rows)
    elif artifact.materializer == "image" and output.to_terminal:
        await output.drain(wholly=True)
        await output.write(await _picture(store, artifact))
    elif len(names) == 1 and single.endswith((".json", ".txt", ".csv", ".md")):
        data = await store.read_range(f"{artifact.path}/data/{single}", 0, _PREVIEW_BYTES)
        text = data.decode("utf-8", "replace")
        whole = names[single].size_bytes <= _PREVIEW_BYTES
        if single.endswith(".json") and whole:
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        output.line("")
        for line in text.splitlines()[:_PREVIEW_ROWS]:
            output.line(line)
        if not whole or len(text.splitlines()) > _PREVIEW_ROWS:
            output.line("…")


async def _table(store: BaseArtifactStore, artifact: Artifact) -> tuple[list[str], list[list[str]]]:
    folder = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "entrepot-show-"))
    try:
        await fetch(store, artifact, folder)
        return await to_thread.run_sync(_rows, folder)
    finally:
        await to_thread.run_sync(shutil.rmtree, folder, True)


def _rows(folder: Path) -> tuple[list[str], list[list[str]]]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise WrongUse("a table is shown by pyarrow: pip install pyarrow") from error
    table = parquet.ParquetFile(folder / "table.parquet").read().slice(0, _PREVIEW_ROWS)
    titles = [str(name) for name in table.column_names]
    return titles, [[str(row[name]) for name in titles] for row in table.to_pylist()]


async def _picture(store: BaseArtifactStore, artifact: Artifact) -> bytes:
    """The image in half blocks of a terminal's colours, 48 characters wide at most."""
    folder = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "entrepot-show-"))
    try:
        await fetch(store, artifact, folder)
        return await to_thread.run_sync(_blocks, folder / "image.png")
    finally:
        await to_thread.run_sync(shutil.rmtree, folder, True)


def _blocks(path: Path) -> bytes:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise WrongUse("an image is shown by pillow: pip install pillow") from error
    image = Image.open(path).convert("RGB")
    image.thumbnail((48, 48))
    lines = []
    for row in range(0, image.height, 2):
        cells = []
        for column in range(image.width):
            upper: Any = image.getpixel((column, row))
            lower: Any = image.getpixel((column, min(row + 1, image.height - 1)))
            cells.append("\x1b[38;2;{};{};{};48;2;{};{};{}m\u2580".format(*upper, *lower))
        lines.append("".join(cells) + "\x1b[0m\n")
    return "".join(lines).encode()


async def _open(session: Session, store: BaseArtifactStore, artifact: Artifact) -> int:
    """The files stay in the temporary directory: the browser reads them after this process has ended."""
    import webbrowser

    shown = [one.path for one in artifact.files if Path(one.path).suffix.lower() in _SHOWN]
    if not shown:
        raise WrongUse("none of its files is shown by a browser; `artifacts get` copies them", artifact.id)
    folder = Path(await to_thread.run_sync(tempfile.mkdtemp, None, "entrepot-open-"))
    await fetch(store, artifact, folder)
    first = next((one for one in shown if one.endswith((".html", ".htm"))), shown[0])
    if first.endswith((".md", ".csv")):  # what a browser would offer to save, it shows as text
        first = await to_thread.run_sync(_as_text, folder, first)
    address = (folder / first).as_uri()
    await to_thread.run_sync(webbrowser.open, address)
    if session.output.as_json:
        session.output.value({"id": artifact.id, "opened": address})
    else:
        session.output.line(f"opened {address}")
    return DONE


def _as_text(folder: Path, name: str) -> str:
    shown = f"{name}.txt"
    shutil.copyfile(folder / name, folder / shown)
    return shown
