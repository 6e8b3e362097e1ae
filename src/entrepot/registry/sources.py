"""From a source path to the class of a flavor, with one line for each thing that can be wrong with it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from importlib import import_module
from typing import Any, Final

from entrepot.contract import BaseArtifactStore
from entrepot.errors import ConfigurationError

_SOURCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)[.:](?P<name>[^\W\d]\w*)")
_FLAVOR: Final = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)


def normal_source(source: str) -> str:
    """`my_package.module:MyStore`, of that or of `my_package.module.MyStore`. Raises ConfigurationError."""
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise ConfigurationError(f"{source!r} is no source path; write my_package.module:MyStore")
    return f"{found['module']}:{found['name']}"


def class_at(source: str) -> type[BaseArtifactStore]:
    """The flavor's class at `module:Class`. Raises ConfigurationError that names what is missing."""
    module_name, _, name = normal_source(source).partition(":")
    module = _module(module_name)
    found: object = getattr(module, name, None)
    if found is None:
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"did you mean {near[0]}?" if near else "check the name"
        raise ConfigurationError(f"module {module_name} has no {name}; {hint}")
    if not (isinstance(found, type) and issubclass(found, BaseArtifactStore)):
        raise ConfigurationError(f"{source} is no subclass of entrepot.BaseArtifactStore")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigurationError(f"{source} lacks {', '.join(missing)}; implement each")
    _check_declarations(source, found)
    return found


def _module(name: str) -> object:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if f"{name}.".startswith(f"{missing}."):
            raise ConfigurationError(
                f"no module {missing} on the path; install it, or add its directory to PYTHONPATH"
            ) from error
        raise ConfigurationError(f"module {name} needs {missing}, which is not installed; pip install it") from error
    except Exception as error:
        raise ConfigurationError(f"module {name} cannot be imported: {type(error).__name__}: {error}") from error


def _check_declarations(source: str, kind: type[Any]) -> None:
    flavor, schemes, config = (getattr(kind, name, None) for name in ("FLAVOR", "SUPPORTED_SCHEMES", "CONFIG"))
    if not isinstance(flavor, str) or not _FLAVOR.fullmatch(flavor):
        raise ConfigurationError(f"{source}: FLAVOR must be a short name in lower case, such as 'sftp'")
    if not isinstance(schemes, (set, frozenset)) or not schemes:
        raise ConfigurationError(f"{source}: SUPPORTED_SCHEMES must be a set, such as frozenset({{'{flavor}://'}})")
    for scheme in schemes:
        if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
            raise ConfigurationError(f"{source}: {scheme!r} in SUPPORTED_SCHEMES is no scheme; write '{flavor}://'")
    if not (isinstance(config, type) and (hasattr(config, "model_fields") or dataclasses.is_dataclass(config))):
        raise ConfigurationError(f"{source}: CONFIG must be a pydantic model or a dataclass")
    if "path" not in kind.configuration_keys():
        raise ConfigurationError(f"{source}: CONFIG needs a key 'path', the address of the store's root")
