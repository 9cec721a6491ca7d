"""Who said STOP is texted nothing more from that number, whatever was under way."""

import asyncio

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import (
    AGENT,
    HTTP,
    NEIGHBOUR,
    SECOND,
    USER,
    hour,
    second,
)
from tests.support.doubles import (
    LATER,
    NO_ANSWER,
    OPTED_OUT,
    SLOW_DOWN,
    CarrierDouble,
    Gate,
    Sent,
    Spent,
)
from tests.support.world import World
from textback.core import optout
from textback.core.ports import Outgoing, SendError
from textback.flows import send


@pytest.mark.parametrize("words", ["STOP", " stop. ", "Unsubscribe", "CANCEL", "end!", "OPT OUT"])
async def test_stop_closes_the_conversation_and_is_recorded(world: World, words: str):
    accepted = await world.accept()

    heard = await world.hear(words, sid="IN-stop", now=second(1))

    assert heard.outcome == "keyword"
    talk = await world.talk(accepted.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "opted_out")
    (opt_out,) = await world.opt_outs()
    assert (opt_out.agent_number, opt_out.user_number) == (AGENT, USER)
    assert (opt_out.source, opt_out.words) == ("keyword", words)
    assert (opt_out.carrier_message_id, opt_out.opted_out_at) == ("IN-stop", second(1))
    assert "user.opted_out" in await world.events(accepted.conversation_id)


async def test_stop_drops_the_texts_that_wait(world: World):
    first = await world.accept("One")
    then = await world.accept("Two", now=second(1))

    await world.hear("STOP", now=second(2))

    for accepted in (first, then):
        text = await world.text(accepted.message_id)
        assert (text.state, text.drop_reason) == ("suppressed", "opted_out")


async def test_stop_within_a_sentence_goes_to_the_agent(world: World):
    await world.accept()

    heard = await world.hear("Please stop by at 4pm", now=second(1))

    assert heard.outcome == "heard"
    assert await world.may_text()


async def test_stop_binds_only_the_number_it_was_sent_to(world: World):
    await world.accept(agent_number=AGENT)
    other = await world.accept(agent_number=SECOND)

    await world.hear("STOP", agent_number=AGENT, now=second(1))

    assert await world.state(other.message_id) == "queued"
    assert await world.may_text(agent_number=SECOND)
    assert [talk.id for talk in await world.live()] == [other.conversation_id]


async def test_stop_leaves_other_users_alone(world: World):
    other = await world.accept(user=NEIGHBOUR)

    await world.hear("STOP", user=USER)

    assert await world.state(other.message_id) == "queued"


async def test_stop_from_somebody_we_never_texted_is_recorded(world: World):
    heard = await world.hear("STOP")

    assert heard.outcome == "keyword"
    assert not await world.may_text()
    (talk,) = await world.talks()
    assert (talk.state, talk.reason, talk.id) == ("closed", "opted_out", heard.conversation_id)


async def test_an_answer_that_waits_is_not_given_after_stop(world: World):
    await world.hear("Hello")

    await world.hear("STOP", now=second(1))

    assert await world.think(now=second(2)) == []


async def test_an_answer_that_is_being_written_is_not_given_after_stop(world: World):
    await world.hear("Hello")
    (thinking,) = await world.claim_turns()

    await world.hear("STOP", now=second(1))

    assert await world.answer(thinking, "Good morning.", now=second(2)) == "dropped"
    assert [text.text for text in await world.ours()] == [optout.STOP_REPLY]


async def test_an_opener_that_the_agent_has_yet_to_write_is_recorded_as_suppressed(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)

    await world.hear("STOP", now=second(1))

    text = await world.text(promised.message_id)
    assert (text.state, text.drop_reason, text.kind) == ("suppressed", "opted_out", "opener")
    assert await world.think(now=second(2)) == []


async def test_an_opener_that_is_being_written_is_recorded_as_suppressed(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)
    (thinking,) = await world.claim_turns()
    await world.hear("STOP", now=second(1))

    assert await world.answer(thinking, "Good morning.", now=second(2)) == "dropped"

    text = await world.text(promised.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "opted_out")


