"""The command `entrepot`: a thin layer that parses, calls the library, and shows what came of it.

`render` and `bars` alone print. Nothing imports this package.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. arguments: without the program's name; the process's own by default."""
    if arguments is None:
        # What is imported now lives as long as the program. To look for garbage among it, while it comes and once more
        # at the end, takes a fifth of a small command's time. Of another's process (with arguments) all is left alone.
        gc.disable()
    try:
        from entrepot.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "click"}:
            raise
        sys.stderr.write("entrepot: the command line needs typer and rich; pip install 'entrepot[cli]'\n")
        return 2
    finally:
        if arguments is None:
            gc.freeze()
            gc.enable()
    return run(sys.argv[1:] if arguments is None else arguments)
