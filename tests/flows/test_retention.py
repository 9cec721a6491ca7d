"""What a project does not keep for ever goes after its time, and nothing else does."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text as sql

from tests.support import plans
from tests.support.deployment import ACME, AGENT, NEIGHBOUR, NOW, USER, caller, second
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.rows_read import rows_read
from tests.support.webhooks import BROKEN
from tests.support.world import World
from textback.core.commands import Notify, SendText
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.db import retention as db
from textback.db import usage_reads, webhook_deliveries
from textback.flows import accept, retention
from textback.flows.retention import Forgotten

DAY = timedelta(days=1)
KEPT = 7 * DAY
ALL = [
    *("conversations", "messages", "turns", "tool_calls", "events", "webhook_endpoints"),
    *("webhook_deliveries", "webhook_attempts", "planned_sends", "batches"),
]


async def keep(world: World, days: int | None = 7) -> None:
    await world.provision(project={"retention_days": days})


async def forget(world: World, *, now: datetime, **limits: int) -> list[Forgotten]:
    """Until nothing more can go; gives each piece in which something went."""
    pieces: list[Forgotten] = []
    while due := await retention.overdue(world.db, now=now):
        some = [await retention.forget(world.db, past, now=now, **limits) for past in due]
        pieces += [each for each in some if each != Forgotten()]
        if not any(each.more for each in some):
            break
    return pieces


async def left(world: World) -> dict[str, int]:
    found: dict[str, int] = {}
    async with world.transaction() as c:
        for table in ALL:
            count = await c.scalar(sql(f"select count(*) from {table}"))  # noqa: S608 - ours
            found |= {table: count} if count else {}
    return found


async def run(world: World, statement: str, **given: Any) -> None:
    async with world.transaction() as c:
        await c.execute(sql(statement), given)


async def talk(world: World, *, user: Phone = USER, closed_at: datetime = NOW) -> ConversationId:
    """One with an endpoint of its own and one of the account's; settled, told, and closed then."""
    told = Notify(url="https://example.com/hook", format="native")
    command = SendText(user_number=user, text="Hi Ann", agent_number=AGENT, notify=told)
    accepted = await accept.send_text(world.db, caller(), command, now=second(0))
    await world.send_all(now=second(0))
    await world.hear("Hello", user=user, now=second(1))
    await world.think(now=second(2))
    await world.send_all(now=second(3))
    await run(
        world,
        "insert into tool_calls (id, conversation_id, turn_id, name, arguments, began_at)"
        " select 'call' || id, conversation_id, id, 'look', '{}', now() from turns"
        " where conversation_id = :id limit 1",
        id=accepted.conversation_id,
    )
    await run(
        world,
        "insert into webhook_attempts (delivery_id, number, at, milliseconds)"
        " select id, 1, now(), 1 from webhook_deliveries on conflict do nothing",
    )
    await close(world, accepted.conversation_id, at=closed_at)
    return accepted.conversation_id


async def close(world: World, conversation_id: ConversationId, *, at: datetime) -> None:
    await world.end(conversation_id, now=at)
    await run(
        world,
        "update webhook_deliveries set state = 'delivered', due_at = null, ended_at = now()"
        " where conversation_id = :id",
        id=conversation_id,
    )


async def is_there(world: World, conversation_id: ConversationId) -> bool:
    async with world.transaction() as c:
        found = sql("select 1 from conversations where id = :id")
        return await c.scalar(found, {"id": conversation_id}) is not None


async def usage(world: World) -> Any:
    found = await usage_reads.used(
        world.db, ACME, project=None, first=date(2026, 1, 1), last=date(2026, 12, 31), by="day"
    )
    return {key: (u.received, u.written, u.states, u.opened, u.closed, u.segments)
            for key, u in found.items()}  # fmt: skip


async def test_after_its_time_a_conversation_goes_with_all_that_was_said_and_told_of_it(
    world: World,
) -> None:
    await keep(world)
    await talk(world)
    await world.hear("STOP", user=NEIGHBOUR, now=second(5))
    young = await talk(world, user=plans.user(1), closed_at=NOW + DAY)
    before = await usage(world)
    assert {*ALL} - {"planned_sends", "batches"} == {*await left(world)}

    assert await forget(world, now=NOW + KEPT) == []
    [gone] = await forget(world, now=NOW + KEPT + timedelta(hours=1))

    assert (gone.conversations, gone.texts) == (2, 5)
    assert [each.id for each in await world.talks()] == [young]
    assert {"conversations": 1, "messages": 3, "turns": 1, "webhook_endpoints": 1}.items() <= (
        await left(world)
    ).items()
    # What was used stays counted; who opted out stays opted out; the carrier brings nothing back.
    assert await usage(world) == before
    assert not await world.may_text(user=NEIGHBOUR)
    assert (await world.hear("Hello", sid="IN0001", now=NOW + 2 * KEPT)).outcome == "duplicate"


