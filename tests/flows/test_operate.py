"""An operator settles by hand what neither a receipt nor the carrier's list could tell."""

import asyncio

import pytest

from tests.support.deployment import AGENT, HTTP, NEIGHBOUR, USER, hour, second
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.world import WithText, World
from textback.core.errors import NotUncertain
from textback.core.ids import MessageId
from textback.core.message import Message, Queued, Suppressed
from textback.core.phone import Phone
from textback.core.ports import NoAnswer, NotFound, Taken
from textback.db import watch
from textback.flows import operate


async def uncertain(world: World, words: str = "Hi", *, user: Phone = USER) -> WithText:
    accepted = await world.accept(words, user=user)
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    return accepted


async def sent(world: World, message_id: MessageId, sid: str | None = "SM1") -> Message:
    return await operate.settle_as_sent(
        world.db, message_id, carrier_message_id=sid, now=second(100)
    )


async def not_sent(world: World, message_id: MessageId, *, hours: float = 1) -> Message:
    return await operate.settle_as_not_sent(world.db, message_id, now=hour(hours))


async def test_a_text_settled_as_sent_is_never_sent_again(world: World):
    accepted = await uncertain(world)

    await sent(world, accepted.message_id)

    text = await world.text(accepted.message_id)
    assert (text.state, text.carrier_message_id) == ("sent", "SM1")
    assert await world.claim(now=hour(1)) == []
    assert await world.settle(now=hour(1)) == []


async def test_a_text_settled_as_not_sent_is_sent_once(world: World):
    accepted = await uncertain(world)
    carrier = CarrierDouble()

    after = await not_sent(world, accepted.message_id)
    await world.send_all(now=hour(1), carrier=carrier)

    assert isinstance(after, Queued)
    assert carrier.texts == ["Hi"]
    assert await world.state(accepted.message_id) == "sent"


async def test_a_text_past_its_validity_is_not_sent_any_more(world: World):
    accepted = await uncertain(world)

    after = await not_sent(world, accepted.message_id, hours=4)

    assert isinstance(after, Suppressed)
    assert after.reason == "expired"
    assert await world.claim(now=hour(5)) == []


async def test_settling_lets_go_what_waited_behind_the_text(world: World):
    accepted = await uncertain(world)
    await world.accept("Next")
    assert await world.claim(now=second(1)) == []

    await sent(world, accepted.message_id)

    assert [job.message.text for job in await world.claim(now=second(101))] == ["Next"]


async def test_the_record_says_that_it_was_an_operator(world: World):
    accepted = await uncertain(world)

    await sent(world, accepted.message_id)

    events = await world.events(accepted.message_id)
    assert events[-3:] == ["message.uncertain", "message.sent", "message.settled"]


async def test_a_receipt_tells_the_carriers_id_that_the_operator_did_not_know(world: World):
    accepted = await uncertain(world)
    await sent(world, accepted.message_id, None)

    heard = await world.receipt("delivered", sid="SM7", message_id=accepted.message_id)

    text = await world.text(accepted.message_id)
    assert heard == "changed"
    assert (text.state, text.carrier_message_id) == ("delivered", "SM7")


async def test_a_receipt_of_another_message_changes_nothing(world: World):
    accepted = await uncertain(world)
    await sent(world, accepted.message_id, "SM1")

    heard = await world.receipt("delivered", sid="SM7", message_id=accepted.message_id)

    assert heard == "unchanged"


async def test_a_receipt_still_proves_that_what_was_settled_as_not_sent_did_go_out(world: World):
    accepted = await uncertain(world)
    await not_sent(world, accepted.message_id)

    await world.receipt("sent", sid="SM7", message_id=accepted.message_id, now=hour(1))

    assert await world.state(accepted.message_id) == "sent"
    assert await world.claim(now=hour(2)) == []


@pytest.mark.parametrize("state", ["queued", "sending", "sent"])
async def test_only_an_uncertain_text_can_be_settled(world: World, state: str):
    accepted = await world.accept()
    if state != "queued":
        (job,) = await world.claim()
        if state == "sent":
            await world.record(job, Taken("SM1"))

    for settling in (sent(world, accepted.message_id), not_sent(world, accepted.message_id)):
        with pytest.raises(NotUncertain, match=f"is {state}: there is nothing to settle"):
            await settling
    assert await world.state(accepted.message_id) == state


