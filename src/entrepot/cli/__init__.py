"""The command `entrepot`: a thin layer that parses, calls the library, and shows what came of it.

`render` and `bars` alone print. Nothing imports this package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. arguments: without the program's name; the process's own by default."""
    try:
        from entrepot.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "click"}:
            raise
        sys.stderr.write("entrepot: the command line needs typer and rich; pip install 'entrepot[cli]'\n")
        return 2
    return run(sys.argv[1:] if arguments is None else arguments)
