"""Openers that the agent has yet to write, when nobody waits for them any more."""

from datetime import datetime

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import ConversationId, MessageId
from textback.core.message import NEVER
from textback.db import turns
from textback.db.tables import conversations, messages
from textback.db.tables import turns as t


async def overdue(
    c: AsyncConnection, *, now: datetime, limit: int
) -> list[tuple[MessageId, ConversationId]]:
    """Those past their validity. Locks nothing."""
    m = messages.c
    rows = await c.execute(
        select(m.id, m.conversation_id)
        .where(m.state == "queued", m.expires_at <= now, m.due_at == NEVER)
        .order_by(m.expires_at)
        .limit(limit)
    )
    return [(MessageId(row.id), ConversationId(row.conversation_id)) for row in rows]


async def given_up(
    c: AsyncConnection, conversation_id: ConversationId, opener_id: MessageId, *, now: datetime
) -> None:
    """The turn that was to write it has nothing left to do, unless the user has texted.

    One that is thinking finds out by itself. Call with the conversation locked.
    """
    unheard = exists().where(
        messages.c.conversation_id == conversation_id,
        messages.c.kind == "text",
        messages.c.seq > conversations.c.heard_seq,
        conversations.c.id == conversation_id,
    )
    if await c.scalar(select(unheard)):
        waits = (t.c.opener_id == opener_id, t.c.state == "waiting")
        await c.execute(update(t).where(*waits).values(opener_id=None))
    else:
        await turns.drop_waiting(
            c, conversation_id, why="the validity of its opener is over", now=now
        )
