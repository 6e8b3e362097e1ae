"""Secrets that a configuration only points at: `${env:NAME}`, `${file:PATH}`, `${keyring:SERVICE/NAME}`.

A reference is kept as it was given, and resolved each time a component is made of its entry.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from entrepot.errors import ConfigurationError

_REFERENCE: Final = re.compile(r"\$\{(?P<kind>[a-z]+):(?P<name>[^}]+)\}")
KINDS: Final = ("env", "file", "keyring")


def is_reference(value: object) -> bool:
    """Whether a value only points at where the real one is."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def require_usable(key: str, value: object) -> None:
    """Raise ConfigurationError for a reference of a kind that there is not, and for one in a path."""
    if key == "path" and isinstance(value, str) and _REFERENCE.search(value):
        raise ConfigurationError("path: references are for secrets; write the path as it is")
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is not None and found["kind"] not in KINDS:
        raise ConfigurationError(f"{value}: a reference is ${{env:NAME}}, ${{file:PATH}} or ${{keyring:SERVICE/NAME}}")


def resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with what their references lead to. Raises ConfigurationError that names the key, and no value."""
    return {key: _value(key, value) if is_reference(value) else value for key, value in options.items()}


def _value(key: str, reference: str) -> str:
    found = _REFERENCE.fullmatch(reference)
    assert found is not None
    kind, name = found["kind"], found["name"]
    if kind == "env":
        if name not in os.environ:
            raise ConfigurationError(f"{key}: the variable {name} is not set")
        return os.environ[name]
    if kind == "file":
        try:
            with open(os.path.expanduser(name), encoding="utf-8") as file:
                return file.read().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{key}: the file {name} cannot be read: {type(error).__name__}") from error
    if kind == "keyring":
        return _of_keyring(key, name)
    raise ConfigurationError(f"{key}: {reference} is of no kind that there is: {', '.join(KINDS)}")


def _of_keyring(key: str, name: str) -> str:
    service, _, user = name.rpartition("/")
    if not service or not user:
        raise ConfigurationError(f"{key}: write ${{keyring:SERVICE/NAME}}")
    try:
        import keyring
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{key}: a reference to a keyring needs keyring: pip install keyring") from error
    found: str | None = keyring.get_password(service, user)
    if found is None:
        raise ConfigurationError(f"{key}: the keyring has no {name}; `keyring set {service} {user}` puts it there")
    return found
