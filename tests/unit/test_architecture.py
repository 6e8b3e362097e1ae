"""The structure, held by a test: who may import whom, and what importing the package costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "entrepot"

# A module may import modules of a lower rank, and its own kind. Kinds are the first part of a module's name.
RANKS = {
    "errors": 0,
    "models": 0,
    "disks": 0,
    "opened": 0,
    "crcs": 1,
    "components": 1,
    "paths": 1,
    "patterns": 1,
    "files": 2,
    "telemetry": 1,
    "resuming": 2,
    "batches": 3,
    "contract": 4,
    "filesystem": 5,
    "http": 5,
    "auth": 6,
    "objects": 7,
    "services": 8,
    "flavors": 9,
    "transfer": 4,
    "interrupts": 0,
    "rates": 0,
    "bridge": 5,
    "syncfiles": 6,
    "blocking": 7,
    "registry": 5,
    "diagnosis": 10,
    "stores": 10,
    "copies": 11,
    "fileio": 12,
    "pipelines": 12,
    "integrations": 12,
    "testing": 12,
    "cli": 13,
    "__main__": 14,
    "__init__": 14,
}
# Kinds that share no imports though their ranks would allow it.
FORBIDDEN = {
    "transfer": {"batches", "contract"},
    "registry": {"flavors", "transfer", "blocking"},
    "blocking": {"http", "auth", "objects", "services", "flavors", "registry", "transfer"},
    "http": {"contract", "files", "batches"},
    "auth": {"contract", "files", "batches"},
    "cli": {"integrations", "testing"},
    "integrations": {"cli", "testing"},
    "testing": {"cli", "integrations"},
}


def modules() -> list[tuple[str, Path]]:
    return [(path.relative_to(SOURCE).with_suffix("").parts[0], path) for path in sorted(SOURCE.rglob("*.py"))]


def imported_kinds(path: Path) -> set[str]:
    kinds: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] == "entrepot":
                kinds.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom) and node.level:
            pytest.fail(f"{path}: relative imports hide what a module leans on")
        elif isinstance(node, ast.Import):
            kinds.update(name.name.split(".")[1] for name in node.names if name.name.startswith("entrepot."))
    return kinds


def test_every_module_has_a_rank() -> None:
    unknown = {kind for kind, _ in modules()} - set(RANKS)
    assert not unknown, f"give these a rank: {sorted(unknown)}"


@pytest.mark.parametrize(("kind", "path"), modules(), ids=lambda value: str(value).removeprefix(str(SOURCE)))
def test_imports_point_to_lower_ranks(kind: str, path: Path) -> None:
    if kind == "__init__":
        return
    for imported in imported_kinds(path) - {kind, "__version__"}:
        assert imported in RANKS, f"{path.name} imports an unknown module {imported}"
        assert RANKS[imported] < RANKS[kind], f"{path.name}: {kind} must not import {imported}"
        assert imported not in FORBIDDEN.get(kind, set()), f"{path.name}: {kind} must not import {imported}"


def loaded_after(code: str) -> set[str]:
    report = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.split(".")[0] for name in report.stdout.split()}


HEAVY = {"aiobotocore", "aiohttp", "asyncio", "botocore", "google", "httptools", "pydantic", "rich", "typer"}


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not loaded_after("import entrepot") & (HEAVY | {"anyio", "aiofiles"})


def test_the_local_flavor_imports_no_sdk_and_no_pydantic() -> None:
    assert not loaded_after("from entrepot import LocalArtifactStore") & (HEAVY - {"asyncio"})


def test_s3_with_keys_imports_no_sdk() -> None:
    code = "import entrepot; entrepot.S3ArtifactStore('s3://bucket', key='k', secret='s').client"
    assert not loaded_after(code) & {"aiobotocore", "aiohttp", "botocore", "rich", "typer"}


def test_a_small_copy_loads_no_journal(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "one.txt").write_text("one")
    code = f"import entrepot; entrepot.copy_sync({str(tmp_path / 'here')!r}, {str(tmp_path / 'there')!r})"
    assert not loaded_after(code) & {"sqlite3", "filelock", "pathspec"}
    assert (tmp_path / "there" / "one.txt").read_text() == "one"


def test_azure_with_keys_imports_no_sdk() -> None:
    code = "import entrepot; entrepot.AzureArtifactStore('az://box', account_name='acct', account_key='a2V5').client"
    assert not loaded_after(code) & {"aiohttp", "azure", "google_crc32c", "msal", "rich", "typer"}


def test_gcp_with_a_token_imports_no_sdk() -> None:
    code = "import entrepot; entrepot.GcpArtifactStore('gs://bucket', access_token='t').client"
    sdk = {"aiohttp", "cryptography", "gcloud", "google", "google_crc32c", "jwt"}
    assert not loaded_after(code) & (sdk | {"rich", "typer"})


def test_public_names_resolve_and_are_few() -> None:
    import entrepot

    assert len(entrepot.__all__) <= 30
    for name in entrepot.__all__:
        assert getattr(entrepot, name) is not None
    assert set(entrepot.__all__) <= set(dir(entrepot))
    with pytest.raises(AttributeError, match="no_such_name"):
        entrepot.no_such_name  # noqa: B018 - the access is the test
