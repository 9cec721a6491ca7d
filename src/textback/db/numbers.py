"""Numbers that are swept: whose lost replies are looked for at the carrier, by one worker each."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.db.tables import numbers as t

LOOK_BACK: Final = timedelta(minutes=3)
"""How long before `swept_until` a sweep begins: the carrier's clock is not ours, and a text may
enter its list a little late."""


@frozen
class Sweeping:
    """A number that a worker holds until `sweep_at`."""

    number: Phone
    carrier_id: CarrierId
    swept_until: datetime


async def claim_sweeps(
    c: AsyncConnection,
    *,
    now: datetime,
    until: datetime,
    except_carriers: Collection[CarrierId],
    limit: int,
) -> list[Sweeping]:
    """Take up to `limit` numbers that are due. Whose worker dies, they are due again at `until`."""
    due = (
        select(t.c.number)
        .where(
            t.c.removed_at.is_(None),
            t.c.sweep_at <= now,
            t.c.carrier_id.not_in(except_carriers),
        )
        .order_by(t.c.sweep_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    rows = await c.execute(
        update(t)
        .where(t.c.number.in_(due.cte("due").select()))
        .values(sweep_at=until)
        .returning(t.c.number, t.c.carrier_id, t.c.swept_until)
    )
    return [
        Sweeping(
            number=Phone(row.number),
            carrier_id=CarrierId(row.carrier_id),
            swept_until=row.swept_until,
        )
        for row in rows
    ]


async def next_sweep(c: AsyncConnection, *, after: datetime) -> datetime | None:
    return await c.scalar(
        select(t.c.sweep_at)
        .where(t.c.removed_at.is_(None), t.c.sweep_at > after)
        .order_by(t.c.sweep_at)
        .limit(1)
    )


async def swept(c: AsyncConnection, held: Sweeping, *, until: datetime) -> None:
    """All that the carrier received before then is in our hands. It never goes backwards.

    Nothing is noted when the number meanwhile moved to another carrier: its list was not read.
    """
    await c.execute(
        update(t)
        .where(t.c.number == held.number, t.c.carrier_id == held.carrier_id)
        .values(swept_until=func.greatest(t.c.swept_until, until))
    )


async def sweep_again(c: AsyncConnection, held: Sweeping, *, at: datetime) -> None:
    await c.execute(update(t).where(t.c.number == held.number).values(sweep_at=at))
