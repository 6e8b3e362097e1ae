"""Copies as OpenTelemetry has them: one span a copy, its requests below it, and counters of what became of items."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from entrepot import telemetry
from entrepot.paths import join, scheme_of
from entrepot.transfer.events import Copied, Event, Failed, Skipped
from entrepot.transfer.plan import CopyOptions
from entrepot.transfer.ports import Sink, Source
from entrepot.transfer.report import CopyReport

_BUCKETS_S: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0)


C = TypeVar("C", bound=Callable[..., Any])


def watched(copy: C) -> C:
    """The copy, told to the process's providers of telemetry; where there is none it is called as it is."""

    @functools.wraps(copy)
    async def call(
        source: Source,
        source_path: str,
        sink: Sink,
        sink_path: str,
        *,
        options: CopyOptions,
        on_event: Callable[[Event], None] | None = None,
        **more: Any,
    ) -> CopyReport:
        run = functools.partial(copy, source, source_path, sink, sink_path, options=options, **more)
        found = telemetry.current()
        if found is None:
            report: CopyReport = await run(on_event=on_event)
            return report
        watch = _Watch(found, join(source.path, source_path), join(sink.path, sink_path), on_event)
        with found.tracer.start_as_current_span(
            "move" if options.delete_source else "copy",
            attributes=watch.addresses,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            return await watch.run(span, lambda tell: run(on_event=tell))

    return cast("C", call)


class _Watch:
    """The counters of one copy, and its span."""

    def __init__(
        self, found: telemetry.Telemetry, source: str, target: str, on_event: Callable[[Event], None] | None
    ) -> None:
        meter = found.meter
        self._items = meter.create_counter("entrepot.copy.items", "{item}", "Items of copies, by what became of them.")
        self._io = meter.create_counter("entrepot.copy.io", "By", "Content of files that were copied.")
        self._duration = meter.create_histogram(
            "entrepot.copy.duration", "s", "Duration of copies.", explicit_bucket_boundaries_advisory=_BUCKETS_S
        )
        self._error_status = found.error_status
        self.addresses = {"entrepot.copy.source": source, "entrepot.copy.target": target}
        self._labels: dict[str, Any] = {
            "entrepot.copy.source.service": scheme_of(source) or "file",
            "entrepot.copy.target.service": scheme_of(target) or "file",
        }
        self._on_event = on_event

    async def run(self, span: Any, copy: Callable[[Callable[[Event], None]], Any]) -> CopyReport:
        """The copy; its report goes to the span, its error too."""
        began = time.perf_counter()
        try:
            report: CopyReport = await copy(self._take)
        except BaseException as error:
            self._labels["error.type"] = type(error).__name__
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(self._error_status)
            raise
        finally:
            self._duration.record(time.perf_counter() - began, self._labels)
        span.set_attributes(
            {
                "entrepot.copy.files": report.files,
                "entrepot.copy.bytes": report.bytes,
                "entrepot.copy.skipped": report.skipped,
                "entrepot.copy.failed": len(report.failed),
                "entrepot.copy.dry_run": report.dry_run,
            }
        )
        if report.failed:
            span.set_status(self._error_status)
        return report

    def _take(self, event: Event) -> None:
        match event:
            case Copied():
                self._count(len(event.files), "copied")
                self._io.add(event.size_bytes, self._labels)
            case Skipped():
                self._count(1, "skipped")
            case Failed():
                self._count(1, "failed", {"error.type": type(event.item.error).__name__})
            case _:
                pass
        if self._on_event is not None:
            self._on_event(event)

    def _count(self, items: int, outcome: str, more: dict[str, str] | None = None) -> None:
        self._items.add(items, {**self._labels, "entrepot.copy.outcome": outcome, **(more or {})})
