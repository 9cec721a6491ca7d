"""A person, or a caller as the agent, writes in the thread: once, in its order, wherever it is."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from tests.flows.test_hand import CALLER, engaged, handed_off
from tests.support.deployment import HTTP, hour, key, minute, second
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core.commands import Idempotency
from textback.core.engine import TurnFailed
from textback.core.errors import (
    BadRequest,
    KeyReused,
    UnknownAgent,
    UnknownConversation,
    WrongState,
)
from textback.core.ids import ConversationId
from textback.core.policy import MAX_TEXT


def name(conversation: ConversationId, body: bytes = b"body") -> Idempotency:
    return key("k1", body, route=f"/v1/conversations/{conversation}/messages")


async def test_a_persons_text_goes_out_in_the_same_thread_and_the_agent_knows_it(world: World):
    conversation = await handed_off(world)

    said = await world.say(conversation, "Bob here.", now=second(10))
    await world.send_all(now=second(11))

    assert world.carrier.texts == ["You said: Hello", "Bob here."]
    text = await world.text(said.message_id)
    assert (text.kind, text.conversation_id, text.state) == ("person", conversation, "sent")
    await world.resume(conversation, now=second(20))
    await world.hear("Hi Bob", now=second(30))
    engine = EngineDouble("Hi.")
    await world.think(now=second(30), engine=engine)
    assert [said.role for said in engine.asked[0].transcript] == [
        "user", "agent", "person", "user"
    ]  # fmt: skip


async def test_a_caller_may_write_as_the_agent(world: World):
    conversation = await engaged(world)

    said = await world.say(conversation, "One more thing.", sender="agent", now=second(10))

    assert (await world.text(said.message_id)).kind == "reply"
    await world.hear("Yes?", now=second(20))
    engine = EngineDouble("Nothing.")
    await world.think(now=second(20), engine=engine)
    assert engine.asked[0].transcript[-2].role == "agent"


async def test_texts_of_a_person_keep_their_place_among_the_others(world: World):
    accepted = await world.accept("One.")
    await world.say(accepted.conversation_id, "Two.", now=second(1))
    await world.say(accepted.conversation_id, "Three.", sender="agent", now=second(2))

    await world.send_all(now=second(3))

    assert world.carrier.texts == ["One.", "Two.", "Three."]


@pytest.mark.parametrize(
    ("before", "after"),
    [("opened", "opened"), ("warned", "engaged"), ("engaged", "engaged"), ("paused", "paused")],
)
async def test_a_text_of_ours_restarts_the_clock_in_any_state(
    world: World, before: str, after: str
):
    await world.provision(project={"reply_budget": {"replies": 1, "per_seconds": 3600}})
    now = second(10)
    if before == "opened":
        conversation = (await world.accept()).conversation_id
    else:
        conversation = await engaged(world)
    if before == "paused":
        await world.hear("One more", now=second(5))
    if before == "warned":
        now = hour(24.1)
        await world.expire(now=hour(24))
    assert (await world.talk(conversation)).state == before

    said = await world.say(conversation, now=now)

    talk = await world.talk(conversation)
    assert (talk.state, talk.active_at) == (after, now)
    assert type(said.conversation).__name__.lower() == after


async def test_nothing_is_said_in_what_is_over(world: World):
    conversation = await engaged(world)
    await world.end(conversation, now=second(5))

    with pytest.raises(WrongState, match=r"is closed \(operator\): nothing more is said in it"):
        await world.say(conversation, now=second(6))


async def test_nothing_is_said_to_who_has_opted_out(world: World):
    conversation = await handed_off(world)
    await world.hear("STOP", now=second(6))

    with pytest.raises(WrongState, match=r"closed \(opted_out\)"):
        await world.say(conversation, now=second(7))

    assert [text.kind for text in await world.ours()] == ["reply", "notice"]


async def test_nothing_is_said_to_who_has_opted_out_although_it_is_not_closed(world: World):
    # As after a restore of one table and not of the other.
    conversation = await handed_off(world)
    async with world.transaction() as c:
        await c.execute(
            text(
                "insert into opt_outs (id, agent_number, user_number, opted_out_at, source)"
                " select 'opt_1', agent_number, user_number, now(), 'operator' from conversations"
            )
        )

    with pytest.raises(WrongState, match="has opted out"):
        await world.say(conversation, now=second(7))
    with pytest.raises(WrongState, match="has opted out"):
        await world.resume(conversation, message="I am back.", now=second(7))
    assert (await world.talk(conversation)).state == "handed_off"


@pytest.mark.parametrize("words", ["", " \n", "x" * (MAX_TEXT + 1), "a\0b", "\udfff"])
async def test_what_cannot_be_sent_is_refused(world: World, words: str):
    conversation = await engaged(world)

    with pytest.raises(BadRequest, match="A text has 1 to 1600 characters"):
        await world.say(conversation, words)


async def test_the_longest_text_is_said(world: World):
    conversation = await engaged(world)

    said = await world.say(conversation, "\N{THUMBS UP SIGN}" * MAX_TEXT)

    assert len((await world.text(said.message_id)).text) == MAX_TEXT


async def test_nothing_is_said_in_a_conversation_that_is_not_there(world: World):
    with pytest.raises(UnknownConversation):
        await world.say(ConversationId("conv_none"))


async def test_a_text_that_a_person_wrote_does_not_count_against_the_agents_budget(world: World):
    await world.provision(project={"reply_budget": {"replies": 2, "per_seconds": 3600}})
    conversation = await engaged(world)
    for n in range(5):
        await world.say(conversation, now=second(5 + n))

    assert (await world.hear("Thanks", now=second(20))).outcome == "heard"


# --- Once ---------------------------------------------------------------------------------------


async def test_a_repeated_request_says_nothing_more(world: World):
    conversation = await handed_off(world)
    once = name(conversation)
    first = await world.say(conversation, who=CALLER, key=once, now=second(10))

    again = await world.say(conversation, who=CALLER, key=once, now=hour(1))

    assert again == replace(first, replayed=True)
    assert len(await world.ours()) == 2


async def test_a_repeated_request_gets_its_answer_also_after_the_end(world: World):
    conversation = await handed_off(world)
    once = name(conversation)
    first = await world.say(conversation, who=CALLER, key=once, now=second(10))
    await world.end(conversation, now=second(11))

    again = await world.say(conversation, who=CALLER, key=once, now=second(12))

    assert (again.message_id, again.replayed) == (first.message_id, True)


async def test_a_key_used_for_another_text_is_refused(world: World):
    conversation = await handed_off(world)
    await world.say(conversation, who=CALLER, key=name(conversation, b"one"), now=second(10))

    with pytest.raises(KeyReused):
        await world.say(conversation, who=CALLER, key=name(conversation, b"two"), now=second(11))

    assert len(await world.ours()) == 2


async def test_a_refusal_is_not_remembered(world: World):
    conversation = await engaged(world)
    await world.end(conversation, now=second(5))
    once = name(conversation)
    for n in range(2):
        with pytest.raises(WrongState):
            await world.say(conversation, who=CALLER, key=once, now=second(6 + n))


async def test_concurrent_repetitions_say_one_text(world: World):
    conversation = await handed_off(world)
    once = name(conversation)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(world.say(conversation, who=CALLER, key=once, now=second(10)))
            for _ in range(8)
        ]

    answers = [task.result() for task in tasks]
    assert len({answer.message_id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert len(await world.ours()) == 2


# --- Where a flow goes on -----------------------------------------------------------------------


async def with_nodes(world: World, *, thinks: bool = False) -> ConversationId:
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None
    async with world.transaction() as c:
        await c.execute(text("update agent_versions set nodes = '[\"pay\"]'"))
        await c.execute(text('update conversations set engine_state = \'{"node": "ask"}\''))
    if not thinks:
        await world.think(engine=EngineDouble("Well."))
    return heard.conversation_id


async def test_a_flow_goes_on_at_the_node_that_is_named_and_has_forgotten_where_it_was(
    world: World,
):
    conversation = await with_nodes(world)
    await world.hand_off(conversation, now=second(5))

    await world.resume(conversation, node="pay", reply=True, now=second(6))

    engine = EngineDouble("That is 10 dollars.")
    await world.think(now=second(6), engine=engine)
    (asked,) = engine.asked
    assert (asked.start_node, asked.state) == ("pay", {})


async def test_an_agent_that_fails_to_go_on_by_itself_makes_no_apology(world: World):
    # It used to say the fallback to a user who had asked for nothing.
    conversation = await handed_off(world)
    await world.say(conversation, "Bob here.", now=second(10))
    await world.resume(conversation, reply=True, now=second(20))

    outcomes = await world.think(now=second(20), engine=EngineDouble(TurnFailed("it broke")))

    await world.send_all(now=second(30))
    assert outcomes == ["failed"]
    assert world.carrier.texts == ["You said: Hello", "Bob here."]


async def test_a_flow_that_is_sent_to_a_node_still_knows_what_it_learned(world: World):
    conversation = await with_nodes(world)
    kept = '{"node": "ask", "variables": {"day": "friday"}}'
    async with world.transaction() as c:
        await c.execute(
            text("update conversations set engine_state = cast(:kept as jsonb)"), {"kept": kept}
        )
    await world.hand_off(conversation, now=second(5))
    await world.resume(conversation, node="pay", reply=True, now=second(6))
    engine = EngineDouble("That is $45.")
    await world.think(now=second(6), engine=engine)
    assert engine.asked[0].state == {"variables": {"day": "friday"}}


async def test_without_a_node_a_flow_goes_on_where_it_was(world: World):
    conversation = await with_nodes(world)
    await world.hand_off(conversation, now=second(5))

    await world.resume(conversation, reply=True, now=second(6))

    engine = EngineDouble("Well?")
    await world.think(now=second(6), engine=engine)
    assert (engine.asked[0].start_node, engine.asked[0].state) == (None, {"node": "ask"})


async def test_what_a_flow_was_thinking_of_at_another_node_does_not_count(world: World):
    # A pause does not stop the turn that is under way.
    await world.provision(project={"reply_budget": {"replies": 1, "per_seconds": 3600}})
    await with_nodes(world)
    heard = await world.hear("Two", now=second(5))
    assert (heard.why, heard.conversation_id is None) == ("reply_budget", False)
    assert heard.conversation_id is not None
    await world.resume(heard.conversation_id, now=second(6))
    (thinking,) = await world.claim_turns(now=minute(1))
    await world.say(heard.conversation_id, sender="agent", now=minute(1))
    assert (await world.hear("Three", now=minute(2))).why == "reply_budget"

    await world.resume(heard.conversation_id, node="pay", now=minute(3))
    await world.answer(thinking, "From another node", now=minute(4))

    assert "From another node" not in [said.text for said in await world.ours()]


async def test_a_node_that_the_agent_does_not_have_leaves_it_with_the_person(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    conversation = await with_nodes(world)
    await world.hand_off(conversation, now=second(5))

    with pytest.raises(UnknownAgent, match='Agent "bookings" has no node "play"'):
        await world.resume(conversation, node="play", now=second(6))

    assert (await world.talk(conversation)).state == "handed_off"
