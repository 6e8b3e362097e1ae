"""What a dry run would do, one line a file or directory."""

from __future__ import annotations

from typing import Any

from entrepot.cli.render import Output
from entrepot.cli.session import Place
from entrepot.paths import join
from entrepot.transfer.plan import MakeDirectories, MakeLink, MoveInParts, RemoveFiles, Step


def show_step(output: Output, step: Step, here: Place, there: Place, verb: str) -> None:
    """Tell one step. verb: `copy` or `move`."""
    if isinstance(step, MakeDirectories):
        for path in step.paths:
            uri = join(there.store.path, path)
            _tell(output, {"directory": uri}, f"would make {_shown(there, uri)}/")
    elif isinstance(step, RemoveFiles):
        for path in step.paths:
            uri = join(there.store.path, path)
            _tell(output, {"delete": uri}, f"would delete {_shown(there, uri)}")
    elif isinstance(step, MakeLink):
        link, uri = step.file.source, join(there.store.path, step.file.target)
        value: dict[str, Any] = {"source": link.uri, "target": uri, "link": link.link_target}
        _tell(output, value, f"would link {_shown(there, uri)} -> {link.link_target}")
    else:
        for file in (step.file,) if isinstance(step, MoveInParts) else step.files:
            uri = join(there.store.path, file.target)
            value = {"source": file.source.uri, "target": uri, "size_bytes": file.source.size_bytes}
            _tell(output, value, f"would {verb} {_shown(here, file.source.uri)} -> {_shown(there, uri)}")


def _tell(output: Output, value: dict[str, Any], line: str) -> None:
    if output.as_json:
        output.value(value)
    else:
        output.line(line)


def _shown(place: Place, uri: str) -> str:
    """An address below the place, in the form that was typed; what a link led to outside of it, as it is."""
    if not uri.startswith(place.uri):
        return uri
    relative = place.relative(uri)
    return place.child(relative) if relative else place.shown
