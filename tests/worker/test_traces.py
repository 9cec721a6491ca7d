"""What a worker does for a conversation is of its trace, and whoever it asks can go on with it."""

import asyncio
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy import event, text

from tests.support.deployment import ACME, NOW
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.provision import VAULT
from tests.support.receiver import Receiver
from tests.support.running import Shop
from textback import tracing
from textback.core.ports import NoAnswer, Taken
from textback.flows import webhooks
from textback.flows.webhooks import Wanted
from textback.otel import OtelTracer
from textback.wiring import FORMATS
from textback.worker.deliveries import Deliveries
from textback.worker.turns import Turns


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


@pytest.mark.parametrize(
    ("answer", "told", "status"),
    [
        (Taken("SM1"), "look_up taken", StatusCode.UNSET),
        (NO_ANSWER, "look_up no_answer", StatusCode.ERROR),
    ],
)
async def test_a_look_up_says_what_came_of_it(
    shop: Shop, answer: Taken | NoAnswer, told: str, status: StatusCode
) -> None:
    kept, world = InMemorySpanExporter(), shop.world
    shop.with_carrier(CarrierDouble(listed=[answer]))
    await world.put_off_sweeps(NOW + timedelta(days=1))  # they would ask the carrier, too
    await world.accept()
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    shop.clock.now = NOW + timedelta(seconds=10)

    def looked_up() -> list[ReadableSpan]:
        return [span for span in kept.get_finished_spans() if span.name == "look_up"]

    async def is_done() -> bool:
        return bool(looked_up())

    with tracing.using(OtelTracer("textback", exporter=kept)):
        async with shop.working():
            await shop.until(is_done)
    assert [(name(span), span.status.status_code) for span in looked_up()] == [(told, status)]


async def test_what_is_stopped_while_its_trace_is_looked_up_is_given_back(shop: Shop) -> None:
    world = shop.world
    wanted = Wanted(url="https://receiver.example/hook", kinds=("message.received",))
    await webhooks.create(
        shop.rt.db, ACME, wanted, formats=FORMATS, vault=VAULT, private=True, now=shop.clock()
    )
    await world.hear("Yes", now=shop.clock())
    for loop in (Turns(shop.rt, concurrency=1).loops[0], Deliveries(shop.rt).loops[0]):

        def stop(_connection: object, _cursor: object, asked: str, *_: object) -> None:
            if "traceparent is not null" in asked:
                loop.cancel()  # noqa: B023 - it is gone before the next one

        event.listen(shop.rt.db.sync_engine, "before_cursor_execute", stop)
        try:
            with tracing.using(OtelTracer("textback", exporter=InMemorySpanExporter())):
                async with asyncio.timeout(30):
                    await loop.run()
        finally:
            event.remove(shop.rt.db.sync_engine, "before_cursor_execute", stop)
    assert [(turn.state, turn.attempts) for turn in await world.turns()] == [("waiting", 0)]
    async with world.transaction() as c:
        waiting = await c.execute(text("select state, tries from webhook_deliveries"))
        assert [tuple(each) for each in waiting] == [("waiting", 0)]
