"""An operator ends a pause: the agent answers what was kept, and has its whole budget again."""

from datetime import timedelta

import pytest

from tests.flows.test_reply_budget import chat, spent
from tests.support.deployment import NOW, hour, minute, second
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core import loops
from textback.core.errors import UnknownConversation, WrongState
from textback.core.ids import ConversationId

ONE_REPLY_AND_A_QUEUE = {
    "reply_budget": {"replies": 1, "per_seconds": 3600},
    "while_thinking": "queue",
}


async def test_a_resumed_agent_answers_in_one_go_what_was_kept(world: World):
    conversation = await spent(world)
    await world.hear("Hello?", now=minute(10))

    assert (await world.resume(conversation, now=minute(20))).answers == 2

    engine = EngineDouble("Here I am.")
    assert await world.think(now=minute(20), engine=engine) == ["answered"]
    (asked,) = engine.asked
    assert asked.heard == "One too many\nHello?"
    talk = await world.talk(conversation)
    assert (talk.state, talk.paused_until) == ("engaged", None)
    assert talk.deadline_at == minute(20) + timedelta(hours=24)
    kept = [text for text in await world.texts() if text.direction == "inbound"][-2:]
    assert [(text.kind, text.note) for text in kept] == [("text", None)] * 2


async def test_the_record_says_that_an_operator_resumed_it(world: World):
    conversation = await spent(world)

    await world.resume(conversation, now=minute(20))

    *_, (kind, data) = await world.told(conversation)
    assert (kind, data) == ("conversation.resumed", {"by": "operator"})


async def test_without_anything_kept_a_resumed_agent_says_nothing(world: World):
    conversation = await spent(world)
    await world.resume(conversation, now=minute(20))
    await world.think(now=minute(20))
    at = await chat(world, texts=2, begin=minute(21))
    await world.hear("HELP", now=at)
    assert (await world.talk(conversation)).state == "engaged"
    said = len(await world.ours())

    assert await world.think(now=hour(2)) == []
    assert len(await world.ours()) == said


async def test_who_was_resumed_has_a_whole_budget_again(world: World):
    conversation = await spent(world)
    await world.resume(conversation, now=minute(10))
    await world.think(now=minute(10))

    at = await chat(world, texts=2, begin=minute(11))

    assert len(await world.ours()) == 6
    assert (await world.hear("More", now=at + timedelta(minutes=1))).why == "reply_budget"
    assert (await world.talk(conversation)).state == "paused"


async def test_a_conversation_can_be_resumed_again(world: World):
    conversation = await spent(world)
    for n in range(3):
        begin = minute(10 * (n + 1))
        assert (await world.resume(conversation, now=begin)).answers == 1
        await world.think(now=begin)
        at = await chat(world, texts=2, begin=begin + timedelta(minutes=1))
        heard = await world.hear("More", now=at + timedelta(minutes=1))
        assert heard.why == "reply_budget"

    assert len(await world.ours()) == 12


async def test_what_an_earlier_pause_kept_stays_unanswered(world: World):
    conversation = await spent(world)
    await world.expire(now=minute(63))
    at = await chat(world, texts=3, begin=minute(64))
    await world.hear("Again too many", now=at + timedelta(minutes=1))

    assert (await world.resume(conversation, now=minute(70))).answers == 1

    engine = EngineDouble("Yes")
    await world.think(now=minute(70), engine=engine)
    assert engine.asked[0].heard == "Again too many"


async def test_texts_kept_for_other_reasons_stay_unanswered(world: World):
    conversation = await spent(world)
    for n in range(6):
        await world.hear("Buy now", now=minute(10) + timedelta(seconds=n))

    assert (await world.resume(conversation, now=minute(20))).answers == 1 + 4


async def test_a_text_kept_while_a_turn_waited_is_answered_too(world: World):
    # The turn saw it in the transcript, but was not asked to answer it.
    await world.provision(project=ONE_REPLY_AND_A_QUEUE)
    await world.hear("One")
    (thinking,) = await world.claim_turns()
    await world.hear("Two", now=second(1))
    await world.answer(thinking, "First", now=second(2))
    kept = await world.hear("Three", now=second(3))
    assert kept.conversation_id is not None
    (thinking,) = await world.claim_turns(now=second(4))
    assert thinking.heard == "Two"
    await world.answer(thinking, "Second", now=second(5))

    assert (await world.resume(kept.conversation_id, now=second(6))).answers == 1

    engine = EngineDouble("Third")
    await world.think(now=second(6), engine=engine)
    assert engine.asked[0].heard == "Three"


async def test_a_turn_that_is_under_way_does_not_cover_what_was_kept(world: World):
    await world.provision(project=ONE_REPLY_AND_A_QUEUE)
    await world.hear("One")
    (thinking,) = await world.claim_turns()
    await world.hear("Two", now=second(1))
    await world.answer(thinking, "First", now=second(2))
    kept = await world.hear("Three", now=second(3))
    assert kept.conversation_id is not None
    (thinking,) = await world.claim_turns(now=second(4))

    await world.resume(kept.conversation_id, now=second(5))
    await world.answer(thinking, "Second", now=second(6))

    engine = EngineDouble("Third")
    await world.think(now=second(7), engine=engine)
    assert engine.asked[0].heard == "Three"


async def test_a_resumed_agent_takes_its_breather_first(world: World):
    await world.provision(
        project={"reply_budget": {"replies": loops.IN_A_ROW, "per_seconds": 3600}}
    )
    for n in range(loops.IN_A_ROW):
        await world.hear(f"Text {n}", now=second(7 * n))
        await world.think(now=second(7 * n))
    last = second(7 * (loops.IN_A_ROW - 1))
    kept = await world.hear("And?", now=last + timedelta(seconds=7))
    assert kept.conversation_id is not None

    await world.resume(kept.conversation_id, now=last + timedelta(seconds=8))

    (turn,) = await world.waiting()
    assert turn.due_at == last + loops.QUICK


async def test_only_what_is_paused_is_resumed(world: World):
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None

    with pytest.raises(WrongState, match="is not paused or handed off, it is engaged"):
        await world.resume(heard.conversation_id, now=NOW)
    with pytest.raises(UnknownConversation, match="There is no conversation conv_none"):
        await world.resume(ConversationId("conv_none"), now=NOW)

    assert "conversation.resumed" not in await world.events(heard.conversation_id)


async def test_a_pause_that_ended_meanwhile_is_not_resumed_again(world: World):
    conversation = await spent(world)
    await world.expire(now=hour(2))

    with pytest.raises(WrongState):
        await world.resume(conversation, now=hour(2))
