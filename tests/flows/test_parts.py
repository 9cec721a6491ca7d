"""The texts of one answer follow each other, each once the carrier has sent the one before."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import permutations
from typing import Literal

import pytest
from sqlalchemy import text, update

from tests.support.deployment import HTTP, NEIGHBOUR, hour, minute, second
from tests.support.doubles import (
    LATER,
    NEVER,
    NO_ANSWER,
    OPTED_OUT,
    SLOW_DOWN,
    CarrierDouble,
    EngineDouble,
    Gone,
    Sent,
    Spent,
)
from tests.support.records import Text
from tests.support.world import World
from textback.core.engine import TurnReply
from textback.core.ids import MessageId
from textback.core.policy import Replies
from textback.core.ports import NotFound, ReceiptStatus, Taken
from textback.db import claims, messages, tables
from textback.db.claims import Round, Scope
from textback.flows import operate

WAIT = Replies().part_wait.total_seconds()
ANSWER = TurnReply(texts=["One", "Two", "Three"])

Report = Callable[[ReceiptStatus, float], Awaitable[object]]


async def answered(world: World, answer: TurnReply = ANSWER) -> list[Text]:
    await world.hear("Hello")
    await world.think(engine=EngineDouble(answer))
    return await world.ours()


def report_on(world: World, sid: str, message_id: MessageId | None = None) -> Report:
    async def report(status: ReceiptStatus, at: float) -> object:
        code = "30003" if status == "failed" else None
        return await world.receipt(
            status, sid=sid, message_id=message_id, error_code=code, now=second(at)
        )

    return report


async def states(world: World) -> list[str]:
    return [found.state for found in await world.ours()]


# --- Being queued ---------------------------------------------------------------------------------


async def test_a_long_answer_is_split_and_each_part_follows_the_one_before(world: World):
    await world.hear("Hello")
    long = "This is a sentence of some length. " * 20

    await world.think(engine=EngineDouble(TurnReply(texts=["Well:", long])))

    ours = await world.ours()
    assert [t.text for t in ours] == [
        "Well:",
        ("This is a sentence of some length. " * 13).strip(),
        ("This is a sentence of some length. " * 7).strip(),
    ]
    assert [t.follows for t in ours] == [None, ours[0].id, ours[1].id]
    assert [t.segments for t in ours] == [1, 3, 2]
    assert {t.due_at for t in ours} == {second(0)}


async def test_what_the_agent_says_is_folded_and_what_others_say_is_not(world: World):
    smart, plain = "It’s " + "a" * 70, "It's " + "a" * 70  # noqa: RUF001
    await world.accept(smart)
    await world.hear("Hello")

    await world.think(engine=EngineDouble(smart))

    theirs, ours = await world.ours()
    assert (theirs.text, theirs.segments, theirs.segments_saved) == (smart, 2, 0)
    assert (ours.text, ours.segments, ours.segments_saved) == (plain, 1, 1)


async def test_an_opener_that_the_agent_writes_may_be_several_texts(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    accepted = await world.accept(None)
    (promised,) = await world.ours()

    await world.think(engine=EngineDouble(TurnReply(texts=["It’s " + "a" * 70, "Two"])))  # noqa: RUF001

    first, second_ = await world.ours()
    assert promised.segments is None
    assert (first.id, first.segments, first.segments_saved) == (accepted.message_id, 1, 1)
    assert (second_.kind, second_.follows) == ("opener", first.id)
    await world.send_all()
    assert await states(world) == ["sent", "queued"]


async def test_an_answer_of_too_many_parts_fails_the_turn(world: World):
    await world.hear("Hello")

    assert await world.think(engine=EngineDouble("word " * 780), fallback="Sorry.") == ["answered"]
    await world.hear("Hello again")
    outcome = await world.think(
        engine=EngineDouble(TurnReply(texts=["word " * 780, "word " * 780])), fallback="Sorry."
    )

    assert outcome == ["failed"]
    assert (await world.ours())[-1].text == "Sorry."


async def test_the_record_says_how_many_segments_were_queued(world: World):
    first, *_ = await answered(world, TurnReply(texts=["a" * 200]))

    e = tables.events
    async with world.transaction() as c:
        data = await c.scalar(
            e.select().with_only_columns(e.c.data).where(e.c.message_id == first.id)
        )
    assert data == {"segments": 2}


# --- Going out ------------------------------------------------------------------------------------


async def test_a_part_goes_once_the_one_before_was_reported_as_sent(world: World):
    await answered(world)
    carrier = CarrierDouble()

    await world.send_all(carrier=carrier, now=second(0))
    await world.send_all(carrier=carrier, now=second(1))
    assert carrier.texts == ["One"]

    await report_on(world, "SM0001")("sent", 1)
    await world.send_all(carrier=carrier, now=second(1))
    assert carrier.texts == ["One", "Two"]

    await report_on(world, "SM0002")("delivered", 2)
    await world.send_all(carrier=carrier, now=second(2))
    assert carrier.texts == ["One", "Two", "Three"]


async def test_a_part_goes_a_little_later_when_nothing_is_reported(world: World):
    await answered(world)
    carrier = CarrierDouble()

    for at in (0, WAIT - 0.001, WAIT, 2 * WAIT - 0.001):
        await world.send_all(carrier=carrier, now=second(at))
    assert carrier.texts == ["One", "Two"]

    await world.send_all(carrier=carrier, now=second(2 * WAIT))
    assert carrier.texts == ["One", "Two", "Three"]


async def test_a_worker_is_told_when_the_next_part_is_due(world: World):
    await answered(world)
    await world.send_all()

    async with world.transaction() as c:
        nothing = await claims.claim_due(
            c, Scope(limit=1), Round(), now=second(0), lease=timedelta(minutes=1)
        )
    assert (nothing.sending, nothing.next_due) == ([], second(WAIT))


async def test_that_the_carrier_has_it_is_no_report_that_it_was_sent(world: World):
    await answered(world)
    await world.send_all(carrier=CarrierDouble())

    assert await report_on(world, "SM0001")("accepted", 1) == "unchanged"

    assert await world.claim(now=second(1)) == []


@pytest.mark.parametrize("status", ["sent", "delivered", "failed"])
async def test_a_report_may_be_faster_than_the_carriers_own_answer(
    world: World, status: ReceiptStatus
):
    first, *_ = await answered(world)
    (job,) = await world.claim()

    await report_on(world, "SM0001", first.id)(status, 0.1)
    (next_,) = await world.claim(now=second(0.1))
    await world.record(job, Taken("SM0001"), now=second(0.2))

    assert next_.message.text == "Two"


@pytest.mark.parametrize(
    "order", list(permutations(["accepted", "sent", "delivered", "answer"])), ids="-".join
)
async def test_in_whatever_order_news_comes_the_next_part_waits_for_the_report(
    world: World, order: tuple[ReceiptStatus | Literal["answer"], ...]
):
    first, *_ = await answered(world)
    (job,) = await world.claim()
    report = report_on(world, "SM0001", first.id)

    for at, news in enumerate(order, start=1):
        if news == "answer":
            await world.record(job, Taken("SM0001"), now=second(at))
        else:
            await report(news, at)
        reported = {"sent", "delivered"} & set(order[:at])
        assert (await world.ours())[1].due_at == second(0 if reported else 1 + WAIT)


async def test_an_early_word_that_the_carrier_has_it_does_not_let_the_next_one_go(world: World):
    first, *_ = await answered(world)
    (job,) = await world.claim()

    await report_on(world, "SM0001", first.id)("accepted", 1)
    await world.record(job, Taken("SM0001"), now=second(2))

    assert await world.claim(now=second(1 + WAIT - 0.001)) == []
    assert len(await world.claim(now=second(1 + WAIT))) == 1


async def test_a_report_that_comes_again_or_late_changes_nothing(world: World):
    await answered(world)
    carrier = CarrierDouble()
    await world.send_all(carrier=carrier)
    for _ in range(2):
        await report_on(world, "SM0001")("sent", 1)
    await world.send_all(carrier=carrier, now=second(1))

    await report_on(world, "SM0001")("sent", 2)
    await report_on(world, "SM0001")("delivered", 2)

    assert await world.claim(now=second(2)) == []  # the third waits for the second
    assert await states(world) == ["delivered", "sent", "queued"]


@pytest.mark.parametrize("answer", [NEVER, OPTED_OUT])
async def test_a_part_that_is_refused_does_not_hold_back_the_next(world: World, answer: Sent):
    await answered(world)
    carrier = CarrierDouble(answer, Taken("SM0002"))

    await world.send_all(carrier=carrier)

    if answer == OPTED_OUT:
        assert await states(world) == ["failed", "suppressed", "suppressed"]
    else:
        assert carrier.texts == ["One", "Two"]


async def test_a_part_that_is_reported_failed_does_not_hold_back_the_next(world: World):
    await answered(world)
    await world.send_all(carrier=CarrierDouble())

    await report_on(world, "SM0001")("failed", 1)

    assert [job.message.text for job in await world.claim(now=second(1))] == ["Two"]


async def test_a_part_in_doubt_holds_back_the_next_until_it_is_settled(world: World):
    first, *_ = await answered(world)
    await world.send_all(carrier=CarrierDouble(NO_ANSWER))
    assert await world.claim(now=second(WAIT)) == []

    await report_on(world, "SM0001", first.id)("sent", 8)

    assert [job.message.text for job in await world.claim(now=second(8))] == ["Two"]


async def test_a_part_that_a_look_up_found_is_waited_for_like_any_other(world: World):
    await answered(world)
    carrier = CarrierDouble(NO_ANSWER, listed=[Taken("SM0001")])
    await world.send_all(carrier=carrier)

    await world.settle(now=second(10), carrier=carrier)

    assert await world.claim(now=second(10 + WAIT - 0.001)) == []
    assert [job.message.text for job in await world.claim(now=second(10 + WAIT))] == ["Two"]


async def test_a_part_that_never_left_goes_first_after_all(world: World):
    await answered(world)
    carrier = CarrierDouble(NO_ANSWER, Taken("SM0001"), listed=[NotFound()])
    await world.send_all(carrier=carrier)
    for at in (second(10), second(60), minute(5)):
        await world.settle(now=at, carrier=carrier)

    await world.send_all(carrier=carrier, now=minute(5))

    assert carrier.texts == ["One", "One"]
    assert await world.claim(now=minute(5)) == []


async def test_a_part_that_nobody_can_settle_does_not_hold_back_the_next(world: World):
    await world.provision(project={"validity_seconds": 60})
    await answered(world)
    carrier = CarrierDouble(NO_ANSWER, Taken("SM0002"), listed=[NO_ANSWER])
    await world.send_all(carrier=carrier)

    await _never_expires(world)
    for at in range(10, 120, 10):
        await world.settle(now=second(at), carrier=carrier)
    await world.send_all(carrier=carrier, now=second(120))

    assert await states(world) == ["uncertain", "sent", "queued"]


async def _never_expires(world: World) -> None:
    async with world.transaction() as c:
        t = tables.messages
        late = update(t).where(t.c.state == "queued").values(expires_at=hour(1))
        await c.execute(late)


async def test_an_operator_who_settles_a_part_lets_the_next_one_go_a_little_later(world: World):
    first, *_ = await answered(world)
    await world.send_all(carrier=CarrierDouble(NO_ANSWER))

    await operate.settle_as_sent(world.db, first.id, carrier_message_id=None, now=second(20))

    assert await world.claim(now=second(20)) == []
    assert [job.message.text for job in await world.claim(now=second(20 + WAIT))] == ["Two"]


async def test_a_receipt_that_takes_the_carriers_id_back_holds_the_next_part(world: World):
    """A look-up took another text's id for the first part's; both say the same."""
    first, *_ = await answered(world)
    carrier = CarrierDouble(NO_ANSWER, listed=[Taken("SM0009")])
    await world.send_all(carrier=carrier)
    await world.settle(now=second(10), carrier=carrier)
    await world.accept("One", user=NEIGHBOUR, now=second(10))
    (theirs,) = await world.claim(now=second(10))

    await report_on(world, "SM0009", theirs.message.id)("sent", 11)
    assert await world.state(first.id) == "uncertain"
    assert await world.claim(now=second(11 + WAIT)) == []

    await report_on(world, "SM0010", first.id)("sent", 20)
    assert [job.message.text for job in await world.claim(now=second(20))] == ["Two"]


# --- What else happens to a part that waits -------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "again"), [(LATER, 1.0), (SLOW_DOWN, 7.0)], ids=["later", "slow down"]
)
async def test_a_report_does_not_shorten_what_the_next_part_waits_for_itself(
    world: World, answer: Sent, again: float
):
    await answered(world)
    carrier = CarrierDouble(Taken("SM0001"), answer, Taken("SM0002"))
    await world.send_all(carrier=carrier)
    await world.send_all(carrier=carrier, now=second(WAIT))
    assert carrier.texts == ["One", "Two"]
    due = (await world.ours())[1].due_at
    assert due is not None
    assert due >= second(WAIT + again / 2)

    await report_on(world, "SM0001")("sent", WAIT)
    await report_on(world, "SM0001")("delivered", WAIT)

    assert (await world.ours())[1].due_at == due
    await world.send_all(carrier=carrier, now=second(WAIT + 8))
    assert carrier.texts == ["One", "Two", "Two"]


@pytest.mark.parametrize("pace", [Spent(30), Gone()], ids=["paced", "pace unknown"])
async def test_a_report_does_not_shorten_what_the_pace_demands(world: World, pace: Spent | Gone):
    await answered(world)
    await world.send_all(carrier=CarrierDouble())
    (job,) = await world.claim(now=second(WAIT))
    outcome = await world.hand_over(job, pace=pace, now=second(WAIT))
    await world.record(job, outcome, now=second(WAIT))
    due = (await world.ours())[1].due_at

    await report_on(world, "SM0001")("delivered", WAIT)

    assert (await world.ours())[1].due_at == due


async def test_a_stop_between_the_parts_suppresses_the_rest(world: World):
    await answered(world)
    carrier = CarrierDouble()
    await world.send_all(carrier=carrier)

    await world.hear("STOP", now=second(1))
    await report_on(world, "SM0001")("delivered", 2)
    await world.send_all(carrier=carrier, now=hour(1))

    assert (await states(world))[:3] == ["delivered", "suppressed", "suppressed"]


async def test_an_opt_out_that_the_carrier_reports_suppresses_the_rest(world: World):
    first, *_ = await answered(world)
    await world.send_all(carrier=CarrierDouble())

    await world.receipt(
        "failed", sid="SM0001", message_id=first.id, error_code="21610", opted_out=True
    )

    assert await states(world) == ["failed", "suppressed", "suppressed"]


async def test_a_new_send_between_the_parts_waits_for_the_rest(world: World):
    await answered(world)
    carrier = CarrierDouble()
    await world.send_all(carrier=carrier)

    await world.accept("News", now=second(1))
    for at in (1, WAIT, 2 * WAIT):
        await world.send_all(carrier=carrier, now=second(at))

    assert carrier.texts == ["One", "Two", "Three", "News"]


async def test_the_rest_of_a_last_word_goes_out_after_the_conversation_ended(world: World):
    await answered(world, TurnReply(texts=["One", "Two"], end_conversation=True))
    carrier = CarrierDouble()

    for at in (0, WAIT):
        await world.send_all(carrier=carrier, now=second(at))

    assert carrier.texts == ["One", "Two"]
    assert await world.live() == []


async def test_a_part_past_its_validity_is_dropped(world: World):
    await world.provision(project={"validity_seconds": 60})
    await answered(world)
    await world.send_all(carrier=CarrierDouble())

    await world.send_all(carrier=CarrierDouble(), now=second(61))

    assert await states(world) == ["sent", "suppressed", "suppressed"]


async def test_parts_hold_back_nobody_else(world: World):
    await answered(world)
    await world.send_all()
    await world.accept("Elsewhere", user=NEIGHBOUR, now=second(1))

    assert [job.message.text for job in await world.claim(now=second(1))] == ["Elsewhere"]


async def test_a_report_under_another_id_of_the_carriers_lets_nothing_go(world: World):
    first, *_ = await answered(world)
    await world.send_all(carrier=CarrierDouble())

    assert await report_on(world, "SM7777", first.id)("sent", 1) == "unchanged"

    assert await world.claim(now=second(1)) == []


async def test_a_database_that_was_restored_doubts_the_parts_too(world: World):
    await answered(world)
    carrier = CarrierDouble(listed=[NotFound()])
    await world.send_all(carrier=carrier)
    await operate.doubt_queued(world.db, policy=world.policy, now=second(1))

    await world.settle(now=second(1), carrier=carrier)
    for at in (1, 1 + WAIT):
        await world.send_all(carrier=carrier, now=second(at))

    assert carrier.texts == ["One", "Two", "Three"]


# --- At the same moment ---------------------------------------------------------------------------


async def test_who_holds_the_next_part_does_not_block_the_carriers_answer(world: World):
    """An opt-out drops it right now: it waits for no one, and no one for it."""
    _, waiting, _ = await answered(world)
    (job,) = await world.claim()

    async with world.transaction() as c:
        await messages.lock(c, waiting.id)
        await world.record(job, Taken("SM0001"))
        await report_on(world, "SM0001")("sent", 1)

    assert await states(world) == ["sent", "queued", "queued"]


async def test_the_one_index_that_finds_the_next_part_is_empty_but_for_parts(world: World):
    for n in range(3):
        await world.accept(f"Text {n}")
    await answered(world)

    size = text("select count(*) from messages where follows is not null and state = 'queued'")
    async with world.transaction() as c:
        assert await c.scalar(size) == 2
