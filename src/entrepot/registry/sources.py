"""From a source path to the class of a flavor, with one line for each thing that can be wrong with it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from importlib import import_module
from typing import Any, Final

from entrepot.components import BaseOrchestrator, BaseStepOperator, StackComponent, StackComponentType
from entrepot.contract import BaseArtifactStore
from entrepot.errors import ConfigurationError

_SOURCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)[.:](?P<name>[^\W\d]\w*)")
_FLAVOR: Final = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)
_BASES: Final[dict[StackComponentType, type[StackComponent]]] = {
    StackComponentType.ORCHESTRATOR: BaseOrchestrator,
    StackComponentType.STEP_OPERATOR: BaseStepOperator,
}


def normal_source(source: str) -> str:
    """`my_package.module:MyStore`, of that or of `my_package.module.MyStore`. Raises ConfigurationError."""
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise ConfigurationError(f"{source!r} is no source path; write my_package.module:MyStore")
    return f"{found['module']}:{found['name']}"


def component_at(source: str, type_: StackComponentType) -> type[StackComponent]:
    """The class of another component at `module:Class`. Raises ConfigurationError that names what is missing."""
    found = _object_at(normal_source(source))
    base = _BASES[type_]
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigurationError(f"{source} is no subclass of entrepot.components.{base.__name__}")
    _check_names(source, found)
    return found


def class_at(source: str) -> type[BaseArtifactStore]:
    """The flavor's class at `module:Class`. Raises ConfigurationError that names what is missing."""
    found = _object_at(normal_source(source))
    if not (isinstance(found, type) and issubclass(found, BaseArtifactStore)):
        raise ConfigurationError(f"{source} is no subclass of entrepot.BaseArtifactStore")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigurationError(f"{source} lacks {', '.join(missing)}; implement each")
    _check_declarations(source, found)
    return found


def _object_at(source: str) -> object:
    module_name, _, name = source.partition(":")
    module = _module(module_name)
    found: object = getattr(module, name, None)
    if found is None:
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"did you mean {near[0]}?" if near else "check the name"
        raise ConfigurationError(f"module {module_name} has no {name}; {hint}")
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
    _check_names(source, kind)
    flavor, schemes = kind.FLAVOR, getattr(kind, "SUPPORTED_SCHEMES", None)
    if not isinstance(schemes, (set, frozenset)) or not schemes:
        raise ConfigurationError(f"{source}: SUPPORTED_SCHEMES must be a set, such as frozenset({{'{flavor}://'}})")
    for scheme in schemes:
        if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
            raise ConfigurationError(f"{source}: {scheme!r} in SUPPORTED_SCHEMES is no scheme; write '{flavor}://'")
    if "path" not in kind.configuration_keys():
        raise ConfigurationError(f"{source}: CONFIG needs a key 'path', the address of the store's root")


def _check_names(source: str, kind: type[Any]) -> None:
    flavor, config = getattr(kind, "FLAVOR", None), getattr(kind, "CONFIG", None)
    if not isinstance(flavor, str) or not _FLAVOR.fullmatch(flavor):
        raise ConfigurationError(f"{source}: FLAVOR must be a short name in lower case, such as 'sftp'")
    if not (isinstance(config, type) and (hasattr(config, "model_fields") or dataclasses.is_dataclass(config))):
        raise ConfigurationError(f"{source}: CONFIG must be a pydantic model or a dataclass")
