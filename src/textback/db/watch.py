"""How things stand, for whoever operates this: queues, and texts that somebody has to look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ColumnElement, ScalarSelect, Subquery, func, select, text, true
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db.session import transaction
from textback.db.tables import (
    conversations,
    messages,
    numbers,
    planned_sends,
    turns,
    webhook_deliveries,
    webhook_endpoints,
)

MOST = 10_000
"""Up to here texts are counted."""

QUEUES = ("messages", "turns", "conversations", "plans", "deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    looked_up: int
    """Uncertain texts that are still looked up at the carrier."""
    unsettled: int
    """Uncertain texts that wait for an operator."""
    oldest: Mapping[str, datetime | None]
    """By queue: since when its oldest row has been due, or will be."""
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


async def queues(db: AsyncEngine) -> Queues:
    """Costs the same however much there is. Raises Unavailable."""
    m, w, c = messages, turns, conversations

    def some(where: ColumnElement[bool]) -> Subquery:
        return select(m.c.id).where(m.c.state == "uncertain", where).limit(MOST).subquery()

    def first(column: Column[datetime], where: ColumnElement[bool]) -> ScalarSelect[datetime]:
        return select(func.min(column)).where(where).scalar_subquery()

    waiting, left = some(m.c.look_up_at.is_not(None)), some(m.c.look_up_at.is_(None))
    query = select(
        select(func.count()).select_from(waiting).scalar_subquery().label("looked_up"),
        select(func.count()).select_from(left).scalar_subquery().label("unsettled"),
        first(m.c.due_at, m.c.state == "queued").label("messages"),
        first(w.c.due_at, w.c.state == "waiting").label("turns"),
        first(c.c.deadline_at, c.c.deadline_at.is_not(None)).label("conversations"),
        first(planned_sends.c.due_at, planned_sends.c.state == "planned").label("plans"),
        _oldest_delivery().label("deliveries"),
        first(numbers.c.swept_until, numbers.c.removed_at.is_(None)).label("swept_until"),
    )
    async with transaction(db) as connection:
        row = (await connection.execute(query)).mappings().one()
    return Queues(
        looked_up=row["looked_up"],
        unsettled=row["unsettled"],
        oldest={name: row[name] for name in QUEUES},
        swept_until=row["swept_until"],
    )


def _oldest_delivery() -> ScalarSelect[datetime]:
    """Of endpoints that answer: what waits for one that is away is its owner's business."""
    w, d = webhook_endpoints, webhook_deliveries
    of_it = select(func.min(d.c.due_at).label("due_at")).where(
        d.c.endpoint_id == w.c.id, d.c.state == "waiting"
    )
    each = of_it.correlate(w).lateral()
    return (
        select(func.min(each.c.due_at))
        .select_from(w)
        .join(each, true())
        .where(w.c.state == "active", w.c.failures == 0, w.c.url.is_not(None))
        .scalar_subquery()
    )


async def durability(db: AsyncEngine) -> Mapping[str, str]:
    """The settings of Postgres on which it depends that what it confirmed is never lost."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    query = text("select name, setting from pg_settings where name = any(:names)")
    async with transaction(db) as c:
        rows = await c.execute(query, {"names": list(names)})
        return {row.name: row.setting for row in rows}
