"""What logs and traces say of a turn: whoever looks for one that failed finds it."""

import json

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.support.api import captured_logs, rows
from tests.support.deployment import FALLBACK, HTTP
from tests.support.doubles import EngineDouble
from tests.support.running import Shop
from textback import tracing
from textback.core.engine import TurnFailed, TurnReply, TurnRequest
from textback.otel import OtelTracer


def answering(request: TurnRequest) -> TurnReply | TurnFailed:
    if request.heard == "fail":
        return TurnFailed("there is no model")
    return TurnReply(texts=["Hello"])


async def ended(shop: Shop, count: int) -> None:
    async def all_ended() -> bool:
        return len([t for t in await shop.world.turns() if t.outcome is not None]) == count

    async with shop.working():
        await shop.until(all_ended)


async def test_the_span_of_a_turn_that_failed_has_failed_and_no_other(shop: Shop) -> None:
    engine = EngineDouble()
    engine.on_reply = answering
    shop.with_engine(engine, fallback=FALLBACK)
    for nth, words in enumerate(("fail", "hello")):
        await shop.world.hear(words, user=f"+1415555016{nth}")
    kept = InMemorySpanExporter()

    with tracing.using(OtelTracer("textback", exporter=kept)):
        await ended(shop, 2)

    def outcome(span: ReadableSpan) -> object:
        return (span.attributes or {})["textback.outcome"]

    turns = {outcome(s): s.status for s in kept.get_finished_spans() if s.name == "turn"}
    assert turns["failed"].status_code is StatusCode.ERROR
    assert turns["failed"].description == "failed"
    assert turns["answered"].status_code is StatusCode.UNSET


async def test_the_log_of_a_turn_says_which_opener_it_wrote(shop: Shop) -> None:
    engine = EngineDouble()
    engine.on_reply = answering
    shop.with_engine(engine)
    await shop.world.provision(agent={"greeting": None, "engine": HTTP})  # it can open
    promised = await shop.world.accept(None)
    await shop.world.hear("hello", user="+14155550160")

    with captured_logs() as logged:
        await ended(shop, 2)

    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    told = {line["conversation_id"]: line for line in lines if line["event"] == "turn.ended"}
    opened = told.pop(promised.conversation_id)
    assert opened["message_id"] == promised.message_id
    (answered,) = told.values()
    assert answered["message_id"] is None
    query = "select id from messages where kind = 'reply'"
    [said] = await rows(shop.world.db, query)
    assert (opened["message_ids"], answered["message_ids"]) == ([promised.message_id], [said["id"]])
    assert {opened["agent_id"], answered["agent_id"]} == {"bookings"}