@pytest.mark.parametrize("thinking", [True, False])
async def test_an_unwritten_opener_of_a_superseded_conversation_is_not_sent_after_stop(
    world: World, *, thinking: bool
):
    # STOP closed the live conversation only; the opener of the one before it still went out.
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)
    claimed = await world.claim_turns() if thinking else []
    await world.accept("Newer", now=second(1))
    await world.hear("STOP", now=second(2))

    for turn in claimed or await world.claim_turns(now=second(3)):
        await world.answer(turn, "Good morning.", now=second(3))
    await world.send_all(now=second(4))

    text = await world.text(promised.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "opted_out")
    assert world.carrier.texts == [optout.STOP_REPLY]


@pytest.mark.parametrize("outcome", [LATER, SLOW_DOWN, send.Wait(second(2))])
async def test_a_text_that_a_worker_held_during_stop_and_put_back_is_not_sent(
    world: World, outcome: SendError | send.Wait
):
    accepted = await world.accept()
    (job,) = await world.claim()
    await world.hear("STOP", now=second(1))

    await world.record(job, outcome, now=second(1))
    await world.send_all(now=second(60))

    text = await world.text(accepted.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "opted_out")
    assert world.carrier.texts == [optout.STOP_REPLY]


async def test_a_paced_number_texts_nobody_after_stop(world: World):
    # Every second the text was taken, found no token and was put back: STOP came in between.
    accepted = await world.accept()
    for n in range(3):
        (job,) = await world.claim(now=second(n))
        if n == 1:
            await world.hear("STOP", now=second(n))
        outcome = await world.hand_over(job, pace=Spent(1), now=second(n))
        await world.record(job, outcome, now=second(n))
        if n == 1:
            break

    await world.send_all(now=second(5))

    assert await world.state(accepted.message_id) == "suppressed"
    assert world.carrier.texts == [optout.STOP_REPLY]


async def test_a_warning_that_waits_is_not_sent_after_stop(world: World):
    await world.hear("Hello")
    await world.think()
    await world.expire(now=hour(24))

    await world.hear("STOP", now=hour(24.1))
    await world.send_all(now=hour(24.1))

    assert world.carrier.texts == [optout.STOP_REPLY]


async def test_a_reply_that_is_written_while_the_carrier_reports_the_opt_out_is_dropped(
    world: World,
):
    accepted = await world.accept()
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    await world.hear("Hello", now=second(1))
    (thinking,) = await world.claim_turns(now=second(1))
    gate = Gate()

    async def hold_the_conversation() -> None:
        async with world.transaction() as c:
            lock = "select id from conversations where id = :id for no key update"
            await c.execute(sql(lock), {"id": accepted.conversation_id})
            await gate.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(hold_the_conversation())
        await gate.reached.wait()
        group.create_task(world.answer(thinking, "Good morning.", now=second(2)))
        await world.blocked(1)
        group.create_task(
            world.receipt(
                "failed",
                sid="SM1",
                message_id=accepted.message_id,
                error_code="21610",
                opted_out=True,
                now=second(2),
            )
        )
        await world.blocked(2)
        gate.open()

    reply = (await world.ours())[-1]
    assert (reply.text, reply.state) == ("Good morning.", "suppressed")


async def test_concurrent_stops_opt_out_once(world: World):
    await world.accept()

    async with asyncio.TaskGroup() as group:
        for n in range(8):
            group.create_task(world.hear("STOP", sid=f"IN-{n}", now=second(1)))

    assert len(await world.opt_outs()) == 1
    assert [text.kind for text in await world.ours()] == ["opener", "notice"]


async def test_stop_while_the_carrier_reports_the_same_opts_out_once(world: World):
    await world.accept("One")
    carrier = CarrierDouble()

    async def refuses(_: Outgoing) -> Sent:
        await world.hear("STOP", now=second(1))
        return OPTED_OUT

    carrier.on_send = refuses
    await world.send(carrier=carrier, now=second(1))

    (opt_out,) = await world.opt_outs()
    assert opt_out.source == "keyword"