@pytest.mark.parametrize("days", [None, 36_500])
async def test_by_default_everything_is_kept_for_ever(world: World, days: int | None) -> None:
    await keep(world, days)
    await talk(world)
    assert await forget(world, now=NOW + 9000 * DAY) == []


async def test_what_may_still_happen_keeps_its_conversation(world: World) -> None:
    """A live one, one with a text in doubt, a turn, an analysis, or a webhook that is tried."""
    await keep(world)
    later = NOW + 2 * KEPT
    live = await world.accept(user=plans.user(1))
    doubted = await world.accept(user=plans.user(2))
    await world.send_all(now=second(0), carrier=CarrierDouble(*[NO_ANSWER] * 2))
    await run(world, "update conversations set state = 'opened'")
    held = {
        "a text in doubt": doubted.conversation_id,
        "a turn": await talk(world, user=plans.user(3)),
        "an analysis": await talk(world, user=plans.user(4)),
        "a webhook": await talk(world, user=plans.user(5)),
    }
    await close(world, doubted.conversation_id, at=NOW)
    turn = "update turns set state = 'waiting', due_at = now(), ended_at = null, outcome = null"
    await run(world, f"{turn} where conversation_id = :id", id=held["a turn"])
    due = "update conversations set analysis_due_at = now() where id = :id"
    await run(world, due, id=held["an analysis"])
    again = "update webhook_deliveries set state = 'waiting', due_at = now(), ended_at = null"
    await run(world, f"{again} where conversation_id = :id", id=held["a webhook"])

    assert await forget(world, now=later) == []
    assert {live.conversation_id, *held.values()} == {each.id for each in await world.talks()}

    # Nobody fetches from an endpoint that is paused: that is not waited for.
    await run(
        world, "update webhook_endpoints set state = 'paused', paused_at = now(), why_paused = 'x'"
    )
    [gone] = await forget(world, limit=1, now=later)
    assert gone.conversations == 1
    assert held["a webhook"] not in {each.id for each in await world.talks()}


async def test_what_is_large_goes_in_pieces_and_the_conversation_last(world: World) -> None:
    await keep(world)
    mine = await talk(world)
    await talk(world, user=NEIGHBOUR)
    before = await usage(world)
    later = NOW + KEPT + DAY
    [past] = await retention.overdue(world.db, now=later)
    first = await retention.forget(world.db, past, rows=2, now=later)
    assert first.more
    assert first.conversations == 0
    assert mine in {each.id for each in await world.talks()}

    pieces = await forget(world, rows=2, now=later)

    assert len(pieces) > 5
    assert await left(world) == {}
    assert await usage(world) == before
    [one, two] = [await talk(world, user=plans.user(n)) for n in (1, 2)]
    assert {each.id for each in await world.talks()} == {one, two}
    assert [p.conversations for p in await forget(world, limit=1, now=later)] == [1, 1]


async def test_who_is_busy_with_it_is_not_waited_for(world: World) -> None:
    await keep(world)
    mine = await talk(world)
    later = NOW + KEPT + DAY
    async with world.transaction() as c:
        lock = "select id from messages where conversation_id = :id limit 1 for update"
        await c.execute(sql(lock), {"id": mine})
        assert await forget(world, now=later) == []
    async with world.transaction() as c:
        await c.execute(sql("select id from conversations for share"))
        assert await forget(world, now=later) == []
    assert [p.conversations for p in await forget(world, now=later)] == [1]


async def test_what_went_is_told_though_somebody_is_busy_with_the_rest(world: World) -> None:
    await keep(world)
    await talk(world)
    over = await plans.create(world, [plans.user(1)], text="Hi.")
    await plans.batch_turns(world, now=second(1))
    await plans.batch_turns(world, now=second(2))
    assert await plans.state_of(world, over.batch.id) == "done"
    later = NOW + KEPT + DAY
    [past] = await retention.overdue(world.db, now=later)
    async with world.transaction() as c:
        await c.execute(sql("select id from planned_sends for update"))
        gone = await retention.forget(world.db, past, limit=1, now=later)
    assert (gone.conversations, gone.texts, gone.batches, gone.more) == (1, 3, 0, True)


async def test_a_webhook_that_is_recorded_meanwhile_keeps_nothing_from_going(world: World) -> None:
    await keep(world)
    mine = await talk(world)
    await run(
        world, "update webhook_endpoints set state = 'paused', paused_at = now(), why_paused = 'x'"
    )
    later = NOW + KEPT + DAY
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        some = sql("select id from webhook_deliveries where conversation_id = :id order by id")
        delivery_id = await c.scalar(some, {"id": mine})
        assert await webhook_deliveries.lock(c, delivery_id)
        await webhook_deliveries.note_attempt(c, delivery_id, BROKEN, now=later)
        forgetting = group.create_task(forget(world, now=later))
        await world.blocked(1)
    # Or it gave up meanwhile: then that comes the next time.
    assert [p.conversations for p in [*forgetting.result(), *await forget(world, now=later)]] == [1]
    assert (await left(world)).keys() <= {"webhook_endpoints"}


