"""How things stand, for whoever operates this: queues, and texts that somebody has to look at."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.db.session import transaction
from textback.db.tables import messages

MOST = 10_000
"""Up to here texts are counted."""

QUEUES = ("messages", "turns", "conversations", "plans", "batches", "deliveries")


@frozen
class UncertainRecord:
    id: str
    conversation_id: str
    agent_number: str
    user_number: str
    text: str
    carrier_id: str
    claimed_at: datetime
    """When it was about to be handed over: look for it at the carrier from then on."""
    uncertain_at: datetime
    look_ups: int
    look_up_at: datetime | None
    """None: nobody looks any more, it waits for an operator."""
    expires_at: datetime


@frozen
class Queues:
    looked_up: int
    """Uncertain texts that are still looked up at the carrier."""
    unsettled: int
    """Uncertain texts that wait for an operator."""
    oldest: Mapping[str, datetime | None]
    """By queue: since when its oldest row has been due, or will be."""
    lengths: Mapping[str, int]
    """By queue: how many rows wait, at most MOST; of those that are short when all is well."""
    endpoints: Mapping[str, int]
    """Webhook endpoints in trouble, at most MOST: `failing` (the last post failed), `paused`."""
    swept_until: datetime | None
    """Up to when lost replies were looked for, at the number that is behind most."""


async def list_uncertain(db: AsyncEngine, *, limit: int) -> list[UncertainRecord]:
    """Texts that may be out or not, the longest in doubt first."""
    t = messages
    names = list(UncertainRecord.__dataclass_fields__)
    async with transaction(db) as c:
        rows = await c.execute(
            select(*[t.c[n] for n in names])
            .where(t.c.state == "uncertain")
            .order_by(t.c.uncertain_at, t.c.seq)
            .limit(limit)
        )
        return [UncertainRecord(**row) for row in rows.mappings()]


# Costs the same however many rows there are: each part is a look into an index or two, or a walk
# that ends at :most. `tests/db/test_watch.py` sees to it that none becomes a scan.
QUERY: Final = text("""
    with recursive busy(id) as (
        -- From endpoint to endpoint in the index, however many deliveries wait at each.
        (select endpoint_id from webhook_deliveries where state = 'waiting'
            order by endpoint_id limit 1)
        union all
        select (select d.endpoint_id from webhook_deliveries d
            where d.state = 'waiting' and d.endpoint_id > busy.id
            order by d.endpoint_id limit 1)
        from busy where busy.id is not null
    ),
    healthy as materialized (
        -- What waits for an endpoint that is away is its owner's business.
        select w.id from (select id from busy where id is not null limit 1000) few
        join webhook_endpoints w on w.id = few.id
        where w.state = 'active' and w.failures = 0 and w.url is not null
    )
    select
        -- What is put off again and again, as while Redis is away, is never due for long: of those
        -- that expire first it counts since when they are written.
        least((select min(due_at) from messages where state = 'queued'),
            (select min(created_at) from (select created_at, due_at from messages
                where state = 'queued' order by expires_at limit 100) few
                where due_at < '9000-01-01')) as messages,
        (select min(due_at) from turns where state = 'waiting') as turns,
        (select min(deadline_at) from conversations where deadline_at is not null)
            as conversations,
        (select min(first.due_at) from accounts a cross join lateral (
            select due_at from planned_sends p
            where p.account_id = a.id and p.state = 'planned' and p.batch_id is null
            order by p.account_id, p.due_at, p.seq limit 1) first) as plans,
        -- A batch's rows are due all at once and go one after the other: it is late when it, with
        -- something due, has not been served for long.
        (select min(greatest(b.served_at, first.due_at)) from batches b cross join lateral (
            select due_at from planned_sends p
            where p.batch_id = b.id and p.state = 'planned'
            order by p.batch_id, p.due_at, p.seq limit 1) first
            where b.state = 'running') as batches,
        (select min(oldest.due_at) from healthy cross join lateral (
            select due_at from webhook_deliveries d
            where d.endpoint_id = healthy.id and d.state = 'waiting'
            order by d.endpoint_id, d.id limit 1) oldest) as deliveries,
        (select min(swept_until) from numbers where removed_at is null) as swept_until,
        (select count(*) from (select from messages
            where uncertain_at is not null and look_up_at is not null
            order by look_up_at limit :most) few) as looked_up,
        (select count(*) from (select from messages
            where uncertain_at is not null and look_up_at is null
            order by look_up_at limit :most) few) as unsettled,
        -- Not those that their agents have yet to write.
        (select count(*) from (select from messages
            where state = 'queued' and due_at < '9000-01-01'
            order by due_at limit :most) few) as queued,
        (select count(*) from (select from turns
            where state = 'waiting' order by due_at limit :most) few) as waiting,
        (select count(*) from (select from webhook_endpoints
            where state = 'active' and failures > 0 limit :most) few) as failing,
        (select count(*) from (select from webhook_endpoints
            where state = 'paused' limit :most) few) as paused
""")


async def queues(db: AsyncEngine) -> Queues:
    """Costs the same however much there is. Raises Unavailable."""
    async with transaction(db) as connection:
        row = (await connection.execute(QUERY, {"most": MOST})).mappings().one()
    return Queues(
        looked_up=row["looked_up"],
        unsettled=row["unsettled"],
        oldest={name: row[name] for name in QUEUES},
        lengths={"messages": row["queued"], "turns": row["waiting"]},
        endpoints={"failing": row["failing"], "paused": row["paused"]},
        swept_until=row["swept_until"],
    )


async def durability(db: AsyncEngine) -> Mapping[str, str]:
    """The settings of Postgres on which it depends that what it confirmed is never lost."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    query = text("select name, setting from pg_settings where name = any(:names)")
    async with transaction(db) as c:
        rows = await c.execute(query, {"names": list(names)})
        return {row.name: row.setting for row in rows}
