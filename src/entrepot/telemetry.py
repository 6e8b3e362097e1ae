"""Requests and retries as OpenTelemetry has them: spans and metrics, where a provider is set, and nothing elsewhere.

Who wants them sets the providers before a store is first used (`docs/observability.md`). Without, a request costs one
comparison more, and OpenTelemetry is not even imported. Names follow its semantic conventions where there are some
("HTTP client spans", "HTTP client metrics", "S3", of version 1.27); our own begin with `entrepot.`.

No URL is told, as its query may be a signature and its path a session. Keys are in spans only, never in metrics.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar

from entrepot.errors import StoreError

T = TypeVar("T")

_SCOPE: Final = "entrepot"
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""As the semantic conventions advise for `http.client.request.duration`."""

_NAMED_BY_CONVENTION: Final = {"s3": ("aws.s3.bucket", "aws.s3.key")}
_NAMES: Final = ("entrepot.container", "entrepot.key")

_RESENT: Final[ContextVar[int]] = ContextVar("entrepot_resent", default=0)
"""How often the operation under way was tried before."""


class Asked(Protocol):
    """What a request tells of itself (`entrepot.http.transport.Request`)."""

    @property
    def method(self) -> str: ...
    @property
    def origin(self) -> Any: ...
    @property
    def body(self) -> Any: ...
    @property
    def before(self) -> bytes: ...
    @property
    def after(self) -> bytes: ...


class Seen:
    """What was seen of one request. status: None where no reply came. received: bytes of the reply's body."""

    __slots__ = ("received", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self.received = 0

    def noting(self, take: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T]]:
        """What reads a reply's body, noting its status and how much came."""

        async def noted(response: Any) -> T:
            self.status = response.status
            try:
                return await take(response)
            finally:
                self.received = response.received

        return noted


def current() -> Telemetry | None:
    """What the process's providers take; None where none is set. Cost: a look at what is imported.

    A provider can only be set by who has imported OpenTelemetry.
    """
    if "opentelemetry" not in sys.modules:
        return None
    try:
        trace, metrics = import_module("opentelemetry.trace"), import_module("opentelemetry.metrics")
    except ModuleNotFoundError:  # another distribution's part of the namespace
        return None
    tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    if not _is_set(tracers) and not _is_set(meters):
        return None
    return Telemetry(tracers, meters)


def _is_set(provider: object) -> bool:
    """Whether somebody set it: the defaults that do nothing are the API's own."""
    return not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


class Telemetry:
    """Spans and metrics of requests. tracers, meters: OpenTelemetry's providers."""

    def __init__(self, tracers: Any, meters: Any) -> None:
        from entrepot import __version__

        trace = import_module("opentelemetry.trace")
        self._client_kind, self.error_status = trace.SpanKind.CLIENT, trace.StatusCode.ERROR
        self.tracer = tracers.get_tracer(_SCOPE, __version__)
        self.meter = meter = meters.get_meter(_SCOPE, __version__)
        self._duration = meter.create_histogram(
            "http.client.request.duration", "s", "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS_S,
        )  # fmt: skip
        self._active = meter.create_up_down_counter(
            "http.client.active_requests", "{request}", "Number of active HTTP requests."
        )
        self._sent = meter.create_histogram(
            "http.client.request.body.size", "By", "Size of HTTP client request bodies."
        )
        self._received = meter.create_histogram(
            "http.client.response.body.size", "By", "Size of HTTP client response bodies."
        )
        self._retries = meter.create_counter("entrepot.client.retries", "{retry}", "Attempts after one that failed.")

    # ---- requests -----------------------------------------------------------------------------------

    @contextmanager
    def request(self, service: str, operation: str, container: str, key: str, asked: Asked) -> Generator[Seen]:
        """One request, from its sending until its reply's body was read; errors are told and pass.

        service: the scheme of its addresses. operation: the primitive's name.
        """
        where = {"server.address": asked.origin.host, "server.port": asked.origin.port, "entrepot.service": service}
        labels: dict[str, Any] = {"http.request.method": asked.method, "entrepot.operation": operation, **where}
        named = dict(zip(_NAMED_BY_CONVENTION.get(service, _NAMES), (container, key), strict=True))
        told: dict[str, Any] = {name: value for name, value in named.items() if value}
        if resent := _RESENT.get():
            told["http.request.resend_count"] = resent
        seen, began = Seen(), time.perf_counter()
        self._active.add(1, where)
        with self.tracer.start_as_current_span(
            f"{asked.method} {operation}",
            kind=self._client_kind,
            attributes={**labels, **told},
            record_exception=False,  # messages name keys, and their causes more
            set_status_on_exception=False,
        ) as span:
            try:
                yield seen
            except BaseException as error:
                labels["error.type"] = _kind(error, seen)
                raise
            finally:
                self._active.add(-1, where)
                self._tell(span, labels, seen, asked, time.perf_counter() - began)

    def _tell(self, span: Any, labels: dict[str, Any], seen: Seen, asked: Asked, seconds: float) -> None:
        if seen.status is not None:
            labels["http.response.status_code"] = seen.status
            span.set_attribute("http.response.status_code", seen.status)
        if "error.type" in labels:
            span.set_attribute("error.type", labels["error.type"])
            span.set_status(self.error_status)
        self._duration.record(seconds, labels)
        if size_bytes := len(asked.before) + memoryview(asked.body).nbytes + len(asked.after):
            self._sent.record(size_bytes, labels)
        if seen.received:
            self._received.record(seen.received, labels)

    def attempts(self, service: str, attempt: Callable[[], Awaitable[T]]) -> Callable[[int], Awaitable[T]]:
        """The attempt as `retrying` calls it, by its number; what comes after the first is counted."""
        failed: list[StoreError] = []

        async def numbered(number: int) -> T:
            if failed:
                error = failed.pop()
                labels = {"entrepot.service": service, "entrepot.operation": error.operation}
                self._retries.add(1, {**labels, "error.type": type(error).__name__})
            resent = _RESENT.set(number - 1)
            try:
                return await attempt()
            except StoreError as error:
                failed.append(error)
                raise
            finally:
                _RESENT.reset(resent)

        return numbered


def _kind(error: BaseException, seen: Seen) -> str:
    """`error.type`: the status of a reply that is no success, the code of an error inside one, else the error's class.

    The status that a refusal brings is noted.
    """
    reply = getattr(error, "reply", None)  # `entrepot.services.faults.ErrorInside`
    if reply is None:
        return type(error).__name__
    seen.status = reply.status
    return str(reply.status) if reply.status >= 400 else reply.code or type(error).__name__
