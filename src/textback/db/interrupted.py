"""What was going on, or due, when a database that was restored had its last moment."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import ConversationId
from textback.db.tables import conversations, planned_sends, turns


async def conversations_with_work(
    c: AsyncConnection, *, now: datetime, limit: int
) -> Sequence[ConversationId]:
    """Agents' live ones in which a turn is not over, or the deadline has passed."""
    t = conversations
    of_turns = select(turns.c.conversation_id).where(turns.c.state != "ended")
    found = await c.scalars(
        select(t.c.id)
        .where(
            t.c.state.not_in(["closed", "handed_off"]),
            or_(t.c.deadline_at <= now, t.c.id.in_(of_turns)),
        )
        .order_by(t.c.id)
        .limit(limit)
    )
    return [ConversationId(found_id) for found_id in found]


async def plans_due(c: AsyncConnection, *, now: datetime) -> int:
    """Sends whose moment has come and that are still planned: of batches, too."""
    p = planned_sends.c
    query = select(func.count()).where(p.state == "planned", p.due_at <= now)
    return int(await c.scalar(query) or 0)
