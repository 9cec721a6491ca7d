"""Receipts that come at the same time: each has its own outcome, and none waits for another's."""

import asyncio

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from tests.support.asked import asked_of
from tests.support.deployment import CARRIER, NOW, OTHER_CARRIER, second
from tests.support.doubles import CarrierDouble
from tests.support.webhooks import Postman
from tests.support.world import WithText, World
from textback.core import message as rule
from textback.core.ids import MessageId
from textback.core.phone import Phone
from textback.core.ports import Receipt, ReceiptStatus, Taken
from textback.db import messages
from textback.db.reported import About, Usual, find, save, save_usual
from textback.flows.receipt import Receipts, Reported, hear_all

FOUR = range(4)
LATER = second(8)
NOBODYS = MessageId("msg_00000000000000000000000000")


def user(n: int) -> Phone:
    return Phone(f"+1415555{n:04}")


def reported(
    status: ReceiptStatus, sid: str, message_id: MessageId | None = None, *, opted_out: bool = False
) -> Reported:
    said = Receipt(
        carrier_message_id=sid, message_id=message_id, status=status, opted_out=opted_out
    )
    return Reported(CARRIER, said, second(5))


async def sent(world: World, n: int) -> WithText:
    accepted = await world.accept(user=user(n))
    await world.send(carrier=CarrierDouble(Taken(f"SM{n}")))
    return accepted


async def test_each_of_many_has_its_own_outcome(world: World):
    texts = [await sent(world, n) for n in range(4)]

    outcomes = await hear_all(
        world.db,
        [
            reported("delivered", "SM0", texts[0].message_id),
            reported("failed", "SM1"),  # known by the carrier's id
            reported("sent", "SM2", texts[2].message_id),
            reported("delivered", "SM-nobody", NOBODYS),
            Reported(OTHER_CARRIER, reported("failed", "SM3", texts[3].message_id).receipt, NOW),
            reported("delivered", "SM0", texts[0].message_id),  # again
            reported("failed", "SM3", texts[3].message_id, opted_out=True),  # means more
        ],
    )

    assert outcomes == [
        "changed", "changed", "unchanged", "unknown", "unknown", "unchanged", None,
    ]  # fmt: skip
    states = [await world.state(each.message_id) for each in texts]
    assert states == ["delivered", "failed", "sent", "sent"]
    for each, kind in zip(texts, ["delivered", "failed"], strict=False):
        assert (await world.events(each.message_id)).count(f"message.{kind}") == 1


async def test_the_usual_takes_one_statement_and_comes_to_what_a_look_comes_to(world: World):
    postman = Postman(world)
    await postman.endpoint(kinds=["message.delivered"])
    texts = [await sent(world, n) for n in FOUR]
    # Which text is meant is to be looked for, where it is not named.
    named = [
        reported("sent", "SM0", texts[0].message_id),
        reported("delivered", "SM1", texts[1].message_id),
    ]
    unnamed = [reported("sent", "SM2"), reported("delivered", "SM3")]

    async with asked_of(world.db) as asked:
        assert await hear_all(world.db, named) == ["unchanged", "changed"]
    assert len(asked) == 1
    assert await hear_all(world.db, unnamed) == ["unchanged", "changed"]

    of = {each.message_id: n for n, each in enumerate(texts)}
    own = ("id", "seq", "conversation_id", "user_number", "carrier_message_id", "place")
    stored = [
        {name: value for name, value in row.items() if name not in own}
        for row in await postman.rows("select * from messages order by seq")
    ]
    assert stored[:2] == stored[2:]
    assert [row["state"] for row in stored[:2]] == ["sent", "delivered"]
    told = await postman.rows(
        "select e.message_id, e.at, e.kind, e.data, e.account_id, e.project_id, d.state,"
        " e.conversation_id = m.conversation_id as of_talk, d.due_at, d.created_at"
        " from events e join messages m on m.id = e.message_id"
        " join webhook_deliveries d on d.event_id = e.id order by e.id"
    )
    assert [of[MessageId(str(row["message_id"]))] for row in told] == [1, 3]
    alike = [{**row, "message_id": None} for row in told]
    assert alike[0] == alike[1]


async def test_the_usual_is_asked_of_no_text_that_is_not_known_as_that(world: World):
    texts = [await sent(world, n) for n in range(5)]
    change = {
        0: "carrier_message_id = 'SM9'",
        1: "state = 'failed', failed_at = now(), error_code = '30003'",
        2: "carrier_id = 'other'",
    }
    async with world.transaction() as c:
        for n, what in change.items():
            given = {"id": texts[n].message_id}
            await c.execute(text(f"update messages set {what} where id = :id"), given)  # noqa: S608
    await behind_it(world, texts[3], 3)
    usual = [
        Usual(
            about=About(
                message_id=each.message_id, carrier_id=CARRIER, carrier_message_id=f"SM{n}"
            ),
            delivered_at=delivered_at,
        )
        for n, each in enumerate(texts)
        for delivered_at in (None, second(5))
    ]
    known = await save_usual(world.db, usual, now=second(5))
    assert [n for n, is_known in enumerate(known) if is_known] == [8, 9]
    states = [await world.state(each.message_id) for each in texts]
    assert states == ["sent", "failed", "sent", "sent", "delivered"]