@pytest.mark.parametrize(
    "held",
    ["messages", "tool_calls", "turns"],
    ids=["a text is read", "a call ends", "a turn is dropped"],
)
async def test_what_is_told_of_it_in_this_moment_goes_too(world: World, held: str) -> None:
    """Whoever tells of a conversation holds something of it until that is committed."""
    await keep(world)
    mine = await talk(world)
    later = NOW + KEPT + DAY
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        rows = sql(f"select id from {held} where conversation_id = :id for update")  # noqa: S608
        assert (await c.execute(rows, {"id": mine})).first()
        forgetting = group.create_task(forget(world, now=later))
        await world.blocked(1)
        # To nobody: who listens has to be told before anything goes.
        told = "insert into events (at, conversation_id, kind, data) values (now(), :id, 'x', '{}')"
        await c.execute(sql(told), {"id": mine})
    # Or it gave up meanwhile: then that comes the next time.
    assert [p.conversations for p in [*forgetting.result(), *await forget(world, now=later)]] == [1]
    assert await left(world) == {}


async def test_behind_many_that_cannot_go_yet_the_others_are_found(world: World) -> None:
    await keep(world)
    mine = await talk(world, closed_at=second(9))
    copied = "account_id, project_id, agent_id, agent_version, agent_number, user_number"
    await run(
        world,
        "insert into conversations (id, state, reason, opened_at, active_at,"  # noqa: S608 - ours
        f" closed_at, analysis_due_at, {copied})"
        " select 'talk_' || n, state, reason, opened_at, active_at, opened_at, opened_at,"
        f" {copied} from conversations, generate_series(1, 13000) n",
    )
    [gone] = await forget(world, now=NOW + KEPT + DAY)
    assert gone.conversations == 1
    assert not await is_there(world, mine)


async def test_to_see_that_nothing_is_past_its_time_little_is_read(world: World) -> None:
    await keep(world)
    await talk(world)
    await run(
        world,
        "insert into events (conversation_id, kind, at, data, project_id) select conversation_id,"
        " kind, at, data, p.id from events, projects p, generate_series(1, 300)",
    )
    async with world.db.connect() as c:
        await c.execution_options(isolation_level="AUTOCOMMIT")
        await c.execute(sql("vacuum analyze events"))
    async with world.db.connect() as c:
        before = await rows_read(c, "events")
        assert await db.overdue(c, now=NOW + KEPT) == []
        await c.commit()
        assert await rows_read(c, "events") - before < 100


async def test_several_workers_and_users_at_once_lose_nothing_that_is_young(world: World) -> None:
    """Users text, callers send, receipts come, while three workers forget."""
    await keep(world)
    users = [plans.user(n) for n in range(6)]
    for user in users:
        await talk(world, user=user)
    later = NOW + KEPT + DAY
    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(world.hear("Hello again", user=user, now=later))
            group.create_task(world.accept("And again", user=user, now=later))
        for _ in range(3):
            group.create_task(forget(world, limit=2, now=later))
    await forget(world, now=later)
    texts = [text for user in users for text in await world.texts(user=user)]
    assert sorted(text.text for text in texts) == ["And again"] * 6 + ["Hello again"] * 6
    assert await forget(world, now=later) == []


async def test_batches_and_plans_that_are_over_go_with_what_was_told_of_them(world: World) -> None:
    await keep(world)
    over = await plans.create(world, [plans.user(n) for n in range(5)], text="Hi.")
    await plans.batch_turns(world, now=second(1))
    await plans.batch_turns(world, now=second(2))
    assert await plans.state_of(world, over.batch.id) == "done"
    single = await plans.send(world, text="See you.", send_at=second(1))
    assert await plans.singles(world, now=second(1)) == ["accepted"]
    await world.send_all(now=second(2))
    later = NOW + KEPT + DAY
    waits = await plans.create(world, [plans.user(9)], text="Hi.", send_at=later + DAY)
    ahead = await plans.send(world, user_number=NEIGHBOUR, send_at=later + DAY)

    pieces = await forget(world, now=later, rows=2)

    assert sum(p.batches for p in pieces) == 1
    assert sum(p.sends for p in pieces) == 6
    assert (await plans.plan_of(world, ahead)).state == "planned"
    assert await plans.state_of(world, waits.batch.id) == "running"
    # Conversations that live still do.
    assert single.conversation_id in {each.id for each in await world.talks()}
    assert (await left(world))["planned_sends"] == 2
    assert await plans.told(world) == []
