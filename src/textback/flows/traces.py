"""Where a trace goes on: looked up only while somebody traces, and never at the cost of the work.

None: it is not known, and another one begins.
"""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import tracing
from textback.core.errors import Unavailable
from textback.core.ids import ConversationId, MessageId, TurnId
from textback.core.phone import Phone
from textback.db import traces
from textback.db.session import transaction


async def of_message(db: AsyncEngine, message_id: MessageId | None) -> str | None:
    if message_id is None:
        return None

    async def look(c: AsyncConnection) -> str | None:
        return (await traces.of_messages(c, [message_id])).get(message_id)

    return await _looked_up(db, look)


async def of_conversation(db: AsyncEngine, conversation_id: ConversationId | None) -> str | None:
    if conversation_id is None:
        return None
    return await _looked_up(db, lambda c: traces.of_conversation(c, conversation_id))


async def of_turn(db: AsyncEngine, turn_id: TurnId) -> str | None:
    return await _looked_up(db, lambda c: traces.of_turn(c, turn_id))


async def of_event(db: AsyncEngine, event_id: int) -> str | None:
    return await _looked_up(db, lambda c: traces.of_event(c, event_id))


async def of_pair(db: AsyncEngine, agent: Phone, user: Phone) -> str | None:
    return await _looked_up(db, lambda c: traces.of_pair(c, agent, user))


async def _looked_up(
    db: AsyncEngine, look: Callable[[AsyncConnection], Awaitable[str | None]]
) -> str | None:
    if not tracing.is_on():
        return None
    try:
        async with transaction(db) as c:
            return await look(c)
    except Unavailable:
        return None
