"""A text past its validity is dropped, whatever holds it back, and never sent late."""

import asyncio
from datetime import datetime

import pytest

from tests.support.deployment import HTTP, NEIGHBOUR, hour, second
from tests.support.doubles import NO_ANSWER, CarrierDouble, EngineDouble
from tests.support.world import World
from textback.core.ports import NotFound
from textback.flows import lapse

LATE = hour(4)


async def drop_expired(world: World, *, now: datetime = LATE) -> int:
    return await lapse.drop_expired(world.db, limit=100, now=now)


async def test_a_text_is_dropped_when_its_validity_is_over_and_not_before(world: World):
    accepted = await world.accept()

    assert await drop_expired(world, now=LATE - (second(1) - second(0))) == 0
    assert await drop_expired(world) == 1
    assert await drop_expired(world) == 0

    text = await world.text(accepted.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "expired")
    assert await world.events(accepted.message_id) == ["message.queued", "message.suppressed"]


async def test_a_text_behind_one_that_is_being_settled_is_dropped_in_time(world: World):
    # It stayed in the queue for as long as the one before it was looked for.
    first = await world.accept("One")
    then = await world.accept("Two")
    await world.send(carrier=CarrierDouble(NO_ANSWER))

    assert await drop_expired(world) == 1

    assert await world.state(first.message_id) == "uncertain"
    assert await world.state(then.message_id) == "suppressed"


async def test_a_text_that_proves_unsent_after_its_validity_is_dropped(world: World):
    accepted = await world.accept()
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    for n in (4, 4.1, 4.2):
        await world.settle(now=hour(n), carrier=CarrierDouble(listed=[NotFound()]))

    assert await drop_expired(world, now=hour(4.3)) == 1

    assert await world.state(accepted.message_id) == "suppressed"


async def test_a_text_that_a_worker_holds_is_left_to_it(world: World):
    accepted = await world.accept()
    (job,) = await world.claim(now=second(1))

    assert await drop_expired(world) == 0

    assert job.message.id == accepted.message_id
    assert await world.state(accepted.message_id) == "sending"


async def test_claims_and_drops_that_race_leave_each_text_with_one_fate(world: World):
    for n in range(30):
        await world.accept(f"Text {n}", now=second(n))
    edge = hour(4) + (second(15) - second(0))

    async with asyncio.TaskGroup() as group:
        claims = [group.create_task(world.claim(now=edge)) for _ in range(4)]
        drops = [group.create_task(drop_expired(world, now=edge)) for _ in range(4)]

    held = [job for claim in claims for job in claim.result()]
    states = [text.state for text in await world.ours()]
    assert states.count("suppressed") == 16
    assert sum(drop.result() for drop in drops) <= 16
    assert states.count("sending") == len(held)


# --- Openers that the agent is to write ---------------------------------------------------------


@pytest.fixture
async def asked(world: World) -> World:
    await world.provision(agent={"greeting": None, "engine": HTTP})
    return world


async def test_an_opener_that_nobody_wrote_in_time_is_dropped_with_its_turn(asked: World):
    world = asked
    promised = await world.accept(None)

    assert await drop_expired(world) == 1

    text = await world.text(promised.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "expired")
    assert (await world.events(promised.conversation_id))[-1] == "turn.dropped"
    assert await world.claim_turns(now=LATE) == []


async def test_who_texted_before_an_opener_was_given_up_is_answered(asked: World):
    world = asked
    await world.accept(None)
    await world.hear("Hello?", now=hour(3))

    await drop_expired(world)
    await world.think(now=LATE, engine=EngineDouble("Hello to you."))
    await world.send_all(now=LATE)

    assert world.carrier.texts == ["Hello to you."]


async def test_an_opener_that_is_being_written_when_its_validity_ends_is_not_sent(asked: World):
    world = asked
    await world.accept(None)
    (held,) = await world.claim_turns(now=hour(3.99))
    await drop_expired(world)

    assert await world.answer(held, "Good morning.", now=LATE) == "dropped"

    await world.send_all(now=LATE)
    assert world.carrier.sent == []


async def test_an_opener_given_up_holds_back_nobody(asked: World):
    world = asked
    await world.accept(None)
    await world.accept("Later", now=hour(3))
    await world.accept("Elsewhere", user=NEIGHBOUR, now=hour(3))

    await drop_expired(world)
    await world.send_all(now=LATE)

    assert world.carrier.texts == ["Later", "Elsewhere"]
