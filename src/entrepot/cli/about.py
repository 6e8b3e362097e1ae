"""`version`: what is installed."""

from __future__ import annotations

import platform

from entrepot import __version__
from entrepot.cli.failures import DONE
from entrepot.cli.session import Session


async def version(session: Session) -> int:
    """Show the version of entrepot and of Python."""
    output = session.output
    if output.as_json:
        output.value({"entrepot": __version__, "python": platform.python_version()})
    else:
        output.line(f"entrepot {__version__} (Python {platform.python_version()})")
    return DONE
