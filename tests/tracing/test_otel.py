"""Spans as OpenTelemetry gets them: whose they are, what they say, and what becomes of them."""

import json
import re
from collections.abc import Generator, Sequence
from io import StringIO
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.support.api import captured_logs
from textback import tracing, wiring
from textback.otel import OtelTracer, Quiet

SRC = Path(__file__).parents[2] / "src" / "textback"
THEIRS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LOG = structlog.stdlib.get_logger()


@pytest.fixture
def kept() -> Generator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with tracing.using(OtelTracer("textback", exporter=exporter)):
        yield exporter


@pytest.fixture
def logged() -> Generator[StringIO]:
    with captured_logs() as to:
        yield to


def ended(kept: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in kept.get_finished_spans()}


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def test_a_span_is_within_the_current_one_and_says_its_own_form_of_w3c(
    kept: InMemorySpanExporter,
) -> None:
    with tracing.span("outer"):
        here = tracing.current()
        with tracing.span("inner", message_id="msg_1", nothing=None) as span:
            span.set(**{"http.route": "/x"})
    assert tracing.current() is None
    assert here is not None
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", here)
    outer, inner = ended(kept)["outer"], ended(kept)["inner"]
    assert inner.parent is not None
    assert (inner.parent.trace_id, inner.parent.span_id) == ids(outer)
    assert here.split("-")[1:3] == [f"{ids(outer)[0]:032x}", f"{ids(outer)[1]:016x}"]
    assert dict(inner.attributes or {}) == {"textback.message_id": "msg_1", "http.route": "/x"}


def test_what_goes_on_from_elsewhere_is_of_that_trace_with_a_link_to_the_current_one(
    kept: InMemorySpanExporter,
) -> None:
    with tracing.span("request"), tracing.span("receipt", parent=THEIRS):
        pass
    request, receipt = ended(kept)["request"], ended(kept)["receipt"]
    assert f"{ids(receipt)[0]:032x}" == THEIRS.split("-")[1]
    assert [link.context.trace_id for link in receipt.links] == [ids(request)[0]]


@pytest.mark.parametrize(
    "bad",
    ["", "00", THEIRS[:-1], THEIRS.upper(), f"ff{THEIRS[2:]}", f"00-{'0' * 32}{THEIRS[35:]}", "é"],
)
def test_what_is_no_traceparent_begins_a_trace(kept: InMemorySpanExporter, bad: str) -> None:
    with tracing.span("request", parent=bad):
        pass
    request = ended(kept)["request"]
    assert (request.parent, list(request.links)) == (None, [])


def test_a_trace_that_its_caller_does_not_sample_is_not_kept_and_says_so_further_on(
    kept: InMemorySpanExporter,
) -> None:
    with tracing.span("request", parent=THEIRS[:-1] + "0"):
        here = tracing.current()
    assert (here or "").startswith(THEIRS[:36])
    assert (here or "").endswith("-00")
    assert ended(kept) == {}


def test_an_exception_marks_its_span_by_its_type_and_never_by_its_words(
    kept: InMemorySpanExporter,
) -> None:
    with pytest.raises(ZeroDivisionError), tracing.span("fails"):
        raise ZeroDivisionError("planted words to +14155550123")
    span = ended(kept)["fails"]
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "ZeroDivisionError",
    )
    assert list(span.events) == []
    assert "planted" not in span.to_json()


def test_lines_of_the_log_say_the_span_they_are_within(
    kept: InMemorySpanExporter, logged: StringIO
) -> None:
    with tracing.span("request"):
        LOG.info("something.happened")
    LOG.info("something.happened")
    within, after = [json.loads(line) for line in logged.getvalue().splitlines()]
    trace_id, span_id = ids(ended(kept)["request"])
    assert (within["trace_id"], within["span_id"]) == (f"{trace_id:032x}", f"{span_id:016x}")
    assert not {"trace_id", "span_id"} & {*after}


class Flaky(SpanExporter):
    def __init__(self) -> None:
        self.result = SpanExportResult.FAILURE

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert spans is not None
        return self.result


def test_a_collector_that_is_away_is_said_once_and_so_is_its_return(logged: StringIO) -> None:
    flaky = Flaky()
    quiet = Quiet(flaky)
    for flaky.result in (SpanExportResult.FAILURE,) * 3 + (SpanExportResult.SUCCESS,) * 2:
        assert quiet.export(()) is flaky.result
    events = [json.loads(line)["event"] for line in logged.getvalue().splitlines()]
    assert events == ["tracing.lost", "tracing.again"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_TRACES_EXPORTER": "none",
        },
    ],
    ids=["unset", "empty", "disabled", "no exporter"],
)
def test_nothing_is_traced_unless_its_variables_say_where_to(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with wiring.traced("textback"):
        assert not tracing.is_on()
        with tracing.span("request", message_id="msg_1") as span:
            span.set(outcome="taken")
            assert tracing.current() is None


def test_only_one_module_knows_opentelemetry_and_it_is_loaded_only_where_it_is_wanted() -> None:
    importing = [
        (path.name, line)
        for path in SRC.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.match(r"\s*(from|import) (opentelemetry|textback\.otel)\b", line)
    ]
    assert {name for name, line in importing if "opentelemetry" in line} == {"otel.py"}
    (wired,) = [(name, line) for name, line in importing if "textback.otel" in line]
    assert wired[0] == "wiring.py"
    assert wired[1].startswith("        ")  # within a function
