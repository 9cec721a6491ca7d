"""What edges ask about webhooks: endpoints, deliveries with their attempts, the history."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.frozen import frozen
from textback.core.told import Told
from textback.db import webhook_told
from textback.db.session import transaction
from textback.db.tables import (
    conversations,
    events,
    messages,
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
)
from textback.db.webhooks import Endpoint, endpoint_of


@frozen
class DeliveryRecord:
    id: int
    endpoint_id: str
    event_id: int
    kind: str
    conversation_id: str | None
    message_id: str | None
    state: str
    tries: int
    attempts: int
    """All that there ever were, those before a replay too."""
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    body: str | None


@frozen
class AttemptRecord:
    number: int
    at: datetime
    status: int | None
    milliseconds: int
    error: str | None
    answer: str | None


async def endpoints(
    db: AsyncEngine, account_id: str, *, after: str | None, limit: int
) -> list[Endpoint]:
    """Oldest first, without those of single sends."""
    t = webhook_endpoints
    query = select(t).where(
        t.c.account_id == account_id,
        t.c.state != "removed",
        t.c.source != "send",
        t.c.id > (after or ""),
    )
    async with transaction(db) as c:
        rows = await c.execute(query.order_by(t.c.id).limit(limit))
        return [endpoint_of(row) for row in rows.mappings()]


async def endpoint(db: AsyncEngine, account_id: str, endpoint_id: str) -> Endpoint | None:
    t = webhook_endpoints
    query = select(t).where(
        t.c.id == endpoint_id, t.c.account_id == account_id, t.c.state != "removed"
    )
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
    return None if row is None else endpoint_of(row)


async def waiting(db: AsyncEngine, endpoint_id: str, *, most: int) -> int:
    """How many deliveries are not done; counted up to `most`."""
    t = webhook_deliveries
    some = (
        select(t.c.id)
        .where(t.c.endpoint_id == endpoint_id, t.c.state.in_(["waiting", "delivering"]))
        .limit(most)
        .subquery()
    )
    async with transaction(db) as c:
        return await c.scalar(select(func.count()).select_from(some)) or 0


async def deliveries(
    db: AsyncEngine,
    endpoint_id: str,
    *,
    states: Collection[str],
    before: int | None,
    limit: int,
) -> list[DeliveryRecord]:
    """The latest first; `states` none: in any."""
    t = webhook_deliveries
    query = _delivery().where(t.c.endpoint_id == endpoint_id)
    if states:
        query = query.where(t.c.state.in_(states))
    if before is not None:
        query = query.where(t.c.id < before)
    async with transaction(db) as c:
        rows = await c.execute(query.order_by(t.c.id.desc()).limit(limit))
        return [DeliveryRecord(**row) for row in rows.mappings()]


async def delivery(
    db: AsyncEngine, account_id: str, delivery_id: int
) -> tuple[DeliveryRecord, list[AttemptRecord]] | None:
    """One, with its attempts, oldest first."""
    t, w = webhook_deliveries, webhook_endpoints
    query = (
        _delivery()
        .join(w, w.c.id == t.c.endpoint_id)
        .where(t.c.id == delivery_id, w.c.account_id == account_id, w.c.state != "removed")
    )
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        return DeliveryRecord(**row), await _attempts(c, delivery_id)


async def latest_of(
    db: AsyncEngine, conversation_id: str
) -> tuple[str | None, DeliveryRecord, list[AttemptRecord]] | None:
    """Of one conversation, to whichever endpoint: its URL, and each attempt, oldest first."""
    t, w = webhook_deliveries, webhook_endpoints
    query = (
        _delivery()
        .add_columns(w.c.url)
        .join(w, w.c.id == t.c.endpoint_id)
        .where(t.c.conversation_id == conversation_id, t.c.body.is_not(None))
        .order_by(t.c.id.desc())
        .limit(1)
    )
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        found = dict(row)
        url = found.pop("url")
        return url, DeliveryRecord(**found), await _attempts(c, found["id"])


async def history(
    db: AsyncEngine,
    account_id: str,
    *,
    kinds: Sequence[str],
    conversation_id: str | None = None,
    message_id: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Told]:
    """Events of those kinds, the latest first. A text that went back into the queue is no news."""
    t, m = events, messages
    query = (
        select(t.c.id)
        .outerjoin(conversations, conversations.c.id == t.c.conversation_id)
        .outerjoin(m, m.c.id == t.c.message_id)
        .where(
            or_(t.c.account_id == account_id, conversations.c.account_id == account_id),
            t.c.kind.in_(kinds),
            not_(
                and_(t.c.kind == "message.queued", t.c.at > func.coalesce(m.c.created_at, t.c.at))
            ),
        )
    )
    if conversation_id is not None:
        query = query.where(t.c.conversation_id == conversation_id)
    if message_id is not None:
        query = query.where(t.c.message_id == message_id)
    if before is not None:
        query = query.where(t.c.id < before)
    async with transaction(db) as c:
        ids = list(await c.scalars(query.order_by(t.c.id.desc()).limit(limit)))
        found = await webhook_told.load(c, ids)
    return [found[each] for each in ids]


async def _attempts(c: AsyncConnection, delivery_id: int) -> list[AttemptRecord]:
    a = webhook_attempts.c
    tried = await c.execute(
        select(*[a[name] for name in AttemptRecord.__dataclass_fields__])
        .where(a.delivery_id == delivery_id)
        .order_by(a.number)
    )
    return [AttemptRecord(**each) for each in tried.mappings()]


def _delivery() -> Select[Any]:
    t, a = webhook_deliveries, webhook_attempts
    tried = select(func.count()).where(a.c.delivery_id == t.c.id).scalar_subquery()
    columns: Mapping[str, Any] = {
        "kind": events.c.kind,
        "message_id": events.c.message_id,
        "attempts": tried,
    }
    return select(
        *[
            columns[name].label(name) if name in columns else t.c[name]
            for name in DeliveryRecord.__dataclass_fields__
        ]
    ).join(events, events.c.id == t.c.event_id)