async def test_a_text_that_is_not_ours_cannot_be_settled(world: World):
    with pytest.raises(NotUncertain, match="is not one of our texts"):
        await sent(world, MessageId("msg_x"))


async def test_two_texts_cannot_be_the_same_message_at_the_carrier(world: World):
    first = await uncertain(world)
    second_one = await uncertain(world, user=NEIGHBOUR)
    await sent(world, first.message_id, "SM1")

    with pytest.raises(NotUncertain, match=f"SM1 is the carrier's id of {first.message_id}"):
        await sent(world, second_one.message_id, "SM1")

    assert await world.state(second_one.message_id) == "uncertain"


async def test_a_look_up_that_was_under_way_does_not_undo_the_operators_word(world: World):
    accepted = await uncertain(world)
    carrier = CarrierDouble()

    async def meanwhile(_: object) -> NotFound:
        await sent(world, accepted.message_id)
        return NotFound()

    carrier.on_look_up = meanwhile
    for at in (10, 60, 300):
        await world.settle(now=second(at), carrier=carrier)

    assert len(carrier.asked) == 1
    assert await world.state(accepted.message_id) == "sent"


async def test_two_operators_at_once_have_one_winner(world: World):
    accepted = await uncertain(world)

    outcomes = await asyncio.gather(  # noqa: TID251 - both outcomes are wanted
        sent(world, accepted.message_id),
        not_sent(world, accepted.message_id),
        return_exceptions=True,
    )

    assert sum(isinstance(o, NotUncertain) for o in outcomes) == 1


async def test_what_could_not_be_looked_up_is_listed_until_somebody_settles_it(world: World):
    accepted = await uncertain(world)
    carrier = CarrierDouble(listed=[NoAnswer("away")])
    for minute in range(300):
        await world.settle(now=second(60 * minute), carrier=carrier)

    (listed,) = await watch.list_uncertain(world.db, limit=10)
    assert (listed.id, listed.user_number, listed.agent_number) == (
        accepted.message_id,
        USER,
        AGENT,
    )
    assert listed.look_up_at is None
    assert (await world.events(accepted.message_id))[-1] == "message.unsettled"

    await sent(world, accepted.message_id)

    assert await watch.list_uncertain(world.db, limit=10) == []


async def doubt(world: World) -> int:
    return await operate.doubt_queued(world.db, policy=world.policy, now=hour(1))


async def test_after_a_restore_what_the_carrier_has_is_not_sent_again(world: World):
    # The database calls them queued, as it did when the backup was made.
    out = [await world.accept(f"Text {n}") for n in range(3)]
    carrier = CarrierDouble()
    has = {"Text 0": "SM0", "Text 1": "SM1"}
    carrier.on_look_up = lambda asked: Taken(has[asked.text]) if asked.text in has else NotFound()

    assert await doubt(world) == 3
    assert await world.claim(now=hour(1)) == []
    await world.settle(now=hour(1), carrier=carrier)
    await world.send_all(now=hour(1), carrier=carrier)

    assert carrier.texts == ["Text 2"]
    assert [await world.state(a.message_id) for a in out] == ["sent"] * 3
    assert carrier.asked[0][0].claimed_at == second(0)  # the carrier may have it since then


async def test_of_two_equal_texts_after_a_restore_each_is_sent_once(world: World):
    for _ in range(2):
        await world.accept("The same")
    carrier = CarrierDouble()
    listed = ["SM0"]
    carrier.on_look_up = lambda _: Taken(listed.pop()) if listed else NotFound()

    await doubt(world)
    await world.settle(now=hour(1), carrier=carrier)
    await world.send_all(now=hour(1), carrier=carrier)

    assert len(carrier.sent) == 1
    assert [text.state for text in await world.ours()] == ["sent", "sent"]


async def test_doubting_leaves_alone_what_the_agent_has_yet_to_write(world: World):
    await world.provision(agent={"engine": HTTP, "greeting": None})
    await world.accept(None)

    assert await doubt(world) == 0


async def test_doubting_twice_is_doubting_once(world: World):
    await world.accept()

    assert [await doubt(world), await doubt(world)] == [1, 0]
