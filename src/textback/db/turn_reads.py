"""What edges ask about one turn. Nothing here changes anything."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AgentId, ConversationId, TurnId
from textback.db.session import transaction
from textback.db.tables import conversations
from textback.db.tables import turns as t


@frozen
class TurnRecord:
    id: TurnId
    conversation_id: ConversationId
    agent_id: AgentId
    agent_version: int
    """The one that its conversation is on."""
    run: int
    """The latest; 0: no engine was asked yet."""
    state: str
    outcome: str | None


async def find(db: AsyncEngine, turn_id: TurnId) -> TurnRecord | None:
    talk = conversations.c
    query = (
        select(
            t.c.id,
            t.c.conversation_id,
            talk.agent_id,
            talk.agent_version,
            t.c.run,
            t.c.state,
            t.c.outcome,
        )
        .join(conversations, talk.id == t.c.conversation_id)
        .where(t.c.id == turn_id)
    )
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
    return None if row is None else TurnRecord(**row)
