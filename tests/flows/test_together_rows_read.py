"""Texts that move together are found one by one, whatever there was when that was planned."""

from collections.abc import AsyncGenerator, Sequence

import pytest
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import CARRIER, second
from tests.support.rows_read import forget_counts, rows_read
from tests.support.world import World
from textback.core.ids import MessageId
from textback.core.message import Sending
from textback.core.policy import SendPolicy
from textback.core.ports import Receipt, Taken
from textback.db import messages
from textback.db.session import create_engine, transaction
from textback.flows.receipt import Reported, hear_all
from textback.flows.recording import record_all

MANY = 3000
TAKEN = 10
COPIED = (
    "conversation_id, project_id, carrier_id, agent_number, direction, kind, text, created_at,"
    " expires_at, priority"
)
STATES = {
    "sent": "sent_at, carrier_message_id",
    "sending": "claimed_at, lease_until",
}


@pytest.fixture
async def db(world: World, database_url: str) -> AsyncGenerator[AsyncEngine]:
    """Of one connection, which keeps its plans. One text was sent."""
    async with world.db.connect() as c:
        await forget_counts(c)
    await world.accept()
    await world.send_all()
    engine = create_engine(database_url, pool_size=1)
    async with engine.begin() as c:
        await c.execute(sql("set plan_cache_mode = force_generic_plan"))  # from the first on
    yield engine
    await engine.dispose()


async def analyze(db: AsyncEngine) -> None:
    async with db.connect() as c:
        auto = await c.execution_options(isolation_level="AUTOCOMMIT")
        for table in ("messages", "conversations"):
            await auto.execute(sql(f"vacuum analyze {table}"))


async def put(
    db: AsyncEngine, state: str, first: int, last: int, *, with_next: bool = True
) -> None:
    """Texts `text_<n>` of users of their own, each with one of its answer behind it."""
    values = {"sent": "now(), 'SX' || n", "sending": "now(), now()"}[state]
    made = (
        f"insert into messages (id, user_number, state, {STATES[state]}, {COPIED})"  # noqa: S608
        f" select 'text_' || n, '+1212' || lpad(n::text, 7, '0'), '{state}', {values}, {COPIED}"
        f" from (select * from messages order by seq limit 1) m, generate_series({first}, {last}) n"
    )
    behind = (
        "insert into messages (id, user_number, state, due_at, follows, part_wait,"  # noqa: S608
        f" {COPIED})"
        " select 'behind_' || n, '+1212' || lpad(n::text, 7, '0'), 'queued', created_at,"
        f" 'text_' || n, interval '8 s', {COPIED}"
        f" from (select * from messages order by seq limit 1) m, generate_series({first}, {last}) n"
    )
    async with db.begin() as c:
        await c.execute(sql(made))
        if with_next:
            await c.execute(sql(behind))


async def read(db: AsyncEngine) -> int:
    async with db.connect() as c:
        return await rows_read(c, "messages") + await rows_read(c, "conversations")


async def hear(db: AsyncEngine, first: int) -> Sequence[str | None]:
    """Of every other one it is known which text it means."""
    several = [
        Reported(
            CARRIER,
            Receipt(
                carrier_message_id=f"SX{n}",
                message_id=MessageId(f"text_{n}") if n % 2 else None,
                status="delivered",
            ),
            second(5),
        )
        for n in range(first, first + TAKEN)
    ]
    return await hear_all(db, several)


async def record(db: AsyncEngine, first: int) -> Sequence[object]:
    held = list[Sending]()
    for n in range(first, first + TAKEN):
        async with transaction(db) as c:
            m = await messages.find(c, MessageId(f"text_{n}"))
        assert isinstance(m, Sending)
        held.append(m)
    came = [(m, Taken(f"of {m.id}"), second(5)) for m in held]
    return await record_all(db, came, policy=SendPolicy())


@pytest.mark.parametrize("with_next", [False, True])
@pytest.mark.parametrize("many", [False, True])
async def test_receipts_read_little_however_much_there_is(
    db: AsyncEngine, *, many: bool, with_next: bool
) -> None:
    await put(db, "sent", 1, MANY if many else TAKEN, with_next=with_next)
    if many:
        await analyze(db)
    assert {*await hear(db, 1)} == {"changed"}  # so it is planned
    await put(db, "sent", MANY + 1, 2 * MANY, with_next=with_next)
    before = await read(db)
    assert {*await hear(db, MANY + 1)} == {"changed"}
    assert await read(db) - before < 20 * TAKEN


@pytest.mark.parametrize("many", [False, True])
async def test_outcomes_read_little_however_much_there_is(db: AsyncEngine, *, many: bool) -> None:
    await put(db, "sending", 1, MANY if many else TAKEN)
    if many:
        await analyze(db)
    assert None not in await record(db, 1)
    await put(db, "sending", MANY + 1, 2 * MANY)
    before = await read(db)
    assert None not in await record(db, MANY + 1)
    assert await read(db) - before < 20 * TAKEN
