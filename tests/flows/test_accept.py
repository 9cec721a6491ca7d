"""A caller's command is kept, in full or not at all."""

import asyncio

import pytest

from tests.support.deployment import (
    AGENT,
    GREETING,
    HTTP,
    NEIGHBOUR,
    NOW,
    SECOND,
    USER,
    caller,
    hour,
    number,
    second,
)
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core.engine import TurnReply
from textback.core.errors import NoNumber, NothingToSay, NumberNotProvisioned
from textback.core.phone import Phone


async def test_an_accepted_text_and_its_conversation_are_stored_and_queued(world: World):
    accepted = await world.accept("Your appointment is at 3pm.")

    (text,) = await world.texts()
    assert (text.id, text.conversation_id) == (accepted.message_id, accepted.conversation_id)
    assert (text.direction, text.kind, text.state) == ("outbound", "opener", "queued")
    assert text.text == "Your appointment is at 3pm."
    assert (text.agent_number, text.user_number, text.due_at) == (AGENT, USER, NOW)
    talk = await world.talk(accepted.conversation_id)
    assert (talk.state, talk.agent_number, talk.user_number) == ("opened", AGENT, USER)
    assert talk.connector_id == "conn-live"


async def test_acceptance_is_told_as_events_in_the_same_transaction(world: World):
    accepted = await world.accept()

    assert await world.events(accepted.conversation_id) == ["conversation.opened"]
    assert await world.events(accepted.message_id) == ["message.queued"]


async def test_without_a_message_the_agents_greeting_opens(world: World):
    accepted = await world.accept(None)

    assert (await world.text(accepted.message_id)).text == GREETING
    assert await world.turns() == []


async def test_without_a_greeting_the_engine_writes_the_opener_under_the_promised_id(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})

    accepted = await world.accept(None)

    (promise,) = await world.texts()
    assert (promise.id, promise.state, promise.text) == (accepted.message_id, "queued", "")
    assert await world.claim(now=hour(3)) == []
    (due,) = await world.waiting()
    assert (due.opener_id, due.due_at) == (accepted.message_id, NOW)
    engine = EngineDouble(TurnReply(texts=["Good morning!", "Shall we book?"]))
    await world.think(engine=engine)
    await world.send_all()
    await world.send_all(now=second(5))  # the second waits for a receipt, or this long
    assert (engine.asked[0].heard, engine.asked[0].transcript) == ("", [])
    first, then = await world.texts()
    assert (first.id, first.text, first.state) == (accepted.message_id, "Good morning!", "sent")
    assert (then.text, then.kind, then.state) == ("Shall we book?", "opener", "sent")
    assert world.carrier.texts == ["Good morning!", "Shall we book?"]


async def test_an_agent_that_has_nothing_to_open_with_is_refused(world: World):
    await world.provision(agent={"greeting": None})

    with pytest.raises(NothingToSay):
        await world.accept(None)

    assert await world.talks() == []


async def test_a_number_of_nobody_is_refused(world: World):
    with pytest.raises(NumberNotProvisioned):
        await world.accept(agent_number=Phone("+14155550177"))

    assert await world.talks() == []
    assert await world.texts() == []


async def test_without_any_number_a_text_is_refused(world: World):
    await world.provision(numbers=[], prune=True)

    for agent_number in (AGENT, None):
        with pytest.raises(NoNumber):
            await world.accept(agent_number=agent_number)

    assert await world.talks() == []


async def test_a_number_of_the_project_but_of_another_environment_may_be_named(world: World):
    accepted = await world.accept(agent_number=AGENT, by=caller("dev"))

    talk = await world.talk(accepted.conversation_id)
    assert (talk.agent_number, talk.connector_id) == (AGENT, "conn-dev")


async def test_a_number_that_was_removed_is_not_provisioned(world: World):
    await world.provision(numbers=[number(SECOND)], prune=True)

    with pytest.raises(NumberNotProvisioned):
        await world.accept(agent_number=AGENT)


async def test_a_new_text_supersedes_the_conversation_before_it(world: World):
    first = await world.accept("One")
    then = await world.accept("Two", now=second(1))

    over = await world.talk(first.conversation_id)
    assert (over.state, over.reason, over.deadline_at) == ("closed", "superseded", None)
    assert [talk.id for talk in await world.live()] == [then.conversation_id]


async def test_the_texts_of_a_superseded_conversation_still_go_out_first(world: World):
    for minute, text in enumerate(["One", "Two", "Three"]):
        await world.accept(text, now=second(minute * 60))

    await world.send_all(now=second(180))

    assert world.carrier.texts == ["One", "Two", "Three"]
    assert [text.state for text in await world.texts()] == ["sent"] * 3


async def test_an_opener_the_agent_has_yet_to_write_goes_out_before_a_newer_text(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)
    given = await world.accept("And bring your card.", now=second(1))

    assert await world.send(now=second(2)) == []  # it waits for what was accepted before it
    assert await world.think(now=second(3), engine=EngineDouble("See you at 3pm.")) == ["answered"]
    await world.send_all(now=second(3))

    assert world.carrier.texts == ["See you at 3pm.", "And bring your card."]
    assert await world.state(promised.message_id) == "sent"
    assert await world.state(given.message_id) == "sent"
    (live,) = await world.live()
    assert live.id == given.conversation_id


async def test_an_unwritten_opener_holds_back_neither_older_texts_nor_other_users(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    await world.accept("Older")
    await world.accept(None, now=second(1))
    await world.accept("Elsewhere", user=NEIGHBOUR, now=second(1))

    await world.send_all(now=second(2))

    assert sorted(world.carrier.texts) == ["Elsewhere", "Older"]


async def test_an_opener_that_is_never_written_lets_the_newer_text_go(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    await world.accept(None)
    await world.accept("And bring your card.", now=second(1))

    await world.think(now=second(2), engine=EngineDouble(TurnReply(texts=[])))
    await world.send_all(now=second(2))

    assert world.carrier.texts == ["And bring your card."]


async def test_who_waits_for_an_answer_in_the_superseded_conversation_gets_it(world: World):
    await world.accept("One")
    await world.hear("Hello?", now=second(1))

    await world.accept("Two", now=second(2))

    assert await world.think(now=second(60)) == ["answered"]
    assert [text.text for text in await world.ours()] == ["One", "Two", "You said: Hello?"]


async def test_concurrent_texts_to_one_user_leave_one_live_conversation_and_are_all_kept(
    world: World,
):
    async with asyncio.TaskGroup() as group:
        sends = [group.create_task(world.accept(f"Text {n}")) for n in range(20)]
    accepted = [send.result() for send in sends]

    (live,) = await world.live()
    texts = await world.texts()
    assert {text.id for text in texts} == {a.message_id for a in accepted}
    assert texts[-1].conversation_id == live.id
    assert sum(talk.reason == "superseded" for talk in await world.talks()) == 19
    await world.send_all()
    assert world.carrier.texts == [text.text for text in texts]


async def test_texts_to_different_users_do_not_supersede_each_other(world: World):
    users = [Phone(f"+1415555{n:04}") for n in range(200, 220)]
    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(world.accept(user=user, agent_number=None))

    assert len(await world.live()) == 20
