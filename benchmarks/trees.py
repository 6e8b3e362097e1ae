"""Trees to copy, and the proof that a copy is equal: SHA-256 of every file."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from entrepot.models import MIB


def make_small_files(root: Path, *, files: int = 5_000, folders: int = 50, size_bytes: int = 4096) -> None:
    """files × size_bytes of random bytes, spread over the folders; the same for the same arguments."""
    rng = random.Random(files)
    for number in range(files):
        folder = root / f"folder-{number % folders:02}"
        if number < folders:
            folder.mkdir(parents=True)
        (folder / f"file-{number:05}.bin").write_bytes(rng.randbytes(size_bytes))


def make_large_files(root: Path, *, files: int = 8, size_bytes: int = 64 * MIB) -> None:
    """files × size_bytes of random bytes."""
    root.mkdir(parents=True)
    rng = random.Random(files)
    for number in range(files):
        with (root / f"large-{number}.bin").open("wb") as file:
            for _ in range(size_bytes // MIB):
                file.write(rng.randbytes(MIB))


def tree_hashes(root: Path) -> dict[str, str]:
    """Relative path → SHA-256 of every file below."""
    hashes: dict[str, str] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            with path.open("rb") as file:
                hashes[path.relative_to(root).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def check_equal(expected: dict[str, str], found: dict[str, str], *, who: str) -> None:
    """Raise where a copy is not what it should be; a wrong result has no speed."""
    if expected == found:
        return
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    wrong = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    raise RuntimeError(
        f"{who}: {len(missing)} missing {missing[:3]}, {len(extra)} extra {extra[:3]}, wrong {wrong[:3]}"
    )
