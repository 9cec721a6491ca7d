"""Deliveries that their owner fetches, and those that are to go once more."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import EndpointId
from textback.db.tables import webhook_deliveries as t
from textback.db.webhook_deliveries import Ended

_AGAIN: Final = {
    "state": "waiting",
    "tries": 0,
    "ended_at": None,
    "lease_until": None,
    "pulled": False,
}


async def acknowledge(
    c: AsyncConnection, endpoint_id: EndpointId, handed_out: datetime, *, now: datetime
) -> int:
    """Those that were handed out at that moment have arrived; gives how many."""
    done = await c.execute(
        update(t)
        .where(
            t.c.endpoint_id == endpoint_id,
            t.c.state == "delivering",
            t.c.lease_until == handed_out,
        )
        .values(state="delivered", ended_at=now, lease_until=None)
    )
    return done.rowcount


async def hand_out(
    c: AsyncConnection, endpoint_id: EndpointId, *, at: datetime, limit: int
) -> Sequence[tuple[int, int]]:
    """The oldest that have not arrived, again if need be: delivery and event.

    Of a locked endpoint. `at` names what was handed out together, and never comes twice.
    """
    rows = await c.execute(
        select(t.c.id, t.c.event_id)
        .where(t.c.endpoint_id == endpoint_id, t.c.state.in_(["waiting", "delivering"]))
        .order_by(t.c.id)
        .limit(limit)
    )
    found = [(row.id, row.event_id) for row in rows]
    await c.execute(
        update(t)
        .where(t.c.id.in_([each for each, _ in found]))
        .values(state="delivering", due_at=None, lease_until=at, pulled=True, tries=t.c.tries + 1)
    )
    return found


async def skip(c: AsyncConnection, ids: Collection[int], *, now: datetime) -> None:
    """Of a locked endpoint: its format has no word for them."""
    await c.execute(
        update(t)
        .where(t.c.id.in_(ids), t.c.state == "delivering")
        .values(state="skipped", ended_at=now, lease_until=None)
    )


async def state_of(c: AsyncConnection, delivery_id: int) -> str | None:
    """Locked. Its endpoint is to be locked by now."""
    return await c.scalar(select(t.c.state).where(t.c.id == delivery_id).with_for_update())


async def endpoint_of(c: AsyncConnection, delivery_id: int) -> str | None:
    return await c.scalar(select(t.c.endpoint_id).where(t.c.id == delivery_id))


async def again(c: AsyncConnection, delivery_id: int, *, now: datetime) -> None:
    """Of a locked one that nobody has under way: as if it were new, with the same body."""
    await c.execute(update(t).where(t.c.id == delivery_id).values(due_at=now, **_AGAIN))


async def all_again(
    c: AsyncConnection,
    endpoint_id: EndpointId,
    states: Collection[Ended],
    *,
    since: datetime,
    limit: int,
    now: datetime,
) -> int:
    """Of what ended so and was written since then, the oldest; gives how many."""
    some = (
        select(t.c.id)
        .where(t.c.endpoint_id == endpoint_id, t.c.state.in_(states), t.c.created_at >= since)
        .order_by(t.c.id)
        .limit(limit)
    )
    chosen = list(await c.scalars(some))
    await c.execute(update(t).where(t.c.id.in_(chosen)).values(due_at=now, **_AGAIN))
    return len(chosen)
