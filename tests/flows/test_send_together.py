"""What came of several texts is saved together, and none of them stands in another's way."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import AGENT, USER, second
from tests.support.doubles import LATER, NEVER, NO_ANSWER, OPTED_OUT, SLOW_DOWN
from tests.support.webhooks import Postman
from tests.support.wire import Wire
from tests.support.world import World
from textback.core.errors import Unavailable
from textback.core.message import Delivered, Failed, Message, Queued, Sending, Sent, Uncertain
from textback.core.phone import Phone
from textback.core.ports import ReceiptStatus, Taken
from textback.db import events
from textback.db.listen import listen
from textback.db.session import create_engine
from textback.flows import recording
from textback.flows.recording import Outcome, Recording, Wait
from textback.flows.send import Job


async def jobs(world: World, count: int) -> list[Job]:
    for n in range(count):
        await world.accept(f"Text {n}", user=Phone(f"+1415555020{n}"))
    return await world.claim()


async def test_each_text_gets_its_own_outcome_and_event_and_one_that_moved_is_left_alone(
    world: World,
):
    several = await jobs(world, 7)
    await world.receipt("delivered", sid="SM5", message_id=several[5].message.id, now=second(1))
    outcomes = [Taken("SM0"), NEVER, LATER, SLOW_DOWN, NO_ANSWER, Taken("SM5"), OPTED_OUT]
    came = [(j.message, o, second(2)) for j, o in zip(several, outcomes, strict=True)]

    afters = await recording.record_all(world.db, came, policy=world.policy)

    kinds = [type(after) for after in afters]
    assert kinds[:6] == [Sent, Failed, Queued, Queued, Uncertain, Delivered]
    assert afters[6] is None  # it is recorded alone
    told = ["sent", "failed", "queued", "queued", "uncertain", "delivered", "sending"]
    assert (await world.events(several[5].message.id)).count("message.sent") == 0
    for j, event in zip(several, told, strict=True):
        assert (await world.events(j.message.id))[-1] == f"message.{event}"
        assert await world.state(j.message.id) == event
    row = await world.text(several[2].message.id)
    assert (row.attempts, row.lease_until) == (1, None)
    row = await world.text(several[4].message.id)
    assert row.look_up_at == second(12)


async def test_one_of_which_a_receipt_said_the_same_before_takes_no_step_of_its_own(world: World):
    several = await jobs(world, 4)
    said: list[tuple[ReceiptStatus, str]] = [("sent", "SM0"), ("failed", "SM1"), ("sent", "SM9")]
    for n, (status, sid) in enumerate(said):
        await world.receipt(status, sid=sid, message_id=several[n].message.id, now=second(1))
    came = [(j.message, Taken(f"SM{n}"), second(2)) for n, j in enumerate(several)]
    afters = await recording.record_all(world.db, came, policy=world.policy)
    assert [after is None for after in afters] == [False, True, True, False]
    again = await recording.record_all(world.db, came[:1], policy=world.policy)
    assert [type(after) for after in again] == [Sent]
    assert (await world.events(several[0].message.id)).count("message.sent") == 1


async def test_what_is_claimed_together_is_told_and_delivered_in_order(world: World):
    postman = Postman(world)
    await postman.endpoint()
    async with world.transaction() as c:  # no format of ours has a word for it
        await c.execute(sql("""update webhook_endpoints set kinds = '["message.sending"]'"""))
    several = await jobs(world, 3)
    assert await world.claim() == []
    told = await postman.rows(
        "select e.message_id, e.kind, e.data from webhook_deliveries d"
        " join events e on e.id = d.event_id order by d.id"
    )
    assert told == [
        {"message_id": j.message.id, "kind": "message.sending", "data": {}} for j in several
    ]


async def test_what_others_have_locked_is_not_waited_for_and_saved_all_the_same(world: World):
    first, second_, third = await jobs(world, 3)
    together = Recording(world.db, world.policy)
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        await c.execute(
            sql("select from messages where id = :id for update"), {"id": second_.message.id}
        )
        saves = [
            group.create_task(together.record(j.message, Taken(j.message.id), now=second(2)))
            for j in (first, second_, third)
        ]
        await asyncio.wait([saves[0], saves[2]])
        assert not saves[1].done()
    assert all(isinstance(save.result(), Sent) for save in saves)


async def test_one_that_cannot_be_saved_fails_alone(world: World):
    good, bad = await jobs(world, 2)
    together = Recording(world.db, world.policy)
    async with asyncio.TaskGroup() as group:
        well = group.create_task(together.record(good.message, Taken("SM1"), now=second(2)))
        save = together.record(bad.message, Taken("\x00"), now=second(2))
        with pytest.raises(Exception, match="x00"):
            await save
    assert isinstance(well.result(), Sent)
    assert await world.state(bad.message.id) == "sending"


async def test_a_database_that_is_away_is_told_to_each_and_saving_again_changes_nothing(
    world: World,
):
    several = await jobs(world, 2)
    away = create_engine("postgresql://nobody@127.0.0.1:9/nothing")
    for db, lost in ((away, True), (world.db, False), (world.db, False)):
        together = Recording(db, world.policy)
        saves = [
            asyncio.ensure_future(together.record(j.message, Taken(j.message.id), now=second(2)))
            for j in several
        ]
        await asyncio.wait(saves)
        assert [isinstance(save.exception(), Unavailable) for save in saves] == [lost, lost]
    for j in several:
        assert (await world.events(j.message.id)).count("message.sent") == 1


async def test_what_is_behind_a_text_of_an_answer_waits_for_the_report_or_goes(world: World):
    waiting = timedelta(seconds=8)
    for n, outcome, due in ((0, Taken("SM0"), second(10)), (1, NEVER, second(0))):
        user = Phone(f"+1415555030{n}")
        await world.accept("One", user=user)
        await world.accept("Two", user=user)
        one, two = await world.ours(user=user)
        async with world.transaction() as c:
            await c.execute(
                sql("update messages set follows = :one, part_wait = :wait where id = :two"),
                {"one": one.id, "two": two.id, "wait": waiting},
            )
        (job,) = await world.claim()
        await world.record(job, outcome, now=second(2))
        assert (await world.text(two.id)).due_at == due
        await world.claim(now=second(20))


async def test_who_sends_is_told_of_what_may_go_now_and_of_nothing_else(
    world: World, database_url: str
):
    sent, alone, refused, again = await jobs(world, 4)
    await world.accept("And more.", user=refused.message.user_number)
    async with world.transaction() as c:
        follow = "update messages set follows = :one, part_wait = '8 s' where text = 'And more.'"
        await c.execute(sql(follow), {"one": refused.message.id})
    told, begun = asyncio.Queue[str](), asyncio.Event()
    listening = asyncio.create_task(listen(database_url, told.put_nowait, begun=begun.set))
    await begun.wait()

    async def heard(job: Job, outcome: Outcome) -> list[str]:
        came = [(job.message, outcome, second(2))]
        await recording.record_all(world.db, came, policy=world.policy)
        async with world.transaction() as c:
            await events.wake(c, "turns")  # what was said before has been heard before
        said = list[str]()
        async with asyncio.timeout(60):
            while (each := await told.get()) != "turns":
                said.append(each)
        return said

    assert await heard(sent, Taken("SM0")) == []
    assert await heard(alone, NEVER) == []
    assert await heard(refused, NEVER) == ["messages"]  # what is behind it may go
    assert await heard(again, LATER) == ["messages"]
    listening.cancel()
    await asyncio.wait([listening])


async def test_a_wait_is_no_attempt(world: World):
    await world.accept(agent_number=AGENT, user=USER)
    (job,) = await world.claim()
    after = await world.record(job, Wait(second(3)), now=second(1))
    assert isinstance(job.message, Sending)
    assert isinstance(after, Queued)
    assert (after.attempts, (await world.text(after.id)).due_at) == (0, second(3))


@pytest.mark.parametrize("took_hold", [True, False])
async def test_what_nobody_confirmed_to_be_saved_is_saved_again_and_counts_once(
    world: World, database_url: str, *, took_hold: bool
):
    several = await jobs(world, 6)
    outcomes = [Taken("SM0"), NEVER, LATER, SLOW_DOWN, NO_ANSWER, Wait(second(3))]
    async with Wire(database_url) as wire:
        db = create_engine(wire.url)
        together = Recording(db, world.policy)

        async def save_all() -> Sequence[asyncio.Future[Message]]:
            saves = [
                asyncio.ensure_future(together.record(j.message, outcome, now=second(2)))
                for j, outcome in zip(several, outcomes, strict=True)
            ]
            await asyncio.wait(saves)
            return saves

        wire.break_at(b"update messages", b"message.sent", deliver=took_hold)
        assert all(isinstance(save.exception(), Unavailable) for save in await save_all())
        assert await world.state(several[0].message.id) == ("sent" if took_hold else "sending")
        again = await world.claim(now=second(30)) if took_hold else []  # meanwhile

        afters = [save.result() for save in await save_all()]
        await db.dispose()

    goes_on = Sending if took_hold else Queued
    assert [type(m) for m in afters] == [Sent, Failed, goes_on, goes_on, Uncertain, goes_on]
    told = ["sent", "failed", "queued", "queued", "uncertain", "queued"]
    claimed_again = {j.message.id for j in again}
    for j, kind in zip(several, told, strict=True):
        kinds = ["queued", "sending", kind] + ["sending"] * (j.message.id in claimed_again)
        assert await world.events(j.message.id) == [f"message.{each}" for each in kinds]
    assert [(await world.text(j.message.id)).attempts for j in several] == [0, 1, 1, 0, 0, 0]
