"""A text that may have gone out is settled by what the carrier's own list says."""

import asyncio
from datetime import datetime

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import AGENT, NEIGHBOUR, SECOND, USER, hour, second
from tests.support.doubles import NO_ANSWER, CarrierDouble, Listed
from tests.support.world import WithText, World
from textback.carriers.sandbox.client import UNANSWERED
from textback.core.message import Queued, Sent, Uncertain
from textback.core.phone import Phone
from textback.core.ports import NoAnswer, NotFound, Outgoing, Taken
from textback.flows import settle

SETTLED_AT = (second(10), second(60), second(300))


async def uncertain(world: World, text: str = "Hi", *, user: Phone = USER) -> WithText:
    """A text that was sent at the start of the test, without an answer."""
    accepted = await world.accept(text, user=user)
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    assert await world.state(accepted.message_id) == "uncertain"
    return accepted


async def test_a_text_that_the_carriers_list_has_is_sent(world: World):
    accepted = await world.accept(user=UNANSWERED)
    await world.send()  # the sandbox takes it and does not answer

    (after,) = await world.settle(now=second(10))

    assert isinstance(after, Sent)
    text = await world.text(accepted.message_id)
    assert (text.state, text.carrier_message_id) == ("sent", after.carrier_message_id)
    assert len(world.carrier.sent) == 1


async def test_the_list_is_asked_for_the_text_as_it_was_handed_over(world: World):
    accepted = await uncertain(world, "Hi")
    carrier = CarrierDouble()

    await world.settle(now=second(10), carrier=carrier)

    ((asked, known),) = carrier.asked
    assert (asked.message_id, asked.text) == (accepted.message_id, "Hi")
    assert (asked.agent_number, asked.user_number) == (AGENT, USER)
    assert asked.claimed_at == second(0)
    assert known == frozenset()


async def test_the_list_is_not_asked_before_it_is_time(world: World):
    await uncertain(world)
    carrier = CarrierDouble()

    assert await world.settle(now=second(9.9), carrier=carrier) == []

    assert carrier.asked == []


async def test_a_text_that_the_list_never_has_is_queued_again_after_the_whole_window(world: World):
    accepted = await uncertain(world)
    carrier = CarrierDouble()

    states = [(await world.settle(now=at, carrier=carrier))[0] for at in SETTLED_AT]

    assert [type(state) for state in states] == [Uncertain, Uncertain, Queued]
    text = await world.text(accepted.message_id)
    assert (text.state, text.due_at, text.attempts) == ("queued", second(300), 0)
    await world.send_all(now=second(301), carrier=carrier)
    assert await world.state(accepted.message_id) == "sent"
    assert len(carrier.sent) == 1


async def test_a_text_found_at_the_last_look_up_is_not_sent_again(world: World):
    accepted = await uncertain(world)
    carrier = CarrierDouble(listed=[NotFound(), NotFound(), Taken("SM9")])

    for at in SETTLED_AT:
        await world.settle(now=at, carrier=carrier)

    assert (await world.text(accepted.message_id)).carrier_message_id == "SM9"
    assert await world.claim(now=hour(1)) == []


async def test_a_text_past_its_validity_is_not_sent_again(world: World):
    await world.provision(project={"validity_seconds": 120})
    accepted = await uncertain(world)
    for at in SETTLED_AT:
        await world.settle(now=at, carrier=CarrierDouble())

    await world.send_all(now=second(301))

    text = await world.text(accepted.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "expired")


async def test_a_list_that_does_not_answer_leaves_the_text_uncertain_and_is_asked_again(
    world: World,
):
    accepted = await uncertain(world)
    carrier = CarrierDouble(listed=[NO_ANSWER])

    for minute in range(30):
        await world.settle(now=second(10 + 60 * minute), carrier=carrier)

    text = await world.text(accepted.message_id)
    assert (text.state, text.look_ups) == ("uncertain", 0)
    assert text.look_up_at is not None
    assert len(carrier.asked) == 30


async def test_a_look_up_that_raises_is_as_good_as_none(world: World):
    # Its lease ran out again and again, and the texts behind it waited for ever.
    accepted = await uncertain(world)
    carrier = CarrierDouble()

    def raises(_: Outgoing) -> Listed:
        raise RuntimeError("a bug")

    carrier.on_look_up = raises
    await world.settle(now=hour(4), carrier=carrier)

    text = await world.text(accepted.message_id)
    assert (text.state, text.look_up_at) == ("uncertain", None)


