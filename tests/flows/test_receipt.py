"""What the carrier reports is folded in, in whatever order and how often it comes."""

import asyncio
from itertools import permutations

import pytest

from tests.support.deployment import (
    AGENT,
    NEIGHBOUR,
    OTHER_CARRIER,
    USER,
    hour,
    second,
)
from tests.support.doubles import NEVER, CarrierDouble
from tests.support.world import WithText, World
from textback.core.ids import MessageId
from textback.core.ports import ReceiptStatus, Taken

SID = "SM0001"


async def sent(world: World) -> WithText:
    accepted = await world.accept()
    await world.send(carrier=CarrierDouble(Taken(SID)))
    return accepted


async def test_a_delivered_text_is_delivered(world: World):
    accepted = await sent(world)

    outcome = await world.receipt(
        "delivered", sid=SID, message_id=accepted.message_id, now=second(5)
    )

    assert outcome == "changed"
    assert await world.state(accepted.message_id) == "delivered"
    assert (await world.events(accepted.message_id))[-1] == "message.delivered"


async def test_an_undelivered_text_failed_with_the_carriers_code(world: World):
    accepted = await sent(world)

    await world.receipt("failed", sid=SID, message_id=accepted.message_id, error_code="30003")

    text = await world.text(accepted.message_id)
    assert (text.state, text.error_code, text.carrier_message_id) == ("failed", "30003", SID)


async def test_a_receipt_without_our_id_is_known_by_the_carriers(world: World):
    accepted = await sent(world)

    assert await world.receipt("delivered", sid=SID) == "changed"

    assert await world.state(accepted.message_id) == "delivered"


@pytest.mark.parametrize(
    "order", list(permutations(["accepted", "sent", "delivered"])), ids="-".join
)
async def test_receipts_in_any_order_end_the_same(world: World, order: tuple[ReceiptStatus, ...]):
    accepted = await sent(world)
    seen = list[str]()

    for n, status in enumerate(order):
        await world.receipt(status, sid=SID, message_id=accepted.message_id, now=second(n))
        seen.append(await world.state(accepted.message_id))

    assert seen == sorted(seen, key=["sent", "delivered"].index)
    assert seen[-1] == "delivered"
    assert (await world.events(accepted.message_id)).count("message.delivered") == 1


@pytest.mark.parametrize("late", ["accepted", "sent", "failed", "delivered"])
async def test_nothing_moves_a_text_that_was_delivered(world: World, late: ReceiptStatus):
    accepted = await sent(world)
    await world.receipt("delivered", sid=SID, message_id=accepted.message_id)

    assert await world.receipt(late, sid=SID, message_id=accepted.message_id) == "unchanged"

    assert await world.state(accepted.message_id) == "delivered"


@pytest.mark.parametrize("late", ["accepted", "sent", "delivered"])
async def test_nothing_moves_a_text_that_failed(world: World, late: ReceiptStatus):
    accepted = await world.accept()
    await world.send(carrier=CarrierDouble(NEVER))

    assert await world.receipt(late, sid=SID, message_id=accepted.message_id) == "unchanged"

    assert (await world.text(accepted.message_id)).error_code == "21211"


async def test_a_receipt_of_another_carrier_account_is_not_believed(world: World):
    accepted = await sent(world)

    for message_id in (accepted.message_id, None):
        outcome = await world.receipt(
            "failed", sid=SID, message_id=message_id, carrier_id=OTHER_CARRIER
        )
        assert outcome == "unknown"

    assert await world.state(accepted.message_id) == "sent"


async def test_another_carrier_account_cannot_opt_a_user_out(world: World):
    accepted = await sent(world)

    await world.receipt(
        "failed",
        sid=SID,
        message_id=accepted.message_id,
        opted_out=True,
        carrier_id=OTHER_CARRIER,
    )

    assert await world.may_text()


async def test_a_receipt_for_a_text_we_do_not_have_changes_nothing(world: World):
    await sent(world)

    assert await world.receipt("delivered", sid="SM-nobody") == "unknown"
    missing = MessageId("msg_00000000000000000000000000")
    assert await world.receipt("delivered", sid="SM-nobody", message_id=missing) == "unknown"


async def test_a_receipt_that_names_a_users_text_changes_nothing(world: World):
    heard = await world.hear("Hello", sid="IN1")

    assert await world.receipt("failed", sid="IN1", message_id=heard.message_id) == "unknown"
    assert await world.receipt("failed", sid="IN1") == "unknown"


async def test_a_receipt_under_another_of_the_carriers_ids_changes_nothing(world: World):
    accepted = await sent(world)

    outcome = await world.receipt("failed", sid="SM-other", message_id=accepted.message_id)

    assert outcome == "unchanged"
    assert await world.state(accepted.message_id) == "sent"


async def test_concurrent_receipts_leave_one_outcome_and_one_event(world: World):
    accepted = await sent(world)

    async with asyncio.TaskGroup() as group:
        for status in ("sent", "delivered", "delivered", "delivered", "accepted"):
            group.create_task(world.receipt(status, sid=SID, message_id=accepted.message_id))

    assert await world.state(accepted.message_id) == "delivered"
    assert (await world.events(accepted.message_id)).count("message.delivered") == 1


async def test_an_opt_out_the_carrier_reports_later_is_recorded(world: World):
    accepted = await sent(world)
    waiting = await world.accept("Two", now=second(1))

    await world.receipt(
        "failed",
        sid=SID,
        message_id=accepted.message_id,
        error_code="21610",
        opted_out=True,
        now=second(2),
    )

    assert (await world.text(accepted.message_id)).error_code == "21610"
    assert (await world.text(waiting.message_id)).drop_reason == "opted_out"
    assert (await world.talk(waiting.conversation_id)).reason == "opted_out"
    (opt_out,) = await world.opt_outs()
    assert (opt_out.source, opt_out.carrier_message_id) == ("carrier", SID)


async def test_an_opt_out_repeated_late_does_not_undo_a_later_start(world: World):
    accepted = await sent(world)
    for _ in range(2):
        await world.receipt("failed", sid=SID, opted_out=True, error_code="21610", now=second(1))
    await world.hear("START", now=second(2))
    again = await world.accept("Welcome back", now=second(3))

    outcome = await world.receipt(
        "failed", sid=SID, opted_out=True, error_code="21610", now=second(4)
    )

    assert outcome == "unchanged"
    assert await world.may_text()
    assert await world.state(again.message_id) == "queued"
    assert (await world.text(accepted.message_id)).error_code == "21610"


async def test_an_opt_out_reported_for_one_user_leaves_others_alone(world: World):
    await sent(world)
    other = await world.accept(user=NEIGHBOUR, now=second(1))

    await world.receipt("failed", sid=SID, opted_out=True, error_code="21610", now=second(2))

    assert await world.state(other.message_id) == "queued"
    assert await world.may_text(user=NEIGHBOUR)
    assert not await world.may_text(agent_number=AGENT, user=USER)


async def test_a_failed_text_releases_what_waited_behind_it(world: World):
    accepted = await world.accept("One")
    await world.accept("Two", now=second(1))
    await world.claim()

    await world.receipt("failed", sid=SID, message_id=accepted.message_id, now=second(2))

    (job,) = await world.claim(now=second(3))
    assert job.message.text == "Two"


async def test_a_receipt_may_come_long_after_the_conversation_ended(world: World):
    accepted = await sent(world)
    await world.expire(now=hour(25))

    await world.receipt("delivered", sid=SID, now=hour(30))

    assert await world.state(accepted.message_id) == "delivered"
    assert (await world.talk(accepted.conversation_id)).reason == "unanswered"
