"""Events are appended by whoever saves a state, in the same transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.events import Event
from textback.db.tables import events

CHANNEL = "textback"

Queue = Literal["messages", "turns"]


async def append(c: AsyncConnection, new: Sequence[Event], *, now: datetime) -> None:
    if new:
        await c.execute(
            insert(events),
            [
                {
                    "at": now,
                    "conversation_id": e.conversation_id,
                    "message_id": e.message_id,
                    "kind": e.kind,
                    "data": dict(e.data),
                }
                for e in new
            ],
        )


async def wake(c: AsyncConnection, queue: Queue) -> None:
    """Tell workers, at the commit, that a row may be due. Only a hint: they also poll."""
    await c.execute(
        text("select pg_notify(:channel, :queue)"), {"channel": CHANNEL, "queue": queue}
    )