async def test_a_text_that_somebody_has_locked_keeps_no_other_receipt_waiting(world: World):
    texts = [await sent(world, n) for n in range(3)]
    receipts = Receipts(world.db)

    async def hear(n: int) -> str:
        said = reported("delivered", f"SM{n}", texts[n].message_id).receipt
        return await receipts.hear(CARRIER, said, now=second(5))

    async with world.transaction() as c, asyncio.TaskGroup() as group:
        lock = text("select 1 from messages where id = :id for update")
        await c.execute(lock, {"id": texts[1].message_id})
        waits = group.create_task(hear(1))
        others = [group.create_task(hear(n)) for n in (0, 2)]
        await asyncio.wait(others, timeout=20)
        assert [task.done() for task in (*others, waits)] == [True, True, False]
        await c.rollback()
    assert waits.result() == "changed"


async def test_one_that_cannot_be_stored_fails_alone(world: World):
    ours = await sent(world, 0)
    receipts = Receipts(world.db)
    bad = reported("delivered", "SM\x00").receipt  # Postgres holds no NUL

    given = [
        reported("sent", "SM0", ours.message_id).receipt,
        reported("delivered", "SM0", ours.message_id).receipt,
        bad,
    ]
    with capture_logs() as logged:
        tasks = [asyncio.create_task(receipts.hear(CARRIER, said, now=second(5))) for said in given]
        await asyncio.wait(tasks)

    assert [task.result() for task in tasks[:2]] == ["unchanged", "changed"]
    assert [(each["event"], each["receipts"]) for each in logged] == [("receipt.not_together", 2)]
    assert isinstance(tasks[2].exception(), DBAPIError)
    assert await world.state(ours.message_id) == "delivered"


async def test_what_moved_since_it_was_looked_at_is_not_moved_by_what_was_seen(world: World):
    """All that the rule looks at is compared, also where the state is the same."""
    texts = [await sent(world, n) for n in range(4)]
    about = [About(message_id=None, carrier_id=CARRIER, carrier_message_id=f"SM{n}") for n in FOUR]
    seen = [each.text for each in await find(world.db, about)]
    await world.receipt("failed", sid="SM0", now=second(4))
    async with world.transaction() as c:
        for change, n in (("carrier_message_id = 'SM9'", 1), ("sent_at = sent_at + '1 us'", 2)):
            which = {"id": texts[n].message_id}
            await c.execute(text(f"update messages set {change} where id = :id"), which)  # noqa: S608

    moves = [
        (m, rule.hear(m, reported("delivered", f"SM{n}").receipt, now=second(5)))
        for n, m in enumerate(seen)
        if m is not None
    ]
    assert len(moves) == len(texts)
    assert await save(world.db, moves, {}, now=second(5)) == {texts[3].message_id}
    states = [await world.state(each.message_id) for each in texts]
    assert states == ["failed", "sent", "sent", "delivered"]
    told = [await world.events(each.message_id) for each in texts]
    assert ["message.delivered" in kinds for kinds in told] == [False, False, False, True]


async def test_of_several_what_was_moved_is_told_in_order_and_what_is_behind_it_goes(world: World):
    """One moves meanwhile: its receipt is taken in alone, and says nothing new any more."""
    postman = Postman(world)
    await postman.endpoint(kinds=["message.delivered", "message.failed"])
    texts = [await sent(world, n) for n in FOUR]
    behind = [await behind_it(world, each, n) for n, each in enumerate(texts)]
    receipts = Receipts(world.db)

    async def hear(n: int) -> str:
        said = reported("delivered", f"SM{n}").receipt
        return await receipts.hear(CARRIER, said, now=second(5))

    async with asyncio.TaskGroup() as group, world.transaction() as c:
        before = await messages.lock(c, texts[1].message_id)
        assert before is not None
        hears = [group.create_task(hear(n)) for n in (3, 1, 0, 2)]
        await asyncio.wait([hears[0], *hears[2:]])
        assert not hears[1].done()
        held_back = [(await world.text(each)).due_at == LATER for each in behind]
        assert held_back == [False, True, False, False]
        after = rule.hear(before, reported("failed", "SM1").receipt, now=second(4))
        await messages.save(c, before, after, now=second(4))

    assert [task.result() for task in hears] == ["changed", "unchanged", "changed", "changed"]
    assert LATER not in [(await world.text(each)).due_at for each in behind]
    told = await postman.rows(
        "select e.message_id, e.kind from webhook_deliveries d join events e on e.id = d.event_id"
        " order by d.id"
    )
    kinds = {3: "delivered", 0: "delivered", 2: "delivered", 1: "failed"}
    assert [(each["message_id"], each["kind"]) for each in told] == [
        (texts[n].message_id, f"message.{kind}") for n, kind in kinds.items()
    ]


async def behind_it(world: World, one: WithText, n: int) -> MessageId:
    """A text that waits for the report on that one."""
    next_one = await world.accept(user=user(n))
    follows = (
        "update messages set follows = :one, part_wait = interval '8 s', due_at = :later"
        " where id = :id"
    )
    async with world.transaction() as c:
        given = {"one": one.message_id, "later": LATER, "id": next_one.message_id}
        await c.execute(text(follows), given)
    return next_one.message_id
