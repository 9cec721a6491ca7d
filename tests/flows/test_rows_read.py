"""However much there is, who asks for a little reads a little, whatever Postgres expects."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support import plans
from tests.support.deployment import NEIGHBOUR, hour, minute, second
from tests.support.rows_read import forget_counts, rows_read
from tests.support.world import World
from textback.core.ids import AccountId
from textback.core.message import accepted
from textback.db import claims, horizon, message_reads, outcomes
from textback.db.claims import Claimed, Round, Scope
from textback.db.message_reads import MessageFilter
from textback.db.session import create_engine

MANY = 3000
COPIED = (
    "conversation_id, project_id, carrier_id, agent_number, direction, kind, text, created_at,"
    " expires_at, priority"
)


@pytest.fixture
async def one(world: World) -> AsyncGenerator[AsyncConnection]:
    """A connection that keeps its plans; texts were sent before, and nothing is queued."""
    await world.accept()
    await world.send_all()
    history = (
        "insert into messages (id, user_number, state, sent_at,"  # noqa: S608 - ours
        f" carrier_message_id, {COPIED})"
        " select 'sent_' || n, '+1212' || lpad(n::text, 7, '0'), 'sent', now(), 'SX' || n,"
        f" {COPIED} from messages, generate_series(1, {MANY}) n"
    )
    async with world.transaction() as c:
        await c.execute(sql(history))
    async with world.db.connect() as c:
        auto = await c.execution_options(isolation_level="AUTOCOMMIT")
        await auto.execute(sql("vacuum analyze messages"))
    async with world.db.connect() as c:
        yield c


async def queue(c: AsyncConnection) -> None:
    await c.execute(
        sql(
            f"insert into messages (id, user_number, state, due_at, {COPIED})"  # noqa: S608 - ours
            " select 'more_' || n, '+1313' || lpad(n::text, 7, '0'), 'queued', created_at,"
            f" {COPIED} from (select * from messages order by seq limit 1) m,"
            f" generate_series(1, {MANY}) n"
        )
    )
    await c.commit()


async def claim(c: AsyncConnection, *, limit: int = 10) -> Claimed:
    scope = Scope(limit=limit)
    found = await claims.claim_due(c, scope, Round(), now=second(9), lease=timedelta(minutes=1))
    await c.commit()
    return found


async def test_a_claim_reads_little_however_much_was_queued_since_it_was_planned(
    one: AsyncConnection,
) -> None:
    assert (await claim(one)).sending == []
    await queue(one)
    before = await rows_read(one, "messages")
    assert len((await claim(one)).sending) == 10
    assert await rows_read(one, "messages") - before < MANY / 3


@pytest.fixture
async def fresh(world: World) -> AsyncGenerator[AsyncConnection]:
    """As `one`, but much is queued, and nothing has ever been sent."""
    await world.accept()
    async with world.db.connect() as c:
        await queue(c)
        auto = await c.execution_options(isolation_level="AUTOCOMMIT")
        await auto.execute(sql("vacuum analyze messages"))
    async with world.db.connect() as c:
        await c.execute(sql("set plan_cache_mode = force_generic_plan"))  # from the first on
        await c.commit()
        yield c


async def test_what_came_of_a_text_reads_little_however_much_was_sent_since_it_was_planned(
    fresh: AsyncConnection,
) -> None:
    async def sent(nth: int) -> int:
        [(m, _)] = (await claim(fresh, limit=1)).sending
        after = accepted(m, carrier_message_id=f"SM{nth}", now=second(10))
        before = await rows_read(fresh, "messages")
        given = outcomes.given([(m, after)], now=second(10))
        [saved] = await outcomes.SAVE.rows(fresh, **given)
        await fresh.commit()
        assert saved["done"] == [m.id]
        return await rows_read(fresh, "messages") - before

    await sent(1)
    await fresh.execute(
        sql(
            "update messages set state = 'sent', due_at = null, sent_at = now(),"
            " carrier_message_id = 'SX' || id where state = 'queued' and id like 'more_%'"
            " and right(id, 1) <> '0'"
        )
    )
    await fresh.commit()
    assert await sent(2) < MANY / 100


@pytest.mark.parametrize(
    ("state", "index", "columns"),
    [
        ("sending", "uq_messages_sending", "lease_until = now()"),
        ("uncertain", "ix_messages_in_doubt", "uncertain_at = now(), look_up_at = now()"),
    ],
)
async def test_a_claim_reads_little_however_much_is_under_way_or_in_doubt_since_it_was_planned(
    fresh: AsyncConnection, state: str, index: str, columns: str
) -> None:
    # As when that index had grown, and was empty again: others seemed to cost less.
    await fresh.execute(sql(f"drop index {index}"))
    await fresh.commit()
    assert (await claim(fresh, limit=1)).sending != []
    await fresh.execute(
        sql(
            f"update messages set state = '{state}', due_at = null, claimed_at = now(), {columns}"  # noqa: S608 - ours
            " where state = 'queued' and right(id, 1) <> '0'"
        )
    )
    await fresh.commit()
    before = await rows_read(fresh, "messages")
    assert len((await claim(fresh)).sending) == 10
    assert await rows_read(fresh, "messages") - before < MANY / 3


async def test_who_asks_what_is_planned_reads_little_when_much_was(
    one: AsyncConnection, world: World
) -> None:
    await plans.send(world, text="Tomorrow then.", send_at=hour(24), now=second(5))
    columns = "conversation_id, account_id, project_id, environment, user_number, command, state"
    many = (
        f"insert into planned_sends (id, {columns}, due_at, created_at)"  # noqa: S608 - ours
        f" select 'plan_' || n, {columns}, due_at, created_at"
        f" from planned_sends, generate_series(1, {MANY}) n"
    )
    await one.execute(sql(many))
    await one.execute(sql("analyze planned_sends"))
    over = "update planned_sends set state = 'accepted', due_at = null, ended_at = now()"
    await one.execute(sql(over))
    await one.commit()
    before = await rows_read(one, "planned_sends")
    assert "plans" not in await horizon.upcoming(one)
    await one.commit()
    assert await rows_read(one, "planned_sends") - before < MANY / 3


async def test_hearing_a_text_reads_little_however_much_was_said_since_it_was_planned(
    world: World,
) -> None:
    shared = "account_id, project_id, agent_id, agent_version, agent_number, opened_at, active_at"
    conversations = (
        f"insert into conversations (id, user_number, state, closed_at, reason, {shared})"  # noqa: S608 - ours
        " select 'a_' || n, '+1212' || lpad(n::text, 7, '0'), 'closed', now(), 'ignored',"
        f" {shared} from conversations, generate_series(1, {MANY}) n"
    )
    messages = (
        "insert into messages (id, conversation_id, user_number, carrier_message_id, direction,"  # noqa: S608 - ours
        " kind, text, state, created_at, project_id, carrier_id, agent_number)"
        " select 'said_' || n, 'a_' || n, '+1212' || lpad(n::text, 7, '0'), 'SX' || n,"
        " 'inbound', 'text', 'Hello', 'received', created_at - interval '1 day', project_id,"
        " carrier_id, agent_number"
        f" from (select * from messages order by seq limit 1) m, generate_series(1, {MANY}) n"
    )
    turns = (
        "insert into turns (id, conversation_id, state, first_text_at, ended_at, outcome)"  # noqa: S608 - ours
        " select 'turn_' || n, 'a_' || n, 'ended', now(), now(), 'answered'"
        f" from generate_series(1, {MANY}) n"
    )
    tables = ("conversations", "messages", "turns")

    async def read() -> dict[str, int]:
        async with world.db.connect() as c:
            return {table: await rows_read(c, table) for table in tables}

    async with world.db.connect() as c:
        await forget_counts(c)
    async with world.transaction() as c:  # and does not look at them by itself
        await c.execute(sql(f"lock table {', '.join(tables)} in share update exclusive mode"))
        accepted = await world.accept()
        for n in range(1, 8):  # after five times a plan stays
            await world.hear(f"Text {n}", now=minute(n))
            await world.claim_turns(now=minute(n))
        async with world.transaction() as other:
            for more in (conversations, messages, turns):
                await other.execute(sql(more))
        before = await read()
        heard = await world.hear("Text 8", now=minute(8))
        after = await read()
    assert heard.conversation_id == accepted.conversation_id
    grown = {table: n - before[table] for table, n in after.items()}
    assert {table: n for table, n in grown.items() if n > 50} == {}


async def test_words_are_found_by_their_index_and_what_is_queued_by_its_state(
    one: AsyncConnection, world: World, database_url: str
) -> None:
    await world.accept("Your zebra is ready", user=NEIGHBOUR)
    which = MessageFilter(words="zebra")

    async def found() -> tuple[list[str], int]:
        before = await rows_read(one, "messages")
        db = create_engine(database_url)
        texts = await message_reads.list_messages(db, AccountId("acme"), which, limit=10)
        await db.dispose()  # what a connection counted shows when it ends
        return [each.state for each in texts], await rows_read(one, "messages") - before

    queued, read = await found()
    assert (queued, read < 100) == (["queued"], True)
    await world.send_all()
    sent, read = await found()
    assert (sent, read < 100) == (["sent"], True)
