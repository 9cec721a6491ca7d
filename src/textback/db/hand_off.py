"""What a conversation has open when its agent is to go on, and where the agent begins anew."""

from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import ConversationId
from textback.db.tables import conversations
from textback.db.tables import messages as t

_SAID = ("opener", "reply", "person")
_KEPT = ("handed_off", "paused", "reply_budget")


async def latest(c: AsyncConnection, conversation_id: ConversationId) -> int:
    """The place of its last text, whoever said it; 0 without any."""
    found = await c.scalar(select(func.max(t.c.seq)).where(t.c.conversation_id == conversation_id))
    return found or 0


async def latest_of_ours(c: AsyncConnection, conversation_id: ConversationId) -> int:
    """The place of the last text that the agent or a person said to the user; 0 without any."""
    found = await c.scalar(
        select(func.max(t.c.seq)).where(
            t.c.conversation_id == conversation_id,
            t.c.kind.in_(_SAID),
            t.c.text != "",
            t.c.state.not_in(["suppressed", "failed"]),
        )
    )
    return found or 0


async def take_up(c: AsyncConnection, conversation_id: ConversationId, *, after: int) -> int:
    """The user's texts after that place are for the agent to answer; gives how many there are."""
    since = (t.c.conversation_id == conversation_id, t.c.seq > after)
    await c.execute(
        update(t)
        .where(*since, t.c.kind == "unanswered", t.c.note.in_(_KEPT))
        .values(kind="text", note=None)
    )
    open_texts = select(func.count()).where(*since, t.c.kind == "text")
    return await c.scalar(open_texts) or 0


async def begin_anew(
    c: AsyncConnection, conversation_id: ConversationId, *, heard_seq: int | None, node: str | None
) -> None:
    """Of the user's texts those up to `heard_seq` are dealt with; a flow begins at `node`.

    Of its state only `variables` stay: what it learned outlives the place where it was.

    None: as it was.
    """
    values: dict[str, Any] = {}
    empty = func.jsonb_build_object()
    if heard_seq is not None:
        values |= {"heard_seq": heard_seq}
    if node is not None:
        taken = func.jsonb_build_object("variables", conversations.c.engine_state["variables"])
        had = conversations.c.engine_state.has_key("variables")
        values |= {"start_node": node, "engine_state": case((had, taken), else_=empty)}
    if values:
        which = conversations.c.id == conversation_id
        await c.execute(update(conversations).where(which).values(values))
