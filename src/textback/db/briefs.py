"""What a caller says of a conversation beside its text, also while it lives."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Notify, SendText
from textback.core.conversation import Conversation, Live
from textback.core.ids import ConversationId, new_endpoint_id
from textback.db.tables import conversations as t
from textback.db.tables import webhook_endpoints


async def renew(
    c: AsyncConnection, of: Live, command: SendText, *, anew: bool, now: datetime
) -> None:
    """What the command gives replaces what there was; variables are added to what there were.

    `anew`: another agent has it, or it begins at another node: what the engine kept is forgotten.
    """
    values: dict[str, Any] = {"reopens": command.reopens}
    if command.objective is not None:
        values["objective"] = command.objective
    if command.variables:
        values["variables"] = t.c.variables.op("||")(literal(dict(command.variables), JSONB))
    if command.metadata:
        values["metadata"] = dict(command.metadata)
    if command.extra:
        values["extra"] = t.c.extra.op("||")(literal(dict(command.extra), JSONB))
    if anew:
        values |= {"engine_state": {}, "start_node": command.agent.start_node}
    await c.execute(update(t).where(t.c.id == of.id).values(**values))
    if command.notify is not None:
        await notify(c, of, command.notify, now=now)


async def change(
    c: AsyncConnection, conversation_id: ConversationId, values: Mapping[str, object]
) -> None:
    """`metadata`, `variables`, `objective`: each instead of what there was."""
    if values:
        await c.execute(update(t).where(t.c.id == conversation_id).values(**values))


async def notify(c: AsyncConnection, of: Conversation, told: Notify, *, now: datetime) -> None:
    """From now on its events go there too, and no longer where the caller said before."""
    w = webhook_endpoints
    sends = (w.c.conversation_id == of.id) & (w.c.state != "removed") & (w.c.source == "send")
    same = select(w.c.id).where(sends, w.c.url == told.url, w.c.format == told.format)
    if await c.scalar(same) is not None:
        return
    await c.execute(
        update(w)
        .where(sends)
        .values(state="removed", removed_at=now, paused_at=None, why_paused=None)
    )
    await c.execute(
        insert(w).values(
            id=new_endpoint_id(now),
            account_id=of.account_id,
            project_id=of.project_id,
            conversation_id=of.id,
            url=told.url,
            format=told.format,
            created_at=now,
            source="send",
        )
    )
