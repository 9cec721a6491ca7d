"""The traces that texts belong to (tracing.py). Asked only while somebody traces."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from textback import tracing
from textback.core.ids import ConversationId, MessageId, TurnId
from textback.core.phone import Phone

# The latest of a conversation that has one: an index scan backwards that stops at once.
_LATEST = """
    select m.traceparent from messages m
    where m.conversation_id = {conversation} and m.traceparent is not null
    order by m.seq desc limit 1
"""


def here() -> dict[str, str]:
    """The column of a text that is stored within a span; nothing, while nobody traces."""
    traceparent = tracing.current()
    return {} if traceparent is None else {"traceparent": traceparent}


async def of_messages(c: AsyncConnection, ids: Sequence[MessageId]) -> dict[MessageId, str]:
    """Of each its own; of one that has none, such as a warning, its conversation's latest."""
    latest = _LATEST.format(conversation="t.conversation_id")
    query = text(f"""
        select t.id, coalesce(t.traceparent, ({latest})) as traceparent
        from messages t where t.id = any(:ids)
    """)  # noqa: S608 - ours
    found = await c.execute(query, {"ids": list(ids)})
    return {MessageId(row.id): row.traceparent for row in found if row.traceparent}


async def of_conversation(c: AsyncConnection, conversation_id: ConversationId) -> str | None:
    """Of what was said in it last."""
    query = text(_LATEST.format(conversation=":id"))
    return await c.scalar(query, {"id": conversation_id})


async def of_turn(c: AsyncConnection, turn_id: TurnId) -> str | None:
    """Of what was said last in its conversation."""
    query = _LATEST.format(conversation="(select conversation_id from turns where id = :id)")
    return await c.scalar(text(query), {"id": turn_id})


async def of_event(c: AsyncConnection, event_id: int) -> str | None:
    """Of the text that it is about, or else of its conversation."""
    latest = _LATEST.format(conversation="e.conversation_id")
    query = text(f"""
        select coalesce(t.traceparent, ({latest}))
        from events e left join messages t on t.id = e.message_id where e.id = :id
    """)  # noqa: S608 - ours
    return await c.scalar(query, {"id": event_id})


async def of_pair(c: AsyncConnection, agent: Phone, user: Phone) -> str | None:
    """Of what was said last in the live conversation of the two."""
    live = "(select id from conversations where agent_number = :agent and user_number = :user"
    live += " and state <> 'closed')"
    query = text(_LATEST.format(conversation=live))
    return await c.scalar(query, {"agent": agent, "user": user})
