"""The parts that a stack is made of: what each is configured by, and how that is shown and sent to other processes."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

from entrepot.errors import ConfigurationError, StoreError

HIDDEN: Final = "***"
"""What stands in place of a secret wherever a configuration is shown."""


class StackComponentType(StrEnum):
    """The kinds of component that a stack is made of."""

    ARTIFACT_STORE = "artifact_store"
    ORCHESTRATOR = "orchestrator"
    STEP_OPERATOR = "step_operator"


class StackComponent:
    """One configured component of a stack.

    A subclass names its `FLAVOR` and its `CONFIG`: a frozen dataclass, or a pydantic model where there are secrets.
    """

    TYPE: ClassVar[StackComponentType]
    FLAVOR: ClassVar[str]
    CONFIG: ClassVar[type[Any]]

    def __init__(self, **configuration: Any) -> None:
        self.config: Any = self.configure(configuration)

    @classmethod
    def configuration_keys(cls) -> tuple[str, ...]:
        """The names of the keys that this flavor takes."""
        fields = getattr(cls.CONFIG, "model_fields", None)
        return tuple(fields) if fields is not None else tuple(f.name for f in dataclasses.fields(cls.CONFIG))

    @classmethod
    def check_keys(cls, keys: Iterable[str]) -> None:
        """Raise ConfigurationError, which names the nearest key, for one that this flavor does not take."""
        known = cls.configuration_keys()
        for key in keys:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise ConfigurationError(f"flavor {cls.FLAVOR!r} has no option {key!r}; {hint}")

    @classmethod
    def configure(cls, values: Mapping[str, Any]) -> Any:
        """The checked configuration.

        Raises ConfigurationError, which names the nearest key for an unknown one and never shows a value.
        """
        cls.check_keys(values)
        try:
            return cls.CONFIG(**values)
        except StoreError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"flavor {cls.FLAVOR!r}: {_configuration_fault(error)}") from None

    def describe(self) -> dict[str, Any]:
        """The configuration as shown to people: secrets as `***`, unset keys left out."""
        return {key: value for key, value in self._shown() if value is not None}

    def _shown(self) -> Iterable[tuple[str, Any]]:
        for key in self.configuration_keys():
            value = getattr(self.config, key)
            yield key, HIDDEN if _is_secret(value) else value

    def _public_configuration(self) -> dict[str, Any]:
        """The configuration without its secrets: what a pickle carries."""
        return {key: value for key, value in self._shown() if value != HIDDEN and value is not None}

    def __repr__(self) -> str:
        defaults = _defaults(self.CONFIG)
        told = [(key, value) for key, value in self._shown() if key not in defaults or value != defaults[key]]
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in told)})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (type(self), self._public_configuration())


class BaseOrchestrator(StackComponent):
    """What runs the steps of pipelines. A subclass of one's own names its `FLAVOR`, its `CONFIG`, and where it runs."""

    TYPE = StackComponentType.ORCHESTRATOR
    IS_LOCAL: ClassVar[bool] = False
    """Whether steps run on this machine, where they reach its disk."""


class BaseStepOperator(StackComponent):
    """What runs single steps elsewhere than the orchestrator does."""

    TYPE = StackComponentType.STEP_OPERATOR
    IS_LOCAL: ClassVar[bool] = False
    """As of an orchestrator."""


@dataclasses.dataclass(frozen=True, slots=True)
class LocalOrchestratorConfig:
    """concurrency: how many steps run at once; without it, as many as this machine has processors, and four more."""

    concurrency: int | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            try:
                object.__setattr__(self, "concurrency", int(self.concurrency))
            except ValueError:
                raise ConfigurationError("concurrency must be a whole number") from None
            if self.concurrency < 1:
                raise ConfigurationError("concurrency must be at least 1")


class LocalOrchestrator(BaseOrchestrator):
    """Runs steps in this process, those that do not wait for each other at once."""

    FLAVOR = "local"
    CONFIG = LocalOrchestratorConfig
    IS_LOCAL = True


def _rebuild(kind: type[StackComponent], configuration: dict[str, Any]) -> StackComponent:
    return kind(**configuration)


def _defaults(config: type[Any]) -> dict[str, Any]:
    fields = getattr(config, "model_fields", None)
    if fields is not None:
        return {name: field.default for name, field in fields.items() if not field.is_required()}
    return {f.name: f.default for f in dataclasses.fields(config) if f.default is not dataclasses.MISSING}


def _is_secret(value: object) -> bool:
    return hasattr(value, "get_secret_value")


def _configuration_fault(error: Exception) -> str:
    """What is wrong, without the value that was given: it may be a secret."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    rows = errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, row['loc'])) or 'configuration'}: {row['msg']}" for row in rows)
