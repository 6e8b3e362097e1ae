"""From a coroutine function with typed parameters to a command: option groups, one session, one exit code."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import sys
from collections.abc import Callable, Collection, Coroutine, Sequence
from copy import copy
from functools import partial
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from entrepot.cli.failures import READER_GONE, SIGNAL_BASE, WRONG_USE, Interrupted, OutputClosed, WrongUse, failure_of
from entrepot.cli.options import Common, Connection
from entrepot.cli.render import Output
from entrepot.cli.runner import run_until_done
from entrepot.cli.session import Session

G = TypeVar("G")
Body: TypeAlias = Callable[..., Coroutine[Any, Any, int]]
_CHANGES: Final = frozenset({"cp", "mv", "rm", "sync"})
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def command(body: Body, *, name: str = "", connects: bool = True) -> Callable[..., int]:
    """The function that typer parses for and calls: the body's parameters, and the options that commands share.

    body: its first parameter is the Session; a parameter annotated with a dataclass of options is a group.
    name: the words that call it, where they are not the body's name. connects: it takes addresses, and so the options
    of a connection.
    """
    hints = get_type_hints(body, include_extras=True)
    own = list(inspect.signature(body).parameters.values())[1:]
    groups = {one.name: hints[one.name] for one in own if dataclasses.is_dataclass(hints[one.name])}
    parameters: list[inspect.Parameter] = []
    for one in own:
        if one.name in groups:
            parameters.extend(_options_of(groups[one.name]))
        else:
            parameters.append(one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY))
    shared = (Connection, Common) if connects else (Common,)
    taken = {word for one in parameters for word in _words_of(one.annotation)}
    for group in shared:
        parameters.extend(_without(one, taken) for one in _options_of(group))

    def call(**values: Any) -> int:
        connection = _taken(Connection, values) if connects else Connection()
        common = _taken(Common, values)
        arguments = {name: _taken(group, values) for name, group in groups.items()}
        return _execute(name or body.__name__, partial(body, **arguments, **values), connection, common)

    # A line of \b keeps the help formatter from filling the paragraph below it; a docstring spells it out.
    call.__doc__ = (body.__doc__ or "").replace("\\b\n", "\b\n")
    call.__name__, call.__module__ = body.__name__, body.__module__
    call.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": int}
    return call


def _taken(group: type[G], values: dict[str, Any]) -> G:
    """The group's own values, which are taken out of the others."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(group)  # type: ignore[arg-type]
    return group(**{field.name: values.pop(field.name) for field in fields})


def _options_of(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(group)
    ]


def _words_of(annotation: object) -> Sequence[str]:
    """By which words an option is given."""
    info = get_args(annotation)[1] if get_origin(annotation) is Annotated else None
    return getattr(info, "param_decls", None) or ()


def _without(option: inspect.Parameter, taken: Collection[str]) -> inspect.Parameter:
    """The option without those of its words that the command has another use for (`-o` of `stack register`)."""
    words = _words_of(option.annotation)
    if not any(word in taken for word in words):
        return option
    kind, info = get_args(option.annotation)
    mine = copy(info)
    mine.param_decls = [word for word in words if word not in taken]
    return option.replace(annotation=Annotated[kind, mine])


def _execute(
    name: str, work: Callable[[Session], Coroutine[Any, Any, int]], connection: Connection, common: Common
) -> int:
    try:
        output = Output(form=common.form())
    except WrongUse as error:
        Output().failure(failure_of(error), name)
        return WRONG_USE
    if common.debug:
        logging.basicConfig(level=logging.DEBUG, format=_LOG_FORMAT, stream=sys.stderr)

    kept_jobs: list[str] = []

    async def in_session() -> int:
        async with Session(name, output, connection) as session:
            session.kept_jobs = kept_jobs
            code = await work(session)
            output.end_values()
            await output.drain(wholly=True)
            return code

    try:
        return run_until_done(in_session)
    except Interrupted as interrupted:
        advice = "; nothing partial is left, repeat the command to finish" if name in _CHANGES else ""
        if kept_jobs:
            jobs = " ".join(kept_jobs)
            advice = f"; nothing partial is visible: repeat the command to go on, or `entrepot jobs forget {jobs}`"
        output.note(f"{name}: interrupted{advice}")
        return SIGNAL_BASE + interrupted.signal_number
    except OutputClosed:
        return READER_GONE
    except Exception as error:  # noqa: BLE001  # the last place that can turn it into one line
        if common.debug:
            output.traceback(error)
        failure = failure_of(error)
        output.failure(failure, name)
        if output.as_json:
            output.value({"error": failure.to_json()})
            output.end_values()
            output.finish()
        return failure.exit_code
