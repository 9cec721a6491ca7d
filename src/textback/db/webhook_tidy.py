"""What nobody needs any more: old deliveries, and endpoints that were only listened by."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import EndpointId
from textback.db.tables import webhook_attempts
from textback.db.tables import webhook_deliveries as t
from textback.db.tables import webhook_endpoints as w


async def abandoned(c: AsyncConnection, *, before: datetime, limit: int) -> list[EndpointId]:
    """Up to `limit` made to listen by, that nobody has polled since then."""
    seen = func.coalesce(w.c.polled_at, w.c.created_at)
    rows = await c.scalars(
        select(w.c.id).where(w.c.source == "listen", seen < before).order_by(w.c.id).limit(limit)
    )
    return [EndpointId(each) for each in rows]


async def forget(c: AsyncConnection, endpoint_id: EndpointId) -> None:
    """Of one without deliveries: its row goes."""
    await c.execute(delete(w).where(w.c.id == endpoint_id))


async def forget_old(c: AsyncConnection, *, before: datetime, limit: int) -> int:
    """Remove, of the `limit` oldest, those from before then, with their attempts; gives how many.

    Also what was never delivered, because its endpoint is paused or nobody fetches it.
    """
    oldest = select(t.c.id, t.c.created_at, t.c.state).order_by(t.c.id).limit(limit).subquery()
    ids = list(
        await c.scalars(
            select(oldest.c.id).where(
                oldest.c.created_at < before, (oldest.c.state != "delivering")
            )
        )
    )
    await forget_these(c, ids)
    return len(ids)


async def forget_of(c: AsyncConnection, endpoint_id: EndpointId, *, limit: int) -> int:
    """Remove up to `limit` of an endpoint's; gives how many."""
    ids = list(await c.scalars(select(t.c.id).where(t.c.endpoint_id == endpoint_id).limit(limit)))
    await forget_these(c, ids)
    return len(ids)


async def forget_these(c: AsyncConnection, ids: Collection[int]) -> None:
    """With their attempts. Locked first: who records one meanwhile adds an attempt to it."""
    if ids:
        locked = select(t.c.id).where(t.c.id.in_(ids)).order_by(t.c.id).with_for_update()
        await c.execute(locked)
        of = webhook_attempts.c.delivery_id.in_(ids)
        await c.execute(delete(webhook_attempts).where(of))
        await c.execute(delete(t).where(t.c.id.in_(ids)))
