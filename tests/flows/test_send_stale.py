"""A worker comes back with an outcome, and the text has moved meanwhile."""

import asyncio

import pytest

from tests.support.deployment import AGENT, USER, hour, second
from tests.support.doubles import (
    LATER,
    NEVER,
    NO_ANSWER,
    OPTED_OUT,
    SLOW_DOWN,
    CarrierDouble,
)
from tests.support.world import World
from textback.core.message import Delivered, Queued, Sending, Sent, Uncertain
from textback.core.ports import NoAnswer, SendError, Taken
from textback.flows.send import Job, Wait


async def one_job(world: World) -> Job:
    await world.accept()
    (job,) = await world.claim()
    return job


async def test_a_receipt_that_beats_the_response_is_kept(world: World):
    job = await one_job(world)
    await world.receipt("delivered", sid="SM1", message_id=job.message.id, now=second(1))

    after = await world.record(job, Taken("SM1"), now=second(2))

    assert isinstance(after, Delivered)
    text = await world.text(job.message.id)
    assert (text.state, text.carrier_message_id) == ("delivered", "SM1")


async def test_an_accepted_receipt_before_the_response_settles_the_text(world: World):
    job = await one_job(world)

    await world.receipt("accepted", sid="SM1", message_id=job.message.id, now=second(1))
    after = await world.record(job, NoAnswer("the connection broke"), now=second(2))

    assert isinstance(after, Sent)
    assert after.carrier_message_id == "SM1"


async def test_rescue_makes_the_text_of_a_dead_worker_uncertain(world: World):
    job = await one_job(world)

    assert await world.rescue(now=second(29)) == 0
    assert await world.rescue(now=second(30)) == 1

    assert await world.state(job.message.id) == "uncertain"
    assert await world.rescue(now=second(31)) == 0


async def test_racing_rescuers_rescue_a_text_once(world: World):
    job = await one_job(world)

    async with asyncio.TaskGroup() as group:
        rescues = [group.create_task(world.rescue(now=second(30))) for _ in range(5)]

    assert sum(rescue.result() for rescue in rescues) == 1
    assert (await world.events(job.message.id)).count("message.uncertain") == 1


async def test_what_a_slow_worker_learned_after_it_was_rescued_is_not_lost(world: World):
    job = await one_job(world)
    await world.rescue(now=second(30))

    after = await world.record(job, Taken("SM1"), now=second(31))

    assert isinstance(after, Sent)
    text = await world.text(job.message.id)
    assert (text.state, text.carrier_message_id, text.look_up_at) == ("sent", "SM1", None)


async def test_a_slow_workers_taken_keeps_a_text_that_was_queued_again_from_being_resent(
    world: World,
):
    job = await one_job(world)
    await world.rescue(now=second(30))
    for at in (40, 90, 330):  # the carrier's list never has it
        await world.settle(now=second(at), carrier=CarrierDouble())
    assert await world.state(job.message.id) == "queued"

    await world.record(job, Taken("SM1"), now=second(331))

    assert await world.state(job.message.id) == "sent"
    assert await world.claim(now=second(332)) == []


async def test_a_slow_workers_taken_settles_a_text_that_another_worker_holds(world: World):
    job = await one_job(world)
    await world.rescue(now=second(30))
    for at in (40, 90, 330):
        await world.settle(now=second(at), carrier=CarrierDouble())
    (other,) = await world.claim(now=second(331))

    await world.record(job, Taken("SM1"), now=second(332))
    after = await world.record(other, LATER, now=second(333))

    assert isinstance(after, Sent)
    assert after.carrier_message_id == "SM1"


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(NEVER, "failed"), (LATER, "queued"), (SLOW_DOWN, "queued"), (Wait(second(40)), "queued")],
)
async def test_a_late_word_that_nothing_went_out_ends_the_doubt_over_that_claim(
    world: World, outcome: SendError | Wait, state: str
):
    job = await one_job(world)
    await world.rescue(now=second(30))

    await world.record(job, outcome, now=second(31))

    assert await world.state(job.message.id) == state


async def test_no_answer_that_comes_late_leaves_a_rescued_text_to_be_settled(world: World):
    job = await one_job(world)
    await world.rescue(now=second(30))

    after = await world.record(job, NO_ANSWER, now=second(31))

    assert isinstance(after, Uncertain)
    assert await world.state(job.message.id) == "uncertain"


@pytest.mark.parametrize("outcome", [NEVER, LATER, SLOW_DOWN, Wait(second(400))])
async def test_a_late_word_about_one_claim_says_nothing_about_the_next(
    world: World, outcome: SendError | Wait
):
    job = await one_job(world)
    await world.rescue(now=second(30))
    for at in (40, 90, 330):  # the carrier's list never has it
        await world.settle(now=second(at), carrier=CarrierDouble())
    (other,) = await world.claim(now=second(331))
    await world.record(other, NO_ANSWER, now=second(332))

    after = await world.record(job, outcome, now=second(333))

    assert isinstance(after, Uncertain)


async def test_a_late_outcome_does_not_touch_another_workers_claim(world: World):
    job = await one_job(world)
    await world.record(job, Wait(second(1)), now=second(1))
    (other,) = await world.claim(now=second(2))

    after = await world.record(job, NEVER, now=second(3))

    assert isinstance(after, Sending)
    assert await world.record(other, Taken("SM1"), now=second(4))
    assert await world.state(job.message.id) == "sent"


async def test_a_late_word_that_the_user_opted_out_still_counts(world: World):
    job = await one_job(world)
    await world.rescue(now=second(30))

    await world.record(job, OPTED_OUT, now=second(31))

    assert not await world.may_text(agent_number=AGENT, user=USER)


async def test_recording_an_outcome_twice_changes_nothing(world: World):
    # The first commit may have taken hold although its answer was lost.
    job = await one_job(world)
    first = await world.record(job, Taken("SM1"), now=second(1))

    again = await world.record(job, Taken("SM1"), now=second(5))

    assert again == first
    assert (await world.events(job.message.id)).count("message.sent") == 1


async def test_recording_a_snooze_twice_counts_nothing_twice(world: World):
    job = await one_job(world)
    await world.record(job, LATER, now=second(1))

    after = await world.record(job, LATER, now=second(2))

    assert isinstance(after, Queued)
    assert (after.attempts, after.due_at) == (1, second(2))


async def test_a_text_whose_worker_died_is_never_sent_again_blindly(world: World):
    carrier = CarrierDouble()
    job = await one_job(world)
    await world.hand_over(job, carrier=carrier)
    await world.rescue(now=second(30))

    for minute in range(1, 4):
        await world.send_all(now=second(60 * minute), carrier=carrier)

    assert len(carrier.sent) == 1


async def test_a_receipt_for_a_text_that_is_to_be_tried_again_stops_the_retry(world: World):
    job = await one_job(world)
    await world.record(job, LATER)

    await world.receipt("delivered", sid="SM1", message_id=job.message.id, now=second(0.5))

    assert await world.claim(now=hour(1)) == []
    assert await world.state(job.message.id) == "delivered"
