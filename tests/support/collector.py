"""A collector of OpenTelemetry's on loopback, in a thread: OTLP over HTTP, and nothing else."""

import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from starlette.types import Receive, Scope, Send

from tests.support.in_thread import serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    service: str
    name: str
    trace_id: str
    id: str
    parent_id: str
    began: int
    """Nanoseconds, as `ended`."""
    ended: int
    kind: str
    failed: bool
    links: Sequence[str]
    """Ids of traces."""
    attributes: Mapping[str, object]


class Collector:
    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    @property
    def spans(self) -> list[Span]:
        with self._lock:
            return sorted(self._spans, key=lambda span: span.began)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["method"], scope["path"]) == ("POST", "/v1/traces")
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if self.status == 200:
            with self._lock:
                self._spans += _read(body)
        headers = [(b"content-type", b"application/x-protobuf")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def collecting() -> Generator[Collector]:
    made = Collector()
    with serving(made) as url:
        made.url = url
        yield made


def tree(spans: Iterable[Span]) -> str:
    """For a person to look at: each trace, what is within what, and how long it took."""
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    lines: list[str] = []
    for trace_id, of_it in traces.items():
        lines.append(f"trace {trace_id}")
        known = {span.id for span in of_it}
        for root in (span for span in of_it if span.parent_id not in known):
            lines += _branch(root, of_it, 1)
    return "\n".join(lines)


def _branch(span: Span, of_it: Sequence[Span], depth: int) -> Generator[str]:
    took = (span.ended - span.began) / 1e6
    linked = "".join(f" (link to {trace_id[:8]})" for trace_id in span.links)
    ids = " ".join(f"{name}={value}" for name, value in span.attributes.items())
    yield f"{'  ' * depth}{span.name} [{span.service}] {took:.1f} ms{linked}  {ids}"
    for each in of_it:
        if each.parent_id == span.id:
            yield from _branch(each, of_it, depth + 1)


def _read(body: bytes) -> Generator[Span]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = {a.key: _value(a.value) for a in of_resource.resource.attributes}
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service=str(about["service.name"]),
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    failed=span.status.code == 2,
                    links=[link.trace_id.hex() for link in span.links],
                    attributes={a.key: _value(a.value) for a in span.attributes},
                )


def _value(value: AnyValue) -> object:
    return getattr(value, value.WhichOneof("value") or "string_value")
