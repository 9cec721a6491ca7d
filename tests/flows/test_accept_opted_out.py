"""Callers may send to whoever they like; who said STOP is texted nothing (D5)."""

from tests.support.deployment import (
    AGENT,
    DEV,
    HTTP,
    NEIGHBOUR,
    SECOND,
    USER,
    caller,
    second,
)
from tests.support.world import World


async def test_a_text_to_who_opted_out_is_recorded_as_suppressed_and_never_sent(world: World):
    await world.hear("STOP")

    accepted = await world.accept(now=second(1))

    text = await world.text(accepted.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "opted_out")
    talk = await world.talk(accepted.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "opted_out")
    await world.send_all(now=second(2))
    assert "Your appointment is at 3pm." not in world.carrier.texts


async def test_what_a_suppressed_text_was_is_told_as_events(world: World):
    await world.hear("STOP")

    accepted = await world.accept(now=second(1))

    assert await world.events(accepted.message_id) == ["message.suppressed"]
    assert await world.events(accepted.conversation_id) == [
        "conversation.opened",
        "conversation.closed",
    ]


async def test_an_agent_does_not_write_an_opener_for_who_opted_out(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    await world.hear("STOP")

    accepted = await world.accept(None, now=second(1))

    assert await world.turns() == []
    assert await world.state(accepted.message_id) == "suppressed"


async def test_with_no_number_named_an_opt_out_from_any_number_of_the_project_counts(world: World):
    await world.hear("STOP", agent_number=SECOND)

    accepted = await world.accept(agent_number=None, now=second(1))

    text = await world.text(accepted.message_id)
    assert (text.state, text.agent_number) == ("suppressed", SECOND)


async def test_an_opt_out_from_a_number_of_another_environment_counts_too(world: World):
    await world.hear("STOP", agent_number=DEV)

    accepted = await world.accept(agent_number=None, by=caller("live"), now=second(1))

    text = await world.text(accepted.message_id)
    assert text.state == "suppressed"
    assert text.agent_number in {AGENT, SECOND}


async def test_a_number_that_is_named_may_text_who_opted_out_of_another(world: World):
    await world.hear("STOP", agent_number=SECOND)

    accepted = await world.accept(agent_number=AGENT, now=second(1))

    assert await world.state(accepted.message_id) == "queued"


async def test_a_suppressed_text_leaves_a_conversation_on_another_number_alone(world: World):
    ongoing = await world.accept(agent_number=AGENT)
    await world.hear("Hello", now=second(1))
    await world.hear("STOP", agent_number=DEV, now=second(2))

    suppressed = await world.accept(agent_number=None, now=second(3))

    assert await world.state(suppressed.message_id) == "suppressed"
    assert [talk.id for talk in await world.live()] == [ongoing.conversation_id]
    assert await world.think(now=second(4)) == ["answered"]


async def test_who_opted_out_and_in_again_is_texted(world: World):
    await world.hear("STOP")
    await world.hear("START", now=second(1))

    accepted = await world.accept(agent_number=None, now=second(2))

    assert await world.state(accepted.message_id) == "queued"


async def test_an_opt_out_is_the_users_own(world: World):
    await world.hear("STOP", user=NEIGHBOUR)

    accepted = await world.accept(user=USER, agent_number=None, now=second(1))

    assert await world.state(accepted.message_id) == "queued"
