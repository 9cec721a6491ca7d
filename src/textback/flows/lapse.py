"""A queued text's validity is over -> dropped, whatever holds it back, and never sent late."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.ids import ConversationId, MessageId
from textback.core.message import Queued, dropped
from textback.db import conversations, messages, promises
from textback.db.session import transaction


async def drop_expired(db: AsyncEngine, *, limit: int, now: datetime) -> int:
    """Up to `limit`, once, whoever else is at it; gives how many."""
    async with transaction(db) as c:
        done = await messages.expired(c, now=now, limit=limit)
        overdue = await promises.overdue(c, now=now, limit=limit)
    for opener_id, conversation_id in overdue:
        async with transaction(db) as c:
            done += await _give_up(c, conversation_id, opener_id, now=now)
    return done


async def _give_up(
    c: AsyncConnection, conversation_id: ConversationId, opener_id: MessageId, *, now: datetime
) -> bool:
    """False when it has been written or dropped meanwhile."""
    await conversations.lock(c, conversation_id)
    await promises.given_up(c, conversation_id, opener_id, now=now)
    promise = await messages.lock(c, opener_id)
    if not isinstance(promise, Queued) or not promise.is_promise:
        return False
    await messages.save(c, promise, dropped(promise, reason="expired", now=now), now=now)
    return True
