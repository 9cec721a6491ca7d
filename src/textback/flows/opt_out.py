"""A user said no: nothing more goes out to them from this number."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import conversation as talk
from textback.core.conversation import Live
from textback.core.events import Event
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.db import conversations, events, messages, opt_outs, tenants, turns
from textback.db.opt_outs import Source


async def record(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    conversation_id: ConversationId,
    source: Source,
    words: str | None,
    carrier_message_id: str | None,
    now: datetime,
) -> bool:
    """Record the opt-out, drop what waits and close the live conversation.

    False, and nothing is done, when the user had opted out already: all that may wait then is the
    confirmation. Call with the pair locked.
    """
    if not await opt_outs.opted_out(
        c, agent, user, source=source, words=words, carrier_message_id=carrier_message_id, now=now
    ):
        return False
    # First the conversation: whoever holds it may be adding to what has to be dropped.
    live = await conversations.lock_live(c, agent, user)
    await messages.drop_queued(c, agent, user, reason="opted_out", now=now)
    if live is not None:
        await _close(c, live, now=now)
    event = Event(kind="user.opted_out", conversation_id=conversation_id, data={"source": source})
    await events.append(c, [event], now=now)
    return True


async def _close(c: AsyncConnection, live: Live, *, now: datetime) -> None:
    policy = (await tenants.get_project(c, live.project_id)).policy
    closed = talk.close(live, "opted_out", now=now)
    await conversations.save(c, live, closed, policy=policy.idle, now=now)
    await turns.drop_waiting(c, live.id, now=now, openers=True)
