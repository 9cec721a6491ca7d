"""An opener that the agent is to write was accepted from a caller: it is sent, or its fate told."""

from datetime import timedelta

import pytest

from tests.support.deployment import FALLBACK, HTTP, hour, second
from tests.support.doubles import CarrierDouble, EngineDouble
from tests.support.world import World
from textback.core.engine import TurnFailed, TurnReply
from textback.flows import turn

FAILED = TurnFailed("no usable answer")
SILENT = TurnReply(texts=[])
CAN_OPEN = {"greeting": None, "engine": HTTP}


@pytest.fixture
async def world(world: World) -> World:
    """The agent has no greeting, and an engine that can open."""
    await world.provision(agent=CAN_OPEN)
    return world


async def queueing(world: World) -> None:
    """Texts that land while the agent thinks wait for a turn of their own."""
    await world.provision(agent=CAN_OPEN, project={"while_thinking": "queue"})


@pytest.mark.parametrize("answer", [FAILED, SILENT])
async def test_an_opener_that_was_not_written_failed_and_nothing_is_sent(
    world: World, answer: TurnReply | TurnFailed
):
    promised = await world.accept(None)

    await world.think(engine=EngineDouble(answer))
    await world.send_all()

    text = await world.text(promised.message_id)
    assert (text.state, text.error_code) == ("failed", "agent_failed")
    talk = await world.talk(promised.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "agent_failed")
    assert world.carrier.sent == []


async def test_the_fate_of_a_failed_opener_is_told_as_events(world: World):
    promised = await world.accept(None)

    await world.think(engine=EngineDouble(FAILED))

    assert await world.events(promised.message_id) == ["message.promised", "message.failed"]
    assert await world.events(promised.conversation_id) == [
        "conversation.opened",
        "turn.failed",
        "conversation.closed",
    ]


async def test_an_opener_whose_worker_died_keeps_its_promised_id(world: World):
    promised = await world.accept(None)
    (lost,) = await world.claim_turns()
    await world.rescue_turns(now=lost.lease_until)

    await world.think(now=lost.lease_until, engine=EngineDouble("Good morning."))

    (text,) = await world.ours()
    assert (text.id, text.text) == (promised.message_id, "Good morning.")


@pytest.mark.parametrize("way", ["given back", "rescued"])
async def test_an_opener_merged_with_a_waiting_turn_keeps_its_promised_id(world: World, way: str):
    # The user texted while the opener was being written, and the worker died: the turn that heard
    # the user took over, and what had been promised to the caller was forgotten.
    await queueing(world)
    promised = await world.accept(None)
    (held,) = await world.claim_turns()
    await world.hear("Hello?", now=second(1))

    if way == "rescued":
        await world.rescue_turns(now=held.lease_until)
    else:
        await turn.give_back(world.db, held, due_at=second(1))
    engine = EngineDouble("Good morning.")
    await world.think(now=held.lease_until, engine=engine)

    assert [asked.heard for asked in engine.asked] == ["Hello?"]
    (text,) = await world.ours()
    assert (text.id, text.text) == (promised.message_id, "Good morning.")


async def test_who_texts_before_the_opener_was_begun_is_answered_by_it(world: World):
    promised = await world.accept(None)
    await world.hear("Hello?", now=second(1))
    engine = EngineDouble("Good morning.")

    await world.think(now=second(1), engine=engine)

    assert [asked.heard for asked in engine.asked] == ["Hello?"]
    assert await world.state(promised.message_id) == "queued"
    assert await world.think(now=hour(1), engine=engine) == []


async def test_who_texts_while_the_opener_is_written_is_answered_after_it(world: World):
    await queueing(world)
    await world.accept(None)
    (opening,) = await world.claim_turns()
    await world.hear("Hello?", now=second(1))

    await world.answer(opening, "Good morning.", now=second(2))
    await world.think(now=second(2), engine=EngineDouble("Hello to you."))

    assert [(t.kind, t.text) for t in await world.ours()] == [
        ("opener", "Good morning."),
        ("reply", "Hello to you."),
    ]


@pytest.mark.parametrize("answer", [FAILED, SILENT])
async def test_who_texted_while_an_opener_failed_is_answered_all_the_same(
    world: World, answer: TurnReply | TurnFailed
):
    await queueing(world)
    promised = await world.accept(None)
    (opening,) = await world.claim_turns()
    await world.hear("Hello?", now=second(1))

    await world.answer(opening, answer, now=second(2))
    await world.think(now=second(2), engine=EngineDouble("Hello to you."))

    assert (await world.text(promised.message_id)).error_code == "agent_failed"
    assert [t.text for t in await world.ours() if t.state == "queued"] == ["Hello to you."]


async def test_who_texted_and_got_no_opener_gets_the_fallback(world: World):
    promised = await world.accept(None)
    await world.hear("Hello?", now=second(1))

    await world.think(now=second(1), engine=EngineDouble(FAILED))

    (text,) = await world.ours()
    assert (text.id, text.text, text.state) == (promised.message_id, FALLBACK, "queued")
    assert len(await world.live()) == 1


async def test_an_opener_of_a_superseded_conversation_is_written_and_its_failure_told(
    world: World,
):
    promised = await world.accept(None)
    newer = await world.accept("Newer", now=second(1))

    await world.think(now=second(1), engine=EngineDouble(FAILED))

    assert (await world.text(promised.message_id)).error_code == "agent_failed"
    (live,) = await world.live()
    assert live.id == newer.conversation_id


async def test_two_openers_that_are_both_written_late_go_out_in_order(world: World):
    await world.accept(None)
    await world.accept(None, now=second(1))
    await world.accept("Third", now=second(2))
    first, then = await world.claim_turns(now=second(3))

    await world.answer(then, "Second", now=second(4))
    await world.answer(first, "First", now=second(5))
    await world.send_all(now=second(6))

    assert world.carrier.texts == ["First", "Second", "Third"]


async def test_an_opener_written_too_late_is_not_sent(world: World):
    # Its validity once began when it was written, not when it was accepted.
    promised = await world.accept(None)

    await world.think(now=hour(3), engine=EngineDouble("Good morning."))
    await world.send_all(now=hour(4) + timedelta(seconds=1))

    text = await world.text(promised.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "expired")
    assert world.carrier.sent == []


async def test_an_agent_may_end_the_conversation_with_its_opener(world: World):
    promised = await world.accept(None)

    reply = TurnReply(texts=["See you at 3pm."], end_conversation=True)
    await world.think(engine=EngineDouble(reply))
    await world.send_all(carrier=CarrierDouble())

    assert await world.state(promised.message_id) == "sent"
    assert (await world.talk(promised.conversation_id)).reason == "agent_ended"
