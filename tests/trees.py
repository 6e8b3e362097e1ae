"""Trees on disk for copies there and back, and what tells that one came back whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from entrepot.flavors.local import LocalArtifactStore
from entrepot.models import MIB

NAMES = ["plain", "with space", "100%", "%41", "a+b", "#hash", "what?", "é", "e\u0301x", "日本", "empty", "d/deep/y"]


def disk_with(folder: Path, names: Sequence[str]) -> LocalArtifactStore:
    """A store with a tree `src`: small files of these names and times in the past, `large` of 26 MiB and 3 bytes, and
    the empty directory `nothing`.
    """
    top = folder / "src"
    for number, name in enumerate(names):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else os.urandom(1 + 100 * number))
        os.utime(path, (0, 1_600_000_000 + number))
    (top / "large").write_bytes(os.urandom(26 * MIB + 3))
    (top / "nothing").mkdir()
    return LocalArtifactStore(folder)


def hashes(top: Path) -> dict[str, str]:
    """SHA-256 of each file by its path below; a directory has none."""
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in top.rglob("*")
    }
