"""What a worker does for a conversation is of its trace, and whoever it asks can go on with it."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.deployment import ACME
from tests.support.provision import VAULT
from tests.support.receiver import Receiver
from tests.support.running import Shop
from textback import tracing
from textback.flows import webhooks
from textback.flows.webhooks import Wanted
from textback.otel import OtelTracer
from textback.wiring import FORMATS


def name(span: ReadableSpan) -> str:
    return f"{span.name} {(span.attributes or {}).get('textback.outcome', '')}".strip()


async def test_a_conversation_is_one_trace_also_for_who_is_told_of_it(shop: Shop) -> None:
    kept = InMemorySpanExporter()
    async with Receiver() as receiver:
        wanted = Wanted(url=receiver.url, kinds=("message.delivered",))
        await webhooks.create(
            shop.rt.db,
            ACME,
            wanted,
            formats=FORMATS,
            vault=VAULT,
            private=True,
            now=shop.clock(),
        )
        with tracing.using(OtelTracer("textback", exporter=kept)):
            async with shop.working():
                await shop.world.accept("Is 3pm good?", now=shop.clock())
                await receiver.arrived(1)
                with tracing.span("another request"):
                    pass
                await shop.world.hear("Yes", now=shop.clock())
                got = await receiver.arrived(2)
    spans = {f"{s.context.span_id:016x}": s for s in kept.get_finished_spans() if s.context}
    (accept,) = [s for s in spans.values() if s.name == "accept"]
    assert accept.context is not None
    ours = {
        i: s
        for i, s in spans.items()
        if s.context and s.context.trace_id == accept.context.trace_id
    }

    def within(span: ReadableSpan) -> str:
        return "" if span.parent is None else name(spans[f"{span.parent.span_id:016x}"])

    assert sorted({(within(span), name(span)) for span in ours.values()}) == [
        ("", "accept"),
        ("accept", "send taken"),
        ("accept", "turn answered"),
        ("accept", "webhook.post"),
        ("send taken", "carrier.send"),
        ("turn answered", "engine.reply"),
        ("turn answered", "send taken"),
        ("turn answered", "webhook.post"),
    ]
    told = [each.headers["traceparent"].split("-") for each in got]
    assert [ours[span_id].name for _, _, span_id, _ in told] == ["webhook.post"] * 2
    assert {int(trace_id, 16) for _, trace_id, _, _ in told} == {accept.context.trace_id}
