"""What goes with a conversation, or with single texts of it, when they are erased."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    cast,
    delete,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import CarrierId, ConversationId
from textback.core.message import Queued, dropped
from textback.core.phone import Phone
from textback.db import messages as outbound
from textback.db import past_usage
from textback.db.message_rows import state_of
from textback.db.tables import (
    conversations,
    erased_texts,
    events,
    messages,
    planned_sends,
    tool_calls,
    turns,
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
)

_SETTLED = frozenset({"received", "sent", "delivered", "failed", "suppressed"})
_UNDER_WAY = frozenset({"sending", "uncertain"})

# Of a send that was planned: it stays among its batch's rows, without what it said and to whom.
_BLANK: dict[str, Any] = {
    "user_number": "",
    "text": None,
    "template": None,
    "objective": None,
    "variables": {},
    "metadata": {},
    "extra": {},
    "notify": None,
}


async def pair_of(
    c: AsyncConnection, conversation_id: ConversationId
) -> tuple[Phone, Phone] | None:
    """Not locked: the pair comes before the conversation. It never changes."""
    t = conversations.c
    query = select(t.agent_number, t.user_number).where(t.id == conversation_id)
    row = (await c.execute(query)).one_or_none()
    return None if row is None else (Phone(row.agent_number), Phone(row.user_number))


async def lock_texts(
    c: AsyncConnection, conversation_id: ConversationId, ids: Collection[str] | None = None
) -> dict[str, str]:
    """State by id: of all, or of those of `ids` that are there. Their turns are locked as well.

    Call with the conversation locked. From here on nobody writes to any of it: what would, waits
    for one of these locks, or for the conversation's key.
    """
    mine = select(turns.c.id).where(turns.c.conversation_id == conversation_id)
    await c.execute(mine.order_by(turns.c.id).with_for_update())
    t = messages.c
    query = select(t.id, t.state).where(t.conversation_id == conversation_id)
    if ids is not None:
        query = query.where(t.id.in_(ids))
    rows = await c.execute(query.order_by(t.seq).with_for_update())
    found = {str(row.id): str(row.state) for row in rows}
    key = select(conversations.c.id).where(conversations.c.id == conversation_id)
    await c.execute(key.with_for_update())
    return found


async def drop_queued(
    c: AsyncConnection, conversation_id: ConversationId, *, now: datetime
) -> None:
    """Call after `lock_texts`."""
    t = messages.c
    query = select(messages).where(t.conversation_id == conversation_id, t.state == "queued")
    rows = await c.execute(query.order_by(t.seq))
    for queued in [state_of(row) for row in rows.mappings()]:
        if isinstance(queued, Queued):
            cancelled = dropped(queued, reason="cancelled", now=now)
            await outbound.save(c, queued, cancelled, now=now)


def under_way(states: dict[str, str]) -> list[str]:
    """Ids of texts that may be out, or on their way out."""
    return [each for each, state in states.items() if state in _UNDER_WAY]


def unsettled(states: dict[str, str]) -> list[str]:
    """Ids of texts of which something is still to come."""
    return [each for each, state in states.items() if state not in _SETTLED]


async def has_turn(c: AsyncConnection, conversation_id: ConversationId) -> bool:
    """Whether the agent is about to answer."""
    t = turns.c
    mine = select(t.id).where(t.conversation_id == conversation_id, t.state != "ended")
    return await c.scalar(mine.limit(1)) is not None


async def whole(c: AsyncConnection, conversation_id: ConversationId, *, now: datetime) -> None:
    """Everything. Call after `lock_texts`."""
    # Before its events: who tells what a call came to holds that call.
    await c.execute(delete(tool_calls).where(tool_calls.c.conversation_id == conversation_id))
    endpoints = select(webhook_endpoints.c.id).where(
        webhook_endpoints.c.conversation_id == conversation_id
    )
    await c.execute(endpoints.with_for_update())
    d = webhook_deliveries.c
    await deliveries(c, or_(d.conversation_id == conversation_id, d.endpoint_id.in_(endpoints)))
    for table in (webhook_endpoints, events, turns):
        await c.execute(delete(table).where(table.c.conversation_id == conversation_id))
    await blank_plans(c, planned_sends.c.conversation_id == conversation_id)
    mine = await c.scalars(
        select(messages.c.id).where(messages.c.conversation_id == conversation_id)
    )
    await past_usage.remove_texts(c, list(mine), now=now)
    await past_usage.remove_conversations(c, [conversation_id])


async def texts(
    c: AsyncConnection, conversation_id: ConversationId, ids: Collection[str], *, now: datetime
) -> None:
    """These of its texts, and what was told of them. Call after `lock_texts`."""
    theirs = (events.c.conversation_id == conversation_id) & events.c.message_id.in_(ids)
    told = select(events.c.id).where(theirs)
    await c.execute(told.with_for_update())
    await deliveries(c, webhook_deliveries.c.event_id.in_(told))
    await c.execute(delete(events).where(theirs))
    await blank_plans(c, planned_sends.c.id.in_(ids))
    await past_usage.remove_texts(c, ids, now=now)


def among_erased(carrier_id: CarrierId, carrier_message_ids: Collection[str]) -> Select[tuple[str]]:
    t = erased_texts.c
    return select(t.carrier_message_id).where(
        t.carrier_id == carrier_id, t.carrier_message_id.in_(carrier_message_ids)
    )


async def forget_old(c: AsyncConnection, *, before: datetime, limit: int) -> int:
    """By then no carrier brings them any more."""
    t = erased_texts
    some = select(t.c.carrier_id, t.c.carrier_message_id).where(t.c.erased_at < before).limit(limit)
    these = tuple_(t.c.carrier_id, t.c.carrier_message_id).in_(some)
    return (await c.execute(delete(t).where(these))).rowcount


async def blank_plans(c: AsyncConnection, which: ColumnElement[bool]) -> None:
    """Of those that are over nothing stays of what they said and to whom."""
    p = planned_sends.c
    await c.execute(
        update(planned_sends)
        .where(which, p.state != "planned")
        .values(user_number="", command=p.command.concat(cast(_BLANK, JSONB)), error=None)
    )


async def deliveries(c: AsyncConnection, which: ColumnElement[bool]) -> None:
    """With their attempts. Their endpoints are locked before them, as everybody does."""
    of = select(webhook_deliveries.c.endpoint_id).where(which)
    theirs = select(webhook_endpoints.c.id).where(webhook_endpoints.c.id.in_(of))
    ordered = theirs.order_by(webhook_endpoints.c.id)
    await c.execute(ordered.with_for_update(key_share=True))
    gone = select(webhook_deliveries.c.id).where(which)
    await c.execute(gone.order_by(webhook_deliveries.c.id).with_for_update())
    await c.execute(delete(webhook_attempts).where(webhook_attempts.c.delivery_id.in_(gone)))
    await c.execute(delete(webhook_deliveries).where(which))
