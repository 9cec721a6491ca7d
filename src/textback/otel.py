"""Traces by OpenTelemetry, from the extra `textback[otel]`; imported only where they are wanted.

All is set by OpenTelemetry's own variables (docs/tracing.md), which its SDK reads itself:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import re
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
)

from textback import __version__, logs
from textback.tracing import Kind, Value

log = structlog.stdlib.get_logger()

CLOSE_SECONDS: Final = 2.0
"""For what is left to be exported at the end."""

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

_KINDS: Final[dict[Kind, SpanKind]] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class OtelTracer:
    """A `tracing.Tracer`."""

    def __init__(self, service: str, *, exporter: SpanExporter | None = None) -> None:
        """`exporter`: gets each span as it ends, instead of OTLP over HTTP in batches."""
        # Its exporter tells of each attempt that fails, and its queue of each span that it drops.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        resource = Resource.create({SERVICE_VERSION: __version__})
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if exporter is None:
            self._provider.add_span_processor(BatchSpanProcessor(Quiet(OTLPSpanExporter())))
        else:
            self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("textback", __version__)

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: str | None = None,
        **attributes: Value | None,
    ) -> "Generator[_Span]":
        links: list[Link] = []
        context = None
        if (remote := _read(parent)) is not None:
            context = trace.set_span_in_context(NonRecordingSpan(remote))
            here = trace.get_current_span().get_span_context()
            links = [Link(here)] if here.is_valid else []
        with self._tracer.start_as_current_span(
            name,
            context,
            _KINDS[kind],
            links=links,
            # What an exception says may be a text, a number or a secret.
            record_exception=False,
            set_status_on_exception=False,
        ) as begun:
            made, where = _Span(begun), begun.get_span_context()
            made.set(**attributes)
            token = logs.spanned.set(
                {
                    "trace_id": trace.format_trace_id(where.trace_id),
                    "span_id": trace.format_span_id(where.span_id),
                }
            )
            try:
                yield made
            except BaseException as error:
                made.fail(type(error).__name__)
                raise
            finally:
                logs.spanned.reset(token)

    def current(self) -> str | None:
        here = trace.get_current_span().get_span_context()
        if not here.is_valid:
            return None
        return (
            f"00-{trace.format_trace_id(here.trace_id)}-{trace.format_span_id(here.span_id)}"
            f"-{here.trace_flags:02x}"
        )

    def close(self) -> None:
        # In a thread, because a collector that hangs would keep the process for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _Span:
    """A `tracing.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, **attributes: Value | None) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(name if "." in name else f"textback.{name}", value)

    def fail(self, why: str) -> None:
        self._span.set_status(StatusCode.ERROR, why)


class Quiet(SpanExporter):
    """What cannot be exported is dropped, and said once."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        lost = result is not SpanExportResult.SUCCESS
        if lost and not self._lost:
            log.warning("tracing.lost", why="the collector does not take spans; they are dropped")
        elif self._lost and not lost:
            log.info("tracing.again")
        self._lost = lost
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _read(traceparent: str | None) -> SpanContext | None:
    """None for what is none: then a trace begins here, as the standard wants it."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
