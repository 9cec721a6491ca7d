"""The agent is to say nothing more: its turns end, and with them what they had promised."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import ConversationId
from textback.core.message import Queued, dropped
from textback.db import messages, turns


async def fall_silent(
    c: AsyncConnection, conversation_id: ConversationId, *, why: str, now: datetime
) -> None:
    """Texts that are queued still go out. Call with the conversation locked."""
    for opener_id in await turns.drop_all(c, conversation_id, why=why, now=now):
        opener = await messages.lock(c, opener_id)
        # One without words would never be due, and hold back all that comes after it.
        if isinstance(opener, Queued) and opener.is_promise:
            cancelled = dropped(opener, reason="cancelled", now=now)
            await messages.save(c, opener, cancelled, now=now)
