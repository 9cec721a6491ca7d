"""A batch that waits for its time, sent at once."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import BatchId
from textback.db.tables import batches, planned_sends


async def hasten(c: AsyncConnection, batch_id: BatchId, *, now: datetime) -> int:
    """Its rows' moment has come, but for those that quiet hours hold; gives how many were early.

    The batch is locked by the caller.
    """
    t = planned_sends.c
    early = (t.batch_id == batch_id, t.state == "planned", t.why == "scheduled", t.due_at > now)
    done = await c.execute(update(planned_sends).where(*early).values(due_at=now))
    await c.execute(update(batches).where(batches.c.id == batch_id).values(send_at=None))
    return done.rowcount