async def test_an_unanswered_look_up_does_not_count_as_one(world: World):
    await uncertain(world)
    carrier = CarrierDouble(listed=[NotFound(), NO_ANSWER, NotFound(), NotFound()])
    at, seen = second(10), list[str]()

    while "Queued" not in seen:
        seen += [type(m).__name__ for m in await world.settle(now=at, carrier=carrier)]
        at += second(10) - second(0)

    assert seen == ["Uncertain", "Uncertain", "Uncertain", "Queued"]


@pytest.mark.parametrize("listed", [NotFound(), NO_ANSWER])
async def test_while_it_is_looked_up_it_holds_back_the_texts_behind_it(
    world: World, listed: Listed
):
    await uncertain(world, "One")
    await world.accept("Two", now=second(1))

    await world.settle(now=second(10), carrier=CarrierDouble(listed=[listed]))

    assert await world.claim(now=second(11)) == []


async def test_once_settled_the_text_behind_it_goes_out(world: World):
    await uncertain(world, "One")
    await world.accept("Two", now=second(1))

    await world.settle(now=second(10), carrier=CarrierDouble(listed=[Taken("SM1")]))

    (job,) = await world.claim(now=second(11))
    assert job.message.text == "Two"


async def test_queued_again_it_goes_out_before_the_text_behind_it(world: World):
    await uncertain(world, "One")
    await world.accept("Two", now=second(1))
    for at in SETTLED_AT:
        await world.settle(now=at, carrier=CarrierDouble())

    await world.send_all(now=second(301))

    assert world.carrier.texts == ["One", "Two"]


async def test_a_text_that_could_not_be_settled_in_its_validity_holds_back_nobody(world: World):
    accepted = await uncertain(world, "One")
    await world.accept("Two", now=hour(3.9))
    silent = CarrierDouble(listed=[NO_ANSWER])

    await world.settle(now=hour(4), carrier=silent)

    text = await world.text(accepted.message_id)
    assert (text.state, text.look_up_at) == ("uncertain", None)
    assert await world.settle(now=hour(5), carrier=silent) == []
    (job,) = await world.claim(now=hour(4.1))
    assert job.message.text == "Two"


async def test_a_receipt_settles_a_text_that_nobody_looks_up_any_more(world: World):
    accepted = await uncertain(world)
    await world.settle(now=hour(4), carrier=CarrierDouble(listed=[NO_ANSWER]))

    await world.receipt("delivered", sid="SM1", message_id=accepted.message_id, now=hour(5))

    assert await world.state(accepted.message_id) == "delivered"


async def test_ids_of_other_texts_of_the_pair_are_left_out(world: World):
    for n in range(2):
        await world.accept("Same words", now=second(n))
    await world.send_all(carrier=CarrierDouble(Taken("SM1"), Taken("SM2")), now=second(2))
    await world.hear("Hi", sid="IN-hi", now=second(2))
    await world.accept("Same words", now=second(3))
    await world.send(carrier=CarrierDouble(NO_ANSWER), now=second(3))
    carrier = CarrierDouble()

    await world.settle(now=second(13), carrier=carrier)

    ((_, known),) = carrier.asked
    assert known >= {"SM1", "SM2"}


async def test_ids_of_other_pairs_are_not_left_out(world: World):
    await world.accept(user=NEIGHBOUR)
    await world.accept(agent_number=SECOND)
    await world.send_all(carrier=CarrierDouble())
    await uncertain(world)
    carrier = CarrierDouble()

    await world.settle(now=second(10), carrier=carrier)

    assert carrier.asked[0][1] == frozenset()


async def test_a_receipt_during_the_look_up_wins(world: World):
    accepted = await uncertain(world)
    carrier = CarrierDouble()

    async def meanwhile(_: Outgoing) -> Listed:
        await world.receipt("delivered", sid="SM1", message_id=accepted.message_id, now=second(11))
        return NotFound()

    carrier.on_look_up = meanwhile
    await world.settle(now=second(10), carrier=carrier)

    text = await world.text(accepted.message_id)
    assert (text.state, text.carrier_message_id) == ("delivered", "SM1")


async def test_a_receipt_between_look_ups_ends_them(world: World):
    accepted = await uncertain(world)
    await world.settle(now=second(10), carrier=CarrierDouble())

    await world.receipt("sent", sid="SM1", message_id=accepted.message_id, now=second(11))

    assert await world.settle(now=hour(1), carrier=CarrierDouble()) == []
    assert await world.state(accepted.message_id) == "sent"


async def test_a_look_up_that_its_worker_did_not_survive_is_done_again(world: World):
    await uncertain(world)
    due, _ = await settle.claim(world.db, policy=world.policy, limit=10, now=second(10))
    assert len(due) == 1

    assert await world.settle(now=second(29), carrier=CarrierDouble()) == []
    (after,) = await world.settle(now=second(30), carrier=CarrierDouble())

    assert isinstance(after, Uncertain)
    assert after.look_ups == 1


async def test_a_look_up_answered_after_its_lease_is_not_counted_twice(world: World):
    accepted = await uncertain(world)
    (slow,), _ = await settle.claim(world.db, policy=world.policy, limit=10, now=second(10))
    await world.settle(now=second(30), carrier=CarrierDouble())

    await settle.record(world.db, slow, NotFound(), policy=world.policy, now=second(31))

    assert (await world.text(accepted.message_id)).look_ups == 1


async def test_racing_workers_look_a_text_up_once(world: World):
    await uncertain(world)

    async def claimed() -> int:
        due, _ = await settle.claim(world.db, policy=world.policy, limit=10, now=second(10))
        return len(due)

    async with asyncio.TaskGroup() as group:
        claims = [group.create_task(claimed()) for _ in range(6)]

    assert sum(claim.result() for claim in claims) == 1


async def test_many_uncertain_texts_are_claimed_no_more_than_asked_for(world: World):
    # A planner that knew of one text only asked for two once for each text there was.
    await uncertain(world, user=Phone("+14155550200"))
    async with world.transaction() as c:
        await c.execute(sql("analyze messages"))
    for n in range(1, 5):
        await uncertain(world, user=Phone(f"+1415555020{n}"))

    due, _ = await settle.claim(world.db, policy=world.policy, limit=2, now=second(10))

    assert len(due) == 2


async def test_when_nothing_is_due_the_worker_learns_when_to_look_again(world: World):
    await uncertain(world)

    found: tuple[list[Uncertain], datetime | None] = await settle.claim(
        world.db, policy=world.policy, limit=10, now=second(1)
    )

    assert found == ([], second(10))


async def test_who_opted_out_while_a_text_was_uncertain_is_not_sent_it_again(world: World):
    accepted = await uncertain(world)
    await world.hear("STOP", now=second(5))
    for at in SETTLED_AT:
        await world.settle(now=at, carrier=CarrierDouble())

    await world.send_all(now=second(301))

    text = await world.text(accepted.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "opted_out")
    assert "Hi" not in world.carrier.texts


async def test_an_opted_out_users_uncertain_text_may_still_turn_out_to_be_delivered(world: World):
    accepted = await uncertain(world)
    await world.hear("STOP", now=second(5))

    await world.settle(now=second(10), carrier=CarrierDouble(listed=[Taken("SM1")]))
    await world.receipt("delivered", sid="SM1", now=second(11))

    assert await world.state(accepted.message_id) == "delivered"


async def test_a_receipt_takes_back_what_a_look_up_gave_to_the_wrong_text(world: World):
    # Nobody could tell whether the first went out; the second has the same words. Both were sent.
    first = await uncertain(world, "The same")
    await world.settle(now=hour(5), carrier=CarrierDouble(listed=[NoAnswer("away")]))
    later = await world.accept("The same", now=hour(5))
    await world.send(now=hour(5), carrier=CarrierDouble(NO_ANSWER))
    at = hour(5) + (second(10) - second(0))
    await world.settle(now=at, carrier=CarrierDouble(listed=[Taken("SM1")]))
    assert await world.state(later.message_id) == "sent"

    heard = await world.receipt("sent", sid="SM1", message_id=first.message_id, now=at)

    assert heard == "changed"
    assert (await world.text(first.message_id)).carrier_message_id == "SM1"
    assert await world.state(later.message_id) == "uncertain"
    await world.settle(now=at, carrier=CarrierDouble(listed=[Taken("SM2")]))
    assert (await world.text(later.message_id)).carrier_message_id == "SM2"


async def test_what_is_final_is_not_taken_back(world: World):
    first = await uncertain(world)
    neighbours = await uncertain(world, user=NEIGHBOUR)
    await world.receipt("delivered", sid="SM1", message_id=neighbours.message_id)

    heard = await world.receipt("delivered", sid="SM1", message_id=first.message_id)

    assert heard == "contradiction"
    assert await world.state(neighbours.message_id) == "delivered"
    assert await world.state(first.message_id) == "uncertain"
